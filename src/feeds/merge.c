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
#define FIRST_LOAD		64		/* targets of an edge that are read at first */
#define LOAD_GROWTH		8
#define AHEAD			4		/* targets to know for each that was opened */
#define MOST_ROW_COST	1000	/* of the planner: more, and no index serves
								 * it */

/* What a statement has said of one of its keys. */
typedef struct RangeRead
{
	int			nrows;
	FeedRow		last;			/* a copy */
	bool		hidden;			/* the key is an author whom a block hides */
} RangeRead;

void
cozi_feed_start_merge(Feed *feed)
{
	CoziPlanCosts costs;

	cozi_plan_walks(cozi_feed_plan(feed, cozi_feed_range_sql(feed, false), 0), &costs);
	feed->can_merge = costs.inner_row < MOST_ROW_COST && !feed->only_walk;
	feed->chunk = FIRST_CHUNK;
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

/* Take the rows of a statement, whose first column says which key they are of. */
static void
take_rows(Feed *feed, RangeRead *reads)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		by_author = feed->author.column.attnum == feed->key.column.attnum;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		bool		hidden = false;
		int64		which = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		RangeRead  *read = &reads[which - 1];
		FeedRow		row;

		row.rank = SPI_getbinval(tuple, desc, 2, &isnull);
		row.item = SPI_getbinval(tuple, desc, 3, &isnull);
		if (isnull)
			continue;
		if (OidIsValid(feed->author.type))
		{
			Datum		author = SPI_getbinval(tuple, desc, 4, &isnull);

			hidden = !isnull && cozi_feed_hides(feed, author);
		}
		read->hidden |= hidden && by_author;
		read->nrows++;
		read->last = row;
		if (!hidden)
			cozi_feed_offer(feed, &row);
	}
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
		feed->ranges[feed->nranges++].place = cozi_feed_copy(feed, &read->last);
	}
}

static void
read_ranges(Feed *feed, SPIPlanPtr plan, Datum *values, char *nulls, const int *keys, int n,
			int limit)
{
	RangeRead  *reads = palloc0(n * sizeof(RangeRead));

	values[PARAM_LIMIT] = Int64GetDatum(limit);
	nulls[PARAM_LIMIT] = ' ';
	nulls[PARAM_KEYS] = ' ';
	if (SPI_execute_plan(plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the ranges of a feed");
	take_rows(feed, reads);
	keep_ranges(feed, reads, keys, n, limit);
	SPI_freetuptable(SPI_tuptable);
	pfree(reads);
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
	uint64		found;
	SPIPlanPtr	plan;
	CoziPlanCosts costs;

	if (feed->many_rows && !cozi_feed_is_full(feed))
		return false;
	plan = cozi_feed_plan(feed, cozi_feed_list_sql(feed), 0);
	cozi_plan_walks(plan, &costs);
	values[PARAM_LIMIT] = Int64GetDatum(limit);
	nulls[PARAM_LIMIT] = nulls[PARAM_KEYS] = ' ';
	if (SPI_execute_plan(plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of a feed");
	found = SPI_processed;
	take_rows(feed, &read);
	SPI_freetuptable(SPI_tuptable);
	feed->many_rows = found == limit;
	return !feed->many_rows;
}

/* Open the ranges of the next keys. */
static void
open_ranges(Feed *feed)
{
	int			n = Min(feed->chunk, feed->nkeys - feed->nopened);
	int			limit;
	Datum		keys = make_array(feed->keys + feed->nopened, n, feed->key_type);
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	CoziPlanCosts costs;
	SPIPlanPtr	plan;
	int		   *places;

	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = keys;
	if (!read_list(feed, values, nulls, n))
	{
		places = palloc(n * sizeof(int));
		for (int i = 0; i < n; i++)
			places[i] = feed->nopened + i;
		limit = cozi_feed_is_full(feed) ? 4 : 2 * feed->k / feed->nkeys + 1;
		limit = Min(limit, feed->k);
		feed->limit = Max(feed->limit, limit);
		plan = cozi_feed_plan(feed, cozi_feed_range_sql(feed, false), 0);
		cozi_plan_walks(plan, &costs);
		cozi_feed_params(feed, values, nulls);
		values[PARAM_KEYS] = keys;
		read_ranges(feed, plan, values, nulls, places, n, limit);
		pfree(places);
	}
	feed->nopened += n;
	feed->chunk = Min(feed->chunk * 4, MOST_CHUNK);
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
	instr_time	began;
	instr_time	ended;

	CHECK_FOR_INTERRUPTS();
	INSTR_TIME_SET_CURRENT(began);
	if (!feed->all_keys &&
		(feed->nopened == feed->nkeys ||
		 (feed->nkeys > FIRST_LOAD && AHEAD * (int64) feed->nopened >= feed->nkeys)))
		cozi_feed_load(feed, Max(FIRST_LOAD, (int64) feed->nkeys * LOAD_GROWTH));
	else if (feed->nopened < feed->nkeys)
		open_ranges(feed);
	else if (feed->nranges > 0)
		continue_ranges(feed);
	INSTR_TIME_SET_CURRENT(ended);
	INSTR_TIME_SUBTRACT(ended, began);
	feed->merge_spent += INSTR_TIME_GET_DOUBLE(ended);
	if (feed->too_many_keys)
		feed->can_merge = false;
	return feed->all_keys && feed->nopened == feed->nkeys && feed->nranges == 0;
}
