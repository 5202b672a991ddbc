/*
 * kept/count.c
 *		Counting in the writer's transaction: the statement trigger on a source.
 *
 * One trigger function serves every kept table of the table that it fires on.  It
 * reads the statement's transition tables, adds rows up by key, and appends one
 * row per key to each delta: the row of the source and its count commit or
 * vanish together, and no row is ever updated that another writer could hold.
 *
 * The law: nothing here makes a write fail that would succeed without it, but a
 * change of rows that their owner has closed with close_before().  A column that
 * went missing while event triggers were off is a warning, and the kept table says
 * that it may no longer equal its source.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "kept/kept.h"

/* A statement of more keys than this appends in several batches, and so does a row. */
#define BATCH_KEYS		100000

/* A column of the source: where it is, and how to read it. */
typedef struct Column
{
	AttrNumber	attnum;			/* 0: the kept table has none */
	KeptKeyType key;			/* of a column that is no key, its type alone */
	int16		typlen;
	bool		typbyval;
	char		typalign;
} Column;

/* What one statement does to one kept table. */
typedef struct Batch
{
	const Kept *kept;
	Column		columns[KEPT_ROLES];
	TimestampTz now;			/* what is dated later waits for its time */
	MemoryContext row_context;	/* reset for each row */
	KeptSums   *sums;
	KeptSums   *elements;		/* of an array, to count each once */
	KeptSums   *closed;			/* changes of closed rows; NULL: they are let
								 * be */
	KeptStore  *store;
	int64		appended;
} Batch;

static bool
find_column(Batch *batch, Relation rel, KeptRole role)
{
	Column	   *column = &batch->columns[role];
	Form_pg_attribute att;

	memset(column, 0, sizeof(Column));
	if (!kept_has(batch->kept, role) || (role == KEPT_SCOPE && kept_derives(batch->kept)))
		return true;
	column->attnum = get_attnum(RelationGetRelid(rel), NameStr(batch->kept->columns[role]));
	if (column->attnum <= 0)
		return false;
	att = TupleDescAttr(RelationGetDescr(rel), column->attnum - 1);
	if (role != KEPT_SCOPE && role != KEPT_ITEM)
	{
		column->key.type = getBaseType(att->atttypid);
		return true;
	}
	cozi_kept_key_type(&column->key, att->atttypid, att->attcollation);
	get_typlenbyvalalign(column->key.type, &column->typlen, &column->typbyval, &column->typalign);
	return true;
}

/* A key column of a leaf must be what that of the public table is. */
static bool
fits(Batch *batch, KeptRole role)
{
	AttrNumber	attnum;

	if (!kept_has(batch->kept, role) || (role == KEPT_SCOPE && kept_derives(batch->kept)))
		return true;
	attnum = get_attnum(batch->kept->relation, cozi_kept_role_column(batch->kept, role));
	return attnum > 0 && getBaseType(get_atttype(batch->kept->relation, attnum)) ==
		batch->columns[role].key.type;
}

static bool
is_instant(Oid type)
{
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

/* Is the column of a role, if it is there, of a type that can be read? */
static bool
is_readable(Batch *batch, KeptRole role)
{
	Oid			type = batch->columns[role].key.type;

	if (!kept_has(batch->kept, role))
		return true;
	switch (role)
	{
		case KEPT_VALUE:
			return cozi_is_integer(type) ||
				(batch->kept->kind->any_value && type == NUMERICOID);
		case KEPT_AT:
			return is_instant(type);
		case KEPT_COUNTED:
			return type == BOOLOID;
		default:
			return fits(batch, role);
	}
}

static bool
find_columns(Batch *batch, Relation rel)
{
	if (get_rel_name(batch->kept->relation) == NULL)
		return false;
	for (int role = 0; role < KEPT_WHO; role++)
		if (!find_column(batch, rel, role) || !is_readable(batch, role))
			return false;
	return true;
}

/* The value of a row. */
static void
value_of_row(KeptRow *row, Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			row->value = DatumGetInt16(value);
			break;
		case INT4OID:
			row->value = DatumGetInt32(value);
			break;
		case NUMERICOID:
			row->number = DatumGetNumeric(value);
			break;
		default:
			row->value = DatumGetInt64(value);
			break;
	}
}

/* Append what was added up, and begin anew. */
static void
flush(Batch *batch)
{
	int			n;
	KeptGroup **groups = cozi_kept_list(batch->sums, &n);
	MemoryContext caller = MemoryContextSwitchTo(cozi_kept_context(batch->sums));

	batch->appended += cozi_kept_write_directly(batch->kept, batch->sums, groups, n);
	for (int i = 0; i < n; i++)
	{
		bytea	   *sum;

		CHECK_FOR_INTERRUPTS();
		if (groups[i] == NULL)
			continue;
		sum = batch->kept->kind->store(groups[i]->sum);
		/* what a statement gave and took back changes nothing */
		if (VARSIZE_ANY_EXHDR(sum) == 0)
			continue;
		cozi_kept_append(batch->store, groups[i], sum, DT_NOBEGIN, batch->now);
		batch->appended++;
	}
	MemoryContextSwitchTo(caller);
	pfree(groups);
	cozi_kept_reset(batch->sums);
}

static void
add_row(Batch *batch, KeptKey *key, const KeptRow *row, int times)
{
	KeptSums   *sums = row->is_closed ? batch->closed : batch->sums;
	KeptGroup  *group;
	MemoryContext caller;

	if (sums == NULL)
		return;
	key->due = row->at > batch->now ? row->at : 0;
	cozi_kept_hash_key(sums, key);
	group = cozi_kept_group(sums, key, true);
	caller = MemoryContextSwitchTo(cozi_kept_context(sums));
	batch->kept->kind->add_row(group->sum, batch->kept, row, times);
	MemoryContextSwitchTo(caller);
}

/* A column of a row; false if it is NULL. */
static bool
get_column(Batch *batch, TupleTableSlot *slot, KeptRole role, Datum *value)
{
	bool		isnull;

	*value = slot_getattr(slot, batch->columns[role].attnum, &isnull);
	return !isnull;
}

/* Is this text not among those that elements has?  It is from now on. */
static bool
is_new_element(Batch *batch, KeptRole role, const char *text)
{
	KeptKey		key = {0};

	key.scope = role == KEPT_SCOPE ? text : NULL;
	key.item = role == KEPT_SCOPE ? "0" : text;

	cozi_kept_hash_key(batch->elements, &key);
	if (cozi_kept_group(batch->elements, &key, false) != NULL)
		return false;
	(void) cozi_kept_group(batch->elements, &key, true);
	return true;
}

/* The texts of a key column: those of an array's elements, each once; of NULL none. */
static char **
element_texts(Batch *batch, TupleTableSlot *slot, KeptRole role, int *n)
{
	Column	   *column = &batch->columns[role];
	Datum		value;
	Datum	   *elements = &value;
	bool		isnull = false;
	bool	   *nulls = &isnull;
	int			nelements = 1;
	char	  **texts;

	*n = 0;
	if (!get_column(batch, slot, role, &value))
		return NULL;
	if (column->key.is_array)
		deconstruct_array(DatumGetArrayTypeP(value), column->key.type, column->typlen,
						  column->typbyval, column->typalign, &elements, &nulls, &nelements);
	texts = palloc(Max(nelements, 1) * sizeof(char *));
	if (nelements > 1)
		cozi_kept_reset(batch->elements);
	for (int i = 0; i < nelements; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			continue;
		texts[*n] = cozi_kept_key_text(&column->key, elements[i]);
		if (nelements == 1 || is_new_element(batch, role, texts[*n]))
			(*n)++;
	}
	return texts;
}

/* When a row is dated, and whether it is closed; false: it counts nothing. */
static bool
read_time(Batch *batch, TupleTableSlot *slot, KeptRow *row)
{
	const Kept *kept = batch->kept;
	Datum		value;
	TimestampTz at = DT_NOEND;

	if (!kept_has(kept, KEPT_AT))
		return true;
	if (get_column(batch, slot, KEPT_AT, &value))
		at = cozi_kept_instant(value, batch->columns[KEPT_AT].key.type);
	row->is_closed = kept->has_closed && at < kept->closed;
	if (kept->kind->timeless)
		return true;
	row->at = at;
	return !TIMESTAMP_NOT_FINITE(at);
}

/* What a row says beside its keys; false: it counts nothing. */
static bool
read_figures(Batch *batch, TupleTableSlot *slot, KeptRow *row)
{
	const Kept *kept = batch->kept;
	Datum		value;

	if (kept_has(kept, KEPT_COUNTED) &&
		!(get_column(batch, slot, KEPT_COUNTED, &value) && DatumGetBool(value)))
		return false;
	if (!read_time(batch, slot, row))
		return false;
	if (kept_has(kept, KEPT_VALUE))
	{
		row->is_null = !get_column(batch, slot, KEPT_VALUE, &value);
		if (!row->is_null)
			value_of_row(row, value, batch->columns[KEPT_VALUE].key.type);
	}
	row->value = cozi_kept_weigh(kept, row->value);
	return kept->kind->any_value || (!row->is_null && row->value != 0);
}

/* One row of a source; times is -1 where it is taken back. */
static void
count_row(Batch *batch, TupleTableSlot *slot, int times)
{
	KeptRow		row = {.value = 1};
	int			nitems;
	int			nscopes = 1;
	char	  **items = element_texts(batch, slot, KEPT_ITEM, &nitems);
	char	  **scopes = NULL;
	char	   *derived;

	if (nitems == 0 || !read_figures(batch, slot, &row))
		return;
	if (kept_derives(batch->kept))
	{
		derived = batch->kept->kind->scope_of(batch->kept, row.at);
		scopes = &derived;
		nscopes = derived != NULL ? 1 : 0;
	}
	else if (kept_has(batch->kept, KEPT_SCOPE))
		scopes = element_texts(batch, slot, KEPT_SCOPE, &nscopes);
	for (int i = 0; i < nscopes; i++)
		for (int j = 0; j < nitems; j++)
		{
			KeptKey		key = {0};

			CHECK_FOR_INTERRUPTS();
			key.scope = scopes ? scopes[i] : NULL;
			key.item = items[j];
			add_row(batch, &key, &row, times);
			if (cozi_kept_groups(batch->sums) >= BATCH_KEYS)
				flush(batch);
		}
}

static void
count_slot(Batch *batch, TupleTableSlot *slot, int times)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->row_context);

	CHECK_FOR_INTERRUPTS();
	count_row(batch, slot, times);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(batch->row_context);
}

/* The rows of a transition table. */
static void
count_transition(Batch *batch, Relation rel, Tuplestorestate *rows, int times)
{
	TupleTableSlot *slot;
	int			pointer;

	if (rows == NULL)
		return;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	pointer = tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND);
	tuplestore_select_read_pointer(rows, pointer);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
		count_slot(batch, slot, times);
	tuplestore_select_read_pointer(rows, 0);
	ExecDropSingleTupleTableSlot(slot);
}

/* All rows of a table about to be truncated: everything committed, and ours. */
static void
count_table(Batch *batch, Relation rel, int times)
{
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan_compat(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		count_slot(batch, slot, times);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

static void
warn_not_counted(const Kept *kept, Relation rel)
{
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("rows of \"%s\" are not counted by one of its %s",
					RelationGetRelationName(rel), kept->kind->plural),
			 errdetail("A column or a part of the %s was changed"
					   " while event triggers were off.", kept->kind->name),
			 errhint("Drop the %s with cozi.drop_%s() and create it again.", kept->kind->name,
					 kept->kind->name)));
}

static void
count_statement(const Kept *kept, TriggerData *trigger)
{
	Batch		batch = {.kept = kept};
	Relation	rel = trigger->tg_relation;
	MemoryContext context;
	int			level = 0;

	if (!OidIsValid(kept->relation) || !find_columns(&batch, rel))
	{
		warn_not_counted(kept, rel);
		return;
	}
	batch.now = GetCurrentTimestamp();
	context = AllocSetContextCreate(CurrentMemoryContext, "cozi count", ALLOCSET_DEFAULT_SIZES);
	batch.row_context = AllocSetContextCreate(context, "cozi row", ALLOCSET_DEFAULT_SIZES);
	batch.sums = cozi_kept_sums(kept, context);
	if (batch.columns[KEPT_SCOPE].key.is_array || batch.columns[KEPT_ITEM].key.is_array)
		batch.elements = cozi_kept_sums(kept, context);
	if (kept->has_closed && !cozi_kept_restoring() &&
		(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)))
		batch.closed = cozi_kept_sums(kept, context);
	batch.store = cozi_kept_open_delta(kept);
	if (kept_has(kept, KEPT_SCOPE) && !kept_derives(kept) &&
		cozi_kept_settings_matter(&batch.columns[KEPT_SCOPE].key))
		level = cozi_kept_plain_settings();

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		count_table(&batch, rel, -1);
	else
	{
		count_transition(&batch, rel, trigger->tg_oldtable, -1);
		count_transition(&batch, rel, trigger->tg_newtable, 1);
	}
	flush(&batch);
	if (batch.closed != NULL)
		cozi_kept_refuse_late(kept, batch.closed);

	if (level > 0)
		AtEOXact_GUC(false, level);
	cozi_kept_close(batch.store);
	MemoryContextDelete(context);
	if (batch.appended > 0)
		cozi_kept_fold_at_commit(kept, batch.appended);
}

/* Triggers came with a dump, and what they feed did not: say so once a session. */
static void
warn_without_kept(Relation rel)
{
	static bool warned = false;

	if (warned || cozi_kept_restoring())
		return;
	warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows of \"%s\" are counted by no kept table",
					RelationGetRelationName(rel)),
			 errdetail("Its triggers are there, as after a dump of the schema alone."),
			 errhint("Create it again with cozi.create_board(), cozi.create_counter() or"
					 " cozi.create_activity(), which take over what is there, or drop the"
					 " triggers cozi_count_*.")));
}

PG_FUNCTION_INFO_V1(cozi_count_rows);

/*
 * _count_rows(): trigger, FOR EACH STATEMENT, with transition tables.
 */
Datum
cozi_count_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	List	   *list;
	ListCell   *lc;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_count_rows() must be called as a statement trigger")));
	list = cozi_kept_on(RelationGetRelid(trigger->tg_relation));
	if (list == NIL)
		warn_without_kept(trigger->tg_relation);
	foreach(lc, list)
		if (!cozi_kept_is_handed_over(lfirst(lc)))
		count_statement(lfirst(lc), trigger);
	return PointerGetDatum(NULL);
}
