-- Whose rights: who writes rows needs a right on these and no other, who reads a
-- counter sees what its owner shows, and nobody closes or reads the rows of another.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT plan(31);

CREATE ROLE counter_owner;
CREATE ROLE counter_writer;   -- "authenticated"
CREATE ROLE counter_reader;   -- "anon"
CREATE ROLE counter_mallory;
SELECT count(*) FROM unnest('{counter_owner,counter_mallory}'::regrole[]) r, cozi.grant_owner(r);
GRANT USAGE ON SCHEMA cozi TO counter_reader;
CREATE SCHEMA app AUTHORIZATION counter_owner;
GRANT USAGE ON SCHEMA app TO counter_writer, counter_reader, counter_mallory;
CREATE SCHEMA mallory AUTHORIZATION counter_mallory;

-- An owner who is no superuser, rows under RLS and FORCE
SET ROLE counter_owner;
CREATE TABLE app.likes (post bigint, amount numeric DEFAULT 1, liker text DEFAULT current_user,
    created_at timestamptz DEFAULT now());
INSERT INTO app.likes VALUES (1, 2.5), (1, NULL), (2, 1);
INSERT INTO app.likes VALUES (3, 1, 'x', '2020-01-01');
ALTER TABLE app.likes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.likes FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON app.likes USING (liker = current_user) WITH CHECK (post < 100);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.likes TO counter_writer;
SELECT lives_ok($$SELECT cozi.create_counter('counts', 'app.likes', 'post', value => 'amount')$$,
    'an owner who is no superuser creates a counter');
SELECT results_eq('SELECT key, n, sum FROM app.counts ORDER BY 1',
    'VALUES (1::bigint, 2::bigint, 2.5), (2, 1, 1), (3, 1, 1)',
    'a counter is filled with all rows, whatever FORCE RLS would hide');
SELECT is(relowner::regrole::text, 'counter_owner', relname || ' belongs to the owner of the rows')
FROM pg_class
WHERE relnamespace = 'app'::regnamespace AND relname IN ('counts', 'counts_live')
ORDER BY relname;
SELECT is(relacl, NULL, relname || ' is created with no grants') FROM pg_class
WHERE relnamespace = 'app'::regnamespace AND relname IN ('counts', 'counts_live')
ORDER BY relname;
RESET ROLE;

SET ROLE counter_writer;
SELECT lives_ok('INSERT INTO app.likes VALUES (2, 1), (2, NULL), (4, 7)',
    'a writer adds rows by the right on the rows alone');
SELECT lives_ok('UPDATE app.likes SET amount = 3 WHERE post = 4', 'a writer changes a row');
SELECT lives_ok('DELETE FROM app.likes WHERE amount IS NULL', 'a writer deletes a row');
SELECT throws_ok('INSERT INTO app.likes VALUES (100)', '42501', NULL,
    'policies on the rows hold for a writer');
SELECT throws_ok('SELECT * FROM app.counts', '42501', NULL, 'a writer may not read the counter');
SELECT throws_ok('UPDATE app.counts SET n = 9', '42501', NULL,
    'a writer may not write the counter');
RESET ROLE;
SELECT results_eq('SELECT key, n, sum FROM app.counts_live ORDER BY 1',
    'VALUES (1::bigint, 2::bigint, 2.5), (2, 2, 2), (3, 1, 1), (4, 1, 3)',
    'the counter has what the writer did');
SELECT is_empty($$SELECT * FROM cozi.verify_counter('app.counts')$$,
    'the counter equals a recount');

-- Readers: a grant, and the policies of the counter
SET ROLE counter_reader;
SELECT throws_ok($$SELECT * FROM cozi.item_counts('{app.counts}', ARRAY[1, 2])$$, '42501', NULL,
    'item_counts() needs SELECT on the counter');
SELECT is_empty('SELECT * FROM cozi.counters', 'the view of counters shows a reader none');
RESET ROLE;
GRANT SELECT ON app.counts, app.counts_live TO counter_reader;
SET ROLE counter_reader;
SELECT results_eq($$SELECT key, n, mine FROM cozi.item_counts('{app.counts}', ARRAY[1, 2, 9])$$,
    $$VALUES ('1', 2::bigint, NULL::boolean), ('2', 2, NULL), ('9', 0, NULL)$$,
    'item_counts() answers a reader, and does not say whose a row is');
RESET ROLE;
ALTER TABLE app.counts ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON app.counts FOR SELECT TO counter_reader USING (key < 2);
SET ROLE counter_reader;
SELECT results_eq($$SELECT key, n FROM cozi.item_counts('{app.counts}', ARRAY[1, 2])$$,
    $$VALUES ('1', 2::bigint), ('2', 0)$$, 'item_counts() hides what a policy hides');
SELECT results_eq('SELECT key FROM app.counts_live', 'VALUES (1::bigint)',
    'the view of a counter hides what a policy hides');
RESET ROLE;

-- Mallory owns tables, and none of these
SET ROLE counter_mallory;
SELECT throws_ok($$SELECT cozi.create_counter('mine', 'app.likes', 'post')$$, '42501', NULL,
    'nobody counts the table of another');
SELECT throws_ok($$SELECT cozi.close_before('app.counts', '2021-01-01')$$, '42501', NULL,
    'nobody closes the counter of another');
SELECT throws_ok($$SELECT cozi.rebuild_counter('app.counts')$$, '42501', NULL,
    'nobody rebuilds the counter of another');
SELECT throws_ok($$SELECT cozi.verify_counter('app.counts')$$, '42501', NULL,
    'nobody recounts the rows of another');
SELECT throws_ok($$SELECT cozi.drop_counter('app.counts')$$, '42501', NULL,
    'nobody drops the counter of another');
SELECT throws_ok($$SELECT cozi.archive_plan('app.likes', '2021-01-01')$$, '42501', NULL,
    'nobody learns how old the rows of another are');
SELECT throws_ok('SELECT * FROM cozi.kept_source', '42501', NULL,
    'nobody reads the list of sources but by its view');
RESET ROLE;

-- Closed rows: the owner, and then nobody changes them
SET ROLE counter_owner;
SELECT is(cozi.close_before('app.counts', '2021-01-01'), 1::bigint, 'the owner closes a row');
RESET ROLE;
SET ROLE counter_writer;
SELECT throws_ok($$INSERT INTO app.likes VALUES (3, 1, 'y', '2020-01-01')$$, '55000', NULL,
    'a writer adds no closed row');
RESET ROLE;
DELETE FROM app.likes WHERE post = 3;
SELECT results_eq('SELECT n FROM app.counts_live WHERE key = 3', 'VALUES (1::bigint)',
    'a closed row that is deleted stays counted');
SELECT is_empty($$SELECT * FROM cozi.verify_counter('app.counts')$$,
    'the closed counter equals a recount');
SELECT is_empty($$SELECT FROM pg_proc p, aclexplode(p.proacl) a WHERE a.grantee = 0
        AND p.oid = 'cozi.close_before(regclass, timestamptz, name)'::regprocedure$$,
    'PUBLIC does not execute close_before()');
SELECT * FROM finish();
ROLLBACK;
