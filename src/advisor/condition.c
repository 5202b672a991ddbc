/*
 * advisor/condition.c
 *		Whom a policy's condition lets pass, told from its tree.
 *
 * The law: a condition is never planned and no function of a user is run for
 * it.  A constant is made of constants only by functions of pg_catalog that
 * are immutable and leakproof, because these raise no error.
 *
 * Not every truth can be told.  What is not understood lets some pass: the
 * advisor says nothing rather than something false.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "access/htup_details.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

/* The expression below casts, which change no answer about who passes. */
Node	   *
cozi_strip(Node *node)
{
	while (node != NULL)
	{
		if (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		else if (IsA(node, CollateExpr))
			node = (Node *) ((CollateExpr *) node)->arg;
		else if (IsA(node, CoerceToDomain))
			node = (Node *) ((CoerceToDomain *) node)->arg;
		else if (IsA(node, CoerceViaIO))
			node = (Node *) ((CoerceViaIO *) node)->arg;
		else if (IsA(node, FuncExpr) && ((FuncExpr *) node)->args != NIL &&
				 (((FuncExpr *) node)->funcformat == COERCE_EXPLICIT_CAST ||
				  ((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST))
			node = linitial(((FuncExpr *) node)->args);
		else
			break;
	}
	return node;
}

/* (SELECT expression), without FROM: the expression as seen from outside. */
Node	   *
cozi_inner_expression(Node *node)
{
	SubLink    *sublink = (SubLink *) node;
	Query	   *query;
	Node	   *inner;

	if (!IsA(node, SubLink) || sublink->subLinkType != EXPR_SUBLINK)
		return NULL;
	query = castNode(Query, sublink->subselect);
	if (query->commandType != CMD_SELECT || query->rtable != NIL || query->cteList != NIL ||
		query->setOperations != NULL || query->groupClause != NIL || query->hasAggs ||
		query->havingQual != NULL || query->limitCount != NULL || query->limitOffset != NULL ||
		query->hasTargetSRFs || query->jointree->quals != NULL ||
		list_length(query->targetList) != 1)
		return NULL;
	inner = copyObject((Node *) ((TargetEntry *) linitial(query->targetList))->expr);
	IncrementVarSublevelsUp(inner, -1, 1);
	return inner;
}

bool
cozi_equality(Oid opno)
{
	Oid			left,
				right;

	op_input_types(opno, &left, &right);
	return op_hashjoinable(opno, left) || op_mergejoinable(opno, left);
}

bool
cozi_reads_identity(HTAB *functions, Node *node)
{
	CoziFunction reads = {0};
	ListCell   *cell;

	cozi_read_tree(functions, node, &reads);
	if (reads.identity)
		return true;
	/* a table's own policies tell callers apart; a language may, too */
	foreach(cell, reads.reads)
	{
		CoziRead   *read = lfirst(cell);
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(read->relid));
		bool		rls = HeapTupleIsValid(tuple) &&
		((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (rls)
			return true;
	}
	foreach(cell, reads.calls)
		if (cozi_function(functions, lfirst_oid(cell))->unreadable)
		return true;
	return false;
}

/* Is it a column of the row that the policy is about? */
static Var *
own_column(Node *node)
{
	Var		   *var = (Var *) node;

	return node != NULL && IsA(node, Var) && var->varlevelsup == 0 && var->varattno > 0
		? var : NULL;
}

static bool
is_not_null(const CoziCondition *condition, Var * var)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(condition->relid),
										Int16GetDatum(var->varattno));
	bool		notnull = false;

	if (HeapTupleIsValid(tuple))
	{
		notnull = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
		ReleaseSysCache(tuple);
	}
	return notnull;
}

/* Something about the caller, and nothing about a row. */
static bool
is_about_caller(const CoziCondition *condition, Node *node)
{
	CoziFunction reads = {0};

	if (contain_vars_of_level(node, 0))
		return false;
	cozi_read_tree(condition->functions, node, &reads);
	return reads.identity && reads.reads == NIL;
}

static bool
is_role_name(const CoziCondition *condition, Node *node)
{
	Const	   *constant = (Const *) cozi_strip(node);
	char	   *name;
	ListCell   *cell;

	if (!IsA(constant, Const) || constant->constisnull)
		return false;
	if (constant->consttype == TEXTOID)
		name = TextDatumGetCString(constant->constvalue);
	else if (constant->consttype == NAMEOID)
		name = NameStr(*DatumGetName(constant->constvalue));
	else
		return false;
	if (name[0] == '\0')
		return true;			/* <> '' */
	foreach(cell, condition->roles)
		if (strcmp(lfirst(cell), name) == 0)
		return true;
	return false;
}

/* An array with the name of a role of the API in it? */
static bool
holds_role_name(const CoziCondition *condition, Node *node)
{
	Const	   *constant = (Const *) cozi_strip(node);
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (IsA(constant, ArrayExpr))
	{
		ListCell   *cell;

		foreach(cell, ((ArrayExpr *) constant)->elements)
			if (is_role_name(condition, lfirst(cell)))
			return true;
		return false;
	}
	if (!IsA(constant, Const) || constant->constisnull || constant->consttype != TEXTARRAYOID)
		return false;
	deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		ListCell   *cell;

		foreach(cell, condition->roles)
			if (!nulls[i] && strcmp(lfirst(cell), TextDatumGetCString(values[i])) == 0)
			return true;
	}
	return false;
}

/* Of constants alone, by a function that raises no error? */
static bool
folds_to_true(OpExpr *op)
{
	Const	   *args[2];

	if (list_length(op->args) != 2 || get_func_namespace(op->opfuncid) != PG_CATALOG_NAMESPACE ||
		func_volatile(op->opfuncid) != PROVOLATILE_IMMUTABLE || !get_func_leakproof(op->opfuncid))
		return false;
	for (int i = 0; i < 2; i++)
	{
		Node	   *arg = list_nth(op->args, i);

		while (IsA(arg, RelabelType))
			arg = (Node *) ((RelabelType *) arg)->arg;
		args[i] = (Const *) arg;
		if (!IsA(arg, Const) || args[i]->constisnull)
			return false;
	}
	return DatumGetBool(OidFunctionCall2Coll(op->opfuncid, op->inputcollid,
											 args[0]->constvalue, args[1]->constvalue));
}

static CoziPasses
passes_comparison(const CoziCondition *condition, OpExpr *op)
{
	Node	   *left,
			   *right;
	char	   *name;

	if (folds_to_true(op))
		return COZI_PASSES_ALL;
	if (list_length(op->args) != 2)
		return COZI_PASSES_SOME;
	left = cozi_strip(linitial(op->args));
	right = cozi_strip(lsecond(op->args));
	name = get_opname(op->opno);
	if ((cozi_equality(op->opno) || strcmp(name, "<=") == 0 || strcmp(name, ">=") == 0) &&
		equal(left, right) && !contain_volatile_functions(left))
		return is_about_caller(condition, left) ? COZI_PASSES_SIGNED_IN : COZI_PASSES_ALL;
	if ((is_role_name(condition, right) && is_about_caller(condition, left)) ||
		(is_role_name(condition, left) && is_about_caller(condition, right)))
		return COZI_PASSES_SIGNED_IN;
	return COZI_PASSES_SOME;
}

static CoziPasses
passes_null_test(const CoziCondition *condition, Node *arg, bool negated)
{
	Var		   *var = own_column(cozi_strip(arg));

	if (negated)
		return COZI_PASSES_SOME;
	if (var != NULL)
		return is_not_null(condition, var) ? COZI_PASSES_ALL : COZI_PASSES_SOME;
	return is_about_caller(condition, arg) ? COZI_PASSES_SIGNED_IN : COZI_PASSES_SOME;
}

static CoziPasses
passes_bool(const CoziCondition *condition, BoolExpr * expr)
{
	CoziPasses	result = expr->boolop == AND_EXPR ? COZI_PASSES_ALL : COZI_PASSES_SOME;
	ListCell   *cell;

	if (expr->boolop == NOT_EXPR)
	{
		Node	   *arg = cozi_strip(linitial(expr->args));

		if (IsA(arg, Const) && !((Const *) arg)->constisnull &&
			!DatumGetBool(((Const *) arg)->constvalue))
			return COZI_PASSES_ALL;
		if (IsA(arg, NullTest))
			return passes_null_test(condition, (Node *) ((NullTest *) arg)->arg,
									((NullTest *) arg)->nulltesttype == IS_NOT_NULL);
		if (IsA(arg, DistinctExpr) && equal(linitial(((DistinctExpr *) arg)->args),
											lsecond(((DistinctExpr *) arg)->args)))
			return COZI_PASSES_ALL;
		return COZI_PASSES_SOME;
	}
	foreach(cell, expr->args)
	{
		CoziPasses	one = cozi_passes(condition, lfirst(cell));

		result = expr->boolop == AND_EXPR ? Min(result, one) : Max(result, one);
	}
	return result;
}

/* Whom does the condition let pass?  No condition lets all pass. */
CoziPasses
cozi_passes(const CoziCondition *condition, Node *node)
{
	node = cozi_strip(node);
	if (node == NULL)
		return COZI_PASSES_ALL;
	switch (nodeTag(node))
	{
		case T_Const:
			return !((Const *) node)->constisnull && DatumGetBool(((Const *) node)->constvalue)
				? COZI_PASSES_ALL : COZI_PASSES_SOME;
		case T_BoolExpr:
			return passes_bool(condition, (BoolExpr *) node);
		case T_OpExpr:
			return passes_comparison(condition, (OpExpr *) node);
		case T_ScalarArrayOpExpr:
			{
				ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) node;

				return op->useOr && is_about_caller(condition, linitial(op->args)) &&
					holds_role_name(condition, lsecond(op->args))
					? COZI_PASSES_SIGNED_IN : COZI_PASSES_SOME;
			}
		case T_NullTest:
			return passes_null_test(condition, (Node *) ((NullTest *) node)->arg,
									((NullTest *) node)->nulltesttype == IS_NULL);
		case T_BooleanTest:
			return ((BooleanTest *) node)->booltesttype == IS_TRUE ||
				((BooleanTest *) node)->booltesttype == IS_NOT_FALSE
				? cozi_passes(condition, (Node *) ((BooleanTest *) node)->arg) : COZI_PASSES_SOME;
		case T_CoalesceExpr:
			return cozi_passes(condition, linitial(((CoalesceExpr *) node)->args));
		case T_SubLink:
			{
				Node	   *inner = cozi_inner_expression(node);

				return inner != NULL ? cozi_passes(condition, inner) : COZI_PASSES_SOME;
			}
		default:
			return COZI_PASSES_SOME;
	}
}

/*
 * Does the condition tell callers apart, on every way through it?  A condition
 * that all or all who are signed in pass does not.
 */
bool
cozi_binds(const CoziCondition *condition, Node *node)
{
	BoolExpr   *expr = (BoolExpr *) cozi_strip(node);
	bool		all;
	ListCell   *cell;

	if (expr == NULL)
		return false;
	if (!IsA(expr, BoolExpr) || expr->boolop == NOT_EXPR)
		return (IsA(expr, Const) && cozi_passes(condition, node) == COZI_PASSES_SOME) ||
			(cozi_passes(condition, node) == COZI_PASSES_SOME &&
			 cozi_reads_identity(condition->functions, node));
	all = expr->boolop == OR_EXPR;
	foreach(cell, expr->args)
		if (cozi_binds(condition, lfirst(cell)) != all)
		return !all;
	return all;
}

/* Is it is_owner() of this extension? */
static bool
is_owner_call(Node *node)
{
	FuncExpr   *call = (FuncExpr *) node;
	char	   *name;

	if (!IsA(node, FuncExpr) || list_length(call->args) != 1 ||
		get_func_namespace(call->funcid) != cozi_schema())
		return false;
	name = get_func_name(call->funcid);
	return name != NULL && strcmp(name, "is_owner") == 0;
}

/*
 * The column that the comparison gives to the caller: column = identity, or
 * is_owner(column).  *compared is the column with the casts above it.
 */
Var		   *
cozi_owner_column(const CoziCondition *condition, Node *node, Node **compared)
{
	OpExpr	   *op = (OpExpr *) node;

	if (is_owner_call(node))
	{
		Oid			type;

		*compared = cozi_unwidened(linitial(((FuncExpr *) node)->args), &type);
		return own_column(cozi_strip(*compared));
	}
	if (!IsA(node, OpExpr) || list_length(op->args) != 2 || !cozi_equality(op->opno))
		return NULL;
	for (int i = 0; i < 2; i++)
	{
		Node	   *other = list_nth(op->args, 1 - i);
		Var		   *var;
		List	   *vars;

		*compared = list_nth(op->args, i);
		vars = pull_vars_of_level(*compared, 0);
		var = list_length(vars) == 1 ? linitial(vars) : NULL;
		if (var != NULL && var->varattno > 0 && !contain_vars_of_level(other, 0) &&
			!checkExprHasSubLink(*compared) && cozi_reads_identity(condition->functions, other))
			return var;
	}
	return NULL;
}
