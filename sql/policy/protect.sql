-- policy: protect(), unprotect()

CREATE OR REPLACE FUNCTION protect(rel regclass, owner name, visibility name = NULL, grp name = NULL,
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

CREATE OR REPLACE FUNCTION unprotect(rel regclass) RETURNS SETOF text
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
