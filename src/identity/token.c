/*
 * identity/token.c
 *		login(): a signed token becomes the identity of the transaction.
 *
 * In this order: size, parts, header (pure/jws.c); the keys that the header
 * may mean, each of which alone decides its algorithm, and the signature
 * (identity/algorithm.c); then, now that a trusted issuer wrote them, the
 * claims, by the rules of the key that verified them; then revocations.  An
 * identity is set last, so whatever fails before leaves things as they were.
 *
 * A token that this server has verified lately is not verified again: see
 * identity/shared.c for what must hold.
 *
 * The law: to the client every bad token is the same error.  The reason goes
 * to the server log only; the token, its header and its payload go nowhere,
 * which is why the error hides its statement and its context.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/key.h"
#include "identity/shared.h"

/* What login() needs of a token that is to be believed. */
typedef struct Verified
{
	const char *claims;			/* each of the three ends in a NUL */
	const char *subject;
	const char *jti;
	int			claims_len;
	int			subject_len;
	int			jti_len;
	TimestampTz issued_at;
	TimestampTz expires_at;
	const CoziKey *key;
} Verified;

/* Why a token is refused, and how near it came. */
typedef struct Refusal
{
	enum
	{
		NO_KEY,
		KEY_NOT_USABLE,
		BAD_SIGNATURE,
		BAD_CLAIMS
	}			stage;
	const char *reason;
} Refusal;

/* Unix time, by the clock: a transaction may be older than its token. */
static int64
to_unix(TimestampTz at)
{
	return at / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

static TimestampTz
from_unix(int64 seconds)
{
	return (seconds - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC;
}

/* A key with an issuer has its own rules; the settings judge the others. */
static const char *
judge_claims(const CoziJson *json, const CoziKey *key, TimestampTz at)
{
	const CoziTokenSettings *settings = cozi_token_settings();
	CoziClaimRules rules;

	rules.bound = key->issuer != NULL;
	rules.issuer = rules.bound ? key->issuer : settings->issuer;
	rules.audiences = key->audiences;
	rules.naudiences = key->naudiences;
	if (!rules.bound && key->naudiences == 0)
	{
		rules.audiences = settings->audiences;
		rules.naudiences = settings->naudiences;
	}
	rules.id_tokens = key->id_tokens;
	rules.leeway = cozi_jwt_leeway;
	rules.max_lifetime = cozi_jwt_max_lifetime;
	return cozi_claims_check(json, &rules, to_unix(at));
}

static void
note(Refusal *refusal, int stage, const char *reason)
{
	if (stage < refusal->stage)
		return;
	refusal->stage = stage;
	refusal->reason = reason;
}

/*
 * Does the key believe the token?  Each key that verifies the signature reads
 * the claims anew, since an issuer with two names has each key twice: what one
 * could not read to the end must not be judged by the next.
 */
static bool
key_believes(CoziKey *key, CoziJws *jws, TimestampTz at, Refusal *refusal)
{
	const CoziVerifier *verifier;
	const char *reason = NULL;

	if (at < key->not_before)
		note(refusal, KEY_NOT_USABLE, "the key is not in use yet");
	else if (at >= key->retired_at)
		note(refusal, KEY_NOT_USABLE, "the key was retired");
	else if (!cozi_alg_is(key->alg, jws->alg))
		note(refusal, KEY_NOT_USABLE, "the header's alg is not the key's");
	else if ((verifier = cozi_key_verifier(key)) == NULL || !cozi_verifies(verifier, jws))
		note(refusal, BAD_SIGNATURE, "the signature does not verify");
	else
	{
		reason = cozi_json_read(&jws->json, jws->payload, jws->payload_len,
								GetDatabaseEncoding() == PG_UTF8 ? COZI_JSON_UTF8 : COZI_JSON_ASCII);
		if (reason == NULL)
			reason = judge_claims(&jws->json, key, at);
		if (reason == NULL)
			return true;
		note(refusal, BAD_CLAIMS, reason);
	}
	return false;
}

/* The key that believes the token, or NULL and the refusal. */
static const CoziKey *
find_believing_key(CoziJws *jws, TimestampTz at, Refusal *refusal)
{
	ListCell   *cell;

	refusal->stage = NO_KEY;
	refusal->reason = jws->has_kid ? "no key has the token's kid"
		: "the token has no kid, and there is no key without one";
	if (jws->has_kid)
	{
		foreach(cell, cozi_keys_of(jws->kid))
		{
			if (key_believes(lfirst(cell), jws, at, refusal))
				return lfirst(cell);
		}
	}
	foreach(cell, cozi_keys_of(NULL))
	{
		CoziKey    *key = lfirst(cell);

		if ((key->any_kid || !jws->has_kid) && key_believes(key, jws, at, refusal))
			return key;
	}
	return NULL;
}

/* A string member, palloc'd; NULL where there is none. */
static char *
string_member(const CoziJson *json, const char *name, int *len)
{
	const CoziJsonMember *member = cozi_json_member(json, name);
	char	   *value;

	*len = 0;
	if (member == NULL || member->kind != COZI_JSON_STRING)
		return NULL;
	value = palloc(member->value_len);
	*len = cozi_json_string(member, value, member->value_len);
	return value;
}

static void
take_claims(const CoziJws *jws, const CoziKey *key, Verified *verified)
{
	int64		seconds = 0;

	verified->claims = jws->payload;
	verified->claims_len = jws->payload_len;
	verified->subject = string_member(&jws->json, "sub", &verified->subject_len);
	verified->jti = string_member(&jws->json, "jti", &verified->jti_len);
	verified->issued_at = cozi_json_seconds(cozi_json_member(&jws->json, "iat"), &seconds)
		? from_unix(seconds) : DT_NOBEGIN;
	(void) cozi_json_seconds(cozi_json_member(&jws->json, "exp"), &seconds);
	verified->expires_at = from_unix(seconds + cozi_jwt_leeway);
	verified->key = key;
}

/* Why a token is not to be believed at an instant; NULL when it is. */
static const char *
judge_token(const char *token, int len, TimestampTz at, Verified *verified)
{
	/*
	 * large, and used by one verification at a time: no foreign code runs
	 * here
	 */
	static CoziJws workspace;
	CoziJws    *jws = &workspace;
	const char *reason = cozi_jws_read(jws, token, len);
	Refusal		refusal;
	const CoziKey *key;

	if (reason)
		return reason;
	if (jws->has_typ && !cozi_is_login_type(jws->typ))
		return "the header's typ is not in cozi.jwt_types";
	key = find_believing_key(jws, at, &refusal);
	if (key == NULL)
		return refusal.reason;
	take_claims(jws, key, verified);
	return NULL;
}

static void
append(CoziLogin *login, const char *value, int len)
{
	if (len > 0)
		memcpy(login->data + login->data_len, value, len);
	login->data_len += Max(len, 0);
	login->data[login->data_len++] = '\0';
}

static void
remember_token(const uint64 hash[2], const Verified *verified, TimestampTz at)
{
	CoziLogin	login;
	const char *kid = verified->key->kid;

	login.kid_len = kid ? strlen(kid) : -1;
	if (verified->claims_len + verified->subject_len + verified->jti_len + login.kid_len + 4 >
		COZI_LOGIN_DATA)
		return;
	memcpy(login.key, verified->key->digest, sizeof(login.key));
	login.verified_at = at;
	login.valid_until = Min(verified->expires_at, verified->key->retired_at);
	login.issued_at = verified->issued_at;
	login.claims_len = verified->claims_len;
	login.subject_len = verified->subject_len;
	login.jti_len = verified->jti_len;
	login.data_len = 0;
	append(&login, verified->claims, verified->claims_len);
	append(&login, verified->subject, verified->subject_len);
	append(&login, verified->jti, verified->jti_len);
	append(&login, kid, login.kid_len);
	cozi_remember_login(hash, cozi_token_settings()->digest, &login);
}

/* Was the token verified lately, and is its key still what it was? */
static bool
recall_token(const uint64 hash[2], TimestampTz at, CoziLogin *login, Verified *verified)
{
	const char *kid;

	if (!cozi_recall_login(hash, cozi_token_settings()->digest, at, login))
		return false;
	verified->claims = login->data;
	verified->claims_len = login->claims_len;
	verified->subject = verified->claims + verified->claims_len + 1;
	verified->subject_len = login->subject_len;
	verified->jti = verified->subject + verified->subject_len + 1;
	verified->jti_len = login->jti_len;
	verified->issued_at = login->issued_at;
	kid = login->kid_len < 0 ? NULL : verified->jti + verified->jti_len + 1;
	return cozi_key_stands(kid, login->key);
}

/* The token's bytes, or the reason why it is not even looked at. */
static const char *
read_token(Datum datum, const char **token, int *len)
{
	text	   *compact;

	if (cozi_settings_forged())
		return "the client's startup options set a setting of cozi";
	if (toast_raw_datum_size(datum) - VARHDRSZ > COZI_TOKEN_MAX)
		return "the token is longer than 8 kB";
	compact = DatumGetTextPP(datum);
	*token = VARDATA_ANY(compact);
	*len = VARSIZE_ANY_EXHDR(compact);
	return NULL;
}

static const char *
is_revoked(const Verified *verified)
{
	return cozi_find_revocation(verified->jti, verified->jti_len, verified->subject,
								verified->subject_len, verified->issued_at);
}

static void
refuse_token(const char *reason)
{
	/* no callback may add a context: a caller's statement holds the token */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("invalid token"),
			 errdetail_log("Reason: %s.", reason),
			 errhidestmt(true),
			 errhidecontext(true)));
}

/* Verify a token and become its subject, which is returned. */
static text *
login_with(Datum datum)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *token;
	int			len;
	const char *reason = read_token(datum, &token, &len);
	uint64		hash[2];
	CoziLogin	login;
	Verified	verified;

	if (reason)
		refuse_token(reason);
	cozi_hash128(MyDatabaseId, token, len, hash);
	if (!recall_token(hash, now, &login, &verified))
	{
		reason = judge_token(token, len, now, &verified);
		if (reason)
			refuse_token(reason);
		remember_token(hash, &verified, now);
	}
	reason = is_revoked(&verified);
	if (reason)
		refuse_token(reason);
	cozi_set_identity(verified.claims, verified.subject, verified.subject_len);
	return cstring_to_text_with_len(verified.subject, verified.subject_len);
}

PG_FUNCTION_INFO_V1(cozi_login);

/* login(token text) -> text: the subject */
Datum
cozi_login(PG_FUNCTION_ARGS)
{
	/* not STRICT: a missing token must not leave an earlier identity */
	if (PG_ARGISNULL(0))
		refuse_token("the token is NULL");
	PG_RETURN_TEXT_P(login_with(PG_GETARG_DATUM(0)));
}

PG_FUNCTION_INFO_V1(cozi_login_if);

/* login_if(token text) -> text: the subject; NULL and "" make the caller nobody */
Datum
cozi_login_if(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || toast_raw_datum_size(PG_GETARG_DATUM(0)) == VARHDRSZ)
	{
		cozi_set_identity("", NULL, 0);
		PG_RETURN_NULL();
	}
	PG_RETURN_TEXT_P(login_with(PG_GETARG_DATUM(0)));
}

PG_FUNCTION_INFO_V1(cozi_check_token);

/*
 * check_token(token text, as_of timestamptz) -> text: why login() would refuse
 * the token at that instant, NULL when it would not
 */
Datum
cozi_check_token(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_ARGISNULL(1) ? GetCurrentTimestamp() : PG_GETARG_TIMESTAMPTZ(1);
	const char *token;
	int			len;
	const char *reason;
	Verified	verified;

	if (PG_ARGISNULL(0))
		PG_RETURN_TEXT_P(cstring_to_text("the token is NULL"));
	reason = read_token(PG_GETARG_DATUM(0), &token, &len);
	if (reason == NULL)
		reason = judge_token(token, len, at, &verified);
	if (reason == NULL)
		reason = is_revoked(&verified);
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
