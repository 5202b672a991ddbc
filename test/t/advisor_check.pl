
# demo/check: advice for a dump.  Most reports are those of the check itself, on a
# server of this test; the whole command runs twice, on servers of its own with
# the cozi that is installed.  With COZI_LONG it runs once more, and compiles.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Advisor;
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $root = "$FindBin::Bin/../..";
my $node = Advisor::golden('advisor_check');
# making the extension takes longer than judging a small schema
$node->safe_psql('template1', 'CREATE EXTENSION cozi');
my $dir = $node->basedir . '/check';
mkdir $dir;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;

sub write_to
{
	my ($file, $text) = @_;
	open my $out, '>', "$dir/$file" or die "$file: $!";
	print $out $text;
	close $out;
}

# The report of the judge about a dump, and its exit status.
sub judge
{
	my ($schema, $level, $waivers) = @_;
	my ($out, $err) = ('', '');
	write_to('schema.sql', $schema);
	write_to('waivers', $waivers // '');
	write_to('report.html', '');
	IPC::Run::run([ "$root/demo/advisor/judge", $dir, $level, $dir ], '<', \undef, '>', \$out,
	    '2>', \$err);
	is($err, '', 'the check says nothing on standard error');
	return ($out, $? >> 8);
}

sub findings
{
	my ($report) = @_;
	return join "\n", sort map { lc } $report =~ /^(?:ERROR|WARN|INFO) (.*)$/mg;
}

# The golden schema
my $schema = '';
IPC::Run::run([ 'pg_dump', '--schema-only', '-d', $node->connstr('golden') ], '>', \$schema);
my ($report, $status) = judge($schema, 'error');
my $of_golden = $report;
is($status, 1, 'a schema with errors fails');
# which tables are edges is data, and no part of a schema
my @difference = grep { !/edge_writable|bad\.blocks/ } split /\n/, House::difference(
	$node->safe_psql('golden', q{SELECT DISTINCT lower(code || ': ' || object) FROM cozi.advice
		WHERE code !~ '^(setting|login|tls|password|secret|unused)'
			AND object !~ '^(auth|storage)\.'}),
	findings($report));
is(join("\n", @difference), '',
    'a dump of the golden schema has the findings of the golden schema');
unlike($report, qr/left out/, 'a dump of this server is restored as a whole');
like($report, qr/\n    fix: ALTER TABLE bad\.rls_off_write ENABLE ROW LEVEL SECURITY;\n/,
    'the report prints the statements');
like($report, qr/^\d+ errors, \d+ warnings, \d+ notes, 0 waived$/m, 'the report counts');

# A dump in the shape of Supabase's
my $supabase = slurp_file("$FindBin::Bin/advisor_supabase.sql");
($report, $status) = judge($supabase, 'error');
is($status, 1, 'a table whose policies do nothing is an error');
like($report, qr/^ERROR policies_rls_off: public\.profiles$/m,
    'row-level security that was forgotten is found');
like($report, qr/^WARN policy_per_row_function: files on storage\.objects$/m,
    'a policy on storage.objects is judged');
like($report, qr/^WARN rls_bypassing_privilege: public\.profiles$/m, 'GRANT ALL is found');
like($report, qr/authenticated has [A-Z, ]*TRUNCATE/, 'GRANT ALL is found for each role');
like($report, qr/left out: extension pg_net\n/, 'an extension that is not there is said');
like($report, qr/type citext is a stand-in/,
    'a type that is not there has a stand-in, and that is said');
like($report, qr/left out: 1 statements that change no schema\n/,
    'what changes no schema is left out');
unlike($report, qr/left out: (?!extension|type|function uuid_generate_v4|1 statements)/,
	'nothing else is left out');
ok(!-e "$dir/owned" && !-e "$root/owned", 'no command of psql in a dump runs');
my $html = slurp_file("$dir/report.html");
like($html, qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;/,
    'the page shows a name of a policy as text');
unlike($html, qr/<script|https?:|src=|href=/, 'the page runs no script and loads nothing');

# Waivers and levels
my $waivers = "# known\npolicies_rls_off\tpublic.profiles\tmigration 12 turns it on\n"
  . "policy_always_true\t\"<script>alert(1)</script>\" on public.profiles\ttest\n";
($report, $status) = judge($supabase, 'error', $waivers);
is($status, 0, 'waived findings fail nothing');
like($report, qr/^    policies_rls_off: public\.profiles \(migration 12 turns it on\)$/m,
    'a waived finding is listed with its reason');
(undef, $status) = judge($supabase, 'warn', $waivers);
is($status, 1, 'warnings fail at their level');
($report, $status) = judge($supabase, 'error',
	"policies_rls_off\tpublic.profiles\told\t2020-01-01\n"
	. "rls_off\tpublic.nothing\tx\npolicy_always_true\tx\n");
is($status, 1, 'a waiver that has ended waives nothing');
like($report, qr/waiver that ended on 2020-01-01: policies_rls_off public\.profiles/,
    'a waiver that has ended is said');
like($report, qr/waiver without a finding: rls_off public\.nothing/,
    'a waiver without a finding is said');
like($report, qr/waiver without a reason: policy_always_true x/,
    'a waiver without a reason is said');
(undef, $status) = judge("CREATE TABLE public.t (id int PRIMARY KEY);\n", 'info');
is($status, 0, 'a schema without findings passes at every level');

# The command
sub check
{
	my (@args) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ "$root/demo/check", @args ], '<', \undef, '>', \$out, '2>', \$err);
	return ($out, $err, $? >> 8);
}
foreach (
	[ [], qr/usage/, 'no schema' ], [ [ "$dir/none.sql" ], qr/cannot read/,
	    'a file that is not there' ],
	[ [ "$dir/schema.sql", '--fail-on', 'fatal' ], qr/there is no level "fatal"/,
	    'an unknown level' ],
	[ [ '--frobnicate' ], qr/there is no option/, 'an unknown option' ],
	[ [ "$dir/schema.sql", '--html', "$dir/no/where.html" ], qr/cannot write/,
	    'a page that cannot be written' ])
{
	my (undef, $err, $code) = check(@{ $_->[0] });
	like($err, $_->[1], "demo/check refuses $_->[2]");
	is($code, 2, "demo/check exits with 2 for $_->[2]");
}
write_to('golden.sql', $schema);
write_to('supabase.sql', $supabase);
my $same = qr/ERROR policies_rls_off: public\.profiles\n/;
my ($out, $err, $code) = check("$dir/golden.sql", '--installed');
is($code, 1, 'demo/check fails on the golden schema');
is($out, $of_golden, 'demo/check prints what the check prints');
write_to('known', $waivers);
($out, $err, $code) = check("$dir/supabase.sql", '--installed', '--waivers', "$dir/known",
	'--html', "$dir/page.html", '--fail-on', 'error', '--api-roles', 'anon, "Web"');
is($err, '', 'demo/check says nothing on standard error');
is($code, 0, 'demo/check passes a dump of Supabase whose errors are waived');
like($out, qr/^    policies_rls_off: public\.profiles \(migration 12 turns it on\)$/m,
	'demo/check reads the waivers');
like($out, qr/anon has [A-Z, ]*TRUNCATE/, 'demo/check judges what the roles named may do');
unlike($out, qr/authenticated has [A-Z, ]*TRUNCATE/,
	'demo/check judges no role that is not named');
like(slurp_file("$dir/page.html"), qr/<h1>Advice<\/h1>.*<\/html>/s,
	'demo/check writes the page');
if ($ENV{COZI_LONG})
{
	($out, undef, $code) = check("$dir/supabase.sql");
	is($code, 1, 'demo/check that compiles cozi fails on an error');
	like($out, qr/ERROR policies_rls_off: public\.profiles\n/,
	    'demo/check that compiles cozi prints the findings');
}

$node->stop;
done_testing();
