/*
 * sharding/map.c
 *		On which node a user lies: node_of().
 *
 * A session keeps the node of each bucket until cozi.shard_map changes
 * (base/registry.c), so that a lookup costs a hash and an index into an array.
 * It reads the map as committed now, whatever the caller may select: where a
 * row lies is no secret to a role that may call node_of().
 *
 * The law: a bucket without a node is an error.  Nothing is routed by a guess.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "sharding/map.h"
#include "sharding/route.h"

/* The columns of cozi.nodes and of cozi.shard_map. */
enum
{
	Anum_nodes_node = 1,
	Anum_nodes_capacity = 4,
	Anum_nodes_region = 5,
	Anum_nodes_reserved = 6
};

enum
{
	Anum_map_bucket = 1,
	Anum_map_node,
	Anum_map_pinned,
	Anum_map_region
};

static const CoziShape nodes_table = {"nodes", {TEXTOID, INT4OID, TEXTOID, FLOAT8OID, TEXTOID,
BOOLOID}};

static const CoziShape map_table = {"shard_map", {INT4OID, TEXTOID, BOOLOID, TEXTOID, INT8OID}};

static CoziRegistry registry = {.table = "shard_map"};

/* The map as this session last read it. */
static struct
{
	uint64		generation;		/* of the registry; 0: not read yet */
	MemoryContext context;
	MapBucket  *bucket;			/* COZI_BUCKETS of them */
}			map;

static void
read_bucket(HeapTuple tuple, TupleDesc desc, void *arg)
{
	int			n = DatumGetInt32(cozi_tuple_value(tuple, desc, Anum_map_bucket));
	MapBucket  *bucket;

	if (n < 0 || n >= COZI_BUCKETS)
		return;					/* a CHECK of the table that was dropped */
	bucket = (MapBucket *) arg + n;
	bucket->node = cozi_tuple_text(tuple, desc, Anum_map_node);
	bucket->region = cozi_tuple_text(tuple, desc, Anum_map_region);
	bucket->pinned = DatumGetBool(cozi_tuple_value(tuple, desc, Anum_map_pinned));
}

static void
read_node(HeapTuple tuple, TupleDesc desc, void *arg)
{
	List	  **nodes = arg;
	MapNode    *node = palloc0_object(MapNode);

	node->name = cozi_tuple_text(tuple, desc, Anum_nodes_node);
	node->region = cozi_tuple_text(tuple, desc, Anum_nodes_region);
	node->capacity = DatumGetFloat8(cozi_tuple_value(tuple, desc, Anum_nodes_capacity));
	node->reserved = DatumGetBool(cozi_tuple_value(tuple, desc, Anum_nodes_reserved));
	*nodes = lappend(*nodes, node);
}

/* Read the map, into the current memory context. */
MapBucket  *
cozi_map_buckets(void)
{
	MapBucket  *buckets = palloc0_array(MapBucket, COZI_BUCKETS);

	cozi_read_table(&map_table, read_bucket, buckets);
	return buckets;
}

/* Read the nodes, into the current memory context, in no order. */
List	   *
cozi_map_nodes(void)
{
	List	   *nodes = NIL;

	cozi_read_table(&nodes_table, read_node, &nodes);
	return nodes;
}

void
cozi_map_lacks(int bucket)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("bucket %d has no node", bucket),
			 errhint("The first cozi.add_node() gives all buckets to its node.")));
}

/* The map of this session; read again after a change. */
static MapBucket *
current_map(void)
{
	uint64		generation = cozi_registry_generation(&registry);
	MemoryContext context;
	MemoryContext caller;
	MapBucket  *buckets;

	if (map.generation == generation)
		return map.bucket;
	context = AllocSetContextCreate(CurrentMemoryContext, "cozi shard map",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	buckets = cozi_map_buckets();
	MemoryContextSwitchTo(caller);
	if (cozi_registry_generation(&registry) != generation)
		generation = 0;			/* it changed meanwhile: not for the next call */
	if (map.context)
		MemoryContextDelete(map.context);
	MemoryContextSetParent(context, TopMemoryContext);
	map.context = context;
	map.bucket = buckets;
	map.generation = generation;
	return buckets;
}

static Datum
node_of_bucket(int bucket)
{
	char	   *node = current_map()[bucket].node;

	if (node == NULL)
		cozi_map_lacks(bucket);
	return CStringGetTextDatum(node);
}

static Datum
node_of_hash(Datum hash)
{
	return node_of_bucket((int) ((uint64) DatumGetInt64(hash) % COZI_BUCKETS));
}

/*
 * node_of(user_id smallint|int|bigint|uuid) -> text
 * node_of(user_id text) -> text: a literal or a parameter that has no type
 * node_of_text(user_id text) -> text
 */
PG_FUNCTION_INFO_V1(cozi_node_of_int2);
Datum
cozi_node_of_int2(PG_FUNCTION_ARGS)
{
	return node_of_hash(cozi_shard_hash_int2(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_node_of_int4);
Datum
cozi_node_of_int4(PG_FUNCTION_ARGS)
{
	return node_of_hash(cozi_shard_hash_int4(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_node_of_int8);
Datum
cozi_node_of_int8(PG_FUNCTION_ARGS)
{
	return node_of_hash(cozi_shard_hash_int8(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_node_of_uuid);
Datum
cozi_node_of_uuid(PG_FUNCTION_ARGS)
{
	return node_of_hash(cozi_shard_hash_uuid(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_node_of_untyped);
Datum
cozi_node_of_untyped(PG_FUNCTION_ARGS)
{
	return node_of_hash(cozi_shard_hash_untyped(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_node_of_text);
Datum
cozi_node_of_text(PG_FUNCTION_ARGS)
{
	return node_of_hash(cozi_shard_hash_text(fcinfo));
}

PG_FUNCTION_INFO_V1(cozi_node_of_bucket);

/* node_of_bucket(bucket int) -> text: of an id, by id_bucket() */
Datum
cozi_node_of_bucket(PG_FUNCTION_ARGS)
{
	int32		bucket = PG_GETARG_INT32(0);

	if (bucket < 0 || bucket >= COZI_BUCKETS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("bucket %d is out of range", bucket),
				 errhint("A bucket is 0 to %d, such as id_bucket(id).", COZI_BUCKETS - 1)));
	return node_of_bucket(bucket);
}
