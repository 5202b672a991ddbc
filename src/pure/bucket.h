/*
 * pure/bucket.h
 *		The arithmetic of a rate limit: no server, no clock, no lock.
 *
 * Two algorithms.  Both are told what time it is, in whole units of the
 * caller's choice, and both record admitted calls only.
 *
 * gcra, the generic cell rate algorithm (ITU-T I.371), is in this file: a key
 * is one number, the theoretical arrival time, when all that the key owes will
 * be paid.  A call costs `spacing` = per / max_calls, rounded up, and is
 * admitted if the key then owes at most max_calls of them.  A key at rest may
 * burst max_calls, and goes on at the even rate: up to twice max_calls within
 * some `per`.
 *
 * exact, the sliding log: a call is admitted iff fewer than max_calls were in
 * the `per` before it.  log.h keeps the admitted calls of one key, arena.h the
 * logs of all keys, in memory that is divided among classes of limits.
 *
 * The law: no step of either algorithm takes time that grows with max_calls,
 * with the cost of the call, or with the memory; a step works under a lock.
 * (A search in a log takes the square of the logarithm of its length at most.)
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

#endif							/* COZI_BUCKET_H */
