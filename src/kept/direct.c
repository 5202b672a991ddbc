/*
 * kept/direct.c
 *		Eager kinds: a statement writes its keys at once, where nobody else does.
 *
 * A counter is read by its table, so its rows must be right after the statement
 * that changed them, and yet no two writers may wait for one another.  So the keys
 * of a kept table are shared out to SLOTS slots.  A writer that gets the slot of a
 * key without waiting adds its sum to the state and to the public table there and
 * then; one that does not appends to the delta, and a fold moves it.  A fold takes
 * slots in the same way, and leaves to the next fold what is of another's slot.
 *
 * The laws: nothing here waits, and nothing of a user's runs.  Only a public table
 * whose indexes and types are pg_catalog's is written, below SQL.  Who writes a row
 * of the state holds its slot to the end of the transaction; a rebuild, which
 * writes them all, keeps such writers out altogether.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "kept/kept.h"

/* Locks of a kept table beside the fold lock, which has 0 in this field. */
#define SLOTS			16		/* 1 to SLOTS */
#define WRITERS_LOCK	100		/* shared by writers, exclusive for a rebuild */

/* A statement of more keys appends them. */
#define MAX_KEYS		1000

/* A longer key may be too long for an index: a fold sets it aside. */
#define MAX_KEY_BYTES	1000

/* What a session caches of a public table: may it be written here? */
typedef struct Shape
{
	Oid			relid;			/* hash key */
	Oid			source;
	bool		known;
	bool		plain;
	Oid			index;			/* of the key */
}			Shape;

static HTAB *shapes = NULL;

static void
forget_shape(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Shape	   *shape;

	hash_seq_init(&status, shapes);
	while ((shape = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || relid == shape->relid || relid == shape->source)
			shape->known = false;
}

/* Heap, and no index but plain ones: CatalogTupleInsert() knows no others. */
static bool
has_plain_indexes(const Kept *kept, Relation rel)
{
	ListCell   *lc;
	bool		plain = rel->rd_rel->relam == HEAP_TABLE_AM_OID;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		plain &= index->rd_index->indisready && index->rd_index->indislive &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		index_close(index, AccessShareLock);
	}
	return plain && kept->owner == cozi_relation_owner(kept->relation) &&
		cozi_kept_misfit(kept) == NULL && cozi_kept_foreign_code(kept->relation) == NULL;
}

static Shape *
find_shape(const Kept *kept, Relation rel)
{
	Shape	   *shape;
	bool		found;

	if (shapes == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Shape)};

		shapes = hash_create("cozi public tables", 16, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget_shape, (Datum) 0);
	}
	shape = hash_search(shapes, &kept->relation, HASH_ENTER, &found);
	if (found && shape->known)
		return shape;
	/* an invalidation that comes while we look must not be lost */
	shape->known = true;
	shape->source = kept->source;
	shape->plain = has_plain_indexes(kept, rel);
	shape->index = rel->rd_pkindex;
	return shape;
}

static bool
lock(int32 id, uint32 which, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, which, (uint32) id, KEPT_LOCK_CLASS);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* Take the slot of a key, to the end of the transaction, if it is free. */
static bool
take_key_slot(const Kept *kept, const KeptKey *key)
{
	return lock(kept->id, 1 + (uint32) ((uint64) key->hash % SLOTS), ExclusiveLock, false);
}

/*
 * Take the slots of the keys that a fold has; what is of another's slot goes back into the delta.
 * Returns how many keys are left.
 */
int
cozi_kept_take_slots(const Kept *kept, KeptStore *store, KeptGroup **groups, int n,
					 TimestampTz now)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		if (groups[i]->key.due != 0 || take_key_slot(kept, &groups[i]->key))
			groups[left++] = groups[i];
		else
			cozi_kept_append(store, groups[i], kept->kind->store(groups[i]->sum), DT_NOBEGIN,
							 now);
	}
	return left;
}

/* Wait until nobody writes directly, and keep them out. */
void
cozi_kept_exclude_writers(const Kept *kept)
{
	if (kept->kind->eager)
		(void) lock(kept->id, WRITERS_LOCK, ExclusiveLock, true);
}

typedef struct Direct
{
	const Kept *kept;
	KeptSums   *sums;
	KeptStore  *store;
	Relation	rel;
	CatalogIndexState indexes;
	Oid			index;
	AttrNumber	key;
}			Direct;

/* The public row of a key; the tuple is a copy. */
static HeapTuple
public_tuple(Direct * direct, Datum key, Snapshot snapshot)
{
	Relation	index = index_open(direct->index, AccessShareLock);
	Oid			type = index->rd_opcintype[0];
	Oid			operator = get_opfamily_member(index->rd_opfamily[0], type, type,
											   BTEqualStrategyNumber);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyEntryInitialize(&scankey, 0, direct->key, BTEqualStrategyNumber, type,
						   index->rd_indcollation[0], get_opcode(operator), key);
	scan = systable_beginscan(direct->rel, direct->index, true, snapshot, 1, &scankey);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	index_close(index, AccessShareLock);
	return tuple;
}

/* Lock a row of the public table, which its owner may have locked: false then. */
static bool
lock_tuple(Direct * direct, HeapTuple tuple)
{
	HeapTupleData locked = *tuple;
	Buffer		buffer;
	TM_FailureData failure;
	TM_Result	result = heap_lock_tuple(direct->rel, &locked, GetCurrentCommandId(true),
										 LockTupleExclusive, LockWaitSkip, false, &buffer,
										 &failure);

	ReleaseBuffer(buffer);
	return result == TM_Ok;
}

static void
write_public(Direct * direct, HeapTuple old, Datum key, const KeptPublicRow *row)
{
	TupleDesc	desc = RelationGetDescr(direct->rel);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	tuple;

	if (!row->exists)
	{
		if (old != NULL)
			CatalogTupleDelete(direct->rel, &old->t_self);
		return;
	}
	memset(nulls, true, desc->natts * sizeof(bool));
	values[direct->key - 1] = key;
	nulls[direct->key - 1] = false;
	for (int i = 0; i < direct->kept->kind->ncolumns; i++)
	{
		AttrNumber	attnum = get_attnum(direct->kept->relation, direct->kept->kind->names[i]);

		values[attnum - 1] = row->values[i];
		nulls[attnum - 1] = row->nulls[i];
	}
	tuple = heap_form_tuple(desc, values, nulls);
	if (old != NULL)
		CatalogTupleUpdateWithInfo(direct->rel, &old->t_self, tuple, direct->indexes);
	else
		CatalogTupleInsertWithInfo(direct->rel, tuple, direct->indexes);
}

/* Add the sum of a key to its state and to its row; false: append it. */
static bool
write_group(Direct * direct, KeptGroup *group)
{
	const Kept *kept = direct->kept;
	Snapshot	snapshot;
	KeptPublicRow row = {.key = group->key};
	Oid			input;
	Oid			ioparam;
	Datum		key;
	HeapTuple	old;
	bytea	   *stored;

	if (strlen(group->key.item) > MAX_KEY_BYTES || !take_key_slot(kept, &group->key))
		return false;
	/* taken after the slot: it sees what the last holder has committed */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	getTypeInputInfo(getBaseType(TupleDescAttr(RelationGetDescr(direct->rel),
											   direct->key - 1)->atttypid), &input, &ioparam);
	key = OidInputFunctionCall(input, unconstify(char *, group->key.item), ioparam, -1);
	old = public_tuple(direct, key, snapshot);
	if (old != NULL && !lock_tuple(direct, old))
	{
		UnregisterSnapshot(snapshot);
		return false;
	}
	stored = cozi_kept_state(direct->store, direct->sums, snapshot, &group->key);
	if (stored != NULL)
		kept->kind->add_stored(group->sum, stored);
	cozi_kept_save(direct->store, snapshot, &group->key, kept->kind->store(group->sum));
	row.exists = kept->kind->columns(group->sum, kept, row.values, row.nulls);
	write_public(direct, old, key, &row);
	UnregisterSnapshot(snapshot);
	return true;
}

/* A fold is to number the change: see change.c. */
static void
append_nothing(Direct * direct, const KeptGroup *group)
{
	bytea	   *nothing = palloc(VARHDRSZ);

	SET_VARSIZE(nothing, VARHDRSZ);
	cozi_kept_append(direct->store, group, nothing, DT_NOBEGIN, GetCurrentTimestamp());
	pfree(nothing);
}

static bool
may_write(const Kept *kept, int n)
{
	return kept->kind->eager && kept->adopted && n > 0 && n <= MAX_KEYS &&
		XactIsoLevel == XACT_READ_COMMITTED && !cozi_kept_restoring() &&
		ConditionalLockRelationOid(kept->relation, RowExclusiveLock);
}

/*
 * Write what a statement adds to these keys, as many of them as can be written
 * now; those that were are set to NULL.  Returns how many rows of the delta that
 * took: one each, for the number of the change, if changes are tracked.
 */
int64
cozi_kept_write_directly(const Kept *kept, KeptSums *sums, KeptGroup **groups, int n)
{
	Direct		direct = {.kept = kept,.sums = sums};
	Shape	   *shape;
	int64		written = 0;

	if (!may_write(kept, n) || get_rel_name(kept->relation) == NULL)
		return 0;
	direct.rel = table_open(kept->relation, NoLock);
	shape = find_shape(kept, direct.rel);
	direct.index = shape->index;
	direct.key = get_attnum(kept->relation, kept->kind->item);
	if (shape->plain && lock(kept->id, WRITERS_LOCK, ShareLock, false))
	{
		/* rows of an earlier statement of the same command are seen */
		CommandCounterIncrement();
		direct.store = cozi_kept_open(kept, true);
		direct.indexes = CatalogOpenIndexes(direct.rel);
		for (int i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (VARSIZE_ANY_EXHDR(kept->kind->store(groups[i]->sum)) == 0 ||
				!write_group(&direct, groups[i]))
				continue;
			if (kept->tracked)
				append_nothing(&direct, groups[i]);
			groups[i] = NULL;
			written++;
		}
		CatalogCloseIndexes(direct.indexes);
		cozi_kept_close(direct.store);
		if (written > 0)
			CommandCounterIncrement();
	}
	table_close(direct.rel, NoLock);
	return kept->tracked ? written : 0;
}
