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
				 errmsg("\"%s\" is a %s, which only folds write", get_rel_name(kept->relation),
						kept->kind->name),
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
				 errmsg("a foreign key cannot refer to \"%s\", which is a %s",
						get_rel_name(kept->relation), kept->kind->name),
				 errhint("Refer to the table that the items are of;"
						 " create_board(..., item_table => ...) makes a computed relationship to it.")));
	if (list_member_oid(find_inheritance_children(kept->relation, NoLock), relid))
		refuse_on_public(kept);
}

static bool
is_counted(const Kept *kept, const char *column)
{
	for (int role = 0; role < KEPT_ROLES; role++)
		if (kept_has(kept, role) && strcmp(NameStr(kept->columns[role]), column) == 0)
			return true;
	return false;
}

/* Is a counted column generated from this one? */
static bool
is_base_of_counted(const Kept *kept, Oid relid, const char *column)
{
	Relation	rel = relation_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	attnum = get_attnum(relid, column);
	bool		found = false;

	for (int i = 0; desc->constr && desc->constr->has_generated_stored && i < desc->natts; i++)
	{
		Bitmapset  *used = NULL;

		if (!TupleDescAttr(desc, i)->attgenerated ||
			!is_counted(kept, NameStr(TupleDescAttr(desc, i)->attname)))
			continue;
		pull_varattnos(build_column_default(rel, i + 1), 1, &used);
		found |= bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, used);
	}
	relation_close(rel, NoLock);
	return found;
}

static void
refuse_column(const Kept *kept, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" is counted by %s \"%s\"", column, kept->kind->name,
					get_rel_name(kept->relation)),
			 errdetail("Its values would change without being counted."),
			 errhint("Drop the %s with cozi.drop_%s(), change the column, and create it again.",
					 kept->kind->name, kept->kind->name)));
}

/* ALTER COLUMN TYPE: only what leaves every counted value as it was. */
static void
check_column_type(const Kept *kept, Oid relid, const AlterTableCmd * cmd)
{
	Oid			type;
	bool		integer;

	if (is_base_of_counted(kept, relid, cmd->name))
		refuse_column(kept, cmd->name);
	if (!is_counted(kept, cmd->name))
		return;
	type = getBaseType(get_atttype(relid, get_attnum(relid, cmd->name)));
	integer = type == INT2OID || type == INT4OID || type == INT8OID;
	if (castNode(ColumnDef, cmd->def)->raw_default != NULL)
		refuse_column(kept, cmd->name);
	if (strcmp(cmd->name, NameStr(kept->columns[KEPT_VALUE])) == 0 && integer)
		return;

	/*
	 * the type of the time is not kept anywhere: only a change to itself is
	 * safe
	 */
	if (strcmp(cmd->name, NameStr(kept->columns[KEPT_AT])) == 0 ||
		strcmp(cmd->name, NameStr(kept->columns[KEPT_VALUE])) == 0 ||
		cozi_kept_misfit(kept) != NULL)
		refuse_column(kept, cmd->name);
}

static bool
has_rows(Oid relid)
{
	char	   *sql = psprintf("SELECT FROM %s LIMIT 1", cozi_qualified_name(relid));
	CoziSavedUser saved;
	bool		found;

	cozi_switch_to_owner(relid, &saved);
	if (SPI_execute(sql, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute: %s", sql);
	found = SPI_processed > 0;
	cozi_restore_user(&saved);
	return found;
}

static void
set_broken(const Kept *kept, const char *what, Oid relid)
{
	cozi_kept_set_broken(kept, psprintf("%s \"%s\"", what, get_rel_name(relid)));
}

/* A table came into the tree of the source. */
static void
entered(const Kept *kept, Oid relid)
{
	if (!cozi_kept_is_watched(kept->source))
		return;
	cozi_kept_watch(get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE ? kept->source : relid, true);
	if (has_rows(relid))
		set_broken(kept, "rows came with", relid);
}

/* A table left it. */
static void
left(const Kept *kept, Oid relid)
{
	if (!OidIsValid(relid))
		return;
	if (has_rows(relid))
		set_broken(kept, "rows went with", relid);
	if (cozi_kept_on(relid) == NIL && cozi_kept_is_watched(relid))
		cozi_kept_watch(relid, false);
}

static void
follow_owner(Kept *kept)
{
	Oid			owner = cozi_relation_owner(kept->source);
	char	   *code;

	if (cozi_relation_owner(kept->relation) == owner)
		return;
	code = cozi_kept_handed_over(kept);
	if (code != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" cannot change its owner: code of the present owner is on its %s \"%s\"",
						get_rel_name(kept->source), kept->kind->name, get_rel_name(kept->relation)),
				 errdetail("It would be handed over, and run with the rights of the new owner."),
				 errhint("Run %s first.", code)));
	ATExecChangeOwner(kept->relation, owner, true, AccessExclusiveLock);
	if (OidIsValid(kept->live) && get_rel_name(kept->live) != NULL)
		ATExecChangeOwner(kept->live, owner, true, AccessExclusiveLock);
	CommandCounterIncrement();
	cozi_kept_restore_live(kept);
	cozi_kept_adopt(kept);
}

/* SET LOGGED, SET UNLOGGED: a crash must empty both or none. */
static void
follow_persistence(const Kept *kept)
{
	bool		unlogged = get_rel_persistence(kept->source) == RELPERSISTENCE_UNLOGGED;
	CoziSavedUser saved;

	if (get_rel_persistence(kept->relation) == get_rel_persistence(kept->source))
		return;
	cozi_switch_to_owner(kept->relation, &saved);
	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		cozi_run(cozi_statement("ALTER TABLE {table} SET {persistence}",
								"table", cozi_qualified_name(kept->relation),
								"persistence", unlogged ? "UNLOGGED" : "LOGGED", NULL), SPI_OK_UTILITY);
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = false;
	}
	PG_END_TRY();
	cozi_restore_user(&saved);
	cozi_kept_move(kept, unlogged);
}

static Oid
partition_of(const AlterTableCmd * cmd)
{
	RangeVar   *name = IsA(cmd->def, PartitionCmd) ? ((PartitionCmd *) cmd->def)->name :
	castNode(RangeVar, cmd->def);

	return RangeVarGetRelid(name, NoLock, true);
}

/* One subcommand of ALTER TABLE on a source or one of its leaves. */
static void
source_subcommand(Kept *kept, Oid relid, const AlterTableCmd * cmd)
{
	switch ((int) cmd->subtype)
	{
		case AT_AlterColumnType:
			check_column_type(kept, relid, cmd);
			break;
		case COZI_AT_SET_EXPRESSION:
			if (is_counted(kept, cmd->name))
				refuse_column(kept, cmd->name);
			break;
		case AT_DisableTrig:
		case AT_EnableReplicaTrig:
			if (strncmp(cmd->name, "cozi_count_", 11) != 0)
				break;
			/* FALLTHROUGH */
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			set_broken(kept, "triggers were disabled on", relid);
			break;
		case AT_AttachPartition:
			entered(kept, partition_of(cmd));
			break;
		case AT_AddInherit:
			entered(kept, relid);
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			left(kept, partition_of(cmd));
			break;
		case AT_SetLogged:
		case AT_SetUnLogged:
			if (relid == kept->source)
				follow_persistence(kept);
			break;
		case AT_ChangeOwner:
			if (relid == kept->source)
				follow_owner(kept);
			break;
		default:
			break;
	}
}

static void
follow_rename(Kept *kept, const RenameStmt * stmt)
{
	bool		changed = false;

	for (int role = 0; role < KEPT_ROLES; role++)
		if (kept_has(kept, role) && strcmp(NameStr(kept->columns[role]), stmt->subname) == 0)
		{
			namestrcpy(&kept->columns[role], stmt->newname);
			changed = true;
		}
	if (changed)
		cozi_kept_write(kept, false);
}

static void
source_changed(Kept *kept, Oid relid, const CollectedCommand * command)
{
	ListCell   *lc;

	if (command->type == SCT_AlterTable)
	{
		foreach(lc, command->d.alterTable.subcmds)
			source_subcommand(kept, relid,
							  castNode(AlterTableCmd,
									   ((CollectedATSubcmd *) lfirst(lc))->parsetree));
	}
	else if (IsA(command->parsetree, RenameStmt))
	{
		const		RenameStmt *stmt = (const RenameStmt *) command->parsetree;

		if (stmt->renameType == OBJECT_COLUMN && relid == kept->source)
			follow_rename(kept, stmt);
	}
	else if (relid != kept->source &&
			 (IsA(command->parsetree, CreateStmt) || IsA(command->parsetree, CreateForeignTableStmt)))
		entered(kept, relid);
}

/* NO INHERIT: the child is no longer in the tree when we look. */
static void
left_by(const CollectedCommand * command, Oid relid)
{
	ListCell   *lc;

	if (command->type != SCT_AlterTable)
		return;
	foreach(lc, command->d.alterTable.subcmds)
	{
		AlterTableCmd *cmd = castNode(AlterTableCmd, ((CollectedATSubcmd *) lfirst(lc))->parsetree);
		ListCell   *each;

		if (cmd->subtype != AT_DropInherit)
			continue;
		foreach(each, cozi_kept_on(RangeVarGetRelid(castNode(RangeVar, cmd->def), NoLock, true)))
			left(lfirst(each), relid);
	}
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

		if (kept_has(kept, KEPT_SCOPE) && OidIsValid(kept->relation) &&
			getBaseType(get_atttype(kept->relation, get_attnum(kept->relation, "scope"))) == type)
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

		if (kept->adopted &&
			(classid == NamespaceRelationId || objid == kept->relation || objid == kept->source ||
			 objid == kept->live))
			cozi_kept_write(kept, false);
	}
}

static void
relation_changed(Oid relid, const CollectedCommand * command)
{
	ListCell   *lc;

	if (get_rel_relkind(relid) == RELKIND_INDEX)
		relid = IndexGetRelation(relid, true);
	if (!OidIsValid(relid) || cozi_kept_restoring())
		return;
	foreach(lc, cozi_kept_all())
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
			source_changed(kept, relid, command);
	}
	left_by(command, relid);
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

		if (kept->source == relid && !kept->adopted && OidIsValid(kept->relation))
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

static void
require_event_trigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() must be called as an event trigger", name)));
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
	Command    *commands;
	uint64		n;

	require_event_trigger(fcinfo, "_kept_ddl");
	if (cozi_kept_own_ddl || cozi_kept_all() == NIL)
		PG_RETURN_NULL();

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
		if (OidIsValid(commands[i].objid))
			command_ended(commands[i].classid, commands[i].objid, commands[i].command);
	SPI_finish();
	PG_RETURN_NULL();
}

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
			 errmsg("cannot drop a part of a %s by itself", kept->kind->name),
			 errdetail("Rows of \"%s\" are counted into it.", get_rel_name(kept->source)),
			 errhint("Drop the %s with cozi.drop_%s(), or the table \"%s\" with it.",
					 kept->kind->name, kept->kind->name, get_rel_name(kept->source))));
}

static void
column_dropped(const Kept *kept, const Dropped *column)
{
	if (!is_counted(kept, column->name))
		return;
	if (!column->original)
	{
		cozi_kept_set_broken(kept, psprintf("column \"%s\" of its source was dropped", column->name));
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop column \"%s\" because %s \"%s\" counts by it", column->name,
					kept->kind->name, get_rel_name(kept->relation)),
			 errhint("Drop the %s first with cozi.drop_%s().", kept->kind->name, kept->kind->name)));
}

/* The parts of one kept table among what was dropped. */
static void
kept_dropped(Kept *kept, Dropped *dropped, uint64 n)
{
	Dropped    *relation = find_dropped(dropped, n, kept->relation);
	Dropped    *live = find_dropped(dropped, n, kept->live);

	if (find_dropped(dropped, n, kept->source) != NULL)
	{
		cozi_kept_forget(kept);
		return;
	}
	if (get_rel_name(kept->source) == NULL)
		return;
	if (relation != NULL)
	{
		refuse_drop(kept, relation);
		cozi_kept_changed(kept);
		cozi_kept_forget(kept);
		return;
	}
	if (live != NULL)
	{
		refuse_drop(kept, live);
		kept->live = InvalidOid;
		cozi_kept_write(kept, false);
	}
	for (uint64 i = 0; i < n; i++)
	{
		if (dropped[i].classid == RelationRelationId && dropped[i].objid == kept->source &&
			dropped[i].objsubid > 0)
			column_dropped(kept, &dropped[i]);
	}
}

/* One of our triggers was dropped, and the table it was on was not. */
static void
trigger_dropped(const Dropped *trigger)
{
	Oid			namespace = get_namespace_oid(trigger->schema, true);
	Oid			relid = OidIsValid(namespace) ? get_relname_relid(trigger->relation, namespace) : InvalidOid;
	ListCell   *lc;

	if (!OidIsValid(relid))
		return;
	foreach(lc, cozi_kept_on(relid))
		set_broken(lfirst(lc), "a trigger was dropped from", relid);
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
	List	   *list;
	Dropped    *dropped;
	uint64		n;
	ListCell   *lc;

	require_event_trigger(fcinfo, "_kept_dropped");
	if (cozi_kept_own_ddl || (list = cozi_kept_all()) == NIL)
		PG_RETURN_NULL();

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
	PG_RETURN_NULL();
}
