/*
 * pure/score.h
 *		The formulas communities rank by, as arithmetic.
 *
 * Instants are microseconds since 2000-01-01 00:00 UTC.  Counts are taken as
 * 64-bit integers and reckoned in double, so no sum of them overflows.
 * Nothing here includes the server.  Callers check what comes in: instants
 * and numbers are finite, counts that cannot be negative are not.
 *
 * score_gravity(), score_hacker_news() and score_hot_rank() never rise with age,
 * where they are positive, and never fall with points: top_ranked() relies on it.
 */
#ifndef COZI_SCORE_H
#define COZI_SCORE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define SCORE_USECS_PER_HOUR 3600e6

/* Reddit counts from 2005-12-08 07:46:43 UTC, Unix second 1134028003. */
#define SCORE_REDDIT_BORN ((INT64_C(1134028003) - 946684800) * 1000000)
#define SCORE_REDDIT_DIVISOR 45000e6

/* Lemmy forgets a post after a week. */
#define SCORE_LEMMY_AGE (INT64_C(7) * 24 * 3600 * 1000000)

/* Hours from one instant to another; 0 where it has not come yet. */
static inline double
score_age(int64_t since, int64_t as_of)
{
	if (since >= as_of)
		return 0.0;
	return (double) ((uint64_t) as_of - (uint64_t) since) / SCORE_USECS_PER_HOUR;
}

/*
 * Reddit's "hot" (_sorts.pyx): each power of ten of the net score is worth
 * 12.5 hours.  The famous copy of it multiplies the seconds by the sign of
 * the score and buries whatever is below zero, newest first; not this one.
 */
static inline double
score_hot(int64_t ups, int64_t downs, int64_t created_at)
{
	bool		negative = ups < downs;
	uint64_t	up = (uint64_t) ups;
	uint64_t	down = (uint64_t) downs;
	uint64_t	net = negative ? down - up : up - down;
	double		order = net > 1 ? log10((double) net) : 0;
	int64_t		age = created_at - SCORE_REDDIT_BORN;

	return (negative ? -order : order) + (double) age / SCORE_REDDIT_DIVISOR;
}

/*
 * The formula that is commonly given for Hacker News:
 * (points - 1) / (hours + 2) ^ gravity.
 */
static inline double
score_gravity(double points, double hours, double gravity)
{
	return (points - 1) / pow(hours + 2, gravity) + 0.0;	/* no -0 */
}

/*
 * Hacker News as published (news.arc, frontpage-rank), without its penalties:
 * what points - 1 is above 0 counts to the power of 0.8, and the age in minutes
 * plus 120 is divided by 60.
 */
static inline double
score_hacker_news(double points, double hours, double gravity)
{
	double		base = points - 1;

	return (base > 0 ? pow(base, 0.8) : base) / pow(hours + 2, gravity) + 0.0;
}

/*
 * Lemmy's hot_rank (utils.sql): 0 before it is posted and after a week,
 * log10(score + 2), at least log10(2), / (hours + 2) ^ 1.8 between.
 */
static inline double
score_hot_rank(double score, int64_t created_at, int64_t as_of)
{
	if (created_at >= as_of || as_of - SCORE_LEMMY_AGE >= created_at)
		return 0.0;
	return log10(fmax(2.0, score + 2)) / pow(score_age(created_at, as_of) + 2, 1.8);
}

/* Lemmy's scaled_rank: the same, evened out between small and large places. */
static inline double
score_scaled_rank(double hot_rank, double interactions)
{
	return hot_rank / log10(2 + interactions);
}

/* Reddit's "controversial": many votes, evenly split. */
static inline double
score_controversy(double ups, double downs)
{
	if (ups <= 0 || downs <= 0)
		return 0.0;
	return pow(ups + downs, ups > downs ? downs / ups : ups / downs);
}

/*
 * Wilson's interval for the share of up-votes, at z standard deviations.
 *
 * With p = ups / n, c = p + z^2 / 2n and s = z sqrt(p (1 - p) / n + z^2 / 4n^2)
 * the bounds are (c -+ s) / (1 + z^2 / n).  The lower one is a difference of
 * near equals; (c - s) (c + s) = p^2 (1 + z^2 / n), so it is p^2 / (c + s).
 */
static inline double
score_wilson(double ups, double downs, double z, bool upper)
{
	double		n = ups + downs;
	double		z2n = z * z / n;
	double		p = ups / n;
	double		c_plus_s;

	if (n == 0)
		return 0.0;				/* by convention */
	if (isinf(z2n))
		return upper ? 1.0 : 0.0;	/* anything is possible */
	if (z2n == 0)
		return p;
	c_plus_s = p + z2n / 2 + sqrt(z2n * (p * (downs / n) + z2n / 4));
	return upper ? fmin(1.0, c_plus_s / (1 + z2n)) : p * p / c_plus_s;
}

/* A mean that starts from prior_mean, as if from prior_weight ratings. */
static inline double
score_bayesian_average(double sum, double n, double prior_mean, double prior_weight)
{
	return (prior_weight * prior_mean + sum) / (prior_weight + n);
}

#endif							/* COZI_SCORE_H */
