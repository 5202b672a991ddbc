# One row, one life: what is evicted, reset, restarted, made up or dropped never
# gives a false figure, and no role fills the tables.

use strict;
use warnings;
use House;
use Monitor '$timeout';
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $node = Warm->new('life');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements,cozi'
pg_stat_statements.max = 500
pg_stat_statements.track = 'all'
cozi.max_statements = 500
fsync = off
autovacuum = off
max_connections = 20
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION cozi;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE client LOGIN;
CREATE TABLE t (i int);
CREATE TABLE important AS SELECT g AS i FROM generate_series(1, 1000) g;
CREATE FUNCTION nested() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); END $$;
CREATE FUNCTION fail(code text) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN RAISE 'made up' USING ERRCODE = code; END $$;
SQL

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub as
{
	my ($role, $sql) = @_;
	return $node->psql('postgres', $sql, extra_params => [ '-U', $role ], on_error_stop => 0);
}
sub taken { sql('SELECT cozi.snapshot()'); return sql('SELECT max(taken_at) FROM cozi.snapshots') }

# a counter that pg_stat_statements forgot and that has grown past its old value
sub delta
{
	my ($since) = @_;
	return sql(
		"SELECT d.calls, d.restarted, d.mean_ms >= 100 FROM cozi.statement_deltas('$since') d
		WHERE cozi.query_text(d.dbid, d.userid, d.queryid) LIKE 'SELECT pg_sleep%FROM t'");
}
my $forget = "SELECT pg_stat_statements_reset(userid, dbid, queryid) FROM pg_stat_statements
      WHERE query LIKE 'SELECT pg_sleep%FROM t'";
sql('SELECT pg_sleep(0.02), count(*) FROM t;' x 5);
my $since = taken();
sql('SELECT pg_sleep(0.1), count(*) FROM t;' x 2);
is(delta($since), '2|f|t', 'a statement that goes on is subtracted');
sql($forget);
sql('SELECT pg_sleep(0.05), count(*) FROM t;' . 'SELECT pg_sleep(0.125), count(*) FROM t;' x 7);
is(delta($since), '8|t|t',
	'a statement that was forgotten and grew past its old counters is not subtracted');
is( sql("SELECT cozi.histogram_count(cozi.latency_window(d.dbid, d.userid, d.queryid, '$since'))
    FROM cozi.statement_deltas('$since') d
	WHERE cozi.query_text(d.dbid, d.userid, d.queryid) LIKE 'SELECT pg_sleep%FROM t'"),
	'10',
	'its histogram has all executions of the window');
my $again = taken();
sql('SELECT cozi.latency_reset()');
sql('SELECT pg_sleep(0.1), count(*) FROM t;' x 3);    # none is the new minimum
is(delta($again), '3|f|t', 'cozi forgot it and pg_stat_statements did not: it is subtracted');
sql('SET cozi.track_latency = off; SELECT cozi.snapshot()');
$again = sql('SELECT max(taken_at) FROM cozi.snapshots');
my $slower = sql("SELECT max_exec_time / 1000 + 0.05 FROM pg_stat_statements
    WHERE query LIKE 'SELECT pg_sleep%FROM t'");
sql($forget);
sql('SELECT cozi.latency_reset()');
my $all_slower = "SELECT pg_sleep($slower), count(*) FROM t;" x 15;
sql("SET cozi.track_latency = off; SELECT pg_sleep(0.0), count(*) FROM t; $all_slower");
like(
	delta($again),
	$node->pg_version < 17 ? qr/^\|\|$/ : qr/^16\|t\|/,
	'where nothing tells, the figures are unknown; pg_stat_statements does from 17 on');
sql($forget);
sql("SET cozi.track_latency = off; $all_slower");
is(delta($again), '15|t|t', 'where all are slower than the fastest was, they are surely new');

# a row says of which life its columns are
sql('SELECT pg_sleep(0.2);' x 3);
sql('SELECT pg_stat_statements_reset()');
sql('SELECT pg_sleep(0.001)');
is( sql("SELECT calls, measured_calls, measured_since < (SELECT stats_reset
    FROM pg_stat_statements_info), p50_ms >= 175
	FROM cozi.slow_queries WHERE query LIKE 'SELECT pg_sleep(\$1)'"),
	'1|4|t|t',
	'a row says of how many executions, and since when, its percentiles are');

# what always times out is listed, whatever pg_stat_statements has of its text
sql('SELECT nested()');
as('postgres', "$timeout; SELECT pg_sleep(35)") for 1 .. 2;
sql('SELECT cozi.latency_reset()');
sql($forget =~ s/FROM t'/'/r);
as('postgres', "$timeout; SELECT pg_sleep(35)") for 1 .. 2;
sql('SELECT nested()');
is(sql("SELECT calls, timeouts FROM cozi.slow_queries WHERE query LIKE 'SELECT pg_sleep(%'"),
	'2|2', 'a statement that always times out is listed beside a nested one of the same text');

# a role fills no table
sql('SELECT cozi.latency_reset()');
sql('SELECT * FROM important WHERE i = 7;' x 500);
as('postgres', "$timeout; SELECT pg_sleep(70), 8") for 1 .. 3;
my $flood = $node->basedir . '/flood.sql';
append_to_file(
	$flood,
	join '',
	map {
		'SELECT ' . join(', ', map { $_ ? "'x'" : 'now()' } split //, sprintf('%011b', $_)) . ";\n"
	} 1 .. 1500);
$node->command_ok(
	[
		'psql', '-qAtX', '-U', 'client', '-o', '/dev/null', '-d', $node->connstr('postgres'),
		'-f', $flood
	],
	'a client floods the table');
is( sql("SELECT calls, rolname FROM cozi.latency() JOIN pg_roles r ON r.oid = userid
	WHERE queryid = (SELECT queryid FROM pg_stat_statements
		WHERE query LIKE 'SELECT * FROM important%' AND toplevel)"
	),
	'500|postgres',
	'the statement of another role keeps its slot');
is(sql("SELECT count(*) > 0 FROM cozi.latency() WHERE timeouts = 3 AND userid = 10"),
	't', 'its timeouts are kept, too');
is( sql("SELECT sum(calls) = 1500, count(*) FILTER (WHERE queryid IS NULL) FROM cozi.latency()
    WHERE coalesce(userid, 0) <> 10"
	),
	't|1',
	'all that the client executed is counted, of its statements or of the others of the database');
is(sql("SELECT statements_dropped > 500 FROM cozi.latency_stats()"),
	't', 'latency_stats says how many were evicted');
is( sql("SELECT state, fix FROM cozi.monitor_status WHERE capability = 'cozi.max_statements'"),
	'warn|ALTER SYSTEM SET cozi.max_statements = 1000; then restart the server.',
	'monitor_status says so, and the fix doubles the room');
as('client', 'SELECT 7 AS late');
is( sql("SELECT count(*) FROM cozi.latency() l JOIN pg_roles r ON r.oid = l.userid
	WHERE r.rolname = 'client' AND l.stats_since = (SELECT max(stats_since) FROM cozi.latency()
		WHERE userid = r.oid)"
	),
	'1',
	'a new statement finds a slot in a full table');

# a statement that was evicted and came back is all within the window
my $life = taken();
sql("SELECT cozi.latency_reset()");

# SQLSTATEs
as('client', "SELECT fail('" . sprintf('%s%s%03d', chr(65 + $_ % 26), int($_ / 26), $_) . "')")
  for 1 .. 80;
is( sql("SELECT count(*) <= 65, sum(count), bool_and(name = 'other') FROM cozi.error_rate
    WHERE origin = 'raised'"
	),
	't|80|t',
	'made-up SQLSTATEs count in their class, and take at most 64 slots of a role');
as('client', "SELECT fail('22ZZZ')");
is( sql("SELECT sqlstate, name, class FROM cozi.error_rate WHERE sqlstate IN ('22', 'other')
    AND count > 0 ORDER BY 1 LIMIT 1"
	),
	'other|other|client',
	'a role that has made up too many has one code for the rest');
as('postgres',
	"SELECT fail('22ZZZ'); SELECT fail('PGRST'); SELECT fail('53400'); SELECT fail('P0001')");
is( sql("SELECT string_agg(sqlstate, ' ' ORDER BY sqlstate) FROM cozi.error_rate
    WHERE sqlstate IN ('22', 'PG', '53400', 'P0001') AND class = 'client'"
	),
	'22 53400 P0001 PG',
	'what an application raises on purpose is never the fault of the server');
sql("SELECT cozi.rate_limit_reset('k')");
as( 'postgres',
	"SELECT cozi.enforce_rate_limit('k', 1, '1 hour');
	SELECT cozi.enforce_rate_limit('k', 1, '1 hour')"
);
is(sql("SELECT sum(count) FROM cozi.error_rate WHERE sqlstate = '53400' AND class = 'client'"),
	'2', 'a refusal of the limiter is not, either');
is(sql('SELECT cozi.error_ratio(oid) FROM pg_database WHERE datname = current_database()'),
	'0', 'no error so far was the fault of the server');

# sessions
sql('SELECT cozi.latency_reset()');
my @idle = map {
	my $s = House::session($node, 'postgres', on_error_stop => 0);
	$s->query_safe('SELECT 1');
	$s
} 1 .. 5;
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle'
    AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
);
$node->poll_query_until('postgres',
	"SELECT sum(count) = 5 FROM cozi.error_rate WHERE sqlstate = '57P01'")
  or die;
is(sql("SELECT class, rate, origin FROM cozi.error_rate WHERE sqlstate = '57P01'"),
	'session||session', 'a session that ended while idle is no failed statement');
is(sql("SELECT value, state FROM cozi.health WHERE metric = 'error_rate'"),
	'0|ok', 'health does not count it');
eval { $_->quit } for @idle;
sql('ALTER ROLE client CONNECTION LIMIT 1');
my $only = House::session($node, 'postgres', extra_params => [ '-U', 'client' ]);
as('client', 'SELECT 1') for 1 .. 3;
is( sql("SELECT value > 0, detail ~ '3 of them connections refused' FROM cozi.health
    WHERE metric = 'error_rate'"
	),
	't|t',
	'refused connections are failures, and health says how many');
is(sql("SELECT state FROM cozi.health WHERE metric = 'error_rate'"),
	'unknown', 'too few events are no breach');
sql('SELECT 1;' x 200);
is(sql("SELECT state FROM cozi.health WHERE metric = 'error_rate'"),
	'breach', 'three refusals beside two hundred statements are a breach');
$only->quit;

# what is dropped is forgotten
sql('CREATE DATABASE gone; CREATE ROLE gone LOGIN');
$node->safe_psql('gone', 'SELECT 1;' x 10);
$node->psql('gone', 'SELECT 1 / 0');
as('gone', 'SELECT 1 AS by_gone');
my $gone = sql("SELECT oid FROM pg_database WHERE datname = 'gone'");
is(sql("SELECT count(*) > 0 FROM cozi.latency() WHERE dbid = $gone"),
	't', 'a database has statements');
my $before = sql(
	'SELECT sum(calls) FROM cozi.latency() JOIN pg_database d ON d.oid = dbid
		WHERE datname = current_database()'
);
sql('DROP DATABASE gone; DROP ROLE gone');
is(sql("SELECT count(*) FROM cozi.latency() WHERE dbid = $gone"),
	'0', 'a dropped database is forgotten');
is(sql("SELECT count(*) FROM cozi.transaction_latency() WHERE dbid = $gone"),
	'0', 'the transactions of a dropped database, too');
is(sql("SELECT count(*) FROM cozi.errors() WHERE dbid = $gone"),
	'0', 'the errors of a dropped database, too');
is(sql("SELECT count(*) FROM cozi.latency() WHERE userid NOT IN (SELECT oid FROM pg_roles)"),
	'0', 'a dropped role is forgotten');
cmp_ok(
	sql('SELECT sum(calls) FROM cozi.latency() JOIN pg_database d ON d.oid = dbid
		WHERE datname = current_database()'
	),
	'>',
	$before,
	'what a dropped role executed stays in the total of its database');

# a restart keeps the others
my $others = sql('SELECT calls, total_ms FROM cozi.latency() WHERE userid IS NULL');
$node->restart;
is(sql('SELECT calls, total_ms FROM cozi.latency() WHERE userid IS NULL'),
	$others, 'a restart keeps what was evicted');

# history belongs to the owner
sql("SELECT cozi.snapshot(); UPDATE cozi.snapshots SET taken_at = taken_at - interval '2 h'");
my ($rc, $out, $err) = as('watcher', "SELECT cozi.snapshot('0')");
like($err, qr/permission denied to drop snapshots/, 'a member of pg_monitor deletes no history');
($rc, $out, $err) = as('watcher', "SET cozi.snapshot_retention = '1min'; SELECT cozi.snapshot()");
like($err, qr/cannot be changed now|permission denied/, 'the retention is not a member\'s to set');
is(sql("SELECT count(*) > 1 FROM cozi.snapshots WHERE taken_at < now() - interval '1 h'"),
	't', 'the old snapshots are there');
($rc, $out, $err) =
  as('watcher', 'SELECT cozi.drop_snapshots(ARRAY(SELECT snapshot FROM cozi.snapshots))');
like($err, qr/permission denied/, 'a member of pg_monitor does not call drop_snapshots()');

# thinned after a day: one in ten, and windows are right
sql('DELETE FROM cozi.snapshots; TRUNCATE cozi.statement_blocks, cozi.latency_blocks,
    cozi.snapshot_errors'
);
sql('SELECT pg_stat_statements_reset()');
for my $i (1 .. 30)
{
	sql('SELECT count(*) FROM important');
	sql('SELECT cozi.snapshot()');
}
sql("UPDATE cozi.snapshots s SET taken_at = now() - interval '2 days' + n * interval '1 min'
	FROM (SELECT snapshot, row_number() OVER (ORDER BY snapshot) AS n FROM cozi.snapshots) r
	WHERE r.snapshot = s.snapshot AND n <= 25"
);
sql('SELECT cozi.snapshot()');
cmp_ok(sql("SELECT count(*) FROM cozi.snapshots WHERE taken_at < now() - interval '1 day'"),
	'<', 16, 'snapshots older than a day are thinned');
is( sql("SELECT count(*) FROM cozi.snapshot_statements
    WHERE snapshot NOT IN (SELECT snapshot FROM cozi.snapshots)"
	),
	'0',
	'no row is of a snapshot that was dropped');
is( sql("SELECT d.calls + b.calls = p.calls FROM cozi.statement_deltas('-infinity') d
	JOIN pg_stat_statements p USING (dbid, userid, queryid)
	JOIN LATERAL (SELECT calls FROM cozi.snapshot_statements s
		WHERE (s.dbid, s.userid, s.queryid) = (d.dbid, d.userid, d.queryid) ORDER BY snapshot
		LIMIT 1) b ON true
	WHERE p.query = 'SELECT count(*) FROM important' AND p.toplevel"),
	't',
	'a window over thinned snapshots is right');
is( sql("SELECT count(*), count(*) FILTER (WHERE NOT whole AND (calls, total) = (calls0, total0))
	FROM (SELECT b.whole, s.calls, s.total_exec_time AS total, lag(s.calls) OVER w AS calls0,
		lag(s.total_exec_time) OVER w AS total0
		FROM cozi.snapshot_statements s JOIN cozi.statement_blocks b USING (snapshot)
		WINDOW w AS (PARTITION BY s.dbid, s.userid, s.queryid ORDER BY s.snapshot)) r")
	  =~ s/^[1-9][0-9]+/many/r,
	'many|0',
	'a block that is not whole has only what changed');
is( sql("SELECT count(*) FILTER (WHERE whole) BETWEEN 1 AND 3, count(*) > 6
	FROM cozi.statement_blocks"),
	't|t',
	'one block of some is whole, those that were merged included');

# a publication of all tables stands in the way of nothing
sql('CREATE PUBLICATION everything FOR ALL TABLES');
is((as('postgres', "SELECT cozi.snapshot(); SELECT cozi.snapshot('0')"))[0],
	0, 'snapshots can be taken and dropped beside a publication of all tables');

$node->stop;
done_testing();
