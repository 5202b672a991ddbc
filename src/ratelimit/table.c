/*
 * ratelimit/table.c
 *		The shared table of the rate limiter: what bucket.h computes, under
 *		locks, with a clock.
 *
 * One area of cozi.rate_limit_memory, in two parts that never grow.
 *
 *		sets		a quarter; for 'gcra'.  128 bytes each, a spinlock and seven
 *					slots.  A key may stand in any slot of the one set its hash
 *					names.  A slot whose time has passed is free, so nothing
 *					ever sweeps; in a full set the slot that owes least time is
 *					taken, and an eviction counted.
 *		partitions	the rest; for 'exact'.  A CoziLogs each (bucket.h), and an
 *					LWLock.
 *
 * Locks: a set's slots by its spinlock, a partition's logs by its LWLock;
 * never two at a time, and nothing that allocates, raises or waits happens
 * under either.  The header is written once, before the area is shared.
 * Tallies are atomic, and striped by backend, since all of them count here.
 *
 * A key is kept as a 64-bit SipHash of the database and the text, with a
 * random seed of this server start: nobody can aim at a set or at another
 * key, and no key can be read out of the memory.  A gcra slot knows 44 bits
 * of it, beside the set, and 20 bits of a random hash of `per`; a log knows
 * all of both.
 *
 * The clock is CLOCK_MONOTONIC, counted from when the area was made: setting
 * the time of day neither frees nor freezes anybody.  gcra counts
 * nanoseconds, so that rounding `per / max_calls` up costs less than a
 * thousandth of the rate; logs count microseconds.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"
#include "pure/siphash.h"

/* Raise this with any change to the structures here or in bucket.h. */
#ifndef COZI_LIMITER_LAYOUT
#define COZI_LIMITER_LAYOUT 1
#endif

#define SET_SLOTS 7
#define TALLIES 64
#define MIN_PARTITIONS 4
#define MAX_PARTITIONS 128
#define NS_PER_US INT64CONST(1000)

typedef struct CoziSlot
{
	uint64		tag;			/* 44 bits of the key, 20 of per */
	int64		tat;			/* ns; at or before now: the slot is free */
} CoziSlot;

typedef struct CoziSet
{
	slock_t		lock;
	char		pad[16 - sizeof(slock_t)];
	CoziSlot	slot[SET_SLOTS];
} CoziSet;

typedef struct CoziTally
{
	pg_atomic_uint64 allowed;
	pg_atomic_uint64 denied;
	pg_atomic_uint64 evictions; /* of gcra slots; logs count their own */
	char		pad[PG_CACHE_LINE_SIZE - 3 * sizeof(pg_atomic_uint64)];
} CoziTally;

struct CoziLimiter
{
	CoziShmemHeader header;
	uint64		seed[2];		/* of the hash of keys */
	uint64		per_factor;		/* odd: of the hash of per */
	int64		epoch;			/* ns: CLOCK_MONOTONIC when made */
	TimestampTz since;			/* the same moment, for people */
	int			tranche;
	uint32		n_sets;
	uint32		n_partitions;
	uint64		sets_at;		/* offsets, in bytes */
	uint64		partitions_at;
	uint64		partition_size;
	CoziTally	tally[TALLIES];
	LWLockPadded lock[MAX_PARTITIONS];	/* the first n_partitions are used */
};

StaticAssertDecl(sizeof(CoziSet) == 128, "a set is 128 bytes");
StaticAssertDecl(sizeof(CoziLog) == 128, "a log's first block is 128 bytes");
StaticAssertDecl(sizeof(CoziMore) == 128, "a log's further blocks are 128 bytes");
StaticAssertDecl(sizeof(CoziLogs) == 64, "the index follows at 64 bytes");

int			cozi_rate_limit_memory;

static Size limiter_size(void);
static void limiter_init(CoziShmemHeader *area);
static void limiter_attach(CoziShmemHeader *area);

static CoziShmem limiter_shmem = {
	.name = "cozi ratelimit",
	.layout = COZI_LIMITER_LAYOUT,
	.size = limiter_size,
	.init = limiter_init,
	.attach = limiter_attach
};

/* ---- the area ---- */

static int64
monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000000) + now.tv_nsec;
}

static inline CoziSet *
set_at(CoziLimiter *limiter, uint32 i)
{
	return (CoziSet *) ((char *) limiter + limiter->sets_at) + i;
}

static inline CoziLogs *
partition_at(CoziLimiter *limiter, uint32 i)
{
	return (CoziLogs *) ((char *) limiter + limiter->partitions_at + i * limiter->partition_size);
}

static Size
limiter_size(void)
{
	return (Size) cozi_rate_limit_memory * 1024;
}

/* One partition a megabyte, so that the smallest ones have room for a log. */
static uint32
partitions_for(Size size)
{
	Size		n = size / (1024 * 1024);

	n = Max(MIN_PARTITIONS, Min(MAX_PARTITIONS, n));
	return 1 << pg_leftmost_one_pos32((uint32) n);
}

static void
limiter_init(CoziShmemHeader *area)
{
	CoziLimiter *limiter = (CoziLimiter *) area;
	Size		size = area->size;

	memset((char *) area + sizeof(*area), 0, sizeof(*limiter) - sizeof(*area));
	if (!pg_strong_random(limiter->seed, sizeof(limiter->seed)) ||
		!pg_strong_random(&limiter->per_factor, sizeof(limiter->per_factor)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random seed for the rate limiter")));
	limiter->per_factor |= 1;
	limiter->epoch = monotonic_ns();
	limiter->since = GetCurrentTimestamp();
	limiter->tranche = LWLockNewTrancheId_compat("CoziRateLimit");
	limiter->n_sets = size / 4 / sizeof(CoziSet);
	limiter->n_partitions = partitions_for(size);
	limiter->sets_at = TYPEALIGN(128, sizeof(*limiter));
	limiter->partitions_at = limiter->sets_at + limiter->n_sets * sizeof(CoziSet);
	limiter->partition_size = TYPEALIGN_DOWN(128, (size - limiter->partitions_at) / limiter->n_partitions);

	for (int i = 0; i < TALLIES; i++)
	{
		pg_atomic_init_u64(&limiter->tally[i].allowed, 0);
		pg_atomic_init_u64(&limiter->tally[i].denied, 0);
		pg_atomic_init_u64(&limiter->tally[i].evictions, 0);
	}
	memset(set_at(limiter, 0), 0, limiter->n_sets * sizeof(CoziSet));
	for (uint32 i = 0; i < limiter->n_sets; i++)
		SpinLockInit(&set_at(limiter, i)->lock);
	for (uint32 i = 0; i < limiter->n_partitions; i++)
	{
		LWLockInitialize(&limiter->lock[i].lock, limiter->tranche);
		cozi_logs_init(partition_at(limiter, i), limiter->partition_size);
	}
}

static void
limiter_attach(CoziShmemHeader *area)
{
	LWLockRegisterTranche_compat(((CoziLimiter *) area)->tranche, "CoziRateLimit");
}

void
cozi_limiter_init(void)
{
	cozi_shmem_request(&limiter_shmem);
}

/* The table; without preload it is made here.  May raise an error. */
CoziLimiter *
cozi_limiter(bool create)
{
	return (CoziLimiter *) cozi_shmem_attach(&limiter_shmem, create);
}

bool
cozi_limiter_is_dynamic(void)
{
	return limiter_shmem.dynamic;
}

int32
cozi_limiter_max_calls(CoziLimiter *limiter)
{
	return cozi_logs_max_calls(partition_at(limiter, 0));
}

/* ---- where a key is ---- */

static inline uint64
hash_key(CoziLimiter *limiter, const char *key, int len)
{
	return cozi_siphash(limiter->seed, MyDatabaseId, key, len);
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
	return hash << 20;
}

static inline uint64
slot_tag(CoziLimiter *limiter, uint64 hash, int64 per)
{
	return key_bits(hash) | (((uint64) per * limiter->per_factor) >> 44);
}

/* ---- a call ---- */

static CoziVerdict
gcra_call(CoziLimiter *limiter, uint64 hash, const CoziCall *call, bool consume,
		  bool *evicted)
{
	CoziSet    *set = set_at(limiter, choose(hash, limiter->n_sets));
	uint64		tag = slot_tag(limiter, hash, call->per);
	int64		spacing = cozi_gcra_spacing(call->per * NS_PER_US, call->max_calls);
	int64		now = monotonic_ns() - limiter->epoch;
	int64		tat = 0;
	int64		after;
	CoziSlot   *slot = set->slot;
	CoziVerdict verdict;
	bool		allowed;

	*evicted = false;
	SpinLockAcquire(&set->lock);
	for (int i = 0; i < SET_SLOTS; i++)
	{
		if (set->slot[i].tag == tag)
		{
			slot = &set->slot[i];
			tat = slot->tat;
			break;
		}
		if (set->slot[i].tat < slot->tat)
			slot = &set->slot[i];
	}
	after = tat;
	allowed = cozi_gcra_step(&after, now, spacing, call->max_calls, call->cost);
	if (allowed && consume)
	{
		*evicted = slot->tag != tag && slot->tat > now;
		slot->tag = tag;
		slot->tat = after;
	}
	SpinLockRelease(&set->lock);

	verdict = cozi_gcra_verdict(consume ? after : tat, now, spacing,
								call->max_calls, call->cost, allowed);
	verdict.retry_after = (verdict.retry_after + NS_PER_US - 1) / NS_PER_US;
	verdict.reset_after = (verdict.reset_after + NS_PER_US - 1) / NS_PER_US;
	return verdict;
}

static CoziVerdict
exact_call(CoziLimiter *limiter, uint64 hash, const CoziCall *call, bool consume)
{
	uint32		i = choose(hash, limiter->n_partitions);
	int64		now = (monotonic_ns() - limiter->epoch) / NS_PER_US;
	CoziVerdict verdict;

	LWLockAcquire(&limiter->lock[i].lock, LW_EXCLUSIVE);
	verdict = cozi_exact_step(partition_at(limiter, i), hash, call->per, now,
							  call->max_calls, call->cost, consume);
	LWLockRelease(&limiter->lock[i].lock);
	return verdict;
}

CoziVerdict
cozi_limiter_call(CoziLimiter *limiter, const CoziCall *call, bool consume)
{
	CoziTally  *tally = &limiter->tally[MyProcPid % TALLIES];
	uint64		hash = hash_key(limiter, call->key, call->key_len);
	CoziVerdict verdict;
	bool		evicted = false;

	if (call->exact)
		verdict = exact_call(limiter, hash, call, consume);
	else
		verdict = gcra_call(limiter, hash, call, consume, &evicted);
	if (consume)
		pg_atomic_fetch_add_u64(verdict.allowed ? &tally->allowed : &tally->denied, 1);
	if (evicted)
		pg_atomic_fetch_add_u64(&tally->evictions, 1);
	return verdict;
}

/* ---- the rest ---- */

/* Forget the key, under every per and both algorithms; was there anything? */
bool
cozi_limiter_reset(CoziLimiter *limiter, const char *key, int key_len)
{
	uint64		hash = hash_key(limiter, key, key_len);
	CoziSet    *set = set_at(limiter, choose(hash, limiter->n_sets));
	uint32		i = choose(hash, limiter->n_partitions);
	CoziLogs   *logs = partition_at(limiter, i);
	int64		now = monotonic_ns() - limiter->epoch;
	bool		found = false;
	uint32		self;

	SpinLockAcquire(&set->lock);
	for (int s = 0; s < SET_SLOTS; s++)
	{
		if (((set->slot[s].tag ^ key_bits(hash)) >> 20) == 0)
		{
			found |= set->slot[s].tat > now;
			set->slot[s].tat = 0;
		}
	}
	SpinLockRelease(&set->lock);

	LWLockAcquire(&limiter->lock[i].lock, LW_EXCLUSIVE);
	for (self = *cozi_log_bucket(logs, hash); self != COZI_NO_BLOCK;)
	{
		uint32		next = cozi_log(logs, self)->chain;

		if (cozi_log(logs, self)->key == hash)
		{
			cozi_log_expire(logs, self, now / NS_PER_US);
			found |= cozi_log(logs, self)->used > 0;
			cozi_log_remove(logs, self);
		}
		self = next;
	}
	LWLockRelease(&limiter->lock[i].lock);
	return found;
}

/*
 * The calls in a log, oldest first, as many as rows has room for; returns how
 * many there are.
 */
int
cozi_limiter_log(CoziLimiter *limiter, const CoziCall *call,
				 CoziLogRow *rows, int max_rows)
{
	uint64		hash = hash_key(limiter, call->key, call->key_len);
	uint32		i = choose(hash, limiter->n_partitions);
	CoziLogs   *logs = partition_at(limiter, i);
	int64		now = (monotonic_ns() - limiter->epoch) / NS_PER_US;
	uint32		self;
	int			n = 0;

	LWLockAcquire(&limiter->lock[i].lock, LW_EXCLUSIVE);
	self = cozi_log_find(logs, hash, call->per);
	if (self != COZI_NO_BLOCK)
	{
		CoziLog    *log = cozi_log(logs, self);
		CoziCursor	cursor = {0};
		CoziEntry	entry;

		now = Max(now, log->newest);
		cozi_log_expire(logs, self, now);
		for (; cozi_log_next(logs, self, &cursor, &entry); n++)
		{
			if (n >= max_rows)
				continue;
			rows[n].cost = cozi_entry_cost(entry);
			rows[n].at = cozi_entry_time(entry);
			rows[n].age = now - rows[n].at;
		}
		for (int r = 0; r < Min(n, max_rows); r++)
			rows[r].number = log->entries - n + r + 1;
	}
	LWLockRelease(&limiter->lock[i].lock);
	return n;
}

/*
 * Sums over a table that others are changing.  Slots are read without their
 * locks: a count needs no more than a time that is or was there.
 */
void
cozi_limiter_stats(CoziLimiter *limiter, CoziLimiterStats *stats)
{
	int64		now = monotonic_ns() - limiter->epoch;

	memset(stats, 0, sizeof(*stats));
	stats->bytes = limiter->header.size;
	stats->since = limiter->since;
	stats->log_max_calls = cozi_limiter_max_calls(limiter);
	stats->gcra_slots = (int64) limiter->n_sets * SET_SLOTS;
	for (uint32 i = 0; i < limiter->n_sets; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int s = 0; s < SET_SLOTS; s++)
			stats->gcra_keys += set_at(limiter, i)->slot[s].tat > now;
	}
	for (uint32 i = 0; i < limiter->n_partitions; i++)
	{
		CoziLogs   *logs = partition_at(limiter, i);

		LWLockAcquire(&limiter->lock[i].lock, LW_SHARED);
		stats->log_blocks += logs->n_blocks;
		stats->log_blocks_used += logs->touched - logs->n_free;
		stats->log_keys += logs->keys;
		stats->evictions += logs->evictions;
		LWLockRelease(&limiter->lock[i].lock);
	}
	for (int i = 0; i < TALLIES; i++)
	{
		stats->allowed += pg_atomic_read_u64(&limiter->tally[i].allowed);
		stats->denied += pg_atomic_read_u64(&limiter->tally[i].denied);
		stats->evictions += pg_atomic_read_u64(&limiter->tally[i].evictions);
	}
}
