/*
 * sharding/id.c
 *		Ids that know when they were made and in which bucket: next_id, uuid7.
 *
 * A bigint id is
 *
 *		0 | 41 bits milliseconds since 2024-01-01 00:00 UTC | 12 bits n | 10 bits bucket
 *
 * The first 53 bits are the value of an ordinary sequence.  next_id moves it
 * to the greater of "last value + 1" and "now << 12", in one step under the
 * exclusive lock of the sequence's only page, as nextval does.  So the
 * sequence never steps back, whatever the clock does, and no two calls can
 * see the same value: uniqueness does not rest on the clock, on a random
 * number or on shared memory of our own.  (Instagram's function reads the
 * clock and the sequence apart, and repeats itself when a session loses the
 * processor between the two.)
 *
 * The law: nothing but advance() touches the page, and between its lock and
 * its unlock nothing may be raised or allocated.
 *
 * A uuid is of version 7 (RFC 9562, method 3): 48 bits Unix milliseconds, 12
 * bits of fraction, then the bucket in the 10 bits after the variant, then 52
 * random bits.
 */
#include "postgres.h"

#include <time.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

#include "base/base.h"

#define BUCKET_BITS		10
#define BUCKETS			(1 << BUCKET_BITS)
#define COUNT_BITS		12
#define SEQUENCE_MAX	(INT64_MAX >> BUCKET_BITS)

/* 2024-01-01 00:00 UTC, in milliseconds since PostgreSQL's epoch, 2000-01-01 */
#define EPOCH_MS		(INT64CONST(8766) * 86400 * 1000)

/* Unix's epoch in the same unit */
#define UNIX_EPOCH_MS	((int64) (UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * 86400 * 1000)

/*
 * A sequence that gives more than 4,096 ids a millisecond runs ahead of the
 * clock, by at most this much: see keep_pace().
 */
#define MAX_AHEAD_MS	10000

/*
 * As nextval, write WAL for values to come, so that not every call needs a
 * record: what a crash skips is this many milliseconds.
 */
#define LOG_AHEAD		(INT64CONST(32) << COUNT_BITS)

static void
check_bucket(int32 bucket)
{
	if (bucket < 0 || bucket >= BUCKETS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("bucket %d is out of range", bucket),
				 errhint("A bucket is 0 to %d, such as shard_of(user_id, %d).",
						 BUCKETS - 1, BUCKETS)));
}

/*
 * Open a sequence as nextval does: with its privilege, in a transaction that
 * may write, and locked against ALTER SEQUENCE until the transaction ends.
 */
static Relation
open_sequence(Oid relid)
{
	Relation	seq = try_relation_open(relid, RowExclusiveLock);

	if (seq == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("sequence with OID %u does not exist", relid)));
	if (seq->rd_rel->relkind != RELKIND_SEQUENCE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a sequence", RelationGetRelationName(seq)),
				 errhint("Create one with CREATE SEQUENCE, and name it here.")));
	if (pg_class_aclcheck(relid, GetUserId(), ACL_USAGE | ACL_UPDATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for sequence \"%s\"", RelationGetRelationName(seq)),
				 errhint("Its owner may GRANT USAGE ON SEQUENCE to the role.")));
	if (!seq->rd_islocaltemp)
		PreventCommandIfReadOnly("next_id()");
	PreventCommandIfParallelMode("next_id()");
	return seq;
}

/* A state that can go back would give an id twice; the ALTER that mends it. */
static void
refuse_sequence(Relation seq, const char *why, const char *mend)
{
	char	   *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(seq)),
												  RelationGetRelationName(seq));

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sequence \"%s\" cannot make ids: %s", RelationGetRelationName(seq), why),
			 mend ? errhint("Use ALTER SEQUENCE %s %s, or a sequence of its own.", name, mend) :
			 errhint("Commit, and call next_id() in the next transaction.")));
}

/*
 * Only a plain bigint sequence will do whose state never goes back.  With CACHE,
 * sessions would hold values of the past and hand them out later.  An unlogged
 * sequence begins anew after a crash, a temporary one with each session.  What
 * ALTER SEQUENCE has written anew in this transaction is undone by a rollback,
 * together with what was drawn since.
 */
static void
check_sequence(Relation seq)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(RelationGetRelid(seq)));
	FormData_pg_sequence form;
	const char *fault;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", RelationGetRelid(seq));
	form = *(Form_pg_sequence) GETSTRUCT(tuple);
	ReleaseSysCache(tuple);

	if (seq->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		refuse_sequence(seq, "it is unlogged, and a crash sets it back", "SET LOGGED");
	if (seq->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s\" cannot make ids: it is temporary, and begins anew in "
						"each session",
						RelationGetRelationName(seq)),
				 errhint("Create a permanent sequence.")));
	if (seq->rd_createSubid == InvalidSubTransactionId &&
		SEQUENCE_REWRITTEN(seq) != InvalidSubTransactionId)
		refuse_sequence(seq, "this transaction has altered it, and a rollback sets it back", NULL);

	fault = form.seqcache != 1 ? "CACHE 1" :
		form.seqincrement != 1 ? "INCREMENT BY 1" :
		form.seqcycle ? "NO CYCLE" :
		form.seqtypid != INT8OID ? "AS bigint" :
		form.seqmax < SEQUENCE_MAX ? "NO MAXVALUE" : NULL;
	if (fault)
		refuse_sequence(seq, psprintf("it must be declared %s", fault), fault);
}

/*
 * Write the tuple's state to the log, as XLOG_SEQ_LOG wants it.  Called in a
 * critical section, with the buffer locked and dirty.
 */
static void
log_sequence(Relation seq, Buffer buffer, HeapTupleHeader tuple, Size len)
{
	xl_seq_rec	record = SEQUENCE_RECORD(seq);
	XLogRecPtr	lsn;

	XLogBeginInsert();
	XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
	XLogRegisterData((char *) &record, sizeof(record));
	XLogRegisterData((char *) tuple, len);
	lsn = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
	PageSetLSN(BufferGetPage(buffer), lsn);
}

pg_noreturn static void
beyond_last(Relation seq)
{
	ereport(ERROR,
			(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
			 errmsg("sequence \"%s\" is beyond the year 2093, the last that an id can hold",
					RelationGetRelationName(seq)),
			 errhint("Check the server's clock, and whether setval() was used on the sequence.")));
}

/*
 * Move the sequence to its next value, or to at_least if that is greater.
 * nextval_internal() with a jump; see there for the order of things.
 */
static int64
advance(Relation seq, int64 at_least)
{
	for (;;)
	{
		Buffer		buffer = ReadBuffer(seq, 0);
		Page		page;
		ItemId		item;
		HeapTupleData tuple;
		Form_pg_sequence_data data;
		int64		next,
					logged;
		bool		must_log;

		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		item = PageGetItemId(page, FirstOffsetNumber);
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		data = (Form_pg_sequence_data) GETSTRUCT(&tuple);

		next = Max(data->last_value, at_least);
		if (next == data->last_value && next <= SEQUENCE_MAX && data->is_called)
			next++;
		if (next > SEQUENCE_MAX)
		{
			UnlockReleaseBuffer(buffer);
			beyond_last(seq);
		}

		/*
		 * The first call after a checkpoint has to write a record in any
		 * case: replay begins there and would not see the earlier one.
		 */
		logged = data->last_value + data->log_cnt;
		must_log = RelationNeedsWAL(seq) &&
			(next > logged || !data->is_called || PageGetLSN(page) <= GetRedoRecPtr());

		/* with an id, commit waits for the record; getting one may fail */
		if (must_log && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		{
			UnlockReleaseBuffer(buffer);
			(void) GetTopTransactionId();
			continue;
		}

		START_CRIT_SECTION();
		MarkBufferDirty(buffer);
		data->is_called = true;
		if (must_log)
		{
			logged = Min(next + LOG_AHEAD, SEQUENCE_MAX);
			data->last_value = logged;
			data->log_cnt = 0;
			log_sequence(seq, buffer, tuple.t_data, tuple.t_len);
		}
		data->last_value = next;
		data->log_cnt = Max(logged - next, 0);
		END_CRIT_SECTION();

		UnlockReleaseBuffer(buffer);
		return next;
	}
}

/*
 * Bound how far a sequence runs ahead of the clock.  Beyond MAX_AHEAD_MS no
 * session may draw more than its share of 4,096 a millisecond, so that the
 * clock gains on the sequence however many sessions draw.  The same rule
 * serves a clock that was set back by more: ids stay unique and in order, and
 * an insert becomes slower rather than failing.
 */
static void
keep_pace(int64 ahead_ms)
{
	static int	drawn = 0;

	if (ahead_ms <= MAX_AHEAD_MS)
		return;
	if (++drawn < (1 << COUNT_BITS) / MaxBackends)
		return;
	drawn = 0;
	(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1, PG_WAIT_EXTENSION);
	CHECK_FOR_INTERRUPTS();
}

/*
 * next_id(seq regclass, bucket int = 0) -> bigint
 *
 * An id greater than every earlier one of the sequence.  Strict.
 */
PG_FUNCTION_INFO_V1(cozi_next_id);
Datum
cozi_next_id(PG_FUNCTION_ARGS)
{
	int32		bucket = PG_GETARG_INT32(1);
	Relation	seq;
	int64		now,
				value;

	check_bucket(bucket);
	seq = open_sequence(PG_GETARG_OID(0));
	check_sequence(seq);
	now = GetCurrentTimestamp() / 1000 - EPOCH_MS;
	value = advance(seq, Max(now, 0) << COUNT_BITS);
	relation_close(seq, NoLock);
	keep_pace((value >> COUNT_BITS) - now);
	PG_RETURN_INT64(value << BUCKET_BITS | bucket);
}

/*
 * uuid7(bucket int = 0) -> uuid
 *
 * Greater than every earlier one of the session: when the clock stands still
 * or steps back, the last time goes on by its smallest step.
 */
PG_FUNCTION_INFO_V1(cozi_uuid7);
Datum
cozi_uuid7(PG_FUNCTION_ARGS)
{
	static int64 last = 0;		/* 1/4096 ms since 1970 */
	int32		bucket = PG_GETARG_INT32(0);
	struct timespec now;
	uint64		half[2];
	pg_uuid_t  *uuid;

	check_bucket(bucket);
	clock_gettime(CLOCK_REALTIME, &now);
	last = Max(last + 1, ((int64) now.tv_sec * 1000 << 12) + ((int64) now.tv_nsec << 12) / 1000000);
	if (!pg_strong_random(&half[1], sizeof(half[1])))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));

	half[0] = pg_hton64((uint64) (last >> 12) << 16 | 0x7000 | (last & 0xFFF));
	half[1] = pg_hton64(UINT64CONST(2) << 62 | (uint64) bucket << 52 | half[1] >> 12);
	uuid = palloc(UUID_LEN);
	memcpy(uuid->data, half, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}

static int64
check_id(int64 id)
{
	if (id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("id must not be negative"),
				 errhint("Only ids of next_id() hold a time and a bucket.")));
	return id;
}

static uint8 *
check_uuid(pg_uuid_t *uuid)
{
	if (uuid->data[6] >> 4 != 7 || uuid->data[8] >> 6 != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("uuid is not of version 7"),
				 errhint("Only uuids of uuid7() hold a time and a bucket.")));
	return uuid->data;
}

/* id_bucket(id bigint) -> int, id_bucket(id uuid) -> int */
PG_FUNCTION_INFO_V1(cozi_id_bucket_int8);
Datum
cozi_id_bucket_int8(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(check_id(PG_GETARG_INT64(0)) & (BUCKETS - 1));
}

PG_FUNCTION_INFO_V1(cozi_id_bucket_uuid);
Datum
cozi_id_bucket_uuid(PG_FUNCTION_ARGS)
{
	uint8	   *data = check_uuid(PG_GETARG_UUID_P(0));

	PG_RETURN_INT32((data[8] & 0x3F) << 4 | data[9] >> 4);
}

/* id_time(id bigint) -> timestamptz, id_time(id uuid) -> timestamptz */
PG_FUNCTION_INFO_V1(cozi_id_time_int8);
Datum
cozi_id_time_int8(PG_FUNCTION_ARGS)
{
	int64		ms = check_id(PG_GETARG_INT64(0)) >> (COUNT_BITS + BUCKET_BITS);

	PG_RETURN_TIMESTAMPTZ((ms + EPOCH_MS) * 1000);
}

PG_FUNCTION_INFO_V1(cozi_id_time_uuid);
Datum
cozi_id_time_uuid(PG_FUNCTION_ARGS)
{
	uint64		half;

	memcpy(&half, check_uuid(PG_GETARG_UUID_P(0)), sizeof(half));
	PG_RETURN_TIMESTAMPTZ(((int64) (pg_ntoh64(half) >> 16) + UNIX_EPOCH_MS) * 1000);
}
