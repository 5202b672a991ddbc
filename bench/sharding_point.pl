# What 64 shards on one machine cost the commonest query: a user's newest posts.
use strict;
use warnings;
use Bench;

my ($users, $posts) = (20_000, 1_000_000);
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
