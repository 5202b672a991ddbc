/*
 * live/outbox_read.c
 *		Reading an outbox in the order of its events.
 *
 * The index of the numbers is walked; partitions are merged.  No statement is
 * planned, because a consumer and a reader of the view outboxes must run nothing of
 * the table's owner.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/xid8.h"

#include "live/outbox.h"

static const struct
{
	const char *name;
	Oid			type;
}			columns[EVENT_COLUMNS] = {
	{"id", UUIDOID}, {"aggregatetype", TEXTOID}, {"aggregateid", TEXTOID}, {"type", TEXTOID},
	{"payload", JSONBOID}, {"created_at", TIMESTAMPTZOID}, {"seq", INT8OID}, {"horizon", XID8OID}
};

/* A table of events, walked: the outbox, or a partition of it */
typedef struct Leaf
{
	Relation	rel;
	Relation	index;
	SysScanDesc scan;
	AttrNumber	attnums[EVENT_COLUMNS];
	HeapTuple	tuple;			/* the next event; NULL after the last */
	int64		seq;
} Leaf;

const char *
cozi_outbox_column(int i)
{
	return columns[i].name;
}

/* A column of an outbox, checked to be what create_outbox() made it. */
AttrNumber
cozi_outbox_attnum(Relation rel, int i)
{
	CoziColumn	column;

	cozi_find_column(rel, columns[i].name, &column);
	if (column.type != columns[i].type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of outbox \"%s\" is of type %s, not %s", columns[i].name,
						RelationGetRelationName(rel), format_type_be(column.type),
						format_type_be(columns[i].type))));
	return column.attnum;
}

/* Is it a whole btree whose first column is the number? */
static bool
is_index_of_numbers(Relation index, AttrNumber seq)
{
	return index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid &&
		index->rd_index->indkey.values[0] == seq && index->rd_indoption[0] == 0 &&
		index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/* The index of the numbers; NULL: there is none, or, without wait, it is locked. */
static Relation
open_index(Relation rel, AttrNumber seq, bool wait)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index;

		if (!wait && !ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			continue;
		index = index_open(lfirst_oid(lc), wait ? AccessShareLock : NoLock);
		if (is_index_of_numbers(index, seq))
			return index;
		index_close(index, AccessShareLock);
	}
	return NULL;
}

/*
 * Does our trigger number the events of a table, in whatever session they are written?
 * Not where it is disabled, nor on a table that inherits from an outbox.
 */
static bool
is_numbered(Relation rel)
{
	Oid			function = cozi_trigger_function(OUTBOX_FUNCTION);

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgfoid == function && trigger->tgenabled == TRIGGER_FIRES_ALWAYS)
			return true;
	}
	return false;
}

static void
next_event(Leaf *leaf)
{
	bool		isnull;

	leaf->tuple = systable_getnext_ordered(leaf->scan, ForwardScanDirection);
	if (leaf->tuple != NULL)
		leaf->seq = DatumGetInt64(heap_getattr(leaf->tuple, leaf->attnums[EVENT_SEQ],
											   RelationGetDescr(leaf->rel), &isnull));
}

static Leaf *
open_leaf(Oid relid, int64 after, Snapshot snapshot)
{
	Leaf	   *leaf = palloc(sizeof(Leaf));
	ScanKeyData key;

	leaf->rel = table_open(relid, NoLock);
	if (!is_numbered(leaf->rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("events of outbox \"%s\" are not numbered",
						RelationGetRelationName(leaf->rel)),
				 errdetail("It lacks the trigger of an outbox, or that does not fire always."),
				 errhint("ALTER TABLE %s ENABLE ALWAYS TRIGGER " OUTBOX_TRIGGER ", or NO INHERIT.",
						 cozi_qualified_name(relid))));
	for (int i = 0; i < EVENT_COLUMNS; i++)
		leaf->attnums[i] = cozi_outbox_attnum(leaf->rel, i);
	leaf->index = open_index(leaf->rel, leaf->attnums[EVENT_SEQ], true);
	if (leaf->index == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("outbox \"%s\" has no index on \"seq\"",
						RelationGetRelationName(leaf->rel)),
				 errhint("CREATE UNIQUE INDEX ON %s (seq).", cozi_qualified_name(relid))));
	ScanKeyInit(&key, leaf->attnums[EVENT_SEQ], BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(after));
	leaf->scan = systable_beginscan_ordered(leaf->rel, leaf->index, snapshot, 1, &key);
	next_event(leaf);
	return leaf;
}

static void
close_leaf(Leaf *leaf)
{
	systable_endscan_ordered(leaf->scan);
	index_close(leaf->index, AccessShareLock);
	table_close(leaf->rel, NoLock);
}

static List *
open_leaves(Relation rel, int64 after, Snapshot snapshot)
{
	List	   *leaves = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		char		kind = get_rel_relkind(lfirst_oid(lc));

		if (kind == RELKIND_RELATION)
			leaves = lappend(leaves, open_leaf(lfirst_oid(lc), after, snapshot));
		else if (kind != RELKIND_PARTITIONED_TABLE)
			cozi_wrong_kind(get_rel_name(lfirst_oid(lc)), "a table");
	}
	return leaves;
}

static bool
is_leaf_readable(Relation leaf)
{
	Relation	index;

	if (!is_numbered(leaf))
		return false;
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(leaf), columns[i].name);

		if (attnum <= 0 || get_atttype(RelationGetRelid(leaf), attnum) != columns[i].type)
			return false;
	}
	index = open_index(leaf, get_attnum(RelationGetRelid(leaf), columns[EVENT_SEQ].name), false);
	if (index == NULL)
		return false;
	index_close(index, NoLock);
	return true;
}

/* Can an outbox be read now, without an error and without waiting for a lock? */
bool
cozi_outbox_is_readable(Oid relid)
{
	ListCell   *lc;
	bool		readable = ConditionalLockRelationOid(relid, AccessShareLock) &&
	SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));

	if (!readable)
		return false;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	leaf;

		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock) ||
			(leaf = try_relation_open(lfirst_oid(lc), NoLock)) == NULL)
			return false;
		readable = leaf->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
			(leaf->rd_rel->relkind == RELKIND_RELATION && is_leaf_readable(leaf));
		relation_close(leaf, NoLock);
		if (!readable)
			return false;
	}
	return true;
}

/*
 * The snapshot's horizon: the oldest transaction that had not ended.  *next is one
 * that has not begun: a mark above it is of another server, which wrote the rows that
 * a dump has brought, and all of these have ended.
 */
static uint64
snapshot_horizon(Snapshot snapshot, uint64 *next)
{
	*next = U64FromFullTransactionId(ReadNextFullTransactionId());
	return *next - (uint32) ((uint32) *next - snapshot->xmin);
}

static void
read_outbox_event(const Leaf *leaf, OutboxEvent *event)
{
	event->seq = leaf->seq;
	for (int i = 0; i < EVENT_COLUMNS; i++)
		event->values[i] = heap_getattr(leaf->tuple, leaf->attnums[i],
										RelationGetDescr(leaf->rel), &event->nulls[i]);
}

static Leaf *
first_leaf(const List *leaves)
{
	Leaf	   *first = NULL;
	ListCell   *lc;

	foreach(lc, leaves)
	{
		Leaf	   *leaf = lfirst(lc);

		if (leaf->tuple != NULL && (first == NULL || leaf->seq < first->seq))
			first = leaf;
	}
	return first;
}

/*
 * Show the visitor the events after a number, in order, until it returns false.  The
 * event is good for the call.
 */
void
cozi_outbox_visit(Relation rel, int64 after, Snapshot snapshot, OutboxVisitor visitor, void *arg)
{
	List	   *leaves = open_leaves(rel, after, snapshot);
	uint64		next;
	uint64		horizon = snapshot_horizon(snapshot, &next);
	OutboxEvent event;
	Leaf	   *leaf;
	ListCell   *lc;

	while ((leaf = first_leaf(leaves)) != NULL)
	{
		uint64		mark;

		CHECK_FOR_INTERRUPTS();
		read_outbox_event(leaf, &event);
		mark = U64FromFullTransactionId(DatumGetFullTransactionId(event.values[EVENT_HORIZON]));
		event.waits = mark > horizon && mark <= next;
		if (!visitor(&event, arg))
			break;
		next_event(leaf);
	}
	foreach(lc, leaves)
		close_leaf(lfirst(lc));
	list_free_deep(leaves);
}
