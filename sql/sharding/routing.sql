-- sharding: one shard number that every engine agrees on

CREATE OR REPLACE FUNCTION shard_of(user_id smallint, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int2'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(smallint, int) IS
'Returns the shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning; '
'NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION shard_of(user_id int, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int4'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(int, int) IS
'Returns the shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning; '
'NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION shard_of(user_id bigint, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(bigint, int) IS
'Returns the shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning; '
'NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION shard_of(user_id uuid, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(uuid, int) IS
'Returns the shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning; '
'NULL if an argument is NULL';

-- A name of its own: an untyped literal prefers text, and '1' hashes unlike 1.
CREATE OR REPLACE FUNCTION shard_of_text(user_id text, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of_text(text, int) IS
'Returns the shard of a text key, by its bytes: agrees with HASH partitions under any '
'deterministic collation; NULL if an argument is NULL';

-- What a literal or a parameter without a type is taken for.
CREATE OR REPLACE FUNCTION shard_of(user_id text, modulus int) RETURNS int
    AS 'MODULE_PATHNAME', 'cozi_shard_of_untyped'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(text, int) IS
'Returns the shard of a number or a uuid that a driver sends without a type; an error for any '
'other text, and for a column of type text; NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION shard_hash(user_id text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_shard_hash_untyped'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(text) IS
'Returns the hash of a number or a uuid that a driver sends without a type; an error for any other '
'text, and for a column of type text; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION shard_hash(user_id smallint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int2'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(smallint) IS
'Returns the 64-bit hash that shard_of divides, to be read as unsigned; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION shard_hash(user_id int) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int4'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(int) IS
'Returns the 64-bit hash that shard_of divides, to be read as unsigned; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION shard_hash(user_id bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(bigint) IS
'Returns the 64-bit hash that shard_of divides, to be read as unsigned; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION shard_hash(user_id uuid) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(uuid) IS
'Returns the 64-bit hash that shard_of divides, to be read as unsigned; NULL if the key is NULL';

CREATE OR REPLACE FUNCTION shard_hash_text(user_id text) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash_text(text) IS
'Returns the 64-bit hash that shard_of_text divides, to be read as unsigned; NULL if the key is '
'NULL';

-- The one list of types that are keys; varchar hashes as text does.
CREATE OR REPLACE FUNCTION _shard_function(typ regtype) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN typ IN ('smallint'::regtype, 'int'::regtype, 'bigint'::regtype, 'uuid'::regtype)
            THEN 'cozi.shard_of'
            WHEN typ IN ('text'::regtype, 'varchar'::regtype) THEN 'cozi.shard_of_text' END;
COMMENT ON FUNCTION _shard_function(regtype) IS
'Returns the function that computes the shard of a key of a type; NULL if no shard is chosen by '
'the type (internal)';
