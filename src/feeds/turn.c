/*
 * feeds/turn.c
 *		Which of the two ways to the page goes next, and how far.
 *
 * Few keys are merged.  Otherwise the walk looks first, and goes on for a moment while
 * it finds the page in rows that lie close together, and for as long as no merge of
 * so many keys can take.
 *
 * Then it is by default the one that has spent less time: both then take twice the time of the
 * better one.  What they have seen says more.  Merging takes as long a key as so
 * far, once all keys are known.  Walking takes as long a row of the page as so far,
 * and ends at the floor at the latest; how far down that is, the ranks say where they
 * are numbers.  The way that is to take longer has equal turns until it has spent SHARE
 * of what the other is to take in all, and waits then.
 *
 * The law: what was seen may be no sign of what comes, so it decides little.  A way
 * that the other waits for is taken to need what it has spent already, at least.  So
 * when one has the page, the other has spent at most 1 / SHARE of that, whatever was
 * expected, and SHARE of it where that was right: with 0.8, the page takes 2.25 times
 * the better way at most, and 1.8 times.  To this come the last step of the other, a
 * fraction of the time so far, and two moments at the beginning.
 *
 * Time is what the processor spent, or that of the clock in a step in which the process
 * slept, since reading from disk counts; but not where it was preempted as well.
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
#define MOMENT		1e-3		/* both as long as they take no more seconds */
#define SHORT_WALK	100e-6		/* seconds in which it may find the page alone */
#define DENSE		4			/* rows that it walks for each that it finds */
#define QUICK_KEY	0.25e-6		/* seconds in which no key is loaded and
								 * opened */
#define MUCH_LESS	2
#define SHARE		0.8
#define SHORT_STEP	50e-6		/* seconds that a step may take in any case */

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
	clock->sleeps = usage.ru_nvcsw;
	INSTR_TIME_SET_CURRENT(clock->at);
}

double
cozi_feed_time_since(const FeedClock *clock)
{
	FeedClock	now;

	cozi_feed_clock(&now);
	if (now.sleeps == clock->sleeps || now.preemptions != clock->preemptions)
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

double
cozi_feed_merge_spent(const Feed *feed)
{
	return feed->load_spent + feed->open_spent;
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
	return feed->open_spent * left / Max(feed->nopened, 1);
}

/* Is merging to take much less than walking? */
static bool
merge_is_short(const Feed *feed)
{
	return feed->all_keys && MUCH_LESS * merge_left(feed) < walk_left(feed);
}

/* What the walk may spend before it waits for such a merge. */
static double
share_of_merge(const Feed *feed)
{
	return SHARE * (cozi_feed_merge_spent(feed) + merge_left(feed));
}

static bool
walk_is_short(const Feed *feed)
{
	return feed->walk_hits > 1 && walk_left(feed) < merge_left(feed);
}

/* Is it the merge that goes next?  Both can. */
bool
cozi_feed_merge_is_next(const Feed *feed)
{
	bool		quiet = !feed->many_rows && cozi_feed_merge_spent(feed) < MOMENT;

	if (quiet && feed->all_keys && feed->nkeys <= FEW_KEYS)
		return true;
	if (feed->walked == 0 ||
		(feed->walk_spent < SHORT_WALK && DENSE * (int64) feed->walk_hits >= feed->walked))
		return false;
	if (quiet && (feed->nkeys < QUIET_KEYS || (feed->all_keys && feed->nkeys == QUIET_KEYS)))
		return true;
	if (feed->walk_spent < QUICK_KEY * feed->nkeys)
		return false;
	if (merge_is_short(feed))
		return cozi_feed_merge_spent(feed) <= feed->walk_spent ||
			feed->walk_spent >= share_of_merge(feed);
	if (walk_is_short(feed))
		return cozi_feed_merge_spent(feed) < feed->walk_spent &&
			cozi_feed_merge_spent(feed) < SHARE * (feed->walk_spent + walk_left(feed));
	return cozi_feed_merge_spent(feed) <= feed->walk_spent;
}

/*
 * The seconds that the next step of a way may take: until it has caught up with the
 * other, and a fraction of the time of both beyond that.
 */
static double
turn(double spent, double other, double beyond)
{
	return Max(other - spent, 0) + beyond * Max(spent, other);
}

double
cozi_feed_merge_turn(const Feed *feed)
{
	if (!feed->can_walk)
		return get_float8_infinity();
	return Max(SHORT_STEP, turn(cozi_feed_merge_spent(feed), feed->walk_spent, 0.25));
}

double
cozi_feed_walk_turn(const Feed *feed)
{
	double		seconds = turn(feed->walk_spent, cozi_feed_merge_spent(feed), 0.05);

	if (!feed->can_merge)
		return get_float8_infinity();
	if (merge_is_short(feed))
		seconds = Min(seconds, share_of_merge(feed) - feed->walk_spent);
	return Max(SHORT_STEP, seconds);
}
