/*
 * analytics/events_worker.c
 *		Maintenance of events and activities, where the library is preloaded.
 *
 * The trigger of each table of events runs once per statement.  Once an hour it
 * starts a worker for its database; so does the worker that folds an activity.  The
 * worker maintains all tables of events there, counts the finished days of all
 * activities, and ends; so a database without events has no process.  Where
 * something failed, the next insert a minute later asks again.  Without preload the
 * trigger does nothing: maintain_events() and fold() are called by pg_cron, or by
 * hand.
 *
 * The law: an insert neither fails nor waits because of this.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"

#define DATABASES		64		/* that have a place of their own */
#define EVERY			(INT64CONST(3600) * USECS_PER_SEC)
#define AFTER_FAILURE	(INT64CONST(60) * USECS_PER_SEC)

/* When a database is maintained next.  Databases may share a place. */
typedef struct EventsWorkers
{
	CoziShmemHeader header;
	pg_atomic_uint64 next[DATABASES];	/* 0: at once */
} EventsWorkers;

PGDLLEXPORT void cozi_events_worker(Datum database);

static Size
events_workers_size(void)
{
	return sizeof(EventsWorkers);
}

static void
events_workers_init(CoziShmemHeader *area)
{
	for (int i = 0; i < DATABASES; i++)
		pg_atomic_init_u64(&((EventsWorkers *) area)->next[i], 0);
}

static CoziShmem workers_shmem = {
	.name = "cozi events workers",
	.layout = 1,
	.size = events_workers_size,
	.init = events_workers_init,
};

static pg_atomic_uint64 *
next_of(Oid database)
{
	EventsWorkers *workers = (EventsWorkers *) cozi_shmem_attach(&workers_shmem, false);

	return workers != NULL ? &workers->next[database % DATABASES] : NULL;
}

/* Start the worker, if it is time; one of many writers does. */
static void
ask_worker(TimestampTz now)
{
	pg_atomic_uint64 *next = next_of(MyDatabaseId);
	uint64		due;

	if (next == NULL)
		return;
	due = pg_atomic_read_u64(next);
	/* a clock that was set back must not put it off for long */
	if ((TimestampTz) due > now && (TimestampTz) due <= now + EVERY)
		return;
	if (pg_atomic_compare_exchange_u64(next, &due, (uint64) (now + EVERY)) &&
		!cozi_start_worker("cozi events worker", "cozi_events_worker",
						   ObjectIdGetDatum(MyDatabaseId)))
		pg_atomic_write_u64(next, (uint64) (now + AFTER_FAILURE));
}

/* The same for the worker that folds, of a database with activities. */
void
cozi_ask_events_worker(void)
{
	ask_worker(GetCurrentTimestamp());
}

PG_FUNCTION_INFO_V1(cozi_events_due);

/*
 * _events_due(): trigger, before each INSERT.  Its arguments are read by SQL.
 */
Datum
cozi_events_due(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_events_due() must be called as a trigger")));
	if (cozi_preloaded())
		ask_worker(GetCurrentTransactionStartTimestamp());
	return PointerGetDatum(TRIGGER_FIRED_FOR_ROW(((TriggerData *) fcinfo->context)->tg_event) ?
						   ((TriggerData *) fcinfo->context)->tg_trigtuple : NULL);
}

/* In a transaction of its own.  False if something failed. */
static bool
maintain_one(Oid events, bool *again)
{
	bool		done = true;

	*again = false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (get_rel_name(events) != NULL)
		done = cozi_maintain(events, false, NULL, again);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return done;
}

static List *
list_tables(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	List	   *tables = NIL;
	List	   *found;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	found = OidIsValid(cozi_schema()) ? cozi_event_tables() : NIL;
	MemoryContextSwitchTo(TopMemoryContext);
	tables = list_copy(found);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return tables;
}

/* The activities that are there, in a context that outlives transactions. */
static List *
list_activities(void)
{
	List	   *activities = NIL;
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *lc;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(TopMemoryContext);
	if (OidIsValid(cozi_schema()))
		foreach(lc, cozi_kept_all())
	{
		Kept	   *kept = lfirst(lc);

		if (kept->kind == &cozi_activity_kind && kept->adopted)
			activities = lappend_int(activities, kept->id);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return activities;
}

/* In a transaction of its own: what fails leaves the others alone. */
static bool
count_activity(int32 id)
{
	volatile bool done = true;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PG_TRY();
	{
		Kept		kept;

		PushActiveSnapshot(GetTransactionSnapshot());
		if (cozi_kept_by_id(id, &kept) && get_rel_name(kept.relation) != NULL)
			cozi_count_figures(&kept, false);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		done = false;
	}
	PG_END_TRY();
	return done;
}

void
cozi_events_worker(Datum database)
{
	bool		done = true;
	ListCell   *lc;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	pgstat_report_activity(STATE_RUNNING, "cozi: maintaining events and activities");
	foreach(lc, list_tables())
	{
		bool		again;

		/* what was closed in the first transaction goes in the second */
		done &= maintain_one(lfirst_oid(lc), &again);
		if (again)
			done &= maintain_one(lfirst_oid(lc), &again);
	}
	foreach(lc, list_activities())
		done &= count_activity(lfirst_int(lc));
	if (!done)
		pg_atomic_write_u64(next_of(MyDatabaseId),
							(uint64) (GetCurrentTimestamp() + AFTER_FAILURE));
	proc_exit(0);
}

void
cozi_events_worker_init(void)
{
	cozi_shmem_request(&workers_shmem);
}
