-- A library that is newer than the extension's objects, as between the new
-- package and ALTER EXTENSION: tables that the library reads are replaced
-- by others without their last column.  The law: an error that says what to run,
-- and no read past the end of a row.
SET client_min_messages = warning;
BEGIN;
CREATE SCHEMA older;
CREATE TABLE older.votes (item int, created_at timestamptz);
SELECT cozi.create_board('hot', 'older.votes', 'item');
SELECT cozi.create_rate_limit('older', 5, '1 minute');
SELECT cozi.add_node('older');

CREATE FUNCTION older.ask(name text, question text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    columns text;
    message text;
    state text;
    hint text;
BEGIN
    SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
                      ORDER BY a.attnum) INTO columns
    FROM pg_attribute a
    WHERE a.attrelid = ('cozi.' || name)::regclass AND a.attnum > 0
      AND a.attnum < (SELECT max(m.attnum) FROM pg_attribute m WHERE m.attrelid = a.attrelid);
    EXECUTE format('ALTER TABLE cozi.%I RENAME TO newer', name);
    EXECUTE format('CREATE TABLE cozi.%I (%s)', name, columns);
    EXECUTE question;
    RAISE EXCEPTION 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, state = RETURNED_SQLSTATE,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' / ', state, regexp_replace(message, '\d+', 'N', 'g'), hint);
END
$$;
SELECT older.ask(name, question)
FROM (VALUES
    ('kept', 'SELECT cozi.fold()'),
    ('kept_local', 'SELECT cozi.fold()'),
    ('kept_source', 'SELECT cozi.fold()'),
    ('kept_source_local', 'SELECT cozi.fold()'),
    ('rate_limit_config', 'SELECT cozi.use_rate_limit(''older'', ''key'')'),
    ('nodes', 'SELECT count(*) FROM cozi.rebalance_plan()'))
    q(name, question);
-- the same questions have answers where the tables are those of the library
SELECT cozi.fold(), cozi.use_rate_limit('older', 'key');
ROLLBACK;
