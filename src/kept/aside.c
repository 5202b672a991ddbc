/*
 * kept/aside.c
 *		Rows set aside, and the end of all rows.
 *
 * The public table may not take the row of a key: the key is too long for an
 * index, or an expression of an index fails.  Such a key keeps its sum in the
 * state; cozi.kept_aside says which it is, and why.
 *
 * The law: a key is set aside in the transaction that has stored its sum.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
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
#include "utils/timestamp.h"

#include "kept/kept.h"

enum
{
	ASIDE_KEPT = 1, ASIDE_SCOPE, ASIDE_ITEM, ASIDE_ERROR, ASIDE_SINCE,
	ASIDE_COLUMNS = ASIDE_SINCE
};

static const CoziShape aside_table = {"kept_aside", {INT4OID, TEXTOID, TEXTOID, TEXTOID,
TIMESTAMPTZOID}};

/* Write down that the public table does not take the row of a key. */
void
cozi_kept_set_aside(const Kept *kept, const KeptKey *key, const char *error)
{
	Relation	rel = cozi_open_table(&aside_table, RowExclusiveLock);
	Datum		values[ASIDE_COLUMNS];
	bool		nulls[ASIDE_COLUMNS] = {false};

	values[ASIDE_KEPT - 1] = Int32GetDatum(kept->id);
	cozi_kept_put_text(values, nulls, ASIDE_SCOPE, key->scope);
	cozi_kept_put_text(values, nulls, ASIDE_ITEM, key->item);
	cozi_kept_put_text(values, nulls, ASIDE_ERROR, error);
	values[ASIDE_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(rel, cozi_form_tuple(rel, values, nulls, ASIDE_COLUMNS));
	table_close(rel, NoLock);
}

/* The keys of these sums are about to be written again. */
void
cozi_kept_not_aside(const Kept *kept, KeptSums *sums)
{
	Relation	rel = cozi_open_table(&aside_table, RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = cozi_kept_scan(rel, cozi_table("kept_aside_kept"), kept->id, snapshot);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key = {0};

		key.scope = cozi_tuple_text(tuple, RelationGetDescr(rel), ASIDE_SCOPE);
		key.item = cozi_tuple_text(tuple, RelationGetDescr(rel), ASIDE_ITEM);
		cozi_kept_hash_key(sums, &key);
		if (cozi_kept_group(sums, &key, false) != NULL)
			CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/* How many keys are set aside, and a sentence about one of them. */
int64
cozi_kept_asides(const Kept *kept, char **example)
{
	Relation	rel = cozi_open_table(&aside_table, AccessShareLock);
	SysScanDesc scan = cozi_kept_scan(rel, cozi_table("kept_aside_kept"), kept->id,
									  GetActiveSnapshot());
	HeapTuple	tuple;
	int64		n = 0;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		char	   *item;

		if (n++ > 0)
			continue;
		item = cozi_tuple_text(tuple, RelationGetDescr(rel), ASIDE_ITEM);
		item[pg_mbcliplen(item, strlen(item), 40)] = '\0';
		*example = psprintf("item \"%s\": %s", item,
							cozi_tuple_text(tuple, RelationGetDescr(rel), ASIDE_ERROR));
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return n;
}

/* The index of one of our tables that begins with the id. */
static Oid
index_of(const char *table)
{
	bool		state = strncmp(table, "kept_state", 10) == 0;

	if (strcmp(table, "kept_aside") == 0)
		return cozi_table("kept_aside_kept");
	if (strcmp(table, "kept_hidden") == 0)
		return cozi_table("kept_hidden_hash");
	if (strcmp(table, "kept_change") == 0)
		return cozi_table("kept_change_number");
	return cozi_table(psprintf("%s_%s", table, state ? "pkey" : "ready"));
}

/* Delete all rows of a kept table, whose source or relation is gone. */
void
cozi_kept_delete_rows(const char *table, int32 id)
{
	Relation	rel = table_open(cozi_table(table), RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan;
	HeapTuple	tuple;

	scan = cozi_kept_scan(rel, index_of(table), id, snapshot);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}
