/*
 * identity/act.c
 *		act_as(): the identity of a user without the user's token.
 *
 * For tests, scheduled jobs and support.  Nobody but the extension's owner may
 * execute it until the owner grants it; each call is a line in the server log,
 * and the claims say who acts (RFC 8693 section 4.1), so that a policy or a
 * trigger can tell.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/json.h"

#include "base/base.h"
#include "identity/identity.h"
#include "pure/json.h"

static void
bad_argument(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 hint ? errhint("%s", hint) : 0));
}

/*
 * The claims, with the subject, and with the session user as the one who acts.
 * An actor that the claims name already acts through the session user.
 */
static char *
acting_claims(const char *subject, Jsonb *claims)
{
	char	   *actor = GetUserNameFromId(GetSessionUserId(), false);
	JsonbValue	buf,
			   *before;
	StringInfoData said;
	Jsonb	   *all;

	initStringInfo(&said);
	appendStringInfoString(&said, "{\"sub\": ");
	escape_json(&said, subject);
	appendStringInfoString(&said, ", \"act\": {\"sub\": ");
	escape_json(&said, actor);
	before = getKeyJsonValueFromContainer(&claims->root, "act", 3, &buf);
	if (before && before->type == jbvBinary && JsonContainerIsObject(before->val.binary.data))
	{
		appendStringInfoString(&said, ", \"act\": ");
		(void) JsonbToCString(&said, before->val.binary.data, before->val.binary.len);
	}
	appendStringInfoString(&said, "}}");
	all = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(claims),
											 DirectFunctionCall1(jsonb_in, CStringGetDatum(said.data))));
	return JsonbToCString(NULL, &all->root, VARSIZE(all));
}

PG_FUNCTION_INFO_V1(cozi_act_as);

/* act_as(subject text, claims jsonb, reason text) -> void */
Datum
cozi_act_as(PG_FUNCTION_ARGS)
{
	char	   *subject,
			   *claims;
	CoziJson   *json = palloc(sizeof(CoziJson));

	cozi_require_argument(fcinfo, 0, "subject");
	cozi_require_argument(fcinfo, 1, "claims");
	subject = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (subject[0] == '\0')
		bad_argument("argument \"subject\" must not be empty", "Call cozi.logout() to be nobody.");
	if (!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)))
		bad_argument("argument \"claims\" must be a JSON object", NULL);
	claims = acting_claims(subject, PG_GETARG_JSONB_P(1));
	if (cozi_json_read(json, claims, strlen(claims), COZI_JSON_TRUSTED) != NULL)
		bad_argument("argument \"claims\" is more than a token may claim",
					 "The claims may have 8 kB, 32 levels and numbers of 64 characters.");
	cozi_set_identity(claims, subject, strlen(subject));
	ereport(LOG,
			(errmsg("session user \"%s\" acts as \"%s\": %s",
					GetUserNameFromId(GetSessionUserId(), false), subject,
					PG_ARGISNULL(2) ? "no reason given" : text_to_cstring(PG_GETARG_TEXT_PP(2))),
			 errhidestmt(true),
			 errhidecontext(true)));
	PG_RETURN_VOID();
}
