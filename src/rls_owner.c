/*
 * rls_owner.c
 *		Whose row is it, and what roles has the caller: is_owner(), has_role().
 *
 * is_owner(x) means x = cozi.uid(), x = cozi.uid_bigint() or
 * x = cozi.uid_text(), whichever x's type asks for; and where the planner sees
 * it, that is what it becomes.  So a policy that says is_owner(author) can use
 * an index on author, prunes partitions when the query starts, and runs in
 * parallel workers.
 *
 * The law: the plan never holds an identity, only the call that asks for it.
 * A plan outlives the caller it was made for.
 *
 * The functions put into plans are found by their OID in the namespace of
 * is_owner() itself, never by a search path.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "cozi.h"

PG_FUNCTION_INFO_V1(cozi_is_owner_uuid);
PG_FUNCTION_INFO_V1(cozi_is_owner_bigint);
PG_FUNCTION_INFO_V1(cozi_is_owner_text);
PG_FUNCTION_INFO_V1(cozi_is_owner_support);
PG_FUNCTION_INFO_V1(cozi_has_role);
PG_FUNCTION_INFO_V1(cozi_require_role);

/* --- is_owner ------------------------------------------------------------- */

/* is_owner(id uuid) -> boolean */
Datum
cozi_is_owner_uuid(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_uuid)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(memcmp(&who->uuid, PG_GETARG_UUID_P(0), UUID_LEN) == 0);
}

/* is_owner(id bigint) -> boolean */
Datum
cozi_is_owner_bigint(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_bigint)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(who->bigint == PG_GETARG_INT64(0));
}

/* is_owner(id text) -> boolean, by the collation of id, as = compares it */
Datum
cozi_is_owner_text(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (who->subject == NULL)
		PG_RETURN_NULL();
	return DirectFunctionCall2Coll(texteq, PG_GET_COLLATION(), PG_GETARG_DATUM(0),
								   PointerGetDatum(cstring_to_text_with_len(who->subject, who->subject_len)));
}

/* NAME() in the schema of that function; invalid when somebody dropped it */
static Oid
sibling_without_arguments(const char *name, Oid function)
{
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)),
						   ObjectIdGetDatum(get_func_namespace(function)));
}

/*
 * An int or smallint column comes as its cast to bigint, which no index of the
 * column serves: the column itself, and its type.  Anything else comes back,
 * with the type untouched.
 */
Node	   *
cozi_unwidened(Node *arg, Oid *type)
{
	FuncExpr   *cast = (FuncExpr *) arg;

	if (!IsA(arg, FuncExpr) || (cast->funcid != F_INT8_INT4 && cast->funcid != F_INT8_INT2))
		return arg;
	*type = cast->funcid == F_INT8_INT4 ? INT4OID : INT2OID;
	return linitial(cast->args);
}

/* is_owner(x) as x = uid() */
static Node *
owner_equality(FuncExpr *call)
{
	Node	   *arg = linitial(call->args);
	Oid			type = exprType(arg);
	Oid			subject_type,
				operator,
				subject;
	const char *name;
	Expr	   *asks;

	switch (getBaseType(type))
	{
		case UUIDOID:
			subject_type = type = UUIDOID;
			name = "uid";
			break;
		case INT8OID:
			subject_type = type = INT8OID;
			name = "uid_bigint";
			break;
		case TEXTOID:
			subject_type = type = TEXTOID;
			name = "uid_text";
			break;
		default:
			return NULL;
	}
	arg = cozi_unwidened(arg, &type);
	operator = type == subject_type
		? lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr
		: get_opfamily_member(INTEGER_BTREE_FAM_OID, type, INT8OID, BTEqualStrategyNumber);
	subject = sibling_without_arguments(name, call->funcid);
	if (!OidIsValid(operator) || !OidIsValid(subject))
		return NULL;

	asks = (Expr *) makeFuncExpr(subject, subject_type, NIL,
								 type == TEXTOID ? DEFAULT_COLLATION_OID : InvalidOid,
								 InvalidOid, COERCE_EXPLICIT_CALL);
	return (Node *) make_opclause(operator, BOOLOID, false, (Expr *) arg, asks,
								  InvalidOid, call->inputcollid);
}

/* is_owner_support(internal) -> internal: planner support of is_owner() */
Datum
cozi_is_owner_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	if (IsA(request, SupportRequestSimplify))
	{
		FuncExpr   *call = ((SupportRequestSimplify *) request)->fcall;

		if (list_length(call->args) == 1)
			answer = owner_equality(call);
	}
	PG_RETURN_POINTER(answer);
}

/* --- has_role ------------------------------------------------------------- */

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

/* has_role(role text) -> boolean: do the verified claims give it? */
Datum
cozi_has_role(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_role(PG_GETARG_TEXT_PP(0)));
}

/* require_role(role text) -> void: has_role(), or an error instead of false */
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
