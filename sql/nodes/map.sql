-- nodes: which bucket of users lies on which node: src/sharding/map.c
--
-- A bucket is shard_of(user_id, 1024); there are 1,024 of them for ever, and the
-- map says where each lies.  All changes take one lock, SHARE UPDATE EXCLUSIVE on
-- shard_map, and then a version from the sequence: versions are committed in
-- their order, and a client that has seen one asks for what came after it.

CREATE TABLE nodes (
    node     text COLLATE "C" PRIMARY KEY
             CHECK (node OPERATOR(pg_catalog.~) '^[A-Za-z0-9_.-]{1,63}$'),
    number   int NOT NULL UNIQUE CHECK (number OPERATOR(pg_catalog.>=) 0),
    server   text COLLATE "C",
    capacity float8 NOT NULL DEFAULT 1
             CHECK (capacity OPERATOR(pg_catalog.>) 0 AND capacity OPERATOR(pg_catalog.<=) 1e9),
    region   text COLLATE "C",
    reserved boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE nodes IS 'One row per node: a database that buckets of users lie on';
COMMENT ON COLUMN nodes.node IS 'Name of the node: letters, digits and "_.-"';
COMMENT ON COLUMN nodes.number IS
'Number of the node from 0 on, for routers that know nodes by number';
COMMENT ON COLUMN nodes.server IS
'Foreign server that leads to the node; NULL: this database is the node';
COMMENT ON COLUMN nodes.capacity IS
'How much of the load the node is to take, in proportion to the others';
COMMENT ON COLUMN nodes.region IS 'Region of the node; NULL: none';
COMMENT ON COLUMN nodes.reserved IS
'Whether the node takes only buckets that are pinned to it';
SELECT pg_catalog.pg_extension_config_dump('cozi.nodes', '');

CREATE SEQUENCE shard_map_version AS bigint;
COMMENT ON SEQUENCE shard_map_version IS 'The versions of the map; moved by changes to shard_map';
SELECT pg_catalog.pg_extension_config_dump('cozi.shard_map_version', '');

CREATE TABLE shard_map (
    bucket  int PRIMARY KEY CHECK (bucket OPERATOR(pg_catalog.>=) 0
                                   AND bucket OPERATOR(pg_catalog.<) 1024),
    node    text COLLATE "C" NOT NULL REFERENCES nodes ON UPDATE CASCADE,
    pinned  boolean NOT NULL DEFAULT false,
    region  text COLLATE "C",
    version bigint NOT NULL
);
COMMENT ON TABLE shard_map IS 'One row per bucket of users: the node that it lies on';
COMMENT ON COLUMN shard_map.bucket IS 'shard_of(user_id, 1024)';
COMMENT ON COLUMN shard_map.node IS 'Node that the bucket lies on';
COMMENT ON COLUMN shard_map.pinned IS 'Whether rebalance_plan() leaves the bucket where it is';
COMMENT ON COLUMN shard_map.region IS
'Region whose nodes the bucket may lie on; NULL: any node';
COMMENT ON COLUMN shard_map.version IS 'Version of the map in which the row last changed';
CREATE INDEX shard_map_node_idx ON shard_map (node);
SELECT pg_catalog.pg_extension_config_dump('cozi.shard_map', '');

CREATE OR REPLACE TRIGGER config_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON shard_map
    FOR EACH STATEMENT EXECUTE FUNCTION _config_changed();
ALTER TABLE shard_map ENABLE ALWAYS TRIGGER config_changed;

-- Logical replication fires the triggers of rows alone where it applies a change.
CREATE OR REPLACE TRIGGER config_applied AFTER INSERT OR UPDATE OR DELETE ON shard_map
    FOR EACH ROW EXECUTE FUNCTION _config_changed();
ALTER TABLE shard_map ENABLE REPLICA TRIGGER config_applied;

-- A row that is updated by hand gets a version too.  Rows that are inserted keep
-- theirs: pg_restore inserts them; and so do rows of a copy of the map, which come
-- with the versions of the original.  Where a copy is changed itself, it goes on
-- from there.
CREATE OR REPLACE FUNCTION _shard_map_changes() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        LOCK TABLE cozi.shard_map IN SHARE UPDATE EXCLUSIVE MODE;
        PERFORM setval('cozi.shard_map_version', max(m.version)) FROM cozi.shard_map m
        HAVING max(m.version) > (SELECT v.last_value FROM cozi.shard_map_version v);
        RETURN NULL;
    END IF;
    IF current_setting('session_replication_role') <> 'replica' THEN
        NEW.version := nextval('cozi.shard_map_version');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION _shard_map_changes() IS
'Gives each row of shard_map that is updated a version, under the lock of the map; for triggers';
CREATE OR REPLACE TRIGGER changes BEFORE UPDATE ON shard_map
    FOR EACH STATEMENT EXECUTE FUNCTION _shard_map_changes();
CREATE OR REPLACE TRIGGER row_changes BEFORE UPDATE ON shard_map
    FOR EACH ROW EXECUTE FUNCTION _shard_map_changes();
ALTER TABLE shard_map ENABLE ALWAYS TRIGGER changes;
ALTER TABLE shard_map ENABLE ALWAYS TRIGGER row_changes;

CREATE OR REPLACE FUNCTION shard_map_version() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(max(m.version), 0) FROM cozi.shard_map m;
END;
COMMENT ON FUNCTION shard_map_version() IS
'Returns the version of the map of buckets: it grows with each change; 0 without a map';
