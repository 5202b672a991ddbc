-- Who may ask what policies say to somebody else: the table's owner, who learns
-- nothing of the tables of others that way, and a role that was granted EXECUTE.
\set SHOW_CONTEXT never
CREATE ROLE ask_client;
CREATE ROLE ask_owner;
CREATE ROLE ask_attacker;
CREATE ROLE ask_support;
GRANT ask_client TO ask_owner, ask_attacker;
GRANT USAGE ON SCHEMA cozi TO ask_client, ask_owner, ask_attacker, ask_support;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect, cozi.save_policies TO ask_owner;
CREATE SCHEMA ask AUTHORIZATION ask_owner;
CREATE SCHEMA attack AUTHORIZATION ask_attacker;
GRANT USAGE ON SCHEMA ask TO ask_client, ask_support;
GRANT USAGE ON SCHEMA attack TO ask_client;
SELECT cozi.create_rate_limit('ask', 5, '1 h', memory => '16kB');

SET ROLE ask_owner;
CREATE TABLE ask.follows (a bigint, b bigint, PRIMARY KEY (a, b));
INSERT INTO ask.follows VALUES (2, 1);
SELECT cozi.register_edge('following', 'ask.follows', 'a', 'b');
CREATE TABLE ask.posts (id int PRIMARY KEY, author bigint, visibility text, body text);
INSERT INTO ask.posts VALUES (1, 1, 'followers', 'for friends'), (2, 1, 'private', 'a diary');
CREATE TABLE ask.comments (id int PRIMARY KEY, author bigint, post_id int);
INSERT INTO ask.comments VALUES (10, 1, 2), (11, 1, 1);
SELECT cozi.save_policies('ask.posts');
SELECT count(*) FROM cozi.protect('ask.posts', 'author', 'visibility');
SELECT count(*) FROM cozi.protect('ask.comments', 'author', parent => 'ask.posts',
    parent_key => 'post_id');
GRANT SELECT ON ask.posts, ask.comments TO ask_client;
-- the owner asks without a grant: about rows, edges, parents
SELECT rule, holds FROM cozi.why_visible('ask.posts', '1', '2') WHERE rule !~ 'policy';
SELECT rule, holds FROM cozi.why_visible('ask.comments', '10', '2') WHERE rule !~ 'policy';
SELECT subject, saved, present FROM cozi.policy_diff('ask.posts', '{1,2,3,NULL}')
WHERE command = 'select';
-- nobody else does: not the client a row is hidden from, no stranger
SET ROLE ask_client;
SELECT cozi.why_visible('ask.posts', '1', '3');
SELECT cozi.policy_diff('ask.posts', '{1}');
SET ROLE ask_support;
SELECT cozi.why_visible('ask.posts', '1', '3');
-- EXECUTE granted by name opens why_visible about every table
RESET ROLE;
GRANT EXECUTE ON FUNCTION cozi.why_visible TO ask_support;
SET ROLE ask_support;
SELECT rule, holds FROM cozi.why_visible('ask.posts', '1', '2') WHERE rule = 'visible';
SELECT cozi.policy_diff('ask.posts', '{1}');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION cozi.why_visible FROM ask_support;
SET ROLE ask_support;
SELECT cozi.why_visible('ask.posts', '1', '2');

-- an owner of some table asks about it, to read the posts of a subject
RESET ROLE;
CREATE FUNCTION ask.vote() RETURNS boolean LANGUAGE sql SECURITY DEFINER
    RETURN cozi.use_rate_limit('ask', cozi.uid_text());
GRANT EXECUTE ON FUNCTION ask.vote TO ask_client;
CREATE VIEW ask.mine WITH (security_invoker) AS SELECT * FROM ask.posts;
GRANT SELECT ON ask.mine TO ask_client;
SET ROLE ask_attacker;
CREATE TABLE attack.own (id int PRIMARY KEY);
INSERT INTO attack.own VALUES (1);
GRANT SELECT ON attack.own TO ask_client;
ALTER TABLE attack.own ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION attack.ask(qual text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    DROP POLICY IF EXISTS one ON attack.own;
    EXECUTE format('CREATE POLICY one ON attack.own USING (%s)', qual);
    SELECT string_agg(rule || ': ' || holds, ', ') INTO answer
    FROM cozi.why_visible('attack.own', '1', '1', as_role => 'ask_client');
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    -- 16 and later look at what a view reads before they look at the view
    RETURN SQLSTATE || ' ' || replace(SQLERRM, '"mine"', '"posts"');
END $$;
-- what a client cannot read, is not read: by a subquery, a view, a function, a text
CREATE FUNCTION attack.f() RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RETURN (SELECT string_agg(body, ',') FROM ask.posts); END $$;
CREATE FUNCTION attack.definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN RETURN (SELECT string_agg(body, ',') FROM ask.posts); END $$;
CREATE FUNCTION attack.fetch(c refcursor) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    row record;
BEGIN
    FETCH c INTO row;
    RETURN true;
END $$;
CREATE FUNCTION attack.parallel() RETURNS boolean LANGUAGE plpgsql
    SET max_parallel_workers_per_gather = 2 SET parallel_setup_cost = 0
    SET parallel_tuple_cost = 0 SET min_parallel_table_scan_size = 0 AS
    $$ BEGIN RETURN (SELECT count(*) > 0 FROM attack.many); END $$;
CREATE TABLE attack.many AS SELECT g FROM generate_series(1, 10000) g;
ANALYZE attack.many;
GRANT SELECT ON attack.many TO ask_client;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA attack TO ask_client;
SELECT attack.ask('true');
SELECT attack.ask('(SELECT body FROM ask.posts LIMIT 1) <> ''''');
SELECT attack.ask('EXISTS (SELECT FROM ask.mine)');
SELECT attack.ask('attack.f() <> ''''');
SELECT attack.ask('attack.definer() <> ''''');
SELECT attack.ask('EXISTS (SELECT FROM ts_stat(''SELECT to_tsvector(body) FROM ask.posts''))');
SELECT attack.ask('attack.parallel()');
SELECT attack.ask('cozi.is_following(1)');
SELECT attack.ask('EXISTS (SELECT FROM generate_series(1, 3) g WHERE cozi.is_following(g))');
SELECT attack.ask('cardinality(cozi.edge_targets_bigint(''following'')) > 0');
-- no function runs with the rights of a third; what reads nothing is evaluated
SELECT attack.ask('ask.vote()');
SELECT attack.ask('cozi.is_owner(1::bigint) AND cozi.uid_text() = ''1'' AND current_user = '
                  '''ask_client'' AND EXISTS (SELECT FROM attack.many) AND '
                  'EXISTS (SELECT FROM pg_class)');
-- a cursor that was opened before is not read on
BEGIN;
SET LOCAL ROLE ask_client;
DECLARE reads CURSOR FOR SELECT body FROM ask.posts;
DECLARE votes CURSOR FOR SELECT ask.vote();
SET LOCAL ROLE ask_attacker;
SELECT attack.ask('attack.fetch(''reads'')');
SELECT attack.ask('attack.fetch(''votes'')');
ROLLBACK;
-- nothing of it stays: neither the rule nor the identity
SET ROLE ask_client;
SELECT count(*), cozi.uid_text() FROM ask.posts;
RESET ROLE;
-- no vote was counted before this one
SELECT remaining FROM cozi.use_rate_limit_info('ask', '1');
BEGIN;
SELECT cozi.act_as('1');
SELECT ask.vote(), cozi.is_following(1);
SET LOCAL ROLE ask_client;
SELECT count(*) FROM ask.posts;
ROLLBACK;

SELECT cozi.drop_rate_limit('ask');
DELETE FROM cozi.edge_config;
DELETE FROM cozi.saved_policies;
SET client_min_messages = error;
DROP SCHEMA ask, attack CASCADE;
DROP OWNED BY ask_client, ask_owner, ask_attacker, ask_support;
DROP ROLE ask_client, ask_owner, ask_attacker, ask_support;
