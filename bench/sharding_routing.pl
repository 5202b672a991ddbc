# shard_of costs what the hash under it costs.
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my ($rows, $calls) = (1_000_000, 10);
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE TABLE keys AS SELECT n::bigint * 7919 AS k FROM generate_series(1, ?) n', undef, $rows);
$dbh->do('VACUUM ANALYZE keys');
$dbh->do('SET max_parallel_workers_per_gather = 0');

# Nanoseconds of one evaluation, the loop around it included.
sub ns
{
	my ($expression) = @_;
	my $list = join(', ', map { my $e = $expression; $e =~ s/K/(k + $_)/; "count($e)" } 1 .. $calls);
	my $t = time;
	$dbh->do("SELECT $list FROM keys");
	return (time - $t) * 1e9 / ($rows * $calls);
}
ns('K');
my $loop = Bench::median(map { ns('K') } 1 .. 5);

Bench::title(sprintf('nanoseconds a call, less the loop around it (%.1f ns), %d calls a run', $loop, $rows * $calls));
for my $modulus (4, 64, 1024, 1000)
{
	Bench::pair("a bigint's shard of $modulus: at most 1.3x", runs => 7, unit => 'ns', floor => 0.77,
		new => [ 'shard_of', sub { ns("cozi.shard_of(K, $modulus)") - $loop } ],
		old => [ 'hashint8extended', sub { ns('hashint8extended(K, 42)') - $loop } ]);
}
