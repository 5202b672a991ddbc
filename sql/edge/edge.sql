-- edge: the tables that say who follows whom: src/edge/edge.h is the map

-- Edges: src/edge/edge.h is the map.  Rows are written by the
-- functions below alone.

CREATE TABLE edge_config (
    edge name     PRIMARY KEY,
    rel  regclass NOT NULL,
    src  name     NOT NULL,
    dst  name     NOT NULL
);
COMMENT ON TABLE edge_config IS 'the tables that say who follows, is a member of, or blocked whom: see the view edges';
SELECT pg_catalog.pg_extension_config_dump('cozi.edge_config', '');

CREATE OR REPLACE VIEW edges AS
    SELECT c.edge, c.rel AS relation, c.src, c.dst FROM cozi.edge_config c;
COMMENT ON VIEW edges IS 'the edges: their tables, and the columns from whom and to whom';

CREATE OR REPLACE FUNCTION register_edge(edge name, rel regclass, src name, dst name) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_register_edge'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION register_edge(name, regclass, name, name) IS
'let a table of the caller, with an index on (src, dst), answer is_edge() of that name for everybody; following, member and blocked have predicates of their own';

CREATE OR REPLACE FUNCTION drop_edge(edge name) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_edge'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_edge(name) IS 'forget an edge, not its table; policies that ask for it raise 42704 from then on';

CREATE OR REPLACE FUNCTION _edge_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_edge_support'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _edge_support(internal) IS 'planner support: an index condition when the caller has few edges, and how many rows they let through';

CREATE OR REPLACE FUNCTION edge_targets_uuid(edge name) RETURNS uuid[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_uuid(name) IS 'whom the caller''s edges lead to; what plans of is_edge() look up in an index';

CREATE OR REPLACE FUNCTION edge_targets_bigint(edge name) RETURNS bigint[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_bigint(name) IS 'whom the caller''s edges lead to; what plans of is_edge() look up in an index';

CREATE OR REPLACE FUNCTION edge_targets_text(edge name) RETURNS text[]
    AS 'MODULE_PATHNAME', 'cozi_edge_targets'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1000;
COMMENT ON FUNCTION edge_targets_text(name) IS 'whom the caller''s edges lead to; what plans of is_edge() look up in an index';

CREATE OR REPLACE FUNCTION is_following(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_following(uuid) IS 'does the caller follow it (edge following); false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_following(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_following(bigint) IS 'does the caller follow it (edge following); false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_following(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_following'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_following(text) IS 'does the caller follow it (edge following); false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_member(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_member(uuid) IS 'is the caller a member of it (edge member); false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_member(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_member(bigint) IS 'is the caller a member of it (edge member); false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_member(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_member'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_member(text) IS 'is the caller a member of it (edge member); false when nobody is logged in';

CREATE OR REPLACE FUNCTION has_blocked(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_blocked(uuid) IS 'did the caller block it (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE OR REPLACE FUNCTION has_blocked(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_blocked(bigint) IS 'did the caller block it (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE OR REPLACE FUNCTION has_blocked(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_has_blocked'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION has_blocked(text) IS 'did the caller block it (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE OR REPLACE FUNCTION is_blocked_by(target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION is_blocked_by(uuid) IS 'did it block the caller (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE OR REPLACE FUNCTION is_blocked_by(target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION is_blocked_by(bigint) IS 'did it block the caller (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE OR REPLACE FUNCTION is_blocked_by(target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_blocked_by'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION is_blocked_by(text) IS 'did it block the caller (edge blocked); false when nobody is logged in, or when there is no such edge';

CREATE OR REPLACE FUNCTION is_edge(edge name, target uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(name, uuid) IS 'does the registered edge lead from the caller to the target; false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_edge(edge name, target bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(name, bigint) IS 'does the registered edge lead from the caller to the target; false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_edge(edge name, target text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(name, text) IS 'does the registered edge lead from the caller to the target; false when nobody is logged in';

CREATE OR REPLACE FUNCTION is_edge(edge name, target int) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(name, int) IS 'does the registered edge lead from the caller to the target; what is_following() and its like become on columns of this type';

CREATE OR REPLACE FUNCTION is_edge(edge name, target smallint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_edge'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10
    SUPPORT cozi._edge_support;
COMMENT ON FUNCTION is_edge(name, smallint) IS 'does the registered edge lead from the caller to the target; what is_following() and its like become on columns of this type';
