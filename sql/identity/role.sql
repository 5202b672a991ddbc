-- identity: the roles of the caller: src/identity/role.c

CREATE OR REPLACE FUNCTION has_role(role text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_role'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION has_role(text) IS
'Returns whether the verified claims give the caller the role, at a path of cozi.role_claim; false '
'when nobody is logged in; NULL for NULL';

CREATE OR REPLACE FUNCTION require_role(role text) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_require_role'
    LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION require_role(text) IS
'Raises an error unless has_role(): 42501, or 28000 when nobody is logged in; 22004 for NULL';
