/*
 * trending/trending.h
 *		What the files of the trending domain share.
 */
#ifndef COZI_TRENDING_H
#define COZI_TRENDING_H

#include "datatype/timestamp.h"

/* trending/heat.c */

/* Microseconds of a half-life; an error unless it is positive and of a fixed length. */
extern int64 cozi_half_life(const Interval *half_life);

/* An error unless the instant is finite. */
extern void cozi_check_instant(TimestampTz at);

/* trending/formula.c */

/* The exponent of gravity(), if it may be one; an error otherwise. */
extern float8 cozi_check_gravity(float8 gravity);

/* init.c */
extern void cozi_trending_init(void);

#endif							/* COZI_TRENDING_H */
