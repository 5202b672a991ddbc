-- nodes: on which node a user lies: src/sharding/map.c

CREATE OR REPLACE FUNCTION node_of(user_id smallint) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_int2'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of(smallint) IS
'Returns the name of the node that a user lies on, by cozi.shard_map; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION node_of(user_id int) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_int4'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of(int) IS
'Returns the name of the node that a user lies on, by cozi.shard_map; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION node_of(user_id bigint) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_int8'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of(bigint) IS
'Returns the name of the node that a user lies on, by cozi.shard_map; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION node_of(user_id uuid) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_uuid'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of(uuid) IS
'Returns the name of the node that a user lies on, by cozi.shard_map; NULL if the key is NULL';

-- What a literal or a parameter without a type is taken for.
CREATE OR REPLACE FUNCTION node_of(user_id text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_untyped'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of(text) IS
'Returns the node of a number or a uuid that a driver sends without a type; an error for any other '
'text, and for a column of type text; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION node_of_text(user_id text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_text'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of_text(text) IS
'Returns the name of the node that a user with a text key lies on; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION node_of_bucket(bucket int) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_node_of_bucket'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION node_of_bucket(int) IS
'Returns the name of the node that a bucket lies on, such as the id_bucket() of an id; NULL if the '
'bucket is NULL';
