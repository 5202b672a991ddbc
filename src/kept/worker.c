/*
 * kept/worker.c
 *		Folding beside the writers, where the library is preloaded.
 *
 * The first writer of a quiet database starts a worker for it; from then on
 * writers leave folding to the worker, which runs as long as there is something
 * to fold and ends after WORKER_IDLE without.  Where no worker can be had, or one
 * has failed a moment ago, writers fold as if the library were not preloaded.
 *
 * Each database has one slot, which says that a worker was asked for, and since
 * when one is alive.  The law: a slot is never left taken.  A worker that does
 * not answer in WORKER_START, or whose process is gone, is not believed, and the
 * next writer takes the slot anew; a slot has no other meaning, so that two
 * workers of one database do no harm.
 *
 * Each kept table is folded in a transaction of its own, with a time limit.  One
 * that fails is tried again after a pause that doubles.
 *
 * Rooms above give the worker a job: what is to be done after a fold.  A job says
 * whether it has more to do soon, and the worker stays for that.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "kept/kept.h"

#define WORKERS			16		/* databases with a worker at a time */
#define WORKER_PAUSE	100		/* milliseconds between folds */
#define WORKER_IDLE		1000	/* milliseconds without a row to fold */
#define WORKER_ROWS		100000	/* rows of the delta at a time */
#define WORKER_LIMIT	5000	/* milliseconds for one kept table */
#define WORKER_START	5000000 /* microseconds to the first sign */
#define WORKER_SIGN		1000000 /* microseconds: its last sign is recent */
#define WORKER_RETRY	10000000	/* microseconds after a failure */
#define RETRY_FIRST		1000000 /* microseconds: a kept table that fails */
#define RETRY_LAST		60000000
#define CULPRIT_PAUSE	600000000
#define MOST_JOBS		4

typedef struct Slot
{
	pg_atomic_uint32 database;	/* 0: free */
	pg_atomic_uint32 pid;		/* 0: not started yet */
	pg_atomic_uint64 sign;		/* when it was asked for, or last seen alive */
} Slot;

/* A kept table in whose fold a worker died: code of its owner cannot be canceled. */
typedef struct Culprit
{
	pg_atomic_uint32 database;
	pg_atomic_uint32 id;
	pg_atomic_uint64 until;		/* it is left alone until then */
}			Culprit;

typedef struct FoldWorkers
{
	CoziShmemHeader header;
	Slot		slots[WORKERS];
	Culprit		culprits[WORKERS];
	pg_atomic_uint64 failed_at; /* a worker could not be had, or died */
} FoldWorkers;

/* When a kept table that failed is tried again. */
typedef struct Pause
{
	int32		id;				/* hash key */
	TimestampTz until;
	int64		length;
} Pause;

static KeptJob jobs[MOST_JOBS];
static int	njobs = 0;
static HTAB *pauses = NULL;
static bool leaving = false;
static int32 folding = 0;		/* the kept table whose fold is under way */
static volatile sig_atomic_t cancelable = false;	/* a fold or a job is
													 * under way */

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
	{
		pg_atomic_init_u32(&workers->slots[i].database, InvalidOid);
		pg_atomic_init_u32(&workers->slots[i].pid, 0);
		pg_atomic_init_u64(&workers->slots[i].sign, 0);
		pg_atomic_init_u32(&workers->culprits[i].database, InvalidOid);
		pg_atomic_init_u32(&workers->culprits[i].id, 0);
		pg_atomic_init_u64(&workers->culprits[i].until, 0);
	}
	pg_atomic_init_u64(&workers->failed_at, 0);
}

static CoziShmem workers_shmem = {
	.name = "cozi fold workers",
	.layout = 3,
	.size = workers_size,
	.init = workers_init,
};

PGDLLEXPORT void cozi_kept_worker(Datum database);

static bool
is_recent(uint64 at, int64 limit)
{
	int64		age = GetCurrentTimestamp() - (TimestampTz) at;

	return age < limit && age > -limit;
}

static bool
is_alive(Slot *slot)
{
	uint32		pid = pg_atomic_read_u32(&slot->pid);

	if (is_recent(pg_atomic_read_u64(&slot->sign), pid == 0 ? WORKER_START : WORKER_SIGN))
		return true;
	return pid != 0 && BackendPidGetProc((int) pid) != NULL;
}

/* The slot of a database; NULL if it has none. */
static Slot *
find_slot(FoldWorkers *workers, Oid database)
{
	for (int i = 0; i < WORKERS; i++)
		if (pg_atomic_read_u32(&workers->slots[i].database) == database)
			return &workers->slots[i];
	return NULL;
}

static void
free_slot(Slot *slot, Oid database)
{
	uint32		expected = database;

	pg_atomic_write_u32(&slot->pid, 0);
	(void) pg_atomic_compare_exchange_u32(&slot->database, &expected, InvalidOid);
}

static Slot *
take_slot(FoldWorkers *workers, Oid database)
{
	for (int i = 0; i < WORKERS; i++)
	{
		Slot	   *slot = &workers->slots[i];
		uint32		expected = InvalidOid;

		if (pg_atomic_compare_exchange_u32(&slot->database, &expected, database))
		{
			pg_atomic_write_u32(&slot->pid, 0);
			pg_atomic_write_u64(&slot->sign, (uint64) GetCurrentTimestamp());
			return slot;
		}
	}
	return NULL;
}

/*
 * Does a worker fold this database?  Starts one where it may; the writer who
 * does so still folds.
 */
bool
cozi_kept_worker_runs(void)
{
	FoldWorkers *workers;
	Slot	   *slot;
	uint64		failed_at;

	if (!cozi_preloaded())
		return false;
	workers = (FoldWorkers *) cozi_shmem_attach(&workers_shmem, false);
	if (workers == NULL)
		return false;
	slot = find_slot(workers, MyDatabaseId);
	if (slot != NULL && is_alive(slot))
		return pg_atomic_read_u32(&slot->pid) != 0;
	if (slot != NULL)
	{
		/* it never started, or is gone without a word */
		pg_atomic_write_u64(&workers->failed_at, (uint64) GetCurrentTimestamp());
		free_slot(slot, MyDatabaseId);
	}
	failed_at = pg_atomic_read_u64(&workers->failed_at);
	if (failed_at != 0 && is_recent(failed_at, WORKER_RETRY))
		return false;
	slot = take_slot(workers, MyDatabaseId);
	if (slot != NULL && !cozi_start_worker("cozi fold worker", "cozi_kept_worker",
										   ObjectIdGetDatum(MyDatabaseId)))
	{
		free_slot(slot, MyDatabaseId);
		pg_atomic_write_u64(&workers->failed_at, (uint64) GetCurrentTimestamp());
	}
	return false;
}

static Culprit *
find_culprit(FoldWorkers *workers, Oid database, int32 id)
{
	uint64		now = (uint64) GetCurrentTimestamp();

	for (int i = 0; i < WORKERS; i++)
	{
		Culprit    *each = &workers->culprits[i];

		if (pg_atomic_read_u32(&each->database) == database &&
			pg_atomic_read_u32(&each->id) == (uint32) id &&
			pg_atomic_read_u64(&each->until) > now)
			return each;
	}
	return NULL;
}

/* Remember it, in the place that is free the longest. */
static void
add_culprit(FoldWorkers *workers, Oid database, int32 id)
{
	Culprit    *place = &workers->culprits[0];

	for (int i = 1; i < WORKERS; i++)
		if (pg_atomic_read_u64(&workers->culprits[i].until) < pg_atomic_read_u64(&place->until))
			place = &workers->culprits[i];
	pg_atomic_write_u32(&place->database, database);
	pg_atomic_write_u32(&place->id, (uint32) id);
	pg_atomic_write_u64(&place->until, (uint64) GetCurrentTimestamp() + CULPRIT_PAUSE);
}

static void
worker_exits(int code, Datum database)
{
	FoldWorkers *workers = (FoldWorkers *) cozi_shmem_attach(&workers_shmem, false);
	Slot	   *slot = find_slot(workers, DatumGetObjectId(database));

	if (code != 0)
		pg_atomic_write_u64(&workers->failed_at, (uint64) GetCurrentTimestamp());
	if (code != 0 && folding != 0 && cozi_kept_limit_exceeded())
		add_culprit(workers, DatumGetObjectId(database), folding);
	if (slot != NULL && pg_atomic_read_u32(&slot->pid) == (uint32) MyProcPid)
		free_slot(slot, DatumGetObjectId(database));
}

static void
give_sign(Oid database)
{
	FoldWorkers *workers = (FoldWorkers *) cozi_shmem_attach(&workers_shmem, false);
	Slot	   *slot = find_slot(workers, database);

	if (leaving)
		return;
	if (slot == NULL)
		slot = take_slot(workers, database);
	if (slot == NULL)
		return;
	pg_atomic_write_u64(&slot->sign, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u32(&slot->pid, (uint32) MyProcPid);
}

/* Say so in the views; in a transaction. */
static void
note_culprit(int32 id)
{
	KeptLocal	local;
	Kept		kept;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (cozi_kept_by_id(id, &kept) && cozi_kept_local(id, &local) && local.stalled_since == 0)
		cozi_kept_note(&kept, GetCurrentTimestamp(),
					   "a function of its owner does not end, nor can it be canceled."
					   " Drop the index that calls it, then call cozi.fold().");
	PopActiveSnapshot();
}

/* A cancel ends a fold or a job, and never the worker. */
static void
cancel_handler(SIGNAL_ARGS)
{
	if (cancelable)
		StatementCancelHandler(postgres_signal_arg);
}

static void
set_cancelable(bool on)
{
	cancelable = on;
	QueryCancelPending = false;
}

/* Fold one kept table, unless it has failed a moment ago. */
static int64
fold_one(int32 id)
{
	char	   *failure = NULL;
	TimestampTz now = GetCurrentTimestamp();
	Pause	   *pause = hash_search(pauses, &id, HASH_FIND, NULL);
	FoldWorkers *workers = (FoldWorkers *) cozi_shmem_attach(&workers_shmem, false);
	int64		folded;

	if (pause != NULL && now < pause->until)
		return 0;
	StartTransactionCommand();
	if (find_culprit(workers, MyDatabaseId, id) != NULL)
	{
		note_culprit(id);
		CommitTransactionCommand();
		return 0;
	}
	folding = id;
	set_cancelable(true);
	folded = cozi_kept_fold_safely(id, WORKER_ROWS, WORKER_PAUSE * 1000, FOLD_BY_WORKER,
								   WORKER_LIMIT, &failure);
	set_cancelable(false);
	if (failure != NULL)
	{
		bool		found;

		pause = hash_search(pauses, &id, HASH_ENTER, &found);
		pause->length = found ? Min(pause->length * 2, RETRY_LAST) : RETRY_FIRST;
		pause->until = GetCurrentTimestamp() + pause->length;
	}
	else if (pause != NULL)
		(void) hash_search(pauses, &id, HASH_REMOVE, NULL);
	CommitTransactionCommand();
	folding = 0;
	pgstat_report_stat(true);
	return folded;
}

/* Those whose public table calls no code of their owner, or the others. */
static int64
fold_some(Oid database, List *list, bool foreign)
{
	ListCell   *lc;
	int64		folded = 0;

	foreach(lc, list)
	{
		Kept	   *kept = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if ((kept->adopted && kept->owner == InvalidOid) == foreign)
		{
			int64		n;

			give_sign(database);
			n = fold_one(kept->id);
			if (n > 0 && kept->kind->folded != NULL)
				kept->kind->folded(kept, false);
			folded += n;
		}
	}
	return folded;
}

/* All kept tables.  owner is not used here: invalid marks foreign code. */
static List *
list_all(MemoryContext context)
{
	MemoryContext caller;
	List	   *list;
	ListCell   *lc;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	caller = MemoryContextSwitchTo(context);
	list = cozi_kept_all();
	foreach(lc, list)
	{
		Kept	   *kept = lfirst(lc);

		if (kept->adopted && ConditionalLockRelationOid(kept->relation, AccessShareLock) &&
			get_rel_name(kept->relation) != NULL &&
			cozi_kept_foreign_code(kept->relation) != NULL)
			kept->owner = InvalidOid;
	}
	MemoryContextSwitchTo(caller);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return list;
}

/* Fold every kept table once, those with code of their owner last. */
static int64
fold_all(Oid database)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "cozi fold worker",
												  ALLOCSET_DEFAULT_SIZES);
	List	   *list = list_all(context);
	int64		folded;

	folded = fold_some(database, list, false);
	folded += fold_some(database, list, true);
	MemoryContextDelete(context);
	return folded;
}

/* Called by the room of a job, when the library is loaded. */
void
cozi_kept_add_job(KeptJob job)
{
	if (njobs == MOST_JOBS)
		elog(ERROR, "too many jobs of the fold worker");
	jobs[njobs++] = job;
}

/* Fold everything, then do the jobs; is there more to do soon? */
static bool
work(Oid database)
{
	bool		more = fold_all(database) > 0;

	for (int i = 0; i < njobs; i++)
	{
		give_sign(database);
		set_cancelable(true);
		more |= jobs[i] ();
		set_cancelable(false);
	}
	return more;
}

/*
 * From here on writers fold again, or start another worker: take what the last of
 * them have left to us.  False if we must stay for that.
 */
static bool
leave(Oid database)
{
	leaving = true;
	worker_exits(0, ObjectIdGetDatum(database));
	leaving = !work(database);
	return leaving;
}

void
cozi_kept_worker(Datum database)
{
	HASHCTL		ctl = {.keysize = sizeof(int32),.entrysize = sizeof(Pause)};
	TimestampTz last_work = GetCurrentTimestamp();

	before_shmem_exit(worker_exits, database);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, cancel_handler);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);

	pauses = hash_create("cozi fold pauses", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	for (;;)
	{
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		give_sign(DatumGetObjectId(database));
		pgstat_report_activity(STATE_RUNNING, "cozi: folding");
		if (work(DatumGetObjectId(database)))
			last_work = GetCurrentTimestamp();
		else if (TimestampDifferenceExceeds(last_work, GetCurrentTimestamp(), WORKER_IDLE) &&
				 leave(DatumGetObjectId(database)))
			break;
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 WORKER_PAUSE, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	proc_exit(0);
}

void
cozi_kept_worker_init(void)
{
	cozi_shmem_request(&workers_shmem);
}
