/*
 * feeds/open.c
 *		The arguments of feeds: relation, columns, place to begin after, filters.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "feeds/feeds.h"

void
cozi_feed_column(Feed *feed, FeedColumn *column, const char *name)
{
	Relation	rel = relation_open(feed->relid, NoLock);

	cozi_find_column(rel, name, &column->column);
	column->not_null = TupleDescAttr(RelationGetDescr(rel),
									 column->column.attnum - 1)->attnotnull;
	relation_close(rel, NoLock);
	column->type = getBaseType(column->column.type);
	column->array_type = get_array_type(column->type);
	column->ops = lookup_type_cache(column->type, TYPECACHE_BTREE_OPFAMILY |
									TYPECACHE_CMP_PROC | TYPECACHE_CMP_PROC_FINFO);
	if (!OidIsValid(column->ops->cmp_proc) || !OidIsValid(column->array_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, which has no order",
						name, format_type_be(column->type))));
}

/*
 * The relation, locked until the end of the transaction as a query would, and
 * the columns of every feed.
 */
void
cozi_feed_open(Feed *feed, Oid relid, const char *item, const char *rank, const char *key, int k)
{
	Relation	rel;

	if (k <= 0 || k > FEED_MOST_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d", FEED_MOST_ROWS)));
	cozi_require_select(relid);
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		cozi_no_such_relation(relid);
	if (rel->rd_rel->relkind == RELKIND_INDEX || rel->rd_rel->relkind == RELKIND_SEQUENCE ||
		rel->rd_rel->relkind == RELKIND_COMPOSITE_TYPE)
		cozi_wrong_kind(RelationGetRelationName(rel), "a table or view");
	relation_close(rel, NoLock);
	feed->context = CurrentMemoryContext;
	feed->relid = relid;
	feed->k = k;
	cozi_feed_column(feed, &feed->item, item);
	cozi_feed_column(feed, &feed->rank, rank);
	cozi_feed_column(feed, &feed->key, key);
	feed->rows = palloc((k + 1) * sizeof(FeedRow));
}

/* Rows whose author is behind a block are to be left out. */
void
cozi_feed_author(Feed *feed, const char *name)
{
	cozi_feed_column(feed, &feed->author, name);
	if (!OidIsValid(cozi_edge_id_type(feed->author.type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s", name, format_type_be(feed->author.type)),
				 errhint("An author is a bigint, int, smallint, uuid or text.")));
}

/* Begin after a cursor, which a client may have written. */
void
cozi_feed_after(Feed *feed, const char *cursor)
{
	CoziCursorField *fields;

	if (cozi_cursor_decode(cursor, &fields) != 2 || fields[0].kind == COZI_CURSOR_NULL ||
		fields[1].kind == COZI_CURSOR_NULL)
		cozi_not_a_cursor(cursor);
	feed->after.rank = cozi_cursor_value(&fields[0], feed->rank.type);
	feed->after.item = cozi_cursor_value(&fields[1], feed->item.type);
	feed->has_after = true;
}

/* Pairs of a column and its value, in one array. */
void
cozi_feed_filters(Feed *feed, ArrayType *filters)
{
	Datum	   *pairs;
	bool	   *nulls;
	int			n;

	deconstruct_array(filters, TEXTOID, -1, false, TYPALIGN_INT, &pairs, &nulls, &n);
	if (n % 2 != 0 || n > 2 * FEED_MOST_FILTERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("filters must be at most %d pairs of a column and a value",
						FEED_MOST_FILTERS),
				 errhint("Write filters => '{language,en}', for example.")));
	for (int i = 0; i < n; i += 2)
	{
		FeedColumn *column = &feed->filters[feed->nfilters];
		Oid			input;
		Oid			ioparam;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a column of filters must not be null")));
		cozi_feed_column(feed, column, TextDatumGetCString(pairs[i]));
		getTypeInputInfo(column->type, &input, &ioparam);
		feed->filter_nulls[feed->nfilters] = nulls[i + 1];
		if (!nulls[i + 1])
			feed->filter_values[feed->nfilters] =
				OidInputFunctionCall(input, TextDatumGetCString(pairs[i + 1]), ioparam, -1);
		feed->nfilters++;
	}
}
