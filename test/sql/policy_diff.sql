-- The proof of a migration, and why a row is visible: what policies say to
-- somebody else.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE diff_client;
CREATE ROLE diff_owner;
GRANT diff_client TO diff_owner;
GRANT USAGE ON SCHEMA cozi TO diff_client, diff_owner;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect, cozi.unprotect, cozi.save_policies,
    cozi.policy_diff, cozi.why_visible TO diff_owner;
CREATE SCHEMA diff AUTHORIZATION diff_owner;
GRANT USAGE ON SCHEMA diff TO diff_client;
SET search_path = diff, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one, pg_temp.token('2') AS two \gset

SET ROLE diff_owner;
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b)); CREATE INDEX ON blocks (b, a);
INSERT INTO follows VALUES (2, 1), (3, 1); INSERT INTO blocks VALUES (1, 3);
SELECT cozi.register_edge('following', 'follows', 'a', 'b');
SELECT cozi.register_edge('blocked', 'blocks', 'a', 'b');
CREATE TABLE posts (id int PRIMARY KEY, author bigint, visibility text);
INSERT INTO posts SELECT g, 1 + g % 4, (array['public', 'followers', 'private'])[1 + g % 3]
FROM generate_series(1, 60) g;
CREATE TABLE comments (id int PRIMARY KEY, author bigint, post_id int REFERENCES posts);
INSERT INTO comments SELECT g, 1 + g % 3, g FROM generate_series(1, 60) g;
GRANT SELECT, INSERT, UPDATE, DELETE ON posts, comments, follows, blocks TO diff_client;

-- policies by hand, as they are found: a claim in a setting, subqueries, roles
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON posts TO diff_client
    USING (author = nullif(current_setting('request.jwt.claim.sub', true), '')::bigint);
CREATE POLICY public ON posts FOR SELECT USING (visibility = 'public');
CREATE POLICY friends ON posts FOR SELECT USING (visibility = 'followers' AND EXISTS (
    SELECT 1 FROM follows f WHERE f.b = posts.author AND f.a::text =
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));
CREATE POLICY no_blocks ON posts AS RESTRICTIVE FOR SELECT USING (NOT EXISTS (
    SELECT FROM blocks k WHERE (k.a, k.b) = (posts.author,
        nullif(current_setting('request.jwt.claim.sub', true), '')::bigint)));
CREATE POLICY elsewhere ON posts TO diff_owner USING (true);
ALTER TABLE comments ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON comments USING (true);

SELECT cozi.policy_diff('posts', '{1}');
SELECT cozi.save_policies('posts'), cozi.save_policies('comments');
-- nothing has changed: nothing differs
SELECT * FROM cozi.policy_diff('posts', '{1,2,3,NULL}');

-- a migration that forgets the friends
DROP POLICY own ON posts; DROP POLICY public ON posts; DROP POLICY friends ON posts;
DROP POLICY no_blocks ON posts; DROP POLICY elsewhere ON posts;
SELECT count(*) FROM cozi.protect('posts', 'author');
SELECT * FROM cozi.policy_diff('posts', '{1,2,3,NULL}');
-- and the right one
SELECT count(*) FROM cozi.protect('posts', 'author', 'visibility');
SELECT * FROM cozi.policy_diff('posts', '{1,2,3,4,NULL,"{\"sub\": \"2\", \"role\": \"x\"}"}')
WHERE differing > 0;
SELECT sum(differing) FROM cozi.policy_diff('posts', '{1,2,4,5,NULL}');
-- what is counted is what the client is shown
SET ROLE diff_client;
BEGIN; SELECT cozi.login(:'two'); SELECT count(*) FROM posts; COMMIT;
SET ROLE diff_owner;
SELECT present FROM cozi.policy_diff('posts', '{2}') WHERE command = 'select';

-- policies that look into a table with policies of its own: as the client
SELECT count(*) FROM cozi.protect('comments', 'author', parent => 'posts', parent_key => 'post_id');
DROP POLICY all_of_them ON comments;
SELECT subject, command, saved, present, differing, keys FROM cozi.policy_diff('comments', '{2}');
SET ROLE diff_client;
BEGIN; SELECT cozi.login(:'two'); SELECT count(*) FROM comments; COMMIT;

-- why: by policy, and by rule
SET ROLE diff_owner;
SELECT * FROM cozi.why_visible('posts', '4', '2');
SELECT rule, holds, because FROM cozi.why_visible('posts', '4', '3') WHERE rule !~ 'policy';
SELECT rule, holds FROM cozi.why_visible('posts', '1', '2') WHERE rule !~ 'policy';
SELECT rule, holds, because FROM cozi.why_visible('comments', '4', '3') WHERE rule !~ 'policy';
SELECT rule, holds FROM cozi.why_visible('posts', '4', NULL) WHERE rule !~ 'policy';
SELECT * FROM cozi.why_visible('posts', '4711', '2');
SELECT * FROM cozi.why_visible('follows', '(2,1)', '2');
SELECT cozi.why_visible('posts', 'x', '2');
SELECT cozi.why_visible('posts', '1', '{"sub": ');
SELECT cozi.why_visible('posts', '1', '{"sub": "1", "sub": "2"}');
SELECT count(*) FROM cozi.protect('posts', 'author', 'visibility', override_role => 'moderator',
    words => '{"public": "public", "followers": "followers"}');
SELECT rule, holds, because
FROM cozi.why_visible('posts', '2', '{"sub": "77", "role": "moderator"}')
WHERE rule !~ 'policy';
-- every row and subject: why agrees with what is shown
RESET ROLE;
CREATE FUNCTION shown(subject text) RETURNS SETOF int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cozi.login(t) FROM diff.tokens x (s, t) WHERE s = subject;
    RETURN QUERY SELECT id FROM diff.posts;
END $$;
CREATE TABLE tokens AS SELECT s, pg_temp.token(s) AS t FROM unnest('{1,2,3,4}'::text[]) s;
GRANT SELECT ON tokens TO diff_client;
CREATE TEMP TABLE why AS
SELECT s, id FROM unnest('{1,2,3,4}'::text[]) s, posts, cozi.why_visible('posts', id::text, s) w
WHERE w.rule = 'visible' AND w.holds;
GRANT SELECT ON why TO diff_client;
SET ROLE diff_client;
BEGIN;
SELECT s, count(*) AS shown, (SELECT count(*) FROM why w WHERE w.s = a.s) AS why,
       count(*) FILTER (WHERE NOT EXISTS (SELECT FROM why w WHERE (w.s, w.id) = (a.s, a.id))) AS
       wrong
FROM (SELECT s, shown(s) AS id FROM unnest('{1,2,3,4}'::text[]) s) a GROUP BY s ORDER BY s;
COMMIT;

-- for whom: not the client it is hidden from, and not as a role one is no member of
SELECT cozi.why_visible('posts', '1', '1');
SELECT cozi.policy_diff('posts', '{1}');
SELECT cozi.save_policies('posts');
SELECT cozi._rows_of(NULL::posts);
RESET ROLE;
GRANT EXECUTE ON FUNCTION cozi.save_policies, cozi.policy_diff TO diff_client;
SET ROLE diff_client;
SELECT cozi.save_policies('posts');
SELECT cozi.policy_diff('posts', '{1}');
SET ROLE diff_owner;
SELECT cozi.policy_diff('posts', '{1}', as_role => 'pg_monitor');
SELECT cozi.policy_diff('posts', '{1}', as_role => 'nobody at all');
SELECT cozi.policy_diff(NULL, '{1}');
SELECT cozi.policy_diff('posts', NULL);
-- a policy that tries to keep something: identity, role and settings are what they were
CREATE FUNCTION sneak() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('search_path', 'diff', false), set_config('work_mem', '64kB', false);
    RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION sneak TO diff_client;
CREATE POLICY sneak ON posts FOR SELECT USING (sneak());
BEGIN;
SELECT count(*) FROM cozi.policy_diff('posts', '{1}');
SELECT current_user, current_setting('search_path') AS path, current_setting('work_mem') AS mem,
       cozi.uid_text(), nullif(current_setting('request.jwt.claims', true), '') AS claims;
COMMIT;
-- saved by OID: a table of the same name is another table
ALTER TABLE comments RENAME TO old_comments;
CREATE TABLE comments (id int);
SELECT cozi.policy_diff('comments', '{1}');
SELECT count(*) FROM cozi.policy_diff('old_comments', '{1}');

RESET ROLE; RESET search_path;
DELETE FROM cozi.edge_config; DELETE FROM cozi.saved_policies; DELETE FROM cozi.jwks;
SET client_min_messages = error;
DROP SCHEMA diff CASCADE;
DROP OWNED BY diff_owner, diff_client;
DROP ROLE diff_client, diff_owner;
