/*
 * pure/log.h
 *		The admitted calls of one key, as a queue of 128-byte blocks.
 *
 * A call drops what has expired at the head and appends itself at the tail.
 * The first block holds the log's header and 7 entries, each further block 14.
 * Blocks are linked by number, never by address.
 *
 * A lowered limit, a dear call or a burst that expires at once may have to
 * find an entry far from both ends.  Therefore blocks are numbered within
 * their log, and block s has a link to block s - lowbit(s), where lowbit is
 * the lowest set bit: cozi_log_seek() follows those from the tail.
 *
 * Blocks come out of an arena, whose free list is in this file; who has to
 * make room in a full one is arena.h's.
 */
#ifndef COZI_LOG_H
#define COZI_LOG_H

#include "pure/bucket.h"

/* A test counts the steps of a call. */
#ifndef COZI_STEP
#define COZI_STEP() ((void) 0)
#endif

/*
 * One admitted call, or a part of a dear one: 52 bits of time, then 2 bits e
 * and 10 bits m of a cost of m * 1024^e.
 */
typedef uint64_t CoziEntry;

#define COZI_MAX_TIME ((INT64_C(1) << 52) - 1)
#define COZI_COST_BITS 10
#define COZI_COST_PARTS 4		/* entries of the dearest call */

#define COZI_LOG_ENTRIES 7		/* in a log's first block */
#define COZI_MORE_ENTRIES 14	/* in each further one */
#define COZI_NO_BLOCK UINT32_MAX
#define COZI_RANKS 6			/* see arena.h */

typedef struct CoziLog
{
	uint32_t	next;			/* block after this one */
	uint32_t	blocks;			/* in this log, itself included */
	uint32_t	chain;			/* next log of the same index bucket */
	uint32_t	first;			/* block with the oldest entry */
	uint32_t	last;			/* block with the newest */
	uint8_t		head;			/* the oldest entry's place in `first` */
	uint8_t		tail;			/* entries in `last` */
	uint8_t		class;			/* of limits: see arena.h */
	uint8_t		rank;			/* in the class */
	uint32_t	before;			/* neighbours in the list of the rank */
	uint32_t	after;
	int32_t		used;			/* the sum of the entries' costs */
	int32_t		max_calls;		/* as the last call said */
	uint64_t	key;
	int64_t		per;
	uint32_t	units;			/* appended since the log was empty, mod 2^32 */
	uint32_t	serial;			/* of `last`; this block has 0 */
	uint64_t	entries;		/* ever appended: numbers them */
	CoziEntry	entry[COZI_LOG_ENTRIES];
} CoziLog;

typedef struct CoziMore
{
	uint32_t	next;			/* block after this one, or next free one */
	uint32_t	back;			/* block before this one */
	uint32_t	jump;			/* block serial - lowbit(serial), if it was
								 * live */
	uint32_t	units;			/* of the log when this block was begun */
	CoziEntry	entry[COZI_MORE_ENTRIES];
} CoziMore;

/* A class of limits: who competes for memory with whom. */
typedef struct CoziClass
{
	uint32_t	list[COZI_RANKS];	/* a circle of logs for each rank */
	uint32_t	held;			/* blocks */
	uint32_t	keys;			/* logs */
	uint32_t	reserved;		/* blocks; 0: of the memory that is shared */
	int32_t		max_calls;
	int64_t		per;
	uint64_t	allowed;		/* calls */
	uint64_t	refused;
	uint64_t	evictions;		/* logs dropped before their time */
	uint32_t	generation;		/* of a named limit */
	uint32_t	gcra;			/* a log is one number: entry[0], in ns */
} CoziClass;

typedef struct CoziArena
{
	uint32_t	n_blocks;
	uint32_t	n_buckets;		/* of the index; a power of two */
	uint32_t	buckets_at;		/* offsets, in bytes */
	uint32_t	blocks_at;
	uint32_t	n_classes;
	uint32_t	touched;		/* blocks ever used: the others need no init */
	uint32_t	free;			/* list of blocks given back */
	uint32_t	n_free;			/* its length */
	uint32_t	keys;			/* logs held */
	uint32_t	reserved;		/* blocks, of all classes */
	uint32_t	hand;			/* the list that the next sweep looks at */
	uint32_t	pad;
	uint64_t	active;			/* shared classes that hold blocks, as bits */
	uint64_t	evictions;		/* logs dropped before their time */
} CoziArena;

static inline CoziLog *
cozi_log(CoziArena *arena, uint32_t block)
{
	return (CoziLog *) ((char *) arena + arena->blocks_at) + block;
}

static inline CoziMore *
cozi_more(CoziArena *arena, uint32_t block)
{
	return (CoziMore *) cozi_log(arena, block);
}

static inline CoziClass *
cozi_class(CoziArena *arena, uint32_t class)
{
	return (CoziClass *) (arena + 1) + class;
}

static inline CoziEntry *
cozi_log_entries(CoziArena *arena, uint32_t self, uint32_t block)
{
	return block == self ? cozi_log(arena, block)->entry : cozi_more(arena, block)->entry;
}

static inline int
cozi_log_capacity(uint32_t self, uint32_t block)
{
	return block == self ? COZI_LOG_ENTRIES : COZI_MORE_ENTRIES;
}

static inline int64_t
cozi_entry_time(CoziEntry entry)
{
	return (int64_t) (entry >> 12);
}

static inline int32_t
cozi_entry_cost(CoziEntry entry)
{
	return (int32_t) (entry & 1023) << (COZI_COST_BITS * (entry >> 10 & 3));
}

/* A block for a log; there is a free one. */
static inline uint32_t
cozi_block_take(CoziArena *arena, uint32_t class)
{
	uint32_t	block = arena->free;

	cozi_class(arena, class)->held++;
	if (block == COZI_NO_BLOCK)
		return arena->touched++;
	arena->free = cozi_more(arena, block)->next;
	arena->n_free--;
	return block;
}

/* Give back n blocks that are linked from `from` to `to`. */
static inline void
cozi_blocks_free(CoziArena *arena, uint32_t class, uint32_t from, uint32_t to, uint32_t n)
{
	if (n == 0)
		return;
	cozi_more(arena, to)->next = arena->free;
	arena->free = from;
	arena->n_free += n;
	cozi_class(arena, class)->held -= n;
}

/* Forget the entries, and give back every block but the first. */
static inline void
cozi_log_clear(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);

	cozi_blocks_free(arena, log->class, log->first == self ? log->next : log->first,
					 log->last, log->blocks - 1);
	log->next = COZI_NO_BLOCK;
	log->blocks = 1;
	log->first = log->last = self;
	log->head = log->tail = 0;
	log->used = 0;
	log->units = log->serial = 0;
}

/* The time of the newest entry; there is one. */
static inline int64_t
cozi_log_newest(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);

	return cozi_entry_time(cozi_log_entries(arena, self, log->last)[log->tail - 1]);
}

/* The serial of the block with the oldest entry. */
static inline uint32_t
cozi_log_first_serial(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);

	return log->first == self ? 0 : log->serial - (log->blocks - 2);
}

/* The units of the log when the block was begun. */
static inline uint32_t
cozi_block_units(CoziArena *arena, uint32_t self, uint32_t block)
{
	return block == self ? 0 : cozi_more(arena, block)->units;
}

typedef enum CoziSeek
{
	COZI_BY_TIME,				/* the block begins at that time, or before */
	COZI_BY_UNITS,				/* fewer units than that before it */
	COZI_BY_SERIAL				/* its serial is at most that */
} CoziSeek;

static inline bool
cozi_block_begins(CoziArena *arena, uint32_t self, uint32_t block, uint32_t serial,
				  CoziSeek by, int64_t target)
{
	CoziLog    *log = cozi_log(arena, self);

	switch (by)
	{
		case COZI_BY_TIME:
			return cozi_entry_time(cozi_log_entries(arena, self, block)[0]) <= target;
		case COZI_BY_UNITS:
			/* counted from the oldest entry, which is log->units - log->used */
			return (int64_t) (uint32_t) (cozi_block_units(arena, self, block) -
										 (log->units - (uint32_t) log->used)) < target;
		default:
			return serial <= target;
	}
}

/*
 * The last block that begins as asked, or the first of the log; *serial
 * becomes its serial.
 */
static inline uint32_t
cozi_log_seek(CoziArena *arena, uint32_t self, CoziSeek by, int64_t target, uint32_t *serial)
{
	uint32_t	oldest = cozi_log_first_serial(arena, self);
	uint32_t	block = cozi_log(arena, self)->last;
	uint32_t	s = cozi_log(arena, self)->serial;

	while (s > oldest && !cozi_block_begins(arena, self, block, s, by, target))
	{
		uint32_t	far = s & (s - 1);
		uint32_t	jump = far >= oldest ? cozi_more(arena, block)->jump : COZI_NO_BLOCK;

		COZI_STEP();
		if (far > oldest && !cozi_block_begins(arena, self, jump, far, by, target))
		{
			block = jump;
			s = far;
		}
		else
		{
			block = cozi_more(arena, block)->back;
			s--;
		}
	}
	*serial = s;
	return block;
}

/* The oldest entry is that one now: give back the blocks before it. */
static inline void
cozi_log_set_head(CoziArena *arena, uint32_t self, uint32_t block, uint32_t serial, int place)
{
	CoziLog    *log = cozi_log(arena, self);
	CoziEntry  *entry = cozi_log_entries(arena, self, block);
	uint32_t	oldest = cozi_log_first_serial(arena, self);
	uint32_t	before = cozi_block_units(arena, self, block);

	if (block != log->first)
	{
		uint32_t	n = serial - oldest - (log->first == self);

		cozi_blocks_free(arena, log->class, log->first == self ? log->next : log->first,
						 cozi_more(arena, block)->back, n);
		log->blocks -= n;
		log->first = block;
	}
	log->head = (uint8_t) place;
	for (int i = 0; i < place; i++)
		before += (uint32_t) cozi_entry_cost(entry[i]);
	log->used = (int32_t) (log->units - before);
}

/* Drop the entries that are `per` old or older. */
static inline void
cozi_log_expire(CoziArena *arena, uint32_t self, int64_t now)
{
	CoziLog    *log = cozi_log(arena, self);
	int64_t		horizon = now - log->per;
	uint32_t	block = log->first;
	uint32_t	serial;
	int			place = log->head;
	CoziEntry  *entry;

	if (log->used == 0 || cozi_log_newest(arena, self) <= horizon)
	{
		cozi_log_clear(arena, self);
		return;
	}
	entry = cozi_log_entries(arena, self, block);
	if (place < cozi_log_capacity(self, block) && cozi_entry_time(entry[place]) > horizon)
		return;

	/* the newest entry is not expired: both searches end at it, or before */
	block = cozi_log_seek(arena, self, COZI_BY_TIME, horizon, &serial);
	entry = cozi_log_entries(arena, self, block);
	for (place = block == log->first ? log->head : 0;
		 place < cozi_log_capacity(self, block) && cozi_entry_time(entry[place]) <= horizon;)
		place++;
	if (place == cozi_log_capacity(self, block) && block != log->last)
	{
		block = block == self ? log->next : cozi_more(arena, block)->next;
		serial++;
		place = 0;
	}
	cozi_log_set_head(arena, self, block, serial, place);
}

/* Begin a block at the tail, with its far link. */
static inline void
cozi_log_extend(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t	block = cozi_block_take(arena, log->class);
	CoziMore   *more = cozi_more(arena, block);
	uint32_t	serial = log->serial + 1;
	uint32_t	far = serial & (serial - 1);

	more->next = COZI_NO_BLOCK;
	more->back = log->last;
	more->units = log->units;
	more->jump = COZI_NO_BLOCK;
	if (far >= cozi_log_first_serial(arena, self))
	{
		more->jump = log->last;
		for (uint32_t s = log->serial; s > far; s &= s - 1)
		{
			COZI_STEP();
			more->jump = cozi_more(arena, more->jump)->jump;
		}
	}
	if (log->last == self)
		log->next = block;
	else
		cozi_more(arena, log->last)->next = block;
	log->last = block;
	log->serial = serial;
	log->tail = 0;
	log->blocks++;
}

/* Record a call; the arena has a free block if a new one is needed. */
static inline void
cozi_log_append(CoziArena *arena, uint32_t self, int64_t now, int32_t cost)
{
	CoziLog    *log = cozi_log(arena, self);

	for (int e = COZI_COST_PARTS - 1; e >= 0; e--)
	{
		int32_t		m = cost >> (COZI_COST_BITS * e) & 1023;

		if (m == 0)
			continue;
		if (log->tail == cozi_log_capacity(self, log->last))
			cozi_log_extend(arena, self);
		cozi_log_entries(arena, self, log->last)[log->tail++] =
			(CoziEntry) now << 12 | (CoziEntry) e << 10 | (CoziEntry) m;
		log->units += (uint32_t) m << (COZI_COST_BITS * e);
		log->entries++;
	}
	log->used += cost;
}

/* Can a call be recorded without another block? */
static inline bool
cozi_log_has_place(CoziArena *arena, uint32_t self, int32_t cost)
{
	CoziLog    *log = cozi_log(arena, self);
	int			parts = cost < 1024 ? 1 : COZI_COST_PARTS;

	return log->tail + parts <= cozi_log_capacity(self, log->last);
}

/* Walk a log's entries, oldest first, from a cursor that is all zero. */
typedef struct CoziCursor
{
	bool		started;
	uint32_t	block;
	int			place;
} CoziCursor;

static inline bool
cozi_log_next(CoziArena *arena, uint32_t self, CoziCursor *cursor, CoziEntry *entry)
{
	CoziLog    *log = cozi_log(arena, self);

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
		cursor->block = cursor->block == self ? log->next : cozi_more(arena, cursor->block)->next;
		cursor->place = 0;
	}
	COZI_STEP();
	*entry = cozi_log_entries(arena, self, cursor->block)[cursor->place++];
	return true;
}

/* How many entries there are before a place, since the log was empty. */
static inline uint64_t
cozi_log_place(uint32_t serial, int place)
{
	return serial == 0 ? (uint64_t) place :
		COZI_LOG_ENTRIES + (uint64_t) (serial - 1) * COZI_MORE_ENTRIES + (uint64_t) place;
}

/* The number of live entries. */
static inline uint64_t
cozi_log_count(CoziArena *arena, uint32_t self)
{
	CoziLog    *log = cozi_log(arena, self);

	return cozi_log_place(log->serial, log->tail) -
		cozi_log_place(cozi_log_first_serial(arena, self), log->head);
}

/* A cursor that stands at the n-th live entry, from 0. */
static inline CoziCursor
cozi_log_at(CoziArena *arena, uint32_t self, uint64_t n)
{
	CoziLog    *log = cozi_log(arena, self);
	uint64_t	place = cozi_log_place(cozi_log_first_serial(arena, self), log->head) + n;
	uint32_t	serial = place < COZI_LOG_ENTRIES ? 0 :
	1 + (uint32_t) ((place - COZI_LOG_ENTRIES) / COZI_MORE_ENTRIES);
	CoziCursor	cursor = {.started = true};

	cursor.block = cozi_log_seek(arena, self, COZI_BY_SERIAL, serial, &serial);
	cursor.place = (int) (place - cozi_log_place(serial, 0));
	return cursor;
}

/* The time of the entry with whose expiry so many units, at most `used`, are given back. */
static inline int64_t
cozi_log_time_of(CoziArena *arena, uint32_t self, int64_t units)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t	oldest = log->units - (uint32_t) log->used;
	uint32_t	serial;
	CoziCursor	cursor = {.started = true,.block = log->first,.place = log->head};
	CoziEntry	entry = 0;

	if (units > cozi_log_capacity(self, log->first) - log->head)
	{
		cursor.block = cozi_log_seek(arena, self, COZI_BY_UNITS, units, &serial);
		if (cursor.block != log->first)
		{
			cursor.place = 0;
			units -= (uint32_t) (cozi_block_units(arena, self, cursor.block) - oldest);
		}
	}
	while (units > 0 && cozi_log_next(arena, self, &cursor, &entry))
		units -= cozi_entry_cost(entry);
	return cozi_entry_time(entry);
}

#endif							/* COZI_LOG_H */
