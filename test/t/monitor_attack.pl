# No tenant blinds the DBA: texts, names, SQLSTATEs, roles and databases that are
# made up, a file that is deleted, and a backend that is killed.

use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;
use IPC::Run;
use FindBin;
use lib $FindBin::Bin;
use House;
use Monitor;

my $node = server(
	'attack',
	'pg_stat_statements,cozi',
	'cozi.wait_interval = 10',
	'fsync = off',
	'log_min_messages = error');
my $host = $node->host;
my $port = $node->port;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub as
{
	my ($role, $sql) = @_;
	return $node->psql('postgres', $sql, extra_params => [ '-U', $role ], on_error_stop => 0);
}

# Runs a file as a role of its own, whatever fails in it.
sub run_file
{
	my ($role, $sql) = @_;
	my $file = $node->basedir . "/$role.sql";
	unlink $file;
	append_to_file($file, $sql);
	my @psql = ('psql', '-XAtq', '-h', $host, '-p', $port, '-U', $role, '-f', $file, 'postgres');
	IPC::Run::run(\@psql, '>', '/dev/null', '2>', '/dev/null');
	return;
}

sql('CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	CREATE ROLE client LOGIN;
	CREATE TABLE t AS SELECT 1 AS i;
	GRANT ALL ON t TO client;');

my @views = split /\n/, sql(
	"SELECT c.oid::regclass FROM pg_class c JOIN pg_depend d ON d.objid = c.oid
	JOIN pg_extension e ON (d.refclassid, d.refobjid) = (e.tableoid, e.oid)
	WHERE c.relkind = 'v' AND e.extname = 'cozi'
	  AND has_table_privilege('watcher', c.oid, 'SELECT')");
cmp_ok(scalar @views, '>', 20, 'there are views to be read');

# The errors of each view, read with all its columns, of the page and of the metrics.
sub failures
{
	my $all = join "\n", map { "SELECT count(v::text) FROM $_ v;" } @views;
	my ($rc, $out, $err) = as('watcher',
		"$all\nSELECT length(cozi.report_html()) < 200000, length(cozi.openmetrics()) > 0;");
	return join "\n", grep { /ERROR|FATAL/ } (split /\n/, $err),
	  $out =~ /^t\|t$/m ? () : "ERROR: the page is $out";
}
is(failures(), '', 'a member of pg_monitor reads every view, the page and the metrics');

# A text of 1 MB, by its comment and by its names

my $long = 'x' x 1_000_000;
run_file(
	'client',
	"SELECT i /* $long */ FROM t;\nSELECT "
	  . join(', ',
		map { "i AS a_name_that_is_fifty_nine_characters_long_and_has_number_$_" } 10000 .. 11600)
	  . " FROM t;\n"
	  . "SELECT i + 0 AS short FROM t;\n");
is(sql("SELECT count(*) FROM cozi.slow_queries WHERE length(query) > 100000"),
	'2', 'slow_queries has the texts of any size');
is( sql("SELECT query FROM cozi.slow_queries WHERE query LIKE '%short%' AND length(query) < 100"),
	'SELECT i + $1 AS short FROM t',
	'the texts beside them are there');
is(failures(), '', 'a text of 1 MB stops no view');

# Names of clients

foreach my $name (
	"\x01\x02\x1b[2J", "'; DROP TABLE t; --",
	'<script>alert(1)</script>', "caf\xe9\xff",
	"\n\nERROR:  no", '%s%n',
	'x' x 500)
{
	local $ENV{PGAPPNAME} = $name;
	run_file('client',
			"SELECT pg_sleep(0.02), '$long';\nBEGIN; LOCK TABLE t; SELECT i AS named FROM t;\n"
		  . "SELECT 1 / 0;\nROLLBACK;\n");
}
is(failures(), '', 'no name of an application stops a view');
unlike((as('watcher', 'SELECT cozi.report_html()'))[1],
	qr/<script|\x1b|\x01/, 'the page shows no name as markup, and no control character');
is( sql(q{SELECT count(*) FROM cozi.slow_queries WHERE max_application ~ '[^ -~]'
		OR length(max_application) > 63}),
	'0',
	'the name of the slowest client is ASCII, and no longer than a name');
my $hostile = IPC::Run::start(
	[
		'psql', '-XAtq', '-h', $host, '-p', $port, '-U', 'client', 'postgres', '-c',
		"SET application_name = E'\\x07<b>\\n'; SELECT pg_sleep(1000) /* \x{7f}<b> */"
	],
	'>',
	'/dev/null',
	'2>',
	'/dev/null');
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM cozi.activity_now WHERE query LIKE '%pg_sleep(1000)%'")
  or die;
is(failures(), '', 'a session with such a name and text stops no view');

# SQLSTATEs: a role takes 64 slots, and the next one has its own

sub made_up
{
	my ($n, $first) = @_;
	return join '', map {
		my $class = join '', map { ('0' .. '9', 'A' .. 'Z')[$_] } int($_ / 36) % 36, $_ % 36;
		"DO \$\$ BEGIN RAISE 'x' USING ERRCODE = '${class}X$class'; END \$\$;\n"
	} $first .. $first + $n - 1;
}
sql('SELECT cozi.latency_reset()');
run_file('client', made_up(150, 400));
is(sql("SELECT count(*) <= 65, sum(count) FROM cozi.error_rate WHERE origin = 'raised'"),
	't|150', 'a role that makes 150 SQLSTATEs up has 64 slots and one for the rest');
sql('CREATE ROLE second LOGIN');
run_file('second', made_up(1, 700));
is(sql("SELECT count(*) FROM cozi.error_rate WHERE sqlstate = 'JG' AND count = 1"),
	'1', 'the SQLSTATE of another role is told apart');

# Until the table is full: twenty roles, each of its own

sql(join '; ', map { "CREATE ROLE tenant_$_ LOGIN" } 1 .. 20);
run_file('tenant_1', join '', map { "\\c - tenant_$_\n" . made_up(66, 65 * $_) } 1 .. 20);
sql('SELECT 1;' x 20);
sql('CREATE DATABASE gone');
$node->psql('gone', $_) foreach 'SELECT 1 / 0', 'SELECT 1::xml', 'SELECT none';
my $told = sql("SELECT sum(count) FROM cozi.error_rate WHERE origin = 'raised'");
my $dropped = sql('SELECT errors_dropped FROM cozi.latency_stats()');
is($told, 151 + 20 * 66, 'each error is counted, in its class or with the rest of its database');
cmp_ok($dropped, '>', 0, 'twenty roles fill the table: the errors of a new database have no room');
is(sql("SELECT state FROM cozi.monitor_status WHERE capability = 'room for errors'"),
	'warn', 'monitor_status says so');
is( sql("SELECT detail ~ 'errors had no room of their own' FROM cozi.health
		WHERE metric = 'error_rate'"),
	't',
	'health says so');
is(failures(), '', 'SQLSTATEs that are made up stop no view');
is(sql(sql("SELECT fix FROM cozi.monitor_status WHERE capability = 'room for errors'")),
	'', 'the fix of monitor_status runs');
is(sql("SELECT state FROM cozi.monitor_status WHERE capability = 'room for errors'"),
	'ok', 'the fix mends it');

# Roles and databases that are dropped while they are shown

$node->safe_psql('gone', 'SELECT 1 AS of_gone');
run_file('second', 'SELECT i AS of_second FROM t; SELECT 1 AS of_second;');
my $rows = sql("SELECT count(*) FROM cozi.slow_queries WHERE query LIKE '%of\\_%'");
sql('DROP DATABASE gone; DROP ROLE second');
sql(join '; ', map { "DROP ROLE tenant_$_" } 1 .. 20);
is(failures(), '', 'dropped roles and databases stop no view');
is( sql("SELECT count(*) >= 2 FROM cozi.slow_queries WHERE query LIKE '%of\\_%'
		AND (datname IS NULL OR rolname IS NULL)"),
	't',
	'their statements have no name, and stay while pg_stat_statements has them');

# snapshot(), granted singly

sql('CREATE ROLE scheduler LOGIN; GRANT USAGE ON SCHEMA cozi TO scheduler;
	GRANT EXECUTE ON FUNCTION cozi.snapshot TO scheduler');
my ($rc, $out, $err) = as('scheduler', 'SELECT cozi.snapshot() > 0');
is("$rc $out", '0 t', 'a role with EXECUTE on snapshot() alone takes one');
($rc, $out, $err) = as('scheduler', "SELECT cozi.snapshot('0')");
like($err, qr/permission denied to drop snapshots/, 'that role deletes no history');
foreach my $what (
	'SELECT count(*) FROM cozi.snapshots',
	'SELECT cozi._take_snapshot(NULL)',
	'SELECT count(*) FROM cozi.slow_queries',
	'SELECT cozi.drop_snapshots(ARRAY[1::bigint])',
	'SELECT count(*) FROM cozi._relation_files()')
{
	($rc, $out, $err) = as('scheduler', $what);
	like($err, qr/permission denied/, "that role may not run: $what");
}
as('client', 'CREATE TEMP TABLE snapshots (taken_at int)');
($rc, $out, $err) = as(
	'scheduler',
	"SET search_path = pg_temp, cozi; CREATE TEMP TABLE snapshots (snapshot int);
	SELECT cozi.snapshot() > 1; SELECT count(*) FROM pg_temp.snapshots");
is($out, "t\n0", 'a temporary table of the same name catches no snapshot');

# The file of the texts is deleted under the server

sub texts { return glob($node->data_dir . '/pg_stat_tmp/pgss_query_texts.stat') }
is(scalar(() = texts()), 1, 'pg_stat_statements has its texts in a file');
unlink texts();
$node->cool;    # a session may have read them
run_file('client', 'SELECT i * i AS after_the_file FROM t;');
is(failures(), '', 'a file of texts that was deleted stops no view');
($rc, $out, $err) = as('watcher', 'SELECT count(*) > 5, count(query) FROM cozi.slow_queries');
is($out, 't|0', 'the numbers are there, the texts are null');
is(() = $err =~ /WARNING:  the query texts of "pg_stat_statements" cannot be read/g,
	1, 'one warning says so');
my ($hint) = $err =~ /HINT:  Run: (.*)/;
my $parallel = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
($rc, $out, $err) = as('watcher', "SET $parallel = on; SET parallel_setup_cost = 0;
	SELECT (SELECT count(*) > 0 FROM pg_class), count(*) > 5, count(query) FROM cozi.slow_queries");
is($out, 't|t|0', 'texts that cannot be read stop no query that would be planned in parallel');
sql($hint);
run_file('client', 'SELECT i AS after_the_hint FROM t;');
is( sql("SELECT count(*) FROM cozi.slow_queries WHERE query = 'SELECT i AS after_the_hint FROM t'"),
	'1', 'what the hint says mends it');

# A backend is killed while the sampler looks at it

my ($pid) = split /\n/, sql(
	"SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1000)%'
		AND pid <> pg_backend_pid()");
kill 'KILL', $pid;
$hostile->finish;
House::poll_through_crash($node, "SELECT reset_reason = 'crash' FROM cozi.latency_stats()") or die;
$node->cool;    # all sessions ended with it
my $sleeper = House::session($node, 'postgres');
$sleeper->query_until(qr/begun/, "\\echo begun\nSELECT pg_sleep(1000) AS sampled;\n");
$node->poll_query_until(
	'postgres',
	"SELECT clock_timestamp() - query_start > interval '200 ms' FROM pg_stat_activity
		WHERE query LIKE 'SELECT pg_sleep%sampled%' AND state = 'active'") or die;
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity
	WHERE query LIKE 'SELECT pg_sleep%sampled%' AND pid <> pg_backend_pid()");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM cozi.waits WHERE event = 'PgSleep'")
  or die;
pass('the sampler looks at what runs after the crash');
is(failures(), '', 'every view is readable after the crash');
eval { $sleeper->quit };

$node->stop;
done_testing();
