# Shards on other servers, by postgres_fdw: what attach_plan() prints makes them,
# the guard keeps every row where its key is looked for, and shard_check() goes
# on when a node does not answer.  Two servers: the hub, which is node "here" and
# has node "near" in another of its databases, and node "far".
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $hub = House::server('hub');
$hub->init;
$hub->append_conf('postgresql.conf', "fsync = off\nstatement_timeout = '60s'");
$hub->start;
plan skip_all => 'no postgres_fdw in this server'
  unless $hub->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");
my $far = House::server('far');
$far->init;
$far->append_conf('postgresql.conf', "fsync = off\nstatement_timeout = '60s'");
$far->start;
$hub->safe_psql('postgres', 'CREATE DATABASE near');

my %at = (near => [ $hub, 'near' ], far => [ $far, 'postgres' ]);
sub hub { return $hub->safe_psql('postgres', $_[0]) }
sub at { my ($node, $sql) = @_; return $at{$node}[0]->safe_psql($at{$node}[1], $sql) }
sub at_code { my ($node, $sql) = @_; return sqlstate(@{ $at{$node} }, $sql) }

sub sqlstate
{
	my ($server, $db, $sql) = @_;
	my (undef, undef, $err) = $server->psql($db, "\\set VERBOSITY sqlstate\n$sql");
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err;
}

hub(<<"SQL");
CREATE EXTENSION cozi;
CREATE EXTENSION postgres_fdw;
CREATE TABLE posts (id bigint, author_id bigint NOT NULL, body text DEFAULT 'x',
                    ups bigint DEFAULT 1, at timestamptz DEFAULT '2026-01-01', CHECK (id > 0),
                    PRIMARY KEY (author_id, id)) PARTITION BY HASH (author_id);
CREATE INDEX posts_at ON posts (author_id, at DESC);
CREATE TABLE users (id bigint PRIMARY KEY, name text) PARTITION BY HASH (id);
SELECT cozi.add_node('here'), cozi.add_node('near', 'near'), cozi.add_node('far', 'far');
SELECT cozi.move_buckets(array_agg(b) FILTER (WHERE b % 4 = 1), 'near'),
       cozi.move_buckets(array_agg(b) FILTER (WHERE b % 4 > 1), 'far')
FROM generate_series(0, 1023) b;
SQL
my ($out, $err);
(undef, undef, $err) = $hub->psql('postgres', "SELECT cozi.attach_plan('posts', 4)");
like($err, qr/server "near" does not exist/,
	'a plan for a server that is not there is refused');
(my $hint) = $err =~ /HINT:\s+(.*)/;
my ($host, $port) = ($hub->host, $hub->port);
$hint =~ s/host '...', dbname '...'/host '$host', port '$port', dbname 'near'/;
hub($hint);
hub(<<"SQL");
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '@{[$far->host]}', port '@{[$far->port]}', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER near;
CREATE USER MAPPING FOR CURRENT_USER SERVER far;
SQL

# The plans run as they are printed: on the nodes first, then here.
foreach my $table (qw(posts users))
{
	at($_, join ";\n", split /\n/, hub("SELECT cozi.attach_plan('$table', 4, '$_')"))
	  foreach qw(near far);
	hub(join ";\n", split /\n/, hub("SELECT cozi.attach_plan('$table', 4)"));
}
is(hub("SELECT count(*) FROM cozi.attach_plan('posts', 4)"),
	0, 'a plan for a table whose partitions are all there is empty');
is( hub("SELECT srvname || ' ' || unnest(srvoptions) FROM pg_foreign_server ORDER BY 1")
	  =~ /far extensions=cozi/,
	1, 'the plan tells a server of cozi that was not told');
is( at('far', q(SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint
	WHERE conrelid = 'posts_shard_2'::regclass AND contype <> 'n')),
	'posts_id_check_shard_2 posts_pkey_shard_2 posts_shard_2_guard',
	'a shard on a node has the checks and the key of the table, and the guard');

hub('INSERT INTO posts (id, author_id) SELECT g, g FROM generate_series(1, 1000) g');
hub("INSERT INTO users SELECT g, 'u' || g FROM generate_series(1, 1000) g");
is( hub('SELECT count(*) FROM posts WHERE split_part(tableoid::regclass::text, \'_\', 3)::int'
		  . ' <> cozi.shard_of(author_id, 4)'),
	0, 'every row that is inserted through the table lies in its shard');
is( at('far', 'SELECT count(*) FROM posts_shard_3'),
	hub('SELECT count(*) FROM generate_series(1, 1000) g WHERE cozi.shard_of(g, 4) = 3'),
	'the rows of a foreign shard lie on its node');

# The guard.
my ($one, $two, $three) = map {
	hub("SELECT min(g) FROM generate_series(1::bigint, 99) g WHERE cozi.shard_of(g, 4) = $_")
} 1 .. 3;
is(at_code('far', "INSERT INTO posts_shard_2 (id, author_id) VALUES (1, $three)"),
	'23514', 'a row that is written to the wrong shard of a node is refused there');
is(at_code('far', "INSERT INTO posts_shard_2 (id, author_id) VALUES (1, NULL)"),
	'23502', 'a row without a key is refused on a node');
is(at_code('far', "COPY posts_shard_2 (id, author_id) FROM PROGRAM 'echo 1,$three' CSV"),
	'23514', 'COPY into the wrong shard is refused');
is( sqlstate($hub, 'postgres', "UPDATE posts SET author_id = $three WHERE author_id = $two"),
	'23514', 'an update through the table that moves a key to another shard is refused');
is(at_code('far', "UPDATE posts_shard_2 SET author_id = $three WHERE author_id = $two"),
	'23514', 'an update on the node that moves a key to another shard is refused');
is( hub("UPDATE posts SET body = 'y' WHERE author_id = $two RETURNING body"),
	'y', 'an update that keeps the key is done');
is(hub('SELECT count(*), count(DISTINCT author_id) FROM posts'),
	'1000|1000', 'refused writes have lost no row');

# What is astray is found, and the node is named.
my $astray = 'SELECT shard, key, belongs_in, node, error FROM cozi.shard_check(\'posts\')'
  . ' ORDER BY shard::text, key::bigint';
my $report =
  "SELECT shard, rows, counted, node, strays, error FROM cozi.shard_report('posts')";
my %rows = map { split /\|/ } split /\n/,
  hub('SELECT cozi.shard_of(g, 4), count(*) FROM generate_series(1, 1000) g GROUP BY 1');
is(hub($astray), '', 'shard_check of guarded shards finds nothing');
is( hub($report),
	"posts_shard_0|$rows{0}|t||0|\nposts_shard_1|$rows{1}|t|near|0|\n"
	  . "posts_shard_2|$rows{2}|t|far|0|\nposts_shard_3|$rows{3}|t|far|0|",
	'shard_report names the node of each shard');
at('near', 'ALTER TABLE posts_shard_1 DROP CONSTRAINT posts_shard_1_guard');
hub("UPDATE posts SET author_id = $three WHERE author_id = $one");
is( hub("SELECT (SELECT count(*) FROM posts WHERE author_id = $three),"
		  . ' (SELECT count(*) FROM posts)'),
	'1|1000', 'without the guard a key that moved is found by a scan and not by its key');
is(hub($astray), "posts_shard_1|$three|posts_shard_3|near|",
	'shard_check names the row that is astray and its node');
like(hub($report), qr/^posts_shard_1\|\d+\|t\|near\|1\|$/m,
	'shard_report counts what is astray');
like(
	hub('EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM posts_shard_1'
		  . ' WHERE cozi.shard_of(author_id, 4) <> 1 OR author_id IS NULL'),
	qr/Remote SQL: SELECT count\(\*\) FROM public\.posts_shard_1 WHERE.*shard_of/,
	'the node itself looks for what is astray');

# What is shipped.
# What fetching a row costs is 0.01 before PostgreSQL 17 and 0.2 from there on: small
# tables are not joined remotely by that.
hub("ANALYZE posts, users; ALTER SERVER far OPTIONS (ADD fdw_tuple_cost '1')");
like(
	hub('EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM posts_shard_2'
		  . ' ORDER BY cozi.hot(ups, 0, at) DESC LIMIT 3'),
	qr/Remote SQL: .* ORDER BY cozi\.hot\(ups, .*\) DESC.* LIMIT 3/,
	'a ranking function and a limit are sent to the node');
my $join = 'EXPLAIN (VERBOSE, COSTS OFF) SELECT p.id, u.name'
  . ' FROM posts p JOIN users u ON u.id = p.author_id';
unlike(hub($join), qr/Remote SQL: .* INNER JOIN /, 'a join is not shipped by default');
like(hub("SET enable_partitionwise_join = on; $join"),
	qr/Remote SQL: .*posts_shard_(\d) .* INNER JOIN public\.users_shard_\1/,
	'tables that lie alike are joined on the node');

# Colocation.
hub(<<'SQL');
CREATE TABLE follows (who int NOT NULL) PARTITION BY HASH (who);
SELECT cozi.create_shards('follows', 4);
CREATE TABLE votes (who bigint NOT NULL) PARTITION BY HASH (who);
SELECT cozi.create_shards('votes', 4);
CREATE TABLE tags (who bigint NOT NULL) PARTITION BY HASH (who);
SELECT cozi.create_shards('tags', 8);
CREATE TABLE plain (who bigint);
SQL
is( hub(q(SET enable_partitionwise_join = on; SELECT relation, shards, problem
	FROM cozi.colocation_check('{posts,users,follows,votes,tags,plain}'))),
	<<'ROWS' =~ s/\n\z//r, 'colocation_check says what keeps tables from lying alike');
posts|4|
users|4|
follows|4|the key is of type integer, not bigint: joined, but not shard by shard
votes|4|shard (4,1) is on this database, not on near
tags|8|8 shards, not 4
plain|0|not partitioned by hash
ROWS
is( hub(q(SELECT problem FROM cozi.colocation_check('{posts,users}')
	WHERE relation = 'users'::regclass)),
	'lies alike, but enable_partitionwise_join is off', 'colocation_check tells of the setting');

# A transaction that writes to two nodes is not atomic.  The nodes commit one after
# the other; here the second one fails, at its commit, as if it crashed.
my ($near_key, $far_key) = ($one + 0, $three);
my %left;
foreach my $failing (qw(near far))
{
	my $shard = $failing eq 'near' ? 'posts_shard_1' : 'posts_shard_3';
	at($failing, <<"SQL");
CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER crash AFTER INSERT ON $shard DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION crash();
SQL
	isnt(
		sqlstate($hub, 'postgres', "BEGIN; INSERT INTO posts (id, author_id)"
			  . " VALUES (7001, $near_key), (7001, $far_key); COMMIT;"),
		'', "the client is told that the commit failed on $failing");
	$left{$failing} = hub('SELECT count(*) FROM posts WHERE id = 7001');
	at($failing, "DROP TRIGGER crash ON $shard; DROP FUNCTION crash()");
	hub('DELETE FROM posts WHERE id = 7001');
}
is_deeply([ sort values %left ], [ 0, 1 ],
	'a crash of the node that commits second leaves the row of the one that has committed');
is( sqlstate($hub, 'postgres',
		"BEGIN; INSERT INTO posts (id, author_id) VALUES (7002, $far_key);"
		  . " PREPARE TRANSACTION 'x';"),
	'0A000', 'a transaction that wrote to a node cannot be prepared');

# A node that does not answer is a row with the error.
$far->stop('immediate');
is( hub("SELECT shard, key, node, error ~ '^could not connect to server \"far\"'"
		  . " FROM cozi.shard_check('posts') ORDER BY shard::text"),
	"posts_shard_1|$three|near|\nposts_shard_2||far|t\nposts_shard_3||far|t",
	'shard_check goes on when a node does not answer, and says so');
is( hub("SELECT shard, rows, counted, node, strays, share IS NULL, error ~ '^could not connect'"
		  . " FROM cozi.shard_report('posts')"),
	"posts_shard_0|$rows{0}|t||0|f|\nposts_shard_1|$rows{1}|t|near|1|f|\n"
	  . "posts_shard_2||f|far||t|t\nposts_shard_3||f|far||t|t",
	'shard_report goes on when a node does not answer, and does not guess');
is( hub("SELECT cozi.node_of(${far_key}::bigint), count(*) FROM posts"
		  . ' WHERE author_id = 0'),
	'far|0', 'routing and the shards of other nodes do not need the node');

# The map is kept by pg_dump, versions too.
$hub->safe_psql('postgres', 'CREATE DATABASE again');
$hub->command_ok(
	[
		'sh', '-c',
		'pg_dump -d "$0" -n cozi -e cozi | psql -qX -v ON_ERROR_STOP=1 -d "$1"',
		$hub->connstr('postgres'), $hub->connstr('again')
	],
	'the map is dumped and restored');
my $map = "SELECT md5(string_agg(m::text, ',' ORDER BY bucket)), cozi.shard_map_version(),"
  . ' (SELECT string_agg(n::text, \',\' ORDER BY node) FROM cozi.nodes n)'
  . ' FROM cozi.shard_map m';
is($hub->safe_psql('again', $map), hub($map), 'a restored map is the map that was dumped');
is( $hub->safe_psql(
		'again', q(SELECT cozi.shard_map_version() AS version \gset
	SELECT cozi.move_buckets(ARRAY[0], 'far') \gset
	SELECT cozi.shard_map_version() > :version)),
	't', 'a restored map goes on with greater versions');

done_testing();
