/*
 * report/cell.c
 *		A row of a table of the page: values, each of a kind of cell.
 *
 * The SQL of the page selects values and names their kinds by letters:
 *
 *		t	text				n	a number, at the right
 *		s	a state, as a badge	b	a share of 1, as a bar
 *		q	SQL, folded away	c	SQL that is there to be copied
 *		h	a histogram			k	a word, kept on one line
 *		w	waits with their shares, as a bar and in words
 *
 * NULL, which is not known, is a dash.  Each kind has a bound, so that a page of
 * so many rows has a size that no value changes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "report/report.h"

/* bytes of markup */
#define TEXT_BYTES		400
#define WORD_BYTES		90
#define SUMMARY_BYTES	160
#define QUERY_BYTES		1000
#define CODE_BYTES		800

/* The states that the style sheet knows. */
static const char *const states[] = {
	"ok", "warn", "breach", "unknown", "error", "info", "off", "missing", "stalled", "broken"
};

static void
put_badge(StringInfo row, const char *value)
{
	for (int i = 0; i < lengthof(states); i++)
		if (strcmp(states[i], value) == 0)
		{
			appendStringInfo(row, "<td><b class=\"s %s\">%s</b></td>", value, value);
			return;
		}
	appendStringInfoString(row, "<td><b class=\"s\">");
	cozi_escape(row, value, strlen(value), TEXT_BYTES);
	appendStringInfoString(row, "</b></td>");
}

/* The first words on a line, and all that fits when it is opened. */
static void
put_folded(StringInfo row, const char *value)
{
	size_t		length = strlen(value);
	char	   *line = pnstrdup(value, Min(length, SUMMARY_BYTES));

	for (char *at = line; *at; at++)
		if (*at == '\n' || *at == '\t' || *at == '\r')
			*at = ' ';
	appendStringInfoString(row, "<td class=\"q\">");
	if (length <= SUMMARY_BYTES / 2)
	{
		appendStringInfoString(row, "<code>");
		cozi_escape(row, line, strlen(line), QUERY_BYTES);
		appendStringInfoString(row, "</code></td>");
		return;
	}
	appendStringInfoString(row, "<details><summary><code>");
	cozi_escape(row, line, strlen(line), SUMMARY_BYTES);
	appendStringInfoString(row, "</code></summary><pre>");
	cozi_escape(row, value, length, QUERY_BYTES);
	appendStringInfoString(row, "</pre></details></td>");
}

/* A share between 0 and 1; what is no number is a text. */
static void
put_share(StringInfo row, const char *value)
{
	char	   *end;
	double		share = strtod(value, &end);

	if (end == value || *end != '\0' || !(share >= 0 && share <= 1))
	{
		appendStringInfoString(row, "<td>");
		cozi_escape(row, value, strlen(value), TEXT_BYTES);
		appendStringInfoString(row, "</td>");
		return;
	}
	appendStringInfo(row, "<td class=\"n\">"
					 "<svg class=\"b\" viewBox=\"0 0 60 10\" aria-hidden=\"true\">"
					 "<path class=\"g\" d=\"M0 0h60v10H0z\"/><path d=\"M0 0h%.1fv10H0z\"/></svg>"
					 " %.1f%%</td>", 60 * share, 100 * share);
}

static void
put_cell(StringInfo row, char kind, const char *value)
{
	const char *before = "<td>";
	const char *after = "</td>";
	int			max_bytes = TEXT_BYTES;

	switch (kind)
	{
		case 's':
			put_badge(row, value);
			return;
		case 'q':
			put_folded(row, value);
			return;
		case 'b':
			put_share(row, value);
			return;
		case 'h':
			appendStringInfoString(row, "<td>");
			cozi_draw_histogram(row, value);
			appendStringInfoString(row, "</td>");
			return;
		case 'w':
			appendStringInfoString(row, "<td>");
			cozi_draw_waits(row, value);
			appendStringInfoString(row, "<small>");
			cozi_escape(row, value, strlen(value), TEXT_BYTES);
			appendStringInfoString(row, "</small></td>");
			return;
		case 'k':
			before = "<td class=\"k\">";
			max_bytes = WORD_BYTES;
			break;
		case 'n':
			before = "<td class=\"n\">";
			break;
		case 'c':
			before = "<td class=\"q\"><pre>";
			after = "</pre></td>";
			max_bytes = CODE_BYTES;
			break;
	}
	appendStringInfoString(row, before);
	cozi_escape(row, value, strlen(value), max_bytes);
	appendStringInfoString(row, after);
}

/*
 * A value as a string, of which no more is copied than a cell can show: a text of
 * a megabyte is one of the values.  A character that is cut is replaced by the
 * escaping.
 */
static char *
first_bytes(Datum value, char kind)
{
	if (kind == 'h')
		return TextDatumGetCString(value);
	return cozi_text_in_utf8(DatumGetTextPP(value), QUERY_BYTES);
}

PG_FUNCTION_INFO_V1(cozi_html_row);

/* _html_row(kinds text, VARIADIC cells text[]) -> text */
Datum
cozi_html_row(PG_FUNCTION_ARGS)
{
	char	   *kinds = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StringInfoData row;
	Datum	   *cells;
	bool	   *nulls;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &cells, &nulls, &n);
	if (n != strlen(kinds))
		elog(ERROR, "a row of %d cells has %d kinds", n, (int) strlen(kinds));
	initStringInfo(&row);
	appendStringInfoString(&row, "<tr>");
	for (int i = 0; i < n; i++)
		if (nulls[i])
			appendStringInfoString(&row, kinds[i] == 'n' || kinds[i] == 'b'
								   ? "<td class=\"n\">&ndash;</td>" : "<td>&ndash;</td>");
		else
			put_cell(&row, kinds[i], first_bytes(cells[i], kinds[i]));
	appendStringInfoString(&row, "</tr>\n");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(row.data, row.len));
}
