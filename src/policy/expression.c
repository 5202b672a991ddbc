/*
 * policy/expression.c
 *		What the policies of protect() say, and the statements that hold it.
 *
 * The law: every name is quoted, and every function named with its schema; the
 * operators are those of pg_catalog, which is the search path while the
 * statements run.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "edge/edge.h"
#include "policy/policy.h"

static char *
owns(const CoziProtection *p)
{
	return psprintf("cozi.is_owner(%s)", quote_identifier(NameStr(p->owner.name)));
}

/* "" when there is no parent */
static char *
sees_parent(const CoziProtection *p)
{
	if (!OidIsValid(p->parent))
		return "";
	return cozi_statement(" AND EXISTS (SELECT 1 FROM {parent} cozi_parent WHERE "
						  "cozi_parent.{id} = {table}.{key})",
						  "parent", cozi_qualified_name(p->parent),
						  "id", quote_identifier(p->parent_column),
						  "table", quote_identifier(get_rel_name(p->rel)),
						  "key", quote_identifier(NameStr(p->parent_key.name)), NULL);
}

static char *
can_view(const CoziProtection *p)
{
	return psprintf("cozi.can_view(%s, %s%s%s)", cozi_visibility_word(p),
					quote_identifier(NameStr(p->owner.name)), cozi_given(&p->grp) ? ", " : "",
					cozi_given(&p->grp) ? quote_identifier(NameStr(p->grp.name)) : "");
}

/* Who may read a row, overrides apart. */
static char *
sees(const CoziProtection *p)
{
	StringInfoData shared;

	initStringInfo(&shared);
	if (cozi_given(&p->deleted_at))
		appendStringInfo(&shared, " AND %s IS NULL", quote_identifier(NameStr(p->deleted_at.name)));
	if (cozi_given(&p->visibility))
		appendStringInfo(&shared, " AND %s", can_view(p));
	appendStringInfoString(&shared, sees_parent(p));
	if (!cozi_given(&p->visibility) && !OidIsValid(p->parent))
		return owns(p);
	if (!cozi_given(&p->deleted_at) && !OidIsValid(p->parent))
		return can_view(p);
	return psprintf("%s OR (%s)", owns(p), shared.data + strlen(" AND "));
}

/* What a row that its owner writes must say, beside the owner. */
static char *
writes(const CoziProtection *p)
{
	StringInfoData check;

	initStringInfo(&check);
	appendStringInfoString(&check, owns(p));
	if (cozi_given(&p->grp))
		appendStringInfo(&check, " AND (%s IS DISTINCT FROM 'group' OR cozi.is_member(%s))",
						 cozi_visibility_word(p), quote_identifier(NameStr(p->grp.name)));
	appendStringInfoString(&check, sees_parent(p));
	return check.data;
}

/* The role is asked for once a query, in a subquery that no row is needed for. */
static char *
or_override(const CoziProtection *p, const char *expression)
{
	if (p->override_role == NULL)
		return pstrdup(expression);
	return psprintf("(SELECT cozi.has_role(%s)) OR (%s)",
					quote_literal_cstr(p->override_role), expression);
}

/* The statement of a template that names parts of the protection. */
char	   *
cozi_protection_statement(const CoziProtection *p, const char *template)
{
	Oid			type = cozi_edge_id_type(p->owner.type);

	return cozi_statement(template,
						  "table", cozi_qualified_name(p->rel),
						  "owner", quote_identifier(NameStr(p->owner.name)),
						  "uid", type == UUIDOID ? "uid"
						  : type == INT8OID ? "uid_bigint" : "uid_text",
						  "sees", or_override(p, sees(p)),
						  "owns", or_override(p, owns(p)),
						  "inserts", writes(p),
						  "updates", or_override(p, writes(p)),
						  "role", quote_literal_cstr(p->override_role ? p->override_role : ""),
						  "state", quote_literal_cstr(cozi_protection_state(p)), NULL);
}
