/*
 * trending_fold.c
 *		Folding: moving pending votes from a board's delta into the board.
 *
 * A fold is one SQL statement.  It deletes what is due from the delta, adds
 * it up by item, adds that to the item's tally, and writes the board's row
 * from the tally, so that an item whose votes are all gone has no row.
 *
 * No scheduler is needed: a voter whose transaction is about to commit folds
 * what is there, at most every FOLD_INTERVAL for all voters together.  He
 * does so in the last moment before the commit, never before a PREPARE, so
 * that no open transaction keeps the lock; in a subtransaction, so that no
 * error of a fold reaches his vote; and only if every lock is free at once.
 * Where cozi is preloaded a worker does it instead (trending_worker.c).
 *
 * The laws: the fold lock of a board is held by whoever takes rows out of its
 * delta, to the end of the transaction.  It is an advisory lock of a class
 * that SQL cannot name, so that no client can keep it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "cozi.h"
#include "trending_board.h"

#define FOLD_INTERVAL	500000	/* microseconds between voters' folds */
#define FOLD_ROWS		5000	/* a voter folds so many rows, or as many as
								 * he added */
#define FOLD_RETRY		5000000 /* microseconds a session waits after a failed
								 * fold */

/* SQL's advisory locks have 1 or 2 in the fourth field. */
#define FOLD_LOCK_CLASS 3

/* What this transaction appended to. */
typedef struct Touched
{
	Board		board;
	int64		appended;
} Touched;

static List *touched = NIL;		/* in TopTransactionContext */
static bool holds_fold_lock = false;

/* When this session may next try to fold a board. */
typedef struct Attempt
{
	Oid			board;			/* hash key */
	TimestampTz next;
} Attempt;

static HTAB *attempts = NULL;

/* ---------------------------------------------------------------------
 * The fold
 * ---------------------------------------------------------------------
 */

bool
lock_fold(Oid boardid, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, RelationRelationId, boardid, FOLD_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	holds_fold_lock = true;
	return true;
}

static void
note_fold(const Board *board, TimestampTz at)
{
	Oid			types[] = {OIDOID, TIMESTAMPTZOID};
	Datum		values[] = {ObjectIdGetDatum(board->board), TimestampTzGetDatum(at)};
	SavedUser	saved;

	become_owner(config_relid(), &saved);
	if (SPI_execute_with_args("INSERT INTO cozi.board_fold AS f VALUES ($1, $2)"
							  " ON CONFLICT (board) DO UPDATE SET last_fold = EXCLUDED.last_fold",
							  2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write cozi.board_fold");
	become_again(&saved);
}

static char *
fold_statement(const Board *board, int64 max_rows)
{
	bool		scoped = board_has_scope(board);
	const char *key = board_key(board);
	const char *match = scoped ? "x.scope = n.scope AND x.item = n.item" : "x.item = n.item";
	char	   *b = qualified_name(board->board);
	char	   *t = qualified_name(board->tally);
	char	   *d = qualified_name(board->delta);
	char	   *due = max_rows <= 0 ? "due IS NULL OR due <= $1" :
	psprintf("ctid = ANY (ARRAY(SELECT ctid FROM %s WHERE due IS NULL OR due <= $1 LIMIT "
			 INT64_FORMAT "))", d, max_rows);

	return psprintf("WITH due AS (DELETE FROM %s WHERE %s RETURNING %s, tally),"
					" sums AS (SELECT %s, cozi.tally_sum(tally) AS tally FROM due GROUP BY %s),"
					" next AS MATERIALIZED (SELECT %s, ups, downs, tally FROM (SELECT %s, cozi.tally_add("
					"   (SELECT x.tally FROM %s x WHERE %s), n.tally) AS tally FROM sums n) s,"
					"  LATERAL (SELECT cozi.tally_ups(tally) AS ups, cozi.tally_downs(tally) AS downs) u),"
					" unvoted AS (DELETE FROM %s x USING next n WHERE n.tally = '' AND %s),"
					" voted AS (INSERT INTO %s (%s, tally) SELECT %s, tally FROM next WHERE tally <> ''"
					"  ORDER BY %s ON CONFLICT (%s) DO UPDATE SET tally = EXCLUDED.tally),"
					" gone AS (DELETE FROM %s x USING next n WHERE n.ups = 0 AND n.downs = 0 AND %s),"
					" ranked AS (INSERT INTO %s (%s, ups, downs, heat)"
					"  SELECT %s, ups, downs, cozi.tally_heat(tally, %.17g) FROM next"
					"  WHERE ups <> 0 OR downs <> 0 ORDER BY %s ON CONFLICT (%s) DO UPDATE"
					"  SET ups = EXCLUDED.ups, downs = EXCLUDED.downs, heat = EXCLUDED.heat)"
					" SELECT count(*) FROM due",
					d, due, key,
					key, key,
					key, key, t, match,
					t, match,
					t, key, key, key, key,
					b, match,
					b, key, key, board->down_weight, key, key);
}

/*
 * Fold a board whose fold lock we hold; SPI is connected.  Returns how many
 * rows of the delta went.
 */
static int64
fold_board(const Board *board, int64 max_rows, const char *lock_timeout)
{
	Oid			types[] = {TIMESTAMPTZOID};
	TimestampTz now = GetCurrentTimestamp();
	Datum		values[] = {TimestampTzGetDatum(now)};
	SavedUser	saved;
	bool		isnull;
	int64		folded;

	/* a handful of items, each by its key: whatever the statistics say */
	static const char *const off[] = {"enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit"};

	become_owner(board->board, &saved);
	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (lock_timeout)
		(void) set_config_option("lock_timeout", lock_timeout, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute_with_args(fold_statement(board, max_rows), 1, types, values, NULL,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not fold");
	folded = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	become_again(&saved);
	note_fold(board, now);
	return folded;
}

static int
by_oid(const ListCell *a, const ListCell *b)
{
	Oid			left = ((const Board *) lfirst(a))->board;
	Oid			right = ((const Board *) lfirst(b))->board;

	return left < right ? -1 : left > right;
}

PG_FUNCTION_INFO_V1(cozi_fold);

/*
 * fold(board regclass, max_rows int) -> bigint
 *
 * NULL board: all of them, in one order for everybody.  NULL max_rows:
 * whatever is due.  Waits for a fold that is under way.
 */
Datum
cozi_fold(PG_FUNCTION_ARGS)
{
	List	   *boards;
	int64		max_rows = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	int64		folded = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(1) && max_rows <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be positive")));
	if (PG_ARGISNULL(0))
	{
		boards = all_boards();
		list_sort(boards, by_oid);
	}
	else
	{
		Board	   *board = palloc(sizeof(Board));

		get_board(PG_GETARG_OID(0), board);
		boards = list_make1(board);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	foreach(lc, boards)
	{
		Board	   *board = lfirst(lc);

		(void) lock_fold(board->board, true);
		if (get_rel_name(board->board) != NULL)
			folded += fold_board(board, max_rows, NULL);
	}
	SPI_finish();
	PG_RETURN_INT64(folded);
}

/* ---------------------------------------------------------------------
 * On a voter's way
 * ---------------------------------------------------------------------
 */

/* When the board was last folded, as committed just now. */
static TimestampTz
last_fold(Oid boardid)
{
	Oid			namespace = get_namespace_oid("cozi", true);
	Oid			relid = OidIsValid(namespace) ? get_relname_relid("board_fold", namespace) : InvalidOid;
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	TimestampTz at = 0;

	if (!OidIsValid(relid))
		return GetCurrentTimestamp();
	rel = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(boardid));
	scan = systable_beginscan(rel, get_relname_relid("board_fold_pkey", namespace), true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		at = DatumGetTimestampTz(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return at;
}

/* Locks that a fold would wait for: none may be held by others. */
static bool
can_lock_all(const Board *board)
{
	const Oid	relids[] = {board->board, board->tally, board->delta};

	for (int i = 0; i < lengthof(relids); i++)
		if (!ConditionalLockRelationOid(relids[i], RowExclusiveLock) ||
			get_rel_name(relids[i]) == NULL)
			return false;
	return true;
}

/*
 * Fold a board unless somebody else does, has just done so, or holds a lock
 * that we would wait for.  Returns how many rows of the delta went.
 */
int64
fold_if_free(const Board *board, int64 interval, int64 max_rows)
{
	TimestampTz since;
	int64		folded;

	if (!lock_fold(board->board, false))
		return 0;
	/* a clock set back must not stop us */
	since = GetCurrentTimestamp() - last_fold(board->board);
	if (since >= 0 && since < interval)
		return 0;
	if (!can_lock_all(board))
		return 0;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	folded = fold_board(board, max_rows, "20ms");
	SPI_finish();
	PopActiveSnapshot();
	return folded;
}

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
		case XACT_EVENT_PRE_PREPARE:
			if (holds_fold_lock)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has folded a board"),
						 errdetail("Nobody else could fold it until the transaction is finished.")));
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			touched = NIL;
			holds_fold_lock = false;
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
cozi_trending_init(void)
{
	fold_worker_init();
	RegisterXactCallback(at_transaction_end, NULL);
}
