# Boards of several sources, with hidden items and array items, equal a recount
# after random statements on every source: killed in the middle, dumped and
# restored; and an owner who was given one of the sources holds nobody up.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{COZI_LONG} ? 20 : 2;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = House::server('sources');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum_naptime = 1\nmax_connections = 50\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE ROLE owner LOGIN; CREATE ROLE mallory LOGIN;
	CREATE DATABASE app OWNER owner; ALTER ROLE owner IN DATABASE app SET search_path = app});
sub sql { return $node->safe_psql('app', $_[0]) }
sql(q{
	CREATE EXTENSION cozi; SELECT cozi.grant_owner('owner');
	CREATE SCHEMA app AUTHORIZATION owner; GRANT USAGE ON SCHEMA app TO mallory;
	SET ROLE owner; SET search_path = app;
	CREATE TABLE votes (post bigint, voter int, value smallint,
		created_at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (post, voter));
	CREATE TABLE comments (id int, post bigint, created_at timestamptz DEFAULT clock_timestamp())
		PARTITION BY HASH (id);
	CREATE TABLE comments_0 PARTITION OF comments FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE comments_1 PARTITION OF comments FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	CREATE TABLE views (post bigint, n int, day date DEFAULT '2026-06-01');
	CREATE TABLE posts (id bigint PRIMARY KEY, tags text[], grp int[],
		created_at timestamptz DEFAULT clock_timestamp());
	CREATE TABLE reports (post bigint, created_at timestamp DEFAULT '2026-06-01');
	CREATE TABLE uses (tag text, grp int, created_at timestamptz DEFAULT clock_timestamp());
	SELECT cozi.create_board('hot', 'votes', 'post', 'value');
	SELECT cozi.add_source('hot', 'comments', 'post', factor => 0.7);
	SELECT cozi.add_source('hot', 'views', 'post', 'n', 0.0123, 'day');
	SELECT cozi.add_source('hot', 'posts', 'id');
	SELECT cozi.add_source('hot', 'reports', 'post', factor => -3);
	SELECT cozi.create_board('topics', 'posts', 'tags', scope => 'grp', half_life => '1 day');
	SELECT cozi.add_source('topics', 'uses', 'tag', factor => 0.25, scope => 'grp');
	SELECT cozi.hide_item('hot', '3'), cozi.hide_item('topics', 't3')});

my $write = "$tmp/write.sql";
append_to_file(
	$write, q{
\set post random_zipfian(1, 40, 1.3)
\set id random(1, 2000)
\set what random(1, 14)
\if :what <= 3
INSERT INTO votes VALUES (:post, :id, 1) ON CONFLICT (post, voter) DO UPDATE
    SET value = -votes.value, created_at = clock_timestamp();
\elif :what <= 5
INSERT INTO comments VALUES (:id, :post), (:id + 1, :post);
\elif :what <= 6
UPDATE comments SET id = id + 1, post = :post WHERE id = :id;
\elif :what <= 7
DELETE FROM comments WHERE id % 100 = :id % 100;
\elif :what <= 8
INSERT INTO views VALUES (:post, :id % 77), (NULL, 5), (:post, NULL);
UPDATE views SET n = n + 1, post = :post WHERE post = :id % 40 AND n < 9;
\elif :what <= 9
INSERT INTO posts VALUES (:post, ARRAY['t' || :id % 7, 't' || :id % 5, NULL], ARRAY[1, :id % 3])
    ON CONFLICT (id) DO UPDATE SET tags = posts.tags || EXCLUDED.tags, grp = EXCLUDED.grp;
\elif :what <= 10
DELETE FROM posts WHERE id = :post;
\elif :what <= 11
BEGIN;
INSERT INTO reports VALUES (:post);
SAVEPOINT s;
DELETE FROM reports;
DELETE FROM votes WHERE post = :post;
ROLLBACK TO s;
INSERT INTO uses SELECT 't' || i, i % 3 FROM generate_series(1, 9) i;
COMMIT;
\elif :what <= 12
DELETE FROM uses WHERE tag = 't' || :id % 9;
\elif :what <= 13
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO comments VALUES (:id, :post);
INSERT INTO uses VALUES (NULL, 1), ('t1', NULL), ('t1', 1);
ROLLBACK;
\else
DELETE FROM reports WHERE post = :post;
\endif
});

# A recount of the tables, in SQL of its own; what differs, by board.
my $recount = q{
	SET search_path = app;
	WITH hot_rows AS (
		SELECT post AS item, value::numeric AS w, created_at AS at FROM votes
		UNION ALL SELECT post, 0.7, created_at FROM comments
		UNION ALL SELECT post, round(n * 0.0123, 3), day::timestamp AT TIME ZONE 'UTC' FROM views
		UNION ALL SELECT id, 1, created_at FROM posts
		UNION ALL SELECT post, -3, created_at AT TIME ZONE 'UTC' FROM reports),
	hot_sums AS (
		SELECT item, sum(greatest(w, 0)) AS ups, -sum(least(w, 0)) AS downs,
		       cozi.heat_agg(w::float8, at, interval '6 hours') FILTER (WHERE w > 0) AS heat
		FROM hot_rows WHERE w <> 0 AND item <> 3 GROUP BY item),
	topic_rows AS (
		SELECT DISTINCT p.id, g AS scope, t AS item, 1::numeric AS w, created_at AS at
		FROM posts p, unnest(tags) t, unnest(grp) g
		UNION ALL SELECT NULL, grp, tag, 0.25, created_at FROM uses),
	topic_sums AS (
		SELECT scope, item, sum(w) AS ups, 0::numeric AS downs,
		       cozi.heat_agg(w::float8, at, interval '1 day') AS heat
		FROM topic_rows WHERE item <> 't3' AND scope IS NOT NULL GROUP BY 1, 2)
	SELECT (SELECT count(*) FROM hot_sums),
	       (SELECT count(*) FROM hot_live b FULL JOIN hot_sums t ON t.item = b.item
	        WHERE b.ups IS DISTINCT FROM round(t.ups) OR b.downs IS DISTINCT FROM round(t.downs)
	           OR abs(b.heat - CASE WHEN t.ups = 0 THEN 0 ELSE
	                  t.heat + log(2, t.ups / (t.ups + t.downs))::float8 END) > 1e-9),
	       (SELECT count(*) FROM topics_live b
	        FULL JOIN topic_sums t ON (t.scope, t.item) = (b.scope, b.item)
	        WHERE b.ups IS DISTINCT FROM round(t.ups) OR abs(b.heat - t.heat) > 1e-9),
	       (SELECT count(*) FROM cozi.verify_board('hot')),
	       (SELECT count(*) FROM cozi.verify_board('topics')),
	       (SELECT string_agg(state, ',') FROM cozi.boards)};

for my $round (1 .. $rounds)
{
	$node->append_conf('postgresql.conf',
		$round % 2 ? "shared_preload_libraries = ''" : "shared_preload_libraries = 'cozi'");
	$node->restart;
	my $before = sql('SELECT count(*) FROM app.comments');
	my ($in, $out, $err) = ('', '', '');
	my $bench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '8', '-j', '2',
			'-T', '60', '-f', $write, '-h', $node->host,
			'-p', $node->port, '-U', 'owner', '--max-tries=20', 'app'
		],
		'<',
		\$in,
		'>',
		\$out,
		'2>',
		\$err);
	$node->poll_query_until('app', "SELECT count(*) <> $before FROM app.comments");
	House::let_write($node, 15e5);
	$node->stop('immediate');
	$bench->finish;
	$node->start;
	like(sql($recount), qr/^[1-9]\d+\|0\|0\|0\|0\|ok,ok$/,
		"round $round: the boards equal a recount after a crash");
	sql('SELECT cozi.fold()');
	like(sql($recount), qr/^[1-9]\d+\|0\|0\|0\|0\|ok,ok$/,
		"round $round: the folded boards equal a recount");
	sql(q{TRUNCATE app.reports; SET ROLE owner;
		SELECT cozi.rebuild_board(b.board) FROM cozi.boards b});
	like(sql($recount), qr/^[1-9]\d+\|0\|0\|0\|0\|ok,ok$/,
		"round $round: the rebuilt boards equal a recount");
}

# Every way to dump and restore, with votes and comments that are pending.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
sql(q{SET ROLE owner; BEGIN; SELECT cozi.fold();
	INSERT INTO app.comments SELECT i, i % 50 FROM generate_series(1, 100) i; COMMIT});
$node->command_ok([ 'pg_dump', '-f', "$tmp/app.sql", $node->connstr('app') ],
	'a superuser dumps as a script');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/app.dump", $node->connstr('app') ],
	'a superuser dumps as an archive');
my $sources = q{SELECT string_agg(s::text, ' ' ORDER BY s::text) FROM cozi.board_sources s};
my $expected = sql($sources);
my %restores = (
	script => [ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$tmp/app.sql", '-d' ],
	jobs => [ 'pg_restore', '-e', '-j', '3', "$tmp/app.dump", '-d' ],
	clean => [ 'pg_restore', '-e', '--clean', '--if-exists', "$tmp/app.dump", '-d' ]);
# as clean does, where nothing is
$restores{archive} = [ 'pg_restore', '-e', "$tmp/app.dump", '-d' ] if $ENV{COZI_LONG};
foreach my $name (sort keys %restores)
{
	my $db = "r_$name";
	my $template = $name eq 'clean' ? 'app' : 'template0';
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE $template OWNER owner");
	$node->command_ok([ @{ $restores{$name} }, $node->connstr($db) ], "$name: restores");
	like($node->safe_psql($db, $recount), qr/^[1-9]\d+\|0\|0\|0\|0\|ok,ok$/,
		"$name: the boards equal a recount");
	is($node->safe_psql($db, $sources), $expected, "$name: every source is there");
	$node->safe_psql($db, q{SET ROLE owner; SET search_path = app;
		INSERT INTO views VALUES (1, 100); DELETE FROM posts WHERE id < 9; TRUNCATE comments_1;
		SELECT cozi.fold()});
	like($node->safe_psql($db, $recount), qr/^[1-9]\d+\|0\|0\|0\|0\|ok,ok$/,
		"$name: the boards go on counting every source");
	is( $node->safe_psql($db, q{DROP TABLE app.views CASCADE; DROP TABLE app.posts;
			SELECT (SELECT count(*) FROM cozi.kept) + (SELECT count(*) FROM cozi.kept_source)
			+ (SELECT count(*) FROM cozi.kept_source_local) + (SELECT count(*) FROM cozi.kept_state)
			+ (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cozi_count_%')}),
		0,
		"$name: nothing is left once the sources are dropped");
}

# Mallory is given one source, and holds a lock on it: nobody waits.
sql('ALTER TABLE app.views OWNER TO mallory');
my ($in, $out) = ("BEGIN; LOCK TABLE app.views; SELECT 'locked';\n", '');
my $psql = IPC::Run::start(
	[ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-U', 'mallory', 'app' ],
	'<', \$in, '>', \$out, IPC::Run::timeout(180));
$psql->pump until $out =~ /locked/;
my $owner = "SET lock_timeout = '20s'; SET ROLE owner; SET search_path = app;";
is( sql(qq{$owner INSERT INTO votes VALUES (1, 99999, 1); SELECT state FROM cozi.boards
		WHERE board = 'hot'::regclass}),
	'stalled',
	'a board whose source another owner has is stalled');
my ($ret, $stdout, $stderr) = $node->psql('app', "$owner SELECT cozi.verify_board('hot')");
like($stderr, qr/not the owner of its source "views"/, 'a recount is refused without a wait');
is(sql("$owner SELECT cozi.remove_source('hot', 'views'); SELECT state FROM cozi.boards
		WHERE board = 'hot'::regclass"),
	"\nok", 'the source is removed without a wait');
$in .= "INSERT INTO app.views VALUES (1, 1); COMMIT;\n\\q\n";
$psql->finish;
is(sql("$owner SELECT count(*) FROM cozi.verify_board('hot')"),
	0, 'the board equals a recount of the sources that are left');
is(sql("$owner SELECT cozi.drop_board('hot'), cozi.drop_board('topics');
		SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cozi_count_%'
		AND tgrelid <> 'views'::regclass"),
	"|\n0", 'the boards are dropped, and no source is watched');
$node->stop;
done_testing();
