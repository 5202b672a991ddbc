# shard_check over a shard that lies in another database, behind postgres_fdw.
# The other server knows no OID of this one: a condition that holds one must
# not be sent to it.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('foreign');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
plan skip_all => 'no postgres_fdw in this server'
  unless $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");

my ($host, $port) = ($node->host, $node->port);
$node->safe_psql('postgres', 'CREATE DATABASE far');
$node->safe_psql('far', 'CREATE TABLE posts_1 (author_id bigint, at date, id int)');
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION cozi;
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '$host', port '$port', dbname 'far');
CREATE USER MAPPING FOR CURRENT_USER SERVER far;
CREATE TABLE posts (author_id bigint, at date, id int) PARTITION BY HASH (author_id);
CREATE TABLE posts_0 PARTITION OF posts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE FOREIGN TABLE posts_1 PARTITION OF posts FOR VALUES WITH (MODULUS 2, REMAINDER 1)
    SERVER far OPTIONS (schema_name 'public', table_name 'posts_1');
INSERT INTO posts SELECT i, '2026-01-01', i FROM generate_series(1, 100) i;
SQL

my $astray =
  'SELECT shard, key, belongs_in FROM cozi.shard_check(\'posts\') ORDER BY key::bigint';
is($node->safe_psql('postgres', $astray), '', 'a foreign shard whose rows are right has no strays');

# The update of a key on a foreign shard moves no row to another server.
my $moved = $node->safe_psql('postgres',
	"SELECT count(*) FROM posts_1 WHERE cozi.shard_of(author_id + 1000, 2) = 0");
cmp_ok($moved, '>', 0, 'some keys of the foreign shard raised by 1,000 belong elsewhere');
$node->safe_psql('postgres', 'UPDATE posts_1 SET author_id = author_id + 1000');
is( $node->safe_psql('postgres', $astray),
	$node->safe_psql(
		'postgres', q(
		SELECT 'posts_1', author_id, 'posts_0' FROM posts_1
		WHERE cozi.shard_of(author_id, 2) = 0 ORDER BY author_id)),
	'shard_check lists every row that a changed key left on the wrong server');
is( $node->safe_psql('postgres', "SELECT count(*) FROM cozi.shard_check('posts')"),
	$moved, 'shard_check lists no other row');

# A shard that cannot be read is not said to be right, and is no error.
$node->safe_psql('postgres', "ALTER SERVER far OPTIONS (SET dbname 'nowhere')");
is( $node->safe_psql(
		'postgres', q(SELECT shard, key, node, error ~ '^could not connect to server "far"'
		FROM cozi.shard_check('posts'))),
	'posts_1||far|t',
	'shard_check of a server that is away has a row with the error');

# What the page says of unshard_table.
$node->safe_psql('postgres', "ALTER SERVER far OPTIONS (SET dbname 'far')");
my (undef, undef, $err) = $node->psql('postgres', "SELECT cozi.unshard_table('posts')");
like(
	$err,
	qr/shard public\.posts_1 is not an ordinary table/,
	'unshard_table refuses a foreign shard in words');
is($node->safe_psql('postgres', 'SELECT count(*) FROM posts'),
	100, 'a refused unshard_table loses no row');

done_testing();
