
# An updated database is a fresh one: every released script, updated to the
# current version, must leave the same catalogue as CREATE EXTENSION does.
#
# The comparison itself is put to the test first: it notices what a forgotten line
# of an update script would leave behind, and nothing after a dump.  An artificial
# older version is updated too, by a script that sql/build writes.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

sub signature { return House::signature($node, $_[0]); }

$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(fresh changed restored);
$node->safe_psql($_, 'CREATE EXTENSION cozi') foreach qw(fresh changed);
my $fresh = signature('fresh');
cmp_ok(scalar(split /\n/, $fresh), '>', 50, 'the signature has something to compare');
is(House::difference($fresh, signature('changed')), '', 'two fresh installations are equal');

# One of each kind, undone before the next.
my $function = $node->safe_psql(
	'changed', q{
	SELECT p.oid::regprocedure FROM pg_proc p
	WHERE pronamespace = 'cozi'::regnamespace AND provolatile = 'i' AND prokind = 'f'
	ORDER BY p.oid LIMIT 1});
my $view = $node->safe_psql(
	'changed', q{
	SELECT c.oid::regclass FROM pg_class c
	WHERE relnamespace = 'cozi'::regnamespace AND relkind = 'v' ORDER BY c.oid LIMIT 1});
my $table = $node->safe_psql(
	'changed', q{
	SELECT c.oid::regclass FROM pg_class c
	WHERE relnamespace = 'cozi'::regnamespace AND relkind = 'r' ORDER BY c.oid LIMIT 1});
foreach my $change (
	[ 'a comment', "COMMENT ON FUNCTION $function IS NULL" ],
	[ 'a label', "ALTER FUNCTION $function VOLATILE" ],
	[ 'a cost', "ALTER FUNCTION $function COST 4711" ],
	[ 'a setting', "ALTER FUNCTION $function SET search_path = pg_catalog" ],
	[ 'a right taken', "REVOKE ALL ON FUNCTION $function FROM PUBLIC" ],
	[ 'a right given', "GRANT SELECT ON $table TO PUBLIC" ],
	[ 'a right to the schema', 'GRANT USAGE ON SCHEMA cozi TO PUBLIC' ],
	[ 'a new column', "ALTER TABLE $table ADD COLUMN one_more int" ],
	[ 'a new constraint', "ALTER TABLE $table ADD CONSTRAINT one_more CHECK (true)" ],
	[ 'a new index', "CREATE INDEX one_more ON $table ((1))" ],
	[ 'an option of a view', "ALTER VIEW $view SET (security_barrier = true)" ],
	[ 'a missing object', "ALTER EXTENSION cozi DROP FUNCTION $function" ],
	[
		'a table that is no longer dumped', q{UPDATE pg_extension
		SET extconfig = NULL, extcondition = NULL WHERE extname = 'cozi'}
	],
	[
		'a new object', 'CREATE FUNCTION cozi.one_more() RETURNS int LANGUAGE sql AS $$SELECT 1$$;
		ALTER EXTENSION cozi ADD FUNCTION cozi.one_more()'
	])
{
	my ($what, $sql) = @$change;
	my $changed = $node->safe_psql('changed', "BEGIN; $sql; $House::signature_sql ROLLBACK;");
	isnt(House::difference($fresh, $changed), '', "the signature notices $what");
}
is(House::difference($fresh, signature('changed')),
	'', 'the signature is what it was once the changes are undone');

# A dump and its restoration
my $dump = $node->backup_dir . '/fresh.sql';
command_ok([ 'pg_dump', '--file', $dump, $node->connstr('fresh') ],
	'pg_dump writes a fresh installation');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'the dump of a fresh installation restores');
is(House::difference($fresh, signature('restored')), '', 'a restored installation is equal');

# An older version, made from the current one: what its last lines drop is new in
# the current version, and what they change is old.  sql/build writes the script
# that updates it, as it would for a release.
my $current = $node->safe_psql('postgres',
	q{SELECT default_version FROM pg_available_extensions WHERE name = 'cozi'});
my $directory = `pg_config --sharedir`;
chomp $directory;
$directory .= '/extension';
my @artificial;

# The statement of the current script that begins so.
sub statement
{
	my ($script, $begin) = @_;
	my ($statement) = $script =~ /^(\Q$begin\E.*?;\n)/ms or die "no statement $begin";
	return $statement;
}

SKIP:
{
	skip 'the directory of extensions is not writable' unless -w $directory;

	my $script = `sql/build install`;
	is($?, 0, 'sql/build writes the script of the installation');
	is( $script,
		slurp_file("$directory/cozi--$current.sql"),
		'make has installed the script that sql/build writes');
	my $old = "$script\n" . q{
		DROP FUNCTION wilson_upper(bigint, bigint, float8);
		DROP FUNCTION uninstall_plan();
		DROP VIEW counters;
		ALTER EXTENSION cozi DROP TABLE kept_aside;
		DROP TABLE kept_aside;
		DROP EVENT TRIGGER cozi_keep_schema;
		ALTER TABLE kept DISABLE TRIGGER cozi_config_changed;
		ALTER VIEW slow_queries SET (security_barrier = true);
		ALTER FUNCTION uid() VOLATILE COST 4711;
		ALTER FUNCTION is_owner(uuid) SET search_path = pg_catalog;
		COMMENT ON FUNCTION hot(bigint, bigint, timestamptz) IS 'old';
		CREATE FUNCTION obsolete() RETURNS int LANGUAGE sql RETURN 1;};
	my $update =
		"DROP FUNCTION obsolete();\n"
	  . statement($script, 'CREATE TABLE kept_aside')
	  . statement($script, 'CREATE INDEX kept_aside_kept')
	  . statement($script, 'ALTER TABLE kept_aside REPLICA IDENTITY')
	  . statement($script, 'CREATE EVENT TRIGGER cozi_keep_schema');
	append_to_file("$directory/cozi--0.0.1.sql", $old);
	append_to_file($node->basedir . "/0.0.1--$current.sql", $update);
	$update = `sql/build update @{[ $node->basedir ]}/0.0.1--$current.sql`;
	append_to_file("$directory/cozi--0.0.1--$current.sql", $update);

	# Before it, a table had a column less, which is not one that it has lost.
	(my $older = $script) =~ s/,\n\s+tracked\s+boolean[^,\n]*(?=\n\);)//
	  or die 'the last column of kept is not tracked';
	append_to_file("$directory/cozi--0.0.0.sql", $older);
	append_to_file("$directory/cozi--0.0.0--$current.sql",
		'ALTER TABLE kept ADD COLUMN tracked boolean NOT NULL DEFAULT false;');
	@artificial = map { ("$directory/cozi--$_.sql", "$directory/cozi--$_--$current.sql") }
	  '0.0.0', '0.0.1';
	chmod 0644, @artificial;

	# Between the new package and ALTER EXTENSION the library is newer than the tables of
	# a database, and that stops nobody: votes are counted, DDL is followed.  What the
	# tables have no column for says what to run.
	$node->safe_psql('postgres', 'CREATE DATABASE behind');
	$node->safe_psql('behind', "CREATE EXTENSION cozi VERSION '0.0.0'");
	my $boards = q{SELECT count(*), sum(ups), (SELECT count(*) FROM cozi.verify_board('hot')),
		(SELECT string_agg(state, ',') FROM cozi.boards) FROM hot_live};
	$node->safe_psql(
		'behind', q{CREATE TABLE votes (post int, created_at timestamptz DEFAULT '2026-06-01');
		GRANT SELECT ON votes TO PUBLIC; COMMENT ON TABLE votes IS 'of posts';
		SELECT cozi.create_board('hot', 'votes', 'post'); INSERT INTO votes VALUES (1), (2);
		ALTER TABLE votes RENAME post TO item; ALTER TABLE votes RENAME TO likes;
		SELECT cozi.fold(); INSERT INTO likes VALUES (2); DROP TABLE IF EXISTS nothing});
	is($node->safe_psql('behind', $boards),
		'2|3|0|ok', 'tables older than the library: votes are counted, and DDL is followed');
	my ($failed, undef, $said) =
	  $node->psql('behind', "\\set VERBOSITY verbose\nSELECT cozi.track_changes('hot')");
	like(
		$said,
		qr/ERROR:  55000: .*library of cozi knows\nHINT:  Run: ALTER EXTENSION cozi UPDATE;/,
		'tables older than the library: what they have no column for says what to run');
	my ($statement) = $said =~ /HINT:  Run: (.*;)/;
	$node->safe_psql('behind', $statement);
	is( $node->safe_psql('behind', "SELECT cozi.track_changes('hot'); INSERT INTO likes VALUES (3);"
			  . $boards),
		"\n3|4|0|ok",
		'the statement of that hint makes the tables those of the library');

	# A session that began before has an older library than the tables.
	$node->safe_psql('behind', "ALTER TABLE cozi.$_ ADD COLUMN of_later text")
	  foreach qw(kept kept_local kept_state kept_delta kept_change kept_aside kept_hidden);
	$node->safe_psql(
		'behind', q{INSERT INTO likes VALUES (3); SELECT cozi.fold();
		SELECT cozi.rebuild_board('hot'); DELETE FROM likes WHERE item = 1;
		ALTER TABLE likes RENAME item TO post});
	is($node->safe_psql('behind', $boards),
		'2|4|0|ok', 'a library older than the tables: votes are counted, and DDL is followed');

	# A table that is none of any release: DDL of whom it does not concern passes.
	$node->safe_psql(
		'behind', q{CREATE TABLE bystander (a int, b int);
		UPDATE pg_attribute SET atttypid = 'circle'::regtype
		WHERE attrelid = 'cozi.kept'::regclass AND attname = 'broken'});
	$node->safe_psql(
		'behind', q{ALTER TABLE bystander DROP COLUMN b; CREATE TABLE another ();
		GRANT SELECT ON likes, bystander TO PUBLIC; COMMENT ON TABLE likes IS 'likes';
		CREATE INDEX ON bystander (a); DROP TABLE bystander, another});
	foreach my $command (
		'INSERT INTO likes VALUES (1)',
		'ALTER TABLE likes RENAME post TO item',
		'ALTER TABLE likes DROP COLUMN post',
		'DROP TABLE likes CASCADE',
		'DROP TRIGGER cozi_count_insert ON likes',
		'ALTER TABLE hot ADD COLUMN x int',
		'DROP TABLE hot CASCADE')
	{
		($failed, undef, $said) = $node->psql('behind', "\\set VERBOSITY verbose\n$command");
		like($said, qr/ERROR:  55000: table "cozi.kept"/,
			"a list of kept tables that cannot be read: \"$command\" is refused");
	}

	# What the administrator grants and revokes is still there after the update,
	# and after a dump of the updated database.
	$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(administered dumped);
	$node->safe_psql(
		'administered', q{
		CREATE ROLE reader;
		CREATE ROLE owner_of_tables;
		CREATE EXTENSION cozi VERSION '0.0.1';
		GRANT USAGE ON SCHEMA cozi TO reader;
		GRANT EXECUTE ON FUNCTION cozi.latency_reset TO reader;
		GRANT SELECT ON cozi.slow_queries TO reader;
		REVOKE EXECUTE ON FUNCTION cozi.logout FROM PUBLIC;
		REVOKE SELECT ON cozi.health FROM pg_monitor;
		SELECT cozi.grant_owner('owner_of_tables')});
	my $acl = q{SELECT object, unnest(acl)::text FROM cozi._members
		WHERE name NOT IN ('wilson_upper', 'uninstall_plan', 'counters', 'kept_aside', 'obsolete')
		ORDER BY 1, 2};
	my $initial = q{SELECT pg_describe_object(classoid, objoid, 0), initprivs FROM pg_init_privs
		WHERE objoid >= 16384 AND pg_describe_object(classoid, objoid, 0)
			!~ 'wilson_upper|uninstall_plan|counters|kept_aside|obsolete' ORDER BY 1};
	my @before = map { $node->safe_psql('administered', $_) } $acl, $initial;
	like($before[0], qr/reader=X/, 'the administrator has granted something');
	$node->safe_psql('administered', "ALTER EXTENSION cozi UPDATE TO '$current'");
	my @after = map { $node->safe_psql('administered', $_) } $acl, $initial;
	is(House::difference($before[0], $after[0]),
		'', 'an update grants and revokes nothing on an old object');
	is(House::difference($before[1], $after[1]),
		'', 'an update changes no initial privilege of an old object');

	command_ok([ 'pg_dump', '--file', "$dump.administered", $node->connstr('administered') ],
		'pg_dump writes the updated database');
	command_ok(
		[
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.administered",
			$node->connstr('dumped')
		],
		'the dump of the updated database restores');
	is(House::difference(signature('administered'), signature('dumped')),
		'', 'the administrator\'s grants survive the update and a dump');
	is( $node->safe_psql(
			'dumped', q{SELECT
		has_function_privilege('reader', 'cozi.latency_reset()', 'EXECUTE'),
		has_function_privilege('reader', 'cozi.logout()', 'EXECUTE'),
		has_table_privilege('pg_monitor', 'cozi.health', 'SELECT'),
		has_function_privilege('owner_of_tables', 'cozi.drop_board(regclass)', 'EXECUTE')}),
		't|f|f|t',
		'the restored grants are the administrator\'s');

	# The script for updates takes over no object that is not a member.
	$node->safe_psql('postgres', 'CREATE DATABASE planted');
	$node->safe_psql(
		'planted', q{
		CREATE EXTENSION cozi VERSION '0.0.1';
		CREATE FUNCTION cozi.wilson_upper(ups bigint, downs bigint, z float8 = 1.96)
			RETURNS float8 LANGUAGE sql RETURN 0});
	my ($rc, $out, $err) = $node->psql('planted', "ALTER EXTENSION cozi UPDATE TO '$current'");
	like(
		$err,
		qr/wilson_upper\(.*\) is not a member of extension "cozi"/,
		'an update refuses a planted function');
}

# Every version there is
my @older = split /\n/,
  $node->safe_psql('postgres',
		q{SELECT version FROM pg_available_extension_versions WHERE name = 'cozi' AND version <> }
	  . qq{'$current' ORDER BY string_to_array(version, '.')::int[]});
foreach my $version (@older)
{
	(my $db = "from_$version") =~ s/\W/_/g;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db,
		"CREATE EXTENSION cozi VERSION '$version'; ALTER EXTENSION cozi UPDATE TO '$current'");
	is(House::difference($fresh, signature($db)), '', "$version, updated, is equal to $current");
}

# What is frozen stays: every script in git but the one being built has a way here.
my @frozen = map { m{cozi--([\d.]+)\.sql$} ? $1 : () } glob('sql/cozi--*.sql');
push @frozen, '0.0.0', '0.0.1' if @artificial;
is_deeply(
	[ sort grep { $_ ne $current } @frozen ],
	[ sort @older ],
	'every released script is installed and tried');

$node->stop;
done_testing();

END { unlink @artificial; }
