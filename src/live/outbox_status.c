/*
 * live/outbox_status.c
 *		How far the consumers of outboxes are: the rows behind the view outboxes.
 *
 * The law: an outbox that cannot be read, or is locked, gives a row without numbers;
 * never an error, and nobody waits.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "live/outbox.h"

/* Events that are counted, at most, for each consumer */
#define MAX_COUNTED 10000

/* What _outbox_status() returns; the first of it is selected. */
enum
{
	OUTBOX = 0, CONSUMER, ROLE, DONE, LEASED_UNTIL, ATTEMPTS, SET_ASIDE, EVENTS, WAITING, OLDEST,
	COLUMNS
};

typedef struct Lag
{
	int64		events;
	int64		waiting;
	TimestampTz oldest;
} Lag;

static bool
count_event(const OutboxEvent *event, void *arg)
{
	Lag		   *lag = arg;

	if (lag->events == 0)
		lag->oldest = DatumGetTimestampTz(event->values[EVENT_CREATED_AT]);
	if (event->waits)
		lag->waiting++;
	return ++lag->events < MAX_COUNTED;
}

static void
add_lag(Oid relid, int64 done, Snapshot snapshot, Datum *values, bool *nulls)
{
	Lag			lag = {0};
	Relation	rel;

	nulls[EVENTS] = nulls[WAITING] = nulls[OLDEST] = true;
	if (!cozi_outbox_is_readable(relid))
		return;
	rel = table_open(relid, NoLock);
	cozi_outbox_visit(rel, done, snapshot, count_event, &lag);
	table_close(rel, NoLock);
	values[EVENTS] = Int64GetDatum(lag.events);
	values[WAITING] = Int64GetDatum(lag.waiting);
	values[OLDEST] = TimestampTzGetDatum(lag.oldest);
	nulls[EVENTS] = nulls[WAITING] = false;
	nulls[OLDEST] = lag.events == 0;
}

/* May the caller see this row: the table's owner, the consumer's role, a monitor? */
static bool
may_see(Oid relid, const Datum *values, const bool *nulls)
{
	Oid			user = GetUserId();
	Oid			role = nulls[ROLE] ? InvalidOid :
	get_role_oid(TextDatumGetCString(values[ROLE]), true);

	return has_privs_of_role(user, ROLE_PG_MONITOR) ||
		has_privs_of_role(user, cozi_relation_owner(relid)) ||
		(OidIsValid(role) && has_privs_of_role(user, role));
}

/*
 * _outbox_status() -> setof (outbox oid, consumer text, role text, done bigint,
 *							  leased_until timestamptz, attempts int, set_aside bigint,
 *							  events bigint, waiting bigint, oldest timestamptz)
 */
PG_FUNCTION_INFO_V1(cozi_outbox_status);
Datum
cozi_outbox_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Snapshot	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	SPITupleTable *table;
	uint64		n;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	n = cozi_outbox_run("SELECT r.relation, c.consumer, c.role, c.done, c.leased_until, c.attempts,"
						" CASE WHEN c.consumer IS NOT NULL THEN (SELECT count(*)"
						" FROM {cozi}.outbox_aside a"
						" WHERE a.outbox = c.outbox AND a.consumer = c.consumer) END"
						" FROM {cozi}._outbox_relations() r LEFT JOIN {cozi}.outbox_consumer c"
						" ON c.outbox = r.outbox ORDER BY 1, 2", 0, NULL, NULL, NULL,
						SPI_OK_SELECT);
	table = SPI_tuptable;
	for (uint64 row = 0; row < n; row++)
	{
		Datum		values[COLUMNS];
		bool		nulls[COLUMNS];
		Oid			relid;

		for (int i = 0; i <= SET_ASIDE; i++)
			values[i] = SPI_getbinval(table->vals[row], table->tupdesc, i + 1, &nulls[i]);
		relid = DatumGetObjectId(values[OUTBOX]);
		if (get_rel_name(relid) == NULL || !may_see(relid, values, nulls))
			continue;
		add_lag(relid, nulls[DONE] ? 0 : DatumGetInt64(values[DONE]), snapshot, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}
