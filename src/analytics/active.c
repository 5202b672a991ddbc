/*
 * analytics/active.c
 *		active_users(): how many users are active on each day, and whence they come.
 *
 * The users are read once.  Each has a few active days; a day adds the user to the
 * windows that it opens or prolongs, as differences that are summed up at the end.
 *
 * The law: the figures of a day keep two sums.  dau = new + returning + resurrected;
 * and the 28-day MAU of a day is that of the day before, plus new and resurrected,
 * minus lapsed.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/tuplestore.h"

#include "analytics/analytics.h"

#define WEEK_DAYS 7
#define WINDOW_DAYS 28

/* The figures of a day. */
typedef struct DayFigures
{
	int64		dau;
	int64		wau;			/* while counting: a difference to the day
								 * before */
	int64		mau;			/* the same */
	int64		in_month;		/* of the calendar month, at its first day */
	int64		new;
	int64		returning;
	int64		resurrected;
	int64		lapsed;
} DayFigures;

/* The result of active_users(), in its order. */
enum
{
	ACTIVE_DAY, ACTIVE_DAU, ACTIVE_WAU, ACTIVE_MAU, ACTIVE_MONTH, ACTIVE_STICKINESS, ACTIVE_NEW,
	ACTIVE_RETURNING, ACTIVE_RESURRECTED, ACTIVE_LAPSED, ACTIVE_COLUMNS
};

typedef struct ActiveUsers
{
	DateADT		first;			/* of the days that are read */
	int			since;			/* as days after first */
	int			until;
	int			ndays;			/* that are read */
	int		   *month;			/* of each, the first day of its month */
	DayFigures *day;			/* of each */
} ActiveUsers;

/* A user is in a window of so many days from one day on, or still in it. */
static void
open_window(ActiveUsers *active, int64 *(*figure) (DayFigures *), int day, int before, int days)
{
	int			from = before < 0 ? day : Max(day, before + days);

	if (from < active->ndays)
		(*figure(&active->day[from]))++;
	if (day + days < active->ndays)
		(*figure(&active->day[day + days]))--;
}

static int64 *
wau_of(DayFigures *figures)
{
	return &figures->wau;
}

static int64 *
mau_of(DayFigures *figures)
{
	return &figures->mau;
}

static void
add_to_days(const CoziUser *user, void *arg)
{
	ActiveUsers *active = arg;
	bool		seen = cozi_next_day(user, 0) == 0;
	int			before = -1;	/* the active day before, of those that are
								 * read */
	int			month = -1;

	for (int bit = cozi_next_day(user, 1); bit > 0; bit = cozi_next_day(user, bit + 1))
	{
		int			day = bit - 1;
		DayFigures *figures = &active->day[day];

		if (active->month[day] != month)
			active->day[month = active->month[day]].in_month++;
		if (day > active->until)
			continue;
		if (before >= 0 && before + WINDOW_DAYS < day)
			active->day[before + WINDOW_DAYS].lapsed++;
		open_window(active, wau_of, day, before, WEEK_DAYS);
		open_window(active, mau_of, day, before, WINDOW_DAYS);
		figures->dau++;
		if (!seen)
			figures->new++;
		else if (before >= 0 && day - before <= WINDOW_DAYS)
			figures->returning++;
		else
			figures->resurrected++;
		seen = true;
		before = day;
	}
	if (before >= 0 && before + WINDOW_DAYS < active->ndays)
		active->day[before + WINDOW_DAYS].lapsed++;
}

/*
 * What is read begins early enough for the windows of the first day and for its
 * month, and ends with the month of the last day.
 */
static void
prepare_days(ActiveUsers *active, DateADT since, DateADT until)
{
	DateADT		last = cozi_month_end(until);

	active->first = Min(since - WINDOW_DAYS, cozi_month_start(since));
	active->since = since - active->first;
	active->until = until - active->first;
	active->ndays = last - active->first + 1;
	active->day = palloc0(active->ndays * sizeof(DayFigures));
	active->month = palloc(active->ndays * sizeof(int));
	for (int i = 0; i < active->ndays; i++)
		active->month[i] = Max(cozi_month_start(active->first + i) - active->first, 0);
}

static void
put_days(ReturnSetInfo *rsinfo, const ActiveUsers *active)
{
	int64		wau = 0;
	int64		mau = 0;

	for (int i = 0; i <= active->until; i++)
	{
		const DayFigures *figures = &active->day[i];
		Datum		values[ACTIVE_COLUMNS];
		bool		nulls[ACTIVE_COLUMNS] = {false};

		wau += figures->wau;
		mau += figures->mau;
		if (i < active->since)
			continue;
		values[ACTIVE_DAY] = DateADTGetDatum(active->first + i);
		values[ACTIVE_DAU] = Int64GetDatum(figures->dau);
		values[ACTIVE_WAU] = Int64GetDatum(wau);
		values[ACTIVE_MAU] = Int64GetDatum(mau);
		values[ACTIVE_MONTH] = Int64GetDatum(active->day[active->month[i]].in_month);
		nulls[ACTIVE_STICKINESS] = mau == 0;
		values[ACTIVE_STICKINESS] = Float8GetDatum(mau == 0 ? 0 : (float8) figures->dau / mau);
		values[ACTIVE_NEW] = Int64GetDatum(figures->new);
		values[ACTIVE_RETURNING] = Int64GetDatum(figures->returning);
		values[ACTIVE_RESURRECTED] = Int64GetDatum(figures->resurrected);
		values[ACTIVE_LAPSED] = Int64GetDatum(figures->lapsed);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(cozi_active_users);

/*
 * active_users(activity regclass, since date, until date)
 *		-> setof (day date, dau bigint, wau bigint, mau_28d bigint, mau_month bigint,
 *				  stickiness float8, new bigint, returning bigint, resurrected bigint,
 *				  lapsed bigint)
 */
Datum
cozi_active_users(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"activity", "since", "until"};
	ActiveUsers active;
	Kept		activity;
	MemoryContext caller = CurrentMemoryContext;

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i, required[i]);
	cozi_check_period(PG_GETARG_DATEADT(1), PG_GETARG_DATEADT(2));
	cozi_open_activity(PG_GETARG_OID(0), &activity);
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	prepare_days(&active, PG_GETARG_DATEADT(1), PG_GETARG_DATEADT(2));
	cozi_visit_users(&activity, active.first, active.first + active.ndays - 1, add_to_days,
					 &active);
	MemoryContextSwitchTo(caller);
	put_days((ReturnSetInfo *) fcinfo->resultinfo, &active);
	SPI_finish();
	return (Datum) 0;
}
