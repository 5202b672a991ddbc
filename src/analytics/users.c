/*
 * analytics/users.c
 *		The users of an activity, put together in memory.
 *
 * An activity has a row per user and month.  Where its users are numbers or UUIDs,
 * and fit into what a hash table may take (work_mem times hash_mem_multiplier),
 * they are put together here, straight from the scan; else the executor groups
 * them, and may spill (question.c).  Either way the rows are read by SQL, as the
 * caller.
 *
 * The law: nobody is visited before all rows are read, so that giving up is free.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/nodeHash.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

#include "analytics/analytics.h"
#include "base/base.h"

#define FIRST_SLOTS		1024

/*
 * The table: slots of one size, a power of two of them, at most three quarters
 * taken.  A slot is a key, a byte that says that it is taken, and the bits.
 */
typedef struct Users
{
	DestReceiver pub;
	MemoryContext context;
	Size		key_size;		/* 8, or that of a UUID */
	Size		slot_size;
	DateADT		first;			/* bit 0: before it; bit 1 + n: n days after */
	int			ndays;
	uint64		nslots;
	uint64		nusers;
	char	   *slots;
	bool		full;			/* they do not fit */
}			Users;

#define slot_bits(users, slot) ((uint8 *) (slot) + (users)->key_size + 1)
#define slot_taken(users, slot) ((slot)[(users)->key_size])

static char *
slot_of(const Users * users, const char *key)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) key, users->key_size, 0);
	char	   *slot;

	for (;; hash++)
	{
		slot = users->slots + (hash & (users->nslots - 1)) * users->slot_size;
		if (!slot_taken(users, slot) || memcmp(slot, key, users->key_size) == 0)
			return slot;
	}
}

/* Twice as many slots; false if that is more than they may take. */
static bool
grow(Users * users)
{
	Users		old = *users;

	if (2 * users->nslots * users->slot_size > get_hash_memory_limit())
		return false;
	users->nslots *= 2;
	users->slots = MemoryContextAllocExtended(users->context,
											  users->nslots * users->slot_size,
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < old.nslots; i++)
	{
		char	   *slot = old.slots + i * old.slot_size;

		if (slot_taken(&old, slot))
			memcpy(slot_of(users, slot), slot, old.slot_size);
	}
	pfree(old.slots);
	return true;
}

/* The days of a month, of which bit 0 is the first. */
static void
add_month(const Users * users, uint8 * bits, DateADT month, uint32 days)
{
	if ((int64) month + 30 < users->first)
	{
		bits[0] |= HIGHBIT;
		return;
	}
	for (int64 at = (int64) month - users->first; days != 0; at++, days >>= 1)
	{
		int64		bit = at < 0 ? 0 : at + 1;

		if ((days & 1) != 0 && at < users->ndays)
			bits[bit / BITS_PER_BYTE] |= HIGHBIT >> (bit % BITS_PER_BYTE);
	}
}

/* A row: a user, a month, its days.  False stops the query. */
static bool
receive_row(TupleTableSlot *row, DestReceiver *self)
{
	Users	   *users = (Users *) self;
	char		key[UUID_LEN] = {0};
	char	   *slot;

	slot_getallattrs(row);
	if (row->tts_isnull[0] || row->tts_isnull[1] || row->tts_isnull[2])
		return true;
	if (users->key_size == UUID_LEN)
		memcpy(key, DatumGetUUIDP(row->tts_values[0])->data, UUID_LEN);
	else
		memcpy(key, &row->tts_values[0], sizeof(Datum));
	slot = slot_of(users, key);
	if (!slot_taken(users, slot))
	{
		if (4 * (users->nusers + 1) > 3 * users->nslots)
		{
			users->full = !grow(users);
			if (users->full)
				return false;
			slot = slot_of(users, key);
		}
		memcpy(slot, key, users->key_size);
		slot_taken(users, slot) = 1;
		users->nusers++;
	}
	add_month(users, slot_bits(users, slot), DatumGetDateADT(row->tts_values[1]),
			  DatumGetInt32(row->tts_values[2]) & PG_INT32_MAX);
	return true;
}

static void
receive_rows(Users * users, const char *query, DateADT last)
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

static bool
start(Users * users, Oid type, DateADT first, DateADT last)
{
	if (!FLOAT8PASSBYVAL || (type != UUIDOID && type != INT8OID && type != INT4OID))
		return false;
	users->key_size = type == UUIDOID ? UUID_LEN : sizeof(Datum);
	users->first = first;
	users->ndays = last - first + 1;
	users->slot_size = MAXALIGN(users->key_size + 1 +
								(users->ndays + 1 + BITS_PER_BYTE - 1) / BITS_PER_BYTE);
	users->context = CurrentMemoryContext;
	users->nslots = FIRST_SLOTS;
	users->slots = palloc0(users->nslots * users->slot_size);
	return true;
}

/*
 * Visit the users of a query, whose columns are user, month and days, up to $1.
 * False: they do not fit, and none was visited.  SPI is connected.
 */
bool
cozi_visit_in_memory(const char *query, Oid type, DateADT first, DateADT last,
					 CoziVisitUser visit, void *arg)
{
	Users		users = {.full = false};

	if (!start(&users, type, first, last))
		return false;
	receive_rows(&users, query, last);
	for (uint64 i = 0; i < users.nslots && !users.full; i++)
	{
		char	   *slot = users.slots + i * users.slot_size;
		CoziUser	user = {.nbits = users.ndays + 1,.bits = slot_bits(&users, slot)};

		if (i % FIRST_SLOTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (slot_taken(&users, slot))
			visit(&user, arg);
	}
	pfree(users.slots);
	return !users.full;
}
