/*
 * trending/topk.c
 *		The exact top k under a formula whose order drifts with time.
 *
 * gravity, hot_rank and their like put two posts in one order today and in the
 * other tomorrow, so no index can hold it.  But each rises with points and falls
 * with age.  So two indexes are walked in turn, the newest rows
 * first and the highest points first (Fagin's threshold algorithm, "Optimal
 * aggregation algorithms for middleware", PODS 2001): a row that neither has
 * brought up is at least as old as the one and has at most the points of the
 * other, hence at most the value of a row at both.  Once that is less than
 * the kth best value, no unread row can matter.
 *
 * What makes it exact:
 *
 * - Rows are offered to the answer by whole groups of equal keys.  With N the
 *	 instant and P the points of the groups being read, the rows offered are
 *	 at any time precisely those with created_at > N or points > P.  So none
 *	 is missed, none is offered twice, and no row needs an identity.
 * - A walk ends only on a bound strictly below the kth value: ties are read.
 * - The bound is raised by 1e-12 of it, for log10() and pow() are rounded.
 *
 * A group may be as large as the table (one import, one instant; the many
 * posts with a single point).  Of a group only the k best are kept, and a
 * walk stuck in one waits while the other can still move.
 *
 * Without an index on points their maximum stands for P throughout, at the
 * price of an aggregate.
 *
 * score, controversy and wilson do not know the time, so an index holds their
 * order.  Within a window (since) few of the highest may be of it, or nearly all:
 * both walks go on, and the one on created_at ends with the window.
 *
 * All reading goes through SPI cursors as the caller, in the caller's snapshot:
 * privileges and row-level security hold, and an error closes them.
 */
#include "postgres.h"

#include "access/relation.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/base.h"
#include "trending/trending.h"
#include "pure/score.h"

#define GROUP_STUCK 1024		/* rows of a group after which a walk waits */

/*
 * Rows of the newest read for one of the highest.  The newest mostly lie
 * together on disk, the highest anywhere: measured, a row costs a fifth.
 * Where they do not, one for one would hardly be better: the bound falls with
 * both.  That of a fixed formula falls with the highest alone: one for one, so
 * that a short window ends the walk as soon.
 */
#define NEWEST_PER_HIGHEST 4

/*
 * The best k.
 */

static bool
is_worse(const TopRanked *top, const Candidate *a, const Candidate *b)
{
	if (a->value != b->value)
		return a->value < b->value;
	return DatumGetInt32(FunctionCall2Coll(&top->item_type->cmp_proc_finfo,
										   top->columns[COLUMN_ITEM].collation,
										   a->item, b->item)) < 0;
}

static void
free_candidate(const TopRanked *top, Candidate *row)
{
	if (!top->item_type->typbyval)
		pfree(DatumGetPointer(row->item));
}

/* Let rows[at] find its place among the n; those below it are in order. */
static void
sift_down(const TopRanked *top, Candidate *rows, int n, int at)
{
	Candidate	row = rows[at];
	int			child;

	while ((child = 2 * at + 1) < n)
	{
		if (child + 1 < n && is_worse(top, &rows[child + 1], &rows[child]))
			child++;
		if (!is_worse(top, &rows[child], &row))
			break;
		rows[at] = rows[child];
		at = child;
	}
	rows[at] = row;
}

static void
sift_up(const TopRanked *top, Candidate *rows, int at)
{
	Candidate	row = rows[at];

	while (at > 0 && is_worse(top, &row, &rows[(at - 1) / 2]))
	{
		rows[at] = rows[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	rows[at] = row;
}

static bool
is_wanted(const TopRanked *top, const Best *best, const Candidate *row)
{
	return best->n < top->k || is_worse(top, &best->rows[0], row);
}

/* Take in a row whose item is in top->context already. */
static void
take_in(TopRanked *top, Best *best, Candidate *row)
{
	if (!is_wanted(top, best, row))
	{
		free_candidate(top, row);
		return;
	}
	if (best->n == top->k)
	{
		free_candidate(top, &best->rows[0]);
		best->rows[0] = *row;
		sift_down(top, best->rows, best->n, 0);
		return;
	}
	if (best->n == best->room)
	{
		best->room = best->room > 0 ? Min(best->room, PG_INT32_MAX / 2) * 2 : 16;
		best->rows = best->rows == NULL
			? MemoryContextAlloc(top->context, sizeof(Candidate) * best->room)
			: repalloc_huge(best->rows, sizeof(Candidate) * best->room);
	}
	best->rows[best->n] = *row;
	sift_up(top, best->rows, best->n++);
}

static void
take_in_copy(TopRanked *top, Best *best, Candidate *row)
{
	MemoryContext old = MemoryContextSwitchTo(top->context);

	row->item = datumCopy(row->item, top->item_type->typbyval, top->item_type->typlen);
	MemoryContextSwitchTo(old);
	take_in(top, best, row);
}

/* From a heap to a list, the best first. */
static void
sort_best(TopRanked *top)
{
	Candidate  *rows = top->best.rows;

	for (int n = top->best.n - 1; n > 0; n--)
	{
		Candidate	worst = rows[0];

		rows[0] = rows[n];
		rows[n] = worst;
		sift_down(top, rows, n, 0);
	}
}

/*
 * The walk.
 */

/* Has the other walk offered the row? */
static bool
is_offered(const TopRanked *top, const Walk *walk, const Candidate *row)
{
	const Walk *other = walk->by == COLUMN_CREATED_AT ? &top->highest : &top->newest;

	return cozi_topk_key(top, other, row) > other->key;
}

/* A group is complete: offer it. */
static void
offer_group(TopRanked *top, Walk *walk)
{
	for (int i = 0; i < walk->group.n; i++)
	{
		if (is_offered(top, walk, &walk->group.rows[i]))
			free_candidate(top, &walk->group.rows[i]);
		else
			take_in(top, &top->best, &walk->group.rows[i]);
	}
	walk->group.n = 0;
	walk->in_group = 0;
}

/* Read a row; false at the end, when all rows have been offered. */
static bool
walk_on(TopRanked *top, Walk *walk)
{
	HeapTuple	tuple = cozi_topk_peek(walk);
	Candidate	row;
	bool		has_rank;
	int64		key;

	if (tuple == NULL)
	{
		offer_group(top, walk);
		return false;
	}
	has_rank = cozi_topk_read(top, walk, tuple, &row);
	key = cozi_topk_key(top, walk, &row);
	if (key != walk->key)
	{
		offer_group(top, walk);
		walk->key = key;
	}
	if (has_rank && !is_offered(top, walk, &row) &&
		is_wanted(top, &top->best, &row) && is_wanted(top, &walk->group, &row))
		take_in_copy(top, &walk->group, &row);
	walk->in_group++;
	walk->read++;
	walk->next++;
	return true;
}

static Walk *
next_walk(TopRanked *top)
{
	bool		newest_stuck = top->newest.in_group > GROUP_STUCK;
	bool		highest_stuck = top->highest.in_group > GROUP_STUCK;

	if (top->highest.portal == NULL)
		return &top->newest;
	if (top->newest.portal == NULL)
		return &top->highest;
	if (newest_stuck != highest_stuck)
		return newest_stuck ? &top->highest : &top->newest;
	if (topk_is_fixed(top))
		return top->highest.read <= top->newest.read ? &top->highest : &top->newest;
	return NEWEST_PER_HIGHEST * top->highest.read < top->newest.read ? &top->highest : &top->newest;
}

/*
 * Fewer than k rows are younger than the week Lemmy's formulas look back: all
 * others are worth 0, and are ranked by item alone.
 */
static void
fill_with_zeros(TopRanked *top)
{
	Walk		items = {0};
	Best		positive = {0};
	HeapTuple	tuple;
	Candidate	row;

	for (int i = 0; i < top->best.n; i++)
	{
		if (top->best.rows[i].value > 0)
			take_in(top, &positive, &top->best.rows[i]);
		else
			free_candidate(top, &top->best.rows[i]);
	}
	top->best = positive;

	cozi_topk_start_walk(top, &items, COLUMN_ITEM, true);
	while (top->best.n < top->k && (tuple = cozi_topk_peek(&items)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (cozi_topk_read(top, &items, tuple, &row) && row.value == 0)
			take_in_copy(top, &top->best, &row);
		items.next++;
	}
	cozi_topk_end_walk(&items);
}

static void
rank(TopRanked *top)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (top->best.n == top->k && cozi_topk_bound(top) < top->best.rows[0].value)
			return;
		if (topk_is_of_a_week(top) && top->newest.key <= top->as_of - SCORE_LEMMY_AGE)
		{
			fill_with_zeros(top);
			return;
		}
		if (!walk_on(top, next_walk(top)))
			return;
	}
}

static void
return_best(TopRanked *top, ReturnSetInfo *rsinfo)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(top->columns[COLUMN_ITEM].type, &output, &varlena);
	for (int i = 0; i < top->best.n; i++)
	{
		Candidate  *row = &top->best.rows[i];
		bool		nulls[3] = {false, false, false};
		Datum		values[3];

		values[0] = CStringGetTextDatum(OidOutputFunctionCall(output, row->item));
		values[1] = Int32GetDatum(i + 1);
		values[2] = Float8GetDatum(row->value);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(cozi_top_ranked);

/*
 * top_ranked(rel regclass, formula text, k int, item name = 'id',
 *			  points name = 'score', created_at name = 'created_at',
 *			  interactions name = NULL, as_of timestamptz = now(),
 *			  gravity float8 = 1.8, since timestamptz = NULL, ups name = 'ups',
 *			  downs name = 'downs', active_at name = NULL)
 *		-> table(item text, rank int, value float8)
 */
Datum
cozi_top_ranked(PG_FUNCTION_ARGS)
{
	TopRanked	top = {0};

	InitMaterializedSRF(fcinfo, 0);
	cozi_topk_open(&top, fcinfo);
	top.context = AllocSetContextCreate(CurrentMemoryContext, "top_ranked", ALLOCSET_DEFAULT_SIZES);

	SPI_connect();
	if (cozi_topk_start_walks(&top) && top.k > 0)
		rank(&top);
	cozi_topk_end_walk(&top.newest);
	cozi_topk_end_walk(&top.highest);
	sort_best(&top);
	return_best(&top, (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();

	relation_close(top.rel, NoLock);
	return (Datum) 0;
}
