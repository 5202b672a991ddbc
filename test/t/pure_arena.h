/*
 * pure_arena.h
 *		What the tests of the limiter's arithmetic share: TAP, random numbers,
 *		an arena, and whether its memory is sound.
 */
#include <stdio.h>
#include <stdlib.h>

static long steps = 0;

#define COZI_STEP() (steps++)
#include "pure/limit.h"

static int	tests = 0;
static int	failures = 0;

static void
ok(bool good, const char *name)
{
	printf("%s %d - %s\n", good ? "ok" : "not ok", ++tests, name);
	failures += !good;
}

static uint64_t rng_state = 88172645463325252u;

static uint64_t
rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static int64_t
between(int64_t lo, int64_t hi)
{
	return lo + (int64_t) (rng() % (uint64_t) (hi - lo + 1));
}

/* Keys as a hash spreads them. */
static uint64_t
spread(uint64_t key)
{
	return key * UINT64_C(0x9E3779B97F4A7C15);
}

#define CLASSES (COZI_SHARED_CLASSES + 4)
#define LOGIN COZI_SHARED_CLASSES	/* a reserved class */

static CoziArena *
new_logs(size_t blocks)
{
	size_t		size = cozi_arena_size(blocks, CLASSES);
	CoziArena  *logs = malloc(size);

	memset(logs, 0xa5, size);	/* memory comes as it is */
	cozi_arena_init(logs, size, CLASSES);
	return logs;
}

/* A call on a shared limit (class 0) or on a reserved one. */
static CoziVerdict
call(CoziArena *logs, uint32_t class, uint64_t key, int64_t per, int64_t now,
	 int32_t max_calls, int32_t cost, bool consume)
{
	CoziAsk		ask = {key, now, now * 1000, per, max_calls, cost, class, consume};

	return class && cozi_class(logs, class)->gcra ? cozi_number_step(logs, &ask) :
		cozi_exact_step(logs, &ask);
}

/* consistency of the memory: every block is in one place */

/* Every log is in the list of its rank, and a class counts what it holds. */
static bool
lists_sound(CoziArena *logs)
{
	uint32_t	all = 0;
	bool		good = true;

	for (uint32_t c = 0; c < logs->n_classes; c++)
	{
		CoziClass  *class = cozi_class(logs, c);
		uint32_t	keys = 0,
					held = 0;

		for (uint32_t rank = 0; rank < COZI_RANKS; rank++)
		{
			uint32_t	self = class->list[rank];

			if (self == COZI_NO_BLOCK)
				continue;
			do
			{
				CoziLog    *log = cozi_log(logs, self);

				good &= log->class == c && log->rank == rank;
				good &= cozi_log(logs, log->after)->before == self;
				keys++;
				held += log->blocks;
				self = log->after;
			} while (self != class->list[rank] && keys <= logs->n_blocks);
		}
		good &= keys == class->keys && held == class->held;
		good &= c >= COZI_SHARED_CLASSES || (logs->active >> c & 1) == (keys > 0);
		all += keys;
	}
	return good && all == logs->keys;
}

static bool
logs_sound(CoziArena *logs)
{
	char	   *seen = calloc(logs->n_blocks, 1);
	uint32_t	held = 0,
				keys = 0,
				n_free = 0;
	bool		good = true;

	for (uint32_t b = 0; b < logs->n_buckets; b++)
		for (uint32_t self = *cozi_arena_bucket(logs, b); self != COZI_NO_BLOCK;
			 self = cozi_log(logs, self)->chain)
		{
			CoziLog    *log = cozi_log(logs, self);
			uint32_t	blocks = 1;
			int64_t		used = 0;
			int64_t		before = 0;
			CoziCursor	cursor = {0};
			CoziEntry	entry;

			good &= !seen[self]++;
			for (uint32_t i = log->next; blocks < log->blocks;
				 i = cozi_more(logs, i)->next, blocks++)
			{
				/* blocks between the first one and log->first were given back */
				if (blocks == 1 && log->first != self)
					i = log->first;
				good &= i < logs->n_blocks && !seen[i]++;
			}
			while (cozi_log_next(logs, self, &cursor, &entry))
			{
				good &= cozi_entry_time(entry) >= before;
				before = cozi_entry_time(entry);
				used += cozi_entry_cost(entry);
			}
			good &= used == log->used && (used == 0 || before == cozi_log_newest(logs, self));
			held += log->blocks;
			keys++;
		}
	for (uint32_t i = logs->free; i != COZI_NO_BLOCK && n_free <= logs->n_blocks;
		 i = cozi_more(logs, i)->next)
	{
		good &= !seen[i]++;
		n_free++;
	}
	free(seen);
	good &= lists_sound(logs);
	return good && keys == logs->keys && n_free == logs->n_free && held + n_free == logs->touched &&
		logs->touched <= logs->n_blocks;
}
