/*
 * sharding/route.h
 *		The hashes of route.c, for functions whose first argument is a key.
 */
#ifndef COZI_SHARDING_ROUTE_H
#define COZI_SHARDING_ROUTE_H

#include "fmgr.h"

extern Datum cozi_shard_hash_int2(PG_FUNCTION_ARGS);
extern Datum cozi_shard_hash_int4(PG_FUNCTION_ARGS);
extern Datum cozi_shard_hash_int8(PG_FUNCTION_ARGS);
extern Datum cozi_shard_hash_uuid(PG_FUNCTION_ARGS);
extern Datum cozi_shard_hash_text(PG_FUNCTION_ARGS);
extern Datum cozi_shard_hash_untyped(PG_FUNCTION_ARGS);

#endif							/* COZI_SHARDING_ROUTE_H */
