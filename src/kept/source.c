/*
 * kept/source.c
 *		What a session caches: the kept tables that a relation feeds.
 *
 * Every statement of a writer looks them up, so each session keeps what it read,
 * by relation, until a relcache invalidation of that relation or of cozi.kept.
 *
 * The law: kept tables are found by their source, never by what a trigger says.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "kept/kept.h"

/* What a session caches of a relation: the kept tables that it feeds. */
typedef struct SourceEntry
{
	Oid			relid;			/* hash key */
	List	   *kept;			/* of Kept; often NIL */
} SourceEntry;

static HTAB *sources = NULL;
static MemoryContext sources_context = NULL;
static bool sources_stale = false;

static void
forget_source(Datum arg, Oid relid)
{
	/* cozi.kept and cozi.kept_source themselves are entries of the cache */
	if (sources != NULL &&
		(!OidIsValid(relid) || hash_search(sources, &relid, HASH_FIND, NULL) != NULL))
		sources_stale = true;
}

static void
prepare_cache(void)
{
	static const char *const tables[] = {"kept", "kept_source"};
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(SourceEntry)};

	if (sources_context == NULL)
	{
		sources_context = AllocSetContextCreate(CacheMemoryContext, "cozi kept tables",
												ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(forget_source, (Datum) 0);
	}
	else if (!sources_stale && sources != NULL)
		return;
	sources = NULL;
	MemoryContextReset(sources_context);
	ctl.hcxt = sources_context;
	sources = hash_create("cozi kept tables", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	sources_stale = false;
	for (int i = 0; i < lengthof(tables); i++)
	{
		Oid			config = cozi_table(tables[i]);
		SourceEntry *entry = hash_search(sources, &config, HASH_ENTER, NULL);

		entry->kept = NIL;
	}
}

/*
 * A relation with all that it inherits from, or with all that inherit from it.
 * The server's own functions raise an error where it was dropped a moment ago.
 */
List	   *
cozi_kept_tree(Oid relid, bool upward)
{
	List	   *found = list_make1_oid(relid);
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);

	for (int i = 0; i < list_length(found); i++)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, upward ? Anum_pg_inherits_inhrelid : Anum_pg_inherits_inhparent,
					BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(list_nth_oid(found, i)));
		scan = systable_beginscan(inherits, upward ? InheritsRelidSeqnoIndexId :
								  InheritsParentIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tuple);

			found = list_append_unique_oid(found, upward ? form->inhparent : form->inhrelid);
		}
		systable_endscan(scan);
	}
	table_close(inherits, AccessShareLock);
	return found;
}

static Kept *
copy_kept(const Kept *kept)
{
	Kept	   *copy = palloc(sizeof(Kept));

	*copy = *kept;
	if (copy->broken != NULL)
		copy->broken = pstrdup(copy->broken);
	if (copy->time_zone != NULL)
		copy->time_zone = pstrdup(copy->time_zone);
	return copy;
}

static List *
copy_list(const List *list)
{
	List	   *copies = NIL;
	ListCell   *lc;
	ListCell   *each;

	foreach(lc, list)
	{
		Kept	   *copy = copy_kept(lfirst(lc));
		List	   *siblings = NIL;

		foreach(each, copy->sources)
			siblings = lappend(siblings, copy_kept(lfirst(each)));
		foreach(each, siblings)
			((Kept *) lfirst(each))->sources = siblings;
		copy->sources = siblings;
		copies = lappend(copies, copy);
	}
	return copies;
}

/*
 * The kept tables that the rows of a relation feed, as it feeds them.  They are found by their
 * source, never by what a trigger says: a trigger that an owner puts on a table
 * feeds nothing.
 */
List	   *
cozi_kept_on(Oid source)
{
	SourceEntry *entry;
	ListCell   *lc;
	List	   *relids;
	List	   *list = NIL;
	MemoryContext caller;

	prepare_cache();
	entry = hash_search(sources, &source, HASH_FIND, NULL);
	if (entry != NULL)
		return copy_list(entry->kept);

	relids = cozi_kept_tree(source, true);
	foreach(lc, cozi_kept_all())
	{
		ListCell   *each;

		foreach(each, cozi_kept_sources(lfirst(lc)))
			if (list_member_oid(relids, ((Kept *) lfirst(each))->source))
			list = lappend(list, lfirst(each));
	}

	/* reading may have brought an invalidation: then it is not kept */
	if (sources_stale)
		return list;
	caller = MemoryContextSwitchTo(sources_context);
	entry = hash_search(sources, &source, HASH_ENTER, NULL);
	entry->kept = copy_list(list);
	MemoryContextSwitchTo(caller);
	return list;
}
