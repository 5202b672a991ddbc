/*
 * identity/token.c
 *		login(): a signed token becomes the identity of the transaction.
 *
 * In this order: size, parts, header (jws.c); the key, which alone decides
 * the algorithm, and the signature (identity/key.c); then, now that somebody we
 * trust wrote it, the claims (jws.c).  An identity is set last, so whatever
 * fails before leaves things as they were.
 *
 * The law: to the client every bad token is the same error.  The reason goes
 * to the server log only; the token, its header and its payload go nowhere,
 * which is why the error hides its statement and its context.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "identity/identity.h"
#include "pure/jws.h"

PG_FUNCTION_INFO_V1(cozi_login);
PG_FUNCTION_INFO_V1(cozi_check_token);

/* Unix time, by the clock: a transaction may be older than its token. */
static int64
unix_now(TimestampTz at)
{
	return at / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

/* Why a token is not to be believed at an instant; NULL when it is. */
static const char *
judge_token(CoziJws *jws, Datum token, TimestampTz at)
{
	CoziClaimRules rules;
	text	   *compact;
	const char *reason;

	if (cozi_settings_forged())
		return "the client's startup options set a setting of cozi";
	if (toast_raw_datum_size(token) - VARHDRSZ > COZI_TOKEN_MAX)
		return "the token is longer than 8 kB";
	compact = DatumGetTextPP(token);
	reason = cozi_jws_read(jws, VARDATA_ANY(compact), VARSIZE_ANY_EXHDR(compact));
	if (reason == NULL)
		reason = cozi_verify_signature(jws, at);
	if (reason)
		return reason;

	rules.issuer = cozi_jwt_issuer[0] ? cozi_jwt_issuer : NULL;
	rules.audience = cozi_jwt_audience[0] ? cozi_jwt_audience : NULL;
	rules.leeway = cozi_jwt_leeway;
	rules.max_lifetime = cozi_jwt_max_lifetime;
	return cozi_claims_check(&jws->json, jws->payload, jws->payload_len,
							 GetDatabaseEncoding() == PG_UTF8 ? COZI_JSON_UTF8 : COZI_JSON_ASCII,
							 &rules, unix_now(at));
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

/* login(token text) -> text: the subject */
Datum
cozi_login(PG_FUNCTION_ARGS)
{
	CoziJws    *jws;
	const char *reason;
	const CoziIdentity *who;

	/* not STRICT: a missing token must not leave an earlier identity */
	if (PG_ARGISNULL(0))
		refuse_token("the token is NULL");
	jws = palloc(sizeof(CoziJws));
	reason = judge_token(jws, PG_GETARG_DATUM(0), GetCurrentTimestamp());
	if (reason)
		refuse_token(reason);
	cozi_set_identity(jws->payload, &jws->json);
	pfree(jws);

	who = cozi_identity();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(who->subject, who->subject_len));
}

/*
 * check_token(token text, as_of timestamptz) -> text: why login() would refuse
 * the token at that instant, NULL when it would not
 */
Datum
cozi_check_token(PG_FUNCTION_ARGS)
{
	CoziJws    *jws;
	const char *reason;

	if (PG_ARGISNULL(0))
		PG_RETURN_TEXT_P(cstring_to_text("the token is NULL"));
	jws = palloc(sizeof(CoziJws));
	reason = judge_token(jws, PG_GETARG_DATUM(0),
						 PG_ARGISNULL(1) ? GetCurrentTimestamp() : PG_GETARG_TIMESTAMPTZ(1));
	pfree(jws);
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
