# Self-hosted Supabase: its roles and functions, existing policies unchanged,
# PostgREST's transaction as a gateway, and the way back.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

$ENV{PGUSER} = 'supabase_admin';
my $node = PostgreSQL::Test::Cluster->new('supabase');
$node->init(extra => [ '-U', 'supabase_admin' ]);
$node->append_conf('postgresql.conf', "cozi.trusted_gateways = 'authenticator'");
$node->start;

sub run_as
{
	my ($role, $sql) = @_;
	my ($out, $err) = ('', '');
	$node->psql(
		'postgres', $sql,
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', $role ]);
	return wantarray ? ($out, $err) : $out;
}

# As the image sets it up: postgres owns the tables and is no superuser.
$node->safe_psql('postgres', <<'END');
CREATE ROLE postgres LOGIN CREATEROLE CREATEDB;
CREATE ROLE anon NOLOGIN NOINHERIT;
CREATE ROLE authenticated NOLOGIN NOINHERIT;
CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anon, authenticated, service_role TO authenticator;
CREATE ROLE supabase_auth_admin NOLOGIN NOINHERIT CREATEROLE;
CREATE SCHEMA auth AUTHORIZATION supabase_auth_admin;
GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role, postgres;
GRANT CREATE, USAGE ON SCHEMA public TO postgres;
SET ROLE supabase_auth_admin;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
  select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid
$$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$
  select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'))::text
$$;
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS $$
  select coalesce(nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;
GRANT EXECUTE ON FUNCTION auth.uid(), auth.role(), auth.jwt()
    TO anon, authenticated, service_role, postgres;
RESET ROLE;
CREATE EXTENSION cozi;
END

my $ann = '11111111-1111-4111-8111-111111111111';
my $bob = '22222222-2222-4222-8222-222222222222';
run_as('postgres', <<"END");
CREATE TABLE todos (id int, owner uuid, admin_only boolean DEFAULT false);
INSERT INTO todos VALUES (1, '$ann', false), (2, '$bob', false), (3, '$ann', false),
    (4, NULL, true);
ALTER TABLE todos ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON todos TO anon, authenticated, service_role;
CREATE POLICY own ON todos FOR SELECT TO authenticated USING ((SELECT auth.uid()) = owner);
CREATE POLICY admins ON todos FOR SELECT TO authenticated
    USING (admin_only AND (auth.jwt() -> 'app_metadata' ->> 'admin')::boolean);
CREATE POLICY everybody ON todos FOR SELECT TO anon USING (auth.role() = 'anon' AND owner IS NULL);
END

# What PostgREST sends for a request whose token it has verified.
sub request
{
	my ($role, $claims, $sql) = @_;
	$sql ||= "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), 'nothing') FROM todos";
	$claims =~ s/'/''/g;
	return run_as('authenticator',
		"BEGIN; SELECT set_config('role', '$role', true) IS NULL, "
		  . "set_config('request.jwt.claims', '$claims', true) IS NULL; $sql; COMMIT;"
	);
}
my %claims = (
	ann =>
	  qq({"sub":"$ann","role":"authenticated","aud":"authenticated","email":"ann\@example.org"}),
	bob => qq({"sub":"$bob","role":"authenticated","app_metadata":{"admin":true}}),
	anon => '{"role":"anon"}',
	service => '{"role":"service_role"}');

sub requests_are_right
{
	my $when = shift;
	like(request('authenticated', $claims{ann}), qr/^1 3$/m, "$when: the first sees her rows");
	like(request('authenticated', $claims{bob}),
		qr/^2 4$/m, "$when: the second sees others, by his claims");
	like(request('anon', $claims{anon}), qr/^4$/m, "$when: the anonymous see what they may");
	like(request('service_role', $claims{service}, 'SELECT auth.role(), count(*) FROM todos'),
		qr/^service_role\|4$/m, "$when: the service sees all");
	like(
		request(
			'authenticated', $claims{ann},
			"SELECT auth.uid(), auth.role(), auth.jwt() ->> 'email'"),
		qr/^$ann\|authenticated\|ann\@example.org$/m,
		"$when: uid, role, jwt");
	like(request('authenticated', ''), qr/^nothing$/m, "$when: nobody without claims");
}
requests_are_right('before');

# the hole there is: any session of SQL says who it is
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT authenticated TO app');
my $forged =
  "BEGIN; SET LOCAL ROLE authenticated; SET LOCAL request.jwt.claims = '$claims{bob}'; "
  . "SELECT string_agg(id::text, ' ' ORDER BY id) FROM todos; COMMIT;";
is(run_as('app', $forged), '2 4', 'before: forged claims are believed');

my $before = $node->safe_psql('postgres',
	"SELECT string_agg(pg_get_functiondef(oid), ';' ORDER BY proname) FROM pg_proc "
	  . "WHERE pronamespace = 'auth'::regnamespace"
);
like(
	$node->safe_psql('postgres', 'SELECT * FROM cozi.identity_status()'),
	qr/^auth.uid\(\)\|warn\|does not ask cozi/m,
	'the status says that auth.uid() does not ask cozi');

my ($stdout, $stderr) = run_command(
	[ 'psql', '-X', '-q', '-f', 'doc/supabase/auth.sql', '-d', $node->connstr('postgres') ]);
is($stderr, '', 'auth.sql runs without a word');
is( $node->safe_psql(
		'postgres', "SELECT item, state FROM cozi.identity_status() WHERE item ~ '^auth'"),
	"auth.email()|ok\nauth.jwt()|ok\nauth.role()|ok\nauth.uid()|ok",
	'the status says that they ask cozi');
is( $node->safe_psql(
		'postgres',
		"SELECT DISTINCT proowner::regrole FROM pg_proc "
		  . "WHERE pronamespace = 'auth'::regnamespace AND proname <> 'email'"
	),
	'supabase_auth_admin',
	'their owner stays');
requests_are_right('with cozi');
is(run_as('app', $forged), '', 'with cozi: forged claims are not believed');
isnt(
	run_as(
		'app',
		"SET request.jwt.claim.sub = '$bob'; SET ROLE authenticated; "
		  . "SELECT 'uid is ' || coalesce(auth.uid()::text, 'null')"
	),
	"uid is $bob",
	'with cozi: forged claims in the older form are not believed');

# a client of its own logs in with the token Supabase gave it
$node->safe_psql('postgres',
	"SELECT cozi.add_secret('super-secret-jwt-token-with-at-least-32-characters-long')");
my $token = token(
	$bob,
	'"role":"authenticated","app_metadata":{"admin":true}',
	'super-secret-jwt-token-with-at-least-32-characters-long');
is( run_as(
		'app',
		"BEGIN; SET LOCAL ROLE authenticated; SELECT cozi.login('$token'); "
		  . "SELECT string_agg(id::text, ' ' ORDER BY id) FROM todos; COMMIT;"
	),
	"$bob\n2 4",
	'the token of Supabase logs in');
is(run_as('postgres', 'SELECT * FROM cozi.jwks'),
	'', 'postgres, which owns the tables, does not see the secret');

# an upgrade of Supabase puts its own function back: the status says so, and the script helps
$node->safe_psql('postgres',
	"CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT NULL::uuid'"
);
is( $node->safe_psql(
		'postgres',
		"SELECT item, state FROM cozi.identity_status() WHERE item ~ '^auth' AND state <> 'ok'"),
	'auth.uid()|warn',
	'the status says when one is no longer');
run_command(
	[ 'psql', '-X', '-q', '-f', 'doc/supabase/auth.sql', '-d', $node->connstr('postgres') ]);
requests_are_right('again');
like(
	(run_as('supabase_admin', 'DROP EXTENSION cozi'))[1],
	qr/ERROR:  cannot drop extension cozi because other objects depend on it/,
	'cozi cannot be dropped under them');

($stdout, $stderr) = run_command(
	[ 'psql', '-X', '-q', '-f', 'doc/supabase/auth_undo.sql', '-d', $node->connstr('postgres') ]);
is($stderr, '', 'auth_undo.sql runs without a word');
my $after = $node->safe_psql('postgres',
	"SELECT string_agg(pg_get_functiondef(oid), ';' ORDER BY proname) FROM pg_proc "
	  . "WHERE pronamespace = 'auth'::regnamespace"
);
isnt($after, $before, 'the newest of them is back');
like($after, qr/NULL::uuid/, 'as the upgrade left it');
is($node->safe_psql('postgres', "SELECT to_regclass('auth.before_cozi') IS NULL"),
	't', 'nothing else is left');
$node->safe_psql('postgres', 'DROP EXTENSION cozi');

$node->stop;
done_testing();
