# A page of a thread of 100,000 comments, the first page of a bell of 1,000,000, how
# many are unread there, and page 2,000 by a cursor: each against the query that one
# writes first.  The rows are compared before anything is timed.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Posts;

my $quick = $ENV{COZI_BENCH_QUICK};
my ($comments, $events) = $quick ? (20_000, 100_000) : (100_000, 1_000_000);
my $dbh = Bench::connect();
$dbh->do($_)
  for (
	'CREATE EXTENSION cozi',
	"CREATE TABLE comments AS SELECT g AS id, 1::bigint AS post_id,
		CASE WHEN g % 3 = 0 THEN NULL ELSE greatest(1, g - 1 - g * 7919 % 2000) END AS parent_id,
		(g * 7919 % 1000)::int AS score FROM generate_series(1::bigint, $comments) g",
	'ALTER TABLE comments ADD PRIMARY KEY (id)',
	'CREATE INDEX ON comments (post_id, parent_id, score DESC, id DESC)',
	"CREATE TABLE bell AS SELECT g AS id, 42::bigint AS user_id, 'like' AS kind, g % 1000 AS item,
		timestamptz '2026-01-01' + g * interval '1 s' AS updated_at
		FROM generate_series(1::bigint, $events) g",
	'ALTER TABLE bell ADD PRIMARY KEY (id)',
	'CREATE INDEX ON bell (user_id, updated_at DESC, id DESC)',
	'VACUUM ANALYZE');

sub rows
{
	return join "\n", map { "@$_" } @{ $dbh->selectall_arrayref($_[0]) };
}

# Compares the rows, then the times.
sub compare
{
	my ($claim, $new, $old, $times) = @_;
	die "$claim: the rows differ\n" if rows($new) ne rows($old);
	Bench::pair(
		$claim,
		runs => 5,
		new => [ 'cozi', Posts::asked($dbh, $new, 10) ],
		old => [ 'plain', Posts::asked($dbh, $old, $times) ]);
	return;
}

Bench::title("$comments comments of a post, $events events of a receiver");
compare(
	'the first 50 of a thread',
	"SELECT item FROM cozi.comment_thread('comments', '1', 50)",
	q{WITH RECURSIVE tree AS (
		SELECT id, 1 AS depth, ARRAY[-score, -id] AS place FROM comments
		WHERE post_id = 1 AND parent_id IS NULL
		UNION ALL
		SELECT c.id, t.depth + 1, t.place || ARRAY[-c.score, -c.id]
		FROM tree t JOIN comments c ON c.parent_id = t.id AND c.post_id = 1 WHERE t.depth < 8)
	  SELECT id FROM tree ORDER BY place LIMIT 50}, 1);
compare(
	'the first page of a bell',
	"SELECT item FROM cozi.feed_of('bell', '{42}'::bigint[], 20, 'user_id', rank => 'updated_at')",
	'SELECT id FROM bell WHERE user_id = 42 ORDER BY updated_at DESC, id DESC LIMIT 20',
	10);
compare(
	'unread, up to 99',
	"SELECT cozi.unread('bell', '42', NULL, rank => 'updated_at')",
	'SELECT least(count(*), 100) FROM bell WHERE user_id = 42', 1);
my ($at, $id) = @{
	$dbh->selectrow_arrayref(
		'SELECT updated_at, id FROM bell WHERE user_id = 42
		 ORDER BY updated_at DESC, id DESC OFFSET 39979 LIMIT 1')
};
compare(
	'page 2,000 of 20',
	"SELECT item FROM cozi.feed_of('bell', '{42}'::bigint[], 20, 'user_id', rank => 'updated_at',
	 after => cozi.cursor_encode('$at'::timestamptz, $id))",
	'SELECT id FROM bell WHERE user_id = 42 ORDER BY updated_at DESC, id DESC
	 OFFSET 39980 LIMIT 20', 3);
