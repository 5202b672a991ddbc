/*
 * trending/fold_worker.c
 *		Folding beside the voters, where cozi is preloaded.
 *
 * The first voter of a quiet database starts a worker for it; from then on
 * voters leave folding to the worker, which works as long as there is
 * something to fold and goes after WORKER_IDLE without: it holds no
 * connection to a database where nobody votes.  Where no worker can be had
 * (no slot of max_worker_processes is free, or one failed a moment ago),
 * voters fold as if cozi were not preloaded.
 *
 * One slot a database says whether it has a worker; a slot is taken and given
 * back by compare-and-exchange, nothing is locked.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/base.h"
#include "trending/board.h"

#define WORKERS			16		/* databases with a worker at a time */
#define WORKER_PAUSE	100		/* milliseconds between folds */
#define WORKER_IDLE		2000	/* milliseconds without a vote */
#define WORKER_RETRY	10000000	/* microseconds to the next after a
									 * failure */

typedef struct FoldWorkers
{
	CoziShmemHeader header;
	pg_atomic_uint32 databases[WORKERS];	/* 0: a free slot */
	pg_atomic_uint64 failed_at; /* a worker could not be had, or died */
} FoldWorkers;

static Size
workers_size(void)
{
	return sizeof(FoldWorkers);
}

static void
workers_init(CoziShmemHeader *area)
{
	FoldWorkers *workers = (FoldWorkers *) area;

	for (int i = 0; i < WORKERS; i++)
		pg_atomic_init_u32(&workers->databases[i], InvalidOid);
	pg_atomic_init_u64(&workers->failed_at, 0);
}

static CoziShmem workers_shmem = {
	.name = "cozi fold workers",
	.layout = 1,
	.size = workers_size,
	.init = workers_init,
};

PGDLLEXPORT void cozi_fold_worker(Datum database);

/* Take the slot of a database; false if it is taken, or all are. */
static bool
take_slot(FoldWorkers *workers, Oid database, bool *working)
{
	*working = false;
	for (int i = 0; i < WORKERS; i++)
	{
		uint32		is = pg_atomic_read_u32(&workers->databases[i]);

		if (is == database)
		{
			*working = true;
			return false;
		}
	}
	for (int i = 0; i < WORKERS; i++)
	{
		uint32		expected = InvalidOid;

		if (pg_atomic_compare_exchange_u32(&workers->databases[i], &expected, database))
			return true;
	}
	return false;
}

/* Two voters may each have taken one: give back all. */
static void
free_slot(FoldWorkers *workers, Oid database)
{
	for (int i = 0; i < WORKERS; i++)
	{
		uint32		expected = database;

		(void) pg_atomic_compare_exchange_u32(&workers->databases[i], &expected, InvalidOid);
	}
}

static bool
start_worker(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	strlcpy(worker.bgw_library_name, "cozi", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cozi_fold_worker", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cozi fold worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cozi fold worker", BGW_MAXLEN);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * Does a worker fold this database?  Starts one where it may; the voter who
 * does so still folds by himself.
 */
bool
fold_worker_runs(void)
{
	FoldWorkers *workers;
	bool		working;
	TimestampTz failed_at;

	if (!cozi_preloaded())
		return false;
	workers = (FoldWorkers *) cozi_shmem_attach(&workers_shmem, false);
	if (workers == NULL)
		return false;
	failed_at = (TimestampTz) pg_atomic_read_u64(&workers->failed_at);
	if (failed_at != 0 && !TimestampDifferenceExceeds(failed_at, GetCurrentTimestamp(), WORKER_RETRY / 1000))
		return false;
	if (take_slot(workers, MyDatabaseId, &working) && !start_worker())
	{
		free_slot(workers, MyDatabaseId);
		pg_atomic_write_u64(&workers->failed_at, (uint64) GetCurrentTimestamp());
	}
	return working;
}

static void
worker_exits(int code, Datum database)
{
	FoldWorkers *workers = (FoldWorkers *) cozi_shmem_attach(&workers_shmem, false);

	if (code != 0)
		pg_atomic_write_u64(&workers->failed_at, (uint64) GetCurrentTimestamp());
	free_slot(workers, DatumGetObjectId(database));
}

/* Fold every board once, each in a transaction of its own. */
static int64
fold_all(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "cozi fold worker",
												  ALLOCSET_DEFAULT_SIZES);
	List	   *boards;
	ListCell   *lc;
	int64		folded = 0;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	boards = all_boards();
	PopActiveSnapshot();
	CommitTransactionCommand();

	foreach(lc, boards)
	{
		CHECK_FOR_INTERRUPTS();
		StartTransactionCommand();
		folded += fold_if_free(lfirst(lc), WORKER_PAUSE * 1000, 100000);
		CommitTransactionCommand();
	}
	MemoryContextDelete(context);
	return folded;
}

void
cozi_fold_worker(Datum database)
{
	TimestampTz last_work;

	before_shmem_exit(worker_exits, database);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);

	last_work = GetCurrentTimestamp();
	for (;;)
	{
		pgstat_report_activity(STATE_RUNNING, "cozi: folding boards");
		if (fold_all() > 0)
			last_work = GetCurrentTimestamp();
		else if (TimestampDifferenceExceeds(last_work, GetCurrentTimestamp(), WORKER_IDLE))
			break;
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 WORKER_PAUSE, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}

	/* from here on voters fold again; take what the last of them left to us */
	worker_exits(0, database);
	(void) fold_all();
	proc_exit(0);
}

void
cozi_fold_worker_init(void)
{
	cozi_shmem_request(&workers_shmem);
}
