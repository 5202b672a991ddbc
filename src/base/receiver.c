/*
 * base/receiver.c
 *		A receiver of the rows of a statement, one by one, as the executor has them.
 *
 * The law: it holds nothing of its own, so that nothing is to be given back after an
 * error.
 */
#include "postgres.h"

#include "tcop/dest.h"

#include "base/base.h"

static void
begin_receiving(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiving(DestReceiver *self)
{
}

/* Its rows go to receive, which says whether it wants more. */
void
cozi_init_receiver(DestReceiver *receiver, CoziReceive receive)
{
	receiver->receiveSlot = receive;
	receiver->rStartup = begin_receiving;
	receiver->rShutdown = end_receiving;
	receiver->rDestroy = end_receiving;
	receiver->mydest = DestTuplestore;	/* anything that is not DestNone */
}
