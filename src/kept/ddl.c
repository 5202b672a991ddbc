/*
 * kept/ddl.c
 *		Kept tables in step with DDL.
 *
 * Two event triggers look at every command: what changes a source is followed,
 * refused, or noted (the kept table is "broken": it may no longer equal its
 * source); what would change a public table is refused.  Both return at once in a
 * database without kept tables.
 *
 * The laws: a command about one table never fails because of another.  So an
 * error is raised only for what the command itself named.  While a dump is loaded
 * nothing is refused or watched: triggers, keys and grants come with the dump,
 * and each fold looks at the shape again.
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
#include "tcop/cmdtag.h"
#include "tcop/deparse_utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "kept/kept.h"

/* The relation that a trigger or a rule is on. */
static Oid
relation_of(Oid classid, Oid objid)
{
	bool		trigger = classid == TriggerRelationId;
	Relation	catalog = table_open(classid, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	ScanKeyInit(&key, trigger ? Anum_pg_trigger_oid : Anum_pg_rewrite_oid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(objid));
	scan = systable_beginscan(catalog, trigger ? TriggerOidIndexId : RewriteOidIndexId, true,
							  NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relid = trigger ? ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid :
			((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return relid;
}

static void
refuse_on_public(const Kept *kept)
{
	char	   *misfit = cozi_kept_misfit(kept);

	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is %s, which only folds write", get_rel_name(kept->relation),
						kept->kind->noun),
				 errdetail("After this command %s.", misfit),
				 errhint("Indexes that are not unique, policies, grants, comments, publications,"
						 " statistics and storage parameters are welcome.")));
}

/* A foreign key of another table that refers to a public table, or a child of one. */
static void
refuse_references(const Kept *kept, Oid relid)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		refers = false;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		refers |= con->contype == CONSTRAINT_FOREIGN && con->confrelid == kept->relation;
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	if (refers)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a foreign key cannot refer to \"%s\", which is %s",
						get_rel_name(kept->relation), kept->kind->noun),
				 kept_derives(kept) ? errhint("Refer to the table that the keys are of.") :
				 errhint("Refer to the table that the items are of;"
						 " create_%s(..., item_table => ...) makes"
						 " a computed relationship to it.", kept->kind->name)));
	if (relid != kept->relation && list_member_oid(cozi_kept_tree(relid, true), kept->relation))
		refuse_on_public(kept);
}

/* ALTER TYPE ... RENAME VALUE: the labels in the state are the old ones. */
static void
enum_changed(Oid type, const CollectedCommand * command)
{
	ListCell   *lc;

	if (!IsA(command->parsetree, AlterEnumStmt) ||
		((AlterEnumStmt *) command->parsetree)->oldVal == NULL)
		return;
	foreach(lc, cozi_kept_all())
	{
		Kept	   *kept = lfirst(lc);

		AttrNumber	attnum = kept_has(kept, KEPT_SCOPE) ?
		get_attnum(kept->relation, cozi_kept_role_column(kept, KEPT_SCOPE)) : InvalidAttrNumber;

		if (attnum > 0 && getBaseType(get_atttype(kept->relation, attnum)) == type)
			cozi_kept_set_broken(kept, "a label of its scope was renamed");
	}
}

/* Names in cozi.kept follow the OIDs. */
static void
follow_names(Oid classid, Oid objid, const CollectedCommand * command)
{
	ListCell   *lc;

	if (!IsA(command->parsetree, RenameStmt) && !IsA(command->parsetree, AlterObjectSchemaStmt))
		return;
	foreach(lc, cozi_kept_all())
	{
		Kept	   *kept = lfirst(lc);
		ListCell   *each;

		if (!kept->adopted)
			continue;
		if (objid == kept->relation || objid == kept->source || objid == kept->live ||
			objid == get_rel_namespace(kept->relation) ||
			objid == get_rel_namespace(kept->source))
			cozi_kept_write(kept, false);
		foreach(each, kept->sources)
		{
			Kept	   *source = lfirst(each);

			if (source->nth > 0 &&
				(objid == source->source || objid == get_rel_namespace(source->source)))
				cozi_kept_write_source(source, false);
		}
	}
}

static void
relation_changed(Oid relid, const CollectedCommand * command)
{
	ListCell   *lc;

	if (get_rel_relkind(relid) == RELKIND_INDEX)
		relid = IndexGetRelation(relid, true);
	if (!OidIsValid(relid))
		return;
	foreach(lc, cozi_kept_restoring() ? NIL : cozi_kept_all())
	{
		Kept	   *kept = lfirst(lc);

		if (kept->relation == relid)
			refuse_on_public(kept);
		else if (OidIsValid(kept->relation))
			refuse_references(kept, relid);
	}
	foreach(lc, cozi_kept_on(relid))
	{
		Kept	   *kept = lfirst(lc);

		if (OidIsValid(kept->relation) && get_rel_name(kept->relation) != NULL)
			cozi_kept_source_changed(kept, relid, command);
	}
	cozi_kept_left_by(command, relid);
}

/* A dump has brought the triggers of a source: what feeds on it is adopted. */
static void
trigger_created(Oid relid, const CollectedCommand * command)
{
	ListCell   *lc;

	if (!IsA(command->parsetree, CreateTrigStmt) ||
		strcmp(((CreateTrigStmt *) command->parsetree)->trigname, "cozi_count_insert") != 0)
		return;
	foreach(lc, cozi_kept_all())
	{
		Kept	   *kept = lfirst(lc);
		ListCell   *each;
		bool		feeds = false;

		foreach(each, cozi_kept_sources(kept))
			feeds |= ((Kept *) lfirst(each))->source == relid;
		if (feeds && !kept->adopted && OidIsValid(kept->relation) && OidIsValid(kept->source))
		{
			cozi_kept_adopt(kept);
			cozi_kept_depend(kept);
		}
	}
}

static void
command_ended(Oid classid, Oid objid, const CollectedCommand * command)
{
	follow_names(classid, objid, command);
	switch (classid)
	{
		case RelationRelationId:
			relation_changed(objid, command);
			break;
		case TriggerRelationId:
			trigger_created(relation_of(classid, objid), command);
			relation_changed(relation_of(classid, objid), command);
			break;
		case RewriteRelationId:
			relation_changed(relation_of(classid, objid), command);
			break;
		case TypeRelationId:
			enum_changed(objid, command);
			break;
		default:
			break;
	}
}

/*
 * For error_context_stack: an internal error says in whose code it was raised,
 * because the server raises its own where the DDL of two sessions meets.
 */
void
cozi_kept_name_internal_error(void *arg)
{
	if (geterrcode() == ERRCODE_INTERNAL_ERROR)
		errcontext("event trigger cozi_%s", (const char *) arg);
}

void
cozi_kept_require_event_trigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() must be called as an event trigger", name)));
}

/* Commands that change no table, nor a name of one: nothing is read for them. */
static bool
is_of_no_table(CommandTag tag)
{
	switch (tag)
	{
		case CMDTAG_ALTER_DEFAULT_PRIVILEGES:
		case CMDTAG_ALTER_FUNCTION:
		case CMDTAG_ALTER_POLICY:
		case CMDTAG_ALTER_PROCEDURE:
		case CMDTAG_ALTER_PUBLICATION:
		case CMDTAG_ALTER_STATISTICS:
		case CMDTAG_COMMENT:
		case CMDTAG_CREATE_FUNCTION:
		case CMDTAG_CREATE_POLICY:
		case CMDTAG_CREATE_PROCEDURE:
		case CMDTAG_CREATE_PUBLICATION:
		case CMDTAG_CREATE_STATISTICS:
		case CMDTAG_GRANT:
		case CMDTAG_REVOKE:
		case CMDTAG_SECURITY_LABEL:
			return true;
		default:
			return false;
	}
}

/* A command or a drop where the list cannot be read: an error if it is about a kept table. */
void
cozi_kept_refuse_if_concerned(Oid classid, Oid objid)
{
	Oid			relid = InvalidOid;

	if (classid == RelationRelationId)
		relid = get_rel_relkind(objid) == RELKIND_INDEX ? IndexGetRelation(objid, true) : objid;
	else if (classid == TriggerRelationId || classid == RewriteRelationId)
		relid = relation_of(classid, objid);
	if (OidIsValid(relid) && cozi_kept_concerns(relid))
		(void) cozi_kept_all();
}

typedef struct Command
{
	Oid			classid;
	Oid			objid;
	CollectedCommand *command;
} Command;

PG_FUNCTION_INFO_V1(cozi_kept_ddl);

/*
 * _kept_ddl(): event trigger, at ddl_command_end.
 */
Datum
cozi_kept_ddl(PG_FUNCTION_ARGS)
{
	ErrorContextCallback context = {.previous = error_context_stack,
		.callback = cozi_kept_name_internal_error,
	.arg = "kept_ddl"};
	Command    *commands;
	uint64		n;
	bool		known;

	cozi_kept_require_event_trigger(fcinfo, "_kept_ddl");
	if (cozi_kept_own_ddl || is_of_no_table(((EventTriggerData *) fcinfo->context)->tag))
		PG_RETURN_NULL();
	known = cozi_kept_list_is_known();
	if (known && cozi_kept_all() == NIL)
		PG_RETURN_NULL();
	error_context_stack = &context;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_run("SELECT classid, objid, command FROM pg_catalog.pg_event_trigger_ddl_commands()",
			 SPI_OK_SELECT);
	n = SPI_processed;
	commands = palloc((n + 1) * sizeof(Command));
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		classid = SPI_getbinval(row, desc, 1, &isnull);
		Datum		objid = SPI_getbinval(row, desc, 2, &isnull);

		commands[i].classid = isnull ? InvalidOid : DatumGetObjectId(classid);
		commands[i].objid = isnull ? InvalidOid : DatumGetObjectId(objid);
		commands[i].command = (CollectedCommand *) DatumGetPointer(SPI_getbinval(row, desc, 3,
																				 &isnull));
	}
	for (uint64 i = 0; i < n; i++)
	{
		if (OidIsValid(commands[i].objid) && known)
			command_ended(commands[i].classid, commands[i].objid, commands[i].command);
		else if (OidIsValid(commands[i].objid))
			cozi_kept_refuse_if_concerned(commands[i].classid, commands[i].objid);
	}
	SPI_finish();
	error_context_stack = context.previous;
	PG_RETURN_NULL();
}
