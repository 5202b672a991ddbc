# Latencies and errors on a server of their own: exact counts, true percentiles,
# timeouts.

use strict;
use warnings;
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;
use FindBin;
use lib $FindBin::Bin;
use Monitor;

my $long = $ENV{COZI_LONG};
my $each = $long ? 10_000 : 3000;    # statements of a session

# The statement's row in latency(), found by the text pg_stat_statements has.
sub latency_of_text
{
	my ($node, $columns, $like, $db) = @_;
	$like =~ s/'/''/g;
	return $node->safe_psql(
		'postgres', "SELECT $columns FROM pg_stat_statements s
		JOIN cozi.latency() l USING (dbid, userid, queryid)
		WHERE s.query LIKE '$like' AND s.toplevel");
}

my $node = server(
	'latency', 'pg_stat_statements,cozi',
	'cozi.max_statements = 1000', 'max_prepared_transactions = 2');
my $q = sub { return $node->safe_psql('postgres', $_[0]); };
my $fails = sub { return ($node->psql('postgres', $_[0]))[2]; };

# Exact counts

$q->(
	'CREATE TABLE t (id int PRIMARY KEY, v int);
	INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i'
);
$q->('SELECT cozi.latency_reset(), pg_stat_statements_reset()');
my $script = $node->basedir . '/select.sql';
append_to_file($script, "\\set id random(1, 1000)\nSELECT v FROM t WHERE id = :id;\n");
$node->command_ok(
	[ 'pgbench', '-n', '-M', 'prepared', '-c', 8, '-j', 2, '-t', $each, '-f', $script, 'postgres' ],
	"8 sessions run $each statements each");
my $all = 8 * $each;
is(latency_of_text($node, 'l.calls, l.failed, s.calls', 'SELECT v FROM t%'),
	"$all|0|$all", "exactly $all statements are counted");
is($q->("SELECT calls FROM cozi.transaction_latency() WHERE calls > $all - 1000"),
	$all + 2, "$all transactions are counted, the one that reset and the one that asked");
is( $q->(
		"SELECT l.p50_ms > 0 AND l.p50_ms <= l.p95_ms AND l.p95_ms <= l.p99_ms
			AND l.p99_ms <= l.p999_ms AND l.p999_ms <= l.max_ms
		AND abs(l.total_ms - s.total_exec_time) < s.calls * 0.001
	FROM pg_stat_statements s JOIN cozi.latency() l USING (dbid, userid, queryid)
	WHERE s.query LIKE 'SELECT v FROM t%'"
	),
	't',
	'quantiles in order, the total that of pg_stat_statements');

# an insert race: a new statement in 8 sessions at once, many times over
my $race = $node->basedir . '/race.sql';
append_to_file($race, join '', map { 'SELECT ' . join(', ', (1) x $_) . ";\n" } 1 .. 60);
$q->('SELECT cozi.latency_reset()');
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 5, '-f', $race, 'postgres' ],
	'8 sessions race for 60 new slots');
is( $q->(
		'SELECT count(*), count(DISTINCT queryid), sum(calls) FROM cozi.latency() WHERE calls > 10'
	),
	'60|60|2400',
	'one slot each, nothing lost');

# True percentiles

$q->('SELECT cozi.latency_reset()');
my $sleeps = join '',
  map { $_ % 11 ? "SELECT pg_sleep(0.05);\n" : "SELECT pg_sleep(0.25);\n" } 1 .. 44;
$q->($sleeps);
is( latency_of_text(
		$node,
		'l.calls, l.p50_ms >= 44, l.p95_ms >= 219, l.max_ms >= 250, '
		  . 'l.p50_ms < l.p95_ms, abs(l.max_ms / s.max_exec_time - 1) < 0.125, '
		  . 'abs(l.mean_ms / s.mean_exec_time - 1) < 0.125',
		'SELECT pg_sleep%'),
	'44|t|t|t|t|t|t',
	'40 sleeps of 50 ms and 4 of 250 ms have the percentiles of their durations');
is( $q->(
		'SELECT p50_ms >= 44 AND p50_ms < p95_ms FROM cozi.transaction_latency() WHERE calls > 44'
	),
	't',
	'the transactions of the sleeps have percentiles, too');

# Failures

$q->("$asleep SELECT cozi.latency_reset()");
$fails->("$timeout; SELECT asleep(7)");
is( $q->(
		"SELECT calls, failed, timeouts, max_ms >= $least, p50_ms BETWEEN 0.875 * $least AND max_ms
			FROM cozi.latency() WHERE failed > 0"
	),
	'1|1|1|t|t',
	'a victim of statement_timeout counts with the time it took');
$q->('SELECT cozi.latency_reset()');
$fails->("$timeout; DO 'BEGIN PERFORM asleep(7); END'");
is( $q->(
		"SELECT calls, failed, timeouts, max_ms >= $least FROM cozi.latency()
			WHERE failed > 0"
	),
	'1|1|1|t',
	'also a utility statement');
$q->('SELECT cozi.latency_reset()');
$q->(
	"CREATE FUNCTION sleepy() RETURNS trigger
		LANGUAGE plpgsql AS 'BEGIN PERFORM asleep(7); RETURN NULL; END';
	CREATE TABLE slow (i int); CREATE TRIGGER sleepy AFTER INSERT ON slow FOR EACH ROW
		EXECUTE FUNCTION sleepy()"
);
$fails->("$timeout; INSERT INTO slow VALUES (1)");
is( $q->(
		"SELECT calls, failed, timeouts, max_ms >= $least FROM cozi.latency()
			WHERE failed > 0"
	),
	'1|1|1|t',
	'also in a trigger at the end');
{
	$q->('SELECT cozi.latency_reset()');
	my $holder = House::session($node, 'postgres');
	$holder->query_safe('BEGIN; LOCK TABLE slow');
	$fails->("SET lock_timeout = '120ms'; BEGIN; LOCK TABLE slow");
	$fails->("SET lock_timeout = '120ms'; BEGIN; LOCK TABLE slow NOWAIT");
	$holder->query_safe('COMMIT');
	$holder->quit;
	is($q->('SELECT sum(failed), sum(timeouts) FROM cozi.latency() WHERE failed > 0'),
		'2|1', 'lock_timeout is a timeout, NOWAIT is not');
	my $cancelled =
	  IPC::Run::start([ 'psql', '-XAtqc', 'SELECT pg_sleep(60)', $node->connstr('postgres') ],
		'2>', '/dev/null', '>', '/dev/null');
	$node->poll_query_until(
		'postgres',
		"SELECT count(pg_cancel_backend(pid)) = 1 FROM pg_stat_activity
			WHERE query = 'SELECT pg_sleep(60)' AND wait_event = 'PgSleep'"
	);
	$cancelled->finish;
	is($q->('SELECT sum(failed), sum(timeouts) FROM cozi.latency() WHERE failed > 0'),
		'3|2', 'a cancelled statement counts');
}
$q->('SELECT cozi.latency_reset()');
$fails->('SELECT 1 / (id - 1) FROM t') for 1 .. 3;
$q->("DO 'BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END'");
is($q->("SELECT sum(count) FROM cozi.errors() WHERE sqlstate = '22012'"),
	'3', 'three divisions by zero are three, a caught one is none');
is($q->("SELECT sum(calls), sum(failed), sum(timeouts) FROM cozi.latency() WHERE failed > 0"),
	'3|3|0', 'failed statements, none of them a timeout');
$fails->('SELECT nonsense'), $fails->('SELEC'), $fails->('INSERT INTO t VALUES (1)'),
  $fails->('INSERT INTO t VALUES (2)');
is( $q->(
		"SELECT string_agg(sqlstate || ' ' || count, ', ' ORDER BY sqlstate) FROM cozi.errors()
			WHERE dbid = (SELECT oid FROM pg_database WHERE datname = 'postgres')"
	),
	'22012 3, 23505 2, 42601 1, 42703 1',
	'errors by SQLSTATE');
$node->psql('nowhere', 'SELECT 1');
is($q->("SELECT count FROM cozi.errors() WHERE dbid IS NULL AND sqlstate = '3D000'"),
	'1', 'an error in no database');
$node->psql('postgres', 'SET log_min_messages = fatal; SELECT 1 / 0');
is($q->("SELECT count FROM cozi.errors() WHERE sqlstate = '22012'"),
	'3', 'what the log hides is not counted');

# a parallel worker's error is reported twice and happened once
$q->(
	'CREATE TABLE big AS SELECT i FROM generate_series(1, 100000) i;
	ALTER TABLE big SET (parallel_workers = 2)'
);
my $parallel =
  "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
  SET debug_parallel_query = on; SET parallel_leader_participation = off; ";
$parallel =~ s/debug_parallel_query/force_parallel_mode/ if $node->pg_version < 16;
$fails->("$parallel SELECT count(1 / (i - 77777)) FROM big");
is($q->("SELECT count FROM cozi.errors() WHERE sqlstate = '22012'"),
	'4', 'an error in a parallel worker is one');
$q->('SELECT cozi.latency_reset()');
$q->("$parallel SELECT count(*) FROM big");
is($q->("SELECT count(*) FROM cozi.latency() WHERE calls <> 1"), '0', 'a parallel query is one');

# What counts once

$q->(
	'CREATE FUNCTION nested(n int) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN FOR i IN 1 .. n
		LOOP PERFORM count(*) FROM t WHERE id = i; END LOOP; RETURN n; END$$'
);
$q->(
	"CREATE FUNCTION planned() RETURNS int IMMUTABLE
		LANGUAGE plpgsql
		AS 'DECLARE n int; BEGIN SELECT count(*) INTO n FROM t WHERE id < 3; RETURN n; END'"
);
$q->('SELECT cozi.latency_reset()');
$q->('SELECT nested(10)');
is($q->('SELECT sum(calls) FROM cozi.latency()'),
	'2', 'nested statements are part of their caller: reset and call');
$q->('SELECT cozi.latency_reset()');
$q->('SELECT v FROM t WHERE id = planned()');
is($q->('SELECT sum(calls) FROM cozi.latency()'),
	'2', 'statements that planning runs are part of their caller');
$q->('SELECT cozi.latency_reset()');
$q->('PREPARE p AS SELECT v FROM t WHERE id = $1; EXECUTE p(1); EXECUTE p(2); EXECUTE p(3);');
is($q->('SELECT string_agg(calls::text, $$,$$ ORDER BY calls) FROM cozi.latency()'),
	'1,3', 'EXECUTE counts as what it executes');
$q->('SELECT cozi.latency_reset()');
$q->(
	"BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 10 FROM c; FETCH 10 FROM c; CLOSE c; COMMIT;
	CREATE TABLE c1 AS SELECT * FROM t; EXPLAIN ANALYZE SELECT * FROM t; DO 'BEGIN PERFORM 1; END'"
);
is($q->('SELECT sum(calls) FROM cozi.latency()'),
	'10', 'utility statements count, what they contain does not');
# calls of a script in one session, the reset before it not counted
sub calls_of
{
	my ($sql) = @_;
	$q->('SELECT cozi.latency_reset()');
	$node->psql('postgres', $sql, on_error_stop => 0);
	return $q->(
		'SELECT sum(calls) - 1, sum(failed), (SELECT sum(calls) - 1 FROM cozi.transaction_latency())
			FROM cozi.latency()'
	);
}

$q->(<<'END');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR r IN SELECT * FROM t LIMIT 3 LOOP PERFORM r.v; END LOOP;
	PERFORM count(*) FROM t;
	CREATE TEMP TABLE brief () ON COMMIT DROP;
	IF NEW.id = 7 THEN PERFORM 1 / 0; END IF;
	RETURN NULL;
END$$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON parent DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION late();
CREATE FUNCTION which() RETURNS int STABLE
LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t WHERE id < 3); END';
CREATE TABLE part (k int) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR r IN SELECT * FROM t WHERE id < 4 LOOP UPDATE t SET v = v WHERE id = r.id; COMMIT; END LOOP;
	UPDATE t SET v = v WHERE id = 5;
	ROLLBACK;
	PERFORM count(*) FROM t;
END$$;
CREATE PROCEDURE breaks() LANGUAGE plpgsql AS 'BEGIN PERFORM count(*) FROM t; COMMIT; PERFORM 1 / 0;
END';
CREATE FUNCTION positive(i int) RETURNS boolean
LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) > 0 FROM t WHERE i > 0); END';
CREATE DOMAIN positive AS int CHECK (positive(VALUE));
END
is( calls_of(
		'INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1); BEGIN;
		INSERT INTO child VALUES (1); COMMIT; SELECT 1'
	),
	'6|0|4',
	'deferred triggers and foreign keys run no statements');
is(calls_of('INSERT INTO parent VALUES (7); SELECT 1'),
	'2|0|2', 'a failing foreign key is part of its statement');
is(calls_of('SELECT * FROM part WHERE k = which()'),
	'1|0|1', 'a function that prunes partitions is part of its statement');
for my $hold ('WITHOUT HOLD', 'WITH HOLD')
{
	is( calls_of(
			"SET pg_stat_statements.track = 'all'; BEGIN; DECLARE c CURSOR $hold FOR SELECT *
				FROM t; FETCH 10 FROM c; COMMIT; SELECT 1"
		),
		'6|0|3',
		"a cursor $hold left open is none");
}
is( calls_of(
		"SET pg_stat_statements.track = 'all'; BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT *
			FROM t; COMMIT; FETCH 10 FROM c; FETCH 10 FROM c; CLOSE c"
	),
	'7|0|5',
	'a cursor that is read after its transaction is one statement');
is(calls_of('CALL commits(); SELECT 1'),
	'2|0|6', 'a procedure that commits is one, and some transactions');
is(calls_of('CALL breaks(); SELECT 1'), '2|1|3', 'also if it breaks after that');
is( calls_of(
		'BEGIN; SAVEPOINT a; SELECT 1 / (id - 1) FROM t; ROLLBACK TO a; SELECT nested(2); COMMIT;
		SELECT 1'
	),
	'7|1|2',
	'an error in a subtransaction');
is(calls_of('PREPARE p AS SELECT 1; EXECUTE p; DISCARD ALL; SELECT 1'), '3|0|4', 'DISCARD ALL');
is( calls_of(
		'SET compute_query_id = off; SELECT 1; CREATE TABLE unseen ();
		SET compute_query_id = regress; SELECT 1; DROP TABLE unseen'
	),
	'3|0|6',
	'a statement without an identifier is not counted, its transaction is');
is( calls_of(
		'BEGIN; INSERT INTO t VALUES (2001, 1); PREPARE TRANSACTION $$a$$; COMMIT PREPARED $$a$$'),
	'4|0|2',
	'a transaction in two phases');
is(calls_of('VACUUM t; CREATE INDEX CONCURRENTLY ON t (v); SELECT 1'),
	'3|0|3', 'utility statements of several transactions');
is(calls_of('BEGIN; SELECT 1; SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)'),
	'2|0|1', 'a session that is terminated has no statement to end');
is( $q->(
		"SELECT (SELECT failed FROM cozi.transaction_latency()), (SELECT count FROM cozi.errors()
			WHERE sqlstate = '57P01')"
	),
	'1|1',
	'... but a transaction, and an error');
{
	my $bind = $node->basedir . '/bind.sql';
	append_to_file($bind, "\\set i 1\nSELECT :i::positive;\n");
	$q->('SELECT cozi.latency_reset()');
	$node->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', 5, '-f', $bind, 'postgres' ],
		'parameters of a domain with a check');
	is($q->('SELECT sum(calls) - 1 FROM cozi.latency()'), '5', 'whose statements are none');
}
{
	# autovacuum evaluates the index's expression for each row it samples
	$q->(
		"CREATE FUNCTION looks(i int) RETURNS int IMMUTABLE
			LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM pg_am) + i; END';
		CREATE TABLE looked (i int) WITH (autovacuum_analyze_threshold = 10);
		CREATE INDEX ON looked (looks(i));
		INSERT INTO looked SELECT i FROM generate_series(1, 1000) i; SELECT cozi.latency_reset();
		ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET autovacuum_naptime = '1s';
		SELECT pg_reload_conf()"
	);
	ok( $node->poll_query_until(
			'postgres',
			"SELECT autoanalyze_count > 0 FROM pg_stat_user_tables WHERE relname = 'looked'"),
		'autovacuum has analyzed the table');
	is($q->('SELECT count(*) FROM cozi.latency() WHERE calls >= 900'),
		'0', 'the statements of autovacuum are not counted');
	$q->('ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()');
}
SKIP:
{
	skip 'no triggers at login before 17', 1 if $node->pg_version < 17;
	$q->(
		"CREATE FUNCTION at_login() RETURNS event_trigger
			LANGUAGE plpgsql AS 'BEGIN PERFORM count(*) FROM t; END';
			CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION at_login()"
	);
	# a psql of its own logs in
	is(calls_of('SELECT 1 \g'), '1|0|2', 'a trigger at login runs a transaction and no statement');
	$q->('DROP EVENT TRIGGER at_login');
}
$node->append_conf('postgresql.conf', 'pg_stat_statements.track_utility = off');
$node->reload;
$q->('SELECT cozi.latency_reset()');
$q->('BEGIN; CREATE TABLE c2 (); SELECT 1; COMMIT');
is($q->('SELECT sum(calls) FROM cozi.latency()'),
	'2', 'unless pg_stat_statements.track_utility is off');
$node->append_conf('postgresql.conf', 'pg_stat_statements.track_utility = on');
$node->reload;

# Switches

$q->('SELECT cozi.latency_reset()');
$q->(
	'SET cozi.track_latency = off; SET cozi.track_errors = off; SET cozi.track_transactions = off;
	SELECT 7 AS untracked'
);
$node->psql('postgres',
	'SET cozi.track_errors = off; SET cozi.track_transactions = off; SELECT 1/0');
is( $q->(
		"SELECT (SELECT count(*) FROM cozi.errors()),
		(SELECT sum(calls) FROM cozi.transaction_latency())"
	),
	'0|4',
	'switched off, nothing is counted: reset and the SETs before');
$q->('CREATE ROLE plain LOGIN');
like(
	$node->psql('postgres', 'SET ROLE plain; SET cozi.track_latency = off') ? 'refused' : 'allowed',
	qr/refused/,
	'only for superusers');

# Privileges

$q->(
	'CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; GRANT USAGE ON SCHEMA cozi TO plain;
	GRANT EXECUTE ON FUNCTION cozi.latency(boolean, boolean), cozi.plans(boolean),
	cozi.latency_of(oid, oid, bigint, float8) TO plain'
);
is( $q->(
		"SET SESSION AUTHORIZATION plain; SELECT 42 AS mine;
		SELECT count(*) FILTER (WHERE queryid IS NOT NULL AND userid <> 'plain'::regrole), count(*)
		FILTER (WHERE userid <> 'plain'::regrole) > 0, count(queryid)
		FILTER (WHERE userid = 'plain'::regrole) > 0 FROM cozi.latency()"
	),
	"42\n0|t|t",
	'a plain role sees the query identifiers of its own statements only');
is( $q->(
		"SET SESSION AUTHORIZATION watcher; SELECT count(*) FILTER (WHERE queryid IS NULL),
		count(*) > 3 FROM cozi.latency()"
	),
	'0|t',
	'a member of pg_monitor sees all');
like(
	($node->psql('postgres', 'SET SESSION AUTHORIZATION plain; SELECT * FROM cozi.errors()'))[2],
	qr/permission denied/,
	'nothing is granted to PUBLIC');

# A full table

$q->('SELECT cozi.latency_reset()');
my $many = $node->basedir . '/many.sql';
append_to_file($many, join '', map { 'SELECT ' . join(' + ', (1) x $_) . ";\n" } 2 .. 1300);
$node->command_ok(
	[ 'psql', '-qAtX', '-o', '/dev/null', '-d', $node->connstr('postgres'), '-f', $many ],
	'1,299 kinds of statements in 1,000 slots');
is( $q->(
		'SELECT (SELECT sum(calls) FROM cozi.latency()) = 1300, statements_dropped > 300,
		statements <= 1000, statements > 900, statements = (SELECT count(*) FROM cozi.latency()
		WHERE userid IS NOT NULL), max_statements FROM cozi.latency_stats()'
	),
	't|t|t|t|t|1000',
	'each execution is counted, of its statement or of the others of its database');
is( $q->(
		'SELECT count(*), sum(calls) > 300, bool_and(queryid IS NULL) FROM cozi.latency()
			WHERE userid IS NULL'
	),
	'1|t|t',
	'what was evicted is one row of its database, without a role and a query identifier');

# A reset while others record

{
	my $reset = $node->basedir . '/reset.sql';
	append_to_file($reset, "SELECT cozi.latency_reset();\n");
	# two roles: the halves of a key are cleared one after the other
	my @runs = map {
		IPC::Run::start(
			[
				'pgbench', '-n', '-c', 2, '-T', ($long ? 60 : 3),
				'-f', $race, $node->connstr('postgres') . " user=$_"
			],
			'>',
			'/dev/null',
			'2>',
			'/dev/null')
	} 'watcher', 'plain';
	$node->command_ok([ 'pgbench', '-n', '-T', ($long ? 58 : 2), '-f', $reset, 'postgres' ],
		'resets while new statements come');
	$_->finish for @runs;
	is( $q->(
			'SELECT count(*) - count(DISTINCT (dbid, userid, queryid)), count(*) - max(statements)
				FROM cozi.latency(), cozi.latency_stats()'
		),
		'0|0',
		'no statement has two slots');
	$q->('SELECT cozi.latency_reset()');
}

# Killed backends leave nothing locked

{
	my $stop = time + ($long ? 60 : 3);
	my ($kills, $rounds) = (0, 0);
	my @bench =
	  ('pgbench', '-n', '-c', 4, '-j', 2, '-t', 1000000, '-f', $race, $node->connstr('postgres'));
	while (time < $stop || ($kills < 8 && $rounds < 100))
	{
		$rounds++;
		my $run = IPC::Run::start(\@bench, '>', '/dev/null', '2>', '/dev/null');
		select(undef, undef, undef, 0.3);
		$kills += $q->(
			"SET cozi.slow_plan_ms = 0; SELECT count(pg_terminate_backend(pid))
				FROM pg_stat_activity WHERE query LIKE 'SELECT 1%' AND pid <> pg_backend_pid()"
		);
		$run->kill_kill(grace => 1);
	}
	cmp_ok($kills, '>=', 8, "$kills backends terminated");
	is( $q->(
			"SET statement_timeout = '5s'; SET cozi.slow_plan_ms = 0; SELECT 1;
			SELECT count(*) > 0 FROM cozi.latency(), cozi.plans(); SELECT cozi.latency_reset()"
		),
		"1\nt\n",
		'nothing is locked');
}
$node->stop;

done_testing();
