/*
 * policy/state.c
 *		What protect() has made of a table, and what was before.
 *
 * The state is the argument of a policy that lets everything through:
 *
 *		CREATE POLICY cozi_protected ON posts AS RESTRICTIVE
 *			USING (cozi._protected('{"owner": "author", ...}'))
 *
 * _protected() is IMMUTABLE and true, so the planner removes it.  A policy goes
 * with its table wherever that goes: renamed, dumped with or without comments,
 * restored, upgraded, dropped.
 *
 * The law: only a policy that calls _protected() of this extension is believed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/base.h"
#include "policy/policy.h"

/* The argument of _protected(), in an expression that is nothing but its call. */
static Jsonb *
state_of(const char *expression)
{
	FuncExpr   *call = (FuncExpr *) stringToNode(expression);
	Const	   *argument;
	char	   *name;

	if (!IsA(call, FuncExpr) || list_length(call->args) != 1)
		return NULL;
	argument = linitial(call->args);
	name = get_func_name(call->funcid);
	if (name == NULL || strcmp(name, "_protected") != 0 ||
		get_func_namespace(call->funcid) != cozi_schema() ||
		!IsA(argument, Const) || argument->constisnull || argument->consttype != JSONBOID)
		return NULL;
	return DatumGetJsonbPCopy(argument->constvalue);
}

/* The state that a policy of that name holds; NULL when it holds none. */
Jsonb	   *
cozi_policy_state(Oid relid, const char *policy)
{
	Relation	policies = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Jsonb	   *state = NULL;

	ScanKeyInit(&keys[0], Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_policy_polname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(policy));
	scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 2, keys);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		qual = heap_getattr(tuple, Anum_pg_policy_polqual,
										RelationGetDescr(policies), &isnull);

		if (!isnull)
			state = state_of(TextDatumGetCString(qual));
	}
	systable_endscan(scan);
	table_close(policies, AccessShareLock);
	return state;
}

/* A member of the state as text; NULL when it has none. */
char	   *
cozi_state_text(Jsonb *state, const char *key)
{
	JsonbValue	value;

	if (state == NULL || !JB_ROOT_IS_OBJECT(state) ||
		getKeyJsonValueFromContainer(&state->root, key, strlen(key), &value) == NULL)
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	if (value.type == jbvBool)
		return value.val.boolean ? "true" : "false";
	return NULL;
}

bool
cozi_state_flag(Jsonb *state, const char *key)
{
	char	   *text = cozi_state_text(state, key);

	return text !=NULL && strcmp(text, "true") == 0;
}

/* The mapping of words, palloc'd; NULL when there is none. */
Jsonb	   *
cozi_state_words(Jsonb *state)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&state->root, "words", strlen("words"), &value) == NULL)
		return NULL;
	return JsonbValueToJsonb(&value);
}

static void
append_member(StringInfo json, const char *key, const char *text)
{
	if (text == NULL || text[0] == '\0')
		return;
	appendStringInfo(json, "%s\"%s\": ", json->len > 1 ? ", " : "", key);
	escape_json(json, text);
}

static void
append_flag(StringInfo json, const char *key, bool flag)
{
	appendStringInfo(json, "%s\"%s\": %s", json->len > 1 ? ", " : "", key, flag ? "true" : "false");
}

/* The state of a table under this protection, as the text of a JSON object. */
char	   *
cozi_protection_state(const CoziProtection *p)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "owner", NameStr(p->owner.name));
	append_member(&json, "visibility", NameStr(p->visibility.name));
	append_member(&json, "grp", NameStr(p->grp.name));
	if (p->words != NULL)
		appendStringInfo(&json, ", \"words\": %s",
						 JsonbToCString(NULL, &p->words->root, VARSIZE(p->words)));
	if (OidIsValid(p->parent))
		append_member(&json, "parent", cozi_qualified_name(p->parent));
	append_member(&json, "parent_column", p->parent_column);
	append_member(&json, "parent_key", NameStr(p->parent_key.name));
	append_member(&json, "deleted_at", NameStr(p->deleted_at.name));
	append_member(&json, "override_role", p->override_role);
	append_flag(&json, "force", p->force);
	append_flag(&json, "sets_default", p->sets_default);
	append_flag(&json, "was_enabled", p->was_enabled);
	append_flag(&json, "was_forced", p->was_forced);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* The first column of a query about a relation, its $1, as strings. */
List	   *
cozi_strings(const char *sql, Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	List	   *strings = NIL;

	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
		strings = lappend(strings, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return strings;
}

char	   *
cozi_joined(List *strings)
{
	StringInfoData joined;
	ListCell   *cell;

	initStringInfo(&joined);
	foreach(cell, strings)
		appendStringInfo(&joined, "%s%s", joined.len > 0 ? ", " : "", (char *) lfirst(cell));
	return joined.data;
}

PG_FUNCTION_INFO_V1(cozi_is_protected);

/* _protected(state jsonb) -> boolean: true; the state is for unprotect() */
Datum
cozi_is_protected(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}
