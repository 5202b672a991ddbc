/*
 * kept/store.c
 *		State and delta, read and written below SQL.
 *
 * Below SQL there is no plan, no privilege check and no code of anybody's: a
 * writer needs privileges on the source and no others.  The tables belong to
 * the extension, so their shape is the one in sql/kept/kept.sql.  Here is what
 * both have in common, and the state; kept/delta.c has the delta.
 *
 * The state is found by (kept, n, hash): n numbers the keys of one hash.
 *
 * The law: rows of a kept table are deleted and updated here only under its
 * fold lock, or when nothing else can reach them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "kept/change.h"
#include "kept/kept.h"

enum
{
	STATE_KEPT = 1, STATE_N, STATE_HASH, STATE_SCOPE, STATE_ITEM, STATE_SUM,
	STATE_COLUMNS = STATE_SUM
};

#define STATE_TYPES {INT4OID, INT2OID, INT8OID, TEXTOID, TEXTOID, BYTEAOID}
#define DELTA_TYPES {INT4OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, \
		TEXTOID, BYTEAOID}

/* Of logged sources, and of unlogged ones. */
static const CoziShape state_tables[] = {
	{"kept_state", STATE_TYPES}, {"kept_state_unlogged", STATE_TYPES}
};

static const CoziShape delta_tables[] = {
	{"kept_delta", DELTA_TYPES}, {"kept_delta_unlogged", DELTA_TYPES}
};

/* false for a relation that was dropped a moment ago */
bool
cozi_kept_is_unlogged(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		unlogged;

	if (!HeapTupleIsValid(tuple))
		return false;
	unlogged = ((Form_pg_class) GETSTRUCT(tuple))->relpersistence == RELPERSISTENCE_UNLOGGED;
	ReleaseSysCache(tuple);
	return unlogged;
}

static KeptStore *
open_delta(int32 id, bool unlogged, bool for_write)
{
	KeptStore  *store = palloc0(sizeof(KeptStore));
	LOCKMODE	mode = for_write ? RowExclusiveLock : AccessShareLock;

	if (unlogged && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a standby has no rows of an unlogged table"),
				 errhint("Ask the primary.")));
	store->id = id;
	store->delta = cozi_open_table(&delta_tables[unlogged], mode);
	if (for_write)
		store->delta_indexes = CatalogOpenIndexes(store->delta);
	return store;
}

static KeptStore *
open_store(int32 id, bool unlogged, bool for_write)
{
	KeptStore  *store = open_delta(id, unlogged, for_write);
	LOCKMODE	mode = for_write ? RowExclusiveLock : AccessShareLock;

	store->state = cozi_open_table(&state_tables[unlogged], mode);
	store->delta_index = cozi_table(unlogged ? "kept_delta_unlogged_ready" : "kept_delta_ready");
	store->state_index = cozi_table(unlogged ? "kept_state_unlogged_pkey" : "kept_state_pkey");
	if (for_write)
		store->state_indexes = CatalogOpenIndexes(store->state);
	return store;
}

KeptStore  *
cozi_kept_open(const Kept *kept, bool for_write)
{
	return open_store(kept->id, cozi_kept_is_unlogged(kept->source), for_write);
}

/*
 * The sums of closed rows are in the state, too, under the negative id: what is in
 * the delta is never theirs.
 */
KeptStore  *
cozi_kept_open_closed(const Kept *kept, bool for_write)
{
	return open_store(-kept->id, cozi_kept_is_unlogged(kept->source), for_write);
}

/* For a writer, who appends to the delta and does nothing else. */
KeptStore  *
cozi_kept_open_delta(const Kept *kept)
{
	return open_delta(kept->id, cozi_kept_is_unlogged(kept->source), true);
}

void
cozi_kept_close(KeptStore *store)
{
	if (store->delta_indexes)
		CatalogCloseIndexes(store->delta_indexes);
	if (store->state_indexes)
		CatalogCloseIndexes(store->state_indexes);
	table_close(store->delta, NoLock);
	if (store->state)
		table_close(store->state, NoLock);
	pfree(store);
}

/* Set a text of a tuple to be formed; NULL for none. */
void
cozi_kept_put_text(Datum *values, bool *nulls, int attnum, const char *text)
{
	nulls[attnum - 1] = text == NULL;
	values[attnum - 1] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* Look for the n-th key of a hash; the tuple is a copy. */
static HeapTuple
state_tuple(KeptStore *store, Snapshot snapshot, int64 hash, int16 n)
{
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], STATE_KEPT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(store->id));
	ScanKeyInit(&keys[1], STATE_N, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(n));
	ScanKeyInit(&keys[2], STATE_HASH, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(hash));
	scan = systable_beginscan(store->state, store->state_index, true, snapshot, 3, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/* The stored sum of a key; NULL for none. */
bytea	   *
cozi_kept_state(KeptStore *store, KeptSums *sums, Snapshot snapshot, const KeptKey *key)
{
	TupleDesc	desc = RelationGetDescr(store->state);

	store->found = false;
	for (store->n = 0;; store->n++)
	{
		HeapTuple	tuple = state_tuple(store, snapshot, key->hash, store->n);
		KeptKey		is = {.hash = key->hash,.due = key->due};

		CHECK_FOR_INTERRUPTS();
		if (tuple == NULL)
			return NULL;
		is.scope = cozi_tuple_text(tuple, desc, STATE_SCOPE);
		is.item = cozi_tuple_text(tuple, desc, STATE_ITEM);
		if (cozi_kept_same_key(sums, &is, key))
		{
			store->found = true;
			store->tid = tuple->t_self;
			return DatumGetByteaPP(cozi_tuple_value(tuple, desc, STATE_SUM));
		}
	}
}

static HeapTuple
form_state(KeptStore *store, const KeptKey *key, int16 n, const bytea *sum)
{
	Datum		values[STATE_COLUMNS];
	bool		nulls[STATE_COLUMNS] = {false};

	values[STATE_KEPT - 1] = Int32GetDatum(store->id);
	values[STATE_N - 1] = Int16GetDatum(n);
	values[STATE_HASH - 1] = Int64GetDatum(key->hash);
	cozi_kept_put_text(values, nulls, STATE_SCOPE, key->scope);
	cozi_kept_put_text(values, nulls, STATE_ITEM, key->item);
	values[STATE_SUM - 1] = PointerGetDatum(sum);
	return cozi_form_tuple(store->state, values, nulls, STATE_COLUMNS);
}

/* Store the sum of the key that cozi_kept_state() has just looked for. */
void
cozi_kept_save(KeptStore *store, Snapshot snapshot, const KeptKey *key, const bytea *sum)
{
	/* the row of another key of the same hash must still be found */
	if (VARSIZE_ANY_EXHDR(sum) == 0 &&
		(!store->found || state_tuple(store, snapshot, key->hash, store->n + 1) == NULL))
	{
		if (store->found)
			CatalogTupleDelete(store->state, &store->tid);
	}
	else if (store->found)
		CatalogTupleUpdateWithInfo(store->state, &store->tid,
								   form_state(store, key, store->n, sum), store->state_indexes);
	else
		CatalogTupleInsertWithInfo(store->state, form_state(store, key, store->n, sum),
								   store->state_indexes);
}

/* Store the sum of a key that has none, of an emptied kept table. */
void
cozi_kept_insert_state(KeptStore *store, KeptSums *sums, Snapshot snapshot, const KeptKey *key,
					   const bytea *sum)
{
	HeapTuple	tuple;

	if (VARSIZE_ANY_EXHDR(sum) == 0)
		return;
	(void) cozi_kept_state(store, sums, snapshot, key);
	tuple = form_state(store, key, store->n, sum);
	CatalogTupleInsertWithInfo(store->state, tuple, store->state_indexes);
	heap_freetuple(tuple);
}

/* All rows of a kept table in one of our tables. */
SysScanDesc
cozi_kept_scan(Relation rel, Oid index, int32 id, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	return systable_beginscan(rel, index, OidIsValid(index), snapshot, 1, &key);
}

static void
delete_rows(Relation rel, Oid index, int32 id, Snapshot snapshot)
{
	SysScanDesc scan = cozi_kept_scan(rel, index, id, snapshot);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
}

/* Delete what a snapshot sees of a kept table, from state and delta. */
void
cozi_kept_empty(KeptStore *store, Snapshot snapshot)
{
	delete_rows(store->state, store->state_index, store->id, snapshot);
	delete_rows(store->delta, store->delta_index, store->id, snapshot);
	CommandCounterIncrement();
}

static void
move_rows(Relation from, Oid from_index, Relation to, CatalogIndexState indexes, int32 id,
		  Snapshot snapshot)
{
	TupleDesc	desc = RelationGetDescr(from);
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	SysScanDesc scan = cozi_kept_scan(from, from_index, id, snapshot);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTuple	moved;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, desc, values, nulls);
		moved = cozi_form_tuple(to, values, nulls, desc->natts);
		CatalogTupleInsertWithInfo(to, moved, indexes);
		heap_freetuple(moved);
		CatalogTupleDelete(from, &tuple->t_self);
	}
	systable_endscan(scan);
}

static void
move_store(int32 id, bool to_unlogged, Snapshot snapshot)
{
	KeptStore  *from = open_store(id, !to_unlogged, true);
	KeptStore  *to = open_store(id, to_unlogged, true);

	move_rows(from->state, from->state_index, to->state, to->state_indexes, id, snapshot);
	move_rows(from->delta, from->delta_index, to->delta, to->delta_indexes, id, snapshot);
	cozi_kept_close(from);
	cozi_kept_close(to);
}

/* The source was made unlogged, or logged: so are state and delta. */
void
cozi_kept_move(const Kept *kept, bool to_unlogged)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	move_store(kept->id, to_unlogged, snapshot);
	move_store(-kept->id, to_unlogged, snapshot);
	UnregisterSnapshot(snapshot);
	CommandCounterIncrement();

	/*
	 * nothing was numbered while it was unlogged, and a crash may have
	 * emptied it
	 */
	if (kept->tracked)
		cozi_kept_number_all(kept);
}

/* All rows of the state. */
SysScanDesc
cozi_kept_scan_state(KeptStore *store, Snapshot snapshot)
{
	return cozi_kept_scan(store->state, store->state_index, store->id, snapshot);
}

/* The key of a row of the state. */
void
cozi_kept_read_key(KeptStore *store, HeapTuple tuple, KeptKey *key)
{
	TupleDesc	desc = RelationGetDescr(store->state);

	key->hash = DatumGetInt64(cozi_tuple_value(tuple, desc, STATE_HASH));
	key->scope = cozi_tuple_text(tuple, desc, STATE_SCOPE);
	key->item = cozi_tuple_text(tuple, desc, STATE_ITEM);
}

/* Add the sum of a row of the state to a group. */
void
cozi_kept_add_state(KeptStore *store, const Kept *kept, KeptSums *sums, KeptGroup *group,
					HeapTuple tuple)
{
	cozi_kept_add_sum(kept, sums, group, tuple, RelationGetDescr(store->state), STATE_SUM);
}

/* The sums of an item in all of its scopes, from the state: all of it is read. */
void
cozi_kept_states_of_item(KeptStore *store, const Kept *kept, KeptSums *sums, Snapshot snapshot,
						 const char *item)
{
	KeptKey		wanted = {.item = item};
	TupleDesc	desc = RelationGetDescr(store->state);
	SysScanDesc scan = cozi_kept_scan(store->state, store->state_index, store->id, snapshot);
	HeapTuple	tuple;

	cozi_kept_hash_key(sums, &wanted);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key = {0};
		KeptKey		bare = {0};

		CHECK_FOR_INTERRUPTS();
		key.item = bare.item = cozi_tuple_text(tuple, desc, STATE_ITEM);
		cozi_kept_hash_key(sums, &bare);
		if (cozi_kept_same_key(sums, &bare, &wanted))
		{
			KeptGroup  *group;

			key.scope = cozi_tuple_text(tuple, desc, STATE_SCOPE);
			cozi_kept_hash_key(sums, &key);
			group = cozi_kept_group(sums, &key, true);
			cozi_kept_add_sum(kept, sums, group, tuple, desc, STATE_SUM);
		}
		pfree(unconstify(char *, bare.item));
	}
	systable_endscan(scan);
}
