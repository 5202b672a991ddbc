/*
 * monitor/init.c
 *		The front door of the room: its settings, and what a preloaded library
 *		sets up.
 *
 * Without preloading the settings exist and nothing is collected.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/guc.h"

#include "monitor/monitor.h"
#include COZI_QUERYJUMBLE_H

bool		cozi_track_latency = true;
bool		cozi_track_transactions = true;
bool		cozi_track_errors = true;
bool		cozi_track_plans = true;
int			cozi_slow_plan_ms = 1000;
bool		cozi_show_constants = false;
int			cozi_max_statements = 5000;
int			cozi_snapshot_interval = 60;
int			cozi_wait_interval = 50;
char	   *cozi_snapshot_database = "";

static int	snapshot_retention = 7 * 24 * 60;	/* cozi.snapshot() reads it */

static void
define_switch(const char *name, const char *description, bool *variable)
{
	DefineCustomBoolVariable(name, description, NULL, variable, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

/* What is collected. */
static void
define_collecting(void)
{
	define_switch("cozi.track_latency", "Collects the latencies of statements.",
				  &cozi_track_latency);
	define_switch("cozi.track_transactions",
				  "Collects the durations of client sessions' transactions.",
				  &cozi_track_transactions);
	define_switch("cozi.track_errors", "Counts errors by database and SQLSTATE.",
				  &cozi_track_errors);
	define_switch("cozi.track_plans", "Keeps the plans of slow executions.",
				  &cozi_track_plans);
	DefineCustomBoolVariable("cozi.show_constants",
							 "Shows captured plans and texts with their constants.",
							 "While it is off, only superusers and the role that ran the "
							 "statement see constants, bound values and policies' constants.",
							 &cozi_show_constants, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("cozi.slow_plan_ms",
							"Sets the execution time from which on a plan is kept.",
							"-1 keeps none, 0 keeps the plan of every statement.",
							&cozi_slow_plan_ms, 1000, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("cozi.wait_interval",
							"Sets the time between two looks at what each session waits for.",
							"0 looks at none; 10 to 100 ms are useful.",
							&cozi_wait_interval, 50, 0, 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("cozi.max_statements",
							"Sets for how many statements latencies are kept.",
							"A statement is a database, a role and a query identifier. "
							"Each takes 2,704 bytes of shared memory.",
							&cozi_max_statements, 5000, 100, 1000000,
							process_shared_preload_libraries_in_progress ?
							PGC_POSTMASTER : PGC_SIGHUP,
							0, NULL, NULL, NULL);
}

/* What the snapshot worker does. */
static void
define_snapshots(void)
{
	DefineCustomIntVariable("cozi.snapshot_interval",
							"Sets the time between snapshots the server takes by itself.",
							"0 takes none.",
							&cozi_snapshot_interval, 60, 0, 24 * 60 * 60,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("cozi.snapshot_database",
							   "Sets the databases whose cozi.snapshot() the server calls by "
							   "itself.",
							   "A list of names, or * for each that has the extension. While "
							   "it is empty, none is called.",
							   &cozi_snapshot_database, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("cozi.snapshot_retention",
							"Sets how long snapshots are kept.",
							NULL,
							&snapshot_retention, 7 * 24 * 60, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
}

/* A process that lives as long as the server. */
static void
register_worker(const char *name, const char *function, BgWorkerStartTime start)
{
	BackgroundWorker worker;

	cozi_describe_worker(&worker, name, function);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = start;
	worker.bgw_restart_time = 60;
	RegisterBackgroundWorker(&worker);
}

void
cozi_monitor_init(void)
{
	define_collecting();
	define_snapshots();
	if (!process_shared_preload_libraries_in_progress)
		return;
	cozi_request_monitor();
	cozi_count_errors_of_log();
	register_worker("cozi snapshot launcher", "cozi_snapshot_launcher",
					BgWorkerStart_RecoveryFinished);
	register_worker("cozi wait sampler", "cozi_wait_sampler", BgWorkerStart_ConsistentState);
	EnableQueryId();
}
