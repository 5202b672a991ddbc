# Policies by cozi's predicates against the ways they are written otherwise:
# 1,000,000 posts of 200,000 authors, a role that does not own the table, CPU
# time of the backend.
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
	  'CREATE FUNCTION person(n int) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE '
	. 'RETURN md5(n::text)::uuid',
	"CREATE TABLE posts AS SELECT g AS id, person((g * 7919::bigint % $authors)::int) AS author,
		timestamptz '2026-01-01' + g * interval '1 second' AS created_at,
		-- 60 % public, 25 % for followers, 12 % for a group, 3 % private
		CASE WHEN g * 37::bigint % 100 < 60 THEN 'public'
			WHEN g * 37::bigint % 100 < 85 THEN 'followers'
			WHEN g * 37::bigint % 100 < 97 THEN 'group' ELSE 'private' END AS visibility,
		g * 31 % 2000 AS grp FROM generate_series(1, $posts) g",
	'CREATE INDEX ON posts (author, created_at DESC)',
	'CREATE INDEX ON posts (created_at DESC)',
	'CREATE TABLE follows (follower uuid, followee uuid)',
	"INSERT INTO follows SELECT person(-n), person(g * ($authors / n)) "
	. "FROM (VALUES (10), (1000), ($authors / 2)) v(n), generate_series(0, n - 1) g",
	'ALTER TABLE follows ADD PRIMARY KEY (follower, followee)',
	"SELECT cozi.register_edge('following', 'follows', 'follower', 'followee')",
	# each viewer is in 20 groups and has 50 blocks in either direction, among those of others
	'CREATE TABLE members (member uuid, grp bigint, PRIMARY KEY (member, grp))',
	"INSERT INTO members SELECT person(-n), g * 7 "
	. "FROM (VALUES (10), (1000), ($authors / 2)) v(n), generate_series(1, 20) g",
	"INSERT INTO members SELECT DISTINCT person(g % $authors), g * 7 % 2000 FROM "
	. "generate_series(1, $authors) g",
	'CREATE TABLE blocks (blocker uuid, blocked uuid, PRIMARY KEY (blocker, blocked))',
	"INSERT INTO blocks SELECT person(-n), person(g * 11) "
	. "FROM (VALUES (10), (1000), ($authors / 2)) v(n), generate_series(1, 50) g",
	"INSERT INTO blocks SELECT person(g * 17), person(-n) "
	. "FROM (VALUES (10), (1000), ($authors / 2)) v(n), generate_series(1, 50) g",
	"INSERT INTO blocks SELECT DISTINCT person(g % $authors), person(g * 7 % $authors) FROM "
	. "generate_series(1, $authors / 2) g",
	'CREATE INDEX ON blocks (blocked, blocker)',
	"SELECT cozi.register_edge('member', 'members', 'member', 'grp'), "
	. "cozi.register_edge('blocked', 'blocks', 'blocker', 'blocked')",
	'CREATE SCHEMA auth',
	q{CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
	  SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
	    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$},
	q{CREATE FUNCTION helper(author uuid) RETURNS boolean LANGUAGE plpgsql
	  STABLE SECURITY DEFINER SET search_path = '' AS $$
	  BEGIN RETURN author = auth.uid(); END $$},
	'GRANT USAGE ON SCHEMA auth TO app',
	'GRANT SELECT ON posts, follows, members, blocks TO app',
	'CREATE POLICY p ON posts USING (false)',
	'ALTER TABLE posts ENABLE ROW LEVEL SECURITY',
	'VACUUM ANALYZE');

# Milliseconds of CPU a query takes under a policy (none: as the owner), as
# somebody, whom auth.uid() knows too.
sub under
{
	my ($policy, $somebody, $query, $times) = @_;
	my ($sub) = $dbh->selectrow_array("SELECT person($somebody)");
	$dbh->do("ALTER POLICY p ON posts USING ($policy)") if $policy;
	my $claims = sub {
		$dbh->do("SELECT set_config('request.jwt.claims', ?, true)",
			undef, qq({"sub":"$sub","role":"app"}));
	};
	return Caller::asked(
		$dbh, Caller::token($sub), $query, $times,
		before => $claims,
		as_owner => !$policy);
}

# Ownership

my $count = 'SELECT count(*) FROM posts';
my ($me) = $dbh->selectrow_array('SELECT person(5)');

sub owner
{
	my ($name, $policy, $times, %o) = @_;
	Bench::pair(
		"is_owner, count(*), $name",
		runs => 3,
		unit => 'ms',
		%o,
		new => [ 'is_owner', sub { under('cozi.is_owner(author)', 5, $count, 200) } ],
		old => [
			$name,
			sub { under($policy, 5, $policy ? $count : "$count WHERE author = '$me'", $times) }
		]);
	return;
}

Bench::title("whose rows: $posts posts, CPU time");
owner('no policy, WHERE', undef, 200);
owner('a literal in the policy', "author = '$me'", 200);
owner('plpgsql helper', 'helper(author)', 1, floor => 1000);
owner('auth.uid() = author', 'auth.uid() = author', 200);
owner('(select auth.uid()) = author', '(SELECT auth.uid()) = author', 200);

# The feed, and all rows

my @queries = (
	[ 'feed', 'SELECT * FROM posts ORDER BY created_at DESC LIMIT 50', 10 ],
	[ 'count(*)', $count, 2 ]);
my @viewers = (10, 1000, $authors / 2);
my %as = (
	'EXISTS' => 'EXISTS (SELECT FROM follows WHERE follower = cozi.uid() AND followee = author)',
	'IN' => 'author IN (SELECT followee FROM follows WHERE follower = cozi.uid())',
	'ANY(array)' => 'author = ANY (ARRAY(SELECT followee FROM follows WHERE follower = cozi.uid()))'
);

sub compare
{
	my ($name, $predicate, $edges, %others) = @_;
	foreach my $query (@queries)
	{
		my ($what, $sql, $times) = @$query;
		foreach my $form (sort keys %others)
		{
			Bench::pair(
				"$name, $what, $form",
				runs => 5,
				unit => 'ms',
				new => [ $name, sub { under($predicate, -$edges, $sql, $times) } ],
				old => [ $form, sub { under($others{$form}, -$edges, $sql, 2) } ]);
		}
	}
	return;
}

foreach my $edges (@viewers)
{
	Bench::title("whom they follow: $edges followees, CPU time");
	compare('is_following', 'cozi.is_following(author)', $edges, %as);
}

# What may be seen

sub by_hand
{
	my ($following, $member, $not_blocked) = @_;
	return
		"author = cozi.uid() OR (visibility = 'public' OR visibility = 'followers' AND $following "
	  . "OR visibility = 'group' AND $member) AND $not_blocked";
}
my %views = (
	'OR of EXISTS' => by_hand(
		$as{EXISTS},
		'EXISTS (SELECT FROM members m WHERE m.member = cozi.uid() AND m.grp = posts.grp)',
		'NOT EXISTS (SELECT FROM blocks WHERE blocker = cozi.uid() AND blocked = author) '
		  . 'AND NOT EXISTS (SELECT FROM blocks WHERE blocked = cozi.uid() AND blocker = author)'),
	'OR of IN' => by_hand(
		$as{IN},
		'grp IN (SELECT m.grp FROM members m WHERE m.member = cozi.uid())',
		'author NOT IN (SELECT blocked FROM blocks WHERE blocker = cozi.uid()) '
		  . 'AND author NOT IN (SELECT blocker FROM blocks WHERE blocked = cozi.uid())'));
foreach my $edges (@viewers)
{
	Bench::title("what may be seen: $edges followees, 20 groups, 100 blocks, CPU time");
	compare('can_view', 'cozi.can_view(visibility, author, grp)', $edges, %views);
}

# What the edges cost: LOAD_FACTOR of src/edge/answer.c

Bench::title('one edge of the caller, CPU time');
my $viewer = $authors / 2;
$dbh->do('DROP INDEX blocks_blocked_blocker_idx');
Bench::pair(
	'an edge read in bulk, a target probed',
	runs => 5,
	unit => 'us',
	floor => 1,
	new => [
		'edge',
		sub {
			under(undef, -$viewer, q(SELECT cardinality(cozi.edge_targets_uuid('following'))), 3) *
			  1000 / $viewer;
		}
	],
	old => [
		'probe',
		sub {
			(   under(
					undef,
					-$viewer,
					'SELECT count(cozi.is_blocked_by(person(g))) FROM '
					  . 'generate_series(200001, 300000) g',
					1
				) - under(
					undef, -$viewer,
					'SELECT count(person(g)) FROM generate_series(200001, 300000) g', 1)) / 100;
		}
	]);
