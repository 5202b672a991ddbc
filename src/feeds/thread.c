/*
 * feeds/thread.c
 *		comment_thread(): the comments of a post in the order of a tree, page by page.
 *
 * Each level is ordered by the same column, so that a place in the tree is a path of
 * ranks and items: that is the cursor.  The replies of a comment are read when the
 * page gets there, together with those of the comments after it, few of each.
 *
 * The law: what is read grows with the page, and not with the tree; no cycle that a
 * client writes is followed beyond the page or its depth.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "feeds/feeds.h"

#define MOST_DEPTH		50
#define MOST_PARENTS	16		/* whose replies one statement reads */
#define FEW_REPLIES		8		/* of each of them, at first */
#define MOST_HIDDEN		1000	/* replies that are counted */

enum
{
	ARG_RELATION, ARG_ROOT, ARG_K, ARG_SORT, ARG_AFTER, ARG_ITEM, ARG_PARENT, ARG_POST,
	ARG_SCORE, ARG_CREATED_AT, ARG_HEAT, ARG_MAX_DEPTH, ARG_UNDER, ARG_AUTHOR
};

/* Replies of one comment that were read, in their order. */
typedef struct Replies
{
	struct Comment *comments;
	int			n;
	int			next;			/* the next to show */
	bool		more;			/* there may be more to read */
	bool		placed;			/* they are read from after a place on */
	FeedRow		place;
} Replies;

typedef struct Comment
{
	FeedRow		row;
	Replies    *replies;		/* NULL: not read */
} Comment;

/* A comment of the page. */
typedef struct Shown
{
	Datum		item;
	int			depth;
	int			parent;			/* its place on the page, or -1 */
	bool		open;			/* replies may be left */
	int64		hidden;
	FeedRow    *path;
} Shown;

typedef struct Thread
{
	Feed		feed;			/* key: the parent; one filter: the post */
	int			k;
	int			max_depth;
	bool		has_under;
	Datum		under;
	int			depth;			/* of the stack */
	Replies    *stack[MOST_DEPTH + 1];
	FeedRow		path[MOST_DEPTH + 1];	/* the comment whose replies are one
										 * level below */
	int			place[MOST_DEPTH + 1];	/* of that on the page, or -1 */
	Shown	   *shown;
	int			nshown;
} Thread;

static Datum
input_value(const FeedColumn *column, char *text)
{
	Oid			input;
	Oid			ioparam;

	getTypeInputInfo(column->type, &input, &ioparam);
	return OidInputFunctionCall(input, text, ioparam, -1);
}

static Datum
array_of(const Datum *values, int n, const FeedColumn *column)
{
	const TypeCacheEntry *type = column->ops;

	return PointerGetDatum(construct_array(unconstify(Datum *, values), n, column->type,
										   type->typlen, type->typbyval, type->typalign));
}

static void
run(Thread *thread, const char *sql, Datum *values, char *nulls, int64 limit)
{
	SPIPlanPtr	plan = cozi_feed_plan(&thread->feed, sql, 0);
	CoziPlanCosts costs;

	CHECK_FOR_INTERRUPTS();
	cozi_plan_walks(plan, &costs);
	values[PARAM_LIMIT] = Int64GetDatum(limit);
	nulls[PARAM_LIMIT] = ' ';
	if (SPI_execute_plan(plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a thread");
}

/* Add the rows that were selected to the replies of each of some comments. */
static void
take_replies(Thread *thread, Replies **replies, int limit)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	int			counts[MOST_PARENTS] = {0};

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		int			which = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull)) - 1;
		Replies    *of = replies[which];
		FeedRow		row;

		row.rank = SPI_getbinval(tuple, desc, 2, &isnull);
		row.item = SPI_getbinval(tuple, desc, 3, &isnull);
		if (isnull)
			continue;
		of->more = ++counts[which] == limit;
		of->placed = true;
		of->place = row = cozi_feed_copy(&thread->feed, &row);
		if (OidIsValid(thread->feed.author.type))
		{
			Datum		author = SPI_getbinval(tuple, desc, 4, &isnull);

			if (!isnull && cozi_feed_hides(&thread->feed, author))
				continue;
		}
		if ((of->n & (of->n - 1)) == 0)
			of->comments = of->n == 0 ? palloc(2 * sizeof(Comment)) :
				repalloc(of->comments, 2 * of->n * sizeof(Comment));
		of->comments[of->n].row = row;
		of->comments[of->n++].replies = NULL;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Read more replies of the comment below which the stack stands. */
static void
read_on(Thread *thread)
{
	Feed	   *feed = &thread->feed;
	Replies    *level = thread->stack[thread->depth - 1];
	bool		top = thread->depth == 1 && !thread->has_under;
	int			limit = thread->k - thread->nshown + 1;
	Datum		values[PARAMS];
	char		nulls[PARAMS];

	level->more = false;
	feed->has_after = top && level->placed;
	if (level->placed)
		feed->after = level->place;
	cozi_feed_params(feed, values, nulls);
	if (!top)
	{
		Datum		parent = thread->depth == 1 ? thread->under :
		thread->path[thread->depth - 2].item;

		values[PARAM_KEYS] = array_of(&parent, 1, &feed->key);
		nulls[PARAM_KEYS] = ' ';
		if (level->placed)
		{
			values[PARAM_RANKS] = array_of(&level->place.rank, 1, &feed->rank);
			values[PARAM_ITEMS] = array_of(&level->place.item, 1, &feed->item);
			nulls[PARAM_RANKS] = nulls[PARAM_ITEMS] = ' ';
		}
	}
	run(thread, top ? cozi_feed_top_sql(feed) : cozi_feed_range_sql(feed, level->placed),
		values, nulls, limit);
	feed->has_after = false;
	take_replies(thread, &level, limit);
}

/* Read the first replies of the comment that was shown last, and of those after it. */
static Replies *
read_replies(Thread *thread, Replies *level)
{
	Feed	   *feed = &thread->feed;
	Replies    *replies[MOST_PARENTS];
	Datum		parents[MOST_PARENTS];
	int			limit = Min(FEW_REPLIES, thread->k - thread->nshown + 1);
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	int			n = 0;

	for (int i = level->next - 1; i < level->n && n < MOST_PARENTS; i++)
	{
		level->comments[i].replies = replies[n] = palloc0(sizeof(Replies));
		parents[n++] = level->comments[i].row.item;
	}
	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = array_of(parents, n, &feed->key);
	nulls[PARAM_KEYS] = ' ';
	run(thread, cozi_feed_range_sql(feed, false), values, nulls, limit);
	take_replies(thread, replies, limit);
	return replies[0];
}

/* Show the next comment of the level, and go down to its replies. */
static void
show(Thread *thread, Replies *level)
{
	Comment    *comment = &level->comments[level->next++];
	Shown	   *shown = &thread->shown[thread->nshown];
	int			depth = thread->depth;

	shown->item = comment->row.item;
	shown->depth = depth;
	shown->parent = depth == 1 ? -1 : thread->place[depth - 2];
	shown->open = true;
	shown->path = palloc(depth * sizeof(FeedRow));
	memcpy(shown->path, thread->path, (depth - 1) * sizeof(FeedRow));
	shown->path[depth - 1] = thread->path[depth - 1] = comment->row;
	thread->place[depth - 1] = thread->nshown++;
	if (depth == thread->max_depth || thread->nshown == thread->k)
		return;
	if (comment->replies == NULL)
		(void) read_replies(thread, level);
	thread->stack[thread->depth++] = comment->replies;
}

/* The page, from where the stack stands. */
static void
read_page(Thread *thread)
{
	while (thread->nshown < thread->k && thread->depth > 0)
	{
		Replies    *level = thread->stack[thread->depth - 1];

		if (level->next < level->n)
			show(thread, level);
		else if (level->more)
			read_on(thread);
		else
		{
			thread->depth--;
			if (thread->depth > 0 && thread->place[thread->depth - 1] >= 0)
				thread->shown[thread->place[thread->depth - 1]].open = false;
		}
	}
}

/* Count the replies that the page does not show, of the comments where some may be left. */
static void
count_hidden(Thread *thread)
{
	Feed	   *feed = &thread->feed;
	Datum	   *parents = palloc(Max(thread->nshown, 1) * sizeof(Datum));
	int		   *places = palloc(Max(thread->nshown, 1) * sizeof(int));
	int			n = 0;
	Datum		values[PARAMS];
	char		nulls[PARAMS];

	for (int i = 0; i < thread->nshown; i++)
		if (thread->shown[i].open)
		{
			places[n] = i;
			parents[n++] = thread->shown[i].item;
		}
	cozi_feed_params(feed, values, nulls);
	values[PARAM_KEYS] = array_of(parents, n, &feed->key);
	nulls[PARAM_KEYS] = ' ';
	run(thread, cozi_feed_count_sql(feed), values, nulls, MOST_HIDDEN + thread->k);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		int64		which = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));

		thread->shown[places[which - 1]].hidden =
			DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < thread->nshown; i++)
		if (thread->shown[i].parent >= 0 && thread->shown[thread->shown[i].parent].hidden > 0)
			thread->shown[thread->shown[i].parent].hidden--;
}

/* The stack as it was when the comment of the cursor had been shown. */
static void
resume(Thread *thread, const char *cursor)
{
	CoziCursorField *fields;
	int			n = cozi_cursor_decode(cursor, &fields);

	if (n < 2 || n % 2 != 0 || n / 2 > thread->max_depth)
		cozi_not_a_cursor(cursor);
	for (int i = 0; i < n; i++)
		if (fields[i].kind == COZI_CURSOR_NULL)
			cozi_not_a_cursor(cursor);
	for (int i = 0; i < n / 2; i++)
	{
		FeedRow    *row = &thread->path[i];

		row->rank = cozi_cursor_value(&fields[2 * i], thread->feed.rank.type);
		row->item = cozi_cursor_value(&fields[2 * i + 1], thread->feed.item.type);
		thread->place[i] = -1;
		thread->stack[i]->placed = true;
		thread->stack[i]->place = *row;
		thread->depth = i + 1;
	}
	if (thread->depth < thread->max_depth)
		thread->depth++;
}

static const char *
rank_column(FunctionCallInfo fcinfo)
{
	char	   *sort = text_to_cstring(PG_GETARG_TEXT_PP(ARG_SORT));

	if (strcmp(sort, "best") == 0)
		return cozi_feed_name(fcinfo, ARG_SCORE, "score");
	if (strcmp(sort, "new") == 0)
		return cozi_feed_name(fcinfo, ARG_CREATED_AT, "created_at");
	if (strcmp(sort, "heat") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no order of a thread", sort),
				 errhint("Write best, new or heat.")));
	return cozi_feed_name(fcinfo, ARG_HEAT, "heat");
}

static void
open_thread(FunctionCallInfo fcinfo, Thread *thread)
{
	Feed	   *feed = &thread->feed;

	cozi_require_argument(fcinfo, ARG_RELATION, "relation");
	cozi_require_argument(fcinfo, ARG_ROOT, "root");
	cozi_require_argument(fcinfo, ARG_K, "k");
	cozi_require_argument(fcinfo, ARG_SORT, "sort");
	cozi_require_argument(fcinfo, ARG_MAX_DEPTH, "max_depth");
	thread->k = PG_GETARG_INT32(ARG_K);
	thread->max_depth = PG_GETARG_INT32(ARG_MAX_DEPTH);
	if (thread->max_depth < 1 || thread->max_depth > MOST_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_depth must be between 1 and %d", MOST_DEPTH)));
	cozi_feed_open(feed, PG_GETARG_OID(ARG_RELATION), cozi_feed_name(fcinfo, ARG_ITEM, "item"),
				   rank_column(fcinfo), cozi_feed_name(fcinfo, ARG_PARENT, "parent"), thread->k);
	if (feed->key.type != feed->item.type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, column \"%s\" of type %s",
						NameStr(feed->key.column.name), format_type_be(feed->key.type),
						NameStr(feed->item.column.name), format_type_be(feed->item.type))));
	feed->key_array_type = feed->key.array_type;
	cozi_feed_column(feed, &feed->filters[0], cozi_feed_name(fcinfo, ARG_POST, "post"));
	feed->filter_values[0] = input_value(&feed->filters[0],
										 text_to_cstring(PG_GETARG_TEXT_PP(ARG_ROOT)));
	feed->nfilters = 1;
	feed->has_muted = cozi_edge_config("muted") != NULL;
	if (!PG_ARGISNULL(ARG_AUTHOR))
		cozi_feed_author(feed, NameStr(*PG_GETARG_NAME(ARG_AUTHOR)));
	thread->has_under = !PG_ARGISNULL(ARG_UNDER);
	if (thread->has_under)
		thread->under = input_value(&feed->item, text_to_cstring(PG_GETARG_TEXT_PP(ARG_UNDER)));
	thread->shown = palloc0(thread->k * sizeof(Shown));
	for (int i = 0; i <= MOST_DEPTH; i++)
	{
		thread->stack[i] = palloc0(sizeof(Replies));
		thread->stack[i]->more = true;
	}
	thread->depth = 1;
	if (!PG_ARGISNULL(ARG_AFTER))
		resume(thread, text_to_cstring(PG_GETARG_TEXT_PP(ARG_AFTER)));
}

static void
put_comment(Thread *thread, const Shown *shown, ReturnSetInfo *rsinfo)
{
	const Feed *feed = &thread->feed;
	int			depth = shown->depth;
	Datum		fields[2 * MOST_DEPTH];
	bool		field_nulls[2 * MOST_DEPTH] = {0};
	Oid			types[2 * MOST_DEPTH];
	Datum		path[MOST_DEPTH] = {0};
	Datum		values[6];
	bool		nulls[6] = {0};

	for (int i = 0; i < depth; i++)
	{
		fields[2 * i] = shown->path[i].rank;
		fields[2 * i + 1] = shown->path[i].item;
		types[2 * i] = feed->rank.type;
		types[2 * i + 1] = feed->item.type;
		path[i] = CStringGetTextDatum(cozi_feed_text(&feed->item, shown->path[i].item));
	}
	values[0] = path[depth - 1];
	nulls[1] = depth == 1 && !thread->has_under;
	values[1] = nulls[1] ? (Datum) 0 : depth > 1 ? path[depth - 2] :
		CStringGetTextDatum(cozi_feed_text(&feed->item, thread->under));
	values[2] = Int32GetDatum(depth);
	values[3] = PointerGetDatum(construct_array(path, depth, TEXTOID, -1, false, TYPALIGN_INT));
	values[4] = Int32GetDatum((int32) Min(shown->hidden, MOST_HIDDEN));
	values[5] = CStringGetTextDatum(cozi_cursor_encode(fields, field_nulls, types, 2 * depth));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(cozi_comment_thread);

/*
 * comment_thread(relation regclass, root text, k int, sort text, after text, item name,
 *		parent name, post name, score name, created_at name, heat name, max_depth int,
 *		under text, author name)
 *		-> setof (item text, parent text, depth int, path text[], hidden int, cursor text)
 */
Datum
cozi_comment_thread(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Thread	   *thread = palloc0(sizeof(Thread));

	InitMaterializedSRF(fcinfo, 0);
	open_thread(fcinfo, thread);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	read_page(thread);
	count_hidden(thread);
	for (int i = 0; i < thread->nshown; i++)
		put_comment(thread, &thread->shown[i], rsinfo);
	SPI_finish();
	return (Datum) 0;
}
