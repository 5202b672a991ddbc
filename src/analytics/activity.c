/*
 * analytics/activity.c
 *		Creating, touching, verifying, rebuilding and dropping activities.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"

/* Is it one of the zones that the server lists? */
static bool
is_listed(pg_tz * zone)
{
	pg_tzenum  *zones = pg_tzenumerate_start();
	pg_tz	   *each;
	bool		found = false;

	while (!found && (each = pg_tzenumerate_next(zones)) != NULL)
		found = strcmp(pg_get_timezone_name(each), pg_get_timezone_name(zone)) == 0;
	pg_tzenumerate_end(zones);
	return found;
}

/*
 * The name of a time zone as the server spells it.  A name without a slash may be
 * an abbreviation, which AT TIME ZONE reads as an offset without summer time; one
 * with a number may be a rule, such as X/Y+5, which the server makes a zone of.
 */
static char *
zone_name(const char *given)
{
	pg_tz	   *zone = NULL;

	if (strlen(given) < TZ_STRLEN_MAX &&
		(strchr(given, '/') != NULL || pg_strcasecmp(given, "UTC") == 0))
		zone = pg_tzset(given);
	if (zone != NULL && strpbrk(given, "0123456789") != NULL && !is_listed(zone))
		zone = NULL;
	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" cannot be that of an activity", given),
				 errhint("Say UTC, or the name of an area and a city, such as Europe/Paris;"
						 " the view pg_timezone_names lists them.")));
	return pstrdup(pg_get_timezone_name(zone));
}

/* All was counted anew: so are the figures of its finished days. */
static void
count_again(Oid relation)
{
	Kept		activity;

	CommandCounterIncrement();
	if (cozi_kept_find(relation, &activity))
		cozi_count_figures(&activity, true);
}

PG_FUNCTION_INFO_V1(cozi_create_activity);

/*
 * create_activity(activity text, events regclass, user_id name, at name,
 *				   time_zone text, counted name) -> regclass
 *
 * NULL counted: every event counts.
 */
Datum
cozi_create_activity(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"activity", "events", "user_id", "at", "time_zone"};
	Kept		kept = {.kind = &cozi_activity_kind};

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i, required[i]);
	kept.source = PG_GETARG_OID(1);
	kept.columns[KEPT_ITEM] = *PG_GETARG_NAME(2);
	kept.columns[KEPT_AT] = kept.columns[KEPT_SCOPE] = *PG_GETARG_NAME(3);
	kept.time_zone = zone_name(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	if (!PG_ARGISNULL(5))
		kept.columns[KEPT_COUNTED] = *PG_GETARG_NAME(5);
	cozi_kept_refuse_old_snapshot("create_activity");
	cozi_kept_create(&kept, text_to_cstring(PG_GETARG_TEXT_PP(0)), InvalidOid);
	count_again(kept.relation);
	PG_RETURN_OID(kept.relation);
}

PG_FUNCTION_INFO_V1(cozi_add_activity_source);

/*
 * add_activity_source(activity regclass, events regclass, user_id name, at name) -> void
 */
Datum
cozi_add_activity_source(PG_FUNCTION_ARGS)
{
	Kept		source = {.kind = &cozi_activity_kind,.factor = 1};

	source.source = PG_GETARG_OID(1);
	source.columns[KEPT_ITEM] = *PG_GETARG_NAME(2);
	source.columns[KEPT_AT] = source.columns[KEPT_SCOPE] = *PG_GETARG_NAME(3);
	cozi_kept_refuse_old_snapshot("add_activity_source");
	cozi_kept_add_source(PG_GETARG_OID(0), "activity", &source);
	count_again(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_remove_activity_source);

/*
 * remove_activity_source(activity regclass, events regclass) -> void
 */
Datum
cozi_remove_activity_source(PG_FUNCTION_ARGS)
{
	cozi_kept_refuse_old_snapshot("remove_activity_source");
	cozi_kept_remove_source(PG_GETARG_OID(0), "activity", PG_GETARG_OID(1));
	count_again(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_drop_activity);

/*
 * drop_activity(activity regclass) -> void: writers of events wait while it runs.
 */
Datum
cozi_drop_activity(PG_FUNCTION_ARGS)
{
	cozi_kept_drop(PG_GETARG_OID(0), "activity");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_rebuild_activity);

/*
 * rebuild_activity(activity regclass) -> void
 */
Datum
cozi_rebuild_activity(PG_FUNCTION_ARGS)
{
	cozi_kept_refuse_old_snapshot("rebuild_activity");
	cozi_kept_rebuild(PG_GETARG_OID(0), "activity");
	count_again(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

static char *
days_again(const Kept *activity, const char *source, const char *half_life)
{
	return cozi_statement("open AS (SELECT month, user_id, pg_catalog.bit_or(1 <<"
						  " (pg_catalog.date_part('day', {day})::pg_catalog.int4 - 1)) AS days"
						  " FROM ({source}) v GROUP BY month, user_id),"
						  " truth AS (SELECT month, user_id,"
						  " coalesce(o.days, 0) | coalesce(c.days, 0) AS true_days"
						  " FROM open o FULL JOIN closed c USING (month, user_id))"
						  " SELECT user_id::pg_catalog.text, month, days, true_days"
						  " FROM live FULL JOIN truth USING (month, user_id)"
						  " WHERE days IS DISTINCT FROM true_days ORDER BY user_id, month",
						  "day", cozi_day_in_sql(activity, "v.at"), "source", source, NULL);
}

PG_FUNCTION_INFO_V1(cozi_verify_activity);

/*
 * verify_activity(activity regclass)
 *		-> setof (user_id text, month date, days int, true_days int)
 */
Datum
cozi_verify_activity(PG_FUNCTION_ARGS)
{
	cozi_kept_verify(fcinfo, "activity", days_again);
	return (Datum) 0;
}
