/*
 * pure/jws.c
 *		Taking tokens apart and judging their claims: see jws.h.
 *
 * What is refused beyond the RFCs' own rules: any header that asks for an
 * extension (crit, b64, zip), a token without sub or exp, a subject that is
 * not a string; a token that says of itself that it is for something else than
 * a login (RFC 8725 sections 3.11 and 3.12).  What is ignored, as RFC 7515
 * section 4.1 allows: jku, jwk, x5u, x5c, cty; a key is never taken from a
 * token.  The caller judges typ.
 */
#include "pure/jws.h"

#include <string.h>

#include "pure/base64url.h"

static const char *
read_header(CoziJws *jws, const char *text, size_t len)
{
	static const char *const refused[] = {"crit", "b64", "zip"};
	const CoziJsonMember *kid,
			   *typ;
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
	typ = cozi_json_member(&jws->json, "typ");
	jws->has_typ = typ != NULL;
	if (jws->has_typ && cozi_json_string(typ, jws->typ, sizeof(jws->typ)) < 0)
		return "the header's typ is not a short string";
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
	header_len = cozi_base64url(token, dot1 - token, (unsigned char *) jws->payload,
								sizeof(jws->payload) - 1);
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
	jws->signature_len = cozi_base64url(dot2 + 1, end - dot2 - 1, jws->signature,
										sizeof(jws->signature));
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

/* Are the two equal, but for the case of ASCII letters? */
static bool
equal_without_case(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
	{
		char		x = *a >= 'A' && *a <= 'Z' ? *a - 'A' + 'a' : *a;
		char		y = *b >= 'A' && *b <= 'Z' ? *b - 'A' + 'a' : *b;

		if (x != y)
			return false;
	}
	return *a == *b;
}

/* A media type without the "application/" that typ may leave out. */
static const char *
short_type(const char *type)
{
	static const char prefix[] = "application/";
	char		head[sizeof(prefix)];

	if (strlen(type) < sizeof(prefix) - 1)
		return type;
	memcpy(head, type, sizeof(prefix) - 1);
	head[sizeof(prefix) - 1] = '\0';
	return equal_without_case(head, prefix) ? type + sizeof(prefix) - 1 : type;
}

/* Do the two name one media type (RFC 7515 section 4.1.9)? */
bool
cozi_media_type_is(const char *type, const char *want)
{
	return equal_without_case(short_type(type), short_type(want));
}

/* Is the claim one of these words, in any case? */
static bool
claim_is(const CoziJson *json, const char *name, const char *const *words)
{
	char		value[32];

	if (cozi_json_string(cozi_json_member(json, name), value, sizeof(value)) < 0)
		return false;
	for (; *words; words++)
		if (equal_without_case(value, *words))
			return true;
	return false;
}

/*
 * What issuers write into tokens that are no logins: Keycloak typ, Cognito
 * token_use, libraries that issue their own tokens token_type or type; a
 * security event (RFC 8417) and a logout token have events.
 */
static const char *
check_claimed_kind(const CoziJson *json, const CoziClaimRules *rules)
{
	static const char *const claims[] = {"typ", "token_use", "token_type", "type"};
	static const char *const others[] = {"refresh", "offline", "logout", NULL};
	static const char *const ids[] = {"id", "id_token", NULL};

	if (cozi_json_member(json, "events"))
		return "the token is a security event, not a login";
	for (int i = 0; i < 4; i++)
		if (claim_is(json, claims[i], others))
			return "the token says that it is for something else than a login";
	for (int i = 0; i < 3 && !rules->id_tokens; i++)
		if (claim_is(json, claims[i], ids))
			return "the token is an identity token, which its issuer was not added for";
	return NULL;
}

/* Does the member name one of the audiences? */
static bool
names_audience(const CoziJsonMember *member, const CoziClaimRules *rules)
{
	bool		strings;

	for (int i = 0; i < rules->naudiences; i++)
		if (cozi_json_contains(member, rules->audiences[i], &strings))
			return true;
	return false;
}

/* Some issuers name no audience but the client that the token is for. */
static const char *
check_audience(const CoziJson *json, const CoziClaimRules *rules)
{
	static const char *const clients[] = {"client_id", "azp"};
	const CoziJsonMember *aud = cozi_json_member(json, "aud");
	bool		strings;

	if (aud && !cozi_json_contains(aud, "", &strings) && !strings)
		return "aud is neither a string nor an array of strings";
	if (rules->naudiences == 0 || names_audience(aud, rules))
		return NULL;
	for (int i = 0; i < 2 && aud == NULL; i++)
	{
		const CoziJsonMember *client = cozi_json_member(json, clients[i]);

		if (client && client->kind == COZI_JSON_STRING)
			return names_audience(client, rules) ? NULL
				: "the token names no audience, and another client";
	}
	return rules->bound ? "aud does not name an audience of the key"
		: "aud does not name cozi.jwt_audience";
}

/* Judge claims at an instant in Unix seconds. */
const char *
cozi_claims_check(const CoziJson *json, const CoziClaimRules *rules, int64_t now)
{
	const CoziJsonMember *sub = cozi_json_member(json, "sub");
	const CoziJsonMember *iss = cozi_json_member(json, "iss");
	const char *error;

	if (sub == NULL || sub->kind != COZI_JSON_STRING || sub->value_len == 2)
		return "sub is missing, empty or not a string";
	error = check_times(json, rules, now);
	if (error)
		return error;
	if (iss && iss->kind != COZI_JSON_STRING)
		return "iss is not a string";
	if (rules->issuer && !cozi_json_equals(iss, rules->issuer))
		return rules->bound ? "iss is not the issuer of the key" : "iss is not cozi.jwt_issuer";
	error = check_audience(json, rules);
	return error ? error : check_claimed_kind(json, rules);
}

/*
 * Returns where the signature of the first token in a text begins, and its
 * length; NULL where there is no token.  A token begins as its header does,
 * with a brace in base64url.
 */
const char *
cozi_find_signature(const char *text, size_t * len)
{
	const		size_t shortest = 40;	/* one of HS256 has 43 characters */
	const char *run = text;

	while (*run)
	{
		const char *part = run;
		int			dots = 0;

		if (!cozi_is_base64url(*run))
		{
			run++;
			continue;
		}
		for (;;)
		{
			const char *end = part;

			while (cozi_is_base64url(*end))
				end++;
			*len = end - part;
			if (dots == 2 || *end != '.' || *len == 0)
			{
				if (dots == 2 && *len >= shortest &&
					run[0] == 'e' && (run[1] == 'y' || run[1] == 'w'))
					return part;
				run = dots == 0 ? end : strchr(run, '.') + 1;
				break;
			}
			dots++;
			part = end + 1;
		}
	}
	return NULL;
}
