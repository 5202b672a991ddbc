-- advisor: what an index would change, without the index

CREATE OR REPLACE FUNCTION _one_statement(query text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_one_statement'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION _one_statement(text) IS
'Returns whether a text is one SELECT, INSERT, UPDATE, DELETE or MERGE, by the grammar alone; '
    'NULL for NULL.';

-- As the caller: the rights, the settings and the policies are theirs.  The plan
-- is the generic one, so that $1 needs no value.
CREATE OR REPLACE FUNCTION what_if(query text, index_ddl text,
    OUT cost float8, OUT cost_with_index float8, OUT is_used boolean, OUT index_bytes bigint,
    OUT plan jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 100000
AS $$
#variable_conflict use_column
DECLARE
    prepared CONSTANT text := 'cozi_what_if';
    schema text;
    explain text;
    indexes oid[];
    names text[];
    before jsonb;
BEGIN
    IF $1 IS NULL OR $2 IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN $1 IS NULL THEN 'query' ELSE 'index_ddl' END
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT pg_catalog.quote_ident(n.nspname) INTO schema
    FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname = 'hypopg';
    IF schema IS NULL THEN
        RAISE EXCEPTION 'what_if() needs extension "hypopg"'
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Install its package (Debian: postgresql-NN-hypopg), then run '
                'CREATE EXTENSION hypopg.';
    END IF;
    IF NOT cozi._one_statement($1) THEN
        RAISE EXCEPTION 'argument "query" must be one SELECT, INSERT, UPDATE, DELETE or MERGE'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE p.name = prepared) THEN
        EXECUTE pg_catalog.format('DEALLOCATE %I', prepared);
    END IF;
    EXECUTE pg_catalog.format('PREPARE %I AS ', prepared) || $1;
    SELECT pg_catalog.format('EXPLAIN (FORMAT JSON) EXECUTE %I%s', prepared,
        '(' || pg_catalog.string_agg('NULL', ', ') || ')') INTO explain
    FROM pg_catalog.pg_prepared_statements p, pg_catalog.unnest(p.parameter_types)
    WHERE p.name = prepared;
    explain := coalesce(explain, pg_catalog.format('EXPLAIN (FORMAT JSON) EXECUTE %I', prepared));
    BEGIN
        PERFORM pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true);
        EXECUTE explain INTO before;
        EXECUTE pg_catalog.format('SELECT pg_catalog.array_agg(h.indexrelid), '
            'pg_catalog.array_agg(h.indexname::text) FROM %s.hypopg_create_index($1) h', schema)
            INTO indexes, names USING $2;
        IF pg_catalog.cardinality(indexes) IS DISTINCT FROM 1 THEN
            RAISE EXCEPTION 'argument "index_ddl" must be one CREATE INDEX'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        -- a prepared statement is planned anew only when it is prepared anew
        EXECUTE pg_catalog.format('DEALLOCATE %I', prepared);
        EXECUTE pg_catalog.format('PREPARE %I AS ', prepared) || $1;
        EXECUTE explain INTO plan;
        EXECUTE pg_catalog.format('SELECT %s.hypopg_relation_size($1)', schema)
            INTO index_bytes USING indexes[1];
        RAISE EXCEPTION 'the settings go back' USING ERRCODE = 'CZ001';
    EXCEPTION
        WHEN OTHERS OR query_canceled THEN
            IF indexes IS NOT NULL THEN
                EXECUTE pg_catalog.format('SELECT pg_catalog.count(%s.hypopg_drop_index(i)) '
                    'FROM pg_catalog.unnest($1) i', schema) USING indexes;
            END IF;
            IF EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE p.name = prepared)
            THEN
                EXECUTE pg_catalog.format('DEALLOCATE %I', prepared);
            END IF;
            IF SQLSTATE <> 'CZ001' THEN
                RAISE;
            END IF;
    END;
    cost := (before -> 0 -> 'Plan' ->> 'Total Cost')::float8;
    cost_with_index := (plan -> 0 -> 'Plan' ->> 'Total Cost')::float8;
    is_used := pg_catalog.jsonb_path_exists(plan, '$.** ? (@."Index Name" == $name)',
        pg_catalog.jsonb_build_object('name', names[1]));
END
$$;
COMMENT ON FUNCTION what_if(text, text) IS
'Returns what a statement would cost with an index that is not made: by HypoPG, planned once as '
    'the caller, $1 without a value; 55000 without HypoPG.';
