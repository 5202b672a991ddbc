/*
 * identity/key.h
 *		A key that verifies signatures: a JSON Web Key, its algorithm, the rules
 *		of its issuer.
 */
#ifndef COZI_KEY_H
#define COZI_KEY_H

#include <openssl/evp.h>

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "pure/jws.h"

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "cozi needs OpenSSL 3.0 or later"
#endif

/* A signature algorithm (RFC 7518 section 3, RFC 8037). */
typedef struct CoziAlgorithm
{
	const char *name;
	const char *other_name;		/* means the same; or NULL */
	const char *kty;
	const char *crv;			/* EC and OKP */
	const char *digest;			/* NULL: EdDSA has its own */
	int			size;			/* of a MAC, or of a coordinate */
	bool		pss;			/* RSA with RSASSA-PSS */
} CoziAlgorithm;

/* What verifies: one of the two. */
typedef struct CoziVerifier
{
	const CoziAlgorithm *alg;
	EVP_MAC_CTX *mac;			/* keyed */
	bool		mac_restarts;	/* else it is copied for each use */
	EVP_PKEY   *pkey;
} CoziVerifier;

/* Why a JSON Web Key is refused. */
typedef struct CoziJwkProblem
{
	const char *why;
	const char *hint;			/* or NULL */
} CoziJwkProblem;

/* A row of cozi.jwks, in this session's cache. */
typedef struct CoziKey
{
	uint64		digest[2];		/* of the whole row, see cozi_hash128() */
	const char *kid;			/* NULL: for tokens without kid */
	bool		any_kid;		/* also for tokens with any kid */
	const char *alg;
	Jsonb	   *jwk;			/* until it is made a verifier */
	const char *issuer;			/* NULL: the settings judge iss */
	const char **audiences;
	int			naudiences;
	bool		id_tokens;
	TimestampTz not_before;
	TimestampTz retired_at;
	CoziVerifier *verifier;		/* NULL until a token asks the key */
} CoziKey;

/* algorithm.c: verification by OpenSSL */
extern const CoziAlgorithm *cozi_find_algorithm(const char *kty, const char *crv, const char *alg);
extern bool cozi_alg_is(const char *of_key, const char *of_header);
extern bool cozi_mac_restarts(EVP_MAC_CTX *keyed);
extern bool cozi_verifies(const CoziVerifier *verifier, const CoziJws *jws);

/* jwk.c: from a JSON Web Key to what verifies */
extern CoziVerifier *cozi_make_verifier(Jsonb *jwk, bool check, CoziJwkProblem *problem);
extern void cozi_jwk_init(void);

/* point.c: is it a point of Ed25519, and none of small order? */
extern bool cozi_ed25519_is_sound(const unsigned char *bytes);

/* key.c: table jwks */
extern List *cozi_keys_of(const char *kid);
extern const CoziVerifier *cozi_key_verifier(CoziKey *key);
extern bool cozi_key_stands(const char *kid, const uint64 digest[2]);

#endif							/* COZI_KEY_H */
