/*
 * identity/caller.c
 *		What SQL asks about the identity: uid(), claims() and their kin.
 *
 * The law: uid() and its forms are LEAKPROOF; they have no argument and raise
 * no error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "identity/identity.h"

/* The identity may end before the answer does: a copy. */
static Datum
uuid_datum(const pg_uuid_t *uuid)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *uuid;
	return UUIDPGetDatum(copy);
}

PG_FUNCTION_INFO_V1(cozi_uid);

/* uid() -> uuid: the subject, NULL when nobody or not a uuid */
Datum
cozi_uid(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_uuid)
		PG_RETURN_NULL();
	return uuid_datum(&who->uuid);
}

PG_FUNCTION_INFO_V1(cozi_uid_bigint);

/* uid_bigint() -> bigint: the subject, NULL when nobody or not a number */
Datum
cozi_uid_bigint(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_bigint)
		PG_RETURN_NULL();
	PG_RETURN_INT64(who->bigint);
}

PG_FUNCTION_INFO_V1(cozi_uid_text);

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
				 errhint("Use cozi.require_uid(), cozi.require_uid_bigint() or "
						 "cozi.require_uid_text(), as your user ids are.")));
}

/* An error unless the subject is a user id of that type: uuid, bigint or text. */
void
cozi_require_subject(Oid type)
{
	const CoziIdentity *who = require_subject();

	if (type == UUIDOID)
		require_type(who->has_uuid, "uuid");
	else if (type == INT8OID)
		require_type(who->has_bigint, "bigint");
}

PG_FUNCTION_INFO_V1(cozi_require_uid);

/* require_uid() -> uuid: uid(), or an error instead of NULL */
Datum
cozi_require_uid(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = require_subject();

	require_type(who->has_uuid, "uuid");
	return uuid_datum(&who->uuid);
}

PG_FUNCTION_INFO_V1(cozi_require_uid_bigint);

/* require_uid_bigint() -> bigint */
Datum
cozi_require_uid_bigint(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = require_subject();

	require_type(who->has_bigint, "bigint");
	PG_RETURN_INT64(who->bigint);
}

PG_FUNCTION_INFO_V1(cozi_require_uid_text);

/* require_uid_text() -> text */
Datum
cozi_require_uid_text(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = require_subject();

	PG_RETURN_TEXT_P(cstring_to_text_with_len(who->subject, who->subject_len));
}

PG_FUNCTION_INFO_V1(cozi_claims_jsonb);

/* claims() -> jsonb: all claims of the token, NULL when nobody */
Datum
cozi_claims_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb	   *claims = cozi_claims();

	if (claims == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(memcpy(palloc(VARSIZE(claims)), claims, VARSIZE(claims)));
}

PG_FUNCTION_INFO_V1(cozi_claim);

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
	value = getKeyJsonValueFromContainer(&claims->root, VARDATA_ANY(name),
										 VARSIZE_ANY_EXHDR(name), &buf);
	if (value == NULL || value->type == jbvNull)
		PG_RETURN_NULL();
	if (value->type == jbvString)
		PG_RETURN_TEXT_P(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
	if (value->type == jbvBool)
		PG_RETURN_TEXT_P(cstring_to_text(value->val.boolean ? "true" : "false"));
	if (value->type == jbvNumeric)
		PG_RETURN_TEXT_P(cstring_to_text(DatumGetCString(DirectFunctionCall1(numeric_out,
																			 NumericGetDatum(value->val.numeric)))));
	PG_RETURN_TEXT_P(cstring_to_text(JsonbToCString(NULL, value->val.binary.data,
													value->val.binary.len)));
}

PG_FUNCTION_INFO_V1(cozi_logout);

/* logout() -> void: nobody, until the transaction ends or somebody logs in */
Datum
cozi_logout(PG_FUNCTION_ARGS)
{
	cozi_set_identity("", NULL, 0);
	PG_RETURN_VOID();
}
