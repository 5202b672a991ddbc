# A token that the server has verified lately is believed only while its key,
# the settings, the times and the revocations say so: in new sessions, in other
# databases, after a restart, from a dump, on a standby.  No log line has a
# signature of a token.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Token;
use Test::More;
use Warm;

my $node = Warm->new('lately')->anew;
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "log_statement = none\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cozi');

my $header = '{"alg":"HS256","kid":"k"}';
my $token = token('ann', '"jti":"t1","iss":"https://a.example","aud":"web"', $secret, $header);

# What a new session says of the token: its subject, or "refused".
sub login
{
	my ($database, $which, $server) = @_;
	my ($out, $err) = ('', '');

	($server // $node)->psql(
		$database // 'postgres',
		"SELECT cozi.login('" . ($which // $token) . "')",
		stdout => \$out,
		stderr => \$err);
	return $err =~ /invalid token/ ? 'refused' : "$out$err";
}

# A change makes the token bad, which was good; its opposite makes it good again.
# Each login is of a new session, and all are of one psql.
sub is_refused_while
{
	my ($change, $undo, $name) = @_;
	my $login = "\\c\nSELECT cozi.login('$token');\n\\echo :LAST_ERROR_MESSAGE\n";
	my $said = '';

	$node->psql('postgres', "$change;\n$login\\echo --\n$undo;\n$login",
		stdout => \$said, on_error_stop => 0);
	my ($while, $again) = split /^--$/m, $said;
	like($while, qr/^invalid token$/m, "$name: the token is refused");
	like($again, qr/^ann$/m, "$name: the token is good again");
	return;
}

for my $preload ('', 'cozi')
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'");
	$node->restart;
	my $when = $preload ? 'preloaded' : 'not preloaded';
	my $add = "SELECT cozi.add_secret('$secret', 'k')";
	my $set = 'ALTER DATABASE postgres SET cozi';
	my $reset = 'ALTER DATABASE postgres RESET cozi';

	$node->safe_psql('postgres', "TRUNCATE cozi.jwks, cozi.revocations; $add");
	is(login(), 'ann', "$when, the token is good");
	is_refused_while("SELECT cozi.retire_key('k')", $add, "$when, a key is retired");
	is_refused_while('DELETE FROM cozi.jwks', $add, "$when, a key is deleted");
	is_refused_while('TRUNCATE cozi.jwks', $add, "$when, the keys are truncated");
	is_refused_while(
		'SET session_replication_role = replica; DELETE FROM cozi.jwks',
		$add, "$when, a replica's session deletes the key");
	is_refused_while(
		"UPDATE cozi.jwks SET jwk = jwk || '{\"k\": \"" . 'A' x 60 . "\"}'",
		"TRUNCATE cozi.jwks; $add",
		"$when, the secret of the kid is another");
	is_refused_while(
		"UPDATE cozi.jwks SET issuer = 'https://b.example'",
		'UPDATE cozi.jwks SET issuer = NULL',
		"$when, the key is another issuer's");
	is_refused_while(
		"UPDATE cozi.jwks SET audience = '{mail}'",
		'UPDATE cozi.jwks SET audience = NULL',
		"$when, the key is for another audience");
	is_refused_while(
		"UPDATE cozi.jwks SET not_before = now() + '1 hour'",
		'UPDATE cozi.jwks SET not_before = NULL',
		"$when, the key is not in use yet");
	is_refused_while(
		"$set.jwt_issuer = 'https://b.example'",
		"$reset.jwt_issuer", "$when, the setting names another issuer");
	is_refused_while(
		"$set.jwt_audience = 'mail, app'",
		"$reset.jwt_audience", "$when, the setting names other audiences");
	is_refused_while("$set.jwt_max_lifetime = '1 min'",
		"$reset.jwt_max_lifetime", "$when, the setting wants shorter lives");
	is_refused_while(
		"SELECT cozi.revoke_token('t1', now() + '1 hour')",
		'DELETE FROM cozi.revocations', "$when, the token is revoked");
	is_refused_while(
		"SELECT cozi.revoke_user('ann')",
		'TRUNCATE cozi.revocations', "$when, the user is revoked");
	is_refused_while('DROP EXTENSION cozi; CREATE EXTENSION cozi',
		$add, "$when, the extension is another");

	# two keys that may verify it: the other one goes on
	$node->safe_psql('postgres', "SELECT cozi.add_secret('$secret', any_kid => true)");
	is(login(), 'ann', "$when, of two keys each believes the token");
	$node->safe_psql('postgres', "SELECT cozi.retire_key('k')");
	is(login(), 'ann', "$when, of two keys the one that is left believes the token");
	$node->safe_psql('postgres', 'SELECT cozi.retire_key(NULL)');
	is(login(), 'refused', "$when, when both keys are retired the token is refused");
	$node->safe_psql('postgres', "TRUNCATE cozi.jwks; $add");

	# another database knows the key, and then it does not
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION cozi');
	is(login(), 'ann', "$when, a database with the key believes the token");
	is(login('other'), 'refused', "$when, a database without the key refuses the token");
	$node->safe_psql('other', $add);
	is(login('other'), 'ann', "$when, the other database believes the token with the key");
	$node->safe_psql('other', "SELECT cozi.revoke_user('ann')");
	is(login('other'), 'refused', "$when, the other database refuses a user it has revoked");
	is(login(), 'ann', "$when, a revocation is of its own database");
	$node->safe_psql('postgres', 'DROP DATABASE other');

	# it ends with its time
	$node->safe_psql('postgres', "$set.jwt_leeway = 0");
	my $end = $node->safe_psql('postgres', 'SELECT extract(epoch FROM now())::bigint + 3');
	my $short = sign(qq({"sub":"ann","exp":$end}), $header);
	is(login('postgres', $short), 'ann', "$when, a token of three seconds is believed");
	$node->poll_query_until('postgres', "SELECT extract(epoch FROM now()) >= $end");
	is(login('postgres', $short), 'refused', "$when, a token is refused after its end");
	$node->safe_psql('postgres', "$reset.jwt_leeway");
}

# More tokens than there is memory for, and none at all.
for my $memory (64, 0)
{
	$node->append_conf('postgresql.conf', "cozi.login_cache = $memory");
	$node->restart;
	my @tokens = map { token("u$_", '', $secret, $header) } 1 .. 100;
	my $logins = join ' ', map { "SELECT cozi.login('$_');" } @tokens;
	my $users = join "\n", map { "u$_" } 1 .. 100;
	is($node->safe_psql('postgres', "$logins $logins"),
		"$users\n$users", "with $memory kB of memory a hundred tokens are each their own");
}
$node->adjust_conf('postgresql.conf', 'cozi.login_cache', undef);

# A standby believes and refuses what its primary has said.
$node->backup('lately');
my $standby = Warm->new('standby');
$standby->init_from_backup($node, 'lately', has_streaming => 1);
$standby->start;
$node->restart;
$node->wait_for_catchup($standby);
is(login('postgres', $token, $standby), 'ann', 'a standby believes a token');
$node->safe_psql('postgres', "SELECT cozi.revoke_user('ann')");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(login('postgres', $token, $standby), 'refused', 'a standby refuses a user that was revoked');
$node->safe_psql('postgres', 'TRUNCATE cozi.revocations');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(login('postgres', $token, $standby), 'ann', 'a standby believes the user again');
$node->safe_psql('postgres', "SELECT cozi.retire_key('k')");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(login('postgres', $token, $standby), 'refused', 'a standby refuses a key that was retired');
$standby->stop;

# A restart and a dump lose no revocation and no issuer.
$node->safe_psql('postgres', <<"END");
TRUNCATE cozi.jwks;
SELECT cozi.add_secret('$secret', 'k', issuer => 'https://a.example', audience => '{web}');
SELECT cozi.revoke_token('t1', now() + '1 hour');
END
$node->restart;
is(login(), 'refused', 'a revocation outlives a restart');
my $other = token('bob', '"iss":"https://a.example","aud":"web"', $secret, $header);
my $wrong = token('bob', '"iss":"https://b.example","aud":"web"', $secret, $header);
$node->command_ok(
	[ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', $node->connstr('postgres') ],
	'a superuser dumps the database');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), $node->basedir . '/dump' ],
	'a superuser restores the dump');
is(login('copy'), 'refused', 'a revocation is in the dump');
is(login('copy', $other), 'bob', 'an issuer is in the dump');
is(login('copy', $wrong), 'refused', 'the key of the dump still speaks for its issuer alone');
$node->safe_psql('copy', "SELECT cozi.retire_key('k')");
is(login('copy', $other), 'refused', 'the table of the dump still tells of its changes');
$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN; CREATE DATABASE owned OWNER owner');
$node->safe_psql('owned', 'CREATE EXTENSION cozi; GRANT USAGE ON SCHEMA cozi TO owner');
$node->command_ok([ 'pg_dump', '-s', '-U', 'owner', $node->connstr('owned') ],
	'the owner of a database dumps its schema');

# A publication sends the keys and the revocations to a subscriber, row by row.
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->restart;
$node->safe_psql('postgres', 'TRUNCATE cozi.jwks, cozi.revocations');
$node->safe_psql('postgres', 'CREATE PUBLICATION p FOR TABLE cozi.jwks, cozi.revocations');
my $subscriber = Warm->new('subscriber');
$subscriber->init;
$subscriber->start;
$subscriber->safe_psql('postgres', 'CREATE EXTENSION cozi');
my $primary = $node->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '$primary' PUBLICATION p");
$subscriber->poll_query_until('postgres',
	"SELECT count(*) = 2 FROM pg_subscription_rel WHERE srsubstate = 'r'");

# one session of the subscriber, which must see each change at its next login
sub subscriber_says
{
	my ($change, $want, $name) = @_;

	$node->safe_psql('postgres', $change);
	ok( $subscriber->poll_query_until(
			'postgres', "SELECT cozi.check_token('$other') IS NOT DISTINCT FROM $want"),
		$name);
	return;
}
$subscriber->safe_psql('postgres', "SELECT cozi.add_secret('another secret, of 32 bytes or more')");
$node->safe_psql('postgres', "SELECT cozi.add_secret('$secret', 'k')");
subscriber_says('SELECT 1', 'NULL', 'a subscriber learns a key');
$subscriber->safe_psql('postgres', <<"END");
CREATE PROCEDURE watch(token text, wanted text) LANGUAGE plpgsql AS \$\$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        IF cozi.check_token(token) IS NOT DISTINCT FROM wanted THEN
            RAISE NOTICE 'seen';
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END \$\$;
END
my ($out, $err) = ('', '');
my $watch = IPC::Run::start(
	[
		'psql', '-X', '-d', $subscriber->connstr('postgres'),
		'-c', "SELECT cozi.login('$other')", '-c', "CALL watch('$other', 'the key was retired')"
	],
	'<', \undef, '>', \$out, '2>', \$err);
$watch->pump until $out =~ /bob/;
$node->safe_psql('postgres', "SELECT cozi.retire_key('k')");
$watch->finish;
like($err, qr/seen/, 'a session of a subscriber learns that the key was retired');
$subscriber->stop;

# The log: what others write beside a login, and what act_as() writes.
$node->safe_psql('postgres', <<'END');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', 'k');
CREATE FUNCTION wrapped(token text) RETURNS void LANGUAGE plpgsql AS
    'BEGIN PERFORM cozi.login(token); RAISE EXCEPTION ''no more for %'', token; END';
CREATE FUNCTION literal(token text) RETURNS void LANGUAGE plpgsql AS
    'BEGIN EXECUTE format(''SELECT cozi.login(%L), 1/0'', token); END';
END
my ($signature) = $other =~ /([^.]+)$/;
my $from = -s $node->logfile;
my $verbose = join ' ', q{SET log_statement = 'all';}, 'SET log_min_duration_statement = 0;',
  'SET log_min_messages = debug1;';
foreach my $sql (
	"SELECT wrapped('$other')",
	"SELECT literal('$other')",
	"SELECT cozi.login('$other'), 1/0",
	"SELECT cozi.login('$other') FROM nowhere",
	"DO \$\$ BEGIN RAISE WARNING 'Bearer $other' USING DETAIL = '$other', HINT = 'is \"$other\"';
	 END \$\$")
{
	# the first call loads cozi, where it is not preloaded
	$node->psql('postgres', "SELECT cozi.uid();\n$verbose\n$sql;\n");
}
$node->safe_psql('postgres', "SELECT cozi.act_as('42', reason => 'nightly digest')");
my $log = substr slurp_file($node->logfile), $from;
unlike($log, qr/\Q$signature\E/, 'the signature of a token is in no line of the log');
like($log, qr/ERROR:  no more for eyJ[\w-]+\.[\w-]+\.\*{43}$/m,
	'a message with a token is logged without its signature');
like($log, qr/statement: SELECT wrapped\('eyJ[\w-]+\.[\w-]+\.\*{43}'\)/,
	'a statement with a token is logged without its signature');
my $user = $node->safe_psql('postgres', 'SELECT session_user');
like($log, qr/LOG:  session user "$user" acts as "42": nightly digest$/m,
	'act_as() is a line of the log');

$node->stop;
done_testing();
