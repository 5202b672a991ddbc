-- The predicates are total: no row of a client and no migration makes a policy
-- raise an error, and each command that breaks an edge says so at once.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE total_client;
CREATE ROLE total_owner;
GRANT USAGE ON SCHEMA cozi TO total_client, total_owner;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.drop_edge, cozi.protect TO total_owner;
CREATE SCHEMA total AUTHORIZATION total_owner;
GRANT USAGE ON SCHEMA total TO total_client;
SET search_path = total, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
CREATE TABLE token AS SELECT n, pg_temp.token(n::text) AS token FROM generate_series(1, 9) n;
GRANT SELECT ON token TO total_client, total_owner;
CREATE FUNCTION be(who int) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN PERFORM cozi.login(t.token) FROM total.token t WHERE t.n = who; END $$;

-- one row of any user, and no edge at all: everybody goes on reading
SET ROLE total_owner;
CREATE TABLE notes (id serial PRIMARY KEY, author bigint, vis text DEFAULT 'public', body text);
INSERT INTO notes (author) SELECT generate_series(1, 5);
SELECT count(*) FROM cozi.protect('notes', 'author', 'vis');
GRANT SELECT, INSERT ON notes TO total_client;
GRANT USAGE ON SEQUENCE notes_id_seq TO total_client;
SET ROLE total_client;
BEGIN; SELECT be(5);
INSERT INTO notes (vis) VALUES ('followers'), ('group'), ('blocked'), (''), (NULL); COMMIT;
BEGIN; SELECT be(1); SELECT count(*) FROM notes; SELECT count(*) FROM notes WHERE author = 5;
COMMIT;
SELECT count(*) FROM notes;
BEGIN; SELECT be(5); SELECT count(*) FROM notes; COMMIT;
RESET ROLE;

-- an edge of each name, and what reads through it
SET ROLE total_owner;
CREATE TYPE state AS ENUM ('pending', 'accepted');
CREATE TABLE follows (a bigint, b bigint, state state DEFAULT 'accepted', PRIMARY KEY (a, b));
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO follows VALUES (1, 2), (1, 5);
INSERT INTO members VALUES (1, 7);
SELECT cozi.register_edge('following', 'follows', 'a', 'b', status => 'state',
    accepted => '{accepted}');
SELECT cozi.register_edge('member', 'members', 'a', 'b');
SELECT cozi.register_edge('blocked', 'blocks', 'a', 'b');
CREATE VIEW seen WITH (security_invoker) AS
    SELECT cozi.is_following(2) AS follows, cozi.is_member(7) AS member,
        cozi.has_blocked(3) AS blocked, cozi.is_blocked_by(3) AS blocked_by,
           (SELECT count(*) FROM notes) AS notes;
GRANT SELECT ON seen TO total_client;
SET ROLE total_client;
BEGIN; SELECT be(1); SELECT * FROM seen; COMMIT;
RESET ROLE;

-- whatever a migration does: no error, a warning, and what is hidden is hidden
CREATE FUNCTION after(change text) RETURNS SETOF seen LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE change;
        SET LOCAL ROLE total_client;
        PERFORM total.be(1);
        RETURN QUERY SELECT * FROM total.seen;
        RESET ROLE;
        RAISE SQLSTATE 'ZZ000';
    EXCEPTION WHEN SQLSTATE 'ZZ000' THEN NULL;
    END;
END $$;
SELECT * FROM after('DROP TABLE follows');
SELECT * FROM after('DROP TABLE blocks');
SELECT * FROM after('ALTER TABLE follows DROP CONSTRAINT follows_pkey');
SELECT * FROM after('ALTER TABLE follows RENAME COLUMN b TO whom');
SELECT * FROM after('ALTER TABLE follows DROP COLUMN state');
SELECT * FROM after('ALTER TYPE state RENAME VALUE ''accepted'' TO ''yes''');
SELECT * FROM after('ALTER TABLE follows ALTER COLUMN b TYPE jsonb USING to_jsonb(b)');
SELECT * FROM after('ALTER TABLE follows ALTER COLUMN b TYPE text');
SELECT * FROM after('ALTER TABLE blocks ALTER COLUMN b TYPE text');
SELECT * FROM after('CREATE TABLE child () INHERITS (members)');
SELECT * FROM after('ALTER TABLE blocks DROP COLUMN a');
SELECT * FROM after('DROP INDEX blocks_b_a_idx');
SELECT * FROM after('UPDATE pg_index SET indisvalid = false '
                    'WHERE indexrelid = ''blocks_pkey''::regclass');
-- renamed and moved: followed
SELECT * FROM after('ALTER TABLE follows RENAME TO follow; ALTER TABLE members SET SCHEMA public; '
                    'ALTER SCHEMA total RENAME TO "To tal"; ALTER SCHEMA "To tal" RENAME TO total');
BEGIN;
ALTER TABLE follows RENAME TO "to Follow"; ALTER TABLE members SET SCHEMA public;
SELECT edge, relation FROM cozi.edges ORDER BY edge;
SELECT edge, rel FROM cozi.edge_config ORDER BY edge;
ROLLBACK;

-- a prepared plan of the edge as it was goes on without an error
SET ROLE total_owner;
CREATE INDEX ON notes (author);
SET ROLE total_client;
SET enable_seqscan = off;
PREPARE followed AS SELECT count(*) FROM notes WHERE cozi.is_following(author);
SET plan_cache_mode = force_generic_plan;
BEGIN; SELECT be(1); EXECUTE followed; COMMIT;
RESET ROLE;
BEGIN; ALTER TABLE follows ALTER COLUMN b TYPE text; SET LOCAL ROLE total_client; SELECT be(1);
EXECUTE followed; ROLLBACK;
BEGIN; DROP TABLE follows; SET LOCAL ROLE total_client; SELECT be(1); EXECUTE followed; ROLLBACK;
RESET plan_cache_mode; RESET enable_seqscan; DEALLOCATE followed;

-- a dropped table is not answered for by another of its name, in no dump either
SET ROLE total_owner;
DROP TABLE members;
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
INSERT INTO members VALUES (1, 7);
RESET ROLE;
BEGIN; SELECT be(1); SELECT cozi.is_member(7); COMMIT;
SELECT edge, relation, trouble FROM cozi.edges WHERE edge = 'member';
COPY (SELECT * FROM cozi.edge_config WHERE edge = 'member') TO STDOUT;
-- the name is still its owner's, who may give it to another table
GRANT EXECUTE ON FUNCTION cozi.drop_edge TO total_client;
SET ROLE total_client;
SELECT cozi.drop_edge('member');
SET ROLE total_owner;
SELECT cozi.drop_edge('member');
SELECT cozi.register_edge('member', 'members', 'a', 'b');
RESET ROLE;
BEGIN; SELECT be(1); SELECT cozi.is_member(7); COMMIT;

-- what pg_restore does: rows are loaded, and their tables found
CREATE TEMP TABLE saved AS SELECT * FROM cozi.edge_config;
DELETE FROM cozi.edge_config;
SELECT count(*) FROM cozi.edge_state;
INSERT INTO cozi.edge_config SELECT * FROM saved;
SELECT edge, relation, trouble FROM cozi.edges ORDER BY edge;
BEGIN; SELECT be(1); SELECT cozi.is_member(7), cozi.is_following(2); COMMIT;

-- a command about another table fails for no edge, also while one is being altered
BEGIN; DROP TABLE blocks; CREATE TABLE other (a int); DROP TABLE other; ROLLBACK;

-- the event triggers, called by hand
SELECT cozi._edge_follow();
SELECT cozi._edge_config_changed();
SELECT cozi._edge_trouble('following'), cozi._edge_trouble('none');

RESET search_path;
DELETE FROM cozi.edge_config;
DELETE FROM cozi.jwks;
SET client_min_messages = warning;
DROP SCHEMA total CASCADE;
RESET client_min_messages;
REVOKE ALL ON SCHEMA cozi FROM total_client, total_owner;
REVOKE ALL ON FUNCTION cozi.register_edge, cozi.drop_edge, cozi.protect
    FROM total_owner, total_client;
DROP ROLE total_client, total_owner;
