# What measuring costs: CPU time of one backend for each statement, by
# alternation of nothing, pg_stat_statements, that and cozi's statements, that and
# its transactions.
#
# conf: shared_preload_libraries = 'pg_stat_statements,cozi'
#
# Each statement is a prepared primary-key lookup in a transaction of its own,
# sent as Bind, Execute, Sync; a burst of them is one write, and the client reads
# when the backend sleeps, so that neither the client nor the scheduler is in what
# is measured: the time the backend was on a CPU, from /proc.  Every alternation
# runs the four modes, in another order; a difference is between two bursts of one
# alternation.  They are of several starts of the server, since where a start puts
# its memory moves all of its figures by some hundredths of a microsecond; the
# interval is a bootstrap over alternations.  What the hooks of both cost while
# they are switched off is in all modes.

use strict;
use warnings;
use Bench;
use IO::Socket::UNIX;
use List::Util qw(shuffle);

my $starts = 5;
my $rounds = $ENV{BENCH_ROUNDS} || 8_000;    # of each setting of cozi.wait_interval
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
	open my $f, '<', "/proc/$pid/schedstat" or die "no /proc/$pid/schedstat: $!";
	return (split ' ', <$f>)[0];
}

sub restart
{
	my ($interval) = @_;
	system("pg_ctl -w -s -m fast -o '-c cozi.wait_interval=$interval' restart >/dev/null") == 0
	  or die 'the server did not restart';
	return;
}

my $nothing = join '; ', 'SET pg_stat_statements.track = none',
  map { "SET cozi.track_$_ = off" } qw(latency errors plans transactions);
my $statements = "$nothing; SET pg_stat_statements.track = top; SET cozi.track_latency = on; "
  . 'SET cozi.track_plans = on; SET cozi.track_errors = on';
my %mode = (
	nothing => $nothing,
	pgss => "$nothing; SET pg_stat_statements.track = top",
	statements => $statements,
	all => "$statements; SET cozi.track_transactions = on");

# CPU time in us for each statement of a burst.
sub run
{
	my ($mode) = @_;
	simple($mode{$mode});
	my $before = on_cpu();
	$sock->syswrite($requests);
	my $last = -1;
	for (my $now = $before; $now == $before || $now != $last; $now = on_cpu())
	{
		$last = $now;
		select undef, undef, undef, 0.0004;
	}
	ready($burst);
	return ($last - $before) / 1e3 / $burst;
}

# What each mode took, in alternations.
sub alternate
{
	my ($interval) = @_;
	my %took = map { $_ => [] } keys %mode;
	for my $start (1 .. $starts)
	{
		restart($interval);
		connect_raw();
		run($_) for (keys %mode) x 10;
		for my $i (1 .. $rounds / $starts)
		{
			push @{ $took{$_} }, run($_) for shuffle keys %mode;
		}
		$sock->close;
	}
	return \%took;
}

# What it says

# The median of the differences between two modes, of those alternations.
sub added
{
	my ($took, $more, $less, $rounds_of) = @_;
	return Bench::median(map { $took->{$more}[$_] - $took->{$less}[$_] } @$rounds_of);
}

# A figure, and between what 95 % of 1,000 resamples of the alternations lie.
sub row
{
	my ($label, $format, $n, $figure) = @_;
	my @s = sort { $a <=> $b } map {
		$figure->([ map { int rand $n } 1 .. $n ])
	} 1 .. 1000;
	printf "%-52s $format  (95 %%: $format .. $format)\n", $label, $figure->([ 0 .. $n - 1 ]),
	  @s[ 25, 974 ];
	return;
}

srand 1;
foreach my $interval (0, 50)
{
	my $took = alternate($interval);
	my $n = @{ $took->{nothing} };
	print "\ncost of a statement, $n alternations of $burst prepared lookups, $starts starts, "
	  . ($interval ? "waits sampled every $interval ms\n" : "no sampling\n");
	printf "%-52s %.3f us\n", 'the statement, nothing measured',
	  Bench::median(@{ $took->{nothing} });
	my @of = (
		[ 'pg_stat_statements adds', 'pgss', 'nothing' ],
		[ 'cozi adds to that', 'statements', 'pgss' ],
		[ 'the transaction of each adds to that', 'all', 'statements' ]);
	foreach my $of (@of)
	{
		my ($label, $more, $less) = @$of;
		row($label, '%.3f us', $n, sub { added($took, $more, $less, $_[0]) });
	}
	row('a statement / pg_stat_statements, at most 0.35', '%.2f', $n,
		sub { added($took, 'statements', 'pgss', $_[0]) / added($took, 'pgss', 'nothing', $_[0]) });
	row('with its transaction',
		'%.2f', $n,
		sub { added($took, 'all', 'pgss', $_[0]) / added($took, 'pgss', 'nothing', $_[0]) });
}
