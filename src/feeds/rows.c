/*
 * feeds/rows.c
 *		feed_rows(): a feed as rows of the caller's own table, in one round trip.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "feeds/feeds.h"

static Datum
page_items(const Feed *feed)
{
	Datum	   *items = palloc(Max(feed->n, 1) * sizeof(Datum));

	for (int i = 0; i < feed->n; i++)
		items[i] = CStringGetTextDatum(cozi_feed_text(&feed->item, feed->rows[i].item));
	return PointerGetDatum(construct_array(items, feed->n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Does the row belong to the feed?  An item that is not unique names others, too. */
static bool
row_belongs(const Datum *values, const bool *nulls, void *arg)
{
	Feed	   *feed = arg;
	int			author = feed->author.column.attnum - 1;

	return !nulls[author] && cozi_feed_has_key(feed, values[author]) &&
		!cozi_feed_hides(feed, values[author]);
}

PG_FUNCTION_INFO_V1(cozi_feed_rows);

/*
 * feed_rows(row_type anyelement, edge name, k int, item name, author name, rank name,
 *		after text, filters text[]) -> setof anyelement
 *
 * row_type names the table: NULL::posts.
 */
Datum
cozi_feed_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = get_typ_typrelid(get_fn_expr_argtype(fcinfo->flinfo, 0));
	Feed		feed = {0};
	Relation	rel;
	char	   *statement;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC | MAT_SRF_BLESS);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("feed_rows() takes the row type of a table or view"),
				 errhint("Write NULL::posts for the table posts.")));
	cozi_feed_arguments(fcinfo, relid, &feed);
	rel = relation_open(relid, NoLock);
	statement = cozi_rows_statement(rel, NameStr(feed.item.column.name),
									format_type_be_qualified(feed.item.type));
	relation_close(rel, NoLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_feed_read(&feed);
	(void) cozi_add_rows(rsinfo, statement, page_items(&feed), feed.n, row_belongs, &feed);
	SPI_finish();
	return (Datum) 0;
}
