/*
 * live/announce_send.c
 *		Sending what is to be announced: by the fold worker, and by notify_flush().
 *
 * An announcement is due when its table has another change, or another era, than was
 * announced, and its interval is over.  So nothing needs to be told when something
 * changes: folds, rebuilds and hidden items are seen alike, after a crash, too.
 *
 * The laws.  Each is sent in a subtransaction, under a lock of its row: one that fails
 * stops no other, and two who send never send the same.  One that fails is tried again
 * after a pause that doubles.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/change.h"
#include "live/announce.h"
#include "live/notify.h"

#define RETRY_FIRST		USECS_PER_SEC
#define RETRY_LAST		(60 * USECS_PER_SEC)
#define STAY			10		/* failures for which the worker stays */
#define JOB_RETRY		USECS_PER_SEC	/* after a commit that failed */

/* Where a table is, as a snapshot shows it. */
typedef struct Position
{
	Snapshot	snapshot;
	int64		era;
	int64		last;
} Position;

static bool
is_news(const Announcement *announcement, const Position *position)
{
	return !announcement->begun || announcement->era != position->era ||
		announcement->sent != position->last;
}

/* A clock set back must not stop us. */
static bool
may_be_sent(const Announcement *announcement, TimestampTz now)
{
	return (now < announcement->sent_at || now - announcement->sent_at >= announcement->per) &&
		(now >= announcement->retry_at || announcement->retry_at - now > RETRY_LAST);
}

/* Begin an announcement that came with a dump: its owner is the table's. */
static void
begin(Announcement *announcement, const Kept *kept)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(cozi_relation_owner(kept->relation))};

	(void) cozi_announce_run("INSERT INTO {cozi}.announcement_local"
							 " (kept, via, topic, owner, sent) VALUES ($1, $2, $3, $4, -1)"
							 " ON CONFLICT DO NOTHING",
							 announcement, lengthof(types), types, values, NULL, SPI_OK_INSERT);
}

static void
take_position(const Kept *kept, Position *position)
{
	position->snapshot = RegisterSnapshot(GetLatestSnapshot());
	position->era = cozi_kept_era(kept->id, position->snapshot);
	position->last = cozi_kept_last_change(kept->id, position->snapshot);
}

/*
 * In a subtransaction; false if there is nothing to be sent just now.  Where the table
 * is, is asked again under the lock: who had it before may have announced more.
 */
static bool
send_once(Announcement *announcement, const Kept *kept)
{
	Position	position;
	Oid			types[] = {INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum		values[lengthof(types)];
	int64		upto;

	SPI_connect();
	if (!announcement->begun)
		begin(announcement, kept);
	if (!cozi_announce_lock(announcement))
	{
		SPI_finish();
		return false;
	}
	take_position(kept, &position);
	if (!is_news(announcement, &position) || !may_be_sent(announcement, GetCurrentTimestamp()))
	{
		UnregisterSnapshot(position.snapshot);
		SPI_finish();
		return false;
	}
	upto = cozi_announce_message(kept, announcement, position.era, position.last,
								 position.snapshot);
	UnregisterSnapshot(position.snapshot);
	values[0] = Int64GetDatum(position.era);
	values[1] = Int64GetDatum(upto);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	(void) cozi_announce_run("UPDATE {cozi}.announcement_local SET era = $4, sent = $5,"
							 " sent_at = $6, failures = 0, retry_at = NULL, last_error = NULL"
							 " WHERE kept = $1 AND via = $2 AND topic = $3",
							 announcement, lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	SPI_finish();
	return true;
}

/* In a subtransaction: it has failed, and is tried again later. */
static void
put_off(const Announcement *announcement, const Kept *kept, const ErrorData *error)
{
	Oid			types[] = {OIDOID, TIMESTAMPTZOID, TEXTOID};
	Datum		values[lengthof(types)];
	int64		pause = announcement->failures > 6 ? RETRY_LAST :
	Min(RETRY_LAST, RETRY_FIRST << announcement->failures);

	values[0] = ObjectIdGetDatum(cozi_relation_owner(kept->relation));
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp() + pause);
	values[2] = CStringGetTextDatum(error->message);
	SPI_connect();
	(void) cozi_announce_run("INSERT INTO {cozi}.announcement_local AS l"
							 " (kept, via, topic, owner, sent, failures, retry_at, last_error)"
							 " VALUES ($1, $2, $3, $4, -1, 1, $5, $6)"
							 " ON CONFLICT (kept, via, topic) DO UPDATE"
							 " SET failures = l.failures + 1, retry_at = $5, last_error = $6",
							 announcement, lengthof(types), types, values, NULL, SPI_OK_INSERT);
	SPI_finish();
}

/* Work on one of them. */
typedef struct Sending
{
	Announcement *announcement;
	const Kept *kept;
	const ErrorData *failure;	/* why it is put off; NULL: it is sent */
	bool		sent;
} Sending;

static void
send_or_put_off(void *arg)
{
	Sending    *sending = arg;

	if (sending->failure == NULL)
		sending->sent = send_once(sending->announcement, sending->kept);
	else
		put_off(sending->announcement, sending->kept, sending->failure);
}

/* Send one if it is due; more: it has something to send later. */
static bool
announce(Announcement *announcement, const Kept *kept, const Position *position, bool *more)
{
	bool		had_more = *more;
	Sending		sending = {.announcement = announcement,.kept = kept};
	ErrorData  *error;

	if (!is_news(announcement, position))
		return false;
	if (announcement->failures <= STAY)
		*more = true;
	/* a lock of its owner makes nobody wait */
	if (!may_be_sent(announcement, GetCurrentTimestamp()) ||
		!ConditionalLockRelationOid(kept->relation, AccessShareLock) ||
		get_rel_name(kept->relation) == NULL)
		return false;
	if (cozi_announce_obstacle(kept, announcement) != NULL)
	{
		*more = had_more;
		return false;
	}
	error = cozi_attempt(send_or_put_off, &sending);
	if (error == NULL)
		return sending.sent;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	sending.failure = error;
	error = cozi_attempt(send_or_put_off, &sending);
	if (error != NULL)
		ReThrowError(error);
	return false;
}

/*
 * Send what is to be announced and is due, at the commit of this transaction.  Returns
 * how many messages; more: there will be others soon.  fold: where no worker folds,
 * the commit does.
 */
int64
cozi_announce_all(bool fold, bool *more)
{
	List	   *list = cozi_announcements();
	int64		sent = 0;
	ListCell   *lc;

	foreach(lc, list)
	{
		Announcement *each = lfirst(lc);
		Kept		kept;
		Position	position;

		CHECK_FOR_INTERRUPTS();
		if (!cozi_kept_by_id(each->kept, &kept) || !OidIsValid(kept.relation) ||
			get_rel_name(kept.relation) == NULL)
			continue;
		take_position(&kept, &position);
		sent += announce(each, &kept, &position, more);
		if (fold && cozi_kept_is_pending(&kept, position.snapshot))
			cozi_kept_fold_at_commit(&kept, 0);
		UnregisterSnapshot(position.snapshot);
	}
	return sent;
}

PG_FUNCTION_INFO_V1(cozi_notify_flush);

/*
 * notify_flush() -> bigint: how many messages are sent at the commit
 */
Datum
cozi_notify_flush(PG_FUNCTION_ARGS)
{
	bool		more = false;
	int64		sent;

	PreventCommandIfReadOnly("notify_flush()");
	cozi_kept_refuse_old_snapshot("notify_flush");
	sent = cozi_throttle_flush();
	PG_RETURN_INT64(sent + cozi_announce_all(true, &more));
}

/* The job of the fold worker. */
static bool
send_waiting(void)
{
	bool		more = false;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) cozi_throttle_flush();
	(void) cozi_announce_all(false, &more);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return more || cozi_channel_waits();
}

/*
 * A commit fails where the queue of NOTIFY is full: folds go on.
 */
static bool
job(void)
{
	static TimestampTz failed_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	volatile bool more = true;

	if (failed_at != 0 && now >= failed_at && now - failed_at < JOB_RETRY)
		return true;
	failed_at = 0;
	PG_TRY();
	{
		more = send_waiting();
	}
	PG_CATCH();
	{
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		MemoryContextSwitchTo(TopMemoryContext);
		failed_at = now;
	}
	PG_END_TRY();
	return more;
}

void
cozi_announce_init(void)
{
	cozi_kept_add_job(job);
}
