/*
 * trending/topk.h
 *		What the two files of top_ranked() share: trending/topk.c, which ranks,
 *		and trending/topk_read.c, which reads.
 */
#ifndef COZI_TRENDING_TOPK_H
#define COZI_TRENDING_TOPK_H

#include "executor/spi.h"
#include "utils/rel.h"
#include "utils/typcache.h"

typedef enum Formula
{
	FORMULA_GRAVITY,
	FORMULA_HOT_RANK,
	FORMULA_SCALED_RANK
} Formula;

/* The columns of the queries, in this order; SPI counts them from 1. */
enum
{
	COLUMN_ITEM, COLUMN_POINTS, COLUMN_CREATED_AT, COLUMN_INTERACTIONS, COLUMNS
};

typedef struct Column
{
	const char *name;			/* NULL: not wanted */
	AttrNumber	attnum;
	Oid			type;			/* below its domains */
	Oid			collation;
} Column;

typedef struct Candidate
{
	float8		value;
	Datum		item;			/* a copy in TopRanked.context */
	int64		points;
	TimestampTz created_at;
} Candidate;

/* The best k of what was offered: a heap, the worst of them at its root. */
typedef struct Best
{
	Candidate  *rows;
	int			n;
	int			room;
} Best;

/* A walk down an index. */
typedef struct Walk
{
	int			by;				/* COLUMN_CREATED_AT or COLUMN_POINTS */
	Portal		portal;			/* NULL: there is no index to walk */
	SPITupleTable *batch;
	uint64		next;			/* row of the batch to read next */
	int			fetch;			/* rows to fetch at once */
	uint64		read;			/* rows read so far */
	int64		key;			/* of the group being read */
	uint64		in_group;		/* rows read of it */
	Best		group;			/* and those of them to be offered */
} Walk;

typedef struct TopRanked
{
	Relation	rel;
	Formula		formula;
	int			k;
	TimestampTz as_of;
	float8		gravity;
	Column		columns[COLUMNS];
	TypeCacheEntry *item_type;
	MemoryContext context;		/* of the candidates; lives for one call */
	Best		best;
	Walk		newest;
	Walk		highest;
} TopRanked;

/* trending/topk_read.c */

/* Find the relation and its columns, from the arguments of top_ranked(). */
extern void cozi_topk_open(TopRanked *top, FunctionCallInfo fcinfo);

/* Open the two walks and find their first keys; false where there is no row. */
extern bool cozi_topk_start_walks(TopRanked *top);

/* A walk from the highest value of a column down. */
extern void cozi_topk_start_walk(const TopRanked *top, Walk *walk, int by, bool nulls_first);
extern void cozi_topk_end_walk(Walk *walk);

/* The next row of a walk, which stays the next; NULL at the end. */
extern HeapTuple cozi_topk_peek(Walk *walk);

/* What the walk goes by, of a row. */
extern int64 cozi_topk_key(const TopRanked *top, const Walk *walk, HeapTuple tuple);

/* Read a row; false where it has no rank. */
extern bool cozi_topk_read(const TopRanked *top, const Walk *walk, HeapTuple tuple, Candidate *row);

/* The formula. */
extern float8 cozi_topk_value(const TopRanked *top, int64 points, TimestampTz created_at, int64 interactions);

#endif							/* COZI_TRENDING_TOPK_H */
