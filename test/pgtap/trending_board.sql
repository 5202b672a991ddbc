-- Whose rights: a voter needs his right on the votes and no other, and nobody
-- gets more out of a board than its owner gives.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT plan(49);

CREATE ROLE board_owner;
CREATE ROLE board_voter;   -- "authenticated"
CREATE ROLE board_reader;  -- "anon"
CREATE ROLE board_mallory;
GRANT USAGE ON SCHEMA cozi TO board_owner, board_mallory, board_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cozi TO board_owner;
CREATE SCHEMA app AUTHORIZATION board_owner;
GRANT USAGE ON SCHEMA app TO board_voter, board_reader, board_mallory;
CREATE SCHEMA mallory AUTHORIZATION board_mallory;

-- An owner who is no superuser, votes under RLS and FORCE
SET ROLE board_owner;
CREATE TABLE app.votes (post bigint, voter text DEFAULT current_user, value int DEFAULT 1,
    created_at timestamptz DEFAULT now());
INSERT INTO app.votes (post) VALUES (1), (1), (2);
ALTER TABLE app.votes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.votes FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.votes USING (voter = current_user)
    WITH CHECK (voter = current_user AND post < 100);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.votes TO board_voter;
SELECT lives_ok($$SELECT cozi.create_board('hot', 'app.votes', 'post', 'value')$$,
    'an owner who is no superuser creates a board');
SELECT results_eq('SELECT item, ups FROM app.hot ORDER BY 1',
    'VALUES (1::bigint, 2::bigint), (2, 1)',
    'filled with all votes, whatever FORCE RLS would hide');
SELECT is(relowner::regrole::text, 'board_owner', relname || ' belongs to the owner of the votes')
FROM pg_class
WHERE relnamespace = 'app'::regnamespace AND relname IN ('hot', 'hot_live') ORDER BY relname;
SELECT is(relacl, NULL, relname || ' is created with no grants') FROM pg_class
WHERE relnamespace = 'app'::regnamespace AND relname IN ('hot', 'hot_live') ORDER BY relname;
SELECT is((SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
    WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'v')),
    'hot hot_live votes',
        'the schema of the app holds the board, its view, and no other table of a board');
SELECT throws_ok('SELECT * FROM cozi.kept_state', '42501', NULL,
    'the owner of a board does not read the state');
SELECT throws_ok('CREATE INDEX ON cozi.kept_delta (due)', '42501', NULL,
    'the owner of a board puts no index on the delta');
RESET ROLE;

SET ROLE board_voter;
SELECT lives_ok('INSERT INTO app.votes (post) VALUES (2), (2), (3)',
    'a voter votes with his right on the votes alone');
SELECT lives_ok('UPDATE app.votes SET value = -1 WHERE post = 3', 'a voter flips');
SELECT throws_ok('INSERT INTO app.votes (post) VALUES (100)', '42501', NULL,
    'policies on the votes hold');
SELECT throws_ok('SELECT * FROM app.hot', '42501', NULL, 'a voter may not read the board');
SELECT throws_ok('INSERT INTO app.hot VALUES (1, 1, 1, 1)', '42501', NULL,
    'a voter may not write the board');
SELECT throws_ok('DELETE FROM cozi.kept_delta', '42501', NULL, 'a voter may not write the delta');
SELECT throws_ok('DELETE FROM cozi.kept_state', '42501', NULL, 'a voter may not write the state');
RESET ROLE;
SELECT results_eq('SELECT item, ups, downs FROM app.hot_live ORDER BY 1',
    'VALUES (1::bigint, 2::bigint, 0::bigint), (2, 3, 0), (3, 0, 1)', 'his votes are counted');

-- What PUBLIC may call, and what not
SELECT is(has_function_privilege('board_mallory', f, 'EXECUTE'), false, f || ' is not for PUBLIC')
FROM unnest(ARRAY[
    'cozi.create_board(text, regclass, name, name, name, name, interval, float8, regclass)',
    'cozi.drop_board(regclass)',
    'cozi.rebuild_board(regclass)', 'cozi.set_half_life(regclass, interval)',
    'cozi.set_down_weight(regclass, float8)', 'cozi.verify_board(regclass)',
    'cozi.fold(regclass, int)']) f;
SELECT is(has_function_privilege('board_mallory', f, 'EXECUTE'), true, f || ' is for PUBLIC')
FROM unnest(ARRAY[
    'cozi.top(regclass, int, text, text[], text)',
    'cozi.top_rows(anyelement, regclass, int, text, text[], text, name)']) f;
SELECT is(has_table_privilege('board_mallory', 'cozi.kept', 'SELECT,INSERT,UPDATE,DELETE'), false,
    'the list of boards is nobody''s');

-- Mallory has EXECUTE on everything, and his own table
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cozi TO board_mallory;
SET ROLE board_mallory;
CREATE TABLE mallory.votes (post bigint, value int, created_at timestamptz);
SELECT throws_ok($$SELECT cozi.create_board('x', 'app.votes', 'post')$$, '42501', NULL,
    'a board needs the owner of the votes');
SELECT throws_ok($$SELECT cozi.drop_board('app.hot')$$, '42501', NULL,
    'dropping a board needs the owner of the votes');
SELECT throws_ok($$SELECT cozi.rebuild_board('app.hot')$$, '42501', NULL,
    'rebuilding a board needs the owner of the votes');
SELECT throws_ok($$SELECT cozi.set_half_life('app.hot', '1 day')$$, '42501', NULL,
    'setting the half-life of a board needs the owner of the votes');
SELECT throws_ok($$SELECT * FROM cozi.verify_board('app.hot')$$, '42501', NULL,
    'verifying a board needs the owner of the votes');
SELECT throws_ok($$SELECT * FROM cozi.top('app.hot', 5)$$, '42501', NULL,
    'top needs SELECT on the board');
SELECT lives_ok($$CREATE TRIGGER forge AFTER INSERT ON mallory.votes
    REFERENCING NEW TABLE AS cozi_new FOR EACH STATEMENT
    EXECUTE FUNCTION cozi._count_rows('app.hot', 'hot')$$,
    'a trigger of his own, with a victim''s board as its argument');
SELECT lives_ok('INSERT INTO mallory.votes SELECT 1, 1000, now() FROM generate_series(1, 100)',
    'fires');
SELECT is((SELECT count(*) FROM cozi.boards), 0::bigint, 'he sees no board of others');
RESET ROLE;
SELECT is((SELECT ups FROM app.hot_live WHERE item = 1), 2::bigint,
    'a trigger on another table forges no vote');

-- A fold by a superuser runs the code of the board's owner as that owner
SET ROLE board_owner;
CREATE FUNCTION app.spy(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN IF current_user <> 'board_owner' THEN RAISE 'runs as %', current_user; END IF;
    RETURN $1; END$$;
CREATE INDEX spy ON app.hot (app.spy(ups));
SELECT throws_ok($$CREATE TRIGGER spy BEFORE INSERT ON app.hot FOR EACH ROW
    EXECUTE FUNCTION cozi._count_rows()$$, '0A000', NULL,
    'a trigger on a board is refused');
RESET ROLE;
SELECT lives_ok($$SELECT cozi.fold('app.hot')$$,
    'a superuser folds a board with an index function of its owner');
SELECT is((SELECT last_error FROM cozi.boards WHERE board = 'app.hot'::regclass), NULL,
    'the index function ran as the owner of the board');
SET ROLE board_owner;
CREATE OR REPLACE FUNCTION app.spy(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN PERFORM set_config('role', 'none', false); RETURN $1; END$$;
RESET ROLE;
SET ROLE board_voter;
INSERT INTO app.votes (post) VALUES (4);
RESET ROLE;
SELECT lives_ok($$SELECT cozi.fold('app.hot')$$,
    'an index function that fails fails no fold of others');
SELECT matches((SELECT last_error FROM cozi.boards WHERE board = 'app.hot'::regclass),
    'cannot set parameter "role"',
    'an index function cannot leave the restricted operation');
DROP INDEX app.spy;
SELECT cozi.rebuild_board('app.hot');

-- Readers, with and without a policy on the board
GRANT SELECT ON app.hot TO board_reader;
SET ROLE board_reader;
SELECT results_eq($$SELECT item, rank FROM cozi.top('app.hot', 3)$$,
    $$VALUES ('2', 1), ('1', 2), ('4', 3)$$ ,
    'a reader of the board has its top, pending votes included');
SELECT throws_ok('SELECT * FROM app.hot_live', '42501', NULL,
    'the live view has grants of its own');
RESET ROLE;
SELECT ok(cozi.fold() >= 0, 'folded');
ALTER TABLE app.hot ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON app.hot FOR SELECT TO board_reader USING (item <> 2);
SET ROLE board_voter;
INSERT INTO app.votes (post) VALUES (2), (4), (5);
SET ROLE board_reader;
SELECT results_eq($$SELECT item FROM cozi.top('app.hot', 10) ORDER BY item$$,
    $$VALUES ('1'), ('3'), ('4')$$,
    'a policy on the board holds for its top; new items show when folded');
RESET ROLE;
SET ROLE board_owner;
ALTER TABLE app.hot FORCE ROW LEVEL SECURITY;
RESET ROLE;
SELECT lives_ok('SELECT cozi.fold()', 'FORCE on the board does not stop a fold');
SET ROLE board_reader;
SELECT results_eq($$SELECT item FROM cozi.top('app.hot', 10) ORDER BY item$$,
    $$VALUES ('1'), ('3'), ('4'), ('5')$$, 'now they are');
RESET ROLE;
SELECT is_empty($$SELECT * FROM cozi.verify_board('app.hot')$$, 'nothing was lost on the way');
SELECT finish();
ROLLBACK;
