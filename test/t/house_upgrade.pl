
# An updated database is a fresh one: every released script, updated to the
# current version, must leave the same catalogue as CREATE EXTENSION does.
#
# The comparison itself is put to the test first, since as long as there is
# one version only, nothing else would be: see that it notices what a forgotten
# line of an upgrade script would leave behind, and nothing after a dump.

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
my $function = $node->safe_psql('changed', q{
	SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'cozi'::regnamespace AND provolatile = 'i' AND prokind = 'f' ORDER BY p.oid LIMIT 1});
my $view = $node->safe_psql('changed', q{
	SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'cozi'::regnamespace AND relkind = 'v' ORDER BY c.oid LIMIT 1});
my $table = $node->safe_psql('changed', q{
	SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'cozi'::regnamespace AND relkind = 'r' ORDER BY c.oid LIMIT 1});
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
	[ 'a table that is no longer dumped', q{UPDATE pg_extension SET extconfig = NULL, extcondition = NULL WHERE extname = 'cozi'} ],
	[ 'a new object', 'CREATE FUNCTION cozi.one_more() RETURNS int LANGUAGE sql AS $$SELECT 1$$; ALTER EXTENSION cozi ADD FUNCTION cozi.one_more()' ])
{
	my ($what, $sql) = @$change;
	my $changed = $node->safe_psql('changed', "BEGIN; $sql; $House::signature_sql ROLLBACK;");
	isnt(House::difference($fresh, $changed), '', "the signature notices $what");
}
is(House::difference($fresh, signature('changed')), '', 'and is what it was without them');

# A dump and its restoration
my $dump = $node->backup_dir . '/fresh.sql';
command_ok([ 'pg_dump', '--file', $dump, $node->connstr('fresh') ], 'dump');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restore');
is(House::difference($fresh, signature('restored')), '', 'a restored installation is equal');

# Every version there is
my $current = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'cozi'});
my @older = split /\n/, $node->safe_psql('postgres',
	q{SELECT version FROM pg_available_extension_versions WHERE name = 'cozi' AND version <> }
	. qq{'$current' ORDER BY string_to_array(version, '.')::int[]});
foreach my $version (@older)
{
	(my $db = "from_$version") =~ s/\W/_/g;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION cozi VERSION '$version'; ALTER EXTENSION cozi UPDATE TO '$current'");
	is(House::difference($fresh, signature($db)), '', "$version, updated, is equal to $current");
}

# What is frozen stays: every script in git but the one being built has a way here.
my @frozen = map { m{cozi--([\d.]+)\.sql$} ? $1 : () } glob('sql/cozi--*.sql');
is_deeply([ sort grep { $_ ne $current } @frozen ], [ sort @older ], 'every released script is installed and tried');

$node->stop;
done_testing();
