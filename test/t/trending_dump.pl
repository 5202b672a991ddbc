# Boards through a dump, on a standby, past their triggers, and out of the door.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('primary');
$node->init(allows_streaming => 'logical');
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE SCHEMA "My App";
	CREATE TABLE "My App".votes (junk int, post int, voter int, value int,
		created_at timestamptz DEFAULT now(), tags text[]) PARTITION BY RANGE (post);
	CREATE TABLE "My App".v1 PARTITION OF "My App".votes FOR VALUES FROM (0) TO (50);
	CREATE TABLE "My App".v2 PARTITION OF "My App".votes FOR VALUES FROM (50) TO (1000);
	ALTER TABLE "My App".votes DROP COLUMN junk;
	SELECT cozi.create_board('Hot', '"My App".votes', 'post', 'value');
	SELECT cozi.create_board('Tagged', '"My App".votes', 'post', 'value', scope => 'tags',
		half_life => '3 days');
	INSERT INTO "My App".votes (post, voter, value, tags) SELECT g % 100, g,
		CASE WHEN g % 7 = 0 THEN -1 ELSE 1 END, ARRAY['t' || g % 5, 'all']
		FROM generate_series(1, 5000) g;
	SELECT cozi.fold();
	ALTER TABLE "My App".votes RENAME COLUMN post TO "the post";
	BEGIN; INSERT INTO "My App".votes ("the post", voter, value, created_at, tags)
		VALUES (7, 1, 1, now(), '{x}'), (7, 2, 1, now() + interval '1 day', '{x}'); COMMIT;
});

sub wrong
{
	my ($n, $db) = @_;
	return $n->safe_psql($db, q{SELECT count(*) FROM cozi.boards b, cozi.verify_board(b.board)});
}
is(wrong($node, 'postgres'), 0, 'before the dump');

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
for my $format ([ 'plain', 'p' ], [ 'custom, four jobs', 'c' ])
{
	my ($name, $f) = @$format;
	my $db = "restored_$f";
	$node->command_ok(
		[ 'pg_dump', '-F', $f, '-f', "$tmp/dump.$f", '-d', $node->connstr('postgres') ],
		"$name: dumped");
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$node->command_ok(
		$f eq 'p'
		? [
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f',
			"$tmp/dump.p", '-d', $node->connstr($db)
		  ]
		: [ 'pg_restore', '-j', '4', '-e', '-d', $node->connstr($db), "$tmp/dump.c" ],
		"$name: restored");
	is(wrong($node, $db), 0, "$name: the board is as it was, pending and future votes too");
	is( $node->safe_psql(
			$db, q{SELECT count(*), sum(pending) > 0 OR true, sum(future) FROM cozi.boards}),
		'2|t|2',
		"$name: the list of boards");
	$node->safe_psql(
		$db, q{
		INSERT INTO "My App".votes ("the post", voter, value, tags) VALUES (7, 3, 1, '{x,y}'),
			(70, 4, -1, '{y}');
		DELETE FROM "My App".v1 WHERE voter % 3 = 0;
		CREATE TABLE "My App".v3 PARTITION OF "My App".votes FOR VALUES FROM (1000) TO (2000);
		INSERT INTO "My App".v3 ("the post", voter, value) VALUES (1001, 1, 1);
		ALTER TABLE "My App".votes RENAME COLUMN value TO weight;
		UPDATE "My App".votes SET weight = -weight WHERE voter < 100;});
	is(wrong($node, $db), 0, "$name: it goes on counting");
	$node->safe_psql($db, 'SELECT cozi.fold()');
	is(wrong($node, $db), 0, "$name: and folding");
	$node->safe_psql($db, 'DROP TABLE "My App".votes');
	is( $node->safe_psql(
			$db, q{SELECT count(*) FROM pg_class WHERE relnamespace = '"My App"'::regnamespace}),
		0,
		"$name: and goes with its votes");
}

# On a standby: live and top, to the vote
$node->backup('b');
my $standby = House::server('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->safe_psql(
	'postgres',
	q{INSERT INTO "My App".votes ("the post", voter, value) SELECT 99, 10000 + g, 1
		FROM generate_series(1, 500) g}
);
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', q{SELECT item, rank FROM cozi.top('"My App"."Hot"', 1)}),
	'99|1', 'top on a standby');
is( $standby->safe_psql('postgres', q{SELECT ups FROM "My App"."Hot_live" WHERE item = 99}),
	$node->safe_psql(
		'postgres', q{SELECT count(*) FROM "My App".votes WHERE "the post" = 99 AND value > 0}),
	'the live view on a standby');
$standby->promote;
$standby->safe_psql('postgres',
	q{INSERT INTO "My App".votes ("the post", voter, value) VALUES (99, 1, 1)});
is(wrong($standby, 'postgres'), 0, 'a promoted standby counts its votes');
$standby->stop;

# A publication of all tables does not stop a fold
$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
$node->safe_psql('postgres',
	q{INSERT INTO "My App".votes ("the post", voter, value) VALUES (98, 1, 1)});
is( $node->safe_psql('postgres', q{SELECT cozi.fold() >= 0; SELECT sum(pending) FROM cozi.boards}),
	"t\n0",
	'a publication of all tables does not stop a fold');
$node->safe_psql('postgres', 'DROP PUBLICATION everything');

# Past the triggers: shown, and mended
$node->safe_psql(
	'postgres',
	q{SET session_replication_role = replica; INSERT INTO "My App".votes ("the post", voter, value)
		VALUES (3, 77777, 1)}
);
is( $node->safe_psql(
		'postgres', q{SELECT item, true_ups - ups FROM cozi.verify_board('"My App"."Hot"')}),
	'3|1',
	'what a replica applies shows in verify_board');
$node->safe_psql(
	'postgres',
	q{ALTER TABLE "My App".v1 DISABLE TRIGGER USER;
	INSERT INTO "My App".v1 ("the post", voter, value) VALUES (4, 1, 1);
	ALTER TABLE "My App".v1 ENABLE TRIGGER USER;}
);
is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('"My App"."Hot"')}),
	2, 'what disabled triggers miss shows in verify_board');
$node->safe_psql('postgres', q{SELECT cozi.rebuild_board('"My App"."Hot"')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('"My App"."Hot"')}),
	0, 'rebuild_board mends it');

# A column renamed behind the event triggers' back: a warning, never a failed vote
$node->safe_psql(
	'postgres', q{
	ALTER EVENT TRIGGER cozi_kept_ddl DISABLE;
	ALTER TABLE "My App".votes RENAME COLUMN value TO gone;
	ALTER EVENT TRIGGER cozi_kept_ddl ENABLE;});
my ($rc, $out, $err) =
  $node->psql('postgres', q{INSERT INTO "My App".votes ("the post", voter, gone) VALUES (5, 1, 1)});
is($rc, 0, 'a vote is cast though a board cannot count it');
like(
	$err,
	qr/WARNING:  rows of "votes" are not counted by one of its boards/,
	'a vote that a board cannot count is told by a WARNING');
$node->safe_psql('postgres', q{ALTER TABLE "My App".votes RENAME COLUMN gone TO value});

# Progress and cancelling
($rc, $out, $err) = $node->psql(
	'postgres', q{
	CREATE TABLE many (post int, created_at timestamptz DEFAULT now());
	INSERT INTO many SELECT g % 10 FROM generate_series(1, 1000000) g;
	SELECT cozi.create_board('big', 'many', 'post');});
like($err, qr/NOTICE:  board "big": 1000000 rows counted/, 'a fill shows how far it is');
($rc, $out, $err) = $node->psql('postgres',
	q{SET statement_timeout = '200ms'; SELECT cozi.create_board('big2', 'many', 'post');});
like($err, qr/canceling statement due to statement timeout/, 'a fill can be cancelled');
is( $node->safe_psql(
		'postgres',
		q{SELECT to_regclass('big2') IS NULL, (SELECT count(*) FROM cozi.kept
			WHERE relation LIKE '%big2')}
	),
	't|0',
	'leaving nothing');
($rc, $out, $err) = $node->psql(
	'postgres',
	q{CREATE TABLE few (post int, created_at timestamptz DEFAULT now());
	SET lock_timeout = '200ms'; SELECT cozi.create_board('few_board', 'few', 'post');});
is($rc, 0, 'no lock is in the way of a board whose votes nobody writes');
{
	my ($in, $o) = ("BEGIN; INSERT INTO few VALUES (1); SELECT 'voted';\n", '');
	my $voter = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$in, '>', \$o, IPC::Run::timeout(60));
	$voter->pump until $o =~ /voted/;
	($rc, $out, $err) = $node->psql('postgres',
		q{SET lock_timeout = '200ms'; SELECT cozi.create_board('few_board_2', 'few', 'post');});
	like(
		$err,
		qr/canceling statement due to lock timeout/,
		'lock_timeout is honoured while a voter is under way');
	$in .= "COMMIT;\n\\q\n";
	$voter->finish;
}

# A virtual generated column is in no row that a trigger sees
if ($node->safe_psql('postgres', 'SHOW server_version_num') >= 180000)
{
	($rc, $out, $err) = $node->psql(
		'postgres', q{
		CREATE TABLE virt (post int, kind text, created_at timestamptz,
			value int GENERATED ALWAYS AS (CASE kind WHEN 'up' THEN 1 ELSE -1 END) VIRTUAL);
		SELECT cozi.create_board('virt_board', 'virt', 'post', 'value');});
	like(
		$err,
		qr/virtual generated column.*HINT:  Make it a STORED generated column/s,
		'a virtual generated column is refused');
	$node->safe_psql('postgres', 'DROP TABLE virt');
}
$node->safe_psql(
	'postgres', q{
	CREATE TABLE stored (post int, kind text, created_at timestamptz DEFAULT now(),
		value int GENERATED ALWAYS AS (CASE kind WHEN 'up' THEN 1 ELSE -1 END) STORED);
	SELECT cozi.create_board('stored_board', 'stored', 'post', 'value');
	INSERT INTO stored (post, kind) VALUES (1, 'up'), (1, 'down'), (1, 'up');});
is($node->safe_psql('postgres', 'SELECT ups, downs FROM stored_board_live'),
	'2|1', 'a stored one counts');
$node->safe_psql('postgres', 'DROP TABLE stored');

# Out of the door
($rc, $out, $err) = $node->psql('postgres', 'DROP EXTENSION cozi');
like(
	$err,
	qr/cannot drop extension cozi because other objects depend on it/,
	'DROP EXTENSION is refused while boards use it');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE uses (id int, h float8 DEFAULT cozi.heat(1, '2026-01-01', '1 day'),
		CHECK (cozi.wilson_lower(id, 0) > -1));
	CREATE INDEX ON uses (cozi.hot(id, 0, '2026-01-01 00:00+00'));
	CREATE VIEW uses_view AS SELECT cozi.hot(id, 0, '2026-01-01 00:00+00') FROM uses;
	CREATE POLICY p ON uses USING (cozi.hot(id, 0, '2026-01-01 00:00+00') > 0);
	CREATE FUNCTION uses_fn() RETURNS float8
	LANGUAGE sql RETURN cozi.heat(1, '2026-01-01', '1 day');}
);
my $plan = $node->safe_psql('postgres', 'SELECT cozi.uninstall_plan()');
like($plan, qr/drop_board\('"My App"\."Hot"'\)/, 'uninstall_plan names the boards');
$node->safe_psql('postgres', $plan);
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'cozi'}),
	0, 'the plan of uninstall_plan removes the extension');
is( $node->safe_psql(
		'postgres',
		q{SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class
			WHERE relkind IN ('r', 'p', 'v')
			AND relnamespace IN ('public'::regnamespace, '"My App"'::regnamespace)}
	),
	'few,many,uses,v1,v2,votes',
	'leaving the user his tables');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cozi%'}),
	0, 'without our triggers');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
			AND refobjid = to_regnamespace('cozi')}
	),
	0,
	'the schema of the extension is left empty');
$node->stop;
done_testing();
