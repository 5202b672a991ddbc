/*
 * trending/top.c
 *		top(): the top of a board, page by page; and the arguments of top_rows().
 *
 * The caller needs SELECT on the board, and nothing else.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "kept/kept.h"
#include "trending/trending.h"

/* A cursor: the heat, the rank, the item. */
static char *
write_cursor(const TopItem *item, int64 rank)
{
	Datum		values[] = {Float8GetDatum(item->heat), Int64GetDatum(rank),
	CStringGetTextDatum(item->item)};
	bool		nulls[3] = {0};
	Oid			types[] = {FLOAT8OID, INT8OID, TEXTOID};

	return cozi_cursor_encode(values, nulls, types, 3);
}

/* An error of the column's type unless the text is one of its values. */
static void
check_text(const Kept *board, const char *column, char *text)
{
	Oid			type = get_atttype(board->relation, get_attnum(board->relation, column));
	Oid			input;
	Oid			ioparam;

	if (!OidIsValid(type))
		return;					/* the table has changed: another error says
								 * so */
	getTypeInputInfo(getBaseType(type), &input, &ioparam);
	(void) OidInputFunctionCall(input, text, ioparam, -1);
}

/* Anything that a client writes there is a place to begin after, or an error. */
static void
read_cursor(TopRequest *top, const char *cursor)
{
	CoziCursorField *fields;

	if (cozi_cursor_decode(cursor, &fields) != 3 || fields[0].kind != COZI_CURSOR_FLOAT ||
		fields[1].kind != COZI_CURSOR_INTEGER || fields[1].number < 0 ||
		fields[1].number > PG_INT32_MAX || fields[2].kind != COZI_CURSOR_TEXT)
		cozi_not_a_cursor(cursor);
	top->after_heat = DatumGetFloat8(cozi_cursor_value(&fields[0], FLOAT8OID));
	if (isnan(top->after_heat))
		cozi_not_a_cursor(cursor);
	top->after_rank = fields[1].number;
	top->after = cozi_cursor_text(&fields[2]);
	check_text(&top->board, "item", top->after);
}

static void
check_scopes(const TopRequest *top)
{
	Datum	   *scopes;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(top->scopes), TEXTOID, -1, false, TYPALIGN_INT,
					  &scopes, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			check_text(&top->board, "scope", TextDatumGetCString(scopes[i]));
}

static void
read_scopes(FunctionCallInfo fcinfo, int first, TopRequest *top)
{
	if (PG_ARGISNULL(first) && PG_ARGISNULL(first + 1))
		return;
	if (!PG_ARGISNULL(first) && !PG_ARGISNULL(first + 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope and scopes cannot both be given"),
				 errhint("Leave one of them out.")));
	if (!kept_has(&top->board, KEPT_SCOPE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("board \"%s\" has no scope", get_rel_name(top->board.relation)),
				 errhint("Leave the scope out.")));
	if (!PG_ARGISNULL(first + 1))
		top->scopes = PG_GETARG_DATUM(first + 1);
	else
	{
		Datum		scope = PG_GETARG_DATUM(first);

		top->scopes = PointerGetDatum(construct_array(&scope, 1, TEXTOID, -1, false,
													  TYPALIGN_INT));
	}
	check_scopes(top);
}

/* The arguments from first on: board, k, scope, scopes, after. */
void
cozi_top_arguments(FunctionCallInfo fcinfo, int first, TopRequest *top)
{
	AclResult	acl;

	cozi_require_argument(fcinfo, first, "board");
	cozi_require_argument(fcinfo, first + 1, "k");
	top->k = PG_GETARG_INT32(first + 1);
	if (top->k <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be positive")));
	cozi_kept_get(PG_GETARG_OID(first), "board", &top->board);
	acl = pg_class_aclcheck(top->board.relation, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(top->board.relation));
	LockRelationOid(top->board.relation, AccessShareLock);
	cozi_kept_get(PG_GETARG_OID(first), "board", &top->board);
	read_scopes(fcinfo, first + 2, top);
	if (!PG_ARGISNULL(first + 4))
		read_cursor(top, text_to_cstring(PG_GETARG_TEXT_PP(first + 4)));
}

PG_FUNCTION_INFO_V1(cozi_top);

/*
 * top(board regclass, k int, scope text, scopes text[], after text)
 *		-> setof (item text, rank int, heat float8, cursor text)
 *
 * NULL scope and scopes: the whole board.  NULL after: from the first place.
 */
Datum
cozi_top(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TopRequest	top = {0};
	TopItem    *items;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	cozi_top_arguments(fcinfo, 0, &top);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_top_open(&top);
	items = cozi_top_read(&top, top.k, &n);
	for (int i = 0; i < n; i++)
	{
		int64		rank = top.after_rank + i + 1;
		Datum		values[4];
		bool		nulls[4] = {0};

		if (rank > PG_INT32_MAX)
			break;
		values[0] = CStringGetTextDatum(items[i].item);
		values[1] = Int32GetDatum((int32) rank);
		values[2] = Float8GetDatum(items[i].heat);
		values[3] = CStringGetTextDatum(write_cursor(&items[i], rank));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
