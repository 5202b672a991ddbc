/*
 * report/picture.c
 *		The pictures of an activity, as inline SVG: users, retention, active days.
 *
 * What is drawn and written is numbers and dates alone: a text of anybody's never
 * becomes a part of a picture.  A picture has a bounded number of strokes, whatever
 * the numbers are.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

#include "base/base.h"
#include "report/report.h"

#define MAX_DAYS		400
#define MAX_COHORTS		26
#define MAX_BARS		31

/* the curves of users */
#define LEFT			56.0
#define RIGHT			630.0
#define TOP				12.0
#define BOTTOM			150.0

/* the triangle of retention */
#define LABEL_WIDTH		134
#define CELL_WIDTH		42
#define CELL_HEIGHT		20

/* Values of a picture; what is not known is NAN. */
typedef struct Values
{
	int			n;
	double	   *value;
	double		top;			/* the highest; at least 1 */
}			Values;

static Values
read_values(ArrayType *array, int max)
{
	Values		values = {.top = 1};
	Datum	   *element;
	bool	   *null;
	bool		whole = ARR_ELEMTYPE(array) == INT8OID;

	deconstruct_array(array, ARR_ELEMTYPE(array), sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &element, &null, &values.n);
	values.n = Min(values.n, max);
	values.value = palloc(Max(values.n, 1) * sizeof(double));
	for (int i = 0; i < values.n; i++)
	{
		double		value = null[i] ? NAN : whole ? (double) DatumGetInt64(element[i]) :
		DatumGetFloat8(element[i]);

		values.value[i] = isfinite(value) ? Max(value, 0) : NAN;
		if (isfinite(value))
			values.top = Max(values.top, value);
	}
	return values;
}

static void
put_date(StringInfo markup, DateADT day)
{
	int			year;
	int			month;
	int			mday;

	if (DATE_NOT_FINITE(day))
		return;
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	appendStringInfo(markup, "%04d-%02d-%02d", year, month, mday);
}

static void
put_label(StringInfo markup, double x, double y, const char *anchor, const char *class)
{
	appendStringInfo(markup, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\"", x, y, anchor);
	if (class != NULL)
		appendStringInfo(markup, " class=\"%s\"", class);
	appendStringInfoChar(markup, '>');
}

/* A curve over the whole width, with gaps where a value is not known. */
static void
put_curve(StringInfo markup, const Values * values, double top, const char *class)
{
	bool		pen_down = false;

	appendStringInfo(markup, "<path class=\"%s\" d=\"", class);
	for (int i = 0; i < values->n; i++)
	{
		bool		known = isfinite(values->value[i]);

		if (known)
			appendStringInfo(markup, "%c%.1f %.1f", pen_down ? 'L' : 'M',
							 LEFT + (RIGHT - LEFT) * i / Max(values->n - 1, 1),
							 BOTTOM - (BOTTOM - TOP) * values->value[i] / top);
		if (known && !pen_down && (i + 1 == values->n || !isfinite(values->value[i + 1])))
			appendStringInfoString(markup, "h2");	/* a point alone */
		pen_down = known;
	}
	appendStringInfoString(markup, "\"/>");
}

PG_FUNCTION_INFO_V1(cozi_svg_users);

/*
 * _svg_users(until date, daily bigint[], monthly bigint[]) -> text
 *
 * Both curves end with the day until.
 */
Datum
cozi_svg_users(PG_FUNCTION_ARGS)
{
	DateADT		until = PG_GETARG_DATEADT(0);
	Values		daily = read_values(PG_GETARG_ARRAYTYPE_P(1), MAX_DAYS);
	Values		monthly = read_values(PG_GETARG_ARRAYTYPE_P(2), MAX_DAYS);
	double		top = Max(daily.top, monthly.top);
	StringInfoData markup;

	initStringInfo(&markup);
	appendStringInfo(&markup, "<svg class=\"u\" viewBox=\"0 0 640 180\" role=\"img\" "
					 "aria-label=\"users of %d days\"><path class=\"g\" d=\"", daily.n);
	for (int line = 0; line <= 2; line++)
		appendStringInfo(&markup, "M%.0f %.0fH%.0f", LEFT, TOP + (BOTTOM - TOP) * line / 2, RIGHT);
	appendStringInfoString(&markup, "\"/>");
	for (int line = 0; line <= 2; line++)
	{
		put_label(&markup, LEFT - 6, TOP + (BOTTOM - TOP) * line / 2 + 4, "end", NULL);
		appendStringInfo(&markup, "%.*f</text>", line == 1 && top < 10 ? 1 : 0,
						 top * (2 - line) / 2);
	}
	put_label(&markup, LEFT, BOTTOM + 18, "start", NULL);
	put_date(&markup, DATE_NOT_FINITE(until) ? until : until - Max(daily.n - 1, 0));
	appendStringInfoString(&markup, "</text>");
	put_label(&markup, RIGHT, BOTTOM + 18, "end", NULL);
	put_date(&markup, until);
	appendStringInfoString(&markup, "</text>");
	put_label(&markup, (LEFT + RIGHT) / 2 - 8, BOTTOM + 18, "end", "d");
	appendStringInfoString(&markup, "of the day</text>");
	put_label(&markup, (LEFT + RIGHT) / 2 + 8, BOTTOM + 18, "start", "m");
	appendStringInfoString(&markup, "of 28 days</text>");
	put_curve(&markup, &monthly, top, "m");
	put_curve(&markup, &daily, top, "d");
	appendStringInfoString(&markup, "</svg>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(markup.data, markup.len));
}

/* A cell of the triangle, the darker the more users came back. */
static void
put_share_of_cohort(StringInfo markup, int row, int column, double rate)
{
	rate = Min(rate, 1);
	appendStringInfo(markup, "<path fill-opacity=\"%.2f\" d=\"M%d %dh%dv%dh-%dz\"/>",
					 0.06 + 0.94 * rate, LABEL_WIDTH + column * CELL_WIDTH,
					 (row + 1) * CELL_HEIGHT, CELL_WIDTH - 2, CELL_HEIGHT - 2, CELL_WIDTH - 2);
	put_label(markup, LABEL_WIDTH + column * CELL_WIDTH + CELL_WIDTH / 2 - 1,
			  (row + 1) * CELL_HEIGHT + 13, "middle", rate > 0.45 ? "i" : "c");
	appendStringInfo(markup, "%.0f%%</text>", 100 * rate);
}

PG_FUNCTION_INFO_V1(cozi_svg_retention);

/*
 * _svg_retention(cohort date[], size bigint[], rate float8[]) -> text
 *
 * rate has as many periods for each cohort; NULL is a period that is not over.
 */
Datum
cozi_svg_retention(PG_FUNCTION_ARGS)
{
	Datum	   *cohort;
	bool	   *null;
	int			n;
	Values		size = read_values(PG_GETARG_ARRAYTYPE_P(1), MAX_COHORTS);
	Values		rate = read_values(PG_GETARG_ARRAYTYPE_P(2), MAX_COHORTS * MAX_COHORTS);
	int			periods;
	StringInfoData markup;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), DATEOID, sizeof(DateADT), true, TYPALIGN_INT,
					  &cohort, &null, &n);
	n = Min(n, size.n);
	periods = Min(rate.n / Max(n, 1), MAX_COHORTS);
	initStringInfo(&markup);
	appendStringInfo(&markup, "<svg class=\"t\" viewBox=\"0 0 %d %d\" role=\"img\" "
					 "aria-label=\"retention of %d cohorts\">",
					 LABEL_WIDTH + periods * CELL_WIDTH, (n + 1) * CELL_HEIGHT, n);
	for (int period = 0; period < periods; period++)
	{
		put_label(&markup, LABEL_WIDTH + period * CELL_WIDTH + CELL_WIDTH / 2 - 1, 14, "middle",
				  NULL);
		appendStringInfo(&markup, "%d</text>", period);
	}
	for (int row = 0; row < n; row++)
	{
		put_label(&markup, 0, (row + 1) * CELL_HEIGHT + 13, "start", NULL);
		if (!null[row])
			put_date(&markup, DatumGetDateADT(cohort[row]));
		appendStringInfoString(&markup, "</text>");
		put_label(&markup, LABEL_WIDTH - 8, (row + 1) * CELL_HEIGHT + 13, "end", NULL);
		if (isfinite(size.value[row]))
			appendStringInfo(&markup, "%.0f", size.value[row]);
		appendStringInfoString(&markup, "</text>");
		for (int period = 0; period < periods; period++)
			if (isfinite(rate.value[row * periods + period]))
				put_share_of_cohort(&markup, row, period, rate.value[row * periods + period]);
	}
	appendStringInfoString(&markup, "</svg>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(markup.data, markup.len));
}

PG_FUNCTION_INFO_V1(cozi_svg_bars);

/* _svg_bars(value bigint[]) -> text: a bar for each value, numbered from 1 on */
Datum
cozi_svg_bars(PG_FUNCTION_ARGS)
{
	Values		values = read_values(PG_GETARG_ARRAYTYPE_P(0), MAX_BARS);
	double		width = (RIGHT - LEFT) / Max(values.n, 1);
	StringInfoData markup;

	initStringInfo(&markup);
	appendStringInfo(&markup, "<svg class=\"a\" viewBox=\"0 0 640 180\" role=\"img\" "
					 "aria-label=\"users by %d numbers of days\"><path class=\"g\" "
					 "d=\"M%.0f %.0fh%.0fv1h-%.0fz\"/><path d=\"", values.n, LEFT, BOTTOM,
					 RIGHT - LEFT, RIGHT - LEFT);
	for (int i = 0; i < values.n; i++)
		if (isfinite(values.value[i]) && values.value[i] > 0)
			appendStringInfo(&markup, "M%.1f %.0fv-%.1fh%.1fV%.0fz", LEFT + i * width, BOTTOM,
							 Max(1.5, (BOTTOM - TOP) * values.value[i] / values.top), width * 0.8,
							 BOTTOM);
	appendStringInfoString(&markup, "\"/>");
	put_label(&markup, LEFT - 6, TOP + 8, "end", NULL);
	appendStringInfo(&markup, "%.0f</text>", values.top);
	for (int i = 0; i < values.n; i += i == 0 ? 6 : 7)
	{
		put_label(&markup, LEFT + (i + 0.4) * width, BOTTOM + 18, "middle", NULL);
		appendStringInfo(&markup, "%d</text>", i + 1);
	}
	appendStringInfoString(&markup, "</svg>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(markup.data, markup.len));
}
