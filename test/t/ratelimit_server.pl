# The limiter where a table could not count: preloaded and not, on a standby,
# through promotion, behind PgBouncer, after a crash, without memory.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);
use Warm;

my $long = $ENV{COZI_LONG};
my $timeout = $PostgreSQL::Test::Utils::timeout_default;    # of what hangs: no bound of speed
my %preload = (preload => "'cozi'", dsm => "''");

# Calls on a key, each by a session of its own, as "ttf".
sub calls
{
	my ($node, $n, $key, $max) = @_;
	return join '', map { $node->safe_psql('postgres',
		"SELECT cozi.rate_limit('$key', $max, '1 hour')") } 1 .. $n;
}

# The query of n calls on a named limit, answered as "ttf".
sub named
{
	my ($n, $limit, $key) = @_;
	return "SELECT string_agg(left(cozi.use_rate_limit('$limit', '$key' || repeat('', i))::text, 1),
		'')"
	  . " FROM generate_series(1, $n) i";
}

# How often a pattern is in a text.
sub occurrences
{
	my ($text, $pattern) = @_;
	my @found = $text =~ /$pattern/mg;
	return scalar @found;
}

# A psql of its own, in the background.
sub background
{
	my ($connection, @commands) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $h = IPC::Run::start([ 'psql', '-X', '-q', '-At', '-d', $connection,
		map { ('-c', $_) } @commands ],
		'<', \$in, '>', \$out, '2>', \$err);
	return { h => $h, out => \$out };
}

# Three or more of them, calling without end.
sub busy
{
	my ($node, $n, $key) = @_;
	my @busy = map {
		my $algorithm = $_ % 2 ? 'exact' : 'gcra';
		background($node->connstr('postgres'),
			"DO \$\$ BEGIN LOOP PERFORM cozi.rate_limit('$key' || (random() * 3)::int, 1000,
				'100 ms', 1, '$algorithm'); END LOOP; END \$\$");
	} 1 .. $n;
	$node->poll_query_until('postgres', qq(SELECT count(*) = $n FROM pg_stat_activity
		WHERE query LIKE 'DO %' AND state = 'active'));
	return @busy;
}

sub mode { return $_[0]->safe_psql('postgres', 'SELECT mode FROM cozi.rate_limit_stats
    WHERE name IS NULL'); }

sub new_node
{
	my ($name, $preload, @conf) = @_;
	my $node = Warm->new($name)->anew;
	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = $preload\nfsync = off\nrestart_after_crash = on\n" .
			join("\n", 'max_prepared_transactions = 4', @conf, ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cozi');
	return $node;
}

# one server, preloaded and not
for my $mode (sort keys %preload)
{
	my $node = new_node("one_$mode", $preload{$mode}, "min_dynamic_shared_memory = '20MB'");

	# memory that a parallel join has written to is what a segment is made of
	$node->safe_psql('postgres', "CREATE TABLE n AS
		SELECT -g AS i FROM generate_series(1, 300000) g; ANALYZE n;
		SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0;
		SET parallel_tuple_cost = 0; SET enable_mergejoin = off; SET work_mem = '32MB';
		SELECT count(*) FROM n a JOIN n b USING (i)") if $mode eq 'dsm';
	is(mode($node), $mode eq 'dsm' ? 'off' : 'preload', "$mode: before the first call");
	is($node->safe_psql('postgres', 'SELECT allowed IS NULL AND bytes IS NULL AND detail IS NOT NULL
		FROM cozi.rate_limit_stats'),
		$mode eq 'dsm' ? 't' : 'f', "$mode: NULL and a reason where there is no table");
	is(calls($node, 4, 'sessions', 3), 'tttf', "$mode: sessions share a budget");
	is(mode($node), $mode, "$mode: after it");
	is($node->safe_psql('postgres', 'SELECT gcra_keys, log_keys, allowed, denied
		FROM cozi.rate_limit_stats WHERE name IS NULL'), '0|1|3|1', "$mode: of one key");
	is($node->safe_psql('postgres', "BEGIN READ ONLY; SELECT cozi.rate_limit('ro', 2, '1 hour');
	ROLLBACK; SELECT cozi.rate_limit('ro', 2, '1 hour');
	SELECT cozi.rate_limit('ro', 2, '1 hour')"),
		"t\nt\nf", "$mode: a read-only transaction that rolls back counts");
	is($node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT cozi.rate_limit('sp', 1, '1 hour');
	ROLLBACK TO s; SELECT cozi.rate_limit('sp', 1, '1 hour'); COMMIT"),
		"t\nf", "$mode: so does an aborted savepoint");
	$node->safe_psql('postgres', "BEGIN; SELECT cozi.rate_limit('2pc', 3, '1 hour');
	PREPARE TRANSACTION 'a'; SELECT cozi.rate_limit('2pc', 3, '1 hour'); ROLLBACK PREPARED 'a'");
	is(calls($node, 2, '2pc', 3), 'tf',
		"$mode: and a prepared transaction, before and after its end");
	is($node->safe_psql('postgres', "BEGIN; SELECT cozi.rate_limit('2pcx', 3, '1 hour');
	PREPARE TRANSACTION 'b'; COMMIT PREPARED 'b';
	SELECT remaining FROM cozi.rate_limit_peek('2pcx', 3, '1 hour')"),
		"t\n2", "$mode: a committed one counts once");

	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION cozi');
	is($node->safe_psql('other', "SELECT cozi.rate_limit('sessions', 3, '1 hour')"), 't',
		"$mode: another database has budgets of its own");
	is($node->safe_psql('other', "SELECT cozi.rate_limit_reset('ro')"), 'f',
		"$mode: and cannot reset these");

	# a session can set neither: not now, and not before the library is loaded
	$node->safe_psql('postgres', 'CREATE ROLE someone LOGIN; GRANT USAGE ON SCHEMA cozi TO someone;
	GRANT EXECUTE ON FUNCTION cozi.rate_limit TO someone');
	for my $set ("rate_limit_memory = '2MB'", "rate_limit_on_error = 'allow'")
	{
		my ($name) = $set =~ /^(\w+)/;
		my ($rc, $out, $err) = $node->psql('postgres', "SELECT cozi.rate_limit('set', 9, '1 hour');
		SET cozi.$set", extra_params => [ '-U', 'someone' ]);
		isnt($rc, 0, "$mode: nobody sets cozi.$set");
		($rc, $out, $err) = $node->psql('postgres', "SET cozi.$set;
		SELECT cozi.rate_limit('set', 9, '1 hour'); SHOW cozi.$name",
			extra_params => [ '-U', 'someone' ], on_error_stop => 0);
		like($out, qr/^t\n(16MB|error)$/m, "$mode: nor before the library is loaded");
	}

	# A clean restart.
	$node->restart;
	is(calls($node, 4, 'sessions', 3), 'tttf', "$mode: a restart gives fresh budgets");

	# kill -9 of a backend in the middle of its calls, again and again.
	my $loops = $long ? 100 : 2;
	my ($alive, $fresh) = (0, 0);
	for my $i (1 .. $loops)
	{
		my @busy = busy($node, 3, 'busy');
		usleep(rand(50_000));
		my @pids = split /\n/, $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity
			WHERE query LIKE 'DO %'));
		kill 'KILL', $pids[ $i % @pids ];
		eval { $_->{h}->finish } for @busy;
		House::poll_through_crash($node, 'SELECT true') or last;
		$alive++;
		$fresh++ if calls($node, 2, 'sessions', 1) eq 'tf' && mode($node) eq $mode;
	}
	is($alive, $loops, "$mode: after each of $loops kill -9 the server comes back");
	is($fresh, $loops, "$mode: each time with empty counters that count");

	# Backends that are told to stop leave no lock behind.
	my @busy = busy($node, 6, 'one');
	$node->safe_psql('postgres', q(SELECT CASE WHEN pid % 2 = 0 THEN pg_cancel_backend(pid)
		ELSE pg_terminate_backend(pid) END FROM pg_stat_activity WHERE query LIKE 'DO %'
		AND pid <> pg_backend_pid()));
	eval { $_->{h}->finish } for @busy;
	is($node->safe_psql('postgres', "SET statement_timeout = '${timeout}s';
	SELECT count(cozi.rate_limit('one' || i % 4, 1000, '100 ms'))
	+ count(cozi.rate_limit('one' || i % 4, 1000, '100 ms', 1, 'gcra'))
	FROM generate_series(1, 100) i"),
		'200', "$mode: cancelled and terminated backends hold nothing");
	$node->stop;
}

# a standby counts for itself, and goes on counting when promoted
for my $mode (sort keys %preload)
{
	my $primary = new_node("primary_$mode", $preload{$mode});
	$primary->safe_psql('postgres', "SELECT cozi.create_rate_limit('login', 3, '1 hour',
		memory => '64kB')");
	$primary->backup('base');
	my $standby = Warm->new("standby_$mode")->anew;
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	$primary->wait_for_catchup($standby);

	is(calls($primary, 2, 'key', 2), 'tt', "$mode: the primary admits two");
	is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't',
		"$mode: this is a standby");
	is(calls($standby, 3, 'key', 2), 'ttf', "$mode: the standby counts, for itself");
	is($standby->safe_psql('postgres', "SELECT cozi.rate_limit('g', 1, '1 hour', 1, 'gcra'),
		cozi.rate_limit('g', 1, '1 hour', 1, 'gcra')"), 't|f',
		"$mode: gcra too");
	is(mode($standby), $mode, "$mode: its table");
	my ($rc, $out, $err) = $standby->psql('postgres', "SELECT cozi.enforce_rate_limit('key', 2,
		'1 hour')");
	like($err, qr/rate limit exceeded/, "$mode: enforced on the standby");

	# named limits: the definition is replicated, the memory is the standby's own
	is($primary->safe_psql('postgres', named(4, 'login', 'bob')), 'tttf',
		"$mode: the primary refuses the fourth call on a named limit");
	is($standby->safe_psql('postgres', named(4, 'login', 'bob')), 'tttf',
		"$mode: a standby counts calls on a named limit for itself");
	$primary->safe_psql('postgres', "SELECT cozi.alter_rate_limit('login', 5);
	SELECT cozi.create_rate_limit('late', 1, '1 hour')");
	$primary->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', named(3, 'login', 'bob') . '; ' . named(2, 'late', 'bob')),
		"ttf\ntf",
		"$mode: a standby follows a limit that the primary has altered, and one that it has " .
			"created");
	($rc, $out, $err) = $standby->psql('postgres', "SELECT cozi.create_rate_limit('own', 1,
		'1 hour')");
	like($err, qr/cannot execute .* in a read-only transaction|cannot execute .* during recovery/,
		"$mode: a standby creates no limit");
	$primary->safe_psql('postgres', "SELECT cozi.drop_rate_limit('late')");
	$primary->wait_for_catchup($standby);
	($rc, $out, $err) = $standby->psql('postgres', "SELECT cozi.use_rate_limit('late', 'bob')");
	like($err, qr/rate limit "late" does not exist/,
		"$mode: a limit that the primary has dropped is gone on the standby");
	$standby->promote;
	is($standby->safe_psql('postgres', named(1, 'login', 'bob')), 'f',
		"$mode: a promoted standby keeps what it counted on a named limit");
	is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 'f', "$mode: promoted");
	is(calls($standby, 1, 'key', 2), 'f', "$mode: it keeps what it counted as a standby");
	is(calls($standby, 2, 'new', 1), 'tf', "$mode: and counts on");
	$_->stop for $standby, $primary;
}

# without memory, by the setting
{
	my $node = new_node('memory', "''");
	$node->append_conf('postgresql.conf', "cozi.rate_limit_memory = '256GB'\n");
	$node->reload;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT cozi.rate_limit('k', 1, '1 hour')");
	like($err, qr/rate limiter has no shared memory: could not .*\nHINT:.*cozi.rate_limit_memory/s,
		'no memory: an error, with a hint');
	($rc, $out, $err) = $node->psql('postgres', q(
		SET cozi.rate_limit_on_error = 'allow';
		SELECT cozi.rate_limit('k', 1, '1 hour'), cozi.rate_limit('k', 1, '1 hour');
		SELECT * FROM cozi.rate_limit_info('k', 9, '1 hour', 2);
		SELECT cozi.rate_limit(NULL, 1, '1 hour');));
	is($out, "t|t\nt|9|7|00:00:00|00:00:00", 'allow: everybody passes');
	is(occurrences($err, 'WARNING:'), 1, 'allow: with one warning a session');
	like($err, qr/must not be null/, 'allow: bad input is still an error');
	($rc, $out, $err) = $node->psql('postgres', q(
		SET cozi.rate_limit_on_error = 'deny';
		BEGIN;
		SELECT cozi.rate_limit('k', 1, '1 hour');
		SELECT * FROM cozi.rate_limit_info('k', 9, '1 hour');
		COMMIT;
		SELECT cozi.enforce_rate_limit('k', 1, '1 hour');));
	is($out, "f\nf|9|0|01:00:00|01:00:00", 'deny: nobody does');
	like($err, qr/rate limit exceeded/, 'deny: enforced');
	is(mode($node), 'off', 'no memory: the view says so');

	$node->append_conf('postgresql.conf', "cozi.rate_limit_memory = '1MB'\n");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('cozi.rate_limit_memory', true)
		= '1MB'");
	is(calls($node, 2, 'k', 1), 'tf', 'a smaller table is had without a restart');
	is($node->safe_psql('postgres', 'SELECT bytes FROM cozi.rate_limit_stats'), 1024 * 1024,
		'of the size asked for');
	my $max = $node->safe_psql('postgres', 'SELECT log_max_calls FROM cozi.rate_limit_stats');
	is($node->safe_psql('postgres', "SELECT cozi.rate_limit('big', $max, '1 hour', $max),
		cozi.rate_limit('big', $max, '1 hour')"), 't|f',
		"exact up to $max calls");
	($rc, $out, $err) = $node->psql('postgres',
		"SELECT cozi.rate_limit('big', $max + 1, '1 hour')");
	like($err, qr/must not exceed $max for algorithm "exact".*HINT:  Use algorithm "gcra"/s,
		'more calls than the exact algorithm takes are refused with a hint');
	unlike(slurp_file($node->logfile), qr/leak|TRAP|PANIC/, 'nothing leaked');

	# A library of another layout refuses to read this table.  A process has one
	# cozi: its file is replaced under one name.  Hence a database without the
	# extension, whose event triggers would load the first.
	my $dir = PostgreSQL::Test::Utils::tempdir();
	append_to_file("$dir/stub.c", <<'END');
#include "postgres.h"
#include "fmgr.h"
#include "base/base.h"
#include "ratelimit/ratelimit.h"
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
void _PG_init(void) { cozi_shmem_init(); cozi_ratelimit_init(); }
END
	my $include = qx("$ENV{PG_CONFIG}" --includedir-server);
	chomp $include;
	system('cc', '-shared', '-fPIC', '-DCOZI_LIMITER_LAYOUT=999', '-D_GNU_SOURCE', "-I$include",
		'-Isrc', '-o', "$dir/cozi_next.so",
		"$dir/stub.c", glob('src/pure/*.c src/base/*.c src/ratelimit/*.c')) == 0
	  or BAIL_OUT('cozi_next.so does not compile');
	chmod 0755, $dir;
	$node->safe_psql('postgres', 'CREATE DATABASE next');
	$node->safe_psql('next', "CREATE FUNCTION next_rate_limit(key text, max_calls int,
		per interval, cost int = 1, algorithm text = 'exact')
		RETURNS boolean LANGUAGE c VOLATILE AS '$dir/cozi_next.so', 'cozi_rate_limit'");
	($rc, $out, $err) = $node->psql('next', "SELECT next_rate_limit('k', 1, '1 hour')");
	like($err, qr/was made by another version of cozi.*999.*HINT:  Restart the server\./s,
		'another layout is refused');
	is($node->safe_psql('next', "SET cozi.rate_limit_on_error = 'allow';
	SELECT next_rate_limit('k', 1, '1 hour'), next_rate_limit('k', 1, '1 hour')"), 't|t',
		'cozi.rate_limit_on_error handles another layout');
	is(calls($node, 1, 'k', 1), 'f', 'another layout leaves the table of this version untouched');
	$node->restart;
	is($node->safe_psql('next', "SELECT next_rate_limit('k', 1, '1 hour'),
		next_rate_limit('k', 1, '1 hour')"), 't|f',
		'a restart heals it');
	$node->stop;
}

# Definitions survive a dump and a restart, and so does the promise of memory.
{
	my $node = new_node('named', "'cozi'");
	$node->safe_psql('postgres', "SELECT cozi.create_rate_limit('login', 3, '1 hour',
		memory => '64kB');
		SELECT cozi.create_rate_limit('try', 1, '1 hour', 'gcra', shadow => true)");
	my $dump = $node->basedir . '/named.sql';
	$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ],
		'a database with named limits is dumped');
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', 'other', '-f', $dump ],
		'the dump is restored');
	is($node->safe_psql('other', 'SELECT name, max_calls, per, algorithm, memory, shadow
		FROM cozi.rate_limit_config ORDER BY name'),
		"login|3|01:00:00|exact|65536|f\ntry|1|01:00:00|gcra||t",
			'named limits come back from a dump as they were');
	is($node->safe_psql('postgres', named(4, 'login', 'bob'))
		. $node->safe_psql('other', named(4, 'login', 'bob')),
		'tttftttf', 'two databases with a limit of one name count apart');
	$node->restart;
	is($node->safe_psql('other', named(4, 'login', 'bob')), 'tttf',
		'a named limit begins anew after a restart');
	is($node->safe_psql('other', 'SELECT bytes_reserved FROM cozi.rate_limit_stats
		WHERE name IS NULL'), 65536,
		'the first call after a restart has reserved the memory of its limit');

	# A database that was dropped leaves its memory to the next that needs it.
	$node->safe_psql('other', "SELECT cozi.create_rate_limit('large', 1, '1 hour',
		memory => '5MB')");
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT cozi.create_rate_limit('large', 1,
		'1 hour', memory => '5MB')");
	like($err, qr/rate limit "large" needs 5120 kB, and \d+ kB are left/,
		'memory that another database has reserved is not given twice');
	$node->safe_psql('postgres', 'DROP DATABASE other');
	is($node->safe_psql('postgres', "SELECT cozi.create_rate_limit('large', 1, '1 hour',
		memory => '5MB'); " . named(2, 'large', 'bob')),
		"\ntf", 'the memory of a database that was dropped is found again');

	# A smaller server says so with the first call, by the setting.
	$node->append_conf('postgresql.conf', "cozi.rate_limit_memory = '2MB'\n");
	$node->restart;
	($rc, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT cozi.use_rate_limit('large', 'bob')");
	like($err, qr/53200: rate limit "large" needs 5120 kB/,
		'a limit whose memory cannot be had is an error');
	($rc, $out, $err) = $node->psql('postgres', "SET cozi.rate_limit_on_error = 'allow';
	" . named(2, 'large', 'bob') .
		"; SET cozi.rate_limit_on_error = 'deny'; " . named(2, 'large', 'bob'));
	is($out, "tt\nff", 'a limit whose memory cannot be had answers as the setting says');
	is($node->safe_psql('postgres', named(4, 'login', 'bob')), 'tttf',
		'a limit whose memory can be had is not disturbed');
	$node->stop;
}

# PgBouncer, transaction pooling: one server connection serves many clients
{
	my $node = new_node('bouncer', "''");
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $user = $node->safe_psql('postgres', 'SELECT current_user');
	my $socket = $node->host;
	my $port = $node->port;
	append_to_file("$dir/users", qq("$user" ""\n));
	append_to_file("$dir/ini", <<"END");
[databases]
postgres = host=$socket port=$port dbname=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 3
logfile = $dir/log
pidfile = $dir/pid
END
	my ($in, $out, $err) = ('', '', '');
	my $bouncer = IPC::Run::start([ 'pgbouncer', "$dir/ini" ], '<', \$in, '>', \$out, '2>', \$err);
	my $until = time + $timeout;
	usleep(50_000) until -S "$dir/.s.PGSQL.6432" || time > $until;
	# a libpq newer than PgBouncer must not ask for more than it speaks
	local $ENV{PGMAXPROTOCOLVERSION} = '3.0';
	my @clients = map {
		background("host=$dir port=6432 dbname=postgres user=$user",
			"BEGIN READ ONLY; SELECT cozi.rate_limit('bouncer', 10, '1 hour');
			ROLLBACK", "SELECT cozi.rate_limit('bouncer', 10, '1 hour')")
	} 1 .. 12;
	$_->{h}->finish for @clients;
	my $all = join '', map { ${ $_->{out} } } @clients;
	is(occurrences($all, '^t$'), 10, 'PgBouncer: 10 of 24 calls by 12 clients pass');
	is(occurrences($all, '^f$'), 14, 'PgBouncer: the others do not');
	$bouncer->signal('TERM');
	eval { $bouncer->finish };
	$node->stop;
}

done_testing();
