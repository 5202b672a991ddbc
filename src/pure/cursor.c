/*
 * pure/cursor.c
 *		Cursors as text: see cursor.h.
 */
#include "pure/cursor.h"

#include <string.h>

#include "pure/base64url.h"
#include "pure/siphash.h"
#include "pure/varint.h"

#define VERSION			1
#define CHECK_BYTES		4
#define UUID_BYTES		16

size_t
cozi_cursor_room(const CoziCursorField *fields, int n)
{
	size_t		room = 2 + CHECK_BYTES;

	for (int i = 0; i < n; i++)
		room += 1 + VARINT_BYTES + (fields[i].bytes != NULL ? fields[i].len : 0);
	return room;
}

/* A check of the bytes before it: the same key everywhere, as for any checksum. */
static uint32_t
check_of(const unsigned char *bytes, size_t len)
{
	static const uint64_t key[2] = {UINT64_C(0x636f7a69), VERSION};

	return (uint32_t) cozi_siphash(key, 0, bytes, len);
}

static unsigned char *
put_word(unsigned char *to, uint64_t word, int bytes)
{
	for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
		*to++ = (unsigned char) (word >> shift);
	return to;
}

static uint64_t
get_word(const unsigned char *from, int bytes)
{
	uint64_t	word = 0;

	for (int i = 0; i < bytes; i++)
		word = word << 8 | from[i];
	return word;
}

static unsigned char *
put_field(unsigned char *to, const CoziCursorField *field)
{
	*to++ = (unsigned char) field->kind;
	switch (field->kind)
	{
		case COZI_CURSOR_NULL:
			break;
		case COZI_CURSOR_INTEGER:
			to = (unsigned char *) varint_put((char *) to, field->number);
			break;
		case COZI_CURSOR_FLOAT:
		case COZI_CURSOR_INSTANT:
			to = put_word(to, (uint64_t) field->number, sizeof(uint64_t));
			break;
		case COZI_CURSOR_TEXT:
			to = (unsigned char *) varint_put((char *) to, (__int128) field->len);
			/* FALLTHROUGH */
		case COZI_CURSOR_UUID:
			if (field->len > 0)
				memcpy(to, field->bytes, field->len);
			to += field->len;
			break;
	}
	return to;
}

size_t
cozi_cursor_write(const CoziCursorField *fields, int n, unsigned char *bytes, char *text)
{
	unsigned char *to = bytes;

	*to++ = VERSION;
	*to++ = (unsigned char) n;
	for (int i = 0; i < n; i++)
		to = put_field(to, &fields[i]);
	to = put_word(to, check_of(bytes, to - bytes), CHECK_BYTES);
	return cozi_base64url_write(bytes, to - bytes, text);
}

/* Reads a varint that is written as put_field() writes it, within bounds. */
static const unsigned char *
get_integer(const unsigned char *from, const unsigned char *end, int64_t min, int64_t *number)
{
	__int128	value;
	char		again[VARINT_BYTES];
	const unsigned char *next = varint_get(from, end, &value);

	if (next == NULL || value < min || value > INT64_MAX ||
		varint_put(again, value) - again != next - from)
		return NULL;
	*number = (int64_t) value;
	return next;
}

/* Reads a field; returns where the next one is, NULL if this one is malformed. */
static const unsigned char *
get_field(const unsigned char *from, const unsigned char *end, CoziCursorField *field)
{
	int64_t		len = UUID_BYTES;

	memset(field, 0, sizeof(CoziCursorField));
	if (from >= end)
		return NULL;
	field->kind = (CoziCursorKind) *from++;
	switch (field->kind)
	{
		case COZI_CURSOR_NULL:
			return from;
		case COZI_CURSOR_INTEGER:
			return get_integer(from, end, INT64_MIN, &field->number);
		case COZI_CURSOR_FLOAT:
		case COZI_CURSOR_INSTANT:
			if (end - from < (ptrdiff_t) sizeof(uint64_t))
				return NULL;
			field->number = (int64_t) get_word(from, sizeof(uint64_t));
			return from + sizeof(uint64_t);
		case COZI_CURSOR_TEXT:
			from = get_integer(from, end, 0, &len);
			if (from == NULL)
				return NULL;
			/* FALLTHROUGH */
		case COZI_CURSOR_UUID:
			if (end - from < len)
				return NULL;
			field->bytes = (const char *) from;
			field->len = (size_t) len;
			return from + len;
	}
	return NULL;
}

int
cozi_cursor_read(const char *text, size_t len, unsigned char *bytes, CoziCursorField *fields)
{
	const unsigned char *from = bytes;
	const unsigned char *end;
	int			size;
	int			n;

	if (len > COZI_CURSOR_MAX)
		return -1;
	size = cozi_base64url(text, len, bytes, len * 3 / 4 + 3);
	if (size < 2 + CHECK_BYTES)
		return -1;
	end = bytes + size - CHECK_BYTES;
	if (*from++ != VERSION || get_word(end, CHECK_BYTES) != check_of(bytes, end - bytes))
		return -1;
	n = *from++;
	for (int i = 0; i < n && from != NULL; i++)
		from = get_field(from, end, &fields[i]);
	return from == end ? n : -1;
}
