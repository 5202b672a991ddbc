
# What owners of tables may do to the advisor: nothing that keeps others from
# their advice.  Strange names, a policy of a megabyte, conditions and functions
# nested as deeply as the server takes them, functions that call one another.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Advisor;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $role = qq{web "user's", Jr.};
my $node = Warm->new('advisor_hostile');
$node->init;
$node->append_conf('postgresql.conf', qq{
	cozi.api_roles = '"web ""user''s"", Jr.", Plain'
	shared_preload_libraries = 'pg_stat_statements, cozi'
	max_stack_depth = '2MB'});
$node->start;
sub query { return $node->safe_psql('postgres', @_); }
sub ask { return Advisor::answer($node, 'postgres', $_[1], $_[0]); }

sub psql
{
	my ($sql, @params) = @_;
	my (undef, $out, $err) = $node->psql('postgres', $sql, extra_params => \@params);
	return "$out$err";
}

query('CREATE EXTENSION cozi; CREATE EXTENSION pg_stat_statements');
(my $quoted = $role) =~ s/"/""/g;
query(qq{
	CREATE ROLE "$quoted"; CREATE ROLE plain; CREATE ROLE attacker LOGIN;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	GRANT CREATE ON DATABASE postgres TO attacker;
	SELECT cozi.grant_owner('attacker')});
is(query('SELECT string_agg(rolname, E\'\\n\' ORDER BY rolname) FROM cozi._advisor_roles'),
	"plain\n$role", 'roles of the API are named as identifiers are');

# Names that are SQL
my $as_attacker = [ '-U', 'attacker' ];
query(qq{
	CREATE SCHEMA "s'; DROP TABLE x; --";
	SET search_path = "s'; DROP TABLE x; --";
	GRANT USAGE ON SCHEMA "s'; DROP TABLE x; --" TO "$quoted", plain;
	CREATE FUNCTION "f'""()"() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
		AS 'SELECT gen_random_uuid()';
	CREATE TABLE "t'""(x)" (id int PRIMARY KEY, "own'er""; --" uuid NOT NULL, "api_key" text,
		"%I\$1" int, "e-mail" text);
	CREATE INDEX "i'""; --" ON "t'""(x)" ("%I\$1");
	CREATE INDEX "%s" ON "t'""(x)" ("%I\$1");
	ALTER TABLE "t'""(x)" ENABLE ROW LEVEL SECURITY;
	CREATE POLICY "p'""\n; --" ON "t'""(x)" TO "$quoted"
		USING ("own'er""; --" = "f'""()"()) WITH CHECK (true);
	CREATE POLICY "%I" ON "t'""(x)" FOR SELECT TO plain USING (true);
	GRANT ALL ON "t'""(x)" TO "$quoted", plain;
	CREATE TABLE "t2'""" (id int, "fk'""" int REFERENCES "t'""(x)", p regproc);
	ALTER TABLE "t2'""" ADD CONSTRAINT "c'""; --" CHECK (id > 0) NOT VALID;
	GRANT SELECT ON "t2'""" TO "$quoted";
	CREATE VIEW "v'""" AS SELECT * FROM "t'""(x)";
	GRANT SELECT ON "v'""" TO "$quoted";
	CREATE MATERIALIZED VIEW "m'""" AS SELECT * FROM "t'""(x)";
	GRANT SELECT ON "m'""" TO "$quoted";
	CREATE SEQUENCE "q'""" AS smallint;
	SELECT setval('"q''"""', 32000);
	DO \$\$ DECLARE r record; BEGIN
		FOR r IN SELECT oid::regclass AS c, relkind AS k FROM pg_class
			WHERE relnamespace::regnamespace::text LIKE '"s''%' AND relkind IN ('r', 'v', 'm')
			ORDER BY relkind LOOP
			EXECUTE format('ALTER TABLE %s OWNER TO attacker', r.c);
		END LOOP; END \$\$});
my $count = ask(q{SELECT count(DISTINCT code) FROM cozi.advice WHERE object ~ 'DROP TABLE x'});
cmp_ok($count, '>=', 10, "objects with strange names have findings of $count codes");
my $waived = ask(q{SELECT count(*) FROM (SELECT cozi.waive(a.code, a.object, 'it''s "known"')
	FROM cozi.advice a WHERE a.object ~ 'DROP TABLE x') w});
is(ask(q{SELECT count(*) FROM cozi.advice WHERE waived_by IS NOT NULL}), $waived,
	'each finding about a strange name can be waived');
query(q{SELECT cozi.unwaive(w.code, w.object) FROM cozi.waivers w});
foreach (1 .. 4)
{
	foreach my $fix (split /\0/, ask(q{SELECT string_agg(fix_sql, chr(1)) FROM (
		SELECT DISTINCT ON (regexp_replace(a.object, '^.* on ', '')) a.fix_sql FROM cozi.advice a
		WHERE a.object ~ 'DROP TABLE x' AND a.fix_sql IS NOT NULL
		ORDER BY regexp_replace(a.object, '^.* on ', ''), a.code) f}) =~ s/\x01/\0/gr)
	{
		is(psql($fix), '', 'the fix runs: ' . $fix =~ s/\n/ /gr);
	}
}
is(ask(q{SELECT code, object, fix_sql FROM cozi.advice
	WHERE object ~ 'DROP TABLE x' AND fix_sql IS NOT NULL}),
	'', 'the statements about strange names end their findings');
is(query(q{SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text LIKE '"s''%'
	AND relkind IN ('r', 'v', 'm')}), '4', 'no name was run as SQL');

# Policies that are large, or deep
query('CREATE SCHEMA deep AUTHORIZATION attacker; GRANT USAGE ON SCHEMA deep TO plain;
	SET ROLE attacker;
	CREATE TABLE deep.large (id int PRIMARY KEY); ALTER TABLE deep.large ENABLE ROW LEVEL SECURITY;
	CREATE TABLE deep.nested (id int PRIMARY KEY, a bool);
	ALTER TABLE deep.nested ENABLE ROW LEVEL SECURITY');
my $script = $node->basedir . '/large.sql';
append_to_file($script, 'CREATE POLICY large ON deep.large USING (id IN ('
	. join(', ', 100000 .. 250000) . '));');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-U', 'attacker', '-d',
	$node->connstr('postgres'), '-f', $script ], 'a policy of a megabyte is made');
my $levels = 0;
foreach my $n (20000, 10000, 5000, 3000, 2000, 1000)
{
	my $deep = ('(a AND id > 0 OR NOT ' x $n) . 'a' . (')' x $n);
	next if psql("CREATE POLICY nested ON deep.nested USING ($deep)", @$as_attacker);
	query("CREATE FUNCTION deep.body(a bool, id int) RETURNS bool LANGUAGE sql STABLE
		RETURN $deep; ALTER FUNCTION deep.body OWNER TO attacker");
	query("CREATE VIEW deep.view AS SELECT id FROM deep.nested WHERE $deep;
		GRANT SELECT ON deep.view TO plain");
	$levels = $n;
	last;
}
cmp_ok($levels, '>=', 1000, "a policy, a body and a view of $levels levels are made");

# Functions that call one another, in circles and in a long row
query(q{CREATE FUNCTION deep.ping(n int) RETURNS int LANGUAGE plpgsql
		AS 'BEGIN RETURN deep.pong(n); END';
	CREATE FUNCTION deep.pong(n int) RETURNS int LANGUAGE plpgsql
		AS 'BEGIN RETURN deep.ping(n) + deep.pong(n - 1); END';
	SET check_function_bodies = off;
	DO $$ BEGIN
		FOR i IN 1 .. 3000 LOOP
			EXECUTE format('CREATE FUNCTION deep.f%s() RETURNS bool LANGUAGE sql STABLE
				AS ''SELECT deep.f%s()''', i, i + 1);
		END LOOP; END $$;
	CREATE FUNCTION deep.f3001() RETURNS bool LANGUAGE sql STABLE AS 'SELECT deep.f1()';
	CREATE TABLE deep.calls (id int PRIMARY KEY); ALTER TABLE deep.calls OWNER TO attacker;
	ALTER TABLE deep.calls ENABLE ROW LEVEL SECURITY;
	CREATE POLICY calls ON deep.calls USING (deep.f1() AND deep.ping(id) > 0)});
$script = $node->basedir . '/body.sql';
append_to_file($script, 'CREATE FUNCTION deep.long() RETURNS void LANGUAGE plpgsql AS $f$BEGIN '
	. join(' ', map { "PERFORM FROM pg_class JOIN deep.large USING (id_$_);" } 1 .. 30000)
	. ' END$f$;');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
	'-f', $script ], 'a body of a megabyte is made');

query('CREATE TABLE of_another (id int PRIMARY KEY); GRANT SELECT ON of_another TO plain;
	GRANT USAGE ON SCHEMA public TO plain');
is(ask(q{SELECT code, object FROM cozi.advice WHERE object ~ 'of_another|nested'
		AND code IN ('rls_off', 'policy_unreadable') ORDER BY 1}, 'monitor'),
	"policy_unreadable|nested on deep.nested\nrls_off|public.of_another",
	'what one owner made keeps nobody from the advice about other tables');
foreach my $view (qw(policy_advisor index_usage duplicate_indexes missing_fk_indexes invalid_objects
	sequence_usage tables_without_key bloat settings_advisor missing_indexes table_growth))
{
	is(join('', Advisor::ask($node, 'postgres', 'monitor', "SELECT count(*) >= 0 FROM cozi.$view")),
		't', "pg_monitor reads $view beside them");
}
is(ask(q{SELECT cozi.waive('rls_off', 'public.of_another', 'known');
	SELECT count(*) FROM cozi.advice WHERE waived_by IS NOT NULL}) =~ s/^\n*//r, '1',
	'a finding is waived beside them');
is(ask('SELECT cozi.record_advice() > 0'), 't', 'findings are recorded beside them');

# An owner's own objects in the way of names
is(psql(q{SET search_path = deep, pg_catalog;
	CREATE FUNCTION deep.pg_has_role(oid, oid, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
	CREATE TEMP TABLE pg_class AS SELECT oid, 'attacker'::regrole::oid AS relowner
		FROM pg_catalog.pg_class;
	SELECT count(*) FROM cozi.advice WHERE object = 'public.of_another'}, @$as_attacker), '0',
	'an owner sees no finding of another, whatever their search path has');

Advisor::quit();
$node->stop;
done_testing();
