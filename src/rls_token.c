/*
 * rls_token.c
 *		login(): a signed token becomes the identity of the transaction.
 *
 * In this order: size, parts, header (jws.c); the key, which alone decides
 * the algorithm, and the signature (rls_key.c); then, now that somebody we
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

#include "cozi.h"
#include "jws.h"

char	   *cozi_role_claim;
char	   *cozi_api_roles;

static char *jwt_issuer;
static char *jwt_audience;
static int	jwt_leeway;
static int	jwt_max_lifetime;

/*
 * Did a client's startup options shadow a setting of ours before the library
 * was loaded?  See cozi_settings_forged().
 */
static bool settings_forged = false;

PG_FUNCTION_INFO_V1(cozi_login);
PG_FUNCTION_INFO_V1(cozi_check_token);

/*
 * In a session that loads the library late, "-c cozi.jwt_audience=x" among a
 * client's startup options is a placeholder that takes the place of what the
 * database or configuration file says.  When the real setting is defined the
 * client's value is refused, but what it shadowed is lost: without a word,
 * any audience would do.  Such a session gets no identity.
 */
bool
cozi_settings_forged(void)
{
	return settings_forged;
}

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

	if (settings_forged)
		return "the client's startup options set a setting of cozi";
	if (toast_raw_datum_size(token) - VARHDRSZ > COZI_TOKEN_MAX)
		return "the token is longer than 8 kB";
	compact = DatumGetTextPP(token);
	reason = cozi_jws_read(jws, VARDATA_ANY(compact), VARSIZE_ANY_EXHDR(compact));
	if (reason == NULL)
		reason = cozi_verify_signature(jws, at);
	if (reason)
		return reason;

	rules.issuer = jwt_issuer[0] ? jwt_issuer : NULL;
	rules.audience = jwt_audience[0] ? jwt_audience : NULL;
	rules.leeway = jwt_leeway;
	rules.max_lifetime = jwt_max_lifetime;
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

/* --- settings ------------------------------------------------------------- */

static const char *const guarded[] = {
	"cozi.jwt_issuer",
	"cozi.jwt_audience",
	"cozi.jwt_leeway",
	"cozi.jwt_max_lifetime",
	"cozi.role_claim",
	"cozi.api_roles",
};

static bool
set_at_startup_by_client(const char *name)
{
	struct config_generic *setting = find_setting_compat(name);

	return setting != NULL && setting->reset_source == PGC_S_CLIENT;
}

static void
define_settings(void)
{
	DefineCustomStringVariable("cozi.jwt_issuer",
							   "The issuer (iss) a token must name; any when empty.",
							   NULL,
							   &jwt_issuer,
							   "",
							   PGC_SUSET,
							   0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("cozi.jwt_audience",
							   "The audience (aud) a token must name; any when empty.",
							   NULL,
							   &jwt_audience,
							   "",
							   PGC_SUSET,
							   0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("cozi.jwt_leeway",
							"How far the clocks of issuer and server may differ.",
							NULL,
							&jwt_leeway,
							30, 0, 3600,
							PGC_SUSET,
							GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("cozi.jwt_max_lifetime",
							"The longest lifetime of a token; 0 allows any.",
							NULL,
							&jwt_max_lifetime,
							24 * 60 * 60, 0, PG_INT32_MAX,
							PGC_SUSET,
							GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("cozi.role_claim",
							   "The claim that holds the caller's roles, a path with dots.",
							   NULL,
							   &cozi_role_claim,
							   "role",
							   PGC_SUSET,
							   0,
							   cozi_check_role_claim, NULL, NULL);
	DefineCustomStringVariable("cozi.api_roles",
							   "The database roles that clients act as.",
							   NULL,
							   &cozi_api_roles,
							   "anon, authenticated",
							   PGC_SUSET,
							   GUC_LIST_INPUT,
							   NULL, NULL, NULL);
}

void
cozi_rls_token_init(void)
{
	bool		client[lengthof(guarded)];

	for (int i = 0; i < lengthof(guarded); i++)
		client[i] = set_at_startup_by_client(guarded[i]);
	define_settings();
	for (int i = 0; i < lengthof(guarded); i++)
		if (client[i] && !set_at_startup_by_client(guarded[i]))
			settings_forged = true;
}
