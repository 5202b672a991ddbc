/*
 * advisor/function.c
 *		What a function reads: the identity, settings, tables and columns.
 *
 * A body of the SQL standard is a tree, and read as one.  A body that is a
 * string is read by its tokens (body.c), of the languages sql and plpgsql.
 * What a function calls is read, too; a circle of functions ends at the
 * function where it began.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/proclang.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

#define MAX_CALLS	100			/* from a policy down to a function */

typedef struct Reader
{
	HTAB	   *functions;
	CoziFunction *into;
	List	   *queries;		/* those around, the innermost first */
} Reader;

HTAB	   *
cozi_functions(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(CoziFunction),
	.hcxt = CurrentMemoryContext};

	return hash_create("cozi functions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Is it a function of this extension, or of the system? */
bool
cozi_is_extensions(Oid funcid)
{
	Oid			schema = get_func_namespace(funcid);

	return schema == PG_CATALOG_NAMESPACE || schema == cozi_schema();
}

CoziRead   *
cozi_read_of(CoziFunction *into, Oid relid, Oid via, bool definer)
{
	ListCell   *cell;
	CoziRead   *read;

	foreach(cell, into->reads)
	{
		read = lfirst(cell);
		if (read->relid == relid && read->via == via && read->definer == definer)
			return read;
	}
	read = palloc0(sizeof(CoziRead));
	read->relid = relid;
	read->via = via;
	read->definer = definer;
	into->reads = lappend(into->reads, read);
	return read;
}

void
cozi_add_setting(CoziFunction *into, const char *name)
{
	ListCell   *cell;

	foreach(cell, into->settings)
		if (strcmp(lfirst(cell), name) == 0)
		return;
	into->settings = lappend(into->settings, pstrdup(name));
}

static CoziFunction *function_below(HTAB *functions, Oid funcid, int depth);

/* Add what a callee reads to what its caller reads. */
void
cozi_add_callee(HTAB *functions, CoziFunction *into, Oid funcid)
{
	CoziFunction *callee;
	ListCell   *cell;

	CHECK_FOR_INTERRUPTS();
	if (list_member_oid(into->calls, funcid))
		return;
	into->calls = lappend_oid(into->calls, funcid);
	if (into->depth >= MAX_CALLS)
	{
		into->unreadable = true;
		return;
	}
	callee = function_below(functions, funcid, into->depth + 1);
	if (!callee->ready)
		return;
	into->identity |= callee->identity;
	into->metadata |= callee->metadata;
	foreach(cell, callee->settings)
		cozi_add_setting(into, lfirst(cell));
	foreach(cell, callee->reads)
	{
		CoziRead   *read = lfirst(cell);
		CoziRead   *mine = cozi_read_of(into, read->relid, funcid,
										callee->definer || read->definer);

		mine->trusted = bms_add_members(mine->trusted, read->trusted);
	}
	into->calls = list_concat_unique_oid(into->calls, callee->calls);
}

/* current_setting('name'): a name of two parts is any client's to set. */
static void
add_setting_call(Reader *reader, FuncExpr *call)
{
	Node	   *name = cozi_strip(linitial(call->args));

	reader->into->identity = true;
	if (IsA(name, Const) && !((Const *) name)->constisnull &&
		((Const *) name)->consttype == TEXTOID)
		cozi_add_setting(reader->into, TextDatumGetCString(((Const *) name)->constvalue));
}

/* Trust the column that stands for a truth, or is compared with a constant. */
static void
trust(Reader *reader, Node *node)
{
	Var		   *var = (Var *) cozi_strip(node);
	Query	   *query;
	RangeTblEntry *rte;

	if (!IsA(var, Var) || var->varlevelsup >= list_length(reader->queries) || var->varattno <= 0)
		return;
	query = list_nth(reader->queries, var->varlevelsup);
	if (var->varno > list_length(query->rtable))
		return;
	rte = list_nth(query->rtable, var->varno - 1);
	if (rte->rtekind == RTE_RELATION)
	{
		CoziRead   *read = cozi_read_of(reader->into, rte->relid, InvalidOid, false);

		read->trusted = bms_add_member(read->trusted, var->varattno);
	}
}

/* A condition's own columns: bare, or against what no row and no caller has. */
static void
trust_condition(Reader *reader, Node *node)
{
	List	   *args = NIL;
	ListCell   *cell;

	if (IsA(node, OpExpr))
		args = ((OpExpr *) node)->args;
	else if (IsA(node, ScalarArrayOpExpr))
		args = ((ScalarArrayOpExpr *) node)->args;
	else if (IsA(node, BoolExpr))
	{
		foreach(cell, ((BoolExpr *) node)->args)
			trust(reader, lfirst(cell));
		return;
	}
	else if (IsA(node, BooleanTest))
	{
		trust(reader, (Node *) ((BooleanTest *) node)->arg);
		return;
	}
	if (list_length(args) != 2)
		return;
	for (int i = 0; i < 2; i++)
	{
		Node	   *other = cozi_strip(list_nth(args, 1 - i));

		if (IsA(other, Const) || IsA(other, ArrayExpr))
			trust(reader, list_nth(args, i));
	}
}

static bool read_walker(Node *node, Reader *reader);

/* A query below a condition, or of a body. */
static bool
read_query(Query *query, Reader *reader, bool answers)
{
	ListCell   *cell;
	bool		result;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);

		if (rte->rtekind == RTE_RELATION && rte->relkind != RELKIND_COMPOSITE_TYPE)
			(void) cozi_read_of(reader->into, rte->relid, InvalidOid, false);
	}
	reader->queries = lcons(query, reader->queries);
	if (query->jointree != NULL && query->jointree->quals != NULL)
		trust(reader, query->jointree->quals);
	if (answers)
		foreach(cell, query->targetList)
			trust(reader, (Node *) ((TargetEntry *) lfirst(cell))->expr);
	result = query_tree_walker(query, read_walker, reader, 0);
	reader->queries = list_delete_first(reader->queries);
	return result;
}

static bool
add_call(Oid funcid, void *context)
{
	Reader	   *reader = context;

	if (get_func_namespace(funcid) != PG_CATALOG_NAMESPACE)
		cozi_add_callee(reader->functions, reader->into, funcid);
	return false;
}

static bool
read_walker(Node *node, Reader *reader)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return read_query((Query *) node, reader, false);
	if (IsA(node, SubLink))
	{
		SubLink    *sublink = (SubLink *) node;

		if (read_walker(sublink->testexpr, reader))
			return true;
		return read_query(castNode(Query, sublink->subselect), reader,
						  sublink->subLinkType == EXPR_SUBLINK);
	}
	if (IsA(node, SQLValueFunction))
	{
		SQLValueFunctionOp op = ((SQLValueFunction *) node)->op;

		if (op >= SVFOP_CURRENT_ROLE && op <= SVFOP_SESSION_USER)
			reader->into->identity = true;
		return false;
	}
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;

		if (call->funcid == F_CURRENT_SETTING_TEXT || call->funcid == F_CURRENT_SETTING_TEXT_BOOL)
			add_setting_call(reader, call);
	}
	if (IsA(node, Const) && ((Const *) node)->consttype == TEXTOID &&
		!((Const *) node)->constisnull)
	{
		char	   *string = TextDatumGetCString(((Const *) node)->constvalue);

		if (strcmp(string, "user_metadata") == 0 || strcmp(string, "raw_user_meta_data") == 0)
			reader->into->metadata = true;
		return false;
	}
	check_functions_in_node(node, add_call, reader);
	trust_condition(reader, node);
	return expression_tree_walker(node, read_walker, (void *) reader);
}

/* Add what a tree reads: a condition, a query, or lists of them. */
void
cozi_read_tree(HTAB *functions, Node *tree, CoziFunction *into)
{
	Reader		reader = {.functions = functions,.into = into};

	if (tree != NULL && IsA(tree, Query))
		(void) read_query((Query *) tree, &reader, true);
	else
		(void) read_walker(tree, &reader);
}

/* A body of the SQL standard: RETURN expression, or BEGIN ATOMIC. */
static void
read_standard_body(HTAB *functions, Node *body, CoziFunction *into)
{
	Reader		reader = {.functions = functions,.into = into};
	ListCell   *cell;

	if (IsA(body, List))
	{
		body = linitial((List *) body);
		if (body != NULL && IsA(body, List))
			foreach(cell, (List *) body)
				if (IsA(lfirst(cell), Query))
				(void) read_query(lfirst(cell), &reader, true);
		return;
	}
	if (IsA(body, Query))
	{
		Query	   *query = (Query *) body;

		into->simple = query->commandType == CMD_SELECT && query->rtable == NIL &&
			query->jointree->quals == NULL && !query->hasSubLinks;
		(void) read_query(query, &reader, true);
	}
}

/* What the system and this extension bring is known by its name. */
static bool
is_foreign(Form_pg_proc proc, CoziFunction *into)
{
	if (proc->pronamespace == cozi_schema())
	{
		into->identity = proc->provolatile != PROVOLATILE_IMMUTABLE;
		return true;
	}
	if (proc->pronamespace == PG_CATALOG_NAMESPACE)
	{
		into->identity = proc->oid == F_CURRENT_SETTING_TEXT ||
			proc->oid == F_CURRENT_SETTING_TEXT_BOOL;
		return true;
	}
	return OidIsValid(getExtensionOfObject(ProcedureRelationId, proc->oid));
}

static void
read_function(HTAB *functions, HeapTuple tuple, CoziFunction *into)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	char	   *schema = get_namespace_name(proc->pronamespace);
	bool		isnull;
	Datum		body;

	into->definer = proc->prosecdef;
	/* functions of that schema tell who calls, whatever they are made of */
	if (schema != NULL && strcmp(schema, "auth") == 0 && proc->pronargs == 0)
		into->identity = true;
	if (is_foreign(proc, into))
		return;
	if (proc->prolang != SQLlanguageId && proc->prolang != get_language_oid("plpgsql", true))
	{
		into->unreadable = true;
		into->identity |= proc->prolang != ClanguageId && proc->prolang != INTERNALlanguageId;
		return;
	}
	body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull)
	{
		Node	   *tree = cozi_tree(body);

		if (tree != NULL)
			read_standard_body(functions, tree, into);
		into->unreadable = tree == NULL;
		return;
	}
	body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	if (!isnull)
		cozi_read_body(functions, proc->pronamespace, TextDatumGetCString(body), into);
	into->simple &= proc->prolang == SQLlanguageId;
}

static CoziFunction *
function_below(HTAB *functions, Oid funcid, int depth)
{
	bool		found;
	CoziFunction *function = hash_search(functions, &funcid, HASH_ENTER, &found);
	HeapTuple	tuple;

	if (found)
		return function;
	memset(function, 0, sizeof(CoziFunction));
	function->funcid = funcid;
	function->depth = depth;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	if (HeapTupleIsValid(tuple))
	{
		read_function(functions, tuple, function);
		ReleaseSysCache(tuple);
	}
	function->ready = true;
	return function;
}

/* The function, read once for each table of functions. */
CoziFunction *
cozi_function(HTAB *functions, Oid funcid)
{
	return function_below(functions, funcid, 0);
}
