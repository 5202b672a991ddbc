/*
 * kept/fold_commit.c
 *		Folding on a writer's way out, where no worker does it.
 *
 * A writer whose transaction is about to commit folds what is pending, at most
 * every FOLD_INTERVAL for all writers together: in the last moment before the
 * commit, never before a PREPARE, so that no open transaction holds the lock (a
 * worker is asked for then); in a subtransaction, so that no error of a fold
 * reaches the write; and only if every lock is free at once.  A writer that found
 * more than FOLD_ROWS folds again at its next commit: else the delta would grow
 * under many writers.
 *
 * The law: nothing of a user's may run here, for the server has closed portals
 * and deferred triggers by now.  So only a public table whose indexes and types
 * are pg_catalog's is folded here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kept/kept.h"

#define FOLD_INTERVAL	500000	/* microseconds between folds of all writers */
#define FOLD_RETRY		5000000 /* microseconds after a fold that failed */
#define FOLD_ROWS		1000	/* rows at a time, or as many as were appended */

/* A kept table that this transaction has appended to. */
typedef struct Touched
{
	int32		id;
	int64		appended;
} Touched;

static List *touched = NIL;		/* in TopTransactionContext */

/* A worker has something to do, once this transaction has committed. */
static bool called = false;

/* When this session may next try to fold a kept table. */
typedef struct NextTry
{
	int32		id;				/* hash key */
	TimestampTz at;
	bool		behind;			/* the last fold left rows: no wait */
} NextTry;

static HTAB *tries = NULL;

static NextTry *
find_try(int32 id)
{
	NextTry    *next;
	bool		found;

	if (tries == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int32),.entrysize = sizeof(NextTry)};

		tries = hash_create("cozi folds", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	next = hash_search(tries, &id, HASH_ENTER, &found);
	if (!found)
	{
		next->at = 0;
		next->behind = false;
	}
	return next;
}

static void
fold_touched(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, touched)
	{
		Touched    *each = lfirst(lc);
		NextTry    *next = find_try(each->id);
		char	   *failure;
		int64		rows = Max(FOLD_ROWS, each->appended);
		bool		at_once = rows > FOLD_ROWS || next->behind;

		/* a clock set back must not stop us */
		if (now < next->at && next->at - now <= FOLD_RETRY && !at_once)
			continue;
		next->at = now + FOLD_INTERVAL;
		/* above READ COMMITTED no row of the public table could be written */
		next->behind =
			cozi_kept_fold_safely(each->id, rows, at_once ? 0 : FOLD_INTERVAL,
								  XactIsoLevel == XACT_READ_COMMITTED ? FOLD_AT_COMMIT :
								  MERGE_AT_COMMIT, 0, &failure) >= rows;
		if (failure != NULL)
			next->at = GetCurrentTimestamp() + FOLD_RETRY;
	}
}

static void
at_commit(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			/* whatever the isolation level, a worker is asked for */
			if (touched == NIL || cozi_kept_restoring())
				return;
			if (cozi_kept_worker_runs())
				called = true;
			else if (!XactReadOnly)
				fold_touched();
			return;
		case XACT_EVENT_PRE_PREPARE:
			/* another session commits it, and that one has nothing to fold */
			if (touched != NIL || called)
				(void) cozi_kept_worker_runs();
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* one that was about to leave may have looked before */
			if (called && event == XACT_EVENT_COMMIT)
				(void) cozi_kept_worker_runs();
			touched = NIL;
			called = false;
			return;
		default:
			return;
	}
}

/* There is something for a worker to see when this transaction has committed. */
void
cozi_kept_call_worker(void)
{
	called = true;
}

/* Called by the trigger: this transaction appended rows to a delta. */
void
cozi_kept_fold_at_commit(const Kept *kept, int64 appended)
{
	MemoryContext caller;
	ListCell   *lc;
	Touched    *each;

	foreach(lc, touched)
	{
		each = lfirst(lc);
		if (each->id == kept->id)
		{
			each->appended += appended;
			return;
		}
	}
	caller = MemoryContextSwitchTo(TopTransactionContext);
	each = palloc(sizeof(Touched));
	each->id = kept->id;
	each->appended = appended;
	touched = lappend(touched, each);
	MemoryContextSwitchTo(caller);
}

void
cozi_kept_fold_commit_init(void)
{
	RegisterXactCallback(at_commit, NULL);
}
