# Percentiles and error rates of a window between snapshots: known sleeps
# inside and outside of it, a reset, a restart and a crash in between, and
# what is kept of it.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use List::Util qw(max);
use Monitor '$timeout';
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('window');
$node->init;
$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'pg_stat_statements,cozi'\nfsync = off\nautovacuum = off\n"
	  . "max_connections = 20\nrestart_after_crash = on");
$node->start;
$node->safe_psql(
	'postgres',
	'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi;
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor'
);

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub snapshot
{
	sql('SELECT cozi.snapshot()');
	return sql('SELECT max(taken_at) FROM cozi.snapshots');
}

# One session, each statement a transaction of its own.  Returns the longest of
# them in ms, as the client saw it: no sleep in the server took longer.
sub pause
{
	my ($n, $seconds) = @_;
	my @ms = sql("\\timing on\n" . "SELECT pg_sleep($seconds);\n" x $n) =~ /^Time: ([\d.]+) ms/mg;
	is(scalar @ms, $n, "$n sleeps of $seconds s were timed");
	return max(@ms);
}

# Is that percentile of sleeps, at most an eighth off, one of those sleeps?
sub sleeps
{
	my ($value, $seconds, $longest) = @_;
	return "$value BETWEEN @{[ $seconds * 875 ]} AND @{[ $longest * 1.125 ]}";
}

my $key =
  "(SELECT dbid, userid, queryid FROM pg_stat_statements WHERE query LIKE 'SELECT pg\\_sleep%') k";

# what the window of these arguments holds of the sleeps
sub window
{
	my ($columns, $arguments) = @_;
	return sql(
		"SELECT $columns FROM (SELECT cozi.latency_window(k.dbid, k.userid, k.queryid,
			$arguments) AS h FROM $key) w"
	);
}

# Between snapshots

sql('SELECT cozi.latency_reset(), pg_stat_statements_reset()');
pause(20, 0.15);
my $first = snapshot();
my $longest = pause(200, 0.02);
my $count = 'cozi.histogram_count(h)';
my $p95 = 'cozi.histogram_quantile(h, 0.95)';
is(window($count, "'$first'"),
	'200', 'the window has the 200 sleeps since the snapshot and not the 20 before it');
is(window(sleeps($p95, 0.02, $longest), "'$first'"),
	't', 'the 95th percentile of the window is that of its sleeps');
is(sql("SELECT cozi.latency_of(k.dbid, k.userid, k.queryid, 0.95) > 130 FROM $key"),
	't', 'the 95th percentile of all sleeps is above 130 ms');
my $now = "interval '1 us'";
is( sql(    'SELECT '
		  . sleeps('value', 0.02, $longest)
		  . ", source, period > '0.8 s' FROM cozi.recent_transaction_time($now, 0.95)"),
	't|snapshots|t',
	'the 95th percentile of transactions in the window is that of its sleeps');
is( sql("SELECT cozi.transaction_time(oid, 0.95) > 130 FROM pg_database WHERE datname = 'postgres'"
	),
	't',
	'the 95th percentile of all transactions is above 130 ms');
sql("UPDATE cozi.targets SET period = '1 us', target = @{[ 2 * $longest ]}, warn = NULL
    WHERE metric = 'api_response'"
);
is( sql(    'SELECT '
		  . sleeps('value', 0.02, $longest)
		  . ", state, source, period > '0.8 s' FROM cozi.health WHERE metric = 'api_response'"),
	't|ok|snapshots|t',
	'health judges the window where there is a snapshot');
sql("UPDATE cozi.targets SET period = '1 h', target = 130 WHERE metric = 'api_response'");
is( sql("SELECT value > 130, state, source, period > '2 s' FROM cozi.health
    WHERE metric = 'api_response'"
	),
	't|breach|transaction times since their reset|t',
	'health judges all since the reset where there is no snapshot, and says so');

my $second = snapshot();
my $later = pause(5, 0.1);
is(window("$count, " . sleeps($p95, 0.02, $longest), "'$first', '$second'"),
	'200|t', 'a window that has ended has its own sleeps');
is(window("$count, " . sleeps($p95, 0.1, $later), "'$second'"),
	'5|t', 'the window since then has the later ones');
is(window($count, "'$first'"), '205', 'the window over both has all of them');
is( sql("SELECT cozi.histogram_count(cozi.latency_window(dbid, userid, queryid, '$first')) = calls
    FROM cozi.statement_deltas('$first') WHERE calls = 205"
	),
	't',
	'as pg_stat_statements counts them');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) > 0 FROM cozi.statement_deltas('$first')
			WHERE cozi.latency_window(dbid, userid, queryid, '$first') IS NOT NULL",
		extra_params => [ '-U', 'watcher' ]),
	't',
	'a member of pg_monitor may ask');

# What is written

snapshot() for 1 .. 3;
is(sql("SELECT count(*) FROM cozi.snapshot_latencies JOIN $key USING (dbid, userid, queryid)"),
	'3', 'a histogram is written where it changed');
is(sql("SELECT count(*) > 5, max(pg_column_size(packed)) < 300 FROM cozi.snapshot_latencies"),
	't|t', '... without its empty buckets');
sql("UPDATE cozi.snapshots SET taken_at = taken_at - interval '2 h'
    WHERE snapshot < (SELECT max(snapshot) - 1 FROM cozi.snapshots)"
);
my $left = sql("SELECT cozi.snapshot('1 h')");
is(sql("SELECT count(*) FROM cozi.snapshots"), '3', 'retention');
is(sql("SELECT count(*) FROM cozi.snapshot_latencies JOIN $key USING (dbid, userid, queryid)"),
	'1', '... leaves the row that still holds');
pause(3, 0.01);
is(window($count, q('-infinity')), '3', '... and windows are still right');

# two at once do not write less under a higher number
my $writers = $node->basedir . '/snapshot.sql';
append_to_file($writers, "SELECT cozi.snapshot();\nSELECT pg_sleep(0.001);\n");
$node->command_ok([ 'pgbench', '-n', '-c', 4, '-j', 2, '-t', 10, '-f', $writers, 'postgres' ],
	'snapshots by four sessions at once');
is( sql("SELECT count(*), count(*) FILTER (WHERE less) FROM
	(SELECT cozi.histogram_count(cozi.histogram_unpack(packed))
		< lag(cozi.histogram_count(cozi.histogram_unpack(packed))) OVER (PARTITION BY dbid, userid,
		queryid ORDER BY snapshot) AS less
	FROM cozi.snapshot_latencies) l") =~ s/^[1-9][0-9]+/many/r,
	'many|0',
	'never less than before');

# Errors

$node->psql('postgres', "$timeout; SELECT pg_sleep(60)") for 1 .. 3;
$node->psql('postgres', 'SELECT 1 / 0') for 1 .. 2;
snapshot();
$node->psql('postgres', 'SELECT 1 / 0') for 1 .. 2;
sql("SELECT 1;\n" x 500);
is(sql("SELECT value, source FROM cozi.recent_error_ratio($now)"),
	'0|snapshots', 'timeouts before the window are not in it');
$node->psql('postgres', "$timeout; SELECT pg_sleep(60)");
# completed in the window: the one that took the snapshot, 1 to read the snapshots, 500, the ratio,
# SET: 504; errors: 3
is(sql("SELECT round(1 / value) FROM cozi.recent_error_ratio($now)"),
	'507', 'one of 507 failed by the server');
sql("UPDATE cozi.targets SET period = '1 us' WHERE metric = 'error_rate'");
is( sql("SELECT value BETWEEN 0.19 AND 0.2, state, source FROM cozi.health
    WHERE metric = 'error_rate'"
	),
	't|breach|snapshots',
	'health says so in percent');
snapshot();
is(sql("SELECT value, state, source FROM cozi.health WHERE metric = 'error_rate'"),
	'0|ok|snapshots', '... until the next window');
is(sql("SELECT count(*) FROM cozi.snapshot_errors WHERE sqlstate = '22012'"),
	'2', 'a count is written where it changed');

# Resets in between

my $before = snapshot();
sql('SELECT cozi.latency_reset()');
$longest = pause(7, 0.03);
is(window("$count, " . sleeps($p95, 0.03, $longest), "'$before'"),
	'7|t', 'counters reset within the window: all of them is within it');
is( sql(    'SELECT '
		  . sleeps('value', 0.03, $longest)
		  . ", source, period < clock_timestamp() - '$before' FROM "
		  . "cozi.recent_transaction_time($now, 0.5)"),
	't|transaction times since their reset|t',
	'transactions count since the reset, and the source says so');
is( sql("SELECT value, source FROM cozi.recent_error_ratio($now)"),
	'0|error counters since their reset',
	'errors since the reset');
my $after = snapshot();
pause(2, 0.03);
is(window($count, "'$after'"), '2', 'the next window begins after it');
is(window($count, "'$before', '$after'"), '7', 'the one before ends with it');

$node->restart;
pause(1, 0.03);
is(window($count, "'$after'"), '3', 'a clean restart ends no window');
is(sql("SELECT source FROM cozi.recent_transaction_time($now, 0.95)"),
	'snapshots', '... of transactions neither');

snapshot();
$after = sql('SELECT max(taken_at) FROM cozi.snapshots');
my $victim = House::session($node, 'postgres', on_error_stop => 0);
kill 'KILL', $victim->query_safe('SELECT pg_backend_pid()');
eval { $victim->quit };
House::poll_through_crash($node, "SELECT reset_reason = 'crash' FROM cozi.latency_stats()") or die;
$longest = pause(20, 0.03);
is( sql(    'SELECT '
		  . sleeps('value', 0.03, $longest)
		  . ", source, period < clock_timestamp() - '$after' FROM "
		  . "cozi.recent_transaction_time($now, 0.5)"),
	't|transaction times since their reset|t',
	'a crash is a reset, and says so');
is(window($count, "'$after'"), '', '... of pg_stat_statements, too: no snapshot to compare with');
is(sql("SELECT cozi.snapshot('0')") ne '', 1, 'the last snapshot alone');
is( sql("SELECT count(DISTINCT latency_since)
    FROM (SELECT latency_since FROM cozi.snapshot_latencies UNION ALL SELECT latency_since
    FROM cozi.snapshot_errors) l"
	),
	'1',
	'leaves nothing of counters that are no more');

# Loaded, not loaded, loaded again

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements'");
$node->restart;
my $rows = sql('SELECT count(*) FROM cozi.snapshot_latencies');
my $unloaded = snapshot();
is(sql('SELECT count(*) FROM cozi.snapshot_latencies'), $rows, 'not preloaded, nothing is written');
is(sql('SELECT completed FROM cozi.snapshot_databases ORDER BY snapshot DESC LIMIT 1'),
	'', '... and unknown is NULL');
is(window($count, "'$unloaded'"), '', '... and a window');
is( sql("SELECT metric, value, source, state FROM cozi.health
    WHERE metric IN ('api_response', 'error_rate') ORDER BY 1"
	),
	"api_response||transaction times since their reset|unknown\n"
	  . "error_rate||error counters since their reset|unknown",
	'... and health');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements,cozi'");
$node->restart;
pause(1, 0.01);
is(window($count, "'$unloaded'"),
	'1', 'loaded again, it counts anew: all of it is within the window');
is(sql('SELECT reset_reason FROM cozi.latency_stats()'),
	'version', '... as what was saved lacks what came after');
my $unknown = snapshot();
sql('UPDATE cozi.snapshots SET latency_since = NULL
    WHERE snapshot = (SELECT max(snapshot) FROM cozi.snapshots)'
);
is(window($count, "'$unknown'"),
	'', 'what counted before the window, unknown at its start, is not known');

$node->stop;
done_testing();
