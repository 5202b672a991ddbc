/*
 * kept/follow.c
 *		What a command on a source means for its kept tables.
 *
 * The law: whatever changes counted values without firing a row trigger is
 * followed, refused, or noted.
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

/* Does the kept table count by this column of its source? */
bool
cozi_kept_is_counted(const Kept *kept, const char *column)
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
			!cozi_kept_is_counted(kept, NameStr(TupleDescAttr(desc, i)->attname)))
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
			 kept->nth > 0 ?
			 errhint("Remove the source with cozi.remove_source(), change the column,"
					 " and add it again.") :
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
	if (!cozi_kept_is_counted(kept, cmd->name))
		return;
	type = getBaseType(get_atttype(relid, get_attnum(relid, cmd->name)));
	integer = cozi_is_integer(type);
	if (castNode(ColumnDef, cmd->def)->raw_default != NULL)
		refuse_column(kept, cmd->name);
	if (strcmp(cmd->name, NameStr(kept->columns[KEPT_VALUE])) == 0 && integer &&
		cozi_kept_misfit(kept) == NULL)
		return;

	/*
	 * the type of the time is not kept anywhere: only a change to itself is
	 * safe
	 */
	if (strcmp(cmd->name, NameStr(kept->columns[KEPT_AT])) == 0 ||
		strcmp(cmd->name, NameStr(kept->columns[KEPT_VALUE])) == 0 ||
		strcmp(cmd->name, NameStr(kept->columns[KEPT_COUNTED])) == 0 ||
		cozi_kept_misfit(kept) != NULL)
		refuse_column(kept, cmd->name);
}

void
cozi_kept_break(const Kept *kept, const char *what, Oid relid)
{
	cozi_kept_set_broken(kept, psprintf("%s \"%s\"", what, get_rel_name(relid)));
}

/* Rows of a source that is another owner's are not counted. */
static void
break_if_handed_over(const Kept *kept)
{
	ListCell   *lc;

	foreach(lc, kept->sources)
		if (cozi_kept_is_handed_over(lfirst(lc)))
		cozi_kept_break(kept, "another owner has", ((Kept *) lfirst(lc))->source);
}

static void
follow_owner(Kept *kept)
{
	Oid			owner = cozi_relation_owner(kept->source);
	char	   *code;

	/* the public table follows the first */
	if (kept->nth > 0)
	{
		break_if_handed_over(kept);
		return;
	}
	if (cozi_relation_owner(kept->relation) == owner)
		return;
	code = cozi_kept_handed_over(kept);
	if (code != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" cannot change its owner:"
						" code of the present owner is on its %s \"%s\"",
						get_rel_name(kept->source), kept->kind->name, get_rel_name(kept->relation)),
				 errdetail("It would be handed over, and run with the rights of the new owner."),
				 errhint("Run %s first.", code)));
	ATExecChangeOwner(kept->relation, owner, true, AccessExclusiveLock);
	if (OidIsValid(kept->live) && get_rel_name(kept->live) != NULL)
		ATExecChangeOwner(kept->live, owner, true, AccessExclusiveLock);
	CommandCounterIncrement();
	cozi_kept_restore_live(kept);
	cozi_kept_adopt(kept);
	break_if_handed_over(kept);
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
								"persistence", unlogged ? "UNLOGGED" : "LOGGED", NULL),
				 SPI_OK_UTILITY);
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
partition_named(const AlterTableCmd * cmd)
{
	RangeVar   *name = IsA(cmd->def, PartitionCmd) ? ((PartitionCmd *) cmd->def)->name :
	castNode(RangeVar, cmd->def);

	return RangeVarGetRelid(name, NoLock, true);
}

/* One subcommand of ALTER TABLE on a source or one of its leaves. */
static void
source_subcommand(Kept *kept, Oid relid, const AlterTableCmd * cmd)
{
	/* a dump brings everything but what goes past disabled triggers */
	if (cozi_kept_restoring() && cmd->subtype != AT_DisableTrigAll)
		return;
	switch ((int) cmd->subtype)
	{
		case AT_AlterColumnType:
			check_column_type(kept, relid, cmd);
			break;
		case COZI_AT_SET_EXPRESSION:
			if (cozi_kept_is_counted(kept, cmd->name))
				refuse_column(kept, cmd->name);
			break;
		case AT_DisableTrig:
		case AT_EnableReplicaTrig:
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
			if (cmd->name == NULL || strncmp(cmd->name, "cozi_count_", 11) == 0)
				cozi_kept_break(kept, "triggers were disabled on", relid);
			break;
		case AT_AttachPartition:
			cozi_kept_entered(kept, partition_named(cmd));
			break;
		case AT_AddInherit:
			cozi_kept_entered(kept, relid);
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			cozi_kept_left(kept, partition_named(cmd));
			break;
		case AT_SetLogged:
		case AT_SetUnLogged:
			if (relid == kept->source)
				follow_persistence(kept);
			cozi_kept_check_leaves(kept);
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
	if (changed && kept->nth > 0)
		cozi_kept_write_source(kept, false);
	else if (changed)
		cozi_kept_write(kept, false);
}

/* A command on a source or one of its leaves. */
void
cozi_kept_source_changed(Kept *kept, Oid relid, const CollectedCommand * command)
{
	ListCell   *lc;

	if (command->type == SCT_AlterTable)
	{
		foreach(lc, command->d.alterTable.subcmds)
			source_subcommand(kept, relid,
							  castNode(AlterTableCmd,
									   ((CollectedATSubcmd *) lfirst(lc))->parsetree));
	}
	else if (cozi_kept_restoring())
		return;
	else if (IsA(command->parsetree, RenameStmt))
	{
		const		RenameStmt *stmt = (const RenameStmt *) command->parsetree;

		if (stmt->renameType == OBJECT_COLUMN && relid == kept->source)
			follow_rename(kept, stmt);
	}
	else if (relid != kept->source &&
			 (IsA(command->parsetree, CreateStmt) ||
			  IsA(command->parsetree, CreateForeignTableStmt)))
		cozi_kept_entered(kept, relid);
}

/* NO INHERIT: the child is no longer in the tree when we look. */
void
cozi_kept_left_by(const CollectedCommand * command, Oid relid)
{
	ListCell   *lc;

	if (command->type != SCT_AlterTable || cozi_kept_restoring())
		return;
	foreach(lc, command->d.alterTable.subcmds)
	{
		AlterTableCmd *cmd = castNode(AlterTableCmd, ((CollectedATSubcmd *) lfirst(lc))->parsetree);
		ListCell   *each;

		if (cmd->subtype != AT_DropInherit)
			continue;
		foreach(each, cozi_kept_on(RangeVarGetRelid(castNode(RangeVar, cmd->def), NoLock, true)))
			cozi_kept_left(lfirst(each), relid);
	}
}
