/*
 * feeds/turn.c
 *		Which of the two ways to the page goes next.
 *
 * Few keys are merged.  Otherwise the walk looks first, and goes on for a moment while
 * it finds the page in rows that lie close together.
 *
 * Then it is by default the one that has spent less time: both then take twice the time of the
 * better one.  What they have seen says more.  Merging takes as long a key as so
 * far, once all keys are known.  Walking takes as long a row of the page as so far,
 * and ends at the floor at the latest; how far down that is, the ranks say where they
 * are numbers.  Where one way has much less to go, the other has equal turns until it
 * has spent SHARE of what that way will take in all, and then waits for it: it cost
 * that share, or it was the better one after all and is found to be.
 *
 * Time is that of the clock, since reading from disk counts; except in a step in
 * which the process was preempted, where it is what the processor spent on it.
 */
#include "postgres.h"

#include <sys/resource.h>

#include "catalog/pg_type.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "feeds/feeds.h"

#define FEW_KEYS	FEED_FIRST_LOAD /* so few, where each has few rows, that
									 * they are merged at once */
#define QUIET_KEYS	512			/* and so few after a look at the walk */
#define SHORT_WALK	100e-6		/* seconds in which it may find the page alone */
#define DENSE		4			/* rows that it walks for each that it finds */
#define MUCH_LESS	2
#define SHARE		0.25

static double
seconds(struct timeval time)
{
	return time.tv_sec + time.tv_usec / 1e6;
}

void
cozi_feed_clock(FeedClock *clock)
{
	struct rusage usage = {0};

	(void) getrusage(RUSAGE_SELF, &usage);
	clock->cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
	clock->preemptions = usage.ru_nivcsw;
	INSTR_TIME_SET_CURRENT(clock->at);
}

double
cozi_feed_time_since(const FeedClock *clock)
{
	FeedClock	now;

	cozi_feed_clock(&now);
	if (now.preemptions != clock->preemptions)
		return now.cpu - clock->cpu;
	INSTR_TIME_SUBTRACT(now.at, clock->at);
	return INSTR_TIME_GET_DOUBLE(now.at);
}

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
	return feed->merge_spent * left / Max(feed->nopened, 1);
}

/* Is it the merge that goes next?  Both can. */
bool
cozi_feed_merge_is_next(const Feed *feed)
{
	double		merge;
	double		walk;

	if (!feed->many_rows && feed->all_keys && feed->nkeys <= FEW_KEYS)
		return true;
	if (feed->walked == 0 ||
		(feed->walk_spent < SHORT_WALK && DENSE * (int64) feed->walk_hits >= feed->walked))
		return false;
	if (!feed->many_rows && (feed->nkeys < QUIET_KEYS ||
							 (feed->all_keys && feed->nkeys == QUIET_KEYS)))
		return true;
	merge = merge_left(feed);
	walk = walk_left(feed);
	if (feed->all_keys && MUCH_LESS * merge < walk)
		return feed->merge_spent <= feed->walk_spent ||
			feed->walk_spent > SHARE * (feed->merge_spent + merge);
	if (walk < merge && feed->walk_hits > 1)
		return feed->merge_spent < feed->walk_spent &&
			feed->merge_spent <= SHARE * (feed->walk_spent + walk);
	return feed->merge_spent <= feed->walk_spent;
}
