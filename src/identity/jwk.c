/*
 * identity/jwk.c
 *		From a JSON Web Key (RFC 7517, 7518, 8037) to what verifies.
 *
 * The law: a key is sound or refused.  A document of an issuer has keys that
 * are for other things; so a refusal is a reason here, and an error only for
 * a key that was asked for by itself.
 *
 * Memory: a verifier belongs to the current context, which gives OpenSSL's
 * objects back when it goes.  Secrets are wiped.
 */
#include "postgres.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/key.h"
#include "pure/base64url.h"

#define SECRET_MAX		1024	/* bytes */
#define JWK_MAX			(64 * 1024) /* bytes, certificates included */
#define RSA_BITS_MIN	2048	/* RFC 7518 section 3.3 */
#define RSA_BITS_MAX	(COZI_SIGNATURE_MAX * 8)
#define COORDINATE_MAX	66		/* of P-521 */

static const char supported[] =
"Supported are HS256, HS384, HS512 (oct), RS256, RS384, RS512, PS256, PS384, PS512 (RSA), "
"ES256 (EC, P-256), ES384 (EC, P-384), ES512 (EC, P-521) and EdDSA (OKP, Ed25519).";

static bool
refuse(CoziJwkProblem *problem, const char *why, const char *hint)
{
	ERR_clear_error();
	problem->why = why;
	problem->hint = hint;
	return false;
}

/* A string member; *out is NULL when there is none. */
static bool
jwk_string(Jsonb *jwk, const char *name, char **out, CoziJwkProblem *problem)
{
	JsonbValue	buf,
			   *value;

	*out = NULL;
	value = getKeyJsonValueFromContainer(&jwk->root, name, strlen(name), &buf);
	if (value == NULL)
		return true;
	if (value->type != jbvString)
		return refuse(problem, psprintf("\"%s\" is not a string", name), NULL);
	*out = pnstrdup(value->val.string.val, value->val.string.len);
	return true;
}

/* A base64url member of the key itself. */
static bool
jwk_bytes(Jsonb *jwk, const char *name, unsigned char *out, size_t size, int *len,
		  CoziJwkProblem *problem)
{
	char	   *text;

	if (!jwk_string(jwk, name, &text, problem))
		return false;
	if (text == NULL)
		return refuse(problem, psprintf("\"%s\" is missing", name), NULL);
	*len = cozi_base64url(text, strlen(text), out, size);
	OPENSSL_cleanse(text, strlen(text));
	if (*len > 0)
		return true;
	return refuse(problem, psprintf("\"%s\" is not base64url of a sensible length", name),
				  strcmp(name, "k") == 0
				  ? "For a secret that is plain text, use cozi.add_secret()." : NULL);
}

static EVP_MAC_CTX *
keyed_mac(const char *digest, const unsigned char *secret, int len)
{
	EVP_MAC    *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, unconstify(char *, digest), 0),
		OSSL_PARAM_construct_end()
	};

	EVP_MAC_free(mac);			/* ctx holds it */
	if (ctx && EVP_MAC_init(ctx, secret, len, params) != 1)
	{
		EVP_MAC_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static bool
read_secret(Jsonb *jwk, CoziVerifier *verifier, CoziJwkProblem *problem)
{
	unsigned char secret[SECRET_MAX];
	int			min = verifier->alg->size;	/* RFC 7518 section 3.2 */
	int			len;

	if (!jwk_bytes(jwk, "k", secret, sizeof(secret), &len, problem))
		return false;
	if (len >= min)
		verifier->mac = keyed_mac(verifier->alg->digest, secret, len);
	verifier->mac_restarts = verifier->mac && cozi_mac_restarts(verifier->mac);
	OPENSSL_cleanse(secret, sizeof(secret));
	if (len < min)
		return refuse(problem,
					  psprintf("a secret of %s must be at least %d bytes long",
							   verifier->alg->name, min),
					  psprintf("Shorter ones can be found by trying; make one with: "
							   "openssl rand -base64 %d", min / 2 * 3));
	return true;
}

/* Give OpenSSL's bundle of parameters a type. */
static EVP_PKEY *
pkey_from_params(const char *type, OSSL_PARAM_BLD *bld)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY   *pkey = NULL;

	if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
		EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return pkey;
}

static bool
read_rsa(Jsonb *jwk, CoziVerifier *verifier, CoziJwkProblem *problem)
{
	unsigned char n[RSA_BITS_MAX / 8],
				e[8];
	int			n_len,
				e_len;
	OSSL_PARAM_BLD *bld;
	BIGNUM	   *modulus,
			   *exponent;

	if (!jwk_bytes(jwk, "n", n, sizeof(n), &n_len, problem) ||
		!jwk_bytes(jwk, "e", e, sizeof(e), &e_len, problem))
		return false;
	bld = OSSL_PARAM_BLD_new();
	modulus = BN_bin2bn(n, n_len, NULL);
	exponent = BN_bin2bn(e, e_len, NULL);
	if (bld && modulus && exponent &&
		OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
		OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
		verifier->pkey = pkey_from_params("RSA", bld);
	OSSL_PARAM_BLD_free(bld);
	BN_free(modulus);
	BN_free(exponent);
	if (verifier->pkey && EVP_PKEY_get_bits(verifier->pkey) < RSA_BITS_MIN)
		return refuse(problem, "an RSA key must have at least 2048 bits", NULL);
	return true;
}

static bool
read_ec(Jsonb *jwk, CoziVerifier *verifier, CoziJwkProblem *problem)
{
	int			size = verifier->alg->size;
	unsigned char point[1 + 2 * COORDINATE_MAX];
	int			x_len,
				y_len;
	OSSL_PARAM_BLD *bld;

	point[0] = 4;				/* uncompressed: SEC 1 section 2.3.3 */
	if (!jwk_bytes(jwk, "x", point + 1, size, &x_len, problem) ||
		!jwk_bytes(jwk, "y", point + 1 + size, size, &y_len, problem))
		return false;
	if (x_len != size || y_len != size)
		return refuse(problem, psprintf("the coordinates of a %s key must have %d bytes each",
										verifier->alg->crv, size), NULL);
	bld = OSSL_PARAM_BLD_new();
	if (bld &&
		OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
										verifier->alg->crv, 0) == 1 &&
		OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY,
										 point, 1 + 2 * size) == 1)
		verifier->pkey = pkey_from_params("EC", bld);
	OSSL_PARAM_BLD_free(bld);
	return true;
}

static bool
read_okp(Jsonb *jwk, CoziVerifier *verifier, CoziJwkProblem *problem)
{
	unsigned char x[32];
	int			len;

	if (!jwk_bytes(jwk, "x", x, sizeof(x), &len, problem))
		return false;
	if (len != sizeof(x))
		return refuse(problem, "an Ed25519 key must have 32 bytes", NULL);
	if (!cozi_ed25519_is_sound(x))
		return refuse(problem, "it is not a point of Ed25519, or one of small order", NULL);
	verifier->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
	return true;
}

/* Is the key a point of its curve, its modulus odd, ...? */
static bool
pkey_is_sound(EVP_PKEY *pkey)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	bool		sound = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return sound;
}

static bool
jwk_algorithm(Jsonb *jwk, CoziVerifier *verifier, CoziJwkProblem *problem)
{
	char	   *kty,
			   *crv,
			   *alg;

	if (!jwk_string(jwk, "kty", &kty, problem) || !jwk_string(jwk, "crv", &crv, problem) ||
		!jwk_string(jwk, "alg", &alg, problem))
		return false;
	if (kty == NULL)
		return refuse(problem, "\"kty\" is missing", supported);
	verifier->alg = cozi_find_algorithm(kty, crv, alg);
	if (verifier->alg == NULL)
		return refuse(problem, "\"kty\", \"crv\" and \"alg\" do not make a supported algorithm",
					  supported);
	return true;
}

/* Is it for signatures? */
static bool
check_use(Jsonb *jwk, CoziJwkProblem *problem)
{
	char	   *use;
	JsonbValue	verify,
				buf,
			   *ops;

	if (!jwk_string(jwk, "use", &use, problem))
		return false;
	if (use && strcmp(use, "sig") != 0)
		return refuse(problem, "its \"use\" is not \"sig\"", NULL);
	ops = getKeyJsonValueFromContainer(&jwk->root, "key_ops", 7, &buf);
	verify.type = jbvString;
	verify.val.string.val = "verify";
	verify.val.string.len = 6;
	if (ops && (ops->type != jbvBinary || !JsonContainerIsArray(ops->val.binary.data) ||
				findJsonbValueFromContainer(ops->val.binary.data, JB_FARRAY, &verify) == NULL))
		return refuse(problem, "its \"key_ops\" do not have \"verify\"", NULL);
	return true;
}

static bool
check_public(Jsonb *jwk, CoziJwkProblem *problem)
{
	static const char *const private[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
	JsonbValue	buf;

	for (int i = 0; i < lengthof(private); i++)
		if (getKeyJsonValueFromContainer(&jwk->root, private[i], strlen(private[i]), &buf))
			return refuse(problem, "it is a private key",
						  "Anybody who reads it can sign tokens; add the public key alone.");
	return true;
}

static bool
read_jwk(Jsonb *jwk, CoziVerifier *verifier, CoziJwkProblem *problem)
{
	char	   *kid;
	const char *kty;

	if (!check_use(jwk, problem) || !jwk_algorithm(jwk, verifier, problem) ||
		!jwk_string(jwk, "kid", &kid, problem))
		return false;
	if (kid && strlen(kid) >= COZI_KID_MAX)
		return refuse(problem, psprintf("its \"kid\" has more than %d bytes", COZI_KID_MAX - 1),
					  NULL);
	kty = verifier->alg->kty;
	if (strcmp(kty, "oct") == 0)
		return read_secret(jwk, verifier, problem);
	if (!check_public(jwk, problem))
		return false;
	if (strcmp(kty, "RSA") == 0)
		return read_rsa(jwk, verifier, problem);
	if (strcmp(kty, "EC") == 0)
		return read_ec(jwk, verifier, problem);
	return read_okp(jwk, verifier, problem);
}

typedef struct OwnedVerifier
{
	CoziVerifier verifier;
	MemoryContextCallback release;
} OwnedVerifier;

static void
release_verifier(void *arg)
{
	CoziVerifier *verifier = arg;

	EVP_MAC_CTX_free(verifier->mac);
	EVP_PKEY_free(verifier->pkey);
}

/*
 * Make what verifies in the current context, which will own it.  NULL, and the
 * problem, when it is no sound key of a supported algorithm.  check: look for
 * what takes OpenSSL long, such as a prime modulus; each row of the table was.
 */
CoziVerifier *
cozi_make_verifier(Jsonb *jwk, bool check, CoziJwkProblem *problem)
{
	OwnedVerifier *owned;
	CoziVerifier *verifier;

	if (!JB_ROOT_IS_OBJECT(jwk))
	{
		refuse(problem, "it is not a JSON object", NULL);
		return NULL;
	}
	if (VARSIZE(jwk) > JWK_MAX)
	{
		refuse(problem, "it has more than 64 kB", NULL);
		return NULL;
	}
	owned = palloc0(sizeof(OwnedVerifier));
	verifier = &owned->verifier;
	owned->release.func = release_verifier;
	owned->release.arg = verifier;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &owned->release);
	if (!read_jwk(jwk, verifier, problem))
		return NULL;
	if (verifier->mac == NULL &&
		(verifier->pkey == NULL || (check && !pkey_is_sound(verifier->pkey))))
	{
		refuse(problem, psprintf("OpenSSL does not take it for a key of %s", verifier->alg->name),
			   NULL);
		return NULL;
	}
	return verifier;
}

/*
 * OpenSSL builds its tables of algorithms and curves when they are first used,
 * which takes as long as a thousand logins.  Where cozi is preloaded the
 * postmaster does it once, with one verification of each kind that must fail,
 * and its children inherit the tables.  No random number is drawn.
 */
void
cozi_jwk_init(void)
{
	static const char *const keys[] = {
		"{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
		"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
		"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
		"{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
		"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
		NULL					/* RSA, below */
	};
	static const int signature_len[] = {32, 64, 64, 256};
	MemoryContext context,
				old;
	CoziJws    *jws;
	char		modulus[343];
	CoziJwkProblem problem;

	if (!process_shared_preload_libraries_in_progress)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "cozi OpenSSL", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	jws = palloc0(sizeof(CoziJws));
	jws->signed_part = "cozi";
	jws->signed_len = 4;
	memset(jws->signature, 1, sizeof(jws->signature));
	memset(modulus, 'w', 342);
	modulus[342] = '\0';
	for (int i = 0; i < lengthof(keys); i++)
	{
		const char *text = keys[i] ? keys[i]
		: psprintf("{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"%s\"}", modulus);
		Jsonb	   *jwk = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
		CoziVerifier *verifier = cozi_make_verifier(jwk, false, &problem);

		jws->signature_len = signature_len[i];
		if (verifier)
			(void) cozi_verifies(verifier, jws);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The name of the key's algorithm, palloc'd; NULL, and the problem. */
static text *
read_alg_name(Jsonb *jwk, CoziJwkProblem *problem)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(outer, "cozi key", ALLOCSET_SMALL_SIZES);
	CoziVerifier *verifier;
	const char *name;

	MemoryContextSwitchTo(context);
	verifier = cozi_make_verifier(jwk, true, problem);
	name = verifier ? verifier->alg->name : NULL;
	MemoryContextSwitchTo(outer);
	if (name == NULL)
	{
		problem->why = pstrdup(problem->why);
		problem->hint = problem->hint ? pstrdup(problem->hint) : NULL;
	}
	MemoryContextDelete(context);
	return name ? cstring_to_text(name) : NULL;
}

PG_FUNCTION_INFO_V1(cozi_jwk_alg);

/* jwk_alg(jwk jsonb) -> text: the key's algorithm; an error when it is no key */
Datum
cozi_jwk_alg(PG_FUNCTION_ARGS)
{
	CoziJwkProblem problem;
	text	   *alg = read_alg_name(PG_GETARG_JSONB_P(0), &problem);

	if (alg)
		PG_RETURN_TEXT_P(alg);
	/* neither statement nor context: they may hold a secret */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid key: %s", problem.why),
			 problem.hint ? errhint("%s", problem.hint) : 0,
			 errhidestmt(true),
			 errhidecontext(true)));
	PG_RETURN_NULL();			/* not reached */
}

PG_FUNCTION_INFO_V1(cozi_check_key);

/* check_key(jwk jsonb) -> text: why add_key() would refuse it, NULL when it would not */
Datum
cozi_check_key(PG_FUNCTION_ARGS)
{
	CoziJwkProblem problem;

	if (read_alg_name(PG_GETARG_JSONB_P(0), &problem))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem.why));
}

PG_FUNCTION_INFO_V1(cozi_jwk_alg_if);

/* _jwk_alg(jwk jsonb) -> text: jwk_alg(), or NULL instead of an error */
Datum
cozi_jwk_alg_if(PG_FUNCTION_ARGS)
{
	CoziJwkProblem problem;
	text	   *alg = read_alg_name(PG_GETARG_JSONB_P(0), &problem);

	if (alg)
		PG_RETURN_TEXT_P(alg);
	PG_RETURN_NULL();
}
