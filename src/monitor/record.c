/*
 * monitor/record.c
 *		What an execution leaves in the slot of its statement.
 *
 * All but the slowest execution of a statement, and the first with a plan, take
 * the lock of the slot's set in shared mode alone: see monitor/monitor.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/errcodes.h"

#include "monitor/monitor.h"

static uint64
nanoseconds(double seconds)
{
	return seconds > 0 ? (uint64) (seconds * 1e9) : 0;
}

static void
record(CoziHistogram *histogram, uint64 ns)
{
	pg_atomic_fetch_add_u64(&histogram->count[cozi_bucket(ns / COZI_NS_PER_TICK)], 1);
	pg_atomic_fetch_add_u64(&histogram->total, ns);
	cozi_raise_u64(&histogram->max, ns);
}

/* The slot of a statement that took ns, with that recorded; to be released. */
static CoziHistogram *
record_execution(uint64 queryid, Oid role, uint64 ns, uint64 shape)
{
	uint64		owner = COZI_OWNER(MyDatabaseId, role);
	CoziHistogram *slot = cozi_claim_slot(&cozi_statement_table, queryid, owner, LW_SHARED);
	CoziSeenPlan *plan = cozi_find_plan(slot, shape);

	if (ns > pg_atomic_read_u64(&slot->max) || (plan == NULL && shape != 0))
	{
		CoziClient	client;

		cozi_release_slot(&cozi_statement_table);
		cozi_this_client(&client);
		slot = cozi_claim_slot(&cozi_statement_table, queryid, owner, LW_EXCLUSIVE);
		plan = cozi_claim_plan(slot, shape);
		if (ns > pg_atomic_read_u64(&slot->max))
			cozi_note_client(slot, &client);
	}
	record(slot, ns);
	if (plan != NULL)
		cozi_note_plan(plan, ns);
	cozi_collect_waits(slot);
	return slot;
}

void
cozi_record_statement(uint64 queryid, Oid role, double seconds, uint64 shape,
					  bool transaction_control)
{
	CoziHistogram *slot = record_execution(queryid, role, nanoseconds(seconds), shape);

	if (transaction_control &&
		(pg_atomic_read_u64(&slot->used) & COZI_TRANSACTION_CONTROL) == 0)
		pg_atomic_fetch_or_u64(&slot->used, COZI_TRANSACTION_CONTROL);
	cozi_release_slot(&cozi_statement_table);
}

/*
 * Inside an error's PG_CATCH: nothing may be allocated or raised, and who has
 * the set's lock waits for nothing but the lock of another set.  A lock
 * that was waited for longer than lock_timeout is a timeout; one that NOWAIT
 * did not find free is not.
 */
void
cozi_record_failure(uint64 queryid, Oid role, double seconds, uint64 shape,
					const char *source, int location, int len)
{
	CoziHistogram *slot;
	int			code = geterrcode();
	bool		timeout;

	timeout = code == ERRCODE_QUERY_CANCELED ||
		(code == ERRCODE_LOCK_NOT_AVAILABLE && LockTimeout > 0 && seconds * 1000 >= LockTimeout);
	slot = record_execution(queryid, role, nanoseconds(seconds), shape);
	pg_atomic_fetch_add_u64(&slot->failed, 1);
	if (timeout)
		cozi_add_timeouts(&cozi_statement_table, slot, 1);
	cozi_note_error(slot, code);
	cozi_release_slot(&cozi_statement_table);
	if (timeout && cozi_track_plans && cozi_slow_plan_ms >= 0)
		cozi_capture_timeout(queryid, role, seconds * 1000, source, location, len);
}

/* A transaction of the role that logged in. */
void
cozi_record_transaction(uint64 ns, bool failed)
{
	CoziHistogram *slot = cozi_claim_slot(&cozi_transaction_table, COZI_TRANSACTION,
										  COZI_OWNER(MyDatabaseId, GetSessionUserId()),
										  LW_SHARED);

	record(slot, ns);
	if (failed)
		pg_atomic_fetch_add_u64(&slot->failed, 1);
	cozi_release_slot(&cozi_transaction_table);
}
