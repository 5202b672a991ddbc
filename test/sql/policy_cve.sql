-- Flaws that PostgreSQL had and mended, replayed on policies of cozi: with the
-- role changing, as it was then, and with the caller changing, which is what a
-- role is to cozi.
--   CVE-2016-2193   a cached plan kept the policies of the role it was made for
--   CVE-2023-2455   an inlined set-returning function kept them
--   CVE-2024-10976  a cached plan kept them of a table below a subquery, WITH, view, function or
--                   sublink
--   CVE-2023-39418  MERGE checked new rows by the policies for INSERT, not by those for UPDATE
--                   and SELECT
--   CVE-2024-10978  SET SESSION AUTHORIZATION, rolled back or in a function, restored another
--                   role than there was
-- policy_estimate.sql has CVE-2025-8713.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set SHOW_CONTEXT never
CREATE ROLE rls_app;
CREATE ROLE rls_mod;
GRANT USAGE ON SCHEMA cozi TO rls_app, rls_mod;
CREATE SCHEMA rls_cve;
GRANT USAGE ON SCHEMA rls_cve TO rls_app, rls_mod;
SET search_path = rls_cve, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
CREATE TABLE token AS SELECT n, pg_temp.token(n::text) AS token FROM generate_series(1, 3) n;
-- 0: nobody
CREATE FUNCTION be(who int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cozi.logout();
    PERFORM cozi.login(t.token) FROM rls_cve.token t WHERE t.n = who;
END $$;

-- four authors with a row of each visibility; 1 follows 2, 2 follows 3; 1 is in group 20; 2
-- blocked 4
CREATE TABLE post AS SELECT author * 10 + v AS id, author::bigint,
    (array['public', 'followers', 'group', 'private'])[v] AS visibility, 10 + author / 3 * 10 AS grp
FROM generate_series(1, 4) author, generate_series(1, 4) v;
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO follows VALUES (1, 2), (2, 3);
INSERT INTO members VALUES (1, 20);
INSERT INTO blocks VALUES (2, 4);
SELECT cozi.register_edge('following', 'follows', 'a', 'b'),
       cozi.register_edge('member', 'members', 'a', 'b'),
       cozi.register_edge('blocked', 'blocks', 'a', 'b');
SELECT format('CREATE TABLE %s AS SELECT * FROM post', t), format('CREATE INDEX ON %s (author)', t),
       format('GRANT SELECT, UPDATE ON %s TO rls_app, rls_mod', t),
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t)
FROM unnest(array['own', 'feed', 'seen', 'kept', 'bad']) t \gexec
-- each role has a policy of its own
CREATE POLICY app ON own TO rls_app USING (cozi.is_owner(author));
CREATE POLICY mod ON own TO rls_mod USING (cozi.is_following(author));
CREATE POLICY app ON feed TO rls_app USING (cozi.is_following(author));
CREATE POLICY mod ON feed TO rls_mod USING (cozi.can_view(visibility, author, grp));
CREATE POLICY app ON seen TO rls_app USING (cozi.can_view(visibility, author, grp));
CREATE POLICY mod ON seen TO rls_mod USING (cozi.is_owner(author));
SELECT count(*) FROM cozi.protect('kept', 'author', 'visibility', 'grp');
CREATE POLICY mod ON kept AS RESTRICTIVE TO rls_mod USING (cozi.is_following(author));
-- what must not be done, and what it looks like: a helper that says IMMUTABLE and reads the
-- identity
CREATE FUNCTION bad_uid() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN cozi.uid_bigint(); END $$;
CREATE POLICY app ON bad TO rls_app USING (author = rls_cve.bad_uid());
CREATE POLICY mod ON bad TO rls_mod USING (cozi.is_following(author));

-- what each role sees as each caller, in plain SQL over the table without policies; the role none
-- is exempt
CREATE TABLE expected AS
WITH says AS (
    SELECT id, who, coalesce(author = who, false) AS owns, f AS follows,
           coalesce(author = who, false) OR (visibility = 'public' OR visibility = 'followers' AND f
                                             OR visibility = 'group' AND m) AND NOT b AS views
    FROM post, generate_series(0, 3) who,
         LATERAL (SELECT EXISTS (SELECT FROM follows WHERE (a, b) = (who, author)),
                         EXISTS (SELECT FROM members WHERE (a, b) = (who, grp)),
                         EXISTS (SELECT FROM blocks WHERE (a, b) IN ((who, author), (author, who))))
              e(f, m, b))
SELECT tab, role, who, array_agg(id ORDER BY id) FILTER (WHERE shown) AS ids
FROM says, LATERAL (VALUES ('own', 'rls_app', owns), ('own', 'rls_mod', follows),
                           ('bad', 'rls_app', owns), ('bad', 'rls_mod', follows),
                           ('feed', 'rls_app', follows), ('feed', 'rls_mod', views),
                           ('seen', 'rls_app', views), ('seen', 'rls_mod', owns),
                           ('kept', 'rls_app', views), ('kept', 'rls_mod', views AND follows),
                           ('own', 'none', true), ('bad', 'none', true), ('feed', 'none', true),
                           ('seen', 'none', true), ('kept', 'none', true)) s(tab, role, shown)
GROUP BY tab, role, who;
SELECT tab, role, who, ids FROM expected WHERE role <> 'none' AND tab <> 'bad' AND who < 3
ORDER BY tab, role, who;

-- below what a table may stand
DO $do$
DECLARE
    t text;
    statement text;
BEGIN
    FOREACH t IN ARRAY array['own', 'feed', 'seen', 'kept'] LOOP
        FOREACH statement IN ARRAY array[
            'CREATE VIEW @_invoker WITH (security_invoker) AS SELECT * FROM @',
            'CREATE VIEW @_nested WITH (security_invoker) AS SELECT id FROM @_invoker WHERE id > 0',
            'CREATE VIEW @_view AS SELECT * FROM @',
            'ALTER VIEW @_view OWNER TO rls_mod',
            'CREATE FUNCTION @_inlined() RETURNS SETOF @ LANGUAGE sql STABLE AS $$ SELECT * '
            'FROM rls_cve.@ $$',
            'CREATE FUNCTION @_atomic() RETURNS SETOF @ LANGUAGE sql STABLE BEGIN ATOMIC SELECT * '
            'FROM @; END',
            'CREATE FUNCTION @_called() RETURNS SETOF @ LANGUAGE sql VOLATILE AS $$ SELECT * '
            'FROM rls_cve.@ $$',
            'CREATE FUNCTION @_scalar() RETURNS int[] LANGUAGE sql STABLE '
            'RETURN (SELECT array_agg(id ORDER BY id) FROM @)',
            'CREATE FUNCTION @_plpgsql() RETURNS int[] LANGUAGE plpgsql STABLE AS $$ BEGIN '
            'RETURN (SELECT array_agg(id ORDER BY id) FROM rls_cve.@); END $$',
            'CREATE FUNCTION @_definer() RETURNS int[] LANGUAGE plpgsql SECURITY DEFINER AS $$ '
            'BEGIN RETURN (SELECT array_agg(id ORDER BY id) FROM rls_cve.@); END $$',
            'ALTER FUNCTION @_definer OWNER TO rls_mod'] LOOP
            EXECUTE replace(statement, '@', t);
        END LOOP;
    END LOOP;
END $do$;
CREATE MATERIALIZED VIEW own_remembered AS SELECT id FROM own WHERE author = 1;
CREATE VIEW own_exempt AS SELECT * FROM own;
GRANT SELECT ON ALL TABLES IN SCHEMA rls_cve TO rls_app, rls_mod;
REVOKE ALL ON post, expected, follows, members, blocks FROM rls_app, rls_mod;

-- a cursor keeps the policies it was opened with; it shows rows of the callers who read from it,
-- and of no other
CREATE FUNCTION read_by(tab text, callers int[]) RETURNS TABLE (who int, role name, ids int[])
    LANGUAGE plpgsql AS $$
DECLARE
    c refcursor;
    r record;
BEGIN
    PERFORM set_config('role', 'rls_app', true), rls_cve.be(callers[1]);
    OPEN c FOR EXECUTE format('SELECT id FROM rls_cve.%I', tab);
    FOREACH who IN ARRAY callers LOOP
        PERFORM rls_cve.be(who);
        role := current_user;
        ids := NULL;
        FOR i IN 1 .. 2 LOOP
            FETCH c INTO r;
            ids := ids || r.id;
        END LOOP;
        RETURN NEXT;
        PERFORM set_config('role', 'rls_mod', true);
    END LOOP;
    CLOSE c;
    PERFORM set_config('role', 'none', true);
END $$;
SET enable_indexscan = off; SET enable_bitmapscan = off;
SELECT * FROM read_by('own', array[1, 2, 1, 0]);
SELECT * FROM read_by('feed', array[1, 2, 1, 0]);
SELECT * FROM read_by('kept', array[1, 3, 2, 0]);
RESET enable_indexscan; RESET enable_bitmapscan;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT * FROM read_by('own', array[1, 2, 1, 0]);
SELECT * FROM read_by('feed', array[1, 2, 1, 0]);
RESET enable_seqscan; RESET enable_bitmapscan;

-- one prepared statement for every role and caller, one after the other: how many of its answers
-- were wrong
CREATE FUNCTION replay(query text, tabs text[] = '{own,feed,seen,kept}', always text = NULL,
                       OUT custom text, OUT generic text) LANGUAGE plpgsql AS $$
DECLARE
    mode text;
    of text;
    step text[];
    ids int[];
    n int;
    wrong int;
BEGIN
    FOREACH mode IN ARRAY array['custom', 'generic'] LOOP
        PERFORM set_config('plan_cache_mode', 'force_' || mode || '_plan', true);
        n := 0;
        wrong := 0;
        FOREACH of IN ARRAY tabs LOOP
            -- a statement without a parameter has no custom plans
            EXECUTE 'PREPARE probe(int) AS ' || replace(query, '@', of);
            FOREACH step SLICE 1 IN ARRAY array[['none', '1'], ['rls_app', '1'], ['rls_app', '2'],
                    ['rls_mod', '2'], ['rls_mod', '1'],
                    ['rls_app', '1'], ['rls_app', '0'], ['rls_mod', '0'], ['none', '0'],
                    ['rls_mod', '2'], ['rls_app', '2']] LOOP
                PERFORM set_config('role', step[1], true), rls_cve.be(step[2]::int);
                EXECUTE 'EXECUTE probe(0)' INTO ids;
                PERFORM set_config('role', 'none', true);
                n := n + 1;
                wrong := wrong + (ids IS DISTINCT FROM (SELECT e.ids FROM rls_cve.expected e
                                                        WHERE (e.tab, e.role, e.who) = (of,
                                                            coalesce(always, step[1]),
                                                            step[2]::int)))::int;
            END LOOP;
            IF (SELECT CASE mode WHEN 'custom' THEN generic_plans ELSE custom_plans END
                FROM pg_prepared_statements WHERE name = 'probe') > 0 THEN
                RAISE EXCEPTION 'the plans were not %', mode;
            END IF;
            DEALLOCATE probe;
        END LOOP;
        custom := coalesce(custom, wrong || ' of ' || n);
        generic := wrong || ' of ' || n;
    END LOOP;
END $$;

-- CVE-2016-2193, CVE-2023-2455, CVE-2024-10976
CREATE TABLE shape (n int GENERATED ALWAYS AS IDENTITY, shape text, always text, tabs text[],
                    query text);
INSERT INTO shape (shape, query) VALUES
    ('table', 'SELECT array_agg(id ORDER BY id) FROM @'),
    ('subquery', 'SELECT array_agg(id ORDER BY id) FROM (SELECT * FROM @ OFFSET 0) s'),
    ('subquery of a subquery', 'SELECT array_agg(id ORDER BY id) FROM (SELECT max(id) AS id '
                               'FROM (SELECT DISTINCT id, author FROM @) s GROUP BY s.id) t'),
    ('WITH', 'WITH w AS NOT MATERIALIZED (SELECT * FROM @) SELECT array_agg(id ORDER BY id) '
             'FROM w'),
    ('WITH MATERIALIZED', 'WITH w AS MATERIALIZED (SELECT * FROM @) SELECT array_agg(id '
                          'ORDER BY id) FROM w'),
    ('WITH RECURSIVE', 'WITH RECURSIVE w AS (SELECT min(id) AS id FROM @ '
                       'UNION ALL SELECT (SELECT min(id) FROM @ t WHERE t.id > w.id) FROM w '
                       'WHERE id IS NOT NULL)
                        SELECT array_agg(id ORDER BY id) FILTER (WHERE id IS NOT NULL) FROM w'),
    ('security_invoker view', 'SELECT array_agg(id ORDER BY id) FROM @_invoker'),
    ('view of a view', 'SELECT array_agg(id ORDER BY id) FROM @_nested'),
    ('function, inlined', 'SELECT array_agg(id ORDER BY id) FROM @_inlined()'),
    ('function, BEGIN ATOMIC', 'SELECT array_agg(id ORDER BY id) FROM @_atomic()'),
    ('function, called', 'SELECT array_agg(id ORDER BY id) FROM @_called()'),
    ('function, scalar', 'SELECT @_scalar()'),
    ('function, plpgsql', 'SELECT @_plpgsql()'),
    ('function in WITH in FROM', 'SELECT array_agg(id ORDER BY id) '
                                 'FROM (WITH w AS MATERIALIZED (SELECT * '
                                 'FROM @_inlined()) SELECT * FROM w) s'),
    ('sublink', 'SELECT nullif(ARRAY(SELECT id FROM @ ORDER BY id), ''{}'')'),
    ('sublink of a function', 'SELECT nullif(ARRAY(SELECT id FROM @_inlined() '
                              'ORDER BY id), ''{}'')'),
    ('IN', 'SELECT array_agg(id ORDER BY id) FROM generate_series(1, 50) id WHERE id IN (SELECT id '
           'FROM @)'),
    ('EXISTS', 'SELECT array_agg(id ORDER BY id) FROM generate_series(1, 50) id '
               'WHERE EXISTS (SELECT FROM @ t WHERE t.id = id.id)'),
    ('sublink in VALUES', 'SELECT v FROM (VALUES ((SELECT array_agg(id ORDER BY id) '
                          'FROM @))) t(v)'),
    ('UNION ALL', 'SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM @ WHERE id % 2 = 0 '
                  'UNION ALL SELECT id FROM @ WHERE id % 2 = 1) u'),
    ('LATERAL', 'SELECT array_agg(l.id ORDER BY l.id) FROM generate_series(1, 4) g, '
                'LATERAL (SELECT id FROM @ WHERE author = g OFFSET 0) l'),
    ('join', 'SELECT array_agg(id ORDER BY id) FROM @ JOIN @_invoker USING (id)');
INSERT INTO shape (shape, always, query) VALUES
    ('view of another role', 'rls_mod', 'SELECT array_agg(id ORDER BY id) FROM @_view'),
    ('function of another role', 'rls_mod', 'SELECT @_definer()');
INSERT INTO shape (shape, tabs, query) VALUES
    ('RETURNING', '{own,feed,seen}', 'WITH w AS (UPDATE @ SET visibility = visibility RETURNING '
                                     'id) SELECT array_agg(id ORDER BY id) FROM w'),
    ('bad: IMMUTABLE', '{bad}', 'SELECT array_agg(id ORDER BY id) FROM @'),
    ('bad: materialized view', '{own}', 'SELECT array_agg(id ORDER BY id) FROM @_remembered'),
    ('bad: view of who is exempt', '{own}', 'SELECT array_agg(id ORDER BY id) FROM @_exempt');
SELECT shape, custom, generic FROM shape,
       LATERAL (SELECT * FROM replay(query, coalesce(tabs, '{own,feed,seen,kept}'),
                                     always) OFFSET 0) r ORDER BY n;
-- what was inlined, and what was not
CREATE FUNCTION pg_temp.called(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN plan::text ~ 'Function Scan';
END $$;
SELECT f, pg_temp.called(format('SELECT * FROM own_%s()', f))
FROM unnest(array['inlined', 'atomic', 'called']) f;
-- a plan made for a role that is exempt is not used for a role that is not
PREPARE mine AS SELECT array_agg(id ORDER BY id) FROM own;
SET plan_cache_mode = force_generic_plan;
SET row_security = off;
EXECUTE mine;
SET ROLE rls_app;
EXECUTE mine;
SET row_security = on;
SELECT be(1)\; EXECUTE mine;
RESET ROLE;
RESET row_security;
RESET plan_cache_mode;
DEALLOCATE mine;

-- CVE-2024-10978: what is set comes back
CREATE VIEW me WITH (security_invoker) AS SELECT current_user::text AS role,
    cozi.uid_bigint() AS who, (SELECT array_agg(id ORDER BY id) FROM rls_cve.own) AS ids;
GRANT SELECT ON me TO rls_app, rls_mod;
CREATE FUNCTION of_role(who int = NULL) RETURNS SETOF me LANGUAGE plpgsql SET role = rls_mod AS $$
BEGIN IF who IS NOT NULL THEN PERFORM rls_cve.be(who); END IF;
RETURN QUERY SELECT * FROM rls_cve.me; END $$;
CREATE FUNCTION of_session(who int = NULL) RETURNS SETOF me
    LANGUAGE plpgsql SET session_authorization = rls_mod AS $$
BEGIN IF who IS NOT NULL THEN PERFORM rls_cve.be(who); END IF;
RETURN QUERY SELECT * FROM rls_cve.me; END $$;
SET ROLE rls_app;
BEGIN; SELECT be(1); SELECT * FROM me; SET SESSION AUTHORIZATION rls_mod; SELECT be(2);
SELECT * FROM me; ROLLBACK;
SELECT * FROM me;
BEGIN; SELECT be(1); SAVEPOINT s; SET SESSION AUTHORIZATION rls_mod; SELECT be(2); SELECT * FROM me;
ROLLBACK TO s; SELECT * FROM me;
SAVEPOINT s; SET LOCAL ROLE rls_mod; SELECT be(2); SELECT * FROM me; ROLLBACK TO s;
SELECT * FROM me;
SAVEPOINT s; SET LOCAL ROLE rls_mod; SELECT be(2); RELEASE s; SELECT * FROM me; COMMIT;
SELECT * FROM me;
-- a function's SET ends with the function; login() lasts
BEGIN; SELECT be(1); SELECT * FROM of_role(); SELECT * FROM me; SELECT * FROM of_session();
SELECT * FROM me;
SELECT * FROM of_role(2); SELECT * FROM me; SELECT * FROM of_session(1); SELECT * FROM me;
-- and one that fails leaves nothing
DO $$ BEGIN PERFORM 1 / (SELECT count(*) - 1 FROM rls_cve.of_session(2));
EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SELECT * FROM me; COMMIT;
-- workers know both
RESET ROLE;
CREATE TABLE many WITH (parallel_workers = 2) AS SELECT post.* FROM post, generate_series(1, 100);
ANALYZE many;
ALTER TABLE many ENABLE ROW LEVEL SECURITY;
CREATE POLICY app ON many TO rls_app USING (cozi.is_owner(author));
CREATE POLICY mod ON many TO rls_mod USING (cozi.is_following(author));
GRANT SELECT ON many TO rls_app, rls_mod;
CREATE FUNCTION says(id int) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE COST 10000 AS $$
BEGIN
    RETURN concat_ws(' ', CASE WHEN current_setting('rls_cve.leader') = pg_backend_pid()::text THEN
                     'leader' ELSE 'worker' END,
                     current_user, current_setting('role'), cozi.uid_bigint());
END $$;
SELECT set_config('rls_cve.leader', pg_backend_pid()::text, false) <> '' AS set;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SET ROLE rls_app;
BEGIN; SELECT be(1); SELECT min(says(id)), max(says(id)), count(*), min(id) FROM many;
SET SESSION AUTHORIZATION rls_mod; SELECT be(2);
SELECT min(says(id)), max(says(id)), count(*), min(id) FROM many; ROLLBACK;
BEGIN; SELECT be(2); SELECT min(says(id)), max(says(id)), count(*), min(id) FROM many; COMMIT;
RESET ROLE;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
RESET parallel_leader_participation;

-- CVE-2023-39418: what INSERT may, UPDATE must not
SELECT format('CREATE TABLE %s AS SELECT g AS id, g::bigint AS author, ''followers'' AS visibility '
              'FROM generate_series(1, 4) g', t),
       format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO rls_app', t),
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t)
           FROM unnest(array['by_update', 'by_select', 'by_protect']) t \gexec
CREATE POLICY s ON by_update FOR SELECT USING (cozi.is_owner(author) OR cozi.is_following(author));
CREATE POLICY i ON by_update FOR INSERT
    WITH CHECK (cozi.is_owner(author) OR cozi.is_following(author));
CREATE POLICY u ON by_update FOR UPDATE USING (cozi.is_owner(author));
CREATE POLICY d ON by_update FOR DELETE USING (cozi.is_owner(author));
CREATE POLICY s ON by_select FOR SELECT USING (cozi.can_view('private', author, NULL::bigint));
CREATE POLICY i ON by_select FOR INSERT
    WITH CHECK (cozi.is_owner(author) OR cozi.is_following(author));
CREATE POLICY u ON by_select FOR UPDATE USING (cozi.is_owner(author))
    WITH CHECK (cozi.is_owner(author) OR cozi.is_following(author));
CREATE POLICY d ON by_select FOR DELETE USING (cozi.is_owner(author));
SELECT count(*) FROM cozi.protect('by_protect', 'author', 'visibility');
-- as that caller: the rows written, or the error; nothing is kept
CREATE FUNCTION try(who int, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM rls_cve.be(who);
    EXECUTE statement;
    GET DIAGNOSTICS n = ROW_COUNT;
    RAISE EXCEPTION USING ERRCODE = 'UNDO0', MESSAGE = n || ' written';
EXCEPTION WHEN SQLSTATE 'UNDO0' OR insufficient_privilege THEN
    RETURN SQLERRM;
END $$;
SET ROLE rls_app;
-- caller 1 follows 2: the row that INSERT may write, MERGE may not make of another
SELECT tab, n, try(1, replace(statement, '@', tab))
FROM unnest(array['by_update', 'by_select', 'by_protect']) tab, (VALUES
    (1, 'INSERT INTO @ VALUES (9, 2)'),
    (2, 'UPDATE @ SET author = 2 WHERE id = 1'),
    (3, 'MERGE INTO @ t USING (VALUES (1)) s(id) ON t.id = s.id '
        'WHEN MATCHED THEN UPDATE SET author = 2'),
    (4, 'MERGE INTO @ t USING (VALUES (1)) s(id) ON t.id = s.id '
        'WHEN MATCHED THEN UPDATE SET visibility = ''public'''),
    (5, 'MERGE INTO @ t USING (VALUES (2)) s(id) ON t.id = s.id '
        'WHEN MATCHED THEN UPDATE SET visibility = ''public'' WHEN NOT MATCHED THEN DO NOTHING'),
    (6, 'MERGE INTO @ t USING (VALUES (2)) s(id) ON t.id = s.id WHEN MATCHED THEN DELETE '
        'WHEN NOT MATCHED THEN DO NOTHING'),
    (7, 'MERGE INTO @ t USING (VALUES (3)) s(id) ON t.id = s.id WHEN MATCHED THEN DELETE '
        'WHEN NOT MATCHED THEN DO NOTHING'),
    (8, 'MERGE INTO @ t USING (VALUES (3)) s(id) ON t.id = s.id WHEN MATCHED THEN DELETE '
        'WHEN NOT MATCHED THEN INSERT VALUES (3, 1)'),
    (9, 'MERGE INTO @ t USING (VALUES (3)) s(id) ON t.id = s.id WHEN MATCHED THEN DELETE '
        'WHEN NOT MATCHED THEN INSERT VALUES (3, 3)'),
    (10, 'MERGE INTO @ t USING (VALUES (1)) s(id) ON t.id = s.id WHEN MATCHED THEN DELETE'),
    (11, 'MERGE INTO @ t USING own s ON t.id = s.author WHEN MATCHED '
         'AND s.id % 10 = 1 THEN UPDATE SET visibility = ''public''')) m(n, statement)
ORDER BY tab, n;
RESET ROLE;
-- one plan, for one caller after the other
CREATE FUNCTION merges(who int, of int, new_author bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM rls_cve.be(who);
    MERGE INTO rls_cve.by_update t USING (VALUES (of)) s(id) ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET author = new_author;
    GET DIAGNOSTICS n = ROW_COUNT;
    RAISE EXCEPTION USING ERRCODE = 'UNDO0', MESSAGE = n || ' written';
EXCEPTION WHEN SQLSTATE 'UNDO0' OR insufficient_privilege THEN
    RETURN SQLERRM;
END $$;
SET ROLE rls_app;
SET plan_cache_mode = force_generic_plan;
SELECT who, id, author, merges(who, id, author) FROM generate_series(0, 3) who,
       (VALUES (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)) r(id, author);
RESET plan_cache_mode;
RESET ROLE;

DELETE FROM cozi.edge_config;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA rls_cve CASCADE;
RESET client_min_messages;
DELETE FROM cozi.jwks;
REVOKE ALL ON SCHEMA cozi FROM rls_app, rls_mod;
DROP ROLE rls_app, rls_mod;
