# Texts: of any encoding, of any size, and without what is nobody's business.

use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Monitor '$timeout';
use Test::More;

my $node = House::server('text');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements,cozi'
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
CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0;
CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0;
CREATE TABLE rl (secret text, pad text, n int);
ALTER TABLE rl ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON rl TO client;
CREATE POLICY p ON rl USING (secret <> 'hidden-const' AND n <> 4711);
SQL

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub watch
{
	return House::attempt($node, 'postgres', $_[0], extra_params => [ '-U', 'watcher' ]);
}

# Runs a file in a database, in its own encoding.
sub in_database
{
	my ($db, $encoding, $text) = @_;
	my $file = $node->basedir . "/$db.sql";
	unlink $file;
	append_to_file($file, $text);
	local $ENV{PGCLIENTENCODING} = $encoding;
	return $node->command_ok(
		[ 'psql', '-qAtX', '-o', '/dev/null', '-d', $node->connstr($db), '-f', $file ],
		"a text of database $db");
}

# one text that cannot be shown hides no other
sql('SELECT 1 AS plain');
in_database('ascii', 'SQL_ASCII', "SELECT 1 AS \"x\xff\xfe\"");
in_database('latin', 'LATIN1', "SELECT 1 AS \"caf\xe9\"");
foreach my $view (qw(slow_queries slow_queries_by_total slow_queries_by_p99))
{
	my ($rc, $out, $err) = watch(
		"SELECT count(*) FILTER (WHERE query LIKE 'SELECT % AS plain'), count(*)
			FILTER (WHERE query IS NULL) FROM cozi.$view"
	);
	is("$rc $out", '0 1|1', "$view shows every text but the one that has no representation");
	is( () =
		  $err =~ /WARNING:  a query text of another database cannot be shown in encoding "UTF8"/g,
		1,
		"$view warns once");
}
my ($rc, $out, $err) =
  watch("SELECT count(*) FROM cozi.statements(true) WHERE query IS NULL AND queryid IS NOT NULL");
is("$rc $out", '0 1', 'statements(true) has no text for it');
is( sql("SET client_min_messages = error; SELECT query FROM cozi.slow_queries
    WHERE datname = 'latin' AND query LIKE 'SELECT % AS%'"
	),
	"SELECT \$1 AS \"caf\xc3\xa9\"",
	'a text of another encoding is converted');
sql('DROP DATABASE ascii');
($rc, $out, $err) = watch('SELECT count(*) > 1 FROM cozi.slow_queries WHERE query IS NOT NULL');
is("$rc $out", '0 t', 'the text of a dropped database hides no other');
$node->safe_psql('latin', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
($rc, $out, $err) =
  $node->psql('latin', 'SELECT count(*) > 1 FROM cozi.slow_queries WHERE query IS NOT NULL');
is("$rc $out", '0 t', 'a database of another encoding shows what it can');

# a session that runs such a text now
sql("CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0");
my $session = House::session($node, 'ascii');
$session->query_safe("BEGIN; SELECT 1 AS \"y\xff\"");
($rc, $out, $err) =
  watch("SELECT count(*), count(query) FROM cozi.activity_now WHERE datname = 'ascii'");
is("$rc $out", '0 1|0', 'activity_now has no text for what has no representation');
($rc, $out, $err) =
  watch("SELECT count(*), count(query) FROM cozi.long_transactions WHERE datname = 'ascii'");
is("$rc $out", '0 1|0', 'long_transactions has no text for what has no representation');
$session->quit;

# what a member of pg_monitor sees of plans
$node->psql(
	'postgres',
	qq{ALTER ROLE client PASSWORD 'pass-word'; $timeout;
	SELECT pg_sleep(11), 'timed-const' /* note-1 */},
	on_error_stop => 0);
sql("ALTER SYSTEM SET cozi.slow_plan_ms = 0; SELECT pg_reload_conf()");
$node->psql(
	'postgres', q{
	PREPARE q(text) AS SELECT * FROM rl WHERE secret = $1 AND n > 815;
	EXECUTE q('param-value-123');
	SELECT $$dollar-const$$, E'esc\'aped-const', "secret" FROM rl WHERE n = 99;},
	extra_params => [ '-U', 'client' ],
	on_error_stop => 0);
sql("ALTER SYSTEM RESET cozi.slow_plan_ms; SELECT pg_reload_conf()");
my $role = "rolname = 'client'";
($rc, $out, $err) = watch("SELECT query, plan FROM cozi.slow_plans");
unlike(
	$out,
	qr/hidden-const|4711|param-value|815|dollar-const|aped-const|timed-const|note-1|pass-word|= 99/,
	'a member of pg_monitor sees no bound value, no constant of a policy or a query, no comment '
	  . 'and no password');
like($out, qr/Filter: .*secret <> \?/, 'the plan is there, without its constants');
like($out, qr/cost=\d+\.\d+/, 'the estimates of the plan are there');
like($out, qr/"secret" FROM rl/, 'quoted names are there');
like(sql("SELECT plan FROM cozi.slow_plans WHERE $role"),
	qr/hidden-const/, 'a superuser sees the constants');
like(($node->psql('postgres', 'SELECT 1', extra_params => [ '-U', 'client' ]))[1],
	qr/1/, 'the client goes on');
($rc, $out, $err) = watch('SET cozi.show_constants = on');
like($err, qr/permission denied/, 'a member of pg_monitor does not switch constants on');
sql('ALTER SYSTEM SET cozi.show_constants = on; SELECT pg_reload_conf()');
$node->poll_query_until('postgres', "SELECT current_setting('cozi.show_constants') = 'on'") or die;
($rc, $out, $err) = watch("SELECT plan FROM cozi.slow_plans WHERE $role");
like(
	$out,
	qr/hidden-const.*param-value-123/s,
	'a setting shows the constants to members of pg_monitor');

# many large texts are read once, and every one is right
sql('SELECT pg_stat_statements_reset()');
my $large = $node->basedir . '/large.sql';
append_to_file(
	$large,
	join '',
	map {
			"SELECT 1 AS c$_, '"
		  . ('x' x 10) . "' AS "
		  . join(', 2 AS ', map { 'k' . $_ x 20 } 1 .. $_ - 200) . ";\n"
	} 1000 .. 1029);
$node->command_ok(
	[ 'psql', '-qAtX', '-o', '/dev/null', '-d', $node->connstr('postgres'), '-f', $large ],
	'thirty large texts');
is( sql("SELECT count(*), count(*) FILTER (WHERE s.query = p.query) FROM cozi.slow_queries s
    JOIN pg_stat_statements p USING (queryid) WHERE p.query LIKE 'SELECT \$1 AS c1%'"
	),
	'30|30',
	'each text is the one of pg_stat_statements');

$node->stop;
done_testing();
