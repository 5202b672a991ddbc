/*
 * feeds/walk.c
 *		The other way to the page: all rows in their order, asking of each
 *		whether its key is in the list.
 *
 * Where neither way has an index, the rows of all keys are sorted, as by a query
 * that one writes first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "feeds/feeds.h"

#define FIRST_FETCH		16		/* rows fetched at once, to begin with */
#define MOST_FETCH		2048	/* and later */
#define SHORT_STEP		50e-6	/* seconds that a step may take in any case */
#define WALK_OPTIONS	(CURSOR_OPT_NO_SCROLL | CURSOR_OPT_FAST_PLAN)
#define MOST_STARTUP	100000	/* of the planner: more, and no index serves
								 * it */

void
cozi_feed_start_walk(Feed *feed)
{
	CoziPlanCosts costs;

	cozi_plan_walks(cozi_feed_plan(feed, cozi_feed_walk_sql(feed), WALK_OPTIONS), &costs);
	feed->can_walk = costs.startup < MOST_STARTUP || feed->only_walk;
}

/* Open the walk, from the cursor down to the floor as it is now. */
static void
open_walk(Feed *feed)
{
	SPIPlanPtr	plan = cozi_feed_plan(feed, cozi_feed_walk_sql(feed), WALK_OPTIONS);
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	CoziPlanCosts costs;

	cozi_plan_walks(plan, &costs);
	cozi_feed_params(feed, values, nulls);
	feed->portal = SPI_cursor_open(NULL, plan, values, nulls, true);
	if (feed->portal == NULL)
		elog(ERROR, "could not walk the rows of a feed");
}

/* Does a row belong to the feed?  Its key is the third column. */
static bool
belongs(Feed *feed, HeapTuple tuple, bool sorted)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	int			next = 4;
	bool		isnull;
	Datum		key = SPI_getbinval(tuple, desc, 3, &isnull);

	if (isnull || (!sorted && !cozi_feed_has_key(feed, key)))
		return false;
	if (OidIsValid(feed->author.type))
	{
		Datum		author = SPI_getbinval(tuple, desc, next++, &isnull);

		if (!isnull && cozi_feed_hides(feed, author))
			return false;
	}
	return sorted || feed->nfilters == 0 ||
		DatumGetBool(SPI_getbinval(tuple, desc, next, &isnull));
}

/* Take the rows that were fetched; true when no later row belongs to the page. */
static bool
take_fetched(Feed *feed, bool sorted)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		FeedRow		row;
		bool		isnull;

		row.rank = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull);
		row.item = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull);
		if (isnull)
			continue;
		if (cozi_feed_below_floor(feed, &row))
			return true;
		if (!belongs(feed, tuple, sorted))
			continue;
		feed->walk_hits++;
		cozi_feed_offer(feed, &row);
		if (cozi_feed_below_floor(feed, &row))
			return true;
	}
	return false;
}

/*
 * Rows to fetch at once: as many as take half the time of the walk so far.  A policy
 * that refuses most rows makes each of them dear.
 */
static int64
next_fetch(const Feed *feed)
{
	double		rows;

	if (feed->walked == 0)
		return FIRST_FETCH;
	rows = feed->walked * Max(0.5, SHORT_STEP / feed->walk_spent);
	return (int64) Min(MOST_FETCH, Max(1, rows));
}

/* Where the walk has been: the first and the last of the rows that were fetched. */
static void
note_ranks(Feed *feed)
{
	for (uint64 i = 0; i < SPI_processed; i += Max(SPI_processed - 1, 1))
	{
		bool		isnull;

		cozi_feed_note_rank(feed, SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
												1, &isnull));
	}
}

/* A step of the walk; true when the rows are the page. */
bool
cozi_feed_walk(Feed *feed)
{
	int64		fetch = next_fetch(feed);
	instr_time	began;
	instr_time	ended;
	bool		done;

	CHECK_FOR_INTERRUPTS();
	INSTR_TIME_SET_CURRENT(began);
	if (feed->portal == NULL)
		open_walk(feed);
	SPI_cursor_fetch(feed->portal, true, fetch);
	feed->walked += SPI_processed;
	note_ranks(feed);
	done = take_fetched(feed, false) || SPI_processed < fetch;
	SPI_freetuptable(SPI_tuptable);
	INSTR_TIME_SET_CURRENT(ended);
	INSTR_TIME_SUBTRACT(ended, began);
	feed->walk_spent += INSTR_TIME_GET_DOUBLE(ended);
	return done;
}

/* Sort the rows of all keys, which have been loaded. */
void
cozi_feed_sort(Feed *feed)
{
	SPIPlanPtr	plan = cozi_feed_plan(feed, cozi_feed_plain_sql(feed), WALK_OPTIONS);
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	int16		len;
	bool		byval;
	char		align;
	bool		done = false;

	get_typlenbyvalalign(feed->key_type, &len, &byval, &align);
	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = PointerGetDatum(construct_array(feed->keys, feed->nkeys,
														 feed->key_type, len, byval, align));
	nulls[PARAM_KEYS] = ' ';
	feed->portal = SPI_cursor_open(NULL, plan, values, nulls, true);
	while (!done)
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(feed->portal, true, MOST_FETCH);
		done = take_fetched(feed, true) || SPI_processed < MOST_FETCH;
		SPI_freetuptable(SPI_tuptable);
	}
}
