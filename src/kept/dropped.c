/*
 * kept/dropped.c
 *		What a DROP means for kept tables.
 *
 * The public table and its view depend on the first source, so that the server
 * drops them with it; on every other source so that it drops them by CASCADE.
 * Here is the end of their rows.
 *
 * The law: an error is raised only for what the command itself named.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/deparse_utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "kept/kept.h"

/* What a command has dropped. */
typedef struct Dropped
{
	Oid			classid;
	Oid			objid;
	int32		objsubid;
	bool		original;		/* named by the command */
	char	   *schema;
	char	   *relation;		/* of a column or a trigger */
	char	   *name;
} Dropped;

static Dropped *
find_dropped(Dropped *dropped, uint64 n, Oid relid)
{
	for (uint64 i = 0; i < n; i++)
		if (dropped[i].classid == RelationRelationId && dropped[i].objid == relid &&
			dropped[i].objsubid == 0)
			return &dropped[i];
	return NULL;
}

static void
refuse_drop(const Kept *kept, const Dropped *part)
{
	if (!part->original || cozi_kept_restoring())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop a part of %s by itself", kept->kind->noun),
			 errdetail("Rows of \"%s\" are counted into it.", get_rel_name(kept->source)),
			 errhint("Drop the %s with cozi.drop_%s(), or the table \"%s\" with it.",
					 kept->kind->name, kept->kind->name, get_rel_name(kept->source))));
}

static void
column_dropped(const Kept *kept, const Dropped *column)
{
	if (!cozi_kept_is_counted(kept, column->name))
		return;
	if (!column->original)
	{
		cozi_kept_set_broken(kept, psprintf("column \"%s\" of its source was dropped",
											column->name));
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop column \"%s\" because %s \"%s\" counts by it", column->name,
					kept->kind->name, get_rel_name(kept->relation)),
			 kept->nth > 0 ? errhint("Remove the source first with cozi.remove_source().") :
			 errhint("Drop the %s first with cozi.drop_%s().", kept->kind->name,
					 kept->kind->name)));
}

/* The parts of one kept table among what was dropped. */
static void
kept_dropped(Kept *kept, Dropped *dropped, uint64 n)
{
	Dropped    *relation = find_dropped(dropped, n, kept->relation);
	Dropped    *live = find_dropped(dropped, n, kept->live);
	ListCell   *lc;

	if (find_dropped(dropped, n, kept->source) != NULL)
	{
		cozi_kept_forget(kept);
		cozi_kept_unwatch_sources(kept, false);
		return;
	}
	if (get_rel_name(kept->source) == NULL)
		return;
	if (relation != NULL)
	{
		refuse_drop(kept, relation);
		cozi_kept_changed(kept);
		cozi_kept_forget(kept);
		cozi_kept_unwatch_sources(kept, false);
		return;
	}
	if (live != NULL)
	{
		refuse_drop(kept, live);
		kept->live = InvalidOid;
		cozi_kept_write(kept, false);
	}
	foreach(lc, cozi_kept_sources(kept))
	{
		Kept	   *source = lfirst(lc);

		for (uint64 i = 0; i < n; i++)
			if (dropped[i].classid == RelationRelationId && dropped[i].objid == source->source &&
				dropped[i].objsubid > 0)
				column_dropped(source, &dropped[i]);
	}
}

/* One of our triggers was dropped, and the table it was on was not. */
static void
trigger_dropped(const Dropped *trigger)
{
	Oid			namespace = get_namespace_oid(trigger->schema, true);
	Oid			relid = OidIsValid(namespace) ?
	get_relname_relid(trigger->relation, namespace) : InvalidOid;
	ListCell   *lc;

	if (!OidIsValid(relid))
		return;
	foreach(lc, cozi_kept_on(relid))
		cozi_kept_break(lfirst(lc), "a trigger was dropped from", relid);
}

static char *
last_name(ArrayType *names, int from_end)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	return n <= from_end ? "" : TextDatumGetCString(elements[n - 1 - from_end]);
}

static Dropped *
read_dropped(uint64 *n)
{
	Dropped    *dropped;

	cozi_run("SELECT classid, objid, objsubid, original, address_names"
			 " FROM pg_catalog.pg_event_trigger_dropped_objects()"
			 " WHERE classid OPERATOR(pg_catalog.=) ANY ('{1259,2620}'::pg_catalog.oid[])",
			 SPI_OK_SELECT);
	*n = SPI_processed;
	dropped = palloc0((*n + 1) * sizeof(Dropped));
	for (uint64 i = 0; i < *n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		names;

		dropped[i].classid = DatumGetObjectId(SPI_getbinval(row, desc, 1, &isnull));
		dropped[i].objid = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
		dropped[i].objsubid = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
		dropped[i].original = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
		names = SPI_getbinval(row, desc, 5, &isnull);
		if (isnull)
			continue;
		dropped[i].name = last_name(DatumGetArrayTypeP(names), 0);
		dropped[i].relation = last_name(DatumGetArrayTypeP(names), 1);
		dropped[i].schema = last_name(DatumGetArrayTypeP(names), 2);
	}
	return dropped;
}

PG_FUNCTION_INFO_V1(cozi_kept_dropped);

/*
 * _kept_dropped(): event trigger, at sql_drop.
 */
Datum
cozi_kept_dropped(PG_FUNCTION_ARGS)
{
	ErrorContextCallback context = {.previous = error_context_stack,
		.callback = cozi_kept_name_internal_error,
	.arg = "kept_dropped"};
	List	   *list;
	Dropped    *dropped;
	uint64		n;
	ListCell   *lc;

	cozi_kept_require_event_trigger(fcinfo, "_kept_dropped");
	/* where it is not known, what a drop concerns was refused before it */
	if (cozi_kept_own_ddl || !cozi_kept_list_is_known() || (list = cozi_kept_all()) == NIL)
		PG_RETURN_NULL();
	error_context_stack = &context;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	dropped = read_dropped(&n);
	foreach(lc, list)
		kept_dropped(lfirst(lc), dropped, n);
	for (uint64 i = 0; i < n; i++)
		if (dropped[i].classid == TriggerRelationId && dropped[i].name != NULL &&
			strncmp(dropped[i].name, "cozi_count_", 11) == 0)
			trigger_dropped(&dropped[i]);
	SPI_finish();
	error_context_stack = context.previous;
	PG_RETURN_NULL();
}
