/*
 * sharding/route.c
 *		Which shard a key lives on: shard_of and shard_hash.
 *
 * The answer is the remainder of PostgreSQL's own HASH partitioning, see
 * hash.h, so that the planner's pruning, native partitions and any client
 * that follows the published vectors route every row alike.
 *
 * The functions are strict: PostgreSQL itself puts a NULL key into remainder
 * 0, but a row without a key belongs to nobody and is not routed.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "sharding/hash.h"

StaticAssertDecl(COZI_HASH_SEED == HASH_PARTITION_SEED,
				 "the server's hash partitions no longer use the published seed");

static int32
remainder_of(uint64 hash, int32 modulus)
{
	if (modulus <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("modulus must be greater than zero"),
				 errhint("The modulus is the number of shards.")));
	return (int32) (hash % (uint32) modulus);
}

/*
 * The bytes of a text in the server's encoding.  PostgreSQL hashes the same
 * under every deterministic collation; under a nondeterministic one it hashes
 * ICU's sort key, which no client could follow.
 */
static uint64
hash_key_text(FunctionCallInfo fcinfo)
{
	text	   *key = PG_GETARG_TEXT_PP(0);
	uint64		hash = hash_key_bytes(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));

	PG_FREE_IF_COPY(key, 0);
	return hash;
}

static uint64
hash_key_uuid(FunctionCallInfo fcinfo)
{
	return hash_key_bytes(PG_GETARG_UUID_P(0)->data, UUID_LEN);
}

/*
 * shard_of(user_id smallint|int|bigint|uuid, modulus int) -> int
 * shard_of_text(user_id text, modulus int) -> int
 *
 * The remainder, 0 .. modulus - 1.  A modulus below 1 is an error.
 */
PG_FUNCTION_INFO_V1(cozi_shard_of_int2);
Datum
cozi_shard_of_int2(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(remainder_of(hash_key_int(PG_GETARG_INT16(0)), PG_GETARG_INT32(1)));
}

PG_FUNCTION_INFO_V1(cozi_shard_of_int4);
Datum
cozi_shard_of_int4(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(remainder_of(hash_key_int(PG_GETARG_INT32(0)), PG_GETARG_INT32(1)));
}

PG_FUNCTION_INFO_V1(cozi_shard_of_int8);
Datum
cozi_shard_of_int8(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(remainder_of(hash_key_int(PG_GETARG_INT64(0)), PG_GETARG_INT32(1)));
}

PG_FUNCTION_INFO_V1(cozi_shard_of_uuid);
Datum
cozi_shard_of_uuid(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(remainder_of(hash_key_uuid(fcinfo), PG_GETARG_INT32(1)));
}

PG_FUNCTION_INFO_V1(cozi_shard_of_text);
Datum
cozi_shard_of_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(remainder_of(hash_key_text(fcinfo), PG_GETARG_INT32(1)));
}

/*
 * shard_hash(user_id smallint|int|bigint|uuid) -> bigint
 * shard_hash_text(user_id text) -> bigint
 *
 * The 64 bits that shard_of divides.  SQL has no unsigned type: half of them
 * show as negative, and % of those is not the remainder.
 */
PG_FUNCTION_INFO_V1(cozi_shard_hash_int2);
Datum
cozi_shard_hash_int2(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash_key_int(PG_GETARG_INT16(0)));
}

PG_FUNCTION_INFO_V1(cozi_shard_hash_int4);
Datum
cozi_shard_hash_int4(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash_key_int(PG_GETARG_INT32(0)));
}

PG_FUNCTION_INFO_V1(cozi_shard_hash_int8);
Datum
cozi_shard_hash_int8(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash_key_int(PG_GETARG_INT64(0)));
}

PG_FUNCTION_INFO_V1(cozi_shard_hash_uuid);
Datum
cozi_shard_hash_uuid(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash_key_uuid(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_shard_hash_text);
Datum
cozi_shard_hash_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash_key_text(fcinfo));
}

/*
 * shard_of(user_id text, modulus int) -> int, shard_hash(user_id text) -> bigint
 *
 * What PostgreSQL takes for a literal or a parameter that has no type: drivers
 * send such parameters.  It is read as the number or the uuid that it is.  A
 * text key is shard_of_text()'s, because '1' lies elsewhere than 1: a column of
 * type text and a text that is neither are errors.
 */
static uint64
hash_untyped(FunctionCallInfo fcinfo)
{
	Node	   *expr = fcinfo->flinfo->fn_expr;
	Node	   *arg = expr && IsA(expr, FuncExpr) ? linitial(((FuncExpr *) expr)->args) : NULL;
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(0));
	size_t		digits = strspn(key + (*key == '-'), "0123456789");

	if (arg && !IsA(arg, Const) && !IsA(arg, Param))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a key of type text has a function of its own"),
				 errhint("Use the function whose name ends in _text, or cast the key to bigint or "
						 "uuid.")));
	if (digits > 0 && key[digits + (*key == '-')] == '\0')
		return hash_key_int(DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(key))));
	if (strlen(key) >= 32 && strspn(key, "0123456789abcdefABCDEF-{}") == strlen(key))
	{
		Datum		uuid = DirectFunctionCall1(uuid_in, CStringGetDatum(key));

		return hash_key_bytes(DatumGetUUIDP(uuid)->data, UUID_LEN);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("\"%s\" is neither an integer nor a uuid", key),
			 errhint("Use the function whose name ends in _text for a key that is text.")));
	pg_unreachable();
}

PG_FUNCTION_INFO_V1(cozi_shard_of_untyped);
Datum
cozi_shard_of_untyped(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(remainder_of(hash_untyped(fcinfo), PG_GETARG_INT32(1)));
}

PG_FUNCTION_INFO_V1(cozi_shard_hash_untyped);
Datum
cozi_shard_hash_untyped(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) hash_untyped(fcinfo));
}
