/*
 * report/draw.c
 *		Histograms, waits and curves, as inline SVG.
 *
 * What is drawn is numbers alone: a text never becomes a part of a picture.  A
 * picture has a bounded number of strokes, whatever the numbers are.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "pure/histogram.h"
#include "report/report.h"

/* Four bars a decade, from 10 us to 100 s: 28 bars on one scale for all. */
#define BARS			28
#define FIRST_TICKS		(0.01 * COZI_TICKS_PER_MS)
#define BAR_HEIGHT		22.0

/* a curve */
#define WIDTH			600.0
#define HEIGHT			90.0
#define MAX_POINTS		120

/* as many as waits_of() names */
#define MAX_WAITS		3

static int
bar_of(int bucket)
{
	double		middle = (cozi_bucket_start(bucket) + cozi_bucket_start(bucket + 1)) / 2.0;
	int			bar = (int) floor(4 * log10(Max(middle, FIRST_TICKS) / FIRST_TICKS));

	return Min(bar, BARS - 1);
}

/*
 * A histogram, which is written as an array: {0,0,7,...}.  What is not written so
 * draws nothing.
 */
void
cozi_draw_histogram(StringInfo markup, const char *array)
{
	double		bar[BARS] = {0};
	double		most = 0;
	double		sum = 0;
	const char *at = array;

	for (int bucket = 0; bucket < COZI_BUCKETS && (*at == '{' || *at == ','); bucket++)
	{
		char	   *end;
		double		count = (double) strtoll(at + 1, &end, 10);

		if (end == at + 1)
			break;
		bar[bar_of(bucket)] += Max(count, 0);
		sum += Max(count, 0);
		at = end;
	}
	for (int i = 0; i < BARS; i++)
		most = Max(most, bar[i]);
	appendStringInfo(markup, "<svg class=\"h\" viewBox=\"0 0 112 23\" role=\"img\" "
					 "aria-label=\"%.0f executions from 10 us to 100 s\">"
					 "<path class=\"g\" d=\"M32 0v22M48 0v22M64 0v22M0 22.5h112\"/>"
					 "<path d=\"", sum);
	for (int i = 0; i < BARS; i++)
		if (bar[i] > 0)
			/* one in a thousand is still seen */
			appendStringInfo(markup, "M%d 22v-%.1fh3V22z", 4 * i,
							 Max(1.5, BAR_HEIGHT * bar[i] / most));
	appendStringInfoString(markup, "\"/></svg>");
}

/* Which color a wait has, by how its words begin. */
static const char *
class_of_wait(const char *wait)
{
	static const char *const kinds[][2] = {
		{"CPU ", "cpu"}, {"IO:", "io"}, {"Lock:", "lock"}, {"LWLock:", "lwlock"}
	};

	for (int i = 0; i < lengthof(kinds); i++)
		if (strncmp(wait, kinds[i][0], strlen(kinds[i][0])) == 0)
			return kinds[i][1];
	return "other";
}

/*
 * Waits as waits_of() writes them, "Lock:tuple 60 %, CPU 40 %": a bar of their
 * shares.  What is written otherwise draws nothing.
 */
void
cozi_draw_waits(StringInfo markup, const char *waits)
{
	const char *at = waits;
	double		x = 0;

	appendStringInfoString(markup, "<svg class=\"b\" viewBox=\"0 0 60 10\" aria-hidden=\"true\">"
						   "<path class=\"g\" d=\"M0 0h60v10H0z\"/>");
	for (int i = 0; i < MAX_WAITS && at != NULL; i++)
	{
		const char *share = strstr(at, " %");
		double		width;

		if (share == NULL)
			break;
		while (share > at && isdigit((unsigned char) share[-1]))
			share--;
		width = Min(0.6 * strtod(share, NULL), 60 - x);
		if (width > 0)
			appendStringInfo(markup, "<path class=\"%s\" d=\"M%.1f 0h%.1fv10h-%.1fz\"/>",
							 class_of_wait(at), x, width, width);
		x += Max(width, 0);
		at = strstr(share, ", ");
		at = at ? at + 2 : NULL;
	}
	appendStringInfoString(markup, "</svg> ");
}

/* The points of a curve, with a gap where a value is not known. */
static void
draw_points(StringInfo markup, const float8 *value, const bool *null, int n, double top)
{
	bool		pen_down = false;

	for (int i = 0; i < n; i++)
	{
		if (null[i])
		{
			pen_down = false;
			continue;
		}
		appendStringInfo(markup, "%c%.1f %.1f", pen_down ? 'L' : 'M',
						 n > 1 ? WIDTH * i / (n - 1) : 0, HEIGHT * (1 - Max(value[i], 0) / top));
		if (!pen_down && (i + 1 == n || null[i + 1]))
			appendStringInfoString(markup, "h2");	/* a point alone */
		pen_down = true;
	}
}

PG_FUNCTION_INFO_V1(cozi_svg_curve);

/*
 * _svg_curve(value float8[]) -> text
 *
 * A curve from 0 to its highest value; at most MAX_POINTS of its values.
 */
Datum
cozi_svg_curve(PG_FUNCTION_ARGS)
{
	StringInfoData markup;
	float8		value[MAX_POINTS];
	Datum	   *element;
	bool	   *null;
	double		top = 0;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &element, &null, &n);
	n = Min(n, MAX_POINTS);
	for (int i = 0; i < n; i++)
	{
		value[i] = null[i] ? 0 : DatumGetFloat8(element[i]);
		if (isnan(value[i]) || isinf(value[i]))
			null[i] = true;
		else if (!null[i])
			top = Max(top, value[i]);
	}
	initStringInfo(&markup);
	appendStringInfoString(&markup, "<svg class=\"l\" viewBox=\"0 -2 602 94\" role=\"img\" "
						   "preserveAspectRatio=\"none\"><path class=\"g\" "
						   "d=\"M0 0h600M0 45h600M0 90h600\"/><path d=\"");
	draw_points(&markup, value, null, n, top > 0 ? top : 1);
	appendStringInfoString(&markup, "\"/></svg>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(markup.data, markup.len));
}
