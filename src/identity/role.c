/*
 * identity/role.c
 *		The roles that the caller's claims give: has_role(), require_role().
 *
 * The law: only verified claims give a role, and nothing that users write
 * themselves.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

#include "base/base.h"
#include "identity/identity.h"

/* Into one member of an object; false where there is none. */
static bool
descend(JsonbValue *at, const char *key, int len)
{
	JsonbValue	found;

	if (at->type != jbvBinary || !JsonContainerIsObject(at->val.binary.data) ||
		getKeyJsonValueFromContainer(at->val.binary.data, key, len, &found) == NULL)
		return false;
	*at = found;
	return true;
}

/*
 * What the claims say at cozi.role_claim.  Names of claims may have dots
 * themselves (https://example.org/roles): the whole setting is tried as one
 * name first.
 */
static bool
find_role_claim(Jsonb *claims, JsonbValue *at)
{
	const char *part = cozi_role_claim;
	JsonbValue	whole = {.type = jbvBinary};

	whole.val.binary.data = &claims->root;
	whole.val.binary.len = VARSIZE(claims) - VARHDRSZ;
	*at = whole;
	if (descend(at, part, strlen(part)))
		return true;
	*at = whole;
	for (;;)
	{
		int			len = strcspn(part, ".");

		if (!descend(at, part, len))
			return false;
		if (part[len] == '\0')
			return true;
		part += len + 1;
	}
}

static bool
is_string(const JsonbValue *value, const char *s, int len)
{
	return value->type == jbvString && value->val.string.len == len &&
		memcmp(value->val.string.val, s, len) == 0;
}

static bool
caller_has_role(text *role)
{
	const char *s = VARDATA_ANY(role);
	int			len = VARSIZE_ANY_EXHDR(role);
	Jsonb	   *claims = cozi_settings_forged() ? NULL : cozi_claims();
	JsonbValue	at,
				wanted;

	if (claims == NULL || !find_role_claim(claims, &at))
		return false;
	if (at.type != jbvBinary)
		return is_string(&at, s, len);
	if (!JsonContainerIsArray(at.val.binary.data))
		return false;
	wanted.type = jbvString;
	wanted.val.string.val = unconstify(char *, s);
	wanted.val.string.len = len;
	return findJsonbValueFromContainer(at.val.binary.data, JB_FARRAY, &wanted) != NULL;
}

/* The same for a string that ends in a NUL. */
bool
cozi_caller_has_role(const char *role)
{
	return caller_has_role(cstring_to_text(role));
}

/* has_role(role text) -> boolean: do the verified claims give it? */
PG_FUNCTION_INFO_V1(cozi_has_role);

Datum
cozi_has_role(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_role(PG_GETARG_TEXT_PP(0)));
}

/* require_role(role text) -> void: has_role(), or an error instead of false */
PG_FUNCTION_INFO_V1(cozi_require_role);

Datum
cozi_require_role(PG_FUNCTION_ARGS)
{
	/* not STRICT: a role that is NULL must not pass in silence */
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("role must not be null")));
	if (cozi_identity()->claims == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("nobody is logged in"),
				 errhint("Call cozi.login() with a signed token in the same transaction.")));
	if (!caller_has_role(PG_GETARG_TEXT_PP(0)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is required", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errdetail("The roles of the caller are at \"%s\" in the claims of the token.", cozi_role_claim)));
	PG_RETURN_VOID();
}

/* Users write their user_metadata themselves: it gives nobody a role. */
bool
cozi_check_role_claim(char **newval, void **extra, GucSource source)
{
	static const char *const written_by_users[] = {"user_metadata", "raw_user_meta_data"};

	for (int i = 0; i < lengthof(written_by_users); i++)
	{
		size_t		len = strlen(written_by_users[i]);

		if (strncmp(*newval, written_by_users[i], len) == 0 && ((*newval)[len] == '\0' || (*newval)[len] == '.'))
		{
			GUC_check_errdetail("Users may write \"%s\" themselves.", written_by_users[i]);
			return false;
		}
	}
	return true;
}
