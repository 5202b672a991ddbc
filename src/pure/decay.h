/*
 * pure/decay.h
 *		Forward decay, in logarithms: the arithmetic of a heat.
 *
 * A heat stands for v, the sum of weight * 2^(t / h) over the events of an
 * item, t being microseconds since 2000-01-01 00:00 UTC and h the half-life.
 * As time goes by all items lose alike, so the order of two sums never
 * changes and nothing has to be refreshed (Cormode et al., "Forward decay",
 * ICDE 2009).  v outgrows any float within weeks; what is kept is
 *
 *		heat = sign(v) * log2(|v|),		0 where |v| <= 1
 *
 * which sorts as v does, because every instant of interest lies many
 * half-lives after 2000.
 *
 * The law: t is divided by h in integers, before anything is a float.  The
 * quotient (the octave) and the fraction meet only in the last addition, so
 * that a result is rounded once, and a half-life of a second is as good as
 * one of a month.
 *
 * Nothing here includes the server: test/t/pure_decay.c compiles this file alone.
 * Arguments are finite and half_life is positive: callers check.
 */
#ifndef COZI_DECAY_H
#define COZI_DECAY_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define DECAY_LN2 0.693147180559945309417232121458

/* floor(t / half_life); *fraction is what is left of it, in [0, 1) */
static inline int64_t
decay_octave(int64_t t, int64_t half_life, double *fraction)
{
	int64_t		octave = t / half_life;
	int64_t		rest = t % half_life;

	if (rest < 0)
	{
		rest += half_life;
		octave--;
	}
	*fraction = (double) rest / (double) half_life;
	if (*fraction >= 1.0)		/* rounded up: half_life beyond 2^53 */
		*fraction = 1.0 - DBL_EPSILON / 2;
	return octave;
}

/* The heat of a sum with log2(|v|) = magnitude.  Never -0. */
static inline double
decay_signed(bool negative, double magnitude)
{
	if (magnitude <= 0.0)
		return 0.0;
	return negative ? -magnitude : magnitude;
}

/* log2(1 + 2^d) and log2(1 - 2^d), for d <= 0 */
static inline double
decay_log2_plus(double d)
{
	return log1p(exp2(d)) / DECAY_LN2;
}

static inline double
decay_log2_minus(double d)
{
	return log(-expm1(d * DECAY_LN2)) / DECAY_LN2;
}

/*
 * Do two opposite magnitudes d apart cancel?  A heat is rounded to an ulp,
 * and a fold or two adds as many more: what lies within them is no
 * difference, but what a retracted vote would otherwise leave behind.
 */
static inline bool
decay_cancels(double d, double magnitude)
{
	return fabs(d) <= 16 * DBL_EPSILON * fabs(magnitude);
}

/* The heat of one event. */
static inline double
decay_heat(double weight, int64_t t, int64_t half_life)
{
	double		fraction;
	int64_t		octave = decay_octave(t, half_life, &fraction);

	if (weight == 0.0)
		return 0.0;
	return decay_signed(weight < 0, (double) octave + (fraction + log2(fabs(weight))));
}

/* The heat with one more event; a negative weight takes one back. */
static inline double
decay_add(double heat, double weight, int64_t t, int64_t half_life)
{
	double		fraction;
	double		octave;
	double		d;

	if (weight == 0.0)
		return decay_signed(heat < 0, fabs(heat));
	if (heat == 0.0)
		return decay_heat(weight, t, half_life);

	octave = (double) decay_octave(t, half_life, &fraction);
	fraction += log2(fabs(weight));
	d = (fabs(heat) - octave) - fraction;	/* log2 of old : new */

	if ((heat < 0) == (weight < 0))
		return decay_signed(heat < 0, d >= 0 ? fabs(heat) + decay_log2_plus(-d)
							: octave + (fraction + decay_log2_plus(d)));
	if (decay_cancels(d, heat))
		return 0.0;
	return d > 0 ? decay_signed(heat < 0, fabs(heat) + decay_log2_minus(-d))
		: decay_signed(weight < 0, octave + (fraction + decay_log2_minus(d)));
}

/* The heat of the events of both. */
static inline double
decay_merge(double a, double b)
{
	double		larger = fabs(a) >= fabs(b) ? a : b;
	double		smaller = fabs(a) >= fabs(b) ? b : a;
	double		d = fabs(smaller) - fabs(larger);

	if (smaller == 0.0)
		return decay_signed(larger < 0, fabs(larger));
	if ((a < 0) == (b < 0))
		return decay_signed(larger < 0, fabs(larger) + decay_log2_plus(d));
	if (decay_cancels(d, larger))
		return 0.0;
	return decay_signed(larger < 0, fabs(larger) + decay_log2_minus(d));
}

/*
 * What a heat is worth at t: the sum of weight * 2^-(half-lives since the
 * event).  May overflow to infinity where t lies far before the events.
 */
static inline double
decay_value(double heat, int64_t t, int64_t half_life)
{
	double		fraction;
	double		octave = (double) decay_octave(t, half_life, &fraction);
	double		value = exp2((fabs(heat) - octave) - fraction);

	if (heat == 0.0 || value == 0.0)
		return 0.0;
	return heat < 0 ? -value : value;
}

#endif							/* COZI_DECAY_H */
