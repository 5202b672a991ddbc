/*
 * advisor/rewrite.c
 *		The same condition, with the identity asked for once a statement.
 *
 * A STABLE function without a column in its arguments has one answer a
 * statement; as (SELECT f()) the planner asks it once, as f() for each row.
 *
 * The law: nothing waits for a lock.  A condition that names a table which
 * is locked by another session has no text, and so no statement.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

typedef struct Asking
{
	HTAB	   *functions;
	List	  **asked;			/* Oid: those asked for each row */
} Asking;

/* A function whose call for each row is worth a finding? */
static bool
is_dear(Oid funcid)
{
	if (func_volatile(funcid) == PROVOLATILE_IMMUTABLE)
		return false;
	if (cozi_is_extensions(funcid))
		return funcid == F_CURRENT_SETTING_TEXT || funcid == F_CURRENT_SETTING_TEXT_BOOL;
	return true;
}

static bool
add_dear(Oid funcid, void *asked)
{
	if (is_dear(funcid))
		*(List **) asked = list_append_unique_oid(*(List **) asked, funcid);
	return false;
}

static bool
dear_walker(Node *node, List **asked)
{
	if (node == NULL)
		return false;
	check_functions_in_node(node, add_dear, asked);
	return expression_tree_walker(node, dear_walker, (void *) asked);
}

/* Anything that a row, a group or a subquery decides? */
static bool
row_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Param:
		case T_SubLink:
		case T_Aggref:
		case T_WindowFunc:
		case T_GroupingFunc:
		case T_Query:
		case T_CaseTestExpr:
		case T_SetToDefault:
			return true;
		default:
			return expression_tree_walker(node, row_walker, context);
	}
}

static bool
is_expression(Node *node)
{
	return !IsA(node, List) && !IsA(node, Query) && !IsA(node, TargetEntry) &&
		!IsA(node, FromExpr) && !IsA(node, JoinExpr) && !IsA(node, RangeTblRef) &&
		!IsA(node, RangeTblEntry) && !IsA(node, SortGroupClause) && !IsA(node, RangeTblFunction) &&
		!IsA(node, CommonTableExpr) && !IsA(node, WindowClause) && !IsA(node, SetOperationStmt) &&
		!IsA(node, GroupingSet) && !IsA(node, CaseWhen) && !IsA(node, WithCheckOption) &&
		!IsA(node, TableSampleClause) && !IsA(node, TableFunc);
}

/* (SELECT node) */
static Node *
in_subquery(Node *node)
{
	Query	   *query = makeNode(Query);
	SubLink    *sublink = makeNode(SubLink);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->jointree = makeFromExpr(NIL, NULL);
	query->targetList = list_make1(makeTargetEntry((Expr *) copyObject(node), 1,
												   pstrdup("?column?"), false));
	sublink->subLinkType = EXPR_SUBLINK;
	sublink->subselect = (Node *) query;
	sublink->location = -1;
	return (Node *) sublink;
}

static Node *
ask_mutator(Node *node, Asking *asking)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, SubLink))
	{
		Node	   *inner = cozi_inner_expression(node);

		if (inner != NULL)
		{
			int			before = list_length(*asking->asked);
			Node	   *result;

			if (!row_walker(inner, NULL))
				return copyObject(node);	/* asked once already */
			/* (SELECT f() = column) is no better than f() = column */
			result = ask_mutator(inner, asking);
			return list_length(*asking->asked) > before ? result : copyObject(node);
		}
	}
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, ask_mutator, asking, 0);
	if (is_expression(node) && !row_walker(node, NULL))
	{
		List	   *dear = NIL;

		(void) dear_walker(node, &dear);
		if (dear == NIL || expression_returns_set(node))
			return copyObject(node);
		*asking->asked = list_concat(*asking->asked, dear);
		return in_subquery(node);
	}
	return expression_tree_mutator(node, ask_mutator, (void *) asking);
}

/* *asked: the functions that the condition asks for each row, each time. */
Node	   *
cozi_asked_once(HTAB *functions, Node *node, List **asked)
{
	Asking		asking = {.functions = functions,.asked = asked};

	return ask_mutator(node, &asking);
}

static bool
relation_walker(Node *node, List **relids)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		ListCell   *cell;

		foreach(cell, ((Query *) node)->rtable)
		{
			RangeTblEntry *rte = lfirst(cell);

			if (rte->rtekind == RTE_RELATION)
				*relids = list_append_unique_oid(*relids, rte->relid);
		}
		return query_tree_walker((Query *) node, relation_walker, (void *) relids, 0);
	}
	return expression_tree_walker(node, relation_walker, (void *) relids);
}

/*
 * Lock each relation that the tree names, and those of *relids, which grows;
 * returns the ones locked, fewer where another session has one, or it is gone.
 */
static List *
lock_at_once(Node *tree, List **relids)
{
	List	   *locked = NIL;
	ListCell   *cell;

	(void) relation_walker(tree, relids);
	foreach(cell, *relids)
	{
		Oid			relid = lfirst_oid(cell);

		if (!ConditionalLockRelationOid(relid, AccessShareLock))
			break;
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		{
			UnlockRelationOid(relid, AccessShareLock);
			break;
		}
		locked = lappend_oid(locked, relid);
	}
	return locked;
}

static void
unlock(List *relids)
{
	ListCell   *cell;

	foreach(cell, relids)
		UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
}

/*
 * The text of an expression about the table; NULL where a table in it is
 * locked or gone.  The search path is the caller's to set.
 */
char	   *
cozi_expression_text(Oid relid, Node *node)
{
	List	   *relids = list_make1_oid(relid);
	List	   *locked = lock_at_once(node, &relids);
	char	   *text = NULL;

	if (list_length(locked) == list_length(relids))
		text = deparse_expression(node, deparse_context_for(get_rel_name(relid), relid),
								  false, false);

	unlock(locked);
	return text;
}

PG_FUNCTION_INFO_V1(cozi_view_definition);

/* _view_definition(view oid) -> text: NULL where a table in it is locked or gone */
Datum
cozi_view_definition(PG_FUNCTION_ARGS)
{
	Oid			view = PG_GETARG_OID(0);
	Node	   *tree = cozi_tree(PG_GETARG_DATUM(1));
	List	   *relids = list_make1_oid(view);
	List	   *locked;
	Datum		definition = 0;

	if (tree == NULL)
		PG_RETURN_NULL();
	locked = lock_at_once(tree, &relids);
	if (list_length(locked) == list_length(relids))
		definition = DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(view));
	unlock(locked);
	if (definition == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(definition);
}
