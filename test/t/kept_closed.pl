# Rows are closed, deleted and dropped while clients write: boards and counters
# equal a recount of the open rows and of those that were there when they were
# closed. So they do after a crash, and after each way to dump and restore.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{COZI_LONG} ? 20 : 2;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = House::server('closed');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum_naptime = 1\nmax_connections = 50\n");
$node->start;
$node->safe_psql('postgres', q{CREATE ROLE owner LOGIN; CREATE DATABASE app OWNER owner;
	ALTER ROLE owner IN DATABASE app SET search_path = app});
sub sql { return $node->safe_psql('app', $_[0]) }

# frozen is what the test knows of closed rows; a closed row is never late for it.
sql(q{
	CREATE EXTENSION cozi; SELECT cozi.grant_owner('owner');
	CREATE SCHEMA app AUTHORIZATION owner;
	SET ROLE owner; SET search_path = app;
	CREATE TABLE votes (id int, post int, value int, tags text[], at timestamptz)
		PARTITION BY RANGE (at);
	CREATE TABLE comments (id int, post int, at date);
	CREATE TABLE frozen (source text, post int, value int, tags text[], at timestamptz);
	CREATE TABLE closing (at timestamptz);
	INSERT INTO closing VALUES ('2024-01-01');
	DO $$ BEGIN FOR i IN 0 .. 9 LOOP
		EXECUTE format('CREATE TABLE votes_%s PARTITION OF votes FOR VALUES FROM (%L) TO (%L)', i,
			timestamptz '2024-01-01' + i * interval '10 days',
			timestamptz '2024-01-11' + i * interval '10 days');
	END LOOP; END $$;
	SELECT cozi.create_board('hot', 'votes', 'post', 'value', 'at', half_life => '3 days');
	SELECT cozi.add_source('hot', 'comments', 'post', factor => 0.4, voted_at => 'at');
	SELECT cozi.create_board('topics', 'votes', 'tags', voted_at => 'at', scope => 'post');
	SELECT cozi.create_counter('counts', 'votes', 'post', value => 'value');
	SELECT cozi.close_before(c, '2024-01-01', n) FROM (VALUES ('hot', NULL), ('topics', NULL),
		('counts', 'at')) x (c, n);
	SELECT cozi.hide_item('hot', '3');
	CREATE FUNCTION step(what int, n int, day int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		t timestamptz := timestamptz '2024-01-01' + day % 100 * interval '23 hours';
	BEGIN
		IF what <= 4 THEN
			INSERT INTO votes VALUES (n, n % 20, 2 - n % 4, ARRAY['a' || n % 5, 'b'], t);
		ELSIF what <= 6 THEN
			INSERT INTO comments VALUES (n, n % 20, t), (n, n % 7, t + interval '9 days');
		ELSIF what <= 7 THEN
			UPDATE votes SET value = -value, tags = tags || 'c'::text WHERE id = n;
		ELSIF what <= 8 THEN
			UPDATE votes SET id = id + 1, at = at + interval '3 hours'
			WHERE id = n AND at < '2024-04-09';
		ELSIF what <= 9 THEN
			DELETE FROM votes WHERE id % 50 = n % 50;
		ELSIF what <= 10 THEN
			DELETE FROM comments WHERE at < (SELECT max(c.at) FROM closing c) AND id % 3 = n % 3;
		ELSE
			UPDATE comments SET post = n % 9 WHERE id = n;
		END IF;
	EXCEPTION WHEN object_not_in_prerequisite_state OR check_violation THEN
		NULL; -- a late change, or one whose partition is gone
	END $$});

my $write = "$tmp/write.sql";
append_to_file(
	$write, q{
\set what random(1, 11)
\set n random(1, 500)
\set day random(1, 100)
SELECT step(:what, :n, :day);
});

my $close = q{
	SET ROLE owner; SET search_path = app; SET timezone = 'UTC';
	BEGIN;
	LOCK TABLE votes, comments IN SHARE ROW EXCLUSIVE MODE;
	INSERT INTO frozen SELECT 'votes', post, value, tags, at FROM votes
		WHERE at >= (SELECT max(at) FROM closing) AND at < 'UNTIL';
	INSERT INTO frozen SELECT 'comments', post, NULL, NULL, at FROM comments
		WHERE at >= (SELECT max(at) FROM closing) AND at < 'UNTIL';
	INSERT INTO closing VALUES ('UNTIL');
	SELECT cozi.close_before(c::regclass, 'UNTIL') FROM unnest('{hot,topics,counts}'::text[]) c;
	COMMIT;};

my $recount = q{
	SET search_path = app; SET timezone = 'UTC';
	WITH c AS (SELECT max(at) AS at FROM closing),
	v AS (SELECT v.post, v.value, v.tags, v.at FROM votes v, c WHERE v.at >= c.at
		UNION ALL SELECT post, value, tags, at FROM frozen WHERE source = 'votes'),
	m AS (SELECT m.post, m.at::timestamptz FROM comments m, c WHERE m.at >= c.at
		UNION ALL SELECT post, at FROM frozen WHERE source = 'comments'),
	r AS (SELECT post AS item, value::numeric AS w, at FROM v WHERE value <> 0
		UNION ALL SELECT post, 0.4, at FROM m),
	hot_sums AS (SELECT item, sum(greatest(w, 0)) AS ups, -sum(least(w, 0)) AS downs,
		cozi.heat_agg(w::float8, at, '3 days') FILTER (WHERE w > 0) AS heat
		FROM r WHERE item <> 3 GROUP BY item),
	topic_sums AS (SELECT post, t, count(*) AS ups, cozi.heat_agg(1, at, '6 hours') AS heat
		FROM (SELECT DISTINCT ON (v, t) post, t, at FROM
			(SELECT row_number() OVER () AS v, * FROM v) v, unnest(tags) t) x GROUP BY 1, 2),
	count_sums AS (SELECT post, count(*) AS n, sum(value) AS sum FROM v GROUP BY 1)
	SELECT (SELECT count(*) > 0 FROM frozen),
	       (SELECT count(*) FROM hot_live b FULL JOIN hot_sums t USING (item)
	        WHERE b.ups IS DISTINCT FROM round(t.ups) OR b.downs IS DISTINCT FROM round(t.downs)
	           OR abs(b.heat - CASE WHEN t.ups = 0 THEN 0 ELSE
	                  t.heat + log(2, t.ups / (t.ups + t.downs))::float8 END) > 1e-9),
	       (SELECT count(*) FROM topics_live b
	        FULL JOIN topic_sums t ON t.post = b.scope AND t.t = b.item
	        WHERE b.ups IS DISTINCT FROM t.ups OR abs(b.heat - t.heat) > 1e-9),
	       (SELECT count(*) FROM counts_live b FULL JOIN count_sums t ON t.post = b.key
	        WHERE (b.n, b.sum) IS DISTINCT FROM (t.n, t.sum)),
	       (SELECT count(*) FROM cozi.verify_board('hot')),
	       (SELECT count(*) FROM cozi.verify_board('topics')),
	       (SELECT count(*) FROM cozi.verify_counter('counts')),
	       (SELECT string_agg(DISTINCT state, ',') FROM
	        (SELECT state FROM cozi.boards UNION ALL SELECT state FROM cozi.counters) x)};
my $right = 't|0|0|0|0|0|0|ok';

my $days = 0;
for my $round (1 .. $rounds)
{
	$node->append_conf('postgresql.conf',
		$round % 2 ? "shared_preload_libraries = ''" : "shared_preload_libraries = 'cozi'");
	$node->restart;
	my ($in, $out, $err) = ('', '', '');
	my $before = sql('SELECT count(*) FROM app.votes');
	my $bench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '6', '-j', '2',
			'-T', '60', '-f', $write, '-h', $node->host,
			'-p', $node->port, '-U', 'owner', '--max-tries=50', 'app'
		],
		'<',
		\$in,
		'>',
		\$out,
		'2>',
		\$err);
	$node->poll_query_until('app', "SELECT count(*) <> $before FROM app.votes");
	for my $n (1 .. 4)
	{
		House::let_write($node, 5e5);
		$days += 40 / (4 * $rounds);
		my $until = sql(
			"SET timezone = 'UTC'; SELECT timestamptz '2024-01-01' + $days * interval '1 day'");
		sql($close =~ s/UNTIL/$until/gr);
	}
	$node->stop('immediate');
	$bench->finish;
	$node->start;
	is(sql($recount), $right, "round $round: what is closed is counted after a crash");
	sql('DELETE FROM app.votes WHERE at < (SELECT max(at) FROM app.closing); SELECT cozi.fold()');
	is(sql($recount), $right, "round $round: closed rows are deleted, and stay counted");
	sql(q{SET ROLE owner; SELECT cozi.rebuild_board(board) FROM cozi.boards;
		SELECT cozi.rebuild_counter(counter) FROM cozi.counters});
	is(sql($recount), $right, "round $round: a rebuild begins with what is closed");
}
sql('DROP TABLE app.votes_0, app.votes_1');
is(sql($recount), $right, 'closed partitions are dropped, and stay counted');

$node->command_ok([ 'pg_dump', '-f', "$tmp/app.sql", $node->connstr('app') ], 'pg_dump runs');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/app.dump", $node->connstr('app') ],
	'pg_dump makes an archive');
my %restores = (
	script => [ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$tmp/app.sql", '-d' ],
	jobs => [ 'pg_restore', '-e', '-j', '3', "$tmp/app.dump", '-d' ]);
foreach my $name (sort keys %restores)
{
	my $db = "r_$name";
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 OWNER owner");
	$node->command_ok([ @{ $restores{$name} }, $node->connstr($db) ], "$name: restores");
	is($node->safe_psql($db, $recount), $right, "$name: what is closed is counted");
	$node->safe_psql($db, q{SET ROLE owner; SET search_path = app;
		SELECT cozi.rebuild_board(board) FROM cozi.boards;
		SELECT cozi.rebuild_counter(counter) FROM cozi.counters;
		SELECT step(i % 11, i, i * 7) FROM generate_series(1, 200) i;});
	is($node->safe_psql($db, $recount), $right, "$name: it goes on, also after a rebuild");
	my ($ret, $stdout, $stderr) =
	  $node->psql($db, q{INSERT INTO app.votes VALUES (1, 1, 1, '{x}', '2024-01-31')});
	like($stderr, qr/rows of "votes" dated before .* are closed/, "$name: a late row is refused");
	# the rows of a data-only dump are not late: they were counted where they come from
	$node->command_ok(
		[
			'pg_restore', '-e', '--data-only', '-t', 'comments', '-d', $node->connstr($db),
			"$tmp/app.dump"
		],
		"$name: a table's data may be loaded again");
}
$node->stop;
done_testing();
