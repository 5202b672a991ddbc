# shard_of costs what the hash under it costs.  A call takes nanoseconds, so 32
# of them stand in each row's expression, and what counts is the CPU time of
# the server process, less that of the same expression without the calls.
use strict;
use warnings;
use Bench;

my ($rows, $calls) = (500_000, 32);
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE TABLE keys AS SELECT n::bigint * 7919 AS k FROM generate_series(1, ?) n',
	undef, $rows);
$dbh->do('VACUUM ANALYZE keys');
$dbh->do('SET max_parallel_workers_per_gather = 0');
my ($pid) = $dbh->selectrow_array('SELECT pg_backend_pid()');

sub cpu_ns
{
	open my $f, '<', "/proc/$pid/schedstat" or die $!;
	return (split ' ', <$f>)[0];
}

sub ns
{
	my ($expression) = @_;
	my $all = join(' # ', map { my $e = $expression; $e =~ s/K/(k + $_)/; $e } 1 .. $calls);
	my $before = cpu_ns();
	$dbh->do("SELECT count($all) FROM keys");
	return (cpu_ns() - $before) / ($rows * $calls);
}

sub call
{
	my ($expression) = @_;
	return sub { return ns($expression) - ns('K'); };
}

Bench::title(sprintf('nanoseconds of CPU a call, %d calls a run', $rows * $calls));
for my $modulus (4, 64, 1024, 1000)
{
	Bench::pair(
		"a bigint's shard of $modulus: at most 1.3x",
		runs => 9,
		unit => 'ns',
		floor => 0.77,
		new => [ 'shard_of', call("cozi.shard_of(K, $modulus)") ],
		old => [ 'hashint8extended', call('hashint8extended(K, 42)') ]);
}
