/*
 * feeds/feed.c
 *		feed() and feed_of(): the first rows of those whom the caller follows.
 *
 * Two ways lead to the page: merging the ranges of the keys costs a descent of an
 * index for each key; walking all rows in their order costs a row for each that
 * belongs to somebody else.  Either may cost a thousand times the other, and no
 * statistics say which.  So both are taken in turn, and the first that has the answer
 * ends the other: about twice the time of the better way, whichever it is, and less
 * where what they have seen so far tells them apart.  What one finds raises the floor
 * of both.
 *
 * The law: the answer is that of the plain query, under the caller's policies, in
 * the snapshot of the statement.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "feeds/feeds.h"

#define FIRST_LOAD 512			/* keys, where all are to be sorted */

const char *
cozi_feed_name(FunctionCallInfo fcinfo, int n, const char *name)
{
	cozi_require_argument(fcinfo, n, name);
	return NameStr(*PG_GETARG_NAME(n));
}

/* after and filters, the same arguments of all feeds. */
static void
read_rest(FunctionCallInfo fcinfo, int after, Feed *feed)
{
	if (!PG_ARGISNULL(after))
		cozi_feed_after(feed, text_to_cstring(PG_GETARG_TEXT_PP(after)));
	if (!PG_ARGISNULL(after + 1))
		cozi_feed_filters(feed, PG_GETARG_ARRAYTYPE_P(after + 1));
	feed->has_muted = cozi_edge_config("muted") != NULL;
}

/* The arguments from the second on: edge, k, item, author, rank, after, filters. */
void
cozi_feed_arguments(FunctionCallInfo fcinfo, Oid relid, Feed *feed)
{
	const char *edge = cozi_feed_name(fcinfo, 1, "edge");
	const char *author;

	cozi_require_argument(fcinfo, 2, "k");
	author = cozi_feed_name(fcinfo, 4, "author");
	cozi_feed_open(feed, relid, cozi_feed_name(fcinfo, 3, "item"),
				   cozi_feed_name(fcinfo, 5, "rank"), author, PG_GETARG_INT32(2));
	feed->author = feed->key;
	cozi_feed_follow(feed, edge);
	read_rest(fcinfo, 6, feed);
}

/* No way has an index: all keys, and a sort. */
static void
read_plainly(Feed *feed)
{
	while (!feed->all_keys && !feed->too_many_keys)
		cozi_feed_load(feed, Max(FIRST_LOAD, (int64) feed->nkeys * 4));
	if (feed->too_many_keys)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the caller follows more than the memory of a feed takes"),
				 errhint("Create an index on (\"%s\" DESC, \"%s\" DESC), or raise work_mem.",
						 NameStr(feed->rank.column.name), NameStr(feed->item.column.name))));
	cozi_feed_sort(feed);
}

/*
 * Say at DEBUG1 what each way has done, to those who may see statistics: a function of
 * another's may have read rows that its callers may not count.
 */
static void
say_work(const Feed *feed)
{
	if (!message_level_is_interesting(DEBUG1) ||
		!has_privs_of_role(GetSessionUserId(), ROLE_PG_READ_ALL_STATS))
		return;
	ereport(DEBUG1,
			(errmsg_internal("a feed walked " INT64_FORMAT " rows in %.3f ms, and merged %d of "
							 "%d keys in %.3f ms", feed->walked, feed->walk_spent * 1e3,
							 feed->nopened, feed->nkeys, cozi_feed_merge_spent(feed) * 1e3)));
}

/* Read the page; SPI is connected. */
void
cozi_feed_read(Feed *feed)
{
	bool		done = false;

	cozi_feed_start_merge(feed);
	cozi_feed_start_walk(feed);
	if (feed->can_merge && !feed->all_keys)
		cozi_feed_load(feed, FEED_FIRST_LOAD);
	while (!done && (feed->can_merge || feed->can_walk))
	{
		if (feed->can_merge && (!feed->can_walk || cozi_feed_merge_is_next(feed)))
			done = cozi_feed_merge(feed);
		else
			done = cozi_feed_walk(feed);
	}
	say_work(feed);
	if (!done)
		read_plainly(feed);
	cozi_feed_close(feed);
}

/* A value of a column as text, as the session prints it. */
char	   *
cozi_feed_text(const FeedColumn *column, Datum value)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(column->type, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

/* Read the page, and return it as (item, rank_value, cursor). */
static void
return_page(FunctionCallInfo fcinfo, Feed *feed)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[] = {feed->rank.type, feed->item.type};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_feed_read(feed);
	for (int i = 0; i < feed->n; i++)
	{
		Datum		row[] = {feed->rows[i].rank, feed->rows[i].item};
		Datum		values[3];
		bool		nulls[3] = {0};

		values[0] = CStringGetTextDatum(cozi_feed_text(&feed->item, feed->rows[i].item));
		values[1] = CStringGetTextDatum(cozi_feed_text(&feed->rank, feed->rows[i].rank));
		values[2] = CStringGetTextDatum(cozi_cursor_encode(row, nulls, types, 2));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
}

PG_FUNCTION_INFO_V1(cozi_feed);

/*
 * feed(relation regclass, edge name, k int, item name, author name, rank name,
 *		after text, filters text[]) -> setof (item text, rank_value text, cursor text)
 */
Datum
cozi_feed(PG_FUNCTION_ARGS)
{
	Feed		feed = {0};

	InitMaterializedSRF(fcinfo, 0);
	cozi_require_argument(fcinfo, 0, "relation");
	cozi_feed_arguments(fcinfo, PG_GETARG_OID(0), &feed);
	return_page(fcinfo, &feed);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_feed_of);

/*
 * feed_of(relation regclass, keys anyarray, k int, key name, item name, rank name,
 *		after text, filters text[], author name)
 *		-> setof (item text, rank_value text, cursor text)
 *
 * NULL author: no row is left out because of its author.
 */
Datum
cozi_feed_of(PG_FUNCTION_ARGS)
{
	Feed		feed = {0};

	InitMaterializedSRF(fcinfo, 0);
	cozi_require_argument(fcinfo, 0, "relation");
	cozi_require_argument(fcinfo, 1, "keys");
	cozi_require_argument(fcinfo, 2, "k");
	cozi_feed_open(&feed, PG_GETARG_OID(0), cozi_feed_name(fcinfo, 4, "item"),
				   cozi_feed_name(fcinfo, 5, "rank"), cozi_feed_name(fcinfo, 3, "key"),
				   PG_GETARG_INT32(2));
	cozi_feed_list(&feed, PG_GETARG_ARRAYTYPE_P(1), get_fn_expr_argtype(fcinfo->flinfo, 1));
	if (!PG_ARGISNULL(8))
		cozi_feed_author(&feed, NameStr(*PG_GETARG_NAME(8)));
	read_rest(fcinfo, 6, &feed);
	return_page(fcinfo, &feed);
	return (Datum) 0;
}
