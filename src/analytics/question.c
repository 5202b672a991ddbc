/*
 * analytics/question.c
 *		Reading an activity, user by user, for the questions about it.
 *
 * The activity is read as the caller, in the snapshot of the calling statement and
 * with what is pending, so the caller needs SELECT on it, and its policies hold.
 * The months of a user are put together in memory (read.c), or by the executor,
 * which may spill: memory is bounded by work_mem, however many users there are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varbit.h"

#include "analytics/analytics.h"

#define FETCH_USERS 1000

/* An activity that the caller may read. */
void
cozi_open_activity(Oid relation, Kept *activity)
{
	AclResult	acl;
	char	   *misfit;

	cozi_kept_get(relation, "activity", activity);
	acl = pg_class_aclcheck(relation, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(relation));
	misfit = cozi_kept_misfit(activity);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be read: %s", get_rel_name(relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_activity().")));
}

/* Two dates that a question is about. */
void
cozi_check_period(DateADT since, DateADT until)
{
	if (DATE_NOT_FINITE(since) || DATE_NOT_FINITE(until) || since > until ||
		(int64) until - since > MAX_QUESTION_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must not be after until, and both must be finite"),
				 errhint("Ask about at most %d days.", MAX_QUESTION_DAYS)));
}

static bool
is_pending(const Kept *activity)
{
	int			n;

	(void) cozi_kept_pending_rows(activity, &n, GetActiveSnapshot(),
								  GetCurrentStatementStartTimestamp());
	return n > 0;
}

/* The rows of an activity, in parentheses where they are not those of its table. */
static char *
rows_of(const Kept *activity, bool pending)
{
	if (!pending)
		return cozi_qualified_name(activity->relation);
	return cozi_statement("(SELECT user_id, month, days FROM {activity}"
						  " WHERE (month, user_id) NOT IN (SELECT month, user_id"
						  "  FROM {schema}._pending_rows(NULL::{activity}))"
						  " UNION ALL SELECT user_id, month, days"
						  "  FROM {schema}._pending_rows(NULL::{activity})"
						  "  WHERE days IS NOT NULL)",
						  "schema", cozi_schema_name(),
						  "activity", cozi_qualified_name(activity->relation), NULL);
}

/* The text of a query: a row per user, the mask of _days_between() from $1 to $2. */
char	   *
cozi_users_query(const Kept *activity)
{
	return cozi_statement("SELECT m.user_id,"
						  " {schema}._days_between(m.month, m.days, $1, $2) AS mask"
						  " FROM {rows} m"
						  " WHERE m.month OPERATOR(pg_catalog.<=) $2 GROUP BY m.user_id",
						  "schema", cozi_schema_name(),
						  "rows", rows_of(activity, is_pending(activity)), NULL);
}

/*
 * Call a function for each row of a query whose columns are a date and a mask of
 * days.  SPI is connected.
 */
void
cozi_each_user(const char *query, DateADT first, DateADT last, CoziVisitUser visit, void *arg)
{
	Oid			types[] = {DATEOID, DATEOID};
	Datum		values[] = {DateADTGetDatum(first), DateADTGetDatum(last)};
	Portal		portal = SPI_cursor_open_with_args(NULL, query, 2, types, values, NULL, true,
												   CURSOR_OPT_NO_SCROLL);

	for (;;)
	{
		SPITupleTable *rows;
		uint64		n;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_USERS);
		rows = SPI_tuptable;
		n = SPI_processed;
		if (n == 0)
			break;
		for (uint64 i = 0; i < n; i++)
		{
			CoziUser	user = {0};
			bool		isnull;
			Datum		value = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);

			if (!isnull && SPI_gettypeid(rows->tupdesc, 1) == DATEOID)
				user.cohort = DatumGetDateADT(value);
			value = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull);
			if (!isnull)
			{
				VarBit	   *mask = DatumGetVarBitP(value);

				user.bits = VARBITS(mask);
				user.nbits = VARBITLEN(mask);
			}
			visit(&user, arg);
		}
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
}

/* Visit each user of an activity who the caller sees, once; SPI is connected. */
void
cozi_visit_users(const Kept *activity, DateADT first, DateADT last, CoziVisitUser visit,
				 void *arg)
{
	bool		pending = is_pending(activity);
	char	   *rows = cozi_statement("SELECT m.user_id, m.month, m.days FROM {rows} m"
									  " WHERE m.month OPERATOR(pg_catalog.<=) $1",
									  "rows", rows_of(activity, pending), NULL);
	Oid			type = getBaseType(get_atttype(activity->relation,
											   get_attnum(activity->relation, "user_id")));

	if (!cozi_visit_in_memory(pending ? InvalidOid : activity->relation, rows, type, first, last,
							  visit, arg))
		cozi_each_user(cozi_users_query(activity), first, last, visit, arg);
}

/* The first of a date's month, and the last of it. */
DateADT
cozi_month_start(DateADT day)
{
	int			year;
	int			month;
	int			mday;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	return day - mday + 1;
}

DateADT
cozi_month_end(DateADT day)
{
	return cozi_month_start(cozi_month_start(day) + 31) - 1;
}
