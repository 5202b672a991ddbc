# Why a statement is slow: its waits by sampling, its errors, its plans, and the
# client of its slowest execution.

use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;
use FindBin;
use lib $FindBin::Bin;
use Monitor;

my $interval = 10;
my $node = server('why', 'pg_stat_statements,cozi', "cozi.wait_interval = $interval",
	'wal_level = replica', 'max_wal_senders = 2');
House::keep_sessions($node);
my $q = sub { return $node->safe_psql('postgres', $_[0]); };
my $fails = sub { return ($node->psql('postgres', $_[0]))[2]; };

# A session in the background, whose statement is waited for.
sub start
{
	my ($sql) = @_;
	return IPC::Run::start([ 'psql', '-XAtqc', $sql, $node->connstr('postgres') ],
		'>', '/dev/null', '2>', '/dev/null');
}

# Wait until a session has been in a wait event for many looks of the sampler.
sub wait_for_event
{
	my ($event) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = '$event'
		AND clock_timestamp() - query_start > 20 * $interval * interval '1 ms'");
}

sub waits_of
{
	my ($like) = @_;
	return $q->("SELECT string_agg(concat_ws(':', event_type, event), ', ' ORDER BY ms DESC)
		FROM cozi.waits WHERE query LIKE '$like' AND source = 'cozi'");
}

$q->(
	'CREATE TABLE t (id int PRIMARY KEY, v int);
	INSERT INTO t SELECT i, i - 1 FROM generate_series(1, 1000) i; ANALYZE t'
);

# Waits

{
	my $holder = House::session($node, 'postgres');
	$holder->query_safe('BEGIN; LOCK TABLE t');
	my $waiter = start("UPDATE t SET v = v WHERE id = 7");
	ok(wait_for_event('relation'), 'a session waits for a lock');
	$holder->query_safe('COMMIT');
	$waiter->finish;
	$holder->quit;
	like(waits_of('UPDATE t SET v%'),
		qr/^Lock:relation\b/, 'the largest wait of the statement is for the lock');
	like($q->("SELECT waits FROM cozi.slow_queries WHERE query LIKE 'UPDATE t SET v%'"),
		qr/^Lock:relation \d+ %/, 'slow_queries shows the wait with its share');
	is( $q->(
			"SELECT abs(sum(share) - 1) < 1e-9, min(ms) > 0 FROM cozi.waits
			WHERE query LIKE 'UPDATE t SET v%'"
		),
		't|t',
		'the shares of the waits of a statement add up to 1');
}
{
	$q->("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
	my $writer = start("INSERT INTO t VALUES (2000, 0)");
	ok(wait_for_event('SyncRep'), 'a commit waits for a standby');
	$q->('ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()');
	$writer->finish;
	like(waits_of('INSERT INTO t VALUES%'),
		qr/\bIPC:SyncRep\b/, 'what its commit waited for is a wait of the statement');
}
{
	my $idle = House::session($node, 'postgres');
	$idle->query_safe('BEGIN');
	$idle->query_safe('SELECT v FROM t WHERE id = 9');
	ok(wait_for_event('ClientRead'), 'a session is idle in a transaction');
	$idle->query_safe('COMMIT');
	$idle->quit;
	unlike(waits_of('SELECT v FROM t WHERE id%') || '',
		qr/ClientRead/, 'what a session waits for between two statements is no wait of either');
}
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) FROM generate_series(1, 300000) HAVING count(*) < 0;
		SELECT count(*) > 0 FROM cozi.waits
		WHERE event_type = 'CPU' AND event IS NULL AND query LIKE 'SELECT count(*) FROM generate%'"
	),
	'a statement that waits for nothing has a row of type CPU');
is($q->("SELECT cozi.waits_of(1, 10, 1), cozi.errors_of(1, 10, 1), cozi.slowest_of(1, 10, 1)"),
	'||', 'of a statement that is not known the details are NULL');
$q->('ALTER SYSTEM SET cozi.wait_interval = 0; SELECT pg_reload_conf()');
$node->poll_query_until('postgres',
	"SELECT current_setting('cozi.wait_interval') = '0'");
$q->('SELECT cozi.latency_reset()');
$q->('SELECT pg_sleep(0.3)');
is($q->('SELECT count(*) FROM cozi.statement_waits()'), '0', 'nothing is sampled when it is off');
$q->('ALTER SYSTEM RESET cozi.wait_interval; SELECT pg_reload_conf()');

# Errors

$q->('SELECT cozi.latency_reset()');
$fails->("SELECT 10 / v FROM t WHERE id = 1") for 1 .. 2;
$q->("SELECT 10 / v FROM t WHERE id = 2");
$fails->(
	"SET cozi.slow_plan_ms = 60000; $timeout; SELECT pg_sleep(60)");
is($q->("SELECT calls, errors FROM cozi.slow_queries WHERE query LIKE 'SELECT \$1 / v FROM t%'"),
	'1|22012 2', 'slow_queries shows which errors a statement failed with, and how often');
is( $q->("SELECT errors FROM cozi.slow_queries
		WHERE query LIKE 'SELECT pg_sleep%' AND timeouts > 0"),
	'57014 1', 'a statement that always times out shows that error');
$q->(
	'CREATE FUNCTION fail(n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN RAISE EXCEPTION USING ERRCODE = format($f$P1%s$f$, lpad(n::text, 3, $f$0$f$)); END $$'
);
$fails->("SELECT fail($_)") for 1 .. 15;
is( $q->(
		"SELECT count(*), sum(count), max(count) FILTER (WHERE sqlstate = 'other')
		FROM cozi.statement_errors() WHERE sqlstate LIKE 'P1%' OR sqlstate = 'other'"
	),
	'12|15|4',
	'of the SQLSTATEs that an application makes up 11 are told apart for a statement');

# Plans

$q->('SELECT cozi.latency_reset(), pg_stat_statements_reset()');
my $by_index = 'SET enable_seqscan = off; SET enable_bitmapscan = off;';
my $by_table = 'SET enable_indexscan = off; SET enable_bitmapscan = off;';
$q->("$by_index SELECT v FROM t WHERE id = $_") for 3, 500, 7;
is($q->('SELECT count(*) FROM cozi.plan_changes'), '0', 'other constants are no other plan');
$q->("$by_table SELECT v FROM t WHERE id = $_") for 3, 7;
is( $q->(
		"SELECT calls_before, calls, mean_before_ms > 0, mean_ms > 0, changed_at <= last_seen,
		last_seen_before <= changed_at, query FROM cozi.plan_changes"
	),
	'3|2|t|t|t|t|SELECT v FROM t WHERE id = $1',
	'plan_changes shows a plan that came after another, with the figures of both');
$q->("$by_index SELECT v FROM t WHERE id = 4");
is( $q->("SELECT string_agg(p.calls::text, ',' ORDER BY first_seen) FROM cozi.statement_plans() p
		JOIN pg_stat_statements s USING (dbid, userid, queryid) WHERE query LIKE 'SELECT v FROM%'"),
	'4,2', 'a plan that comes back is the same plan');
is( $q->(
		"SET cozi.slow_plan_ms = 0; $by_index SELECT v FROM t WHERE id = 5;
		SELECT count(*) FROM cozi.slow_plans s JOIN cozi.statement_plans() p USING (queryid, planid)
		WHERE s.query LIKE 'SELECT v FROM t%'"
	),
	"4\n1",
	'a captured plan has the number of its shape');
$q->(
	'CREATE TABLE part (k int, v int) PARTITION BY RANGE (k);
	CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
	CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20);
	CREATE TABLE part3 PARTITION OF part FOR VALUES FROM (20) TO (30); CREATE INDEX ON part (k)'
);
$q->("$by_index SELECT sum(v) FROM part WHERE k BETWEEN $_ AND 22") for 1, 11, 21;
$q->("$by_index SELECT sum(v) FROM part WHERE k = $_") for 1, 11, 21;
is( $q->("SELECT max(n) FROM (SELECT count(*) AS n FROM cozi.statement_plans() p
		JOIN pg_stat_statements s USING (dbid, userid, queryid)
		WHERE query LIKE 'SELECT sum(v) FROM part%' GROUP BY queryid) c"),
	'1', 'other partitions, and more of them, are no other plan');
$q->('EXPLAIN SELECT max(v) FROM t');
is( $q->("SELECT count(*) FROM cozi.statement_plans() p
		JOIN pg_stat_statements s USING (dbid, userid, queryid) WHERE query LIKE 'EXPLAIN%'"),
	'0', 'EXPLAIN has no plan');
# Clients

$q->("SET application_name = 'slow shop'; SELECT pg_sleep(0.2)");
$q->("SET application_name = 'fast shop'; SELECT pg_sleep(0.001)");
is( $q->(
		"SELECT max_application, max_client, max_at > now() - interval '1 day'
		FROM cozi.slow_queries WHERE query LIKE 'SELECT pg_sleep%'"
	),
	'slow shop||t',
	'slow_queries shows the application of the slowest execution; a socket has no address');

# Who may see it

$q->(
	'CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA cozi TO plain;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cozi TO plain'
);
is( $q->(
		"SET SESSION AUTHORIZATION plain; SELECT 1 AS mine;
		SELECT (SELECT count(*) FROM cozi.statement_waits() WHERE userid <> 'plain'::regrole)
		+ (SELECT count(*) FROM cozi.statement_errors() WHERE userid <> 'plain'::regrole)
		+ (SELECT count(*) FROM cozi.statement_plans() WHERE userid <> 'plain'::regrole),
		(SELECT count(*) > 0 FROM cozi.statement_plans() WHERE userid = 'plain'::regrole)"
	),
	"1\n0|t",
	'a role outside pg_read_all_stats sees the details of its own statements alone');
my $key = $q->("SELECT format('%s, %s, %s', dbid, userid, queryid) FROM pg_stat_statements
	WHERE query = 'SELECT pg_sleep(\$1)'");
is( $q->(
		"SELECT (cozi.slowest_of($key)).application_name; SET SESSION AUTHORIZATION plain;
		SELECT (cozi.slowest_of($key)).application_name, cozi.waits_of($key), cozi.errors_of($key)"
	),
	"slow shop\n||",
	'the client, the waits and the errors of another role are NULL');
like(
	($node->psql('postgres', 'SET SESSION AUTHORIZATION plain; SELECT * FROM cozi.waits'))[2],
	qr/permission denied/,
	'the view waits is not granted to PUBLIC');

# A restart keeps them

my $before = $q->(
	"SELECT max_application, max_at, (SELECT count(*) FROM cozi.statement_plans() p
	WHERE p.queryid = s.queryid AND p.calls = 2), waits FROM cozi.slow_queries s
	WHERE query LIKE 'SELECT pg_sleep%'"
);
$node->restart;
is( $q->(
		"SELECT max_application, max_at, (SELECT count(*) FROM cozi.statement_plans() p
	WHERE p.queryid = s.queryid AND p.calls = 2), waits FROM cozi.slow_queries s
	WHERE query LIKE 'SELECT pg_sleep%'"
	),
	$before,
	"what is known of a statement survives a restart: $before");
$node->stop;

my $bare = server('bare', '');
is( $bare->safe_psql(
		'postgres',
		'SELECT (SELECT count(*) FROM cozi.waits), (SELECT count(*) FROM cozi.plan_changes)'
	),
	'0|0',
	'without preloading the views have no row');
for my $call ('statement_waits()', 'statement_errors()', 'statement_plans()')
{
	my (undef, undef, $err) =
	  $bare->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM cozi.$call");
	like($err, qr/ERROR:  55000: cozi must be loaded via/, "$call raises 55000 without preloading");
}
$bare->stop;

done_testing();
