# Policies as applications have them: three edges, one with a condition, in a feed
# of 1,000,000 posts; and comments that are visible when their post is.  CPU time
# of the backend, planning included, as a role that does not own the tables.
use strict;
use warnings;
use Bench;
use Caller;

my $dbh = Bench::connect();
my $posts = $ENV{COZI_BENCH_POSTS} || 1_000_000;
my $authors = $posts / 5;

Caller::prepare($dbh);
$dbh->do($_)
  for (
	# 60 % public, 25 % for followers, 12 % for a group, 3 % private
	"CREATE TABLE posts AS SELECT g::bigint AS id, (g * 7919::bigint % $authors)::bigint AS author,
		timestamptz '2026-01-01' + g * interval '1 second' AS created_at,
		CASE WHEN g * 37::bigint % 100 < 60 THEN 'public'
			WHEN g * 37::bigint % 100 < 85 THEN 'followers'
			WHEN g * 37::bigint % 100 < 97 THEN 'group' ELSE 'private' END AS visibility,
		(g * 31::bigint % 2000) AS grp FROM generate_series(1, $posts) g",
	'ALTER TABLE posts ADD PRIMARY KEY (id)',
	'CREATE INDEX ON posts (author)',
	'CREATE INDEX ON posts (created_at DESC)',
	'CREATE TABLE follows (follower bigint, followee bigint, status text, '
	. 'PRIMARY KEY (follower, followee) INCLUDE (status))',
	"INSERT INTO follows SELECT -1, g * ($authors / 1000),
		CASE WHEN g % 10 = 0 THEN 'pending' ELSE 'accepted' END
		FROM generate_series(0, 999) g",
	'CREATE TABLE members (member bigint, grp bigint, PRIMARY KEY (member, grp))',
	'INSERT INTO members SELECT -1, g * 7 FROM generate_series(1, 20) g',
	'CREATE TABLE blocks (blocker bigint, blocked bigint, PRIMARY KEY (blocker, blocked))',
	'INSERT INTO blocks SELECT -1, g * 11 FROM generate_series(1, 50) g',
	'INSERT INTO blocks SELECT g * 17, -1 FROM generate_series(1, 50) g',
	'CREATE INDEX ON blocks (blocked, blocker)',
	"SELECT cozi.register_edge('following', 'follows', 'follower', 'followee', "
	. "status => 'status', accepted => '{accepted}')",
	"SELECT cozi.register_edge('member', 'members', 'member', 'grp')",
	"SELECT cozi.register_edge('blocked', 'blocks', 'blocker', 'blocked')",
	"CREATE TABLE comments AS SELECT g::bigint AS id, (g % $authors)::bigint AS author,
		(1 + g * 7::bigint % $posts) AS post_id
		FROM generate_series(1, $posts) g",
	'CREATE INDEX ON comments (post_id)',
	'CREATE TABLE bare_comments AS TABLE comments',
	'CREATE INDEX ON bare_comments (post_id)',
	"SELECT cozi.protect('posts', 'author', 'visibility', 'grp')",
	"SELECT cozi.protect('comments', 'author', parent => 'posts', parent_key => 'post_id')",
	# the same by hand, over the same rows
	'CREATE TABLE posts_by_hand AS TABLE posts',
	'CREATE INDEX ON posts_by_hand (created_at DESC)',
	'CREATE TABLE posts_open AS TABLE posts',
	'CREATE INDEX ON posts_open (created_at DESC)',
	'ALTER TABLE posts_by_hand ENABLE ROW LEVEL SECURITY',
	"CREATE POLICY p ON posts_by_hand USING (author = cozi.uid_bigint() OR (visibility = 'public'
		OR visibility = 'followers' AND EXISTS (SELECT FROM follows
			WHERE follower = cozi.uid_bigint() AND followee = author AND status = 'accepted')
		OR visibility = 'group' AND EXISTS (SELECT FROM members m
			WHERE m.member = cozi.uid_bigint() AND m.grp = posts_by_hand.grp))
		AND NOT EXISTS (SELECT FROM blocks WHERE blocker = cozi.uid_bigint() AND blocked = author)
		AND NOT EXISTS (SELECT FROM blocks
			WHERE blocked = cozi.uid_bigint() AND blocker = author))",
	'GRANT SELECT ON ALL TABLES IN SCHEMA public TO app',
	'VACUUM ANALYZE');

my $token = Caller::token('-1');

sub compare
{
	my ($name, $times, $new, $other, $old) = @_;
	Bench::pair(
		$name,
		runs => 5,
		unit => 'ms',
		new => [ 'cozi', sub { Caller::asked($dbh, $token, $new, $times) } ],
		old => [ $other, sub { Caller::asked($dbh, $token, $old, $times) } ]);
	return;
}

Bench::title("three edges, one with a condition: $posts posts, CPU time");
my $feed = 'SELECT * FROM %s ORDER BY created_at DESC LIMIT 50';
compare(
	'can_view, feed, LIMIT 50',
	20,
	sprintf($feed, 'posts'),
	'EXISTS by hand',
	sprintf($feed, 'posts_by_hand'));
compare(
	'can_view, feed, LIMIT 50',
	20, sprintf($feed, 'posts'),
	'no policy', sprintf($feed, 'posts_open'));
compare(
	'can_view, count(*)',
	1,
	'SELECT count(*) FROM posts',
	'EXISTS by hand',
	'SELECT count(*) FROM posts_by_hand');

Bench::title("comments that are visible when their post is: $posts comments, CPU time");
my $thread = 'SELECT c.* FROM comments c WHERE c.post_id BETWEEN 1000 AND 1049';
my $by_hand = 'SELECT c.* FROM bare_comments c JOIN posts p ON p.id = c.post_id '
  . 'WHERE c.post_id BETWEEN 1000 AND 1049';
compare('comments of 50 posts', 20, $thread, 'the join by hand', $by_hand);
compare(
	'comments, count(*)',
	1,
	'SELECT count(*) FROM comments',
	'the join by hand',
	'SELECT count(*) FROM bare_comments c JOIN posts p ON p.id = c.post_id');
