# Beside the others, in every order: what each of pg_stat_statements,
# auto_explain, pg_stat_monitor and cozi sees does not depend on who came first.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Monitor '$timeout';
use Test::More;

sub permutations
{
	my ($done, @rest) = @_;
	return $done unless @rest;
	return map {
		my $i = $_;
		permutations([ @$done, $rest[$i] ], grep { $_ ne $rest[$i] } @rest)
	} 0 .. $#rest;
}

chomp(my $lib = `pg_config --pkglibdir`);
my $explains = -e "$lib/auto_explain.so";
my @libraries = ('pg_stat_statements', $explains ? 'auto_explain' : (), 'cozi');
my @orders = ('cozi', map { join ',', @$_ } permutations([], @libraries));
# of the two that hide a utility statement's query identifier the last one sees
# it: pg_stat_monitor asks to be listed behind pg_stat_statements
my @with_monitor = (
	'pg_stat_monitor,cozi',
	'cozi,pg_stat_monitor',
	'pg_stat_monitor,auto_explain,cozi',
	'auto_explain,cozi,pg_stat_monitor',
	'pg_stat_statements,pg_stat_monitor,auto_explain,cozi',
	'pg_stat_statements,cozi,pg_stat_monitor,auto_explain',
	'cozi,pg_stat_statements,auto_explain,pg_stat_monitor',
	'pg_stat_statements,auto_explain,pg_stat_monitor,cozi',
	'pg_stat_monitor,cozi,pg_stat_statements');
@with_monitor = grep { $explains || !/auto_explain/ } @with_monitor;

my $node = PostgreSQL::Test::Cluster->new('order');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'pg_stat_statements,cozi'
autovacuum = off
restart_after_crash = off
max_parallel_workers_per_gather = 2
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
cozi.slow_plan_ms = 0
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
pg_stat_monitor.pgsm_normalized_query = on
END
$node->start;
my $q = sub { return $node->safe_psql('postgres', $_[0]); };
$q->('CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
$q->(<<'END');
CREATE TABLE t AS SELECT i FROM generate_series(1, 10000) i;
CREATE TABLE big AS SELECT i FROM generate_series(1, 100000) i;
ALTER TABLE t SET (parallel_workers = 0);
ALTER TABLE big SET (parallel_workers = 2);
CREATE TABLE u (i int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION nested(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP PERFORM count(*) FROM t; END LOOP;
	PERFORM 1 / 0;
EXCEPTION WHEN division_by_zero THEN RETURN n;
END$$;
ANALYZE;
END

# text of a statement, how often it completed, how often it failed
my @run = (
	[ 'BEGIN', 1, 0 ],
	[ 'SELECT count(*) FROM t', 1, 0 ],
	[ 'CREATE TABLE v ()', 1, 0 ],
	[ 'PREPARE p AS SELECT min(i) FROM t', 0, 0 ],
	[ 'EXECUTE p', 0, 0 ],              # which counts as what it executes
	[ 'ROLLBACK', 1, 0 ],
	[ 'SELECT nested(3)', 1, 0 ],
	[ 'DO $$BEGIN PERFORM count(*) FROM t; END$$', 1, 0 ],
	[ 'SELECT count(*) FROM big', 1, 0 ],
	[ 'SELECT count(1 / (i - 77777)) FROM big', 0, 1 ],
	[ 'SELECT sum(1 / (i - 7)) FROM t', 0, 1 ],
	[ 'CREATE TABLE u ()', 0, 1 ],
	[ 'SELECT FROM nowhere', 0, 0 ],    # was not executed
	[ $timeout, 1, 0 ],
	[ 'SELECT pg_sleep(60)', 0, 1 ],
	[ 'RESET statement_timeout', 1, 0 ],
	[ 'SELECT max(i) FROM t', 1, 0 ]);
my $script = join '', map { "$_->[0];\n" } @run;
my $completed = 1;                      # EXECUTE p's SELECT
my $failed = 0;
$completed += $_->[1], $failed += $_->[2] for @run;

sub try_order
{
	my ($preload) = @_;
	my $statements = $preload =~ /pg_stat_statements/;
	my $monitor = $preload =~ /pg_stat_monitor/;

	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'$preload'");
	$node->restart;
	my $log = -s $node->logfile;
	my $reset = 'SELECT cozi.latency_reset()';
	$reset = "SELECT pg_stat_statements_reset(); $reset" if $statements;
	$reset = "SELECT pg_stat_monitor_reset(); $reset" if $monitor;
	$q->($reset);
	$node->psql('postgres', $script, on_error_stop => 0);

	# the reset counts: it ends after itself
	is( $q->('SELECT sum(calls) - sum(failed) - 1, sum(failed), sum(timeouts) FROM cozi.latency()'),
		"$completed|$failed|1", "$preload: each statement once");
	is( $q->(
			"SELECT string_agg(sqlstate || ' ' || count, ', ' ORDER BY sqlstate) FROM cozi.errors()"
		),
		'22012 2, 42P01 1, 42P07 1, 57014 1',
		"$preload: each error once");
	is( $q->(
			"SELECT query || CASE WHEN timed_out THEN ' timed out' ELSE '' END FROM cozi.slow_plans
				WHERE query ~ '(FROM t|pg_sleep.60.)\$' AND (timed_out OR plan ~ '^Aggregate')
				ORDER BY number"
		),
		"SELECT count(*) FROM t\nPREPARE p AS SELECT min(i) FROM t\n"
		  . "SELECT pg_sleep(60) timed out\nSELECT max(i) FROM t",
		"$preload: plans of what ended, the text of what timed out");
	like(
		$q->("SELECT plan FROM cozi.plans() WHERE query = 'SELECT count(*) FROM big'"),
		qr/Gather.*Workers Planned: 2/s,
		"$preload: a parallel plan");
	if ($statements)
	{
		is( $q->(
				"SELECT s.query, s.calls, l.calls, l.failed FROM pg_stat_statements s FULL
					JOIN cozi.latency() l USING (dbid, userid, queryid)
			WHERE coalesce(s.toplevel, true) AND coalesce(s.calls, 0) IS DISTINCT FROM l.calls
				- l.failed AND s.query !~ '_reset'"
			),
			'',
			"$preload: pg_stat_statements counts the same");
		is( $q->(
				"SELECT s.rows, s.shared_blks_hit + s.shared_blks_read > 40,
				abs(l.total_ms - s.total_exec_time) < 0.002
			FROM pg_stat_statements s JOIN cozi.latency() l USING (dbid, userid, queryid)
			WHERE s.query = 'SELECT count(*) FROM t' AND s.toplevel"
			),
			'1|t|t',
			"$preload: and keeps its figures");
	}
	if ($monitor)
	{
		my $utility = $preload =~ /pg_stat_monitor.*pg_stat_statements/ ? '' : '|CREATE|DO';
		is( $q->(
				"SELECT string_agg(query || ' ' || calls, ', ' ORDER BY query)
					FROM (SELECT trim(trailing ';' from query) AS query, sum(calls) AS calls
					FROM pg_stat_monitor
			WHERE toplevel AND elevel = 0 AND query ~ '^(SELECT (count|nested|max)$utility)'
				GROUP BY 1) m"),
			($utility && 'CREATE TABLE v () 1, DO $$BEGIN PERFORM count(*) FROM t; END$$ 1, ')
			  . 'SELECT count(*) FROM big 1, SELECT count(*) FROM t 1, SELECT max(i) FROM t 1, '
			  . 'SELECT nested($1) 1',
			"$preload: pg_stat_monitor counts its calls");
		is( $q->(
				"SELECT string_agg(sqlcode || ' ' || calls, ', ' ORDER BY sqlcode)
					FROM (SELECT sqlcode, sum(calls) AS calls FROM pg_stat_monitor WHERE elevel > 0
					GROUP BY 1) m"
			),
			'22012 2, 42P01 1, 42P07 1, 57014 1',
			"$preload: and its errors");
	}
	my $said = substr slurp_file($node->logfile), $log;
	if ($preload =~ /auto_explain/)
	{
		my @explained = $said =~
		  /duration: [^\n]* plan:\s+Query Text: (SELECT (?:count|max)\(\w?\*?\) FROM (?:t|big));/g;
		is( join(', ', @explained),
			'SELECT count(*) FROM t, SELECT count(*) FROM big, SELECT max(i) FROM t',
			"$preload: auto_explain speaks");
	}
	unless ($statements)
	{
		$q->(
			'SELECT cozi.latency_reset(); SET pg_stat_statements.track_utility = off;
			CREATE TABLE w (); DROP TABLE w'
		);
		is($q->('SELECT sum(calls) FROM cozi.latency()'),
			'4', "$preload: what is no setting switches nothing off");
	}
	unlike(
		$said,
		qr/PANIC|TRAP|terminated by signal|WARNING|InstrEndLoop/,
		"$preload: the log is calm");
	return;
}

try_order($_) for @orders;
SKIP:
{
	skip 'no auto_explain in this server', 1 unless $explains;
	pass('auto_explain is among the libraries');
}
SKIP:
{
	skip 'no pg_stat_monitor', 1 unless -e "$lib/pg_stat_monitor.so";
	$q->('CREATE EXTENSION pg_stat_monitor');
	try_order($_) for @with_monitor;
}
$node->stop;

done_testing();
