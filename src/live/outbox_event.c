/*
 * live/outbox_event.c
 *		The trigger of an outbox: an event comes to its place.
 *
 * Number and mark are drawn here, whatever the writer gave, so that nobody forges
 * them, and so that rows that logical replication applies are ordered among those of
 * this server.  Only the owner of the table may give both: a restore does.
 *
 * A sequence that was set back, as by TRUNCATE ... RESTART IDENTITY, is set beyond what
 * consumers have done.
 *
 * The law: first the transaction id, then the number, then the mark.  In another
 * order an event could get a number below one that is delivered: it would be lost.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/xid8.h"

#include "live/outbox.h"

/* Numbers left free by who sets a sequence forward: more than others can draw meanwhile. */
#define FREE_NUMBERS	100000

/* The class of our advisory locks: SQL's have 1 or 2 in the fourth field. */
#define OUTBOX_LOCK_CLASS 4

/* What one statement needs to know of the table that it writes to. */
typedef struct Target
{
	Oid			relid;
	Oid			sequence;
	int			columns[2];
	int64		used;			/* numbers up to here are done, or handed out */
} Target;

/* The sequence that numbers the events of an outbox, of which relid may be a partition. */
Oid
cozi_outbox_sequence(Oid relid)
{
	Oid			root = get_rel_relispartition(relid) ?
	llast_oid(get_partition_ancestors(relid)) : relid;
	AttrNumber	seq = get_attnum(root, cozi_outbox_column(EVENT_SEQ));
	ListCell   *lc;

	foreach(lc, getOwnedSequences(root))
	{
		Oid			table;
		int32		column;

		if (sequenceIsOwned(lfirst_oid(lc), DEPENDENCY_AUTO, &table, &column) && column == seq)
			return lfirst_oid(lc);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("outbox \"%s\" has no sequence", get_rel_name(root)),
			 errhint("Use ALTER SEQUENCE with OWNED BY the column \"seq\" of the outbox.")));
}

/* Numbers that sessions cache, or that come again, are not in the order of events. */
static bool
is_sound(Oid sequence)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	Form_pg_sequence form;
	bool		sound;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	form = (Form_pg_sequence) GETSTRUCT(tuple);
	sound = form->seqcache == 1 && form->seqincrement > 0 && !form->seqcycle;
	ReleaseSysCache(tuple);
	return sound;
}

static int64
last_number(Oid sequence)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(sequence)};
	bool		isnull;
	int64		last;

	SPI_connect();
	(void) cozi_outbox_run("SELECT coalesce(pg_catalog.pg_sequence_last_value($1), 0)",
						   1, types, values, NULL, SPI_OK_SELECT);
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return last;
}

/*
 * Raise an error if the sequence of an outbox gives numbers that a consumer would
 * miss, which has done all events up to a number.
 */
void
cozi_outbox_check_sequence(Relation rel, int64 done)
{
	Oid			sequence = cozi_outbox_sequence(RelationGetRelid(rel));

	if (!is_sound(sequence))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s\" does not number events in their order",
						get_rel_name(sequence)),
				 errhint("ALTER SEQUENCE %s INCREMENT BY 1 CACHE 1 NO CYCLE.",
						 cozi_qualified_name(sequence))));
	if (last_number(sequence) < done)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s\" is behind event " INT64_FORMAT ", which is done",
						get_rel_name(sequence), done),
				 errdetail("A consumer would miss the events that are numbered next."),
				 errhint("SELECT setval('%s', " INT64_FORMAT ").", cozi_qualified_name(sequence),
						 done)));
}

/* The number up to which some consumer of an outbox has got events, as committed now. */
static int64
used_numbers(int64 outbox)
{
	static const char *const columns[] = {"done", "leased_upto", "careful_upto"};
	Relation	rel = table_open(cozi_table("outbox_consumer"), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		used = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(outbox));
	scan = systable_beginscan(rel, cozi_table("outbox_consumer_pkey"), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		for (int i = 0; i < lengthof(columns); i++)
		{
			AttrNumber	attnum = get_attnum(RelationGetRelid(rel), columns[i]);

			if (attnum > 0 && get_atttype(RelationGetRelid(rel), attnum) == INT8OID)
				used = Max(used, DatumGetInt64(cozi_tuple_value(tuple, RelationGetDescr(rel),
																attnum)));
		}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return used;
}

static Target *
find_target(FmgrInfo *flinfo, const TriggerData *data)
{
	Relation	rel = data->tg_relation;
	Target	   *target = flinfo->fn_extra;

	if (target != NULL && target->relid == RelationGetRelid(rel))
		return target;
	target = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(Target));
	target->relid = RelationGetRelid(rel);
	target->sequence = cozi_outbox_sequence(target->relid);
	target->columns[0] = cozi_outbox_attnum(rel, EVENT_SEQ);
	target->columns[1] = cozi_outbox_attnum(rel, EVENT_HORIZON);
	target->used = used_numbers(DatumGetInt64(DirectFunctionCall1(int8in,
																  CStringGetDatum(data->tg_trigger->tgargs[0]))));
	flinfo->fn_extra = target;
	return target;
}

/*
 * Does the row bring its place?  One that is restored does; the state of the consumers
 * is restored with it.
 */
static bool
is_placed(const TriggerData *data, const Target *target)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);

	return !heap_attisnull(data->tg_trigtuple, target->columns[0], desc) &&
		!heap_attisnull(data->tg_trigtuple, target->columns[1], desc) &&
		object_ownercheck(RelationRelationId, target->relid, GetUserId());
}

/* Set a sequence that was set back beyond the numbers that were used. */
static void
set_forward(const Target *target)
{
	LOCKTAG		tag;
	CoziSavedUser saved;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, target->sequence, OUTBOX_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	if (last_number(target->sequence) <= target->used)
	{
		cozi_switch_to_owner(target->sequence, &saved);
		(void) DirectFunctionCall2(setval_oid, ObjectIdGetDatum(target->sequence),
								   Int64GetDatum(target->used + FREE_NUMBERS));
		cozi_restore_user(&saved);
	}
	(void) LockRelease(&tag, ExclusiveLock, false);
}

static int64
draw_number(const Target *target)
{
	int64		number = nextval_internal(target->sequence, false);

	while (number <= target->used)
	{
		CHECK_FOR_INTERRUPTS();
		set_forward(target);
		number = nextval_internal(target->sequence, false);
	}
	return number;
}

static HeapTuple
place(const TriggerData *data, Target *target)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	(void) GetTopTransactionId();
	values[0] = Int64GetDatum(draw_number(target));
	values[1] = FullTransactionIdGetDatum(ReadNextFullTransactionId());
	return heap_modify_tuple_by_cols(data->tg_trigtuple, RelationGetDescr(data->tg_relation),
									 2, target->columns, values, nulls);
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s is a trigger BEFORE a change of a row", function)));
	return data;
}

/* _outbox_event() -> trigger: BEFORE INSERT OR UPDATE OR DELETE, for each row of an outbox */
PG_FUNCTION_INFO_V1(cozi_outbox_event);
Datum
cozi_outbox_event(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "_outbox_event()");
	Target	   *target;

	if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		/* what another server has delivered, this one may not have */
		return PointerGetDatum(IsLogicalWorker() ? NULL : data->tg_trigtuple);
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("events of outbox \"%s\" cannot be updated",
						RelationGetRelationName(data->tg_relation)),
				 errhint("Insert another event.")));
	target = find_target(fcinfo->flinfo, data);
	if (!IsLogicalWorker() && is_placed(data, target))
		return PointerGetDatum(data->tg_trigtuple);
	return PointerGetDatum(place(data, target));
}

/*
 * _outbox_keep() -> trigger: BEFORE any change of the state of consumers, for each row
 *
 * A publication of all tables has this state, too, but numbers are those of a server.
 */
PG_FUNCTION_INFO_V1(cozi_outbox_keep);
Datum
cozi_outbox_keep(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "_outbox_keep()");

	if (IsLogicalWorker())
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple :
						   data->tg_trigtuple);
}
