# Who was active in a real community: every figure of demo/data equals its recount by
# plain SQL, in a zone whose clocks change in the time of the data, and at the edge of
# the world.  Its votes name no voter, so posts and comments are what is counted.
use strict;
use warnings;
use FindBin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('community');
$node->init;
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

my $data = "$FindBin::Bin/../../demo/data";
sql( qq{CREATE EXTENSION cozi;
	CREATE TABLE posts (id bigint, kind text, parent_id bigint, author_id bigint,
		created_at timestamptz, score int, views int, tags text[]);
	CREATE TABLE comments (id bigint, post_id bigint, author_id bigint, created_at timestamptz,
		score int);
	CREATE TABLE users (id bigint PRIMARY KEY, created_at timestamptz, reputation int);
	\\copy posts FROM '$data/posts.csv' CSV HEADER
	\\copy comments FROM '$data/comments.csv' CSV HEADER
	\\copy users FROM '$data/users.csv' CSV HEADER});

# The days of each user, and the figures of each day, as plain SQL finds them.
sub recount
{
	my ($zone) = @_;
	return qq{
	CREATE TEMP TABLE active AS
	SELECT DISTINCT author_id AS u, (created_at AT TIME ZONE '$zone')::date AS d
	FROM (SELECT author_id, created_at FROM posts
		UNION ALL SELECT author_id, created_at FROM comments) e WHERE author_id IS NOT NULL;
	CREATE TEMP TABLE first AS SELECT u, min(d) AS d FROM active GROUP BY u;
	CREATE TEMP TABLE figures AS
	SELECT s.d AS day,
		(SELECT count(*) FROM active a WHERE a.d = s.d) AS dau,
		(SELECT count(DISTINCT u) FROM active a WHERE a.d BETWEEN s.d - 6 AND s.d) AS wau,
		(SELECT count(DISTINCT u) FROM active a WHERE a.d BETWEEN s.d - 27 AND s.d) AS mau_28d,
		(SELECT count(DISTINCT u) FROM active a
		 WHERE date_trunc('month', a.d) = date_trunc('month', s.d)) AS mau_month,
		(SELECT count(*) FROM first f WHERE f.d = s.d) AS new
	FROM (SELECT generate_series(min(d), max(d), '1 day')::date AS d FROM active) s;};
}

foreach my $zone ('Europe/Paris', 'America/New_York', 'Pacific/Kiritimati', 'UTC')
{
	my $name = lc($zone =~ s/\W/_/r);
	sql(qq{SELECT cozi.create_activity('$name', 'posts', 'author_id', time_zone => '$zone');
		SELECT cozi.add_activity_source('$name', 'comments', 'author_id')});
	my $recount = recount($zone);
	is( sql(qq{$recount
		WITH a AS (SELECT a.* FROM (SELECT min(day), max(day) FROM figures) f (since, until),
			cozi.active_users('$name', since, until) a)
		SELECT count(*) > 150, bool_and(a.dau = f.dau AND a.wau = f.wau AND a.mau_28d = f.mau_28d
			AND a.mau_month = f.mau_month AND a.new = f.new
			AND a.dau = a.new + a."returning" + a.resurrected
			AND a.stickiness IS NOT DISTINCT FROM f.dau / nullif(f.mau_28d, 0)::float8)
		FROM a FULL JOIN figures f USING (day)}),
		't|t',
		"the figures of each day of a real community equal a recount in $zone");
	is( sql(qq{$recount
		WITH cells AS (
			SELECT date_trunc('week', f.d)::date AS cohort,
				((date_trunc('week', a.d)::date - date_trunc('week', f.d)::date) / 7) AS period,
				count(DISTINCT a.u) AS users
			FROM first f JOIN active a USING (u) GROUP BY 1, 2),
		r AS (SELECT r.* FROM (SELECT min(d), max(d) FROM active) s (since, until),
			cozi.retention('$name', 'week', since - 7, until, 10) r)
		SELECT count(*) > 200, count(*) FILTER (WHERE r.users IS NOT NULL AND
			r.users <> coalesce(c.users, 0)), count(*) FILTER (WHERE r.users > 0) > 100,
			count(*) FILTER (WHERE r.cohort IS NULL AND c.period < 10)
		FROM r FULL JOIN cells c USING (cohort, period)}),
		't|0|t|0',
		"the weekly retention of a real community equals a recount in $zone");
}
is(sql(q{SELECT sum((SELECT count(*) FROM cozi.verify_activity(activity))) FROM cozi.activities}),
	0, 'the activities of a real community equal a recount');
done_testing();
