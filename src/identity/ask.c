/*
 * identity/ask.c
 *		Asking with an identity, without being it.
 *
 * A table's owner may ask what the table's policies say to any subject
 * (policy/subject.c), and the policies are the owner's to write.  A policy may
 * look into other tables, which show the subject more than they show the owner.
 *
 * The law: who asks reads with another's identity nothing but tables of their
 * own, and runs nothing with the rights of a third.  The executor is asked about
 * each table that any code reads or writes meanwhile, the predicates of edges
 * about theirs, and each function that is SECURITY DEFINER about its owner.
 * Parallel workers would not know, so that there are none; and a cursor that
 * was opened before is not read on.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "identity/identity.h"

/* A flag of our own for ExecutorStart: the query was started while somebody asks. */
#define ASKED	0x20000000

static Oid	asker = InvalidOid;
static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;
static object_access_hook_type next_access = NULL;

/* From now on that role asks; nobody does if it is not valid.  Who asked before. */
Oid
cozi_ask_as(Oid role)
{
	Oid			before = asker;

	asker = role;
	return before;
}

pg_noreturn static void
refuse_asker(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s \"%s\" does not belong to \"%s\"",
					what, name, GetUserNameFromId(asker, false)),
			 errdetail("Policies are asked with another's identity, to which it may show more."),
			 errhint("A role that is granted EXECUTE by name may ask about tables of all "
					 "owners.")));
}

/* Is anybody asking who may not see all of that table? */
void
cozi_ask_about(Oid relid)
{
	Oid			schema;

	if (!OidIsValid(asker) || object_ownercheck(RelationRelationId, relid, asker))
		return;
	schema = get_rel_namespace(relid);
	if (schema != PG_CATALOG_NAMESPACE && schema != cozi_schema())
		refuse_asker("relation", cozi_relation_name(relid));
}

static void
ask_about_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		return;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prosecdef && proc->pronamespace != cozi_schema() &&
		!has_privs_of_role(asker, proc->proowner))
		refuse_asker("function", pstrdup(NameStr(proc->proname)));
	ReleaseSysCache(tuple);
}

static void
on_start(QueryDesc *query, int eflags)
{
	ListCell   *cell;

	if (OidIsValid(asker))
	{
		if (query->plannedstmt->parallelModeNeeded)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("policies cannot be asked in a parallel plan"),
					 errhint("SET max_parallel_workers_per_gather = 0;")));
		foreach(cell, query->plannedstmt->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

			if (rte->rtekind == RTE_RELATION)
				cozi_ask_about(rte->relid);
		}
		eflags |= ASKED;
	}
	if (next_start)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
on_run(COZI_RUN_ARGS)
{
	if (OidIsValid(asker) && (queryDesc->estate->es_top_eflags & ASKED) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a cursor cannot be read with another's identity")));
	if (next_run)
		next_run(COZI_RUN_PASS);
	else
		standard_ExecutorRun(COZI_RUN_PASS);
}

static void
on_asked_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (next_access)
		next_access(access, classid, objid, subid, arg);
	if (OidIsValid(asker) && access == OAT_FUNCTION_EXECUTE)
		ask_about_function(objid);
}

void
cozi_ask_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = on_start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = on_run;
	next_access = object_access_hook;
	object_access_hook = on_asked_access;
}
