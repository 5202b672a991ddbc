# A server killed while 16 clients vote, flip and retract: the board equals a
# recount, twice over (20 times with COZI_LONG), with voters folding and with
# a worker folding, with commits that wait for the disk and with some that do not.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{COZI_LONG} ? 20 : 2;
my $node = House::server('crash');
$node->init;
$node->append_conf('postgresql.conf',
		"autovacuum_naptime = 1\nmax_connections = 50\nlog_min_messages = warning\n"
	  . "max_prepared_transactions = 5\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE TABLE votes (post int, voter int, value int,
		created_at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (post, voter));
	SELECT cozi.create_board('hot', 'votes', 'post', 'value');
	SELECT cozi.create_board('slow', 'votes', 'post', 'value', half_life => '30 days');
});

# Nobody can fold while a fold is open; then the votes that came meanwhile go in a few
# commits of one voter, who does not wait between them.
my $holder = IPC::Run::start(
	[
		'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', 'BEGIN', '-c',
		q{SELECT cozi.fold('hot')}, '-c', 'SELECT pg_sleep(600)'
	],
	'>', '/dev/null', '2>', '/dev/null');
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
$node->safe_psql('postgres',
	"INSERT INTO votes SELECT g, $_, 1 FROM generate_series(1, 900) g")
  for 1 .. 3;
my $behind = $node->safe_psql('postgres',
	q{SELECT pending FROM cozi.boards WHERE board = 'hot'::regclass});
$node->safe_psql('postgres',
	q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
$holder->finish;
House::leave($node, 'postgres');    # a session that tried in vain waits for a while
$node->safe_psql('postgres', join ';', map { "INSERT INTO votes VALUES ($_, 4, 1)" } 1 .. 4);
is($behind, 2700, 'votes wait in the delta while a fold is open');
is( $node->safe_psql(
		'postgres', q{SELECT pending < 100 FROM cozi.boards WHERE board = 'hot'::regclass}),
	't',
	'a voter who finds many votes folds at each commit until few are left');
$node->safe_psql('postgres', 'TRUNCATE votes');

my $vote = "$PostgreSQL::Test::Utils::tmp_check/vote.sql";
append_to_file(
	$vote, q{
\set post random_zipfian(1, 50, 1.5)
\set voter random(1, 2000)
\set what random(1, 10)
\if :what <= 6
INSERT INTO votes VALUES (:post, :voter, 1) ON CONFLICT (post, voter) DO UPDATE
    SET value = 1, created_at = clock_timestamp();
\elif :what <= 8
UPDATE votes SET value = -value WHERE post = :post AND voter = :voter;
\elif :what <= 9
DELETE FROM votes WHERE post = :post AND voter % 50 = :voter % 50;
\else
BEGIN;
SET LOCAL synchronous_commit = off;
INSERT INTO votes SELECT :post + i, :voter, -1 FROM generate_series(1, 5) i ON CONFLICT DO NOTHING;
COMMIT;
\endif
});

for my $round (1 .. $rounds)
{
	$node->append_conf('postgresql.conf',
		$round % 2 ? "shared_preload_libraries = ''" : "shared_preload_libraries = 'cozi'");
	$node->restart;
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM votes');
	my ($in, $out, $err) = ('', '', '');
	my $bench = IPC::Run::start(
		[
			'pgbench', '-n', '-c', '16', '-j', '2',
			'-T', '60', '-f', $vote, '-h', $node->host,
			'-p', $node->port, 'postgres'
		],
		'<',
		\$in,
		'>',
		\$out,
		'2>',
		\$err);
	$node->poll_query_until('postgres', "SELECT count(*) <> $before FROM votes");
	House::let_write($node, 3e6 + rand(2e6));
	$node->stop('immediate');
	$bench->finish;
	$node->start;
	my $votes = $node->safe_psql('postgres', 'SELECT count(*) FROM votes');
	cmp_ok($votes, '!=', $before, "round $round: votes were cast until the kill ($votes rows)");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}),
		0, "round $round: the board equals a recount");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('slow')}),
		0, "round $round: the other board equals a recount");
	$node->safe_psql('postgres', 'SELECT cozi.fold()');
	is($node->safe_psql('postgres', q{SELECT sum(pending) FROM cozi.boards}),
		0, "round $round: all is folded");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}),
		0, "round $round: the folded board equals a recount");
}

# A voter's own fold is invisible to him: also where it cannot be done
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', q{INSERT INTO votes VALUES (1, 9001, 1); SELECT pg_sleep(0.3);});
{
	my ($in, $out) = ("BEGIN; LOCK TABLE hot IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n", '');
	my $psql =
	  IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \$in, '>', \$out, IPC::Run::timeout(60));
	$psql->pump until $out =~ /locked/;
	is( $node->safe_psql(
			'postgres',
			q{SET lock_timeout = '5s'; INSERT INTO votes VALUES (1, 9002, 1); SELECT 'voted'}),
		'voted',
		'a vote waits for no lock on the board');
	$in .= "COMMIT; BEGIN; SELECT 'rows' FROM hot WHERE item = 1 FOR UPDATE;\n";
	$psql->pump until $out =~ /rows/;
	is( $node->safe_psql(
			'postgres',
			q{SET lock_timeout = '5s'; INSERT INTO votes VALUES (1, 9003, 1); SELECT pg_sleep(0.3);
			INSERT INTO votes VALUES (1, 9004, 1); SELECT 'voted'}
		),
		"\nvoted",
		'a vote waits for no lock on a row of the board');
	$in .= "COMMIT;\n";
	$psql->finish;
}
$node->safe_psql(
	'postgres', q{SET session_replication_role = replica;
	CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'never'; END$$;
	CREATE TRIGGER never BEFORE INSERT OR UPDATE ON hot FOR EACH ROW EXECUTE FUNCTION never()});
is( $node->safe_psql(
		'postgres', q{SELECT pg_sleep(0.6); INSERT INTO votes VALUES (1, 9005, 1); SELECT 'voted'}),
	"\nvoted",
	'no trigger on the board reaches a vote');
is( $node->safe_psql(
		'postgres', q{SELECT state, pending > 0 FROM cozi.boards WHERE board = 'hot'::regclass}),
	'stalled|t',
	'a board with a trigger is stalled, and its votes are pending');
$node->safe_psql('postgres', q{DROP TRIGGER never ON hot; SELECT cozi.fold()});
is( $node->safe_psql(
		'postgres',
		q{SELECT state, pending, last_error IS NULL FROM cozi.boards WHERE board = 'hot'::regclass}
	),
	'ok|0|t',
	'a board without the trigger folds again');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}),
	0, 'the votes of the meantime are counted once');

# Of an unlogged table a crash leaves nothing, nor of its board: closed rows too
$node->safe_psql(
	'postgres', q{CREATE UNLOGGED TABLE quick (post int, created_at timestamptz DEFAULT now());
	SELECT cozi.create_board('quick_hot', 'quick', 'post');
	INSERT INTO quick VALUES (1, '2020-01-01'), (2, now()), (2, now());
	SELECT cozi.fold('quick_hot'), cozi.close_before('quick_hot', '2021-01-01');
	INSERT INTO quick VALUES (3)});

# A prepared vote counts when it is committed, and stops nobody
$node->safe_psql('postgres',
	q{BEGIN; INSERT INTO votes VALUES (60, 1, 1); PREPARE TRANSACTION 'vote'});
$node->safe_psql('postgres', q{INSERT INTO votes VALUES (60, 2, 1); SELECT cozi.fold()});
is($node->safe_psql('postgres', q{SELECT ups FROM hot WHERE item = 60}),
	1, 'a prepared vote does not count');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q{COMMIT PREPARED 'vote'});
is($node->safe_psql('postgres', q{SELECT ups FROM hot_live WHERE item = 60}),
	2, 'a prepared vote counts when it is committed, a crash later');
is( $node->safe_psql(
		'postgres', q{SELECT (SELECT count(*) FROM quick), (SELECT count(*) FROM quick_hot_live),
		(SELECT count(*) FROM cozi.kept_state_unlogged), (SELECT state FROM cozi.boards
		WHERE board = 'quick_hot'::regclass)}
	),
	'0|0|0|ok',
	'a crash empties the board of an unlogged table together with the table');
$node->safe_psql('postgres', q{INSERT INTO quick VALUES (4); SELECT cozi.fold('quick_hot')});
is($node->safe_psql('postgres', q{SELECT item, ups FROM quick_hot}),
	'4|1', 'the board of an unlogged table counts again after a crash');
$node->safe_psql('postgres', 'DROP TABLE quick');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}),
	0, 'a prepared vote counts once');

# The worker: one while there are votes, none after
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cozi'");
$node->restart;
$node->safe_psql('postgres', q{INSERT INTO votes VALUES (61, 1, 1)});
$node->safe_psql('postgres', q{INSERT INTO votes VALUES (61, 2, 1)});
ok($node->poll_query_until('postgres', q{SELECT ups = 2 FROM hot WHERE item = 61}),
	'a worker folds');
# it may have gone meanwhile, for want of votes
ok( $node->poll_query_until(
		'postgres',
		q{WITH vote AS (INSERT INTO votes VALUES (62, (random() * 1e9)::int, 1))
		SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cozi fold worker'}),
	'there is one worker while there are votes');
$node->safe_psql('postgres',
	q{BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO votes VALUES (61, 3, 1); COMMIT});
ok($node->poll_query_until('postgres', q{SELECT ups = 3 FROM hot WHERE item = 61}),
	'the worker folds what serializable voters leave');
ok( $node->poll_query_until(
		'postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cozi fold worker'}),
	'the worker goes when nobody votes');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
is($node->safe_psql('copy', q{SELECT count(*) FROM cozi.verify_board('hot')}),
	0, 'a copied database has its board');
$node->safe_psql('copy', q{INSERT INTO votes VALUES (61, 9, 1)});
is($node->safe_psql('copy', q{SELECT ups FROM hot_live WHERE item = 61}),
	4, 'a copied database goes on counting');
$node->safe_psql('postgres', 'DROP DATABASE copy WITH (FORCE)');
$node->stop;
done_testing();
