/*
 * pure/jws.c
 *		Taking tokens apart and judging their claims: see jws.h.
 *
 * What is refused beyond the RFCs' own rules: any header that asks for an
 * extension (crit, b64, zip), a token without sub or exp, a subject that is
 * not a string.  What is ignored, as RFC 7515 section 4.1 allows: jku, jwk,
 * x5u, x5c, typ, cty; a key is never taken from a token.
 */
#include "pure/jws.h"

#include <string.h>

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

static const char *
read_header(CoziJws *jws, const char *text, size_t len)
{
	static const char *const refused[] = {"crit", "b64", "zip"};
	const CoziJsonMember *kid;
	const char *error;

	/* the names point into jws->json, the values into text */
	error = cozi_json_read(&jws->json, text, len, COZI_JSON_UTF8);
	if (error)
		return error;
	for (int i = 0; i < 3; i++)
		if (cozi_json_member(&jws->json, refused[i]))
			return "the header asks for an extension (crit, b64 or zip)";
	if (cozi_json_string(cozi_json_member(&jws->json, "alg"), jws->alg, sizeof(jws->alg)) < 0)
		return "the header has no alg that is a short string";
	kid = cozi_json_member(&jws->json, "kid");
	jws->has_kid = kid != NULL;
	if (jws->has_kid && cozi_json_string(kid, jws->kid, sizeof(jws->kid)) < 0)
		return "the header's kid is not a string, or too long";
	return NULL;
}

/* Take a token apart; nothing of it is to be believed yet. */
const char *
cozi_jws_read(CoziJws *jws, const char *token, size_t len)
{
	const char *end = token + len;
	const char *dot1,
			   *dot2;
	int			header_len;
	const char *error;

	if (len == 0)
		return "the token is empty";
	if (len > COZI_TOKEN_MAX)
		return "the token is longer than 8 kB";
	dot1 = memchr(token, '.', len);
	dot2 = dot1 ? memchr(dot1 + 1, '.', end - dot1 - 1) : NULL;
	if (dot2 == NULL || memchr(dot2 + 1, '.', end - dot2 - 1))
		return "the token has not three parts";

	/* the payload's room serves the header first */
	header_len = cozi_base64url(token, dot1 - token, (unsigned char *) jws->payload, sizeof(jws->payload) - 1);
	if (header_len < 0)
		return "the header is not base64url";
	error = read_header(jws, jws->payload, header_len);
	if (error)
		return error;

	jws->payload_len = cozi_base64url(dot1 + 1, dot2 - dot1 - 1, (unsigned char *) jws->payload,
									  sizeof(jws->payload) - 1);
	if (jws->payload_len < 0)
		return "the payload is not base64url";
	jws->payload[jws->payload_len] = '\0';
	jws->signature_len = cozi_base64url(dot2 + 1, end - dot2 - 1, jws->signature, sizeof(jws->signature));
	if (jws->signature_len < 0)
		return "the signature is not base64url, or too long";
	if (jws->signature_len == 0)
		return "the token is not signed";
	jws->signed_part = token;
	jws->signed_len = (int) (dot2 - token);
	return NULL;
}

static const char *
check_times(const CoziJson *json, const CoziClaimRules *rules, int64_t now)
{
	const CoziJsonMember *nbf = cozi_json_member(json, "nbf");
	const CoziJsonMember *iat = cozi_json_member(json, "iat");
	int64_t		exp,
				at;

	if (!cozi_json_seconds(cozi_json_member(json, "exp"), &exp))
		return "exp is missing, or not a number of seconds";
	if (now >= exp + rules->leeway)
		return "the token has expired";
	if (rules->max_lifetime > 0 && exp - now > rules->max_lifetime + rules->leeway)
		return "exp is further away than cozi.jwt_max_lifetime";
	if (nbf)
	{
		if (!cozi_json_seconds(nbf, &at))
			return "nbf is not a number of seconds";
		if (at > now + rules->leeway)
			return "the token is not valid yet (nbf)";
	}
	if (iat)
	{
		if (!cozi_json_seconds(iat, &at))
			return "iat is not a number of seconds";
		if (at > now + rules->leeway)
			return "the token was issued in the future (iat)";
		if (rules->max_lifetime > 0 && exp - at > rules->max_lifetime)
			return "the token's lifetime is longer than cozi.jwt_max_lifetime";
	}
	return NULL;
}

/*
 * Judge the claims of a payload whose signature is right, at an instant in
 * Unix seconds; leaves them in *json.
 */
const char *
cozi_claims_check(CoziJson *json, const char *payload, size_t len, CoziJsonBytes bytes,
				  const CoziClaimRules *rules, int64_t now)
{
	const CoziJsonMember *sub,
			   *iss,
			   *aud;
	const char *error;
	bool		strings;

	error = cozi_json_read(json, payload, len, bytes);
	if (error)
		return error;
	sub = cozi_json_member(json, "sub");
	if (sub == NULL || sub->kind != COZI_JSON_STRING || sub->value_len == 2)
		return "sub is missing, empty or not a string";
	error = check_times(json, rules, now);
	if (error)
		return error;

	iss = cozi_json_member(json, "iss");
	if (iss && iss->kind != COZI_JSON_STRING)
		return "iss is not a string";
	if (rules->issuer && !cozi_json_equals(iss, rules->issuer))
		return "iss is not cozi.jwt_issuer";
	aud = cozi_json_member(json, "aud");
	if (aud && !cozi_json_contains(aud, "", &strings) && !strings)
		return "aud is neither a string nor an array of strings";
	if (rules->audience && !cozi_json_contains(aud, rules->audience, &strings))
		return "aud does not name cozi.jwt_audience";
	return NULL;
}
