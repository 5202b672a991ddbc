/*
 * trending/top.c
 *		The top of a board, pending votes included.
 *
 * Everything is read in the snapshot of the calling statement.  The caller
 * needs SELECT on the board and nothing else: what is pending is read as the
 * board's owner.  Where policies on the board hide rows from the caller, the
 * board decides what he may see: candidates are read as the caller, as many
 * more than k as there are items with pending votes, and only those ranked.
 * An item whose very first votes are pending has no row yet that a policy
 * could judge, and shows once they are folded.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "base/base.h"
#include "trending/board.h"

static char *
column_type_name(Oid relid, const char *column)
{
	return format_type_extended(get_atttype(relid, get_attnum(relid, column)), -1,
								FORMAT_TYPE_FORCE_QUALIFY);
}

/* " AND scope = $1" where the caller named one, its text read as the column's type. */
static char *
scope_condition(const Board *board, bool given)
{
	if (!given)
		return "";
	return psprintf(" AND scope OPERATOR(pg_catalog.=) $1::%s", column_type_name(board->board, "scope"));
}

static void
select_rows(char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the board");
}

/* What the caller may see of the board that can be among the first k. */
static Datum
visible_candidates(const Board *board, int k, bool scoped, Datum scope)
{
	const char *key = board_has_scope(board) ? "ROW(scope, item)" : "ROW(item)";
	Oid			types[] = {TEXTOID, TEXTARRAYOID};
	Datum		values[] = {scope, (Datum) 0};
	char		nulls[] = {scoped ? ' ' : 'n', ' ', '\0'};
	SavedUser	saved;
	bool		isnull;
	uint64		pending;

	become_owner(board->board, &saved);
	select_rows(psprintf("SELECT coalesce(pg_catalog.array_agg(DISTINCT (%s)::pg_catalog.text), '{}')"
						 " FROM %s WHERE (due IS NULL OR due <= pg_catalog.statement_timestamp())%s",
						 key, qualified_name(board->delta), scope_condition(board, scoped)),
				1, types, values, nulls);
	become_again(&saved);
	values[1] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	pending = ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(values[1])),
							 ARR_DIMS(DatumGetArrayTypeP(values[1])));

	select_rows(psprintf("SELECT coalesce(pg_catalog.array_agg(k), '{}') FROM ("
						 "(SELECT (%s)::pg_catalog.text AS k FROM %s WHERE true%s"
						 " ORDER BY heat DESC, item DESC LIMIT " UINT64_FORMAT ")"
						 " UNION SELECT (%s)::pg_catalog.text FROM %s"
						 " WHERE (%s)::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)) c",
						 key, qualified_name(board->board), scope_condition(board, scoped), pending + k,
						 key, qualified_name(board->board), key),
				2, types, values, nulls);
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
}

PG_FUNCTION_INFO_V1(cozi_top);

/*
 * top(board regclass, k int, scope text) -> setof (item text, rank int, heat float8)
 *
 * NULL scope: the whole board.
 */
Datum
cozi_top(PG_FUNCTION_ARGS)
{
	Board		board;
	int			k;
	bool		scoped = !PG_ARGISNULL(2);
	Oid			types[] = {TEXTOID, TEXTARRAYOID};
	Datum		values[] = {(Datum) 0, (Datum) 0};
	char		nulls[] = {'n', 'n', '\0'};
	SavedUser	saved;
	AclResult	acl;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("arguments \"board\" and \"k\" must not be null")));
	k = PG_GETARG_INT32(1);
	if (k <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be positive")));
	get_board(PG_GETARG_OID(0), &board);
	acl = pg_class_aclcheck(board.board, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(board.board));
	if (scoped && !board_has_scope(&board))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("board \"%s\" has no scope", get_rel_name(board.board)),
				 errhint("Leave the scope out.")));
	if (scoped)
	{
		values[0] = PG_GETARG_DATUM(2);
		nulls[0] = ' ';
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (check_enable_rls(board.board, InvalidOid, false) == RLS_ENABLED)
	{
		values[1] = visible_candidates(&board, k, scoped, values[0]);
		nulls[1] = ' ';
	}
	become_owner(board.board, &saved);
	select_rows(psprintf("SELECT item, (pg_catalog.row_number() OVER ())::pg_catalog.int4, heat FROM ("
						 "SELECT item::pg_catalog.text AS item, heat FROM %s WHERE true%s%s"
						 " ORDER BY heat DESC, %s.item DESC LIMIT %d) t",
						 qualified_name(board.live), scope_condition(&board, scoped),
						 nulls[1] == 'n' ? "" :
						 board_has_scope(&board) ?
						 " AND (ROW(scope, item))::pg_catalog.text = ANY ($2)" :
						 " AND (ROW(item))::pg_catalog.text = ANY ($2)",
						 quote_identifier(get_rel_name(board.live)), k),
				2, types, values, nulls);
	become_again(&saved);
	return_rows(fcinfo);
	SPI_finish();
	return (Datum) 0;
}
