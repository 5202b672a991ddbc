-- advisor: one list of all findings, with waivers

CREATE TABLE waivers (
    code       text NOT NULL,
    object     text NOT NULL,
    reason     text NOT NULL,
    until      date,
    waived_by  text NOT NULL,
    waived_at  timestamptz NOT NULL,
    definition text,
    PRIMARY KEY (code, object)
);
COMMENT ON TABLE waivers IS
'One row per finding that waive() accepted: by whom, why, until when, and a hash of the object as '
    'it was.';
SELECT pg_catalog.pg_extension_config_dump('cozi.waivers', '');

CREATE TABLE advice_log (
    code       text NOT NULL,
    object     text NOT NULL,
    first_seen timestamptz NOT NULL,
    PRIMARY KEY (code, object)
);
COMMENT ON TABLE advice_log IS 'One row per finding of the last record_advice(), and when it was '
    'first seen here.';

CREATE OR REPLACE FUNCTION _view_definition(view oid, tree pg_node_tree) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_view_definition'
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION _view_definition(oid, pg_node_tree) IS
'Returns the query of a view, without waiting; NULL where a table in it is locked or gone.';

-- What a waiver is about: when the hash changes, the waiver ends.
CREATE OR REPLACE VIEW _definitions AS
SELECT quote_ident(p.name) || ' on ' || p.relation_name AS object,
       md5(concat_ws('|', p.command, p.permissive, p.role_names, p.using_text, p.check_text))
           AS definition
FROM cozi._advisor_policies p
UNION ALL
SELECT r.name,
       md5(concat_ws('|', r.relkind, r.rls, r.forced, r.acl::text, r.options::text,
           r.owner::regrole,
                     (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid,
                         a.atttypmod), a.attnotnull, a.attacl::text), ',' ORDER BY a.attnum)
                      FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0
                          AND NOT a.attisdropped),
                     (SELECT cozi._view_definition(r.oid, w.ev_action) FROM pg_catalog.pg_rewrite w
                      WHERE w.ev_class = r.oid AND w.rulename = '_RETURN')))
FROM cozi._advisor_relations r
UNION ALL
SELECT x.name, md5(concat_ws('|', x.relation_name, x.indisunique, x.indisvalid, x.is_partial,
                             (SELECT string_agg(coalesce(a.attname, '?'), ',' ORDER BY k.n)
                              FROM unnest(x.indkey) WITH ORDINALITY k(attnum, n)
                              LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.relation
                                  AND a.attnum = k.attnum AND k.attnum > 0)))
FROM cozi._advisor_indexes x
UNION ALL
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
       md5(concat_ws('|', p.prosrc, p.prosqlbody::text, p.proconfig::text, p.prosecdef,
           p.provolatile, p.proleakproof, p.proacl::text, p.proowner::regrole))
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid >= 16384 AND p.prokind IN ('f', 'p')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype = 'e');
COMMENT ON VIEW _definitions IS 'One row per policy, relation, index and function of the users, '
    'with a hash of its definition.';

-- The findings of each view, in one shape.  Which statements one concerns: those of
-- the kinds about one table; see _advisor_load().

CREATE OR REPLACE VIEW _findings_index AS
SELECT 'warn' AS level, 'duplicate_index' AS code, x.name AS object, d.relation::oid AS relation,
    d.evidence, d.bytes, d.fix_sql, NULL::float8 AS ms_per_day, NULL::oid AS about,
    NULL::text[] AS kinds
FROM cozi.duplicate_indexes d JOIN cozi._advisor_indexes x ON x.oid = d.index
UNION ALL
SELECT 'info', 'unused_index', x.name, u.relation::oid, u.reason, u.bytes, u.fix_sql,
    NULL, NULL, NULL
FROM cozi.index_usage u JOIN cozi._advisor_indexes x ON x.oid = u.index
WHERE u.verdict = 'unused'
UNION ALL
SELECT 'warn', 'missing_fk_index', r.name || ' ' || quote_ident(m.constraint_name),
    m.relation::oid, m.evidence, NULL, m.fix_sql,
    NULL, m.referenced::oid, ARRAY['update', 'delete']
FROM cozi.missing_fk_indexes m JOIN cozi._advisor_relations r ON r.oid = m.relation
UNION ALL
-- a minute a day is worth a warning
SELECT CASE WHEN m.ms_per_day >= 60000 THEN 'warn' ELSE 'info' END, 'missing_index',
    format('%s (%s)', r.name, m.definition), m.relation::oid, m.evidence, NULL, m.fix_sql,
    m.ms_per_day, NULL, NULL
FROM cozi._missing_indexes(true) m JOIN cozi._advisor_relations r ON r.oid = m.relation;
COMMENT ON VIEW _findings_index IS 'One row per finding about an index; see advice.';

CREATE OR REPLACE VIEW _findings_table AS
SELECT 'warn' AS level, 'invalid_' || i.kind AS code, r.name || ' ' || quote_ident(i.name)
    AS object, i.relation::oid AS relation, i.evidence, NULL::bigint AS bytes, i.fix_sql,
    NULL::oid AS about, NULL::text[] AS kinds
FROM cozi.invalid_objects i JOIN cozi._advisor_relations r ON r.oid = i.relation
UNION ALL
SELECT s.state, 'sequence_near_end', format('%I.%I', n.nspname, c.relname),
    coalesce(s.relation::oid, c.oid), s.evidence, NULL, s.fix_sql, NULL, NULL
FROM cozi.sequence_usage s JOIN pg_catalog.pg_class c ON c.oid = s.sequence
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE s.state <> 'ok'
UNION ALL
SELECT CASE WHEN k.used >= 0.8 THEN 'error' ELSE 'warn' END, 'key_near_end',
    k.name || ' ' || quote_ident(k.attname), k.relation, k.evidence, NULL, NULL, NULL, NULL
FROM cozi._keys_near_end k
UNION ALL
SELECT 'info', 'table_without_key', r.name, t.relation::oid, t.evidence, NULL, t.fix_sql,
    NULL, NULL
FROM cozi.tables_without_key t JOIN cozi._advisor_relations r ON r.oid = t.relation
UNION ALL
SELECT 'info', 'table_bloat', r.name, b.relation::oid,
       format('%s%% of %s hold no row, by an %s; VACUUM FULL locks the table, pg_repack does not',
           round(100 * b.bloat_share), r.name, b.method),
       b.bloat_bytes, NULL, b.relation::oid, ARRAY['select', 'update', 'delete']
FROM cozi.bloat b JOIN cozi._advisor_relations r ON r.oid = b.relation
WHERE b.bloat_share > 0.5 AND b.bloat_bytes > 100000000
UNION ALL
SELECT s.level, s.code, s.setting, NULL, s.evidence, NULL, s.fix_sql, NULL, NULL
FROM cozi.settings_advisor s;
COMMENT ON VIEW _findings_table IS 'One row per finding about a table, a sequence or a setting; '
    'see advice.';

CREATE OR REPLACE VIEW _findings AS
SELECT p.level, p.code, p.object, p.relation::oid AS relation, p.evidence, NULL::bigint AS bytes,
    p.fix_sql, NULL::float8 AS ms_per_day,
       CASE WHEN p.code IN ('policy_per_row_function', 'policy_opaque_helper',
                'policy_column_unindexed', 'policy_column_cast', 'policy_index_not_leakproof',
                'policy_several_permissive')
            THEN p.relation::oid END AS about, ARRAY['select', 'update', 'delete'] AS kinds
FROM cozi._policy_findings p
UNION ALL
SELECT * FROM cozi._once('_findings_index') i(
    level text, code text, object text, relation oid, evidence text, bytes bigint, fix_sql text,
    ms_per_day float8, about oid, kinds text[])
UNION ALL
SELECT t.level, t.code, t.object, t.relation, t.evidence, t.bytes, t.fix_sql, NULL, t.about,
    t.kinds
FROM cozi._once('_findings_table') t(
    level text, code text, object text, relation oid, evidence text, bytes bigint, fix_sql text,
    about oid, kinds text[])
UNION ALL
SELECT u.level, u.code, u.object, u.relation, u.evidence, NULL, u.fix_sql, NULL, NULL, NULL
FROM cozi._once('_findings_upkeep') u(
    level text, code text, object text, relation oid, evidence text, fix_sql text);
COMMENT ON VIEW _findings IS 'One row per finding of any advisor; see advice.';

CREATE OR REPLACE VIEW _waived_now AS
SELECT w.code, w.object, w.waived_by, w.reason, w.until
FROM cozi.waivers w
LEFT JOIN (SELECT d.object, min(d.definition) AS definition FROM cozi._definitions d
           WHERE d.object IN (SELECT v.object FROM cozi.waivers v) GROUP BY d.object) d
       ON d.object = w.object
WHERE (w.until IS NULL OR w.until >= current_date)
  AND w.definition IS NOT DISTINCT FROM d.definition;
COMMENT ON VIEW _waived_now IS 'One row per waiver that has not ended.';

CREATE OR REPLACE VIEW _advice AS
WITH load AS MATERIALIZED (
    SELECT * FROM cozi._advisor_load()
)
SELECT f.level, f.code, f.object, c.what, c.why, f.evidence, f.bytes, f.fix_sql, w.waived_by,
       w.reason AS waived_because, w.until AS waived_until, f.relation,
       coalesce(f.ms_per_day, (SELECT sum(l.ms_per_day) FROM load l
                               WHERE l.relation = coalesce(pg_partition_root(f.about), f.about)
                                 AND l.kind = ANY (f.kinds))) AS ms_per_day
FROM cozi._findings f
LEFT JOIN cozi._advice_codes() c ON c.code = f.code
LEFT JOIN cozi._once('_waived_now') w(
              code text, object text, waived_by text, reason text, until date)
       ON w.code = f.code AND w.object = f.object;
COMMENT ON VIEW _advice IS 'One row per finding, with its waiver; see advice.';

CREATE OR REPLACE FUNCTION _findings_of(view text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_findings_of'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 100;
COMMENT ON FUNCTION _findings_of(text) IS
'Returns the rows of _policy_findings, _missing or _advice: all to members of pg_monitor, to '
    'others those about their own tables.';

CREATE OR REPLACE VIEW policy_advisor AS
SELECT f.*
FROM cozi._findings_of('_policy_findings') f(
    level text, code text, relation regclass, policy name, role text, command text, evidence text,
    fix_sql text, object text)
ORDER BY CASE f.level WHEN 'error' THEN 1 WHEN 'warn' THEN 2 ELSE 3 END, f.code, f.object, f.role,
         f.evidence, f.fix_sql;
COMMENT ON VIEW policy_advisor IS
'One row per finding about policies and what goes around them: how grave, a stable code, the '
    'statement that ends it, NULL where none is safe.';

CREATE OR REPLACE VIEW missing_indexes AS
SELECT f.*
FROM cozi._findings_of('_missing') f(
    relation regclass, method text, definition text, queryids bigint[], calls bigint,
    ms_per_day float8, evidence text, fix_sql text)
ORDER BY f.ms_per_day DESC, f.relation::text, f.definition;
COMMENT ON VIEW missing_indexes IS
'One row per index that slow statements ask for, partition trees as one, the most time first; '
    'none, with a warning, without pg_stat_statements.';

CREATE OR REPLACE VIEW advice AS
SELECT f.*
FROM cozi._findings_of('_advice') f(
    level text, code text, object text, what text, why text, evidence text, bytes bigint,
    fix_sql text, waived_by text, waived_because text, waived_until date, ms_per_day float8)
ORDER BY f.waived_by IS NOT NULL,
         CASE f.level WHEN 'error' THEN 1 WHEN 'warn' THEN 2 ELSE 3 END, f.bytes DESC NULLS LAST,
         f.ms_per_day DESC NULLS LAST, f.code, f.object, f.evidence, f.fix_sql;
COMMENT ON VIEW advice IS
'One row per finding, the gravest first and the waived last: what it is, why it matters, the '
    'statement that ends it; a table''s owner sees those of their own tables.';

CREATE OR REPLACE FUNCTION waive(code text, object text, reason text,
    until date = NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF $1 IS NULL OR $2 IS NULL OR $3 IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN $1 IS NULL THEN 'code' WHEN $2 IS NULL THEN 'object' ELSE 'reason' END
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF btrim($3) = '' THEN
        RAISE EXCEPTION 'argument "reason" must not be empty'
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Say why the finding may stay.';
    ELSIF $4 < current_date THEN
        RAISE EXCEPTION 'argument "until" is a day that has passed: %', $4
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM FROM cozi.advice f WHERE f.code = $1 AND f.object = $2;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no finding "%" about "%"', $1, $2
            USING ERRCODE = 'undefined_object',
            HINT = 'SELECT code, object FROM cozi.advice lists the findings.';
    END IF;
    INSERT INTO cozi.waivers (code, object, reason, until, waived_by, waived_at, definition)
    VALUES ($1, $2, $3, $4, session_user, now(), (SELECT min(d.definition) FROM cozi._definitions d
        WHERE d.object = $2))
    ON CONFLICT ON CONSTRAINT waivers_pkey DO UPDATE
    SET reason = excluded.reason, until = excluded.until, waived_by = excluded.waived_by,
        waived_at = excluded.waived_at, definition = excluded.definition;
END
$$;
COMMENT ON FUNCTION waive(text, text, text, date) IS
'Marks a finding of advice as accepted, with a reason, until a day or until its object changes; '
    'NULL for no day.';

CREATE OR REPLACE FUNCTION unwaive(code text, object text) RETURNS boolean
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH gone AS (DELETE FROM cozi.waivers w WHERE w.code = $1 AND w.object = $2 RETURNING 1)
    SELECT count(*) > 0 FROM gone;
END;
COMMENT ON FUNCTION unwaive(text,
    text) IS 'Ends a waiver, and returns whether there was one; false for NULL.';

CREATE OR REPLACE FUNCTION advice_gate(level text = 'error') RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    levels CONSTANT text[] := ARRAY['error', 'warn', 'info'];
    n bigint;
    list text;
BEGIN
    IF $1 IS NULL OR $1 <> ALL (levels) THEN
        RAISE EXCEPTION 'there is no level "%"', coalesce($1, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Levels are error, warn and info.';
    END IF;
    SELECT count(*), string_agg(format('%s %s: %s (%s)', a.level, a.code, a.object, a.evidence),
        E'\n'
                                ORDER BY array_position(levels, a.level), a.code, a.object,
                                    a.evidence)
    INTO n, list
    FROM cozi.advice a
    WHERE a.waived_by IS NULL AND array_position(levels, a.level) <= array_position(levels, $1);
    IF n > 0 THEN
        RAISE EXCEPTION '% findings are not waived', n USING ERRCODE = 'raise_exception',
            DETAIL = list,
            HINT = 'Run the fix_sql of cozi.advice, or call cozi.waive() with a reason.';
    END IF;
END
$$;
COMMENT ON FUNCTION advice_gate(text) IS
'Raises P0001 with the findings of a level or graver that are not waived; returns when there are '
    'none.';

CREATE OR REPLACE FUNCTION record_advice() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH found AS MATERIALIZED (
        SELECT DISTINCT f.code, f.object FROM cozi.advice f
    ), gone AS (
        DELETE FROM cozi.advice_log l
        WHERE NOT EXISTS (SELECT FROM found f WHERE f.code = l.code AND f.object = l.object)
    ), fresh AS (
        INSERT INTO cozi.advice_log SELECT f.code, f.object, now() FROM found f
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT count(*) FROM fresh;
END;
COMMENT ON FUNCTION record_advice() IS 'Remembers which findings there are now, for advice_new(), '
    'and returns how many are new.';

CREATE OR REPLACE VIEW _advice_seen AS
SELECT l.code, l.object, l.first_seen FROM cozi.advice_log l;
COMMENT ON VIEW _advice_seen IS 'One row per finding that record_advice() has seen, for '
    'advice_new().';

CREATE OR REPLACE FUNCTION advice_new(since timestamptz) RETURNS SETOF cozi.advice
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE COST 10000 ROWS 10
BEGIN ATOMIC
    SELECT a.* FROM cozi.advice a
    WHERE NOT EXISTS (SELECT FROM cozi._advice_seen s WHERE s.code = a.code AND s.object = a.object
        AND s.first_seen < advice_new.since);
END;
COMMENT ON FUNCTION advice_new(timestamptz) IS
'Returns the findings of advice that record_advice() had not seen before an instant; no rows for '
    'NULL.';
