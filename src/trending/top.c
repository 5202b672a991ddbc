/*
 * trending/top.c
 *		The top of a board, pending votes included.
 *
 * Everything is read in the snapshot of the calling statement, and never from the
 * view of the board, which is its owner's.  The caller needs SELECT on the board
 * and nothing else.  Where policies on the board hold for the caller, the board is
 * read as the caller, and what is only pending, which has no row yet that a
 * policy could judge, shows once it is folded.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/kept.h"
#include "trending/trending.h"

/*
 * $1 to $5: what is pending, as arrays; $6: the scope; $7: k; $8: how many rows
 * of the board may be among the first k, but are pending.  Of those first k + $8
 * rows at most $8 are pending, so that k are left.  The pending rows are added:
 * where policies hold, those of them that the caller sees.
 */
static char *
top_statement(const Kept *board, bool scoped, bool as_caller)
{
	bool		has_scope = kept_has(board, KEPT_SCOPE);
	char	   *item = cozi_kept_column_type(board->relation, "item");
	char	   *scope = has_scope ? cozi_kept_column_type(board->relation, "scope") : "";

	return cozi_statement(
						  "SELECT item::pg_catalog.text,"
						  " (pg_catalog.row_number() OVER ())::pg_catalog.int4, heat FROM ("
						  "SELECT {pick} FROM ("
						  "SELECT t.item, t.heat FROM (SELECT {key}, heat FROM {table} b WHERE "
						  "true {in_scope}"
						  " ORDER BY heat DESC, item DESC {limit}) t"
						  " WHERE NOT EXISTS (SELECT FROM {rows} WHERE {match_scope}"
						  "  g.item::{item} OPERATOR(pg_catalog.=) t.item)"
						  " UNION ALL"
						  " SELECT g.item::{item}, g.heat FROM {rows} {visible}"
						  " WHERE (g.ups OPERATOR(pg_catalog.<>) 0 OR g.downs "
						  "OPERATOR(pg_catalog.<>) 0)"
						  " {pending_scope}) u {group} ORDER BY heat DESC, item DESC LIMIT $7) r",
						  "pick", has_scope && !scoped ? "item, pg_catalog.max(heat) AS heat"
						  : "item, heat",
						  "group", has_scope && !scoped ? "GROUP BY item" : "",
						  "key", cozi_kept_key_columns(board),
						  "table", cozi_qualified_name(board->relation),
						  "in_scope", scoped ?
						  psprintf("AND b.scope OPERATOR(pg_catalog.=) $6::%s", scope) : "",
	/* an item of several scopes comes once: all are looked at */
						  "limit", has_scope && !scoped ? "" :
						  "LIMIT $7::pg_catalog.int8 OPERATOR(pg_catalog.+) $8",
						  "rows", cozi_kept_arrays_as_rows(board),
						  "match_scope", has_scope ?
						  psprintf("g.scope::%s OPERATOR(pg_catalog.=) t.scope AND", scope) : "",
						  "item", item,
						  "visible", !as_caller ? "" : has_scope ?
						  psprintf("JOIN %s b ON b.item OPERATOR(pg_catalog.=) g.item::%s"
								   " AND b.scope OPERATOR(pg_catalog.=) g.scope::%s",
								   cozi_qualified_name(board->relation), item, scope) :
						  psprintf("JOIN %s b ON b.item OPERATOR(pg_catalog.=) g.item::%s",
								   cozi_qualified_name(board->relation), item),
						  "pending_scope", scoped ?
						  psprintf("AND g.scope::%s OPERATOR(pg_catalog.=) $6::%s", scope, scope)
						  : "",
						  NULL);
}

static void
check_arguments(FunctionCallInfo fcinfo, Kept *board)
{
	AclResult	acl;

	cozi_require_argument(fcinfo, 0, "board");
	cozi_require_argument(fcinfo, 1, "k");
	if (PG_GETARG_INT32(1) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be positive")));
	cozi_kept_get(PG_GETARG_OID(0), "board", board);
	acl = pg_class_aclcheck(board->relation, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(board->relation));
	if (!PG_ARGISNULL(2) && !kept_has(board, KEPT_SCOPE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("board \"%s\" has no scope", get_rel_name(board->relation)),
				 errhint("Leave the scope out.")));
}

/* Does the table have the columns that the statement is about to name? */
static void
check_shape(const Kept *board)
{
	char	   *misfit = get_rel_name(board->source) == NULL ? "its source is gone" :
	cozi_kept_misfit(board);

	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be read: %s", get_rel_name(board->relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_board().")));
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
	Kept		board;
	Oid			types[8];
	Datum		values[8];
	char		nulls[] = "        ";
	KeptPublicRow *rows;
	int			n;
	bool		as_caller;
	CoziSavedUser saved;

	InitMaterializedSRF(fcinfo, 0);
	check_arguments(fcinfo, &board);
	check_shape(&board);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	as_caller = check_enable_rls(board.relation, InvalidOid, false) == RLS_ENABLED;
	rows = cozi_kept_pending_rows(&board, &n, GetActiveSnapshot(),
								  GetCurrentStatementStartTimestamp());
	memcpy(types, cozi_kept_array_types(&board), 5 * sizeof(Oid));
	cozi_kept_arrays(&board, rows, n, values);
	types[5] = TEXTOID;
	values[5] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	nulls[5] = PG_ARGISNULL(2) ? 'n' : ' ';
	types[6] = INT8OID;
	values[6] = Int64GetDatum(PG_GETARG_INT32(1));
	types[7] = INT8OID;
	values[7] = Int64GetDatum(n);

	if (!as_caller)
		cozi_switch_to_owner(board.relation, &saved);
	if (SPI_execute_with_args(top_statement(&board, !PG_ARGISNULL(2), as_caller), 8, types, values,
							  nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the board");
	if (!as_caller)
		cozi_restore_user(&saved);
	cozi_return_rows(fcinfo);
	SPI_finish();
	return (Datum) 0;
}
