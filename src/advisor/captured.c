/*
 * advisor/captured.c
 *		Texts of statements, as pg_stat_statements keeps them.
 *
 * The law: a captured text is parsed by the grammar, and nothing more; and none
 * raises an error: what is no statement gives no rows.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "advisor/advisor.h"

/* The text with a string for each parameter: interval $1 is no SQL. */
static char *
with_strings(const char *text)
{
	int			count;
	CoziToken  *tokens = cozi_tokens(text, &count);
	StringInfoData result;

	initStringInfo(&result);
	for (int i = 0; i < count; i++)
	{
		CoziToken  *token = &tokens[i];

		if (token->kind == COZI_TOKEN_STRING)
			appendStringInfo(&result, " %s", quote_literal_cstr(token->text));
		else if (token->kind == COZI_TOKEN_QUOTED)
			appendStringInfo(&result, " %s", quote_identifier(token->text));
		else if (token->kind == COZI_TOKEN_WORD)
			appendStringInfo(&result, " %s", token->text);
		else if (token->text[0] == '$' && i + 1 < count && isdigit((unsigned char)
																   tokens[i + 1].text[0]))
		{
			appendStringInfoString(&result, " ''");
			while (i + 1 < count && isdigit((unsigned char) tokens[i + 1].text[0]))
				i++;
		}
		else
			appendStringInfoString(&result, token->text);
	}
	return result.data;
}

/*
 * False where the text is no SQL.  The grammar takes no lock and reads no
 * catalog: its error leaves nothing that a transaction would have to undo.
 */
static bool
read_captured(ReturnSetInfo *result, const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool read = true;

	PG_TRY();
	{
		cozi_put_predicates(result, raw_parser(text, RAW_PARSE_DEFAULT));
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category == ERRCODE_INSUFFICIENT_RESOURCES ||
			category == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		read = false;
	}
	PG_END_TRY();
	return read;
}

PG_FUNCTION_INFO_V1(cozi_statement_predicates);

/* _statement_predicates(query text) -> setof (level, ref, schema, ...) */
Datum
cozi_statement_predicates(PG_FUNCTION_ARGS)
{
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context,
				caller = CurrentMemoryContext;
	int			nestlevel = NewGUCNestLevel();

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(caller, "cozi statement", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	cozi_set_locally("escape_string_warning", "off");
	if (!read_captured(result, query))
		(void) read_captured(result, with_strings(query));
	AtEOXact_GUC(false, nestlevel);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_one_statement);

/* _one_statement(query text) -> boolean: and one that may be planned */
Datum
cozi_one_statement(PG_FUNCTION_ARGS)
{
	List	   *statements = raw_parser(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										RAW_PARSE_DEFAULT);
	Node	   *node;

	if (list_length(statements) != 1)
		PG_RETURN_BOOL(false);
	node = linitial_node(RawStmt, statements)->stmt;
	PG_RETURN_BOOL((IsA(node, SelectStmt) && ((SelectStmt *) node)->intoClause == NULL) ||
				   IsA(node, InsertStmt) || IsA(node, UpdateStmt) || IsA(node, DeleteStmt) ||
				   IsA(node, MergeStmt));
}
