/*
 * base/cursor.c
 *		Cursors: values of SQL in a text that goes through a URL, and back.
 *
 * Integers, float8, uuid and timestamptz are written as their bits.  Any other
 * type is written as its text, under settings that lose nothing.
 *
 * The law: a client writes what it likes.  A text that is no cursor raises 22023;
 * a value that its column does not take raises the error of the column's type.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "pure/base64url.h"

#define SHOWN_BYTES 64			/* of a text that is no cursor */

/* The text of a value that can be read back as the same value. */
static char *
exact_text(Datum value, Oid type)
{
	static const char *const settings[][2] = {
		{"extra_float_digits", "3"}, {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"},
		{"bytea_output", "hex"}, {"TimeZone", "UTC"}, {"lc_monetary", "C"}
	};
	Oid			output;
	bool		is_varlena;
	char	   *text;
	int			level;

	getTypeOutputInfo(type, &output, &is_varlena);
	if (type == TEXTOID || type == VARCHAROID)
		return OidOutputFunctionCall(output, value);
	level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(settings); i++)
		cozi_set_locally(settings[i][0], settings[i][1]);
	text = OidOutputFunctionCall(output, value);

	AtEOXact_GUC(false, level);
	return text;
}

static void
fill_field(CoziCursorField *field, Datum value, bool isnull, Oid declared)
{
	Oid			type = getBaseType(declared);

	memset(field, 0, sizeof(CoziCursorField));
	field->kind = COZI_CURSOR_INTEGER;
	if (isnull)
		field->kind = COZI_CURSOR_NULL;
	else if (type == INT2OID)
		field->number = DatumGetInt16(value);
	else if (type == INT4OID)
		field->number = DatumGetInt32(value);
	else if (type == INT8OID)
		field->number = DatumGetInt64(value);
	else if (type == FLOAT8OID)
	{
		float8		number = DatumGetFloat8(value);

		field->kind = COZI_CURSOR_FLOAT;
		memcpy(&field->number, &number, sizeof(int64));
	}
	else if (type == TIMESTAMPTZOID)
	{
		field->kind = COZI_CURSOR_INSTANT;
		field->number = DatumGetTimestampTz(value);
	}
	else if (type == UUIDOID)
	{
		field->kind = COZI_CURSOR_UUID;
		field->bytes = (const char *) DatumGetUUIDP(value)->data;
		field->len = UUID_LEN;
	}
	else
	{
		field->kind = COZI_CURSOR_TEXT;
		field->bytes = exact_text(value, type);
		field->len = strlen(field->bytes);
	}
}

/* Returns the cursor of n values of these types. */
char	   *
cozi_cursor_encode(const Datum *values, const bool *nulls, const Oid *types, int n)
{
	CoziCursorField *fields = palloc(Max(n, 1) * sizeof(CoziCursorField));
	size_t		room;
	unsigned char *bytes;
	char	   *text;
	size_t		len;

	for (int i = 0; i < n; i++)
		fill_field(&fields[i], values[i], nulls[i], types[i]);
	room = cozi_cursor_room(fields, n);
	if (COZI_BASE64URL_LENGTH(room) > COZI_CURSOR_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a cursor must not be longer than %d bytes", COZI_CURSOR_MAX),
				 errhint("Order by columns with shorter values.")));
	bytes = palloc(room);
	text = palloc(COZI_BASE64URL_LENGTH(room) + 1);

	len = cozi_cursor_write(fields, n, bytes, text);
	text[		len] = '\0';

	pfree(bytes);
	pfree(fields);
	return text;
}

void
cozi_not_a_cursor(const char *text)
{
	int			len = strlen(text);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%.*s%s\" is not a cursor", pg_mbcliplen(text, len, SHOWN_BYTES), text,
					len > SHOWN_BYTES ? "..." : ""),
			 errhint("Pass the column cursor of the last row of the page before.")));
}

/* Reads a cursor; *fields is palloc'd, and what it points to is, too. */
int
cozi_cursor_decode(const char *text, CoziCursorField **fields)
{
	size_t		len = strlen(text);
	int			n = -1;

	*fields = palloc(COZI_CURSOR_FIELDS * sizeof(CoziCursorField));
	if (len <= COZI_CURSOR_MAX)
		n = cozi_cursor_read(text, len, palloc(len * 3 / 4 + 3), *fields);
	for (int i = 0; i < n; i++)
		if ((*fields)[i].kind == COZI_CURSOR_TEXT &&
			!pg_verifymbstr((*fields)[i].bytes, (*fields)[i].len, true))
			n = -1;
	if (n < 0)
		cozi_not_a_cursor(text);
	return n;
}

/* Returns the value of a field as text; NULL for NULL. */
char	   *
cozi_cursor_text(const CoziCursorField *field)
{
	switch (field->kind)
	{
		case COZI_CURSOR_NULL:
			return NULL;
		case COZI_CURSOR_INTEGER:
			return psprintf(INT64_FORMAT, (int64) field->number);
		case COZI_CURSOR_FLOAT:
			return exact_text(cozi_cursor_value(field, FLOAT8OID), FLOAT8OID);
		case COZI_CURSOR_INSTANT:
			return exact_text(TimestampTzGetDatum(field->number), TIMESTAMPTZOID);
		case COZI_CURSOR_UUID:
			return exact_text(PointerGetDatum(field->bytes), UUIDOID);
		case COZI_CURSOR_TEXT:
			break;
	}
	return pnstrdup(field->bytes, field->len);
}

/* Returns the value of a field, which is not NULL, as one of a column's type. */
Datum
cozi_cursor_value(const CoziCursorField *field, Oid declared)
{
	Oid			type = getBaseType(declared);
	Oid			input;
	Oid			ioparam;

	if (field->kind == COZI_CURSOR_INTEGER && type == INT8OID)
		return Int64GetDatum(field->number);
	if (field->kind == COZI_CURSOR_INSTANT && type == TIMESTAMPTZOID &&
		(TIMESTAMP_NOT_FINITE(field->number) || IS_VALID_TIMESTAMP(field->number)))
		return TimestampTzGetDatum(field->number);
	if (field->kind == COZI_CURSOR_UUID && type == UUIDOID)
		return PointerGetDatum(field->bytes);
	if (field->kind == COZI_CURSOR_FLOAT && type == FLOAT8OID)
	{
		float8		number;

		memcpy(&number, &field->number, sizeof(float8));
		return Float8GetDatum(number);
	}
	getTypeInputInfo(type, &input, &ioparam);
	return OidInputFunctionCall(input, cozi_cursor_text(field), ioparam, -1);
}
