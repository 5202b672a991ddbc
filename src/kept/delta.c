/*
 * kept/delta.c
 *		The delta: what writers have counted and no fold has moved yet.
 *
 * The delta has an index on (kept, ready, hash).  ready is the instant from
 * which a fold looks at the row: -infinity as it is appended.  A fold that finds
 * a row whose sum is due later merges it with those of the same key and
 * instant, so that they cancel, and puts the result back with ready = due.
 *
 * Where no fold succeeds, the rows of one key are merged into one: a delta that
 * nobody can fold grows with the keys of its source, not with its writes.
 *
 * The law: rows are taken out of a delta only under the fold lock, by a
 * transaction that puts their sums into the state or back into the delta.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/kept.h"

/* Rows of one hash that a merge holds at a time. */
#define RUN_ROWS 10000

enum
{
	DELTA_KEPT = 1, DELTA_READY, DELTA_HASH, DELTA_DUE, DELTA_QUEUED,
	DELTA_SCOPE, DELTA_ITEM, DELTA_SUM, DELTA_COLUMNS = DELTA_SUM
};

/* ready is DT_NOBEGIN for what a fold shall look at next. */
void
cozi_kept_append(KeptStore *store, const KeptGroup *group, const bytea *sum,
				 TimestampTz ready, TimestampTz now)
{
	Datum		values[DELTA_COLUMNS];
	bool		nulls[DELTA_COLUMNS] = {false};
	HeapTuple	tuple;

	values[DELTA_KEPT - 1] = Int32GetDatum(store->id);
	values[DELTA_READY - 1] = TimestampTzGetDatum(ready);
	values[DELTA_HASH - 1] = Int64GetDatum(group->key.hash);
	values[DELTA_DUE - 1] = TimestampTzGetDatum(group->key.due ? group->key.due : now);
	nulls[DELTA_DUE - 1] = group->key.due == 0;
	values[DELTA_QUEUED - 1] = TimestampTzGetDatum(now);
	cozi_kept_put_text(values, nulls, DELTA_SCOPE, group->key.scope);
	cozi_kept_put_text(values, nulls, DELTA_ITEM, group->key.item);
	values[DELTA_SUM - 1] = PointerGetDatum(sum);
	tuple = cozi_form_tuple(store->delta, values, nulls, DELTA_COLUMNS);
	CatalogTupleInsertWithInfo(store->delta, tuple, store->delta_indexes);
	heap_freetuple(tuple);
}

static SysScanDesc
scan_delta(KeptStore *store, Snapshot snapshot, TimestampTz until)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], DELTA_KEPT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(store->id));
	ScanKeyInit(&keys[1], DELTA_READY, BTLessEqualStrategyNumber, F_TIMESTAMP_LE,
				TimestampTzGetDatum(until));
	return systable_beginscan(store->delta, store->delta_index, true, snapshot, 2, keys);
}

static void
read_delta_key(HeapTuple tuple, TupleDesc desc, TimestampTz now, KeptKey *key)
{
	bool		isnull;
	Datum		due = cozi_getattr(tuple, DELTA_DUE, desc, &isnull);

	key->hash = DatumGetInt64(cozi_tuple_value(tuple, desc, DELTA_HASH));
	key->scope = cozi_tuple_text(tuple, desc, DELTA_SCOPE);
	key->item = cozi_tuple_text(tuple, desc, DELTA_ITEM);
	key->due = isnull || DatumGetTimestampTz(due) <= now ? 0 : DatumGetTimestampTz(due);
}

/* Add the stored sum of a row, in the context of the sums. */
void
cozi_kept_add_sum(const Kept *kept, KeptSums *sums, KeptGroup *group, HeapTuple tuple,
				  TupleDesc desc, int attnum)
{
	MemoryContext caller = MemoryContextSwitchTo(cozi_kept_context(sums));

	kept->kind->add_stored(group->sum, DatumGetByteaPP(cozi_tuple_value(tuple, desc, attnum)));
	MemoryContextSwitchTo(caller);
}

static int64
collect(const Kept *kept, KeptStore *store, KeptSums *sums, Snapshot snapshot, TimestampTz now,
		int64 max_rows, bool take)
{
	TupleDesc	desc = RelationGetDescr(store->delta);
	SysScanDesc scan = scan_delta(store, snapshot, now);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "cozi delta row",
												  ALLOCSET_SMALL_SIZES);
	HeapTuple	tuple;
	int64		n = 0;

	while ((max_rows == 0 || n < max_rows) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key;
		MemoryContext caller = MemoryContextSwitchTo(scratch);

		CHECK_FOR_INTERRUPTS();
		read_delta_key(tuple, desc, now, &key);
		if (take || key.due == 0)
			cozi_kept_add_sum(kept, sums, cozi_kept_group(sums, &key, true), tuple, desc,
							  DELTA_SUM);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		if (take)
			CatalogTupleDelete(store->delta, &tuple->t_self);
		n++;
	}
	MemoryContextDelete(scratch);
	systable_endscan(scan);
	return n;
}

/* Take what is ready out of the delta, at most max_rows unless that is 0. */
int64
cozi_kept_take(KeptStore *store, KeptSums *sums, Snapshot snapshot, TimestampTz now,
			   int64 max_rows, const Kept *kept)
{
	return collect(kept, store, sums, snapshot, now, max_rows, true);
}

/* Merge a sum that is due later with those of its key and instant. */
void
cozi_kept_settle(KeptStore *store, KeptSums *sums, Snapshot snapshot, KeptGroup *group,
				 TimestampTz now, const Kept *kept)
{
	TupleDesc	desc = RelationGetDescr(store->delta);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	bytea	   *sum;

	ScanKeyInit(&keys[0], DELTA_KEPT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(store->id));
	ScanKeyInit(&keys[1], DELTA_READY, BTEqualStrategyNumber, F_TIMESTAMP_EQ,
				TimestampTzGetDatum(group->key.due));
	ScanKeyInit(&keys[2], DELTA_HASH, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(group->key.hash));
	scan = systable_beginscan(store->delta, store->delta_index, true, snapshot, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key;

		read_delta_key(tuple, desc, now, &key);
		if (!cozi_kept_same_key(sums, &key, &group->key))
			continue;
		cozi_kept_add_sum(kept, sums, group, tuple, desc, DELTA_SUM);
		CatalogTupleDelete(store->delta, &tuple->t_self);
	}
	systable_endscan(scan);
	sum = kept->kind->store(group->sum);
	if (VARSIZE_ANY_EXHDR(sum) > 0)
		cozi_kept_append(store, group, sum, group->key.due, now);
}

/* Is there a row that a fold would take now? */
bool
cozi_kept_delta_is_ready(KeptStore *store, Snapshot snapshot)
{
	SysScanDesc scan = scan_delta(store, snapshot, GetCurrentTimestamp());
	bool		ready = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	return ready;
}

/*
 * Is a sum worth a row of the delta?  That of nothing is where it stands for a key
 * that was written directly, and awaits its number.
 */
static bool
is_worth(const Kept *kept, const bytea *sum)
{
	return VARSIZE_ANY_EXHDR(sum) > 0 || (kept->kind->eager && kept->tracked);
}

/* Add up what is due, as a snapshot sees it; false if nothing is. */
bool
cozi_kept_pending(const Kept *kept, KeptSums *sums, Snapshot snapshot, TimestampTz now)
{
	KeptStore  *store = cozi_kept_open(kept, false);

	(void) collect(kept, store, sums, snapshot, now, 0, false);
	cozi_kept_close(store);
	return cozi_kept_groups(sums) > 0;
}

/* What waits in the delta. */
void
cozi_kept_count(const Kept *kept, KeptCounts *counts)
{
	KeptStore  *store = cozi_kept_open(kept, false);
	TupleDesc	desc = RelationGetDescr(store->delta);
	TimestampTz now = GetCurrentTimestamp();
	SysScanDesc scan = cozi_kept_scan(store->delta, store->delta_index, kept->id,
									  GetActiveSnapshot());
	HeapTuple	tuple;

	memset(counts, 0, sizeof(KeptCounts));
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		due = cozi_getattr(tuple, DELTA_DUE, desc, &isnull);
		TimestampTz queued = DatumGetTimestampTz(cozi_tuple_value(tuple, desc, DELTA_QUEUED));

		CHECK_FOR_INTERRUPTS();
		if (!isnull && DatumGetTimestampTz(due) > now)
		{
			counts->future++;
			continue;
		}
		counts->pending++;
		if (counts->oldest == 0 || queued < counts->oldest)
			counts->oldest = queued;
	}
	systable_endscan(scan);
	cozi_kept_close(store);
}

/* Merging: the rows of one hash, which are neighbours in the index. */
typedef struct Merge
{
	KeptStore  *store;
	KeptSums   *sums;			/* of the run under way */
	Snapshot	snapshot;
	TimestampTz now;
	const Kept *kept;
	int64		hash;			/* of the run */
	ItemPointerData rows[RUN_ROWS];
	int			nrows;
	TimestampTz oldest;			/* of the run, when queued */
}			Merge;

/* Put one row for each key in the place of those of a run, where that is fewer. */
static void
end_run(Merge * merge)
{
	if (merge->nrows > cozi_kept_groups(merge->sums))
	{
		int			n;
		KeptGroup **groups = cozi_kept_list(merge->sums, &n);

		for (int i = 0; i < merge->nrows; i++)
			CatalogTupleDelete(merge->store->delta, &merge->rows[i]);
		for (int i = 0; i < n; i++)
		{
			bytea	   *sum = merge->kept->kind->store(groups[i]->sum);

			if (is_worth(merge->kept, sum))
				cozi_kept_append(merge->store, groups[i], sum, DT_NOBEGIN, merge->oldest);
		}
	}
	cozi_kept_reset(merge->sums);
	merge->nrows = 0;
}

static void
merge_tuple(Merge * merge, HeapTuple tuple, TupleDesc desc)
{
	KeptKey		key;
	TimestampTz queued = DatumGetTimestampTz(cozi_tuple_value(tuple, desc, DELTA_QUEUED));

	read_delta_key(tuple, desc, merge->now, &key);
	if (merge->nrows == RUN_ROWS || (merge->nrows > 0 && key.hash != merge->hash))
		end_run(merge);
	merge->oldest = merge->nrows == 0 ? queued : Min(merge->oldest, queued);
	merge->hash = key.hash;
	merge->rows[merge->nrows++] = tuple->t_self;
	cozi_kept_add_sum(merge->kept, merge->sums, cozi_kept_group(merge->sums, &key, true), tuple,
					  desc, DELTA_SUM);
}

/* The rows whose hash is at least, or less than, the given one; returns how many. */
static int64
merge_range(Merge * merge, StrategyNumber strategy, RegProcedure compare, int64 hash,
			int64 max_rows, MemoryContext scratch)
{
	TupleDesc	desc = RelationGetDescr(merge->store->delta);
	Relation	index = index_open(merge->store->delta_index, AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		n = 0;

	ScanKeyInit(&keys[0], DELTA_KEPT, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(merge->store->id));
	ScanKeyInit(&keys[1], DELTA_READY, BTEqualStrategyNumber, F_TIMESTAMP_EQ,
				TimestampTzGetDatum(DT_NOBEGIN));
	ScanKeyInit(&keys[2], DELTA_HASH, strategy, compare, Int64GetDatum(hash));
	scan = systable_beginscan_ordered(merge->store->delta, index, merge->snapshot, 3, keys);
	while (n < max_rows &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext caller = MemoryContextSwitchTo(scratch);

		CHECK_FOR_INTERRUPTS();
		merge_tuple(merge, tuple, desc);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		n++;
	}
	end_run(merge);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	return n;
}

/*
 * Merge the rows of each key of a kept table whose fold lock we hold: at most
 * max_rows unless that is 0, from a random hash on, so that many calls come to all.
 */
void
cozi_kept_merge(const Kept *kept, int64 max_rows)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi merge",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	MemoryContext scratch = AllocSetContextCreate(context, "cozi delta row",
												  ALLOCSET_SMALL_SIZES);
	Merge	   *merge = palloc0(sizeof(Merge));
	int64		start = (int64) pg_prng_uint64(&pg_global_prng_state);
	int64		n;

	if (max_rows == 0)
		max_rows = PG_INT64_MAX;
	merge->kept = kept;
	merge->snapshot = RegisterSnapshot(GetLatestSnapshot());
	merge->now = GetCurrentTimestamp();
	merge->sums = cozi_kept_sums(kept, context);
	merge->store = cozi_kept_open(kept, true);
	n = merge_range(merge, BTGreaterEqualStrategyNumber, F_INT8GE, start, max_rows, scratch);
	(void) merge_range(merge, BTLessStrategyNumber, F_INT8LT, start, max_rows - n, scratch);
	cozi_kept_close(merge->store);
	UnregisterSnapshot(merge->snapshot);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	CommandCounterIncrement();
}
