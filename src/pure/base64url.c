/*
 * pure/base64url.c
 *		base64url without padding: see base64url.h.
 */
#include "pure/base64url.h"

/* What each character of base64url stands for, plus one; 0: it is none. */
static const unsigned char digit_of[256] = {
	['A'] = 1,['B'] = 2,['C'] = 3,['D'] = 4,['E'] = 5,['F'] = 6,['G'] = 7,['H'] = 8,
	['I'] = 9,['J'] = 10,['K'] = 11,['L'] = 12,['M'] = 13,['N'] = 14,['O'] = 15,['P'] = 16,
	['Q'] = 17,['R'] = 18,['S'] = 19,['T'] = 20,['U'] = 21,['V'] = 22,['W'] = 23,['X'] = 24,
	['Y'] = 25,['Z'] = 26,['a'] = 27,['b'] = 28,['c'] = 29,['d'] = 30,['e'] = 31,['f'] = 32,
	['g'] = 33,['h'] = 34,['i'] = 35,['j'] = 36,['k'] = 37,['l'] = 38,['m'] = 39,['n'] = 40,
	['o'] = 41,['p'] = 42,['q'] = 43,['r'] = 44,['s'] = 45,['t'] = 46,['u'] = 47,['v'] = 48,
	['w'] = 49,['x'] = 50,['y'] = 51,['z'] = 52,['0'] = 53,['1'] = 54,['2'] = 55,['3'] = 56,
	['4'] = 57,['5'] = 58,['6'] = 59,['7'] = 60,['8'] = 61,['9'] = 62,['-'] = 63,['_'] = 64,
};

/* Is it one of the characters? */
bool
cozi_is_base64url(char c)
{
	return digit_of[(unsigned char) c] != 0;
}

/*
 * base64url without padding (RFC 7515 section 2): the length, or -1.  There
 * is one way to write given bytes: bits beyond the last byte must be 0.
 */
int
cozi_base64url(const char *text, size_t len, unsigned char *out, size_t size)
{
	const unsigned char *in = (const unsigned char *) text;
	size_t		n = 0;
	size_t		i = 0;
	uint32_t	a,
				b,
				c,
				d;

	if (len % 4 == 1 || len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0) > size)
		return -1;
	for (; i + 4 <= len; i += 4)
	{
		a = digit_of[in[i]];
		b = digit_of[in[i + 1]];
		c = digit_of[in[i + 2]];
		d = digit_of[in[i + 3]];
		if (a == 0 || b == 0 || c == 0 || d == 0)
			return -1;
		a = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
		out[n++] = (unsigned char) (a >> 16);
		out[n++] = (unsigned char) (a >> 8);
		out[n++] = (unsigned char) a;
	}
	if (i == len)
		return (int) n;

	/* two digits are one byte and four bits, three are two bytes and two */
	a = digit_of[in[i]];
	b = digit_of[in[i + 1]];
	c = i + 3 == len ? digit_of[in[i + 2]] : 1;
	if (a == 0 || b == 0 || c == 0)
		return -1;
	a = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6;
	out[n++] = (unsigned char) (a >> 16);
	if (i + 3 == len)
		out[n++] = (unsigned char) (a >> 8);
	return (a & (i + 3 == len ? 0xFF : 0xFFFF)) == 0 ? (int) n : -1;
}

/* Writes the bytes; returns how many characters that are.  No NUL is added. */
size_t
cozi_base64url_write(const unsigned char *bytes, size_t len, char *out)
{
	static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char	   *to = out;

	for (size_t i = 0; i < len; i += 3)
	{
		size_t		left = len - i;
		uint32_t	word = (uint32_t) bytes[i] << 16;

		if (left > 1)
			word |= (uint32_t) bytes[i + 1] << 8;
		if (left > 2)
			word |= bytes[i + 2];
		*to++ = digits[word >> 18];
		*to++ = digits[word >> 12 & 63];
		if (left > 1)
			*to++ = digits[word >> 6 & 63];
		if (left > 2)
			*to++ = digits[word & 63];
	}
	return to - out;
}
