/*
 * kept/query.c
 *		The rows of the sources of a kept table, in SQL.
 *
 * The law: a query gives the rows that kept/count.c counts, each with the same
 * value and instant.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "kept/kept.h"

#define NO_INSTANT "'-infinity'::pg_catalog.timestamptz"

static char *
source_column(const Kept *kept, KeptRole role)
{
	return psprintf("v.%s", quote_identifier(NameStr(kept->columns[role])));
}

/* The instant of a row in SQL, as kept/count.c reads it. */
static char *
instant_expression(const Kept *kept)
{
	char	   *column;

	if (!kept_has(kept, KEPT_AT))
		return NO_INSTANT;
	column = source_column(kept, KEPT_AT);
	switch (getBaseType(get_atttype(kept->source,
									get_attnum(kept->source, NameStr(kept->columns[KEPT_AT])))))
	{
		case TIMESTAMPOID:
			return psprintf("(%s AT TIME ZONE 'UTC')", column);
		case DATEOID:
			return cozi_statement("(CASE WHEN {column} < '294276-12-31' THEN"
								  " ({column})::pg_catalog.timestamp AT TIME ZONE 'UTC' END)",
								  "column", column, NULL);
		default:
			return column;
	}
}

/* Is the value of type numeric, not an integer? */
static bool
is_numeric(const Kept *kept)
{
	return kept_has(kept, KEPT_VALUE) &&
		getBaseType(get_atttype(kept->source, get_attnum(kept->source,
														 NameStr(kept->columns[KEPT_VALUE])))) == NUMERICOID;
}

/*
 * What a key column of a source contributes to the query: the expression, a join
 * where an array has several, and the condition that there is one.
 */
static void
add_key(const Kept *kept, KeptRole role, StringInfo columns, StringInfo joins,
		StringInfo conditions)
{
	const char *name = cozi_kept_role_column(kept, role);
	char	   *column = source_column(kept, role);
	Oid			type = get_atttype(kept->source,
								   get_attnum(kept->source, NameStr(kept->columns[role])));

	if (role == KEPT_SCOPE && kept_derives(kept))
	{
		column = kept->kind->scope_in_sql(kept, instant_expression(kept));
		appendStringInfo(columns, "%s AS %s, ", column, name);
		appendStringInfo(conditions, " AND %s IS NOT NULL", column);
	}
	else if (OidIsValid(get_base_element_type(type)))
	{
		appendStringInfo(columns, "%s.%s, ", name, name);
		appendStringInfo(joins, " CROSS JOIN LATERAL (SELECT DISTINCT e AS %s"
						 " FROM pg_catalog.unnest(%s) e WHERE e IS NOT NULL) %s", name, column,
						 name);
	}
	else
	{
		appendStringInfo(columns, "%s AS %s, ", column, name);
		appendStringInfo(conditions, " AND %s IS NOT NULL", column);
	}
}

/* The condition that a row is not closed; or, until, that it will be by then. */
static void
add_closed(const Kept *kept, const TimestampTz *until, StringInfo conditions)
{
	char	   *instant = instant_expression(kept);

	if (kept->has_closed)
		appendStringInfo(conditions, " AND (%s < %s) IS NOT TRUE", instant,
						 cozi_kept_instant_in_sql(kept->closed));
	if (until != NULL)
		appendStringInfo(conditions, " AND %s < %s", instant, cozi_kept_instant_in_sql(*until));
}

static char *
query_of_source(const Kept *kept, const char *condition, const TimestampTz *until)
{
	bool		timed = kept_has(kept, KEPT_AT) && !kept->kind->timeless;
	StringInfoData columns;
	StringInfoData joins;
	StringInfoData conditions;

	initStringInfo(&columns);
	initStringInfo(&joins);
	initStringInfo(&conditions);
	for (int role = KEPT_SCOPE; role <= KEPT_ITEM; role++)
		if (kept_has(kept, role))
			add_key(kept, role, &columns, &joins, &conditions);
	if (kept_has(kept, KEPT_COUNTED))
		appendStringInfo(&conditions, " AND %s", source_column(kept, KEPT_COUNTED));
	add_closed(kept, until, &conditions);
	return cozi_statement("SELECT * FROM (SELECT {columns}"
						  " ({value})::pg_catalog.{type} AS value, {at} AS at"
						  " FROM {source} v{joins} WHERE true{conditions}) v"
						  " WHERE {valued} AND {finite} {condition}",
						  "columns", columns.data,
						  "value", cozi_kept_weigh_in_sql(kept, kept_has(kept, KEPT_VALUE) ?
														  source_column(kept, KEPT_VALUE) : "1"),
						  "at", timed ? instant_expression(kept) : NO_INSTANT,
						  "type", is_numeric(kept) ? "numeric" : "int8",
						  "valued", kept->kind->any_value ? "true" : "value <> 0",
						  "source", cozi_qualified_name(kept->source),
						  "joins", joins.data, "conditions", conditions.data,
						  "finite", timed ? "at > '-infinity' AND at < 'infinity'" : "true",
						  "condition", condition, NULL);
}

/*
 * SELECT [scope,] item, value, at: every row of every source that counts at all,
 * once in each of its scopes and for each of its items, with the given condition.
 * Closed rows are left out; until: only those are given that are dated before it.
 */
char	   *
cozi_kept_source_query(const Kept *kept, const char *condition, const TimestampTz *until)
{
	StringInfoData query;
	ListCell   *lc;

	initStringInfo(&query);
	foreach(lc, cozi_kept_sources(kept))
		appendStringInfo(&query, "%s%s", query.len > 0 ? " UNION ALL " : "",
						 query_of_source(lfirst(lc), condition, until));
	return query.data;
}
