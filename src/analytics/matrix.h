/*
 * analytics/matrix.h
 *		The cells of a retention by day: cohorts, and the days after.
 *
 * The law: there are as many as was said at first, whatever rows say.
 */
#ifndef COZI_MATRIX_H
#define COZI_MATRIX_H

#include "analytics/analytics.h"

/* Rows are cohorts, by their first day.  Columns are the days after it. */
typedef struct CoziMatrix
{
	int32		periods;
	int32		complete;
	int64		cells[FLEXIBLE_ARRAY_MEMBER];
} CoziMatrix;

extern int64 cozi_matrix_check(int32 periods, int32 complete);
extern CoziMatrix *cozi_matrix_new(MemoryContext context, int32 periods, int32 complete);
extern Datum cozi_matrix_cells(const CoziMatrix *matrix);

/* A user of a cohort was active so many days after its day. */
static inline void
cozi_matrix_add(CoziMatrix *matrix, int cohort, int period)
{
	if (cohort < matrix->complete && period < matrix->periods &&
		cohort + period < matrix->complete)
		matrix->cells[(int64) cohort * matrix->periods + period]++;
}

#endif							/* COZI_MATRIX_H */
