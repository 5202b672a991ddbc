/*
 * trending/verify.c
 *		Does a board equal a recount of its votes?
 *
 * The recount is not of tallies but of floats, by heat_agg(): two ways to the
 * same figure.  They agree to 1e-9, and to the last bits of a heat too large to
 * hold that.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/kept.h"
#include "trending/trending.h"

/* $1 to $5: what is pending, as arrays; $6: the clock; $7: the half-life. */
static char *
verify_statement(const Kept *board)
{
	bool		scoped = kept_has(board, KEPT_SCOPE);

	return cozi_statement(
						  "WITH pending AS (SELECT {pending_key}, {columns}, g.exists FROM {rows}),"
						  " live AS (SELECT {key}, ups, downs, heat FROM {table}"
						  "  WHERE ({key}) NOT IN (SELECT {key} FROM pending)"
						  "  UNION ALL SELECT {key}, ups, downs, heat FROM pending WHERE "
						  "\"exists\"),"
						  " sums AS (SELECT {key}, pg_catalog.sum(greatest(value, 0)) AS ups,"
						  "  -pg_catalog.sum(least(value, 0)) AS downs,"
						  "  {schema}.heat_agg(value, at, $7) FILTER (WHERE value > 0) AS heat"
						  "  FROM ({source}) v GROUP BY {key}),"
						  " truth AS (SELECT {key}, least(ups, 9223372036854775807)::bigint AS "
						  "true_ups,"
						  "  least(downs, 9223372036854775807)::bigint AS true_downs,"
						  "  CASE WHEN ups = 0 THEN 0 ELSE coalesce(nullif(heat +"
						  "   ln((ups / (ups + {down_weight} * downs))::float8) / ln(2::float8), "
						  "0),"
						  "   2.2250738585072014e-308) END AS true_heat FROM sums)"
						  " SELECT item::pg_catalog.text, ups, downs, heat, true_ups, true_downs, "
						  "true_heat,"
						  "  {scope} FROM live FULL JOIN truth USING ({key})"
						  " WHERE ups IS DISTINCT FROM true_ups OR downs IS DISTINCT FROM "
						  "true_downs"
						  " OR abs(heat - true_heat) > 1e-9 + 1e-15 * abs(true_heat) ORDER BY "
						  "{key}",
						  "pending_key", scoped ?
						  psprintf("g.scope::%s AS scope, g.item::%s AS item",
								   cozi_kept_column_type(board->relation, "scope"),
								   cozi_kept_column_type(board->relation, "item")) :
						  psprintf("g.item::%s AS item",
								   cozi_kept_column_type(board->relation, "item")),
						  "columns", cozi_kept_column_list(board, "g."),
						  "rows", "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
						  " pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
						  " pg_catalog.unnest($8)) g (scope, item, ups, downs, heat, \"exists\")",
						  "key", cozi_kept_key_columns(board),
						  "table", cozi_qualified_name(board->relation),
						  "schema", quote_identifier(get_namespace_name(cozi_schema())),
						  "source", cozi_kept_source_query(board, "AND at <= $6"),
						  "down_weight", psprintf("%.17g", board->down_weight),
						  "scope", scoped ? "scope::pg_catalog.text" : "NULL::pg_catalog.text",
						  NULL);
}

PG_FUNCTION_INFO_V1(cozi_verify_board);

/*
 * verify_board(board regclass)
 *		-> setof (item text, ups, downs, heat, true_ups, true_downs, true_heat, scope text)
 */
Datum
cozi_verify_board(PG_FUNCTION_ARGS)
{
	Kept		board;
	Oid			types[8];
	Datum		values[8];
	KeptPublicRow *rows;
	int			n;
	Snapshot	snapshot;
	TimestampTz now;
	CoziSavedUser saved;
	SPIPlanPtr	plan;

	InitMaterializedSRF(fcinfo, 0);
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &board);
	cozi_kept_lock_source(board.source, AccessShareLock);
	LockRelationOid(board.relation, AccessShareLock);
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &board);
	if (cozi_kept_misfit(&board) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be verified: %s", get_rel_name(board.relation),
						cozi_kept_misfit(&board)),
				 errhint("Undo that, then call cozi.rebuild_board().")));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
								GetLatestSnapshot());
	now = GetCurrentTimestamp();
	rows = cozi_kept_pending_rows(&board, &n, snapshot, now);
	memcpy(types, cozi_kept_array_types(&board), 5 * sizeof(Oid));
	cozi_kept_arrays(&board, rows, n, values);
	types[5] = TIMESTAMPTZOID;
	values[5] = TimestampTzGetDatum(now);
	types[6] = INTERVALOID;
	values[6] = IntervalPGetDatum(&board.half_life);
	types[7] = BOOLARRAYOID;
	values[7] = cozi_kept_exists_array(rows, n);

	/*
	 * Names are looked up as the owner of the extension, since the owner of
	 * the board may have no privilege on our schema; the statement runs as
	 * the latter.
	 */
	cozi_switch_user(cozi_relation_owner(cozi_table("kept")), SECURITY_RESTRICTED_OPERATION,
					 &saved);
	plan = SPI_prepare(verify_statement(&board), 8, types);
	cozi_restore_user(&saved);
	if (plan == NULL)
		elog(ERROR, "could not prepare a recount");
	cozi_switch_to_owner(board.relation, &saved);
	(void) cozi_kept_plain_settings();
	if (SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot, true, false,
							 0) != SPI_OK_SELECT)
		elog(ERROR, "could not recount");
	cozi_restore_user(&saved);
	UnregisterSnapshot(snapshot);
	cozi_return_rows(fcinfo);
	SPI_finish();
	return (Datum) 0;
}
