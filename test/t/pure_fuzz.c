/*
 * pure_fuzz.c
 *		json.c, json_string.c and jws.c alone, against tokens that nobody would write.
 *
 * Seeds are good documents; each round changes one in a few places, by the
 * byte, by the token, by the length, the same way on every machine.  Whatever
 * comes in: no byte outside the given ones is read (each input lies in a
 * block of exactly its size, so that the sanitizer sees one too many), the
 * same input gives the same answer, and what is accepted is right by rules
 * written a second time here.
 *
 * Compiled with -DFUZZER it is a target of libFuzzer instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pure/base64url.h"
#include "pure/jws.h"
#include "pure/siphash.h"

static unsigned long long rounds_accepted,
			tokens_accepted,
			lines_masked;

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

/* Nothing in the text that no JSON may have, outside and inside of strings. */
static void
check_accepted(const char *s, size_t len)
{
	bool		in_string = false;
	int			depth = 0,
				deepest = 0;

	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) s[i];

		claim(c != 0, "no NUL is accepted");
		claim(!in_string || c >= 0x20, "no control character is accepted in a string");
		claim(c != 0xC0 && c != 0xC1 && c < 0xF5, "no byte that UTF-8 has not is accepted");
		if (in_string && c == '\\')
		{
			claim(i + 1 < len, "a string is closed");
			claim(i + 5 >= len || memcmp(s + i, "\\u0000", 6) != 0, "no escaped NUL is accepted");
			i++;
		}
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string)
		{
			claim(c < 0x80, "nothing beyond ASCII is accepted outside of strings");
			claim(strchr("{}[]:,-+.eE0123456789truefalsn \t\r\n", c) != NULL,
				  "no other character is accepted outside of strings");
			if (c == '{' || c == '[')
				depth++;
			if (c == '}' || c == ']')
				depth--;
			if (depth > deepest)
				deepest = depth;
			claim(depth >= 0, "brackets match");
		}
	}
	claim(!in_string && depth == 0, "all is closed");
	claim(deepest <= COZI_JSON_MAX_DEPTH, "it is not deeper than allowed");
}

static void
check_members(const CoziJson *json, const char *s, size_t len)
{
	char		buf[COZI_JSON_MAX_SIZE];

	for (int i = 0; i < json->nmembers; i++)
	{
		const CoziJsonMember *m = &json->members[i];
		int64_t		seconds = -1;
		bool		strings;

		claim(m->value >= s && m->value + m->value_len <= s + len, "values lie in the text");
		claim(m->name >= json->names && m->name + m->name_len <= json->names + sizeof(json->names),
			  "names lie in their room");
		for (int j = 0; j < i; j++)
			claim(m->name_len != json->members[j].name_len ||
				  memcmp(m->name, json->members[j].name, m->name_len) != 0,
				  "no name is accepted twice");
		claim((cozi_json_string(m, buf, sizeof(buf)) >= 0) == (m->kind == COZI_JSON_STRING),
			  "strings can be read, and they alone");
		(void) cozi_json_string(m, buf, 3);
		if (cozi_json_seconds(m, &seconds))
			claim(m->kind == COZI_JSON_NUMBER && seconds >= 0 && seconds <= INT64_C(253402300799),
				  "times are in range");
		(void) cozi_json_contains(m, "web", &strings);
	}
}

static void
one_document(const char *s, size_t len)
{
	static CoziJson json,
				again;
	static const CoziJsonBytes kinds[] = {COZI_JSON_UTF8, COZI_JSON_ASCII, COZI_JSON_TRUSTED};
	static const char *const audiences[] = {"app", "web"};
	const CoziClaimRules rules = {"https://issuer.example", false, audiences, 2, false, 30, 86400};
	const CoziClaimRules none = {NULL, false, NULL, 0, true, 3600, 0};
	const char *errors[3];

	for (int i = 0; i < 3; i++)
	{
		errors[i] = cozi_json_read(&json, s, len, kinds[i]);
		claim(errors[i] == cozi_json_read(&again, s, len, kinds[i]),
			  "the same text gives the same answer");
		if (errors[i] == NULL)
			check_members(&json, s, len);
	}
	claim(errors[1] != NULL || errors[0] == NULL, "ASCII is UTF-8");
	claim(errors[0] != NULL || errors[2] == NULL, "UTF-8 is some encoding");
	if (errors[0] == NULL)
	{
		check_accepted(s, len);
		rounds_accepted++;
	}
	if (cozi_json_read(&json, s, len, COZI_JSON_UTF8) == NULL &&
		cozi_claims_check(&json, &rules, 1767225600) == NULL)
	{
		const CoziJsonMember *sub = cozi_json_member(&json, "sub");

		claim(sub && sub->kind == COZI_JSON_STRING && sub->value_len > 2,
			  "an accepted token has a subject");
		claim(cozi_json_member(&json, "exp") != NULL, "and an end");
		claim(cozi_json_equals(cozi_json_member(&json, "iss"), "https://issuer.example"),
			  "and the issuer");
		claim(cozi_json_member(&json, "events") == NULL, "it is no security event");
		claim(cozi_claims_check(&json, &none, 1767225600) == NULL,
			  "it is accepted under weaker rules");
	}
}

static void
one_token(const char *s, size_t len)
{
	static CoziJws jws;

	if (cozi_jws_read(&jws, s, len) == NULL)
	{
		tokens_accepted++;
		claim(len <= COZI_TOKEN_MAX && jws.signature_len > 0, "a token has a signature and a size");
		claim(jws.signed_part == s && jws.signed_len < len && s[jws.signed_len] == '.',
			  "what is signed is its beginning");
		claim(jws.payload[jws.payload_len] == '\0', "the payload ends in a NUL");
		for (size_t i = 0; i < len; i++)
			claim(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", s[i])
					  != NULL && s[i],
				  "no other character is in a token");
		claim(cozi_json_member(&jws.json, "crit") == NULL, "no extension is asked for");
	}
}

/* What the log masks: signatures, all of them, and nothing outside the text. */
static void
one_line(const char *s, size_t len)
{
	char	   *line = malloc(len + 1);
	const char *found;
	size_t		n;

	if (line == NULL)
		abort();
	memcpy(line, s, len);
	line[len] = '\0';
	while ((found = cozi_find_signature(line, &n)) != NULL)
	{
		claim(n >= 40 && found > line && found[-1] == '.' && found + n <= line + strlen(line),
			  "a signature lies in the line");
		memset(line + (found - line), '*', n);
		lines_masked++;
	}
	(void) cozi_media_type_is(line, "application/at+jwt");
	claim(cozi_media_type_is(line, line), "a type is itself");
	free(line);
}

static void
one_input(const unsigned char *data, size_t len)
{
	/* a block of its own, so that one byte too many is seen */
	char	   *copy = malloc(len ? len : 1);
	unsigned char *bytes = malloc(COZI_TOKEN_MAX);

	if (copy == NULL || bytes == NULL)
		abort();
	memcpy(copy, data, len);
	one_document(copy, len);
	one_token(copy, len);
	one_line(copy, len);
	(void) cozi_base64url(copy, len, bytes, COZI_TOKEN_MAX);
	(void) cozi_base64url(copy, len, bytes, 7);
	free(bytes);
	free(copy);
}

#ifdef FUZZER
int			LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t len)
{
	one_input(data, len);
	return 0;
}
#else

static const char *const seeds[] = {
	"{\"sub\":\"ann\",\"exp\":1767226200}",
	"{\"sub\":\"ann\",\"exp\":1767226200,\"iss\":\"https://issuer.example\",\"aud\":[\"app\","
	"\"web\"],\"nbf\":1767225600,\"iat\":1767225600.5}",
	"{ \"sub\" : \"\\u0041\\\"\\ud83d\\ude00\\n\" , \"a\" : { \"b\" : [ 1 , -2.5e+3 , true , "
	"false , null , { } , [ ] ] } }",
	"{\"a\":{\"a\":{\"a\":[[[[[[[[[[[[{\"b\":1,\"c\":2}]]]]]]]]]]]]}}}",
	"{\"k\xc3\xa4the\":\"\xe2\x82\xac\xf0\x9f\x98\x80\",\"x\":0.10,\"y\":1e308,"
	"\"z\":12345678901234567890}",
	"eyJhbGciOiJIUzI1NiIsImtpZCI6Im9sZCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9."
	"Xj-LzU6NC8pxxSkOplHOy60fxyB_AZUGbLnvsGAAAAA",
	"{\"sub\":\"ann\",\"exp\":1767226200,\"iss\":\"https://issuer.example\","
	"\"client_id\":\"web\",\"azp\":\"app\",\"typ\":\"Bearer\",\"token_use\":\"access\"}",
	"SELECT login('eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ."
	"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'), 'a.eyJh.eyJz."
	"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'",
	"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ."
	"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
};

static const char *const pieces[] = {
	"\"", "\\", "\\u", "\\u0000", "\\ud800", "\\udc00", "{", "}", "[", "]", ":", ",", ".", "-",
	"0", "1", "e9", "E+308", "NaN", "Infinity",
	"true", "null", "\"sub\":", "\"exp\":", "\"exp\":1767226200,", "\"aud\":\"web\"", "\xff",
	"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82",
	" ", "\t", "\n", "\x01", "\x7f", "{\"a\":", "[[[[[[[[[[[[[[[[", "AAAA", "=", "==", "e30",
	"/*", "//", "'", "99999999999999999999",
};

static unsigned long long state = 88172645463325252ULL;

static unsigned
below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned) (state >> 11) % n;
}

static size_t
mutate(unsigned char *buf, size_t len, size_t room)
{
	static const unsigned char zeros[1] = {0};
	unsigned	changes = 1 + below(6);

	while (changes-- > 0)
	{
		size_t		at = below((unsigned) len + 1);
		const char *piece = pieces[below(sizeof(pieces) / sizeof(pieces[0]))];
		size_t		n = strlen(piece);

		switch (below(7))
		{
			case 0:				/* another byte */
				if (at < len)
					buf[at] = (unsigned char) below(256);
				break;
			case 1:				/* one bit */
				if (at < len)
					buf[at] ^= (unsigned char) (1 << below(8));
				break;
			case 2:				/* something goes */
				n = below(8) + 1;
				if (at + n <= len)
				{
					memmove(buf + at, buf + at + n, len - at - n);
					len -= n;
				}
				break;
			case 3:				/* something comes */
			case 4:
				if (len + n <= room)
				{
					memmove(buf + at + n, buf + at, len - at);
					memcpy(buf + at, piece, n);
					len += n;
				}
				break;
			case 5:				/* a part again */
				n = below((unsigned) (len - at) + 1);
				if (len + n <= room)
				{
					memmove(buf + at + n, buf + at, len - at);
					len += n;
				}
				break;
			default:			/* the end, or a NUL */
				if (below(2))
					len = at;
				else if (len < room)
					buf[len++] = zeros[0];
		}
	}
	return len;
}

/* SipHash-2-4-128: what "openssl mac SIPHASH" says of 0, 1, 2 ... */
static void
sip_vectors(void)
{
	static const struct
	{
		size_t		len;
		unsigned char hash[16];
	}			vector[] = {
		{8, {0x3B, 0x62, 0xA9, 0xBA, 0x62, 0x58, 0xF5, 0x61,
				0x0F, 0x83, 0xE2, 0x64, 0xF3, 0x14, 0x97, 0xB4}},
		{9, {0x26, 0x44, 0x99, 0x06, 0x0A, 0xD9, 0xBA, 0xAB,
				0xC4, 0x7F, 0x8B, 0x02, 0xBB, 0x6D, 0x71, 0xED}},
		{24, {0x2D, 0xB4, 0x79, 0xAE, 0x78, 0xBD, 0x50, 0xD8,
				0x88, 0x2A, 0x8A, 0x17, 0x8A, 0x61, 0x32, 0xAD}},
		{63, {0x51, 0x50, 0xD1, 0x77, 0x2F, 0x50, 0x83, 0x4A,
				0x50, 0x3E, 0x06, 0x9A, 0x97, 0x3F, 0xBD, 0x7C}}
	};
	unsigned char bytes[64];
	uint64_t	seed[2],
				first,
				hash[2];
	bool		good = true;

	for (int i = 0; i < 64; i++)
		bytes[i] = (unsigned char) i;
	memcpy(seed, bytes, 16);
	memcpy(&first, bytes, 8);
	for (size_t i = 0; i < sizeof(vector) / sizeof(vector[0]); i++)
	{
		cozi_siphash128(seed, first, bytes + 8, vector[i].len - 8, hash);
		good &= memcmp(hash, vector[i].hash, 16) == 0;
	}
	printf("%sok 5 - SipHash of 128 bits is what OpenSSL says\n", good ? "" : "not ");
}

int
main(int argc, char **argv)
{
	unsigned long long rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
	static unsigned char buf[COZI_JSON_MAX_SIZE + 64];
	const size_t nseeds = sizeof(seeds) / sizeof(seeds[0]);

	for (size_t i = 0; i < nseeds; i++)
		for (size_t len = 0; len <= strlen(seeds[i]); len++)
			one_input((const unsigned char *) seeds[i], len);
	printf("ok 1 - every seed, cut anywhere\n");
	for (unsigned long long i = 0; i < rounds; i++)
	{
		const char *seed = seeds[below((unsigned) nseeds)];
		size_t		len = strlen(seed);

		memcpy(buf, seed, len);
		len = mutate(buf, len, i % 16 ? 1024 : sizeof(buf));
		one_input(buf, len);
	}
	printf("ok 2 - every change of them\n");
	/* the harness must get beyond the first byte, or it tests nothing */
	printf("%sok 3 - some were accepted, most were not\n",
		   rounds_accepted > rounds / 100 && tokens_accepted > rounds / 1000 &&
			  rounds_accepted < rounds ? "" : "not ");
	printf("%sok 4 - signatures were found in lines\n", lines_masked > rounds / 100 ? "" : "not ");
	sip_vectors();
	fprintf(stderr, "%llu rounds: %llu documents and %llu tokens accepted\n",
			rounds, rounds_accepted, tokens_accepted);
	return 0;
}
#endif
