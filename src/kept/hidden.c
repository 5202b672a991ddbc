/*
 * kept/hidden.c
 *		Items that are taken off a public table, and put back.
 *
 * A hidden item is counted like any other, and its sums stay in the state: only
 * its rows are not published.  cozi.kept_hidden says which items these are; the
 * rows are found by the hash that keys have, without a scope.
 *
 * The law: the list changes under the fold lock, in the transaction that deletes
 * or writes the rows.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "kept/change.h"
#include "kept/kept.h"

enum
{
	HIDDEN_KEPT = 1, HIDDEN_HASH, HIDDEN_ITEM, HIDDEN_SINCE, HIDDEN_COLUMNS = HIDDEN_SINCE
};

static const CoziShape hidden_table = {"kept_hidden", {INT4OID, INT8OID, TEXTOID,
TIMESTAMPTZOID}};

struct KeptHidden
{
	int32		id;
	Relation	rel;
	Oid			index;
	Snapshot	snapshot;
	KeptSums   *sums;			/* for its functions of keys */
};

static KeptHidden *
open_hidden(const Kept *kept, KeptSums *sums, Snapshot snapshot, LOCKMODE mode)
{
	KeptHidden *hidden = palloc0(sizeof(KeptHidden));

	hidden->id = kept->id;
	hidden->rel = cozi_open_table(&hidden_table, mode);
	hidden->index = cozi_table("kept_hidden_hash");
	hidden->snapshot = snapshot;
	hidden->sums = sums;
	return hidden;
}

/* What is hidden of a kept table; NULL: nothing is. */
KeptHidden *
cozi_kept_open_hidden(const Kept *kept, KeptSums *sums, Snapshot snapshot)
{
	KeptHidden *hidden = open_hidden(kept, sums, snapshot, AccessShareLock);
	SysScanDesc scan = cozi_kept_scan(hidden->rel, hidden->index, kept->id, snapshot);
	bool		any = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	if (any)
		return hidden;
	cozi_kept_close_hidden(hidden);
	return NULL;
}

void
cozi_kept_close_hidden(KeptHidden *hidden)
{
	if (hidden == NULL)
		return;
	table_close(hidden->rel, NoLock);
	pfree(hidden);
}

/* Is it hidden?  Deletes its row if asked to. */
static bool
find(KeptHidden *hidden, const char *item, bool delete)
{
	KeptKey		key = {.item = item};
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	cozi_kept_hash_key(hidden->sums, &key);
	ScanKeyInit(&keys[0], HIDDEN_KEPT, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(hidden->id));
	ScanKeyInit(&keys[1], HIDDEN_HASH, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key.hash));
	scan = systable_beginscan(hidden->rel, hidden->index, true, hidden->snapshot, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		other = {.hash = key.hash};

		other.item = cozi_tuple_text(tuple, RelationGetDescr(hidden->rel), HIDDEN_ITEM);
		found = cozi_kept_same_key(hidden->sums, &key, &other);
		if (found && delete)
			CatalogTupleDelete(hidden->rel, &tuple->t_self);
	}
	systable_endscan(scan);
	return found;
}

/* Is the item of a key hidden? */
bool
cozi_kept_is_hidden(KeptHidden *hidden, const KeptKey *key)
{
	return hidden != NULL && find(hidden, key->item, false);
}

/* The hidden items of a kept table, as text[]. */
Datum
cozi_kept_hidden_items(const Kept *kept, Snapshot snapshot)
{
	Relation	rel = cozi_open_table(&hidden_table, AccessShareLock);
	SysScanDesc scan = cozi_kept_scan(rel, cozi_table("kept_hidden_hash"), kept->id, snapshot);
	ArrayBuildState *items = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		items = accumArrayResult(items, cozi_getattr(tuple, HIDDEN_ITEM, RelationGetDescr(rel),
													 &isnull), false, TEXTOID,
								 CurrentMemoryContext);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return makeArrayResult(items, CurrentMemoryContext);
}

static void
insert_hidden(KeptHidden *hidden, const char *item)
{
	KeptKey		key = {.item = item};
	Datum		values[HIDDEN_COLUMNS];
	bool		nulls[HIDDEN_COLUMNS] = {false};

	cozi_kept_hash_key(hidden->sums, &key);
	values[HIDDEN_KEPT - 1] = Int32GetDatum(hidden->id);
	values[HIDDEN_HASH - 1] = Int64GetDatum(key.hash);
	values[HIDDEN_ITEM - 1] = CStringGetTextDatum(item);
	values[HIDDEN_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(hidden->rel, cozi_form_tuple(hidden->rel, values, nulls,
													HIDDEN_COLUMNS));
}

/* The rows of an item, by walking from scope to scope, as the owner. */
static void
take_off(const Kept *kept, char *item)
{
	char	   *type = cozi_kept_column_type(kept->relation, kept->kind->item);
	Oid			argtype = TEXTOID;
	Datum		argument = CStringGetTextDatum(item);
	CoziSavedUser saved;
	char	   *sql;

	sql = cozi_statement("DELETE FROM {table} b {scopes} b.{key} OPERATOR(pg_catalog.=) $1::{type}",
						 "table", cozi_qualified_name(kept->relation),
						 "scopes", !kept_has(kept, KEPT_SCOPE) ? "WHERE" :
						 psprintf("USING (%s) s WHERE b.scope OPERATOR(pg_catalog.=) s.scope AND",
								  cozi_kept_all_scopes(kept)),
						 "key", kept->kind->item, "type", type, NULL);
	cozi_switch_to_owner(kept->relation, &saved);
	(void) cozi_kept_plain_settings();
	if (SPI_execute_with_args(sql, 1, &argtype, &argument, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not hide an item");
	cozi_restore_user(&saved);
}

/* The item as keys have it, whatever spelling the caller has chosen. */
static char *
canonical_item(const Kept *kept, char *item)
{
	Oid			type;
	int32		typmod;
	Oid			collation;
	KeptKeyType key;
	Oid			input;
	Oid			ioparam;
	int			level = cozi_kept_plain_settings();
	char	   *text;

	get_atttypetypmodcoll(kept->relation, get_attnum(kept->relation, kept->kind->item), &type,
						  &typmod, &collation);
	cozi_kept_key_type(&key, type, collation);
	getTypeInputInfo(getBaseType(type), &input, &ioparam);
	text = cozi_kept_key_text(&key, OidInputFunctionCall(input, item, ioparam, -1));

	AtEOXact_GUC(false, level);
	return text;
}

/* Write the rows of an item from the state. */
static void
publish_item(const Kept *kept, KeptSums *sums, const char *item)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	KeptStore  *store = cozi_kept_open(kept, false);
	KeptGroup **groups;
	KeptPublicRow *rows;
	int			n;

	cozi_kept_states_of_item(store, kept, sums, snapshot, item);
	groups = cozi_kept_list(sums, &n);
	rows = palloc0(Max(n, 1) * sizeof(KeptPublicRow));
	for (int i = 0; i < n; i++)
	{
		rows[i].key = groups[i]->key;
		rows[i].exists = kept->kind->columns(groups[i]->sum, kept, rows[i].values, rows[i].nulls);
	}
	cozi_kept_close(store);
	UnregisterSnapshot(snapshot);
	PushActiveSnapshot(GetLatestSnapshot());
	cozi_kept_publish(kept, rows, n, false);
	PopActiveSnapshot();
}

/* The rows of an item have come or gone. */
static void
number_item(const Kept *kept, const char *item, Snapshot snapshot)
{
	KeptSums   *sums = cozi_kept_sums(kept, CurrentMemoryContext);
	KeptChanges *changes = cozi_kept_open_changes(kept, sums, snapshot);
	KeptStore  *store;
	KeptGroup **groups;
	int			n;

	if (changes == NULL)
		return;
	store = cozi_kept_open(kept, false);
	cozi_kept_states_of_item(store, kept, sums, snapshot, item);
	groups = cozi_kept_list(sums, &n);
	for (int i = 0; i < n; i++)
		cozi_kept_number(changes, &groups[i]->key);
	cozi_kept_close(store);
	cozi_kept_close_changes(changes);
	CommandCounterIncrement();
}

/*
 * Hide an item, or show it again; false if it was so already.  The fold lock is
 * held to the end of the transaction.
 */
static bool
set_hidden(FunctionCallInfo fcinfo, bool hide)
{
	Kept		kept;
	KeptSums   *sums;
	KeptHidden *hidden;
	Snapshot	snapshot;
	char	   *item;
	char	   *misfit;
	bool		was_hidden;

	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	cozi_kept_refuse_old_snapshot(hide ? "hide_item" : "show_item");
	(void) cozi_kept_lock(kept.id, true);
	LockRelationOid(kept.relation, RowExclusiveLock);
	/* it may have been dropped, or changed, while we waited */
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	misfit = cozi_kept_misfit(&kept);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be written: %s", get_rel_name(kept.relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_board().")));
	item = canonical_item(&kept, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_kept_accept(&kept);
	sums = cozi_kept_sums(&kept, CurrentMemoryContext);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	hidden = open_hidden(&kept, sums, snapshot, RowExclusiveLock);
	was_hidden = find(hidden, item, !hide);
	if (hide && !was_hidden)
	{
		insert_hidden(hidden, item);
		take_off(&kept, item);
	}
	else if (!hide && was_hidden)
		publish_item(&kept, sums, item);
	if (was_hidden != hide)
		number_item(&kept, item, snapshot);
	cozi_kept_close_hidden(hidden);
	UnregisterSnapshot(snapshot);
	SPI_finish();
	return was_hidden != hide;
}

PG_FUNCTION_INFO_V1(cozi_hide_item);

/*
 * hide_item(board regclass, item text) -> boolean
 */
Datum
cozi_hide_item(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(set_hidden(fcinfo, true));
}

PG_FUNCTION_INFO_V1(cozi_show_item);

/*
 * show_item(board regclass, item text) -> boolean
 */
Datum
cozi_show_item(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(set_hidden(fcinfo, false));
}

PG_FUNCTION_INFO_V1(cozi_hidden_items);

/*
 * hidden_items(board regclass) -> setof text
 */
Datum
cozi_hidden_items(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Kept		kept;
	Datum	   *items;
	bool		isnull = false;
	int			n;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	cozi_kept_get_own(PG_GETARG_OID(0), "board", &kept);
	deconstruct_array(DatumGetArrayTypeP(cozi_kept_hidden_items(&kept, GetActiveSnapshot())),
					  TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &n);
	for (int i = 0; i < n; i++)
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &items[i], &isnull);
	return (Datum) 0;
}
