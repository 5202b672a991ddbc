/*
 * trending/fold_commit.c
 *		Folding on a voter's way out, where no worker does it.
 *
 * No scheduler is needed: a voter whose transaction is about to commit folds
 * what is there, at most every FOLD_INTERVAL for all voters together, in a
 * subtransaction, so that no error of a fold reaches the vote.  Where cozi is
 * preloaded a worker folds instead (fold_worker.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "trending/board.h"

#define FOLD_INTERVAL	500000	/* microseconds between voters' folds */
#define FOLD_ROWS		5000	/* a voter folds so many rows, or as many as
								 * were added in the transaction */
#define FOLD_RETRY		5000000 /* microseconds a session waits after a failed
								 * fold */

/* What this transaction appended to. */
typedef struct Touched
{
	Board		board;
	int64		appended;
} Touched;

static List *touched = NIL;		/* in TopTransactionContext */

/* When this session may next try to fold a board. */
typedef struct Attempt
{
	Oid			board;			/* hash key */
	TimestampTz next;
} Attempt;

static HTAB *attempts = NULL;

static Attempt *
find_attempt(Oid boardid)
{
	Attempt    *attempt;
	bool		found;

	if (attempts == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Attempt)};

		attempts = hash_create("cozi folds", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	attempt = hash_search(attempts, &boardid, HASH_ENTER, &found);
	if (!found)
		attempt->next = 0;
	return attempt;
}

/* In a subtransaction: whatever goes wrong, the vote is cast. */
static void
fold_harmlessly(const Touched *each, Attempt *attempt)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		(void) fold_if_free(&each->board,
							each->appended > FOLD_ROWS ? 0 : FOLD_INTERVAL,
							Max(FOLD_ROWS, each->appended));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		attempt->next = GetCurrentTimestamp() + FOLD_RETRY;
		ereport(DEBUG1,
				(errmsg_internal("board %u was not folded: %s", each->board.board, error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	TimestampTz now;
	ListCell   *lc;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (touched == NIL || XactIsoLevel != XACT_READ_COMMITTED || XactReadOnly)
				return;
			if (fold_worker_runs())
				return;
			now = GetCurrentTimestamp();
			foreach(lc, touched)
			{
				Touched    *each = lfirst(lc);
				Attempt    *attempt = find_attempt(each->board.board);

				/* a clock set back must not stop us */
				if (now < attempt->next && attempt->next - now <= FOLD_RETRY &&
					each->appended <= FOLD_ROWS)
					continue;
				attempt->next = now + FOLD_INTERVAL;
				fold_harmlessly(each, attempt);
			}
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			touched = NIL;
			return;
		default:
			return;
	}
}

/* Called by the trigger: this transaction appended rows to a board's delta. */
void
fold_at_commit(const Board *board, int64 appended)
{
	MemoryContext caller;
	ListCell   *lc;
	Touched    *each;

	foreach(lc, touched)
	{
		each = lfirst(lc);
		if (each->board.board == board->board)
		{
			each->appended += appended;
			return;
		}
	}
	caller = MemoryContextSwitchTo(TopTransactionContext);
	each = palloc(sizeof(Touched));
	each->board = *board;
	each->appended = appended;
	touched = lappend(touched, each);
	MemoryContextSwitchTo(caller);
}

void
cozi_fold_commit_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}
