/*
 * feeds/turn.c
 *		Which of the two ways to the page goes next.
 *
 * By default the one that has spent less time: both then take twice the time of the
 * better one.  What they have seen says more.  Merging takes as long a key as so
 * far, once all keys are known.  Walking takes as long a row of the page as so far,
 * and ends at the floor at the latest; how far down that is, the ranks say where they
 * are numbers.  The way that has much less to go may spend FAVOUR times as much as
 * the other, and no more: the other goes on, because what is to come may differ.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "feeds/feeds.h"

#define FEW_KEYS	512			/* so few, where each has few rows, that they
								 * are merged at once */
#define MUCH_LESS	2
#define FAVOUR		4

/* A rank as a number whose differences mean something; false for other types. */
static bool
rank_number(const Feed *feed, Datum rank, double *number)
{
	switch (feed->rank.type)
	{
		case INT2OID:
			*number = DatumGetInt16(rank);
			break;
		case INT4OID:
		case DATEOID:
			*number = DatumGetInt32(rank);
			break;
		case INT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*number = (double) DatumGetInt64(rank);
			break;
		case FLOAT4OID:
			*number = DatumGetFloat4(rank);
			break;
		case FLOAT8OID:
			*number = DatumGetFloat8(rank);
			break;
		default:
			return false;
	}
	return !isnan(*number) && !isinf(*number);
}

/* Remember the ranks between which the walk has been. */
void
cozi_feed_note_rank(Feed *feed, Datum rank)
{
	double		number;

	if (!rank_number(feed, rank, &number))
		return;
	if (!feed->has_ranks)
		feed->first_rank = number;
	feed->last_rank = number;
	feed->has_ranks = true;
}

/* The seconds until the walk has the page, as far as it has seen. */
static double
walk_left(const Feed *feed)
{
	double		left = feed->walk_spent * (feed->k - Min(feed->walk_hits, feed->k)) /
	Max(feed->walk_hits, 1);
	double		floor;

	if (cozi_feed_is_full(feed) && feed->has_ranks &&
		rank_number(feed, feed->rows[feed->k - 1].rank, &floor) &&
		feed->first_rank > feed->last_rank && feed->last_rank >= floor)
		left = Min(left, feed->walk_spent * (feed->last_rank - floor) /
				   (feed->first_rank - feed->last_rank));
	return left;
}

/*
 * The seconds until all ranges are merged.  While not all keys are known, there are
 * taken to be as many more.
 */
static double
merge_left(const Feed *feed)
{
	double		left = feed->nkeys - feed->nopened + feed->nranges;

	if (!feed->all_keys)
		left += feed->nkeys;
	return feed->merge_spent * left / feed->nopened;
}

/* Is it the merge that goes next?  Both can. */
bool
cozi_feed_merge_is_next(const Feed *feed)
{
	double		merge;
	double		walk;

	if (feed->nopened == 0)
		return true;
	if (!feed->many_rows && (feed->all_keys ? feed->nkeys <= FEW_KEYS : feed->nkeys < FEW_KEYS))
		return true;
	if (feed->walked == 0)
		return false;
	merge = merge_left(feed);
	walk = walk_left(feed);
	if (feed->all_keys && MUCH_LESS * merge < walk)
		return feed->merge_spent <= FAVOUR * feed->walk_spent;
	if (walk < merge && feed->walk_hits > 1)
		return FAVOUR * feed->merge_spent <= feed->walk_spent;
	return feed->merge_spent <= feed->walk_spent;
}
