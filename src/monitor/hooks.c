/*
 * monitor/hooks.c
 *		How long statements and transactions take: recording.
 *
 * A statement counts once, when it ends, for the database, the role and the
 * query identifier pg_stat_statements would name, with the time it spent in
 * the executor or, a utility statement, in ProcessUtility.  Statements inside
 * functions, EXPLAIN, CREATE TABLE AS, ... are part of the statement that
 * contains them; EXECUTE counts as what it executes.  A statement that ends in
 * an error counts too, with the time it took so far: without the ones that
 * timed out, percentiles would look best when things are worst.
 *
 * A transaction counts when it commits or aborts, from the arrival of its
 * first statement, for the database and the role that logged in.
 *
 * The hooks are installed after those of every preloaded library, whatever
 * the order of shared_preload_libraries: they see a utility statement's query
 * identifier before pg_stat_statements hides it, and find its clock already
 * made.  What runs in a parallel worker is the leader's.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

#include "monitor/monitor.h"
#include COZI_QUERYJUMBLE_H

/*
 * Among the executor's flags of a query, far above its own: it counts when it
 * ends.  A cursor declared in a utility statement ends outside of any.
 */
#define COUNTS	0x40000000

/* Within a statement, of the client's or not: what starts now is part of it. */
static bool in_statement = false;

/* It is so far only in ExecutorStart, which catches no error: see end_start(). */
static bool in_start = false;

#define TRACK_UTILITY	"pg_stat_statements.track_utility"

/* Does it exist, and not only as a name that anybody may set? */
static bool has_track_utility = false;

/* Did the client have the current transaction do anything? */
static bool transaction_used = false;

static planner_hook_type prev_planner;
static ExecutorStart_hook_type prev_ExecutorStart;
static ExecutorRun_hook_type prev_ExecutorRun;
static ExecutorFinish_hook_type prev_ExecutorFinish;
static ExecutorEnd_hook_type prev_ExecutorEnd;
static ProcessUtility_hook_type prev_ProcessUtility;

/*
 * Is what starts now a statement of the client's?  In no statement run, too,
 * triggers deferred to the end of the transaction, what a login fires, the
 * checks of a parameter's domain, and index expressions under autovacuum.
 */
static bool
client_asks(void)
{
	return !in_statement && !IsParallelWorker() && MyBackendType != B_AUTOVAC_WORKER &&
		(ActivePortal != NULL || MyBackendType != B_BACKEND) &&
		DatumGetInt32(pg_trigger_depth(NULL)) == 0;
}

/* Was it one when it started? */
static inline bool
counts_at_end(QueryDesc *queryDesc)
{
	return (queryDesc->estate->es_top_eflags & COUNTS) != 0;
}

/* Of its plan, while plans are kept. */
static inline uint64
shape_of(QueryDesc *queryDesc)
{
	return cozi_track_plans ? cozi_plan_shape(queryDesc->plannedstmt) : 0;
}

static void
query_failed(QueryDesc *queryDesc, Oid role)
{
	double		seconds;

	if (!cozi_track_latency || !COZI_CLOCK_RUNS(queryDesc))
		return;
	seconds = COZI_CLOCK_SO_FAR(queryDesc);
	if (!INSTR_TIME_IS_ZERO(COZI_CLOCK_STARTED(queryDesc)))
	{
		instr_time	now;

		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, COZI_CLOCK_STARTED(queryDesc));
		seconds += INSTR_TIME_GET_DOUBLE(now);
	}
	cozi_record_failure(queryDesc->plannedstmt->queryId, role, seconds, shape_of(queryDesc),
						queryDesc->sourceText, queryDesc->plannedstmt->stmt_location,
						queryDesc->plannedstmt->stmt_len);
}

static inline PlannedStmt *
plan_on(COZI_PLANNER_ARGS)
{
	if (prev_planner)
		return prev_planner(COZI_PLANNER_PASS);
	return standard_planner(COZI_PLANNER_PASS);
}

/* What functions do while a statement is planned is not a statement. */
static PlannedStmt *
plan_statement(COZI_PLANNER_ARGS)
{
	PlannedStmt *volatile result;
	bool		counts = parse->queryId != 0 && client_asks();

	if (counts)
		cozi_start_running(parse->queryId, GetUserId());
	in_statement = true;
	PG_TRY();
	{
		result = plan_on(COZI_PLANNER_PASS);
	}
	PG_FINALLY();
	{
		in_statement = false;
		if (counts)
			cozi_stop_running();
	}
	PG_END_TRY();
	return result;
}

static PlannedStmt *
latency_planner(COZI_PLANNER_ARGS)
{
	if (in_statement)
		return plan_on(COZI_PLANNER_PASS);
	return plan_statement(COZI_PLANNER_PASS);
}

static inline void
start_on(QueryDesc *queryDesc, int eflags)
{
	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

/* Partitions are pruned here, by functions that may run and catch anything. */
static void
start_pruning(QueryDesc *queryDesc, int eflags)
{
	in_statement = true;
	PG_TRY();
	{
		start_on(queryDesc, eflags);
	}
	PG_FINALLY();
	{
		in_statement = false;
	}
	PG_END_TRY();
}

/* The (sub)transaction aborts: an ExecutorStart that was going on has failed. */
static inline void
end_start(void)
{
	if (in_start)
		in_statement = in_start = false;
}

/* The flags of a parallel worker are the leader's. */
static void
latency_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	bool		counts;

	transaction_used = true;
	if (in_statement)
	{
		start_on(queryDesc, eflags & ~COUNTS);
		return;
	}
	counts = (cozi_track_latency || cozi_track_plans) &&
		queryDesc->plannedstmt->queryId != 0 && client_asks();
	if (counts)
		COZI_CLOCK_BEFORE_START(queryDesc);
	if (queryDesc->plannedstmt->appendRelations != NIL)
		start_pruning(queryDesc, eflags & ~COUNTS);
	else
	{
		in_statement = in_start = true;
		start_on(queryDesc, eflags & ~COUNTS);
		in_statement = in_start = false;
	}
	if (counts)
	{
		COZI_CLOCK_AFTER_START(queryDesc);
		queryDesc->estate->es_top_eflags |= COUNTS;
	}
}

static inline void
run_on(COZI_RUN_ARGS)
{
	if (prev_ExecutorRun)
		prev_ExecutorRun(COZI_RUN_PASS);
	else
		standard_ExecutorRun(COZI_RUN_PASS);
}

static void
latency_ExecutorRun(COZI_RUN_ARGS)
{
	Oid			role;
	bool		counts;

	if (in_statement)
	{
		run_on(COZI_RUN_PASS);
		return;
	}
	role = GetUserId();
	counts = counts_at_end(queryDesc);
	if (counts)
		cozi_start_running(queryDesc->plannedstmt->queryId, role);
	in_statement = true;
	PG_TRY();
	{
		run_on(COZI_RUN_PASS);
	}
	PG_CATCH();
	{
		in_statement = false;
		if (counts)
		{
			cozi_stop_running();
			query_failed(queryDesc, role);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	in_statement = false;
	if (counts)
		cozi_stop_running();
}

static inline void
finish_on(QueryDesc *queryDesc)
{
	if (prev_ExecutorFinish)
		prev_ExecutorFinish(queryDesc);
	else
		standard_ExecutorFinish(queryDesc);
}

/* AFTER triggers run, and fail, here; a query that writes nothing has none. */
static void
latency_ExecutorFinish(QueryDesc *queryDesc)
{
	Oid			role;
	bool		counts;

	if (in_statement ||
		(queryDesc->operation == CMD_SELECT && !queryDesc->plannedstmt->hasModifyingCTE))
	{
		finish_on(queryDesc);
		return;
	}
	role = GetUserId();
	counts = counts_at_end(queryDesc);
	if (counts)
		cozi_start_running(queryDesc->plannedstmt->queryId, role);
	in_statement = true;
	PG_TRY();
	{
		finish_on(queryDesc);
	}
	PG_CATCH();
	{
		in_statement = false;
		if (counts)
		{
			cozi_stop_running();
			query_failed(queryDesc, role);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	in_statement = false;
	if (counts)
		cozi_stop_running();
}

static void
latency_ExecutorEnd(QueryDesc *queryDesc)
{
	uint64		queryid = queryDesc->plannedstmt->queryId;

	if (!in_statement && counts_at_end(queryDesc) && COZI_CLOCK_RUNS(queryDesc))
	{
		double		seconds = COZI_CLOCK_SECONDS(queryDesc);

		if (cozi_track_latency)
			cozi_record_statement(queryid, GetUserId(), seconds, shape_of(queryDesc), false);
		if (cozi_track_plans && cozi_slow_plan_ms >= 0 && seconds * 1000 >= cozi_slow_plan_ms)
			cozi_capture_plan(queryDesc, seconds * 1000);
	}
	if (prev_ExecutorEnd)
		prev_ExecutorEnd(queryDesc);
	else
		standard_ExecutorEnd(queryDesc);
}

/* pg_stat_statements.track_utility, where there is one, says for both. */
static bool
tracks_utility(void)
{
	return !has_track_utility ||
		strcmp(GetConfigOption(TRACK_UTILITY, false, false), "off") != 0;
}

static void
latency_ProcessUtility(PlannedStmt *pstmt, const char *queryString,
					   bool readOnlyTree, ProcessUtilityContext context,
					   ParamListInfo params, QueryEnvironment *queryEnv,
					   DestReceiver *dest, QueryCompletion *qc)
{
	/* pg_stat_statements sets it to 0; ROLLBACK may free the statement */
	uint64		queryid = pstmt->queryId;
	int			location = pstmt->stmt_location;
	int			len = pstmt->stmt_len;
	bool		nests = COZI_UTILITY_COUNTED(pstmt->utilityStmt);
	bool		control = IsA(pstmt->utilityStmt, TransactionStmt);
	bool		within = in_statement;
	bool		counts = nests && cozi_track_latency && queryid != 0 &&
	client_asks() && tracks_utility();
	Oid			role = GetUserId();
	instr_time	start,
				end;

	transaction_used = true;
	INSTR_TIME_SET_ZERO(start);
	if (counts)
	{
		cozi_start_running(queryid, role);
		INSTR_TIME_SET_CURRENT(start);
	}

	in_statement |= nests;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest,
								qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
									dest, qc);
	}
	PG_CATCH();
	{
		in_statement = within;
		if (counts)
		{
			INSTR_TIME_SET_CURRENT(end);
			INSTR_TIME_SUBTRACT(end, start);
			cozi_stop_running();
			cozi_record_failure(queryid, role, INSTR_TIME_GET_DOUBLE(end), 0, queryString,
								location, len);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	in_statement = within;

	if (counts)
	{
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		cozi_stop_running();
		cozi_record_statement(queryid, GetUserId(), INSTR_TIME_GET_DOUBLE(end), 0, control);
	}
}

/*
 * The end of a transaction.  One that wrote has not only committed but
 * flushed and replicated by now, so the time is taken afresh; for others the
 * server will ask for the same instant in a moment and keeps it.
 */
static void
latency_transaction(XactEvent event, void *arg)
{
	bool		used = transaction_used;
	bool		failed = event == XACT_EVENT_ABORT;
	TimestampTz now;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	end_start();
	transaction_used = false;
	cozi_end_running();

	/*
	 * The server itself begins transactions in a session that logs in or
	 * sleeps, with stale clocks; they execute nothing.
	 */
	if (!cozi_track_transactions || (!used && !failed) ||
		MyBackendType != B_BACKEND || !IsNormalProcessingMode())
		return;
	if (failed || TransactionIdIsValid(GetTopTransactionIdIfAny()))
		now = GetCurrentTimestamp();
	else
		now = GetCurrentTransactionStopTimestamp();
	cozi_record_transaction(Max(now - GetCurrentTransactionStartTimestamp(), 0) * 1000, failed);
}

static void
latency_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
					   void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		end_start();
}

/* Once, when every preloaded library has installed its own. */
void
cozi_install_hooks(void)
{
	static bool installed = false;

	if (installed)
		return;
	installed = true;
	has_track_utility = GetConfigOption(TRACK_UTILITY, true, false) != NULL &&
		(GetConfigOptionFlags(TRACK_UTILITY, true) & GUC_CUSTOM_PLACEHOLDER) == 0;
	prev_planner = planner_hook;
	planner_hook = latency_planner;
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = latency_ExecutorStart;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = latency_ExecutorRun;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = latency_ExecutorFinish;
	prev_ExecutorEnd = ExecutorEnd_hook;
	ExecutorEnd_hook = latency_ExecutorEnd;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = latency_ProcessUtility;
	RegisterXactCallback(latency_transaction, NULL);
	RegisterSubXactCallback(latency_subtransaction, NULL);
}
