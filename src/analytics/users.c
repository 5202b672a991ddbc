/*
 * analytics/users.c
 *		The users of an activity, put together in memory.
 *
 * An activity has a row per user and month.  Where its users are numbers or UUIDs,
 * they are put together here, in a hash table of at most work_mem times
 * hash_mem_multiplier.  Users who do not fit into it wait for another pass over the
 * rows, and where that would be more than MAX_PASSES the executor groups them, and
 * may spill (question.c).
 *
 * Where no policy holds for the caller, and nothing is pending, the rows are read
 * by a sequential scan below SQL; else by SQL.  Either way as the caller, who was
 * found to have SELECT on all of it, and in the snapshot of the calling query.
 *
 * The law: nobody is visited before all rows are read, so that giving up is free.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/nodeHash.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "tcop/dest.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "analytics/analytics.h"
#include "base/base.h"

#define FIRST_SLOTS		1024
#define MAX_PASSES		8

/* Rows whose slots are on their way from memory, which takes longer than the rest. */
#define QUEUE_ROWS		64

#if defined(__GNUC__) || defined(__clang__)
#define prefetch(address)	__builtin_prefetch(address, 1)
#else
#define prefetch(address)	((void) 0)
#endif

/* A row that waits for its slot. */
typedef struct QueuedRow
{
	char		key[UUID_LEN];
	uint64		hash;
	DateADT		month;
	uint32		days;
}			QueuedRow;

/*
 * The table: slots of one size, at most three quarters taken.  A slot is a key and
 * bits: those of CoziUser, and one that says that it is taken.
 */
typedef struct Users
{
	DestReceiver pub;
	MemoryContext context;
	Size		key_size;		/* 8, or that of a UUID */
	Size		slot_size;
	DateADT		first;			/* bit 0: before it; bit 1 + n: n days after */
	int			ndays;
	uint64		seed;			/* so that nobody can choose who collides */
	uint32		from;			/* which hashes this pass is about */
	uint32		to;
	uint32		nslots;
	uint32		nusers;
	char	   *slots;
	bool		full;			/* they do not fit */
	int			nqueued;
	QueuedRow	queue[QUEUE_ROWS];
}			Users;

static inline uint8 *
slot_bits(const Users * users, char *slot)
{
	return (uint8 *) slot + users->key_size;
}

static inline void
set_bit(uint8 *bits, int bit)
{
	bits[bit / BITS_PER_BYTE] |= HIGHBIT >> (bit % BITS_PER_BYTE);
}

/* The bit after those of the days. */
static inline bool
slot_taken(const Users * users, char *slot)
{
	int			bit = users->ndays + 1;

	return (slot_bits(users, slot)[bit / BITS_PER_BYTE] & HIGHBIT >> (bit % BITS_PER_BYTE)) != 0;
}

static inline uint64
mix(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return h ^ (h >> 33);
}

/* The lower half says which pass a user is in, the upper one where to look. */
static inline uint64
hash_key(const Users * users, const char *key)
{
	uint64		word;
	uint64		hash = users->seed;

	for (Size i = 0; i < users->key_size; i += sizeof(word))
	{
		memcpy(&word, key + i, sizeof(word));
		hash = mix(hash ^ word);
	}
	return hash;
}

/* Where a user is looked for first. */
static inline uint32
first_slot(const Users * users, uint64 hash)
{
	return (uint32) ((hash >> 32) * users->nslots >> 32);
}

static inline char *
nth_slot(const Users * users, uint32 n)
{
	return users->slots + (Size) n * users->slot_size;
}

static inline bool
same_key(const Users * users, const char *a, const char *b)
{
	uint64		left;
	uint64		right;

	for (Size i = 0; i < users->key_size; i += sizeof(left))
	{
		memcpy(&left, a + i, sizeof(left));
		memcpy(&right, b + i, sizeof(right));
		if (left != right)
			return false;
	}
	return true;
}

static inline char *
slot_of(const Users * users, const char *key, uint64 hash)
{
	for (uint32 n = first_slot(users, hash);; n = n + 1 < users->nslots ? n + 1 : 0)
	{
		char	   *slot = nth_slot(users, n);

		if (!slot_taken(users, slot) || same_key(users, slot, key))
			return slot;
	}
}

/* How many slots there may be. */
static uint32
most_slots(const Users * users)
{
	return (uint32) Min(get_hash_memory_limit() / users->slot_size, PG_UINT32_MAX);
}

/* A table of so many slots, with those users of the one before who are in this pass. */
static void
resize(Users * users, uint32 nslots)
{
	char	   *slots = users->slots;
	uint32		n = users->nslots;

	users->nslots = nslots;
	users->nusers = 0;
	users->slots = MemoryContextAllocExtended(users->context, (Size) nslots * users->slot_size,
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < n; i++)
	{
		char	   *slot = slots + (Size) i * users->slot_size;
		uint64		hash;

		if (!slot_taken(users, slot))
			continue;
		hash = hash_key(users, slot);
		if ((uint32) hash > users->to)
			continue;
		memcpy(slot_of(users, slot, hash), slot, users->slot_size);
		users->nusers++;
	}
	if (slots != NULL)
		pfree(slots);
}

/*
 * Have room for one more: by more slots, up to what they may take, or else by leaving
 * half of the users to another pass.
 */
static void
make_room(Users * users)
{
	uint32		nslots = (uint32) Min((Size) users->nslots * 2,
									  Max(most_slots(users), users->nslots));

	if (nslots - users->nslots < users->nslots / 4)
	{
		users->to = users->from + (users->to - users->from) / 2;
		users->full = users->from == 0 && users->to < PG_UINT32_MAX / MAX_PASSES;
	}
	resize(users, nslots);
}

/* The days of a month, of which bit 0 is the first. */
static void
add_month(const Users * users, uint8 *bits, DateADT month, uint32 days)
{
	while (days != 0)
	{
		int64		at = (int64) month + pg_rightmost_one_pos32(days) - users->first;

		days &= days - 1;
		if (at < users->ndays)
			set_bit(bits, at < 0 ? 0 : (int) at + 1);
	}
}

/* Add a row to its user. */
static void
add_row(Users * users, const QueuedRow * row)
{
	char	   *slot = slot_of(users, row->key, row->hash);

	while (!slot_taken(users, slot))
	{
		if ((uint64) (users->nusers + 1) * 4 <= (uint64) users->nslots * 3)
		{
			memcpy(slot, row->key, users->key_size);
			set_bit(slot_bits(users, slot), users->ndays + 1);
			users->nusers++;
			break;
		}
		make_room(users);
		if (users->full || (uint32) row->hash > users->to)
			return;
		slot = slot_of(users, row->key, row->hash);
	}
	add_month(users, slot_bits(users, slot), row->month, row->days);
}

static void
add_queued(Users * users)
{
	for (int i = 0; i < users->nqueued && !users->full; i++)
		if ((uint32) users->queue[i].hash <= users->to)
			add_row(users, &users->queue[i]);
	users->nqueued = 0;
}

/* A row: a user, a month, its days.  False: the users do not fit. */
static bool
queue_row(Users * users, const Datum *values)
{
	QueuedRow  *row = &users->queue[users->nqueued];

	if (users->key_size == UUID_LEN)
		memcpy(row->key, DatumGetUUIDP(values[0])->data, UUID_LEN);
	else
		memcpy(row->key, &values[0], sizeof(Datum));
	row->hash = hash_key(users, row->key);
	if ((uint32) row->hash < users->from || (uint32) row->hash > users->to)
		return true;
	row->month = DatumGetDateADT(values[1]);
	row->days = DatumGetInt32(values[2]) & PG_INT32_MAX;
	prefetch(nth_slot(users, first_slot(users, row->hash)));
	if (++users->nqueued == QUEUE_ROWS)
		add_queued(users);
	return !users->full;
}

/* False stops the query. */
static bool
receive_row(TupleTableSlot *row, DestReceiver *self)
{
	slot_getallattrs(row);
	if (row->tts_isnull[0] || row->tts_isnull[1] || row->tts_isnull[2])
		return true;
	return queue_row((Users *) self, row->tts_values);
}

static void
read_by_sql(Users * users, const char *query, DateADT last)
{
	Oid			types[] = {DATEOID};
	SPIPlanPtr	plan = SPI_prepare(query, 1, types);
	Datum		values[] = {DateADTGetDatum(last)};

	if (plan == NULL)
		elog(ERROR, "could not prepare: %s", query);
	cozi_init_receiver(&users->pub, receive_row);
	cozi_receive(plan, values, NULL, &users->pub);
	SPI_freeplan(plan);
}

/* The columns of the activity, which is open, in our order; false: it has others. */
static bool
find_columns(Relation rel, Oid type, AttrNumber *attnums)
{
	static const char *const names[] = {"user_id", "month", "days"};
	const Oid	types[] = {type, DATEOID, INT4OID};

	for (int i = 0; i < lengthof(names); i++)
	{
		attnums[i] = get_attnum(RelationGetRelid(rel), names[i]);
		if (attnums[i] <= 0 || attnums[i] > RelationGetDescr(rel)->natts ||
			getBaseType(TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1)->atttypid) != types[i])
			return false;
	}
	return true;
}

/* False, and nothing was read: it must be read by SQL. */
static bool
read_directly(Users * users, Oid activity, Oid type, DateADT last)
{
	Relation	rel;
	AttrNumber	attnums[3];
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		going = true;

	if (!OidIsValid(activity) || check_enable_rls(activity, InvalidOid, true) == RLS_ENABLED)
		return false;
	rel = table_open(activity, AccessShareLock);
	if (rel->rd_rel->relhassubclass || !find_columns(rel, type, attnums))
	{
		table_close(rel, AccessShareLock);
		return false;
	}
	/* rows are of users, and of a user there are a few */
	resize(users, (uint32) Max(users->nslots, Min(most_slots(users), rel->rd_rel->reltuples / 4 * 3)));
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan_compat(rel, GetActiveSnapshot(), 0, NULL);
	while (going && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Datum		values[3];
		bool		nulls[3];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < lengthof(values); i++)
			values[i] = slot_getattr(slot, attnums[i], &nulls[i]);
		if (!nulls[0] && !nulls[1] && !nulls[2] && DatumGetDateADT(values[1]) <= last)
			going = queue_row(users, values);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return true;
}

static bool
start(Users * users, Oid type, DateADT first, DateADT last)
{
	if (!FLOAT8PASSBYVAL || (type != UUIDOID && type != INT8OID && type != INT4OID))
		return false;
	users->key_size = type == UUIDOID ? UUID_LEN : sizeof(Datum);
	users->first = first;
	users->ndays = last - first + 1;
	users->slot_size = users->key_size + (users->ndays + 2 + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	users->context = CurrentMemoryContext;
	users->seed = pg_prng_uint64(&pg_global_prng_state);
	return true;
}

static void
visit_pass(Users * users, CoziVisitUser visit, void *arg)
{
	for (uint32 i = 0; i < users->nslots; i++)
	{
		char	   *slot = nth_slot(users, i);
		CoziUser	user = {.nbits = users->ndays + 1,.bits = slot_bits(users, slot)};

		if (i % FIRST_SLOTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (slot_taken(users, slot))
			visit(&user, arg);
	}
}

/*
 * Visit the users of an activity, or of a query whose columns are user, month and
 * days, up to $1; activity is invalid: it must be the query.  False: there are too
 * many, and none was visited.  SPI is connected.
 */
bool
cozi_visit_in_memory(Oid activity, const char *query, Oid type, DateADT first, DateADT last,
					 CoziVisitUser visit, void *arg)
{
	Users		users = {.full = false};
	uint64		from = 0;

	if (!start(&users, type, first, last))
		return false;
	while (from <= PG_UINT32_MAX && !users.full)
	{
		users.from = (uint32) from;
		users.to = PG_UINT32_MAX;
		users.nslots = 0;
		resize(&users, FIRST_SLOTS);
		if (!read_directly(&users, activity, type, last))
			read_by_sql(&users, query, last);
		add_queued(&users);
		if (!users.full)
			visit_pass(&users, visit, arg);
		pfree(users.slots);
		users.slots = NULL;
		from = (uint64) users.to + 1;
	}
	return !users.full;
}
