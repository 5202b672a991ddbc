/*
 * pure_cursor.c
 *		cursor.c and base64url.c alone, against cursors that nobody would write.
 *
 * Each round writes fields by chance and reads them back; then it changes the
 * bytes, mends the check in half of the rounds, and reads again.  Whatever comes
 * in: no byte outside the given ones is read (each text lies in a block of
 * exactly its size, so that the sanitizer sees one too many), and what is read
 * is written as the same text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pure/base64url.h"
#include "pure/cursor.h"
#include "pure/siphash.h"

#define MOST_BYTES 8192
#define CHECK_BYTES 4

static unsigned long long accepted,
			refused;
static unsigned long long state = 88172645463325252ULL;

static unsigned
below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned) (state >> 11) % n;
}

static void
claim(bool holds, const char *what)
{
	if (!holds)
	{
		printf("not ok 1 - %s\n", what);
		fflush(stdout);
		abort();
	}
}

/* Fields by chance; their bytes are in room. */
static int
make_fields(CoziCursorField *fields, char *room)
{
	static const char kinds[] = "niftus";
	int			n = below(8) ? below(5) : below(COZI_CURSOR_FIELDS + 1);

	for (int i = 0; i < n; i++)
	{
		memset(&fields[i], 0, sizeof(fields[i]));
		fields[i].kind = (CoziCursorKind) kinds[below(6)];
		if (strchr("ift", (char) fields[i].kind) != NULL)
			fields[i].number = (int64_t) (((uint64_t) below(1u << 31) << 33 | below(1u << 31)) >>
										  below(64)) * (below(2) ? 1 : -1);
		if (strchr("us", (char) fields[i].kind) != NULL)
		{
			fields[i].len = fields[i].kind == 'u' ? 16 : below(20);
			fields[i].bytes = room;
			for (size_t j = 0; j < fields[i].len; j++)
				*room++ = (char) below(256);
		}
	}
	return n;
}

static bool
same_field(const CoziCursorField *a, const CoziCursorField *b)
{
	return a->kind == b->kind && a->number == b->number && a->len == b->len &&
		(a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* Reads a text that lies in a block of its own; what is accepted is written again. */
static int
read_text(const char *text, size_t len, CoziCursorField *fields, unsigned char *bytes)
{
	char	   *copy = malloc(len ? len : 1);
	unsigned char *again = malloc(4 * MOST_BYTES + 32 * COZI_CURSOR_FIELDS);
	char	   *written = malloc(8 * MOST_BYTES + 64 * COZI_CURSOR_FIELDS);
	int			n;

	if (copy == NULL || again == NULL || written == NULL)
		abort();
	memcpy(copy, text, len);
	n = cozi_cursor_read(copy, len, bytes, fields);
	if (n >= 0)
	{
		accepted++;
		claim(cozi_cursor_write(fields, n, again, written) == len &&
			  memcmp(written, copy, len) == 0, "a cursor has one text");
	}
	else
		refused++;
	free(written);
	free(again);
	free(copy);
	return n;
}

/* The check of changed bytes, so that what follows the check is reached. */
static void
mend_check(unsigned char *bytes, size_t len)
{
	static const uint64_t key[2] = {UINT64_C(0x636f7a69), 1};
	uint32_t	check;

	if (len < CHECK_BYTES)
		return;
	check = (uint32_t) cozi_siphash(key, 0, bytes, len - CHECK_BYTES);
	for (int i = 0; i < CHECK_BYTES; i++)
		bytes[len - CHECK_BYTES + i] = (unsigned char) (check >> (24 - 8 * i));
}

static size_t
change(unsigned char *bytes, size_t len)
{
	for (unsigned changes = below(5); changes > 0 && len > 0; changes--)
	{
		size_t		at = below((unsigned) len);

		if (below(6) == 0)
			len = at;
		else if (below(6) == 0 && len < MOST_BYTES)
		{
			memmove(bytes + at + 1, bytes + at, len - at);
			len++;
		}
		else
			bytes[at] = below(2) ? (unsigned char) below(256) : bytes[at] ^ (1 << below(8));
	}
	return len;
}

static void
one_round(void)
{
	static char room[COZI_CURSOR_FIELDS * 20];
	static CoziCursorField fields[COZI_CURSOR_FIELDS],
				read[COZI_CURSOR_FIELDS];
	static unsigned char bytes[2 * MOST_BYTES];
	static char text[4 * MOST_BYTES];
	static unsigned char place[4 * MOST_BYTES];
	int			n = make_fields(fields, room);
	size_t		len;

	claim(cozi_cursor_room(fields, n) <= sizeof(bytes), "the room is what the harness has");
	len = cozi_cursor_write(fields, n, bytes, text);
	claim(len <= COZI_BASE64URL_LENGTH(cozi_cursor_room(fields, n)), "a cursor fits in its room");
	claim(read_text(text, len, read, place) == n, "what was written is read");
	for (int i = 0; i < n; i++)
		claim(same_field(&fields[i], &read[i]), "a field is read as it was written");

	len = cozi_base64url(text, len, bytes, sizeof(bytes));
	len = change(bytes, len);
	if (below(2))
		mend_check(bytes, len);
	(void) read_text(text, cozi_base64url_write(bytes, len, text), read, place);
	len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
	text[below((unsigned) len + 1)] = (char) below(256);
	(void) read_text(text, len, read, place);
}

int
main(int argc, char **argv)
{
	unsigned long long rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;

	for (unsigned long long i = 0; i < rounds; i++)
		one_round();
	printf("ok 1 - every cursor is read as it was written, and none beyond its end\n");
	/* the harness must get beyond the check, or it tests nothing */
	printf("%sok 2 - some changed cursors are accepted, most are refused\n",
		   accepted > rounds + rounds / 100 && refused > rounds ? "" : "not ");
	fprintf(stderr, "%llu rounds: %llu accepted, %llu refused\n", rounds, accepted, refused);
	return 0;
}
