/*
 * ratelimit/table.c
 *		The shared memory of the rate limiter: made, attached, and summed up.
 *
 * The clock is CLOCK_MONOTONIC, counted from when the area was made: setting
 * the time of day neither frees nor freezes anybody.  gcra counts nanoseconds,
 * so that rounding `per / max_calls` up costs less than a thousandth of the
 * rate; logs count microseconds.
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/timestamp.h"

#include "ratelimit/table.h"

#define MIN_PARTITIONS 4

StaticAssertDecl(sizeof(CoziGcraSet) == 128, "a set is 128 bytes");
StaticAssertDecl(sizeof(CoziLog) == 128, "a log's first block is 128 bytes");
StaticAssertDecl(sizeof(CoziMore) == 128, "a log's further blocks are 128 bytes");

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

static int64
monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000000) + now.tv_nsec;
}

int64
cozi_limiter_clock(CoziLimiter *limiter)
{
	return monotonic_ns() - limiter->epoch;
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

	if (!pg_strong_random(limiter->seed, sizeof(limiter->seed)) ||
		!pg_strong_random(&limiter->per_factor, sizeof(limiter->per_factor)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random seed for the rate limiter")));
	limiter->per_factor |= 1;
	limiter->epoch = monotonic_ns();
	limiter->since = GetCurrentTimestamp();
	limiter->tranche = LWLockNewTrancheId_compat("CoziRateLimit");
	limiter->n_sets = size / 4 / sizeof(CoziGcraSet);
	limiter->n_partitions = partitions_for(size);
	limiter->sets_at = TYPEALIGN(128, sizeof(*limiter));
	limiter->partitions_at = limiter->sets_at + limiter->n_sets * sizeof(CoziGcraSet);
	size -= limiter->partitions_at;
	limiter->partition_size = TYPEALIGN_DOWN(128, size / limiter->n_partitions);

	for (int i = 0; i < TALLIES; i++)
	{
		pg_atomic_init_u64(&limiter->tally[i].allowed, 0);
		pg_atomic_init_u64(&limiter->tally[i].denied, 0);
		pg_atomic_init_u64(&limiter->tally[i].evictions, 0);
	}
	LWLockInitialize(&limiter->names_lock.lock, limiter->tranche);
	for (uint32 i = 0; i < limiter->n_sets; i++)
		SpinLockInit(&cozi_set_at(limiter, i)->lock);
	for (uint32 i = 0; i < limiter->n_partitions; i++)
	{
		LWLockInitialize(&limiter->lock[i].lock, limiter->tranche);
		cozi_arena_init(cozi_partition_at(limiter, i), limiter->partition_size, CLASSES);
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
	return cozi_arena_max_calls(cozi_partition_at(limiter, 0));
}

/*
 * Sums over a table that others are changing.  Slots are read without their
 * locks: a count needs no more than a time that is or was there.
 */
void
cozi_limiter_stats(CoziLimiter *limiter, CoziLimiterStats *stats)
{
	int64		now = cozi_limiter_clock(limiter);

	memset(stats, 0, sizeof(*stats));
	stats->bytes = limiter->header.size;
	stats->since = limiter->since;
	stats->log_max_calls = cozi_limiter_max_calls(limiter);
	stats->gcra_slots = (int64) limiter->n_sets * COZI_SLOTS;
	for (uint32 i = 0; i < limiter->n_sets; i++)
	{
		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		for (int s = 0; s < COZI_SLOTS; s++)
			stats->gcra_keys += cozi_set_at(limiter, i)->slots.slot[s].tat > now;
	}
	for (uint32 i = 0; i < limiter->n_partitions; i++)
	{
		CoziArena  *arena = cozi_lock_partition(limiter, i, LW_SHARED);

		stats->log_blocks += arena->n_blocks;
		stats->log_blocks_used += arena->touched - arena->n_free;
		stats->log_blocks_reserved += arena->reserved;
		stats->log_keys += arena->keys;
		stats->evictions += arena->evictions;
		cozi_unlock_partition(limiter, i);
	}
	for (int i = 0; i < TALLIES; i++)
	{
		stats->allowed += pg_atomic_read_u64(&limiter->tally[i].allowed);
		stats->denied += pg_atomic_read_u64(&limiter->tally[i].denied);
		stats->evictions += pg_atomic_read_u64(&limiter->tally[i].evictions);
	}
}
