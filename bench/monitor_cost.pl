# What measuring costs: CPU time of one backend for each statement, by
# alternation of nothing, pg_stat_statements, pg_stat_statements and cozi.
#
# conf: shared_preload_libraries = 'pg_stat_statements,cozi'
#
# Each statement is a prepared primary-key lookup in a transaction of its own,
# sent as Bind, Execute, Sync; a burst of them is one write, so that neither
# the client nor the scheduler is in what is measured: the time the backend was
# on a CPU, from /proc (wall time where there is none).  Every alternation
# runs the three modes, in one of their six orders; the interval is a bootstrap over
# alternations.  They are of five starts of the server, since where a start puts
# its memory moves all of its figures by some hundredths of a microsecond.  What the hooks of both
# cost while they are switched off is in
# all three modes; pgbench, beside, compares servers with and without.

use strict;
use warnings;
use Bench;
use IO::Socket::UNIX;
use List::Util  qw(sum);
use Time::HiRes qw(time);

my $starts = 5;
my $rounds = $ENV{BENCH_ROUNDS} || 12_000;
my $burst = 40;

# A connection that speaks the protocol itself

my ($sock, $pid);

sub message { return $_[0] . pack('N', length($_[1]) + 4) . $_[1]; }

# Read until n times ReadyForQuery.
my $buffer = '';

sub ready
{
	my ($n) = @_;
	while ($n > 0)
	{
		while (length $buffer >= 5)
		{
			my ($type, $len) = unpack('a N', $buffer);
			last if length $buffer < $len + 1;
			die substr($buffer, 5, $len - 4) if $type eq 'E';
			$n-- if $type eq 'Z';
			substr($buffer, 0, $len + 1, '');
		}
		last if $n <= 0;
		sysread($sock, $buffer, 65536, length $buffer) or die "connection lost";
	}
	return;
}

sub simple { $sock->syswrite(message('Q', "$_[0]\0")); ready(1); return; }

my $startup = pack('N', 196608) . "user\0$ENV{PGUSER}\0database\0$ENV{PGDATABASE}\0\0";

sub connect_raw
{
	$sock = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => "$ENV{PGHOST}/.s.PGSQL.$ENV{PGPORT}")
	  or die $!;
	$buffer = '';
	$sock->syswrite(pack('N', length($startup) + 4) . $startup);
	ready(1);
	my $dbh = Bench::connect();
	($pid) = $dbh->selectrow_array(
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'
			AND pid <> pg_backend_pid()"
	);
	$dbh->disconnect;
	$sock->syswrite(
		message('P', "s\0SELECT v FROM t WHERE id = \$1::int\0" . pack('n', 0)) . message('S', ''));
	ready(1);
	return;
}

my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION pg_stat_statements');
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE TABLE t AS SELECT i AS id, i AS v FROM generate_series(1, 100000) i');
$dbh->do('ALTER TABLE t ADD PRIMARY KEY (id)');
$dbh->do('VACUUM ANALYZE t');
$dbh->disconnect;

my $requests = join '', map {
	my $id = 1 + ($_ * 7919) % 100000;
	message('B', "\0s\0" . pack('n n N/a* n', 0, 1, $id, 0))
	  . message('E', "\0" . pack('N', 0))
	  . message('S', '')
} 1 .. $burst;

sub on_cpu
{
	open my $f, '<', "/proc/$pid/schedstat" or return time * 1e9;
	my ($ns) = split ' ', <$f>;
	return $ns;
}

sub restart
{
	my ($preload) = @_;
	system("pg_ctl -w -s -m fast -o \"-c shared_preload_libraries='$preload'\" restart >/dev/null")
	  == 0
	  or die 'the server did not restart';
	return;
}

my %mode = (
	nothing => 'SET pg_stat_statements.track = none; SET cozi.track_latency = off;
	  SET cozi.track_errors = off; SET cozi.track_plans = off; SET cozi.track_transactions = off',
	pgss => 'SET pg_stat_statements.track = top; SET cozi.track_latency = off;
	  SET cozi.track_errors = off; SET cozi.track_plans = off; SET cozi.track_transactions = off',
	both =>
	  'SET pg_stat_statements.track = top; SET cozi.track_latency = on; SET cozi.track_errors = on;
	  SET cozi.track_plans = on; SET cozi.track_transactions = on',
	cozi =>
	  'SET pg_stat_statements.track = none; SET cozi.track_latency = on; SET cozi.track_errors = on;
	  SET cozi.track_plans = on; SET cozi.track_transactions = on',);

# CPU time in us for each statement of a burst.
sub run
{
	my ($mode) = @_;
	simple($mode{$mode});
	my $before = on_cpu();
	$sock->syswrite($requests);
	ready($burst);
	select(undef, undef, undef, 0.0002);    # until the backend sleeps, and is accounted for
	return (on_cpu() - $before) / 1e3 / $burst;
}

my @order = (
	[qw(nothing pgss both)], [qw(pgss both nothing)],
	[qw(both nothing pgss)], [qw(both pgss nothing)],
	[qw(nothing both pgss)], [qw(pgss nothing both)]);
my (@pgss, @cozi, @base);
for my $start (1 .. $starts)
{
	restart('pg_stat_statements,cozi');
	connect_raw();
	run($_) for (keys %mode) x 10;
	for my $i (1 .. $rounds / $starts)
	{
		my %took = map { $_ => run($_) } @{ $order[ $i % 6 ] };
		push @base, $took{nothing};
		push @pgss, $took{pgss} - $took{nothing};
		push @cozi, $took{both} - $took{pgss};
	}
	$sock->close;
}
$rounds = @base;

# What it says

# 95 % of 2,000 resamples of the alternations lie between these
sub bootstrap
{
	my ($statistic, $n) = @_;
	my @s = sort { $a <=> $b } map {
		$statistic->([ map { int rand $n } 1 .. $n ])
	} 1 .. 2000;
	return @s[ 0.025 * @s, 0.975 * @s ];
}

srand 1;
my $added = sub {
	my ($v) = @_;
	return sub { return Bench::median(@{$v}[ @{ $_[0] } ]); }
};
my $share = sub { my ($i) = @_; return Bench::median(@cozi[@$i]) / Bench::median(@pgss[@$i]); };
my $all = [ 0 .. $rounds - 1 ];

print
  "\ncost of a statement, $rounds alternations of $burst prepared lookups, one backend each of "
  . "$starts starts\n";
printf "%-52s %8.3f us\n", 'the statement, nothing measured', Bench::median(@base);
printf "%-52s %8.3f us  (95 %%: %.3f .. %.3f)\n", 'pg_stat_statements adds',
  $added->(\@pgss)->($all), bootstrap($added->(\@pgss), $rounds);
printf "%-52s %8.3f us  (95 %%: %.3f .. %.3f)\n", 'cozi adds to that', $added->(\@cozi)->($all),
  bootstrap($added->(\@cozi), $rounds);
my ($low, $high) = bootstrap($share, $rounds);
printf "%-52s %8.2f     (95 %%: %.2f .. %.2f)  at most 0.50: %s\n", 'cozi / pg_stat_statements',
  $share->($all), $low, $high, $high <= 0.5 ? 'yes' : 'NO';

# Beside: servers with and without, pgbench -S

my %tps;
restart('');
system("pgbench -i -q -s 10 $ENV{PGDATABASE} >/dev/null 2>&1") == 0 or die 'pgbench -i failed';
my @servers = ('', 'pg_stat_statements', 'pg_stat_statements,cozi');
for my $i (1 .. 5)
{
	for my $preload ($i % 2 ? @servers : reverse @servers)
	{
		restart($preload);
		Bench::pgbench(protocol => 'prepared', clients => 2, seconds => 1, args => ['-S']);
		push @{ $tps{$preload} },
		  Bench::pgbench(protocol => 'prepared', clients => 2, seconds => 3, args => ['-S']);
	}
}
print "\npgbench -S -M prepared -c 2, 5 runs of 3 s each in turn: transactions a second, and the "
  . "share of the first\n";
for my $preload (@servers)
{
	my @share = map { $tps{$preload}[$_] / $tps{''}[$_] } 0 .. 4;
	printf "%-52s %-30s %s\n", "preloaded: " . ($preload || 'nothing'),
	  Bench::spread('%.0f', @{ $tps{$preload} }), Bench::spread('%.3f', @share);
}
