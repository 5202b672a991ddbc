/*
 * feeds/key.c
 *		The keys of a feed: whom the caller follows, or an array; and blocks.
 *
 * An edge is read as is_edge() reads it: below privileges and policies, in the
 * snapshot of the statement.  Its targets are loaded in parts, because a caller
 * may follow more than the page needs to know.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "feeds/feeds.h"

#define BYTES_A_KEY		64		/* with its place in arrays */
#define KEYS_A_PROBE	32		/* read in the time of a probe, nearly */
#define GROWTH			4		/* of what is loaded instead of probing */

/* A value of an edge's column, as edges compare ids. */
static Datum
as_id(const FeedColumn *column, Datum value)
{
	if (column->type == INT4OID)
		return Int64GetDatum(DatumGetInt32(value));
	if (column->type == INT2OID)
		return Int64GetDatum(DatumGetInt16(value));
	return value;
}

/* Do all targets below the last one visited come before it? */
static bool
visits_in_order(const CoziEdge *edge)
{
	Relation	index;
	bool		falls;

	if (edge->dst_type == TEXTOID || get_rel_relkind(edge->rel) != RELKIND_RELATION)
		return false;
	index = index_open(edge->index, AccessShareLock);
	falls = (index->rd_indoption[1] & INDOPTION_DESC) != 0;
	index_close(index, AccessShareLock);
	return !falls;
}

/* The keys are the targets of the caller's edges of that name. */
void
cozi_feed_follow(Feed *feed, const char *name)
{
	feed->edge_name = name;
	if (!cozi_find_edge(name, &feed->edge))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("edge \"%s\" is not registered", name),
				 errhint("The table's owner registers it with cozi.register_edge().")));
	if (feed->edge.trouble != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("edge \"%s\" cannot be read", name),
				 errhint("The view cozi.edges says why, to pg_monitor.")));
	if (cozi_edge_id_type(feed->key.type) != feed->edge.dst_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, the targets of edge \"%s\" of type %s",
						NameStr(feed->key.column.name), format_type_be(feed->key.type), name,
						format_type_be(feed->edge.dst_type)),
				 errhint("Name the column of the targets: author => 'author_id'.")));
	feed->key_type = feed->edge.dst_type;
	feed->key_array_type = get_array_type(feed->key_type);
	get_typlenbyval(feed->key_type, &feed->key_len, &feed->key_byval);
	feed->in_order = visits_in_order(&feed->edge);
	feed->ascending = true;
	feed->all_keys = !cozi_edge_caller(feed->edge.src_type, &feed->caller);
	feed->only_walk = feed->key_type == TEXTOID &&
		(!feed->edge.bytewise || !get_collation_isdeterministic(feed->key.column.collation));
}

static int
compare_keys(const void *a, const void *b, void *arg)
{
	const FeedColumn *key = arg;

	return DatumGetInt32(FunctionCall2Coll(&key->ops->cmp_proc_finfo, key->column.collation,
										   *(const Datum *) a, *(const Datum *) b));
}

/* The keys from there on have not been opened. */
static void
add_span(Feed *feed, int from)
{
	if (from == feed->nkeys)
		return;
	if (feed->nspans == FEED_MOST_SPANS)
		feed->nspans--, from = feed->spans[feed->nspans].from;
	feed->spans[feed->nspans].from = from;
	feed->spans[feed->nspans++].to = feed->nkeys;
}

/* The keys are those of an array, each once; NULLs are none. */
void
cozi_feed_list(Feed *feed, ArrayType *keys, Oid array_type)
{
	Oid			type = getBaseType(get_element_type(getBaseType(array_type)));
	int16		len;
	bool		byval;
	char		align;
	bool	   *nulls;
	int			n;

	if (type != feed->key.type &&
		!((type == TEXTOID || type == VARCHAROID) &&
		  (feed->key.type == TEXTOID || feed->key.type == VARCHAROID)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, the keys are of type %s",
						NameStr(feed->key.column.name), format_type_be(feed->key.type),
						format_type_be(type)),
				 errhint("Cast the keys to %s[].", format_type_be(feed->key.type))));
	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(keys, type, len, byval, align, &feed->keys, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			feed->keys[feed->nkeys++] = feed->keys[i];
	qsort_arg(feed->keys, feed->nkeys, sizeof(Datum), compare_keys, &feed->key);
	n = feed->nkeys;
	feed->nkeys = 0;
	for (int i = 0; i < n; i++)
		if (i == 0 || compare_keys(&feed->keys[i], &feed->keys[feed->nkeys - 1],
								   &feed->key) != 0)
			feed->keys[feed->nkeys++] = feed->keys[i];
	feed->key_type = type;
	feed->key_array_type = get_array_type(type);
	feed->all_keys = true;
	add_span(feed, 0);
}

typedef struct KeyLoad
{
	Feed	   *feed;
	int64		known;			/* targets that were visited before */
	int64		room;			/* of keys */
	int64		most;			/* keys that the memory takes */
} KeyLoad;

/* The order of ids by their bytes, which is that of most indexes on them. */
static int
id_order(const Feed *feed, Datum a, Datum b)
{
	text	   *x;
	text	   *y;
	int			order;

	if (feed->key_type == INT8OID)
		return DatumGetInt64(a) < DatumGetInt64(b) ? -1 : DatumGetInt64(a) > DatumGetInt64(b);
	if (feed->key_type == UUIDOID)
		return memcmp(DatumGetUUIDP(a), DatumGetUUIDP(b), UUID_LEN);
	x = DatumGetTextPP(a);
	y = DatumGetTextPP(b);
	order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y),
				   Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y)));
	return order != 0 ? order : (int) VARSIZE_ANY_EXHDR(x) - (int) VARSIZE_ANY_EXHDR(y);
}

static bool
load_key(Datum target, int rank, void *arg)
{
	KeyLoad    *load = arg;
	Feed	   *feed = load->feed;

	if (load->known-- > 0)
		return true;
	if (feed->nkeys >= load->most)
	{
		feed->too_many_keys = true;
		return false;
	}
	if (feed->nkeys >= load->room)
	{
		load->room = Max(load->room * 2, 64);
		feed->keys = feed->keys == NULL ? palloc(load->room * sizeof(Datum)) :
			repalloc_huge(feed->keys, load->room * sizeof(Datum));
	}
	feed->ascending = feed->ascending &&
		(feed->nkeys == 0 || id_order(feed, feed->keys[feed->nkeys - 1], target) < 0);
	feed->keys[feed->nkeys++] = datumCopy(target, feed->key_byval, feed->key_len);
	return true;
}

/*
 * Load more targets, until most edges of the caller were read.  They come in the
 * order of an index in one snapshot, so that those known come first.
 */
void
cozi_feed_load(Feed *feed, int64 most)
{
	int			known = feed->nkeys;
	KeyLoad		load = {.feed = feed,.known = known,.room = known};

	load.most = get_hash_memory_limit() / BYTES_A_KEY;
	feed->all_keys = cozi_visit_edges(&feed->edge, false, false, feed->caller, most, load_key,
									  &load);
	add_span(feed, known);
}

/* Is it among the keys from the first to the last, by the order of id_order()? */
static bool
is_loaded(const Feed *feed, Datum id)
{
	int			low = 0;
	int			high = feed->nkeys;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = id_order(feed, id, feed->keys[middle]);

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* Do the keys that were loaded say whether this id is one? */
static bool
is_decided(const Feed *feed, Datum id)
{
	if (feed->only_walk || !feed->ascending)
		return false;
	return feed->all_keys ||
		(feed->in_order && feed->nkeys > 0 &&
		 id_order(feed, id, feed->keys[feed->nkeys - 1]) <= 0);
}

/*
 * Is it one of the keys?  Of an edge, whether loaded or not: where they come in
 * order, all up to the last are known, and the edge is asked about the others, until
 * that has taken about the time of loading many more.
 */
bool
cozi_feed_has_key(Feed *feed, Datum key)
{
	if (feed->edge_name == NULL)
		return feed->nkeys > 0 && bsearch_arg(&key, feed->keys, feed->nkeys, sizeof(Datum),
											  compare_keys, &feed->key) != NULL;
	key = as_id(&feed->key, key);
	if (is_decided(feed, key))
		return is_loaded(feed, key);
	if (feed->in_order && !feed->too_many_keys && feed->ascending &&
		++feed->probes * KEYS_A_PROBE > GROWTH * (int64) feed->nkeys)
	{
		cozi_feed_load(feed, Max(GROWTH * (int64) feed->nkeys, FEED_FIRST_LOAD));
		if (is_decided(feed, key))
			return is_loaded(feed, key);
	}
	return cozi_edge_holds(&feed->follows, feed->context, feed->edge_name, false, key,
						   feed->key_type);
}

/* Is there a block between the caller and the author, or has the caller muted them? */
bool
cozi_feed_hides(Feed *feed, Datum author)
{
	Oid			type = cozi_edge_id_type(feed->author.type);
	MemoryContext context = feed->context;

	author = as_id(&feed->author, author);
	return cozi_edge_holds(&feed->blocks, context, "blocked", false, author, type) ||
		cozi_edge_holds(&feed->blocked_by, context, "blocked", true, author, type) ||
		(feed->has_muted && cozi_edge_holds(&feed->mutes, context, "muted", false, author, type));
}
