-- A library that is newer than the extension's objects, as between the new package
-- and ALTER EXTENSION, or older, as in a session that began before.  Each table that
-- the library reads below SQL is made another one: each of its columns in turn is
-- retyped, and dropped; the last one is missing; one is there that the library does
-- not know, or that must have a value.  The law: an error that says what to run, and no
-- read past the end of a row, nor of a value as what it is not.  A last column that the
-- release before had not (tracked) may be missing, and one of a later release be there.
SET client_min_messages = error;
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\i :helpers
\set ECHO all
BEGIN;
CREATE SCHEMA older;
CREATE TABLE older.votes (item int, created_at timestamptz);
CREATE UNLOGGED TABLE older.quick (item int, created_at timestamptz);
SELECT cozi.create_board('hot', 'older.votes', 'item'),
    cozi.create_board('quick_hot', 'older.quick', 'item');
SELECT cozi.create_board('told', 'older.votes', 'item');
SELECT cozi.track_changes('older.told'), cozi.announce_changes('older.told', 'older');
SELECT cozi.create_rate_limit('older', 5, '1 minute');
SELECT cozi.add_node('older');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT cozi.revoke_user('nobody');

-- Make a table another one, in the catalog: no view and no index is in the way
CREATE FUNCTION older.change(relid regclass, change text, col int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    CASE change
        WHEN 'retyped' THEN
            UPDATE pg_attribute SET atttypid = 'circle'::regtype
            WHERE attrelid = relid AND attnum = col;
        WHEN 'dropped' THEN
            UPDATE pg_attribute SET atttypid = 0, attisdropped = true
            WHERE attrelid = relid AND attnum = col;
        WHEN 'missing' THEN
            WITH gone AS (DELETE FROM pg_attribute WHERE attrelid = relid AND attnum = col)
            UPDATE pg_class SET relnatts = relnatts - 1 WHERE oid = relid;
        WHEN 'unknown' THEN
            EXECUTE format('ALTER TABLE %s ADD COLUMN unknown int', relid);
        WHEN 'needed' THEN
            EXECUTE format('ALTER TABLE %s ADD COLUMN needed int NOT NULL DEFAULT 0', relid);
    END CASE;
END $$;
CREATE FUNCTION older.ask(relid regclass, change text, col int, question text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    message text;
    state text;
    hint text;
BEGIN
    PERFORM older.change(relid, change, col);
    EXECUTE question;
    RAISE EXCEPTION 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, state = RETURNED_SQLSTATE,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', CASE WHEN state <> 'P0001' THEN state END,
                     replace(message, relid::text, 'TABLE'), nullif(hint, ''));
END $$;

-- Every table of the extension that is read below SQL, and what reads it
CREATE TABLE older.questions (name text, question text);
INSERT INTO older.questions VALUES
    ('kept', 'SELECT cozi.fold()'),
    ('kept_local', 'SELECT cozi.fold()'),
    ('kept_source', 'SELECT cozi.fold()'),
    ('kept_source_local', 'SELECT cozi.fold()'),
    ('kept_state', 'SELECT cozi.rebuild_board(''older.hot'')'),
    ('kept_state_unlogged', 'SELECT cozi.rebuild_board(''older.quick_hot'')'),
    ('kept_delta', 'INSERT INTO older.votes VALUES (1, ''2026-06-01'')'),
    ('kept_delta_unlogged', 'INSERT INTO older.quick VALUES (1, ''2026-06-01'')'),
    ('kept_aside', 'SELECT * FROM cozi.boards'),
    ('kept_hidden', 'SELECT cozi.hide_item(''older.hot'', ''1'')'),
    ('kept_change', 'SELECT cozi.track_changes(''older.hot'')'),
    ('announcement', 'SELECT * FROM cozi.announcements'),
    ('announcement_local', 'SELECT * FROM cozi.announcements'),
    ('rate_limit_config', 'SELECT cozi.use_rate_limit(''older'', ''key'')'),
    ('edge_config', 'SELECT cozi.is_edge(''following'', 1::bigint)'),
    ('edge_state', 'SELECT cozi.is_edge(''following'', 1::bigint)'),
    ('nodes', 'SELECT count(*) FROM cozi.rebalance_plan()'),
    ('shard_map', 'SELECT count(*) FROM cozi.rebalance_plan()'),
    ('jwks', format('SELECT cozi.login(%L)', pg_temp.token('1'))),
    ('revocations', format('SELECT cozi.login(%L)', pg_temp.token('1')));
SELECT change, answer, string_agg(DISTINCT name, ' ' ORDER BY name) AS tables
FROM (SELECT q.name, c.change, older.ask(r.oid, c.change, a.attnum, q.question) AS answer
      FROM older.questions q, pg_class r, pg_attribute a,
          (VALUES ('retyped'), ('dropped'), ('missing'), ('unknown'), ('needed')) c (change)
      WHERE r.oid = ('cozi.' || q.name)::regclass AND a.attrelid = r.oid AND a.attnum > 0
          AND (c.change IN ('retyped', 'dropped') OR a.attnum = r.relnatts)) x
GROUP BY 1, 2 ORDER BY change, answer COLLATE "C";
-- the others are read by SQL alone
SELECT string_agg(c.relname, ' ' ORDER BY c.relname)
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND c.relkind = 'r'
    AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cozi')
    AND c.relname NOT IN (SELECT name FROM older.questions);
ROLLBACK;
