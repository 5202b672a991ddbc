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
 * Where the edge has conditions, an index that holds their columns answers
 * alone, too; with any other, the table is read.
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
#include "identity/identity.h"

/* A table without partitions, and how to find a row of it. */
typedef struct EdgePart
{
	Oid			rel;
	Oid			index;			/* on (src, dst) */
	Oid			reverse_index;	/* on (dst, src), or invalid */
	ScanKeyData keys[2];		/* of index; their arguments are open */
	CoziEdgeTest test;
} EdgePart;

typedef struct EdgeScan
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* of the heap, once it is needed */
	Buffer		vmbuffer;
	const CoziEdgeTest *test;	/* NULL: all rows count */
	bool		covered;		/* the index has the columns of the test */
	bool		fetched;		/* the row at hand is in the slot */
} EdgeScan;

static bool
covers(Relation index, const CoziEdgeTest *test)
{
	const AttrNumber columns[] = {test->status.column, test->role.column,
	test->expires_at.column, test->deleted_at.column};

	for (int i = 0; i < lengthof(columns); i++)
		if (columns[i] != 0 && cozi_index_column(index, columns[i]) == 0)
			return false;
	return true;
}

static void
begin_scan(EdgeScan *scan, const EdgePart *part, Oid index, bool all,
		   ScanKeyData *keys, int nkeys)
{
	scan->rel = table_open(part->rel, NoLock);
	scan->index = index_open(index, AccessShareLock);
	scan->slot = NULL;
	scan->vmbuffer = InvalidBuffer;
	scan->test = all || cozi_edge_test_is_empty(&part->test) ? NULL : &part->test;
	scan->covered = scan->test == NULL || covers(scan->index, scan->test);
	scan->scan = index_beginscan_compat(scan->rel, scan->index, GetActiveSnapshot(), nkeys);
	scan->scan->xs_want_itup = true;
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

/* A column of the row at hand: a CoziRowColumn. */
static Datum
row_column(void *row, AttrNumber column, bool *isnull)
{
	EdgeScan   *scan = row;

	if (scan->covered)
		return index_getattr(scan->scan->xs_itup, cozi_index_column(scan->index, column),
							 scan->scan->xs_itupdesc, isnull);
	return slot_getattr(scan->slot, column, isnull);
}

/* Is the row that the index found visible?  In the slot, if that is needed. */
static bool
row_is_visible(EdgeScan *scan, ItemPointer tid)
{
	if (scan->covered &&
		VM_ALL_VISIBLE(scan->rel, ItemPointerGetBlockNumber(tid), &scan->vmbuffer))
	{
		PredicateLockPage(scan->rel, ItemPointerGetBlockNumber(tid), GetActiveSnapshot());
		return true;
	}
	if (scan->slot == NULL)
		scan->slot = table_slot_create(scan->rel, NULL);
	scan->fetched = index_fetch_heap(scan->scan, scan->slot);
	return scan->fetched;
}

/*
 * The next row, whose index tuple then is scan->scan->xs_itup; *rank is
 * COZI_NO_EDGE for one that does not count.
 */
static bool
next_row(EdgeScan *scan, int *rank)
{
	ItemPointer tid;

	while ((tid = index_getnext_tid(scan->scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		scan->fetched = false;
		if (!row_is_visible(scan, tid))
			continue;
		*rank = scan->test == NULL ? 0 : cozi_edge_test_row(scan->test, row_column, scan);
		if (scan->fetched)
			ExecClearTuple(scan->slot);
		return true;
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

/*
 * column = value, as the index compares it; value of type id_type.  False when
 * the index has no such comparison.
 */
static bool
init_scan_key(ScanKey key, Relation index, int column, Oid id_type, Datum value)
{
	Oid			operator = get_opfamily_member(index->rd_opfamily[column],
											   index->rd_opcintype[column],
											   id_type, BTEqualStrategyNumber);

	if (!OidIsValid(operator))
		return false;
	ScanKeyEntryInitialize(key, 0, column + 1, BTEqualStrategyNumber,
						   id_type, index->rd_indcollation[column], get_opcode(operator), value);
	return true;
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

/* A part of the edge; NULL when it cannot be read, and edge->trouble says why. */
static EdgePart *
make_part(CoziEdge *edge, Relation rel, AttrNumber src, AttrNumber dst)
{
	EdgePart   *part = palloc(sizeof(EdgePart));
	bool		whole = RelationGetRelid(rel) == edge->rel;
	Relation	index;
	bool		comparable;

	part->rel = RelationGetRelid(rel);
	if ((edge->trouble = cozi_edge_test(rel, edge->config, &part->test)) != NULL)
		return NULL;
	part->index = whole ? edge->index : cozi_edge_index(rel, src, dst, &part->test);
	part->reverse_index = whole ? edge->reverse_index
		: cozi_edge_index(rel, dst, src, &part->test);
	if (!OidIsValid(part->index))
	{
		edge->trouble = psprintf("partition \"%s\" has no index on its two columns",
								 RelationGetRelationName(rel));
		return NULL;
	}
	index = index_open(part->index, AccessShareLock);
	comparable = init_scan_key(&part->keys[0], index, 0, edge->src_type, (Datum) 0) &&
		init_scan_key(&part->keys[1], index, 1, edge->dst_type, (Datum) 0);
	index_close(index, NoLock);
	if (!comparable)
		edge->trouble = psprintf("index \"%s\" cannot compare its columns with ids",
								 get_rel_name(part->index));
	return comparable ? part : NULL;
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
caller_partition(Relation rel, PartitionDesc desc, AttrNumber column, Oid id_type, Datum id)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	bool		isnull = false;
	uint64		hash;

	if (key->strategy != PARTITION_STRATEGY_HASH || key->partnatts != 1 ||
		key->partattrs[0] != column)
		return -2;
	if (desc->nparts == 0 || !as_column(rel, column, id_type, &id))
		return -1;
	hash = compute_partition_hash_value(1, key->partsupfunc, key->partcollation, &id, &isnull);
	return desc->boundinfo->indexes[hash % desc->boundinfo->nindexes];
}

static bool add_parts(List **parts, CoziEdge *edge, Oid relid, bool reverse, Datum caller);

static bool
add_partitions(List **parts, CoziEdge *edge, Relation rel, AttrNumber column, bool reverse,
			   Datum caller)
{
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	int			only = caller_partition(rel, desc, column,
										reverse ? edge->dst_type : edge->src_type, caller);

	for (int i = 0; i < desc->nparts; i++)
		if ((only == -2 || only == i) &&
			!add_parts(parts, edge, desc->oids[i], reverse, caller))
			return false;
	return true;
}

static bool
add_parts(List **parts, CoziEdge *edge, Oid relid, bool reverse, Datum caller)
{
	Relation	rel = try_table_open(relid, AccessShareLock);
	AttrNumber	src,
				dst;
	EdgePart   *part;
	bool		ok = true;

	if (rel == NULL)			/* a partition that was just detached and
								 * dropped */
		return true;
	src = get_attnum(relid, NameStr(edge->config->src));
	dst = get_attnum(relid, NameStr(edge->config->dst));
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		ok = add_partitions(parts, edge, rel, reverse ? dst : src, reverse, caller);
	else if ((part = make_part(edge, rel, src, dst)) != NULL)
		*parts = lappend(*parts, part);
	else
		ok = false;
	table_close(rel, NoLock);
	return ok;
}

/*
 * Where the caller's rows may be, for cozi_probe_edge(): those it is the src
 * of, or with reverse the dst.  In the current memory context.  False when one
 * of the parts cannot be read, and edge->trouble says why.
 */
bool
cozi_edge_parts(CoziEdge *edge, bool reverse, Datum caller, List **parts)
{
	*parts = NIL;
	cozi_ask_about(edge->rel);
	return add_parts(parts, edge, edge->rel, reverse, caller);
}

/* The highest rank of the rows (src, dst) that count, or COZI_NO_EDGE. */
int
cozi_probe_edge(List *parts, Datum src, Datum dst)
{
	ListCell   *cell;
	int			best = COZI_NO_EDGE;

	foreach(cell, parts)
	{
		EdgePart   *part = lfirst(cell);
		int			highest = Max(part->test.role.nvalues - 1, 0);
		ScanKeyData keys[2] = {part->keys[0], part->keys[1]};
		EdgeScan	scan;
		int			rank;

		keys[0].sk_argument = src;
		keys[1].sk_argument = dst;
		begin_scan(&scan, part, part->index, false, keys, 2);
		while (best < highest && next_row(&scan, &rank))
			best = Max(best, rank);
		end_scan(&scan);
		if (best == highest)
			break;
	}
	return best;
}

/* The rows of one part; *left is how many more may be read. */
static bool
visit_part(const EdgePart *part, Oid index, bool all, Oid caller_type, Datum caller, int64 *left,
		   bool (*visit) (Datum other, int rank, void *arg), void *arg)
{
	Relation	index_rel = index_open(index, AccessShareLock);
	ScanKeyData key;
	EdgeScan	scan;
	bool		whole = init_scan_key(&key, index_rel, 0, caller_type, caller);
	int			rank;

	index_close(index_rel, NoLock);
	if (!whole)
		return false;
	begin_scan(&scan, part, index, all, &key, 1);
	while (whole && next_row(&scan, &rank))
	{
		bool		isnull;
		Datum		other = other_end(&scan, &isnull);

		if (!isnull)
			whole = (*left)-- > 0 && (rank == COZI_NO_EDGE || visit(other, rank, arg));
	}
	end_scan(&scan);
	return whole;
}

/*
 * Calls visit for each target of the caller's edges (reverse: each source) that
 * counts, or with all for each, until visit answers false or max rows were
 * read.  False when there may be more, or no index to find them by.
 */
bool
cozi_visit_edges(CoziEdge *edge, bool reverse, bool all, Datum caller, int64 max,
				 bool (*visit) (Datum other, int rank, void *arg), void *arg)
{
	List	   *parts;
	ListCell   *cell;

	if ((reverse && !OidIsValid(edge->reverse_index)) ||
		!cozi_edge_parts(edge, reverse, caller, &parts))
		return false;
	foreach(cell, parts)
	{
		EdgePart   *part = lfirst(cell);
		Oid			index = reverse ? part->reverse_index : part->index;

		/* of a partition, it may not be one to trust yet */
		if (!OidIsValid(index) ||
			!visit_part(part, index, all, reverse ? edge->dst_type : edge->src_type,
						caller, &max, visit, arg))
			return false;
	}
	list_free(parts);
	return true;
}
