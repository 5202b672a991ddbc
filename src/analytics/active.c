/*
 * analytics/active.c
 *		active_users(): how many users are active on each day, and whence they come.
 *
 * The users are read once.  Each has a few active days; counted are the days on which
 * a user enters the windows of 7 and of 28 days, and leaves them.  The sums follow.
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

/* An active day that there is none of. */
#define NEVER		(-1000)

/* The figures of a day. */
typedef struct DayFigures
{
	int64		dau;
	int64		wau;			/* a difference to the day before */
	int64		in_month;		/* of the calendar month, at its first day */
	int64		new;
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

/*
 * A user is active on a day, and was on the one before, of those that are read: NEVER,
 * if there is none.  Most are in the windows that the one before has opened.
 */
static inline void
add_day(ActiveUsers *active, int day, int before, bool seen)
{
	DayFigures *figures = &active->day[day];

	figures->dau++;
	if (day <= before + WEEK_DAYS)
		return;
	figures->wau++;
	if (before != NEVER)
		active->day[before + WEEK_DAYS].wau--;
	if (day <= before + WINDOW_DAYS)
		return;
	if (before != NEVER)
		active->day[before + WINDOW_DAYS].lapsed++;
	if (seen || before != NEVER)
		figures->resurrected++;
	else
		figures->new++;
}

static void
add_to_days(const CoziUser *user, void *arg)
{
	ActiveUsers *active = arg;
	CoziWalk	walk;
	int			bit = cozi_first_day(user, &walk);
	bool		seen = bit == 0;
	int			before = NEVER;
	int			month = -1;

	if (seen)
		bit = cozi_next_day(user, &walk);
	for (; bit > 0; bit = cozi_next_day(user, &walk))
	{
		int			day = bit - 1;

		if (active->month[day] != month)
			active->day[month = active->month[day]].in_month++;
		if (day > active->until)
			continue;
		add_day(active, day, before, seen);
		before = day;
	}
	if (before == NEVER)
		return;
	active->day[before + WEEK_DAYS].wau--;
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
	/* windows end later */
	active->day = palloc0((active->ndays + WINDOW_DAYS) * sizeof(DayFigures));
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
		mau += figures->new + figures->resurrected - figures->lapsed;
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
		values[ACTIVE_RETURNING] = Int64GetDatum(figures->dau - figures->new -
												 figures->resurrected);
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
