-- What was reported of policies, input by input: each stands as it was sent in, in
-- a schema of its own, and gives the answer that was asked for.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE reported_client;
GRANT USAGE ON SCHEMA cozi TO reported_client;
SET client_min_messages = error;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
CREATE FUNCTION pg_temp.new_schema() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL client_min_messages = error;
    DROP SCHEMA IF EXISTS reported CASCADE;
    CREATE SCHEMA reported;
    GRANT USAGE ON SCHEMA reported TO reported_client;
    DELETE FROM cozi.edge_config;
    PERFORM set_config('search_path', 'reported, public', false);
END $$;

-- one row of any user took a protected table away from everybody else
SELECT pg_temp.new_schema();
CREATE TABLE notes (id serial PRIMARY KEY, author bigint DEFAULT cozi.uid_bigint(),
    vis text DEFAULT 'public', body text);
INSERT INTO notes (author) SELECT generate_series(1, 5);
SELECT count(*) FROM cozi.protect('notes', 'author', 'vis');
GRANT SELECT, INSERT ON notes TO reported_client;
GRANT USAGE ON SEQUENCE notes_id_seq TO reported_client;
BEGIN; SELECT cozi.login(pg_temp.token('5')); SET LOCAL ROLE reported_client;
INSERT INTO notes (vis) VALUES ('followers'); COMMIT;
BEGIN; SELECT cozi.login(pg_temp.token('1')); SET LOCAL ROLE reported_client;
SELECT count(*) FROM notes; SELECT id FROM notes ORDER BY id DESC LIMIT 3; ROLLBACK;
BEGIN; SET LOCAL ROLE reported_client; SELECT count(*) FROM notes; ROLLBACK;

-- partitions were open, by default privileges as Supabase has them
SELECT pg_temp.new_schema();
ALTER DEFAULT PRIVILEGES IN SCHEMA reported GRANT ALL ON TABLES TO reported_client;
CREATE TABLE pm (id bigint, author bigint, vis text, PRIMARY KEY (id, author))
    PARTITION BY HASH (author);
CREATE TABLE pm0 PARTITION OF pm FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE pm1 PARTITION OF pm FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO pm SELECT g, g % 4, 'private' FROM generate_series(1, 40) g;
SELECT count(*) FROM cozi.protect('pm', 'author', 'vis');
BEGIN; SELECT cozi.login(pg_temp.token('1')); SET LOCAL ROLE reported_client;
SELECT count(*) FROM pm; SELECT count(*) FROM pm0; SELECT count(*) FROM pm1;
UPDATE pm0 SET vis = 'public'; DELETE FROM pm1; ROLLBACK;
ALTER DEFAULT PRIVILEGES IN SCHEMA reported REVOKE ALL ON TABLES FROM reported_client;

-- a moderator's policy for DELETE beside the owner's deleted nothing; as a role of
-- protect() it does, also rows of an author who blocks the moderator
SELECT pg_temp.new_schema();
CREATE TABLE posts (id int PRIMARY KEY, author bigint, vis text);
INSERT INTO posts VALUES (1, 1, 'private'), (2, 2, 'private'), (3, 9, 'public');
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO blocks VALUES (1, 9);
SELECT cozi.register_edge('blocked', 'blocks', 'a', 'b');
SELECT count(*) FROM cozi.protect('posts', 'author', 'vis', override_role => 'moderator');
GRANT SELECT, DELETE ON posts TO reported_client;
BEGIN; SELECT cozi.login(pg_temp.token('9', '{"role": "moderator"}'));
SET LOCAL ROLE reported_client;
DELETE FROM posts WHERE id = 1; DELETE FROM posts; ROLLBACK;
BEGIN; SELECT cozi.login(pg_temp.token('8')); SET LOCAL ROLE reported_client;
DELETE FROM posts WHERE id = 1; DELETE FROM posts; ROLLBACK;
-- protect() again, beside policies of the owner's, was refused, with a hint that
-- would have locked out all others
CREATE POLICY mod ON posts USING (cozi.has_role('moderator'));
SET client_min_messages = warning;
SELECT count(*) FROM cozi.protect('posts', 'author', 'vis', override_role => 'moderator');
SET client_min_messages = error;

-- a pending request was a friend; in a table of members so were all states
SELECT pg_temp.new_schema();
CREATE TABLE f (a bigint, b bigint, status text, PRIMARY KEY (a, b));
INSERT INTO f VALUES (1, 2, 'pending'), (1, 3, 'accepted');
SELECT cozi.register_edge('following', 'f', 'a', 'b', status => 'status',
    accepted => '{accepted}');
CREATE TABLE m (usr bigint, grp bigint, role text, removed_at timestamptz, ends_at timestamptz,
    PRIMARY KEY (usr, grp));
INSERT INTO m VALUES (1, 1, 'member', NULL, NULL), (1, 2, 'member', now(), NULL),
    (1, 3, 'member', NULL, now() - interval '1 s'), (1, 4, 'invited', NULL, NULL),
    (1, 5, 'admin', NULL, 'infinity');
SELECT cozi.register_edge('member', 'm', 'usr', 'grp', role => 'role', roles => '{member,admin}',
    deleted_at => 'removed_at', expires_at => 'ends_at');
BEGIN; SELECT cozi.login(pg_temp.token('1'));
SELECT cozi.is_following(2) AS pending, cozi.is_following(3) AS accepted;
SELECT g, cozi.is_member(g), cozi.has_edge_role('member', g, 'admin')
FROM generate_series(1::bigint, 6) g;
ROLLBACK;
-- a partial unique index serves, and the hint asks for no index that would count
-- pending requests as friends
CREATE TABLE friends (a bigint, b bigint, accepted boolean);
CREATE UNIQUE INDEX ON friends (a, b) WHERE accepted;
INSERT INTO friends VALUES (1, 2, true), (1, 3, false);
SELECT cozi.register_edge('friends', 'friends', 'a', 'b');
SELECT cozi.register_edge('friends', 'friends', 'a', 'b', status => 'accepted',
    accepted => '{true}');
BEGIN; SELECT cozi.login(pg_temp.token('1'));
SELECT cozi.edge_targets_bigint('friends'); ROLLBACK;
-- a key that begins with a tenant needs an index of its own, which the hint makes
CREATE TABLE tenants (tenant bigint, a bigint, b bigint, PRIMARY KEY (tenant, a, b));
SELECT cozi.register_edge('tenant', 'tenants', 'a', 'b');
CREATE INDEX ON reported.tenants (a, b);
SELECT cozi.register_edge('tenant', 'tenants', 'a', 'b');

-- types of visibility that were refused, and the owner column without a default
SELECT pg_temp.new_schema();
CREATE TABLE typed (id int, author bigint, b boolean, n int, c char(9));
SELECT count(*) FROM cozi.protect('typed', 'author', 'b');
SELECT count(*) FROM cozi.protect('typed', 'author', 'n', words => '{"1": "public"}');
SELECT count(*) FROM cozi.protect('typed', 'author', 'c');
GRANT SELECT, INSERT ON typed TO reported_client;
BEGIN; SELECT cozi.login(pg_temp.token('7')); SET LOCAL ROLE reported_client;
INSERT INTO typed (id, c) VALUES (1, 'public') RETURNING author; ROLLBACK;

-- a post into a group that the author is no member of, new or moved there
SELECT pg_temp.new_schema();
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
INSERT INTO members VALUES (1, 7);
SELECT cozi.register_edge('member', 'members', 'a', 'b');
CREATE TABLE posts (id int PRIMARY KEY, author bigint, vis text, grp bigint);
SELECT count(*) FROM cozi.protect('posts', 'author', 'vis', 'grp');
GRANT SELECT, INSERT, UPDATE ON posts TO reported_client;
BEGIN; SELECT cozi.login(pg_temp.token('1')); SET LOCAL ROLE reported_client;
INSERT INTO posts VALUES (1, 1, 'group', 7), (2, 1, 'public', NULL);
SAVEPOINT s;
INSERT INTO posts VALUES (3, 1, 'group', 77); ROLLBACK TO s;
UPDATE posts SET vis = 'group', grp = 77 WHERE id = 2; ROLLBACK TO s;
ROLLBACK;
SELECT cozi.can_view('public', 1::bigint) AS without_a_group;

-- a predicate in WHERE beside a policy read the whole table
SELECT pg_temp.new_schema();
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
INSERT INTO follows VALUES (1, 5);
SELECT cozi.register_edge('following', 'follows', 'a', 'b');
CREATE TABLE p (id int PRIMARY KEY, author bigint, vis text, body text);
INSERT INTO p SELECT g, g % 1000, 'public', repeat('x', 80) FROM generate_series(1, 20000) g;
CREATE INDEX ON p (author);
SELECT count(*) FROM cozi.protect('p', 'author', 'vis');
GRANT SELECT ON p TO reported_client;
VACUUM ANALYZE p;
BEGIN; SELECT cozi.login(pg_temp.token('1')); SET LOCAL ROLE reported_client;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE cozi.is_following(author);
SELECT count(*) FROM p WHERE cozi.is_following(author); ROLLBACK;

-- unprotect() switched row security off while a policy of the owner's remained
SELECT pg_temp.new_schema();
CREATE TABLE t (id int, author bigint);
INSERT INTO t SELECT g, g FROM generate_series(1, 100) g;
SELECT count(*) FROM cozi.protect('t', 'author');
CREATE POLICY none ON t USING (false);
GRANT SELECT ON t TO reported_client;
SELECT count(*) FROM cozi.unprotect('t');
SET ROLE reported_client; SELECT count(*) FROM t; RESET ROLE;

-- without a login, by NULL and by an empty text: nobody, and no error
BEGIN; SELECT cozi.login_if(''), cozi.login_if(NULL), cozi.uid_text(); ROLLBACK;

-- a moderator could give rows away, which a policy cannot see
SELECT pg_temp.new_schema();
CREATE TABLE posts (id int PRIMARY KEY, author bigint);
INSERT INTO posts VALUES (1, 1);
SELECT count(*) FROM cozi.protect('posts', 'author', override_role => 'moderator');
GRANT SELECT, UPDATE ON posts TO reported_client;
BEGIN; SELECT cozi.login(pg_temp.token('9', '{"role": "moderator"}'));
SET LOCAL ROLE reported_client;
UPDATE posts SET author = 9; ROLLBACK;

-- removing cozi by its plan left each protected table empty
SELECT pg_temp.new_schema();
CREATE TABLE posts (id int PRIMARY KEY, author bigint);
INSERT INTO posts SELECT g, g FROM generate_series(1, 10) g;
GRANT SELECT ON posts TO reported_client;
SELECT count(*) FROM cozi.protect('posts', 'author');
SET ROLE reported_client; SELECT count(*) FROM posts; RESET ROLE;
SELECT statement FROM cozi.uninstall_plan() statement WHERE statement ~ 'protect' \gexec
SELECT relrowsecurity FROM pg_class WHERE oid = 'posts'::regclass;
SET ROLE reported_client; SELECT count(*) FROM posts; RESET ROLE;

RESET search_path;
DELETE FROM cozi.edge_config; DELETE FROM cozi.jwks;
DROP SCHEMA reported CASCADE;
DROP OWNED BY reported_client; DROP ROLE reported_client;
