/*
 * sharding/map.h
 *		The map of buckets and the nodes, as map.c reads them.
 */
#ifndef COZI_SHARDING_MAP_H
#define COZI_SHARDING_MAP_H

#include "nodes/pg_list.h"

#define COZI_BUCKETS 1024

/* A row of cozi.nodes. */
typedef struct MapNode
{
	char	   *name;
	char	   *region;			/* NULL: none */
	double		capacity;
	bool		reserved;
} MapNode;

/* A row of cozi.shard_map; no name: there is no such row. */
typedef struct MapBucket
{
	char	   *node;
	char	   *region;			/* NULL: any */
	bool		pinned;
} MapBucket;

extern List *cozi_map_nodes(void);
extern MapBucket *cozi_map_buckets(void);
pg_noreturn extern void cozi_map_lacks(int bucket);

#endif							/* COZI_SHARDING_MAP_H */
