/*
 * feeds/row.c
 *		The best rows seen so far, whichever way has found them.
 *
 * Both ways find the same rows, so a row is known by its rank and item: the item
 * makes the order unique.  Once there are k, the last of them is the floor, below
 * which no row belongs to the page.
 */
#include "postgres.h"

#include "utils/datum.h"

#include "feeds/feeds.h"

static int
compare_values(const FeedColumn *column, Datum a, Datum b)
{
	return DatumGetInt32(FunctionCall2Coll(&column->ops->cmp_proc_finfo,
										   column->column.collation, a, b));
}

/* Negative where a comes before b: it has the higher rank, or the higher item. */
static int
compare_rows(const Feed *feed, const FeedRow *a, const FeedRow *b)
{
	int			order = compare_values(&feed->rank, b->rank, a->rank);

	return order != 0 ? order : compare_values(&feed->item, b->item, a->item);
}

bool
cozi_feed_is_full(const Feed *feed)
{
	return feed->n == feed->k;
}

bool
cozi_feed_below_floor(const Feed *feed, const FeedRow *row)
{
	return cozi_feed_is_full(feed) &&
		compare_rows(feed, row, &feed->rows[feed->k - 1]) >= 0;
}

FeedRow
cozi_feed_copy(const Feed *feed, const FeedRow *row)
{
	FeedRow		copy;

	copy.rank = datumCopy(row->rank, feed->rank.ops->typbyval, feed->rank.ops->typlen);
	copy.item = datumCopy(row->item, feed->item.ops->typbyval, feed->item.ops->typlen);
	return copy;
}

static void
free_value(const FeedColumn *column, Datum value)
{
	if (!column->ops->typbyval)
		pfree(DatumGetPointer(value));
}

/* Take a row among the best, if it is one of them and is not there. */
void
cozi_feed_offer(Feed *feed, const FeedRow *row)
{
	int			low = 0;
	int			high = feed->n;

	if (cozi_feed_below_floor(feed, row))
		return;
	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = compare_rows(feed, row, &feed->rows[middle]);

		if (order == 0)
			return;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	memmove(&feed->rows[low + 1], &feed->rows[low], (feed->n - low) * sizeof(FeedRow));
	feed->rows[low] = cozi_feed_copy(feed, row);
	if (feed->n < feed->k)
		feed->n++;
	else
	{
		free_value(&feed->rank, feed->rows[feed->k].rank);
		free_value(&feed->item, feed->rows[feed->k].item);
	}
}
