/*
 * identity/algorithm.c
 *		The signature algorithms, and verification by OpenSSL.
 *
 * The law: a key has one algorithm, which its kty, crv and alg decide.  A
 * token's header must only agree.  So a public RSA key is never taken for an
 * HMAC secret, and a key of RS256 never for one of PS256.
 */
#include "postgres.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "base/base.h"
#include "identity/key.h"

/* The first of a kty and crv is the one that a key without alg has. */
static const CoziAlgorithm algorithms[] = {
	{"HS256", NULL, "oct", NULL, "SHA256", 32, false},
	{"HS384", NULL, "oct", NULL, "SHA384", 48, false},
	{"HS512", NULL, "oct", NULL, "SHA512", 64, false},
	{"RS256", NULL, "RSA", NULL, "SHA256", 0, false},
	{"RS384", NULL, "RSA", NULL, "SHA384", 0, false},
	{"RS512", NULL, "RSA", NULL, "SHA512", 0, false},
	{"PS256", NULL, "RSA", NULL, "SHA256", 0, true},
	{"PS384", NULL, "RSA", NULL, "SHA384", 0, true},
	{"PS512", NULL, "RSA", NULL, "SHA512", 0, true},
	{"ES256", NULL, "EC", "P-256", "SHA256", 32, false},
	{"ES384", NULL, "EC", "P-384", "SHA384", 48, false},
	{"ES512", NULL, "EC", "P-521", "SHA512", 66, false},
	{"EdDSA", "Ed25519", "OKP", "Ed25519", NULL, 32, false} /* RFC 9864 */
};

static bool
has_name(const CoziAlgorithm *alg, const char *name)
{
	return strcmp(alg->name, name) == 0 || (alg->other_name && strcmp(alg->other_name, name) == 0);
}

/* Does a header's alg mean the algorithm of a key, as jwk_alg() names it? */
bool
cozi_alg_is(const char *of_key, const char *of_header)
{
	if (strcmp(of_key, of_header) == 0)
		return true;
	for (int i = 0; i < lengthof(algorithms); i++)
		if (algorithms[i].other_name && strcmp(algorithms[i].name, of_key) == 0)
			return strcmp(algorithms[i].other_name, of_header) == 0;
	return false;
}

/* NULL: there is none for such a key. */
const CoziAlgorithm *
cozi_find_algorithm(const char *kty, const char *crv, const char *alg)
{
	for (int i = 0; i < lengthof(algorithms); i++)
	{
		const CoziAlgorithm *each = &algorithms[i];

		if (strcmp(each->kty, kty) == 0 &&
			(each->crv == NULL || (crv && strcmp(each->crv, crv) == 0)) &&
			(alg == NULL || has_name(each, alg)))
			return each;
	}
	return NULL;
}

/* Compute a MAC; *len is 0 where that fails. */
static void
compute_mac(EVP_MAC_CTX *ctx, const char *text, size_t text_len, unsigned char *mac, size_t * len)
{
	if (ctx == NULL || EVP_MAC_update(ctx, (const unsigned char *) text, text_len) != 1 ||
		EVP_MAC_final(ctx, mac, len, EVP_MAX_MD_SIZE) != 1)
		*len = 0;
}

/*
 * Can a keyed context be started again with its key?  Early releases of
 * OpenSSL 3 say yes and do nothing; a copy takes as long as a short MAC.
 */
bool
cozi_mac_restarts(EVP_MAC_CTX *keyed)
{
	unsigned char first[EVP_MAX_MD_SIZE],
				second[EVP_MAX_MD_SIZE];
	size_t		first_len = 0,
				second_len = 0;
	EVP_MAC_CTX *copy = EVP_MAC_CTX_dup(keyed);

	compute_mac(copy, "cozi", 4, first, &first_len);
	if (copy && EVP_MAC_init(copy, NULL, 0, NULL) == 1)
		compute_mac(copy, "cozi", 4, second, &second_len);
	EVP_MAC_CTX_free(copy);
	ERR_clear_error();
	return first_len > 0 && first_len == second_len && memcmp(first, second, first_len) == 0;
}

static bool
mac_matches(const CoziVerifier *verifier, const CoziJws *jws)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	size_t		len = 0;

	if (!verifier->mac_restarts)
	{
		EVP_MAC_CTX *copy = EVP_MAC_CTX_dup(verifier->mac);

		compute_mac(copy, jws->signed_part, jws->signed_len, mac, &len);
		EVP_MAC_CTX_free(copy);
	}
	else if (EVP_MAC_init(verifier->mac, NULL, 0, NULL) == 1)
		compute_mac(verifier->mac, jws->signed_part, jws->signed_len, mac, &len);
	return len == verifier->alg->size && jws->signature_len == len &&
		CRYPTO_memcmp(mac, jws->signature, len) == 0;
}

/* The salt is as long as the digest, which MGF1 uses, too: RFC 7518 section 3.5. */
static bool
set_pss(EVP_PKEY_CTX *ctx)
{
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool
digest_verifies(const CoziVerifier *verifier, const unsigned char *signature, size_t len,
				const CoziJws *jws)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pkey_ctx = NULL;	/* the other's own */
	bool		right = ctx != NULL &&
	EVP_DigestVerifyInit_ex(ctx, &pkey_ctx, verifier->alg->digest, NULL, NULL,
							verifier->pkey, NULL) == 1 &&
	(!verifier->alg->pss || set_pss(pkey_ctx)) &&
	EVP_DigestVerify(ctx, signature, len,
					 (const unsigned char *) jws->signed_part, jws->signed_len) == 1;

	EVP_MD_CTX_free(ctx);
	return right;
}

/* JOSE writes r and s side by side, OpenSSL wants them in DER. */
static bool
ecdsa_verifies(const CoziVerifier *verifier, const CoziJws *jws)
{
	int			half = verifier->alg->size;
	ECDSA_SIG  *pair;
	BIGNUM	   *r,
			   *s;
	unsigned char *der = NULL;
	int			len;
	bool		right;

	if (jws->signature_len != 2 * half)
		return false;
	pair = ECDSA_SIG_new();
	r = BN_bin2bn(jws->signature, half, NULL);
	s = BN_bin2bn(jws->signature + half, half, NULL);
	if (pair == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(pair, r, s) != 1)
	{
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(pair);
		return false;
	}
	len = i2d_ECDSA_SIG(pair, &der);
	right = len > 0 && digest_verifies(verifier, der, len, jws);
	OPENSSL_free(der);
	ECDSA_SIG_free(pair);
	return right;
}

bool
cozi_verifies(const CoziVerifier *verifier, const CoziJws *jws)
{
	bool		right;

	if (verifier->mac)
		right = mac_matches(verifier, jws);
	else if (strcmp(verifier->alg->kty, "EC") == 0)
		right = ecdsa_verifies(verifier, jws);
	else
		right = digest_verifies(verifier, jws->signature, jws->signature_len, jws);
	if (!right)
		ERR_clear_error();		/* no other library should find our errors */
	return right;
}
