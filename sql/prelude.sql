\echo Use "CREATE EXTENSION cozi" to load this file. \quit

-- cozi: the content logic of a social platform, inside PostgreSQL.
--
-- This script is made of one part a domain, in the order of the Makefile.
-- Functions named in a policy or a query of any role may be executed by
-- PUBLIC; everything else is revoked where it is created.  Nobody but its
-- owner may use schema cozi until the administrator says
--
--     GRANT USAGE ON SCHEMA cozi TO ...;

-- A schema that existed before belongs to somebody: objects planted in it
-- would be called by ours.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n
               WHERE n.nspname OPERATOR(pg_catalog.=) 'cozi'
                 AND n.nspowner OPERATOR(pg_catalog.<>) (SELECT r.oid FROM pg_catalog.pg_roles r
                                                         WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER)) THEN
        RAISE EXCEPTION 'schema "cozi" belongs to another role'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Drop the schema, or make the role that creates the extension its owner.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
                 AND d.refobjid OPERATOR(pg_catalog.=) 'cozi'::pg_catalog.regnamespace
                 AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass) THEN
        RAISE EXCEPTION 'schema "cozi" is not empty'
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Move or drop the objects in it before CREATE EXTENSION cozi.';
    END IF;
END
$$;

REVOKE ALL ON SCHEMA cozi FROM PUBLIC;
COMMENT ON SCHEMA cozi IS 'the content logic of a social platform (extension cozi)';
