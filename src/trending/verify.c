/*
 * trending/verify.c
 *		Does a board equal a recount of its votes?
 *
 * The recount is not of tallies but of floats, by heat_agg(): two ways to the
 * same figure, to which the sums of closed rows are added.  They agree to 1e-9,
 * and to the last bits of a heat too large to hold that.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "kept/kept.h"
#include "trending/trending.h"

static char *
recount(const Kept *board, const char *source, const char *half_life)
{
	bool		scoped = kept_has(board, KEPT_SCOPE);

	return cozi_statement("open AS (SELECT {key}, pg_catalog.sum(greatest(value, 0)) AS ups,"
						  "  -pg_catalog.sum(least(value, 0)) AS downs,"
						  "  {schema}.heat_agg(value, at, {half_life})"
						  "   FILTER (WHERE value > 0) AS heat"
						  "  FROM ({source}) v GROUP BY {key}),"
						  " sums AS (SELECT {key}, coalesce(o.ups, 0) + coalesce(c.ups, 0) AS ups,"
						  "  coalesce(o.downs, 0) + coalesce(c.downs, 0) AS downs,"
						  "  {schema}.heat_merge(coalesce(o.heat, 0),"
						  "   CASE WHEN c.heat > 1e-300 THEN c.heat ELSE 0 END) AS heat"
						  "  FROM open o FULL JOIN closed c USING ({key})),"
						  " truth AS (SELECT {key},"
						  "  least(round(ups / {unit}), 9223372036854775807)::bigint AS true_ups,"
						  "  least(round(downs / {unit}), 9223372036854775807)::bigint"
						  "   AS true_downs,"
						  "  CASE WHEN ups = 0 THEN 0 ELSE coalesce(nullif("
						  "   greatest(heat - ln({unit}::float8) / ln(2::float8), 0) +"
						  "   ln((ups / (ups + {down_weight} * downs))::float8)"
						  "    / ln(2::float8), 0), 2.2250738585072014e-308) END AS true_heat"
						  "  FROM sums)"
						  " SELECT item::pg_catalog.text, ups, downs, heat, true_ups, true_downs,"
						  "  true_heat, {scope} FROM live FULL JOIN truth USING ({key})"
						  " WHERE ups IS DISTINCT FROM true_ups"
						  " OR downs IS DISTINCT FROM true_downs"
						  " OR abs(heat - true_heat) > 1e-9 + 1e-15 * abs(true_heat)"
						  " ORDER BY {key}",
						  "key", cozi_kept_key_columns(board),
						  "schema", cozi_schema_name(),
						  "half_life", half_life,
						  "source", source,
						  "unit", psprintf("%d.0", (int) board->unit),
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
	cozi_kept_verify(fcinfo, "board", recount);
	return (Datum) 0;
}
