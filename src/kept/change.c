/*
 * kept/change.c
 *		The numbers of changes: which keys of a kept table have changed since.
 *
 * cozi.kept_change has one row per key of a kept table that is tracked: the number
 * of the key's last change.  A fold gives each key that it changes the next number;
 * so does who hides an item, and a rebuild.  A key that is gone keeps its row, for
 * those who have not heard of it.  A kept table that is not tracked has no row.
 *
 * What a statement writes directly (kept/direct.c) it cannot number.  It appends
 * the sum of nothing to the delta, and the fold that takes it gives the number.
 *
 * The laws.  Numbers are given under the fold lock, which is held to the commit, so
 * that their order is the order of commits: a snapshot that shows a number shows
 * all smaller ones.  After what breaks that (a rebuild, tracking anew) they belong
 * to another era.  They only grow, also from one era to the next.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "kept/change.h"
#include "kept/kept.h"

enum
{
	CHANGE_KEPT = 1, CHANGE_NUMBER, CHANGE_HASH, CHANGE_SCOPE, CHANGE_ITEM,
	CHANGE_COLUMNS = CHANGE_ITEM
};

static const CoziShape change_table = {"kept_change", {INT4OID, INT8OID, INT8OID, TEXTOID,
TEXTOID}};

struct KeptChanges
{
	int32		id;
	Relation	rel;
	Oid			hash_index;
	CatalogIndexState indexes;
	KeptSums   *sums;			/* for its functions of keys */
	Snapshot	snapshot;
	bool		registered;		/* the snapshot, by us */
	int64		last;
};

static KeptChanges *
open_changes(int32 id, KeptSums *sums, Snapshot snapshot)
{
	KeptChanges *changes = palloc(sizeof(KeptChanges));

	changes->id = id;
	changes->rel = cozi_open_table(&change_table, RowExclusiveLock);
	changes->hash_index = cozi_table("kept_change_hash");
	changes->indexes = CatalogOpenIndexes(changes->rel);
	changes->sums = sums;
	changes->snapshot = snapshot;
	changes->registered = false;
	changes->last = cozi_kept_last_change(id, snapshot);
	return changes;
}

/*
 * To number changes, under the fold lock; NULL if nobody tracks them.  A crash
 * empties an unlogged kept table, and what was said of it could not be taken back.
 */
KeptChanges *
cozi_kept_open_changes(const Kept *kept, KeptSums *sums, Snapshot snapshot)
{
	if (!kept->tracked || cozi_kept_is_unlogged(kept->source))
		return NULL;
	return open_changes(kept->id, sums, snapshot);
}

void
cozi_kept_close_changes(KeptChanges *changes)
{
	if (changes == NULL)
		return;
	CatalogCloseIndexes(changes->indexes);
	table_close(changes->rel, NoLock);
	if (changes->registered)
		UnregisterSnapshot(changes->snapshot);
	pfree(changes);
	/* where changes are announced */
	cozi_kept_call_worker();
}

static void
read_change(HeapTuple tuple, TupleDesc desc, KeptChange *change)
{
	change->number = DatumGetInt64(cozi_tuple_value(tuple, desc, CHANGE_NUMBER));
	change->key.hash = DatumGetInt64(cozi_tuple_value(tuple, desc, CHANGE_HASH));
	change->key.scope = cozi_tuple_text(tuple, desc, CHANGE_SCOPE);
	change->key.item = cozi_tuple_text(tuple, desc, CHANGE_ITEM);
	change->key.due = 0;
}

/* The row of a key; false if it has none. */
static bool
find_change(KeptChanges *changes, const KeptKey *key, ItemPointer tid)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], CHANGE_KEPT, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(changes->id));
	ScanKeyInit(&keys[1], CHANGE_HASH, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key->hash));
	scan = systable_beginscan(changes->rel, changes->hash_index, true, changes->snapshot, 2,
							  keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptChange	change;

		read_change(tuple, RelationGetDescr(changes->rel), &change);
		found = cozi_kept_same_key(changes->sums, &change.key, key);
		*tid = tuple->t_self;
	}
	systable_endscan(scan);
	return found;
}

/* Give a key that has changed the next number; changes is NULL: nobody asks. */
void
cozi_kept_number(KeptChanges *changes, const KeptKey *key)
{
	Datum		values[CHANGE_COLUMNS];
	bool		nulls[CHANGE_COLUMNS] = {false};
	HeapTuple	tuple;
	ItemPointerData tid;

	if (changes == NULL)
		return;
	values[CHANGE_KEPT - 1] = Int32GetDatum(changes->id);
	values[CHANGE_NUMBER - 1] = Int64GetDatum(++changes->last);
	values[CHANGE_HASH - 1] = Int64GetDatum(key->hash);
	cozi_kept_put_text(values, nulls, CHANGE_SCOPE, key->scope);
	cozi_kept_put_text(values, nulls, CHANGE_ITEM, key->item);
	tuple = cozi_form_tuple(changes->rel, values, nulls, CHANGE_COLUMNS);
	if (find_change(changes, key, &tid))
		CatalogTupleUpdateWithInfo(changes->rel, &tid, tuple, changes->indexes);
	else
		CatalogTupleInsertWithInfo(changes->rel, tuple, changes->indexes);
	heap_freetuple(tuple);
}

/* The number of the last change that a snapshot shows; 0: none. */
int64
cozi_kept_last_change(int32 id, Snapshot snapshot)
{
	Relation	rel = cozi_open_table(&change_table, AccessShareLock);
	Relation	index = index_open(cozi_table("kept_change_number"), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		last = 0;

	ScanKeyInit(&key, CHANGE_KEPT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
		last = DatumGetInt64(cozi_tuple_value(tuple, RelationGetDescr(rel), CHANGE_NUMBER));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return last;
}

/* Which era a snapshot shows; 0: none has begun in this database. */
int64
cozi_kept_era(int32 id, Snapshot snapshot)
{
	Relation	rel = cozi_open_table(&cozi_kept_local_table, AccessShareLock);
	SysScanDesc scan = cozi_kept_scan(rel, cozi_table("kept_local_pkey"), id, snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	bool		isnull;
	int64		era = 0;

	if (HeapTupleIsValid(tuple))
	{
		Datum		value = cozi_getattr(tuple, LOCAL_ERA, RelationGetDescr(rel), &isnull);

		era = isnull ? 0 : DatumGetInt64(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return era;
}

/*
 * Begin a new era, in which no key has a number yet; under the fold lock.  Returns
 * what cozi_kept_number() takes, or NULL.
 */
KeptChanges *
cozi_kept_restart_changes(const Kept *kept, KeptSums *sums)
{
	Snapshot	before = RegisterSnapshot(GetLatestSnapshot());
	int64		last = cozi_kept_last_change(kept->id, before);
	KeptChanges *changes;

	UnregisterSnapshot(before);
	cozi_kept_delete_rows("kept_change", kept->id);
	CommandCounterIncrement();
	if (!kept->tracked)
		return NULL;
	cozi_kept_new_era(kept);
	if (cozi_kept_is_unlogged(kept->source))
		return NULL;
	changes = open_changes(kept->id, sums, RegisterSnapshot(GetLatestSnapshot()));
	changes->registered = true;
	changes->last = last;
	return changes;
}

/* Begin a new era by numbering all keys that have a sum; under the fold lock. */
void
cozi_kept_number_all(const Kept *kept)
{
	KeptSums   *sums = cozi_kept_sums(kept, CurrentMemoryContext);
	KeptChanges *changes = cozi_kept_restart_changes(kept, sums);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "cozi change",
												  ALLOCSET_SMALL_SIZES);
	KeptStore  *store;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (changes == NULL)
		return;
	store = cozi_kept_open(kept, false);
	scan = cozi_kept_scan_state(store, changes->snapshot);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key = {0};
		MemoryContext caller = MemoryContextSwitchTo(scratch);

		CHECK_FOR_INTERRUPTS();
		cozi_kept_read_key(store, tuple, &key);
		cozi_kept_number(changes, &key);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
	}
	systable_endscan(scan);
	cozi_kept_close(store);
	cozi_kept_close_changes(changes);
	CommandCounterIncrement();
}

/*
 * Track the changes of a kept table, or no longer.  The fold lock is held to the
 * end of the transaction.  Writers who write directly must know of it before they
 * write again, so they wait.
 */
void
cozi_kept_track(Oid relation, bool track)
{
	Kept		kept;

	cozi_kept_get_own(relation, NULL, &kept);
	(void) cozi_kept_lock(kept.id, true);
	if (kept.kind->eager)
		cozi_kept_lock_sources(&kept, ShareRowExclusiveLock);
	/* it may have been dropped, or changed, while we waited */
	cozi_kept_get_own(relation, NULL, &kept);
	if (kept.tracked == track)
		return;
	kept.tracked = track;
	cozi_kept_write(&kept, false);
	cozi_kept_number_all(&kept);
}

/* Is there anything that a fold would move now? */
bool
cozi_kept_is_pending(const Kept *kept, Snapshot snapshot)
{
	KeptStore  *store = cozi_kept_open(kept, false);
	bool		pending = cozi_kept_delta_is_ready(store, snapshot);

	cozi_kept_close(store);
	return pending;
}

/* Begin to read the changes after a number, in their order. */
SysScanDesc
cozi_kept_begin_changes(int32 id, int64 after, Snapshot snapshot, Relation *rel,
						Relation *index)
{
	ScanKeyData keys[2];

	*rel = cozi_open_table(&change_table, AccessShareLock);
	*index = index_open(cozi_table("kept_change_number"), AccessShareLock);
	ScanKeyInit(&keys[0], CHANGE_KEPT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	ScanKeyInit(&keys[1], CHANGE_NUMBER, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(after));
	return systable_beginscan_ordered(*rel, *index, snapshot, 2, keys);
}

/*
 * The key is in the caller's context.  What a scan allocates on its way, for index
 * entries of dead rows, must live as long as the scan.
 */
bool
cozi_kept_next_change(SysScanDesc scan, Relation rel, KeptChange *change)
{
	MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(scan));
	HeapTuple	tuple = systable_getnext_ordered(scan, ForwardScanDirection);

	MemoryContextSwitchTo(caller);
	if (!HeapTupleIsValid(tuple))
		return false;
	read_change(tuple, RelationGetDescr(rel), change);
	return true;
}

void
cozi_kept_end_changes(SysScanDesc scan, Relation rel, Relation index)
{
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}
