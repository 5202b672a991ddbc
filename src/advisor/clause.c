/*
 * advisor/clause.c
 *		The facts of one clause: its columns, and what it does with NULL.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_index.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

static bool
is_bare(Node *compared)
{
	while (IsA(compared, RelabelType))
		compared = (Node *) ((RelabelType *) compared)->arg;
	return IsA(compared, Var);
}

/* Could an index serve the comparison: are all ways through an OR such? */
static bool
is_indexable(CoziFacts *facts, Node *node)
{
	BoolExpr   *expr = (BoolExpr *) node;
	Node	   *compared;
	ListCell   *cell;

	if (!IsA(node, BoolExpr))
		return cozi_owner_column(&facts->condition, node, &compared) != NULL;
	if (expr->boolop == NOT_EXPR)
		return false;
	foreach(cell, expr->args)
		if (is_indexable(facts, lfirst(cell)) == (expr->boolop == AND_EXPR))
		return expr->boolop == AND_EXPR;
	return expr->boolop == OR_EXPR;
}

/* Does an index of the table begin with the expression? */
static bool
has_expression_index(Oid relid, Node *wanted)
{
	Relation	rel = table_open(IndexRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, IndexIndrelidIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
		bool		isnull;
		Datum		trees = heap_getattr(tuple, Anum_pg_index_indexprs, RelationGetDescr(rel),
										 &isnull);

		if (!isnull && index->indkey.values[0] == 0 && index->indisvalid &&
			heap_attisnull(tuple, Anum_pg_index_indpred, RelationGetDescr(rel)))
		{
			List	   *keys = (List *) cozi_tree(trees);

			found = keys != NIL && equal(linitial(keys), wanted);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static void
put_owners(CoziFacts *facts, Node *node, bool indexable)
{
	BoolExpr   *expr = (BoolExpr *) node;
	Node	   *compared;
	Var		   *var;
	ListCell   *cell;

	if (IsA(node, BoolExpr))
	{
		if (expr->boolop != NOT_EXPR)
			foreach(cell, expr->args)
				put_owners(facts, lfirst(cell),
						   expr->boolop == AND_EXPR ? indexable
						   : indexable && is_indexable(facts, node));
		return;
	}
	var = cozi_owner_column(&facts->condition, node, &compared);
	if (var == NULL)
		return;
	cozi_put_fact(facts, "owner", InvalidOid, var->varattno,
				  cozi_expression_text(facts->condition.relid, node), NULL);
	if (!indexable)
		return;
	if (is_bare(compared))
		cozi_put_fact(facts, "filter", InvalidOid, var->varattno, NULL, NULL);
	else if (!has_expression_index(facts->condition.relid, compared))
	{
		char	   *text = cozi_expression_text(facts->condition.relid, compared);

		cozi_put_fact(facts, "cast", InvalidOid, var->varattno, text,
					  contain_mutable_functions(compared) ? NULL : text);
	}
}

/* The row's columns; what a subquery reads of the row is no condition on a column. */
static bool
column_walker(Node *node, Bitmapset * *columns)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup == 0 && var->varattno > 0)
			*columns = bms_add_member(*columns, var->varattno);
		return false;
	}
	return expression_tree_walker(node, column_walker, (void *) columns);
}

void
cozi_put_columns(CoziFacts *facts, Node *node)
{
	Bitmapset  *columns = NULL;
	int			i = -1;

	column_walker(node, &columns);
	while ((i = bms_next_member(columns, i)) >= 0)
		cozi_put_fact(facts, "column", InvalidOid, i, NULL, NULL);
	put_owners(facts, node, true);
}

static bool
is_nullable(CoziFacts *facts, Var * var)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(facts->condition.relid),
										Int16GetDatum(var->varattno));
	bool		nullable = false;

	if (HeapTupleIsValid(tuple))
	{
		nullable = !((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
		ReleaseSysCache(tuple);
	}
	return nullable;
}

/* One way through an OR: column IS NULL, or identity IS NULL. */
static void
put_null_test(CoziFacts *facts, Node *node, Bitmapset * owners)
{
	NullTest   *test = (NullTest *) node;
	Var		   *var;

	if (!IsA(node, NullTest) || test->nulltesttype != IS_NULL)
		return;
	var = (Var *) cozi_strip((Node *) test->arg);
	if (!IsA(var, Var))
	{
		if (!contain_vars_of_level((Node *) var, 0) &&
			cozi_reads_identity(facts->condition.functions, (Node *) var))
			cozi_put_fact(facts, "null_caller", InvalidOid, 0, NULL, NULL);
	}
	else if (var->varlevelsup == 0 && bms_is_member(var->varattno, owners) &&
			 is_nullable(facts, var))
		cozi_put_fact(facts, "null_row", InvalidOid, var->varattno, NULL, NULL);
}

/* NOT (column IS DISTINCT FROM identity) */
static void
put_not_distinct(CoziFacts *facts, Node *node)
{
	DistinctExpr *distinct = (DistinctExpr *) node;

	if (!IsA(node, DistinctExpr))
		return;
	for (int i = 0; i < 2; i++)
	{
		Var		   *var = (Var *) cozi_strip(list_nth(distinct->args, i));
		Node	   *other = list_nth(distinct->args, 1 - i);

		if (IsA(var, Var) && var->varlevelsup == 0 && is_nullable(facts, var) &&
			!contain_vars_of_level(other, 0) &&
			cozi_reads_identity(facts->condition.functions, other))
			cozi_put_fact(facts, "null_row", InvalidOid, var->varattno, NULL, NULL);
	}
}

static Bitmapset *
owners_in(CoziFacts *facts, Node *node)
{
	Bitmapset  *owners = NULL;
	Node	   *compared;
	Var		   *var;
	ListCell   *cell;

	if (IsA(node, BoolExpr))
	{
		foreach(cell, ((BoolExpr *) node)->args)
			owners = bms_join(owners, owners_in(facts, lfirst(cell)));
		return owners;
	}
	var = cozi_owner_column(&facts->condition, node, &compared);
	return var != NULL ? bms_make_singleton(var->varattno) : NULL;
}

void
cozi_put_nulls(CoziFacts *facts, Node *node)
{
	BoolExpr   *expr = (BoolExpr *) node;
	Node	   *last;
	ListCell   *cell;

	if (IsA(node, CoalesceExpr) || IsA(node, BooleanTest))
	{
		Node	   *first = IsA(node, CoalesceExpr) ? linitial(((CoalesceExpr *) node)->args)
		: (Node *) ((BooleanTest *) node)->arg;

		last = IsA(node, CoalesceExpr) ? llast(((CoalesceExpr *) node)->args) : NULL;
		if (IsA(node, CoalesceExpr) ? cozi_passes(&facts->condition, last) == COZI_PASSES_ALL
			: ((BooleanTest *) node)->booltesttype == IS_NOT_FALSE)
			if (cozi_reads_identity(facts->condition.functions, first))
				cozi_put_fact(facts, "null_caller", InvalidOid, 0, NULL, NULL);
		return;
	}
	if (!IsA(node, BoolExpr))
		return;
	foreach(cell, expr->args)
	{
		if (expr->boolop == OR_EXPR)
			put_null_test(facts, lfirst(cell), owners_in(facts, node));
		if (expr->boolop == NOT_EXPR)
			put_not_distinct(facts, lfirst(cell));
		else
			cozi_put_nulls(facts, lfirst(cell));
	}
}
