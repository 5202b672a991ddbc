/*
 * analytics/days.c
 *		The days of a month on which a user has events, exactly.
 *
 * The sum of a user's month is the number of events of each day, so that an event
 * that is deleted takes away what it brought; the mask of days follows from it.
 * On disk a sum is a bytea: a byte for each day that has any, and its number of
 * events as a varint.
 *
 * The law: the sum of no events is the empty string.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"
#include "pure/varint.h"

#define MONTH_DAYS 31

/*
 * Events before 0001-01-02 and from 9999-12-31 on (UTC) count nothing: their local
 * dates may not exist.  In days since 2000-01-01.
 */
#define FIRST_INSTANT	(INT64CONST(-730118) * USECS_PER_DAY)
#define LAST_INSTANT	(INT64CONST(2921939) * USECS_PER_DAY)

typedef struct Days
{
	int64		events[MONTH_DAYS];
} Days;

/* The zone of an activity; UTC where this server does not know it: see misfit. */
static pg_tz *
zone_of(const Kept *activity)
{
	pg_tz	   *zone = activity->time_zone ? pg_tzset(activity->time_zone) : NULL;

	return zone != NULL ? zone : pg_tzset("UTC");
}

/* The local date of an instant; false if it has none. */
static bool
local_date(const Kept *activity, TimestampTz at, struct pg_tm *tm)
{
	fsec_t		fsec;
	int			offset;

	return at >= FIRST_INSTANT && at < LAST_INSTANT &&
		timestamp2tm(at, &offset, tm, &fsec, NULL, zone_of(activity)) == 0;
}

/* The local date of an instant that is now, or near it. */
DateADT
cozi_local_day(const Kept *activity, TimestampTz at)
{
	struct pg_tm tm;

	if (!local_date(activity, at, &tm))
		elog(ERROR, "the clock is out of range");
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

/* The first of the month, as date_out() writes it in ISO style. */
static char *
month_of(const Kept *activity, TimestampTz at)
{
	struct pg_tm tm;

	return local_date(activity, at, &tm) ?
		psprintf("%04d-%02d-01", tm.tm_year, tm.tm_mon) : NULL;
}

/* The local date of an instant in SQL; NULL where it has none. */
char	   *
cozi_day_in_sql(const Kept *activity, const char *at)
{
	return cozi_statement("(CASE WHEN {at} >= '0001-01-02 00:00+00'::pg_catalog.timestamptz"
						  " AND {at} < '9999-12-31 00:00+00'::pg_catalog.timestamptz"
						  " THEN ({at} AT TIME ZONE {zone})::pg_catalog.date END)",
						  "at", at, "zone", quote_literal_cstr(activity->time_zone), NULL);
}

static char *
month_in_sql(const Kept *activity, const char *at)
{
	return psprintf("pg_catalog.date_trunc('month', %s::pg_catalog.timestamp)::pg_catalog.date",
					cozi_day_in_sql(activity, at));
}

static void
days_init(void *sum)
{
	memset(sum, 0, sizeof(Days));
}

static void
days_add_row(void *to, const Kept *activity, const KeptRow *row, int times)
{
	struct pg_tm tm;

	if (local_date(activity, row->at, &tm))
		((Days *) to)->events[tm.tm_mday - 1] += times;
}

static void
malformed_days(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("malformed sum of an activity"),
			 errhint("Count its events again with cozi.rebuild_activity().")));
}

static void
days_add_stored(void *to, const bytea *stored)
{
	const unsigned char *from = (unsigned char *) VARDATA_ANY(stored);
	const unsigned char *end = from + VARSIZE_ANY_EXHDR(stored);

	while (from < end)
	{
		int			day = *from++;
		int128		events;

		from = varint_get(from, end, &events);
		if (from == NULL || day >= MONTH_DAYS)
			malformed_days();
		((Days *) to)->events[day] += (int64) events;
	}
}

static bytea *
days_store(const void *from)
{
	const Days *days = from;
	bytea	   *result = palloc(VARHDRSZ + MONTH_DAYS * (1 + VARINT_BYTES));
	char	   *to = VARDATA(result);

	for (int day = 0; day < MONTH_DAYS; day++)
	{
		if (days->events[day] == 0)
			continue;
		*to++ = (char) day;
		to = varint_put(to, days->events[day]);
	}
	SET_VARSIZE(result, to - (char *) result);
	return result;
}

/* Bit 0 is the first of the month. */
static int32
mask_of(const Days *days)
{
	int32		mask = 0;

	for (int day = 0; day < MONTH_DAYS; day++)
		if (days->events[day] > 0)
			mask |= 1 << day;
	return mask;
}

PG_FUNCTION_INFO_V1(cozi_days_of);

/* _days_of(sum bytea) -> int: the mask of a month; 0 of no events */
Datum
cozi_days_of(PG_FUNCTION_ARGS)
{
	Days		days = {0};

	days_add_stored(&days, PG_GETARG_BYTEA_PP(0));
	PG_RETURN_INT32(mask_of(&days));
}

/* Has the stored sum of a month an event on the day of the instant? */
bool
cozi_days_have(const Kept *activity, const bytea *stored, TimestampTz at)
{
	Days		days = {0};
	struct pg_tm tm;

	days_add_stored(&days, stored);
	return local_date(activity, at, &tm) && days.events[tm.tm_mday - 1] > 0;
}

static bool
days_columns(const void *from, const Kept *activity, Datum *values, bool *nulls)
{
	int32		mask = mask_of(from);

	values[0] = Int32GetDatum(mask);
	nulls[0] = false;
	return mask != 0;
}

static void
days_check(const Kept *activity)
{
	static const Oid users[] = {INT4OID, INT8OID, UUIDOID, TEXTOID, VARCHAROID, InvalidOid};
	static const Oid instants[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID, InvalidOid};
	static const Oid booleans[] = {BOOLOID, InvalidOid};
	const char *at = NameStr(activity->columns[KEPT_AT]);

	cozi_kept_check_column(activity, KEPT_ITEM, "user", users,
						   "uuid, bigint, integer, text, varchar");
	cozi_kept_check_column(activity, KEPT_AT, "time", instants, "timestamptz, timestamp, date");
	if (kept_has(activity, KEPT_COUNTED))
		cozi_kept_check_column(activity, KEPT_COUNTED, "condition", booleans, "boolean");
	if (getBaseType(get_atttype(activity->source, get_attnum(activity->source, at))) == DATEOID &&
		strcmp(activity->time_zone, "UTC") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" is a date, which has no time zone", at),
				 errhint("Leave time_zone at 'UTC': the days are those of the column.")));
}

static char *
days_misfit(const Kept *activity)
{
	if (activity->time_zone != NULL && pg_tzset(activity->time_zone) != NULL)
		return NULL;
	return psprintf("this server does not know its time zone \"%s\", and counts the days"
					" of UTC until cozi.rebuild_activity() is called",
					activity->time_zone ? activity->time_zone : "");
}

const KeptKind cozi_activity_kind = {
	.name = "activity",
	.noun = "an activity",
	.plural = "activities",
	.remove_source = "remove_activity_source",
	.item = "user_id",
	.ncolumns = 1,
	.names = {"days"},
	.types = {INT4OID},
	.any_value = true,
	.steady = true,
	.sum_size = sizeof(Days),
	.init = days_init,
	.add_row = days_add_row,
	.add_stored = days_add_stored,
	.store = days_store,
	.columns = days_columns,
	.check = days_check,
	.scope = "month",
	.scope_type = DATEOID,
	.scope_of = month_of,
	.scope_in_sql = month_in_sql,
	.misfit = days_misfit,
	.folded = cozi_figures_folded,
};
