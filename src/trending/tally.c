/*
 * trending/tally.c
 *		What an item's votes add up to, exactly.
 *
 * A tally is a multiset of votes reduced to integers: the sum of the
 * up-weights, the sum of the down-weights, and the decayed mass of the
 * up-votes, kept apart by octave.  An octave is one half-life: a vote at
 * instant t with half-life h falls into octave floor(t / h) and adds
 *
 *		weight * round(2^(t / h - octave) * 2^40)
 *
 * to its mass.  All of it is integer addition, so tallies may be added in any
 * order, in any grouping, and a retracted vote cancels to the last bit however
 * many others came between.  (One float8 keeps a residue, and one 128-bit
 * window forgets what is 80 half-lives older than the newest vote.)  The
 * grid's rounding is below 2^-41 of a vote, 7e-13 in a heat.
 *
 * A tally has at most MAX_OCTAVES octaves, the newest in which there are votes.
 * The floor is the lowest of them once there were more: what falls below it adds
 * to ups and downs alone, and so does its retraction.  What is given up: when all
 * votes of the newest MAX_OCTAVES octaves with votes are taken back, the heat of
 * what lies below is not known until the item is counted again.
 *
 * The law: a tally only ever grows by adding.  An octave whose mass comes to
 * zero disappears, and the tally of no votes is the empty string.
 *
 * On disk a tally is a bytea of varints: ups with a bit that says if there is a
 * floor, downs, the floor, then (octave, mass) in ascending order, octaves as
 * differences; zigzag for the signs.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "pure/decay.h"
#include "pure/varint.h"
#include "trending/trending.h"

#define GRID_BITS	40

/* Below the newest 128 octaves nothing reaches the 53 bits of a heat. */
#define HEAT_OCTAVES	128

/* More are never stored: a tally is shorter than MAX_OCTAVES * 30 bytes. */
#define MAX_OCTAVES 192

/* No instant divided by a half-life of a microsecond is beyond. */
#define MAX_OCTAVE	(INT64CONST(1) << 62)

void
cozi_tally_init(Tally *tally)
{
	memset(tally, 0, sizeof(Tally));
	tally->context = CurrentMemoryContext;
}

/* Forget what lies below an octave. */
static void
set_floor(Tally *tally, int64 floor)
{
	int			below = 0;

	if (tally->bounded && tally->floor >= floor)
		return;
	tally->bounded = true;
	tally->floor = floor;
	while (below < tally->noctaves && tally->octaves[below].octave < floor)
		below++;
	tally->noctaves -= below;
	memmove(tally->octaves, tally->octaves + below, tally->noctaves * sizeof(TallyOctave));
}

/*
 * Add to the mass of an octave.  New votes fall into the newest octaves:
 * look from the end.
 */
static void
add_mass(Tally *tally, int64 octave, int128 mass)
{
	int			i = tally->noctaves;

	if (mass == 0 || (tally->bounded && octave < tally->floor))
		return;
	while (i > 0 && tally->octaves[i - 1].octave > octave)
		i--;
	if (i > 0 && tally->octaves[i - 1].octave == octave)
	{
		TallyOctave *found = &tally->octaves[i - 1];

		found->mass += mass;
		if (found->mass == 0)
		{
			memmove(found, found + 1, (tally->noctaves - i) * sizeof(TallyOctave));
			tally->noctaves--;
		}
		return;
	}
	if (tally->noctaves == tally->room)
	{
		int			room = tally->room == 0 ? 4 : tally->room * 2;

		tally->octaves = tally->room == 0 ?
			MemoryContextAlloc(tally->context, room * sizeof(TallyOctave)) :
			repalloc(tally->octaves, room * sizeof(TallyOctave));
		tally->room = room;
	}
	memmove(&tally->octaves[i + 1], &tally->octaves[i],
			(tally->noctaves - i) * sizeof(TallyOctave));
	tally->octaves[i].octave = octave;
	tally->octaves[i].mass = mass;
	if (++tally->noctaves > MAX_OCTAVES)
		set_floor(tally, tally->octaves[1].octave);
}

/* One vote; times is -1 for its retraction. */
void
cozi_tally_vote(Tally *tally, int64 weight, TimestampTz at, int64 half_life, int times)
{
	int64		octave;
	double		fraction;

	if (weight < 0)
		tally->downs -= (int128) weight * times;
	if (weight <= 0)
		return;
	tally->ups += (int128) weight * times;
	octave = decay_octave(at, half_life, &fraction);
	add_mass(tally, octave,
			 (int128) weight * times * llrint(ldexp(exp2(fraction), GRID_BITS)));
}

static bool
is_empty(const Tally *tally)
{
	return tally->ups == 0 && tally->downs == 0 && tally->noctaves == 0;
}

/* A sum as a board shows it: a rounded bigint, saturated at its ends. */
int64
cozi_tally_whole(int128 sum, int64 unit)
{
	sum = (sum + (sum < 0 ? -unit / 2 : unit / 2)) / unit;
	if (sum > PG_INT64_MAX)
		return PG_INT64_MAX;
	if (sum < PG_INT64_MIN)
		return PG_INT64_MIN;
	return (int64) sum;
}

/*
 * heat = heat_agg(up-votes) + log2(ups / (ups + down_weight * downs))
 *
 * Weights count unit times.  0 when nobody voted it up, and never 0 when somebody did.
 */
double
cozi_tally_heat(const Tally *tally, int64 unit, double down_weight)
{
	int			last = tally->noctaves - 1;
	int64		newest;
	double		sum = 0;
	double		heat;

	if (tally->ups <= 0)
		return 0;

	newest = last < 0 ? 0 : tally->octaves[last].octave;
	for (int i = last; i >= 0 && newest - tally->octaves[i].octave < HEAT_OCTAVES; i--)
		sum += ldexp((double) tally->octaves[i].mass,
					 (int) (tally->octaves[i].octave - newest) - GRID_BITS);

	/* as heat_agg: a sum below one vote of the year 2000 counts as none */
	heat = sum > 0 ? Max(newest + log2(sum / unit), 0) : 0;
	if (tally->downs > 0)
		heat += log2((double) tally->ups /
					 ((double) tally->ups + down_weight * (double) tally->downs));
	return heat == 0 ? DBL_MIN : heat;
}

static void
malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("malformed sum of a board"),
			 errhint("Count the board again with cozi.rebuild_board().")));
}

static const unsigned char *
get_varint(const unsigned char *from, const unsigned char *end, int128 *number)
{
	from = varint_get(from, end, number);
	if (from == NULL)
		malformed();
	return from;
}

bytea	   *
cozi_tally_encode(const Tally *tally)
{
	bytea	   *result;
	char	   *to;
	int64		octave = 0;

	if (is_empty(tally))
	{
		result = palloc(VARHDRSZ);
		SET_VARSIZE(result, VARHDRSZ);
		return result;
	}
	result = palloc(VARHDRSZ + (3 + 2 * (Size) tally->noctaves) * VARINT_BYTES);
	to = varint_put(VARDATA(result), tally->ups * 2 + tally->bounded);
	to = varint_put(to, tally->downs);
	if (tally->bounded)
		to = varint_put(to, tally->floor);
	for (int i = 0; i < tally->noctaves; i++)
	{
		to = varint_put(to, (int128) tally->octaves[i].octave - octave);
		to = varint_put(to, tally->octaves[i].mass);
		octave = tally->octaves[i].octave;
	}
	SET_VARSIZE(result, to - (char *) result);
	return result;
}

/* Add a tally in disk form. */
void
cozi_tally_add(Tally *tally, const bytea *encoded)
{
	const unsigned char *from = (unsigned char *) VARDATA_ANY(encoded);
	const unsigned char *end = from + VARSIZE_ANY_EXHDR(encoded);
	int128		value;
	int128		octave = 0;
	bool		bounded;

	if (from == end)
		return;
	from = get_varint(from, end, &value);
	bounded = value & 1;
	tally->ups += (value - bounded) / 2;
	from = get_varint(from, end, &value);
	tally->downs += value;
	if (bounded)
	{
		from = get_varint(from, end, &value);
		set_floor(tally, (int64) value);
	}
	while (from < end)
	{
		CHECK_FOR_INTERRUPTS();
		from = get_varint(from, end, &value);
		octave += value;
		if (octave > MAX_OCTAVE || octave < -MAX_OCTAVE)
			malformed();
		from = get_varint(from, end, &value);
		add_mass(tally, (int64) octave, value);
	}
}
