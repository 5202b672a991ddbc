# Counters under eight writers of every kind of statement, with conditions, keys
# that move and NULLs; under open and prepared transactions; killed and restored;
# under an owner who puts code on one.  Each time the table equals a recount.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{COZI_LONG} ? 10 : 2;
my $reads = $ENV{COZI_LONG} ? 20 : 3;
my $node = House::server('counter');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\nautovacuum_naptime = 1\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE TABLE likes (id int, post int, amount numeric(8, 2), ok boolean);
	CREATE INDEX ON likes (id);
	SELECT cozi.create_counter('like_counts', 'likes', 'post');
	SELECT cozi.create_counter('gifts', 'likes', 'post', value => 'amount', counted => 'ok');
});

my $write = "$PostgreSQL::Test::Utils::tmp_check/write.sql";
append_to_file(
	$write, q{
\set post random_zipfian(1, 20, 1.5)
\set id random(1, 500)
\set what random(1, 10)
\if :what <= 5
INSERT INTO likes VALUES (:id, nullif(:post, 20), nullif(:id % 9, 0), (:id % 5) > 0);
\elif :what <= 6
UPDATE likes SET post = nullif(:post, 3), ok = NOT ok WHERE id = :id;
\elif :what <= 7
UPDATE likes SET amount = -amount, ok = CASE WHEN :id % 3 = 0 THEN NULL ELSE true END
WHERE id = :id;
\elif :what <= 8
DELETE FROM likes WHERE id = :id;
\elif :what <= 9
BEGIN;
INSERT INTO likes SELECT :id, i, i, true FROM generate_series(1, 25) i;
SAVEPOINT s;
DELETE FROM likes WHERE id = :id;
ROLLBACK TO s;
UPDATE likes SET post = :post WHERE id = :id AND post = 5;
COMMIT;
\else
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO likes VALUES (:id, :post, 1.25, true);
ROLLBACK;
\endif
});

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Eight writers, who are at work when this returns, until they or the server are ended.
my $complaint;

sub writers
{
	$complaint = '';
	my $bench = IPC::Run::start(
		[
			'pgbench', '-n', '--max-tries=20', '-c', '8', '-j', '2', '-T', '600', '-f', $write,
			'-h', $node->host, '-p', $node->port, 'postgres'
		],
		'<', \undef, '>', '/dev/null', '2>', \$complaint);
	House::let_write($node, 2e6);
	return $bench;
}

# What differs: by verify_counter(), and by a recount of the folded tables.
my $differ = q{
	SELECT (SELECT count(*) FROM cozi.verify_counter('like_counts')),
	       (SELECT count(*) FROM cozi.verify_counter('gifts')),
	       (SELECT count(*) FROM cozi.counters WHERE state <> 'ok')};
my $recount = q{
	SELECT (SELECT count(*) FROM like_counts c FULL JOIN
	        (SELECT post, count(*) AS n FROM likes WHERE post IS NOT NULL GROUP BY 1) t
	        ON t.post = c.key WHERE c.n IS DISTINCT FROM t.n),
	       (SELECT count(*) FROM gifts c FULL JOIN
	        (SELECT post, count(*) AS n, coalesce(sum(amount), 0) AS sum FROM likes
	         WHERE post IS NOT NULL AND ok GROUP BY 1) t
	        ON t.post = c.key WHERE (c.n, c.sum) IS DISTINCT FROM (t.n, t.sum))};

# Alone, a client reads its own statement in the table, in and out of transactions.
is( sql(q{
	INSERT INTO likes VALUES (1, 1, 2.5, true);
	INSERT INTO likes VALUES (2, 1, 0.5, true), (3, 2, NULL, true);
	SELECT string_agg(key || ':' || n || ':' || sum, ' ' ORDER BY key) FROM gifts}),
	'1:2:3.00 2:1:0',
	'the table is right after each statement of a client that is alone');
is( sql(q{
	BEGIN; DELETE FROM likes WHERE id = 2; INSERT INTO likes VALUES (4, 9, 1, true);
	SELECT string_agg(key || ':' || n, ' ' ORDER BY key) FROM gifts; ROLLBACK}),
	'1:1 2:1 9:1',
	'the table is right inside a transaction');
is(sql($recount), '0|0', 'a transaction that is rolled back leaves nothing in the table');

# A transaction that stays open holds nobody up, and only its own keys wait.
my $open = House::session($node, 'postgres');
$open->query_safe('BEGIN; INSERT INTO likes VALUES (7, 1, 1, true)');
sql(q{SET lock_timeout = '10s'; INSERT INTO likes VALUES (8, 1, 1, true)});
is(sql(q{SELECT n FROM gifts_live WHERE key = 1}),
	3, 'the view has the row of a client whose key an open transaction has written');
is(sql(q{SELECT n FROM cozi.item_counts('{gifts}', '{1}')}), 3, 'item_counts() has that row');
sql(q{SELECT cozi.fold()});
is(sql($differ), '0|0|0', 'a fold beside an open transaction leaves every count right');
$open->query_safe('COMMIT');
$open->quit;
sql(q{SELECT cozi.fold()});
is(sql($recount), '0|0', 'a fold after the open transaction has ended brings the table up to date');

sql(q{BEGIN; INSERT INTO likes VALUES (9, 1, 1, true); PREPARE TRANSACTION 'like'});
sql(q{INSERT INTO likes VALUES (10, 1, 1, true); SELECT cozi.fold()});
is(sql($differ), '0|0|0', 'counts are right beside a prepared transaction');
sql(q{COMMIT PREPARED 'like'});
sql(q{SELECT cozi.fold()});
is(sql($recount), '0|0', 'a prepared like counts once it is committed');

# Eight writers, a rebuild and folds beside them; then the server is killed.
for my $round (1 .. $rounds)
{
	$node->append_conf('postgresql.conf',
		$round % 2 ? "shared_preload_libraries = ''" : "shared_preload_libraries = 'cozi'");
	$node->restart;
	my $kind = $round % 2 ? 'with no worker' : 'with a worker';
	my $bench = writers();
	for (1 .. $reads)
	{
		sql(q{SELECT cozi.rebuild_counter('like_counts'); SELECT cozi.fold()});
		is(sql($differ), '0|0|0', "counters equal a recount under eight writers $kind, read $_");
	}
	$bench->signal('TERM');
	$bench->finish;
	House::let_end($node);
	unlike($complaint, qr/error|aborted/, "no write of eight clients fails $kind");
	sql(q{SELECT cozi.fold()});
	is(sql($recount), '0|0', "the tables equal a recount after eight writers $kind");

	$bench = writers();
	$node->stop('immediate');
	$bench->finish;
	$node->start;
	is(sql($differ), '0|0|0', "counters equal a recount after a crash $kind");
	sql(q{SELECT cozi.fold()});
	is(sql($recount), '0|0', "the tables equal a recount after a crash $kind");
}

# Restored, they go on.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/counter.dump";
sql('INSERT INTO likes SELECT g, g % 9, g, true FROM generate_series(1, 3000) g');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ],
	'a database with counters is dumped');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), $dump ],
	'a database with counters is restored without an error');
is($node->safe_psql('restored', $differ), '0|0|0', 'restored counters equal a recount');
$node->safe_psql('restored',
	q{DELETE FROM likes WHERE id % 3 = 0; INSERT INTO likes VALUES (1, 1, 1, true);
	SELECT cozi.fold()});
is($node->safe_psql('restored', $recount), '0|0', 'restored counters go on counting');

# Code that the owner puts on a counter runs in folds, as the owner, never in a write.
$node->safe_psql(
	'restored', q{
	CREATE ROLE owner; CREATE ROLE client; CREATE SCHEMA app AUTHORIZATION owner;
	SELECT cozi.grant_owner('owner');
	SET ROLE owner;
	CREATE TABLE app.follows (who int, whom int);
	CREATE TABLE app.ran (as_whom text);
	SELECT cozi.create_counter('followers', 'app.follows', 'whom');
	CREATE FUNCTION app.remember() RETURNS void VOLATILE LANGUAGE sql AS
	'INSERT INTO app.ran VALUES (current_user)';
	CREATE FUNCTION app.note(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
	$$BEGIN PERFORM app.remember(); RETURN $1; END$$;
	CREATE INDEX ON app.followers (app.note(key));
	GRANT USAGE ON SCHEMA app TO client; GRANT INSERT ON app.follows TO client;
	TRUNCATE app.ran;});
$node->safe_psql('restored', 'SET ROLE client; INSERT INTO app.follows VALUES (1, 5), (2, 5)');
$node->safe_psql('restored', 'SELECT cozi.fold()');
is( $node->safe_psql('restored', q{SELECT count(*) FROM app.ran WHERE as_whom <> 'owner'}),
	0, 'code that the owner puts on a counter runs as nobody but the owner');
is($node->safe_psql('restored', q{SELECT n FROM app.followers_live}),
	2, 'a counter with an index of its owner counts');

# A row that the owner has locked, or changed by hand, holds no writer up.
$node->safe_psql('restored', 'DROP INDEX app.followers_note_idx; SELECT cozi.fold()');
$open = House::session($node, 'restored');
$open->query_safe('BEGIN; UPDATE app.followers SET n = 77 WHERE key = 5');
$node->safe_psql('restored',
	q{SET lock_timeout = '10s'; SET ROLE client; INSERT INTO app.follows VALUES (3, 5)});
$open->query_safe('ROLLBACK');
$open->quit;
$node->safe_psql('restored', 'SELECT cozi.fold()');
is($node->safe_psql('restored', q{SELECT n FROM app.followers}),
	3, 'a row of a counter that its owner has locked holds no writer up');
my $long = 'x' x 9000;
$node->safe_psql(
	'restored', qq{
	CREATE TABLE app.urls (url text);
	SELECT cozi.create_counter('url_counts', 'app.urls', 'url');
	INSERT INTO app.urls SELECT string_agg(md5(g::text), '') FROM generate_series(1, 300) g;
	INSERT INTO app.urls VALUES ('a'), ('$long');
	SELECT cozi.fold();});
is( $node->safe_psql(
		'restored',
		q{SELECT count(*), max(n) FROM app.url_counts WHERE length(url_counts.key) IN (1, 9000)}),
	'2|1', 'a key too long for an index is set aside alone');

done_testing();
