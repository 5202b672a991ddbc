/*
 * trending/topk_formula.c
 *		top_ranked(): the formulas, and what unread rows can be worth.
 *
 * A formula is one of two kinds.  The value of gravity, hacker_news, hot_rank,
 * scaled_rank and active falls with age.  The value of score, controversy and
 * wilson is fixed: an index may hold it.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "pure/score.h"
#include "trending/trending.h"

static const struct
{
	const char *name;
	const char *function;		/* of SQL, where an index may hold its value */
}			formulas[] = {
	[FORMULA_GRAVITY] = {"gravity", NULL},
	[FORMULA_HACKER_NEWS] = {"hacker_news", NULL},
	[FORMULA_HOT_RANK] = {"hot_rank", NULL},
	[FORMULA_SCALED_RANK] = {"scaled_rank", NULL},
	[FORMULA_ACTIVE] = {"active", NULL},
	[FORMULA_SCORE] = {"score", NULL},
	[FORMULA_CONTROVERSY] = {"controversy", "controversy"},
	[FORMULA_WILSON] = {"wilson", "wilson_lower"},
};

Formula
cozi_topk_formula(const char *name)
{
	for (int i = 0; i < lengthof(formulas); i++)
		if (strcmp(formulas[i].name, name) == 0)
			return (Formula) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown formula \"%s\"", name),
			 errhint("The formulas are gravity, hacker_news, hot_rank, scaled_rank, active, score,"
					 " controversy and wilson. The order of hot() never changes: index it.")));
	return 0;					/* keep the compiler quiet */
}

/* The function of SQL whose value an index may hold; NULL: the points themselves. */
const char *
cozi_topk_function(const TopRanked *top)
{
	return formulas[top->formula].function;
}

/* That expression; the prefix is "r." or nothing. */
char	   *
cozi_topk_expression(const TopRanked *top, const char *prefix)
{
	return cozi_statement("{schema}.{function}({prefix}{ups}, {prefix}{downs})",
						  "schema", cozi_schema_name(),
						  "function", cozi_topk_function(top),
						  "prefix", prefix,
						  "ups", quote_identifier(top->columns[COLUMN_POINTS].name),
						  "downs", quote_identifier(top->columns[COLUMN_INTERACTIONS].name), NULL);
}

float8
cozi_topk_value(const TopRanked *top, const Candidate *row)
{
	float8		points = (float8) row->points;
	float8		downs = (float8) row->interactions;
	TimestampTz at = row->created_at;

	switch (top->formula)
	{
		case FORMULA_GRAVITY:
			return score_gravity(points, score_age(at, top->as_of), top->gravity);
		case FORMULA_HACKER_NEWS:
			return score_hacker_news(points, score_age(at, top->as_of), top->gravity);
		case FORMULA_HOT_RANK:
		case FORMULA_ACTIVE:
			return score_hot_rank(points, at, top->as_of);
		case FORMULA_SCALED_RANK:
			return score_scaled_rank(score_hot_rank(points, at, top->as_of), downs);
		case FORMULA_SCORE:
			return points;
		case FORMULA_CONTROVERSY:
			return score_controversy(points, downs);
		case FORMULA_WILSON:
			return score_wilson(points, downs, TOPK_WILSON_Z, false);
	}
	return 0.0;					/* keep the compiler quiet */
}

/* A float8 as an integer of the same order; the values are not NaN. */
static int64
ordered_integer(float8 value)
{
	int64		bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits < 0 ? bits ^ PG_INT64_MAX : bits;
}

static float8
ordered_float(int64 bits)
{
	float8		value;

	if (bits < 0)
		bits ^= PG_INT64_MAX;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

int64
cozi_topk_key(const TopRanked *top, const Walk *walk, const Candidate *row)
{
	switch (walk->by)
	{
		case COLUMN_POINTS:
			return row->points;
		case COLUMN_VALUE:
			return ordered_integer(cozi_topk_value(top, row));
		default:
			return row->created_at;
	}
}

/*
 * A row not offered has created_at <= newest.key, and points <= highest.key or a
 * value of at most that of highest.key.  A value below 0 rises with age: 0 bounds
 * it.
 */
float8
cozi_topk_bound(const TopRanked *top)
{
	Candidate	best = {.points = top->highest.key,.created_at = top->newest.key};

	if (topk_is_fixed(top))
	{
		if (top->highest.portal == NULL)
			return get_float8_infinity();
		return top->highest.by == COLUMN_VALUE ? ordered_float(top->highest.key) :
			(float8) top->highest.key;
	}
	if (topk_is_of_a_week(top))
		/* hot_rank of the future is 0, and highest just after */
		best.created_at = Min(best.created_at, top->as_of - 1);
	else
		best.points = Max(best.points, 1);
	return cozi_topk_value(top, &best) * (1 + 1e-12);
}
