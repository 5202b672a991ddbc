/*
 * trending/rebuild.c
 *		Boards from their votes: filling, rebuilding, verifying.
 *
 * A rebuild holds the fold lock and does everything in one snapshot: the
 * votes that snapshot sees are recounted, the delta rows it sees are their
 * counts and go, and what commits later is in later delta rows, which stay.
 * So no voter waits, and readers see the old board until the commit.
 *
 * The law: the clock is read after the snapshot is taken.  A vote is counted
 * from its own instant on, and every vote the snapshot sees that is not dated
 * in the future must be in the past of that clock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
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
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/base.h"
#include "trending/trending.h"
#include "trending/board.h"

#define PROGRESS_ROWS	1000000

/* The fill that runs in this session, for its notices. */
static const char *filling = NULL;
static int64 filled = 0;

/* Called for each vote that a fill reads. */
void
board_progress(void)
{
	if (filling != NULL && ++filled % PROGRESS_ROWS == 0)
		ereport(NOTICE,
				(errmsg("board \"%s\": " INT64_FORMAT " votes counted", filling, filled)));
}

/* ---------------------------------------------------------------------
 * The votes in SQL
 * ---------------------------------------------------------------------
 */

/* The instant of a vote in SQL, as trending/count.c reads it. */
static char *
instant_expression(const Board *board)
{
	char	   *column = psprintf("v.%s", quote_identifier(NameStr(board->voted_at)));
	Oid			type = getBaseType(get_atttype(board->votes,
											   get_attnum(board->votes, NameStr(board->voted_at))));

	switch (type)
	{
		case TIMESTAMPOID:
			return psprintf("(%s AT TIME ZONE 'UTC')", column);
		case DATEOID:
			return psprintf("(CASE WHEN %s < '294276-12-31' THEN"
							" (%s)::pg_catalog.timestamp AT TIME ZONE 'UTC' END)", column, column);
		default:
			return column;
	}
}

/*
 * SELECT [scope,] item, weight, at: every vote that counts at all, once in
 * each of its scopes, with the given condition on at.
 */
static char *
source_query(const Board *board, const char *condition)
{
	char	   *item = psprintf("v.%s", quote_identifier(NameStr(board->item)));
	char	   *weight = board_has_weight(board) ?
	psprintf("v.%s", quote_identifier(NameStr(board->weight))) : "1";
	char	   *scope = "";
	char	   *join = "";
	char	   *scope_given = "";

	if (board_has_scope(board))
	{
		char	   *column = psprintf("v.%s", quote_identifier(NameStr(board->scope)));
		Oid			type = get_atttype(board->votes, get_attnum(board->votes, NameStr(board->scope)));

		if (OidIsValid(get_base_element_type(type)))
		{
			scope = "s.scope, ";
			join = psprintf(" CROSS JOIN LATERAL (SELECT DISTINCT e AS scope"
							" FROM pg_catalog.unnest(%s) e WHERE e IS NOT NULL) s", column);
		}
		else
		{
			scope = psprintf("%s AS scope, ", column);
			scope_given = psprintf(" AND %s IS NOT NULL", column);
		}
	}
	return psprintf("SELECT * FROM (SELECT %s%s AS item, (%s)::pg_catalog.int8 AS weight, %s AS at"
					" FROM %s v%s WHERE %s IS NOT NULL%s) v"
					" WHERE weight <> 0 AND at > '-infinity' AND at < 'infinity' AND at %s",
					scope, item, weight, instant_expression(board),
					qualified_name(board->votes), join, item, scope_given, condition);
}

/*
 * SELECT [scope,] item, ups, downs, heat: the board with what is pending at
 * the given instant.
 *
 * Its WHERE stands outside the UNION ALL so that the planner takes the board
 * itself for a member of it, and for ORDER BY heat DESC, item DESC LIMIT k
 * merges the board's index with the few items that have pending votes.
 */
char	   *
live_query(const Board *board, const char *now)
{
	const char *key = board_key(board);
	char	   *b = qualified_name(board->board);
	char	   *t = qualified_name(board->tally);
	char	   *d = qualified_name(board->delta);

	return psprintf("SELECT %s, ups, downs, heat FROM ("
					"SELECT %s, ups, downs, heat, false AS pending FROM %s"
					" UNION ALL"
					" SELECT %s, cozi._tally_ups(s.tally), cozi._tally_downs(s.tally),"
					"  cozi._tally_heat(s.tally, %.17g), true"
					" FROM (SELECT %s, cozi._tally_sum(tally) AS tally FROM %s"
					"  WHERE due IS NULL OR due <= %s GROUP BY %s) p,"
					" LATERAL (SELECT cozi._tally_add((SELECT t.tally FROM %s t"
					"  WHERE %st.item = p.item), p.tally) AS tally OFFSET 0) s) u"
					" WHERE CASE WHEN pending THEN ups <> 0 OR downs <> 0"
					" ELSE (%s) NOT IN (SELECT %s FROM %s WHERE due IS NULL OR due <= %s) END",
					key, key, b, key, board->down_weight,
					key, d, now, key, t, board_has_scope(board) ? "t.scope = p.scope AND " : "",
					key, key, d, now);
}

/* ---------------------------------------------------------------------
 * Filling
 * ---------------------------------------------------------------------
 */

/* Run a statement in the given snapshot, $1 the clock and $2 the half-life. */
static void
run_at(Snapshot snapshot, TimestampTz clock, const Board *board, char *sql)
{
	Oid			types[] = {TIMESTAMPTZOID, INTERVALOID};
	Datum		values[] = {TimestampTzGetDatum(clock), IntervalPGetDatum(&board->half_life)};
	SPIPlanPtr	plan = SPI_prepare(sql, 2, types);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare returned %s for: %s", SPI_result_code_string(SPI_result), sql);
	if (SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot, false, true, 0) < 0)
		elog(ERROR, "could not run: %s", sql);
	SPI_freeplan(plan);
}

/*
 * Empty a board and fill it from its votes; SPI is connected and the fold
 * lock held, or nobody else knows the board.
 */
void
fill_board(const Board *board)
{
	const char *key = board_key(board);
	char	   *b = qualified_name(board->board);
	char	   *t = qualified_name(board->tally);
	char	   *d = qualified_name(board->delta);
	Snapshot	snapshot;
	TimestampTz clock;
	SavedUser	saved;

	become_owner(board->board, &saved);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	clock = GetCurrentTimestamp();
	filling = get_rel_name(board->board);
	filled = 0;
	PG_TRY();
	{
		run_at(snapshot, clock, board, psprintf("DELETE FROM %s", d));
		run_at(snapshot, clock, board, psprintf("DELETE FROM %s", t));
		run_at(snapshot, clock, board, psprintf("DELETE FROM %s", b));
		/* in the order of the key: neighbours in time are neighbours on disk */
		run_at(snapshot, clock, board,
			   psprintf("INSERT INTO %s (%s, tally) SELECT %s, cozi._tally_of(weight, at, $2)"
						" FROM (%s) v GROUP BY %s ORDER BY %s",
						t, key, key, source_query(board, "<= $1"), key, key));
		run_at(snapshot, clock, board,
			   psprintf("INSERT INTO %s (%s, ups, downs, heat) SELECT %s, cozi._tally_ups(tally),"
						" cozi._tally_downs(tally), cozi._tally_heat(tally, %.17g) FROM %s ORDER BY %s",
						b, key, key, board->down_weight, t, key));
		run_at(snapshot, clock, board,
			   psprintf("INSERT INTO %s (%s, tally, due, queued)"
						" SELECT %s, cozi._tally_of(weight, at, $2), at, $1 FROM (%s) v GROUP BY %s, at",
						d, key, key, source_query(board, "> $1"), key));
	}
	PG_FINALLY();
	{
		filling = NULL;
	}
	PG_END_TRY();
	UnregisterSnapshot(snapshot);
	become_again(&saved);
}

PG_FUNCTION_INFO_V1(cozi_rebuild_board);
PG_FUNCTION_INFO_V1(cozi_set_half_life);

/*
 * rebuild_board(board regclass) -> void
 */
Datum
cozi_rebuild_board(PG_FUNCTION_ARGS)
{
	Board		board;

	refuse_old_snapshot("rebuild_board");
	get_own_board(PG_GETARG_OID(0), &board);
	(void) lock_fold(board.board, true);
	/* it may have been dropped, or changed, while we waited */
	get_own_board(PG_GETARG_OID(0), &board);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fill_board(&board);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * set_half_life(board regclass, half_life interval) -> void
 *
 * Octaves are made of half-lives: no vote may be counted by the old one once
 * the board is filled by the new one, so voters wait.
 */
Datum
cozi_set_half_life(PG_FUNCTION_ARGS)
{
	Board		board;
	Oid			types[] = {OIDOID, INTERVALOID};
	Datum		values[2];
	SavedUser	saved;

	(void) cozi_half_life(PG_GETARG_INTERVAL_P(1));
	refuse_old_snapshot("set_half_life");
	get_own_board(PG_GETARG_OID(0), &board);
	LockRelationOid(board.votes, ShareRowExclusiveLock);
	(void) lock_fold(board.board, true);
	get_own_board(PG_GETARG_OID(0), &board);
	board.half_life = *PG_GETARG_INTERVAL_P(1);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	values[0] = ObjectIdGetDatum(board.board);
	values[1] = IntervalPGetDatum(&board.half_life);
	become_owner(config_relid(), &saved);
	if (SPI_execute_with_args("UPDATE cozi.board_config SET half_life = $2 WHERE board = $1",
							  2, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update cozi.board_config");
	become_again(&saved);
	boards_changed(board.votes);
	fill_board(&board);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------
 * Verifying
 * ---------------------------------------------------------------------
 */

/* Put what SPI has selected into the function's result. */
void
return_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			natts = rsinfo->setDesc->natts;
	Datum	   *values = palloc(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int j = 0; j < natts; j++)
			values[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1, &nulls[j]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(cozi_verify_board);

/*
 * verify_board(board regclass)
 *		-> setof (item text, ups, downs, heat, true_ups, true_downs, true_heat, scope text)
 *
 * The recount is not of our tallies but of floats, by heat_agg: two ways to
 * the same figure.  They agree to 1e-9, and to the last bits of a heat too
 * large to hold that.
 */
Datum
cozi_verify_board(PG_FUNCTION_ARGS)
{
	Board		board;
	Oid			types[] = {INTERVALOID};
	Datum		values[1];
	SavedUser	saved;
	const char *key;
	const char *scope;

	InitMaterializedSRF(fcinfo, 0);
	get_own_board(PG_GETARG_OID(0), &board);
	key = board_key(&board);
	scope = board_has_scope(&board) ? "scope::pg_catalog.text" : "NULL::pg_catalog.text";
	values[0] = IntervalPGetDatum(&board.half_life);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	become_owner(board.board, &saved);
	if (SPI_execute_with_args(
							  psprintf("WITH clock AS MATERIALIZED (SELECT pg_catalog.clock_timestamp() AS now),"
									   " live AS (%s),"
									   " sums AS (SELECT %s,"
									   "  pg_catalog.sum(greatest(weight, 0)) AS ups, -pg_catalog.sum(least(weight, 0)) AS downs,"
									   "  cozi.heat_agg(weight, at, $1) FILTER (WHERE weight > 0) AS heat"
									   "  FROM (%s) v GROUP BY %s),"
									   " truth AS (SELECT %s, least(ups, 9223372036854775807)::bigint AS true_ups,"
									   "  least(downs, 9223372036854775807)::bigint AS true_downs,"
									   "  CASE WHEN ups = 0 THEN 0 ELSE coalesce(nullif(heat +"
									   "   ln((ups / (ups + %.17g * downs))::float8) / ln(2::float8), 0),"
									   "   2.2250738585072014e-308) END AS true_heat FROM sums)"
									   " SELECT item::pg_catalog.text, ups, downs, heat, true_ups, true_downs, true_heat, %s"
									   " FROM live FULL JOIN truth USING (%s)"
									   " WHERE ups IS DISTINCT FROM true_ups OR downs IS DISTINCT FROM true_downs"
									   " OR abs(heat - true_heat) > 1e-9 + 1e-15 * abs(true_heat)"
									   " ORDER BY %s",
									   live_query(&board, "(SELECT now FROM clock)"), key,
									   source_query(&board, "<= (SELECT now FROM clock)"), key,
									   key, board.down_weight, scope, key, key),
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not recount");
	become_again(&saved);
	return_rows(fcinfo);
	SPI_finish();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_board_pending);

/*
 * _board_pending(board regclass) -> (pending bigint, oldest_pending timestamptz, future bigint)
 *
 * For the view cozi.boards; NULLs for who is neither the owner nor pg_monitor.
 */
Datum
cozi_board_pending(PG_FUNCTION_ARGS)
{
	Board		board;
	SavedUser	saved;

	InitMaterializedSRF(fcinfo, 0);
	if (get_rel_name(PG_GETARG_OID(0)) == NULL ||
		!find_board(PG_GETARG_OID(0), &board) ||
		(!object_ownercheck(RelationRelationId, board.board, GetUserId()) &&
		 !has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)))
		return (Datum) 0;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	become_owner(board.board, &saved);
	if (SPI_execute(psprintf("SELECT count(*) FILTER (WHERE due), min(queued) FILTER (WHERE due),"
							 " count(*) FILTER (WHERE NOT due)"
							 " FROM (SELECT queued, due IS NULL OR due <= pg_catalog.statement_timestamp() AS due"
							 "  FROM %s) d", qualified_name(board.delta)), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the delta of \"%s\"", get_rel_name(board.board));
	become_again(&saved);
	return_rows(fcinfo);
	SPI_finish();
	return (Datum) 0;
}
