/*
 * pure/arena.h
 *		The logs of many keys in a fixed memory, and who gives up when it ends.
 *
 * An arena is a number of 128-byte blocks, an index of the logs in them, and
 * the classes of limits that compete for them.
 *
 *		shared		one for each pair (max_calls, per).  They share what is not
 *					reserved.  When no block is free, the class that holds most
 *					blocks gives up a log: so a flood costs its own class.
 *		reserved	one for each named limit.  It has its number of blocks,
 *					whatever the others do, and never more: in need it gives up
 *					a log of its own.
 *
 * Within a class, logs stand in lists by their rank, and the lowest rank goes
 * first: 0 to 3 for each quarter of its own budget that the key owes, 4 for a
 * key that owes all of it, 5 for a key that owes half or more and was refused
 * since it was last admitted.  To forget a refused key is to admit a call that
 * must be refused.
 *
 * Logs whose calls have expired are found by a sweep: each allocation in a
 * full arena looks at the heads of a few lists, and turns what is alive to the
 * tail.  A log that has to grow while nothing else of its class is left gives
 * up its own oldest block.
 *
 * The law: every function here takes a bounded number of steps.
 */
#ifndef COZI_ARENA_H
#define COZI_ARENA_H

#include "pure/log.h"

#define COZI_SHARED_CLASSES 64
#define COZI_CLASS_PROBES 8
#define COZI_SWEEP 8			/* list heads that an allocation looks at */
#define COZI_RANK_FULL 4
#define COZI_RANK_REFUSED 5

typedef struct CoziAsk
{
	uint64_t	key;			/* a hash that names the key and, if any, the
								 * limit */
	int64_t		now;			/* us; never negative */
	int64_t		now_ns;			/* the same moment; for gcra */
	int64_t		per;			/* us */
	int32_t		max_calls;
	int32_t		cost;
	uint32_t	class;			/* reserved, or 0 */
	bool		consume;
} CoziAsk;

/* The classes that share: all, where none can be reserved. */
static inline uint32_t
cozi_arena_shared(const CoziArena *arena)
{
	return arena->n_classes < COZI_SHARED_CLASSES ? arena->n_classes : COZI_SHARED_CLASSES;
}

static inline size_t
cozi_arena_head(uint32_t n_classes)
{
	return sizeof(CoziArena) + n_classes * sizeof(CoziClass);
}

/* Bytes that hold at least so many blocks. */
static inline size_t
cozi_arena_size(size_t n_blocks, uint32_t n_classes)
{
	return cozi_arena_head(n_classes) + sizeof(CoziLog) +
		n_blocks * (sizeof(CoziLog) + sizeof(uint32_t));
}

/* Make the most of size bytes, at an address that is a multiple of 128. */
static inline void
cozi_arena_init(CoziArena *arena, size_t size, uint32_t n_classes)
{
	size_t		head = cozi_arena_head(n_classes);
	size_t		n = (size - head - sizeof(CoziLog)) / (sizeof(CoziLog) + sizeof(uint32_t));

	memset(arena, 0, head);
	for (arena->n_buckets = 1; arena->n_buckets * (size_t) 2 <= n;)
		arena->n_buckets *= 2;
	arena->buckets_at = (uint32_t) head;
	head += arena->n_buckets * sizeof(uint32_t);
	arena->blocks_at = (uint32_t) ((head + 127) / 128 * 128);
	arena->n_blocks = (uint32_t) ((size - arena->blocks_at) / sizeof(CoziLog));
	arena->n_classes = n_classes;
	arena->free = COZI_NO_BLOCK;
	for (uint32_t c = 0; c < n_classes; c++)
		memset(cozi_class(arena, c)->list, 0xff, sizeof(cozi_class(arena, c)->list));
	memset((char *) arena + arena->buckets_at, 0xff, arena->n_buckets * sizeof(uint32_t));
}

/* The largest max_calls of a log that may take so many blocks. */
static inline int32_t
cozi_blocks_max_calls(uint32_t blocks)
{
	int64_t		max = ((int64_t) blocks - 3) * COZI_MORE_ENTRIES;

	return max < 1 ? 1 : max < INT32_MAX ? (int32_t) max : INT32_MAX;
}

/* Half of the blocks can be reserved; a shared log may take the other half. */
static inline int32_t
cozi_arena_max_calls(const CoziArena *arena)
{
	return cozi_blocks_max_calls(arena->n_blocks / 2);
}

static inline uint32_t *
cozi_arena_bucket(CoziArena *arena, uint64_t key)
{
	return (uint32_t *) ((char *) arena + arena->buckets_at) + (key & (arena->n_buckets - 1));
}

/*
 * The class of a pair.  Where there are too many, it is one of another pair, by
 * chance: if all of those shared one, a flood of one limit would cost the others.
 */
static inline uint32_t
cozi_class_of(CoziArena *arena, int32_t max_calls, int64_t per)
{
	uint32_t	n = cozi_arena_shared(arena);
	uint64_t	hash = ((uint64_t) per ^ (uint64_t) max_calls << 32) * UINT64_C(0x9E3779B97F4A7C15);
	uint32_t	vacant = n;
	CoziClass  *class;

	for (uint32_t i = 0; i < COZI_CLASS_PROBES; i++)
	{
		uint32_t	c = (uint32_t) ((hash >> 32) + i) % n;

		class = cozi_class(arena, c);
		if (!(arena->active >> c & 1))
			vacant = vacant == n ? c : vacant;
		else if (class->max_calls == max_calls && class->per == per)
			return c;
	}
	if (vacant == n)
		return (uint32_t) (hash >> 32) % n;
	class = cozi_class(arena, vacant);
	if (class->max_calls != max_calls || class->per != per)
		class->allowed = class->refused = class->evictions = 0;
	class->max_calls = max_calls;
	class->per = per;
	return vacant;
}

/* ranks: lists of logs, the next to go at the head */

static inline void
cozi_log_unlink(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t   *list = &cozi_class(arena, log->class)->list[log->rank];

	if (*list == self)
		*list = log->after == self ? COZI_NO_BLOCK : log->after;
	cozi_log(arena, log->before)->after = log->after;
	cozi_log(arena, log->after)->before = log->before;
}

static inline void
cozi_log_link(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t   *list = &cozi_class(arena, log->class)->list[log->rank];

	if (*list == COZI_NO_BLOCK)
		*list = log->before = log->after = self;
	log->after = *list;
	log->before = cozi_log(arena, *list)->before;
	cozi_log(arena, log->before)->after = self;
	cozi_log(arena, log->after)->before = self;
}

static inline void
cozi_class_add(CoziArena *arena, uint32_t class, uint32_t blocks)
{
	if (class < COZI_SHARED_CLASSES)
		arena->active |= UINT64_C(1) << class;
	cozi_class(arena, class)->held += blocks;
	cozi_class(arena, class)->keys++;
}

static inline void
cozi_class_subtract(CoziArena *arena, uint32_t class, uint32_t blocks)
{
	cozi_class(arena, class)->held -= blocks;
	if (--cozi_class(arena, class)->keys == 0 && class < COZI_SHARED_CLASSES)
		arena->active &= ~(UINT64_C(1) << class);
}

/* The log has that rank of that class now. */
static inline void
cozi_log_move(CoziArena *arena, uint32_t self, uint32_t class, uint32_t rank)
{
	CoziLog    *log = cozi_log(arena, self);

	if (log->class == class && log->rank == rank)
		return;
	cozi_log_unlink(arena, self);
	if (log->class != class)
	{
		cozi_class_subtract(arena, log->class, log->blocks);
		cozi_class_add(arena, class, log->blocks);
		log->class = (uint8_t) class;
	}
	log->rank = (uint8_t) rank;
	cozi_log_link(arena, self);
}

/* Of a key that owes so much of a whole budget; was its last call allowed? */
static inline uint32_t
cozi_rank(bool allowed, int64_t owed, int64_t whole)
{
	if (!allowed && owed >= whole / 2)
		return COZI_RANK_REFUSED;
	if (owed >= whole)
		return COZI_RANK_FULL;
	return owed <= 0 ? 0 : (uint32_t) ((double) owed * 4 / (double) whole);
}

/* logs: found, made, removed */

static inline uint32_t
cozi_log_find(CoziArena *arena, uint64_t key, uint32_t class, int64_t per)
{
	uint32_t	self = *cozi_arena_bucket(arena, key);

	for (; self != COZI_NO_BLOCK; self = cozi_log(arena, self)->chain)
	{
		CoziLog    *log = cozi_log(arena, self);

		COZI_STEP();
		if (log->key == key && (class ? log->class == class : log->per == per))
			break;
	}
	return self;
}

static inline void
cozi_log_remove(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t   *link = cozi_arena_bucket(arena, log->key);

	cozi_log_unlink(arena, self);
	cozi_log_clear(arena, self);
	while (*link != self)
	{
		COZI_STEP();
		link = &cozi_log(arena, *link)->chain;
	}
	*link = log->chain;
	cozi_blocks_free(arena, log->class, self, self, 1);
	cozi_class_subtract(arena, log->class, 0);
	arena->keys--;
}

static inline bool
cozi_log_is_dead(CoziArena *arena, uint32_t self, int64_t now)
{
	CoziLog    *log = cozi_log(arena, self);

	if (cozi_class(arena, log->class)->gcra)
		return (int64_t) log->entry[0] <= now * 1000;
	return log->used == 0 || cozi_log_newest(arena, self) <= now - log->per;
}

/* A log that cannot grow gives up its oldest block; false if it has one only. */
static inline bool
cozi_log_shorten(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t	serial = cozi_log_first_serial(arena, self);
	uint32_t	block = log->first;

	if (log->blocks < 2)
		return false;
	if (log->serial - serial < 2)
		cozi_log_clear(arena, self);
	else
	{
		/* the header's own entries free no block */
		if (block == self)
		{
			block = log->next;
			serial++;
		}
		cozi_log_set_head(arena, self, cozi_more(arena, block)->next, serial + 1, 0);
	}
	cozi_class(arena, log->class)->evictions++;
	arena->evictions++;
	return true;
}

/* memory */

/* Look at the head of one list: remove it if it is dead, else turn the list. */
static inline void
cozi_list_sweep(CoziArena *arena, uint32_t *list, uint32_t self, int64_t now)
{
	COZI_STEP();
	if (*list == COZI_NO_BLOCK)
		return;
	if (*list != self && cozi_log_is_dead(arena, *list, now))
		cozi_log_remove(arena, *list);
	else
		*list = cozi_log(arena, *list)->after;
}

/* The lists of the shared classes in turn. */
static inline void
cozi_arena_sweep(CoziArena *arena, uint32_t self, int64_t now)
{
	for (int i = 0; i < COZI_SWEEP && arena->active; i++)
	{
		uint32_t	class = arena->hand / COZI_RANKS;

		while (!(arena->active >> class & 1))
		{
			class = (class + 1) % COZI_SHARED_CLASSES;
			arena->hand = class * COZI_RANKS;
		}
		cozi_list_sweep(arena, &cozi_class(arena, class)->list[arena->hand % COZI_RANKS],
						self, now);
		arena->hand = (arena->hand + 1) % (COZI_SHARED_CLASSES * COZI_RANKS);
	}
}

/* The log of a class that has to go first, or COZI_NO_BLOCK: never self. */
static inline uint32_t
cozi_class_victim(CoziArena *arena, uint32_t class, uint32_t self)
{
	for (int rank = 0; rank < COZI_RANKS; rank++)
	{
		uint32_t	log = cozi_class(arena, class)->list[rank];

		if (log == self && log != COZI_NO_BLOCK)
			log = cozi_log(arena, log)->after;
		if (log != COZI_NO_BLOCK && log != self)
			return log;
	}
	return COZI_NO_BLOCK;
}

/* The class gives up a log, or a log that grows, self, its oldest block. */
static inline bool
cozi_class_give(CoziArena *arena, uint32_t class, uint32_t self, int64_t now)
{
	uint32_t	victim = cozi_class_victim(arena, class, self);

	if (victim == COZI_NO_BLOCK)
		return self != COZI_NO_BLOCK && cozi_log(arena, self)->class == class &&
			cozi_log_shorten(arena, self);
	if (!cozi_log_is_dead(arena, victim, now))
	{
		cozi_class(arena, class)->evictions++;
		arena->evictions++;
	}
	cozi_log_remove(arena, victim);
	return true;
}

/* The shared class that holds most; a tie goes to the first. */
static inline uint32_t
cozi_largest_class(CoziArena *arena)
{
	uint32_t	largest = 0;

	for (uint32_t class = 0; class < cozi_arena_shared(arena); class++)
		if (arena->active >> class & 1 &&
			cozi_class(arena, class)->held > cozi_class(arena, largest)->held)
			largest = class;
	return largest;
}

/*
 * Have a free block for a log of that class: self, or a new one.  Half of the
 * blocks are shared, so that a reserved class that does not hold all of its
 * own always finds one.
 */
static inline void
cozi_arena_make_room(CoziArena *arena, uint32_t class, uint32_t self, int64_t now)
{
	CoziClass  *own = cozi_class(arena, class);

	if (own->reserved && own->held >= own->reserved)
	{
		for (int i = 0; i < COZI_SWEEP; i++)
			cozi_list_sweep(arena, &own->list[i % COZI_RANKS], self, now);
		if (own->held >= own->reserved)
			cozi_class_give(arena, class, self, now);
	}
	if (arena->free != COZI_NO_BLOCK || arena->touched < arena->n_blocks)
		return;
	cozi_arena_sweep(arena, self, now);
	if (arena->free != COZI_NO_BLOCK ||
		cozi_class_give(arena, cozi_largest_class(arena), self, now))
		return;
	for (uint32_t c = 0; c < cozi_arena_shared(arena); c++)
		if (cozi_class_give(arena, c, self, now))
			return;
}

static inline uint32_t
cozi_log_create(CoziArena *arena, uint64_t key, uint32_t class, int32_t max_calls,
				int64_t per, int64_t now)
{
	uint32_t	self;
	uint32_t   *bucket = cozi_arena_bucket(arena, key);
	CoziLog    *log;

	if (class == 0)
		class = cozi_class_of(arena, max_calls, per);
	cozi_arena_make_room(arena, class, COZI_NO_BLOCK, now);
	if (class < COZI_SHARED_CLASSES)	/* its last log may have gone just now */
		class = cozi_class_of(arena, max_calls, per);
	self = cozi_block_take(arena, class);
	log = cozi_log(arena, self);
	memset(log, 0, sizeof(*log));
	log->next = COZI_NO_BLOCK;
	log->blocks = 1;
	log->first = log->last = self;
	log->class = (uint8_t) class;
	log->key = key;
	log->per = per;
	log->max_calls = max_calls;
	log->chain = *bucket;
	*bucket = self;
	cozi_class_add(arena, class, 0);
	cozi_log_link(arena, self);
	arena->keys++;
	return self;
}

#endif							/* COZI_ARENA_H */
