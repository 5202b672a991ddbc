/*
 * pure/bucket.h
 *		The arithmetic of a rate limit: no server, no clock, no lock.
 *
 * Two algorithms.  Both are told what time it is, in whole units of the
 * caller's choice, and both record admitted calls only.
 *
 * gcra, the generic cell rate algorithm (ITU-T I.371): a key is one number,
 * the theoretical arrival time, when all that it owes will be paid.  A call
 * costs `spacing` = per / max_calls, rounded up, and is admitted if the key
 * then owes at most max_calls of them.  A key at rest may burst max_calls, and
 * goes on at the even rate: up to twice max_calls within some `per`.
 *
 * exact, the sliding log: a call is admitted iff fewer than max_calls were in
 * the `per` before it.  The times of admitted calls stand in a queue of
 * 128-byte blocks; a call drops what has expired at the head and appends
 * itself at the tail, so that it costs O(1), amortized, for any max_calls,
 * and a key takes memory for the calls it made, not for those it might make.
 * `per` belongs to a log's identity, so that an expired time is expired for
 * good; max_calls does not, and may differ from call to call.
 *
 * CoziLogs is a fixed number of such blocks and an index of the logs in them.
 * Blocks are linked by number, never by address.  When none is free, the log
 * with the fewest admitted calls of eight is evicted: a flood of new keys,
 * which all have one call, evicts itself, and whoever wants a log of n calls
 * evicted has to make more than n admitted calls under each of his keys.
 */
#ifndef COZI_BUCKET_H
#define COZI_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct CoziVerdict
{
	bool		allowed;
	int64_t		remaining;		/* calls left in the budget */
	int64_t		retry_after;	/* until the same call passes; 0 if it did */
	int64_t		reset_after;	/* until the budget is whole again */
} CoziVerdict;

/* ---- gcra ---- */

static inline int64_t
cozi_gcra_spacing(int64_t per, int32_t max_calls)
{
	return per / max_calls + (per % max_calls != 0);
}

/* Admit the call and move *tat, or leave it. */
static inline bool
cozi_gcra_step(int64_t *tat, int64_t now, int64_t spacing,
			   int32_t max_calls, int32_t cost)
{
	int64_t		next = (*tat > now ? *tat : now) + spacing * cost;

	if (next - now > spacing * max_calls)
		return false;
	*tat = next;
	return true;
}

/* What to tell the caller, `tat` being what the step left. */
static inline CoziVerdict
cozi_gcra_verdict(int64_t tat, int64_t now, int64_t spacing,
				  int32_t max_calls, int32_t cost, bool allowed)
{
	int64_t		owed = tat > now ? tat - now : 0;
	int64_t		left = spacing * max_calls - owed;	/* < 0: limit was lowered */
	CoziVerdict verdict = {
		.allowed = allowed,
		.remaining = left > 0 ? left / spacing : 0,
		.retry_after = allowed ? 0 : spacing * cost - left,
		.reset_after = owed
	};

	return verdict;
}

/* ---- exact: entries and blocks ---- */

/* One admitted call: 52 bits of time, 12 bits of cost - 1. */
typedef uint64_t CoziEntry;

#define COZI_ENTRY_COST 4096	/* a dearer call takes several entries */
#define COZI_MAX_TIME ((INT64_C(1) << 52) - 1)

#define COZI_LOG_ENTRIES 8		/* in a log's first block */
#define COZI_MORE_ENTRIES 15	/* in each further one */
#define COZI_NO_BLOCK UINT32_MAX
#define COZI_EVICTION_SAMPLE 8

/* A key's first block.  A block that is not the first of a log has blocks 0. */
typedef struct CoziLog
{
	uint32_t	next;			/* block after this one */
	uint32_t	blocks;			/* in this log, itself included */
	uint32_t	chain;			/* next log of the same index bucket */
	uint32_t	first;			/* block with the oldest entry */
	uint32_t	last;			/* block with the newest */
	uint16_t	head;			/* the oldest entry's place in `first` */
	uint16_t	tail;			/* entries in `last` */
	int32_t		used;			/* the sum of the entries' costs */
	int32_t		max_calls;		/* as the last call said */
	uint64_t	key;
	int64_t		per;
	int64_t		newest;			/* time of the newest entry */
	uint64_t	entries;		/* ever appended: numbers them */
	CoziEntry	entry[COZI_LOG_ENTRIES];
} CoziLog;

typedef struct CoziMore
{
	uint32_t	next;			/* block after this one, or next free one */
	uint32_t	blocks;			/* 0 */
	CoziEntry	entry[COZI_MORE_ENTRIES];
} CoziMore;

typedef struct CoziLogs
{
	uint32_t	n_blocks;
	uint32_t	n_buckets;		/* a power of two */
	uint32_t	blocks_at;		/* offset of block 0, in bytes */
	uint32_t	touched;		/* blocks ever used: the others need no init */
	uint32_t	free;			/* list of blocks given back */
	uint32_t	n_free;			/* its length */
	uint32_t	hand;			/* where the last search for a victim ended */
	uint32_t	stride;			/* and its step, prime to n_blocks */
	uint32_t	keys;			/* logs held */
	uint32_t	reserved[3];
	uint64_t	evictions;		/* logs dropped before their time */
	uint64_t	reserved2;
} CoziLogs;

static inline CoziLog *
cozi_log(CoziLogs *logs, uint32_t block)
{
	return (CoziLog *) ((char *) logs + logs->blocks_at) + block;
}

static inline CoziMore *
cozi_more(CoziLogs *logs, uint32_t block)
{
	return (CoziMore *) cozi_log(logs, block);
}

static inline uint32_t *
cozi_log_bucket(CoziLogs *logs, uint64_t key)
{
	return (uint32_t *) (logs + 1) + (key & (logs->n_buckets - 1));
}

static inline CoziEntry *
cozi_log_entries(CoziLogs *logs, uint32_t self, uint32_t block)
{
	return block == self ? cozi_log(logs, block)->entry : cozi_more(logs, block)->entry;
}

static inline int
cozi_log_capacity(uint32_t self, uint32_t block)
{
	return block == self ? COZI_LOG_ENTRIES : COZI_MORE_ENTRIES;
}

static inline int64_t
cozi_entry_time(CoziEntry entry)
{
	return (int64_t) (entry / COZI_ENTRY_COST);
}

static inline int32_t
cozi_entry_cost(CoziEntry entry)
{
	return (int32_t) (entry % COZI_ENTRY_COST) + 1;
}

/* ---- exact: memory ---- */

/* Bytes that hold at least so many blocks. */
static inline size_t
cozi_logs_size(size_t n_blocks)
{
	return sizeof(CoziLogs) + sizeof(CoziLog) + n_blocks * (sizeof(CoziLog) + sizeof(uint32_t));
}

static inline uint32_t
cozi_gcd(uint32_t a, uint32_t b)
{
	while (b != 0)
	{
		uint32_t	r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* Make the most of size bytes, at an address that is a multiple of 128. */
static inline void
cozi_logs_init(CoziLogs *logs, size_t size)
{
	size_t		n = (size - sizeof(CoziLogs) - sizeof(CoziLog)) / (sizeof(CoziLog) + sizeof(uint32_t));
	size_t		index;

	memset(logs, 0, sizeof(*logs));
	for (logs->n_buckets = 1; logs->n_buckets * (size_t) 2 <= n;)
		logs->n_buckets *= 2;
	index = sizeof(CoziLogs) + logs->n_buckets * sizeof(uint32_t);
	logs->blocks_at = (uint32_t) ((index + 127) / 128 * 128);
	logs->n_blocks = (uint32_t) ((size - logs->blocks_at) / sizeof(CoziLog));
	logs->stride = (uint32_t) (logs->n_blocks * 0.6180339887498949) | 1;
	while (cozi_gcd(logs->stride, logs->n_blocks) != 1)
		logs->stride += 2;
	logs->free = COZI_NO_BLOCK;
	memset(logs + 1, 0xff, logs->n_buckets * sizeof(uint32_t));
}

/* The largest max_calls: a log at its limit leaves half the blocks to others. */
static inline int32_t
cozi_logs_max_calls(const CoziLogs *logs)
{
	int64_t		max = ((int64_t) logs->n_blocks / 2 - 3) * COZI_MORE_ENTRIES;

	return max < 1 ? 1 : max < INT32_MAX ? (int32_t) max : INT32_MAX;
}

static inline void
cozi_block_free(CoziLogs *logs, uint32_t block)
{
	cozi_more(logs, block)->blocks = 0;
	cozi_more(logs, block)->next = logs->free;
	logs->free = block;
	logs->n_free++;
}

/* Forget the entries, and give back every block but the first. */
static inline void
cozi_log_clear(CoziLogs *logs, uint32_t self)
{
	CoziLog    *log = cozi_log(logs, self);
	uint32_t	first = log->first == self ? log->next : log->first;

	if (log->blocks > 1)
	{
		cozi_more(logs, log->last)->next = logs->free;
		logs->free = first;
		logs->n_free += log->blocks - 1;
	}
	log->next = COZI_NO_BLOCK;
	log->blocks = 1;
	log->first = log->last = self;
	log->head = log->tail = 0;
	log->used = 0;
}

static inline void
cozi_log_remove(CoziLogs *logs, uint32_t self)
{
	uint32_t   *link = cozi_log_bucket(logs, cozi_log(logs, self)->key);

	cozi_log_clear(logs, self);
	while (*link != self)
		link = &cozi_log(logs, *link)->chain;
	*link = cozi_log(logs, self)->chain;
	cozi_block_free(logs, self);
	logs->keys--;
}

/* Drop the entries that are `per` old or older. */
static inline void
cozi_log_expire(CoziLogs *logs, uint32_t self, int64_t now)
{
	CoziLog    *log = cozi_log(logs, self);
	int64_t		horizon = now - log->per;

	if (log->used == 0 || log->newest <= horizon)
	{
		cozi_log_clear(logs, self);
		return;
	}
	/* the newest entry is not expired: this ends at it, or before */
	for (;;)
	{
		CoziEntry  *entry = cozi_log_entries(logs, self, log->first);
		uint32_t	block = log->first;

		if (log->head < cozi_log_capacity(self, block))
		{
			if (cozi_entry_time(entry[log->head]) > horizon)
				return;
			log->used -= cozi_entry_cost(entry[log->head++]);
			continue;
		}
		log->first = cozi_more(logs, block)->next;
		log->head = 0;
		if (block != self)
		{
			cozi_block_free(logs, block);
			log->blocks--;
		}
	}
}

/* Does a owe less than b?  Fewer calls, then the smaller share, then sooner. */
static inline bool
cozi_log_owes_less(const CoziLog *a, const CoziLog *b)
{
	if (a->used != b->used)
		return a->used < b->used;
	if (a->max_calls != b->max_calls)
		return a->max_calls > b->max_calls;
	return a->newest + a->per < b->newest + b->per;
}

/*
 * Have a free block, at the expense of any log but `self`.  There is one,
 * since no log may grow past half of the blocks.
 *
 * The hand goes round in steps of the golden section, since neighbours were
 * made at the same time and are alike: eight blocks of a row could all be of
 * keys that are denied.
 */
static inline void
cozi_logs_reclaim(CoziLogs *logs, uint32_t self, int64_t now)
{
	uint32_t	victim = COZI_NO_BLOCK;

	for (int seen = 0; seen < COZI_EVICTION_SAMPLE || victim == COZI_NO_BLOCK;)
	{
		uint32_t	block = logs->hand;
		CoziLog    *log = cozi_log(logs, block);

		logs->hand = (uint32_t) (((uint64_t) block + logs->stride) % logs->n_blocks);
		if (block == victim)
			break;				/* once around */
		if (log->blocks == 0 || block == self)
			continue;
		cozi_log_expire(logs, block, now);
		if (log->used == 0)
			cozi_log_remove(logs, block);
		if (logs->free != COZI_NO_BLOCK)
			return;
		if (victim == COZI_NO_BLOCK || cozi_log_owes_less(log, cozi_log(logs, victim)))
			victim = block;
		seen++;
	}
	cozi_log_remove(logs, victim);
	logs->evictions++;
}

static inline uint32_t
cozi_block_alloc(CoziLogs *logs, uint32_t self, int64_t now)
{
	uint32_t	block;

	if (logs->free == COZI_NO_BLOCK)
	{
		if (logs->touched < logs->n_blocks)
			return logs->touched++;
		cozi_logs_reclaim(logs, self, now);
	}
	block = logs->free;
	logs->free = cozi_more(logs, block)->next;
	logs->n_free--;
	return block;
}

/* ---- exact: the step ---- */

static inline uint32_t
cozi_log_find(CoziLogs *logs, uint64_t key, int64_t per)
{
	uint32_t	self = *cozi_log_bucket(logs, key);

	while (self != COZI_NO_BLOCK)
	{
		CoziLog    *log = cozi_log(logs, self);

		if (log->key == key && log->per == per)
			break;
		self = log->chain;
	}
	return self;
}

static inline uint32_t
cozi_log_create(CoziLogs *logs, uint64_t key, int64_t per, int64_t now)
{
	uint32_t	self = cozi_block_alloc(logs, COZI_NO_BLOCK, now);
	uint32_t   *bucket = cozi_log_bucket(logs, key);
	CoziLog    *log = cozi_log(logs, self);

	memset(log, 0, sizeof(*log));
	log->next = COZI_NO_BLOCK;
	log->blocks = 1;
	log->first = log->last = self;
	log->key = key;
	log->per = per;
	log->newest = now;
	log->chain = *bucket;
	*bucket = self;
	logs->keys++;
	return self;
}

static inline void
cozi_log_append(CoziLogs *logs, uint32_t self, int64_t now, int32_t cost)
{
	CoziLog    *log = cozi_log(logs, self);

	log->used += cost;
	log->newest = now;
	while (cost > 0)
	{
		int32_t		part = cost < COZI_ENTRY_COST ? cost : COZI_ENTRY_COST;

		if (log->tail == cozi_log_capacity(self, log->last))
		{
			uint32_t	block = cozi_block_alloc(logs, self, now);

			cozi_more(logs, block)->blocks = 0;
			cozi_more(logs, log->last)->next = block;
			log->last = block;
			log->tail = 0;
			log->blocks++;
		}
		cozi_log_entries(logs, self, log->last)[log->tail++] =
			(CoziEntry) now * COZI_ENTRY_COST + (CoziEntry) (part - 1);
		log->entries++;
		cost -= part;
	}
}

/* Walk a log's entries, oldest first, from a cursor that is all zero. */
typedef struct CoziCursor
{
	bool		started;
	uint32_t	block;
	int			place;
} CoziCursor;

static inline bool
cozi_log_next(CoziLogs *logs, uint32_t self, CoziCursor *cursor, CoziEntry *entry)
{
	CoziLog    *log = cozi_log(logs, self);

	if (!cursor->started)
	{
		cursor->started = true;
		cursor->block = log->first;
		cursor->place = log->head;
	}
	if (cursor->block == log->last && cursor->place == log->tail)
		return false;
	if (cursor->place == cozi_log_capacity(self, cursor->block))
	{
		cursor->block = cozi_more(logs, cursor->block)->next;
		cursor->place = 0;
	}
	*entry = cozi_log_entries(logs, self, cursor->block)[cursor->place++];
	return true;
}

/* The time of the entry with whose expiry so many units are given back. */
static inline int64_t
cozi_log_time_of(CoziLogs *logs, uint32_t self, int64_t units)
{
	CoziCursor	cursor = {0};
	CoziEntry	entry = 0;

	while (units > 0 && cozi_log_next(logs, self, &cursor, &entry))
		units -= cozi_entry_cost(entry);
	return cozi_entry_time(entry);
}

/*
 * Decide on a call.  `self` is the key's log, or COZI_NO_BLOCK; a log is made
 * for a call that is admitted and `consume`d.  A time earlier than the log's
 * newest entry counts as that one: two backends may read the clock in one
 * order and come here in the other.
 */
static inline CoziVerdict
cozi_exact_step(CoziLogs *logs, uint64_t key, int64_t per, int64_t now,
				int32_t max_calls, int32_t cost, bool consume)
{
	CoziVerdict verdict = {.allowed = true};
	uint32_t	self = cozi_log_find(logs, key, per);
	CoziLog    *log;

	if (self == COZI_NO_BLOCK)
	{
		if (!consume)
		{
			verdict.remaining = max_calls;
			return verdict;
		}
		self = cozi_log_create(logs, key, per, now);
	}
	log = cozi_log(logs, self);
	if (now < log->newest)
		now = log->newest;
	cozi_log_expire(logs, self, now);
	log->max_calls = max_calls;
	verdict.allowed = (int64_t) log->used + cost <= max_calls;
	if (!verdict.allowed)
		verdict.retry_after = cozi_log_time_of(logs, self, (int64_t) log->used + cost - max_calls) + per - now;
	else if (consume)
		cozi_log_append(logs, self, now, cost);
	verdict.remaining = log->used < max_calls ? max_calls - log->used : 0;
	verdict.reset_after = log->used > 0 ? log->newest + per - now : 0;
	return verdict;
}

#endif							/* COZI_BUCKET_H */
