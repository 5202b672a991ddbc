-- nodes: split_plan(), the statements that split a shard online
--
-- The half that leaves is copied by logical replication, and follows.  The half
-- that stays is copied into a table of its own and follows by a log of changed
-- keys: nothing is deleted under a lock.  Writers wait twice, while the copies are
-- compared and while the shard is swapped for its halves.

-- node: "owner" is here, with the rights of the table's owner.
CREATE OR REPLACE FUNCTION _split_templates()
    RETURNS TABLE (n int, node text, phase text, statement text, undo text)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 40
    SET search_path = pg_catalog, pg_temp
AS $templates$
VALUES
(10, 'there', 'copy', 'CREATE SCHEMA IF NOT EXISTS {schema}', NULL),
-- rows arrive under the name of the shard, and are routed into the half
(11, 'there', 'copy',
 'CREATE TABLE {shard} ({columns}, PRIMARY KEY ({pk})) PARTITION BY HASH ({key})',
 $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
{drop_empty}END {$}$do$),
(12, 'there', 'copy', 'CREATE TABLE {far} PARTITION OF {shard} ({guard}) {far_values}',
 $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = to_regclass({far_text})
                   AND i.inhparent = to_regclass({shard_text})) THEN
        DROP TABLE {far};
    ELSIF to_regclass({far_text}) IS NOT NULL THEN
        RAISE EXCEPTION 'table % is in use: this plan did not make it, or has been finished',
            {far_text} USING ERRCODE = 'object_in_use';
    END IF;
END {$}$do$),
(14, 'there', 'copy', 'CREATE VIEW {digest} AS SELECT * FROM cozi.shard_digest({far_text})',
 'DROP VIEW IF EXISTS {digest}'),
(15, 'there', 'copy', '{close}', NULL),
(16, 'here', 'copy', 'CREATE PUBLICATION {job} FOR TABLE {shard} WHERE ({far_filter})',
 'DROP PUBLICATION IF EXISTS {job}'),
(17, 'here', 'copy', 'SELECT pg_create_logical_replication_slot(''{job}'', ''pgoutput'')',
 '{drop_slot}'),
(18, 'there', 'copy',
 'CREATE SUBSCRIPTION {job} CONNECTION {connection} PUBLICATION {job} WITH (create_slot = false)',
 -- another subscription would copy the same rows again
 $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
{drop_job}    IF EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = to_regclass({far_text})
                   AND i.inhparent = to_regclass({shard_text})) THEN
        TRUNCATE {shard};
    END IF;
END {$}$do$),
(20, 'owner', 'copy', 'CREATE TABLE {new} (LIKE {shard} INCLUDING ALL EXCLUDING IDENTITY,'
 ' CONSTRAINT split CHECK ({bound}));'
 ' ALTER TABLE {new} {row_security} ROW LEVEL SECURITY', '{drop_new}'),
(21, 'owner', 'copy', 'CREATE TABLE {log} (split_n bigint GENERATED ALWAYS AS IDENTITY'
 ' PRIMARY KEY, {pk_columns}, CONSTRAINT split CHECK (split_n > 0))', '{drop_log}'),
(22, 'owner', 'copy', '{close}', NULL),
(23, 'owner', 'copy',
 $do$CREATE FUNCTION {log}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS {$} BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {log} DEFAULT VALUES;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO {log} ({pk}) VALUES ({pk_new});
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {log} ({pk}) VALUES ({pk_old});
    ELSE
        INSERT INTO {log} ({pk}) VALUES ({pk_old}), ({pk_new});
    END IF;
    RETURN NULL;
END {$}$do$, 'DROP FUNCTION IF EXISTS {log}() CASCADE'),
(24, 'owner', 'copy',
 $do$CREATE FUNCTION {refresh}() RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off
AS {$}
DECLARE
    total bigint = 0;
    seen bigint[];
BEGIN
    LOCK TABLE {new} IN SHARE ROW EXCLUSIVE MODE;
    LOOP
        seen = ARRAY(SELECT l.split_n FROM {log} l LIMIT 10000);
        EXIT WHEN cardinality(seen) = 0;
        IF EXISTS (SELECT FROM {log} l WHERE l.split_n = ANY (seen) AND ({pk_logged}) IS NULL) THEN
            DELETE FROM {new};
            INSERT INTO {new} ({names}) SELECT {names} FROM {shard} WHERE {near_filter};
        ELSE
            DELETE FROM {new} o USING {log} l WHERE l.split_n = ANY (seen) AND {matches};
            INSERT INTO {new} ({names}) SELECT {names} FROM {shard}
            WHERE ({pk}) IN (SELECT {pk_logged} FROM {log} l WHERE l.split_n = ANY (seen))
                AND {near_filter};
        END IF;
        DELETE FROM {log} l WHERE l.split_n = ANY (seen);
        total = total + cardinality(seen);
    END LOOP;
    RETURN total;
END {$}$do$, 'DROP FUNCTION IF EXISTS {refresh}()'),
(25, 'owner', 'copy', 'CREATE TRIGGER split_rows AFTER INSERT OR UPDATE OR DELETE ON {shard}'
 ' FOR EACH ROW EXECUTE FUNCTION {log}()', 'DROP TRIGGER IF EXISTS split_rows ON {shard}'),
(26, 'owner', 'copy', 'CREATE TRIGGER split_truncate AFTER TRUNCATE ON {shard}'
 ' FOR EACH STATEMENT EXECUTE FUNCTION {log}()',
 'DROP TRIGGER IF EXISTS split_truncate ON {shard}'),
(27, 'owner', 'copy',
 'INSERT INTO {new} ({names}) SELECT {names} FROM {shard} WHERE {near_filter}',
 'TRUNCATE {new}'),
(28, 'here', 'copy', 'ANALYZE {new}', NULL),
(29, 'owner', 'copy', 'SELECT {refresh}()', NULL),
(30, 'here', 'copy',
 'CREATE FOREIGN TABLE {far} ({columns}) SERVER {server} OPTIONS (schema_name {remote_schema},'
 ' table_name {remote_far})',
 $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = to_regclass({far_text})) THEN
        RAISE EXCEPTION 'foreign table % is in use: take the swap back first', {far_text}
            USING ERRCODE = 'object_in_use';
    END IF;
    DROP FOREIGN TABLE IF EXISTS {far};
END {$}$do$),
(31, 'here', 'copy', 'ALTER FOREIGN TABLE {far} OWNER TO {owner}', NULL),
(32, 'here', 'copy',
 'CREATE FOREIGN TABLE {digest} (rows bigint, digest text) SERVER {server}'
 ' OPTIONS (schema_name {remote_schema}, table_name {remote_digest})',
 'DROP FOREIGN TABLE IF EXISTS {digest}'),
(33, 'here', 'copy', 'ALTER FOREIGN TABLE {digest} OWNER TO {owner}', NULL),
(34, 'owner', 'copy', '{close}', NULL),
(35, 'there', 'copy', '{wait}', NULL),
(36, 'there', 'copy', 'ANALYZE {far}', NULL),

-- writers of this shard wait, readers do not
(40, 'owner', 'compare', $do$DO {$}
DECLARE
    began timestamptz;
    here record;
    there record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the plan needs transactions that are read committed';
    END IF;
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE {shard} IN EXCLUSIVE MODE;
    began = clock_timestamp();
    PERFORM cozi.wait_for_slot('{job}');
    PERFORM {refresh}();
    SELECT * INTO here FROM cozi.shard_digest({near_rows});
    SELECT * INTO there FROM cozi.shard_digest({new_text});
    IF here IS DISTINCT FROM there THEN
        RAISE EXCEPTION 'the half that stays is % and its copy %', here, there;
    END IF;
    RAISE NOTICE 'the half that stays: % rows, md5 %', here.rows, here.digest;
    SELECT * INTO here FROM cozi.shard_digest({far_rows});
    SELECT * INTO there FROM {digest};
    IF here IS DISTINCT FROM there THEN
        RAISE EXCEPTION 'the half that leaves is % and its copy %', here, there;
    END IF;
    RAISE NOTICE 'the half that leaves: % rows, md5 %', here.rows, here.digest;
    COMMENT ON TABLE {log} IS 'compared';
    RAISE NOTICE 'writers of the shard waited up to % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000);
END {$}$do$, $do$DO {$} BEGIN
    IF to_regclass({log_text}) IS NOT NULL THEN
        COMMENT ON TABLE {log} IS NULL;
    END IF;
END {$}$do$),

-- nobody reads or writes the table; nothing is scanned.  Who writes the shard by its own
-- name opens the table then: a second is the time until that is called a deadlock
(50, 'owner', 'swap', $do$DO {$}
DECLARE
    began timestamptz;
BEGIN
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass({far_text})) THEN
        RETURN;                         -- it has happened
    ELSIF obj_description(to_regclass({log_text}), 'pg_class') IS DISTINCT FROM 'compared' THEN
        RAISE EXCEPTION 'the copies have not been compared'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the step before.';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the plan needs transactions that are read committed';
    END IF;
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE {shard} IN ACCESS EXCLUSIVE MODE;
    began = clock_timestamp();
    PERFORM cozi.wait_for_slot('{job}', '5 s');
    PERFORM {refresh}();
    ALTER TABLE {parent} DETACH PARTITION {shard};
    ALTER TABLE {shard} RENAME TO {old_name};
    ALTER TABLE {new} RENAME TO {near_name};
{keys}    ALTER TABLE {parent} ATTACH PARTITION {near} {near_values};
    ALTER TABLE {near} DROP CONSTRAINT split;
    ALTER TABLE {parent} ATTACH PARTITION {far} {far_values};
    RAISE NOTICE 'the table was locked for % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000, 1);
END {$}$do$, $do$DO {$} BEGIN
    IF (SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass({far_text})) = 0 THEN
        RETURN;
    ELSIF to_regclass({old_text}) IS NULL THEN
        RAISE EXCEPTION 'table % has been dropped: the split cannot be taken back', {old_text}
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SET LOCAL lock_timeout = '900ms';
    LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE;
    ALTER TABLE {parent} DETACH PARTITION {far};
    ALTER TABLE {parent} DETACH PARTITION {near};
    ALTER TABLE {near} RENAME TO {new_name};
    ALTER TABLE {old} RENAME TO {shard_name};
    TRUNCATE {shard};
    INSERT INTO {shard} ({names}) SELECT {names} FROM {new};
    INSERT INTO {shard} ({names}) SELECT {names} FROM {far};
    ALTER TABLE {new} ADD CONSTRAINT split CHECK ({bound});
    ALTER TABLE {parent} ATTACH PARTITION {shard} {was};
{keys_back}END {$}$do$),

(60, 'there', 'clean', $do$DO {$} BEGIN
{drop_job}END {$}$do$, NULL),
(61, 'here', 'clean', '{drop_slot}', NULL),
(62, 'here', 'clean', 'DROP PUBLICATION IF EXISTS {job}', NULL),
(63, 'here', 'clean', 'DROP FOREIGN TABLE IF EXISTS {digest}', NULL),
(64, 'there', 'clean', 'DROP VIEW IF EXISTS {digest}', NULL),
(65, 'there', 'clean', $do$DO {$} BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    IF EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = to_regclass({far_text})
                   AND i.inhparent = to_regclass({shard_text})) THEN
        -- first, or its writers, who then open its parent, would be waited for with that
        LOCK TABLE {far} IN ACCESS EXCLUSIVE MODE;
        ALTER TABLE {shard} DETACH PARTITION {far};
    END IF;
{drop_empty}END {$}$do$, NULL),
-- from here on there is no way back
(70, 'owner', 'clean', $do$DO {$} BEGIN
    IF (SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass({far_text})) = 0 THEN
        RAISE EXCEPTION 'the swap has not happened'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    DROP TABLE IF EXISTS {old};
END {$}$do$, NULL),
(71, 'owner', 'clean', 'DROP FUNCTION IF EXISTS {log}() CASCADE', NULL),
(72, 'owner', 'clean', 'DROP FUNCTION IF EXISTS {refresh}()', NULL),
(73, 'owner', 'clean', '{drop_log}', NULL),
(74, 'owner', 'clean', '{drop_new}', NULL)     -- of a plan that was begun twice
$templates$;
COMMENT ON FUNCTION _split_templates() IS 'Returns the steps of split_plan() (internal)';

-- What several of its steps say.
CREATE OR REPLACE FUNCTION _split_parts(facts jsonb) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $parts$
SELECT x.parts
    || jsonb_build_object(
        'drop_new', cozi._plan_text(x.drop_own, x.facts || jsonb_build_object(
            'own', x.facts -> 'new', 'own_text', x.facts -> 'new_text')),
        'drop_log', cozi._plan_text(x.drop_own, x.facts || jsonb_build_object(
            'own', x.facts -> 'log', 'own_text', x.facts -> 'log_text')),
        'drop_empty', cozi._plan_text(
            $do$    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass({shard_text})
                   AND c.relkind = 'p'
                   AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)) THEN
        DROP TABLE {shard};
    END IF;
$do$, x.facts),
        -- what ALTER DEFAULT PRIVILEGES grants on all that is new
        'close', cozi._plan_text($do$DO {$}
DECLARE
    r record;
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    FOR r IN SELECT c.oid::regclass AS rel, CASE a.grantee WHEN 0 THEN 'PUBLIC'
                    ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
             FROM pg_class c, aclexplode(c.relacl) a
             WHERE c.oid IN (to_regclass({new_text}), to_regclass({log_text}),
                             to_regclass({far_text}), to_regclass({digest_text}))
                 AND a.grantee <> c.relowner LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %s', r.rel, r.role);
    END LOOP;
END {$}$do$, x.facts))
FROM (SELECT p.parts, _split_parts.facts || p.parts,
             $do$DO {$} BEGIN
    IF EXISTS (SELECT FROM pg_constraint
               WHERE conrelid = to_regclass({own_text}) AND conname = 'split') THEN
        DROP TABLE {own};
    END IF;
END {$}$do$ FROM cozi._plan_parts(_split_parts.facts) AS p (parts)) AS x (parts, facts, drop_own)
$parts$;
COMMENT ON FUNCTION _split_parts(jsonb) IS
'Returns the facts of a split that several templates share (internal)';

CREATE OR REPLACE FUNCTION split_plan(shard regclass, server name, connection text)
    RETURNS TABLE (step int, node text, phase text, statement text, undo text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000 ROWS 40
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole oid;
    facts jsonb;
BEGIN
    PERFORM cozi._need('shard', shard IS NOT NULL), cozi._need('server', server IS NOT NULL),
            cozi._need('connection', connection IS NOT NULL);
    IF (SELECT c.relkind FROM pg_class c WHERE c.oid = shard) IS NULL THEN
        RAISE EXCEPTION 'relation with OID % does not exist', shard::oid
            USING ERRCODE = 'undefined_table';
    END IF;
    SELECT p.partrelid INTO whole
    FROM pg_inherits i JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
    WHERE i.inhrelid = shard AND p.partstrat = 'h';
    PERFORM cozi._split_refuse(shard, whole, server);
    facts := cozi._split_facts(shard, server, connection)
        || (SELECT jsonb_build_object(
                'keys', coalesce(string_agg('    ' || k.swap || E';\n', '' ORDER BY k.n), ''),
                'keys_back', coalesce(string_agg('    ' || k.back || E';\n', '' ORDER BY k.n), ''))
            FROM cozi._split_keys(whole, shard) k);
    facts := facts || cozi._split_parts(facts);
    RETURN QUERY
        SELECT row_number() OVER (ORDER BY x.n, x.m)::int,
               CASE x.node WHEN 'there' THEN server::text ELSE 'here' END, x.phase,
               CASE x.node WHEN 'owner' THEN cozi._plan_as_owner(facts ->> 'parent', x.statement)
                           ELSE x.statement END,
               CASE x.node WHEN 'owner' THEN cozi._plan_as_owner(facts ->> 'parent', x.undo)
                           ELSE x.undo END
        FROM (SELECT t.n, 0::bigint AS m, t.node, t.phase,
                     cozi._plan_text(t.statement, facts) AS statement,
                     cozi._plan_text(t.undo, facts) AS undo
              FROM cozi._split_templates() t
              WHERE t.n <> 10 OR facts ->> 'schema' <> 'public'
              UNION ALL
              SELECT 1, k.n, 'here', 'prepare', k.prepare, k.undo
              FROM cozi._split_keys(whole, shard) k WHERE k.prepare IS NOT NULL
              UNION ALL                 -- the other indexes of the shard
              SELECT 13, row_number() OVER (ORDER BY c.relname), 'there', 'copy',
                     format('CREATE INDEX ON %s%s', facts ->> 'far',
                            substr(pg_get_indexdef(i.indexrelid),
                                   length(format('CREATE INDEX %I ON %s', c.relname,
                                                 facts ->> 'shard')) + 1)), NULL
              FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
              WHERE i.indrelid = shard AND NOT i.indisunique) x
        ORDER BY 1;
END
$$;
COMMENT ON FUNCTION split_plan(regclass, name, text) IS
'Returns the statements that split a shard in two and give one half to another server, online, '
'with the node that each runs on and what takes it back; runs none of them; connection is how that '
'server reaches this one; an error if an argument is NULL';
