# How long the swap of a split holds the table: attaching the half that stays, with
# the CHECK that says what its bound demands, and without, where it is scanned.
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my $rows = $ENV{COZI_BENCH_QUICK} ? 100_000 : 1_000_000;
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE TABLE posts (id bigint, author_id bigint, body text, PRIMARY KEY (id, author_id))
	PARTITION BY HASH (author_id)');
$dbh->do('CREATE TABLE half (LIKE posts INCLUDING ALL)');
$dbh->do("INSERT INTO half SELECT g, g, repeat('x', 100) FROM generate_series(1, 2 * $rows) g
	WHERE cozi.shard_of(g::bigint, 2) = 1 LIMIT $rows");
$dbh->do('VACUUM ANALYZE half');
$rows = $dbh->selectrow_array('SELECT count(*) FROM half');

# Milliseconds from the lock to the commit; the CHECK is made before, as split_plan() does.
sub attach
{
	my ($check) = @_;
	$dbh->do(q{ALTER TABLE half ADD CONSTRAINT split
		CHECK (satisfies_hash_partition('posts'::regclass, 2, 1, author_id))})
	  if $check;
	my $began = time;
	$dbh->begin_work;
	$dbh->do('LOCK TABLE posts IN ACCESS EXCLUSIVE MODE');
	$dbh->do('ALTER TABLE posts ATTACH PARTITION half FOR VALUES WITH (MODULUS 2, REMAINDER 1)');
	$dbh->do('ALTER TABLE half DROP CONSTRAINT split') if $check;
	$dbh->commit;
	my $took = (time - $began) * 1000;
	$dbh->do('ALTER TABLE posts DETACH PARTITION half');
	return $took;
}
Bench::title("a shard of $rows rows is attached, and the table is locked");
Bench::pair(
	'at least 5x shorter',
	runs => 7,
	unit => 'ms',
	floor => 5,
	new => [ 'with the CHECK', sub { return attach(1) } ],
	old => [ 'without', sub { return attach(0) } ]);
