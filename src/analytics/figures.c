/*
 * analytics/figures.c
 *		The figures of finished days, counted now and then and kept.
 *
 * What is polled cannot read an activity, which has a row per user and month.  So
 * cozi.activity_figures has one row per activity, with the figures of its last
 * finished days.  They are counted from the state, a table of ours, so that no
 * policy, privilege or code of an owner is met; when an activity is made or rebuilt,
 * after fold(), and by a worker where the library is preloaded (events_worker.c):
 * for each new day, and for days that were changed since, at most once an hour.
 *
 * The law: counting takes at most a hundredth of the time, and a writer never counts.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"

#define DAYS			91		/* finished days that have figures */
#define WINDOW_DAYS		28
#define READ_DAYS		(DAYS + WINDOW_DAYS - 1)
#define WEEKS			12		/* cohorts, and their periods */
#define A_MONDAY		2		/* in days since 2000-01-01 */

#define EVERY			(INT64CONST(3600) * USECS_PER_SEC)
#define SHARE			100		/* of the time that counting takes */

typedef struct Figures
{
	DateADT		first;			/* of the days that are read */
	DateADT		until;			/* the last finished day */
	int			monday;			/* of the first cohort, in days after first */
	int64		dau[READ_DAYS];
	int64		mau[READ_DAYS + WINDOW_DAYS];	/* while counting: differences */
	int64		active[WINDOW_DAYS];	/* users of 1 to 28 of the last 28
										 * days */
	int64		size[WEEKS];
	int64		users[WEEKS * WEEKS];
}			Figures;

/* The cohort and the weeks of a user who came for the first time in these days. */
static void
add_to_weeks(Figures * figures, const CoziUser *user)
{
	CoziWalk	walk;
	int			bit = cozi_first_day(user, &walk);
	int			first = bit - 1;
	int			cohort = (first - figures->monday) / 7;
	int			counted = -1;

	if (first < figures->monday || cohort >= WEEKS)
		return;
	figures->size[cohort]++;
	for (; bit > 0; bit = cozi_next_day(user, &walk))
	{
		int			period = (bit - 1 - figures->monday) / 7 - cohort;

		if (period > counted && cohort + period < WEEKS)
			figures->users[cohort * WEEKS + period]++;
		counted = period;
	}
}

static void
add_to_figures(const CoziUser *user, void *arg)
{
	Figures    *figures = arg;
	int			left = 0;		/* the window of 28 days that is open ends
								 * before */
	int			lately = 0;
	CoziWalk	walk;
	int			bit = cozi_first_day(user, &walk);

	if (bit == 0)
		bit = cozi_next_day(user, &walk);
	for (; bit > 0; bit = cozi_next_day(user, &walk))
	{
		int			day = bit - 1;

		figures->dau[day]++;
		if (day >= left)
			figures->mau[day]++;
		else
			figures->mau[left]++;
		left = day + WINDOW_DAYS;
		figures->mau[left]--;
		lately += day >= DAYS - 1;
	}
	if (lately > 0)
		figures->active[lately - 1]++;
	add_to_weeks(figures, user);
}

/* A row per user, the mask of _days_between() from $1 to $2: see cozi_each_user(). */
static char *
state_query(const Kept *activity)
{
	char	   *same = "s.item";
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(activity->relation, get_attnum(activity->relation, "user_id"), &type,
						  &typmod, &collation);
	if (OidIsValid(collation) && cozi_kept_is_wide(type, collation))
		same = psprintf("s.item COLLATE %s", generate_collation_name(collation));
	return cozi_statement("SELECT NULL::pg_catalog.int4,"
						  " {schema}._days_between(s.scope::pg_catalog.date,"
						  "  {schema}._days_of(s.sum), $1, $2) AS mask"
						  " FROM {schema}.{state} s WHERE s.kept = {id} GROUP BY {same}",
						  "schema", cozi_schema_name(),
						  "state", cozi_kept_is_unlogged(activity->source) ?
						  "kept_state_unlogged" : "kept_state",
						  "id", psprintf("%d", activity->id), "same", same, NULL);
}

/* Is it time?  SPI is connected. */
static bool
are_figures_due(const Kept *activity, DateADT until)
{
	Oid			types[] = {INT4OID, DATEOID};
	Datum		values[] = {Int32GetDatum(activity->id), DateADTGetDatum(until)};
	KeptLocal	local;
	HeapTuple	row;
	TupleDesc	desc;
	bool		isnull;
	int64		since;
	TimestampTz counted;
	float8		ms;

	if (SPI_execute_with_args(cozi_statement("SELECT f.counted, f.ms FROM {table} f"
											 " WHERE f.kept = $1 AND f.until = $2", "table",
											 cozi_qualified_name(cozi_table("activity_figures")),
											 NULL), 2, types, values, NULL, false,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the figures of activities");
	if (SPI_processed == 0)
		return true;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	counted = DatumGetTimestampTz(SPI_getbinval(row, desc, 1, &isnull));
	ms = DatumGetFloat8(SPI_getbinval(row, desc, 2, &isnull));
	since = GetCurrentTimestamp() - counted;
	(void) cozi_kept_local(activity->id, &local);
	/* a clock set back must not put it off */
	return since < 0 ||
		(local.last_fold > counted && since >= EVERY && since >= SHARE * 1000 * ms);
}

static Datum
bigints(const int64 *value, int n)
{
	Datum	   *datums = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(value[i]);
	return PointerGetDatum(construct_array(datums, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

static void
save(const Kept *activity, const Figures * figures, TimestampTz began)
{
	Oid			types[] = {INT4OID, DATEOID, TIMESTAMPTZOID, FLOAT8OID, INT8ARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, DATEOID, INT8ARRAYOID, INT8ARRAYOID};
	Datum		values[] = {
		Int32GetDatum(activity->id), DateADTGetDatum(figures->until),
		TimestampTzGetDatum(began), Float8GetDatum((GetCurrentTimestamp() - began) / 1000.0),
		bigints(figures->dau + WINDOW_DAYS - 1, DAYS),
		bigints(figures->mau + WINDOW_DAYS - 1, DAYS), bigints(figures->active, WINDOW_DAYS),
		DateADTGetDatum(figures->first + figures->monday), bigints(figures->size, WEEKS),
	bigints(figures->users, WEEKS * WEEKS)};
	const char *schema = cozi_schema_name();

	cozi_run(cozi_statement("DELETE FROM {schema}.activity_figures f WHERE NOT EXISTS"
							" (SELECT FROM {schema}.kept k WHERE k.id = f.kept)",
							"schema", schema, NULL), SPI_OK_DELETE);
	if (SPI_execute_with_args(cozi_statement("INSERT INTO {schema}.activity_figures"
											 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
											 " ON CONFLICT (kept) DO UPDATE SET (until, counted,"
											 "  ms, dau, mau, active, cohort, size, users)"
											 " = ROW (EXCLUDED.until, EXCLUDED.counted,"
											 "  EXCLUDED.ms, EXCLUDED.dau, EXCLUDED.mau,"
											 "  EXCLUDED.active, EXCLUDED.cohort, EXCLUDED.size,"
											 "  EXCLUDED.users)",
											 "schema", schema, NULL), lengthof(types), types,
							  values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write the figures of activities");
}

/* The last twelve whole weeks, the days that are read, and their sums. */
static void
count(const Kept *activity, DateADT until)
{
	Figures    *figures = palloc0(sizeof(Figures));
	TimestampTz began = GetCurrentTimestamp();

	figures->until = until;
	figures->first = until - READ_DAYS + 1;
	/* of the day after until, so that its week is whole */
	figures->monday = until + 1 - (until + 1 - A_MONDAY + 7 * 200000) % 7 - 7 * WEEKS -
		figures->first;
	cozi_each_user(state_query(activity), figures->first, until, add_to_figures, figures);
	for (int i = 1; i < READ_DAYS; i++)
		figures->mau[i] += figures->mau[i - 1];
	save(activity, figures, began);
}

/* Count what is folded, if it is time or always; as the owner of the extension. */
void
cozi_count_figures(const Kept *activity, bool always)
{
	DateADT		until = cozi_local_day(activity, GetCurrentTimestamp()) - 1;
	CoziSavedUser saved;

	if (get_attnum(activity->relation, "user_id") == InvalidAttrNumber)
		return;
	cozi_switch_to_owner(cozi_table("activity_figures"), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_set_locally("lock_timeout", "200ms");
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	if (always || are_figures_due(activity, until))
		count(activity, until);
	PopActiveSnapshot();
	SPI_finish();
	cozi_restore_user(&saved);
}

/* After a fold: by fold(), or by the worker, which has something else to do. */
void
cozi_figures_folded(const Kept *activity, bool by_call)
{
	if (!by_call)
		cozi_ask_events_worker();
	else if (XactIsoLevel == XACT_READ_COMMITTED && get_rel_name(activity->relation) != NULL)
		cozi_count_figures(activity, false);
}
