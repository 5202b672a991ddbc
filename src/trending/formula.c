/*
 * trending/formula.c
 *		The formulas of score.h as SQL functions.
 *
 * All take the instant they reckon from as an argument: nothing here reads
 * the clock, so all are immutable.  Their arithmetic is float8 throughout;
 * in SQL, extract(epoch ...) has been numeric since PostgreSQL 14, and
 * power() and log() of a numeric cost a hundred times as much.
 *
 * Bad input: 22023 for a count that cannot be negative and for a number that
 * is not one, 22008 for an infinite instant.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "pure/score.h"
#include "trending/trending.h"

static int64
check_count(int64 count, const char *name)
{
	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name)));
	return count;
}

static float8
check_finite(float8 number, const char *name)
{
	if (!isfinite(number))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a finite number", name)));
	return number;
}

static float8
check_not_negative(float8 number, const char *name)
{
	if (check_finite(number, name) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name)));
	return number;
}

float8
cozi_check_gravity(float8 gravity)
{
	return check_not_negative(gravity, "gravity");
}

PG_FUNCTION_INFO_V1(cozi_hot);

/* hot(ups bigint, downs bigint, created_at timestamptz) -> float8 */
Datum
cozi_hot(PG_FUNCTION_ARGS)
{
	int64		ups = PG_GETARG_INT64(0);
	int64		downs = PG_GETARG_INT64(1);
	TimestampTz created_at = PG_GETARG_TIMESTAMPTZ(2);

	cozi_check_instant(created_at);
	PG_RETURN_FLOAT8(score_hot(ups, downs, created_at));
}

PG_FUNCTION_INFO_V1(cozi_gravity);

/*
 * gravity(points bigint, created_at timestamptz, as_of timestamptz,
 *		   gravity float8 = 1.8) -> float8
 *
 * What is dated after as_of counts as new.
 */
Datum
cozi_gravity(PG_FUNCTION_ARGS)
{
	int64		points = PG_GETARG_INT64(0);
	TimestampTz created_at = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	float8		gravity = cozi_check_gravity(PG_GETARG_FLOAT8(3));

	cozi_check_instant(created_at);
	cozi_check_instant(as_of);
	PG_RETURN_FLOAT8(score_gravity((float8) points, score_age(created_at, as_of), gravity));
}

PG_FUNCTION_INFO_V1(cozi_hacker_news);

/*
 * hacker_news(points bigint, created_at timestamptz, as_of timestamptz,
 *			   gravity float8 = 1.8) -> float8
 *
 * What is dated after as_of counts as new.
 */
Datum
cozi_hacker_news(PG_FUNCTION_ARGS)
{
	int64		points = PG_GETARG_INT64(0);
	TimestampTz created_at = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	float8		gravity = cozi_check_gravity(PG_GETARG_FLOAT8(3));

	cozi_check_instant(created_at);
	cozi_check_instant(as_of);
	PG_RETURN_FLOAT8(score_hacker_news((float8) points, score_age(created_at, as_of), gravity));
}

PG_FUNCTION_INFO_V1(cozi_hot_rank);

/*
 * hot_rank(score bigint, created_at timestamptz, as_of timestamptz) -> float8
 */
Datum
cozi_hot_rank(PG_FUNCTION_ARGS)
{
	int64		score = PG_GETARG_INT64(0);
	TimestampTz created_at = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);

	cozi_check_instant(created_at);
	cozi_check_instant(as_of);
	PG_RETURN_FLOAT8(score_hot_rank((float8) score, created_at, as_of));
}

PG_FUNCTION_INFO_V1(cozi_scaled_rank);

/*
 * scaled_rank(score bigint, created_at timestamptz, interactions bigint,
 *			   as_of timestamptz) -> float8
 */
Datum
cozi_scaled_rank(PG_FUNCTION_ARGS)
{
	int64		score = PG_GETARG_INT64(0);
	TimestampTz created_at = PG_GETARG_TIMESTAMPTZ(1);
	int64		interactions = check_count(PG_GETARG_INT64(2), "interactions");
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(3);

	cozi_check_instant(created_at);
	cozi_check_instant(as_of);
	PG_RETURN_FLOAT8(score_scaled_rank(score_hot_rank((float8) score, created_at, as_of),
									   (float8) interactions));
}

PG_FUNCTION_INFO_V1(cozi_controversy);

/* controversy(ups bigint, downs bigint) -> float8 */
Datum
cozi_controversy(PG_FUNCTION_ARGS)
{
	int64		ups = check_count(PG_GETARG_INT64(0), "ups");
	int64		downs = check_count(PG_GETARG_INT64(1), "downs");

	PG_RETURN_FLOAT8(score_controversy((float8) ups, (float8) downs));
}

static float8
wilson(FunctionCallInfo fcinfo, bool upper)
{
	int64		ups = check_count(PG_GETARG_INT64(0), "ups");
	int64		downs = check_count(PG_GETARG_INT64(1), "downs");
	float8		z = check_not_negative(PG_GETARG_FLOAT8(2), "z");

	return score_wilson((float8) ups, (float8) downs, z, upper);
}

PG_FUNCTION_INFO_V1(cozi_wilson_lower);

/* wilson_lower(ups bigint, downs bigint, z float8 = 1.96) -> float8 */
Datum
cozi_wilson_lower(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(wilson(fcinfo, false));
}

PG_FUNCTION_INFO_V1(cozi_wilson_upper);

/* wilson_upper(ups bigint, downs bigint, z float8 = 1.96) -> float8 */
Datum
cozi_wilson_upper(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(wilson(fcinfo, true));
}

PG_FUNCTION_INFO_V1(cozi_bayesian_average);

/*
 * bayesian_average(sum float8, n bigint, prior_mean float8,
 *					prior_weight float8) -> float8
 *
 * NULL, as avg() of no rows, where n and prior_weight are both 0.
 */
Datum
cozi_bayesian_average(PG_FUNCTION_ARGS)
{
	float8		sum = check_finite(PG_GETARG_FLOAT8(0), "sum");
	int64		n = check_count(PG_GETARG_INT64(1), "n");
	float8		prior_mean = check_finite(PG_GETARG_FLOAT8(2), "prior_mean");
	float8		prior_weight = check_not_negative(PG_GETARG_FLOAT8(3), "prior_weight");
	float8		average;

	if (n == 0 && prior_weight == 0)
		PG_RETURN_NULL();
	average = score_bayesian_average(sum, (float8) n, prior_mean, prior_weight);
	if (!isfinite(average))
		float_overflow_error();
	PG_RETURN_FLOAT8(average + 0.0);	/* no -0 */
}
