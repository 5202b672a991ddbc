-- policy: protect(), unprotect(): src/policy/protect.c

CREATE OR REPLACE FUNCTION _protected(state jsonb) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_protected'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
COMMENT ON FUNCTION _protected(jsonb) IS
'Returns true; what protect() has made of a table, and what was before, is the argument of '
'its policy cozi_protected; NULL for NULL';

CREATE OR REPLACE FUNCTION _keep_owner() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_keep_owner'
    LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION _keep_owner() IS
'Refuses that a caller of the role of its argument gives a row to another owner; trigger '
'BEFORE UPDATE OF the owner column';

CREATE OR REPLACE FUNCTION protect(
    rel regclass, owner name, visibility name = NULL, grp name = NULL,
    force boolean = false, dry_run boolean = false, words jsonb = NULL, parent regclass = NULL,
    parent_key name = NULL, deleted_at name = NULL, override_role text = NULL)
    RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'cozi_protect'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION protect(regclass, name, name, name, boolean, boolean, jsonb, regclass, name,
                            name, text) IS
'Protects a table of the caller and its partitions by policies: rows are their owner''s to '
'write, and to read as can_view() and the parent say; returns the statements that it ran, or '
'with dry_run would run; locks the table until the end of the transaction';

CREATE OR REPLACE FUNCTION unprotect(rel regclass) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'cozi_unprotect'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unprotect(regclass) IS
'Drops what protect() made of a table and its partitions, and sets row security as it was '
'before; indexes stay, and so does row security while any policy remains';

CREATE OR REPLACE FUNCTION _protect_children() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_protect_children'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _protect_children() IS
'Closes a table to direct access when it becomes a partition or child of a protected one; '
'event trigger';
CREATE EVENT TRIGGER cozi_protect_children ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER TABLE',
                 'ALTER FOREIGN TABLE')
    EXECUTE FUNCTION cozi._protect_children();
ALTER EVENT TRIGGER cozi_protect_children ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER cozi_protect_children IS
'closes new partitions and children of protected tables';
