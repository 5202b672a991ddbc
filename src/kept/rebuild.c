/*
 * kept/rebuild.c
 *		Kept tables from their source: filling and rebuilding.
 *
 * A rebuild holds the fold lock and does everything in one snapshot: the rows of
 * the source which that snapshot sees are counted again, the delta rows which it
 * sees are their counts and go, and what commits later is in later delta rows,
 * which stay.  So no writer waits, and readers see the old rows until the commit.
 *
 * The law: the clock is read after the snapshot is taken.  A row counts from its
 * own instant on, and every row which the snapshot sees and which is not dated in
 * the future must be in the past of that clock.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/change.h"
#include "kept/kept.h"

#define PROGRESS_ROWS	1000000
#define FETCH_ROWS		1000
#define BATCH_KEYS		10000

/*
 * What reads the source must see every row committed before its lock: a snapshot
 * taken with the transaction's first statement may be older.
 */
void
cozi_kept_refuse_old_snapshot(const char *function)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s cannot run within a security-restricted operation", function)));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run in a transaction above READ COMMITTED", function),
				 errdetail("Its snapshot would be older than its lock."),
				 errhint("Run it on its own, or at READ COMMITTED.")));
}

typedef struct Filling
{
	const Kept *kept;
	KeptSums   *sums;
	KeptStore  *store;
	Snapshot	snapshot;
	TimestampTz clock;
	KeptKey		last;			/* the key of the row before */
	MemoryContext last_context;
	int64		rows;
	KeptStore  *closed;			/* sums of closed rows to be added; NULL: none */
	const TimestampTz *until;	/* NULL, or closing: see closed.c */
	KeptChanges *changes;		/* NULL: nobody tracks them */
} Filling;

/* Add the stored sum of a key to that of its group. */
static void
add_stored_sum(Filling *fill, KeptStore *store, KeptGroup *group)
{
	bytea	   *stored = cozi_kept_state(store, fill->sums, fill->snapshot, &group->key);

	if (stored != NULL)
		fill->kept->kind->add_stored(group->sum, stored);
}

/* Write what was added up: the keys of it do not come again. */
static void
write_batch(Filling *fill)
{
	const Kept *kept = fill->kept;
	int			n;
	int			nrows = 0;
	KeptGroup **groups = cozi_kept_list(fill->sums, &n);
	KeptHidden *hidden = cozi_kept_open_hidden(kept, fill->sums, fill->snapshot);
	KeptPublicRow *rows = palloc0(Max(n, 1) * sizeof(KeptPublicRow));
	MemoryContext caller = MemoryContextSwitchTo(cozi_kept_context(fill->sums));

	for (int i = 0; i < n; i++)
	{
		KeptGroup  *group = groups[i];
		bytea	   *sum;

		CHECK_FOR_INTERRUPTS();
		if (fill->closed != NULL && group->key.due == 0)
			add_stored_sum(fill, fill->closed, group);
		sum = kept->kind->store(group->sum);
		if (group->key.due != 0)
		{
			if (VARSIZE_ANY_EXHDR(sum) > 0)
				cozi_kept_append(fill->store, group, sum, group->key.due, fill->clock);
			continue;
		}
		cozi_kept_insert_state(fill->store, fill->sums, fill->snapshot, &group->key, sum);
		rows[nrows].key = group->key;
		rows[nrows].exists = kept->kind->columns(group->sum, kept, rows[nrows].values,
												 rows[nrows].nulls) &&
			!cozi_kept_is_hidden(hidden, &group->key);
		if (rows[nrows].exists)
			cozi_kept_number(fill->changes, &rows[nrows++].key);
	}
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	cozi_kept_publish(kept, rows, nrows, true);
	PopActiveSnapshot();
	cozi_kept_close_hidden(hidden);
	MemoryContextSwitchTo(caller);
	pfree(groups);
	pfree(rows);
	cozi_kept_reset(fill->sums);
}

/* Add what was added up to the sums of closed rows. */
static void
write_closed(Filling *fill)
{
	int			n;
	KeptGroup **groups = cozi_kept_list(fill->sums, &n);
	MemoryContext caller = MemoryContextSwitchTo(cozi_kept_context(fill->sums));

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		add_stored_sum(fill, fill->store, groups[i]);
		cozi_kept_save(fill->store, fill->snapshot, &groups[i]->key,
					   fill->kept->kind->store(groups[i]->sum));
	}
	CommandCounterIncrement();
	MemoryContextSwitchTo(caller);
	pfree(groups);
	cozi_kept_reset(fill->sums);
}

static void
write_sums(Filling *fill)
{
	if (fill->until != NULL)
		write_closed(fill);
	else
		write_batch(fill);
}

/* The keys of closed rows that have no other. */
static void
fill_rest(Filling *fill)
{
	KeptStore  *closed = fill->closed;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "cozi closed key",
												  ALLOCSET_SMALL_SIZES);
	Snapshot	filled = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = cozi_kept_scan_state(closed, fill->snapshot);
	HeapTuple	tuple;

	fill->closed = NULL;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key = {0};
		MemoryContext caller = MemoryContextSwitchTo(scratch);

		CHECK_FOR_INTERRUPTS();
		cozi_kept_read_key(closed, tuple, &key);
		if (cozi_kept_state(fill->store, fill->sums, filled, &key) == NULL)
			cozi_kept_add_state(closed, fill->kept, fill->sums,
								cozi_kept_group(fill->sums, &key, true), tuple);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		if (cozi_kept_groups(fill->sums) >= BATCH_KEYS)
			write_batch(fill);
	}
	systable_endscan(scan);
	if (cozi_kept_groups(fill->sums) > 0)
		write_batch(fill);
	UnregisterSnapshot(filled);
	MemoryContextDelete(scratch);
	fill->closed = closed;
}

/* Remember a key, in a context of its own. */
static void
keep_last(Filling *fill, const KeptKey *key)
{
	MemoryContext caller;

	MemoryContextReset(fill->last_context);
	caller = MemoryContextSwitchTo(fill->last_context);
	fill->last = *key;
	fill->last.due = 0;
	fill->last.item = pstrdup(key->item);
	fill->last.scope = key->scope ? pstrdup(key->scope) : NULL;
	MemoryContextSwitchTo(caller);
}

static void
fill_row(Filling *fill, HeapTuple tuple, TupleDesc desc, KeptKeyType *scope, KeptKeyType *item)
{
	KeptKey		key = {0};
	KeptRow		row = {0};
	KeptGroup  *group;
	MemoryContext caller;
	Datum		value;
	bool		isnull;
	int			column = 1;

	if (kept_has(fill->kept, KEPT_SCOPE))
		key.scope = cozi_kept_key_text(scope, SPI_getbinval(tuple, desc, column++, &isnull));
	key.item = cozi_kept_key_text(item, SPI_getbinval(tuple, desc, column++, &isnull));
	value = SPI_getbinval(tuple, desc, column, &row.is_null);
	if (!row.is_null && TupleDescAttr(desc, column - 1)->atttypid == NUMERICOID)
		row.number = DatumGetNumeric(value);
	else if (!row.is_null)
		row.value = DatumGetInt64(value);
	column++;
	row.at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, column, &isnull));
	cozi_kept_hash_key(fill->sums, &key);
	if (cozi_kept_groups(fill->sums) >= BATCH_KEYS &&
		!cozi_kept_same_key(fill->sums, &key, &fill->last))
		write_sums(fill);
	keep_last(fill, &key);

	key.due = row.at > fill->clock ? row.at : 0;
	group = cozi_kept_group(fill->sums, &key, true);
	caller = MemoryContextSwitchTo(cozi_kept_context(fill->sums));
	fill->kept->kind->add_row(group->sum, fill->kept, &row, 1);
	MemoryContextSwitchTo(caller);
	if (++fill->rows % PROGRESS_ROWS == 0)
		ereport(NOTICE,
				(errmsg("%s \"%s\": " INT64_FORMAT " rows counted", fill->kept->kind->name,
						get_rel_name(fill->kept->relation), fill->rows)));
}

static void
key_types(TupleDesc desc, bool scoped, KeptKeyType *scope, KeptKeyType *item)
{
	int			column = 0;

	if (scoped)
	{
		Form_pg_attribute att = TupleDescAttr(desc, column++);

		cozi_kept_key_type(scope, att->atttypid, att->attcollation);
	}
	cozi_kept_key_type(item, TupleDescAttr(desc, column)->atttypid,
					   TupleDescAttr(desc, column)->attcollation);
}

/*
 * Read the source in the order of its keys: neighbours become neighbours.  Between two
 * fetches functions of the owner's run, in indexes: none of them closes the cursor.
 */
static void
read_source(Filling *fill)
{
	const Kept *kept = fill->kept;
	char	   *sql = cozi_statement("{source} ORDER BY {key}",
									 "source", cozi_kept_source_query(kept, "", fill->until),
									 "key", cozi_kept_key_columns(kept), NULL);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "cozi source row",
												  ALLOCSET_DEFAULT_SIZES);
	KeptKeyType scope;
	KeptKeyType item;
	Portal		portal;

	PushActiveSnapshot(fill->snapshot);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, true,
									   CURSOR_OPT_NO_SCROLL);
	PinPortal(portal);
	PopActiveSnapshot();
	key_types(portal->tupDesc, kept_has(kept, KEPT_SCOPE), &scope, &item);
	for (;;)
	{
		SPITupleTable *rows;
		uint64		n;
		MemoryContext caller;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		rows = SPI_tuptable;
		n = SPI_processed;
		if (n == 0)
			break;
		caller = MemoryContextSwitchTo(scratch);
		for (uint64 i = 0; i < n; i++)
		{
			fill_row(fill, rows->vals[i], rows->tupdesc, &scope, &item);
			MemoryContextReset(scratch);
		}
		MemoryContextSwitchTo(caller);
		SPI_freetuptable(rows);
	}
	UnpinPortal(portal);
	SPI_cursor_close(portal);
	if (cozi_kept_groups(fill->sums) > 0)
		write_sums(fill);
	MemoryContextDelete(scratch);
}

/*
 * Fill a kept table from its source; SPI is connected and the fold lock held.
 * was_empty: nothing is there to be deleted.
 */
void
cozi_kept_fill(const Kept *kept, bool was_empty)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi fill",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Filling		fill = {.kept = kept};
	CoziSavedUser saved;

	fill.last_context = AllocSetContextCreate(context, "cozi last key", ALLOCSET_SMALL_SIZES);
	fill.snapshot = RegisterSnapshot(GetLatestSnapshot());
	fill.clock = GetCurrentTimestamp();
	fill.sums = cozi_kept_sums(kept, context);
	fill.store = cozi_kept_open(kept, true);
	cozi_kept_empty(fill.store, fill.snapshot);
	cozi_kept_delete_rows("kept_aside", kept->id);
	fill.changes = cozi_kept_restart_changes(kept, fill.sums);
	cozi_switch_to_owner(kept->relation, &saved);
	(void) cozi_kept_plain_settings();
	if (!was_empty)
		cozi_run(psprintf("DELETE FROM %s", cozi_qualified_name(kept->relation)), SPI_OK_DELETE);
	if (kept->has_closed)
		fill.closed = cozi_kept_open_closed(kept, false);
	read_source(&fill);
	if (kept->has_closed)
	{
		fill_rest(&fill);
		cozi_kept_close(fill.closed);
	}
	cozi_restore_user(&saved);
	cozi_kept_close_changes(fill.changes);
	cozi_kept_close(fill.store);
	UnregisterSnapshot(fill.snapshot);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	CommandCounterIncrement();
}

/*
 * Add the rows that are dated before an instant, and are not closed, to the sums
 * of closed rows; SPI is connected and writers wait.  Returns how many counted.
 */
int64
cozi_kept_fill_closed(const Kept *kept, TimestampTz until)
{
	Filling		fill = {.kept = kept,.until = &until};
	CoziSavedUser saved;

	fill.last_context = AllocSetContextCreate(CurrentMemoryContext, "cozi last key",
											  ALLOCSET_SMALL_SIZES);
	fill.snapshot = RegisterSnapshot(GetLatestSnapshot());
	fill.clock = GetCurrentTimestamp();
	fill.sums = cozi_kept_sums(kept, CurrentMemoryContext);
	fill.store = cozi_kept_open_closed(kept, true);
	cozi_switch_to_owner(kept->relation, &saved);
	(void) cozi_kept_plain_settings();
	read_source(&fill);
	cozi_restore_user(&saved);
	cozi_kept_close(fill.store);
	UnregisterSnapshot(fill.snapshot);
	CommandCounterIncrement();
	return fill.rows;
}

/* Why rows will go uncounted from now on; NULL: they will not. */
static char *
unwatched_reason(const Kept *kept)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_sources(kept))
	{
		Oid			relid = cozi_kept_unwatched(((Kept *) lfirst(lc))->source);

		if (OidIsValid(relid))
			return psprintf("triggers are disabled: run ALTER TABLE %s ENABLE TRIGGER USER",
							cozi_qualified_name(relid));
	}
	return NULL;
}

/* Count the source again. */
void
cozi_kept_rebuild(Oid relation, const char *wanted)
{
	Kept		kept;
	char	   *misfit;
	ListCell   *lc;

	cozi_kept_get_own(relation, wanted, &kept);
	(void) cozi_kept_lock(kept.id, true);
	cozi_kept_exclude_writers(&kept);
	/* it may have been dropped, or changed, while we waited */
	cozi_kept_get_own(relation, wanted, &kept);
	cozi_kept_lock_sources(&kept, AccessShareLock);
	LockRelationOid(kept.relation, RowExclusiveLock);
	misfit = cozi_kept_misfit(&kept);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be written: %s", get_rel_name(relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_%s().", kept.kind->name)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_kept_accept(&kept);
	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		foreach(lc, cozi_kept_sources(&kept))
			cozi_kept_watch(((Kept *) lfirst(lc))->source, true);
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = false;
	}
	PG_END_TRY();
	cozi_kept_fill(&kept, false);
	cozi_kept_forget_doubles(&kept);
	cozi_kept_set_broken(&kept, unwatched_reason(&kept));
	cozi_kept_note(&kept, GetCurrentTimestamp(), NULL);
	SPI_finish();
}
