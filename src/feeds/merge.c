/*
 * feeds/merge.c
 *		One way to the page: the ordered ranges of the keys, merged.
 *
 * A step takes a bounded array of keys.  First all their rows above the floor are
 * read at once, which is the cheapest where they are few; they are at most twice the
 * keys, or the statement stops.  Then the first rows of each range are asked for.  A
 * range that gave as many rows as were asked for is read on from its own place,
 * unless that is below the floor by now.  So each key costs about one descent of the
 * index, and few cost more.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "feeds/feeds.h"

#define FIRST_CHUNK		16		/* keys of the first statement */
#define MOST_CHUNK		2048	/* and of any */
#define CHUNK_GROWTH	4		/* from one to the next */
#define LOAD_GROWTH		4
#define MOST_ROW_COST	1000	/* of the planner: more, and no index serves
								 * it */

/* What a statement has said of one of its keys. */
typedef struct RangeRead
{
	int			nrows;
	FeedRow		last;			/* a copy, once there are as many as asked for */
	bool		hidden;			/* the key is an author whom a block hides */
} RangeRead;

/* Of all of them. */
typedef struct RangeReads
{
	RangeRead  *of;
	int			limit;			/* rows asked for of each */
} RangeReads;

void
cozi_feed_start_merge(Feed *feed)
{
	CoziPlanCosts costs;

	cozi_plan_walks(cozi_feed_plan(feed, cozi_feed_range_sql(feed, false), 0), &costs);
	feed->can_merge = costs.inner_row < MOST_ROW_COST && !feed->only_walk;
}

static Datum
make_array(const Datum *values, int n, Oid type)
{
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &len, &byval, &align);
	return PointerGetDatum(construct_array(unconstify(Datum *, values), n, type, len, byval,
										   align));
}

/* Take a row, whose first column says which of the keys it is of: a FeedTake. */
static bool
take_row(Feed *feed, TupleTableSlot *slot, void *arg)
{
	RangeReads *reads = arg;
	RangeRead  *read = &reads->of[DatumGetInt64(slot->tts_values[0]) - 1];
	FeedRow		row = {slot->tts_values[1], slot->tts_values[2]};

	if (slot->tts_isnull[2])
		return true;
	if (++read->nrows == reads->limit)
		read->last = cozi_feed_copy(feed, &row);
	if (cozi_feed_below_floor(feed, &row))
		return true;
	if (OidIsValid(feed->author.type) && !slot->tts_isnull[3] &&
		cozi_feed_hides(feed, slot->tts_values[3]))
		read->hidden |= feed->author.column.attnum == feed->key.column.attnum;
	else
		cozi_feed_offer(feed, &row);
	return true;
}

/* Keep the ranges that may have more rows of the page. */
static void
keep_ranges(Feed *feed, const RangeRead *reads, const int *keys, int n, int limit)
{
	for (int i = 0; i < n; i++)
	{
		const RangeRead *read = &reads[i];

		if (read->nrows < limit || read->hidden || cozi_feed_below_floor(feed, &read->last))
			continue;
		feed->ranges = feed->ranges == NULL ? palloc(FIRST_CHUNK * sizeof(FeedRange)) :
			feed->nranges >= FIRST_CHUNK && (feed->nranges & (feed->nranges - 1)) == 0 ?
			repalloc_huge(feed->ranges, 2 * (Size) feed->nranges * sizeof(FeedRange)) :
			feed->ranges;
		feed->ranges[feed->nranges].key = keys[i];
		feed->ranges[feed->nranges++].place = read->last;
	}
}

static void
read_ranges(Feed *feed, SPIPlanPtr plan, Datum *values, char *nulls, const int *keys, int n,
			int limit)
{
	RangeReads	reads = {palloc0(n * sizeof(RangeRead)), limit};

	values[PARAM_LIMIT] = Int64GetDatum(limit);
	nulls[PARAM_LIMIT] = ' ';
	nulls[PARAM_KEYS] = ' ';
	(void) cozi_feed_execute(feed, plan, values, nulls, take_row, &reads);
	keep_ranges(feed, reads.of, keys, n, limit);
	pfree(reads.of);
}

/*
 * All rows of the keys above the floor, if they are few; true if they were.  The
 * rows that were read count in any case.
 */
static bool
read_list(Feed *feed, Datum *values, char *nulls, int n)
{
	int			limit = 2 * n + feed->k;
	RangeRead	read = {0};
	RangeReads	reads = {&read, INT_MAX};
	SPIPlanPtr	plan;
	CoziPlanCosts costs;

	if (feed->many_rows && (feed->nopened == 0 || !cozi_feed_is_full(feed)))
		return false;
	plan = cozi_feed_plan(feed, cozi_feed_list_sql(feed), 0);
	cozi_plan_walks(plan, &costs);
	values[PARAM_LIMIT] = Int64GetDatum(limit);
	nulls[PARAM_LIMIT] = nulls[PARAM_KEYS] = ' ';
	feed->many_rows = cozi_feed_execute(feed, plan, values, nulls, take_row, &reads) == limit;
	return !feed->many_rows;
}

/* How many keys the next statement opens: as many as the turn of the merge takes. */
static int
next_chunk(const Feed *feed)
{
	double		n;

	if (feed->nopened == 0)
		return FIRST_CHUNK;
	n = cozi_feed_merge_turn(feed) * feed->nopened / feed->open_spent;
	return (int) Max(FIRST_CHUNK, Min(n, Min(feed->chunk * CHUNK_GROWTH, MOST_CHUNK)));
}

/*
 * The next keys to open: where they are, and how many.  They come from the end of
 * those known, because the younger accounts, which have the higher ids or come later,
 * write the newer rows, and a floor that is high early spares the others.
 */
static int
next_keys(const Feed *feed, int *n)
{
	const FeedSpan *span = &feed->spans[feed->nspans - 1];

	*n = Min(next_chunk(feed), span->to - span->from);
	return span->to - *n;
}

static void
mark_opened(Feed *feed, int first, int n)
{
	FeedSpan   *span = &feed->spans[feed->nspans - 1];

	span->to = first;
	if (span->to == span->from)
		feed->nspans--;
	feed->nopened += n;
	feed->chunk = n;
}

/* The first rows of each of some keys; what they have above the floor is not few. */
static void
read_first(Feed *feed, Datum *values, char *nulls, int first, int n)
{
	int			limit = cozi_feed_is_full(feed) ? 4 : 2 * feed->k / feed->nkeys + 1;
	int		   *places = palloc(n * sizeof(int));
	SPIPlanPtr	plan = cozi_feed_plan(feed, cozi_feed_range_sql(feed, false), 0);
	Datum		keys = values[PARAM_KEYS];
	CoziPlanCosts costs;

	for (int i = 0; i < n; i++)
		places[i] = first + i;
	limit = Min(limit, feed->k);
	feed->limit = Max(feed->limit, limit);
	cozi_plan_walks(plan, &costs);
	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = keys;
	read_ranges(feed, plan, values, nulls, places, n, limit);
	pfree(places);
}

/*
 * Open the ranges of the next keys.  When they first turn out to have many rows, they
 * are left for another step: it may be the walk that is better now.
 */
static void
open_ranges(Feed *feed)
{
	bool		had_many_rows = feed->many_rows;
	int			n;
	int			first = next_keys(feed, &n);
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	Datum		keys = make_array(feed->keys + first, n, feed->key_type);

	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = keys;
	if (!read_list(feed, values, nulls, n))
	{
		if (!had_many_rows && feed->can_walk)
			return;
		read_first(feed, values, nulls, first, n);
	}
	mark_opened(feed, first, n);
	pfree(DatumGetPointer(keys));
}

/* Read on in ranges that are above the floor; a range leaves the list until it is kept again. */
static void
continue_ranges(Feed *feed)
{
	Datum	   *columns[3];
	int			keys[MOST_CHUNK];
	int			n = 0;
	int			limit = Min(feed->k, 4 * feed->limit);
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	CoziPlanCosts costs;
	SPIPlanPtr	plan;

	for (int i = 0; i < 3; i++)
		columns[i] = palloc(MOST_CHUNK * sizeof(Datum));
	while (feed->nranges > 0 && n < MOST_CHUNK)
	{
		FeedRange  *range = &feed->ranges[--feed->nranges];

		if (cozi_feed_below_floor(feed, &range->place))
			continue;
		columns[0][n] = feed->keys[range->key];
		columns[1][n] = range->place.rank;
		columns[2][n] = range->place.item;
		keys[n++] = range->key;
	}
	if (n == 0)
		return;
	plan = cozi_feed_plan(feed, cozi_feed_range_sql(feed, true), 0);
	cozi_plan_walks(plan, &costs);
	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = make_array(columns[0], n, feed->key_type);
	values[PARAM_RANKS] = make_array(columns[1], n, feed->rank.type);
	values[PARAM_ITEMS] = make_array(columns[2], n, feed->item.type);
	nulls[PARAM_RANKS] = nulls[PARAM_ITEMS] = ' ';
	feed->limit = limit;
	read_ranges(feed, plan, values, nulls, keys, n, limit);
}

/* A step of the merge; true when the rows are the page. */
bool
cozi_feed_merge(Feed *feed)
{
	FeedClock	began;

	CHECK_FOR_INTERRUPTS();
	cozi_feed_clock(&began);
	if (!feed->all_keys && (feed->nopened == feed->nkeys || feed->nkeys > FEED_FIRST_LOAD))
	{
		cozi_feed_load(feed, Max(FEED_FIRST_LOAD, (int64) feed->nkeys * LOAD_GROWTH));
		feed->load_spent += cozi_feed_time_since(&began);
	}
	else
	{
		if (feed->nopened < feed->nkeys)
			open_ranges(feed);
		else if (feed->nranges > 0)
			continue_ranges(feed);
		feed->open_spent += cozi_feed_time_since(&began);
	}
	if (feed->too_many_keys)
		feed->can_merge = false;
	return feed->all_keys && feed->nopened == feed->nkeys && feed->nranges == 0;
}
