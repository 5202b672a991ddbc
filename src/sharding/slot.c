/*
 * sharding/slot.c
 *		wait_for_slot(): everything committed so far is at the subscriber.
 *
 * The caller holds a lock that keeps writers out, and calls this before it
 * lets readers and writers go to the subscriber instead.  The position that is
 * waited for is that of a message, which every commit so far precedes.  It is
 * flushed here: logical decoding reads no WAL that is not on disk, and commits
 * with synchronous_commit = off, or nobody else, might leave it in memory.
 *
 * The law: no answer without the confirmation.  A slot without a subscriber
 * is an error after the timeout, never a position.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/base.h"

/* How far the subscriber of a logical slot of this database has confirmed. */
static XLogRecPtr
confirmed_by(const char *name)
{
	ReplicationSlot *slot = SearchNamedReplicationSlot(name, true);
	XLogRecPtr	confirmed;
	Oid			database;

	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("replication slot \"%s\" does not exist", name)));
	SpinLockAcquire(&slot->mutex);
	confirmed = slot->data.confirmed_flush;
	database = slot->data.database;
	SpinLockRelease(&slot->mutex);
	if (database != MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" is not a logical slot of this database", name)));
	return confirmed;
}

/* wait_for_slot(slot name, timeout interval) -> pg_lsn */
PG_FUNCTION_INFO_V1(cozi_wait_for_slot);
Datum
cozi_wait_for_slot(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	XLogRecPtr	target;
	const char *name;

	cozi_require_argument(fcinfo, 0, "slot");
	cozi_require_argument(fcinfo, 1, "timeout");
	name = NameStr(*PG_GETARG_NAME(0));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errhint("Call cozi.wait_for_slot() on the primary.")));
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(GetCurrentTimestamp()),
													   PG_GETARG_DATUM(1)));
	target = log_message_compat("cozi");
	XLogFlush(target);
	while (confirmed_by(name) < target)
	{
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("replication slot \"%s\" was not confirmed up to %X/%X in time",
							name, LSN_FORMAT_ARGS(target)),
					 errhint("See pg_replication_slots and pg_stat_replication, and the log of "
							 "the subscriber.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 5,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_LSN(target);
}
