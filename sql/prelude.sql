\echo Use "CREATE EXTENSION cozi" to load this file. \quit

-- cozi: the content logic of a social platform, inside PostgreSQL.
--
-- This script is built from the parts that sql/order lists.  The last one,
-- grants, revokes every object from PUBLIC and grants it again by a list.  Only
-- the owner of schema cozi and pg_monitor may use the schema, until the
-- administrator calls cozi.grant_owner(), cozi.grant_app(), or says
--
--     GRANT USAGE ON SCHEMA cozi TO ...;

-- The functions of the extension would call objects that other roles have put
-- into the schema, or still can.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n
               JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
               WHERE n.nspname OPERATOR(pg_catalog.=) 'cozi'
                 AND r.rolname OPERATOR(pg_catalog.<>) CURRENT_USER) THEN
        RAISE EXCEPTION 'schema "cozi" belongs to another role'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Drop the schema, or make the role that creates the extension its owner.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n,
                           pg_catalog.aclexplode(n.nspacl) a
               WHERE n.nspname OPERATOR(pg_catalog.=) 'cozi'
                 AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
                 AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner) THEN
        RAISE EXCEPTION 'other roles may create objects in schema "cozi"'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Drop the schema, or revoke CREATE on it before CREATE EXTENSION cozi.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.refclassid OPERATOR(pg_catalog.=)
                     'pg_catalog.pg_namespace'::pg_catalog.regclass
                 AND d.refobjid OPERATOR(pg_catalog.=) 'cozi'::pg_catalog.regnamespace
                 AND d.classid OPERATOR(pg_catalog.<>)
                     'pg_catalog.pg_extension'::pg_catalog.regclass) THEN
        RAISE EXCEPTION 'schema "cozi" is not empty'
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Move or drop the objects in it before CREATE EXTENSION cozi.';
    END IF;
END
$$;

REVOKE ALL ON SCHEMA cozi FROM PUBLIC;
-- pg_dump looks at the schema for the owner of the database, too.
GRANT USAGE ON SCHEMA cozi TO pg_monitor, pg_database_owner;
COMMENT ON SCHEMA cozi IS 'The content logic of a social platform (extension cozi)';

-- The library looks for its tables in schema cozi, and policies name the schema.
CREATE OR REPLACE FUNCTION _keep_schema() RETURNS event_trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
               WHERE e.extname = 'cozi' AND n.nspname <> 'cozi') THEN
        RAISE EXCEPTION 'cannot rename schema "cozi"' USING ERRCODE = 'feature_not_supported',
            DETAIL = 'Extension cozi finds its tables by the name of the schema.',
            HINT = 'To hide the schema from a role, revoke USAGE on it.';
    END IF;
END
$$;
COMMENT ON FUNCTION _keep_schema() IS
'Refuses to rename the schema of the extension; an event trigger';

CREATE EVENT TRIGGER cozi_keep_schema ON ddl_command_end
    WHEN TAG IN ('ALTER SCHEMA')
    EXECUTE FUNCTION _keep_schema();
COMMENT ON EVENT TRIGGER cozi_keep_schema IS
'Keeps the name of schema cozi, by which the library finds its tables';
