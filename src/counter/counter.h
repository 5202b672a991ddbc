/*
 * counter/counter.h
 *		Counters: how many rows each key has, and what they sum up to.
 *
 * A counter is a kept table (kept/kept.h) of kind "counter": its source holds the
 * rows that are counted, its columns are key, n and sum.
 */
#ifndef COZI_COUNTER_H
#define COZI_COUNTER_H

#include "kept/kept.h"

extern void cozi_counter_init(void);

/* counter/sum.c */
extern const KeptKind cozi_counter_kind;

#endif							/* COZI_COUNTER_H */
