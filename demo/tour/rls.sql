\echo
\echo '== Who is calling: an identity that no client can forge'
\echo
\echo 'Everybody has an inbox: who answered their posts.  A policy shows each their own.'

CREATE TABLE inbox AS
    SELECT p.author_id AS reader, c.author_id AS writer, p.id AS post_id, c.created_at
    FROM comments c JOIN posts p ON p.id = c.post_id
    WHERE p.author_id IS NOT NULL AND c.author_id <> p.author_id;
CREATE INDEX ON inbox (reader, created_at DESC);
ALTER TABLE inbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON inbox USING (reader = cozi.uid_bigint());

CREATE ROLE web;
GRANT SELECT ON inbox TO web;
GRANT USAGE ON SCHEMA cozi TO web;

\echo
\echo 'The site signs tokens with a secret; the database gets to know it once.'
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more') \g /dev/null
-- the site's own part, in plain SQL for this tour
\ir ../../test/token.sql
SELECT reader AS ann FROM inbox GROUP BY reader ORDER BY count(*) DESC, reader LIMIT 1 \gset
SELECT reader AS bob FROM inbox GROUP BY reader ORDER BY count(*) DESC, reader
    LIMIT 1 OFFSET 1 \gset
SELECT pg_temp.token(:'ann') AS ann_token, pg_temp.token(:'bob') AS bob_token \gset
SELECT left(:'ann_token', 40) || '...' AS "a token";

SET ROLE web;
\echo 'One query, in two transactions, by the same role of the same pool:'
\echo
\echo '    SELECT cozi.login($1);'
\echo '    SELECT cozi.uid_bigint() AS me, count(*) AS answers, max(created_at)::date AS latest'
\echo '    FROM inbox;'
\echo
BEGIN;
SELECT cozi.login(:'ann_token') \g /dev/null
SELECT cozi.uid_bigint() AS me, count(*) AS answers, max(created_at)::date AS latest FROM inbox;
COMMIT;
BEGIN;
SELECT cozi.login(:'bob_token') \g /dev/null
SELECT cozi.uid_bigint() AS me, count(*) AS answers, max(created_at)::date AS latest FROM inbox;
COMMIT;
\echo 'After the commit nobody is logged in, and there is nothing to see.'
SELECT cozi.uid_bigint() AS me, count(*) AS answers FROM inbox;

\echo 'Nobody becomes somebody without a token:'
\set ON_ERROR_STOP off
SET cozi.identity = '{"sub": "1"}';
SELECT set_config('cozi.identity', '{"sub": "1"}', true);
SELECT cozi.login(overlay(:'ann_token' PLACING 'x' FROM 50));
\set ON_ERROR_STOP on
SET request.jwt.claims = '{"sub": "1"}';
SELECT cozi.uid_text() IS NULL AS "still nobody";

RESET request.jwt.claims;
RESET ROLE;

\echo 'A token that was verified is refused from the moment that its user is revoked:'
SELECT cozi.revoke_user(:'bob') \g /dev/null
\set ON_ERROR_STOP off
SELECT cozi.login(:'bob_token');
\set ON_ERROR_STOP on
SELECT cozi.login(:'ann_token') = :'ann' AS "Ann is not concerned";
DELETE FROM cozi.revocations;

\echo
\echo '== Who may see what: follows and blocks, in words a policy can say'
\echo
CREATE TABLE diary AS
    SELECT id, author_id AS author, created_at, 'followers' AS visibility
    FROM posts WHERE author_id IS NOT NULL;
CREATE INDEX ON diary (created_at DESC);
CREATE TABLE follows (follower bigint, followee bigint, PRIMARY KEY (follower, followee));
CREATE TABLE blocks (blocker bigint, blocked bigint, PRIMARY KEY (blocker, blocked));
CREATE INDEX ON blocks (blocked, blocker);
GRANT SELECT ON diary TO web;
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee'),
       cozi.register_edge('blocked', 'blocks', 'blocker', 'blocked') \g /dev/null
\echo 'One call makes the policies of a table with rows; this is what it runs:'
SELECT cozi.protect('diary', owner => 'author', visibility => 'visibility');
SELECT author AS cid FROM diary WHERE author NOT IN (:ann, :bob) GROUP BY author
    ORDER BY count(*) DESC, author LIMIT 1 \gset

CREATE VIEW feed WITH (security_invoker) AS
    SELECT author, count(*) AS posts, max(created_at)::date AS latest
    FROM diary WHERE author <> cozi.uid_bigint() GROUP BY author;
GRANT SELECT ON feed TO web;
\echo 'Ann follows two others, then leaves one, then the other blocks her. Her feed, each time:'
BEGIN;
SELECT cozi.login(:'ann_token') \g /dev/null
INSERT INTO follows VALUES (:ann, :bob), (:ann, :cid);
SET LOCAL ROLE web;
SELECT * FROM feed ORDER BY posts DESC;
RESET ROLE;
DELETE FROM follows WHERE followee = :bob;
SET LOCAL ROLE web;
SELECT * FROM feed ORDER BY posts DESC;
RESET ROLE;
INSERT INTO blocks VALUES (:cid, :ann);
SET LOCAL ROLE web;
SELECT * FROM feed ORDER BY posts DESC;
COMMIT;
