/*
 * trending/count.c
 *		Counting votes: the statement trigger on a table of votes.
 *
 * One trigger function serves every board of the table it fires on.  It reads
 * the statement's transition tables, adds votes up by item, and appends one
 * row an item to each board's delta, in the voter's transaction: the vote and
 * its count commit or vanish together, and no row is ever updated that
 * another voter could be holding.
 *
 * The rows are written below SQL, without a plan, a privilege check or a
 * line of anybody's code: a voter needs his right on the votes and no other.
 *
 * The law: nothing here makes a vote fail that would succeed without it.  A
 * column that went missing behind our back is a warning, and the votes show
 * up in verify_board().
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "trending/board.h"

/* A statement of more items than this appends in several batches. */
#define BATCH_ITEMS		100000

/* How to read one column of the votes. */
typedef struct Column
{
	AttrNumber	attnum;
	Oid			type;			/* domains and arrays resolved */
	int16		typlen;
	bool		typbyval;
	char		typalign;
	bool		is_array;
} Column;

/* The votes of one item (in one scope) within a batch. */
typedef struct VoteKey
{
	Datum		scope;
	Datum		item;
} VoteKey;

typedef struct VoteGroup
{
	VoteKey		key;
	uint32		hash;
	char		status;			/* simplehash's */
	Tally		tally;
} VoteGroup;

struct groups_hash;

/* What one statement does to one board. */
typedef struct Batch
{
	const Board *board;
	Column		item;
	Column		weight;
	Column		voted_at;
	Column		scope;
	bool		has_weight;
	bool		has_scope;
	TimestampTz now;			/* votes dated later wait for their time */
	MemoryContext context;		/* holds the groups; reset by each flush */
	struct groups_hash *groups;
	Relation	delta;
	TupleTableSlot *slot;		/* a row of delta */
	int64		appended;
} Batch;

static uint32
hash_group(const Batch *batch, VoteKey key)
{
	uint32		hash = datum_image_hash(key.item, batch->item.typbyval, batch->item.typlen);

	if (batch->has_scope)
		hash = hash_combine(hash, datum_image_hash(key.scope, batch->scope.typbyval,
												   batch->scope.typlen));
	return hash;
}

static bool
same_group(const Batch *batch, VoteKey a, VoteKey b)
{
	return datum_image_eq(a.item, b.item, batch->item.typbyval, batch->item.typlen) &&
		(!batch->has_scope ||
		 datum_image_eq(a.scope, b.scope, batch->scope.typbyval, batch->scope.typlen));
}

#define SH_PREFIX			groups
#define SH_ELEMENT_TYPE		VoteGroup
#define SH_KEY_TYPE			VoteKey
#define SH_KEY				key
#define SH_HASH_KEY(tb, k)	hash_group((tb)->private_data, k)
#define SH_EQUAL(tb, a, b)	same_group((tb)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)	(a)->hash
#define SH_SCOPE			static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---------------------------------------------------------------------
 * The columns
 * ---------------------------------------------------------------------
 */

static bool
find_column(Relation rel, const NameData *name, Column *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), NameStr(*name));
	Oid			element;

	if (attnum <= 0)
		return false;
	column->attnum = attnum;
	column->type = getBaseType(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid);
	element = get_element_type(column->type);
	column->is_array = OidIsValid(element);
	if (column->is_array)
		column->type = getBaseType(element);
	get_typlenbyvalalign(column->type, &column->typlen, &column->typbyval, &column->typalign);
	return true;
}

/* The delta's column must be what the votes' column is: its bits are copied. */
static bool
fits(Relation delta, AttrNumber attnum, const Column *column)
{
	return getBaseType(TupleDescAttr(RelationGetDescr(delta), attnum - 1)->atttypid) == column->type;
}

static bool
find_columns(Batch *batch, Relation rel)
{
	const Board *board = batch->board;

	batch->has_weight = board_has_weight(board);
	batch->has_scope = board_has_scope(board);
	return find_column(rel, &board->item, &batch->item) &&
		find_column(rel, &board->voted_at, &batch->voted_at) &&
		(!batch->has_weight || find_column(rel, &board->weight, &batch->weight)) &&
		(!batch->has_scope || find_column(rel, &board->scope, &batch->scope)) &&
		RelationGetDescr(batch->delta)->natts == (batch->has_scope ? 5 : 4) &&
		fits(batch->delta, batch->has_scope ? 2 : 1, &batch->item) &&
		(!batch->has_scope || fits(batch->delta, 1, &batch->scope));
}

/* The instant of a vote: timestamp and date are read as UTC. */
static TimestampTz
vote_instant(Datum value, Oid type)
{
	DateADT		date;

	if (type != DATEOID)
		return DatumGetTimestampTz(value);
	date = DatumGetDateADT(value);
	if (DATE_IS_NOBEGIN(date))
		return DT_NOBEGIN;
	if (DATE_IS_NOEND(date) || date >= TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE)
		return DT_NOEND;
	return (TimestampTz) date * USECS_PER_DAY;
}

static int64
vote_weight(Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/* ---------------------------------------------------------------------
 * Appending to the delta
 * ---------------------------------------------------------------------
 */

static void
append_delta(Batch *batch, VoteKey key, const Tally *tally, TimestampTz due)
{
	TupleTableSlot *slot = batch->slot;
	int			i = 0;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, slot->tts_tupleDescriptor->natts * sizeof(bool));
	if (batch->has_scope)
		slot->tts_values[i++] = key.scope;
	slot->tts_values[i++] = key.item;
	slot->tts_values[i++] = PointerGetDatum(tally_encode(tally));
	slot->tts_isnull[i] = due <= batch->now;
	slot->tts_values[i++] = TimestampTzGetDatum(due);
	slot->tts_values[i++] = TimestampTzGetDatum(batch->now);
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(batch->delta, slot, GetCurrentCommandId(true), 0, NULL);
	batch->appended++;
}

static void
flush_groups(Batch *batch)
{
	groups_iterator it;
	VoteGroup  *group;

	groups_start_iterate(batch->groups, &it);
	while ((group = groups_iterate(batch->groups, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* what a statement gave and took back changes nothing */
		if (!tally_is_empty(&group->tally))
			append_delta(batch, group->key, &group->tally, batch->now);
	}
	MemoryContextReset(batch->context);
	batch->groups = groups_create(batch->context, 16, batch);
}

/* ---------------------------------------------------------------------
 * Reading the votes
 * ---------------------------------------------------------------------
 */

static void
count_into(Batch *batch, VoteKey key, int64 weight, TimestampTz at, int times)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	VoteGroup  *group;
	bool		found;

	if (at > batch->now)
	{
		Tally		alone;

		tally_init(&alone);
		tally_vote(&alone, weight, at, batch->board->half_life_us, times);
		append_delta(batch, key, &alone, at);
		MemoryContextSwitchTo(caller);
		return;
	}

	group = groups_insert(batch->groups, key, &found);
	if (!found)
	{
		group->key.item = datumCopy(key.item, batch->item.typbyval, batch->item.typlen);
		if (batch->has_scope)
			group->key.scope = datumCopy(key.scope, batch->scope.typbyval, batch->scope.typlen);
		tally_init(&group->tally);
	}
	tally_vote(&group->tally, weight, at, batch->board->half_life_us, times);
	MemoryContextSwitchTo(caller);
	if (batch->groups->members >= BATCH_ITEMS)
		flush_groups(batch);
}

/* A vote with several scopes counts once in each. */
static void
count_in_array(Batch *batch, VoteKey key, Datum array, int64 weight, TimestampTz at, int times)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), batch->scope.type,
					  batch->scope.typlen, batch->scope.typbyval, batch->scope.typalign,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		bool		repeated = nulls[i];

		for (int j = 0; j < i && !repeated; j++)
			repeated = !nulls[j] && datum_image_eq(elements[i], elements[j],
												   batch->scope.typbyval, batch->scope.typlen);
		if (repeated)
			continue;
		key.scope = elements[i];
		count_into(batch, key, weight, at, times);
	}
}

/* One row of votes; times is -1 where it is taken back. */
static void
count_row(Batch *batch, TupleTableSlot *slot, int times)
{
	VoteKey		key = {0};
	Datum		value;
	bool		isnull;
	int64		weight = 1;
	TimestampTz at;

	key.item = slot_getattr(slot, batch->item.attnum, &isnull);
	if (isnull)
		return;
	value = slot_getattr(slot, batch->voted_at.attnum, &isnull);
	if (isnull)
		return;
	at = vote_instant(value, batch->voted_at.type);
	if (TIMESTAMP_NOT_FINITE(at))
		return;
	if (batch->has_weight)
	{
		value = slot_getattr(slot, batch->weight.attnum, &isnull);
		if (isnull)
			return;
		weight = vote_weight(value, batch->weight.type);
	}
	if (weight == 0)
		return;
	if (!batch->has_scope)
	{
		count_into(batch, key, weight, at, times);
		return;
	}
	value = slot_getattr(slot, batch->scope.attnum, &isnull);
	if (isnull)
		return;
	if (batch->scope.is_array)
		count_in_array(batch, key, value, weight, at, times);
	else
	{
		key.scope = value;
		count_into(batch, key, weight, at, times);
	}
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
	{
		CHECK_FOR_INTERRUPTS();
		count_row(batch, slot, times);
	}
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
	{
		CHECK_FOR_INTERRUPTS();
		count_row(batch, slot, times);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

static void
count_statement(const Board *board, TriggerData *trigger)
{
	Batch		batch = {.board = board};
	Relation	rel = trigger->tg_relation;

	batch.delta = try_table_open(board->delta, RowExclusiveLock);
	if (batch.delta == NULL || !find_columns(&batch, rel))
	{
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("votes in \"%s\" are not counted by one of its boards",
						RelationGetRelationName(rel)),
				 errdetail("A column or a part of the board was changed while event triggers were off."),
				 errhint("Drop the board with cozi.drop_board() and create it again.")));
		if (batch.delta)
			table_close(batch.delta, NoLock);
		return;
	}
	batch.now = GetCurrentTimestamp();
	batch.context = AllocSetContextCreate(CurrentMemoryContext, "cozi votes",
										  ALLOCSET_DEFAULT_SIZES);
	batch.groups = groups_create(batch.context, 16, &batch);
	batch.slot = MakeSingleTupleTableSlot(RelationGetDescr(batch.delta), &TTSOpsVirtual);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		count_table(&batch, rel, -1);
	else
	{
		count_transition(&batch, rel, trigger->tg_oldtable, -1);
		count_transition(&batch, rel, trigger->tg_newtable, 1);
	}
	flush_groups(&batch);

	ExecDropSingleTupleTableSlot(batch.slot);
	table_close(batch.delta, NoLock);
	MemoryContextDelete(batch.context);
	if (batch.appended > 0)
		fold_at_commit(board, batch.appended);
}

PG_FUNCTION_INFO_V1(cozi_count_votes);

/*
 * _count_votes(): trigger, FOR EACH STATEMENT, with transition tables.
 */
Datum
cozi_count_votes(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	ListCell   *lc;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_count_votes() must be called as a statement trigger")));
	foreach(lc, boards_on(RelationGetRelid(trigger->tg_relation)))
		count_statement(lfirst(lc), trigger);
	return PointerGetDatum(NULL);
}
