/*
 * trending/trending.h
 *		What the files of the room share: formulas and heats, boards, top_ranked().
 *
 * A board is a kept table (kept/kept.h) of kind "board": its source holds votes,
 * its sums are tallies (trending/tally.c), its columns ups, downs and heat.
 */
#ifndef COZI_TRENDING_H
#define COZI_TRENDING_H

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/base.h"

extern void cozi_trending_init(void);

/* trending/heat.c */

/* Microseconds of a half-life; an error unless it is positive and of a fixed length. */
extern int64 cozi_half_life(const Interval *half_life);

/* An error unless the instant is finite. */
extern void cozi_check_instant(TimestampTz at);

/* trending/formula.c */

/* The exponent of gravity(), if it may be one; an error otherwise. */
extern float8 cozi_check_gravity(float8 gravity);

/* trending/tally.c */
typedef struct TallyOctave
{
	int64		octave;
	int128		mass;
} TallyOctave;

typedef struct Tally
{
	int128		ups;
	int128		downs;
	int			noctaves;
	int			room;
	TallyOctave *octaves;		/* ascending, no mass of zero */
	bool		bounded;		/* there were more octaves, all below floor */
	int64		floor;
	MemoryContext context;		/* where octaves are */
} Tally;

extern void cozi_tally_init(Tally *tally);
extern void cozi_tally_vote(Tally *tally, int64 weight, TimestampTz at, int64 half_life,
							int times);
extern void cozi_tally_add(Tally *tally, const bytea *encoded);
extern bytea *cozi_tally_encode(const Tally *tally);
extern int64 cozi_tally_saturate(int128 sum);
extern double cozi_tally_heat(const Tally *tally, double down_weight);

/* trending/board.c */
struct KeptKind;
extern const struct KeptKind cozi_board_kind;

/* trending/topk.c and trending/topk_read.c: top_ranked() */
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

typedef struct RankedColumn
{
	const char *name;			/* NULL: not wanted */
	AttrNumber	attnum;
	Oid			type;			/* below its domains */
	Oid			collation;
} RankedColumn;

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
	RankedColumn columns[COLUMNS];
	TypeCacheEntry *item_type;
	MemoryContext context;		/* of the candidates; lives for one call */
	Best		best;
	Walk		newest;
	Walk		highest;
} TopRanked;

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
extern float8 cozi_topk_value(const TopRanked *top, int64 points, TimestampTz created_at,
							  int64 interactions);

#endif							/* COZI_TRENDING_H */
