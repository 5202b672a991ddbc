/*
 * monitor/plan.c
 *		The plans of the slowest executions: a ring of the last 128.
 *
 * A statement that took cozi.slow_plan_ms or more has its plan written down
 * when it ends, as EXPLAIN prints it, with the settings that are not at their
 * defaults.  Only estimates: counting the rows of each node would cost every
 * statement, the fast ones too.  A plan shows constants of the query, so a
 * role that may not see a text may not see the plan; mask.c hides the constants
 * from others that may.
 *
 * The text is made before the lock is taken; under it there is only a copy.
 * A statement that timed out or was cancelled leaves its text without a plan:
 * after an error the catalogs a plan is printed from may not be read.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/explain.h"
#include "common/string.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "monitor/monitor.h"
#include COZI_EXPLAIN_STATE_H
#include COZI_EXPLAIN_FORMAT_H

/*
 * The next slot of the ring, filled but for the plan.  Needs the lock.  Of
 * the source, the statement at location, len bytes long (0: to the end).
 */
static CoziPlan *
next_slot(TimestampTz now, uint64 queryid, Oid role, double ms,
		  const char *source, int location, int len)
{
	CoziPlan   *plan = &cozi_monitor->plan[cozi_monitor->plans % COZI_PLANS];

	if (location > 0)
		source += location;
	if (len <= 0)
		len = (int) strnlen(source, COZI_QUERY_SIZE);
	while (len > 0 && (*source == ' ' || *source == '\t' || *source == '\n' || *source == '\r'))
	{
		source++;
		len--;
	}
	len = pg_mbcliplen(source, len, COZI_QUERY_SIZE - 1);
	plan->number = ++cozi_monitor->plans;
	plan->ended_at = now;
	plan->database = MyDatabaseId;
	plan->role = role;
	plan->queryid = queryid;
	plan->ms = ms;
	plan->rows = 0;
	plan->shape = 0;
	plan->encoding = GetDatabaseEncoding();
	memcpy(plan->query, source, len);
	plan->query[len] = '\0';
	plan->explained[0] = '\0';
	return plan;
}

/* In ExecutorEnd: the query's own memory holds what is made here. */
void
cozi_capture_plan(QueryDesc *queryDesc, double ms)
{
	MemoryContext caller = MemoryContextSwitchTo(queryDesc->estate->es_query_cxt);
	ExplainState *es = NewExplainState();
	PlannedStmt *stmt = queryDesc->plannedstmt;
	TimestampTz now = GetCurrentTimestamp();
	uint64		shape = cozi_plan_shape(stmt);
	CoziPlan   *plan;
	int			len;

	es->format = EXPLAIN_FORMAT_TEXT;
	es->settings = true;
	ExplainBeginOutput(es);
	ExplainPrintPlan(es, queryDesc);
	ExplainEndOutput(es);
	while (es->str->len > 0 && es->str->data[es->str->len - 1] == '\n')
		es->str->data[--es->str->len] = '\0';
	len = pg_mbcliplen(es->str->data, es->str->len, COZI_PLAN_SIZE - 1);

	LWLockAcquire(&cozi_monitor->lock, LW_EXCLUSIVE);
	plan = next_slot(now, stmt->queryId, GetUserId(), ms,
					 queryDesc->sourceText, stmt->stmt_location, stmt->stmt_len);
	plan->rows = COZI_ROWS(queryDesc);
	plan->shape = shape;
	memcpy(plan->explained, es->str->data, len);
	plan->explained[len] = '\0';
	LWLockRelease(&cozi_monitor->lock);
	MemoryContextSwitchTo(caller);
}

/*
 * Inside an error's PG_CATCH: the text of a statement that timed out, which
 * pg_stat_statements forgets if it never completes.  Nothing is allocated or
 * raised, and no lock is waited for.
 */
void
cozi_capture_timeout(uint64 queryid, Oid role, double ms,
					 const char *source, int location, int len)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!LWLockConditionalAcquire(&cozi_monitor->lock, LW_EXCLUSIVE))
		return;
	(void) next_slot(now, queryid, role, ms, source, location, len);
	LWLockRelease(&cozi_monitor->lock);
}

/*
 * The text in this database's encoding, to the first character that has none
 * there; NULL if it may have none at all.  A text that cannot be shown must
 * not hide the others.
 */
static Datum
text_datum(char *text, int encoding, bool *null)
{
	int			here = GetDatabaseEncoding();

	*null = text[0] == '\0';

	if (encoding != here && here != PG_SQL_ASCII && !pg_is_ascii(text))
	{
		Oid			proc = encoding == PG_SQL_ASCII || here != PG_UTF8 ? InvalidOid :
		FindDefaultConversionProc(encoding, here);

		if (!OidIsValid(proc))
			*null = true;
		else
		{
			int			len = strlen(text);
			int			size = len * MAX_CONVERSION_GROWTH + 1;
			char	   *converted = palloc0(size);

			(void) pg_do_encoding_conversion_buf(proc, encoding, here, (unsigned char *) text, len,
												 (unsigned char *) converted, size, true);
			text = converted;
		}
	}
	return *null ? (Datum) 0 : CStringGetTextDatum(text);
}

/* A copy of the ring that can be read at leisure. */
static CoziPlan *
copy_ring(void)
{
	CoziPlan   *copy = palloc(sizeof(cozi_monitor->plan));

	LWLockAcquire(&cozi_monitor->lock, LW_SHARED);
	memcpy(copy, cozi_monitor->plan, sizeof(cozi_monitor->plan));
	LWLockRelease(&cozi_monitor->lock);
	return copy;
}

/*
 * plans(missing_ok boolean = false)
 *		-> table(number bigint, ended_at timestamptz, dbid oid, userid oid,
 *				 queryid bigint, ms float8, row_count bigint,
 *				 timed_out boolean, query text, plan text, planid bigint)
 *
 * Of other roles' executions, callers outside pg_read_all_stats see neither
 * query identifier nor text nor plan.
 */
/* The columns of plans(). */
enum
{
	PLAN_NUMBER,
	PLAN_ENDED_AT,
	PLAN_DATABASE,
	PLAN_ROLE,
	PLAN_QUERYID,
	PLAN_MS,
	PLAN_ROWS,
	PLAN_TIMED_OUT,
	PLAN_QUERY,
	PLAN_EXPLAINED,
	PLAN_SHAPE,
	PLAN_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_plans);
Datum
cozi_plans(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all = cozi_sees_all_stats();
	CoziPlan   *copy;

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_monitor_ready(PG_GETARG_BOOL(0)))
		return (Datum) 0;
	copy = copy_ring();
	for (int i = 0; i < COZI_PLANS; i++)
	{
		CoziPlan   *plan = &copy[i];
		bool		timed_out = plan->explained[0] == '\0';
		Datum		value[PLAN_COLUMNS] = {0};
		bool		null[PLAN_COLUMNS] = {false};

		if (plan->number == 0)
			continue;
		value[PLAN_NUMBER] = Int64GetDatum((int64) plan->number);
		value[PLAN_ENDED_AT] = TimestampTzGetDatum(plan->ended_at);
		value[PLAN_DATABASE] = ObjectIdGetDatum(plan->database);
		value[PLAN_ROLE] = ObjectIdGetDatum(plan->role);
		value[PLAN_MS] = Float8GetDatum(plan->ms);
		value[PLAN_ROWS] = Int64GetDatum((int64) plan->rows);
		null[PLAN_ROWS] = timed_out;
		value[PLAN_TIMED_OUT] = BoolGetDatum(timed_out);
		value[PLAN_SHAPE] = Int64GetDatum((int64) plan->shape);
		null[PLAN_SHAPE] = plan->shape == 0;
		if (sees_all || plan->role == GetUserId())
		{
			bool		raw = cozi_sees_constants(plan->role);

			value[PLAN_QUERYID] = Int64GetDatum((int64) plan->queryid);
			value[PLAN_QUERY] = text_datum(raw ? plan->query : cozi_mask_query(plan->query),
										   plan->encoding, &null[PLAN_QUERY]);
			value[PLAN_EXPLAINED] = text_datum(raw ? plan->explained :
											   cozi_mask_plan(plan->explained),
											   plan->encoding, &null[PLAN_EXPLAINED]);
		}
		else
		{
			null[PLAN_QUERYID] = null[PLAN_EXPLAINED] = null[PLAN_SHAPE] = true;
			value[PLAN_QUERY] = CStringGetTextDatum("<insufficient privilege>");
		}
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

/* The text of a statement's last slow execution, for those who may see it. */
Datum
cozi_captured(Oid database, Oid role, int64 queryid, bool *null)
{
	char		query[COZI_QUERY_SIZE];
	uint64		number = 0;
	int			encoding = 0;

	*null = true;
	if (cozi_monitor == NULL || (role != GetUserId() && !cozi_sees_all_stats()))
		return (Datum) 0;
	LWLockAcquire(&cozi_monitor->lock, LW_SHARED);
	for (int i = 0; i < COZI_PLANS; i++)
	{
		CoziPlan   *plan = &cozi_monitor->plan[i];

		if (plan->number <= number || plan->database != database ||
			plan->role != role || plan->queryid != (uint64) queryid)
			continue;
		number = plan->number;
		encoding = plan->encoding;
		strcpy(query, plan->query);
	}
	LWLockRelease(&cozi_monitor->lock);
	if (number == 0)
		return (Datum) 0;
	return text_datum(cozi_sees_constants(role) ? query : cozi_mask_query(query), encoding, null);
}

PG_FUNCTION_INFO_V1(cozi_captured_text);

/*
 * captured_text(dbid oid, userid oid, queryid bigint) -> text
 *
 * The text of the statement's last slow execution in the ring, with its
 * constants; NULL if there is none or the caller may not see it.
 */
Datum
cozi_captured_text(PG_FUNCTION_ARGS)
{
	bool		null;
	Datum		value = cozi_captured(PG_GETARG_OID(0), PG_GETARG_OID(1), PG_GETARG_INT64(2),
									  &null);

	if (null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}
