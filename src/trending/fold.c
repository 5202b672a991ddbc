/*
 * trending/fold.c
 *		Folding: moving pending votes from a board's delta into the board.
 *
 * A fold is one SQL statement (trending/fold_plan.c).
 *
 * No scheduler is needed: a voter whose transaction is about to commit folds
 * what is there, at most every FOLD_INTERVAL for all voters together.  He
 * does so in the last moment before the commit, never before a PREPARE, so
 * that no open transaction keeps the lock; in a subtransaction, so that no
 * error of a fold reaches his vote; and only if every lock is free at once.
 * Where cozi is preloaded a worker does it instead (trending/fold_worker.c).
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

#include "base/base.h"
#include "trending/board.h"

/* SQL's advisory locks have 1 or 2 in the fourth field. */
#define FOLD_LOCK_CLASS 3

static bool holds_fold_lock = false;

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

/* For the view boards: when this one was last folded. */
static void
note_fold(const Board *board, TimestampTz at)
{
	static SPIPlanPtr plan = NULL;
	Datum		values[] = {ObjectIdGetDatum(board->board), TimestampTzGetDatum(at)};
	SavedUser	saved;

	become_owner(config_relid(), &saved);
	if (plan == NULL)
	{
		Oid			types[] = {OIDOID, TIMESTAMPTZOID};
		SPIPlanPtr	prepared = SPI_prepare("INSERT INTO cozi.board_fold AS f VALUES ($1, $2)"
										   " ON CONFLICT (board) DO UPDATE SET last_fold = EXCLUDED.last_fold",
										   lengthof(types), types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare writing cozi.board_fold");
		plan = prepared;
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write cozi.board_fold");
	become_again(&saved);
}

/*
 * Fold a board whose fold lock we hold; SPI is connected.  Returns how many
 * rows of the delta went.
 */
static int64
fold_board(const Board *board, int64 max_rows, const char *lock_timeout)
{
	TimestampTz now = GetCurrentTimestamp();
	SavedUser	saved;
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
	folded = run_fold(board, max_rows, now);
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

/*
 * An open prepared transaction would keep the fold lock, so that nobody else
 * could fold.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
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
			holds_fold_lock = false;
			return;
		default:
			return;
	}
}

void
cozi_fold_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}
