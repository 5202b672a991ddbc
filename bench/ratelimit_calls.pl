# Calls a second: the limiter, the tables one would use instead, the bare query
# it rides on, and Redis beside it.  4 clients, 10,000 keys, 100 calls in 60 s.
use strict;
use warnings;
use Bench;

my $dir = $ENV{COZI_WORK};
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE EXTENSION pg_stat_statements');

sub script
{
	my ($name, $sql) = @_;
	return Bench::script($name, "\\set k random(1, 10000)\n$sql\n");
}

sub rate
{
	my ($file, %o) = @_;
	return sub {
		Bench::pgbench(
			files => [$file],
			clients => 4,
			threads => 2,
			seconds => 3,
			protocol => 'prepared',
			%o);
	};
}

my $bare = script('bare', q(SELECT 'user:' || :k;));
my $exact = script('exact', q(SELECT cozi.rate_limit('user:' || :k, 100, '60 s');));
my $gcra = script('gcra', q(SELECT cozi.rate_limit('user:' || :k, 100, '60 s', 1, 'gcra');));

# The usual recipe: one row a key, a fixed window, HOT updates.
my %upsert;
for my $kind (qw(logged unlogged))
{
	my $unlogged = $kind eq 'unlogged' ? 'UNLOGGED' : '';
	$dbh->do(
		"CREATE $unlogged TABLE limits_$kind (key text PRIMARY KEY, began timestamptz NOT NULL,
			calls int NOT NULL) WITH (fillfactor = 50)"
	);
	$dbh->do(
		"INSERT INTO limits_$kind SELECT 'user:' || i, now(), 0 FROM generate_series(1, 10000) i");
	$dbh->do("VACUUM ANALYZE limits_$kind");
	$upsert{$kind} = script(
		$kind, qq(
		INSERT INTO limits_$kind AS l VALUES ('user:' || :k, now(), 1)
		ON CONFLICT (key) DO UPDATE SET
			began = CASE WHEN l.began <= now() - interval '60 s' THEN now() ELSE l.began END,
			calls = CASE WHEN l.began <= now() - interval '60 s' THEN 1 ELSE l.calls + 1 END
		RETURNING calls <= 100;) =~ s/\n\s*/ /gr);
}

Bench::title('calls a second, 4 clients, 10,000 keys, exact (100 in 60 s), not preloaded');
Bench::pair(
	'a logged upsert, durable commits',
	runs => 5,
	unit => '/s',
	more => 1,
	floor => 5,
	new => [ 'rate_limit', rate($exact) ],
	old => [ 'upsert', rate($upsert{logged}) ]);
Bench::pair(
	'an unlogged upsert',
	runs => 5,
	unit => '/s',
	more => 1,
	floor => 2.5,
	new => [ 'rate_limit', rate($exact) ],
	old => [ 'upsert', rate($upsert{unlogged}) ]);
Bench::pair(
	'the bare SELECT of the key',
	runs => 9,
	unit => '/s',
	more => 1,
	floor => 0.85,
	new => [ 'rate_limit', rate($exact) ],
	old => [ 'SELECT', rate($bare) ]);
Bench::pair(
	'the bare SELECT of the key, gcra',
	runs => 9,
	unit => '/s',
	more => 1,
	floor => 0.85,
	new => [ 'rate_limit', rate($gcra) ],
	old => [ 'SELECT', rate($bare) ]);

# One call more or less inside a query: what the decision itself costs.
sub in_process
{
	my ($call, $n) = (shift, 1_000_000);
	return sub {
		my $row = $dbh->selectrow_arrayref(
			"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT $call FROM generate_series(1, $n) i"
		);
		my ($ms) = $row->[0] =~ /"Execution Time": ([\d.]+)/;
		return $ms * 1e6 / $n;
	};
}
Bench::title('inside one query, 1,000,000 calls, 10,000 keys');
my %call = (
	exact => q(cozi.rate_limit('user:' || i % 10000, 100, '60 s')),
	gcra => q(cozi.rate_limit('user:' || i % 10000, 100, '60 s', 1, 'gcra')),
	key => q(length('user:' || i % 10000)));
for my $alg (qw(exact gcra))
{
	Bench::pair(
		"$alg, per row, and the key alone",
		runs => 5,
		unit => 'ns',
		new => [ "rate_limit ($alg)", in_process($call{$alg}) ],
		old => [ 'the key', in_process($call{key}) ]);
}

# Redis, as a reference: its own client program, on a socket of its own
my $socket = "$dir/redis.sock";
my $pid = fork // die;
if ($pid == 0)
{
	open STDOUT, '>', '/dev/null';
	exec 'redis-server', '--port', 0, '--unixsocket', $socket, '--save', '', '--appendonly', 'no',
	  '--dir', $dir;
}
END { kill 'TERM', $pid if $pid; }
for (1 .. 100) { last if -S $socket; select undef, undef, undef, 0.05; }

sub redis
{
	my @cmd = ('redis-cli', '-s', $socket, @_);
	open my $p, '-|', @cmd or die;
	local $/;
	my $out = <$p>;
	$out =~ s/\s+$//;
	return $out;
}

sub redis_rate
{
	my @cmd = ('redis-benchmark', '-s', $socket, '-c', 4, '-n', 200_000, '-r', 10_000, '--csv', @_);
	return sub {
		open my $p, '-|', @cmd or die;
		my @lines = <$p>;
		my ($rps) = $lines[-1] =~ /^"(?:[^"]|"")*","([\d.]+)"/ or die @lines;
		return $rps;
	};
}
my $fixed = redis(
	'SCRIPT', 'LOAD', q(
local n = redis.call('INCR', KEYS[1])
if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return n <= tonumber(ARGV[1]) and 1 or 0));
my $log = redis(
	'SCRIPT', 'LOAD', q(
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2] * 1000000)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now, redis.call('INCR', 'seq'))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1));
Bench::title('beside Redis '
	  . (redis('INFO', 'server') =~ /redis_version:(\S+)/)[0]
	  . ' (redis-benchmark -c 4; pgbench -c 4 -j 2): a reference, not a race');
Bench::pair(
	'INCR + EXPIRE in Lua (fixed window)',
	runs => 5,
	unit => '/s',
	more => 1,
	new => [ 'rate_limit', rate($exact) ],
	old => [ 'Redis', redis_rate('EVALSHA', $fixed, 1, 'user:__rand_int__', 100, 60) ]);
Bench::pair(
	'sorted-set sliding log in Lua',
	runs => 5,
	unit => '/s',
	more => 1,
	new => [ 'rate_limit', rate($exact) ],
	old => [ 'Redis', redis_rate('EVALSHA', $log, 1, 'log:__rand_int__', 100, 60) ]);

# Memory: 1,000 keys with 1, 10 and 100 calls in the log
sub used {
	return $dbh->selectrow_array('SELECT log_blocks_used * 128 FROM cozi.rate_limit_stats');
}
sub redis_used { return (redis('INFO', 'memory') =~ /used_memory:(\d+)/)[0]; }

print "\nbytes a key, of 1,000 keys\n";
my ($bytes, $slots) =
  $dbh->selectrow_array("SELECT (bytes / 4) / 128 * 128, gcra_slots FROM cozi.rate_limit_stats");
printf "%-44s %s\n", 'gcra, any number of calls', sprintf '%.1f', $bytes / $slots;
for my $calls (1, 10, 100)
{
	my $before = used();
	$dbh->do(
		"SELECT count(*) FROM generate_series(1, 1000) i, generate_series(1, $calls) c
			WHERE cozi.rate_limit('mem$calls:' || i || repeat('', c), 100, '1 hour')"
	);
	my $mine = (used() - $before) / 1000;
	$before = redis_used();
	open my $p, '|-', "redis-cli -s $socket --pipe >/dev/null" or die;
	for my $i (1 .. 1000) { print $p "EVALSHA $log 1 mem$calls:$i 100 3600\r\n" for 1 .. $calls; }
	close $p;
	printf "%-44s %-34s %s\n", "the log of $calls calls", sprintf('exact: %.0f', $mine),
	  sprintf('Redis sorted set: %.0f', (redis_used() - $before) / 1000);
}
my $before = redis_used();
open my $p, '|-', "redis-cli -s $socket --pipe >/dev/null" or die;
print $p "EVALSHA $fixed 1 count:$_ 100 3600\r\n" for 1 .. 1000;
close $p;
printf "%-44s %-34s %s\n", 'one number', sprintf('gcra: %.1f', $bytes / $slots),
  sprintf('Redis counter: %.0f', (redis_used() - $before) / 1000);
