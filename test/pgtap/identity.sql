-- identity: who may call what, and a policy tested as its users see it.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT plan(16);

-- what nobody may call until the owner of the extension grants it
CREATE ROLE identity_client;
GRANT USAGE ON SCHEMA cozi TO identity_client;
SELECT ok(NOT has_function_privilege('identity_client', p.oid, 'execute'),
          format('a client may not execute %s', p.oid::regprocedure))
FROM pg_proc p
WHERE p.pronamespace = 'cozi'::regnamespace
  AND p.proname IN ('act_as', 'add_jwks', 'add_key', 'add_secret', 'check_key', 'check_token',
                    'retire_key', 'revoke_token', 'revoke_user', 'rotate_secret')
ORDER BY p.proname COLLATE "C";
SELECT ok(has_function_privilege('identity_client', 'cozi.login_if(text)', 'execute'),
          'a client may execute login_if()');

-- the recipe of doc/policies.md
CREATE TABLE notes (id int PRIMARY KEY, author bigint DEFAULT cozi.uid_bigint());
INSERT INTO notes VALUES (1, 1), (2, 2), (3, 1);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (cozi.is_owner(author));
CREATE POLICY moderate ON notes FOR SELECT USING (cozi.has_role('moderator'));
GRANT SELECT, INSERT ON notes TO identity_client;
GRANT USAGE ON SCHEMA public TO identity_client;

SELECT cozi.act_as('1');
SET LOCAL ROLE identity_client;
SELECT results_eq('SELECT id FROM notes ORDER BY id', ARRAY[1, 3],
                  'user 1 sees the notes of user 1');
SELECT throws_ok('INSERT INTO notes (id, author) VALUES (9, 2)', '42501', NULL,
                 'user 1 writes no note of user 2');
SELECT lives_ok('INSERT INTO notes (id) VALUES (4)', 'user 1 writes a note of user 1');
RESET ROLE;
SELECT cozi.act_as('7', '{"role": "moderator"}', 'a test of policies');
SET LOCAL ROLE identity_client;
SELECT is(count(*), 4::bigint, 'a moderator sees the notes of all users') FROM notes;
RESET ROLE;
SELECT cozi.logout();
SET LOCAL ROLE identity_client;
SELECT is_empty('SELECT FROM notes', 'nobody sees no note');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
