/*
 * ratelimit/call.c
 *		A call on the shared table: which key, which lock, how decided.
 *
 * A key is kept as a 64-bit SipHash of the database, the limit's name if it
 * has one, and the text, with a random seed of this server start: nobody can
 * aim at a set, a partition or another key, and no key can be read out of the
 * memory.  A gcra slot knows 44 bits of the hash, beside the set, and 20 bits
 * of a random hash of `per`; a log knows all of both.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pure/siphash.h"
#include "ratelimit/table.h"

/* Of several calls at once: where each of them is decided. */
typedef struct Place
{
	uint32		partition;
	CoziAsk		ask;
	bool		exact;
} Place;

static inline uint64
hash_key(CoziLimiter *limiter, const CoziCall *call)
{
	return cozi_siphash(limiter->seed, call->name ? call->name_hash : MyDatabaseId,
						call->key, call->key_len);
}

/* Names and keys are apart: no database has an OID of more than 32 bits. */
uint64
cozi_limit_hash(CoziLimiter *limiter, const char *name)
{
	return cozi_siphash(limiter->seed, ~(uint64) MyDatabaseId, name, strlen(name)) |
		UINT64CONST(1) << 63;
}

/* The upper half of the hash chooses among n. */
static inline uint32
choose(uint64 hash, uint32 n)
{
	return (uint32) (((hash >> 32) * n) >> 32);
}

static inline uint64
key_bits(uint64 hash)
{
	return hash << COZI_PER_BITS;
}

static inline uint64
slot_tag(CoziLimiter *limiter, uint64 hash, int64 per)
{
	return key_bits(hash) | (((uint64) per * limiter->per_factor) >> (64 - COZI_PER_BITS));
}

static inline uint32
call_class(const CoziCall *call)
{
	return call->name ? COZI_SHARED_CLASSES + call->handle.slot : 0;
}

static void
to_microseconds(CoziVerdict *verdict)
{
	verdict->retry_after = (verdict->retry_after + NS_PER_US - 1) / NS_PER_US;
	verdict->reset_after = (verdict->reset_after + NS_PER_US - 1) / NS_PER_US;
}

static CoziVerdict
slots_call(CoziLimiter *limiter, uint64 hash, const CoziCall *call, bool consume,
		   bool *evicted)
{
	CoziGcraSet *set = cozi_set_at(limiter, choose(hash, limiter->n_sets));
	uint64		tag = slot_tag(limiter, hash, call->per);
	uint8		limit = ((uint64) call->max_calls * limiter->per_factor) >> 56;
	int64		spacing = cozi_gcra_spacing(call->per * NS_PER_US, call->max_calls);
	int64		now = cozi_limiter_clock(limiter);
	CoziVerdict verdict;

	SpinLockAcquire(&set->lock);
	verdict = cozi_slots_step(&set->slots, tag, limit, now, spacing,
							  call->max_calls, call->cost, consume, evicted);
	SpinLockRelease(&set->lock);
	to_microseconds(&verdict);
	return verdict;
}

static Place
find_place(CoziLimiter *limiter, uint64 hash, const CoziCall *call, int64 now)
{
	Place		place = {
		.partition = choose(hash, limiter->n_partitions),
		.exact = call->exact,
		.ask = {
			.key = hash,
			.now = now / NS_PER_US,
			.now_ns = now,
			.per = call->per,
			.max_calls = call->max_calls,
			.cost = call->cost,
			.class = call_class(call)
		}
	};

	return place;
}

static CoziVerdict
place_call(CoziLimiter *limiter, Place *place, bool consume)
{
	CoziArena  *arena = cozi_partition_at(limiter, place->partition);
	CoziVerdict verdict;

	place->ask.consume = consume;
	if (place->exact)
		return cozi_exact_step(arena, &place->ask);
	verdict = cozi_number_step(arena, &place->ask);
	to_microseconds(&verdict);
	return verdict;
}

/* Is the memory of the named limit still its own?  Under a partition's lock. */
static bool
is_current(CoziLimiter *limiter, uint32 partition, const CoziCall *call)
{
	return call->name == NULL ||
		(call->handle.slot >= 0 &&
		 cozi_class(cozi_partition_at(limiter, partition), call_class(call))->generation ==
		 call->handle.generation);
}

static void
count_call(CoziLimiter *limiter, bool allowed, bool evicted)
{
	CoziTally  *tally = &limiter->tally[MyProcPid % TALLIES];

	pg_atomic_fetch_add_u64(allowed ? &tally->allowed : &tally->denied, 1);
	if (evicted)
		pg_atomic_fetch_add_u64(&tally->evictions, 1);
}

/*
 * Decide on a call.  Returns false, and nothing is counted, if the memory of
 * the named limit is no longer its own.
 */
bool
cozi_limiter_call(CoziLimiter *limiter, const CoziCall *call, bool consume,
				  CoziVerdict *verdict)
{
	uint64		hash = hash_key(limiter, call);
	bool		current = true;
	bool		evicted = false;

	if (call->exact || call->name)
	{
		Place		place = find_place(limiter, hash, call, 0);

		cozi_lock_partition(limiter, place.partition, LW_EXCLUSIVE);
		place.ask.now_ns = cozi_limiter_clock(limiter);
		place.ask.now = place.ask.now_ns / NS_PER_US;
		current = is_current(limiter, place.partition, call);
		if (current)
			*verdict = place_call(limiter, &place, consume);
		cozi_unlock_partition(limiter, place.partition);
	}
	else
		*verdict = slots_call(limiter, hash, call, consume, &evicted);
	if (consume && current)
		count_call(limiter, verdict->allowed || call->shadow, evicted);
	return current;
}

static int
compare_partitions(const void *a, const void *b)
{
	return (int) (*(Place *const *) a)->partition - (int) (*(Place *const *) b)->partition;
}

/* Lock the partitions of all places, or unlock them; each once, in order. */
static void
lock_places(CoziLimiter *limiter, Place **order, int n, bool lock)
{
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && order[i]->partition == order[i - 1]->partition)
			continue;
		if (lock)
			cozi_lock_partition(limiter, order[i]->partition, LW_EXCLUSIVE);
		else
			cozi_unlock_partition(limiter, order[i]->partition);
	}
}

/*
 * Decide on several calls of named limits: all are counted, or none.  *refuses
 * becomes the number of the one that refuses for the longest time, or -1.  A
 * limit in shadow never refuses.  Returns false, and nothing is counted, if
 * the memory of one of them is no longer its own.
 */
bool
cozi_limiter_call_all(CoziLimiter *limiter, const CoziCall *calls, int n,
					  CoziVerdict *verdicts, int *refuses)
{
	Place		places[COZI_MAX_AT_ONCE];
	Place	   *order[COZI_MAX_AT_ONCE];
	int64		now;
	bool		current = true;

	*refuses = -1;
	Assert(n <= COZI_MAX_AT_ONCE);
	for (int i = 0; i < n; i++)
	{
		places[i] = find_place(limiter, hash_key(limiter, &calls[i]), &calls[i], 0);
		order[i] = &places[i];
	}
	qsort(order, n, sizeof(*order), compare_partitions);

	lock_places(limiter, order, n, true);
	now = cozi_limiter_clock(limiter);
	for (int i = 0; i < n; i++)
	{
		places[i].ask.now_ns = now;
		places[i].ask.now = now / NS_PER_US;
		current = current && is_current(limiter, places[i].partition, &calls[i]);
	}
	for (int i = 0; i < n && current; i++)
	{
		verdicts[i] = place_call(limiter, &places[i], false);
		if (!verdicts[i].allowed && !calls[i].shadow &&
			(*refuses < 0 || verdicts[i].retry_after > verdicts[*refuses].retry_after))
			*refuses = i;
	}
	/* a limit that refuses remembers that it did */
	for (int i = 0; i < n && current; i++)
		if (*refuses < 0 || (!verdicts[i].allowed && !calls[i].shadow))
			verdicts[i] = place_call(limiter, &places[i], true);
	lock_places(limiter, order, n, false);
	if (current)
		count_call(limiter, *refuses < 0, false);
	return current;
}

/* Forget the key of an unnamed limit, under every per and both algorithms. */
static bool
reset_slots(CoziLimiter *limiter, uint64 hash, int64 now)
{
	CoziGcraSet *set = cozi_set_at(limiter, choose(hash, limiter->n_sets));
	bool		found = false;

	SpinLockAcquire(&set->lock);
	for (int s = 0; s < COZI_SLOTS; s++)
	{
		CoziGcraSlot *slot = &set->slots.slot[s];

		if (((slot->tag ^ key_bits(hash)) >> COZI_PER_BITS) == 0)
		{
			found |= slot->tat > now;
			slot->tat = 0;
		}
	}
	SpinLockRelease(&set->lock);
	return found;
}

/* Forget the key; was there anything? */
bool
cozi_limiter_reset(CoziLimiter *limiter, const CoziCall *call)
{
	uint64		hash = hash_key(limiter, call);
	uint32		i = choose(hash, limiter->n_partitions);
	int64		now = cozi_limiter_clock(limiter);
	bool		found = call->name == NULL && reset_slots(limiter, hash, now);
	CoziArena  *arena = cozi_lock_partition(limiter, i, LW_EXCLUSIVE);
	uint32		self = *cozi_arena_bucket(arena, hash);

	while (self != COZI_NO_BLOCK)
	{
		uint32		next = cozi_log(arena, self)->chain;

		if (cozi_log(arena, self)->key == hash)
		{
			found |= !cozi_log_is_dead(arena, self, now / NS_PER_US);
			cozi_log_remove(arena, self);
		}
		self = next;
	}
	cozi_unlock_partition(limiter, i);
	return found;
}

/*
 * The entries of an unnamed log with a number after that, oldest first, at
 * most max_rows; returns how many were given.
 */
int
cozi_limiter_log(CoziLimiter *limiter, const CoziCall *call, int64 after,
				 CoziLogRow *rows, int max_rows)
{
	uint64		hash = hash_key(limiter, call);
	uint32		i = choose(hash, limiter->n_partitions);
	int64		now = cozi_limiter_clock(limiter) / NS_PER_US;
	CoziArena  *arena = cozi_lock_partition(limiter, i, LW_EXCLUSIVE);
	uint32		self = cozi_log_find(arena, hash, 0, call->per);
	int			n = 0;

	if (self != COZI_NO_BLOCK && cozi_log(arena, self)->used > 0)
	{
		CoziLog    *log = cozi_log(arena, self);
		int64		first;
		int64		skip;
		CoziCursor	cursor;
		CoziEntry	entry;

		now = Max(now, cozi_log_newest(arena, self));
		cozi_log_expire(arena, self, now);
		first = (int64) (log->entries - cozi_log_count(arena, self)) + 1;
		skip = Max(0, after + 1 - first);
		if (skip < (int64) cozi_log_count(arena, self))
		{
			cursor = cozi_log_at(arena, self, skip);
			for (; n < max_rows && cozi_log_next(arena, self, &cursor, &entry); n++)
			{
				rows[n].number = first + skip + n;
				rows[n].cost = cozi_entry_cost(entry);
				rows[n].at = cozi_entry_time(entry);
				rows[n].age = now - rows[n].at;
			}
		}
	}
	cozi_unlock_partition(limiter, i);
	return n;
}
