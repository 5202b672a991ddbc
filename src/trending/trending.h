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
#include "kept/kept.h"

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
extern int64 cozi_tally_whole(int128 sum, int64 unit);
extern double cozi_tally_heat(const Tally *tally, int64 unit, double down_weight);

/* trending/board.c */
extern const KeptKind cozi_board_kind;

/* trending/top.c, trending/top_read.c */
typedef struct TopRequest
{
	Kept		board;
	int			k;
	Datum		scopes;			/* text[]; 0: all */
	char	   *after;			/* the item to begin after; NULL: none */
	float8		after_heat;
	int64		after_rank;
	bool		as_caller;		/* policies on the board hold */
	int			npending;
	Datum		pending[6];		/* as arrays; the last says which have a row */
} TopRequest;

typedef struct TopItem
{
	char	   *item;
	float8		heat;
} TopItem;

struct FunctionCallInfoBaseData;
extern void cozi_top_arguments(struct FunctionCallInfoBaseData *fcinfo, int first,
							   TopRequest *top);
extern void cozi_top_open(TopRequest *top);
extern TopItem *cozi_top_read(const TopRequest *top, int k, int *n);

/* trending/topk*.c: top_ranked() */
typedef enum Formula
{
	FORMULA_GRAVITY,
	FORMULA_HACKER_NEWS,
	FORMULA_HOT_RANK,
	FORMULA_SCALED_RANK,
	FORMULA_ACTIVE,
	FORMULA_SCORE,				/* from here on no formula knows the time */
	FORMULA_CONTROVERSY,
	FORMULA_WILSON
} Formula;

/*
 * The columns of the queries, in this order; SPI counts them from 1.
 * controversy and wilson read ups for the points, downs for the interactions;
 * active reads the instant of the newest comment for created_at.
 */
enum
{
	COLUMN_ITEM, COLUMN_POINTS, COLUMN_CREATED_AT, COLUMN_INTERACTIONS, COLUMNS,
	COLUMN_VALUE = COLUMNS		/* no column: the value of the formula */
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
	int64		interactions;
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
	int			by;				/* COLUMN_CREATED_AT, _POINTS or _VALUE */
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
	RankedColumn window;		/* not before since; no name: of any age */
	TimestampTz since;
	TypeCacheEntry *item_type;
	MemoryContext context;		/* of the candidates; lives for one call */
	Best		best;
	Walk		newest;
	Walk		highest;
} TopRanked;

/* trending/topk_open.c */

/* Find the relation and its columns, from the arguments of top_ranked(). */
extern void cozi_topk_open(TopRanked *top, FunctionCallInfo fcinfo);

/* trending/topk_index.c */

/* Is there an index to walk by that column?  Where does a walk down meet the NULLs? */
extern bool cozi_topk_find_index(const TopRanked *top, int by, bool *nulls_first);

/* The error that there is none, and the commands that make what is missing. */
pg_noreturn extern void cozi_topk_no_index(const TopRanked *top, int by, int also);

/* trending/topk_read.c */

/* Open the walks and find their first keys; false where there is no row. */
extern bool cozi_topk_start_walks(TopRanked *top);

/* A walk from the highest value of a column down. */
extern void cozi_topk_start_walk(const TopRanked *top, Walk *walk, int by, bool nulls_first);
extern void cozi_topk_end_walk(Walk *walk);

/* The next row of a walk, which stays the next; NULL at the end. */
extern HeapTuple cozi_topk_peek(Walk *walk);

/* Read a row; false where it has no rank. */
extern bool cozi_topk_read(const TopRanked *top, const Walk *walk, HeapTuple tuple, Candidate *row);

/* trending/topk_formula.c */
extern Formula cozi_topk_formula(const char *name);

/* The z of wilson_lower() where none is given. */
#define TOPK_WILSON_Z 1.96

/* Does the order of two rows never change? */
#define topk_is_fixed(top) ((top)->formula >= FORMULA_SCORE)

/* Is the formula one of Lemmy's, 0 from an age of a week on? */
#define topk_is_of_a_week(top) \
	((top)->formula >= FORMULA_HOT_RANK && (top)->formula <= FORMULA_ACTIVE)

/* Does it read two counts, or the points alone? */
#define topk_has_two_counts(formula) \
	((formula) == FORMULA_SCALED_RANK || (formula) >= FORMULA_CONTROVERSY)

/* The formula. */
extern float8 cozi_topk_value(const TopRanked *top, const Candidate *row);

/* What a walk goes by, of a row: the larger, the earlier. */
extern int64 cozi_topk_key(const TopRanked *top, const Walk *walk, const Candidate *row);

/* At least what any row that neither walk has brought up is worth. */
extern float8 cozi_topk_bound(const TopRanked *top);

/* The expression that an index must have for a walk by value. */
extern char *cozi_topk_expression(const TopRanked *top, const char *prefix);
extern const char *cozi_topk_function(const TopRanked *top);

#endif							/* COZI_TRENDING_H */
