
# CREATE, DROP, dump: what the extension leaves behind, and what it refuses.
# All of it on a server that preloads nothing.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $node = Warm->new('main');
$node->init;
$node->start;

# Every object of a database but those of the system, by its description.
my $objects_sql = q{
	SELECT object FROM (
	SELECT format('%s %s', classid::regclass, pg_describe_object(classid, objid, 0))
	FROM (SELECT 'pg_class'::regclass, oid FROM pg_class
	      UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
	      UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
	      UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
	      UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
	      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
	      UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
	      UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
	      UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE NOT tgisinternal
	      UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension
	      UNION ALL SELECT 'pg_authid'::regclass, oid FROM pg_authid) o (classid, objid)
	WHERE objid >= 16384) d (object) WHERE object !~ 'pg_toast' ORDER BY object COLLATE "C"};
sub signature { return House::signature($node, $_[0]); }
sub objects   { return $node->safe_psql($_[0], $objects_sql); }

# The answer of a statement that must fail: SQLSTATE and message, hint.
sub refusal
{
	my ($db, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($db, "\\set VERBOSITY verbose\n$sql");
	return $rc == 0 ? 'no error' : $err;
}

# CREATE, DROP, CREATE
$node->safe_psql('postgres', 'CREATE DATABASE again');
my $empty = objects('again');
$node->safe_psql('again', 'CREATE EXTENSION cozi');
my $first = signature('again');
cmp_ok(scalar(split /\n/, objects('again')), '>', 50, 'the extension brings objects');
$node->safe_psql('again', 'DROP EXTENSION cozi');
is(join("\n", grep { !/^pg_namespace schema cozi$/ } split /\n/, objects('again')),
	$empty, 'after DROP EXTENSION nothing is left but the schema');
is( $node->safe_psql(
		'again', q{SELECT count(*) FROM pg_depend
	WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'cozi'::regnamespace}),
	'0',
	'the schema that DROP EXTENSION leaves is empty');
$node->safe_psql('again', 'CREATE EXTENSION cozi');
is(House::difference($first, signature('again')), '',
	'a second CREATE EXTENSION is like the first');

like(refusal('again', 'ALTER EXTENSION cozi SET SCHEMA public'),
	qr/0A000/, 'the extension cannot be moved to another schema');
like(
	refusal('again', 'ALTER SCHEMA cozi RENAME TO elsewhere'),
	qr/0A000: cannot rename schema "cozi".*HINT:/s,
	'the schema of the extension cannot be renamed');
$node->safe_psql('again', 'CREATE SCHEMA other; ALTER SCHEMA other RENAME TO another');
pass('other schemas can be renamed');
like(
	refusal('again', 'CREATE ROLE nobody_much; SET ROLE nobody_much; DROP EXTENSION cozi CASCADE'),
	qr/42501/,
	'a role of no rights cannot drop the extension');

# The plan of uninstalling, followed: every kind of use goes, and then the schema
# with its grants.  A table that protect() closed is open again.
$node->safe_psql('postgres', 'CREATE DATABASE leaving');
$empty = objects('leaving');
$node->safe_psql(
	'leaving', q{
	CREATE EXTENSION cozi;
	CREATE TABLE votes (post_id bigint, created_at timestamptz DEFAULT now(),
		CHECK (cozi.hot(post_id, 0, created_at) > 0));
	CREATE TABLE notes (id bigint DEFAULT cozi.uid_bigint(), author bigint, visibility text,
		at timestamptz DEFAULT now());
	CREATE INDEX ON notes (cozi.hot(id, 0, at));
	SELECT cozi.create_board('hottest', 'votes', 'post_id');
	SELECT cozi.protect('notes', 'author', 'visibility');
	CREATE POLICY own ON votes AS RESTRICTIVE USING (post_id = cozi.uid_bigint());
	CREATE POLICY own ON notes AS RESTRICTIVE USING (id = cozi.uid_bigint());
	CREATE VIEW mine AS SELECT cozi.uid_bigint() AS id;
	CREATE FUNCTION me() RETURNS bigint LANGUAGE sql RETURN cozi.uid_bigint();
	GRANT USAGE ON SCHEMA cozi TO PUBLIC;
	SELECT cozi.uninstall_plan() \gexec
	CREATE TABLE open AS SELECT relname FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relrowsecurity;
	DROP TABLE votes, notes});
is($node->safe_psql('leaving', 'SELECT * FROM open'),
	'', 'the statements of uninstall_plan() open the tables that protect() closed');
$node->safe_psql('leaving', 'DROP TABLE open');
is(objects('leaving'), $empty,
	'the statements of uninstall_plan() leave nothing of the extension, nor its schema');

# A schema prepared in advance
my %planted = (
	table => 'CREATE TABLE cozi.snare (i int)',
	function => 'CREATE FUNCTION cozi.snare() RETURNS int LANGUAGE sql AS $$SELECT 1$$',
	operator =>
	  'CREATE FUNCTION cozi.snare(int, int) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
		CREATE OPERATOR cozi.= (LEFTARG = int, RIGHTARG = int, FUNCTION = cozi.snare)',
	type => 'CREATE TYPE cozi.snare AS ENUM (\'a\')',
	domain => 'CREATE DOMAIN cozi.snare AS int',
	collation => 'CREATE COLLATION cozi.snare FROM "C"');
$node->safe_psql('postgres', 'CREATE DATABASE planted');
foreach my $kind (sort keys %planted)
{
	$node->safe_psql('planted',
		"DROP SCHEMA IF EXISTS cozi CASCADE; CREATE SCHEMA cozi; $planted{$kind}");
	my $err = refusal('planted', 'CREATE EXTENSION cozi');
	like(
		$err,
		qr/42P06: schema "cozi" is not empty.*HINT:  Move or drop/s,
		"a schema that holds a $kind is refused");
}
$node->safe_psql('planted',
	'DROP SCHEMA cozi CASCADE; CREATE ROLE planter; CREATE SCHEMA cozi AUTHORIZATION planter');
like(
	refusal('planted', 'CREATE EXTENSION cozi'),
	qr/42501: schema "cozi" belongs to another role.*HINT:  Drop the schema/s,
	'a schema of another owner is refused');
foreach my $grantee ('planter', 'PUBLIC')
{
	$node->safe_psql('planted',
		"DROP SCHEMA cozi; CREATE SCHEMA cozi; GRANT CREATE ON SCHEMA cozi TO $grantee");
	like(
		refusal('planted', 'CREATE EXTENSION cozi'),
		qr/42501: other roles may create objects in schema "cozi".*HINT:  .*revoke CREATE/s,
		"a schema in which $grantee may create objects is refused");
}
is($node->safe_psql('planted', q{SELECT count(*) FROM pg_extension WHERE extname = 'cozi'}),
	'0', 'a refused schema gets no extension');
$node->safe_psql('planted', 'REVOKE CREATE ON SCHEMA cozi FROM PUBLIC; CREATE EXTENSION cozi');
pass('CREATE EXTENSION takes the schema once the hint is followed');
$node->safe_psql('planted',
	'DROP EXTENSION cozi; DROP SCHEMA cozi; CREATE SCHEMA cozi; CREATE EXTENSION cozi');
pass('CREATE EXTENSION takes an empty schema of its own role');

# Privileges that a role would have on every new object are revoked as well.
$node->safe_psql('postgres', 'CREATE DATABASE by_default; CREATE ROLE defaulted');
$node->safe_psql(
	'by_default', q{
	ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO defaulted;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO defaulted, PUBLIC;
	ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO defaulted WITH GRANT OPTION;
	CREATE EXTENSION cozi});
is(House::difference($first, signature('by_default')),
	'', 'ALTER DEFAULT PRIVILEGES opens nothing of cozi');

$node->safe_psql(
	'planted', 'DROP EXTENSION cozi; DROP SCHEMA cozi; CREATE ROLE owner_of_db;
	 ALTER DATABASE planted OWNER TO owner_of_db');
like(refusal('planted', 'SET ROLE owner_of_db; CREATE EXTENSION cozi'),
	qr/42501/, 'the owner of a database is not enough to create it');

# What stands in the way must not be called: the script knows no search_path,
# no encoding and no setting of the session.
$node->safe_psql('postgres', 'CREATE DATABASE hostile');
$node->safe_psql(
	'hostile', q{
	CREATE FUNCTION public.snare(name, text) RETURNS boolean
		LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'caught'; END$$;
	CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.snare);
	CREATE FUNCTION public.to_regclass(text) RETURNS regclass
		LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'caught'; END$$;
	SET search_path = public, pg_catalog;
	SET check_function_bodies = on;
	SET default_table_access_method = heap;
	CREATE EXTENSION cozi;});
is(House::difference($first, signature('hostile')),
	'', 'objects on the search_path of its creator change nothing');

$node->safe_psql('postgres',
	"CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', 'CREATE EXTENSION cozi');
is(House::difference($first, signature('latin')),
	'', 'the encoding of the database changes nothing');

# Dump and restore: the rows of every configuration table, by COPY.
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(filled restored);
$node->safe_psql('filled', 'CREATE EXTENSION cozi');
my @tables = split /\n/, $node->safe_psql(
	'filled',
	q{SELECT c::regclass FROM pg_extension, unnest(extconfig) c JOIN pg_class r ON r.oid = c
	  WHERE extname = 'cozi' AND relkind = 'r' ORDER BY 1});

sub rows
{
	my ($db) = @_;
	return join "\n", map {
		"$_: " . $node->safe_psql($db, "SELECT t::text FROM $_ t ORDER BY t::text COLLATE \"C\"")
	} @tables;
}
if ($node->safe_psql('filled', q{SELECT to_regprocedure('cozi.add_secret(text,text)') IS NOT NULL})
	eq 't')
{
	$node->safe_psql('filled',
		q{SELECT cozi.add_secret('a secret of no less than thirty-two bytes', 'first')});
}
if ($node->safe_psql('filled', q{SELECT to_regclass('cozi.boards') IS NOT NULL}) eq 't')
{
	$node->safe_psql(
		'filled', q{
		CREATE TABLE votes (post_id bigint, weight int, created_at timestamptz);
		INSERT INTO votes SELECT i % 7, 1, '2026-01-01' FROM generate_series(1, 50) i;
		SELECT cozi.create_board('hottest', 'votes', 'post_id', 'weight')});
}
my $rows = rows('filled');
cmp_ok(length $rows =~ s/^cozi\.\w+: *$//mgr =~ s/\s//gr, '>', 20, 'there are rows to keep');
my $dump = $node->backup_dir . '/full.sql';
command_ok([ 'pg_dump', '--file', $dump, $node->connstr('filled') ], 'pg_dump writes the database');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'the dump restores without an error');
is(rows('restored'), $rows, 'a restored dump has the same rows');
is(House::difference($first, signature('restored')), '', 'a restored dump has the same extension');
is(House::difference(objects('filled'), objects('restored')),
	'', 'a restored dump has the same objects');

# The custom format restores in any order, and in parallel.
$node->safe_psql('postgres', 'CREATE DATABASE in_parallel');
command_ok([ 'pg_dump', '--format=custom', '--file', "$dump.custom", $node->connstr('filled') ],
	'pg_dump writes the custom format');
command_ok(
	[
		'pg_restore', '--exit-on-error',
		'--jobs=2', '--dbname',
		$node->connstr('in_parallel'), "$dump.custom"
	],
	'a dump in the custom format restores with two jobs');
is(rows('in_parallel'), $rows, 'a dump that two jobs restore has the same rows');

# Nothing needs preloading, and preloading changes nothing in the catalogue.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements,cozi'");
$node->restart;
is(House::difference($first, signature('filled')), '', 'the extension is the same when preloaded');
$node->safe_psql('postgres', 'CREATE DATABASE preloaded');
$node->safe_psql('preloaded', 'CREATE EXTENSION cozi');
is(House::difference($first, signature('preloaded')),
	'', 'an extension created with the library preloaded is the same');
unlike(
	slurp_file($node->logfile),
	qr/PANIC|TRAP|terminated by signal/,
	'no process of the server died');

$node->stop;
done_testing();
