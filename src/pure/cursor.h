/*
 * pure/cursor.h
 *		A cursor: the sort key of the last row of a page, as text that a URL takes.
 *
 *		version, number of fields, fields, check; in base64url
 *
 * A field is a byte that says its kind, and its value: integers as varints, the
 * bits of a float8, the microseconds of an instant, 16 bytes of a uuid, or a
 * length and that many bytes of text.  The check finds cursors that were cut or
 * mistyped.  It is no signature: a client may write a cursor of its own, which is
 * a place to begin after like any other.
 *
 * The law: each cursor has one text, and no byte outside the given ones is read.
 * No server include: fuzzed alone.  Nothing is allocated.
 */
#ifndef COZI_CURSOR_H
#define COZI_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COZI_CURSOR_FIELDS		255
#define COZI_CURSOR_MAX			(1024 * 1024)	/* bytes of text */

typedef enum CoziCursorKind
{
	COZI_CURSOR_NULL = 'n',
	COZI_CURSOR_INTEGER = 'i',
	COZI_CURSOR_FLOAT = 'f',
	COZI_CURSOR_INSTANT = 't',
	COZI_CURSOR_UUID = 'u',
	COZI_CURSOR_TEXT = 's'
} CoziCursorKind;

typedef struct CoziCursorField
{
	CoziCursorKind kind;
	int64_t		number;			/* an integer, an instant, the bits of a
								 * float8 */
	const char *bytes;			/* of a uuid or a text, without a NUL */
	size_t		len;
} CoziCursorField;

/* The bytes that the fields take at most, before base64url. */
extern size_t cozi_cursor_room(const CoziCursorField *fields, int n);

/*
 * Writes the fields into text, of COZI_BASE64URL_LENGTH(room) characters, with
 * the help of room bytes; returns the length of the text.
 */
extern size_t cozi_cursor_write(const CoziCursorField *fields, int n, unsigned char *bytes,
								char *text);

/*
 * Reads the text into at most COZI_CURSOR_FIELDS fields, which point into bytes,
 * of len * 3 / 4 + 3; returns their number, or -1 when the text is no cursor.
 */
extern int	cozi_cursor_read(const char *text, size_t len, unsigned char *bytes,
							 CoziCursorField *fields);

#endif							/* COZI_CURSOR_H */
