/*
 * identity/key.c
 *		The keys that tokens are signed with: table cozi.jwks, JSON Web Keys
 *		(RFC 7517, RFC 8037), and verification by OpenSSL.
 *
 * A key decides its algorithm; a token's header must only agree.  So a public
 * RSA key is never taken for an HMAC secret, whatever the header says.
 *
 * The table belongs to the extension's owner and is read here below every
 * privilege, with a snapshot of this moment: a REPEATABLE READ transaction
 * must not go on believing a key that was retired.  Each backend keeps the
 * keys it has made, and which versions of rows it made them of; login() looks
 * whether these are the rows there are.  An invalidation message would not do:
 * it is sent a moment after a commit can be seen.
 *
 * Memory: one context a reading, child of TopMemoryContext, replaced whole.
 * OpenSSL's objects are given back, and secrets wiped, when it goes.
 */
#include "postgres.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "identity/identity.h"
#include "pure/jws.h"

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "cozi needs OpenSSL 3.0 or later"
#endif

#define SECRET_MIN		32		/* bytes: RFC 7518 section 3.2 */
#define SECRET_MAX		1024
#define RSA_BITS_MIN	2048	/* RFC 7518 section 3.3 */
#define RSA_BITS_MAX	(COZI_SIGNATURE_MAX * 8)
#define MAC_SIZE		32
#define ES256_SIZE		64		/* r and s: RFC 7518 section 3.4 */

/* The columns of cozi.jwks. */
enum
{
	Anum_jwks_id = 1,
	Anum_jwks_jwk,
	Anum_jwks_kid,
	Anum_jwks_alg,
	Anum_jwks_not_before,
	Anum_jwks_retired_at,
	Natts_jwks_read = Anum_jwks_retired_at
};

typedef enum KeyAlg
{
	HS256,
	RS256,
	ES256,
	EDDSA
} KeyAlg;

static const char *const alg_names[] = {"HS256", "RS256", "ES256", "EdDSA"};

typedef struct Key
{
	const char *kid;			/* NULL: for tokens without kid */
	KeyAlg		alg;
	EVP_MAC_CTX *mac;			/* HS256: keyed, copied for each use */
	EVP_PKEY   *pkey;			/* the others */
	TimestampTz not_before;
	TimestampTz retired_at;
	MemoryContextCallback release;
} Key;

/* What this backend has made of the table. */
static struct
{
	MemoryContext context;		/* NULL when nothing */
	Oid			relid;
	uint64		version;		/* of the rows: see rows_version() */
	List	   *keys;			/* of Key */
}			cache;

PG_FUNCTION_INFO_V1(cozi_jwk_alg);

/* --- from a JWK to a key ----------------------------------------------------- */

static void
bad_key(const char *why, const char *hint)
{
	ERR_clear_error();
	/* neither statement nor context: they may hold a secret */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid key: %s", why),
			 hint ? errhint("%s", hint) : 0,
			 errhidestmt(true),
			 errhidecontext(true)));
}

/* A string member, or NULL when there is none; another type is an error. */
static char *
jwk_string(Jsonb *jwk, const char *name)
{
	JsonbValue	buf,
			   *value;

	value = getKeyJsonValueFromContainer(&jwk->root, name, strlen(name), &buf);
	if (value == NULL)
		return NULL;
	if (value->type != jbvString)
		bad_key(psprintf("\"%s\" is not a string", name), NULL);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A base64url member of the key itself: its length. */
static int
jwk_bytes(Jsonb *jwk, const char *name, unsigned char *out, size_t size)
{
	char	   *text = jwk_string(jwk, name);
	int			len;

	if (text == NULL)
		bad_key(psprintf("\"%s\" is missing", name), NULL);
	len = cozi_base64url(text, strlen(text), out, size);
	OPENSSL_cleanse(text, strlen(text));
	if (len <= 0)
		bad_key(psprintf("\"%s\" is not base64url of a sensible length", name),
				strcmp(name, "k") == 0 ? "For a secret that is plain text, use cozi.add_secret()." : NULL);
	return len;
}

static EVP_MAC_CTX *
mac_key(Jsonb *jwk)
{
	unsigned char secret[SECRET_MAX];
	int			len = jwk_bytes(jwk, "k", secret, sizeof(secret));
	EVP_MAC    *mac;
	EVP_MAC_CTX *ctx;
	OSSL_PARAM	params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
		OSSL_PARAM_construct_end()
	};

	if (len < SECRET_MIN)
	{
		OPENSSL_cleanse(secret, sizeof(secret));
		bad_key("a secret must be at least 32 bytes long",
				"Shorter ones can be found by trying; make one with: openssl rand -base64 48");
	}
	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);			/* ctx holds it */
	if (ctx && EVP_MAC_init(ctx, secret, len, params) != 1)
	{
		EVP_MAC_CTX_free(ctx);
		ctx = NULL;
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	return ctx;
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

static EVP_PKEY *
rsa_key(Jsonb *jwk)
{
	unsigned char n[RSA_BITS_MAX / 8],
				e[8];
	int			n_len = jwk_bytes(jwk, "n", n, sizeof(n));
	int			e_len = jwk_bytes(jwk, "e", e, sizeof(e));
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM	   *modulus = BN_bin2bn(n, n_len, NULL);
	BIGNUM	   *exponent = BN_bin2bn(e, e_len, NULL);
	EVP_PKEY   *pkey = NULL;

	if (bld && modulus && exponent &&
		OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
		OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
		pkey = pkey_from_params("RSA", bld);
	OSSL_PARAM_BLD_free(bld);
	BN_free(modulus);
	BN_free(exponent);
	if (pkey && EVP_PKEY_get_bits(pkey) < RSA_BITS_MIN)
	{
		EVP_PKEY_free(pkey);
		bad_key("an RSA key must have at least 2048 bits", NULL);
	}
	return pkey;
}

static EVP_PKEY *
ec_key(Jsonb *jwk)
{
	unsigned char point[65];
	char	   *crv = jwk_string(jwk, "crv");
	OSSL_PARAM_BLD *bld;
	EVP_PKEY   *pkey = NULL;

	if (crv == NULL || strcmp(crv, "P-256") != 0)
		bad_key("the curve of an EC key must be P-256", NULL);
	point[0] = 4;				/* uncompressed: SEC 1 section 2.3.3 */
	if (jwk_bytes(jwk, "x", point + 1, 32) != 32 || jwk_bytes(jwk, "y", point + 33, 32) != 32)
		bad_key("the coordinates of an EC key must have 32 bytes each", NULL);
	bld = OSSL_PARAM_BLD_new();
	if (bld &&
		OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
		OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
		pkey = pkey_from_params("EC", bld);
	OSSL_PARAM_BLD_free(bld);
	return pkey;
}

static EVP_PKEY *
okp_key(Jsonb *jwk)
{
	unsigned char x[32];
	char	   *crv = jwk_string(jwk, "crv");

	if (crv == NULL || strcmp(crv, "Ed25519") != 0)
		bad_key("the curve of an OKP key must be Ed25519", NULL);
	if (jwk_bytes(jwk, "x", x, sizeof(x)) != 32)
		bad_key("an Ed25519 key must have 32 bytes", NULL);
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
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

static KeyAlg
jwk_algorithm(Jsonb *jwk)
{
	static const char *const types[] = {"oct", "RSA", "EC", "OKP"};
	char	   *kty = jwk_string(jwk, "kty");
	char	   *alg = jwk_string(jwk, "alg");

	for (int i = 0; kty && i < lengthof(types); i++)
		if (strcmp(kty, types[i]) == 0)
		{
			if (alg && strcmp(alg, alg_names[i]) != 0)
				bad_key("\"alg\" and \"kty\" do not make a supported algorithm",
						"Supported are HS256 (oct), RS256 (RSA), ES256 (EC) and EdDSA (OKP).");
			return (KeyAlg) i;
		}
	bad_key("\"kty\" must be \"oct\", \"RSA\", \"EC\" or \"OKP\"", NULL);
	return HS256;				/* not reached */
}

/* A JWK that must be fit to verify signatures, and no more than that. */
static void
check_purpose(Jsonb *jwk, KeyAlg alg)
{
	static const char *const private[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
	char	   *use = jwk_string(jwk, "use");
	JsonbValue	verify,
				buf,
			   *ops;

	if (use && strcmp(use, "sig") != 0)
		bad_key("its \"use\" is not \"sig\"", NULL);
	ops = getKeyJsonValueFromContainer(&jwk->root, "key_ops", 7, &buf);
	verify.type = jbvString;
	verify.val.string.val = "verify";
	verify.val.string.len = 6;
	if (ops && (ops->type != jbvBinary || !JsonContainerIsArray(ops->val.binary.data) ||
				findJsonbValueFromContainer(ops->val.binary.data, JB_FARRAY, &verify) == NULL))
		bad_key("its \"key_ops\" do not have \"verify\"", NULL);
	for (int i = 0; alg != HS256 && i < lengthof(private); i++)
		if (getKeyJsonValueFromContainer(&jwk->root, private[i], strlen(private[i]), &buf))
			bad_key("it is a private key",
					"Whoever reads it can sign tokens; add the public key alone.");
}

static void
release_key(void *arg)
{
	Key		   *key = arg;

	EVP_MAC_CTX_free(key->mac);
	EVP_PKEY_free(key->pkey);
}

/* Make a key in the current context, which will own what OpenSSL made. */
static Key *
make_key(Jsonb *jwk)
{
	Key		   *key = palloc0(sizeof(Key));
	char	   *kid;

	if (!JB_ROOT_IS_OBJECT(jwk))
		bad_key("it is not a JSON object", NULL);
	key->alg = jwk_algorithm(jwk);
	check_purpose(jwk, key->alg);
	kid = jwk_string(jwk, "kid");
	if (kid && strlen(kid) >= COZI_KID_MAX)
		bad_key("its \"kid\" is too long", NULL);
	key->kid = kid;

	key->release.func = release_key;
	key->release.arg = key;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &key->release);
	switch (key->alg)
	{
		case HS256:
			key->mac = mac_key(jwk);
			break;
		case RS256:
			key->pkey = rsa_key(jwk);
			break;
		case ES256:
			key->pkey = ec_key(jwk);
			break;
		case EDDSA:
			key->pkey = okp_key(jwk);
			break;
	}
	if (key->mac == NULL && (key->pkey == NULL || !pkey_is_sound(key->pkey)))
		bad_key(psprintf("OpenSSL does not take it for a key of %s", alg_names[key->alg]), NULL);
	return key;
}

/* --- the table ------------------------------------------------------------------ */

static Key *
read_key(TupleDesc desc, HeapTuple tuple)
{
	Datum		values[Natts_jwks_read];
	bool		nulls[Natts_jwks_read];
	Key		   *key;

	for (int i = 0; i < Natts_jwks_read; i++)
		values[i] = heap_getattr(tuple, i + 1, desc, &nulls[i]);
	if (nulls[Anum_jwks_jwk - 1])
		return NULL;
	key = make_key(DatumGetJsonbP(values[Anum_jwks_jwk - 1]));
	key->not_before = nulls[Anum_jwks_not_before - 1] ? DT_NOBEGIN
		: DatumGetTimestampTz(values[Anum_jwks_not_before - 1]);
	key->retired_at = nulls[Anum_jwks_retired_at - 1] ? DT_NOEND
		: DatumGetTimestampTz(values[Anum_jwks_retired_at - 1]);
	return key;
}

static List *
scan_keys(Relation rel, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan_compat(rel, snapshot, 0, NULL);
	List	   *keys = NIL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		should_free;
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
		Key		   *key = read_key(RelationGetDescr(rel), tuple);

		if (key)
			keys = lappend(keys, key);
		if (should_free)
			heap_freetuple(tuple);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return keys;
}

/*
 * Which versions of rows the snapshot sees.  A place and who wrote there are
 * one version for ever.
 */
static uint64
rows_version(Relation rel, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan_compat(rel, snapshot, 0, NULL);
	uint64		version = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		uint64		writer = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
		uint64		place = ItemPointerGetBlockNumber(&slot->tts_tid) * (uint64) MaxOffsetNumber + ItemPointerGetOffsetNumber(&slot->tts_tid);

		version = hash_combine64(hash_combine64(version, writer), place);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return version;
}

/* Make the keys anew.  An error on the way leaves what was. */
static void
fill_cache(Relation rel, Snapshot snapshot, uint64 version)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi keys", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *keys = scan_keys(rel, snapshot);

	MemoryContextSwitchTo(old);
	if (cache.context)
		MemoryContextDelete(cache.context);
	MemoryContextSetParent(context, TopMemoryContext);
	cache.context = context;
	cache.relid = RelationGetRelid(rel);
	cache.version = version;
	cache.keys = keys;
}

/* The keys of this moment. */
static List *
current_keys(void)
{
	Oid			relid = get_relname_relid("jwks", get_namespace_oid("cozi", false));
	Relation	rel;
	Snapshot	snapshot;
	uint64		version;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"cozi\" is not installed in this database")));
	rel = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	version = rows_version(rel, snapshot);
	if (cache.context == NULL || cache.relid != relid || cache.version != version)
		fill_cache(rel, snapshot, version);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return cache.keys;
}

/* --- verification ------------------------------------------------------------------ */

static bool
mac_matches(const Key *key, const CoziJws *jws)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	size_t		len = 0;
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(key->mac);
	bool		done = ctx != NULL &&
	EVP_MAC_update(ctx, (const unsigned char *) jws->signed_part, jws->signed_len) == 1 &&
	EVP_MAC_final(ctx, mac, &len, sizeof(mac)) == 1;

	EVP_MAC_CTX_free(ctx);
	return done && len == MAC_SIZE && jws->signature_len == MAC_SIZE &&
		CRYPTO_memcmp(mac, jws->signature, MAC_SIZE) == 0;
}

static bool
digest_verifies(const Key *key, const EVP_MD *md, const unsigned char *signature, size_t len,
				const CoziJws *jws)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool		right = ctx != NULL &&
	EVP_DigestVerifyInit(ctx, NULL, md, NULL, key->pkey) == 1 &&
	EVP_DigestVerify(ctx, signature, len, (const unsigned char *) jws->signed_part, jws->signed_len) == 1;

	EVP_MD_CTX_free(ctx);
	return right;
}

/* JOSE writes r and s side by side, OpenSSL wants them in DER. */
static bool
ecdsa_verifies(const Key *key, const CoziJws *jws)
{
	ECDSA_SIG  *pair;
	BIGNUM	   *r,
			   *s;
	unsigned char *der = NULL;
	int			len;
	bool		right;

	if (jws->signature_len != ES256_SIZE)
		return false;
	pair = ECDSA_SIG_new();
	r = BN_bin2bn(jws->signature, ES256_SIZE / 2, NULL);
	s = BN_bin2bn(jws->signature + ES256_SIZE / 2, ES256_SIZE / 2, NULL);
	if (pair == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(pair, r, s) != 1)
	{
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(pair);
		return false;
	}
	len = i2d_ECDSA_SIG(pair, &der);
	right = len > 0 && digest_verifies(key, EVP_sha256(), der, len, jws);
	OPENSSL_free(der);
	ECDSA_SIG_free(pair);
	return right;
}

static bool
key_verifies(const Key *key, const CoziJws *jws)
{
	bool		right = false;

	switch (key->alg)
	{
		case HS256:
			right = mac_matches(key, jws);
			break;
		case RS256:
			right = digest_verifies(key, EVP_sha256(), jws->signature, jws->signature_len, jws);
			break;
		case ES256:
			right = ecdsa_verifies(key, jws);
			break;
		case EDDSA:
			right = digest_verifies(key, NULL, jws->signature, jws->signature_len, jws);
			break;
	}
	if (!right)
		ERR_clear_error();		/* nobody else should find our leavings */
	return right;
}

/* Does the key serve the token's kid, or its lack of one? */
static bool
key_is_meant(const Key *key, const CoziJws *jws)
{
	if (key->kid == NULL || !jws->has_kid)
		return key->kid == NULL && !jws->has_kid;
	return strcmp(key->kid, jws->kid) == 0;
}

/*
 * Is the signature one of a key that may sign at this instant?  NULL, or the
 * reason against it.
 */
const char *
cozi_verify_signature(const CoziJws *jws, TimestampTz at)
{
	const char *reason = jws->has_kid ? "no key has the token's kid"
	: "the token has no kid, and there is no key without one";
	bool		tried = false;
	ListCell   *cell;

	foreach(cell, current_keys())
	{
		const Key  *key = lfirst(cell);

		if (!key_is_meant(key, jws))
			continue;
		if (at < key->not_before)
			reason = "the key is not in use yet";
		else if (at >= key->retired_at)
			reason = "the key was retired";
		else if (strcmp(alg_names[key->alg], jws->alg) != 0)
			reason = "the header's alg is not the key's";
		else if (key_verifies(key, jws))
			return NULL;
		else
			tried = true;
	}
	return tried ? "the signature does not verify" : reason;
}

/* --- SQL --------------------------------------------------------------------------- */

/* jwk_alg(jwk jsonb) -> text: the key's algorithm; an error when it is no key */
Datum
cozi_jwk_alg(PG_FUNCTION_ARGS)
{
	Jsonb	   *jwk = PG_GETARG_JSONB_P(0);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi key", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KeyAlg		alg = make_key(jwk)->alg;

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	PG_RETURN_TEXT_P(cstring_to_text(alg_names[alg]));
}
