/*
 * feeds/feeds.h
 *		Feeds: the first rows, in one order, of all rows whose key is in a list.
 *
 *		open.c		the arguments: relation, columns, keys, cursor
 *		query.c		the statements, in the caller's rights
 *		receive.c	their rows, one by one
 *		row.c		the best rows seen so far
 *		key.c		the list: whom the caller follows, or an array
 *		merge.c		one way: the ranges of the keys, merged
 *		walk.c		the other: all rows in their order
 *		turn.c		which of them goes next
 *		feed.c		both in turn; feed(), feed_of()
 *		rows.c		feed_rows(): rows of the caller's table
 *		unread.c	unread(): how many since a marker
 *		thread.c	comment_thread(): a tree of comments, page by page
 *		page.c		cursors and pages
 *
 * The law: every row is read by a statement of the caller's, so that privileges
 * and policies hold; keys of an edge are read as is_edge() reads them.
 */
#ifndef COZI_FEEDS_H
#define COZI_FEEDS_H

#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "portability/instr_time.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "edge/edge.h"

#define FEED_MOST_ROWS		10000	/* of a page */
#define FEED_MOST_FILTERS	8
#define FEED_MOST_SPANS		32
#define FEED_FIRST_LOAD		128 /* targets of an edge that are read at first */

/* A column that rows are ordered or compared by; its type is below domains. */
typedef struct FeedColumn
{
	CoziColumn	column;
	Oid			type;
	Oid			array_type;
	bool		not_null;
	TypeCacheEntry *ops;
} FeedColumn;

/* The parameters of all statements, by their numbers. */
enum
{
	PARAM_KEYS, PARAM_RANKS, PARAM_ITEMS, PARAM_AFTER_RANK, PARAM_AFTER_ITEM,
	PARAM_FLOOR_RANK, PARAM_FLOOR_ITEM, PARAM_LIMIT, PARAM_FILTERS,
	PARAMS = PARAM_FILTERS + FEED_MOST_FILTERS
};

typedef struct FeedRow
{
	Datum		rank;
	Datum		item;
} FeedRow;

/* A range of which more rows may belong to the page: those after a place. */
typedef struct FeedRange
{
	int			key;
	FeedRow		place;
} FeedRange;

/* An instant, and what this process had taken until then. */
typedef struct FeedClock
{
	instr_time	at;
	double		cpu;			/* seconds */
	long		preemptions;
	long		sleeps;
} FeedClock;

/* Keys whose ranges are yet to be opened: those from one place up to another. */
typedef struct FeedSpan
{
	int			from;
	int			to;
} FeedSpan;

typedef struct Feed
{
	MemoryContext context;		/* of all that outlives a statement */
	Oid			relid;
	FeedColumn	item;
	FeedColumn	rank;
	FeedColumn	key;
	FeedColumn	author;			/* whom blocks are about; no type: nobody */
	int			k;
	bool		has_after;
	FeedRow		after;
	int			nfilters;
	FeedColumn	filters[FEED_MOST_FILTERS];
	Datum		filter_values[FEED_MOST_FILTERS];
	bool		filter_nulls[FEED_MOST_FILTERS];

	/* row.c: falling, none twice; the last is the floor once there are k */
	FeedRow    *rows;
	int			n;

	/* key.c */
	const char *edge_name;		/* NULL: the keys were given */
	CoziEdge	edge;
	Datum		caller;
	Oid			key_type;		/* of the keys: of an edge, as it compares ids */
	Oid			key_array_type;
	int16		key_len;
	bool		key_byval;
	Datum	   *keys;
	int			nkeys;
	bool		in_order;		/* none that is to come is below the last */
	int			probes;			/* for keys that were not loaded */
	bool		ascending;		/* as id_order() has it, none twice */
	bool		all_keys;		/* there are no more */
	bool		too_many_keys;
	bool		only_walk;		/* ids that differ may be equal: ask is_edge() */
	CoziEdgeAnswers *follows;
	CoziEdgeAnswers *blocks;
	CoziEdgeAnswers *blocked_by;
	CoziEdgeAnswers *mutes;
	bool		has_muted;		/* the edge "muted" is registered */

	/* merge.c */
	bool		can_merge;
	FeedSpan	spans[FEED_MOST_SPANS];
	int			nspans;
	int			nopened;		/* keys whose range was opened */
	int			chunk;			/* of the last statement */
	FeedRange  *ranges;
	int			nranges;
	int			limit;			/* rows to read of each at once */
	bool		many_rows;		/* keys had more rows than a list is worth */
	double		load_spent;		/* seconds, for more keys */
	double		open_spent;		/* and for their ranges */

	/* walk.c */
	bool		can_walk;
	Portal		portal;
	int64		walked;
	int			walk_hits;		/* rows of it that belong to the feed */
	double		walk_spent;

	/* turn.c: ranks as numbers, of the first row of the walk and the last */
	bool		has_ranks;
	double		first_rank;
	double		last_rank;
} Feed;

/* open.c */
extern void cozi_feed_open(Feed *feed, Oid relid, const char *item, const char *rank,
						   const char *key, int k);
extern void cozi_feed_column(Feed *feed, FeedColumn *column, const char *name);
extern void cozi_feed_author(Feed *feed, const char *name);
extern void cozi_feed_after(Feed *feed, const char *cursor);
extern void cozi_feed_filters(Feed *feed, ArrayType *filters);

/* query.c */
extern char *cozi_feed_range_sql(const Feed *feed, bool again);
extern char *cozi_feed_list_sql(const Feed *feed);
extern char *cozi_feed_top_sql(const Feed *feed);
extern char *cozi_feed_count_sql(const Feed *feed);
extern char *cozi_feed_walk_sql(const Feed *feed);
extern char *cozi_feed_plain_sql(const Feed *feed);
extern char *cozi_feed_unread_sql(const Feed *feed, bool by_item);
extern SPIPlanPtr cozi_feed_plan(const Feed *feed, const char *sql, int options);
extern void cozi_feed_params(const Feed *feed, Datum *values, char *nulls);

/* receive.c: false when no more rows are wanted */
typedef bool (*FeedTake) (Feed *feed, TupleTableSlot *slot, void *arg);

extern int64 cozi_feed_execute(Feed *feed, SPIPlanPtr plan, const Datum *values,
							   const char *nulls, FeedTake take, void *arg);
extern int64 cozi_feed_fetch(Feed *feed, int64 most, FeedTake take, void *arg);

/* row.c */
extern bool cozi_feed_is_full(const Feed *feed);
extern bool cozi_feed_below_floor(const Feed *feed, const FeedRow *row);
extern void cozi_feed_offer(Feed *feed, const FeedRow *row);
extern FeedRow cozi_feed_copy(const Feed *feed, const FeedRow *row);

/* key.c */
extern void cozi_feed_follow(Feed *feed, const char *edge);
extern void cozi_feed_list(Feed *feed, ArrayType *keys, Oid array_type);
extern void cozi_feed_load(Feed *feed, int64 most);
extern bool cozi_feed_has_key(Feed *feed, Datum key);
extern bool cozi_feed_hides(Feed *feed, Datum author);

/* merge.c, walk.c: a step; true when the rows are the page */
extern void cozi_feed_start_merge(Feed *feed);
extern bool cozi_feed_merge(Feed *feed);
extern void cozi_feed_start_walk(Feed *feed);
extern bool cozi_feed_walk(Feed *feed);
extern void cozi_feed_sort(Feed *feed);
extern void cozi_feed_close(Feed *feed);

/* turn.c */
extern void cozi_feed_clock(FeedClock *clock);
extern double cozi_feed_time_since(const FeedClock *clock);
extern void cozi_feed_note_rank(Feed *feed, Datum rank);
extern double cozi_feed_merge_spent(const Feed *feed);
extern bool cozi_feed_merge_is_next(const Feed *feed);
extern double cozi_feed_merge_turn(const Feed *feed);
extern double cozi_feed_walk_turn(const Feed *feed);

/* feed.c */
extern const char *cozi_feed_name(FunctionCallInfo fcinfo, int n, const char *name);
extern void cozi_feed_arguments(FunctionCallInfo fcinfo, Oid relid, Feed *feed);
extern void cozi_feed_read(Feed *feed);
extern char *cozi_feed_text(const FeedColumn *column, Datum value);

#endif							/* COZI_FEEDS_H */
