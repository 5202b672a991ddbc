-- edge: the predicates of edges, made from sql/edge/predicate.tsv by sql/functions.awk
-- Leakproof: they are total, and tell of their target by the answer alone.

CREATE OR REPLACE FUNCTION edge_targets_uuid(edge name) RETURNS uuid[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_uuid(edge name) IS
'Returns all targets of the caller''s edges of that name; what plans of the predicates look '
'up in an index; empty when no one is logged in or the edge cannot be read';

CREATE OR REPLACE FUNCTION edge_targets_bigint(edge name) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_bigint(edge name) IS
'Returns all targets of the caller''s edges of that name; what plans of the predicates look '
'up in an index; empty when no one is logged in or the edge cannot be read';

CREATE OR REPLACE FUNCTION edge_targets_text(edge name) RETURNS text[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_text(edge name) IS
'Returns all targets of the caller''s edges of that name; what plans of the predicates look '
'up in an index; empty when no one is logged in or the edge cannot be read';

CREATE OR REPLACE FUNCTION is_edge(edge name, target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(edge name, target uuid) IS
'Returns true if the registered edge leads from the caller to the target; false when no one '
'is logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_edge(edge name, target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(edge name, target bigint) IS
'Returns true if the registered edge leads from the caller to the target; false when no one '
'is logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_edge(edge name, target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(edge name, target text) IS
'Returns true if the registered edge leads from the caller to the target; false when no one '
'is logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_edge(edge name, target int) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(edge name, target int) IS
'Returns true if the registered edge leads from the caller to the target; false when no one '
'is logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_edge(edge name, target smallint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(edge name, target smallint) IS
'Returns true if the registered edge leads from the caller to the target; false when no one '
'is logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION has_edge_role(edge name, target uuid, role text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_edge_role'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_edge_role(edge name, target uuid, role text) IS
'Returns true if an edge leads from the caller to the target with at least that role, of the '
'roles it was registered with; false for any other role and when no one is logged in; NULL '
'for NULL';

CREATE OR REPLACE FUNCTION has_edge_role(edge name, target bigint, role text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_edge_role'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_edge_role(edge name, target bigint, role text) IS
'Returns true if an edge leads from the caller to the target with at least that role, of the '
'roles it was registered with; false for any other role and when no one is logged in; NULL '
'for NULL';

CREATE OR REPLACE FUNCTION has_edge_role(edge name, target text, role text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_edge_role'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_edge_role(edge name, target text, role text) IS
'Returns true if an edge leads from the caller to the target with at least that role, of the '
'roles it was registered with; false for any other role and when no one is logged in; NULL '
'for NULL';

CREATE OR REPLACE FUNCTION is_following(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_following(target uuid) IS
'Returns true if the caller follows the target (edge following); false when no one is logged '
'in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_following(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_following(target bigint) IS
'Returns true if the caller follows the target (edge following); false when no one is logged '
'in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_following(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_following(target text) IS
'Returns true if the caller follows the target (edge following); false when no one is logged '
'in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_member(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_member(target uuid) IS
'Returns true if the caller is a member of the target (edge member); false when no one is '
'logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_member(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_member(target bigint) IS
'Returns true if the caller is a member of the target (edge member); false when no one is '
'logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION is_member(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_member(target text) IS
'Returns true if the caller is a member of the target (edge member); false when no one is '
'logged in or the edge cannot be read; NULL for NULL';

CREATE OR REPLACE FUNCTION has_blocked(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_blocked(target uuid) IS
'Returns true if the caller blocked the target (edge blocked), and while that edge cannot be '
'read; false when no one is logged in or there is no such edge; NULL for NULL';

CREATE OR REPLACE FUNCTION has_blocked(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_blocked(target bigint) IS
'Returns true if the caller blocked the target (edge blocked), and while that edge cannot be '
'read; false when no one is logged in or there is no such edge; NULL for NULL';

CREATE OR REPLACE FUNCTION has_blocked(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_blocked(target text) IS
'Returns true if the caller blocked the target (edge blocked), and while that edge cannot be '
'read; false when no one is logged in or there is no such edge; NULL for NULL';

CREATE OR REPLACE FUNCTION is_blocked_by(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10;
COMMENT ON FUNCTION is_blocked_by(target uuid) IS
'Returns true if the target blocked the caller (edge blocked), and while that edge cannot be '
'read; false when no one is logged in or there is no such edge; NULL for NULL';

CREATE OR REPLACE FUNCTION is_blocked_by(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10;
COMMENT ON FUNCTION is_blocked_by(target bigint) IS
'Returns true if the target blocked the caller (edge blocked), and while that edge cannot be '
'read; false when no one is logged in or there is no such edge; NULL for NULL';

CREATE OR REPLACE FUNCTION is_blocked_by(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 10;
COMMENT ON FUNCTION is_blocked_by(target text) IS
'Returns true if the target blocked the caller (edge blocked), and while that edge cannot be '
'read; false when no one is logged in or there is no such edge; NULL for NULL';
