/*
 * report/escape.c
 *		A value as the text of a page of HTML.
 *
 * The values are not ours: anybody who may send a query writes query texts, and
 * who owns a table names it.  What has a meaning in HTML, in an element or in a
 * quoted attribute, becomes a character reference, and so does all that is not
 * ASCII: the page is the same bytes in every encoding, of the database, of the
 * client and of a mail.
 *
 * A control character is shown as its picture (U+2400), because HTML forbids its
 * reference.  A character that changes the direction of what follows would let a
 * text read otherwise than it runs; it is shown by its number.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/base.h"
#include "report/report.h"

#define REPLACEMENT		0xFFFD

/* "&#x10FFFF;" and its end */
#define REFERENCE_SIZE	16

/* The character at the front of a text in UTF-8, and how many bytes it has. */
static uint32
next_character(const unsigned char *text, int length, int *bytes)
{
	int			n = pg_utf_mblen(text);

	if (text[0] < 0x80 || n > length || !pg_utf8_islegal(text, n))
	{
		*bytes = 1;
		return text[0] < 0x80 ? text[0] : REPLACEMENT;
	}
	*bytes = n;
	return utf8_to_unicode(text);
}

/* Does it turn the direction of the text, or end a line? */
static bool
is_deceptive(uint32 c)
{
	return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
		(c >= 0x2066 && c <= 0x2069);
}

static void
refer_to(uint32 c, char reference[REFERENCE_SIZE])
{
	switch (c)
	{
		case '&':
			strcpy(reference, "&amp;");
			return;
		case '<':
			strcpy(reference, "&lt;");
			return;
		case '>':
			strcpy(reference, "&gt;");
			return;
		case '"':
			strcpy(reference, "&quot;");
			return;
		case '\'':
			strcpy(reference, "&#39;");
			return;
	}
	if (c == '\t' || c == '\n' || (c >= 0x20 && c < 0x7F))
		snprintf(reference, REFERENCE_SIZE, "%c", (char) c);
	else if (c < 0x20)
		snprintf(reference, REFERENCE_SIZE, "&#x%X;", 0x2400 + c);
	else if (c == 0x7F)
		strcpy(reference, "&#x2421;");
	else if (is_deceptive(c))
		snprintf(reference, REFERENCE_SIZE, "[U+%04X]", c);
	else if (c < 0xA0 || (c & 0xFFFE) == 0xFFFE || (c >= 0xFDD0 && c <= 0xFDEF))
		snprintf(reference, REFERENCE_SIZE, "&#x%X;", REPLACEMENT);
	else
		snprintf(reference, REFERENCE_SIZE, "&#x%X;", c);
}

/*
 * Append a value to markup, in at most max_bytes.  A value that is longer ends
 * with an ellipsis.
 */
void
cozi_escape(StringInfo markup, const char *value, int length, int max_bytes)
{
	static const char ellipsis[] = "&hellip;";
	const unsigned char *at = (const unsigned char *) value;
	const unsigned char *end = at + length;
	int			start = markup->len;
	int			fits = start;	/* where an ellipsis still fits */

	while (at < end)
	{
		char		reference[REFERENCE_SIZE];
		int			bytes;

		refer_to(next_character(at, end - at, &bytes), reference);
		if (markup->len - start + (int) strlen(reference) > max_bytes)
		{
			markup->len = fits;
			markup->data[fits] = '\0';
			appendStringInfoString(markup, ellipsis);
			return;
		}
		appendStringInfoString(markup, reference);
		if (markup->len - start + (int) strlen(ellipsis) <= max_bytes)
			fits = markup->len;
		at += bytes;
	}
}

/*
 * The beginning of a text in UTF-8: as much as max_bytes of markup can show.  A
 * byte of SQL_ASCII means nothing, and what another encoding cannot convert is
 * replaced.
 */
char	   *
cozi_text_in_utf8(struct varlena *value, int max_bytes)
{
	int			encoding = GetDatabaseEncoding();
	int			length = VARSIZE_ANY_EXHDR(value);
	char	   *begin = VARDATA_ANY(value);
	Oid			proc;
	unsigned char *converted;
	int			done;

	/* one more than can be shown, so that the ellipsis is */
	length = pg_mbcliplen(begin, length, Min(length, Max(max_bytes, 0) + MAX_MULTIBYTE_CHAR_LEN));
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pnstrdup(begin, length);
	proc = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(proc))
		return pnstrdup(begin, length);
	converted = palloc((Size) length * MAX_CONVERSION_GROWTH + 4);
	done = pg_do_encoding_conversion_buf(proc, encoding, PG_UTF8, (unsigned char *) begin, length,
										 converted, length * MAX_CONVERSION_GROWTH + 1, true);
	if (done < length)
		strcat((char *) converted, "\xEF\xBF\xBD");
	return (char *) converted;
}

PG_FUNCTION_INFO_V1(cozi_html);

/* _html(value text, max_bytes int) -> text */
Datum
cozi_html(PG_FUNCTION_ARGS)
{
	int			max_bytes = PG_GETARG_INT32(1);
	char	   *value = cozi_text_in_utf8(PG_GETARG_TEXT_PP(0), max_bytes);
	StringInfoData markup;

	initStringInfo(&markup);
	cozi_escape(&markup, value, strlen(value), max_bytes);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(markup.data, markup.len));
}
