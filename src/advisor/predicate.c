/*
 * advisor/predicate.c
 *		Which tables a statement names, and by which conditions it looks for rows.
 *
 * One row for each table, and for each condition on a column that an index could
 * serve:
 *
 *	kind		select, insert, update, delete: a table is named
 *				eq, range, like, contains, join: a column, or a function of it,
 *				is compared with a value, or with a column of another table
 *				null, notnull, true, false: a condition that has no value
 *				asc, desc: rows are asked for in that order, with a LIMIT
 *
 * A column without a name before it may be of any table of its query: there is
 * one row for each, and they have one term.
 *
 * The law: no name is looked up here, and nothing is analyzed or planned.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "advisor/advisor.h"

enum
{
	OUT_LEVEL, OUT_REF, OUT_SCHEMA, OUT_RELATION, OUT_TERM, OUT_ATTRIBUTE, OUT_FUNCTION, OUT_KIND,
	OUT_COLUMNS
};

/* One SELECT, INSERT, UPDATE or DELETE, and the query around it. */
typedef struct Level
{
	int			number;
	List	   *refs;			/* RangeVar *, or NULL: a subquery or a
								 * function */
	List	   *ctes;			/* char *: names that are no tables */
	struct Level *outer;
} Level;

typedef struct Statement
{
	ReturnSetInfo *result;
	Level	   *level;
	int			levels;
	int			terms;
} Statement;

static bool query_walker(Node *node, Statement *statement);

static void
put_predicate(Statement *statement, int ref, int term, const char *attribute, const char *function,
			  const char *kind)
{
	Level	   *level = statement->level;
	RangeVar   *table = list_nth(level->refs, ref);
	Datum		values[OUT_COLUMNS] = {0};
	bool		nulls[OUT_COLUMNS] = {0};

	values[OUT_LEVEL] = Int32GetDatum(level->number);
	values[OUT_REF] = Int32GetDatum(ref);
	nulls[OUT_SCHEMA] = table->schemaname == NULL;
	if (table->schemaname)
		values[OUT_SCHEMA] = CStringGetTextDatum(table->schemaname);
	values[OUT_RELATION] = CStringGetTextDatum(table->relname);
	values[OUT_TERM] = Int32GetDatum(term);
	nulls[OUT_ATTRIBUTE] = attribute == NULL;
	if (attribute)
		values[OUT_ATTRIBUTE] = CStringGetTextDatum(attribute);
	nulls[OUT_FUNCTION] = function == NULL;
	if (function)
		values[OUT_FUNCTION] = CStringGetTextDatum(function);
	values[OUT_KIND] = CStringGetTextDatum(kind);
	tuplestore_putvalues(statement->result->setResult, statement->result->setDesc, values, nulls);
}

/* A column, or one function of it; NULL where it is neither. */
static ColumnRef *
indexable(Node *node, char **function)
{
	*function = NULL;
	if (IsA(node, FuncCall))
	{
		FuncCall   *call = (FuncCall *) node;

		if (list_length(call->args) != 1 || call->agg_order || call->agg_filter || call->over ||
			call->agg_star || call->agg_distinct)
			return NULL;
		*function = strVal(llast(call->funcname));
		node = linitial(call->args);
	}
	return IsA(node, ColumnRef) && IsA(llast(((ColumnRef *) node)->fields), String)
		? (ColumnRef *) node : NULL;
}

/* Is that the name by which a query calls its table? */
static bool
is_called(const RangeVar * table, const char *schema, const char *name)
{
	if (table->alias != NULL)
		return schema == NULL && strcmp(table->alias->aliasname, name) == 0;
	return strcmp(table->relname, name) == 0 &&
		(schema == NULL || (table->schemaname && strcmp(table->schemaname, schema) == 0));
}

/* One condition: on the table that the column names, or on each of the query. */
static void
put_column(Statement *statement, ColumnRef * column, const char *function, const char *kind)
{
	int			parts = list_length(column->fields);
	const char *attribute = strVal(llast(column->fields));
	const char *table = parts > 1 ? strVal(list_nth(column->fields, parts - 2)) : NULL;
	const char *schema = parts > 2 ? strVal(list_nth(column->fields, parts - 3)) : NULL;
	int			term = statement->terms++;

	for (int i = 0; i < list_length(statement->level->refs); i++)
	{
		RangeVar   *ref = list_nth(statement->level->refs, i);

		if (ref != NULL && (table == NULL || is_called(ref, schema, table)))
			put_predicate(statement, i, term, attribute, function, kind);
	}
}

/* Does the expression have one value for the whole query? */
static bool
varies(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, ColumnRef) || raw_expression_tree_walker(node, varies, context);
}

static const char *
kind_of_operator(A_Expr * expr)
{
	static const char *const kinds[][2] = {
		{"=", "eq"}, {"<", "range"}, {"<=", "range"}, {">", "range"}, {">=", "range"},
		{"@>", "contains"}, {"&&", "contains"}, {"@@", "contains"}, {"?", "contains"},
		{"?|", "contains"}, {"?&", "contains"}
	};
	const char *name = strVal(llast(expr->name));

	switch (expr->kind)
	{
		case AEXPR_BETWEEN:
		case AEXPR_BETWEEN_SYM:
			return "range";
		case AEXPR_LIKE:
		case AEXPR_ILIKE:
			return strchr(name, '!') ? NULL : "like";
		case AEXPR_OP_ANY:
		case AEXPR_IN:
			return strcmp(name, "=") == 0 ? "eq" : NULL;
		case AEXPR_OP:
			for (int i = 0; i < lengthof(kinds); i++)
				if (strcmp(kinds[i][0], name) == 0)
					return kinds[i][1];
			return NULL;
		default:
			return NULL;
	}
}

static void
read_operator(Statement *statement, A_Expr * expr)
{
	const char *kind = kind_of_operator(expr);
	bool		commutes = expr->kind == AEXPR_OP && kind != NULL && strcmp(kind, "contains") != 0;
	ColumnRef  *left,
			   *right;
	char	   *left_function,
			   *right_function;

	if (kind == NULL || expr->lexpr == NULL || expr->rexpr == NULL)
		return;
	left = indexable(expr->lexpr, &left_function);
	right = commutes ? indexable(expr->rexpr, &right_function) : NULL;
	if (left && !varies(expr->rexpr, NULL))
		put_column(statement, left, left_function, kind);
	else if (right && !varies(expr->lexpr, NULL))
		put_column(statement, right, right_function, kind);
	else if (left && right && strcmp(kind, "eq") == 0)
	{
		put_column(statement, left, left_function, "join");
		put_column(statement, right, right_function, "join");
	}
}

/* What must be true of a row: the conditions that AND connects. */
static void
read_condition(Statement *statement, Node *node)
{
	ColumnRef  *column;
	char	   *function;
	ListCell   *cell;

	if (node == NULL)
		return;
	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_BoolExpr:
			if (((BoolExpr *) node)->boolop == AND_EXPR)
				foreach(cell, ((BoolExpr *) node)->args)
					read_condition(statement, lfirst(cell));
			else if (((BoolExpr *) node)->boolop == NOT_EXPR)
			{
				column = indexable(linitial(((BoolExpr *) node)->args), &function);
				if (column && !function)
					put_column(statement, column, NULL, "false");
			}
			break;
		case T_A_Expr:
			read_operator(statement, (A_Expr *) node);
			break;
		case T_ColumnRef:
			column = indexable(node, &function);
			if (column)
				put_column(statement, column, NULL, "true");
			break;
		case T_NullTest:
			column = indexable((Node *) ((NullTest *) node)->arg, &function);
			if (column && !function)
				put_column(statement, column, NULL,
						   ((NullTest *) node)->nulltesttype == IS_NULL ? "null" : "notnull");
			break;
		default:
			break;
	}
}

/* Does the query call something else by that name? */
static bool
is_renamed(SelectStmt * select, const char *name)
{
	ListCell   *cell;

	foreach(cell, select->targetList)
	{
		ResTarget  *target = lfirst(cell);

		if (target->name && strcmp(target->name, name) == 0)
			return true;
	}
	return false;
}

static void
read_order(Statement *statement, SelectStmt * select)
{
	ListCell   *cell;

	if (select->limitCount == NULL || select->groupClause != NIL || select->distinctClause != NIL)
		return;
	foreach(cell, select->sortClause)
	{
		SortBy	   *sort = lfirst(cell);
		char	   *function;
		ColumnRef  *column = indexable(sort->node, &function);

		if (column == NULL || function || is_renamed(select, strVal(llast(column->fields))))
			return;
		put_column(statement, column, NULL, sort->sortby_dir == SORTBY_DESC ? "desc" : "asc");
	}
}

static bool
is_cte(const Level *level, const RangeVar * table)
{
	ListCell   *cell;

	if (table->schemaname != NULL)
		return false;
	for (; level != NULL; level = level->outer)
		foreach(cell, level->ctes)
			if (strcmp(lfirst(cell), table->relname) == 0)
			return true;
	return false;
}

/* The tables of FROM, and the conditions of its joins. */
static void
add_from(Statement *statement, Node *node, List **conditions)
{
	Level	   *level = statement->level;

	if (IsA(node, JoinExpr))
	{
		add_from(statement, ((JoinExpr *) node)->larg, conditions);
		add_from(statement, ((JoinExpr *) node)->rarg, conditions);
		*conditions = lappend(*conditions, ((JoinExpr *) node)->quals);
	}
	else if (IsA(node, RangeVar) && !is_cte(level, (RangeVar *) node))
		level->refs = lappend(level->refs, node);
	else
		level->refs = lappend(level->refs, NULL);
}

static void
read_level(Statement *statement, const char *kind, RangeVar * target, List *from, Node *where)
{
	List	   *conditions = list_make1(where);
	ListCell   *cell;

	if (target != NULL)
		add_from(statement, (Node *) target, &conditions);
	foreach(cell, from)
		add_from(statement, lfirst(cell), &conditions);
	for (int i = 0; i < list_length(statement->level->refs); i++)
		if (list_nth(statement->level->refs, i) != NULL)
			put_predicate(statement, i, -1, NULL, NULL, target != NULL && i == 0 ? kind : "select");
	foreach(cell, conditions)
		read_condition(statement, lfirst(cell));
}

static void
add_ctes(Level *level, WithClause * with)
{
	ListCell   *cell;

	if (with != NULL)
		foreach(cell, with->ctes)
			level->ctes = lappend(level->ctes, ((CommonTableExpr *) lfirst(cell))->ctename);
}

/* A query, and those in it. */
static bool
enter_query(Statement *statement, Node *node)
{
	Level		level = {.number = statement->levels++,.outer = statement->level};
	bool		result;

	check_stack_depth();
	statement->level = &level;
	if (IsA(node, SelectStmt))
	{
		SelectStmt *select = (SelectStmt *) node;

		add_ctes(&level, select->withClause);
		read_level(statement, NULL, NULL, select->fromClause, select->whereClause);
		read_order(statement, select);
	}
	else if (IsA(node, UpdateStmt))
	{
		UpdateStmt *update = (UpdateStmt *) node;

		add_ctes(&level, update->withClause);
		read_level(statement, "update", update->relation, update->fromClause, update->whereClause);
	}
	else if (IsA(node, DeleteStmt))
	{
		DeleteStmt *delete = (DeleteStmt *) node;

		add_ctes(&level, delete->withClause);
		read_level(statement, "delete", delete->relation, delete->usingClause,
				   delete->whereClause);
	}
	else
	{
		add_ctes(&level, ((InsertStmt *) node)->withClause);
		read_level(statement, "insert", ((InsertStmt *) node)->relation, NIL, NULL);
	}
	result = raw_expression_tree_walker(node, query_walker, statement);
	statement->level = level.outer;
	return result;
}

static bool
query_walker(Node *node, Statement *statement)
{
	if (node == NULL)
		return false;
	if (IsA(node, SelectStmt) || IsA(node, InsertStmt) || IsA(node, UpdateStmt) ||
		IsA(node, DeleteStmt))
		return enter_query(statement, node);
	return raw_expression_tree_walker(node, query_walker, statement);
}

/* The rows of parsed statements. */
void
cozi_put_predicates(ReturnSetInfo *result, List *statements)
{
	Statement	statement = {.result = result};
	ListCell   *cell;

	foreach(cell, statements)
	{
		Node	   *node = lfirst_node(RawStmt, cell)->stmt;

		CHECK_FOR_INTERRUPTS();
		if (IsA(node, SelectStmt) || IsA(node, InsertStmt) || IsA(node, UpdateStmt) ||
			IsA(node, DeleteStmt))
			(void) enter_query(&statement, node);
	}
}
