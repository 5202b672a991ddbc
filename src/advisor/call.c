/*
 * advisor/call.c
 *		The facts of the functions that a clause calls.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "commands/proclang.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

/* Why the planner cannot inline it; NULL where it can, or where that is cheap */
static const char *
opaque_reason(CoziFacts *facts, Oid funcid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Form_pg_proc proc;
	const char *reason = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prolang == ClanguageId || proc->prolang == INTERNALlanguageId ||
		cozi_is_extensions(funcid) || OidIsValid(getExtensionOfObject(ProcedureRelationId, funcid)))
		reason = NULL;
	else if (proc->prolang != SQLlanguageId)
		reason = psprintf("of language %s", get_language_name(proc->prolang, false));
	else if (proc->prosecdef)
		reason = "SECURITY DEFINER";
	else if (!heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL))
		reason = "with a SET clause";
	else if (!cozi_function(facts->condition.functions, funcid)->simple)
		reason = "with more than one expression in it";
	ReleaseSysCache(tuple);
	return reason;
}

static bool
opaque_walker(Node *node, CoziFacts *facts)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && contain_var_clause(node))
	{
		const char *reason = opaque_reason(facts, ((FuncExpr *) node)->funcid);

		if (reason != NULL)
			cozi_put_fact(facts, "opaque", ((FuncExpr *) node)->funcid, 0, reason, NULL);
	}
	if (IsA(node, SubLink))
		return false;
	return expression_tree_walker(node, opaque_walker, (void *) facts);
}

void
cozi_put_reads(CoziFacts *facts, CoziFunction *reads)
{
	ListCell   *cell;

	foreach(cell, reads->reads)
	{
		CoziRead   *read = lfirst(cell);
		const char *rights = read->definer ? "definer"
		: OidIsValid(read->via) ? "invoker" : "direct";
		int			attnum = -1;

		cozi_put_fact(facts, "read", read->relid, 0, rights, NULL);
		while ((attnum = bms_next_member(read->trusted, attnum)) >= 0)
			cozi_put_fact(facts, "read", read->relid, attnum, rights, NULL);
	}
	foreach(cell, reads->calls)
		cozi_put_fact(facts, "call", lfirst_oid(cell), 0, NULL, NULL);
	foreach(cell, reads->settings)
		cozi_put_fact(facts, "setting", InvalidOid, 0, lfirst(cell), NULL);
	if (reads->metadata)
		cozi_put_fact(facts, "metadata", InvalidOid, 0, NULL, NULL);
	if (reads->identity)
		cozi_put_fact(facts, "identity", InvalidOid, 0, NULL, NULL);
}

static char *
function_names(List *functions)
{
	StringInfoData names;
	List	   *seen = NIL;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, functions)
	{
		if (list_member_oid(seen, lfirst_oid(cell)))
			continue;
		seen = lappend_oid(seen, lfirst_oid(cell));
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 DatumGetCString(DirectFunctionCall1(regprocedureout,
															 ObjectIdGetDatum(lfirst_oid(cell)))));
	}
	return names.data;
}

static void
put_asked(CoziFacts *facts, Node *node)
{
	List	   *asked = NIL;
	Node	   *once = cozi_asked_once(facts->condition.functions, node, &asked);
	bool		stable = true;
	ListCell   *cell;

	if (asked == NIL)
		return;
	foreach(cell, asked)
		stable = stable && func_volatile(lfirst_oid(cell)) == PROVOLATILE_STABLE;
	cozi_put_fact(facts, "per_row", linitial_oid(asked), 0, function_names(asked),
				  stable ? cozi_expression_text(facts->condition.relid, once) : NULL);
}

/* Every fact of one clause. */
void
cozi_put_clause(CoziFacts *facts, Node *node)
{
	static const char *const passes[] = {"some", "signed_in", "all"};
	CoziFunction reads = {0};

	cozi_put_fact(facts, "passes", InvalidOid, 0,
				  passes[cozi_passes(&facts->condition, node)], NULL);
	cozi_put_fact(facts, "binds", InvalidOid, 0,
				  cozi_binds(&facts->condition, node) ? "t" : "f", NULL);
	cozi_put_fact(facts, "text", InvalidOid, 0,
				  cozi_expression_text(facts->condition.relid, node), NULL);
	cozi_put_columns(facts, node);
	cozi_put_nulls(facts, node);
	put_asked(facts, node);
	(void) opaque_walker(node, facts);
	cozi_read_tree(facts->condition.functions, node, &reads);
	cozi_put_reads(facts, &reads);
}
