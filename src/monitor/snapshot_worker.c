/*
 * monitor/snapshot_worker.c
 *		Takes a snapshot of the statistics every cozi.snapshot_interval.
 *
 * Two processes.  The launcher lives as long as the server and has no
 * connection to any database, so that CREATE DATABASE ... TEMPLATE and DROP
 * DATABASE find nobody.  At each tick it starts a second one for each database
 * of cozi.snapshot_database in turn, which connects to it, calls
 * cozi.snapshot() and exits.  Whatever goes wrong there (no such database, no
 * extension in it, a full disk) ends that process only; the launcher then waits
 * twice as long, up to 16 intervals or five minutes, until all snapshots succeed
 * or the settings are reloaded.  Not longer: the minutes after a full disk are
 * the ones that are looked at.
 *
 * Where the setting is "*", a third process, connected to no database, lists
 * those that there are; one without the extension is passed over.
 *
 * The launcher starts when the server accepts writes: on a standby that is
 * its promotion.  snapshot() runs as its owner, restricted as a maintenance
 * command is: who can replace the function gains nothing.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#include "monitor/monitor.h"

#define MAX_BACKOFF		16		/* intervals */
#define MAX_PAUSE		300		/* s, if the interval is not longer itself */

PGDLLEXPORT void cozi_snapshot_launcher(Datum arg);
PGDLLEXPORT void cozi_snapshot_tick(Datum arg);
PGDLLEXPORT void cozi_snapshot_all(Datum arg);

#define ALL_DATABASES	"*"

/* The owner of cozi.snapshot(), InvalidOid where there is none. */
static Oid
snapshot_owner(void)
{
	List	   *name = list_make2(makeString("cozi"), makeString("snapshot"));
	Oid			argtypes[] = {INTERVALOID};
	Oid			function;
	HeapTuple	tuple;
	Oid			owner;

	if (!OidIsValid(get_extension_oid("cozi", true)))
		return InvalidOid;
	function = LookupFuncName(name, lengthof(argtypes), argtypes, true);
	if (!OidIsValid(function))
		return InvalidOid;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* In the database that this process is connected to; false: without the extension. */
static bool
take_snapshot(const char *database)
{
	Oid			owner;
	CoziSavedUser caller;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	owner = snapshot_owner();
	if (!OidIsValid(owner) && strcmp(cozi_snapshot_database, ALL_DATABASES) == 0)
		return false;
	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("there is no extension \"cozi\" in database \"%s\"", database),
				 errhint("Run CREATE EXTENSION cozi there, or change cozi.snapshot_database.")));
	cozi_switch_user(owner, SECURITY_RESTRICTED_OPERATION, &caller);
	pgstat_report_activity(STATE_RUNNING, "SELECT cozi.snapshot()");
	SPI_connect();
	if (SPI_execute("SELECT cozi.snapshot()", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cozi.snapshot() could not be called");
	SPI_finish();
	cozi_restore_user(&caller);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return true;
}

/* The process of one snapshot: of the database that is its argument. */
void
cozi_snapshot_tick(Datum arg)
{
	const char *database = MyBgworkerEntry->bgw_extra;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(database, NULL, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("lock_timeout", "10s", PGC_USERSET, PGC_S_SESSION);
	if (take_snapshot(database))
		pg_atomic_fetch_add_u64(&cozi_monitor->snapshots, 1);
	pg_atomic_fetch_add_u64(&cozi_monitor->snapshot_ticks, 1);
}

/* Did a process come to its good end?  Waits for it. */
static bool
run_process(const char *function, const char *database)
{
	uint64		before = pg_atomic_read_u64(&cozi_monitor->snapshot_ticks);
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	cozi_describe_worker(&worker, "cozi snapshot", function);
	strlcpy(worker.bgw_extra, database, BGW_EXTRALEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no snapshot was taken: all background workers are in use"),
				 errhint("Consider increasing the configuration parameter "
						 "\"max_worker_processes\".")));
		return false;
	}

	/*
	 * Look whether it has gone: a worker without a database hears no signal
	 * of the postmaster's.  One that lists the databases takes part in the
	 * barriers of DROP DATABASE, for which the process of the snapshot may be
	 * waiting.
	 */
	for (;;)
	{
		pid_t		pid;

		if (GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	SetLatch(MyLatch);			/* for what came meanwhile */
	pfree(handle);
	return pg_atomic_read_u64(&cozi_monitor->snapshot_ticks) != before;
}

static bool
snapshot_each(List *databases)
{
	bool		good = true;
	ListCell   *cell;

	foreach(cell, databases)
		good &= run_process("cozi_snapshot_tick", lfirst(cell));
	return good;
}

/* The names of the databases that can be connected to, but for the templates. */
static List *
all_databases(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *names = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext local;

		if (!database->datallowconn || database->datistemplate || database->datconnlimit < -1)
			continue;
		local = MemoryContextSwitchTo(caller);
		names = lappend(names, pstrdup(NameStr(database->datname)));
		MemoryContextSwitchTo(local);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return names;
}

static bool
still_exists(const char *database)
{
	ListCell   *cell;

	foreach(cell, all_databases())
		if (strcmp(lfirst(cell), database) == 0)
		return true;
	return false;
}

/*
 * The process that goes through all databases, but for those that are dropped
 * meanwhile.  What each adds to the ticks is taken back, so that one that failed
 * is seen.
 */
void
cozi_snapshot_all(Datum arg)
{
	ListCell   *cell;
	bool		good = true;
	uint64		before;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before = pg_atomic_read_u64(&cozi_monitor->snapshot_ticks);
	foreach(cell, all_databases())
		if (!run_process("cozi_snapshot_tick", lfirst(cell)) && still_exists(lfirst(cell)))
		good = false;
	pg_atomic_write_u64(&cozi_monitor->snapshot_ticks, before + (good ? 1 : 0));
}

/* One round of snapshots: did all of them come about? */
static bool
run_round(void)
{
	char	   *setting = pstrdup(cozi_snapshot_database);
	List	   *databases = NIL;
	bool		good;

	if (strcmp(setting, ALL_DATABASES) == 0)
		good = run_process("cozi_snapshot_all", "");
	else
	{
		/* what is no list is a name */
		if (!SplitGUCList(setting, ',', &databases))
			databases = list_make1(strcpy(setting, cozi_snapshot_database));
		good = snapshot_each(databases);
	}
	list_free(databases);
	pfree(setting);
	return good;
}

/* How long to wait before tick n of a row of failures; -1: not at all. */
static long
pause_ms(int failures)
{
	if (cozi_snapshot_interval == 0 || cozi_snapshot_database[0] == '\0')
		return -1;
	return Max(Min(Min(1L << Min(failures, 10), MAX_BACKOFF) * cozi_snapshot_interval, MAX_PAUSE),
			   cozi_snapshot_interval) * 1000L;
}

void
cozi_snapshot_launcher(Datum arg)
{
	TimestampTz last = GetCurrentTimestamp();
	int			failures = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	while (!ShutdownRequestPending)
	{
		long		pause = pause_ms(failures);
		long		left = pause < 0 ? -1 :
		Max(pause - TimestampDifferenceMilliseconds(last, GetCurrentTimestamp()), 0);

		if (left != 0)
		{
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (left > 0 ? WL_TIMEOUT : 0),
							 left, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			failures = 0;
		}
		if (left == 0)
		{
			last = GetCurrentTimestamp();
			if (run_round())
				failures = 0;
			else
			{
				failures++;
				pg_atomic_fetch_add_u64(&cozi_monitor->snapshot_failures, 1);
				ereport(LOG, (errmsg("the next snapshot is attempted in %ld s",
									 pause_ms(failures) / 1000)));
			}
		}
	}
}
