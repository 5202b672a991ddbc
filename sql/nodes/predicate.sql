-- nodes: which rows are a shard's, in words that a publication accepts
--
-- The row filter of a publication may call functions that are built in and
-- immutable, and no others.  What shard_of() computes is written out in them.

-- 8816678312871386365 is HASH_PARTITION_SEED, 5305509591434766563 what
-- hash_combine64() adds to the hash of a single column.
CREATE OR REPLACE FUNCTION shard_predicate(col name, typ regtype, modulus int, remainder int)
    RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    hash text := CASE typ
        WHEN 'smallint'::regtype THEN 'hashint2extended'
        WHEN 'int'::regtype THEN 'hashint4extended'
        WHEN 'bigint'::regtype THEN 'hashint8extended'
        WHEN 'uuid'::regtype THEN 'uuid_hash_extended'
        WHEN 'text'::regtype THEN 'hashtextextended'
        WHEN 'varchar'::regtype THEN 'hashtextextended' END;
    term text;
BEGIN
    IF hash IS NULL THEN
        RAISE EXCEPTION 'column "%" of type % is no key of shards', col, typ
            USING ERRCODE = 'datatype_mismatch',
                  HINT = 'A key is smallint, int, bigint, uuid, text or varchar.';
    ELSIF modulus < 1 THEN
        RAISE EXCEPTION 'modulus must be greater than zero'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The modulus is the number of shards.';
    ELSIF remainder < 0 OR remainder >= modulus THEN
        RAISE EXCEPTION 'remainder must be between 0 and %', modulus - 1
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The remainder is the number of the shard.';
    END IF;
    term := format('pg_catalog.%s(%I, 8816678312871386365)', hash, col);
    IF modulus & (modulus - 1) = 0 THEN
        RETURN format('((%s & %s) + %s) & %s = %s', term, modulus - 1,
                      5305509591434766563 & (modulus - 1), modulus - 1, remainder);
    END IF;
    -- the hash is unsigned, and the sum modulo 2^64
    RETURN format('(%s::numeric + %s) %% 18446744073709551616 %% %s = %s', term,
                  18446744073709551616 + 5305509591434766563, modulus, remainder);
END
$$;
COMMENT ON FUNCTION shard_predicate(name, regtype, int, int) IS
'Returns the condition shard_of(col, modulus) = remainder in built-in functions only, as the row '
'filter of a publication demands; NULL if an argument is NULL';

-- The digest does not depend on the order of rows or columns, nor on a setting.
CREATE OR REPLACE FUNCTION shard_digest(rel regclass, key name = NULL, modulus int = 1,
    remainder int = 0, OUT rows bigint, OUT digest text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE COST 1000000
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
    SET datestyle = 'ISO, YMD'
    SET intervalstyle = 'postgres'
    SET timezone = 'UTC'
    SET extra_float_digits = 3
    SET bytea_output = 'hex'
    SET xmlbinary = 'base64'
    SET lc_monetary = 'C'
AS $$
DECLARE
    columns text;
    condition text := 'true';
BEGIN
    PERFORM cozi._need('rel', rel IS NOT NULL);
    IF key IS NOT NULL THEN
        PERFORM cozi._need('modulus', modulus IS NOT NULL),
                cozi._need('remainder', remainder IS NOT NULL);
    END IF;
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C") INTO columns
    FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    IF columns IS NULL THEN
        RAISE EXCEPTION 'relation with OID % does not exist', rel::oid
            USING ERRCODE = 'undefined_table';
    END IF;
    IF key IS NOT NULL THEN
        SELECT cozi.shard_predicate(a.attname, a.atttypid, modulus, remainder) INTO condition
        FROM pg_attribute a
        WHERE a.attrelid = rel AND a.attname = key AND a.attnum > 0 AND NOT a.attisdropped;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'column "%" of table "%" does not exist', key, rel
                USING ERRCODE = 'undefined_column';
        END IF;
    END IF;
    EXECUTE format(
        $q$SELECT count(*),
                  md5(concat_ws(' ', count(*), sum(('x' || left(h, 16))::bit(64)::bigint),
                                sum(('x' || right(h, 16))::bit(64)::bigint)))
           FROM (SELECT md5(ROW(%s)::text) AS h FROM %s WHERE %s) x$q$,
        columns, rel, condition)
    INTO rows, digest;
END
$$;
COMMENT ON FUNCTION shard_digest(regclass, name, int, int) IS
'Returns the number of rows of a table, and a digest of them that is equal on every server where '
'the rows are equal: with a key, of the rows whose shard_of(key, modulus) is remainder; reads the '
'table as the caller; an error if the table is NULL';

CREATE OR REPLACE FUNCTION wait_for_slot(slot name, timeout interval = '10 s') RETURNS pg_lsn
    AS 'MODULE_PATHNAME', 'cozi_wait_for_slot'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION wait_for_slot(name, interval) IS
'Waits until the subscriber of a logical replication slot has all that was committed before the '
'call, and returns the position in the WAL up to which that is; an error after timeout, and if an '
'argument is NULL';

CREATE OR REPLACE FUNCTION run_as_owner(rel regclass, statement text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_run_as_owner'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION run_as_owner(regclass, text) IS
'Runs statements with the rights of the owner of a table and no more, with pg_catalog as the '
'search path, and no trigger of the transaction deferred from then on; returns the first value of '
'the first row of the last statement; for those who have the rights of the owner; an error if '
'an argument is NULL';
