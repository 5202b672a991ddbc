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
 * Where a session user is one of cozi.trusted_gateways (PostgREST and its
 * like, which verify tokens themselves), request.jwt.claims is believed as
 * long as neither login() nor logout() was called in the transaction.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "common/int.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "identity/identity.h"
#include "pure/json.h"

/* What a value of the setting says; in its "extra". */
typedef struct IdentityExtra
{
	CoziIdentity who;			/* claims: set when assigned */
	char		subject[FLEXIBLE_ARRAY_MEMBER];
} IdentityExtra;

static const CoziIdentity nobody;

/* The current identity by the setting; and did login or logout say it? */
static CoziIdentity identity;
static bool identity_said = false;

/* The last claims a gateway handed over, and who they are. */
static struct
{
	char	   *claims;			/* malloc'd, or NULL */
	IdentityExtra *extra;		/* malloc'd, or NULL */
	CoziIdentity who;
}			gateway;

/* Is the session user a gateway?  Valid for the user it was asked for. */
static Oid	asked_user = InvalidOid;
static bool asked_is_gateway;

static uint64 last_generation = 0;

/* cozi_set_identity() is at work; the claims, where they were read already. */
static bool writing = false;
static const CoziJson *writing_json = NULL;

char	   *cozi_identity_setting;
char	   *cozi_trusted_gateways;

/* --- reading a subject ---------------------------------------------------- */

/* 8-4-4-4-12 hexadecimal digits: the form of RFC 4122, in either case. */
static bool
subject_uuid(const char *s, int len, pg_uuid_t *uuid)
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

/*
 * Claims into an identity.  Allocates with alloc; NULL when there is no
 * memory.
 */
static IdentityExtra *
make_identity(const CoziJson *json, void *(*alloc) (size_t))
{
	const CoziJsonMember *sub = cozi_json_member(json, "sub");
	IdentityExtra *extra;
	int			room;

	room = sub && sub->kind == COZI_JSON_STRING ? sub->value_len : 1;
	extra = alloc(offsetof(IdentityExtra, subject) + room);
	if (extra == NULL)
		return NULL;
	memset(extra, 0, offsetof(IdentityExtra, subject) + room);
	extra->who.generation = ++last_generation;
	extra->who.subject_len = Max(cozi_json_string(sub, extra->subject, room), 0);
	if (extra->who.subject_len > 0)
	{
		extra->who.subject = extra->subject;
		extra->who.has_uuid = subject_uuid(extra->subject, extra->who.subject_len, &extra->who.uuid);
		extra->who.has_bigint = subject_bigint(extra->subject, extra->who.subject_len, &extra->who.bigint);
	}
	return extra;
}

/* The same from text; NULL also when it is no strict JSON object. */
static IdentityExtra *
read_identity(const char *claims, void *(*alloc) (size_t))
{
	CoziJson	json;
	CoziJsonBytes bytes = GetDatabaseEncoding() == PG_UTF8 ? COZI_JSON_UTF8 : COZI_JSON_TRUSTED;

	if (cozi_json_read(&json, claims, strlen(claims), bytes) != NULL)
		return NULL;
	return make_identity(&json, alloc);
}

/* --- the setting ------------------------------------------------------------ */

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
	if (**newval == '\0')
	{
		/* logout() said that it is nobody */
		*extra = extra_alloc(sizeof(IdentityExtra) + 1);
		if (*extra == NULL)
			return false;
		memset(*extra, 0, sizeof(IdentityExtra) + 1);
		((IdentityExtra *) *extra)->who.generation = ++last_generation;
		return true;
	}
	*extra = writing_json ? make_identity(writing_json, extra_alloc) : read_identity(*newval, extra_alloc);
	return *extra != NULL;
}

void
cozi_assign_identity(const char *newval, void *extra)
{
	identity_said = extra != NULL;
	identity = extra ? ((IdentityExtra *) extra)->who : nobody;
	identity.claims = newval && newval[0] ? newval : NULL;
}

/*
 * Become whom these claims name, until the transaction ends; "": nobody.
 * json: the same claims as read, or NULL.
 */
void
cozi_set_identity(const char *claims, const CoziJson *json)
{
	writing = true;
	writing_json = json;
	PG_TRY();
	{
		(void) set_config_option("cozi.identity", claims, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	}
	PG_FINALLY();
	{
		writing = false;
		writing_json = NULL;
	}
	PG_END_TRY();
}

/* --- gateways ----------------------------------------------------------------- */

bool
cozi_check_gateways(char **newval, void **extra, GucSource source)
{
	char	   *raw = pstrdup(*newval);
	List	   *names;
	bool		ok = SplitIdentifierString(raw, ',', &names);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	else
		list_free(names);
	pfree(raw);
	return ok;
}

void
cozi_assign_gateways(const char *newval, void *extra)
{
	asked_user = InvalidOid;
}

/* A role was renamed, or dropped and its name given away. */
static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	asked_user = InvalidOid;
}

static bool
session_user_is_gateway(void)
{
	Oid			user = GetSessionUserId();
	char	   *name,
			   *raw;
	List	   *names;
	ListCell   *cell;

	if (user == asked_user)
		return asked_is_gateway;

	/* first, so that a change seen by the look-up below makes us ask again */
	asked_user = user;
	asked_is_gateway = false;
	name = GetUserNameFromId(user, true);
	raw = pstrdup(cozi_trusted_gateways);
	if (name && SplitIdentifierString(raw, ',', &names))
		foreach(cell, names)
			if (strcmp(lfirst(cell), name) == 0)
			asked_is_gateway = true;
	return asked_is_gateway;
}

/* Whom request.jwt.claims names; read again only when its text changed. */
static const CoziIdentity *
gateway_identity(void)
{
	const char *claims = GetConfigOption("request.jwt.claims", true, false);

	if (claims == NULL || claims[0] == '\0' || cozi_settings_forged())
		return &nobody;
	if (gateway.claims && strcmp(claims, gateway.claims) == 0)
		return &gateway.who;

	free(gateway.claims);
	free(gateway.extra);
	gateway.claims = strdup(claims);
	gateway.extra = read_identity(claims, malloc);
	gateway.who = nobody;
	if (gateway.claims && gateway.extra)
	{
		gateway.who = gateway.extra->who;
		gateway.who.claims = gateway.claims;
	}
	return &gateway.who;
}

/* --- what everybody asks --------------------------------------------------------- */

/*
 * The current identity: never NULL, never an error, and cheap.  Valid until
 * the next call of anything that may change it.
 */
const CoziIdentity *
cozi_identity(void)
{
	if (identity_said || cozi_trusted_gateways == NULL || cozi_trusted_gateways[0] == '\0')
		return &identity;
	return session_user_is_gateway() ? gateway_identity() : &identity;
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

/* --- SQL --------------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(cozi_uid);
PG_FUNCTION_INFO_V1(cozi_uid_bigint);
PG_FUNCTION_INFO_V1(cozi_uid_text);
PG_FUNCTION_INFO_V1(cozi_require_uid);
PG_FUNCTION_INFO_V1(cozi_require_uid_bigint);
PG_FUNCTION_INFO_V1(cozi_require_uid_text);
PG_FUNCTION_INFO_V1(cozi_claims_jsonb);
PG_FUNCTION_INFO_V1(cozi_claim);
PG_FUNCTION_INFO_V1(cozi_logout);

/* The identity may end before the answer does: a copy. */
static Datum
uuid_datum(const pg_uuid_t *uuid)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *uuid;
	return UUIDPGetDatum(copy);
}

/* uid() -> uuid: the subject, NULL when nobody or not a uuid */
Datum
cozi_uid(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_uuid)
		PG_RETURN_NULL();
	return uuid_datum(&who->uuid);
}

/* uid_bigint() -> bigint: the subject, NULL when nobody or not a number */
Datum
cozi_uid_bigint(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_bigint)
		PG_RETURN_NULL();
	PG_RETURN_INT64(who->bigint);
}

/* uid_text() -> text: the subject as it is, NULL when nobody */
Datum
cozi_uid_text(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (who->subject == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(who->subject, who->subject_len));
}

/* The identity, when it has a subject. */
static const CoziIdentity *
require_subject(void)
{
	const CoziIdentity *who = cozi_identity();

	if (who->subject == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("nobody is logged in"),
				 errhint("Call cozi.login() with a signed token in the same transaction.")));
	return who;
}

static void
require_type(bool has, const char *typname)
{
	if (!has)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the subject of the identity is not of type %s", typname),
				 errhint("Use cozi.require_uid(), cozi.require_uid_bigint() or cozi.require_uid_text(), as your user ids are.")));
}

/* require_uid() -> uuid: uid(), or an error instead of NULL */
Datum
cozi_require_uid(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = require_subject();

	require_type(who->has_uuid, "uuid");
	return uuid_datum(&who->uuid);
}

/* require_uid_bigint() -> bigint */
Datum
cozi_require_uid_bigint(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = require_subject();

	require_type(who->has_bigint, "bigint");
	PG_RETURN_INT64(who->bigint);
}

/* require_uid_text() -> text */
Datum
cozi_require_uid_text(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = require_subject();

	PG_RETURN_TEXT_P(cstring_to_text_with_len(who->subject, who->subject_len));
}

/* claims() -> jsonb: all claims of the token, NULL when nobody */
Datum
cozi_claims_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb	   *claims = cozi_claims();

	if (claims == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(memcpy(palloc(VARSIZE(claims)), claims, VARSIZE(claims)));
}

/* claim(name text) -> text: one claim, as ->> gives it */
Datum
cozi_claim(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	Jsonb	   *claims = cozi_claims();
	JsonbValue	buf,
			   *value;

	if (claims == NULL)
		PG_RETURN_NULL();
	value = getKeyJsonValueFromContainer(&claims->root, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &buf);
	if (value == NULL || value->type == jbvNull)
		PG_RETURN_NULL();
	if (value->type == jbvString)
		PG_RETURN_TEXT_P(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
	if (value->type == jbvBool)
		PG_RETURN_TEXT_P(cstring_to_text(value->val.boolean ? "true" : "false"));
	if (value->type == jbvNumeric)
		PG_RETURN_TEXT_P(cstring_to_text(DatumGetCString(DirectFunctionCall1(numeric_out,
																			 NumericGetDatum(value->val.numeric)))));
	PG_RETURN_TEXT_P(cstring_to_text(JsonbToCString(NULL, value->val.binary.data, value->val.binary.len)));
}

/* logout() -> void: nobody, until the transaction ends or somebody logs in */
Datum
cozi_logout(PG_FUNCTION_ARGS)
{
	cozi_set_identity("", NULL);
	PG_RETURN_VOID();
}

/* Called once, when the library is loaded. */
void
cozi_identity_watch_roles(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
}
