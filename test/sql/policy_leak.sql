-- Functions and operators of the user are handed rows that the policy shows, and
-- no others, wherever they stand in a query and whatever its plan is.  In every
-- table the rows hidden from caller 1 have negative ids.
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
CREATE SCHEMA rls_leak;
GRANT USAGE, CREATE ON SCHEMA rls_leak TO rls_app;
SET search_path = rls_leak, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one \gset

-- 24 authors; 1 follows 2 to 6, blocked 2, was blocked by 3, and is in group 3
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE members (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO follows SELECT 1, g FROM generate_series(2, 6) g;
INSERT INTO members VALUES (1, 3);
INSERT INTO blocks VALUES (1, 2), (3, 1);
SELECT cozi.register_edge('following', 'follows', 'a', 'b'),
       cozi.register_edge('member', 'members', 'a', 'b'),
       cozi.register_edge('blocked', 'blocks', 'a', 'b');
CREATE TABLE post AS SELECT g AS id, 1 + g % 24 AS author,
    (array['public', 'followers', 'group', 'private'])[1 + (g / 24 + g) % 4] AS visibility,
    CASE WHEN g % 24 = 0 THEN 3 ELSE g % 5 END AS grp FROM generate_series(1, 240) g;
-- what each policy shows, in plain SQL; open has no policy, and its ids are those of own
CREATE TABLE shows AS
SELECT post.*, own, feed, own OR (visibility = 'public' OR visibility = 'followers' AND feed
                                  OR visibility = 'group' AND grp = 3)
                                  AND author NOT IN (2, 3) AS seen
FROM post, LATERAL (VALUES (author = 1, author BETWEEN 2 AND 6)) v(own, feed);
SET max_parallel_maintenance_workers = 0; -- 110, for these indexes
DO $do$
DECLARE
    t text;
    k text;
BEGIN
    FOREACH t IN ARRAY array['own', 'feed', 'seen', 'kept', 'open'] LOOP
        FOREACH k IN ARRAY array['', '_parted'] LOOP
            EXECUTE format('CREATE TABLE %I (id int, author bigint, visibility text, grp bigint, '
                           'note text)', t || k) ||
                CASE k WHEN '' THEN ' WITH (parallel_workers = 2)'
                    ELSE ' PARTITION BY HASH (author)' END;
            FOR i IN 0 .. 3 LOOP
                EXIT WHEN k = '';
                EXECUTE format('CREATE TABLE %I PARTITION OF %I '
                               'FOR VALUES WITH (MODULUS 4, REMAINDER %s) '
                               'WITH (parallel_workers = 2)', t || k || i, t || k, i);
            END LOOP;
            EXECUTE format('INSERT INTO %I SELECT CASE WHEN %I THEN id ELSE -id END, '
                           'author, visibility, grp, CASE WHEN %2$I THEN ''7'' '
                           'ELSE ''a secret'' END FROM shows',
                           t || k, CASE t WHEN 'open' THEN 'own' WHEN 'kept' THEN 'seen'
                               ELSE t END);
            EXECUTE format('CREATE INDEX ON %I (id) INCLUDE (author, visibility, grp)', t || k);
            EXECUTE format('CREATE INDEX ON %I (author, id)', t || k);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO rls_app', t || k);
            EXECUTE CASE t
                WHEN 'own' THEN format('CREATE POLICY p ON %I USING (cozi.is_owner(author))',
                                       t || k)
                WHEN 'feed' THEN format('CREATE POLICY p ON %I USING (cozi.is_following(author))',
                                        t || k)
                WHEN 'seen' THEN format('CREATE POLICY p ON %I '
                                        'USING (cozi.can_view(visibility, author, grp))', t || k)
                WHEN 'kept' THEN format('SELECT cozi.protect(%L, ''author'', ''visibility'', '
                                        '''grp'')', t || k)
                ELSE 'SELECT 1' END;
            IF t <> 'open' THEN
                EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t || k);
            END IF;
        END LOOP;
        EXECUTE format('ALTER TABLE %I ADD UNIQUE (id)', t);
        EXECUTE format('CREATE VIEW %I WITH (security_invoker) AS SELECT * FROM %I',
                       t || '_invoker', t);
        EXECUTE format('CREATE FUNCTION %I() RETURNS SETOF %I LANGUAGE sql STABLE AS ''SELECT * '
                       'FROM rls_leak.%2$I''', t || '_inlined', t);
        EXECUTE format('GRANT SELECT ON %I TO rls_app', t || '_invoker');
    END LOOP;
END $do$;
CREATE TABLE other AS SELECT g AS id FROM generate_series(-240, 240) g;
CREATE TABLE often AS SELECT id FROM other, generate_series(1, 20);
CREATE TABLE few AS SELECT unnest(array[24, 25, 27, -24, -25, -27]) AS id;
CREATE TABLE author AS SELECT g::bigint AS author FROM generate_series(1, 3) g;
CREATE INDEX ON other (id);
GRANT SELECT ON other, often, few, author TO rls_app;
CREATE SEQUENCE shown;
CREATE SEQUENCE hidden;
GRANT ALL ON SEQUENCE shown, hidden TO rls_app;
SELECT string_agg(format('VACUUM ANALYZE %s', c.oid::regclass), '; ') AS vacuum FROM pg_class c
WHERE relnamespace = 'rls_leak'::regnamespace AND relkind IN ('r', 'p') \gset
:vacuum;

SET ROLE rls_app;
-- what it sees it tells; it costs nothing, and promises what it does not keep
CREATE FUNCTION tell(id int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS $$
BEGIN RAISE NOTICE 'saw %', id; RETURN true; END $$;
CREATE FUNCTION leak(id int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS $$
BEGIN
    PERFORM nextval(CASE WHEN id < 0 THEN 'rls_leak.hidden' ELSE 'rls_leak.shown' END)
        WHERE id IS NOT NULL;
    RETURN true;
END $$;
-- inlined: an operator of PostgreSQL, an error for hidden rows
CREATE FUNCTION boom(id int) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 0.0000001
    RETURN 1 / CASE WHEN id < 0 THEN 0 ELSE 1 END = 1;
-- the same, and false where it is not a worker
CREATE FUNCTION worker(id int) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 0.0000001 AS $$
BEGIN
    RETURN 1 / CASE WHEN id < 0 THEN 0 ELSE 1 END = 1
        AND current_setting('rls_leak.leader') <> pg_backend_pid()::text;
END $$;
-- worth a worker
CREATE FUNCTION slow(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000 AS $$
BEGIN RETURN id; END $$;
SELECT set_config('rls_leak.leader', pg_backend_pid()::text, false) <> '' AS set;
SET max_parallel_workers_per_gather = 0;
SET jit = off;
BEGIN; SELECT cozi.login(:'one');
SELECT count(*) FROM own WHERE tell(id) AND author < 4;
SELECT count(*) FROM open WHERE tell(id) AND author < 4 AND id BETWEEN -30 AND 30;
COMMIT;

-- nodes of a plan, of scans those of the table; a join with the side the table is on, an index
-- scan with the policy in its condition
CREATE FUNCTION nodes(plan jsonb, tab text) RETURNS text[] LANGUAGE sql STABLE AS $$
    WITH RECURSIVE n(node) AS (
        SELECT plan -> 0 -> 'Plan' UNION ALL SELECT child FROM n,
               jsonb_array_elements(n.node -> 'Plans') child)
    SELECT array_agg(DISTINCT name) FROM n, LATERAL (
        SELECT CASE WHEN (node ->> 'Parallel Aware')::boolean THEN 'Parallel ' ELSE '' END
            || (node ->> 'Node Type')) l(name0), LATERAL (
        SELECT name0 WHERE coalesce(node ->> 'Relation Name', tab) ~ ('^' || tab || '\d*$')
        UNION ALL SELECT name0 || ' by the policy'
            WHERE node ->> 'Index Cond' ~ 'uid_bigint|edge_targets'
        UNION ALL SELECT 'Subplans Removed' WHERE (node ->> 'Subplans Removed')::int > 0
        UNION ALL
        SELECT name0 || ', ' || lower(child ->> 'Parent Relationship')
        FROM jsonb_array_elements(node -> 'Plans') child
        WHERE name0 ~ 'Join|Loop' AND child::text ~ ('"Relation Name": "' || tab || '\d*"')) r(name)
$$;
-- what the leaking function was handed: shown rows, hidden ones too, or none; or that the plan is
-- another
CREATE FUNCTION probe(tab text, how text, settings text[], claim text, query text) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    setting text;
    plan jsonb;
    names text[];
    n bigint;
    r record;
    c refcursor;
    said text;
BEGIN
    PERFORM setval('rls_leak.shown', 1), setval('rls_leak.hidden', 1);
    BEGIN
        FOREACH setting IN ARRAY settings || CASE how WHEN 'parallel' THEN
            array['max_parallel_workers_per_gather=2', 'parallel_setup_cost=0',
                  'parallel_tuple_cost=0', 'min_parallel_table_scan_size=0',
                  'min_parallel_index_scan_size=0', 'parallel_leader_participation=off'] END LOOP
            PERFORM set_config(CASE WHEN setting ~ '=' THEN split_part(setting, '=', 1)
                               ELSE 'enable_' || setting END,
                               CASE WHEN setting ~ '=' THEN split_part(setting, '=', 2)
                                   ELSE 'off' END, true);
        END LOOP;
        IF how = 'generic' THEN
            PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
            EXECUTE 'PREPARE probe(int) AS ' || query;
            query := 'EXECUTE probe(0)';
        END IF;
        EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
        names := rls_leak.nodes(plan, tab);
        IF claim <> ALL (names) THEN
            RAISE EXCEPTION USING ERRCODE = 'UNDO0', MESSAGE = 'plan: ' || names::text;
        END IF;
        IF how = 'cursor' THEN
            OPEN c SCROLL FOR EXECUTE query;
            LOOP FETCH c INTO r; EXIT WHEN NOT FOUND; END LOOP;
            LOOP FETCH PRIOR FROM c INTO r; EXIT WHEN NOT FOUND; END LOOP;
            CLOSE c;
        ELSIF how = 'parallel' THEN
            EXECUTE query INTO n;
            PERFORM nextval('rls_leak.shown') WHERE n > 0;
        ELSE
            EXECUTE query;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'UNDO0', MESSAGE = '';
    EXCEPTION
        WHEN SQLSTATE 'UNDO0' THEN said := SQLERRM;
        WHEN insufficient_privilege THEN said := 'refused';
        WHEN division_by_zero THEN PERFORM nextval('rls_leak.hidden');
    END;
    IF how = 'generic' THEN
        DEALLOCATE probe;
    END IF;
    RETURN CASE WHEN (SELECT last_value > 1 FROM rls_leak.hidden) THEN 'hidden'
        WHEN said <> '' THEN said
                WHEN (SELECT last_value > 1 FROM rls_leak.shown) THEN 'shown' ELSE 'none' END;
END $$;
CREATE FUNCTION probe_both(tab text, how text, settings text[], claim text, query text) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    leaked text := rls_leak.probe(tab, how, settings, claim, query);
    boomed text;
BEGIN
    IF query ~ 'leak\(' THEN
        -- without an error it cannot say whether it was called
        boomed := rls_leak.probe(tab, how, settings, claim, replace(query, 'leak(', 'boom('));
        IF boomed <> (CASE leaked WHEN 'hidden' THEN leaked ELSE 'none' END) THEN
            leaked := leaked || ', ' || boomed;
        END IF;
    END IF;
    RETURN leaked;
END $$;
CREATE FUNCTION who(n int) RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN n; END $$;
SELECT format('CREATE VIEW %s_view AS SELECT * FROM %1$s WHERE leak(id)', t),
       format('CREATE VIEW %s_barrier WITH (security_barrier) AS SELECT * FROM %1$s', t)
FROM unnest(array['own', 'feed', 'seen', 'kept', 'open']) t \gexec
CREATE TABLE dump (id int);
CREATE TABLE shape (n int GENERATED ALWAYS AS IDENTITY, shape text, how text,
                    settings text[] DEFAULT '{}', claim text, tabs text[], query text);
INSERT INTO shape (settings, claim, query) VALUES
    ('{indexscan,indexonlyscan,bitmapscan}', 'Seq Scan', 'SELECT count(*) FROM @ WHERE leak(id)'),
    ('{seqscan,bitmapscan,indexonlyscan}', 'Index Scan',
     'SELECT count(note) FROM @ WHERE id BETWEEN -500 AND 500 AND leak(id)'),
    ('{seqscan,bitmapscan}', 'Index Only Scan',
     'SELECT count(*) FROM @ WHERE id BETWEEN -500 AND 500 AND leak(id)'),
    ('{seqscan,indexscan,indexonlyscan}', 'Bitmap Heap Scan',
     'SELECT count(note) FROM @ WHERE id BETWEEN -500 AND 500 AND leak(id)'),
    ('{seqscan,indexscan,indexonlyscan,bitmapscan}', 'Tid Scan',
     'SELECT count(*) FROM @ WHERE ctid = ANY (ARRAY(SELECT format(''(0,%s)'', g)::tid '
     'FROM generate_series(1, 60) g)) AND leak(id)'),
    ('{seqscan,indexscan,indexonlyscan,bitmapscan}', 'Tid Range Scan',
     'SELECT count(*) FROM @ WHERE ctid >= ''(0,1)'' AND ctid < ''(2,0)'' AND leak(id)'),
    ('{}', 'Sample Scan', 'SELECT count(*) FROM @ TABLESAMPLE BERNOULLI (100) WHERE leak(id)');
INSERT INTO shape (settings, claim, tabs, query) VALUES
    ('{seqscan,bitmapscan,indexonlyscan}', 'Index Scan by the policy', '{own,feed}',
     'SELECT count(note) FROM @ WHERE leak(id)'),
    ('{seqscan,bitmapscan}', 'Index Only Scan by the policy', '{own,feed}',
     'SELECT count(*) FROM @ WHERE leak(id)'),
    ('{seqscan,indexscan,indexonlyscan}', 'Bitmap Index Scan by the policy', '{own,feed}',
     'SELECT count(*) FROM @ WHERE leak(id)'),
    ('{seqscan,indexscan,indexonlyscan}', 'BitmapOr', '{seen,kept,open}',
     'SELECT count(note) FROM @ WHERE (id < -215 OR id > 215) AND leak(id)');
INSERT INTO shape (how, settings, claim, tabs, query) VALUES
    ('parallel', '{indexscan,indexonlyscan,bitmapscan}', 'Gather Merge', '{feed,seen,kept,open}',
     'SELECT count(*) FROM (SELECT slow(id) FROM @ WHERE worker(id) ORDER BY 1 OFFSET 0) s');
INSERT INTO shape (how, settings, claim, query) VALUES
    ('parallel', '{indexscan,indexonlyscan,bitmapscan}', 'Parallel Seq Scan',
     'SELECT count(slow(id)) FROM @ WHERE worker(id)'),
    ('parallel', '{seqscan,bitmapscan,indexonlyscan}', 'Parallel Index Scan',
     'SELECT count(slow(id)), count(note) FROM @ WHERE id BETWEEN -500 AND 500 AND worker(id)'),
    ('parallel', '{seqscan,bitmapscan}', 'Parallel Index Only Scan',
     'SELECT count(slow(id)) FROM @ WHERE id BETWEEN -500 AND 500 AND worker(id)'),
    ('parallel', '{seqscan,indexscan,indexonlyscan}', 'Parallel Bitmap Heap Scan',
     'SELECT count(slow(id)), count(note) FROM @ WHERE id BETWEEN -500 AND 500 AND worker(id)'),
    ('parallel', '{indexscan,indexonlyscan,bitmapscan,nestloop,mergejoin}', 'Parallel Hash Join',
     'SELECT count(slow(t.id + o.id)) FROM @ t JOIN often o USING (id) WHERE worker(t.id)');
INSERT INTO shape (settings, claim, query) VALUES
    ('{hashjoin,mergejoin}', 'Nested Loop, outer',
     'SELECT count(o.id) FROM @ t LEFT JOIN other o ON o.id = t.id AND leak(t.id)'),
    ('{hashjoin,mergejoin,memoize}', 'Nested Loop, inner',
     'SELECT count(t.id) FROM other o LEFT JOIN @ t ON o.id = t.id AND leak(t.id)'),
    ('{hashjoin,mergejoin,seqscan,material}', 'Memoize',
     'SELECT count(t.id) FROM often o LEFT JOIN @ t ON o.id = t.id AND leak(t.id)'),
    ('{nestloop,mergejoin}', 'Hash Join, outer',
     'SELECT count(o.id) FROM @ t LEFT JOIN few o ON o.id = t.id AND leak(t.id)'),
    ('{nestloop,mergejoin}', 'Hash Join, inner',
     'SELECT count(t.id) FROM other o LEFT JOIN @ t ON o.id = t.id AND leak(t.id)'),
    ('{nestloop,hashjoin}', 'Merge Join, outer',
     'SELECT count(o.id) FROM @ t LEFT JOIN other o ON o.id = t.id AND leak(t.id)'),
    ('{nestloop,hashjoin}', 'Merge Join, inner',
     'SELECT count(t.id) FROM other o LEFT JOIN @ t ON o.id = t.id AND leak(t.id)'),
    ('{nestloop,mergejoin}', 'Hash Join',
     'SELECT count(*) FROM @ t JOIN other o ON o.id = t.id AND leak(t.id + 0 * o.id)'),
    ('{nestloop,hashjoin}', 'Merge Join',
     'SELECT count(*) FROM @ t JOIN other o ON o.id = t.id AND leak(t.id + 0 * o.id)'),
    ('{mergejoin,hashjoin}', 'Nested Loop',
     'SELECT count(*) FROM @ t JOIN other o ON o.id = t.id AND leak(t.id + 0 * o.id)');
INSERT INTO shape (shape, query) VALUES
    ('full join', 'SELECT count(*) FROM @ t FULL JOIN other o USING (id) WHERE leak(t.id)'),
    ('semijoin', 'SELECT count(*) FROM other o WHERE EXISTS (SELECT FROM @ t WHERE t.id = o.id '
                 'AND leak(t.id))'),
    ('antijoin', 'SELECT count(*) FROM other o WHERE NOT EXISTS (SELECT FROM @ t WHERE t.id = o.id '
                 'AND leak(t.id))'),
    ('self-join', 'SELECT count(*) FROM @ a JOIN @ b ON a.id = b.id AND leak(a.id) AND leak(b.id)'),
    ('LATERAL', 'SELECT count(*) FROM other o, LATERAL (SELECT leak(t.id) AS l FROM @ t '
                'WHERE t.id = o.id OFFSET 0) l WHERE l'),
    ('LATERAL function', 'SELECT count(*) FROM @ t, LATERAL generate_series(1, leak(t.id)::int) g');
INSERT INTO shape (settings, claim, query) VALUES
    ('{}', 'Append', 'SELECT count(*) FROM @_parted WHERE leak(id)'),
    ('{}', 'Subplans Removed', 'SELECT count(*) FROM @_parted '
                               'WHERE author IN (who(1), who(2), who(13)) AND leak(id)'),
    ('{seqscan,bitmapscan,sort}', 'Merge Append',
     'SELECT id FROM @_parted WHERE leak(id) ORDER BY id'),
    ('{hashjoin,mergejoin,seqscan,material}', 'Nested Loop, inner',
     'SELECT count(t.id) FROM author a LEFT JOIN @_parted t ON t.author = a.author AND leak(t.id)');
INSERT INTO shape (how, settings, claim, tabs, query) VALUES
    ('generic', '{}', 'Subplans Removed', '{own}',
     'SELECT count(*) FROM @_parted WHERE leak(id + $1)');
INSERT INTO shape (how, settings, claim, query) VALUES
    ('generic', '{indexscan,indexonlyscan,bitmapscan}', 'Seq Scan',
     'SELECT count(*) FROM @ WHERE leak(id + $1)'),
    ('generic', '{seqscan,bitmapscan,indexonlyscan}', 'Index Scan',
     'SELECT count(note) FROM @ WHERE id BETWEEN $1 - 500 AND $1 + 500 AND leak(id)'),
    ('parallel', '{}', 'Parallel Append', 'SELECT count(slow(id)) FROM @_parted WHERE worker(id)'),
    ('cursor', '{indexscan,indexonlyscan,bitmapscan}', 'Seq Scan',
     'SELECT id FROM @ WHERE leak(id)'),
    ('cursor', '{seqscan,bitmapscan,indexonlyscan}', 'Index Scan',
     'SELECT id, note FROM @ WHERE id BETWEEN -500 AND 500 AND leak(id)');
INSERT INTO shape (shape, claim, query) VALUES
    ('subquery', NULL, 'SELECT count(*) FROM (SELECT id FROM @ WHERE leak(id)) s'),
    ('subquery, OFFSET', 'Subquery Scan',
     'SELECT count(*) FROM (SELECT id FROM @ OFFSET 0) s WHERE leak(id)'),
    ('subquery, GROUP BY', NULL, 'SELECT count(*) FROM (SELECT id, count(*) FROM @ GROUP BY id) s '
                                 'WHERE leak(id)'),
    ('subquery, DISTINCT', NULL, 'SELECT count(*) FROM (SELECT DISTINCT id FROM @) s '
                                 'WHERE leak(id)'),
    ('subquery, window', NULL, 'SELECT count(*) '
                               'FROM (SELECT id, row_number() OVER (PARTITION BY id) FROM @) s '
                               'WHERE leak(id)'),
    ('UNION ALL', 'Append', 'SELECT count(*) FROM (SELECT id FROM @ UNION ALL SELECT id FROM @ '
                            'WHERE id <> 0) s WHERE leak(id)'),
    ('EXCEPT', NULL, 'SELECT count(*) FROM (SELECT id FROM @ EXCEPT SELECT 0) s WHERE leak(id)'),
    ('WITH', NULL, 'WITH w AS NOT MATERIALIZED (SELECT * FROM @) SELECT count(*) FROM w '
                   'WHERE leak(id)'),
    ('WITH MATERIALIZED', 'CTE Scan',
     'WITH w AS MATERIALIZED (SELECT * FROM @) SELECT count(*) FROM w WHERE leak(id)'),
    ('WITH RECURSIVE', 'Recursive Union',
     'WITH RECURSIVE w AS (SELECT id FROM @ WHERE leak(id) UNION SELECT t.id FROM w '
     'JOIN @ t ON t.id = w.id + 1 AND leak(t.id)) SELECT count(*) FROM w'),
    ('view', NULL, 'SELECT count(*) FROM @_view'),
    ('view, security_invoker', NULL, 'SELECT count(*) FROM @_invoker WHERE leak(id)'),
    ('view, security_barrier', NULL, 'SELECT count(*) FROM @_barrier WHERE leak(id)'),
    ('function', NULL, 'SELECT count(*) FROM @_inlined() WHERE leak(id)'),
    ('select list', NULL, 'SELECT leak(id) FROM @'),
    ('CASE', NULL, 'SELECT count(*) FROM @ WHERE CASE WHEN leak(id) THEN true ELSE author > 0 END'),
    ('OR', NULL, 'SELECT count(*) FROM @ WHERE leak(id) OR id = 0'),
    ('sublink', NULL, 'SELECT count(*) FROM @ t WHERE (SELECT leak(t.id) FROM author LIMIT 1)'),
    ('IN', NULL, 'SELECT count(*) FROM @ t WHERE author IN (SELECT author FROM author '
                 'WHERE leak(t.id))'),
    ('ORDER BY', 'Sort', 'SELECT id FROM @ ORDER BY leak(id)'),
    ('ORDER BY ... LIMIT', 'Limit', 'SELECT id FROM @ WHERE leak(id) ORDER BY id LIMIT 5'),
    ('GROUP BY', NULL, 'SELECT count(*) FROM @ GROUP BY leak(id)'),
    ('GROUPING SETS', NULL, 'SELECT count(*) FROM @ GROUP BY GROUPING SETS ((leak(id)), (author))'),
    ('HAVING', NULL, 'SELECT count(*) FROM @ GROUP BY author HAVING leak(min(id))'),
    ('HAVING, pushed down', NULL, 'SELECT count(*) FROM @ GROUP BY id HAVING leak(id)'),
    ('FILTER', NULL, 'SELECT count(*) FILTER (WHERE leak(id)) FROM @'),
    ('aggregate', NULL, 'SELECT bool_or(leak(id)) FROM @'),
    ('ordered aggregate', NULL, 'SELECT array_agg(id ORDER BY leak(id)) FROM @'),
    ('DISTINCT ON', NULL, 'SELECT DISTINCT ON (leak(id)) id FROM @'),
    ('window', 'WindowAgg', 'SELECT count(*) OVER (PARTITION BY leak(id)) FROM @'),
    ('FOR UPDATE', 'LockRows', 'SELECT id FROM @ WHERE leak(id) FOR UPDATE'),
    ('INSERT ... SELECT', NULL, 'INSERT INTO dump SELECT id FROM @ WHERE leak(id)'),
    ('UPDATE', NULL, 'UPDATE @ SET note = note WHERE leak(id)'),
    ('UPDATE, new value', NULL, 'UPDATE @ SET note = leak(id)'),
    ('UPDATE ... FROM', NULL, 'UPDATE @ t SET note = note FROM other o WHERE o.id = t.id '
                              'AND leak(t.id)'),
    ('UPDATE ... RETURNING', NULL, 'UPDATE @ SET note = note RETURNING leak(id)'),
    ('UPDATE, partitions', NULL, 'UPDATE @_parted SET note = note '
                                 'WHERE leak(id) RETURNING leak(id)'),
    ('DELETE', NULL, 'DELETE FROM @ WHERE leak(id)'),
    ('DELETE ... USING', NULL, 'DELETE FROM @ t USING other o WHERE o.id = t.id AND leak(t.id)'),
    ('DELETE ... RETURNING', NULL, 'DELETE FROM @ RETURNING leak(id)'),
    ('WITH ... RETURNING', NULL, 'WITH w AS (DELETE FROM @ RETURNING id) SELECT count(*) FROM w '
                                 'WHERE leak(id)'),
    ('MERGE ... ON', NULL, 'MERGE INTO @ t USING other o ON t.id = o.id AND leak(t.id) '
                           'WHEN MATCHED THEN DO NOTHING'),
    ('MERGE ... AND', NULL, 'MERGE INTO @ t USING other o ON t.id = o.id WHEN MATCHED '
                            'AND leak(t.id) THEN DO NOTHING');
-- what it was handed of tables with policies, how many they are, and what of a table without
BEGIN; SELECT cozi.login(:'one');
SELECT concat_ws(': ', coalesce(shape, how), claim) AS shape,
       coalesce(string_agg(DISTINCT tab || ': ' || got, '; ')
                FILTER (WHERE tab <> 'open' AND got <> 'shown'), 'shown') AS handed,
       count(*) FILTER (WHERE tab <> 'open') AS policies,
       min(got) FILTER (WHERE tab = 'open') AS unprotected
FROM shape, LATERAL unnest(coalesce(tabs, '{own,feed,seen,kept,open}')) tab,
     LATERAL probe_both(tab || CASE WHEN query ~ '_parted' THEN '_parted' ELSE '' END, how,
                        settings, claim, replace(query, '@', tab)) got
GROUP BY n, 1 ORDER BY n;
COMMIT;
-- nobody's rows: it is not called
SELECT got, count(*) FROM shape, unnest(array['own', 'feed']) tab,
       LATERAL probe(tab, how, settings, claim, replace(query, '@', tab)) got WHERE claim IS NULL
GROUP BY got;
SELECT cozi.uid_bigint() IS NULL AS nobody;

-- ON CONFLICT: a hidden row is an error before it is looked at.  That its WHERE comes later is so
-- since 15.20, 16.16, 17.12
-- and 18.7 (CVE-2026-120154); it is not tried on older servers.
BEGIN; SELECT cozi.login(:'one');
SELECT conflict, tab, CASE WHEN conflict <> 'hidden, WHERE' OR tab = 'open'
    OR substr(v, 3)::int >= (array[20, 16, 12, 7, 1])[left(v, 2)::int - 14]
                           THEN probe(tab, NULL, '{}', NULL, replace(query, '@', tab))
                               ELSE 'refused' END AS handed
FROM current_setting('server_version_num') v,
     unnest(array['own', 'feed', 'seen', 'kept', 'open']) tab, (VALUES
    ('shown, WHERE', 'INSERT INTO @ SELECT id, author, visibility, grp FROM @ WHERE author = 1 '
                     'OR ''@'' = ''feed'' ON CONFLICT (id) DO UPDATE SET note = ''x'' '
                     'WHERE leak(@.id)'),
    ('hidden, SET', 'INSERT INTO @ SELECT -g, CASE ''@'' WHEN ''feed'' THEN 4 '
                    'ELSE 1 END, ''private'' FROM generate_series(1, 240) g '
                    'ON CONFLICT (id) DO UPDATE SET note = leak(@.id)'),
    ('hidden, WHERE', 'INSERT INTO @ SELECT -g, CASE ''@'' WHEN ''feed'' THEN 4 '
                      'ELSE 1 END, ''private'' FROM generate_series(1, 240) g '
                      'ON CONFLICT (id) DO UPDATE SET note = ''x'' WHERE leak(@.id)'))
    c(conflict, query)
ORDER BY conflict DESC, tab;
-- a cast that fails says what it was given
SELECT count(*) FROM own WHERE note::int = 7;
SELECT count(*) FROM feed WHERE note::int = 7;
SELECT count(*) FROM seen WHERE note::int = 7;
SELECT count(*) FROM kept WHERE note::int = 7;
COPY (SELECT id, note::int FROM own WHERE leak(id) AND id < 50) TO STDOUT;
SELECT count(*) FROM open WHERE note::int = 7;
ROLLBACK;

-- what would be called for all rows is for the owner of the table to make
SELECT setval('hidden', 1), setval('shown', 1);
CREATE INDEX ON own (leak(id));
CREATE STATISTICS st ON leak(id), author FROM own;
ALTER TABLE own ADD CHECK (leak(id));
ALTER TABLE own ADD COLUMN leaked boolean GENERATED ALWAYS AS (leak(id)) STORED;
CREATE RULE r AS ON SELECT TO own DO INSTEAD SELECT leak(id) FROM own;
CREATE POLICY mine ON own USING (leak(id));
CREATE FUNCTION leak() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM rls_leak.leak(OLD.id);
RETURN OLD; END $$;
CREATE TRIGGER t BEFORE UPDATE ON own FOR EACH ROW EXECUTE FUNCTION leak();
CREATE TABLE child () INHERITS (own);
CREATE TABLE child (id int REFERENCES own (id));
SELECT hidden.last_value AS hidden, shown.last_value AS shown FROM hidden, shown;
RESET jit;
RESET max_parallel_workers_per_gather;
RESET ROLE;

DELETE FROM cozi.edge_config;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA rls_leak CASCADE;
RESET client_min_messages;
DELETE FROM cozi.jwks;
REVOKE ALL ON SCHEMA cozi FROM rls_app;
DROP ROLE rls_app;
