/*
 * feeds/query.c
 *		The statements of feeds.
 *
 * They are made of quoted names and of operators that are named with their schema,
 * so that no search path changes what they mean; values are parameters.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "feeds/feeds.h"

/* The ranges of some keys: the first rows of each, or those after a place of its own. */
static const char *const range_sql =
"SELECT f.n, t.*"
" FROM ROWS FROM ({keys}) WITH ORDINALITY f ({names}, n)"
" CROSS JOIN LATERAL (SELECT p.{rank}, p.{item}{author} FROM {table} p"
"  WHERE p.{key} {equal} f.key AND p.{rank} IS NOT NULL{item_known}{after}{floor}{filters}"
"  ORDER BY p.{rank} DESC, p.{item} DESC LIMIT $8) t";

/* All rows of some keys above the floor, if they are not more than the limit. */
static const char *const list_sql =
"SELECT 1::pg_catalog.int8, p.{rank}, p.{item}{author} FROM {table} p"
" WHERE p.{key} {equal} ANY ($1) AND p.{rank} IS NOT NULL{item_known}{after}{floor}{filters}"
" LIMIT $8";

/* All rows in their order; the reader asks whether the key is in the list. */
static const char *const walk_sql =
"SELECT p.{rank}, p.{item}, p.{key}{author}{fits} FROM {table} p"
" WHERE p.{rank} IS NOT NULL{item_known}{after}{floor}"
" ORDER BY p.{rank} DESC, p.{item} DESC";

/* What both are compared with, and what is left where no index serves them. */
static const char *const plain_sql =
"SELECT p.{rank}, p.{item}, p.{key}{author} FROM {table} p"
" WHERE p.{key} {equal} ANY ($1) AND p.{rank} IS NOT NULL{item_known}{after}{filters}"
" ORDER BY p.{rank} DESC, p.{item} DESC";

/* Rows of one key after a place, as many as are asked for. */
static const char *const unread_sql =
"SELECT pg_catalog.count(*)"
" FROM (SELECT FROM {table} p"
"  WHERE p.{key} {equal} $1 AND p.{rank} IS NOT NULL{item_known}{after}{filters} LIMIT $8) r";

/*
 * Rows without a key: the comments that answer none.  The key stands in the order
 * because an index that begins with it then has that order.
 */
static const char *const top_sql =
"SELECT 1::pg_catalog.int8, p.{rank}, p.{item}{author} FROM {table} p"
" WHERE p.{key} IS NULL AND p.{rank} IS NOT NULL{item_known}{after}{filters}"
" ORDER BY p.{key}, p.{rank} DESC, p.{item} DESC LIMIT $8";

/* How many rows each of some keys has, up to a limit. */
static const char *const count_sql =
"SELECT f.n, t.count FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY f (key, n)"
" CROSS JOIN LATERAL (SELECT pg_catalog.count(*) FROM (SELECT FROM {table} p"
"  WHERE p.{key} {equal} f.key AND p.{rank} IS NOT NULL{item_known}{filters} LIMIT $8) r)"
" t (count)";

/* The operator of a btree strategy for the column, with its schema. */
static char *
operator_name(const FeedColumn *column, int strategy)
{
	const TypeCacheEntry *ops = column->ops;
	Oid			operator = get_opfamily_member(ops->btree_opf, ops->btree_opintype,
											   ops->btree_opintype, strategy);
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * (rank, item) < (values), or >: as a comparison of rows where one operator serves
 * both columns, because a btree begins such a range in the middle of equal ranks.
 */
static char *
row_condition(const Feed *feed, int strategy, const char *rank, const char *item)
{
	bool		less = strategy == BTLessStrategyNumber;
	char	   *by_rank = operator_name(&feed->rank, strategy);
	char	   *by_item = operator_name(&feed->item, strategy);
	const char *template = strcmp(by_rank, by_item) == 0 ?
	" AND (p.{rank}, p.{item}) {by_rank} ({r}, {i})" :
	" AND p.{rank} {or_equal} {r} AND (p.{rank} {by_rank} {r} OR p.{item} {by_item} {i})";

	return cozi_statement(template,
						  "rank", quote_identifier(NameStr(feed->rank.column.name)),
						  "item", quote_identifier(NameStr(feed->item.column.name)),
						  "by_rank", by_rank, "by_item", by_item, "r", rank, "i", item,
						  "or_equal", operator_name(&feed->rank, less ?
													BTLessEqualStrategyNumber :
													BTGreaterEqualStrategyNumber),
						  NULL);
}

/* The filters, as conditions that begin with AND; none: empty. */
static char *
filters(const Feed *feed)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < feed->nfilters; i++)
	{
		const FeedColumn *column = &feed->filters[i];

		appendStringInfo(&text, " AND p.%s ",
						 quote_identifier(NameStr(column->column.name)));
		if (feed->filter_nulls[i])
			appendStringInfoString(&text, "IS NULL");
		else
			appendStringInfo(&text, "%s $%d",
							 operator_name(column, BTEqualStrategyNumber),
							 PARAM_FILTERS + i + 1);
	}
	return text.data;
}

static char *
statement(const Feed *feed, const char *template, const char *keys, const char *names,
		  const char *after, bool floor)
{
	const char *conditions = filters(feed);

	return cozi_statement(template, "keys", keys, "names", names,
						  "rank", quote_identifier(NameStr(feed->rank.column.name)),
						  "item", quote_identifier(NameStr(feed->item.column.name)),
						  "key", quote_identifier(NameStr(feed->key.column.name)),
						  "author", !OidIsValid(feed->author.type) ? "" :
						  psprintf(", p.%s",
								   quote_identifier(NameStr(feed->author.column.name))),
						  "equal", operator_name(&feed->key, BTEqualStrategyNumber),
						  "table", cozi_qualified_name(feed->relid),
						  "after", after, "filters", conditions,
						  "fits", feed->nfilters == 0 ? "" :
						  psprintf(", (true%s) IS TRUE", conditions),
						  "item_known", feed->item.not_null ? "" :
						  psprintf(" AND p.%s IS NOT NULL",
								   quote_identifier(NameStr(feed->item.column.name))),
						  "floor", !floor ? "" :
						  row_condition(feed, BTGreaterStrategyNumber, "$6", "$7"),
						  NULL);
}

static char *
after_cursor(const Feed *feed)
{
	return feed->has_after ? row_condition(feed, BTLessStrategyNumber, "$4", "$5") : "";
}

char	   *
cozi_feed_range_sql(const Feed *feed, bool again)
{
	bool		floor = cozi_feed_is_full(feed);

	if (!again)
		return statement(feed, range_sql, "pg_catalog.unnest($1)", "key", after_cursor(feed),
						 floor);
	return statement(feed, range_sql,
					 "pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)",
					 "key, rank, item",
					 row_condition(feed, BTLessStrategyNumber, "f.rank", "f.item"), floor);
}

char	   *
cozi_feed_list_sql(const Feed *feed)
{
	return statement(feed, list_sql, "", "", after_cursor(feed), cozi_feed_is_full(feed));
}

char	   *
cozi_feed_top_sql(const Feed *feed)
{
	return statement(feed, top_sql, "", "", after_cursor(feed), false);
}

char	   *
cozi_feed_count_sql(const Feed *feed)
{
	return statement(feed, count_sql, "", "", "", false);
}

char	   *
cozi_feed_walk_sql(const Feed *feed)
{
	return statement(feed, walk_sql, "", "", after_cursor(feed), cozi_feed_is_full(feed));
}

char	   *
cozi_feed_plain_sql(const Feed *feed)
{
	return statement(feed, plain_sql, "", "", after_cursor(feed), false);
}

/* The rows that come before a cursor in the order of feeds: the newer ones. */
char	   *
cozi_feed_unread_sql(const Feed *feed, bool by_item)
{
	const char *newer = "";

	if (feed->has_after && by_item)
		newer = row_condition(feed, BTGreaterStrategyNumber, "$4", "$5");
	else if (feed->has_after)
		newer = psprintf(" AND p.%s %s $4",
						 quote_identifier(NameStr(feed->rank.column.name)),
						 operator_name(&feed->rank, BTGreaterStrategyNumber));
	return statement(feed, unread_sql, "", "", newer, false);
}

SPIPlanPtr
cozi_feed_plan(const Feed *feed, const char *sql, int options)
{
	Oid			types[PARAMS];

	types[PARAM_KEYS] = feed->key_array_type;
	types[PARAM_RANKS] = feed->rank.array_type;
	types[PARAM_ITEMS] = feed->item.array_type;
	types[PARAM_AFTER_RANK] = types[PARAM_FLOOR_RANK] = feed->rank.type;
	types[PARAM_AFTER_ITEM] = types[PARAM_FLOOR_ITEM] = feed->item.type;
	types[PARAM_LIMIT] = INT8OID;
	for (int i = 0; i < FEED_MOST_FILTERS; i++)
		types[PARAM_FILTERS + i] = i < feed->nfilters ? feed->filters[i].type : BOOLOID;
	return cozi_plan(sql, PARAMS, types, options | CURSOR_OPT_GENERIC_PLAN);
}

/* The parameters that do not change from one step to the next. */
void
cozi_feed_params(const Feed *feed, Datum *values, char *nulls)
{
	memset(values, 0, PARAMS * sizeof(Datum));
	memset(nulls, 'n', PARAMS);
	if (feed->has_after)
	{
		values[PARAM_AFTER_RANK] = feed->after.rank;
		values[PARAM_AFTER_ITEM] = feed->after.item;
		nulls[PARAM_AFTER_RANK] = nulls[PARAM_AFTER_ITEM] = ' ';
	}
	if (cozi_feed_is_full(feed))
	{
		values[PARAM_FLOOR_RANK] = feed->rows[feed->k - 1].rank;
		values[PARAM_FLOOR_ITEM] = feed->rows[feed->k - 1].item;
		nulls[PARAM_FLOOR_RANK] = nulls[PARAM_FLOOR_ITEM] = ' ';
	}
	for (int i = 0; i < feed->nfilters; i++)
	{
		values[PARAM_FILTERS + i] = feed->filter_values[i];
		nulls[PARAM_FILTERS + i] = feed->filter_nulls[i] ? 'n' : ' ';
	}
}
