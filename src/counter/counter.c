/*
 * counter/counter.c
 *		Creating, verifying, rebuilding and dropping counters.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "counter/counter.h"

PG_FUNCTION_INFO_V1(cozi_create_counter);

/*
 * create_counter(counter text, relation regclass, key name, value name,
 *				  counted name, user_id name, item_table regclass) -> regclass
 *
 * NULL value: no sum.  NULL counted: every row counts.  NULL user_id: item_counts()
 * does not know whose a row is.  NULL item_table: no computed relationship.
 */
Datum
cozi_create_counter(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"counter", "relation", "key"};
	static const KeptRole roles[] = {KEPT_ITEM, KEPT_VALUE, KEPT_COUNTED, KEPT_WHO};
	Kept		kept = {.kind = &cozi_counter_kind};

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i, required[i]);
	kept.source = PG_GETARG_OID(1);
	for (int i = 0; i < lengthof(roles); i++)
		if (!PG_ARGISNULL(i + 2))
			kept.columns[roles[i]] = *PG_GETARG_NAME(i + 2);
	cozi_kept_refuse_old_snapshot("create_counter");
	cozi_kept_create(&kept, text_to_cstring(PG_GETARG_TEXT_PP(0)),
					 PG_ARGISNULL(6) ? InvalidOid : PG_GETARG_OID(6));
	PG_RETURN_OID(kept.relation);
}

PG_FUNCTION_INFO_V1(cozi_drop_counter);

/*
 * drop_counter(counter regclass) -> void: writers wait while it runs.
 */
Datum
cozi_drop_counter(PG_FUNCTION_ARGS)
{
	cozi_kept_drop(PG_GETARG_OID(0), "counter");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_rebuild_counter);

/*
 * rebuild_counter(counter regclass) -> void
 */
Datum
cozi_rebuild_counter(PG_FUNCTION_ARGS)
{
	cozi_kept_refuse_old_snapshot("rebuild_counter");
	cozi_kept_rebuild(PG_GETARG_OID(0), "counter");
	PG_RETURN_VOID();
}

/* sum() of the values, with the exceptions of counter/sum.c. */
static char *
sum_of_values(const Kept *counter)
{
	if (!kept_has(counter, KEPT_VALUE))
		return "NULL::pg_catalog.numeric";
	if (cozi_counter_kind.value_type(counter) == INT8OID)
		return "coalesce(sum(value), 0)";
	return "coalesce(sum(CASE WHEN abs(value) >= '1e100000'::numeric"
		" AND value NOT IN ('Infinity'::numeric, '-Infinity'::numeric)"
		" THEN 'NaN'::numeric ELSE value END), 0)";
}

/* That of the open rows and of the closed ones. */
static char *
true_sum(const Kept *counter)
{
	if (!kept_has(counter, KEPT_VALUE))
		return "NULL::pg_catalog.numeric";
	if (cozi_counter_kind.value_type(counter) == INT8OID)
		return "least(greatest(coalesce(o.sum, 0) + coalesce(c.sum, 0), -9223372036854775808),"
			" 9223372036854775807)::numeric";
	return "coalesce(o.sum, 0) + coalesce(c.sum, 0)";
}

static char *
counts_again(const Kept *counter, const char *source, const char *half_life)
{
	return cozi_statement("open AS (SELECT key, pg_catalog.count(*) AS n, {open_sum} AS sum"
						  "  FROM ({source}) v GROUP BY key),"
						  " truth AS (SELECT key, coalesce(o.n, 0) + coalesce(c.n, 0) AS true_n,"
						  "  {sum} AS true_sum FROM open o FULL JOIN closed c USING (key))"
						  " SELECT key::pg_catalog.text, n, sum::pg_catalog.numeric, true_n,"
						  " true_sum FROM live FULL JOIN truth USING (key)"
						  " WHERE n IS DISTINCT FROM true_n OR sum IS DISTINCT FROM true_sum"
						  " ORDER BY key",
						  "open_sum", sum_of_values(counter),
						  "sum", true_sum(counter), "source", source, NULL);
}

PG_FUNCTION_INFO_V1(cozi_verify_counter);

/*
 * verify_counter(counter regclass)
 *		-> setof (key text, n bigint, sum numeric, true_n bigint, true_sum numeric)
 */
Datum
cozi_verify_counter(PG_FUNCTION_ARGS)
{
	cozi_kept_verify(fcinfo, "counter", counts_again);
	return (Datum) 0;
}
