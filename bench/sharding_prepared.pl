# What 64 shards on one machine cost a prepared query of one user, in milliseconds of the
# session's CPU, and the forms that cost less: a plan for each execution, and a client
# that computes shard_of() and names the shard.
use strict;
use warnings;
use Bench;

my ($users, $posts, $times) = (20_000, $ENV{COZI_BENCH_QUICK} ? 200_000 : 1_000_000, 1_000);
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE TABLE whole (id bigint, author_id bigint NOT NULL, created_at timestamptz)');
$dbh->do("INSERT INTO whole SELECT n, n % $users, timestamptz '2026-01-01' + n * interval '10 s'
	FROM generate_series(1, $posts) n");
$dbh->do('CREATE TABLE sharded (LIKE whole) PARTITION BY HASH (author_id)');
$dbh->do(q{SELECT cozi.create_shards('sharded', 64)});
$dbh->do('INSERT INTO sharded TABLE whole');
foreach my $table (qw(whole sharded))
{
	$dbh->do("CREATE INDEX ON $table (author_id, created_at)");
	$dbh->do("VACUUM ANALYZE $table");
}
my %shard = map { $_->[0] => "sharded_shard_$_->[1]" } @{ $dbh->selectall_arrayref(
	"SELECT u, cozi.shard_of(u, 64) FROM generate_series(0, $users - 1) u") };
$dbh->{pg_server_prepare} = 1;
my %prepared;

# Milliseconds of CPU a query.
sub newest
{
	my ($table, $plan) = @_;
	$dbh->do("SET plan_cache_mode = force_${plan}_plan");
	my $began = Bench::cpu($dbh);
	for (1 .. $times)
	{
		my $user = int(rand($users));
		my $from = $table || $shard{$user};
		my $statement = $prepared{"$from $plan"} //= $dbh->prepare(
			"SELECT * FROM $from WHERE author_id = ?::bigint ORDER BY created_at DESC LIMIT 10");
		$statement->execute($user);
		$statement->fetchall_arrayref;
	}
	return (Bench::cpu($dbh) - $began) / $times;
}

Bench::title("a user's ten newest of $posts posts, prepared, milliseconds of CPU");
foreach my $form (
	[ '64 shards, a generic plan', 'sharded', 'generic' ],
	[ '64 shards, force_custom_plan', 'sharded', 'custom' ],
	[ '64 shards, each by its name', '', 'generic' ])
{
	my ($name, $table, $plan) = @$form;
	Bench::pair($name, runs => 7, unit => 'ms',
		new => [ '64 shards', sub { return newest($table, $plan) } ],
		old => [ 'one table', sub { return newest('whole', 'generic') } ]);
}
