/*
 * analytics/retention.c
 *		retention(): which users of a cohort come back, period by period.
 *
 * The law: a cell whose period is not over is NULL, never 0; and a user is in one
 * cohort, that of the first activity ever or of the signup.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#include "analytics/analytics.h"

/* A Monday, in days since 2000-01-01. */
#define A_MONDAY 2

typedef enum Unit
{
	BY_DAY, BY_WEEK, BY_MONTH
} Unit;

/* The result of retention(), in its order. */
enum
{
	RETENTION_COHORT, RETENTION_SIZE, RETENTION_PERIOD, RETENTION_USERS, RETENTION_RATE,
	RETENTION_COLUMNS
};

typedef struct Retention
{
	Unit		unit;
	bool		rolling;
	bool		by_signup;
	DateADT		since;			/* as is the first bit of a user's days */
	DateADT		until;
	DateADT		complete;		/* the last day that is over: until, or today */
	int			periods;
	int			cohort;			/* the period of the first cohort */
	int			ncohorts;
	int		   *period;			/* of each day from since to until */
	int64	   *size;			/* of each cohort */
	int64	   *users;			/* of each cohort and period */
} Retention;

/* Which period of all time a day is in. */
static int
period_of(Unit unit, DateADT day)
{
	int			year;
	int			month;
	int			mday;

	switch (unit)
	{
		case BY_WEEK:
			/* rounded down, on both sides of 2000 */
			return (day - A_MONDAY) >= 0 ? (day - A_MONDAY) / 7 : -((A_MONDAY - day + 6) / 7);
		case BY_MONTH:
			j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
			return year * 12 + month - 1;
		default:
			return day;
	}
}

static DateADT
first_day_of(Unit unit, int period)
{
	switch (unit)
	{
		case BY_WEEK:
			return period * 7 + A_MONDAY;
		case BY_MONTH:
			return date2j(period / 12, period % 12 + 1, 1) - POSTGRES_EPOCH_JDATE;
		default:
			return period;
	}
}

/* The cohort of a user whose first bit is given; -1: none that was asked for. */
static inline int
cohort_of(const Retention *retention, const CoziUser *user, int bit)
{
	if (retention->by_signup)
		return retention->period[user->cohort - retention->since] - retention->cohort;
	return bit > 0 ? retention->period[bit - 1] - retention->cohort : -1;
}

static void
add_to_cohort(const CoziUser *user, void *arg)
{
	Retention  *retention = arg;
	CoziWalk	walk;
	int			bit = cozi_first_day(user, &walk);
	int			cohort = cohort_of(retention, user, bit);
	int			counted = -1;	/* the last period that the user was counted
								 * in */
	int64	   *cells;

	if (cohort < 0)
		return;
	retention->size[cohort]++;
	cells = retention->users + (int64) cohort * retention->periods;
	if (bit == 0)
		bit = cozi_next_day(user, &walk);
	for (; bit > 0; bit = cozi_next_day(user, &walk))
	{
		int			period = retention->period[bit - 1] - retention->cohort - cohort;

		/* by signup: active before it */
		if (period <= counted)
			continue;
		/* on or after: all periods up to this one, too */
		if (retention->rolling)
			while (++counted < Min(period, retention->periods))
				cells[counted]++;
		counted = period;
		if (period >= retention->periods)
			break;
		cells[period]++;
	}
}

static Unit
unit_of(const char *text)
{
	static const char *const units[] = {"day", "week", "month"};

	for (int i = 0; i < lengthof(units); i++)
		if (strcmp(text, units[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unit \"%s\" does not exist", text),
			 errhint("It must be one of: day, week, month.")));
}

static bool
is_rolling(const char *text)
{
	if (strcmp(text, "bounded") == 0)
		return false;
	if (strcmp(text, "rolling") == 0 || strcmp(text, "on_or_after") == 0)
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("kind \"%s\" of retention does not exist", text),
			 errhint("It must be one of: bounded, rolling, on_or_after.")));
}

/* The day of a signup in SQL, by the type of its column. */
static char *
signup_day(const Kept *activity, const char *column, Oid type)
{
	switch (getBaseType(type))
	{
		case DATEOID:
			return psprintf("s.%s::pg_catalog.date", quote_identifier(column));
		case TIMESTAMPOID:
			return cozi_day_in_sql(activity, psprintf("(s.%s AT TIME ZONE 'UTC')",
													  quote_identifier(column)));
		case TIMESTAMPTZOID:
			return cozi_day_in_sql(activity, psprintf("s.%s", quote_identifier(column)));
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of type %s cannot be the time of a signup", column,
							format_type_be(type)),
					 errhint("It must be one of: timestamptz, timestamp, date.")));
	}
}

/*
 * A row per user of the table whose column a cohort names, such as profiles.created_at,
 * with the day of the signup and the user's days.
 */
static char *
signup_query(const Kept *activity, const char *cohort)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(cohort));
	char	   *column = strVal(llast(names));
	Oid			relid;
	char	   *key;
	AttrNumber	attnum;

	if (list_length(names) < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cohort \"%s\" does not exist", cohort),
				 errhint("It must be first, or a table's column such as profiles.created_at.")));
	relid = RangeVarGetRelid(makeRangeVarFromNameList(list_truncate(names, list_length(names) - 1)),
							 NoLock, false);
	attnum = get_attnum(relid, column);
	if (attnum <= 0)
		cozi_no_such_column(get_rel_name(relid), column);
	key = cozi_kept_primary_key(relid, true);
	if (key == NULL || getBaseType(get_atttype(relid, get_attnum(relid, key))) !=
		getBaseType(get_atttype(activity->relation, get_attnum(activity->relation, "user_id"))))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the users of \"%s\" are no primary key of \"%s\"",
						get_rel_name(activity->relation), get_rel_name(relid)),
				 errhint("Name a table whose primary key is one column,"
						 " of the type of the users.")));
	return cozi_statement("SELECT s.day, u.mask FROM (SELECT s.{key} AS user_id, {day} AS day"
						  " FROM {table} s) s"
						  " LEFT JOIN ({users}) u ON u.user_id OPERATOR(pg_catalog.=) s.user_id"
						  " WHERE s.day OPERATOR(pg_catalog.>=) $1"
						  " AND s.day OPERATOR(pg_catalog.<=) $2",
						  "key", quote_identifier(key),
						  "day", signup_day(activity, column, get_atttype(relid, attnum)),
						  "table", cozi_qualified_name(relid),
						  "users", cozi_users_query(activity), NULL);
}

/* The last day that is over, or that is today in the zone of the activity. */
static DateADT
last_complete_day(const Kept *activity, DateADT until)
{
	DateADT		today = cozi_local_day(activity, GetCurrentTransactionStartTimestamp());

	return Min(until, today);
}

static void
prepare_cells(Retention *retention)
{
	int			ndays = retention->until - retention->since + 1;
	int			first = period_of(retention->unit, retention->since);

	/* a cohort that begins before since has lost its first days */
	if (first_day_of(retention->unit, first) < retention->since)
		first++;
	retention->cohort = first;
	retention->ncohorts = Max(0, period_of(retention->unit, retention->until) - first + 1);
	if ((int64) retention->ncohorts * retention->periods > MAX_CELLS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("retention of %d cohorts over %d periods has more than %d cells",
						retention->ncohorts, retention->periods, MAX_CELLS),
				 errhint("Ask for fewer periods, a shorter time, or a longer unit.")));
	retention->period = palloc(ndays * sizeof(int));
	for (int i = 0; i < ndays; i++)
		retention->period[i] = period_of(retention->unit, retention->since + i);
	retention->size = palloc0(Max(retention->ncohorts, 1) * sizeof(int64));
	retention->users = palloc0(Max(retention->ncohorts, 1) * (Size) retention->periods *
							   sizeof(int64));
}

static void
put_cells(ReturnSetInfo *rsinfo, const Retention *retention)
{
	for (int cohort = 0; cohort < retention->ncohorts; cohort++)
	{
		int			first = retention->cohort + cohort;

		for (int period = 0; period < retention->periods && retention->size[cohort] > 0; period++)
		{
			int64		size = retention->size[cohort];
			int64		users = retention->users[(int64) cohort * retention->periods + period];
			Datum		values[RETENTION_COLUMNS];
			bool		nulls[RETENTION_COLUMNS] = {false};

			values[RETENTION_COHORT] = DateADTGetDatum(first_day_of(retention->unit, first));
			values[RETENTION_SIZE] = Int64GetDatum(size);
			values[RETENTION_PERIOD] = Int32GetDatum(period);
			values[RETENTION_USERS] = Int64GetDatum(users);
			values[RETENTION_RATE] = Float8GetDatum((float8) users / size);
			nulls[RETENTION_USERS] = nulls[RETENTION_RATE] =
				first_day_of(retention->unit, first + period + 1) - 1 > retention->complete;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
}

PG_FUNCTION_INFO_V1(cozi_retention);

/*
 * retention(activity regclass, unit text, since date, until date, periods int,
 *			 cohort text, kind text)
 *		-> setof (cohort date, size bigint, period int, users bigint, rate float8)
 */
Datum
cozi_retention(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"activity", "unit", "since", "until", "periods",
	"cohort", "kind"};
	Retention	retention = {0};
	Kept		activity;
	char	   *cohort;
	MemoryContext caller = CurrentMemoryContext;

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i, required[i]);
	retention.unit = unit_of(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	retention.since = PG_GETARG_DATEADT(2);
	retention.until = PG_GETARG_DATEADT(3);
	cozi_check_period(retention.since, retention.until);
	retention.periods = PG_GETARG_INT32(4);
	if (retention.periods < 1 || retention.periods > MAX_QUESTION_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("periods must be from 1 to %d", MAX_QUESTION_DAYS)));
	cohort = text_to_cstring(PG_GETARG_TEXT_PP(5));
	retention.by_signup = strcmp(cohort, "first") != 0;
	retention.rolling = is_rolling(text_to_cstring(PG_GETARG_TEXT_PP(6)));
	cozi_open_activity(PG_GETARG_OID(0), &activity);
	retention.complete = last_complete_day(&activity, retention.until);

	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	prepare_cells(&retention);
	if (retention.by_signup)
		cozi_each_user(signup_query(&activity, cohort), retention.since, retention.until,
					   add_to_cohort, &retention);
	else
		cozi_visit_users(&activity, retention.since, retention.until, add_to_cohort, &retention);
	MemoryContextSwitchTo(caller);
	put_cells((ReturnSetInfo *) fcinfo->resultinfo, &retention);
	SPI_finish();
	return (Datum) 0;
}
