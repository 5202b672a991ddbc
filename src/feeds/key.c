/*
 * feeds/key.c
 *		The keys of a feed: whom the caller follows, or an array; and blocks.
 *
 * An edge is read as is_edge() reads it: below privileges and policies, in the
 * snapshot of the statement.  Its targets are loaded in parts, because a caller
 * may follow more than the page needs to know.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#include "feeds/feeds.h"

#define BYTES_A_KEY 64			/* with its place in arrays */

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
}

typedef struct KeyLoad
{
	Feed	   *feed;
	int64		known;			/* targets that were visited before */
	int64		room;			/* of keys */
	int64		most;			/* keys that the memory takes */
} KeyLoad;

static bool
load_key(Datum target, int rank, void *arg)
{
	KeyLoad    *load = arg;
	Feed	   *feed = load->feed;
	int16		len;
	bool		byval;

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
	get_typlenbyval(feed->key_type, &len, &byval);
	feed->keys[feed->nkeys++] = datumCopy(target, byval, len);
	return true;
}

/*
 * Load more targets, until most edges of the caller were read.  They come in the
 * order of an index in one snapshot, so that those known come first.
 */
void
cozi_feed_load(Feed *feed, int64 most)
{
	KeyLoad		load = {.feed = feed,.known = feed->nkeys,.room = feed->nkeys};

	load.most = get_hash_memory_limit() / BYTES_A_KEY;
	feed->all_keys = cozi_visit_edges(&feed->edge, false, false, feed->caller, most, load_key,
									  &load);
}

/* Is it one of the keys?  Of an edge, whether loaded or not. */
bool
cozi_feed_has_key(Feed *feed, Datum key)
{
	if (feed->edge_name != NULL)
		return cozi_edge_holds(&feed->follows, CurrentMemoryContext, feed->edge_name, false,
							   as_id(&feed->key, key), feed->key_type);
	return feed->nkeys > 0 && bsearch_arg(&key, feed->keys, feed->nkeys, sizeof(Datum),
										  compare_keys, &feed->key) != NULL;
}

/* Is there a block between the caller and the author, or has the caller muted them? */
bool
cozi_feed_hides(Feed *feed, Datum author)
{
	Oid			type = cozi_edge_id_type(feed->author.type);
	MemoryContext context = CurrentMemoryContext;

	author = as_id(&feed->author, author);
	return cozi_edge_holds(&feed->blocks, context, "blocked", false, author, type) ||
		cozi_edge_holds(&feed->blocked_by, context, "blocked", true, author, type) ||
		(feed->has_muted && cozi_edge_holds(&feed->mutes, context, "muted", false, author, type));
}
