/*
 * ratelimit/table.h
 *		The layout of the rate limiter's shared memory.
 *
 * One area of cozi.rate_limit_memory, in two parts that never grow.
 *
 *		sets		a quarter; for 'gcra' of limits that have no name.  128 bytes
 *					each: a spinlock and seven slots (pure/slots.h).
 *		partitions	the rest; for 'exact', and for named limits.  Each is an
 *					arena (pure/arena.h) with an LWLock.
 *
 * Locks: a set by its spinlock, a partition by its LWLock.  Nothing that
 * allocates, raises or waits happens under either.  Several partitions are
 * locked in the order of their numbers, after the lock of the names if that is
 * held.  The header is written once, before the area is shared; tallies are
 * atomic, and striped by backend, because all of them count here.
 *
 * The law: raise COZI_LIMITER_LAYOUT with any change to the structures here or
 * in pure/.
 */
#ifndef COZI_RATELIMIT_TABLE_H
#define COZI_RATELIMIT_TABLE_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "pure/limit.h"
#include "pure/slots.h"
#include "ratelimit/ratelimit.h"

#ifndef COZI_LIMITER_LAYOUT
#define COZI_LIMITER_LAYOUT 2
#endif

#define TALLIES 64
#define MAX_PARTITIONS 128
#define CLASSES (COZI_SHARED_CLASSES + COZI_MAX_NAMED)
#define NS_PER_US INT64CONST(1000)

typedef struct CoziGcraSet
{
	slock_t		lock;
	char		pad[8 - sizeof(slock_t)];
	CoziSlots	slots;
} CoziGcraSet;

typedef struct CoziTally
{
	pg_atomic_uint64 allowed;
	pg_atomic_uint64 denied;
	pg_atomic_uint64 evictions; /* of gcra slots; arenas count their own */
	char		pad[PG_CACHE_LINE_SIZE - 3 * sizeof(pg_atomic_uint64)];
} CoziTally;

/* A named limit; its class has the same number in each arena. */
typedef struct CoziNamed
{
	Oid			database;		/* invalid: free */
	uint32		generation;
	uint32		blocks;			/* in each partition */
	bool		gcra;
	char		name[COZI_NAME_BYTES];
} CoziNamed;

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
	uint32		generation;		/* of named limits: the last one given */
	uint64		sets_at;		/* offsets, in bytes */
	uint64		partitions_at;
	uint64		partition_size;
	LWLockPadded names_lock;	/* of named[] and generation */
	CoziNamed	named[COZI_MAX_NAMED];
	CoziTally	tally[TALLIES];
	LWLockPadded lock[MAX_PARTITIONS];	/* the first n_partitions are used */
};

static inline CoziGcraSet *
cozi_set_at(CoziLimiter *limiter, uint32 i)
{
	return (CoziGcraSet *) ((char *) limiter + limiter->sets_at) + i;
}

static inline CoziArena *
cozi_partition_at(CoziLimiter *limiter, uint32 i)
{
	return (CoziArena *) ((char *) limiter + limiter->partitions_at + i * limiter->partition_size);
}

static inline CoziArena *
cozi_lock_partition(CoziLimiter *limiter, uint32 i, LWLockMode mode)
{
	LWLockAcquire(&limiter->lock[i].lock, mode);
	return cozi_partition_at(limiter, i);
}

static inline void
cozi_unlock_partition(CoziLimiter *limiter, uint32 i)
{
	LWLockRelease(&limiter->lock[i].lock);
}

/* ns since the area was made */
extern int64 cozi_limiter_clock(CoziLimiter *limiter);

#endif							/* COZI_RATELIMIT_TABLE_H */
