/*
 * base/receiver.c
 *		A receiver of the rows of a statement, one by one, as the executor has them.
 *
 * The law: it holds nothing of its own, so that nothing is to be given back after an
 * error.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "nodes/params.h"
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

/* Hand over the rows of a statement; nulls as SPI has them.  SPI is connected. */
void
cozi_receive(SPIPlanPtr plan, const Datum *values, const char *nulls, DestReceiver *receiver)
{
	int			n = SPI_getargcount(plan);
	ParamListInfo params = makeParamList(n);
	SPIExecuteOptions options = {.params = params,.read_only = true,.dest = receiver};

	for (int i = 0; i < n; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = nulls != NULL && nulls[i] == 'n';
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = SPI_getargtypeid(plan, i);
	}
	if (SPI_execute_plan_extended(plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of a statement");
	pfree(params);
}
