
# advice on the golden schema: waivers, the gate, what is new, who sees what,
# a standby, a dump.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Advisor;
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $node = Advisor::golden('advisor_advice');

sub psql
{
	my ($sql, $user) = @_;
	return join '', Advisor::ask($node, 'golden', $user, $sql);
}
sub query_on { return Advisor::answer($_[0], 'golden', @_[ 1, 2 ]); }
sub query { return query_on($node, $_[1], $_[0]); }

my $found = query('SELECT count(*) FROM cozi.advice');
cmp_ok($found, '>', 60, 'advice unites the advisors');
is(query('SELECT DISTINCT code FROM cozi.advice WHERE what IS NULL OR why IS NULL'),
	'', 'each code in advice is explained');
is(query('SELECT DISTINCT level FROM cozi.advice ORDER BY 1'), "error\ninfo\nwarn",
    'advice has three levels');
is(query(q{SELECT count(*) FROM cozi.advice WHERE object ~ '^(role |database)'
    AND code !~ '^(api_role|policy_forge|identity_set)'}),
	'0', 'a finding names its object');

# doc/advisor.md: a paragraph for each code, which says how it is mended.
my $page = slurp_file("$FindBin::Bin/../../doc/advisor.md");
my %paragraph = map { /^\*\*(\w+)\*\* \((?:error|warn|info)/ ? ($1 => $_) : () }
  split /\n\n/, $page;
is(join("\n", sort keys %paragraph), query('SELECT code FROM cozi._advice_codes() ORDER BY 1'),
	'the manual has one paragraph for each code, and for no other');
is(join(' ', grep { $paragraph{$_} !~ /\.\s+\S.*\bFix:\s/s } sort keys %paragraph), '',
	'the paragraph of a code says what is wrong, and how it is mended');

# The gate
my $script = $node->basedir . '/gate.sql';
append_to_file($script, "SELECT cozi.advice_gate();\n");
command_exit_is([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('golden'),
    '-f', $script ],
	3, 'a script of psql that the gate stops exits with 3');
like(psql("\\set VERBOSITY verbose\nSELECT cozi.advice_gate()"),
	qr/P0001: \d+ findings .*error rls_off: bad\.rls_off_write.*HINT:  Run the fix_sql/s,
	'the gate raises P0001, lists the findings and says what to do');
like(psql("SELECT cozi.advice_gate('fatal')"), qr/there is no level "fatal".*Levels are error/s,
	'the gate refuses a level that does not exist');

# Waivers
like(psql("\\set VERBOSITY verbose\nSELECT cozi.waive('rls_off', 'bad.nothing', 'why not')"),
	qr/42704: there is no finding "rls_off" about "bad.nothing".*HINT/s,
	    'a waiver needs a finding');
like(psql("\\set VERBOSITY verbose\nSELECT cozi.waive('rls_off', 'bad.rls_off_write', NULL)"),
	qr/22004: argument "reason" must not be null/, 'a waiver needs a reason');
like(psql("\\set VERBOSITY verbose\nSELECT cozi.waive('rls_off', 'bad.rls_off_write', ' ')"),
	qr/22023: argument "reason" must not be empty/, 'the reason of a waiver is not empty');
like(psql("\\set VERBOSITY verbose\nSELECT cozi.waive('rls_off', 'bad.rls_off_write', 'x',
    current_date - 1)"),
	qr/22023: argument "until" is a day that has passed/, 'a waiver does not end before it begins');
query(q{SELECT cozi.waive('rls_off', 'bad.rls_off_write', 'filled by hand', current_date + 30)});
is(query(q{SELECT waived_by, waived_because, waived_until - current_date FROM cozi.advice
	WHERE (code, object) = ('rls_off', 'bad.rls_off_write')}), query('SELECT session_user')
    . '|filled by hand|30',
	'a waived finding stays in advice, with who, why and until when');
is(query('SELECT count(*) FROM cozi.advice'), $found, 'a waiver hides nothing');
unlike(psql('SELECT cozi.advice_gate()'), qr/bad\.rls_off_write/,
    'the gate lets a waived finding pass');
query('GRANT INSERT (body) ON bad.rls_off_write TO anon');
is(query(q{SELECT waived_by FROM cozi.advice WHERE (code, object) = ('rls_off',
    'bad.rls_off_write')}),
	'', 'a waiver ends when the grants of its table change');
foreach (
	[ 'policy_always_true', 'drops on bad.everyone',
	    'ALTER POLICY drops ON bad.everyone USING (id = 8 OR 1 = 1)',
	    'the condition of its policy changes' ],
	[ 'view_bypasses_rls', 'bad.all_notes',
	    'CREATE OR REPLACE VIEW bad.all_notes AS SELECT * FROM good.own_uid WHERE id > 0',
	    'the query of its view changes' ],
	[ 'identity_immutable', 'bad.frozen()',
	    'ALTER FUNCTION bad.frozen() SET search_path = pg_catalog', 'its function changes' ])
{
	my ($code, $object, $change, $what) = @$_;
	query("SELECT cozi.waive('$code', '$object', 'known')");
	is(query("SELECT waived_because FROM cozi.advice WHERE (code, object) = ('$code', '$object')"),
	    'known', "$code is waived");
	query($change);
	is(query("SELECT waived_because FROM cozi.advice WHERE (code, object) = ('$code', '$object')"),
	    '', "a waiver ends when $what");
}
query(q{UPDATE cozi.waivers SET until = current_date - 1 WHERE object = 'bad.frozen()'});
is(query(q{SELECT cozi.unwaive('identity_immutable', 'bad.frozen()'),
    cozi.unwaive('identity_immutable', 'bad.frozen()')}),
	't|f', 'unwaive() says whether there was a waiver');

# What is new
is(query('SELECT cozi.record_advice() > 60'), 't', 'the first record finds all new');
is(query('SELECT cozi.record_advice()'), '0', 'a second record finds nothing new');
is(query('SELECT count(*) FROM cozi.advice_new(now())'), '0', 'nothing is new since now');
query('CREATE TABLE bad.brand_new (id int PRIMARY KEY); GRANT SELECT ON bad.brand_new TO anon');
is(query('SELECT code, object FROM cozi.advice_new(now())'), 'rls_off|bad.brand_new',
    'advice_new() gives what a migration brought');

# Who sees what
query(q{CREATE ROLE tenant LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA cozi TO stranger, tenant;
	ALTER TABLE bad.rls_off_column OWNER TO tenant; GRANT USAGE ON SCHEMA bad TO tenant;
	SELECT cozi.grant_owner('tenant')});
is(query('SELECT DISTINCT object FROM cozi.advice', 'tenant'),
    'bad.rls_off_column',
	'the owner of a table sees the findings of their own tables');
is(query('SELECT count(*) FROM cozi.advice', 'monitor'),
    query('SELECT count(*) FROM cozi.advice'),
	'a member of pg_monitor sees all findings');
like(psql('SELECT * FROM cozi.advice', 'stranger'), qr/permission denied for view advice/,
    'others see nothing');
foreach (qw(monitor tenant))
{
	like(psql(q{SELECT cozi.waive('rls_off', 'bad.rls_off_column', 'mine')}, $_),
		qr/permission denied for function waive/, "$_ waives nothing without a grant");
}
query('GRANT EXECUTE ON FUNCTION cozi.waive TO monitor');
is(psql(q{SELECT cozi.waive('rls_off', 'bad.rls_off_column', 'public data')}, 'monitor'), '',
    'a role with the grant waives');
is(query(q{SELECT waived_by FROM cozi.advice WHERE object = 'bad.rls_off_column'
    AND code = 'rls_off'}), 'monitor', 'a waiver names who made it');

# A standby reads all of it; the waivers are there, too.
$node->backup('base');
my $standby = Warm->new('advisor_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
my $of_the_catalog = q{SELECT code, object, waived_by FROM cozi.advice
	WHERE code !~ '^(setting|login)' ORDER BY 1, 2, 3};
is(query_on($standby, '', $of_the_catalog), query($of_the_catalog),
	'a standby gives the same advice');
foreach my $view (qw(policy_advisor index_usage duplicate_indexes missing_fk_indexes invalid_objects
	sequence_usage tables_without_key bloat settings_advisor missing_indexes table_growth advice))
{
	is(query_on($standby, '', "SELECT count(*) >= 0 FROM cozi.$view"), 't',
	    "$view runs on a standby");
	is(query("SELECT count(*) >= 0 FROM cozi.$view", 'monitor'), 't',
	    "pg_monitor reads $view");
	my ($lock) = query("BEGIN READ ONLY; SELECT count(*) FROM cozi.$view \\g /dev/null
		SELECT string_agg(DISTINCT mode, ' ') FROM pg_locks WHERE pid = pg_backend_pid()
		    AND locktype = 'relation'; COMMIT");
	is($lock, 'AccessShareLock', "$view takes no lock above ACCESS SHARE");
}
$standby->stop;

# A dump keeps the waivers.
my $dump = $node->basedir . '/golden.sql';
command_ok([ 'pg_dump', '--file', $dump, $node->connstr('golden') ], 'the database is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump,
    $node->connstr('restored') ], 'the dump is restored');
my $kept = q{SELECT code, object, waived_by, waived_because FROM cozi.advice
    WHERE waived_by IS NOT NULL ORDER BY 1, 2};
is($node->safe_psql('restored', $kept), query($kept), 'a waiver holds after a dump and a restore');

Advisor::quit();
$node->stop;
done_testing();
