/*
 * pure/limit.h
 *		A call on a limit, decided in an arena; and limits that are reserved.
 */
#ifndef COZI_LIMIT_H
#define COZI_LIMIT_H

#include "pure/arena.h"

/* Count the call, and move the log to its rank. */
static inline void
cozi_limit_rank(CoziArena *arena, uint32_t self, const CoziAsk *ask, bool allowed,
				int64_t owed, int64_t whole)
{
	CoziLog    *log = cozi_log(arena, self);
	uint32_t	class = log->class;
	uint32_t	rank = cozi_rank(allowed, owed, whole);

	if (!ask->class && log->max_calls != ask->max_calls)
		class = cozi_class_of(arena, ask->max_calls, ask->per);
	log->max_calls = ask->max_calls;
	log->per = ask->per;
	cozi_log_move(arena, self, class, rank);
	if (allowed)
		cozi_class(arena, class)->allowed++;
	else
		cozi_class(arena, class)->refused++;
}

/*
 * A time earlier than the log's newest entry counts as that one: two backends
 * may read the clock in one order and come here in the other.
 */
static inline CoziVerdict
cozi_exact_step(CoziArena *arena, const CoziAsk *ask)
{
	CoziVerdict verdict = {.allowed = true,.remaining = ask->max_calls};
	uint32_t	self = cozi_log_find(arena, ask->key, ask->class, ask->per);
	int64_t		now = ask->now;
	int64_t		spare;
	CoziLog    *log;

	if (self == COZI_NO_BLOCK)
	{
		if (!ask->consume)
			return verdict;
		self = cozi_log_create(arena, ask->key, ask->class, ask->max_calls, ask->per, now);
	}
	log = cozi_log(arena, self);
	log->per = ask->per;
	if (log->used > 0 && now < cozi_log_newest(arena, self))
		now = cozi_log_newest(arena, self);
	cozi_log_expire(arena, self, now);
	spare = (int64_t) ask->max_calls - log->used - ask->cost;
	verdict.allowed = spare >= 0;
	if (!verdict.allowed)
		verdict.retry_after = cozi_log_time_of(arena, self, -spare) + ask->per - now;
	else if (ask->consume)
	{
		if (!cozi_log_has_place(arena, self, ask->cost))
			cozi_arena_make_room(arena, log->class, self, now);
		cozi_log_append(arena, self, now, ask->cost);
	}
	if (ask->consume)
		cozi_limit_rank(arena, self, ask, verdict.allowed, log->used, ask->max_calls);
	verdict.remaining = log->used < ask->max_calls ? ask->max_calls - log->used : 0;
	verdict.reset_after = log->used > 0 ? cozi_log_newest(arena, self) + ask->per - now : 0;
	return verdict;
}

/* gcra of a reserved limit: the log is one number.  The verdict is in ns. */
static inline CoziVerdict
cozi_number_step(CoziArena *arena, const CoziAsk *ask)
{
	int64_t		spacing = cozi_gcra_spacing(ask->per * 1000, ask->max_calls);
	uint32_t	self = cozi_log_find(arena, ask->key, ask->class, ask->per);
	int64_t		tat = self == COZI_NO_BLOCK ? 0 : (int64_t) cozi_log(arena, self)->entry[0];
	int64_t		before = tat;
	bool		allowed = cozi_gcra_step(&tat, ask->now_ns, spacing, ask->max_calls, ask->cost);

	if (ask->consume && self == COZI_NO_BLOCK)
		self = cozi_log_create(arena, ask->key, ask->class, ask->max_calls, ask->per, ask->now);
	if (ask->consume)
	{
		int64_t		whole = spacing * ask->max_calls;

		cozi_log(arena, self)->entry[0] = (uint64_t) tat;
		cozi_limit_rank(arena, self, ask, allowed,
						tat + spacing > ask->now_ns + whole ? whole : tat - ask->now_ns, whole);
	}
	return cozi_gcra_verdict(ask->consume ? tat : before, ask->now_ns, spacing,
							 ask->max_calls, ask->cost, allowed);
}

/* A named limit has that many blocks from now on; 0: none, and no new log. */
static inline void
cozi_class_reserve(CoziArena *arena, uint32_t class, uint32_t blocks,
				   uint32_t generation, bool gcra)
{
	CoziClass  *reserved = cozi_class(arena, class);

	arena->reserved += blocks - reserved->reserved;
	if (reserved->generation != generation)
		reserved->allowed = reserved->refused = reserved->evictions = 0;
	reserved->reserved = blocks;
	reserved->generation = generation;
	reserved->gcra = gcra;
}

/* Remove up to n logs of a class; false when none is left. */
static inline bool
cozi_class_purge(CoziArena *arena, uint32_t class, int n)
{
	while (n-- > 0)
	{
		uint32_t	log = cozi_class_victim(arena, class, COZI_NO_BLOCK);

		if (log == COZI_NO_BLOCK)
			return false;
		cozi_log_remove(arena, log);
	}
	return true;
}

#endif							/* COZI_LIMIT_H */
