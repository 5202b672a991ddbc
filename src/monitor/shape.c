/*
 * monitor/shape.c
 *		The shape of a plan: a number by which two plans of a statement differ.
 *
 * The same nodes in the same order over the same tables and indexes are the same
 * shape, whatever the constants, the estimates and the costs.  Partitions are
 * one: a plan that scans three in the same way has the shape of one that scans
 * seven.  The number is not 0, and is kept over a restart of the server but not
 * over a dump, because indexes count by their OID.
 *
 * It is computed at the end of each execution, also inside an error's PG_CATCH:
 * nothing is allocated or raised here, and of a plan only so much is looked at.
 */
#include "postgres.h"

#include "nodes/plannodes.h"

#include "monitor/monitor.h"

#define MAX_DEPTH	64
#define MAX_NODES	4096

typedef struct ShapeWalk
{
	bool		partitions;		/* are there tables with children? */
	int			nodes;			/* looked at so far */
} ShapeWalk;

static uint64 node_shape(ShapeWalk *walk, Plan *plan, int depth);

static inline uint64
mix(uint64 shape, uint64 value)
{
	shape = (shape ^ value) * UINT64CONST(0x9E3779B97F4A7C15);
	return shape ^ (shape >> 29);
}

/* Of several plans that stand side by side: those that repeat count once. */
static uint64
list_shape(ShapeWalk *walk, List *plans, int depth)
{
	uint64		shape = 0;
	uint64		last = 0;
	ListCell   *cell;

	foreach(cell, plans)
	{
		uint64		next = node_shape(walk, (Plan *) lfirst(cell), depth);

		if (next != last)
			shape = shape == 0 ? next : mix(shape, next);
		last = next;
	}
	return shape;
}

/* What a node scans, and by which index. */
static uint64
scan_shape(ShapeWalk *walk, Plan *plan)
{
	Oid			index = InvalidOid;

	if (walk->partitions)
		return 0;
	switch (nodeTag(plan))
	{
		case T_IndexScan:
			index = ((IndexScan *) plan)->indexid;
			break;
		case T_IndexOnlyScan:
			index = ((IndexOnlyScan *) plan)->indexid;
			break;
		case T_BitmapIndexScan:
			index = ((BitmapIndexScan *) plan)->indexid;
			break;
		case T_SeqScan:
		case T_SampleScan:
		case T_BitmapHeapScan:
		case T_TidScan:
		case T_TidRangeScan:
		case T_ForeignScan:
			break;
		default:
			return 0;
	}
	return mix(index, ((Scan *) plan)->scanrelid);
}

/* What of a node is neither a table nor an estimate. */
static uint64
kind_of_node(Plan *plan)
{
	uint64		kind = nodeTag(plan);

	switch (nodeTag(plan))
	{
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
			return mix(kind, ((Join *) plan)->jointype);
		case T_Agg:
			return mix(kind, ((Agg *) plan)->aggstrategy * 256 + ((Agg *) plan)->aggsplit);
		case T_ModifyTable:
			return mix(kind, ((ModifyTable *) plan)->operation);
		default:
			return kind;
	}
}

static uint64
node_shape(ShapeWalk *walk, Plan *plan, int depth)
{
	uint64		shape;

	if (plan == NULL || depth > MAX_DEPTH || ++walk->nodes > MAX_NODES)
		return 1;
	switch (nodeTag(plan))
	{
		case T_Append:
			return list_shape(walk, ((Append *) plan)->appendplans, depth + 1);
		case T_MergeAppend:
			return list_shape(walk, ((MergeAppend *) plan)->mergeplans, depth + 1);
		default:
			break;
	}
	shape = mix(mix(kind_of_node(plan), plan->parallel_aware), scan_shape(walk, plan));
	switch (nodeTag(plan))
	{
		case T_BitmapAnd:
			shape = mix(shape, list_shape(walk, ((BitmapAnd *) plan)->bitmapplans, depth + 1));
			break;
		case T_BitmapOr:
			shape = mix(shape, list_shape(walk, ((BitmapOr *) plan)->bitmapplans, depth + 1));
			break;
		case T_SubqueryScan:
			shape = mix(shape, node_shape(walk, ((SubqueryScan *) plan)->subplan, depth + 1));
			break;
		default:
			break;
	}
	if (plan->lefttree)
		shape = mix(shape, node_shape(walk, plan->lefttree, depth + 1));
	if (plan->righttree)
		shape = mix(shape, node_shape(walk, plan->righttree, depth + 1) + 1);
	return shape;
}

uint64
cozi_plan_shape(PlannedStmt *stmt)
{
	ShapeWalk	walk = {.partitions = stmt->appendRelations != NIL};
	uint64		shape = node_shape(&walk, stmt->planTree, 0);

	if (stmt->subplans != NIL)
		shape = mix(shape, list_shape(&walk, stmt->subplans, 0));
	return shape != 0 ? shape : 1;
}
