/*
 * policy/why.c
 *		why_visible(): why a row is visible to a subject, or hidden from it.
 *
 * One row says whether the row is visible; one row a policy whether that lets it
 * through; and where protect() made the policies, one row a rule: the owner, the
 * visibility, the edges, the parent, the override.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "policy/policy.h"

/* One row of VALUES: a rule, an SQL condition, and an SQL expression of text. */
static void
add_rule(StringInfo rules, const char *rule, const char *holds, const char *because)
{
	appendStringInfo(rules, "%s(%s, coalesce((%s)::boolean, false), %s)",
					 rules->len > 0 ? ", " : "", quote_literal_cstr(rule), holds, because);
}

/* Fill in the column of that member, where the table still has it. */
static bool
state_column(Jsonb *state, const char *key, Oid relid, CoziColumn *column)
{
	char	   *name = cozi_state_text(state, key);

	memset(column, 0, sizeof(CoziColumn));
	if (name == NULL || get_attnum(relid, name) <= 0)
		return false;
	namestrcpy(&column->name, name);
	column->attnum = get_attnum(relid, name);
	get_atttypetypmodcoll(relid, column->attnum, &column->type, &column->typmod,
						  &column->collation);
	return true;
}

static void
add_visibility(StringInfo rules, CoziProtection *p)
{
	char	   *word = cozi_visibility_word(p);
	const char *owner = quote_identifier(NameStr(p->owner.name));
	const char *column = quote_identifier(NameStr(p->visibility.name));

	add_rule(rules, "visibility", psprintf("(%s) IN ('public', 'unlisted')", word),
			 psprintf("format('%%s is %%s, which means %%s', %s, coalesce(%s::text, 'NULL'),"
					  " coalesce(%s, 'private'))",
					  quote_literal_cstr(column), column, word));
	add_rule(rules, "follower",
			 psprintf("(%s) = 'followers' AND cozi.is_following(%s)", word, owner),
			 psprintf("format('the subject %%s %%s', CASE WHEN cozi.is_following(%s)"
					  " THEN 'follows' ELSE 'does not follow' END, %s)", owner, owner));
	if (cozi_given(&p->grp))
	{
		const char *grp = quote_identifier(NameStr(p->grp.name));

		add_rule(rules, "member", psprintf("(%s) = 'group' AND cozi.is_member(%s)", word, grp),
				 psprintf("format('the subject %%s of %%s', CASE WHEN cozi.is_member(%s)"
						  " THEN 'is a member' ELSE 'is no member' END, coalesce(%s::text, "
						  "'NULL'))",
						  grp, grp));
	}
	add_rule(rules, "not blocked",
			 psprintf("NOT coalesce(cozi.has_blocked(%s) OR cozi.is_blocked_by(%s), false)",
					  owner, owner),
			 psprintf("CASE WHEN cozi.has_blocked(%s) THEN 'the subject blocked the owner'"
					  " WHEN cozi.is_blocked_by(%s) THEN 'the owner blocked the subject'"
					  " ELSE 'no block stands between the subject and the owner' END", owner,
					  owner));
}

static void
add_parent(StringInfo rules, Jsonb *state, CoziProtection *p)
{
	char	   *parent = cozi_state_text(state, "parent");
	char	   *column = cozi_state_text(state, "parent_column");
	const char *key = quote_identifier(NameStr(p->parent_key.name));

	if (parent == NULL || column == NULL)
		return;
	add_rule(rules, "parent",
			 cozi_statement("EXISTS (SELECT 1 FROM {parent} p WHERE p.{id} = {table}.{key})",
							"parent", parent, "id", quote_identifier(column),
							"table", quote_identifier(get_rel_name(p->rel)), "key", key, NULL),
			 psprintf("format('the parent is %%s of %%s: ask why_visible() about it',"
					  " coalesce(%s::text, 'NULL'), %s)", key, quote_literal_cstr(parent)));
}

/* The rules of protect(), with what the row and the subject say to each. */
static void
add_protection(StringInfo rules, Oid relid, Jsonb *state)
{
	CoziProtection p;
	char	   *role = cozi_state_text(state, "override_role");
	const char *column;

	memset(&p, 0, sizeof(p));
	p.rel = relid;
	p.words = cozi_state_words(state);
	if (!state_column(state, "owner", relid, &p.owner))
		return;
	column = quote_identifier(NameStr(p.owner.name));
	add_rule(rules, "owner", psprintf("cozi.is_owner(%s)", column),
			 psprintf("format('%%s is %%s', %s, coalesce(%s::text, 'NULL'))",
					  quote_literal_cstr(column), column));
	if (role != NULL)
		add_rule(rules, "override", psprintf("cozi.has_role(%s)", quote_literal_cstr(role)),
				 quote_literal_cstr(psprintf("rows of others are open to the role %s", role)));
	if (state_column(state, "deleted_at", relid, &p.deleted_at))
	{
		column = quote_identifier(NameStr(p.deleted_at.name));
		add_rule(rules, "not deleted", psprintf("%s IS NULL", column),
				 psprintf("format('%%s is %%s', %s, coalesce(%s::text, 'NULL'))",
						  quote_literal_cstr(column), column));
	}
	(void) state_column(state, "grp", relid, &p.grp);
	if (state_column(state, "visibility", relid, &p.visibility))
		add_visibility(rules, &p);
	if (state_column(state, "parent_key", relid, &p.parent_key))
		add_parent(rules, state, &p);
}

/* One row a policy that SELECT asks. */
static void
add_policies(StringInfo rules, Oid relid)
{
	ListCell   *name;
	ListCell   *qual;
	List	   *names = cozi_strings("SELECT format('policy %I (%s)', polname, CASE WHEN "
									 "polpermissive"
									 " THEN 'permissive' ELSE 'restrictive' END) FROM pg_policy"
									 " WHERE polrelid = $1 AND polcmd IN ('r', '*') AND polqual "
									 "IS NOT NULL"
									 " AND polname <> '" COZI_PROTECTED "' ORDER BY polname",
									 relid);
	List	   *quals = cozi_strings("SELECT pg_get_expr(polqual, polrelid) FROM pg_policy"
									 " WHERE polrelid = $1 AND polcmd IN ('r', '*') AND polqual "
									 "IS NOT NULL"
									 " AND polname <> '" COZI_PROTECTED "' ORDER BY polname",
									 relid);

	forboth(name, names, qual, quals)
		add_rule(rules, lfirst(name), lfirst(qual),
				 quote_literal_cstr(psprintf("USING (%s)", (char *) lfirst(qual))));
}

static char *
why_query(Oid relid, Oid role)
{
	StringInfoData rules;
	Jsonb	   *state = cozi_policy_state(relid, COZI_PROTECTED);
	bool		enabled = cozi_strings("SELECT 1 FROM pg_class WHERE oid = $1 AND relrowsecurity",
									   relid) != NIL;

	initStringInfo(&rules);
	add_rule(&rules, "visible", cozi_present_condition(relid, role),
			 quote_literal_cstr(enabled ? "row-level security is on: a permissive policy must "
								"let the row through, and every restrictive one"
								: "row-level security is off"));
	add_policies(&rules, relid);
	if (state != NULL)
		add_protection(&rules, relid, state);
	return cozi_statement("SELECT v.rule, v.holds, v.because FROM (SELECT $1::text) one, "
						  "cozi._rows_of(NULL::{table}) AS {alias},"
						  " LATERAL (VALUES {rules}) v (rule, holds, because)",
						  "table", cozi_qualified_name(relid),
						  "alias", quote_identifier(get_rel_name(relid)), "rules", rules.data,
						  NULL);
}

/* Can the key be compared with a column of that type, and raise no error? */
static bool
is_value_of(Oid type, const char *key)
{
	size_t		len = strlen(key);

	switch (getBaseType(type))
	{
		case TEXTOID:
		case VARCHAROID:
			return true;
		case UUIDOID:
			return len == 36 && strspn(key, "0123456789abcdef-") == len;
		case INT4OID:
		case INT8OID:
			return len > 0 && len < 10 && strspn(key, "0123456789") == len;
		default:
			return false;
	}
}

/* The row of that key: by the index, where the key is one column of ids. */
static char *
row_query(Oid relid, const char *key)
{
	char	   *expression = cozi_key_text(relid);
	char	   *cast = strstr(expression, "::text");
	List	   *types = cozi_strings("SELECT a.atttypid::text FROM pg_index i"
									 " JOIN pg_attribute a ON a.attrelid = i.indrelid"
									 "  AND a.attnum = i.indkey[0]"
									 " WHERE i.indrelid = $1 AND i.indisprimary AND "
									 "i.indnkeyatts = 1",
									 relid);

	if (types != NIL && cast != NULL && is_value_of(atooid(linitial(types)), key))
		*cast = '\0';
	return cozi_statement("SELECT {alias} FROM {table} AS {alias} WHERE {expression} = {key}",
						  "alias", quote_identifier(get_rel_name(relid)),
						  "table", cozi_qualified_name(relid),
						  "expression", expression, "key", quote_literal_cstr(key), NULL);
}

PG_FUNCTION_INFO_V1(cozi_why_visible);

/*
 * why_visible(relation regclass, key text, subject text, as_role name) -> setof
 *		(rule text, holds boolean, because text)
 */
Datum
cozi_why_visible(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Oid			asker;
	Oid			role;
	char	   *query;
	char	   *rows;
	int			nestlevel;

	cozi_require_argument(fcinfo, 0, "relation");
	cozi_require_argument(fcinfo, 1, "key");
	relid = PG_GETARG_OID(0);
	(void) cozi_relation_name(relid);
	InitMaterializedSRF(fcinfo, 0);
	nestlevel = NewGUCNestLevel();
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	asker = cozi_asker(fcinfo->flinfo->fn_oid, relid);
	role = cozi_asking_role(relid, PG_ARGISNULL(3) ? NULL : NameStr(*PG_GETARG_NAME(3)));
	query = why_query(relid, role);
	rows = row_query(relid, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	cozi_ask(asker, role, PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), relid,
			 rows, query);
	if (SPI_processed == 0)
		cozi_run("SELECT 'visible'::text, false, 'the table has no row of that key'::text",
				 SPI_OK_SELECT);
	cozi_return_rows(fcinfo);
	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
	return (Datum) 0;
}
