/*
 * feeds/receive.c
 *		The rows of a statement, one by one, as the executor has them.
 *
 * No copy is made, and the statement ends when the reader has enough.
 *
 * The law: a row is good until its reader returns; what is to stay is copied.  The
 * reader works in the memory of the feed, not in that of the statement.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

#include "base/base.h"
#include "feeds/feeds.h"

typedef struct FeedReceiver
{
	DestReceiver pub;
	Feed	   *feed;
	FeedTake	take;
	void	   *arg;
	int64		nrows;			/* that were taken */
} FeedReceiver;

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	FeedReceiver *receiver = (FeedReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->feed->context);
	bool		more;

	slot_getallattrs(slot);
	receiver->nrows++;
	more = receiver->take(receiver->feed, slot, receiver->arg);
	MemoryContextSwitchTo(old);
	return more;
}

static FeedReceiver
make_receiver(Feed *feed, FeedTake take, void *arg)
{
	FeedReceiver receiver = {.feed = feed,.take = take,.arg = arg};

	cozi_init_receiver(&receiver.pub, receive);
	return receiver;
}

/* Hand the rows of a statement to take until it wants no more; how many it took. */
int64
cozi_feed_execute(Feed *feed, SPIPlanPtr plan, const Datum *values, const char *nulls,
				  FeedTake take, void *arg)
{
	FeedReceiver receiver = make_receiver(feed, take, arg);

	cozi_receive(plan, values, nulls, &receiver.pub);
	return receiver.nrows;
}

/* The same of the next rows of the open walk, at most so many. */
int64
cozi_feed_fetch(Feed *feed, int64 most, FeedTake take, void *arg)
{
	FeedReceiver receiver = make_receiver(feed, take, arg);

	(void) PortalRunFetch(feed->portal, FETCH_FORWARD, most, &receiver.pub);
	return receiver.nrows;
}
