/*
 * trending/board.c
 *		Boards: the kind of kept table that ranks items by their votes.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "kept/kept.h"
#include "trending/trending.h"

enum
{
	BOARD_UPS, BOARD_DOWNS, BOARD_HEAT
};

static void
board_init(void *sum)
{
	cozi_tally_init(sum);
}

static void
board_add_row(void *sum, const Kept *kept, const KeptRow *row, int times)
{
	cozi_tally_vote(sum, row->value, row->at, kept->half_life_us, times);
}

static void
board_add_stored(void *sum, const bytea *stored)
{
	cozi_tally_add(sum, stored);
}

static bytea *
board_store(const void *sum)
{
	return cozi_tally_encode(sum);
}

static bool
board_columns(const void *sum, const Kept *kept, Datum *values, bool *nulls)
{
	const Tally *tally = sum;

	memset(nulls, false, (BOARD_HEAT + 1) * sizeof(bool));

	values[BOARD_UPS] = Int64GetDatum(cozi_tally_whole(tally->ups, kept->unit));
	values[BOARD_DOWNS] = Int64GetDatum(cozi_tally_whole(tally->downs, kept->unit));
	values[BOARD_HEAT] = Float8GetDatum(cozi_tally_heat(tally, kept->unit, kept->down_weight));
	return tally->ups != 0 || tally->downs != 0;
}

static void
board_check(const Kept *kept)
{
	static const Oid items[] = {
		INT2OID, INT4OID, INT8OID, UUIDOID, TEXTOID, VARCHAROID, INT2ARRAYOID, INT4ARRAYOID,
		INT8ARRAYOID, UUIDARRAYOID, TEXTARRAYOID, VARCHARARRAYOID, InvalidOid
	};
	static const Oid weights[] = {INT2OID, INT4OID, INT8OID, InvalidOid};
	static const Oid times[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID, InvalidOid};

	cozi_kept_check_column(kept, KEPT_ITEM, "item", items,
						   "bigint, integer, smallint, uuid, text, varchar,"
						   " or an array of these");
	if (kept_has(kept, KEPT_VALUE))
		cozi_kept_check_column(kept, KEPT_VALUE, "weight", weights,
							   "bigint, integer, smallint");
	cozi_kept_check_column(kept, KEPT_AT, "time", times,
						   "timestamp with time zone, timestamp (read as UTC), date (UTC)");
	if (kept_has(kept, KEPT_SCOPE))
		cozi_kept_check_scope(kept);
}

const KeptKind cozi_board_kind = {
	.name = "board",
	.noun = "a board",
	.plural = "boards",
	.remove_source = "remove_source",
	.item = "item",
	.ncolumns = 3,
	.names = {"ups", "downs", "heat"},
	.types = {INT8OID, INT8OID, FLOAT8OID},
	.order = "heat",
	.sum_size = sizeof(Tally),
	.init = board_init,
	.add_row = board_add_row,
	.add_stored = board_add_stored,
	.store = board_store,
	.columns = board_columns,
	.check = board_check,
};

/* A timestamp without a zone where the session's zone, which now() fills in, is not UTC. */
static void
warn_of_zone(const Kept *kept)
{
	AttrNumber	attnum = get_attnum(kept->source, NameStr(kept->columns[KEPT_AT]));
	const char *zone = GetConfigOption("TimeZone", false, false);

	if (getBaseType(get_atttype(kept->source, attnum)) == TIMESTAMPOID &&
		strcmp(zone, "UTC") != 0 && strcmp(zone, "Etc/UTC") != 0 && strcmp(zone, "GMT") != 0)
		ereport(NOTICE,
				(errmsg("column \"%s\" of type timestamp is read as UTC, and TimeZone is \"%s\"",
						NameStr(kept->columns[KEPT_AT]), zone),
				 errhint("Where its values are local times, votes count hours late;"
						 " use timestamp with time zone.")));
}

static float8
checked_down_weight(float8 down_weight)
{
	if (!(down_weight >= 0) || isinf(down_weight))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("down_weight must be a finite number of at least 0")));
	return down_weight;
}

PG_FUNCTION_INFO_V1(cozi_create_board);

/*
 * create_board(board text, votes regclass, item name, weight name, voted_at name,
 *				scope name, half_life interval, down_weight float8,
 *				item_table regclass) -> regclass
 *
 * weight NULL: every vote weighs 1.  scope NULL: one ranking.  item_table NULL: no
 * computed relationship.  Everything else must be given.
 */
Datum
cozi_create_board(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"board", "votes", "item", NULL,
	"voted_at", NULL, "half_life", "down_weight"};
	static const KeptRole roles[] = {KEPT_ITEM, KEPT_VALUE, KEPT_AT, KEPT_SCOPE};
	Kept		kept = {.kind = &cozi_board_kind};

	for (int i = 0; i < lengthof(required); i++)
		if (required[i] != NULL)
			cozi_require_argument(fcinfo, i, required[i]);
	kept.source = PG_GETARG_OID(1);
	for (int i = 0; i < lengthof(roles); i++)
		if (!PG_ARGISNULL(i + 2))
			kept.columns[roles[i]] = *PG_GETARG_NAME(i + 2);
	kept.half_life = *PG_GETARG_INTERVAL_P(6);
	kept.half_life_us = cozi_half_life(&kept.half_life);
	kept.down_weight = checked_down_weight(PG_GETARG_FLOAT8(7));
	cozi_kept_refuse_old_snapshot("create_board");
	cozi_kept_create(&kept, text_to_cstring(PG_GETARG_TEXT_PP(0)),
					 PG_ARGISNULL(8) ? InvalidOid : PG_GETARG_OID(8));
	warn_of_zone(&kept);
	PG_RETURN_OID(kept.relation);
}

PG_FUNCTION_INFO_V1(cozi_drop_board);

/*
 * drop_board(board regclass) -> void: writers wait while it runs.
 */
Datum
cozi_drop_board(PG_FUNCTION_ARGS)
{
	cozi_kept_drop(PG_GETARG_OID(0), "board");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_rebuild_board);

/*
 * rebuild_board(board regclass) -> void
 */
Datum
cozi_rebuild_board(PG_FUNCTION_ARGS)
{
	cozi_kept_refuse_old_snapshot("rebuild_board");
	cozi_kept_rebuild(PG_GETARG_OID(0), "board");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_set_half_life);

/*
 * set_half_life(board regclass, half_life interval) -> void
 *
 * Octaves are made of half-lives: no vote may be counted by the old one once the
 * board is filled by the new one, so writers of all leaves wait.
 */
Datum
cozi_set_half_life(PG_FUNCTION_ARGS)
{
	Kept		kept;

	(void) cozi_half_life(PG_GETARG_INTERVAL_P(1));
	cozi_kept_refuse_old_snapshot("set_half_life");
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	(void) cozi_kept_lock(kept.id, true);
	cozi_kept_lock_sources(&kept, ShareRowExclusiveLock);
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	cozi_kept_refuse_closed(&kept, "the half-life");
	kept.half_life = *PG_GETARG_INTERVAL_P(1);
	cozi_kept_write(&kept, false);
	cozi_kept_rebuild(PG_GETARG_OID(0), "board");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_set_down_weight);

/*
 * set_down_weight(board regclass, down_weight float8) -> void
 *
 * A tally does not depend on the weight, so no writer waits; heats are made again.
 */
Datum
cozi_set_down_weight(PG_FUNCTION_ARGS)
{
	float8		down_weight = checked_down_weight(PG_GETARG_FLOAT8(1));
	Kept		kept;

	cozi_kept_refuse_old_snapshot("set_down_weight");
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	(void) cozi_kept_lock(kept.id, true);
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	kept.down_weight = down_weight;
	cozi_kept_write(&kept, false);
	cozi_kept_rebuild(PG_GETARG_OID(0), "board");
	PG_RETURN_VOID();
}

static float8
checked_factor(float8 factor)
{
	if (!(fabs(factor) >= 1e-9) || !(fabs(factor) <= 1e9))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("factor must be from 1e-9 to 1e9, or from -1e9 to -1e-9")));
	return factor;
}

PG_FUNCTION_INFO_V1(cozi_add_source);

/*
 * add_source(board regclass, relation regclass, item name, weight name,
 *			  factor float8, voted_at name, scope name) -> void
 *
 * weight NULL: every row weighs 1.  scope NULL: the board has no scopes.
 * Everything else must be given.
 */
Datum
cozi_add_source(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"board", "relation", "item", NULL, "factor",
	"voted_at"};
	static const struct
	{
		int			argument;
		KeptRole	role;
	}			columns[] = {{2, KEPT_ITEM}, {3, KEPT_VALUE}, {5, KEPT_AT}, {6, KEPT_SCOPE}};
	Kept		source = {.kind = &cozi_board_kind};

	for (int i = 0; i < lengthof(required); i++)
		if (required[i] != NULL)
			cozi_require_argument(fcinfo, i, required[i]);
	source.source = PG_GETARG_OID(1);
	for (int i = 0; i < lengthof(columns); i++)
		if (!PG_ARGISNULL(columns[i].argument))
			source.columns[columns[i].role] = *PG_GETARG_NAME(columns[i].argument);
	source.factor = checked_factor(PG_GETARG_FLOAT8(4));
	cozi_kept_refuse_old_snapshot("add_source");
	cozi_kept_add_source(PG_GETARG_OID(0), "board", &source);
	warn_of_zone(&source);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_remove_source);

/*
 * remove_source(board regclass, relation regclass) -> void
 */
Datum
cozi_remove_source(PG_FUNCTION_ARGS)
{
	cozi_kept_refuse_old_snapshot("remove_source");
	cozi_kept_remove_source(PG_GETARG_OID(0), "board", PG_GETARG_OID(1));
	PG_RETURN_VOID();
}
