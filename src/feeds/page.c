/*
 * feeds/page.c
 *		Pages: cursor_encode(), cursor_decode(), and the condition of the next page.
 *
 * The condition is made of comparisons that one walk of a btree serves.  Of an
 * order a, b with a cursor ($1, $2):
 *
 *		same direction			(a, b) < ($1, $2)
 *		directions that differ	a <= $1 AND (a < $1 OR b > $2)
 *		a NULLS FIRST			the same OR ($1 IS NULL AND (a IS NOT NULL OR ...b))
 *		a NULLS LAST			the same OR (a IS NULL AND ($1 IS NOT NULL OR ...b))
 *
 * A parameter first stands beside its column, because PREPARE takes the type of
 * a parameter from there; the planner removes what a NULL or no NULL decides.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/base.h"

#define MOST_COLUMNS 8			/* the text doubles with each that may be NULL */

typedef enum SortNulls
{
	NULLS_NONE, NULLS_ARE_FIRST, NULLS_ARE_LAST
} SortNulls;

typedef struct SortColumn
{
	char	   *name;			/* quoted where it must be */
	bool		descends;
	SortNulls	nulls;
} SortColumn;

typedef struct SortOrder
{
	SortColumn	columns[MOST_COLUMNS];
	int			n;
} SortOrder;

PG_FUNCTION_INFO_V1(cozi_cursor_encode_sql);

/* cursor_encode(VARIADIC "any") -> text */
Datum
cozi_cursor_encode_sql(PG_FUNCTION_ARGS)
{
	Datum	   *values;
	bool	   *nulls;
	Oid		   *types;
	int			n = extract_variadic_args(fcinfo, 0, true, &values, &types, &nulls);

	if (n < 0)
		PG_RETURN_NULL();
	if (n > COZI_CURSOR_FIELDS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a cursor has at most %d values", COZI_CURSOR_FIELDS)));
	PG_RETURN_TEXT_P(cstring_to_text(cozi_cursor_encode(values, nulls, types, n)));
}

PG_FUNCTION_INFO_V1(cozi_cursor_decode_sql);

/* cursor_decode(cursor text) -> text[] */
Datum
cozi_cursor_decode_sql(PG_FUNCTION_ARGS)
{
	CoziCursorField *fields;
	int			n = cozi_cursor_decode(text_to_cstring(PG_GETARG_TEXT_PP(0)), &fields);
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	for (int i = 0; i < n; i++)
	{
		char	   *value = cozi_cursor_text(&fields[i]);

		state = accumArrayResult(state, value ? CStringGetTextDatum(value) : (Datum) 0,
								 value == NULL, TEXTOID, CurrentMemoryContext);
	}
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}

static void
bad_order(const char *element)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a column to order by", element),
			 errhint("Write the column's name, then ASC or DESC, then NULLS FIRST or "
					 "NULLS LAST if it may be NULL.")));
}

/* A name of a column, with or without those of table and schema, as SQL reads it. */
static const char *
read_column_name(const char *from, StringInfo name)
{
	for (;;)
	{
		StringInfoData part;

		initStringInfo(&part);
		if (*from == '"')
		{
			for (from++; *from != '"' || from[1] == '"'; from++)
			{
				if (*from == '\0')
					return NULL;
				from += *from == '"';
				appendStringInfoChar(&part, *from);
			}
			from++;
		}
		else
			while (isalnum((unsigned char) *from) || *from == '_' || *from == '$' ||
				   IS_HIGHBIT_SET(*from))
				appendStringInfoChar(&part, pg_tolower((unsigned char) *from++));
		if (part.len == 0 || isdigit((unsigned char) part.data[0]))
			return NULL;
		appendStringInfoString(name, quote_identifier(part.data));
		if (*from != '.')
			return from;
		appendStringInfoChar(name, *from++);
	}
}

/* Is this the next word?  Then *from is moved beyond it. */
static bool
take_word(const char **from, const char *word)
{
	const char *at = *from;
	int			len = strlen(word);

	while (isspace((unsigned char) *at))
		at++;
	if (at == *from || pg_strncasecmp(at, word, len) != 0 || isalnum((unsigned char) at[len]) ||
		at[len] == '_')
		return false;
	*from = at + len;
	return true;
}

static void
read_column(const char *element, SortColumn *column)
{
	const char *at = element + strspn(element, " \t\n");
	StringInfoData name;

	initStringInfo(&name);
	at = read_column_name(at, &name);
	if (at == NULL)
		bad_order(element);
	column->name = name.data;
	column->descends = take_word(&at, "DESC");
	if (!column->descends)
		(void) take_word(&at, "ASC");
	column->nulls = NULLS_NONE;
	if (take_word(&at, "NULLS"))
	{
		column->nulls = take_word(&at, "FIRST") ? NULLS_ARE_FIRST : NULLS_ARE_LAST;
		if (column->nulls == NULLS_ARE_LAST && !take_word(&at, "LAST"))
			bad_order(element);
	}
	if (at[strspn(at, " \t\n")] != '\0')
		bad_order(element);
}

/* Columns from first on that one row comparison compares, the first as if not NULL. */
static int
run_end(const SortOrder *order, int first)
{
	int			end = first + 1;

	while (end < order->n && order->columns[end].nulls == NULLS_NONE &&
		   order->columns[end].descends == order->columns[first].descends)
		end++;
	return end;
}

static char *
comparison(const SortOrder *order, int first, int end, bool or_equal)
{
	StringInfoData left;
	StringInfoData right;
	bool		row = end - first > 1;

	initStringInfo(&left);
	initStringInfo(&right);
	for (int i = first; i < end; i++)
	{
		appendStringInfo(&left, "%s%s", i > first ? ", " : "", order->columns[i].name);
		appendStringInfo(&right, "%s$%d", i > first ? ", " : "", i + 1);
	}
	return psprintf(row ? "(%s) %s%s (%s)" : "%s %s%s %s", left.data,
					order->columns[first].descends ? "<" : ">", or_equal ? "=" : "", right.data);
}

static char *after_columns(const SortOrder *order, int first);

/* After the cursor in the columns from first on, of which the first is not NULL. */
static char *
after_known(const SortOrder *order, int first)
{
	int			end = run_end(order, first);

	if (end == order->n)
		return comparison(order, first, end, false);
	return psprintf("(%s AND (%s OR %s))", comparison(order, first, end, true),
					comparison(order, first, end, false), after_columns(order, end));
}

/* After the cursor in the columns from first on. */
static char *
after_columns(const SortOrder *order, int first)
{
	const SortColumn *column = &order->columns[first];
	char	   *known = after_known(order, first);
	char	   *rest;

	if (column->nulls == NULLS_NONE)
		return known;
	rest = first + 1 == order->n ? "" : psprintf(" OR %s", after_columns(order, first + 1));
	if (column->nulls == NULLS_ARE_LAST)
		return psprintf("(%s OR (%s IS NULL AND ($%d IS NOT NULL%s)))",
						known, column->name, first + 1, rest);
	return psprintf("(%s OR ($%d IS NULL AND (%s IS NOT NULL%s)))",
					known, first + 1, column->name, rest);
}

PG_FUNCTION_INFO_V1(cozi_page_sql);

/* page_sql(order_by text[]) -> text */
Datum
cozi_page_sql(PG_FUNCTION_ARGS)
{
	Datum	   *elements;
	bool	   *nulls;
	SortOrder	order;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &order.n);
	if (order.n < 1 || order.n > MOST_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("order_by must have 1 to %d columns", MOST_COLUMNS)));
	for (int i = 0; i < order.n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"order_by\" must not have a null element")));
		read_column(TextDatumGetCString(elements[i]), &order.columns[i]);
	}
	PG_RETURN_TEXT_P(cstring_to_text(after_columns(&order, 0)));
}
