# The plans of slow statements, the statements that never complete, and what a
# server says that cozi is not preloaded in.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib $FindBin::Bin;
use Monitor;

my $node = server('plan', 'pg_stat_statements,cozi');
my $q = sub { return $node->safe_psql('postgres', $_[0]); };
my $fails = sub { return ($node->psql('postgres', $_[0]))[2]; };

$q->(
	'CREATE TABLE t (id int PRIMARY KEY, v int);
	INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i;
	CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA cozi TO plain;
	GRANT EXECUTE ON FUNCTION cozi.plans(boolean) TO plain'
);
$q->($asleep);

# Plans

$q->('SELECT cozi.latency_reset()');
$q->(
	"SET cozi.slow_plan_ms = 30; SET enable_seqscan = off;
	SELECT count(*), pg_sleep(0.05) FROM t WHERE id = 77; SELECT 1"
);
my $plan = $q->(
	q{SELECT ms >= 30, row_count, queryid = (SELECT queryid FROM pg_stat_statements
		WHERE query LIKE 'SELECT count(*), pg_sleep(%'), plan FROM cozi.plans()
		WHERE query LIKE '%pg_sleep(0.05)%'}
);
like($plan, qr/^t\|1\|t\|/, 'one slow execution, one plan');
like(
	$plan,
	qr/Index.*Scan.*t_pkey.*Index Cond: \(id = 77\).*Settings: enable_seqscan = 'off'/s,
	'the plan and its settings');
unlike($plan, qr/actual|never executed/, 'without the times of its nodes');
is( $q->("SET SESSION AUTHORIZATION plain; SELECT queryid, query, plan FROM cozi.plans()"),
	'|<insufficient privilege>|',
	'not for other roles');
is( $q->(
		'SELECT datname, rolname, row_count, timed_out, query, plan LIKE $$%Index Cond%$$, reason
			FROM cozi.slow_plans WHERE query LIKE $$%pg_sleep(0.05)%$$'
	),
	'postgres|postgres|1|f|SELECT count(*), pg_sleep(0.05) FROM t WHERE id = 77|t|',
	'slow_plans names them');
$fails->(
	"SET cozi.slow_plan_ms = 60000; $timeout;
	SELECT asleep(9) AS \"victim \xc3\xbc\""
);
is( $q->("SELECT timed_out, ms >= $least, row_count, query, plan FROM cozi.slow_plans LIMIT 1"),
	"t|t||SELECT asleep(9) AS \"victim \xfc\"|" =~ s/\xfc/\xc3\xbc/r,
	'a victim of a timeout leaves its text');
$q->('SET cozi.slow_plan_ms = 0; ' . 'SELECT count(*) FROM t;' x 300);
is($q->('SELECT count(*), max(number) - min(number) FROM cozi.plans()'),
	'128|127', 'the last 128 are kept');
$q->(   'SET cozi.slow_plan_ms = 0; SELECT count(*) FROM t WHERE v::text <> \'x'
	  . ("\xc3\xbc" x 9000)
	  . "'");
is( $q->(
		'SELECT length(plan) BETWEEN 4000 AND 5000 AND octet_length(plan) BETWEEN 8185 AND 8191,
		right(plan, 1) = chr(252) FROM cozi.plans() ORDER BY number DESC LIMIT 1'
	),
	't|t',
	'a long plan is cut between characters');

# a text of another database, with a character that none is like
$q->(
	"CREATE DATABASE western TEMPLATE template0 ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C';
	SELECT cozi.latency_reset()"
);
$node->command_ok(
	[
		'psql', '-XAtqc',
		"SET client_encoding = 'WIN1252'; SET cozi.slow_plan_ms = 0; SELECT '\xe9t\xe9 \x81 '",
		$node->connstr('western')
	],
	'a text that has no like in UTF-8');
is( $q->("SELECT query, plan FROM cozi.plans()"),
	"SELECT '\xc3\xa9t\xc3\xa9 |Result  (cost=0.00..0.01 rows=1 width=32)",
	'is shown as far as it has one');

# Statements that never complete

$q->('SELECT cozi.latency_reset(), pg_stat_statements_reset()');
$fails->("SET cozi.slow_plan_ms = 60000; $timeout; SELECT asleep(11)");
is( $q->(
		"SELECT calls, max_ms >= $least, cozi.timeouts_of(dbid, userid, queryid),
		cozi.captured_text(dbid, userid, queryid) FROM cozi.unfinished()"
	),
	'1|t|1|SELECT asleep(11)',
	'a statement that never completes is listed, with its text');
for my $view (qw(slow_queries slow_queries_by_total slow_queries_by_p99))
{
	is( $q->(
			"SELECT datname, rolname, calls, timeouts, mean_ms >= $least,
			p99_ms >= 0.875 * $least, max_ms >= mean_ms,
			abs(share * (SELECT sum(total_ms) FROM cozi.$view WHERE datname = 'postgres')
			/ total_ms - 1) < 0.01, query
			FROM cozi.$view WHERE timeouts > 0 LIMIT 5"
		),
		'postgres|postgres|1|1|t|t|t|t|SELECT asleep(11)',
		"... also in $view");
}
is( $q->(
		"SELECT count(*) FROM cozi.statements(timeouts => true) t
			WHERE NOT EXISTS (SELECT FROM pg_stat_statements s
			WHERE (s.dbid, s.userid, s.queryid) = (t.dbid, t.userid, t.queryid))"
	),
	'1',
	'... and nothing else is added');
is( $q->(
		"GRANT SELECT ON cozi.slow_queries TO plain;
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cozi TO plain; SET SESSION AUTHORIZATION plain;
		SELECT count(*) FROM cozi.slow_queries WHERE timeouts > 0 OR query LIKE '%(11)%'"
	),
	'0',
	'... nor shown to others');
$q->(
	"REVOKE ALL ON cozi.slow_queries FROM plain; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cozi
		FROM plain"
);
is( $q->(
		"SELECT count(*) FROM cozi.slow_queries_by_p99 WHERE p50_ms IS NULL OR p50_ms > p95_ms
			OR p95_ms > p99_ms OR p99_ms > p999_ms OR p999_ms > max_ms"
	),
	'0',
	'every statement has its percentiles, in order');
$q->('SELECT asleep(0)');
is( $q->(
		"SELECT calls, timeouts, query FROM cozi.slow_queries WHERE query LIKE 'SELECT asleep%'"),
	'1|1|SELECT asleep($1)',
	'a completed statement stands once in slow_queries, from pg_stat_statements');
$q->('SELECT cozi.latency_reset()');
$fails->("SET cozi.slow_plan_ms = 60000; $timeout; SELECT asleep(11)");
is($q->("SELECT count(*) FROM cozi.unfinished()"), '1', 'completed before a reset and never since');
is($q->("SELECT count(*) FROM cozi.slow_queries WHERE query LIKE 'SELECT asleep%'"),
	'1', '... it is there once');
$q->('SELECT cozi.latency_reset()');
$q->('SELECT 1;' x 998);
$fails->("SELECT 'x' COLLATE nonsense");
my $internal = $q->("SELECT round((rate * 1000)::numeric, 6), class, name FROM cozi.error_rate");
is($internal, '1.000000|client|undefined_object', '999 statements and one error are 0.001');
is($q->("SELECT value, state FROM cozi.health WHERE metric = 'error_rate'"),
	'0|ok', 'an error of a client does not count in health');
$fails->("$timeout; SELECT pg_sleep(60)");
like(
	$q->(
		"SELECT class, name, count FROM cozi.error_rate WHERE sqlstate = '57014';
		SELECT value > 0.05 AND value < 0.15, state <> 'unknown' FROM cozi.health
		WHERE metric = 'error_rate'"
	),
	qr/^server\|query_canceled\|1\nt\|t\z/,
	'a timeout is');
is($q->("SELECT value > 0, state FROM cozi.health WHERE metric = 'api_response'"),
	't|ok', 'health knows the 95th percentile of transactions');
$node->stop;

# Not preloaded

my $bare = server('bare', '');
for my $call ('latency()', 'transaction_latency()', 'errors()', 'plans()', 'latency_reset()')
{
	my (undef, undef, $err) =
	  $bare->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM cozi.$call");
	like(
		$err,
		qr/ERROR:\ \ 55000:\ cozi\ must\ be\ loaded\ via\ "shared_preload_libraries"\n
			HINT:\ \ Set\ shared_preload_libraries\ =\ 'pg_stat_statements,cozi'
			\ and\ restart\ the\ server\./x,
		"$call not preloaded");
}
is( $bare->safe_psql(
		'postgres',
		"SELECT (SELECT count(*) FROM cozi.latency(true, true)),
		(SELECT count(*) FROM cozi.errors(true)), (SELECT count(*) FROM cozi.plans(true)),
		(SELECT count(*) FROM cozi.transaction_latency(true, true)),
	cozi.latency_of(1, 10, 1, 0.5), cozi.timeouts_of(1, 10, 1), cozi.transaction_time(1, 0.5)"),
	'0|0|0|0|||',
	'a view may ask all the same');
is( $bare->safe_psql(
		'postgres',
		'SELECT sqlstate, count, reason FROM cozi.error_rate;
		SELECT query, plan, reason FROM cozi.slow_plans'
	),
	"||cozi is not preloaded\n||cozi is not preloaded",
	'the views say why there is nothing');
is( $bare->safe_psql('postgres', 'SELECT * FROM cozi.latency_stats()'),
	'f' . '|' x 11,
	'latency_stats() says that the library is not preloaded');
$bare->stop;

done_testing();
