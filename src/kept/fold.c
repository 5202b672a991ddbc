/*
 * kept/fold.c
 *		Folding: moving what is pending from the delta into state and public table.
 *
 * A fold has two steps in one transaction.  The first takes what is ready out of
 * the delta and adds it to the state, below SQL, with no user's code.  The
 * second writes the rows of the keys that changed to the public table, as its
 * owner (kept/public.c).
 *
 * No scheduler is needed: where the library is preloaded a worker folds
 * (kept/worker.c), else a writer whose transaction is about to commit
 * (kept/fold_commit.c).
 *
 * The laws: who takes rows out of a delta holds the fold lock of the kept table
 * to the end of the transaction.  It is an advisory lock of a class that SQL
 * cannot name, so that no client can hold it.  Before each fold the shape and the
 * owner of the public table are looked at.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "kept/change.h"
#include "kept/kept.h"

/* After the limit: cancel once a second, for code that catches the first. */
#define CANCEL_EVERY	1000
#define CANCELS			5

/* Level of the outermost transaction that holds a fold lock; 0: none does. */
static int	lock_level = 0;

static TimeoutId limit_timeout;
static bool limit_registered = false;
static volatile sig_atomic_t limit_exceeded = 0;

bool
cozi_kept_lock(int32 id, bool wait)
{
	LOCKTAG		tag;
	int			level = GetCurrentTransactionNestLevel();

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) id, KEPT_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (lock_level == 0 || level < lock_level)
		lock_level = level;
	return true;
}

/*
 * The owner changed without our seeing it (REASSIGN OWNED), or the kept table
 * came with a dump.  A new owner takes over no code of the former one.
 */
void
cozi_kept_accept(Kept *kept)
{
	Oid			owner = cozi_relation_owner(kept->relation);
	char	   *code;

	if (kept->adopted && kept->owner == owner)
		return;
	code = kept->adopted ? cozi_kept_handed_over(kept) : NULL;
	if (code != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of \"%s\" has changed, and code of the former owner is on it",
						get_rel_name(kept->relation)),
				 errhint("Run %s, then cozi.fold().", code)));
	if (kept->adopted)
		cozi_kept_restore_live(kept);
	cozi_kept_adopt(kept);
	cozi_kept_depend(kept);
}

static void
refuse_misfit(const Kept *kept)
{
	char	   *misfit = cozi_kept_misfit(kept);

	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be folded: %s", get_rel_name(kept->relation), misfit),
				 errhint("Undo that, then call cozi.fold().")));
}

/*
 * Number the keys that statements have written directly, and leave them out: there
 * is nothing to add.  Returns how many keys are left.
 */
static int
number_written(const Kept *kept, KeptChanges *changes, KeptGroup **groups, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		if (groups[i]->key.due == 0 &&
			VARSIZE_ANY_EXHDR(kept->kind->store(groups[i]->sum)) == 0)
			cozi_kept_number(changes, &groups[i]->key);
		else
			groups[left++] = groups[i];
	}
	return left;
}

/* Is the row what it was before, by the sum that was stored? */
static bool
is_as_before(const Kept *kept, const bytea *stored, const KeptPublicRow *row, void *sum)
{
	Datum		values[KEPT_MAX_COLUMNS];
	bool		nulls[KEPT_MAX_COLUMNS];

	kept->kind->init(sum);
	kept->kind->add_stored(sum, stored);
	if (!row->exists || !kept->kind->columns(sum, kept, values, nulls))
		return false;
	for (int i = 0; i < kept->kind->ncolumns; i++)
		if (nulls[i] || row->nulls[i] || values[i] != row->values[i])
			return false;
	return true;
}

/*
 * Add what was taken to the state; returns the rows to be written.  Of a steady kind
 * those that are as before need not be, unless some were set aside.
 */
static KeptPublicRow *
fold_state(const Kept *kept, KeptStore *store, KeptSums *sums, Snapshot before,
		   TimestampTz now, bool skip, int *nrows)
{
	int			n;
	KeptGroup **groups = cozi_kept_list(sums, &n);
	KeptPublicRow *rows = palloc_extended(Max(n, 1) * sizeof(KeptPublicRow),
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	Snapshot	snapshot;
	KeptHidden *hidden;
	KeptChanges *changes;
	MemoryContext caller = MemoryContextSwitchTo(cozi_kept_context(sums));
	void	   *scratch = palloc(kept->kind->sum_size);

	*nrows = 0;
	changes = cozi_kept_open_changes(kept, sums, before);
	if (kept->kind->eager)
	{
		if (changes != NULL)
			n = number_written(kept, changes, groups, n);
		n = cozi_kept_take_slots(kept, store, groups, n, now);
	}
	/* taken after the slots: it sees what their last holders have committed */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	hidden = cozi_kept_open_hidden(kept, sums, snapshot);
	for (int i = 0; i < n; i++)
	{
		KeptGroup  *group = groups[i];
		bytea	   *stored;
		bool		is_hidden;

		CHECK_FOR_INTERRUPTS();
		if (group->key.due != 0)
		{
			cozi_kept_settle(store, sums, snapshot, group, now, kept);
			continue;
		}
		stored = cozi_kept_state(store, sums, snapshot, &group->key);
		if (stored != NULL)
			kept->kind->add_stored(group->sum, stored);
		cozi_kept_save(store, snapshot, &group->key, kept->kind->store(group->sum));
		rows[*nrows].key = group->key;
		is_hidden = cozi_kept_is_hidden(hidden, &group->key);
		rows[*nrows].exists = kept->kind->columns(group->sum, kept, rows[*nrows].values,
												  rows[*nrows].nulls) && !is_hidden;
		if (skip && stored != NULL && is_as_before(kept, stored, &rows[*nrows], scratch))
			continue;
		if (!is_hidden)
			cozi_kept_number(changes, &group->key);
		(*nrows)++;
	}
	cozi_kept_close_changes(changes);
	cozi_kept_close_hidden(hidden);
	UnregisterSnapshot(snapshot);
	MemoryContextSwitchTo(caller);
	return rows;
}

/*
 * Fold a kept table whose fold lock we hold, at most max_rows of its delta unless
 * that is 0.  Returns how many rows of the delta went.
 */
int64
cozi_kept_fold(Kept *kept, int64 max_rows)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi fold",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;
	KeptStore  *store;
	KeptSums   *sums;
	Snapshot	snapshot;
	TimestampTz now;
	KeptLocal	local;
	KeptPublicRow *rows;
	int			nrows;
	int64		taken;

	LockRelationOid(kept->relation, RowExclusiveLock);
	if (get_rel_name(kept->relation) == NULL)
		return 0;
	caller = MemoryContextSwitchTo(context);
	refuse_misfit(kept);
	cozi_kept_accept(kept);
	(void) cozi_kept_local(kept->id, &local);

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	now = GetCurrentTimestamp();
	sums = cozi_kept_sums(kept, context);
	store = cozi_kept_open(kept, true);
	taken = cozi_kept_take(store, sums, snapshot, now, max_rows, kept);
	if (taken > 0)
	{
		char	   *example;
		bool		asides = cozi_kept_asides(kept, &example) > 0;

		rows = fold_state(kept, store, sums, snapshot, now, kept->kind->steady && !asides, &nrows);
		CommandCounterIncrement();
		PushActiveSnapshot(GetLatestSnapshot());
		if (asides)
			cozi_kept_not_aside(kept, sums);
		cozi_kept_publish(kept, rows, nrows, false);
		PopActiveSnapshot();
	}
	cozi_kept_close(store);
	UnregisterSnapshot(snapshot);
	if (taken > 0 || local.stalled_since != 0)
		cozi_kept_note(kept, now, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return taken;
}

static void
limit_handler(void)
{
	if (++limit_exceeded > CANCELS)
		ProcDiePending = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Has the fold that was under way outlived its time limit? */
bool
cozi_kept_limit_exceeded(void)
{
	return limit_exceeded != 0;
}

static void
set_limit(int milliseconds)
{
	limit_exceeded = 0;
	if (milliseconds == 0)
		return;
	if (!limit_registered)
	{
		limit_timeout = RegisterTimeout(USER_TIMEOUT, limit_handler);
		limit_registered = true;
	}
	enable_timeout_every(limit_timeout,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds),
						 CANCEL_EVERY);
}

static void
clear_limit(int milliseconds)
{
	if (milliseconds != 0)
		disable_timeout(limit_timeout, false);
	if (limit_exceeded)
		QueryCancelPending = false;
}

/* What fold_once() shall do. */
typedef struct Attempt
{
	int32		id;
	int64		max_rows;
	int64		interval;		/* not before so long after the last fold */
	KeptFoldMode mode;
	Kept	   *kept;			/* once it was found */
	const ErrorData *failure;	/* why it gives up; NULL: it folds */
	int			time_limit;
	int64		folded;
} Attempt;

static int64
fold_once(const Attempt *attempt, Kept *kept)
{
	KeptLocal	local;
	TimestampTz since;
	int64		folded;
	int			level;

	if (!cozi_kept_lock(attempt->id, attempt->mode == FOLD_BY_CALL) ||
		!cozi_kept_by_id(attempt->id, kept) || get_rel_name(kept->relation) == NULL)
		return 0;
	(void) cozi_kept_local(attempt->id, &local);
	/* a clock set back must not stop us */
	since = GetCurrentTimestamp() - local.last_fold;
	if (since >= 0 && since < attempt->interval)
		return 0;
	if (attempt->mode != FOLD_BY_CALL &&
		(!ConditionalLockRelationOid(kept->relation, RowExclusiveLock) ||
		 get_rel_name(kept->relation) == NULL))
		return 0;
	if (attempt->mode == MERGE_AT_COMMIT ||
		(attempt->mode == FOLD_AT_COMMIT && (cozi_kept_has_domain(kept->relation) ||
											 cozi_kept_foreign_code(kept->relation) != NULL)))
	{
		cozi_kept_merge(kept, attempt->max_rows);
		return 0;
	}
	level = NewGUCNestLevel();
	if (attempt->mode != FOLD_BY_CALL)
		cozi_set_locally("lock_timeout", attempt->mode == FOLD_BY_WORKER ? "200ms" : "20ms");
	PushActiveSnapshot(GetTransactionSnapshot());
	folded = cozi_kept_fold(kept, attempt->max_rows);
	PopActiveSnapshot();
	AtEOXact_GUC(false, level);
	return folded;
}

/* Write down why a kept table is not folded, and say so once in the log. */
static void
note_failure(const Kept *kept, const ErrorData *error)
{
	KeptLocal	local;
	char	   *text = error->hint ? psprintf("%s. %s", error->message, error->hint) :
	psprintf("%s. Mend that, then call cozi.fold().", error->message);

	if (kept->id == 0 || !cozi_kept_local(kept->id, &local))
		return;
	if (local.stalled_since == 0)
		ereport(LOG,
				(errmsg("\"%s\" is not folded: %s", get_rel_name(kept->relation), error->message)));
	if (local.last_error == NULL || strcmp(local.last_error, text) != 0)
		cozi_kept_note(kept, GetCurrentTimestamp(), text);
}

/* A fold has failed: say so, and let its delta not grow for that. */
static void
give_up(const Attempt *attempt, const Kept *kept, const ErrorData *error)
{
	note_failure(kept, error);
	if (kept->id != 0 && cozi_kept_lock(kept->id, attempt->mode == FOLD_BY_CALL) &&
		get_rel_name(kept->source) != NULL)
		cozi_kept_merge(kept, attempt->max_rows);
}

/* Fold, or give up because of a failure, within the time limit. */
static void
fold_or_give_up(void *arg)
{
	Attempt    *attempt = arg;

	set_limit(attempt->time_limit);
	PG_TRY();
	{
		if (attempt->failure == NULL)
			attempt->folded = fold_once(attempt, attempt->kept);
		else
			give_up(attempt, attempt->kept, attempt->failure);
	}
	PG_FINALLY();
	{
		clear_limit(attempt->time_limit);
	}
	PG_END_TRY();
}

/*
 * Fold a kept table so that no error of the fold reaches the caller.  A time
 * limit is in milliseconds, 0 for none.  Returns how many rows of the delta went.
 */
int64
cozi_kept_fold_safely(int32 id, int64 max_rows, int64 interval, KeptFoldMode mode,
					  int time_limit, char **failure)
{
	Kept		kept = {0};
	Attempt		attempt = {.id = id,.max_rows = max_rows,.interval = interval,.mode = mode,
	.kept = &kept,.time_limit = time_limit};
	ErrorData  *error = cozi_attempt(fold_or_give_up, &attempt);
	bool		canceled;

	*failure = NULL;
	if (error == NULL)
		return attempt.folded;
	if (limit_exceeded)
		error->message = pstrdup("it took longer than its time limit");
	canceled = error->sqlerrcode == ERRCODE_QUERY_CANCELED && !limit_exceeded;
	if (canceled && mode == FOLD_BY_CALL)
		ReThrowError(error);
	*failure = error->message;
	/* a lock that somebody holds for a moment is no fault */
	if (!canceled &&
		(mode > FOLD_AT_COMMIT || error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE))
	{
		attempt.failure = error;
		attempt.time_limit = 0;
		(void) cozi_attempt(fold_or_give_up, &attempt);
	}
	return 0;
}

/*
 * An open prepared transaction would hold the fold lock, so that nobody else
 * could fold.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (lock_level > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction"
								" that has folded a kept table"),
						 errdetail("Nobody else could fold it"
								   " until the transaction is finished.")));
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			lock_level = 0;
			return;
		default:
			return;
	}
}

/* A subtransaction that aborts gives its locks back, one that ends hands them on. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
					  void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB && lock_level >= level)
		lock_level = 0;
	else if (event == SUBXACT_EVENT_COMMIT_SUB && lock_level == level)
		lock_level = level - 1;
}

void
cozi_kept_fold_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
