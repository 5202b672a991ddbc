-- policy: whose row it is: src/policy/owner.c

CREATE OR REPLACE FUNCTION _is_owner_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_is_owner_support'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _is_owner_support(internal) IS
'Makes is_owner(x) x = cozi.uid(); planner support';

-- Leakproof, as the = they stand for.

CREATE OR REPLACE FUNCTION is_owner(id uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_owner_uuid'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1
    SUPPORT cozi._is_owner_support;
COMMENT ON FUNCTION is_owner(uuid) IS
'Returns true if id is the caller''s; planned as id = cozi.uid(); NULL when no one is logged in';

CREATE OR REPLACE FUNCTION is_owner(id bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_owner_bigint'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1
    SUPPORT cozi._is_owner_support;
COMMENT ON FUNCTION is_owner(bigint) IS
'Returns true if id is the caller''s; planned as id = cozi.uid_bigint(); NULL when no one is '
'logged in';

CREATE OR REPLACE FUNCTION is_owner(id text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_owner_text'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1
    SUPPORT cozi._is_owner_support;
COMMENT ON FUNCTION is_owner(text) IS
'Returns true if id is the caller''s; planned as id = cozi.uid_text(); NULL when no one is '
'logged in';
