-- What grant_owner() and grant_app() give a role: the first script of a newcomer
-- runs as a role that owns its tables, and an app's pooled role calls limits.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_grants_owner;
CREATE ROLE regress_grants_app;
CREATE SCHEMA grants_shop AUTHORIZATION regress_grants_owner;

-- before: schema cozi is closed, and the functions too
SET ROLE regress_grants_owner;
SELECT cozi.hot(1, 0, '2026-01-01 00:00+00');
RESET ROLE;
GRANT USAGE ON SCHEMA cozi TO regress_grants_owner, regress_grants_app;
SET ROLE regress_grants_owner;
SELECT round(cozi.hot(1, 0, '2026-01-01 00:00+00')) AS hot;
SELECT cozi.create_board('b', NULL, 'post_id');
SELECT cozi.grant_owner('regress_grants_owner');
RESET ROLE;
REVOKE USAGE ON SCHEMA cozi FROM regress_grants_owner, regress_grants_app;

-- bad input changes nothing
SELECT cozi.grant_owner(NULL);
SELECT cozi.grant_app('regress_grants_app', NULL);
SELECT cozi.grant_owner('regress_grants_nobody');
SELECT has_schema_privilege('regress_grants_app', 'cozi', 'USAGE') AS granted;

-- dry_run says what it would run, and runs nothing
SELECT cozi.grant_app('regress_grants_app', true);
SELECT has_schema_privilege('regress_grants_app', 'cozi', 'USAGE') AS granted;

-- twice is once
SELECT count(*) > 10 AS granted FROM cozi.grant_owner('regress_grants_owner');
SELECT count(*) > 10 AS again FROM cozi.grant_owner('regress_grants_owner');
SELECT count(*) > 3 AS granted FROM cozi.grant_app('regress_grants_app');
SELECT count(*) > 3 AS again FROM cozi.grant_app('regress_grants_app');

-- the first script of a newcomer
SET ROLE regress_grants_owner;
SET search_path = grants_shop;
CREATE TABLE posts (id bigint PRIMARY KEY, author bigint NOT NULL,
                    visibility text NOT NULL DEFAULT 'public');
CREATE TABLE votes (post_id bigint, user_id bigint, value int,
                    created_at timestamptz DEFAULT now());
CREATE TABLE follows (follower bigint, followed bigint, PRIMARY KEY (follower, followed));
CREATE TABLE messages (user_id bigint NOT NULL, id bigint, body text, PRIMARY KEY (user_id, id));
SELECT cozi.create_board('hot_posts', 'votes', 'post_id', 'value');
INSERT INTO votes VALUES (1, 10, 1), (2, 10, 1), (1, 11, 1);
SELECT item, rank FROM cozi.top('hot_posts', 2);
SELECT cozi.fold('hot_posts') >= 0 AS folded;
SELECT * FROM cozi.verify_board('hot_posts');
SELECT cozi.rebuild_board('hot_posts');
SELECT cozi.set_half_life('hot_posts', '12 hours');
SELECT board FROM cozi.boards WHERE board = 'hot_posts'::regclass;
SELECT cozi.register_edge('grants_following', 'follows', 'follower', 'followed');
SELECT count(*) AS statements FROM cozi.protect('posts', 'author', 'visibility');
SELECT count(*) AS statements FROM cozi.unprotect('posts');
SELECT count(*) > 0 AS planned FROM cozi.shard_table('messages', 'user_id', 4);
SELECT count(*) FROM cozi.shard_check('messages');
SELECT cozi.drop_edge('grants_following');
SELECT cozi.drop_board('hot_posts');
SELECT cozi.rate_limit('grants:owner', 5, '1 minute'), cozi.rate_limit_reset('grants:owner');
-- and no more: keys, others' statistics, grants
SELECT cozi.add_secret('a secret of no less than thirty-two bytes', 'k');
SELECT count(*) FROM cozi.slow_queries;
SELECT cozi.grant_owner('regress_grants_app');
DROP TABLE posts, votes, follows, messages;
RESET ROLE;
RESET search_path;

-- an app calls limits, and makes nothing
SET ROLE regress_grants_app;
SELECT cozi.rate_limit('grants:app', 5, '1 minute'),
       (cozi.rate_limit_peek('grants:app', 5, '1 minute')).remaining;
SELECT cozi.uid() IS NULL AS nobody;
SELECT cozi.rate_limit_reset('grants:app');
SELECT cozi.create_board('b', NULL, 'post_id');
RESET ROLE;

DROP SCHEMA grants_shop;
DROP OWNED BY regress_grants_owner, regress_grants_app;
DROP ROLE regress_grants_owner, regress_grants_app;
