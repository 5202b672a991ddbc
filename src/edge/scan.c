/*
 * edge/scan.c
 *		The rows of an edge.
 *
 * They are read from a btree on (src, dst) alone, or on (dst, src), as
 * index-only scans do: the heap is visited where the visibility map does not
 * vouch for the page.
 *
 * An edge may be partitioned.  Then its rows are in parts, one a partition;
 * where the partitions are by hash of the caller's column, as shard_table()
 * makes them, all of the caller's are in one part, and no other is opened.
 *
 * The law: rows are those of the active snapshot, the one of the statement
 * that asks, and what was read counts as read for SERIALIZABLE.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "edge/edge.h"

/* A table without partitions, and how to find a row of it. */
typedef struct EdgePart
{
	Oid			rel;
	Oid			index;			/* on (src, dst) */
	Oid			reverse_index;	/* on (dst, src), or invalid */
	ScanKeyData keys[2];		/* of index; their arguments are open */
} EdgePart;

typedef struct EdgeScan
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* of the heap, once it is needed */
	Buffer		vmbuffer;
} EdgeScan;

/* --- one index ------------------------------------------------------------------ */

static void
begin_scan(EdgeScan *scan, Oid rel, Oid index, ScanKeyData *keys, int nkeys)
{
	scan->rel = table_open(rel, NoLock);
	scan->index = index_open(index, AccessShareLock);
	scan->slot = NULL;
	scan->vmbuffer = InvalidBuffer;
	scan->scan = index_beginscan_compat(scan->rel, scan->index, GetActiveSnapshot(), nkeys);
	scan->scan->xs_want_itup = true;
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

/* The next row, whose index tuple then is scan->scan->xs_itup. */
static bool
next_row(EdgeScan *scan)
{
	ItemPointer tid;

	while ((tid = index_getnext_tid(scan->scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (VM_ALL_VISIBLE(scan->rel, ItemPointerGetBlockNumber(tid), &scan->vmbuffer))
		{
			PredicateLockPage(scan->rel, ItemPointerGetBlockNumber(tid), GetActiveSnapshot());
			return true;
		}
		if (scan->slot == NULL)
			scan->slot = table_slot_create(scan->rel, NULL);
		if (index_fetch_heap(scan->scan, scan->slot))
		{
			ExecClearTuple(scan->slot);
			return true;
		}
	}
	return false;
}

static void
end_scan(EdgeScan *scan)
{
	if (scan->slot != NULL)
		ExecDropSingleTupleTableSlot(scan->slot);
	if (BufferIsValid(scan->vmbuffer))
		ReleaseBuffer(scan->vmbuffer);
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
}

/* column = value, as the index compares it; value of type id_type */
static void
init_scan_key(ScanKey key, Relation index, int column, Oid id_type, Datum value)
{
	Oid			operator = get_opfamily_member(index->rd_opfamily[column], index->rd_opcintype[column],
											   id_type, BTEqualStrategyNumber);

	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" cannot compare its columns with ids", RelationGetRelationName(index)),
				 errhint("Create an index with the default operator classes.")));
	ScanKeyEntryInitialize(key, 0, column + 1, BTEqualStrategyNumber,
						   id_type, index->rd_indcollation[column], get_opcode(operator), value);
}

/*
 * The second column of a row.  Small integers, which may be domains, become
 * the bigint they stand for; no other id has their width.
 */
static Datum
other_end(EdgeScan *scan, bool *isnull)
{
	TupleDesc	desc = scan->scan->xs_itupdesc;
	Datum		value = index_getattr(scan->scan->xs_itup, 2, desc, isnull);

	if (*isnull)
		return value;
	switch (TupleDescAttr(desc, 1)->attlen)
	{
		case sizeof(int32):
			return Int64GetDatum((int64) DatumGetInt32(value));
		case sizeof(int16):
			return Int64GetDatum((int64) DatumGetInt16(value));
		default:
			return value;
	}
}

/* --- parts ------------------------------------------------------------------------ */

static EdgePart *
make_part(const CoziEdge *edge, Relation rel, AttrNumber src, AttrNumber dst)
{
	EdgePart   *part = palloc(sizeof(EdgePart));
	bool		whole = RelationGetRelid(rel) == edge->rel;
	Relation	index;

	part->rel = RelationGetRelid(rel);
	part->index = whole ? edge->index : cozi_edge_index(rel, src, dst);
	part->reverse_index = whole ? edge->reverse_index : cozi_edge_index(rel, dst, src);
	if (!OidIsValid(part->index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s\" of an edge has no index on its two columns", RelationGetRelationName(rel)),
				 errhint("Create it on the partitioned table; a foreign table cannot be part of an edge.")));
	index = index_open(part->index, AccessShareLock);
	init_scan_key(&part->keys[0], index, 0, edge->src_type, (Datum) 0);
	init_scan_key(&part->keys[1], index, 1, edge->dst_type, (Datum) 0);
	index_close(index, NoLock);
	return part;
}

/* The id as a value of the column's type; false when it has no such value. */
static bool
as_column(Relation rel, AttrNumber column, Oid id_type, Datum *id)
{
	int64		n;

	if (id_type != INT8OID)
		return true;
	n = DatumGetInt64(*id);
	switch (TupleDescAttr(RelationGetDescr(rel), column - 1)->attlen)
	{
		case sizeof(int32):
			*id = Int32GetDatum((int32) n);
			return n == (int32) n;
		case sizeof(int16):
			*id = Int16GetDatum((int16) n);
			return n == (int16) n;
		default:
			return true;
	}
}

/*
 * Which of the partitions has the rows whose column is this id: its place in
 * desc->oids, -1 for none, or -2 for any of them.
 */
static int
partition_of(Relation rel, PartitionDesc desc, AttrNumber column, Oid id_type, Datum id)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	bool		isnull = false;
	uint64		hash;

	if (key->strategy != PARTITION_STRATEGY_HASH || key->partnatts != 1 || key->partattrs[0] != column)
		return -2;
	if (desc->nparts == 0 || !as_column(rel, column, id_type, &id))
		return -1;
	hash = compute_partition_hash_value(1, key->partsupfunc, key->partcollation, &id, &isnull);
	return desc->boundinfo->indexes[hash % desc->boundinfo->nindexes];
}

static List *
add_parts(List *parts, const CoziEdge *edge, Oid relid, const char *src, const char *dst,
		  bool reverse, Datum caller)
{
	Relation	rel = table_open(relid, AccessShareLock);
	AttrNumber	src_column = get_attnum(relid, src);
	AttrNumber	dst_column = get_attnum(relid, dst);

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		parts = lappend(parts, make_part(edge, rel, src_column, dst_column));
	else
	{
		PartitionDesc desc = RelationGetPartitionDesc(rel, true);
		int			only = partition_of(rel, desc, reverse ? dst_column : src_column,
										reverse ? edge->dst_type : edge->src_type, caller);

		for (int i = 0; i < desc->nparts; i++)
			if (only == -2 || only == i)
				parts = add_parts(parts, edge, desc->oids[i], src, dst, reverse, caller);
	}
	table_close(rel, NoLock);
	return parts;
}

/*
 * Where the caller's rows may be, for cozi_probe_edge(): those it is the src
 * of, or with reverse the dst.  In the current memory context.
 */
List	   *
cozi_edge_parts(const CoziEdge *edge, bool reverse, Datum caller)
{
	return add_parts(NIL, edge, edge->rel,
					 get_attname(edge->rel, edge->src, false), get_attname(edge->rel, edge->dst, false),
					 reverse, caller);
}

/* --- rows ---------------------------------------------------------------------------- */

/* Is there a row (src, dst)? */
bool
cozi_probe_edge(List *parts, Datum src, Datum dst)
{
	ListCell   *cell;
	bool		found = false;

	foreach(cell, parts)
	{
		EdgePart   *part = lfirst(cell);
		ScanKeyData keys[2] = {part->keys[0], part->keys[1]};
		EdgeScan	scan;

		keys[0].sk_argument = src;
		keys[1].sk_argument = dst;
		begin_scan(&scan, part->rel, part->index, keys, 2);
		found = next_row(&scan);
		end_scan(&scan);
		if (found)
			break;
	}
	return found;
}

/* Those of one part; *left is how many more may be visited. */
static bool
visit_part(Oid rel, Oid index, Oid caller_type, Datum caller, int64 *left,
		   bool (*visit) (Datum other, void *arg), void *arg)
{
	Relation	index_rel = index_open(index, AccessShareLock);
	ScanKeyData key;
	EdgeScan	scan;
	bool		all = true;

	init_scan_key(&key, index_rel, 0, caller_type, caller);
	index_close(index_rel, NoLock);
	begin_scan(&scan, rel, index, &key, 1);
	while (all && next_row(&scan))
	{
		bool		isnull;
		Datum		other = other_end(&scan, &isnull);

		if (!isnull)
			all = (*left)-- > 0 && visit(other, arg);
	}
	end_scan(&scan);
	return all;
}

/*
 * Calls visit for whomever the caller's edges lead to (reverse: come from),
 * until it answers false or there were max of them.  False when there may be
 * more, or no index to find them by.
 */
bool
cozi_visit_edges(const CoziEdge *edge, bool reverse, Datum caller, int64 max,
				 bool (*visit) (Datum other, void *arg), void *arg)
{
	List	   *parts;
	ListCell   *cell;

	if (reverse && !OidIsValid(edge->reverse_index))
		return false;
	parts = cozi_edge_parts(edge, reverse, caller);
	foreach(cell, parts)
	{
		EdgePart   *part = lfirst(cell);
		Oid			index = reverse ? part->reverse_index : part->index;

		/* of a partition, it may not be one to trust yet */
		if (!OidIsValid(index) ||
			!visit_part(part->rel, index, reverse ? edge->dst_type : edge->src_type, caller, &max, visit, arg))
			return false;
	}
	list_free_deep(parts);
	return true;
}
