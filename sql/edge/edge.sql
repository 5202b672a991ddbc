-- edge: the tables that say who follows whom: src/edge/edge.h is the map

-- The table is named in words, because a dump must name the same table or none;
-- rel is NULL when the table was dropped; owner is who owns it, or owned it.
CREATE TABLE edge_config (
    edge       name PRIMARY KEY,
    rel        text,
    src        name NOT NULL,
    dst        name NOT NULL,
    status     name,
    accepted   text[],
    expires_at name,
    deleted_at name,
    role       name,
    roles      text[],
    owner      name
);
COMMENT ON TABLE edge_config IS
'One row per edge: its table and columns, and which rows count; the view edges shows it';
SELECT pg_catalog.pg_extension_config_dump('cozi.edge_config', '');

CREATE TABLE edge_state (
    edge    name PRIMARY KEY,
    relid   oid,
    ids     text,
    trouble text
);
COMMENT ON TABLE edge_state IS
'One row per edge: which relation it is in this database, and what the latest command made '
'of it; not dumped';

CREATE OR REPLACE FUNCTION _edge_config_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_edge_config_changed'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _edge_config_changed() IS
'Finds the tables of new registrations, and tells all sessions to read them again; a trigger '
'of edge_config';
CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON edge_config
    FOR EACH STATEMENT EXECUTE FUNCTION cozi._edge_config_changed();
ALTER TABLE edge_config ENABLE ALWAYS TRIGGER changed;
CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON edge_state
    FOR EACH STATEMENT EXECUTE FUNCTION cozi._config_changed();
ALTER TABLE edge_state ENABLE ALWAYS TRIGGER changed;

CREATE OR REPLACE FUNCTION _edge_follow() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_edge_follow'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _edge_follow() IS
'Follows the tables of edges when they are renamed, and warns at once when a command breaks '
'an edge; event trigger';
CREATE EVENT TRIGGER cozi_edge_ddl ON ddl_command_end EXECUTE FUNCTION cozi._edge_follow();
ALTER EVENT TRIGGER cozi_edge_ddl ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER cozi_edge_ddl IS
'follows the tables of edges, and warns when a command breaks an edge';
CREATE EVENT TRIGGER cozi_edge_drop ON sql_drop EXECUTE FUNCTION cozi._edge_follow();
ALTER EVENT TRIGGER cozi_edge_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER cozi_edge_drop IS
'warns when an edge loses its table or its index';

CREATE OR REPLACE FUNCTION _edge_trouble(edge name) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_edge_trouble'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION _edge_trouble(name) IS
'Returns why an edge cannot be read; NULL when it can';

CREATE OR REPLACE VIEW edges AS
SELECT c.edge,
       r.oid::pg_catalog.regclass AS relation,
       c.src, c.dst, c.status, c.accepted, c.expires_at, c.deleted_at, c.role, c.roles,
       cozi._edge_trouble(c.edge) AS trouble
FROM cozi.edge_config c
LEFT JOIN cozi.edge_state s USING (edge)
LEFT JOIN pg_catalog.pg_class r ON r.oid = coalesce(s.relid, pg_catalog.to_regclass(c.rel));
COMMENT ON VIEW edges IS
'One row per edge: its table (NULL when it was dropped), the columns from whom and to whom, '
'which rows count, and why it cannot be read; trouble is NULL when it can';

CREATE OR REPLACE FUNCTION register_edge(edge name, rel regclass, src name, dst name,
                                         status name = NULL, accepted text[] = NULL,
                                         expires_at name = NULL, deleted_at name = NULL,
                                         role name = NULL, roles text[] = NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_register_edge'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION register_edge(name, regclass, name, name, name, text[], name, name, name,
                                  text[]) IS
'Registers a table of the caller, with an index on (src, dst), to answer is_edge() of that '
'name for everybody; only rows count whose status is accepted, that have not expired, are '
'not deleted and have one of the roles, which ascend; following, member and blocked have '
'predicates of their own';

CREATE OR REPLACE FUNCTION drop_edge(edge name) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_edge'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_edge(name) IS
'Removes the registration of an edge, and not its table; from then on there are no edges of '
'that name';

CREATE OR REPLACE FUNCTION _edge_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_edge_support'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _edge_support(internal) IS
'Tells the planner of an index condition when the caller has few edges, and how many rows '
'they let through; planner support';
