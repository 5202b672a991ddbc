/*
 * pure/histogram.h
 *		Latency histograms: pure arithmetic, no server include.
 *
 * A log-linear histogram, as in HdrHistogram: every octave is cut into eight
 * equal buckets, so that a bucket is never wider than an eighth of its lower
 * bound.  The unit is a tick of 125 ns, an eighth of a microsecond: from 1 us
 * on, any value read back lies within 12.5 % of the one recorded; below, within
 * a tick.  264 buckets reach 2^35 ticks = 71.6 minutes; the last one holds all
 * that took longer.
 *
 *		ticks    0 1 .. 15 | 16 18 .. 30 | 32 36 .. 60 | 64 72 .. 120 | ...
 *		bucket   0 1 .. 15 | 16 17 .. 23 | 24 25 .. 31 | 32 33 ..  39 | ...
 *
 * Adding two histograms adds their buckets, and a window of time is one
 * snapshot subtracted from a later one: both exact.  No average, no standard
 * deviation, no sampling takes part in a quantile.
 */
#ifndef COZI_HISTOGRAM_H
#define COZI_HISTOGRAM_H

#include <math.h>
#include <stdint.h>

#define COZI_BUCKETS		264
#define COZI_NS_PER_TICK	125
#define COZI_TICKS_PER_MS	8000.0

/* The bucket of a duration. */
static inline int
cozi_bucket(uint64_t ticks)
{
	int			shift;
	uint64_t	bucket;

	if (ticks < 16)
		return (int) ticks;
	shift = 60 - __builtin_clzll(ticks);
	bucket = (uint64_t) shift * 8 + (ticks >> shift);
	return bucket < COZI_BUCKETS ? (int) bucket : COZI_BUCKETS - 1;
}

/* The smallest duration of a bucket; of bucket + 1, the end of this one. */
static inline uint64_t
cozi_bucket_start(int bucket)
{
	if (bucket < 16)
		return bucket;
	return (uint64_t) (8 + bucket % 8) << (bucket / 8 - 1);
}

static inline uint64_t
cozi_histogram_count(const uint64_t *count)
{
	uint64_t	n = 0;

	for (int b = 0; b < COZI_BUCKETS; b++)
		n += count[b];
	return n;
}

/*
 * The duration, in ticks, that percentile_disc(fraction) would name: the one
 * of rank ceil(fraction * n).  Within its bucket the samples are taken as
 * evenly spread.  The histogram holds n samples, at least one.
 */
static inline double
cozi_histogram_quantile(const uint64_t *count, uint64_t n, double fraction)
{
	double		rank = ceil(fraction * (double) n);
	double		before = 0;

	if (rank < 1)
		rank = 1;
	for (int b = 0; b < COZI_BUCKETS; b++)
	{
		if (count[b] > 0 && before + (double) count[b] >= rank)
		{
			double		start = (double) cozi_bucket_start(b);
			double		width = (double) cozi_bucket_start(b + 1) - start;

			return start + width * (rank - before - 0.5) / (double) count[b];
		}
		before += (double) count[b];
	}
	return (double) cozi_bucket_start(COZI_BUCKETS);
}

#endif							/* COZI_HISTOGRAM_H */
