/*
 * analytics/maintain.c
 *		maintain_events(): partitions are made ahead, and old ones go.
 *
 * What is to be done says the SQL function _events_plan(); here it is done, step by
 * step, as the owner of the table.  A step that fails changes nothing and is
 * reported, and the others are done all the same.  A lock that is not to be had in
 * LOCK_WAIT is tried for again a moment later, and then by the next call, so that
 * no writer waits behind us for long.
 *
 * Rows that wait in the default partition move under its lock, from one table to
 * another, while neither belongs to the table of events.  So no trigger fires, and
 * nothing is counted twice.
 *
 * The law: no event is lost.  A partition goes only after everything that counts
 * its events has closed them (kept/closed.c), in an earlier transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "analytics/analytics.h"

#define LOCK_WAIT	"250ms"
#define LOCK_TRIES	3
#define LOCK_PAUSE	20000		/* microseconds */

/* A row of _events_plan(). */
typedef struct EventStep
{
	char	   *action;
	char	   *partition;
	TimestampTz until;			/* 0: NULL */
	List	   *statements;		/* of char * */
} EventStep;

/* The tables with our trigger, in one order for everybody. */
List	   *
cozi_event_tables(void)
{
	Oid			function = cozi_trigger_function("_events_due");
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *tables = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (OidIsValid(function) && trigger->tgfoid == function &&
			strcmp(NameStr(trigger->tgname), EVENTS_TRIGGER) == 0)
			tables = lappend_oid(tables, trigger->tgrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	list_sort(tables, list_oid_cmp);
	return tables;
}

static EventStep *
read_event_step(HeapTuple tuple, TupleDesc desc)
{
	EventStep  *step = palloc0(sizeof(EventStep));
	bool		isnull;
	Datum		value;
	Datum	   *statements;
	int			n;

	step->action = SPI_getvalue(tuple, desc, 1);
	step->partition = SPI_getvalue(tuple, desc, 2);
	value = SPI_getbinval(tuple, desc, 3, &isnull);
	step->until = isnull ? 0 : DatumGetTimestampTz(value);
	value = SPI_getbinval(tuple, desc, 4, &isnull);
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &statements, NULL, &n);
	for (int i = 0; i < n; i++)
		step->statements = lappend(step->statements, TextDatumGetCString(statements[i]));
	return step;
}

/* SPI is connected.  The lock keeps a second maintenance out, and no writer. */
static List *
make_plan(Oid events, MemoryContext context)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(events)};
	List	   *steps = NIL;

	cozi_run(cozi_statement("LOCK TABLE ONLY {events} IN SHARE UPDATE EXCLUSIVE MODE",
							"events", cozi_qualified_name(events), NULL), SPI_OK_UTILITY);
	if (SPI_execute_with_args("SELECT action, partition, until, statements"
							  " FROM cozi._events_plan($1::pg_catalog.regclass,"
							  " pg_catalog.clock_timestamp())",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call _events_plan()");
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		steps = lappend(steps, read_event_step(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
	return steps;
}

/* Has everything that counts the events closed those before the instant? */
static bool
are_closed(Oid events, TimestampTz until)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_on(events))
	{
		Kept	   *kept = lfirst(lc);

		if (!kept->has_closed || kept->closed < until)
			return false;
	}
	return true;
}

static void
run_step(Oid events, const EventStep *step)
{
	bool		taken_off = strcmp(step->action, "detached") == 0 ||
	strcmp(step->action, "dropped") == 0;
	ListCell   *lc;

	PG_TRY();
	{
		cozi_kept_rows_stay = strcmp(step->action, "moved") == 0 ||
			(taken_off && are_closed(events, step->until));
		foreach(lc, step->statements)
		{
			int			result = SPI_execute(lfirst(lc), false, 0);

			if (result < 0)
				elog(ERROR, "SPI_execute returned %s for: %s", SPI_result_code_string(result),
					 (char *) lfirst(lc));
		}
	}
	PG_FINALLY();
	{
		cozi_kept_rows_stay = false;
	}
	PG_END_TRY();
}

/* Making the plan of a table of events (step is NULL), or a step of it. */
typedef struct Maintaining
{
	Oid			events;
	const EventStep *step;
	List	  **plan;
	MemoryContext caller;
} Maintaining;

/*
 * As the owner.  What closes a kept table becomes restricted itself, and refuses to
 * be so from the start.
 */
static void
plan_or_run(void *arg)
{
	Maintaining *what = arg;
	bool		closes = what->step != NULL && strcmp(what->step->action, "closed") == 0;
	CoziSavedUser saved;

	cozi_switch_user(cozi_relation_owner(what->events), closes ? 0 :
					 SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS, &saved);
	cozi_set_locally("lock_timeout", LOCK_WAIT);
	cozi_set_locally("timezone", "UTC");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (what->step != NULL)
		run_step(what->events, what->step);
	else
		*what->plan = make_plan(what->events, what->caller);
	SPI_finish();
	cozi_restore_user(&saved);
}

/* Returns the error, or NULL. */
static ErrorData *
try_once(Oid events, const EventStep *step, List **plan)
{
	Maintaining what = {events, step, plan, CurrentMemoryContext};
	ErrorData  *error = cozi_attempt(plan_or_run, &what);

	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return error;
}

/* As often as it is for want of a lock. */
static ErrorData *
try_step(Oid events, const EventStep *step, List **plan)
{
	ErrorData  *error = NULL;

	for (int i = 0; i < LOCK_TRIES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			pg_usleep(LOCK_PAUSE);
		error = try_once(events, step, plan);
		if (error == NULL || (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
							  error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED))
			return error;
	}
	error->message = pstrdup("a lock could not be had; the next call tries again");
	return error;
}

/* A row of maintain_events(), or a line of the log. */
static void
report(ReturnSetInfo *rsinfo, Oid events, const char *action, const char *partition,
	   const char *detail)
{
	Datum		values[] = {ObjectIdGetDatum(events), CStringGetTextDatum(action),
	(Datum) 0, (Datum) 0};
	bool		nulls[] = {false, false, partition == NULL, detail == NULL};

	if (rsinfo == NULL)
	{
		if (detail != NULL)
			ereport(MyBackendType == B_BG_WORKER ? LOG : WARNING,
					(errmsg("events of \"%s\" are not maintained: %s", get_rel_name(events),
							detail)));
		return;
	}
	if (partition != NULL)
		values[2] = CStringGetTextDatum(partition);
	if (detail != NULL)
		values[3] = CStringGetTextDatum(detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Maintain a table of events.  False if a step failed; again: the next call has more
 * to do; alone: it is an error that it is no such table.
 */
bool
cozi_maintain(Oid events, bool alone, ReturnSetInfo *rsinfo, bool *again)
{
	List	   *plan = NIL;
	ErrorData  *error = try_step(events, NULL, &plan);
	bool		done = error == NULL;
	ListCell   *lc;

	*again = false;
	if (error != NULL && error->sqlerrcode == ERRCODE_WRONG_OBJECT_TYPE && alone)
		ReThrowError(error);
	if (error != NULL)
		report(rsinfo, events, "failed", NULL, error->message);
	foreach(lc, plan)
	{
		EventStep  *step = lfirst(lc);

		error = try_step(events, step, NULL);
		if (error != NULL)
			report(rsinfo, events, "failed", step->partition,
				   psprintf("not %s: %s", step->action, error->message));
		else
			report(rsinfo, events, step->action, step->partition, NULL);
		done &= error == NULL;
		*again |= error == NULL;
	}
	return done;
}

PG_FUNCTION_INFO_V1(cozi_maintain_events);

/*
 * maintain_events(events regclass)
 *		-> setof (relation regclass, action text, partition text, detail text)
 *
 * NULL events: all tables of the caller.
 */
Datum
cozi_maintain_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *tables;
	ListCell   *lc;

	cozi_kept_refuse_old_snapshot("maintain_events");
	if (!PG_ARGISNULL(0))
	{
		cozi_require_owner(PG_GETARG_OID(0));
		tables = list_make1_oid(PG_GETARG_OID(0));
	}
	else
		tables = cozi_event_tables();
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, tables)
	{
		bool		again;

		if (PG_ARGISNULL(0) &&
			(get_rel_name(lfirst_oid(lc)) == NULL ||
			 !object_ownercheck(RelationRelationId, lfirst_oid(lc), GetUserId())))
			continue;
		(void) cozi_maintain(lfirst_oid(lc), !PG_ARGISNULL(0), rsinfo, &again);
	}
	return (Datum) 0;
}
