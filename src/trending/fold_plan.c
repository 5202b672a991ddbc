/*
 * trending/fold_plan.c
 *		The statement that folds a board, planned once a session.
 *
 * It deletes what is due from the delta, adds it up by item, adds that to the
 * item's tally, and writes the board's row from the tally, so that an item
 * whose votes are all gone has no row.  Planning takes longer than a fold of a
 * few votes, and the plan never depends on how many there are.
 *
 * The laws: a plan names the relations as they were called when it was made.
 * It is used only while it is valid, which it is not once one of them was
 * changed, under the locks that keep them from being changed now.  And no plan
 * is given back while a fold runs: an owner's trigger on the board may fold.
 *
 * Memory: the plans live as long as the session, at most two a board; those
 * that are no longer valid are given back when another is made.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "trending/board.h"

typedef struct PlanKey
{
	Oid			board;
	int			limited;		/* no bool: bytes between would be hashed */
} PlanKey;

typedef struct FoldPlan
{
	PlanKey		key;
	SPIPlanPtr	plan;
} FoldPlan;

static HTAB *plans = NULL;
static int	running = 0;		/* folds, one inside another */

/*
 * $1: now; $2: the board's down_weight; $3, if limited: how many rows of the
 * delta, at most.  OFFSET 0 keeps the tally from being looked up once for each
 * of the columns made from it.
 */
static char *
fold_statement(const Board *board, bool limited)
{
	bool		scoped = board_has_scope(board);
	const char *key = board_key(board);
	const char *match = scoped ? "x.scope = n.scope AND x.item = n.item" : "x.item = n.item";
	char	   *b = qualified_name(board->board);
	char	   *t = qualified_name(board->tally);
	char	   *d = qualified_name(board->delta);
	char	   *due = !limited ? "due IS NULL OR due <= $1" :
	psprintf("ctid = ANY (ARRAY(SELECT ctid FROM %s WHERE due IS NULL OR due <= $1 LIMIT $3))", d);

	return psprintf("WITH due AS (DELETE FROM %s WHERE %s RETURNING %s, tally),"
					" sums AS (SELECT %s, cozi._tally_sum(tally) AS tally FROM due GROUP BY %s),"
					" next AS MATERIALIZED (SELECT %s, ups, downs, tally FROM (SELECT %s, cozi._tally_add("
					"   (SELECT x.tally FROM %s x WHERE %s), n.tally) AS tally FROM sums n OFFSET 0) s,"
					"  LATERAL (SELECT cozi._tally_ups(tally) AS ups, cozi._tally_downs(tally) AS downs) u),"
					" unvoted AS (DELETE FROM %s x USING next n WHERE n.tally = '' AND %s),"
					" voted AS (INSERT INTO %s (%s, tally) SELECT %s, tally FROM next WHERE tally <> ''"
					"  ORDER BY %s ON CONFLICT (%s) DO UPDATE SET tally = EXCLUDED.tally),"
					" gone AS (DELETE FROM %s x USING next n WHERE n.ups = 0 AND n.downs = 0 AND %s),"
					" ranked AS (INSERT INTO %s (%s, ups, downs, heat)"
					"  SELECT %s, ups, downs, cozi._tally_heat(tally, $2) FROM next"
					"  WHERE ups <> 0 OR downs <> 0 ORDER BY %s ON CONFLICT (%s) DO UPDATE"
					"  SET ups = EXCLUDED.ups, downs = EXCLUDED.downs, heat = EXCLUDED.heat)"
					" SELECT count(*) FROM due",
					d, due, key,
					key, key,
					key, key, t, match,
					t, match,
					t, key, key, key, key,
					b, match,
					b, key, key, key, key);
}

/* Give back the plans of what was changed or dropped. */
static void
forget_invalid(void)
{
	HASH_SEQ_STATUS status;
	FoldPlan   *entry;

	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (SPI_plan_is_valid(entry->plan))
			continue;
		SPI_freeplan(entry->plan);
		(void) hash_search(plans, &entry->key, HASH_REMOVE, NULL);
	}
}

static SPIPlanPtr
make_plan(const Board *board, bool limited)
{
	Oid			types[] = {TIMESTAMPTZOID, FLOAT8OID, INT8OID};
	SPIPlanPtr	plan = SPI_prepare_cursor(fold_statement(board, limited), limited ? 3 : 2, types,
										  CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "could not prepare a fold: %s", SPI_result_code_string(SPI_result));
	return plan;
}

/* The plan to fold this board with. */
static SPIPlanPtr
find_plan(const Board *board, bool limited)
{
	PlanKey		key = {.board = board->board,.limited = limited};
	FoldPlan   *entry;
	SPIPlanPtr	plan;

	if (plans == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(PlanKey),.entrysize = sizeof(FoldPlan)};

		plans = hash_create("cozi fold plans", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(plans, &key, HASH_FIND, NULL);
	if (entry != NULL && SPI_plan_is_valid(entry->plan))
		return entry->plan;

	if (running > 0)
		return make_plan(board, limited);
	forget_invalid();
	plan = make_plan(board, limited);
	entry = hash_search(plans, &key, HASH_ENTER, NULL);
	entry->plan = plan;
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of a fold");
	return plan;
}

static void
execute(SPIPlanPtr plan, Datum *values)
{
	running++;
	PG_TRY();
	{
		if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not fold");
	}
	PG_FINALLY();
	{
		running--;
	}
	PG_END_TRY();
}

/*
 * Fold what is due, at most max_rows of the delta unless that is 0; SPI is
 * connected, and the current user the board's owner.  Returns how many rows of
 * the delta went.
 */
int64
run_fold(const Board *board, int64 max_rows, TimestampTz now)
{
	Datum		values[] = {TimestampTzGetDatum(now), Float8GetDatum(board->down_weight), Int64GetDatum(max_rows)};
	bool		isnull;

	LockRelationOid(board->board, RowExclusiveLock);
	LockRelationOid(board->tally, RowExclusiveLock);
	LockRelationOid(board->delta, RowExclusiveLock);
	execute(find_plan(board, max_rows > 0), values);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
