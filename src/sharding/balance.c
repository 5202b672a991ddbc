/*
 * sharding/balance.c
 *		Which buckets should move to which node: rebalance_plan().
 *
 * The arithmetic is pure/balance.h.  A unit is one bucket, or, at a smaller
 * modulus, all buckets with one remainder: what a partition holds.
 *
 * The law: a plan changes nothing, and a bucket that is pinned stays.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/base.h"
#include "pure/balance.h"
#include "sharding/map.h"

typedef struct MapPlan
{
	Balance		balance;
	List	   *nodes;			/* of MapNode, by the indexes of balance.node */
	MapBucket  *buckets;
	int			modulus;
	int		   *before;			/* the node of each unit */
} MapPlan;

static const char *
node_name(MapPlan *plan, int node)
{
	return ((MapNode *) list_nth(plan->nodes, node))->name;
}

static int
by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((MapNode *) lfirst(a))->name, ((MapNode *) lfirst(b))->name);
}

static int
node_index(MapPlan *plan, const char *name)
{
	for (int i = 0; i < list_length(plan->nodes); i++)
		if (strcmp(node_name(plan, i), name) == 0)
			return i;
	return -1;
}

/*
 * Regions are compared as numbers: the first node of the region.  One that no
 * node has is a number beyond them.
 */
static int
region_index(MapPlan *plan, const char *region)
{
	ListCell   *lc;

	if (region == NULL)
		return -1;
	foreach(lc, plan->nodes)
	{
		char	   *of_node = ((MapNode *) lfirst(lc))->region;

		if (of_node && strcmp(of_node, region) == 0)
			return foreach_current_index(lc);
	}
	return list_length(plan->nodes);
}

static void
open_nodes(MapPlan *plan)
{
	Balance    *b = &plan->balance;

	list_sort(plan->nodes, by_name);
	b->n_nodes = list_length(plan->nodes);
	b->node = palloc0_array(BalanceNode, Max(b->n_nodes, 1));
	for (int i = 0; i < b->n_nodes; i++)
	{
		MapNode    *node = list_nth(plan->nodes, i);

		b->node[i].capacity = node->capacity;
		b->node[i].region = region_index(plan, node->region);
		b->node[i].open = !node->reserved;
	}
}

/* Nodes that are to be emptied take nothing. */
static void
drain_nodes(MapPlan *plan, ArrayType *names)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? NULL : TextDatumGetCString(values[i]);
		int			node = name ? node_index(plan, name) : -1;

		if (node < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("node \"%s\" does not exist", name ? name : "NULL"),
					 errhint("Table cozi.nodes lists the nodes.")));
		plan->balance.node[node].open = false;
	}
}

/* What a bucket asks of its unit, which asks it of all its buckets. */
static void
add_bucket(MapPlan *plan, int bucket)
{
	BalanceUnit *unit = &plan->balance.unit[bucket % plan->modulus];
	MapBucket  *b = &plan->buckets[bucket];
	int			node;
	int			region;

	if (b->node == NULL || (node = node_index(plan, b->node)) < 0)
		cozi_map_lacks(bucket);
	region = region_index(plan, b->region);
	if ((unit->node >= 0 && unit->node != node) ||
		(unit->region >= 0 && region >= 0 && unit->region != region))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the buckets with remainder %d at modulus %d lie on several nodes or have "
						"several regions", bucket % plan->modulus, plan->modulus),
				 errhint("Use a larger modulus; 1024 moves each bucket by itself.")));
	unit->node = node;
	unit->region = Max(unit->region, region);
	unit->pinned |= b->pinned;
}

/* A pinned bucket on a node that is to be emptied is a contradiction. */
static void
check_pinned(MapPlan *plan)
{
	for (int i = 0; i < plan->modulus; i++)
	{
		BalanceUnit *unit = &plan->balance.unit[i];
		MapNode    *node = list_nth(plan->nodes, unit->node);

		if (unit->pinned && !plan->balance.node[unit->node].open && !node->reserved)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("bucket %d is pinned to node \"%s\"", i, node->name),
					 errhint("Unpin it with cozi.pin_buckets(ARRAY[%d], false), or move it with "
							 "cozi.move_buckets().", i)));
	}
}

static void
open_units(MapPlan *plan)
{
	Balance    *b = &plan->balance;

	b->n_units = plan->modulus;
	b->unit = palloc0_array(BalanceUnit, plan->modulus);
	plan->before = palloc0_array(int, plan->modulus);
	for (int i = 0; i < plan->modulus; i++)
		b->unit[i].node = b->unit[i].region = -1;
	for (int i = 0; i < COZI_BUCKETS; i++)
		add_bucket(plan, i);
	check_pinned(plan);
	for (int i = 0; i < plan->modulus; i++)
		plan->before[i] = b->unit[i].node;
}

/* The load of each bucket, in their order; without an array they are alike. */
static void
read_loads(MapPlan *plan, ArrayType *loads)
{
	Datum	   *values;
	bool	   *nulls;
	double		total = 0;
	int			n = 0;

	if (loads)
		deconstruct_array(loads, FLOAT8OID, sizeof(float8), true, TYPALIGN_DOUBLE,
						  &values, &nulls, &n);
	if (loads && n != COZI_BUCKETS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"load\" must have %d elements, not %d", COZI_BUCKETS, n),
				 errhint("Use ARRAY(SELECT load FROM cozi.bucket_load(...)).")));
	for (int i = 0; i < n; i++)
	{
		double		load = nulls[i] ? 0 : DatumGetFloat8(values[i]);

		if (!(load >= 0 && load <= 1e300))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the load of bucket %d must be a finite number, not negative", i)));
		plan->balance.unit[i % plan->modulus].load += load;
		total += load;
	}
	if (total > 0)
		return;
	for (int i = 0; i < plan->modulus; i++)
		plan->balance.unit[i].load = (double) COZI_BUCKETS / plan->modulus;
}

static Datum
buckets_of(MapPlan *plan, int remainder)
{
	int			n = COZI_BUCKETS / plan->modulus;
	Datum	   *values = palloc_array(Datum, n);

	for (int i = 0; i < n; i++)
		values[i] = Int32GetDatum(remainder + i * plan->modulus);
	return PointerGetDatum(construct_array(values, n, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

static void
return_moves(FunctionCallInfo fcinfo, MapPlan *plan)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < plan->modulus; i++)
	{
		BalanceUnit *unit = &plan->balance.unit[i];
		Datum		values[5];
		bool		nulls[5] = {0};

		if (unit->node == plan->before[i])
			continue;
		values[0] = Int32GetDatum(i);
		values[1] = CStringGetTextDatum(node_name(plan, plan->before[i]));
		values[2] = CStringGetTextDatum(node_name(plan, unit->node));
		values[3] = Float8GetDatum(unit->load);
		values[4] = buckets_of(plan, i);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

static void
check_arguments(FunctionCallInfo fcinfo, int modulus, double tolerance)
{
	if (modulus < 1 || modulus > COZI_BUCKETS || COZI_BUCKETS % modulus != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("modulus must be a power of two between 1 and %d", COZI_BUCKETS)));
	if (!(tolerance >= 0 && tolerance <= 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"tolerance\" must be between 0 and 100"),
				 errhint("0.01 lets a node have 1 %% more than its share.")));
}

PG_FUNCTION_INFO_V1(cozi_rebalance_plan);

/*
 * rebalance_plan(load float8[] = NULL, modulus int = 1024, drain text[] = '{}',
 *				  tolerance float8 = 0.01)
 *		-> table (remainder int, from_node text, to_node text, load float8, buckets int[])
 */
Datum
cozi_rebalance_plan(PG_FUNCTION_ARGS)
{
	MapPlan		plan = {0};
	BalanceUnit *homeless;

	cozi_require_argument(fcinfo, 1, "modulus");
	cozi_require_argument(fcinfo, 2, "drain");
	cozi_require_argument(fcinfo, 3, "tolerance");
	plan.modulus = PG_GETARG_INT32(1);
	check_arguments(fcinfo, plan.modulus, PG_GETARG_FLOAT8(3));
	InitMaterializedSRF(fcinfo, 0);
	plan.nodes = cozi_map_nodes();
	plan.buckets = cozi_map_buckets();
	open_nodes(&plan);
	drain_nodes(&plan, PG_GETARG_ARRAYTYPE_P(2));
	open_units(&plan);
	read_loads(&plan, PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0));
	homeless = balance_start(&plan.balance);
	if (homeless)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no node may take bucket %d", (int) (homeless - plan.balance.unit)),
				 errhint("Add a node with cozi.add_node(), of the region of the bucket if it has "
						 "one.")));
	balance_run(&plan.balance, PG_GETARG_FLOAT8(3));
	return_moves(fcinfo, &plan);
	return (Datum) 0;
}
