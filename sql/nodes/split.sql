-- nodes: a shard is split in two, and one half goes to another server, online
--
-- A plan is a list of templates, and what they are about is one jsonb: {name} in
-- a template is the fact of that name.  The law: until the swap, which is one
-- statement, clients see the old shard and nothing else; each step's undo does
-- no harm where the step has left nothing, and drops no table that is in use.
--
-- Names are the table's owner's, and a plan is run by others.  What stands in quotes
-- in a template is a fact that is quoted for it, {$} a dollar quote that no fact ends,
-- and what touches the table is run by run_as_owner().

CREATE OR REPLACE FUNCTION _plan_text(template text, facts jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN bool_and(x.n = 1 OR facts ? split_part(x.part, '}', 1)) THEN
        string_agg(CASE WHEN x.n = 1 THEN x.part
                        ELSE concat(facts ->> split_part(x.part, '}', 1),
                                    substr(x.part, strpos(x.part, '}') + 1)) END, '' ORDER BY x.n)
        END
    FROM string_to_table(template, '{') WITH ORDINALITY AS x (part, n)
$$;
COMMENT ON FUNCTION _plan_text(text, jsonb) IS
'Returns a template with each {name} replaced by the fact of that name; NULL if one is missing '
'(internal)';

CREATE OR REPLACE FUNCTION _plan_quote(body text, tag text = 'step') RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('$%s$', coalesce(min(t.name), tag || md5(body)))
    FROM (SELECT tag || coalesce(nullif(g, 0)::text, '') FROM generate_series(0, 99) g) AS t (name)
    WHERE strpos(body, '$' || t.name) = 0
$$;
COMMENT ON FUNCTION _plan_quote(text, text) IS
'Returns a dollar quote that a text does not end (internal)';

CREATE OR REPLACE FUNCTION _plan_quoted(body text, tag text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT q || body || q FROM cozi._plan_quote(body, tag) q
$$;
COMMENT ON FUNCTION _plan_quoted(text, text) IS
'Returns a text between dollar quotes that it does not end (internal)';

-- A statement with the rights of the owner of a table.
CREATE OR REPLACE FUNCTION _plan_as_owner(rel text, statement text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('SELECT cozi.run_as_owner(%L, %s)', rel, cozi._plan_quoted(statement, 'owner'))
$$;
COMMENT ON FUNCTION _plan_as_owner(text, text) IS
'Returns a statement that runs a statement as the owner of a table (internal)';

-- What plans have in common: the quote, and the subscription that they end.
CREATE OR REPLACE FUNCTION _plan_parts(facts jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $parts$
SELECT jsonb_build_object(
    '$', q,
    -- the process that sent from it may be on its way out
    'drop_slot', cozi._plan_text($do$DO {$}
BEGIN
    FOR tenths IN 1 .. 900 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM pg_replication_slots
                              WHERE slot_name = '{job}' AND active);
        PERFORM pg_sleep(0.1);
    END LOOP;
    PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE slot_name = '{job}';
END {$}$do$, quoted),
    'drop_job', cozi._plan_text(
        $do$    IF EXISTS (SELECT FROM pg_subscription WHERE subname = '{job}') THEN
        ALTER SUBSCRIPTION {job} DISABLE;
        ALTER SUBSCRIPTION {job} SET (slot_name = NONE);
        DROP SUBSCRIPTION {job};
    END IF;
$do$, facts),
    -- a copy that fails is begun again, without end
    'wait', cozi._plan_text($do$DO {$}
DECLARE
    before bigint;
    failed bigint;
BEGIN
    WHILE EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
                  WHERE s.subname = '{job}' AND r.srsubstate <> 'r') LOOP
        PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
        -- 19 counts tables and sequences apart
        SELECT coalesce(to_jsonb(s) ->> 'sync_error_count',
                        to_jsonb(s) ->> 'sync_table_error_count')::bigint INTO failed
        FROM pg_stat_subscription_stats s WHERE s.subname = '{job}';
        before = coalesce(before, failed);
        IF failed > before + 5 THEN
            RAISE EXCEPTION 'subscription {job} copies nothing'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'The log of this server says why.';
        END IF;
    END LOOP;
END {$}$do$, quoted))
FROM cozi._plan_quote(facts::text) q,
     LATERAL (SELECT facts || jsonb_build_object('$', q)) f (quoted)
$parts$;
COMMENT ON FUNCTION _plan_parts(jsonb) IS
'Returns the facts that the templates of all plans share (internal)';

-- A foreign table is read with the user mapping of who reads it.
CREATE OR REPLACE FUNCTION _plan_mapping(rel regclass, server name) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner regrole := (SELECT c.relowner FROM pg_class c WHERE c.oid = rel);
BEGIN
    IF server <> ALL (SELECT s.srvname FROM pg_foreign_server s) THEN
        RAISE EXCEPTION 'server "%" does not exist', server
            USING ERRCODE = 'undefined_object',
                  HINT = 'Create it with CREATE SERVER ... FOREIGN DATA WRAPPER postgres_fdw.';
    ELSIF (SELECT count(*) FROM pg_user_mappings m
           WHERE m.srvname = server AND m.umuser IN (0, owner)) = 0 THEN
        RAISE EXCEPTION 'role "%", the owner of table "%", has no user mapping for server "%"',
            owner, rel, server
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('CREATE USER MAPPING FOR %s SERVER %I OPTIONS (user ''...'','
                                ' password ''...'');', owner, server);
    END IF;
END
$$;
COMMENT ON FUNCTION _plan_mapping(regclass, name) IS
'Raises an error if the owner of a table has no user mapping for a server (internal)';

-- The columns of a table, as another server or a foreign table is to have them.
CREATE OR REPLACE FUNCTION _plan_columns(rel oid)
    RETURNS TABLE (definitions text, names text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT string_agg(x.definition, ', ' ORDER BY x.kind, x.n),
       string_agg(x.name, ', ' ORDER BY x.n)
FROM (SELECT 0, a.attnum::text COLLATE "C", lpad(a.attnum::text, 5, '0'),
             concat(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
                    CASE WHEN a.attcollation <> t.typcollation
                         THEN format(' COLLATE %I.%I', n.nspname, c.collname) END,
                    CASE WHEN a.attgenerated <> ''
                         THEN format(' GENERATED ALWAYS AS (%s) STORED',
                                     pg_get_expr(d.adbin, d.adrelid)) END,
                    CASE WHEN a.attnotnull THEN ' NOT NULL' END),
             CASE WHEN a.attgenerated = '' THEN quote_ident(a.attname) END
      FROM pg_attribute a
          JOIN pg_type t ON t.oid = a.atttypid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          LEFT JOIN pg_collation c ON c.oid = a.attcollation
          LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
      WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
      SELECT 1, NULL, c.conname,
             format('CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)), NULL
      FROM pg_constraint c
      WHERE c.conrelid = rel AND c.contype = 'c' AND c.convalidated) AS x (kind, a, n, definition,
                                                                            name)
$$;
COMMENT ON FUNCTION _plan_columns(oid) IS
'Returns the columns and checks of a table as CREATE TABLE has them, and the names of the columns '
'that are written (internal)';

-- What stands in the way of a plan that gives shards of a table to other servers.
CREATE OR REPLACE FUNCTION _split_refuse(shard regclass, parent regclass, server name)
    RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key record;
    hint text;
BEGIN
    IF parent IS NULL OR (SELECT c.relkind <> 'r' FROM pg_class c WHERE c.oid = shard) THEN
        RAISE EXCEPTION '"%" is not a shard here', shard
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'A shard is a hash partition that is an ordinary table; '
                         'cozi.shard_report() lists them.';
    END IF;
    SELECT p.partnatts, a.attname, coalesce(l.collisdeterministic, true) AS deterministic INTO key
    FROM pg_partitioned_table p
        LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
        LEFT JOIN pg_collation l ON l.oid = p.partcollation[0]
    WHERE p.partrelid = parent;
    IF key.partnatts > 1 OR key.attname IS NULL OR NOT key.deterministic THEN
        RAISE EXCEPTION 'table "%" is not sharded by one column', parent
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'The key of its shards must be one column with a deterministic '
                         'collation.';
    END IF;
    PERFORM cozi._plan_mapping(shard, server);
    SELECT string_agg(format('ALTER TABLE %s DROP CONSTRAINT %I;', c.conrelid::regclass, c.conname),
                      ' ' ORDER BY c.conname) INTO hint
    FROM pg_constraint c
    WHERE c.contype = 'f' AND parent IN (c.conrelid, c.confrelid) AND c.conparentid = 0;
    IF hint IS NOT NULL THEN
        RAISE EXCEPTION 'table "%" has foreign keys, which cannot reach another server', parent
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = hint;
    ELSIF shard::oid <> ALL (SELECT i.indrelid FROM pg_index i WHERE i.indisprimary) THEN
        RAISE EXCEPTION 'shard "%" has no primary key', shard
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Logical replication finds the rows that change by their primary key, '
                         'which must contain the key of the shards.';
    END IF;
    SELECT string_agg(format('DROP %s %I ON %s;', o.kind, o.name, shard), ' '
                      ORDER BY o.kind, o.name) INTO hint
    FROM (SELECT 'TRIGGER', t.tgname FROM pg_trigger t
          WHERE t.tgrelid = shard AND t.tgparentid = 0 AND NOT t.tgisinternal
              AND t.tgname NOT IN ('split_rows', 'split_truncate')
          UNION ALL
          SELECT 'POLICY', p.polname FROM pg_policy p WHERE p.polrelid = shard
          UNION ALL
          SELECT 'RULE', r.rulename FROM pg_rewrite r WHERE r.ev_class = shard) AS o (kind, name);
    IF hint IS NOT NULL THEN
        RAISE EXCEPTION 'shard "%" has triggers, policies or rules of its own', shard
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = hint;
    END IF;
END
$$;
COMMENT ON FUNCTION _split_refuse(regclass, regclass, name) IS
'Raises an error where split_plan() has no plan (internal)';

CREATE OR REPLACE FUNCTION _split_facts(rel regclass, server name, connection text) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
WITH s AS (
    SELECT c.oid, c.relname, n.nspname, p.relname AS parent, pn.nspname AS parent_schema,
           b.modulus, b.remainder, b.remainder + b.modulus AS far_remainder, a.attname, a.atttypid,
           cozi._shard_name(p.relname, '_shard_' || b.remainder) AS near,
           cozi._shard_name(p.relname, '_shard_' || b.remainder + b.modulus) AS far,
           quote_ident(pg_get_userbyid(c.relowner)) AS owner, c.relrowsecurity
    FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_inherits i ON i.inhrelid = c.oid
        JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace pn ON pn.oid = p.relnamespace
        JOIN pg_partitioned_table t ON t.partrelid = p.oid
        JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = t.partattrs[0],
        cozi._shard_bounds(p.oid) b
    WHERE c.oid = rel AND b.shard = c.oid
), pk AS (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) AS list,
           string_agg('l.' || quote_ident(a.attname), ', ' ORDER BY u.n) AS logged,
           string_agg('OLD.' || quote_ident(a.attname), ', ' ORDER BY u.n) AS old,
           string_agg('NEW.' || quote_ident(a.attname), ', ' ORDER BY u.n) AS new,
           string_agg(concat(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
                             CASE WHEN a.attcollation <> y.typcollation
                                  THEN format(' COLLATE %I.%I', n.nspname, c.collname) END), ', '
                      ORDER BY u.n) AS definitions,
           string_agg(format('l.%1$I = o.%1$I', a.attname), ' AND ' ORDER BY u.n) AS matches
    FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY u (att, n)
        JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.att
        JOIN pg_type y ON y.oid = a.atttypid
        LEFT JOIN pg_collation c ON c.oid = a.attcollation
        LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE i.indrelid = rel AND i.indisprimary AND u.n <= i.indnkeyatts
), named AS (                           -- each as an identifier, and as a text
    SELECT jsonb_object_agg(v.fact, format('%I.%I', s.nspname, v.name))
           || jsonb_object_agg(v.fact || '_name', quote_ident(v.name))
           || jsonb_object_agg(v.fact || '_text',
                               quote_literal(format('%I.%I', s.nspname, v.name))) AS facts
    FROM s, LATERAL (VALUES ('shard', s.relname), ('near', s.near), ('far', s.far),
                            ('old', cozi._shard_name(s.relname, '_old')),
                            ('new', cozi._shard_name(s.near, '_new')),
                            ('digest', cozi._shard_name(s.far, '_digest')),
                            ('log', cozi._shard_name(s.relname, '_log')),
                            ('refresh', cozi._shard_name(s.relname, '_refresh'))) AS v (fact, name)
)
SELECT jsonb_build_object(
    'parent', format('%I.%I', s.parent_schema, s.parent),
    'schema', quote_ident(s.nspname), 'owner', s.owner,
    'row_security', CASE WHEN s.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
    'was', format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', s.modulus, s.remainder),
    'near_values', format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', s.modulus * 2, s.remainder),
    'far_values', format('FOR VALUES WITH (MODULUS %s, REMAINDER %s)', s.modulus * 2,
                         s.far_remainder),
    'near_filter', cozi.shard_predicate(s.attname, s.atttypid, s.modulus * 2, s.remainder),
    'far_filter', cozi.shard_predicate(s.attname, s.atttypid, s.modulus * 2, s.far_remainder),
    'guard', format('CHECK (%s(%I, %s) = %s)', cozi._shard_function(s.atttypid), s.attname,
                    s.modulus * 2, s.far_remainder),
    'bound', format('satisfies_hash_partition(%L::regclass, %s, %s, %I)',
                    format('%I.%I', s.parent_schema, s.parent), s.modulus * 2, s.remainder,
                    s.attname),
    'near_rows', format('%L, %L, %s, %s', format('%I.%I', s.nspname, s.relname), s.attname,
                        s.modulus * 2, s.remainder),
    'far_rows', format('%L, %L, %s, %s', format('%I.%I', s.nspname, s.relname), s.attname,
                       s.modulus * 2, s.far_remainder),
    'key', quote_ident(s.attname), 'columns', c.definitions, 'names', c.names,
    'pk', pk.list, 'pk_old', pk.old, 'pk_new', pk.new, 'pk_logged', pk.logged,
    'pk_columns', pk.definitions, 'matches', pk.matches,
    'server', quote_ident(server), 'connection', quote_literal(connection),
    'remote_schema', quote_literal(s.nspname), 'remote_far', quote_literal(s.far),
    'remote_digest', quote_literal(cozi._shard_name(s.far, '_digest')),
    'job', format('cozi_split_%s_%s', s.oid, s.far_remainder)) || named.facts
FROM s, pk, named, cozi._plan_columns(rel) c
$$;
COMMENT ON FUNCTION _split_facts(regclass, name, text) IS
'Returns what the templates of split_plan() are about (internal)';

-- Unique indexes of the sharded table: a foreign partition bears none, so each
-- shard gets its own before the swap, and the table loses its.
CREATE OR REPLACE FUNCTION _split_keys(parent oid, shard oid)
    RETURNS TABLE (n bigint, prepare text, undo text, swap text, back text)
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 4
    SET search_path = pg_catalog, pg_temp
AS $$
WITH p AS (
    SELECT i.indexrelid, ic.relname AS index, c.conname, c.oid AS con, c.contype,
           format('%I.%I', tn.nspname, t.relname) AS q, tn.nspname
    FROM pg_index i
        JOIN pg_class ic ON ic.oid = i.indexrelid
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace tn ON tn.oid = t.relnamespace
        LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
    WHERE i.indrelid = parent AND i.indisunique
), leaf AS (
    SELECT p.*, l.relname AS name, format('%I.%I', ln.nspname, l.relname) AS leaf,
           ln.nspname AS leaf_schema, x.inhrelid,
           cozi._shard_name(l.relname, '_key_' || row_number() OVER (
               PARTITION BY l.oid ORDER BY p.contype, p.index)) AS own, lx.relname AS leaf_index
    FROM p
        JOIN pg_inherits x ON x.inhparent = p.indexrelid
        JOIN pg_index li ON li.indexrelid = x.inhrelid
        JOIN pg_class lx ON lx.oid = li.indexrelid
        JOIN pg_class l ON l.oid = li.indrelid
        JOIN pg_namespace ln ON ln.oid = l.relnamespace
    WHERE l.oid <> shard
)
SELECT row_number() OVER (ORDER BY leaf.leaf, leaf.own),
       format('CREATE UNIQUE INDEX CONCURRENTLY %I', leaf.own)
       || substr(pg_get_indexdef(leaf.inhrelid),
                 length(format('CREATE UNIQUE INDEX %I', leaf.leaf_index)) + 1),
       format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', leaf.leaf_schema, leaf.own),
       CASE leaf.contype
           WHEN 'p' THEN format('ALTER TABLE %s ADD PRIMARY KEY USING INDEX %I', leaf.leaf,
                                leaf.own)
           WHEN 'u' THEN format('ALTER TABLE %s ADD UNIQUE USING INDEX %I', leaf.leaf, leaf.own)
       END,
       format('ALTER INDEX %I.%I RENAME TO %I', leaf.leaf_schema, leaf.own, leaf.leaf_index)
FROM leaf
UNION ALL
SELECT 0, NULL, NULL,
       CASE WHEN p.conname IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I', p.q,
                                                   p.conname)
            ELSE format('DROP INDEX %I.%I', p.nspname, p.index) END,
       CASE WHEN p.conname IS NOT NULL THEN format('ALTER TABLE %s ADD CONSTRAINT %I %s', p.q,
                                                   p.conname, pg_get_constraintdef(p.con))
            ELSE pg_get_indexdef(p.indexrelid) END
FROM p
$$;
COMMENT ON FUNCTION _split_keys(oid, oid) IS
'Returns what becomes of the unique indexes of a table whose shard goes to another server: the '
'indexes of its other shards, the statements of the swap and of the way back (internal)';
