/*
 * policy/child.c
 *		Partitions and children of a protected table, now and later.
 *
 * Policies hold for queries of the table they are on.  A query of a partition
 * obeys the partition's own, so each is closed: row security is on, and there
 * is no policy that lets anything through.  Queries of the parent are not
 * touched by that.  An event trigger closes what becomes a child later.
 *
 * The law: privileges that a child was born with, by ALTER DEFAULT PRIVILEGES,
 * give nobody a row.  A child that cannot have row security is refused when it
 * has any.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "policy/policy.h"

/* All children of the table, at any depth, as a list of OIDs. */
List	   *
cozi_children(Oid relid, bool lock)
{
	List	   *all = find_all_inheritors(relid, lock ? AccessExclusiveLock : NoLock, NULL);

	return list_delete_first(all);
}

static void
read_row_security(Oid relid, bool *enabled, bool *forced)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		cozi_no_such_relation(relid);
	*enabled = ((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;
	*forced = ((Form_pg_class) GETSTRUCT(tuple))->relforcerowsecurity;
	ReleaseSysCache(tuple);
}

/* A foreign table has no row security: it is closed while nothing is granted. */
static void
check_foreign_child(Oid child)
{
	List	   *grantees = cozi_strings(
										"SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' "
										"ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
										" FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = "
										"$1 AND a.grantee <> c.relowner", child);

	if (grantees != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("foreign table \"%s\" cannot have row-level security, and %s may use it",
						get_rel_name(child), cozi_joined(grantees)),
				 errdetail("A query of the foreign table would show every row, whatever the "
						   "policies of its parent say."),
				 errhint("REVOKE ALL ON %s FROM %s;",
						 cozi_qualified_name(child), cozi_joined(grantees))));
	ereport(NOTICE,
			(errmsg("foreign table \"%s\" cannot have row-level security: grant nothing on it",
					get_rel_name(child))));
}

/* A statement about the table, which may name a state. */
static char *
on_table(const char *template, Oid relid, const char *state)
{
	return cozi_statement(template, "table", cozi_qualified_name(relid),
						  "state", quote_literal_cstr(state), NULL);
}

/* Policies of the child's owner: what they let through, the parent does not see. */
static void
check_own_policies(Oid child)
{
	List	   *policies = cozi_strings("SELECT quote_ident(polname) FROM pg_policy"
										" WHERE polrelid = $1 AND polpermissive AND polname <> "
										"'cozi_protected' ORDER BY polname", child);

	if (policies != NIL && cozi_policy_state(child, COZI_PROTECTED) == NULL)
		ereport(WARNING,
				(errmsg("table \"%s\" has policies of its own: %s",
						get_rel_name(child), cozi_joined(policies)),
				 errdetail("A query of this child shows what they let through, and not what its "
						   "parent's policies do.")));
	if (cozi_policy_state(child, COZI_CLOSED) == NULL &&
		cozi_strings("SELECT polname FROM pg_policy"
					 " WHERE polrelid = $1 AND polname = '" COZI_CLOSED "'", child) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" has a policy \"%s\" that protect() did not make",
						get_rel_name(child), COZI_CLOSED),
				 errhint("Rename or drop it.")));
}

/*
 * Statements that close a child; none where row security is as it should be.
 * The policy holds what was before the first of them, so it is made once.
 */
List	   *
cozi_close_child(Oid child, bool force)
{
	List	   *statements = NIL;
	Jsonb	   *before;
	bool		enabled,
				forced;
	char	   *state;

	if (get_rel_relkind(child) == RELKIND_FOREIGN_TABLE)
	{
		check_foreign_child(child);
		return NIL;
	}
	check_own_policies(child);
	read_row_security(child, &enabled, &forced);
	before = cozi_policy_state(child, COZI_CLOSED);
	state = psprintf("{\"was_enabled\": %s, \"was_forced\": %s}",
					 enabled ? "true" : "false", forced ? "true" : "false");
#define add(template) statements = lappend(statements, on_table(template, child, state))
	if (before == NULL && (!enabled || (force && !forced)))
		add("CREATE POLICY " COZI_CLOSED " ON {table} AS RESTRICTIVE"
			" USING (cozi._protected({state}))");
	if (!enabled)
		add("ALTER TABLE ONLY {table} ENABLE ROW LEVEL SECURITY");
	if (force && !forced)
		add("ALTER TABLE ONLY {table} FORCE ROW LEVEL SECURITY");
	if (!force && forced && before != NULL && !cozi_state_flag(before, "was_forced"))
		add("ALTER TABLE ONLY {table} NO FORCE ROW LEVEL SECURITY");
#undef add
	return statements;
}

/* Statements that undo the above; row security stays while a policy does. */
List	   *
cozi_open_child(Oid child)
{
	Jsonb	   *state = cozi_policy_state(child, COZI_CLOSED);
	List	   *statements;
	List	   *others;
	bool		enabled,
				forced;

	if (state == NULL)
		return NIL;
	statements = list_make1(on_table("DROP POLICY " COZI_CLOSED " ON {table}", child, ""));
	others = cozi_strings("SELECT polname FROM pg_policy WHERE polrelid = $1"
						  " AND polname <> '" COZI_CLOSED "'", child);
	if (!cozi_state_flag(state, "was_enabled") && others == NIL)
		statements = lappend(statements,
							 on_table("ALTER TABLE ONLY {table} DISABLE ROW LEVEL SECURITY",
									  child, ""));
	read_row_security(child, &enabled, &forced);
	if (forced && !cozi_state_flag(state, "was_forced"))
		statements = lappend(statements,
							 on_table("ALTER TABLE ONLY {table} NO FORCE ROW LEVEL SECURITY",
									  child, ""));
	return statements;
}

/* The state of the nearest ancestor that is protected; NULL when none is. */
Jsonb	   *
cozi_protected_ancestor(Oid relid)
{
	List	   *ancestors = cozi_strings(
										 "WITH RECURSIVE up (oid) AS ("
										 " SELECT inhparent FROM pg_inherits WHERE inhrelid = $1"
										 " UNION SELECT i.inhparent FROM up JOIN pg_inherits i "
										 "ON i.inhrelid = up.oid)"
										 " SELECT oid::text FROM up", relid);
	ListCell   *cell;

	foreach(cell, ancestors)
	{
		Jsonb	   *state = cozi_policy_state(atooid(lfirst(cell)), COZI_PROTECTED);

		if (state != NULL)
			return state;
	}
	return NULL;
}

static void
close_now(Oid child, bool force)
{
	List	   *statements = cozi_close_child(child, force);
	ListCell   *cell;

	foreach(cell, statements)
		cozi_run(lfirst(cell), SPI_OK_UTILITY);
	if (statements != NIL)
		ereport(NOTICE,
				(errmsg("table \"%s\" is closed to direct access, because its parent is protected",
						get_rel_name(child))));
}

/* Close the table and its own children, if an ancestor is protected. */
static void
close_tree(Oid relid)
{
	Jsonb	   *state = cozi_protected_ancestor(relid);
	List	   *children;
	ListCell   *cell;

	if (state == NULL)
		return;
	if (cozi_policy_state(relid, COZI_PROTECTED) == NULL)
		close_now(relid, cozi_state_flag(state, "force"));
	children = cozi_children(relid, false);
	foreach(cell, children)
		if (cozi_policy_state(lfirst_oid(cell), COZI_PROTECTED) == NULL)
		close_now(lfirst_oid(cell), cozi_state_flag(state, "force"));
}

/* Which relation has become a child by this subcommand; invalid for others. */
static Oid
new_child(const AlterTableStmt * statement, const AlterTableCmd * command)
{
	if (command->subtype == AT_AttachPartition)
		return RangeVarGetRelid(((PartitionCmd *) command->def)->name, NoLock, true);
	if (command->subtype == AT_AddInherit)
		return RangeVarGetRelid(statement->relation, NoLock, true);
	return InvalidOid;
}

/*
 * The tables that the command has made children: found in the command itself,
 * since a command that only alters a parent, as pg_restore runs many, must not
 * close children whose own policies are not restored yet.
 */
static List *
new_children(Node *command)
{
	List	   *relids = NIL;
	ListCell   *cell;

	if (IsA(command, AlterTableStmt))
	{
		AlterTableStmt *statement = (AlterTableStmt *) command;

		foreach(cell, statement->cmds)
		{
			Oid			relid = new_child(statement, lfirst(cell));

			if (OidIsValid(relid))
				relids = lappend_oid(relids, relid);
		}
		return relids;
	}
	if (!IsA(command, CreateStmt) && !IsA(command, CreateForeignTableStmt) &&
		!IsA(command, CreateSchemaStmt))
		return NIL;
	foreach(cell, cozi_strings("SELECT objid::text FROM pg_event_trigger_ddl_commands()"
							   " WHERE classid = 'pg_class'::regclass AND $1 = 0"
							   " AND command_tag IN ('CREATE TABLE', 'CREATE FOREIGN TABLE')",
							   InvalidOid))
		relids = lappend_oid(relids, atooid(lfirst(cell)));
	return relids;
}

PG_FUNCTION_INFO_V1(cozi_protect_children);

/*
 * _protect_children() -> event_trigger: at ddl_command_end of what makes tables
 * and alters them
 *
 * Acts as the owner of the extension: the owner of the table, in a dump that is
 * being restored, has no privilege on schema cozi yet.
 */
Datum
cozi_protect_children(PG_FUNCTION_ARGS)
{
	CoziSavedUser saved;
	List	   *relids;
	ListCell   *cell;
	Node	   *command;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"_protect_children\" was not called by an event trigger")));
	command = ((EventTriggerData *) fcinfo->context)->parsetree;
	if (command == NULL || !OidIsValid(cozi_table("edge_config")))
		PG_RETURN_NULL();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	relids = new_children(command);
	if (relids != NIL)
	{
		cozi_switch_to_owner(cozi_table("edge_config"), &saved);
		foreach(cell, relids)
			close_tree(lfirst_oid(cell));
		cozi_restore_user(&saved);
	}
	SPI_finish();
	PG_RETURN_NULL();
}
