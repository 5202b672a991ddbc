-- nodes: split_plan(), the statements that split a shard online
--
-- The half that leaves is copied by logical replication, and follows.  The half
-- that stays is copied into a table of its own and follows by a log of changed
-- keys: nothing is deleted under a lock.  Writers wait twice, while the copies are
-- compared and while the shard is swapped for its halves.

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
 'DROP TABLE IF EXISTS {shard}'),
(12, 'there', 'copy', 'CREATE TABLE {far} PARTITION OF {shard} ({guard}) {far_values}',
 'DROP TABLE IF EXISTS {far}'),
(14, 'there', 'copy', 'CREATE VIEW {digest} AS SELECT * FROM cozi.shard_digest(''{far}'')',
 'DROP VIEW IF EXISTS {digest}'),
(15, 'here', 'copy', 'CREATE PUBLICATION {job} FOR TABLE {shard} WHERE ({far_filter})',
 'DROP PUBLICATION IF EXISTS {job}'),
(16, 'here', 'copy', 'SELECT pg_create_logical_replication_slot(''{job}'', ''pgoutput'')',
 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots'
 ' WHERE slot_name = ''{job}'''),
(17, 'there', 'copy',
 'CREATE SUBSCRIPTION {job} CONNECTION {connection} PUBLICATION {job} WITH (create_slot = false)',
 $undo$DO $drop$ BEGIN
    IF EXISTS (SELECT FROM pg_subscription WHERE subname = '{job}') THEN
        ALTER SUBSCRIPTION {job} DISABLE;
        ALTER SUBSCRIPTION {job} SET (slot_name = NONE);
        DROP SUBSCRIPTION {job};
    END IF;
END $drop$$undo$),
(20, 'here', 'copy', 'CREATE TABLE {new} (LIKE {shard} INCLUDING ALL EXCLUDING IDENTITY,'
 ' CONSTRAINT split CHECK ({bound}))', 'DROP TABLE IF EXISTS {new}'),
(21, 'here', 'copy', 'CREATE TABLE {log} (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,'
 ' {pk_columns})', 'DROP TABLE IF EXISTS {log}'),
(22, 'here', 'copy',
 $do$CREATE FUNCTION {log}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $log$ BEGIN
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
END $log$$do$, 'DROP FUNCTION IF EXISTS {log}() CASCADE'),
(23, 'here', 'copy',
 $do$CREATE FUNCTION {refresh}() RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off
AS $refresh$
DECLARE
    total bigint = 0;
    seen bigint[];
BEGIN
    LOCK TABLE {new} IN SHARE ROW EXCLUSIVE MODE;
    LOOP
        seen = ARRAY(SELECT n FROM {log} LIMIT 10000);
        EXIT WHEN cardinality(seen) = 0;
        IF EXISTS (SELECT FROM {log} l WHERE n = ANY (seen) AND ({pk}) IS NULL) THEN
            DELETE FROM {new};
            INSERT INTO {new} ({names}) SELECT {names} FROM {shard} WHERE {near_filter};
        ELSE
            DELETE FROM {new} o USING {log} l WHERE l.n = ANY (seen) AND {matches};
            INSERT INTO {new} ({names}) SELECT {names} FROM {shard}
            WHERE ({pk}) IN (SELECT {pk} FROM {log} WHERE n = ANY (seen)) AND {near_filter};
        END IF;
        DELETE FROM {log} WHERE n = ANY (seen);
        total = total + cardinality(seen);
    END LOOP;
    RETURN total;
END $refresh$$do$, 'DROP FUNCTION IF EXISTS {refresh}()'),
(24, 'here', 'copy', 'CREATE TRIGGER split_rows AFTER INSERT OR UPDATE OR DELETE ON {shard}'
 ' FOR EACH ROW EXECUTE FUNCTION {log}()', 'DROP TRIGGER IF EXISTS split_rows ON {shard}'),
(25, 'here', 'copy', 'CREATE TRIGGER split_truncate AFTER TRUNCATE ON {shard}'
 ' FOR EACH STATEMENT EXECUTE FUNCTION {log}()',
 'DROP TRIGGER IF EXISTS split_truncate ON {shard}'),
(26, 'here', 'copy',
 'INSERT INTO {new} ({names}) SELECT {names} FROM {shard} WHERE {near_filter}',
 'TRUNCATE {new}'),
(27, 'here', 'copy', 'ANALYZE {new}', NULL),
(28, 'here', 'copy', 'SELECT {refresh}()', NULL),
(30, 'here', 'copy',
 'CREATE FOREIGN TABLE {far} ({columns}) SERVER {server} OPTIONS (schema_name {remote_schema},'
 ' table_name {remote_far})', 'DROP FOREIGN TABLE IF EXISTS {far}'),
(31, 'here', 'copy',
 'CREATE FOREIGN TABLE {digest} (rows bigint, digest text) SERVER {server}'
 ' OPTIONS (schema_name {remote_schema}, table_name {remote_digest})',
 'DROP FOREIGN TABLE IF EXISTS {digest}'),
(32, 'there', 'copy',
 $do$DO $wait$ BEGIN
    WHILE EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
                  WHERE s.subname = '{job}' AND r.srsubstate <> 'r') LOOP
        PERFORM pg_sleep(0.1);
    END LOOP;
END $wait$$do$, NULL),
(33, 'there', 'copy', 'ANALYZE {far}', NULL),

-- writers of this shard wait, readers do not
(40, 'here', 'compare', $do$DO $compare$
DECLARE
    began timestamptz;
    here record;
    there record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the plan needs transactions that are read committed';
    END IF;
    SET LOCAL lock_timeout = '2s';
    LOCK TABLE {shard} IN EXCLUSIVE MODE;
    began = clock_timestamp();
    PERFORM cozi.wait_for_slot('{job}');
    PERFORM {refresh}();
    SELECT * INTO here FROM cozi.shard_digest({near_rows});
    SELECT * INTO there FROM cozi.shard_digest('{new}');
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
    RAISE NOTICE 'writers of the shard waited up to % ms',
        round(extract(epoch FROM clock_timestamp() - began) * 1000);
END $compare$$do$, NULL),

-- nobody reads or writes the table; nothing is scanned
(50, 'here', 'swap', $do$DO $swap$
DECLARE
    began timestamptz;
    here bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the plan needs transactions that are read committed';
    END IF;
    SET LOCAL lock_timeout = '2s';
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
END $swap$$do$, $do$DO $back$ BEGIN
    IF (SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('{far}')) = 0 THEN
        RETURN;
    ELSIF to_regclass('{old}') IS NULL THEN
        RAISE EXCEPTION 'table {old} has been dropped: the split cannot be taken back';
    END IF;
    SET LOCAL lock_timeout = '2s';
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
{keys_back}END $back$$do$),

(60, 'there', 'clean', $undo$DO $drop$ BEGIN
    IF EXISTS (SELECT FROM pg_subscription WHERE subname = '{job}') THEN
        ALTER SUBSCRIPTION {job} DISABLE;
        ALTER SUBSCRIPTION {job} SET (slot_name = NONE);
        DROP SUBSCRIPTION {job};
    END IF;
END $drop$$undo$, NULL),
(61, 'here', 'clean', 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots'
 ' WHERE slot_name = ''{job}''', NULL),
(62, 'here', 'clean', 'DROP PUBLICATION IF EXISTS {job}', NULL),
(63, 'here', 'clean', 'DROP FOREIGN TABLE IF EXISTS {digest}', NULL),
(64, 'there', 'clean', 'DROP VIEW IF EXISTS {digest}', NULL),
(65, 'there', 'clean', $do$DO $half$ BEGIN
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = '{far}'::regclass) THEN
        ALTER TABLE {shard} DETACH PARTITION {far};
        DROP TABLE {shard};
    END IF;
END $half$$do$, NULL),
-- from here on there is no way back
(70, 'here', 'clean', 'DROP TABLE IF EXISTS {old}', NULL),
(71, 'here', 'clean', 'DROP FUNCTION IF EXISTS {log}(), {refresh}()', NULL),
(72, 'here', 'clean', 'DROP TABLE IF EXISTS {log}', NULL)
$templates$;
COMMENT ON FUNCTION _split_templates() IS 'Returns the steps of split_plan() (internal)';

CREATE OR REPLACE FUNCTION split_plan(shard regclass, server name, connection text)
    RETURNS TABLE (step int, node text, phase text, statement text, undo text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 10000 ROWS 40
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whole oid;
    facts jsonb;
BEGIN
    IF shard IS NULL OR server IS NULL OR connection IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN shard IS NULL THEN 'shard' WHEN server IS NULL THEN 'server'
                 ELSE 'connection' END
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF (SELECT c.relkind FROM pg_class c WHERE c.oid = shard) IS NULL THEN
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
    RETURN QUERY
        SELECT row_number() OVER (ORDER BY x.n, x.m)::int,
               CASE x.node WHEN 'there' THEN server::text ELSE 'here' END, x.phase, x.statement,
               x.undo
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
                            substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$')), NULL
              FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
              WHERE i.indrelid = shard AND NOT i.indisunique) x
        ORDER BY 1;
END
$$;
COMMENT ON FUNCTION split_plan(regclass, name, text) IS
'Returns the statements that split a shard in two and give one half to another server, online, '
'with the node that each runs on and what takes it back; runs none of them; connection is how that '
'server reaches this one; an error if an argument is NULL';
