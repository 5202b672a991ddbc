/*
 * feeds/api.c
 *		api_function(): a wrapper for the schema of an API, printed.
 *
 * A call has its parameters in braces: {k int = 20}.  The statement is analyzed as
 * the body of the wrapper will be, and so says what the wrapper returns; nothing is
 * run.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/varlena.h"

#include "base/base.h"

#define MOST_PARAMETERS 32

typedef struct Wrapper
{
	StringInfoData parameters;	/* as CREATE FUNCTION declares them */
	StringInfoData call;		/* with $1, $2, ... */
	int			n;
	Oid			types[MOST_PARAMETERS];
	char	   *names[MOST_PARAMETERS];
} Wrapper;

static void
bad_parameter(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a parameter", text),
			 errhint("Write {name type} or {name type = default}, for example {k int = 20}.")));
}

/* A parameter that stands between braces: its number. */
static int
add_parameter(Wrapper *wrapper, char *text)
{
	char	   *whole = pstrdup(text);
	char	   *value = strchr(text, '=');
	char	   *type;
	int			len;
	int32		typmod;

	if (value != NULL)
		*value++ = '\0';
	text	  +=strspn(text, " ");

	len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (len == 0 || text[len] != ' ')
		bad_parameter(whole);
	type = text +len + 1;
	text[		len] = '\0';

	if (type[strspn(type, " ")] == '\0')
		bad_parameter(whole);
	for (int i = 0; i < wrapper->n; i++)
		if (strcmp(wrapper->names[i], text) == 0)
			return i + 1;
	if (wrapper->n == MOST_PARAMETERS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ARGUMENTS),
				 errmsg("a call has at most %d parameters", MOST_PARAMETERS)));
	parseTypeString_compat(type, &wrapper->types[wrapper->n], &typmod);
	wrapper->names[wrapper->n] = text;

	appendStringInfo(&wrapper->parameters, "%s%s %s", wrapper->n > 0 ? ", " : "",
					 quote_identifier(text),
					 format_type_be_qualified(wrapper->types[wrapper->n]));
	if (value != NULL)
		appendStringInfo(&wrapper->parameters, " = %s", value + strspn(value, " "));
	return ++wrapper->n;
}

/* The brace that closes a parameter, which may have a string with braces. */
static const char *
closing_brace(const char *at)
{
	bool		quoted = false;

	for (; *at != '\0' && (quoted || *at != '}'); at++)
		quoted ^= *at == '\'';
	return *at == '\0' ? NULL : at;
}

/* Replace the parameters by their numbers; a brace in a string is a brace. */
static void
read_wrapped(Wrapper *wrapper, const char *call)
{
	bool		quoted = false;

	while (*call != '\0')
	{
		const char *end = *call == '{' && !quoted ? closing_brace(call) : NULL;

		quoted ^= *call == '\'';
		if (end == NULL)
		{
			appendStringInfoChar(&wrapper->call, *call++);
			continue;
		}
		appendStringInfo(&wrapper->call, "$%d",
						 add_parameter(wrapper, pnstrdup(call + 1, end - call - 1)));
		call = end + 1;
	}
}

/* The analyzed result of a statement on the call. */
static TupleDesc
result_of(Wrapper *wrapper, const char *template)
{
	char	   *sql = cozi_statement(template, "call", wrapper->call.data, NULL);
	SPIPlanPtr	plan = SPI_prepare(sql, wrapper->n, wrapper->types);

	if (plan == NULL || list_length(SPI_plan_get_plan_sources(plan)) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the call is not a call of one function")));
	return ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))->resultDesc;
}

/* What the wrapper returns: rows of a table, or columns. */
static char *
result_type(Wrapper *wrapper)
{
	TupleDesc	row = result_of(wrapper, "SELECT r FROM {call} r");
	Oid			type = TupleDescAttr(row, 0)->atttypid;
	StringInfoData columns;
	TupleDesc	desc;

	if (type != RECORDOID && OidIsValid(get_typ_typrelid(type)))
		return psprintf("SETOF %s", format_type_be_qualified(type));
	desc = result_of(wrapper, "SELECT * FROM {call} r");
	if (type != RECORDOID)
		return psprintf("SETOF %s", format_type_be_qualified(type));
	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		appendStringInfo(&columns, "%s%s %s", i > 0 ? ", " : "",
						 quote_identifier(NameStr(column->attname)),
						 format_type_with_typemod(column->atttypid, column->atttypmod));
	}
	return psprintf("TABLE (%s)", columns.data);
}

PG_FUNCTION_INFO_V1(cozi_api_function);

/* api_function(name text, call text) -> text */
Datum
cozi_api_function(PG_FUNCTION_ARGS)
{
	char	   *schema;
	char	   *name;
	Wrapper		wrapper = {0};
	StringInfoData out;

	DeconstructQualifiedName(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)), &schema, &name);
	initStringInfo(&wrapper.parameters);
	initStringInfo(&wrapper.call);
	initStringInfo(&out);
	read_wrapped(&wrapper, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	appendStringInfo(&out, "CREATE FUNCTION %s(%s) RETURNS %s\n",
					 quote_qualified_identifier(schema, name), wrapper.parameters.data,
					 result_type(&wrapper));
	appendStringInfo(&out, "    LANGUAGE sql STABLE\nBEGIN ATOMIC\n    SELECT * FROM %s;\nEND",
					 wrapper.call.data);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}
