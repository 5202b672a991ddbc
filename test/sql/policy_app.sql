-- Policies as applications have them: words of their own, parents, soft
-- deletion, groups, moderators; and the owner's own policies beside them.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE app_client;
CREATE ROLE app_owner;
GRANT USAGE ON SCHEMA cozi TO app_client, app_owner;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect, cozi.unprotect TO app_owner;
CREATE SCHEMA app AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA app TO app_client;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one, pg_temp.token('2') AS two, pg_temp.token('3') AS three,
       pg_temp.token('9', '{"role": "moderator"}') AS moderator \gset
SET search_path = app, public;
SET ROLE app_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app_client;
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO follows VALUES (2, 1);
INSERT INTO members VALUES (1, 70), (2, 70);
SELECT cozi.register_edge('following', 'follows', 'a', 'b'),
       cozi.register_edge('member', 'members', 'a', 'b'),
       cozi.register_edge('blocked', 'blocks', 'a', 'b');

-- words: any type of column, mapped; a word that is not mapped is its author's alone
CREATE TYPE audience AS ENUM ('everyone', 'friends', 'link', 'me');
CREATE TABLE worded (id serial, author bigint, t text, e audience, b boolean, n int, c char(10),
    j jsonb, v varchar(20));
INSERT INTO worded (author, t, e, b, n, c, j, v) VALUES
    (1, 'everyone', 'everyone', true, 7, 'everyone', '"everyone"', 'everyone'), (1, 'friends',
    'friends', false, 8, 'friends', '"friends"', 'friends'),
    (1, 'link', 'link', NULL, 9, 'link', '"link"', 'link'), (1, 'me', 'me', false, -1, 'me', '"me"',
    'me'), (1, 'public', NULL, true, NULL, 'public', NULL, NULL);
CREATE FUNCTION seen_by(token text, OUT rows int[]) LANGUAGE plpgsql AS $$
BEGIN
    IF token IS NULL THEN PERFORM cozi.logout(); ELSE PERFORM cozi.login(token); END IF;
    SELECT array_agg(id ORDER BY id) INTO rows FROM app.worded;
END $$;
\set map '\'{"everyone": "public", "friends": "followers", "link": "unlisted"}\''
SET client_min_messages = error;
SELECT count(*) FROM cozi.protect('worded', 'author', 't', words => :map);
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'e', words => :map);
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'b');
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'b',
           words => '{"true": "followers", "false": "public"}');
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'n',
           words => '{"7": "public", "8": "followers"}');
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'c', words => :map);
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'j',
           words => '{"\"everyone\"": "public", "\"friends\"": "followers"}');
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
SELECT count(*) FROM cozi.protect('worded', 'author', 'v', words => :map);
SET ROLE app_client; BEGIN; SELECT seen_by(NULL) AS nobody, seen_by(:'three') AS stranger,
    seen_by(:'two') AS follower, seen_by(:'one') AS author; COMMIT; SET ROLE app_owner;
RESET client_min_messages;
-- what cannot be meant
SELECT cozi.protect('worded', 'author', 't', words => '{"everyone": "all"}');
SELECT cozi.protect('worded', 'author', 't', words => '{"team": "group"}');
SELECT cozi.protect('worded', 'author', 'e', words => '{"all": "public"}');
SELECT cozi.protect('worded', 'author', 'n', words => '{"x": "public"}');
SELECT cozi.protect('worded', 'author', 't', words => '[]');
SELECT cozi.protect('worded', 'author', 't', words => '{}');
SELECT cozi.protect('worded', 'author', 't', words => '{"a": null}');
SELECT cozi.protect('worded', 'author', words => '{"a": "public"}');
SELECT cozi.protect('worded', 'author', 'j');

-- a post, and what is visible when the post is
CREATE TABLE posts (id serial PRIMARY KEY, author bigint, visibility text DEFAULT 'public',
    grp bigint, deleted_at timestamptz, body text);
CREATE TABLE comments (id serial PRIMARY KEY, author bigint, post_id int REFERENCES posts,
    body text);
CREATE TABLE likes (who bigint, post_id int REFERENCES posts, PRIMARY KEY (who, post_id));
GRANT USAGE ON ALL SEQUENCES IN SCHEMA app TO app_client;
INSERT INTO posts (author, visibility, grp, deleted_at) VALUES
    (1, 'public', NULL, NULL), (1, 'followers', NULL, NULL), (1, 'group', 70, NULL), (1, 'private',
    NULL, NULL), (1, 'public', NULL, now()), (3, 'public', NULL, NULL);
INSERT INTO comments (author, post_id) SELECT a, p
FROM generate_series(1, 6) p, unnest('{1,3}'::bigint[]) a;
INSERT INTO likes SELECT 3, p FROM generate_series(1, 6) p;
SELECT cozi.protect('posts', 'author', 'visibility', 'grp', deleted_at => 'deleted_at',
           override_role => 'moderator');
SELECT cozi.protect('comments', 'author', parent => 'posts', parent_key => 'post_id',
           override_role => 'moderator');
SELECT count(*) FROM cozi.protect('likes', 'who', parent => 'posts', parent_key => 'post_id');
CREATE FUNCTION world(token text, OUT posts int[], OUT comments int[], OUT likes int[])
    LANGUAGE plpgsql AS $$
BEGIN
    IF token IS NULL THEN PERFORM cozi.logout(); ELSE PERFORM cozi.login(token); END IF;
    SELECT array_agg(id ORDER BY id) INTO posts FROM app.posts;
    SELECT array_agg(post_id ORDER BY post_id) FILTER (WHERE author = 1) INTO comments
    FROM app.comments;
    SELECT array_agg(post_id ORDER BY post_id) INTO likes FROM app.likes;
END $$;
SET ROLE app_client;
BEGIN;
SELECT 'nobody' AS who, w.* FROM world(NULL) w UNION ALL SELECT 'stranger', w.*
FROM world(:'three') w UNION ALL SELECT 'follower, member', w.* FROM world(:'two') w
UNION ALL SELECT 'author', w.* FROM world(:'one') w UNION ALL SELECT 'moderator', w.*
    FROM world(:'moderator') w;
COMMIT;
-- who writes what: own rows, where the parent is seen and the group is one's own
BEGIN; SELECT cozi.login(:'three');
SAVEPOINT s; INSERT INTO comments (post_id) VALUES (1); ROLLBACK TO s;
INSERT INTO comments (post_id) VALUES (4); ROLLBACK TO s;
INSERT INTO comments (author, post_id) VALUES (1, 1); ROLLBACK TO s;
UPDATE comments SET post_id = 4 WHERE author = 3 AND post_id = 1; ROLLBACK TO s;
INSERT INTO posts (visibility, grp) VALUES ('group', 70); ROLLBACK TO s;
INSERT INTO posts (visibility, grp) VALUES ('public', 70); ROLLBACK TO s;
UPDATE posts SET visibility = 'group', grp = 70 WHERE id = 6; ROLLBACK TO s;
UPDATE posts SET body = 'mine' RETURNING id; ROLLBACK TO s;
DELETE FROM posts RETURNING id; ROLLBACK TO s;
COMMIT;
-- soft deletion by the author: the row stays the author's to see, and nobody's else
BEGIN; SELECT cozi.login(:'one');
UPDATE posts SET deleted_at = now() WHERE id = 1 RETURNING id;
SELECT cozi.login(:'three'); SELECT count(*) FROM posts WHERE id = 1;
ROLLBACK;

-- the moderator: sees all, changes and deletes all, is not stopped by blocks
RESET ROLE; INSERT INTO blocks VALUES (1, 9), (9, 3); SET ROLE app_client;
BEGIN; SELECT cozi.login(:'moderator');
SELECT array_agg(id ORDER BY id) FROM posts;
SAVEPOINT s;
UPDATE posts SET body = 'moderated', deleted_at = now(), visibility = 'private' WHERE author = 1
RETURNING id; ROLLBACK TO s;
DELETE FROM comments WHERE author = 1 RETURNING post_id; ROLLBACK TO s;
-- ... and does not give a row to anybody, nor write in another's name
UPDATE posts SET author = 9 WHERE id = 1; ROLLBACK TO s;
UPDATE posts SET author = author, body = 'x' WHERE id = 1; ROLLBACK TO s;
INSERT INTO posts (author) VALUES (1); ROLLBACK TO s;
INSERT INTO posts (body) VALUES ('own') RETURNING author; ROLLBACK TO s;
INSERT INTO comments (post_id) VALUES (4); ROLLBACK TO s;
SELECT cozi.login(:'three'); UPDATE posts SET author = 1 WHERE id = 6; ROLLBACK TO s;
COMMIT;
-- the table's owner may, and so may a policy of the owner's
RESET ROLE; SET ROLE app_owner;
BEGIN; UPDATE posts SET author = 2 WHERE id = 1; ROLLBACK;
CREATE POLICY reassign ON posts FOR UPDATE USING (cozi.has_role('admin'));
SELECT count(*) FROM cozi.protect('posts', 'author', 'visibility', 'grp',
           deleted_at => 'deleted_at', override_role => 'moderator');
DROP POLICY reassign ON posts;
-- a column renamed goes on
BEGIN;
ALTER TABLE posts RENAME author TO written_by;
SET LOCAL ROLE app_client; SELECT cozi.login(:'moderator'); SELECT count(*)
    FROM posts; UPDATE posts SET written_by = 9 WHERE id = 1;
ROLLBACK;

-- the example of the documentation before: a policy for DELETE alone reaches what is seen
SET ROLE app_owner;
CREATE TABLE plain (id int PRIMARY KEY, author bigint); INSERT INTO plain
    VALUES (1, 1), (2, 2), (3, 9);
SELECT count(*) FROM cozi.protect('plain', 'author', override_role => 'moderator');
SET ROLE app_client;
BEGIN; SELECT cozi.login(:'moderator'); DELETE FROM plain WHERE id = 1; DELETE FROM plain; ROLLBACK;
BEGIN; SELECT cozi.login(:'one'); DELETE FROM plain; ROLLBACK;

-- parents: what is refused, warned of and said
SET ROLE app_owner;
CREATE TABLE replies (id int PRIMARY KEY, author bigint, comment_id int, up int REFERENCES replies,
    code text);
SELECT cozi.protect('replies', 'author', parent => 'comments');
SELECT cozi.protect('replies', 'author', parent_key => 'comment_id');
SELECT cozi.protect('replies', 'author', parent => 'replies', parent_key => 'up');
SELECT cozi.protect('replies', 'author', parent => 'comments', parent_key => 'code');
SELECT cozi.protect('replies', 'author', parent => 'follows', parent_key => 'nope');
SELECT cozi.protect('posts', 'author', parent => 'comments', parent_key => 'id');
CREATE TABLE open_parent (id int PRIMARY KEY); CREATE TABLE keyless (id int); CREATE VIEW
    not_a_table AS SELECT 1 AS id;
SELECT count(*) FROM cozi.protect('replies', 'author', parent => 'open_parent',
           parent_key => 'comment_id', dry_run => true);
SELECT cozi.protect('replies', 'author', parent => 'keyless', parent_key => 'comment_id');
SELECT cozi.protect('replies', 'author', parent => 'not_a_table', parent_key => 'comment_id');
SELECT count(*) FROM cozi.protect('replies', 'author', parent => 'comments',
           parent_key => 'comment_id');
INSERT INTO replies SELECT id, 1, id FROM comments;
SET ROLE app_client;
BEGIN; SELECT cozi.login(:'three');
    SELECT count(*) AS replies, (SELECT count(*) FROM comments) AS comments FROM replies; COMMIT;

-- taken back, trigger and default too
SELECT cozi.unprotect('posts');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'posts'::regclass AND NOT tgisinternal;
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'comments'::regclass
ORDER BY adnum;
SELECT count(*) FROM cozi.unprotect('comments');
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'comments'::regclass
ORDER BY adnum;
-- a default of the owner's own stays
CREATE TABLE own_default (id int, author bigint DEFAULT cozi.uid_bigint());
SELECT count(*) FROM cozi.protect('own_default', 'author');
SELECT count(*) FROM cozi.unprotect('own_default');
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'own_default'::regclass;
-- a namesake of the owner's is not taken for one of ours
CREATE POLICY cozi_select ON own_default USING (true);
SELECT cozi.protect('own_default', 'author');
SELECT cozi.unprotect('own_default');
RESET ROLE;
SELECT cozi._keep_owner();

RESET search_path;
DELETE FROM cozi.edge_config;
DELETE FROM cozi.jwks;
SET client_min_messages = error;
DROP SCHEMA app CASCADE;
DROP OWNED BY app_owner, app_client;
DROP ROLE app_client, app_owner;
