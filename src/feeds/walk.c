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
#include "utils/portal.h"

#include "feeds/feeds.h"

#define FIRST_FETCH		2		/* rows fetched at once, to begin with */
#define MOST_FETCH		2048	/* and later */
#define MOST_GROWTH		8		/* from one step to the next */
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

/* Open a statement; no function that a policy calls closes it. */
static void
open_portal(Feed *feed, SPIPlanPtr plan, Datum *values, const char *nulls)
{
	feed->portal = SPI_cursor_open(NULL, plan, values, nulls, true);
	if (feed->portal == NULL)
		elog(ERROR, "could not walk the rows of a feed");
	PinPortal(feed->portal);
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
	open_portal(feed, plan, values, nulls);
}

/* Close what is open. */
void
cozi_feed_close(Feed *feed)
{
	if (feed->portal == NULL)
		return;
	UnpinPortal(feed->portal);
	SPI_cursor_close(feed->portal);
}

/* Does a row belong to the feed?  Its key is the third column. */
static bool
belongs(Feed *feed, const TupleTableSlot *slot, bool sorted)
{
	int			next = 3;

	if (slot->tts_isnull[2] || (!sorted && !cozi_feed_has_key(feed, slot->tts_values[2])))
		return false;
	if (OidIsValid(feed->author.type))
	{
		if (!slot->tts_isnull[next] && cozi_feed_hides(feed, slot->tts_values[next]))
			return false;
		next++;
	}
	return sorted || feed->nfilters == 0 || DatumGetBool(slot->tts_values[next]);
}

/* A step of the walk, or of reading what was sorted. */
typedef struct FeedStep
{
	bool		sorted;
	bool		done;			/* no later row belongs to the page */
} FeedStep;

/* Take a row: a FeedTake. */
static bool
take_walked(Feed *feed, TupleTableSlot *slot, void *arg)
{
	FeedStep   *walk = arg;
	FeedRow		row = {slot->tts_values[0], slot->tts_values[1]};

	feed->walked++;
	cozi_feed_note_rank(feed, row.rank);
	if (slot->tts_isnull[1])
		return true;
	walk->done = cozi_feed_below_floor(feed, &row);
	if (walk->done || !belongs(feed, slot, walk->sorted))
		return !walk->done;
	feed->walk_hits++;
	cozi_feed_offer(feed, &row);
	walk->done = cozi_feed_below_floor(feed, &row);
	return !walk->done;
}

/*
 * Rows to fetch at once: as many as its turn takes.  A policy that refuses most rows
 * makes each of them dear.
 */
static int64
next_fetch(const Feed *feed)
{
	double		growth;

	if (feed->walked == 0)
		return FIRST_FETCH;
	growth = Min(MOST_GROWTH, cozi_feed_walk_turn(feed) / feed->walk_spent);
	return (int64) Min(MOST_FETCH, Max(1, feed->walked * growth));
}

/* A step of the walk; true when the rows are the page. */
bool
cozi_feed_walk(Feed *feed)
{
	int64		fetch = next_fetch(feed);
	FeedClock	began;
	FeedStep	walk = {0};

	CHECK_FOR_INTERRUPTS();
	if (feed->portal == NULL)
		open_walk(feed);
	cozi_feed_clock(&began);
	walk.done = cozi_feed_fetch(feed, fetch, take_walked, &walk) < fetch || walk.done;
	feed->walk_spent += cozi_feed_time_since(&began);
	return walk.done;
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
	FeedStep	walk = {.sorted = true};

	get_typlenbyvalalign(feed->key_type, &len, &byval, &align);
	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = PointerGetDatum(construct_array(feed->keys, feed->nkeys,
														 feed->key_type, len, byval, align));
	nulls[PARAM_KEYS] = ' ';
	open_portal(feed, plan, values, nulls);
	while (cozi_feed_fetch(feed, MOST_FETCH, take_walked, &walk) == MOST_FETCH && !walk.done)
		CHECK_FOR_INTERRUPTS();
}
