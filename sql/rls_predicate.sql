-- rls: what the caller may see, in words for policies.
--
-- Ownership and roles: src/rls_owner.c

CREATE FUNCTION is_owner_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_is_owner_support'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION is_owner_support(internal) IS 'planner support: is_owner(x) becomes x = cozi.uid()';
REVOKE ALL ON FUNCTION is_owner_support(internal) FROM PUBLIC;

-- Leakproof, as the = they stand for.

CREATE FUNCTION is_owner(id uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_owner_uuid'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1
    SUPPORT cozi.is_owner_support;
COMMENT ON FUNCTION is_owner(uuid) IS 'is it the caller: id = cozi.uid(), and planned as that; NULL when nobody is logged in';

CREATE FUNCTION is_owner(id bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_owner_bigint'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1
    SUPPORT cozi.is_owner_support;
COMMENT ON FUNCTION is_owner(bigint) IS 'is it the caller: id = cozi.uid_bigint(), and planned as that; NULL when nobody is logged in';

CREATE FUNCTION is_owner(id text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_owner_text'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1
    SUPPORT cozi.is_owner_support;
COMMENT ON FUNCTION is_owner(text) IS 'is it the caller: id = cozi.uid_text(), and planned as that; NULL when nobody is logged in';

CREATE FUNCTION has_role(role text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_role'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION has_role(text) IS 'do the verified claims give the caller this role, at cozi.role_claim: a string, or an array that has it';

CREATE FUNCTION require_role(role text) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_require_role'
    LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION require_role(text) IS 'an error unless has_role(): 42501, or 28000 when nobody is logged in';

-- Edges: src/rls_edge.h is the map.  Rows are written by the
-- functions below alone.

CREATE TABLE edge_config (
    edge name     PRIMARY KEY,
    rel  regclass NOT NULL,
    src  name     NOT NULL,
    dst  name     NOT NULL
);
REVOKE ALL ON edge_config FROM PUBLIC;
COMMENT ON TABLE edge_config IS 'the tables that say who follows, is a member of, or blocked whom: see the view edges';
SELECT pg_catalog.pg_extension_config_dump('cozi.edge_config', '');

CREATE VIEW edges AS
    SELECT c.edge, c.rel AS relation, c.src, c.dst FROM cozi.edge_config c;
REVOKE ALL ON edges FROM PUBLIC;
GRANT SELECT ON edges TO pg_monitor;
COMMENT ON VIEW edges IS 'the edges: their tables, and the columns from whom and to whom';

CREATE FUNCTION register_edge(edge name, rel regclass, src name, dst name) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_register_edge'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION register_edge(name, regclass, name, name) IS
'let a table of the caller, with an index on (src, dst), answer is_edge() of that name for everybody; following, member and blocked have predicates of their own';
REVOKE ALL ON FUNCTION register_edge(name, regclass, name, name) FROM PUBLIC;

CREATE FUNCTION drop_edge(edge name) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_edge'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_edge(name) IS 'forget an edge, not its table; policies that ask for it raise 42704 from then on';
REVOKE ALL ON FUNCTION drop_edge(name) FROM PUBLIC;

CREATE FUNCTION edge_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_edge_support'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION edge_support(internal) IS 'planner support: an index condition when the caller has few edges, and how many rows they let through';
REVOKE ALL ON FUNCTION edge_support(internal) FROM PUBLIC;

CREATE FUNCTION edge_targets_uuid(edge name) RETURNS uuid[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_uuid(name) IS 'whom the caller''s edges lead to; what plans of is_edge() look up in an index';

CREATE FUNCTION edge_targets_bigint(edge name) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_bigint(name) IS 'whom the caller''s edges lead to; what plans of is_edge() look up in an index';

CREATE FUNCTION edge_targets_text(edge name) RETURNS text[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_text(name) IS 'whom the caller''s edges lead to; what plans of is_edge() look up in an index';

CREATE FUNCTION is_following(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_following(uuid) IS 'does the caller follow it (edge following); false when nobody is logged in';

CREATE FUNCTION is_following(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_following(bigint) IS 'does the caller follow it (edge following); false when nobody is logged in';

CREATE FUNCTION is_following(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_following(text) IS 'does the caller follow it (edge following); false when nobody is logged in';

CREATE FUNCTION is_member(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_member(uuid) IS 'is the caller a member of it (edge member); false when nobody is logged in';

CREATE FUNCTION is_member(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_member(bigint) IS 'is the caller a member of it (edge member); false when nobody is logged in';

CREATE FUNCTION is_member(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_member(text) IS 'is the caller a member of it (edge member); false when nobody is logged in';

CREATE FUNCTION has_blocked(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION has_blocked(uuid) IS 'did the caller block it (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE FUNCTION has_blocked(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION has_blocked(bigint) IS 'did the caller block it (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE FUNCTION has_blocked(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION has_blocked(text) IS 'did the caller block it (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE FUNCTION is_blocked_by(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION is_blocked_by(uuid) IS 'did it block the caller (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE FUNCTION is_blocked_by(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION is_blocked_by(bigint) IS 'did it block the caller (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE FUNCTION is_blocked_by(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION is_blocked_by(text) IS 'did it block the caller (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE FUNCTION is_edge(edge name, target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_edge(name, uuid) IS 'does the registered edge lead from the caller to the target; false when nobody is logged in';

CREATE FUNCTION is_edge(edge name, target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_edge(name, bigint) IS 'does the registered edge lead from the caller to the target; false when nobody is logged in';

CREATE FUNCTION is_edge(edge name, target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_edge(name, text) IS 'does the registered edge lead from the caller to the target; false when nobody is logged in';

CREATE FUNCTION is_edge(edge name, target int) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_edge(name, int) IS 'does the registered edge lead from the caller to the target; what is_following() and its like become on columns of this type';

CREATE FUNCTION is_edge(edge name, target smallint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi.edge_support;
COMMENT ON FUNCTION is_edge(name, smallint) IS 'does the registered edge lead from the caller to the target; what is_following() and its like become on columns of this type';

CREATE FUNCTION can_view(visibility text, author uuid, grp uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, uuid, uuid) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author uuid, grp bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, uuid, bigint) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author uuid, grp text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, uuid, text) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author bigint, grp uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, bigint, uuid) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author bigint, grp bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, bigint, bigint) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author bigint, grp text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, bigint, text) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author text, grp uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, text, uuid) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author text, grp bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, text, bigint) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE FUNCTION can_view(visibility text, author text, grp text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, text, text) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

-- Policies in one call.  What was before is kept in the comments of the
-- policies, which go with the table wherever it goes.

CREATE FUNCTION protect(rel regclass, owner name, visibility name = NULL, grp name = NULL,
                        force boolean = false, dry_run boolean = false)
    RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids CONSTANT text[] := ARRAY['uuid', 'bigint', 'integer', 'smallint', 'text', 'character varying'];
    c pg_class;
    columns CONSTANT name[] := ARRAY[owner, visibility, grp];
    types regtype[];
    typ regtype;
    others text;
    owns text;
    sees text;
    statements text[];
    statement text;
BEGIN
    SELECT * INTO c FROM pg_class WHERE oid = rel;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such table' USING ERRCODE = 'undefined_table';
    ELSIF NOT pg_has_role(c.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table "%"', c.relname USING ERRCODE = 'insufficient_privilege';
    ELSIF c.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" is not a table', c.relname USING ERRCODE = 'wrong_object_type';
    ELSIF owner IS NULL THEN
        RAISE EXCEPTION 'owner must not be null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF grp IS NOT NULL AND visibility IS NULL THEN
        RAISE EXCEPTION 'grp needs visibility' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'A row is for its group when its visibility is ''group''.';
    END IF;
    IF NOT dry_run THEN
        -- nobody adds a policy while we look
        EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', rel);
        SELECT * INTO c FROM pg_class WHERE oid = rel;
    END IF;

    FOR i IN 1 .. 3 LOOP
        CONTINUE WHEN columns[i] IS NULL;
        SELECT coalesce(nullif(t.typbasetype, 0), t.oid) INTO typ
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = rel AND a.attname = columns[i] AND a.attnum > 0 AND NOT a.attisdropped;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'column "%" of table "%" does not exist', columns[i], c.relname USING ERRCODE = 'undefined_column';
        ELSIF i <> 2 AND typ::text <> ALL (ids) THEN
            RAISE EXCEPTION 'column "%" is of type %', columns[i], typ
                USING ERRCODE = 'datatype_mismatch', HINT = format('Ids are %s.', array_to_string(ids, ', '));
        END IF;
        types[i] := typ;
    END LOOP;
    owns := format('cozi.is_owner(%I)', owner);
    sees := owns;

    IF EXISTS (SELECT FROM pg_policy WHERE polrelid = rel AND obj_description(oid, 'pg_policy') LIKE 'made by cozi.protect: %') THEN
        RAISE EXCEPTION 'table "%" is protected already', c.relname USING ERRCODE = 'duplicate_object',
            HINT = 'Call cozi.unprotect() first, in the same transaction.';
    END IF;
    SELECT string_agg(quote_ident(polname), ', ' ORDER BY polname) INTO others
    FROM pg_policy WHERE polrelid = rel AND polpermissive;
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'table "%" has other permissive policies: %', c.relname, others
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A row that any permissive policy lets through is let through.',
                  HINT = 'Drop them, or make them AS RESTRICTIVE.';
    END IF;

    IF visibility IS NOT NULL THEN
        IF EXISTS (SELECT FROM pg_type WHERE oid = types[2] AND typtype = 'e') THEN
            RAISE WARNING 'column "%" is an enum', visibility
                USING DETAIL = 'The operators of enums are not leakproof: under a policy, conditions on the column use no index.',
                      HINT = 'Make it text or smallint.';
            sees := format('%I::text', visibility);
        ELSIF types[2] IN ('text'::regtype, 'varchar'::regtype) THEN
            sees := format('%I', visibility);
        ELSIF types[2] = 'smallint'::regtype THEN
            sees := format('(ARRAY[''public'', ''followers'', ''group'', ''private''])[%I]', visibility);
        ELSE
            RAISE EXCEPTION 'column "%" is of type %', visibility, types[2] USING ERRCODE = 'datatype_mismatch',
                HINT = 'Visibility is text (public, followers, group, private) or smallint (1 to 4).';
        END IF;
        sees := format('cozi.can_view(%s, %I, %s)', sees, owner, coalesce(quote_ident(grp), 'NULL::bigint'));
    END IF;

    PERFORM FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = rel AND a.attname = owner AND i.indisvalid AND i.indpred IS NULL;
    IF NOT FOUND THEN
        statements := statements || format('CREATE INDEX ON %s (%I)', rel, owner);
    END IF;
    statements := statements || ARRAY[
        format('CREATE POLICY cozi_select ON %s FOR SELECT USING (%s)', rel, sees),
        format('CREATE POLICY cozi_insert ON %s FOR INSERT WITH CHECK (%s)', rel, owns),
        format('CREATE POLICY cozi_update ON %s FOR UPDATE USING (%s) WITH CHECK (%s)', rel, owns, owns),
        format('CREATE POLICY cozi_delete ON %s FOR DELETE USING (%s)', rel, owns)];
    FOREACH statement IN ARRAY ARRAY['cozi_select', 'cozi_insert', 'cozi_update', 'cozi_delete'] LOOP
        statements := statements || format('COMMENT ON POLICY %I ON %s IS %L', statement, rel,
            format('made by cozi.protect: row security was %s, %s before',
                   CASE WHEN c.relrowsecurity THEN 'on' ELSE 'off' END,
                   CASE WHEN c.relforcerowsecurity THEN 'forced' ELSE 'not forced' END));
    END LOOP;
    IF NOT c.relrowsecurity THEN
        statements := statements || format('ALTER TABLE ONLY %s ENABLE ROW LEVEL SECURITY', rel);
    END IF;
    IF force AND NOT c.relforcerowsecurity THEN
        statements := statements || format('ALTER TABLE ONLY %s FORCE ROW LEVEL SECURITY', rel);
    END IF;

    FOREACH statement IN ARRAY statements LOOP
        IF NOT dry_run THEN
            EXECUTE statement;
        END IF;
        RETURN NEXT statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION protect(regclass, name, name, name, boolean, boolean) IS
'row-level security for a table of the caller: its rows are their owner''s to write, and to read as can_view() says; returns what it ran, or with dry_run what it would; locks the table until the end of the transaction';
REVOKE ALL ON FUNCTION protect(regclass, name, name, name, boolean, boolean) FROM PUBLIC;

CREATE FUNCTION unprotect(rel regclass) RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c pg_class;
    made text;
    statement text;
BEGIN
    SELECT * INTO c FROM pg_class WHERE oid = rel;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such table' USING ERRCODE = 'undefined_table';
    ELSIF NOT pg_has_role(c.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table "%"', c.relname USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT min(obj_description(oid, 'pg_policy')) INTO made FROM pg_policy
    WHERE polrelid = rel AND obj_description(oid, 'pg_policy') LIKE 'made by cozi.protect: %';
    IF made IS NULL THEN
        RAISE EXCEPTION 'table "%" is not protected', c.relname USING ERRCODE = 'undefined_object',
            HINT = 'unprotect() drops the policies that protect() made, and no others.';
    END IF;
    FOR statement IN
        (SELECT format('DROP POLICY %I ON %s', polname, rel) FROM pg_policy
         WHERE polrelid = rel AND obj_description(oid, 'pg_policy') LIKE 'made by cozi.protect: %'
         ORDER BY polname)
        UNION ALL
        SELECT format('ALTER TABLE ONLY %s DISABLE ROW LEVEL SECURITY', rel) WHERE made LIKE '%row security was off%'
        UNION ALL
        SELECT format('ALTER TABLE ONLY %s NO FORCE ROW LEVEL SECURITY', rel) WHERE made LIKE '%, not forced before'
    LOOP
        EXECUTE statement;
        RETURN NEXT statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION unprotect(regclass) IS 'drops the policies that protect() made, and sets row security as it was before; indexes stay';
REVOKE ALL ON FUNCTION unprotect(regclass) FROM PUBLIC;
