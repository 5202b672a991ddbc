# The monitoring views always answer: pg_stat_statements absent, created but
# not loaded, in a schema of a quoted name, at an old version; cozi preloaded
# or not.  No view raises an error, as superuser or as a member of pg_monitor.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @views;
my $node = PostgreSQL::Test::Cluster->new('degraded');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 20\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE reader LOGIN IN ROLE pg_monitor');

sub preload
{
	my ($libraries) = @_;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	$node->restart;
}

# Every view, by name from the catalog, so that a new one is tested too.
sub views
{
	my ($db) = @_;
	return split /\n/, $node->safe_psql(
		$db, q{
		SELECT c.oid::regclass FROM pg_class c
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'cozi'
		WHERE c.relkind = 'v' AND has_table_privilege('pg_monitor', c.oid, 'SELECT') ORDER BY 1});
}

# Reads every view as superuser and as member of pg_monitor; returns what
# slow_queries has and what monitor_status says, and the warnings.
sub all_answer
{
	my ($db, $case) = @_;
	my $script = join '', map {
		my $role = $_;
		"SET ROLE $role;\n" . join '', map { "SELECT * FROM $_;\n" } @views
	} 'postgres', 'reader';
	$script .= q{
		SELECT 'rows', count(*) > 0 FROM cozi.slow_queries;
		SELECT 'source', state FROM cozi.monitor_status WHERE capability = 'pg_stat_statements';
		SELECT 'cozi', state FROM cozi.monitor_status WHERE capability = 'cozi preloaded';};
	my ($rc, $out, $err) = $node->psql($db, $script, on_error_stop => 0);
	is($err =~ s/.*(?:WARNING|HINT): .*\n?//gr, '', "$case: every view answers");
	my %found = $out =~ /^(rows|source|cozi)\|(.*)$/mg;
	return ($err, %found);
}

my %cases = (
	absent => '',
	created => 'CREATE EXTENSION pg_stat_statements',
	quoted => 'CREATE SCHEMA "Ext ""Ensions"; GRANT USAGE ON SCHEMA "Ext ""Ensions" TO pg_monitor;
	  CREATE EXTENSION pg_stat_statements SCHEMA "Ext ""Ensions"',
	old => q{CREATE EXTENSION pg_stat_statements VERSION '1.4'},
	older => q{CREATE EXTENSION pg_stat_statements VERSION '1.9'});
$node->safe_psql('postgres', 'CREATE DATABASE absent');
$node->safe_psql('absent', 'CREATE EXTENSION cozi');
for my $case (grep { $_ ne 'absent' } sort keys %cases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $case TEMPLATE absent");
	$node->safe_psql($case, $cases{$case});
}
@views = views('absent');
cmp_ok(scalar @views, '>=', 14, @views . ' views are granted to pg_monitor');

for my $libraries ('', 'cozi', 'pg_stat_statements', 'pg_stat_statements,cozi')
{
	preload($libraries) if $libraries;
	my $loaded = $libraries =~ /pg_stat/;
	for my $case (sort keys %cases)
	{
		my ($err, %found) = all_answer($case, "pg_stat_statements $case, preloaded '$libraries'");
		is( $found{rows},
			$loaded && $case ne 'absent' ? 't' : 'f',
			"... rows where there is something to read");
		if ($case eq 'absent')
		{
			like(
				$err,
				qr/WARNING:  extension "pg_stat_statements" is not installed in database "absent"/,
				'... else a warning');
			like($err, qr/HINT:  Run: CREATE EXTENSION pg_stat_statements;/, '... with the remedy');
		}
		elsif (!$loaded)
		{
			my $list = $libraries ? "'$libraries', 'pg_stat_statements'" : "'pg_stat_statements'";
			my $setting = "shared_preload_libraries = $list";
			like(
				$err,
				qr/HINT:  \QRun: ALTER SYSTEM SET $setting; then restart the server.\E/,
				'... with the remedy');
		}
		is( $found{source},
			$loaded && $case ne 'absent' ? 'ok' : 'missing',
			'... and a line in monitor_status');
		is($found{cozi}, $libraries =~ /cozi/ ? 'ok' : 'missing', '... and one for cozi');
	}
}

# The remedy, word for word, is a remedy.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cozi'");
$node->restart;
my $fix = $node->safe_psql(
	'created',
	"SELECT substring(fix FROM '.*;') FROM cozi.monitor_status
		WHERE capability = 'pg_stat_statements'"
);
$node->safe_psql('created', $fix);
$node->restart;
is( $node->safe_psql('created', 'SHOW shared_preload_libraries'),
	'cozi, pg_stat_statements',
	'the remedy keeps what was there');
is($node->safe_psql('created', 'SELECT cozi.statements_state()'), 'ok', '... and mends');
$node->safe_psql('created', 'ALTER SYSTEM RESET shared_preload_libraries');

# A placeholder of the setting's name does not pass for the library.
$node->restart;
is( $node->safe_psql('created', 'SET pg_stat_statements.max = 100; SELECT cozi.statements_state()'),
	'not loaded',
	'a placeholder does not pass for the library');

# Nothing of ours stands in the way of ALTER EXTENSION or DROP.
preload('pg_stat_statements');
is(($node->psql('old', 'ALTER EXTENSION pg_stat_statements UPDATE'))[0],
	0, 'ALTER EXTENSION UPDATE from 1.4 to the newest');
all_answer('old', 'updated');
is( $node->safe_psql(
		'old',
		"SELECT state FROM cozi.monitor_status WHERE capability = 'pg_stat_statements version'"),
	'ok',
	'the version is the newest');
is(($node->psql('old', 'DROP EXTENSION pg_stat_statements'))[0], 0, 'DROP EXTENSION');
all_answer('old', 'dropped');

# In a session that has plans of the view cached, too.
my $out = $node->safe_psql(
	'older', q{
	PREPARE q AS SELECT count(*) > 0, count(stats_since) > 0 FROM cozi.slow_queries;
	EXECUTE q;
	ALTER EXTENSION pg_stat_statements UPDATE;
	EXECUTE q;
	DROP EXTENSION pg_stat_statements;
	EXECUTE q;});
like($out, qr/^t\|f\nt\|[tf]\nf\|f$/, 'prepared, updated, dropped');

$node->stop;
done_testing();
