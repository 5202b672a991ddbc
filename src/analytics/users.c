/*
 * analytics/users.c
 *		A hash table of users and the days on which they were active.
 *
 * See users.h for its law.  What takes time here is to wait for memory, so a slot has
 * no byte to spare, and a row waits in a queue until its slot has come.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/date.h"
#include "utils/memutils.h"

#include "analytics/users.h"

#define FIRST_SLOTS		1024

#if defined(__GNUC__) || defined(__clang__)
#define prefetch(address)	__builtin_prefetch(address, 1)
#else
#define prefetch(address)	((void) 0)
#endif

static inline uint8 *
slot_bits(const CoziUsers *users, char *slot)
{
	return (uint8 *) slot + users->key_size;
}

static inline void
set_bit(uint8 * bits, int bit)
{
	bits[bit / BITS_PER_BYTE] |= HIGHBIT >> (bit % BITS_PER_BYTE);
}

/* The bit after those of the days. */
static inline bool
slot_taken(const CoziUsers *users, const char *slot)
{
	int			bit = users->ndays + 1;

	return (slot[users->key_size + bit / BITS_PER_BYTE] & HIGHBIT >> (bit % BITS_PER_BYTE)) != 0;
}

bool
cozi_users_slot_is_taken(const CoziUsers *users, const char *slot)
{
	return slot_taken(users, slot);
}

static inline uint64
mix_word(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return h ^ (h >> 33);
}

/* The lower half says which pass a user is in, the upper one where to look. */
static inline uint64
hash_user(const CoziUsers *users, const char *key)
{
	uint64		word;
	uint64		hash = users->seed;

	for (Size i = 0; i < users->key_size; i += sizeof(word))
	{
		memcpy(&word, key + i, sizeof(word));
		hash = mix_word(hash ^ word);
	}
	return hash;
}

static inline bool
same_key(const CoziUsers *users, const char *a, const char *b)
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

/* Where a user is looked for first. */
static inline uint32
first_slot(const CoziUsers *users, uint64 hash)
{
	return (uint32) ((hash >> 32) * users->nslots >> 32);
}

static inline char *
nth_slot(const CoziUsers *users, uint32 n)
{
	return users->slots + (Size) n * users->slot_size;
}

static inline char *
slot_of(const CoziUsers *users, const char *key, uint64 hash)
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
most_slots(const CoziUsers *users)
{
	return (uint32) Min(get_hash_memory_limit() / users->slot_size, PG_UINT32_MAX);
}

/* A table of so many slots, with those users of the one before who are in this pass. */
static void
resize(CoziUsers *users, uint32 nslots)
{
	char	   *slots = users->slots;
	uint32		n = users->nslots;

	users->nslots = nslots;
	users->nusers = 0;
	users->slots = MemoryContextAllocExtended(users->context, (Size) nslots * users->slot_size,
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; slots != NULL && i < n; i++)
	{
		char	   *slot = slots + (Size) i * users->slot_size;
		uint64		hash;

		if (!slot_taken(users, slot))
			continue;
		hash = hash_user(users, slot);
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
make_room(CoziUsers *users)
{
	uint32		nslots = (uint32) Min((Size) users->nslots * 2,
									  Max(most_slots(users), users->nslots));

	if (nslots - users->nslots < users->nslots / 4)
	{
		if (users->from == users->to)
			elog(ERROR, "too many users have one hash");
		nslots = users->nslots;
		users->to = users->from + (users->to - users->from) / 2;
		users->full = users->from == 0 && users->to < PG_UINT32_MAX / users->max_passes;
	}
	if (!users->full)
		resize(users, nslots);
}

/* The slot of a user, who takes one; NULL: the user is not of this pass. */
static inline char *
slot_for(CoziUsers *users, const char *key, uint64 hash)
{
	for (;;)
	{
		char	   *slot = slot_of(users, key, hash);

		if (slot_taken(users, slot))
			return slot;
		if ((uint64) (users->nusers + 1) * 4 <= (uint64) users->nslots * 3)
		{
			memcpy(slot, key, users->key_size);
			set_bit(slot_bits(users, slot), users->ndays + 1);
			users->nusers++;
			return slot;
		}
		make_room(users);
		if (users->full || (uint32) hash > users->to)
			return NULL;
	}
}

/* The days of a month, of which bit 0 is the first. */
static inline void
add_month(const CoziUsers *users, uint8 * bits, DateADT month, uint32 days)
{
	while (days != 0)
	{
		int64		at = (int64) month + pg_rightmost_one_pos32(days) - users->first;

		days &= days - 1;
		if (at < users->ndays)
			set_bit(bits, at < 0 ? 0 : (int) at + 1);
	}
}

/* Add the rows that wait. */
void
cozi_users_flush(CoziUsers *users)
{
	for (int i = 0; i < users->nqueued && !users->full; i++)
	{
		CoziQueuedRow *row = &users->queue[i];
		char	   *slot;

		if ((uint32) row->hash > users->to)
			continue;
		slot = slot_for(users, row->key, row->hash);
		if (slot != NULL)
			add_month(users, slot_bits(users, slot), row->month, row->days);
	}
	users->nqueued = 0;
}

/* A user, a month, its days: bit 0 is the first. */
void
cozi_users_add(CoziUsers *users, Datum user, DateADT month, uint32 days)
{
	CoziQueuedRow *row = &users->queue[users->nqueued];

	if (users->key_size == UUID_LEN)
		memcpy(row->key, DatumGetUUIDP(user)->data, UUID_LEN);
	else
		memcpy(row->key, &user, sizeof(Datum));
	row->hash = hash_user(users, row->key);
	if ((uint32) row->hash < users->from || (uint32) row->hash > users->to)
		return;
	row->month = month;
	row->days = days;
	prefetch(nth_slot(users, first_slot(users, row->hash)));
	if (++users->nqueued == QUEUE_ROWS)
		cozi_users_flush(users);
}

/* Can users of this type be in the table? */
bool
cozi_users_can_be(Oid type)
{
	return FLOAT8PASSBYVAL && (type == UUIDOID || type == INT8OID || type == INT4OID);
}

/* An empty table in the current memory context; cozi_users_begin() follows. */
void
cozi_users_init(CoziUsers *users, Oid type, DateADT first, int ndays, int max_passes)
{
	memset(users, 0, offsetof(CoziUsers, queue));
	users->context = CurrentMemoryContext;
	users->key_size = type == UUIDOID ? UUID_LEN : sizeof(Datum);
	users->first = first;
	users->ndays = ndays;
	users->max_passes = max_passes;
	users->slot_size = users->key_size + (ndays + 2 + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	users->seed = pg_prng_uint64(&pg_global_prng_state);
}

/* Begin a pass, of users whose hash is at least from: about how many are there? */
void
cozi_users_begin(CoziUsers *users, uint32 from, double expected)
{
	users->from = from;
	users->to = PG_UINT32_MAX;
	users->nslots = 0;
	if (users->slots != NULL)
		pfree(users->slots);
	users->slots = NULL;
	resize(users, Max(FIRST_SLOTS, (uint32) Min(most_slots(users), Max(expected, 0) * 3 / 2)));
}

/* Call a function for each user of a pass. */
void
cozi_users_visit(CoziUsers *users, CoziVisitUser visit, void *arg)
{
	cozi_users_flush(users);
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

/* Add the users of slots that another table of this shape has had. */
void
cozi_users_merge(CoziUsers *users, const char *slots, uint32 nslots)
{
	for (uint32 i = 0; i < nslots && !users->full; i++)
	{
		const char *other = slots + (Size) i * users->slot_size;
		char	   *slot;

		if (i % FIRST_SLOTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (!slot_taken(users, other))
			continue;
		slot = slot_for(users, other, hash_user(users, other));
		for (Size at = users->key_size; slot != NULL && at < users->slot_size; at++)
			slot[at] |= other[at];
	}
}
