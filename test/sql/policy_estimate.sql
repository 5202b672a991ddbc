-- CVE-2025-8713: estimates handed values of hidden rows to operators of the user.
-- Replayed on policies of cozi: a caller does not see by the plan of a query the
-- rows that the policies hide from it.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE rls_app;
GRANT USAGE ON SCHEMA cozi TO rls_app;
CREATE SCHEMA rls_estimate;
GRANT USAGE ON SCHEMA rls_estimate TO rls_app;
SET search_path = rls_estimate, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
CREATE TABLE token AS SELECT n, pg_temp.token(n::text) AS token FROM generate_series(1, 3) n;
-- 0: nobody
CREATE FUNCTION be(who int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cozi.logout();
    PERFORM cozi.login(t.token) FROM rls_estimate.token t WHERE t.n = who;
END $$;
-- 1 follows 2, 2 follows 3, and 2 blocked 4
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO follows VALUES (1, 2), (2, 3);
INSERT INTO blocks VALUES (2, 4);
GRANT SELECT ON ALL TABLES IN SCHEMA rls_estimate TO rls_app;
SELECT cozi.register_edge('following', 'follows', 'a', 'b'),
       cozi.register_edge('blocked', 'blocks', 'a', 'b');

-- hidden rows have amounts from 1000
DO $do$
DECLARE
    t text;
    k text;
BEGIN
    FOREACH k IN ARRAY array['plain', 'parted', 'parent'] LOOP
        FOREACH t IN ARRAY array['own', 'feed', 'seen', 'kept', 'open'] LOOP
            t := k || '_' || t;
            EXECUTE format('CREATE TABLE %I (id int, author bigint, visibility text, amount int)',
                           t) || CASE k WHEN 'parted' THEN ' PARTITION BY HASH (id)' ELSE '' END;
            IF k = 'parted' THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I '
                               'FOR VALUES WITH (MODULUS 1, REMAINDER 0)', t || '_1', t);
            ELSIF k = 'parent' THEN
                EXECUTE format('CREATE TABLE %I () INHERITS (%I)', t || '_1', t);
            END IF;
            -- 1 owns and follows few rows, of small amounts
            EXECUTE format('INSERT INTO %I SELECT g, CASE WHEN g %% 20 = 0 THEN %s '
                           'ELSE 4 END, ''private'', CASE WHEN g %% 20 = 0 THEN g %% 7 '
                           'WHEN g %% 3 = 0 THEN 6666 ELSE 1000 + g END
                            FROM generate_series(1, 1000) g',
                           t || CASE k WHEN 'parent' THEN '_1' ELSE '' END,
                           CASE WHEN t LIKE '%feed' THEN 2 ELSE 1 END);
            EXECUTE format('CREATE INDEX ON %I ((amount * 2))',
                           t || CASE k WHEN 'parent' THEN '_1' ELSE '' END);
            EXECUTE format('CREATE STATISTICS %I (mcv) ON author, amount FROM %I', t || '_mcv', t);
            EXECUTE format('GRANT SELECT ON %I TO rls_app', t);
            EXECUTE CASE
                WHEN t LIKE '%own' THEN format('CREATE POLICY p ON %I '
                                               'USING (cozi.is_owner(author))', t)
                WHEN t LIKE '%feed' THEN format('CREATE POLICY p ON %I '
                                                'USING (cozi.is_following(author))', t)
                WHEN t LIKE '%seen' THEN format('CREATE POLICY p ON %I '
                                                'USING (cozi.can_view(visibility, author, '
                                                'NULL::bigint))', t)
                WHEN t LIKE '%kept' THEN format('SELECT cozi.protect(%L, ''author'', '
                                                '''visibility'')', t)
                ELSE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', t) END;
            IF t NOT LIKE '%open' THEN
                EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
            END IF;
            EXECUTE format('CREATE VIEW %I WITH (security_invoker) AS SELECT * FROM %I',
                           t || '_view', t);
            EXECUTE format('GRANT SELECT ON %I TO rls_app', t || '_view');
            EXECUTE format('ANALYZE %I', t);
            EXECUTE format('ANALYZE %I', t || CASE k WHEN 'parent' THEN '_1' ELSE '' END);
        END LOOP;
    END LOOP;
END $do$;
CREATE TABLE number AS SELECT g % 10 AS n FROM generate_series(1, 100) g;
ANALYZE number;
GRANT SELECT ON number TO rls_app;
GRANT CREATE ON SCHEMA rls_estimate TO rls_app;
CREATE VIEW forbidden AS SELECT * FROM plain_open;
SET ROLE rls_app;
CREATE SEQUENCE hits;
CREATE FUNCTION peek(a int, b int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF greatest(a, b) >= 1000 THEN PERFORM nextval('rls_estimate.hits'); END IF;
    RETURN a < b;
END $$;
CREATE FUNCTION spied(a int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM rls_estimate.peek(a, 0); RETURN a; END $$;
CREATE OPERATOR <<< (FUNCTION = peek, LEFTARG = int, RIGHTARG = int, RESTRICT = scalarltsel,
                     JOIN = scalarltjoinsel);
CREATE OPERATOR >>> (FUNCTION = peek, LEFTARG = int, RIGHTARG = int, RESTRICT = scalargtsel,
                     JOIN = scalargtjoinsel);
CREATE OPERATOR === (FUNCTION = peek, LEFTARG = int, RIGHTARG = int, RESTRICT = eqsel,
                     JOIN = eqjoinsel);
CREATE OPERATOR ~~~ (FUNCTION = peek, LEFTARG = int, RIGHTARG = int, RESTRICT = matchingsel,
                     JOIN = matchingjoinsel);
-- does planning the query hand out a hidden value?  It is never run.
CREATE FUNCTION estimate(query text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM setval('rls_estimate.hits', 1);
    EXECUTE 'EXPLAIN ' || query;
    RETURN (SELECT last_value > 1 FROM rls_estimate.hits);
END $$;
BEGIN;
SELECT be(1);
SELECT kind, condition, array_agg(DISTINCT t) FILTER (WHERE seen) AS seen_by_planning,
       count(*) AS of
FROM (VALUES ('plain'), ('parted'), ('parent')) k(kind),
     unnest(array['own', 'feed', 'seen', 'kept', 'open']) t, unnest(array['', '_view']) v,
     (VALUES (1, 'amount <<< 5'), (2, 'amount >>> 5'), (3, 'amount === 5'), (4, 'amount ~~~ 5'),
             (5, 'amount * 2 <<< 5'), (6, 'NOT amount <<< 5'),
             (7, 'amount === ANY (array[5, 6])'), (8, 'author = 1 AND amount <<< 5'),
             (9, 'amount === n'),
             (10, 'cozi.is_owner(author) AND amount <<< 5'),
             (11, 'cozi.is_following(spied(amount))')) c(n, condition),
     LATERAL estimate(format('SELECT FROM %s_%s%s, number WHERE %s', kind, t, v, condition)) seen
GROUP BY kind, c.n, condition ORDER BY kind DESC, c.n;
-- the values of a table behind a view that the caller may not read are not handed out
SELECT setval('hits', 1);
EXPLAIN SELECT FROM forbidden WHERE amount <<< 5;
ROLLBACK;
SELECT last_value FROM hits;
-- that is so for each caller, and when no one is logged in
SELECT array_agg(DISTINCT t) FILTER (WHERE seen) AS seen_by_planning, count(*) AS of
FROM (VALUES ('plain'), ('parted'), ('parent')) k(kind),
     unnest(array['own', 'feed', 'seen', 'kept', 'open']) t, generate_series(0, 3) who,
     LATERAL (SELECT be(who) OFFSET 0) b,
     LATERAL estimate(format('SELECT FROM %s_%s WHERE amount <<< 5', kind, t)) seen;
-- values of hidden rows are not handed out when the query is run
BEGIN;
SELECT be(1), setval('hits', 1);
SELECT count(*) FROM plain_own WHERE amount <<< 5;
SELECT last_value > 1 AS seen FROM hits;
SELECT count(*) FROM plain_open WHERE amount <<< 5;
SELECT last_value > 1 AS seen FROM hits;
COMMIT;
RESET ROLE;

DELETE FROM cozi.edge_config;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA rls_estimate CASCADE;
RESET client_min_messages;
DELETE FROM cozi.jwks;
REVOKE ALL ON SCHEMA cozi FROM rls_app;
DROP ROLE rls_app;
