/*
 * live/place.c
 *		What a cursor of changes stands on: one history of one database.
 *
 * Change numbers and transaction ids mean nothing elsewhere: in a database that was
 * restored or copied, nor after a promotion or a recovery to a point in time, which
 * begin another timeline.  A cursor has the place it was given at.
 *
 * The law: what a reader was told survives a crash.  With synchronous_commit off a
 * snapshot shows commits that a crash may undo.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "live/live.h"

static TimeLineID
timeline(void)
{
	TimeLineID	tli;

	if (!RecoveryInProgress())
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&tli);
	return tli;
}

int64
cozi_live_place(void)
{
	uint64		place = hash_combine64(GetSystemIdentifier(), MyDatabaseId);

	return (int64) (hash_combine64(place, timeline()) & PG_INT64_MAX);
}

/* Make durable what any snapshot taken until now shows. */
void
cozi_live_flush(void)
{
	XLogRecPtr	upto;
	uint64		offset;

	if (RecoveryInProgress())
		return;
	upto = GetXLogInsertRecPtr();
	offset = upto % XLOG_BLCKSZ;
	/* of a page that has its header alone no record can be asked for */
	if (offset <= SizeOfXLogLongPHD)
		upto -= offset;
	XLogFlush(upto);
}

/* An error: the reader must begin anew. */
void
cozi_live_restart(Oid relid, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("what has changed of \"%s\" since this cursor is no longer known",
					get_rel_name(relid)),
			 errdetail("%s", why),
			 errhint("Begin anew with after => NULL, and drop what you have.")));
}

void
cozi_live_other_cursor(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the cursor is of another question"),
			 errhint("Pass a cursor of changes_since() with the same table and key.")));
}

/* k: how many rows are wanted. */
int64
cozi_live_limit(FunctionCallInfo fcinfo, int n)
{
	int32		k;

	cozi_require_argument(fcinfo, n, "k");
	k = PG_GETARG_INT32(n);
	if (k < 1 || k > LIVE_MOST_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be from 1 to %d", LIVE_MOST_ROWS)));
	return k;
}
