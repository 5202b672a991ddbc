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
