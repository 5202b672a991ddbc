/*
 * advisor/body.c
 *		A function's body that is a string, read by its tokens.
 *
 * A name before a parenthesis is a call; a name after FROM, JOIN, INTO, UPDATE
 * or ONLY is a table.  A column that is named anywhere in the body counts as
 * trusted, because tokens do not tell where it stands.
 *
 * Names are looked up in the schema that qualifies them; without one in
 * pg_catalog, in the function's own schema and in public.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

/*
 * A body may be so long that reading it keeps all others waiting: what a longer
 * one does is not known.
 */
#define MAX_BODY	(256 * 1024)
#define MAX_WORK	1000000

typedef struct Body
{
	HTAB	   *functions;
	Oid			schema;			/* of the function */
	CoziFunction *into;
	CoziToken  *tokens;
	int			count;
} Body;

static bool
is_name(const Body *body, int i)
{
	return i >= 0 && i < body->count && body->tokens[i].kind <= COZI_TOKEN_QUOTED;
}

static bool
is_keyword(const Body *body, int i, const char *word)
{
	return i >= 0 && i < body->count && body->tokens[i].kind == COZI_TOKEN_WORD &&
		strcmp(body->tokens[i].text, word) == 0;
}

static bool
is_sign(const Body *body, int i, char sign)
{
	return i >= 0 && i < body->count && body->tokens[i].kind == COZI_TOKEN_OTHER &&
		body->tokens[i].text[0] == sign;
}

static bool
is_one_of(const Body *body, int i, const char *const *words)
{
	for (; *words; words++)
		if (is_keyword(body, i, *words))
			return true;
	return false;
}

/* Would the name, unqualified, be looked for in that schema? */
static bool
is_searched(const Body *body, Oid schema)
{
	return schema == PG_CATALOG_NAMESPACE || schema == body->schema ||
		schema == get_namespace_oid("public", true);
}

/* Add each function of that name, because the arguments' types are unknown. */
static void
add_calls(Body *body, int i)
{
	bool		qualified = is_sign(body, i - 1, '.') && is_name(body, i - 2);
	Oid			wanted = qualified ? get_namespace_oid(body->tokens[i - 2].text, true) : InvalidOid;
	CatCList   *list;

	if (qualified && !OidIsValid(wanted))
		return;
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(body->tokens[i].text));
	for (int n = 0; n < list->n_members; n++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&list->members[n]->tuple);

		if (qualified ? proc->pronamespace != wanted : !is_searched(body, proc->pronamespace))
			continue;
		if (proc->pronamespace != PG_CATALOG_NAMESPACE)
			cozi_add_callee(body->functions, body->into, proc->oid);
	}
	ReleaseCatCacheList(list);
}

/* current_setting('name') */
static void
add_setting(Body *body, int i)
{
	body->into->identity = true;
	if (is_sign(body, i + 1, '(') && i + 2 < body->count &&
		body->tokens[i + 2].kind == COZI_TOKEN_STRING)
		cozi_add_setting(body->into, body->tokens[i + 2].text);
}

/* The table that tokens i and further name; invalid where there is none. */
static Oid
named_table(const Body *body, int i)
{
	Oid			relid = InvalidOid;

	if (!is_name(body, i))
		return InvalidOid;
	if (is_sign(body, i + 1, '.') && is_name(body, i + 2))
	{
		Oid			schema = get_namespace_oid(body->tokens[i].text, true);

		return OidIsValid(schema) ? get_relname_relid(body->tokens[i + 2].text, schema)
			: InvalidOid;
	}
	if (is_sign(body, i + 1, '('))
		return InvalidOid;
	relid = get_relname_relid(body->tokens[i].text, body->schema);
	if (!OidIsValid(relid))
	{
		Oid			schema = get_namespace_oid("public", true);

		relid = OidIsValid(schema) ? get_relname_relid(body->tokens[i].text, schema) : InvalidOid;
	}
	return relid;
}

/* Columns of the tables read, wherever the body names them. */
static void
add_columns(Body *body)
{
	if ((int64) body->count * list_length(body->into->reads) > MAX_WORK)
	{
		body->into->unreadable = true;
		return;
	}
	for (int r = 0; r < list_length(body->into->reads); r++)
	{
		CoziRead   *read = list_nth(body->into->reads, r);

		if (OidIsValid(read->via))
			continue;
		for (int i = 0; i < body->count; i++)
		{
			AttrNumber	attnum;

			if (!is_name(body, i) || is_sign(body, i + 1, '(') || is_sign(body, i + 1, '.'))
				continue;
			attnum = get_attnum(read->relid, body->tokens[i].text);
			if (attnum > 0)
				read->trusted = bms_add_member(read->trusted, attnum);
		}
	}
}

/* One SELECT of an expression: what the planner may inline. */
static bool
is_simple(const Body *body)
{
	static const char *const clauses[] = {"from", "where", "group", "having", "order", "limit",
		"offset", "union", "intersect", "except", "with", "insert", "update", "delete", "select",
	"window", "begin", NULL};

	if (!is_keyword(body, 0, "select"))
		return false;
	for (int i = 1; i < body->count; i++)
		if (is_one_of(body, i, clauses) || (is_sign(body, i, ';') && i != body->count - 1))
			return false;
	return true;
}

/* Add what a body of sql or plpgsql reads. */
void
cozi_read_body(HTAB *functions, Oid schema, const char *text, CoziFunction *into)
{
	static const char *const before_tables[] = {"from", "join", "into", "update", "only", NULL};
	static const char *const users[] = {"current_user", "session_user", "current_role", NULL};
	Body		body = {.functions = functions,.schema = schema,.into = into};

	if (strlen(text) > MAX_BODY)
	{
		into->unreadable = true;
		return;
	}
	body.tokens = cozi_tokens(text, &body.count);
	into->simple = is_simple(&body);
	for (int i = 0; i < body.count; i++)
	{
		if (is_keyword(&body, i, "current_setting"))
			add_setting(&body, i);
		else if (is_one_of(&body, i, users))
			into->identity = true;
		else if (is_keyword(&body, i, "raw_user_meta_data") ||
				 (body.tokens[i].kind == COZI_TOKEN_STRING &&
				  (strcmp(body.tokens[i].text, "user_metadata") == 0 ||
				   strcmp(body.tokens[i].text, "raw_user_meta_data") == 0)))
			into->metadata = true;
		else if (is_name(&body, i) && is_sign(&body, i + 1, '('))
			add_calls(&body, i);
		if (is_one_of(&body, i, before_tables))
		{
			Oid			relid = named_table(&body, i + 1);

			if (OidIsValid(relid))
				(void) cozi_read_of(into, relid, InvalidOid, false);
		}
	}
	add_columns(&body);
}
