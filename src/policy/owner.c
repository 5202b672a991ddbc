/*
 * policy/owner.c
 *		Whose row is it: is_owner().
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
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "identity/identity.h"

PG_FUNCTION_INFO_V1(cozi_is_owner_uuid);

/* is_owner(id uuid) -> boolean */
Datum
cozi_is_owner_uuid(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_uuid)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(memcmp(&who->uuid, PG_GETARG_UUID_P(0), UUID_LEN) == 0);
}

PG_FUNCTION_INFO_V1(cozi_is_owner_bigint);

/* is_owner(id bigint) -> boolean */
Datum
cozi_is_owner_bigint(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (!who->has_bigint)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(who->bigint == PG_GETARG_INT64(0));
}

PG_FUNCTION_INFO_V1(cozi_is_owner_text);

/* is_owner(id text) -> boolean, by the collation of id, as = compares it */
Datum
cozi_is_owner_text(PG_FUNCTION_ARGS)
{
	const CoziIdentity *who = cozi_identity();

	if (who->subject == NULL)
		PG_RETURN_NULL();
	return DirectFunctionCall2Coll(texteq, PG_GET_COLLATION(), PG_GETARG_DATUM(0),
								   PointerGetDatum(cstring_to_text_with_len(who->subject,
																			who->subject_len)));
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

PG_FUNCTION_INFO_V1(cozi_is_owner_support);

/* _is_owner_support(internal) -> internal: planner support of is_owner() */
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
