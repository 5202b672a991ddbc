/*
 * pure/json_string.c
 *		The strings of a JSON object: escapes, surrogates and UTF-8.
 *
 * The law: what a string says is never longer than what was written, so that
 * a buffer as long as the document holds it.
 */
#include "pure/json.h"

#include <string.h>

/* Four hexadecimal digits, or -1. */
static int
hex4(const char *s, const char *end)
{
	int			value = 0;

	if (end - s < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = s[i];

		value <<= 4;
		if (c >= '0' && c <= '9')
			value += c - '0';
		else if (c >= 'a' && c <= 'f')
			value += c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			value += c - 'A' + 10;
		else
			return -1;
	}
	return value;
}

static int
put_utf8(char *out, uint32_t c)
{
	if (c < 0x80)
	{
		out[0] = (char) c;
		return 1;
	}
	if (c < 0x800)
	{
		out[0] = (char) (0xC0 | c >> 6);
		out[1] = (char) (0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000)
	{
		out[0] = (char) (0xE0 | c >> 12);
		out[1] = (char) (0x80 | (c >> 6 & 0x3F));
		out[2] = (char) (0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | c >> 18);
	out[1] = (char) (0x80 | (c >> 12 & 0x3F));
	out[2] = (char) (0x80 | (c >> 6 & 0x3F));
	out[3] = (char) (0x80 | (c & 0x3F));
	return 4;
}

/* The length of a well-formed UTF-8 character (Unicode table 3-7), or 0. */
static int
utf8_length(const unsigned char *s, const unsigned char *end)
{
	unsigned char low = 0x80,
				high = 0xBF;
	int			n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xC2 && s[0] <= 0xDF)
		n = 2;
	else if (s[0] >= 0xE0 && s[0] <= 0xEF)
		n = 3;
	else if (s[0] >= 0xF0 && s[0] <= 0xF4)
		n = 4;
	else
		return 0;
	if (end - s < n)
		return 0;
	if (s[0] == 0xE0)
		low = 0xA0;				/* overlong */
	else if (s[0] == 0xED)
		high = 0x9F;			/* surrogates */
	else if (s[0] == 0xF0)
		low = 0x90;				/* overlong */
	else if (s[0] == 0xF4)
		high = 0x8F;			/* beyond U+10FFFF */
	if (s[1] < low || s[1] > high)
		return 0;
	for (int i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xBF)
			return 0;
	return n;
}

/* The escape after a backslash: its character into *c, past it in json->at. */
static bool
read_escape(CoziJson *json, uint32_t *c)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	int			unit,
				low;

	if (json->at == json->end || *json->at == '\0')
		return cozi_json_fail(json, "invalid JSON: string not closed");
	if (*json->at != 'u')
	{
		found = strchr(from, *json->at);
		if (found == NULL)
			return cozi_json_fail(json, "invalid JSON: unknown escape");
		json->at++;
		*c = (unsigned char) to[found - from];
		return true;
	}
	unit = hex4(json->at + 1, json->end);
	if (unit < 0)
		return cozi_json_fail(json, "invalid JSON: bad \\u escape");
	json->at += 5;
	if (unit == 0)
		return cozi_json_fail(json, "invalid JSON: NUL character");
	if (unit >= 0xDC00 && unit <= 0xDFFF)
		return cozi_json_fail(json, "invalid JSON: lone surrogate");
	*c = (uint32_t) unit;
	if (unit < 0xD800 || unit > 0xDBFF)
		return true;
	if (json->end - json->at < 6 || json->at[0] != '\\' || json->at[1] != 'u')
		return cozi_json_fail(json, "invalid JSON: lone surrogate");
	low = hex4(json->at + 2, json->end);
	if (low < 0xDC00 || low > 0xDFFF)
		return cozi_json_fail(json, "invalid JSON: lone surrogate");
	json->at += 6;
	*c = 0x10000 + (((uint32_t) unit - 0xD800) << 10) + ((uint32_t) low - 0xDC00);
	return true;
}

/* A character that stands for itself, in any encoding. */
static inline bool
is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Is one of eight bytes below that byte, which is 0x80 at most? */
static inline bool
has_less(uint64_t word, uint64_t byte)
{
	return ((word - EACH_BYTE(byte)) & ~word & EACH_BYTE(0x80)) != 0;
}

/* Past the characters that stand for themselves. */
static inline const char *
skip_plain(const char *at, const char *end)
{
	while (end - at >= 8)
	{
		uint64_t	word;

		memcpy(&word, at, 8);
		if ((word & EACH_BYTE(0x80)) != 0 || has_less(word, 0x20) ||
			has_less(word ^ EACH_BYTE('"'), 1) || has_less(word ^ EACH_BYTE('\\'), 1))
			break;
		at += 8;
	}
	while (at < end && is_plain((unsigned char) *at))
		at++;
	return at;
}

/*
 * A string whose opening quote was read.  What it says goes to out, where
 * that is not NULL: never more bytes than were written here.
 */
bool
cozi_json_read_string(CoziJson *json, char *out, int *out_len)
{
	int			n = 0;

	for (;;)
	{
		const char *run = json->at;
		unsigned char byte;
		int			len;
		char		utf8[4];
		uint32_t	c;

		json->at = skip_plain(json->at, json->end);
		len = (int) (json->at - run);
		if (out)
			memcpy(out + n, run, len);
		n += len;
		if (json->at == json->end)
			return cozi_json_fail(json, "invalid JSON: string not closed");
		byte = (unsigned char) *json->at;
		if (byte == '"')
		{
			json->at++;
			if (out_len)
				*out_len = n;
			return true;
		}
		if (byte < 0x20)
			return cozi_json_fail(json, "invalid JSON: control character");
		if (byte == '\\')
		{
			json->at++;
			if (!read_escape(json, &c))
				return false;
			if (c >= 0x80 && json->bytes == COZI_JSON_ASCII)
				return cozi_json_fail(json,
									  "a character beyond ASCII, in a database that is not UTF8");
			len = put_utf8(utf8, c);
			if (out)
				memcpy(out + n, utf8, len);
			n += len;
			continue;
		}
		/* what is left begins a character beyond ASCII */
		if (json->bytes == COZI_JSON_ASCII)
			return cozi_json_fail(json, "a character beyond ASCII, in a database that is not UTF8");
		len = 1;
		if (json->bytes == COZI_JSON_UTF8)
			len = utf8_length((const unsigned char *) json->at, (const unsigned char *) json->end);
		if (len == 0)
			return cozi_json_fail(json, "invalid UTF-8");
		if (out)
			memcpy(out + n, json->at, len);
		n += len;
		json->at += len;
	}
}
