/*
 * pure/decay_sum.h
 *		The exact sum of weight * 2^(t / h) over many events.
 *
 * Folding heats one by one rounds at each step; an aggregate need not.  Here
 * the sum is an integer in limbs of 32 bits, as long as the events are far
 * apart: an event is rounded once, to 53 bits, and from then on every
 * addition is exact.  So the result does not depend on the order of the rows
 * nor on how a parallel plan shares them out, and events that are taken back
 * leave nothing, whatever was added in between.
 *
 * limb[i] counts units of 2^(32 * (lowest + i)).  It is signed and 64 bits
 * wide: carries are left in it for up to 2^30 additions.
 *
 * Length is bounded: what lies DECAY_SUM_LIMBS limbs below the highest limb
 * ever added to is dropped, limb by limb, so that which rows it hits does
 * not depend on their order either.  That is 32,768 half-lives before the
 * newest event.
 *
 * Nothing here includes the server, nor allocates: where decay_sum_fits()
 * says no, the caller brings room.
 */
#ifndef COZI_DECAY_SUM_H
#define COZI_DECAY_SUM_H

#include <string.h>

#include "pure/decay.h"

#define DECAY_SUM_LIMBS 1024	/* longest sum */
#define DECAY_SUM_SLACK 4		/* limbs of room to grow, at each end */
#define DECAY_SUM_ROOM (DECAY_SUM_LIMBS + 2 * DECAY_SUM_SLACK)
#define DECAY_SUM_CARRY_AT (1 << 30)

typedef struct DecaySum
{
	int64_t		lowest;			/* index of limb[0] */
	int64_t		highest;		/* highest index ever added to */
	int32_t		nlimbs;			/* limbs there is room for; 0: an empty sum */
	int32_t		adds;			/* additions since carries were made */
	int64_t    *limb;
} DecaySum;

/* An event: its limbs in units of 2^(32 * lowest). */
typedef struct DecayTerm
{
	int64_t		lowest;
	int64_t		limb[3];
} DecayTerm;

static inline DecayTerm
decay_term(double weight, int64_t t, int64_t half_life)
{
	DecayTerm	term;
	double		fraction;
	int64_t		exponent = decay_octave(t, half_life, &fraction);
	int			e;
	double		m = frexp(fabs(weight), &e) * exp2(fraction);
	uint64_t	mantissa = (uint64_t) ldexp(m, 53); /* exact, below 2^54 */
	int			shift;

	exponent += e - 53;
	term.lowest = exponent >= 0 ? exponent / 32 : -((31 - exponent) / 32);
	shift = (int) (exponent - 32 * term.lowest);
	term.limb[0] = (int64_t) ((mantissa << shift) & 0xffffffff);
	term.limb[1] = (int64_t) ((mantissa >> (32 - shift)) & 0xffffffff);
	term.limb[2] = (int64_t) ((mantissa >> 32) >> (32 - shift));
	if (weight < 0)
		for (int i = 0; i < 3; i++)
			term.limb[i] = -term.limb[i];
	return term;
}

/* The lowest index that still counts once something is added at highest. */
static inline int64_t
decay_sum_floor(const DecaySum *sum, int64_t highest)
{
	if (sum->nlimbs > 0 && sum->highest > highest)
		highest = sum->highest;
	return highest - (DECAY_SUM_LIMBS - 1);
}

/*
 * Is there a limb for each from lowest to highest that counts, and one above
 * all of them for the carries?
 */
static inline bool
decay_sum_fits(const DecaySum *sum, int64_t lowest, int64_t highest)
{
	int64_t		floor = decay_sum_floor(sum, highest);

	if (lowest < floor)
		lowest = floor;
	if (highest < sum->highest)
		highest = sum->highest;
	return sum->nlimbs > 0 && lowest >= sum->lowest &&
		highest < sum->lowest + sum->nlimbs - 1;
}

/*
 * Move to room, of DECAY_SUM_ROOM limbs at most, where lowest to highest fit.
 * Returns the limbs taken; with room NULL, only how many they would be.
 */
static inline int32_t
decay_sum_move(DecaySum *sum, int64_t *room, int64_t lowest, int64_t highest)
{
	int64_t		floor = decay_sum_floor(sum, highest);
	int64_t		last = highest + DECAY_SUM_SLACK;
	int64_t		first = lowest - DECAY_SUM_SLACK;
	int32_t		nlimbs;

	if (sum->nlimbs > 0)
	{
		if (sum->lowest < first)
			first = sum->lowest;
		if (sum->highest + DECAY_SUM_SLACK > last)
			last = sum->highest + DECAY_SUM_SLACK;
	}
	if (first < floor)
		first = floor;
	nlimbs = (int32_t) (last - first + 1);
	if (room == NULL)
		return nlimbs;

	memset(room, 0, sizeof(int64_t) * nlimbs);
	for (int32_t i = 0; i < sum->nlimbs; i++)
	{
		int64_t		to = sum->lowest + i - first;

		if (to >= 0 && to < nlimbs)
			room[to] = sum->limb[i];
	}
	if (sum->nlimbs == 0)
		sum->highest = highest;
	sum->limb = room;
	sum->lowest = first;
	sum->nlimbs = nlimbs;
	return nlimbs;
}

/* The limbs that may be other than zero. */
static inline int32_t
decay_sum_length(const DecaySum *sum)
{
	return sum->nlimbs > 0 ? (int32_t) (sum->highest - sum->lowest + 1) : 0;
}

/* Leave 32 bits in each limb and the rest in the last, which has the sign. */
static inline void
decay_sum_carry(int64_t *limb, int32_t nlimbs)
{
	for (int32_t i = 0; i < nlimbs - 1; i++)
	{
		limb[i + 1] += limb[i] >> 32;
		limb[i] &= 0xffffffff;
	}
}

/* Add n limbs from lowest on, made by that many additions; they must fit. */
static inline void
decay_sum_add(DecaySum *sum, const int64_t *limb, int64_t lowest, int32_t n, int32_t adds)
{
	int64_t		floor = decay_sum_floor(sum, lowest + n - 1);

	if (sum->adds > DECAY_SUM_CARRY_AT - adds)
	{
		decay_sum_carry(sum->limb, sum->nlimbs);
		if (sum->limb[sum->highest + 1 - sum->lowest] != 0)
			sum->highest++;
		sum->adds = 1;
	}
	sum->adds += adds;
	if (lowest + n - 1 > sum->highest)
		sum->highest = lowest + n - 1;
	for (int32_t i = lowest < floor ? (int32_t) (floor - lowest) : 0; i < n; i++)
		sum->limb[lowest + i - sum->lowest] += limb[i];
}

static inline double
decay_sum_heat(const DecaySum *sum)
{
	int64_t		floor = decay_sum_floor(sum, sum->highest);
	int32_t		skip = sum->lowest < floor ? (int32_t) (floor - sum->lowest) : 0;
	int32_t		n = sum->nlimbs - skip;
	int64_t		digit[DECAY_SUM_ROOM];
	bool		negative;
	double		m;
	int			e;

	if (sum->nlimbs == 0)
		return 0.0;
	memcpy(digit, sum->limb + skip, sizeof(int64_t) * n);
	decay_sum_carry(digit, n);
	negative = digit[n - 1] < 0;
	if (negative)
	{
		for (int32_t i = 0; i < n; i++)
			digit[i] = -digit[i];
		decay_sum_carry(digit, n);
	}
	while (n > 0 && digit[n - 1] == 0)
		n--;
	if (n == 0)
		return 0.0;

	/* the three highest digits are more than a float can hold */
	m = (double) digit[n - 1];
	for (int32_t i = n - 2; i >= n - 3; i--)
		m = m * 4294967296.0 + (i >= 0 ? (double) digit[i] : 0.0);
	m = frexp(m, &e);
	return decay_signed(negative, (double) (32 * (sum->lowest + skip + n - 3) + e) + log2(m));
}

#endif							/* COZI_DECAY_SUM_H */
