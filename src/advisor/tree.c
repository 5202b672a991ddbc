/*
 * advisor/tree.c
 *		Questions about a tree that the catalog keeps.
 */
#include "postgres.h"

#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "advisor/advisor.h"

static bool
is_leaky(Oid funcid, void *context)
{
	return !get_func_leakproof(funcid);
}

static bool
leaky_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_leaky, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, leaky_walker, context, 0);
	return expression_tree_walker(node, leaky_walker, context);
}

PG_FUNCTION_INFO_V1(cozi_tree_is_leakproof);

/* tree_is_leakproof(pg_node_tree) -> boolean: every function in it is */
Datum
cozi_tree_is_leakproof(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!leaky_walker(stringToNode(TextDatumGetCString(PG_GETARG_DATUM(0))), NULL));
}

PG_FUNCTION_INFO_V1(cozi_tree_reads_identity);

/* tree_reads_identity(pg_node_tree) -> boolean: its answer depends on who calls */
Datum
cozi_tree_reads_identity(PG_FUNCTION_ARGS)
{
	CoziFunction reads = {0};

	cozi_read_tree(cozi_functions(), stringToNode(TextDatumGetCString(PG_GETARG_DATUM(0))), &reads);
	PG_RETURN_BOOL(reads.identity);
}
