# What 64 shards on one machine cost the commonest query: a user's newest posts; and the
# forms of a prepared query that cost less.
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my ($users, $posts) = (20_000, $ENV{COZI_BENCH_QUICK} ? 200_000 : 1_000_000);
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do(
	'CREATE TABLE whole (id bigint NOT NULL, author_id bigint NOT NULL,
		created_at timestamptz NOT NULL, body text NOT NULL)'
);
$dbh->do(
	q{INSERT INTO whole SELECT n, (random() * ?)::bigint,
	timestamptz '2026-01-01' + n * interval '10 s', repeat('x', 100)
	FROM generate_series(1, ?) n}, undef, $users, $posts);
$dbh->do('CREATE TABLE sharded (LIKE whole) PARTITION BY HASH (author_id)');
$dbh->do("CREATE TABLE sharded_$_ PARTITION OF sharded FOR VALUES WITH (MODULUS 64, REMAINDER $_)")
  for 0 .. 63;
$dbh->do('INSERT INTO sharded TABLE whole');
for my $t (qw(whole sharded))
{
	$dbh->do("CREATE INDEX ON $t (author_id, created_at)");
	$dbh->do("VACUUM ANALYZE $t");
}

my %script;
for my $t (qw(whole sharded))
{
	$script{$t} = "$ENV{COZI_WORK}/$t.sql";
	open(my $f, '>', $script{$t}) or die $!;
	print $f "\\set u random(1, $users)\n"
	  . "SELECT * FROM $t WHERE author_id = :u ORDER BY created_at DESC LIMIT 10;\n";
	close $f;
}

Bench::title("a user's ten newest of $posts posts, transactions a second, one client");
for my $case ([ 'simple', 1.3 ], [ 'prepared', 1.6 ])
{
	my ($protocol, $most) = @$case;
	Bench::pair(
		"$protocol protocol: at most ${most}x slower",
		runs => 7,
		unit => 'tps',
		more => 1,
		floor => sprintf('%.2f', 1 / $most),
		new => [
			'64 shards',
			sub {
				Bench::pgbench(protocol => $protocol, files => [ $script{sharded} ], seconds => 3);
			}
		],
		old => [
			'one table',
			sub { Bench::pgbench(protocol => $protocol, files => [ $script{whole} ], seconds => 3) }
		]);
}

# A client that computes shard_of() names the partition: a plan for each, of one table.
my %shard = map { $_->[0] => $_->[1] } @{ $dbh->selectall_arrayref(
	"SELECT u, cozi.shard_of(u, 64) FROM generate_series(0, $users) u") };
$dbh->{pg_server_prepare} = 1;
my %prepared;

sub newest
{
	my ($table, $setting) = @_;
	my $began = time;
	$dbh->do("SET plan_cache_mode = $setting");
	for (1 .. 2000)
	{
		my $user = int(rand($users + 1));
		my $from = $table eq 'named' ? "sharded_$shard{$user}" : $table;
		my $statement = $prepared{"$from $setting"} //= $dbh->prepare(
			"SELECT * FROM $from WHERE author_id = ?::bigint ORDER BY created_at DESC LIMIT 10");
		$statement->execute($user);
		$statement->fetchall_arrayref;
	}
	return (time - $began) * 1000 / 2000;
}

Bench::title('the same, prepared by a driver, milliseconds');
foreach my $form (
	[ '64 shards, generic plan', 'sharded', 'force_generic_plan' ],
	[ '64 shards, force_custom_plan', 'sharded', 'force_custom_plan' ],
	[ '64 shards, each by its name', 'named', 'force_generic_plan' ])
{
	my ($name, $table, $setting) = @$form;
	Bench::pair(
		$name,
		runs => 7,
		unit => 'ms',
		new => [ '64 shards', sub { return newest($table, $setting) } ],
		old => [ 'one table', sub { return newest('whole', 'force_generic_plan') } ]);
}
