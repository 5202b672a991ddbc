# Ways to become somebody without a token, where the library is loaded late,
# early, or only in a parallel worker; and what the log says of tokens.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Token;
use Test::More;
use Warm;

my $node = Warm->new('forge')->anew;
$node->init;
$node->append_conf('postgresql.conf',
	"max_parallel_workers_per_gather = 2\nlog_statement = none\n");
$node->start;
my $parallel =
  $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000
  ? 'debug_parallel_query'
  : 'force_parallel_mode';

$node->safe_psql('postgres', <<"END");
CREATE EXTENSION cozi;
CREATE ROLE app LOGIN;
CREATE ROLE trusted LOGIN;
CREATE ROLE gateway LOGIN;
GRANT USAGE ON SCHEMA cozi TO app, trusted, gateway;
GRANT app TO gateway;
GRANT CREATE ON SCHEMA public TO app, trusted;
SELECT cozi.add_secret('$secret');
CREATE FUNCTION public.who() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS
    'BEGIN RETURN coalesce(cozi.uid_text(), ''nobody''); END';
END

my $forged = '{"sub":"mallory"}';
my $workers =
  "SET $parallel = on; SET parallel_leader_participation = off; SET parallel_setup_cost = 0";

# (stdout, stderr) of a script run by a role; %opt: options, as PGOPTIONS
sub run_as
{
	my ($role, $sql, %opt) = @_;
	local $ENV{PGOPTIONS} = $opt{options} if $opt{options};
	my ($out, $err) = ('', '');
	$node->psql(
		'postgres', $sql,
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', $role ]);
	return ($out, $err);
}

sub nobody_after
{
	my ($role, $sql, $name, %opt) = @_;
	my ($out, $err) = run_as($role, "$sql;\nSELECT 'is ' || who();", %opt);
	$out = 'is nobody'
	  if $err =~
	  /FATAL:  .*parameter "cozi\..*(set|changed)|FATAL:  permission denied to set parameter "cozi/
	  ;    # not even connected
	like($out, qr/^is nobody$/m, $name);
	return;
}

for my $when ('late', 'early')
{
	if ($when eq 'early')
	{
		$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cozi'");
		$node->restart;
	}

	my ($out) = run_as('app', 'SELECT cozi.login(\'' . token('ann') . '\')' . '\\; SELECT who()');
	is($out, "ann\nann", "$when: a token is believed");
	nobody_after('app', 'SELECT 1', "$when: nobody to begin with");
	nobody_after('app', "SET cozi.identity = '$forged'", "$when: SET");
	nobody_after('app', "BEGIN; SET LOCAL cozi.identity = '$forged'; ROLLBACK", "$when: SET LOCAL");
	nobody_after('app', "SELECT set_config('cozi.identity', '$forged', false)",
		"$when: set_config");
	nobody_after(
		'app',
		"SET cozi.identity = '$forged'; RESET ALL; RESET cozi.identity",
		"$when: SET and RESET");
	nobody_after('app', "SET \"COZI.Identity\" = '$forged'", "$when: SET in capitals");
	nobody_after('app', "SET cozi.identity = '$forged'; LOAD 'cozi'", "$when: SET and LOAD");
	nobody_after(
		'app',
		"SET request.jwt.claims = '$forged'; SET request.jwt.claim.sub = 'mallory'; "
		  . "SET jwt.claims.user_id = 'mallory'",
		"$when: the settings of others");
	nobody_after(
		'app',
		"CREATE FUNCTION forge() RETURNS text LANGUAGE sql SET cozi.identity = '$forged' "
		  . "AS 'SELECT who()'; SELECT forge()",
		"$when: a function's SET clause");
	unlike((run_as('app', 'SELECT forge()'))[0], qr/mallory/, "$when: nor inside it");
	run_as('postgres', 'DROP FUNCTION IF EXISTS forge()');
	nobody_after('app', 'SELECT 1', "$when: startup options",
		options => "-c cozi.identity=$forged");
	nobody_after('postgres', "SET cozi.identity = '$forged'", "$when: a superuser's SET");
	nobody_after(
		'postgres',
		'SELECT 1',
		"$when: a superuser's startup options",
		options => "-c cozi.identity=$forged");

	# stored with a role or a database
	run_as('app', "ALTER ROLE app SET cozi.identity = '$forged'");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_db_role_setting'),
		'0', "$when: no role stores it for itself");
	run_as('postgres',
			"ALTER ROLE app SET cozi.identity = '$forged'; ALTER DATABASE postgres "
		  . "SET cozi.identity = '$forged'; ALTER SYSTEM SET cozi.identity = '$forged'");
	nobody_after('app', 'SELECT 1', "$when: ALTER ROLE and ALTER DATABASE");
	run_as('postgres',
			'ALTER ROLE app RESET cozi.identity; ALTER DATABASE postgres RESET cozi.identity; '
		  . 'ALTER SYSTEM RESET cozi.identity');

	# a right to set parameters
	run_as('postgres', 'GRANT SET ON PARAMETER cozi.identity TO trusted');
	nobody_after('trusted', "SET cozi.identity = '$forged'", "$when: GRANT SET ON PARAMETER");
	nobody_after(
		'trusted',
		"ALTER ROLE trusted SET cozi.identity = '$forged'",
		"$when: and ALTER ROLE");
	nobody_after('trusted', 'SELECT 1', "$when: in the next session");
	run_as('postgres',
		'ALTER ROLE trusted RESET cozi.identity; REVOKE SET ON PARAMETER cozi.identity FROM trusted'
	);

	# a worker that loads the library when its leader has not
	nobody_after(
		'app',
		"SET cozi.identity = '$forged'; $workers; SELECT who()",
		"$when: a placeholder and a worker");
	(my $worker) = run_as('app', "SET cozi.identity = '$forged'; $workers; SELECT who()");
	unlike($worker, qr/mallory/, "$when: nor in the worker");
	($worker) = run_as('app',
			"BEGIN; SELECT cozi.login('"
		  . token('ann')
		  . "'); $workers; SELECT who(); SELECT cozi.logout(); SELECT who(); END");
	like($worker, qr/^ann\nann\n\nnobody$/m, "$when: a worker sees its leader's identity");
	like(
		(   run_as(
				'app',
				"$workers; SELECT cozi.login('" . token('ann') . "') FROM generate_series(1, 2)")
		)[0],
		qr/^ann\nann$/,
		"$when: login stays with the leader");
}

# the file: refused, with a warning in the log
$node->append_conf('postgresql.conf', "cozi.identity = '$forged'");
$node->restart;
nobody_after('app', 'SELECT 1', 'postgresql.conf, early');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
nobody_after('app', 'SELECT 1', 'postgresql.conf, late');
$node->adjust_conf('postgresql.conf', 'cozi.identity', undef);
$node->restart;

# What a client's startup options do to the other settings, before the library
# is there to refuse them.
my $for_web = token('ann', '"aud":"web"');
my $for_mail = token('ann', '"aud":"mail"');
$node->safe_psql('postgres', "ALTER DATABASE postgres SET cozi.jwt_audience = 'web'");
sub login { return "SELECT 'is ' || cozi.login('$_[0]')"; }
like((run_as('app', login($for_web)))[0], qr/^is ann$/, 'the audience that the database names');
like((run_as('app', login($for_mail)))[1], qr/ERROR:  invalid token/, 'another audience');
for my $set (
	'jwt_audience=mail', 'jwt_audience=', 'jwt_issuer=x', 'jwt_max_lifetime=0',
	'jwt_leeway=3600', 'role_claim=email', 'api_roles=x')
{
	my ($out, $err) =
	  run_as('app', login($for_mail) . ";\n" . login($for_web), options => "-c cozi.$set");
	unlike($out, qr/is ann/, "startup option $set: no identity");
}
like(
	(run_as('app', "SET cozi.jwt_audience = 'mail';\n" . login($for_mail)))[1],
	qr/ERROR:  invalid token/,
	'SET before the library is loaded: another audience');
like((run_as('app', "SET cozi.jwt_audience = 'mail';\n" . login($for_web)))[0],
	qr/is ann/, 'SET before the library is loaded: the database holds');
like((run_as('postgres', login($for_mail), options => '-c cozi.jwt_audience=mail'))[0],
	qr/is ann/, 'a superuser may');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET cozi.jwt_audience');

# What the startup options shadow is lost in parallel workers, too.
$node->append_conf('postgresql.conf', "cozi.trusted_gateways = 'gateway'");
$node->reload;
$node->safe_psql('postgres', <<'END');
ALTER DATABASE postgres SET cozi.role_claim = 'app_role';
CREATE FUNCTION public.is_admin() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS
    'BEGIN RETURN cozi.has_role(''admin''); END';
END
for my $first ('SELECT cozi.uid()', 'SELECT 1')
{
	my $ask = "SET LOCAL request.jwt.claims = '{\"sub\":\"ann\",\"role\":\"admin\"}'; $first; "
	  . "SELECT 'leader ' || is_admin(); $workers; SELECT 'worker ' || is_admin()";
	my ($out) = run_as('gateway', "BEGIN; $ask; END", options => '-c cozi.role_claim=role');
	like(
		$out,
		qr/^worker false$/m,
		"a worker of a session with startup options gives no role, after $first");
	unlike($out, qr/true/, "a session with startup options gives no role, after $first");
}
my ($out) = run_as(
	'gateway',
	'SET cozi.settings_forged = off; SELECT cozi.uid() IS NULL; '
	  . 'RESET cozi.settings_forged; RESET ALL; SHOW cozi.settings_forged',
	options => '-c cozi.settings_forged=on');
is($out, "t\noff", 'a client does not set that settings were forged');
$node->append_conf('postgresql.conf', "cozi.trusted_gateways = ''");
$node->reload;
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET cozi.role_claim');

# Gateways: believed only where the configuration file says so.
my $claims = '{"sub":"ann","role":"editor"}';

sub gateway
{
	my ($sql, $as, $text) = @_;
	$text ||= $claims;
	return (
		run_as(
			$as || 'gateway',
			"BEGIN; SET LOCAL request.jwt.claims = '$text'; $sql; END;\nSELECT 'then ' || who();")
	)[0];
}
is(gateway('SELECT who()'), "nobody\nthen nobody", 'no gateway unless it is named');
nobody_after(
	'gateway',
	"SET cozi.trusted_gateways = 'gateway'; SET request.jwt.claims = '$claims'",
	'a gateway does not name itself');
nobody_after(
	'gateway',
	"SET request.jwt.claims = '$claims'",
	'startup options name no trusted gateway',
	options => '-c cozi.trusted_gateways=gateway');
run_as('postgres',
		"ALTER DATABASE postgres SET cozi.trusted_gateways = 'gateway'; ALTER ROLE gateway "
	  . "SET cozi.trusted_gateways = 'gateway'");
nobody_after(
	'gateway',
	"SET request.jwt.claims = '$claims'",
	'settings of a database and of a role name no trusted gateway');
run_as('postgres',
		'ALTER DATABASE postgres RESET cozi.trusted_gateways; '
	  . 'ALTER ROLE gateway RESET cozi.trusted_gateways');
for my $when ('late', 'early')
{
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = '" . ($when eq 'early' ? 'cozi' : '') . "'");
	$node->append_conf('postgresql.conf', "cozi.trusted_gateways = 'other, \"gateway\"'");
	$node->restart;
	is( gateway('SELECT who()'),
		"ann\nthen nobody",
		"$when: a gateway is believed, as long as its claims last");
	is(gateway('SELECT who()', 'app'), "nobody\nthen nobody", "$when: nobody else is");
	is(gateway('SELECT who()', 'postgres'), "nobody\nthen nobody", "$when: not even a superuser");
	is( gateway('SET LOCAL ROLE app; SELECT who(); RESET ROLE'),
		"ann\nthen nobody",
		"$when: whatever role it takes");
	is( gateway('SET ROLE gateway; SELECT who(); RESET ROLE', 'postgres'),
		"nobody\nthen nobody",
		"$when: becoming it by SET ROLE does not help");
	is( gateway(
			'SET SESSION AUTHORIZATION gateway; SELECT who(); RESET SESSION AUTHORIZATION',
			'postgres'),
		"ann\nthen nobody",
		"$when: a superuser may become it");
	is( gateway("SELECT cozi.uid_text(), cozi.claim('role'), cozi.claims()"),
		"ann|editor|{\"sub\": \"ann\", \"role\": \"editor\"}\nthen nobody",
		"$when: all its claims");
	is( gateway(
				"SELECT cozi.login('"
			  . token('bob')
			  . "'); SELECT who(); SELECT cozi.logout(); SELECT who()"),
		"bob\nbob\n\nnobody\nthen nobody",
		"$when: login and logout say it louder");
	is( gateway(
				"SELECT who(); SAVEPOINT s; SELECT cozi.logout(); SELECT who(); "
			  . "ROLLBACK TO s; SELECT who()"),
		"ann\n\nnobody\nann\nthen nobody",
		"$when: until they are undone");
	is( gateway(
				"SELECT who(); SET LOCAL request.jwt.claims = '{\"sub\":\"bob\"}'; "
			  . "SELECT who(), cozi.claim('sub'); SET LOCAL request.jwt.claims = ''; SELECT who()"),
		"ann\nbob|bob\nnobody\nthen nobody",
		"$when: its claims are read as they change");
	is( gateway("SET LOCAL $parallel = on; SELECT who(); SELECT cozi.logout(); SELECT who()"),
		"ann\n\nnobody\nthen nobody",
		"$when: in workers too");
	is( gateway(
			"SELECT who(), cozi.claim('role'), cozi.uid_text() IS NULL", 'gateway',
			'{"role":"anon"}'),
		"nobody|anon|t\nthen nobody",
		"$when: claims without a subject are claims");

	for my $bad ('x', '[]', '"ann"', '{"sub":1}', '{"sub":""}', '{"sub":"ann","sub":"bob"}',
		'{"sub":"ann"', '{"sub":"a\\u0000"}', '{"sub":"ann","a":' . '[' x 9000 . '}')
	{
		is( gateway('SELECT who(), cozi.uid(), cozi.uid_bigint()', 'gateway', $bad),
			"nobody||\nthen nobody",
			"$when: claims that are none: " . substr($bad, 0, 30));
	}
	my $log = slurp_file($node->logfile);
	like($log, qr/request.jwt.claims of a trusted gateway is not believed/,
		"$when: the log says that a gateway's claims are not believed");
	like($log, qr/Reason: too long\./,
		"$when: the log says why a gateway's claims are not believed");
	$node->append_conf('postgresql.conf', "cozi.trusted_gateways = ''");
	$node->reload;
}

# a gateway that is renamed is one no longer, even in its own session
$node->append_conf('postgresql.conf', "cozi.trusted_gateways = 'gateway'");
$node->reload;
is( (   run_as(
			'gateway',
			"SET request.jwt.claims = '$claims'; SELECT who(); "
			  . "\\! psql -X -q -U postgres -d postgres -c 'ALTER ROLE gateway RENAME "
			  . "TO somebody'\nSELECT who();"))[0],
	"ann\nnobody",
	'a renamed gateway is none');
$node->safe_psql('postgres', 'ALTER ROLE somebody RENAME TO gateway');
$node->append_conf('postgresql.conf', "cozi.trusted_gateways = 'gateway, '");
$node->reload;
is(gateway('SELECT who()'), "ann\nthen nobody", 'a list that cannot be read changes nothing');

# keys survive a dump, and only the owner can make one
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump by the owner');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ],
	'restored');
is( $node->safe_psql(
		'copy',
		"SELECT cozi.login('"
		  . token('ann')
		  . "'); SELECT cozi.add_secret('$secret', 'next'); SELECT count(*) FROM cozi.jwks"),
	"ann\n\n2",
	'the keys are there, and numbered on');
$node->safe_psql('postgres',
		'CREATE ROLE reader LOGIN IN ROLE pg_read_all_data, pg_monitor; '
	  . 'GRANT USAGE ON SCHEMA cozi TO reader');
$node->command_fails(
	[
		'pg_dump', '-U', 'reader', '-f', "$dump.2", '-d',
		'postgres', '-h', $node->host, '-p', $node->port
	],
	'pg_dump by pg_read_all_data fails');
$node->command_ok(
	[
		'pg_dump', '-U', 'reader', '--enable-row-security', '-f', "$dump.3", '-d', 'postgres',
		'-h', $node->host, '-p', $node->port
	],
	'pg_dump by pg_read_all_data reads what policies let through');
unlike(slurp_file("$dump.3"), qr/oct/, 'the dump by pg_read_all_data holds no key');

# The log says why, and nothing of the token: at the loudest, and where the
# parameters of failing statements are asked for.  Not both: while the server
# loads a library it says so at DEBUG3, with parameters, or a function's own
# statement, as context.
my $good = token('the-subject-of-it', '"email":"somebody@example.org"');
my $expired = sign('{"sub":"the-subject-of-it","exp":1,"email":"somebody@example.org"}');
my $nul = sign('{"sub":"the-subject-of-it\u0000","exp":9999999999,"email":"somebody@example.org"}');
my $tampered = token(
	'the-subject-of-it',
	'"email":"somebody@example.org"',
	'another secret, of 32 bytes or more');
my $script = $node->basedir . '/login.sql';
append_to_file($script, "SELECT cozi.login(:token);\n");
$node->append_conf('postgresql.conf',
	"log_error_verbosity = verbose\nlog_min_error_statement = error\ncozi.trusted_gateways = ''");

for my $loud (
	"log_min_messages = debug5\nlog_parameter_max_length_on_error = 0",
	"log_min_messages = warning\nlog_parameter_max_length_on_error = -1")
{
	$node->append_conf('postgresql.conf', $loud);
	$node->restart;
	my $from = -s $node->logfile;
	(my $when = $loud) =~ s/\n.*= -1/, with parameters/;
	$when =~ s/log_min_messages = |\n.*//g;
	for my $t ($good, $expired, $nul, $tampered)
	{
		# as a parameter
		system(
			'pgbench', '-n', '-t', '1', '-M', $_,
			'-D', "token=$t", '-f', $script, '-h', $node->host,
			'-p', $node->port, '-U', 'app', 'postgres') for ('extended', 'prepared');
		# as text, inside a function, and where somebody catches the error
		run_as('app', "SELECT cozi.login('$t')");
		next if $when eq 'debug5';
		run_as('app', "DO \$\$ BEGIN PERFORM cozi.login('$t'); END \$\$");
		run_as('app',
				"DO \$\$ BEGIN EXECUTE 'SELECT cozi.login(''$t'')'; "
			  . "EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', SQLERRM; END \$\$");
	}
	run_as('postgres',
			"SELECT cozi.add_secret('too short a secret'); "
		  . "SELECT cozi.add_key('{\"kty\":\"oct\",\"k\":\"c2hvcnRzZWNyZXQ\"}')");
	run_as('postgres',
		"SELECT cozi.add_secret('yet another secret, of 32 bytes or more', '$when')");
	my $log = substr(slurp_file($node->logfile), $from);
	like($log, qr/DEBUG:  .*StartTransaction/, "$when: the log is loud") if $when eq 'debug5';
	like(
		$log,
		qr/28000: invalid token\n.*DETAIL:  Reason: the token has expired\./,
		"$when: it says why: expired");
	like($log, qr/DETAIL:  Reason: invalid JSON: NUL character\./, "$when: it says why: NUL");
	like(
		$log,
		qr/DETAIL:  Reason: the signature does not verify\./,
		"$when: it says why: signature");

	for my $t ($good, $expired, $nul, $tampered)
	{
		my @parts = split(/\./, $t);
		ok(index($log, substr($parts[1], 8, 40)) < 0, "$when: no payload in the log");
		ok(index($log, substr($parts[2], 8, 30)) < 0, "$when: no signature in the log");
	}
	unlike($log, qr/the-subject-of-it|somebody\@example/, "$when: no claim in the log");
	unlike(
		$log,
		qr/too short a secret|c2hvcnRzZWNyZXQ|yet another secret|eWV0IGFub3/,
		"$when: no secret in the log");
	unlike($log, qr/STATEMENT:.*(login|add_)/, "$when: no statement of them in the log");
}

$node->stop;
done_testing();
