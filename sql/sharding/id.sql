-- sharding: ids that know their shard

CREATE OR REPLACE FUNCTION next_id(seq regclass, bucket int = 0) RETURNS bigint
AS 'MODULE_PATHNAME', 'cozi_next_id'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1;
COMMENT ON FUNCTION next_id(regclass, int) IS
'Returns the next id of a sequence: 41 bits milliseconds since 2024, 12 bits count, 10 bits '
'bucket; needs USAGE on the sequence, whose state must never go back; NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION uuid7(bucket int = 0) RETURNS uuid
AS 'MODULE_PATHNAME', 'cozi_uuid7'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION uuid7(int) IS
'Returns a uuid of version 7 that sorts by time, rises within a session and holds a bucket, '
'0 .. 1023; NULL if the bucket is NULL';

CREATE OR REPLACE FUNCTION id_bucket(id bigint) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_id_bucket_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_bucket(bigint) IS
'Returns the bucket of an id made by next_id; NULL if the id is NULL';

CREATE OR REPLACE FUNCTION id_bucket(id uuid) RETURNS int
AS 'MODULE_PATHNAME', 'cozi_id_bucket_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_bucket(uuid) IS
'Returns the bucket of a uuid made by uuid7; NULL if the id is NULL';

CREATE OR REPLACE FUNCTION id_time(id bigint) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cozi_id_time_int8'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_time(bigint) IS
'Returns when next_id made this id, to the millisecond; NULL if the id is NULL';

CREATE OR REPLACE FUNCTION id_time(id uuid) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'cozi_id_time_uuid'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION id_time(uuid) IS
'Returns when this uuid of version 7 was made, to the millisecond; NULL if the id is NULL';
