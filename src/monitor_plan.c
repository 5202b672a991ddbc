/*
 * monitor_plan.c
 *		The plans of the slowest executions: a ring of the last 128.
 *
 * A statement that took cozi.slow_plan_ms or more has its plan written down
 * when it ends, as EXPLAIN prints it, with the settings that are not at their
 * defaults.  Only estimates: counting the rows of each node would cost every
 * statement, the fast ones too.  A plan shows constants of the query, so
 * whoever may not see a text may not see the plan.
 *
 * The text is made before the lock is taken; under it there is only a copy.
 * A statement that was cancelled leaves none: after an error the catalogs it
 * would be printed from may not be read.
 */
#include "postgres.h"

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

#include "monitor_latency.h"
#include COZI_EXPLAIN_STATE_H
#include COZI_EXPLAIN_FORMAT_H

bool		cozi_track_plans = true;
int			cozi_slow_plan_ms = 1000;

/* In ExecutorEnd: the query's own memory holds what is made here. */
void
cozi_capture_plan(QueryDesc *queryDesc, double ms)
{
	MemoryContext caller = MemoryContextSwitchTo(queryDesc->estate->es_query_cxt);
	ExplainState *es = NewExplainState();
	TimestampTz now = GetCurrentTimestamp();
	uint64		rows = COZI_ROWS(queryDesc);
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
	plan = &cozi_monitor->plan[cozi_monitor->plans % COZI_PLANS];
	plan->number = ++cozi_monitor->plans;
	plan->ended_at = now;
	plan->database = MyDatabaseId;
	plan->role = GetUserId();
	plan->queryid = queryDesc->plannedstmt->queryId;
	plan->ms = ms;
	plan->rows = rows;
	plan->encoding = GetDatabaseEncoding();
	memcpy(plan->text, es->str->data, len);
	plan->text[len] = '\0';
	LWLockRelease(&cozi_monitor->lock);
	MemoryContextSwitchTo(caller);
}

/* The text in this database's encoding; what has none there is hidden. */
static char *
plan_text(CoziPlan *plan)
{
	int			here = GetDatabaseEncoding();

	if (plan->encoding == here || here == PG_SQL_ASCII || pg_is_ascii(plan->text))
		return plan->text;
	if (plan->encoding == PG_SQL_ASCII || here != PG_UTF8)
		return NULL;
	return pg_any_to_server(plan->text, strlen(plan->text), plan->encoding);
}

/*
 * plans(missing_ok boolean = false)
 *		-> table(number bigint, ended_at timestamptz, dbid oid, userid oid,
 *				 queryid bigint, ms float8, row_count bigint, plan text)
 *
 * Of other roles' plans, callers outside pg_read_all_stats see neither query
 * identifier nor plan.
 */
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
	copy = palloc(sizeof(cozi_monitor->plan));
	LWLockAcquire(&cozi_monitor->lock, LW_SHARED);
	memcpy(copy, cozi_monitor->plan, sizeof(cozi_monitor->plan));
	LWLockRelease(&cozi_monitor->lock);

	for (int i = 0; i < COZI_PLANS; i++)
	{
		CoziPlan   *plan = &copy[i];
		Datum		value[8] = {0};
		bool		null[8] = {false};

		if (plan->number == 0)
			continue;
		value[0] = Int64GetDatum((int64) plan->number);
		value[1] = TimestampTzGetDatum(plan->ended_at);
		value[2] = ObjectIdGetDatum(plan->database);
		value[3] = ObjectIdGetDatum(plan->role);
		value[5] = Float8GetDatum(plan->ms);
		value[6] = Int64GetDatum((int64) plan->rows);
		if (sees_all || plan->role == GetUserId())
		{
			char	   *text = plan_text(plan);

			value[4] = Int64GetDatum((int64) plan->queryid);
			null[7] = text == NULL;

			if (text !=NULL)
				value[7] = CStringGetTextDatum(text);
		}
		else
		{
			null[4] = true;
			value[7] = CStringGetTextDatum("<insufficient privilege>");
		}
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

void
cozi_monitor_plan_init(void)
{
	DefineCustomBoolVariable("cozi.track_plans",
							 "Keeps the plans of slow executions.",
							 NULL,
							 &cozi_track_plans,
							 true,
							 PGC_SUSET,
							 0,
							 NULL,
							 NULL,
							 NULL);
	DefineCustomIntVariable("cozi.slow_plan_ms",
							"Sets the execution time from which on a plan is kept.",
							"-1 keeps none, 0 keeps the plan of every statement.",
							&cozi_slow_plan_ms,
							1000,
							-1,
							INT_MAX,
							PGC_SUSET,
							GUC_UNIT_MS,
							NULL,
							NULL,
							NULL);
}
