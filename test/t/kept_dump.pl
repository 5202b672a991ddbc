# Kept tables of owners that are no superusers, through every way to dump and to
# restore: keys, partitions, inheritance, text keys; into empty and into migrated
# databases.  Each restore ends without an error and with every vote counted once,
# or with one message that says what to call.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('kept_dump');
$node->init;
$node->start;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

my $tables = q{
	CREATE TABLE app.votes (post_id bigint, user_id bigint, value smallint,
	    created_at timestamptz DEFAULT now(), PRIMARY KEY (post_id, user_id));
	CREATE TABLE app.parts (item int, u int, created_at timestamptz DEFAULT '2026-06-01',
	    PRIMARY KEY (item, u)) PARTITION BY RANGE (item);
	CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (50);
	CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES FROM (50) TO (100);
	CREATE TABLE app.urls (url text, tags text[], created_at timestamptz DEFAULT '2026-06-01',
	    UNIQUE (url, created_at));
	CREATE TABLE app.more (LIKE app.urls INCLUDING ALL) INHERITS (app.urls);
	CREATE TABLE app.posts (id bigint PRIMARY KEY);};
my $boards = q{
	SELECT cozi.create_board('hot', 'app.votes', 'post_id', 'value', item_table => 'app.posts');
	SELECT cozi.create_board('zz_hot', 'app.votes', 'post_id', 'value', half_life => '1 day');
	SELECT cozi.create_board('hot_parts', 'app.parts', 'item');
	SELECT cozi.create_board('hot_urls', 'app.urls', 'url', scope => 'tags');};

# A database that has the extension is the template of those that begin with it.
$node->safe_psql('postgres', q{CREATE ROLE owner LOGIN; CREATE DATABASE empty});
$node->safe_psql('empty', q{CREATE EXTENSION cozi; SELECT cozi.grant_owner('owner')});
fresh('r1', 'CREATE SCHEMA app AUTHORIZATION owner', 'empty');
$node->safe_psql(
	'r1', qq{SET ROLE owner; $tables; $boards;
	INSERT INTO app.votes SELECT g % 50, g, CASE WHEN g % 7 = 0 THEN -1 ELSE 1 END, '2026-06-01'
		FROM generate_series(1, 500) g;
	INSERT INTO app.parts SELECT g % 100, g FROM generate_series(1, 500) g;
	INSERT INTO app.urls SELECT 'u' || g % 20, ARRAY['t' || g % 3, 'all'],
		timestamptz '2026-06-01' + g * interval '1 s' FROM generate_series(1, 100) g;
	SELECT cozi.fold();
	SELECT cozi.hide_item('app.hot', '5'), cozi.hide_item('app.hot_urls', 'u3');
	INSERT INTO app.more SELECT 'm' || g % 20, ARRAY['t'],
		timestamptz '2026-06-01' + g * interval '1 s' FROM generate_series(1, 100) g;
	INSERT INTO app.votes VALUES (1, 1001, 1, now() + interval '1 year');
	CREATE INDEX ON app.hot (ups); CREATE POLICY p ON app.hot USING (true);});

# The differences, of all boards together; then, of the whole, what must be there.
sub wrong
{
	my ($db) = @_;
	return $node->safe_psql(
		$db,
		q{SELECT count(*) FILTER (WHERE v.item IS NOT NULL), count(DISTINCT b.board),
		string_agg(DISTINCT b.state, ',')
		  FROM cozi.boards b LEFT JOIN LATERAL cozi.verify_board(b.board) v ON true});
}

sub goes_on
{
	my ($db, $name) = @_;
	is(wrong($db), '0|4|ok', "$name: every board equals a recount");
	is( $node->safe_psql(
			$db,
			q{SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'u')
				AND conrelid::regclass::text ~
				'^app\.(votes|parts|urls|hot|zz_hot|hot_parts|hot_urls)$'}
		),
		7,
		"$name: every key is there");
	$node->safe_psql(
		$db,
		q{SET ROLE owner; INSERT INTO app.votes VALUES (3, 5000, 1);
		DELETE FROM app.parts WHERE u < 100;
		CREATE TABLE app.parts_3 PARTITION OF app.parts FOR VALUES FROM (100) TO (200);
		INSERT INTO app.parts_3 VALUES (101, 1);
		INSERT INTO app.more VALUES ('new', '{t}'); SELECT cozi.fold()});
	is(wrong($db), '0|4|ok', "$name: the boards go on counting and folding");
	$node->safe_psql($db, q{DROP TABLE app.votes, app.parts; DROP TABLE app.urls CASCADE});
	is( $node->safe_psql(
			$db,
			q{SELECT count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace
				AND relkind IN ('r', 'v') AND relname <> 'posts'}
		),
		0,
		"$name: the boards go with their votes");
	is( $node->safe_psql(
			$db,
			q{SELECT (SELECT count(*) FROM cozi.kept) + (SELECT count(*) FROM cozi.kept_state)
				+ (SELECT count(*) FROM cozi.kept_delta)}
		),
		0,
		"$name: nothing is left of them");
	return;
}

sub fresh
{
	my ($db, $sql, $template) = @_;
	$template //= 'template0';
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE $template OWNER owner");
	$node->safe_psql($db, $sql) if $sql;
	return;
}

$node->command_ok([ 'pg_dump', '-f', "$tmp/r1.sql", '-d', $node->connstr('r1') ],
	'a superuser dumps as a script');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/r1.dump", '-d', $node->connstr('r1') ],
	'a superuser dumps as an archive');

my %restores = (
	plain => [ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$tmp/r1.sql" ],
	jobs => [ 'pg_restore', '-e', '-j', '4', "$tmp/r1.dump" ]);
# one transaction, as plain is; an archive, statement by statement, as its sections are
%restores = (
	%restores,
	archive => [ 'pg_restore', '-e', "$tmp/r1.dump" ],
	single => [ 'pg_restore', '-1', "$tmp/r1.dump" ]) if $ENV{COZI_LONG};
foreach my $name (sort keys %restores)
{
	my ($command, @rest) = @{ $restores{$name} };
	fresh("r_$name");
	command_ok([ $command, '-d', $node->connstr("r_$name"), @rest ],
		"$name: restored without an error");
	goes_on("r_$name", $name);
}

fresh('r_sections');
command_ok(
	[ 'pg_restore', '-e', "--section=$_", '-d', $node->connstr('r_sections'), "$tmp/r1.dump" ],
	"sections: $_ is restored")
  foreach qw(pre-data data post-data);
goes_on('r_sections', 'sections');

# Over itself; the server cannot do that with the keys of partitions
fresh(
	'r_clean',
	qq{CREATE SCHEMA app AUTHORIZATION owner;
	SET ROLE owner; $tables; $boards; DROP TABLE app.parts;
	INSERT INTO app.votes VALUES (4, 1, 1)},
	'empty');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$tmp/clean.dump", '-d', $node->connstr('r_clean') ],
	'clean: dumped');
$node->safe_psql('r_clean', q{INSERT INTO app.votes VALUES (4, 5000, 1)});
command_ok(
	[
		'pg_restore', '-e',
		'--clean', '--if-exists',
		'-d', $node->connstr('r_clean'),
		"$tmp/clean.dump"
	],
	'clean: restored over itself without an error');
is(wrong('r_clean'), '0|3|ok', 'clean: every board equals a recount');

# The schema alone
fresh('r_schema');
command_ok([ 'pg_restore', '-e', '-s', '-d', $node->connstr('r_schema'), "$tmp/r1.dump" ],
	'the schema alone is restored without an error');
my ($rc, $out, $err) = $node->psql('r_schema',
	q{INSERT INTO app.votes VALUES (1, 1, 1); INSERT INTO app.votes VALUES (2, 1, 1)});
is($rc, 0, 'a vote is cast where the schema alone was restored');
is(scalar(() = $err =~ /WARNING:  rows of "votes" are counted by no kept table/g),
	1, 'a copy of the schema alone says once what it lacks');
like(
	$err,
	qr/HINT:  Create it again with cozi\.create_board\(\)/,
	'the hint of that warning names the call that repairs it');
$node->safe_psql('r_schema', qq{SET ROLE owner; DROP FUNCTION app.posts(app.hot); $boards});
goes_on('r_schema', 'schema alone');

# Data alone, into a migrated database
fresh(
	'r_data',
	qq{CREATE SCHEMA app AUTHORIZATION owner; SET ROLE owner; $tables; $boards},
	'empty');
($rc, $out, $err) = (
	run_log(
		[
			'pg_restore', '-e', '-a', '--disable-triggers', '-N', 'cozi', '-d',
			$node->connstr('r_data'),
			"$tmp/r1.dump"
		]));
is( $node->safe_psql(
		'r_data',
		q{SELECT string_agg(DISTINCT state, ',') || ': '
			|| string_agg(DISTINCT substring(last_error, 'call cozi.*'), ',') FROM cozi.boards}
	),
	'broken: call cozi.rebuild_board().',
	'data loaded past the triggers is said, with the call that repairs it');
$node->safe_psql('r_data', q{SELECT cozi.rebuild_board(board) FROM cozi.boards});
goes_on('r_data', 'data alone');

# By the owner of the database, who is no superuser
command_ok(
	[
		'pg_dump', '-U', 'owner', '-n', 'app', '-Fc', '-f', "$tmp/app.dump", '-d',
		$node->connstr('r1')
	],
	'the owner dumps the schema of the app');
fresh('r_owner', '', 'empty');
command_ok([ 'pg_restore', '-U', 'owner', '-e', '-d', $node->connstr('r_owner'), "$tmp/app.dump" ],
	'the owner restores the schema of the app without an error');
$node->safe_psql('r_owner', qq{SET ROLE owner; DROP FUNCTION app.posts(app.hot); $boards});
goes_on('r_owner', 'owner');
command_ok([ 'pg_dump', '-U', 'owner', '-s', '-f', "$tmp/s.sql", '-d', $node->connstr('r1') ],
	'the owner of the database dumps its schema');
command_ok(
	[
		'pg_dump', '-U', 'owner', '--exclude-table-data=cozi.*',
		'-f', "$tmp/d.sql", '-d', $node->connstr('r1')
	],
	'the owner of the database dumps its data without those of cozi');

# Out of the door
($rc, $out, $err) = $node->psql('r1', 'DROP EXTENSION cozi');
like(
	$err,
	qr/cannot drop extension cozi because other objects depend on it/,
	'DROP EXTENSION is refused while there are boards');
$node->safe_psql('r1', 'DROP EXTENSION cozi CASCADE');
is( $node->safe_psql(
		'r1',
		q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
			WHERE relkind IN ('r', 'v', 'p') AND relnamespace NOT IN ('pg_catalog'::regnamespace,
			'information_schema'::regnamespace) AND relname !~ '^pg_'}
	),
	'more parts parts_1 parts_2 posts urls votes',
	'DROP EXTENSION CASCADE leaves the tables of the app and no other');
$node->stop;
done_testing();
