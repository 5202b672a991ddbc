
-- sharding: one shard number that every engine agrees on

-- Routing

CREATE FUNCTION shard_of(user_id smallint, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int2'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(smallint, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

CREATE FUNCTION shard_of(user_id int, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int4'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(int, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

CREATE FUNCTION shard_of(user_id bigint, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(bigint, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

CREATE FUNCTION shard_of(user_id uuid, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of(uuid, int) IS
'shard of a key, 0 .. modulus - 1: the remainder of PostgreSQL''s HASH partitioning';

-- A name of its own: an untyped literal prefers text, and '1' hashes unlike 1.
CREATE FUNCTION shard_of_text(user_id text, modulus int) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_shard_of_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_of_text(text, int) IS
'shard of a text key, by its bytes: agrees with HASH partitions under any deterministic collation';

CREATE FUNCTION shard_hash(user_id smallint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int2'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(smallint) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE FUNCTION shard_hash(user_id int) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int4'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(int) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE FUNCTION shard_hash(user_id bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(bigint) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE FUNCTION shard_hash(user_id uuid) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash(uuid) IS
'the 64-bit hash that shard_of divides, to be read as unsigned';

CREATE FUNCTION shard_hash_text(user_id text) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_shard_hash_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION shard_hash_text(text) IS
'the 64-bit hash that shard_of_text divides, to be read as unsigned';

-- Ids that know their shard

CREATE FUNCTION next_id(seq regclass, bucket int = 0) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_next_id'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1;
COMMENT ON FUNCTION next_id(regclass, int) IS
'next id of a sequence: 41 bits milliseconds since 2024, 12 bits count, 10 bits bucket; needs USAGE on the sequence';

CREATE FUNCTION uuid7(bucket int = 0) RETURNS uuid
AS 'MODULE_PATHNAME', 'cozi_uuid7'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION uuid7(int) IS
'uuid of version 7 that sorts by time, rises within a session and holds a bucket, 0 .. 1023';

CREATE FUNCTION id_bucket(id bigint) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_id_bucket_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_bucket(bigint) IS 'bucket of an id made by next_id';

CREATE FUNCTION id_bucket(id uuid) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_id_bucket_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_bucket(uuid) IS 'bucket of a uuid made by uuid7';

CREATE FUNCTION id_time(id bigint) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cozi_id_time_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_time(bigint) IS 'when next_id made this id, to the millisecond';

CREATE FUNCTION id_time(id uuid) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cozi_id_time_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_time(uuid) IS 'when this uuid of version 7 was made, to the millisecond';

-- Shards on one machine
