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

#define MAX_NESTING	1000

/*
 * The tree, unless its owner nested it so deeply that reading it would end in an
 * error: that must not keep others from their advice.
 */
Node	   *
cozi_tree(Datum tree)
{
	char	   *string = TextDatumGetCString(tree);
	int			depth = 0;

	for (char *c = string; *c; c++)
	{
		if (*c == '\\' && c[1])
			c++;
		else if (*c == '{' || *c == '(')
		{
			if (++depth > MAX_NESTING)
				return NULL;
		}
		else if (*c == '}' || *c == ')')
			depth--;
	}
	return stringToNode(string);
}

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
	Node	   *tree = cozi_tree(PG_GETARG_DATUM(0));

	if (tree == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(!leaky_walker(tree, NULL));
}

PG_FUNCTION_INFO_V1(cozi_tree_reads_identity);

/* tree_reads_identity(pg_node_tree) -> boolean: its answer depends on who calls */
Datum
cozi_tree_reads_identity(PG_FUNCTION_ARGS)
{
	CoziFunction reads = {0};
	Node	   *tree = cozi_tree(PG_GETARG_DATUM(0));

	if (tree == NULL)
		PG_RETURN_NULL();
	cozi_read_tree(cozi_functions(), tree, &reads);
	PG_RETURN_BOOL(reads.identity);
}
