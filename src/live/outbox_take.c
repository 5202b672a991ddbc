/*
 * live/outbox_take.c
 *		Taking events from an outbox, and saying that they are done.
 *
 * A consumer has one batch at a time.  Until the transaction of outbox_take() ends,
 * the row of the consumer is locked, and another worker gets nothing; then the lease
 * holds, until it is returned or runs out.  After one has run out, events are handed
 * out one at a time up to its end, so that the event that ends workers is found.
 *
 * The law: what is not done is taken again.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "live/outbox.h"

#define MAX_TAKEN	100000

/* What outbox_take() returns after the columns of the outbox up to seq */
enum
{
	TAKEN_ATTEMPTS = EVENT_SEQ + 1, TAKEN_LEASE, TAKEN_COLUMNS
};

typedef struct Taken
{
	int			max;
	bool		all;			/* whatever has not ended */
	int			n;
	OutboxEvent *events;
} Taken;

/* Keep a copy of an event that may be delivered. */
static bool
collect_event(const OutboxEvent *event, void *arg)
{
	Taken	   *batch = arg;
	OutboxEvent *copy;

	if (batch->n == batch->max || (event->waits && !batch->all))
		return false;
	if (batch->n == 0)
		batch->events = palloc(sizeof(OutboxEvent));
	else if ((batch->n & (batch->n - 1)) == 0)
		batch->events = repalloc_huge(batch->events, 2 * batch->n * sizeof(OutboxEvent));
	copy = &batch->events[batch->n++];
	*copy = *event;
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		if (event->nulls[i])
			continue;
		if (i == EVENT_ID)
			copy->values[i] = datumCopy(event->values[i], false, UUID_LEN);
		else if (i < EVENT_CREATED_AT)
			copy->values[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(event->values[i]));
	}
	return true;
}

static void
collect_events(const Outbox *outbox, int64 after, Taken *batch)
{
	Snapshot	snapshot = RegisterSnapshot(GetTransactionSnapshot());

	batch->n = 0;
	cozi_outbox_visit(outbox->rel, after, snapshot, collect_event, batch);
	UnregisterSnapshot(snapshot);
}

static int64
last_seq(const Taken *batch)
{
	return batch->events[batch->n - 1].seq;
}

/* The next events of a consumer; one, where a lease has run out. */
static int
collect_next(const Outbox *outbox, const OutboxConsumer *consumer, int k, Taken *batch)
{
	batch->max = consumer->done < Max(consumer->careful_upto, consumer->leased_upto) ? 1 : k;
	batch->all = false;
	collect_events(outbox, consumer->done, batch);
	return batch->n;
}

/*
 * Collect a batch for a consumer and lock the consumer; false: there is none, or
 * another worker has one.  A worker that finds nothing writes nothing.
 */
static bool
collect_locked(const Outbox *outbox, OutboxConsumer *consumer, int k, Taken *batch)
{
	int64		done;

	cozi_outbox_require_consumer(outbox, "", consumer);
	cozi_outbox_check_sequence(outbox->rel, consumer->done);
	done = consumer->done;
	if (consumer->leased || collect_next(outbox, consumer, k, batch) == 0)
		return false;
	if (!cozi_outbox_find_consumer(outbox, "FOR UPDATE SKIP LOCKED", consumer) ||
		consumer->leased)
		return false;
	return (consumer->done == done && consumer->leased_upto == 0 &&
			consumer->careful_upto <= done) ||
		collect_next(outbox, consumer, k, batch) > 0;
}

/* Change the state of a consumer, which is locked; timeout is NULL without a lease. */
static void
write_consumer(const Outbox *outbox, const OutboxConsumer *consumer, Interval *timeout)
{
	Oid			types[] = {INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID, INT4OID, INT8OID,
	INTERVALOID};
	Datum		values[] = {
		Int64GetDatum(outbox->id),
		CStringGetTextDatum(consumer->name),
		Int64GetDatum(consumer->done),
		Int64GetDatum(consumer->lease),
		Int64GetDatum(consumer->leased_upto),
		Int32GetDatum(consumer->attempts),
		Int64GetDatum(consumer->careful_upto),
		IntervalPGetDatum(timeout)
	};

	SPI_connect();
	(void) cozi_outbox_run("UPDATE {cozi}.outbox_consumer SET done = $3, lease = $4,"
						   " leased_upto = $5, attempts = $6, careful_upto = $7,"
						   " leased_until = pg_catalog.clock_timestamp() + $8"
						   " WHERE outbox = $1 AND consumer = $2",
						   8, types, values, timeout ? NULL : "       n", SPI_OK_UPDATE);
	SPI_finish();
}

static void
return_batch(FunctionCallInfo fcinfo, const OutboxConsumer *consumer, const Taken *batch)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int row = 0; row < batch->n; row++)
	{
		const OutboxEvent *event = &batch->events[row];
		Datum		values[TAKEN_COLUMNS];
		bool		nulls[TAKEN_COLUMNS] = {0};

		for (int i = 0; i <= EVENT_SEQ; i++)
		{
			values[i] = event->values[i];
			nulls[i] = event->nulls[i];
		}
		values[TAKEN_ATTEMPTS] = Int32GetDatum(row == 0 ? consumer->attempts : 1);
		values[TAKEN_LEASE] = Int64GetDatum(consumer->lease);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

static Interval *
read_timeout(FunctionCallInfo fcinfo, int n)
{
	Interval   *timeout;

	cozi_require_argument(fcinfo, n, "timeout");
	timeout = PG_GETARG_INTERVAL_P(n);
	if (INTERVAL_NOT_FINITE(timeout) || timeout->month != 0 || timeout->day < 0 ||
		timeout->day > 7 || timeout->time < 0 || timeout->time > 7 * USECS_PER_DAY ||
		timeout->day * USECS_PER_DAY + timeout->time <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"timeout\" must be positive, and at most 7 days")));
	return timeout;
}

static int32
read_k(FunctionCallInfo fcinfo, int n)
{
	cozi_require_argument(fcinfo, n, "k");
	if (PG_GETARG_INT32(n) < 1 || PG_GETARG_INT32(n) > MAX_TAKEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"k\" must be 1 to %d, not %d", MAX_TAKEN, PG_GETARG_INT32(n))));
	return PG_GETARG_INT32(n);
}

/* (outbox regclass, consumer text, ...): the first two arguments of all functions here */
static void
open_arguments(FunctionCallInfo fcinfo, const char *function, Outbox *outbox,
			   OutboxConsumer *consumer)
{
	cozi_require_argument(fcinfo, 0, "outbox");
	cozi_require_argument(fcinfo, 1, "consumer");
	if (function != NULL)
		PreventCommandIfReadOnly(function);
	consumer->name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	cozi_outbox_open(PG_GETARG_OID(0), outbox);
}

/*
 * outbox_take(outbox regclass, consumer text, k int = 100, timeout interval = '30 s')
 *		-> setof (id, aggregatetype, aggregateid, type, payload, created_at, seq,
 *				  attempts int, lease bigint)
 */
PG_FUNCTION_INFO_V1(cozi_outbox_take);
Datum
cozi_outbox_take(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	OutboxConsumer consumer = {0};
	Taken		batch = {0};
	int32		k = read_k(fcinfo, 2);
	Interval   *timeout = read_timeout(fcinfo, 3);

	InitMaterializedSRF(fcinfo, 0);
	open_arguments(fcinfo, "outbox_take()", &outbox, &consumer);
	if (collect_locked(&outbox, &consumer, k, &batch))
	{
		bool		again = consumer.leased_upto > consumer.done;

		consumer.attempts = again ? consumer.attempts + 1 : 1;
		consumer.careful_upto = Max(consumer.careful_upto, consumer.leased_upto);
		consumer.leased_upto = last_seq(&batch);
		consumer.lease++;
		write_consumer(&outbox, &consumer, timeout);
		return_batch(fcinfo, &consumer, &batch);
	}
	table_close(outbox.rel, NoLock);
	return (Datum) 0;
}

/* Lock the consumer; false: the lease is not, or no longer, the one that it has. */
static bool
lock_lease(FunctionCallInfo fcinfo, const char *function, Outbox *outbox,
		   OutboxConsumer *consumer)
{
	open_arguments(fcinfo, function, outbox, consumer);
	cozi_require_argument(fcinfo, 2, "lease");
	cozi_outbox_require_consumer(outbox, "FOR UPDATE", consumer);
	return consumer->lease == PG_GETARG_INT64(2) && consumer->leased_upto > consumer->done;
}

/* The events up to that number are done: the lease is returned. */
static void
return_lease(const Outbox *outbox, OutboxConsumer *consumer, int64 upto)
{
	if (upto > consumer->done)
	{
		consumer->done = upto;
		consumer->leased_upto = 0;
		consumer->attempts = 0;
	}
	write_consumer(outbox, consumer, NULL);
}

/* outbox_done(outbox regclass, consumer text, lease bigint, upto bigint = NULL) -> boolean */
PG_FUNCTION_INFO_V1(cozi_outbox_done);
Datum
cozi_outbox_done(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	OutboxConsumer consumer = {0};
	bool		held = lock_lease(fcinfo, "outbox_done()", &outbox, &consumer);

	if (held)
	{
		int64		upto = PG_ARGISNULL(3) ? consumer.leased_upto : PG_GETARG_INT64(3);

		if (upto > consumer.leased_upto)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("event " INT64_FORMAT " is not one of lease " INT64_FORMAT, upto,
							consumer.lease),
					 errhint("The last one is " INT64_FORMAT ".", consumer.leased_upto)));
		return_lease(&outbox, &consumer, upto);
	}
	table_close(outbox.rel, NoLock);
	PG_RETURN_BOOL(held);
}

static void
write_aside(const Outbox *outbox, const OutboxConsumer *consumer, const OutboxEvent *event,
			const NullableDatum * reason)
{
	Oid			types[] = {INT8OID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID,
	TIMESTAMPTZOID, INT8OID, TEXTOID};
	Datum		values[10] = {Int64GetDatum(outbox->id), CStringGetTextDatum(consumer->name)};
	char		nulls[] = "          ";

	for (int i = 0; i <= EVENT_SEQ; i++)
	{
		values[i + 2] = event->values[i];
		if (event->nulls[i])
			nulls[i + 2] = 'n';
	}
	values[9] = reason->value;
	if (reason->isnull)
		nulls[9] = 'n';
	SPI_connect();
	(void) cozi_outbox_run("INSERT INTO {cozi}.outbox_aside (outbox, consumer, id, aggregatetype,"
						   " aggregateid, type, payload, created_at, seq, reason)"
						   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
						   " ON CONFLICT DO NOTHING", 10, types, values, nulls, SPI_OK_INSERT);
	SPI_finish();
}

/*
 * outbox_set_aside(outbox regclass, consumer text, lease bigint, reason text = NULL) -> uuid
 *
 * Sets the first event of a lease aside, and returns the lease.
 */
PG_FUNCTION_INFO_V1(cozi_outbox_set_aside);
Datum
cozi_outbox_set_aside(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	OutboxConsumer consumer = {0};
	Taken		batch = {.max = 1,.all = true};
	NullableDatum reason = {.isnull = PG_ARGISNULL(3)};
	bool		found = false;

	if (!reason.isnull)
		reason.value = PG_GETARG_DATUM(3);
	if (lock_lease(fcinfo, "outbox_set_aside()", &outbox, &consumer))
	{
		collect_events(&outbox, consumer.done, &batch);
		found = batch.n == 1 && last_seq(&batch) <= consumer.leased_upto;
		if (found)
			write_aside(&outbox, &consumer, &batch.events[0], &reason);
		return_lease(&outbox, &consumer, found ? last_seq(&batch) : consumer.leased_upto);
	}
	table_close(outbox.rel, NoLock);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(batch.events[0].values[EVENT_ID]);
}

/*
 * outbox_aside(outbox regclass, consumer text)
 *		-> setof (id, aggregatetype, aggregateid, type, payload, created_at, seq,
 *				  reason text, at timestamptz)
 */
PG_FUNCTION_INFO_V1(cozi_outbox_aside);
Datum
cozi_outbox_aside(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	OutboxConsumer consumer = {0};
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[2];

	InitMaterializedSRF(fcinfo, 0);
	open_arguments(fcinfo, NULL, &outbox, &consumer);
	cozi_outbox_require_consumer(&outbox, "", &consumer);
	values[0] = Int64GetDatum(outbox.id);
	values[1] = CStringGetTextDatum(consumer.name);
	SPI_connect();
	(void) cozi_outbox_run("SELECT id, aggregatetype, aggregateid, type, payload, created_at, seq,"
						   " reason, at FROM {cozi}.outbox_aside"
						   " WHERE outbox = $1 AND consumer = $2 ORDER BY seq",
						   2, types, values, NULL, SPI_OK_SELECT);
	cozi_return_rows(fcinfo);
	SPI_finish();
	table_close(outbox.rel, NoLock);
	return (Datum) 0;
}

/* outbox_resolve(outbox regclass, consumer text, id uuid) -> boolean: was it aside? */
PG_FUNCTION_INFO_V1(cozi_outbox_resolve);
Datum
cozi_outbox_resolve(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	OutboxConsumer consumer = {0};
	Oid			types[] = {INT8OID, TEXTOID, UUIDOID};
	Datum		values[3];
	uint64		rows;

	open_arguments(fcinfo, "outbox_resolve()", &outbox, &consumer);
	cozi_require_argument(fcinfo, 2, "id");
	cozi_outbox_require_consumer(&outbox, "", &consumer);
	values[0] = Int64GetDatum(outbox.id);
	values[1] = CStringGetTextDatum(consumer.name);
	values[2] = PG_GETARG_DATUM(2);
	SPI_connect();
	rows = cozi_outbox_run("DELETE FROM {cozi}.outbox_aside"
						   " WHERE outbox = $1 AND consumer = $2 AND id = $3",
						   3, types, values, NULL, SPI_OK_DELETE);
	SPI_finish();
	table_close(outbox.rel, NoLock);
	PG_RETURN_BOOL(rows > 0);
}
