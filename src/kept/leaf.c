/*
 * kept/leaf.c
 *		Partitions and children of a source that come and go.
 *
 * A table that enters the tree of a source is watched from then on.  Rows that
 * come or go with a table fire no trigger, so the kept table is noted as broken;
 * unless all of them are closed (kept/closed.c).
 * A table that is dropped is looked at before it goes, by the server's hook on
 * drops: afterwards nobody knows whether it had rows.  An event trigger at the
 * beginning of each command loads the library, and with it the hook.
 *
 * Maintenance that moves rows from one table of a source to another says so in
 * cozi_kept_rows_stay: what comes and goes meanwhile changes no sum.
 *
 * The law: all tables of a source are logged, or all are unlogged, because a crash
 * empties an unlogged table, and the sums of a kept table are in one place.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "kept/kept.h"

bool		cozi_kept_rows_stay = false;
static object_access_hook_type next_hook = NULL;

/* Is a row closed?  attnum: that of the time by which rows are; 0: there is none. */
static bool
is_closed(const Kept *kept, TupleTableSlot *slot, AttrNumber attnum)
{
	Oid			type;
	Datum		value;
	bool		isnull;

	if (attnum <= 0)
		return false;
	type = getBaseType(TupleDescAttr(slot->tts_tupleDescriptor, attnum - 1)->atttypid);
	value = slot_getattr(slot, attnum, &isnull);
	return !isnull && cozi_kept_instant(value, type) < kept->closed;
}

/* Has the table a row of its own that is not closed, to a snapshot taken now? */
static bool
has_row(const Kept *kept, Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan_compat(rel, snapshot, 0, NULL);
	AttrNumber	attnum = kept->has_closed ? get_attnum(relid, NameStr(kept->columns[KEPT_AT])) : 0;
	bool		found = false;

	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		found = !is_closed(kept, slot, attnum);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return found;
}

/* Has it, or a table below it? */
static bool
has_rows(const Kept *kept, Oid relid)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION && has_row(kept, lfirst_oid(lc)))
		return true;
	return false;
}

static void
check_persistence(const Kept *kept, Oid source, Oid relid)
{
	const char *noun = kept->kind->noun;
	bool		unlogged = cozi_kept_is_unlogged(source);

	if (get_rel_relkind(relid) != RELKIND_RELATION ||
		get_rel_persistence(relid) == get_rel_persistence(source))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" must be %s like \"%s\", whose rows are counted into %s",
					get_rel_name(relid), unlogged ? "unlogged" : "logged", get_rel_name(source),
					noun),
			 errdetail("A crash would empty one of them, and not what was counted."),
			 errhint("Make \"%s\" %s; to change all tables of %s, drop it first with"
					 " cozi.drop_%s().",
					 get_rel_name(relid), unlogged ? "unlogged" : "logged", noun,
					 kept->kind->name)));
}

/* An error unless a crash empties all tables of all sources, or none. */
void
cozi_kept_check_leaves(const Kept *kept)
{
	List	   *sources = cozi_kept_sources(kept);
	Oid			first = ((Kept *) linitial(sources))->source;
	ListCell   *each;
	ListCell   *lc;

	foreach(each, sources)
	{
		Oid			source = ((Kept *) lfirst(each))->source;

		if (!OidIsValid(source) || get_rel_name(source) == NULL)
			continue;
		foreach(lc, cozi_kept_tree(source, false))
			check_persistence(kept, first, lfirst_oid(lc));
	}
}

/* A table came into the tree of the source. */
void
cozi_kept_entered(const Kept *kept, Oid relid)
{
	if (!cozi_kept_is_watched(kept->source))
		return;
	cozi_kept_check_leaves(kept);
	cozi_kept_watch(get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE ? kept->source : relid, true);
	if (!cozi_kept_rows_stay && has_rows(kept, relid))
		cozi_kept_break(kept, "rows came with", relid);
}

/* A table left it. */
void
cozi_kept_left(const Kept *kept, Oid relid)
{
	if (!OidIsValid(relid))
		return;
	if (!cozi_kept_rows_stay && has_rows(kept, relid))
		cozi_kept_break(kept, "rows went with", relid);
	if (cozi_kept_on(relid) == NIL)
		cozi_kept_watch(relid, false);
}

/* A table is about to be dropped, with its source or without. */
static void
about_to_drop(Oid relid)
{
	ListCell   *lc;

	if (cozi_kept_rows_stay || get_rel_relkind(relid) != RELKIND_RELATION)
		return;
	foreach(lc, cozi_kept_on(relid))
	{
		Kept	   *kept = lfirst(lc);

		if (kept->source != relid && has_row(kept, relid))
			cozi_kept_break(kept, "rows went with", relid);
	}
}

static void
on_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (next_hook)
		next_hook(access, classid, objid, subid, arg);
	if (access == OAT_DROP && (classid == RelationRelationId || classid == TriggerRelationId))
	{
		ErrorContextCallback context = {.previous = error_context_stack,
			.callback = cozi_kept_name_internal_error,
		.arg = "kept_begins"};

		error_context_stack = &context;
		if (!cozi_kept_list_is_known())
			cozi_kept_refuse_if_concerned(classid, objid);
		else if (classid == RelationRelationId && subid == 0 && OidIsValid(cozi_table("kept")))
			about_to_drop(objid);
		error_context_stack = context.previous;
	}
}

PG_FUNCTION_INFO_V1(cozi_kept_begins);

/*
 * _kept_begins(): event trigger, at ddl_command_start.
 *
 * The call has loaded the library: that is all.
 */
Datum
cozi_kept_begins(PG_FUNCTION_ARGS)
{
	cozi_kept_require_event_trigger(fcinfo, "_kept_begins");
	PG_RETURN_NULL();
}

void
cozi_kept_leaf_init(void)
{
	next_hook = object_access_hook;
	object_access_hook = on_access;
}
