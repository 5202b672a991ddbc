-- What a migration can do to the table of an edge, kind by kind: identity_status
-- and cozi.edges say why the edge cannot be read, and no predicate raises an error.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE SCHEMA trouble;
SET search_path = trouble, public;
SET client_min_messages = error;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
CREATE TYPE word AS ENUM ('pending', 'accepted', 'member', 'admin');
CREATE DOMAIN id AS bigint;
CREATE TABLE ties (a id, b bigint, status word, expires_at timestamptz, deleted_at timestamptz,
                   role text, gone boolean);
CREATE INDEX ties_index ON ties (a, b);
CREATE INDEX ties_back ON ties (b, a);
CREATE TABLE parts (a bigint, b bigint) PARTITION BY HASH (a);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX parts_index ON parts (a, b);
INSERT INTO ties VALUES (1, 2, 'accepted', 'infinity', NULL, 'admin');
INSERT INTO parts SELECT g, 2 FROM generate_series(1, 8) g;
SELECT cozi.register_edge('following', 'ties', 'a', 'b', status => 'status',
    accepted => '{accepted}', expires_at => 'expires_at', deleted_at => 'deleted_at',
    role => 'role', roles => '{member,admin}');
SELECT cozi.register_edge('blocked', 'ties', 'a', 'b', status => 'status',
    accepted => '{accepted}');
SELECT cozi.register_edge('member', 'parts', 'a', 'b');

-- What caller 1 is told after a change, and what is wrong then; nothing is kept.
CREATE FUNCTION after(change text)
    RETURNS TABLE (follows boolean, member boolean, admin boolean, blocked boolean,
                   blocked_by boolean, seen bigint, status text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE change;
    PERFORM cozi.login(pg_temp.token('1'));
    RETURN QUERY SELECT cozi.is_following(2), cozi.is_member(2),
        cozi.has_edge_role('following', 2, 'admin'), cozi.has_blocked(3), cozi.is_blocked_by(3),
        (SELECT count(*) FROM generate_series(1, 5) g WHERE cozi.is_following(g)),
        (SELECT string_agg(s.item || ': ' || s.detail, E'\n' ORDER BY s.item)
         FROM cozi.identity_status() s WHERE s.item LIKE 'edge %');
    RAISE SQLSTATE 'ZZ000';
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN NULL;
END $$;

-- nothing yet
SELECT * FROM after('SELECT');
-- the table: dropped, replaced, of another kind, with children, in a partitioned one
SELECT * FROM after('DROP TABLE ties');
SELECT * FROM after('DROP TABLE ties; CREATE VIEW ties AS SELECT 1::bigint AS a, 2::bigint AS b');
SELECT * FROM after('ALTER TABLE ties RENAME TO old; CREATE TABLE ties (a bigint, b bigint, '
                    'PRIMARY KEY (a, b))');
SELECT * FROM after('CREATE TABLE child () INHERITS (ties)');
SELECT * FROM after('ALTER TABLE ties SET UNLOGGED');
SELECT * FROM after('ALTER TABLE ties ENABLE ROW LEVEL SECURITY');
SELECT * FROM after('CREATE TABLE whole (LIKE ties) PARTITION BY LIST (gone); '
                    'ALTER TABLE whole ATTACH PARTITION ties DEFAULT');
-- its ids: dropped, renamed, swapped, of another type
SELECT * FROM after('ALTER TABLE ties DROP COLUMN a');
SELECT * FROM after('ALTER TABLE ties RENAME b TO c; ALTER TABLE ties RENAME gone TO b');
SELECT * FROM after('ALTER TABLE ties ALTER a TYPE uuid USING gen_random_uuid()');
SELECT * FROM after('ALTER TABLE ties ALTER b TYPE jsonb USING to_jsonb(b)');
SELECT * FROM after('ALTER TABLE ties ALTER b TYPE text');
SELECT * FROM after('ALTER TABLE ties ALTER b TYPE smallint');
SELECT * FROM after('ALTER TABLE ties ALTER b TYPE text COLLATE "C"');
SELECT * FROM after('ALTER DOMAIN id ADD CHECK (VALUE > 0)');
-- its conditions: dropped, renamed, of another type, without a value
SELECT * FROM after('ALTER TABLE ties DROP COLUMN status');
SELECT * FROM after('ALTER TABLE ties RENAME status TO state');
SELECT * FROM after('ALTER TABLE ties ALTER status TYPE jsonb USING NULL');
SELECT * FROM after('ALTER TABLE ties ALTER status TYPE text');
SELECT * FROM after('ALTER TABLE ties ALTER status TYPE smallint USING 1');
SELECT * FROM after('ALTER TABLE ties ALTER status TYPE boolean USING true');
SELECT * FROM after('ALTER TYPE word RENAME VALUE ''accepted'' TO ''yes''');
SELECT * FROM after('ALTER TABLE ties DROP COLUMN expires_at');
SELECT * FROM after('ALTER TABLE ties ALTER expires_at TYPE text');
SELECT * FROM after('ALTER TABLE ties ALTER expires_at TYPE timestamp');
SELECT * FROM after('ALTER TABLE ties DROP COLUMN deleted_at');
SELECT * FROM after('ALTER TABLE ties ALTER deleted_at TYPE boolean USING NULL');
SELECT * FROM after('ALTER TABLE ties DROP COLUMN role');
SELECT * FROM after('ALTER TABLE ties ALTER role TYPE word USING role::word');
SELECT * FROM after('ALTER TABLE ties ALTER role TYPE bytea USING NULL');
-- its indexes: dropped, not valid, of some rows alone, of another kind
SELECT * FROM after('DROP INDEX ties_index');
SELECT * FROM after('DROP INDEX ties_back');
SELECT * FROM after('UPDATE pg_index SET indisvalid = false WHERE indexrelid = '
                    '''ties_index''::regclass');
SELECT * FROM after('DROP INDEX ties_index; CREATE INDEX ON ties (a, b) WHERE NOT gone');
SELECT * FROM after('DROP INDEX ties_index; CREATE INDEX ON ties (a, b) '
                    'WHERE status = ''accepted''');
SELECT * FROM after('DROP INDEX ties_index; CREATE INDEX ON ties ((a + 0), b)');
SELECT * FROM after('DROP INDEX ties_index; CREATE INDEX ON ties USING hash (a)');
-- partitions: detached, without an index, dropped, of other columns
SELECT * FROM after('ALTER TABLE parts DETACH PARTITION parts_0; '
                    'ALTER TABLE parts DETACH PARTITION parts_1');
SELECT * FROM after('DROP INDEX parts_index');
SELECT * FROM after('DROP INDEX parts_index; CREATE INDEX ON ONLY parts (a, b)');
SELECT * FROM after('DROP TABLE parts_0; DROP TABLE parts_1');
SELECT * FROM after('DROP TABLE parts_0; DROP TABLE parts_1; '
                    'CREATE TABLE other (gone int, b bigint, a bigint); '
                    'ALTER TABLE other DROP COLUMN gone; INSERT INTO other VALUES (2, 1); '
                    'ALTER TABLE parts ATTACH PARTITION other '
                    'FOR VALUES WITH (MODULUS 1, REMAINDER 0)');

RESET search_path;
DELETE FROM cozi.edge_config;
DELETE FROM cozi.jwks;
DROP SCHEMA trouble CASCADE;
RESET client_min_messages;
