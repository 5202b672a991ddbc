/*
 * identity/identity.c
 *		Who is calling: the setting cozi.identity, and its readers.
 *
 * The identity is the verified claims of a token, as JSON text, in a setting
 * that only this file writes, and only for the current transaction
 * (GUC_ACTION_LOCAL).  A setting, because PostgreSQL then does the rest: it
 * ends with the transaction, follows savepoints and exception blocks, and
 * reaches parallel workers.  A static variable with transaction callbacks is
 * empty in a worker; a PGC_INTERNAL setting survives ROLLBACK.
 *
 * The law: nobody else writes it.  PGC_SUSET keeps clients out; the check
 * hook keeps out everybody, GRANT SET ON PARAMETER, ALTER DATABASE SET and
 * superusers included: a value passes only while cozi_set_identity() runs, or
 * when a parallel worker takes over its leader's settings.
 *
 * The check hook reads the subject out of the JSON once, into the setting's
 * "extra"; the assign hook makes that the current identity; readers read
 * static memory.
 *
 * An owner's code that maintenance runs (SECURITY_RESTRICTED_OPERATION) must
 * not change the caller's identity: there it cannot be written at all.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "common/int.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "base/base.h"
#include "identity/identity.h"
#include "pure/json.h"

/* What a value of the setting says; in its "extra". */
struct CoziIdentityExtra
{
	CoziIdentity who;			/* claims: set when assigned */
	char		subject[FLEXIBLE_ARRAY_MEMBER];
};

static const CoziIdentity nobody;

/* The current identity by the setting; and did login or logout say it? */
static CoziIdentity identity;
static bool identity_said = false;

static uint64 last_generation = 0;

/* cozi_set_identity() is at work; the subject, where it was read already. */
static bool writing = false;
static const char *writing_subject = NULL;
static int	writing_subject_len;

char	   *cozi_identity_setting;

/* 8-4-4-4-12 hexadecimal digits: the form of RFC 4122, in either case. */
bool
cozi_subject_uuid(const char *s, int len, pg_uuid_t *uuid)
{
	int			n = 0;

	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		int			digit;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (s[i] != '-')
				return false;
			continue;
		}
		if (s[i] >= '0' && s[i] <= '9')
			digit = s[i] - '0';
		else if (s[i] >= 'a' && s[i] <= 'f')
			digit = s[i] - 'a' + 10;
		else if (s[i] >= 'A' && s[i] <= 'F')
			digit = s[i] - 'A' + 10;
		else
			return false;
		if (n % 2 == 0)
			uuid->data[n / 2] = (unsigned char) (digit << 4);
		else
			uuid->data[n / 2] |= (unsigned char) digit;
		n++;
	}
	return true;
}

/* The one decimal form of a number: two subjects are never one user. */
static bool
subject_bigint(const char *s, int len, int64 *value)
{
	bool		negative = len > 0 && s[0] == '-';
	int			i = negative ? 1 : 0;
	int64		n = 0;

	if (len == i || len > 20 || (s[i] == '0' && len > 1))
		return false;
	for (; i < len; i++)
	{
		if (s[i] < '0' || s[i] > '9')
			return false;
		/* downwards, as there is one more number below 0 than above */
		if (pg_mul_s64_overflow(n, 10, &n) || pg_sub_s64_overflow(n, s[i] - '0', &n))
			return false;
	}
	if (!negative && n == PG_INT64_MIN)
		return false;
	*value = negative ? n : -n;
	return true;
}

/* A subject into an identity.  NULL when there is no memory. */
static CoziIdentityExtra *
make_identity(const char *subject, int len, void *(*alloc) (size_t))
{
	CoziIdentityExtra *extra = alloc(offsetof(CoziIdentityExtra, subject) + len + 1);

	if (extra == NULL)
		return NULL;
	memset(extra, 0, offsetof(CoziIdentityExtra, subject) + len + 1);
	extra->who.generation = ++last_generation;
	if (len > 0)
	{
		memcpy(extra->subject, subject, len);
		extra->who.subject = extra->subject;
		extra->who.subject_len = len;
		extra->who.has_uuid = cozi_subject_uuid(subject, len, &extra->who.uuid);
		extra->who.has_bigint = subject_bigint(subject, len, &extra->who.bigint);
	}
	return extra;
}

/*
 * The same from the text of claims, which may have no subject.  NULL, and why,
 * when they are no strict JSON object.
 */
CoziIdentityExtra *
cozi_read_identity(const char *claims, void *(*alloc) (size_t), const char **why)
{
	CoziJson	json;
	char		subject[COZI_JSON_MAX_SIZE];
	int			len;

	*why = cozi_json_read(&json, claims, strlen(claims),
						  GetDatabaseEncoding() == PG_UTF8 ? COZI_JSON_UTF8 : COZI_JSON_TRUSTED);
	if (*why)
		return NULL;
	len = cozi_json_string(cozi_json_member(&json, "sub"), subject, sizeof(subject));
	return make_identity(subject, Max(len, 0), alloc);
}

const CoziIdentity *
cozi_identity_of(const CoziIdentityExtra *extra)
{
	return &extra->who;
}

static void *
extra_alloc(size_t size)
{
	return guc_malloc_compat(size);
}

bool
cozi_check_identity(char **newval, void **extra, GucSource source)
{
	/* a worker takes its leader's value over, which the leader's hook saw */
	bool		ours = writing || (InitializingParallelWorker && source == PGC_S_SESSION);
	const char *why;

	if (!ours)
	{
		*extra = NULL;
		if (**newval == '\0')
			return true;		/* the default, and anybody's way to nobody */
		GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
		GUC_check_errmsg("parameter \"cozi.identity\" cannot be set");
		GUC_check_errhint("Call cozi.login() with a signed token.");
		return false;
	}
	if (**newval == '\0' || writing_subject)
		*extra = make_identity(writing_subject, writing_subject_len, extra_alloc);
	else
		*extra = cozi_read_identity(*newval, extra_alloc, &why);
	return *extra != NULL;
}

void
cozi_assign_identity(const char *newval, void *extra)
{
	identity_said = extra != NULL;
	identity = extra ? ((CoziIdentityExtra *) extra)->who : nobody;
	identity.claims = newval && newval[0] ? newval : NULL;
}

/*
 * Become whom these claims name, until the transaction ends; "": nobody.
 * subject: what their sub says.
 */
void
cozi_set_identity(const char *claims, const char *subject, int subject_len)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot change the identity within a security-restricted operation"),
				 errhint("Functions that maintenance runs, such as those of an index, must not "
						 "log in or out.")));
	writing = true;
	writing_subject = subject;
	writing_subject_len = subject ? subject_len : 0;
	PG_TRY();
	{
		(void) set_config_option("cozi.identity", claims, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	}
	PG_FINALLY();
	{
		writing = false;
		writing_subject = NULL;
		writing_subject_len = 0;
	}
	PG_END_TRY();
}

/*
 * The current identity: never NULL, never an error, and cheap.  Valid until
 * the next call of anything that may change it.
 */
const CoziIdentity *
cozi_identity(void)
{
	if (identity_said || cozi_trusted_gateways == NULL || cozi_trusted_gateways[0] == '\0')
		return &identity;
	return cozi_session_user_is_gateway() ? cozi_gateway_identity() : &identity;
}

/*
 * The current claims, parsed once an identity; NULL when there are none.
 * Valid as long as the identity is.
 */
Jsonb	   *
cozi_claims(void)
{
	static MemoryContext context = NULL;
	static Jsonb *claims;
	static uint64 generation = 0;
	const CoziIdentity *who = cozi_identity();
	MemoryContext old;
	uint64		wanted = who->generation;

	if (who->claims == NULL)
		return NULL;
	if (wanted == generation)
		return claims;

	generation = 0;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "cozi claims", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	claims = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(who->claims)));
	MemoryContextSwitchTo(old);
	generation = wanted;
	return claims;
}
