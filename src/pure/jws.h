/*
 * pure/jws.h
 *		Signed tokens (RFC 7515) taken apart, and their claims (RFC 7519) judged.
 *
 * Nothing here looks at a key: between cozi_jws_read() and
 * cozi_claims_check() stands the caller's verification of the signature.
 * Functions return NULL when all is right, else the reason, a fixed sentence
 * that quotes nothing of the token.
 *
 * No server include: fuzzed alone.  Nothing is allocated.
 */
#ifndef COZI_JWS_H
#define COZI_JWS_H

#include "pure/json.h"

#define COZI_TOKEN_MAX		8192
#define COZI_SIGNATURE_MAX	1024	/* RSA of 8192 bits */
#define COZI_KID_MAX		256
#define COZI_TYP_MAX		64

typedef struct CoziJws
{
	const char *signed_part;	/* in the token: header.payload */
	int			signed_len;
	unsigned char signature[COZI_SIGNATURE_MAX];
	int			signature_len;
	char		alg[16];
	bool		has_typ;
	char		typ[COZI_TYP_MAX];
	bool		has_kid;
	char		kid[COZI_KID_MAX];
	char		payload[COZI_TOKEN_MAX];	/* ends in a NUL */
	int			payload_len;
	CoziJson	json;			/* of the header, then free to use */
} CoziJws;

/* What the claims of a token must fulfil. */
typedef struct CoziClaimRules
{
	const char *issuer;			/* NULL: not compared */
	bool		bound;			/* issuer and audiences are the key's own */
	const char *const *audiences;	/* one of them must be named */
	int			naudiences;		/* 0: not compared */
	bool		id_tokens;		/* identity tokens are logins, too */
	int64_t		leeway;			/* seconds */
	int64_t		max_lifetime;	/* seconds, 0: any */
} CoziClaimRules;

extern const char *cozi_jws_read(CoziJws *jws, const char *token, size_t len);
extern bool cozi_media_type_is(const char *type, const char *want);
extern const char *cozi_claims_check(const CoziJson *json, const CoziClaimRules *rules,
									 int64_t now);
extern const char *cozi_find_signature(const char *text, size_t * len);

#endif							/* COZI_JWS_H */
