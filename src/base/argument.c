/*
 * base/argument.c
 *		What a caller can get wrong, in one wording everywhere.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"

/* Raise an error if argument n, of that name, is NULL. */
void
cozi_require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

void
cozi_no_such_relation(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation with OID %u does not exist", relid)));
}

void
cozi_no_such_column(const char *relation, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", column, relation)));
}

/* wanted: "a table", "a board" */
void
cozi_wrong_kind(const char *relation, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not %s", relation, wanted)));
}

char	   *
cozi_relation_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		cozi_no_such_relation(relid);
	return name;
}

/* schema.name, quoted where it must be */
char	   *
cozi_qualified_name(Oid relid)
{
	char	   *name = cozi_relation_name(relid);

	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

void
cozi_require_owner(Oid relid)
{
	char	   *name = cozi_relation_name(relid);

	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
}

/* Who may read no column of the relation learns nothing about it. */
void
cozi_require_select(Oid relid)
{
	char	   *name = cozi_relation_name(relid);

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)), name);
}

/* The context of the states of an aggregate, in whose support function we are. */
MemoryContext
cozi_aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	return context;
}

/* A value that cannot be: what is wrong with it, and what to say instead. */
void
cozi_bad_value(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", what),
			 errhint("%s", hint)));
	pg_unreachable();
}
