/*
 * pure/slots.h
 *		gcra of shared limits: a set of seven keys, a number each.
 *
 * A key may stand in any slot of the one set that its hash names.  A slot
 * whose time has passed is free, so nothing ever sweeps.  In a full set the
 * limit that has most of the slots, the new key counted, gives one up: of its
 * keys the one that owes least, and a refused one last.  Seven slots are a
 * sample of the table: a limit loses keys where it has the most of them.  Of
 * one or two keys of a limit the sample says nothing.  A refused one of them
 * counts as one: among many limits a new key would take its place, and it is
 * to be forgotten last.
 *
 * The keys of one limit have the same length of debt, so that the times of
 * their slots compare by the share of the budget that is owed.
 */
#ifndef COZI_SLOTS_H
#define COZI_SLOTS_H

#include "pure/bucket.h"

#define COZI_SLOTS 7
#define COZI_SLOTS_CHANCE 2		/* so many keys of a limit may meet by chance */
#define COZI_PER_BITS 20

typedef struct CoziGcraSlot
{
	uint64_t	tag;			/* 44 bits of the key, 20 of a hash of per */
	int64_t		tat;			/* ns; at or before now: the slot is free */
} CoziGcraSlot;

typedef struct CoziSlots
{
	uint8_t		limit[COZI_SLOTS];	/* 8 bits of a hash of max_calls */
	uint8_t		refused;		/* a bit a slot, since the last admitted call */
	CoziGcraSlot slot[COZI_SLOTS];
} CoziSlots;

/* Does slot i hold a key of that limit? */
static inline bool
cozi_slot_of_limit(const CoziSlots *slots, int i, uint64_t tag, uint8_t limit)
{
	return slots->limit[i] == limit &&
		((slots->slot[i].tag ^ tag) & ((1 << COZI_PER_BITS) - 1)) == 0;
}

/* Of how many keys of its limit is slot i one, the new key counted? */
static inline int
cozi_slot_company(const CoziSlots *slots, int i, uint64_t tag, uint8_t limit)
{
	int			n = 0;

	for (int j = 0; j < COZI_SLOTS; j++)
		n += cozi_slot_of_limit(slots, j, slots->slot[i].tag, slots->limit[i]);
	if (n <= COZI_SLOTS_CHANCE && (slots->refused >> i & 1))
		return 1;
	return n + cozi_slot_of_limit(slots, i, tag, limit);
}

/* The slot for a new key: a free one, or the one to be given up. */
static inline int
cozi_slots_choose(const CoziSlots *slots, uint64_t tag, uint8_t limit, int64_t now)
{
	int			chosen = 0;
	int			most = 0;

	for (int i = 0; i < COZI_SLOTS; i++)
		if (slots->slot[i].tat <= now)
			return i;
	for (int i = 0; i < COZI_SLOTS; i++)
	{
		int			n = cozi_slot_company(slots, i, tag, limit);
		int			refused = slots->refused >> i & 1;
		int			was_refused = slots->refused >> chosen & 1;

		if (n > most || (n == most && refused < was_refused) ||
			(n == most && refused == was_refused &&
			 slots->slot[i].tat < slots->slot[chosen].tat))
		{
			most = n;
			chosen = i;
		}
	}
	return chosen;
}

/* Decide on a call; *evicted: a key was dropped before its time. */
static inline CoziVerdict
cozi_slots_step(CoziSlots *slots, uint64_t tag, uint8_t limit, int64_t now, int64_t spacing,
				int32_t max_calls, int32_t cost, bool consume, bool *evicted)
{
	int			i = 0;
	int64_t		before;
	int64_t		tat = 0;
	bool		known;
	bool		allowed;

	*evicted = false;
	while (i < COZI_SLOTS && slots->slot[i].tag != tag)
		i++;
	known = i < COZI_SLOTS;
	if (known)
		tat = slots->slot[i].tat;
	before = tat;
	allowed = cozi_gcra_step(&tat, now, spacing, max_calls, cost);
	if (consume && allowed && !known)
	{
		i = cozi_slots_choose(slots, tag, limit, now);
		*evicted = slots->slot[i].tat > now;
		slots->slot[i].tag = tag;
		known = true;
	}
	if (consume && known)
	{
		slots->slot[i].tat = tat;
		slots->limit[i] = limit;
		slots->refused &= (uint8_t) ~ (1 << i);
		slots->refused |= (uint8_t) (!allowed << i);
	}
	return cozi_gcra_verdict(consume ? tat : before, now, spacing, max_calls, cost, allowed);
}

#endif							/* COZI_SLOTS_H */
