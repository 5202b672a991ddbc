/*
 * edge/plan.c
 *		What the planner is told about the predicates of edges.
 *
 * is_following(column) can be looked up in an index on the column, as
 * column = ANY (edge_targets_uuid('following')), while the caller has few
 * edges; and it lets through edges / distinct values of the rows.  The number
 * of edges is read from the table when the query is planned, no further than
 * EDGES_COUNTED.  has_edge_role(edge, column, role) is looked up in the same
 * way, and then asked about each row found.
 *
 * The law: only estimates depend on it.  The plan holds the call, and is right
 * for any other caller and any later edges.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "identity/identity.h"
#include "edge/edge.h"

#define FEW_EDGES		5000	/* an index condition is worth trying */
#define EDGES_COUNTED	20000	/* at plan time */
#define EDGES_OF_NOBODY	100		/* a generic plan, made for any caller */

/* A call of a predicate that leads from the caller: which edge, which target. */
typedef struct EdgeCall
{
	const CoziEdgePredicate *predicate;
	NameData	name;
	Node	   *target;
	CoziEdge	edge;
} EdgeCall;

/* Is it a call that names its edge now? */
static bool
find_name(Oid function, List *args, EdgeCall *call)
{
	Const	   *name = linitial(args);

	call->predicate = cozi_edge_predicate(function);
	if (call->predicate == NULL || call->predicate->reverse)
		return false;
	if (call->predicate->edge != NULL)
		namestrcpy(&call->name, call->predicate->edge);
	else if (IsA(name, Const) && !name->constisnull)
		call->name = *DatumGetName(name->constvalue);
	else
		return false;
	call->target = list_nth(args, call->predicate->target);
	return true;
}

/*
 * Can the targets of that edge be listed now?  Not those of "blocked": where it
 * cannot be read, everything counts as blocked, and no list says that.
 */
static bool
read_call(Oid function, List *args, EdgeCall *call)
{
	return find_name(function, args, call) && strcmp(NameStr(call->name), "blocked") != 0 &&
		ActiveSnapshotSet() && cozi_find_edge(NameStr(call->name), &call->edge) &&
		call->edge.trouble == NULL;
}

static bool
count_one(Datum target, int rank, void *arg)
{
	(*(int64 *) arg)++;
	return true;
}

/*
 * How many edges the caller has, as far as we count.  A query asks for each
 * partition and each index; the latest count is kept, under the key that
 * answers are kept under.
 */
static int64
count_edges(CoziEdge *edge)
{
	static CoziEdgeKey counted_key;
	static Oid	counted_index;
	static int64 counted = -1;
	CoziEdgeKey key;
	Datum		caller;

	if (cozi_identity()->subject == NULL)
		return EDGES_OF_NOBODY;
	cozi_edge_key(&key);
	if (counted >= 0 && memcmp(&key, &counted_key, sizeof(key)) == 0 &&
		edge->index == counted_index)
		return counted;

	counted = -1;
	if (cozi_edge_caller(edge->src_type, &caller))
	{
		int64		n = 0;

		(void) cozi_visit_edges(edge, false, true, caller, EDGES_COUNTED, count_one, &n);
		counted = n;
	}
	else
		counted = 0;
	counted_key = key;
	counted_index = edge->index;
	return counted;
}

static Const *
name_constant(Name name)
{
	return makeConst(NAMEOID, -1, C_COLLATION_OID, NAMEDATALEN,
					 PointerGetDatum(memcpy(palloc(NAMEDATALEN), name, NAMEDATALEN)), false, false);
}

/* edge_targets_TYPE(edge) in the schema of that function */
static Expr *
targets_call(Oid sibling, Oid type, Name edge)
{
	const char *name = type == UUIDOID ? "edge_targets_uuid"
	: type == INT8OID ? "edge_targets_bigint" : "edge_targets_text";
	Oid			argtype = NAMEOID;
	Oid			targets = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										  CStringGetDatum(name),
										  PointerGetDatum(buildoidvector(&argtype, 1)),
										  ObjectIdGetDatum(get_func_namespace(sibling)));

	if (!OidIsValid(targets))
		return NULL;
	return (Expr *) makeFuncExpr(targets, get_array_type(type), list_make1(name_constant(edge)),
								 type == TEXTOID ? DEFAULT_COLLATION_OID : InvalidOid,
								 C_COLLATION_OID, COERCE_EXPLICIT_CALL);
}

/* Does the index find what the edge's own index would? */
static bool
compares_alike(SupportRequestIndexCondition *request, const CoziEdge *edge)
{
	return edge->dst_type != TEXTOID ||
		(edge->bytewise && get_collation_isdeterministic(request->indexcollation));
}

/* is_following(column) as column = ANY (edge_targets_uuid('following')) */
static Node *
index_condition(SupportRequestIndexCondition *request)
{
	FuncExpr   *node = (FuncExpr *) request->node;
	ScalarArrayOpExpr *any;
	EdgeCall	call;
	Oid			operator;
	Expr	   *targets;

	if (!IsA(node, FuncExpr) || request->index->relam != BTREE_AM_OID ||
		!read_call(node->funcid, node->args, &call) ||
		request->indexarg != call.predicate->target ||
		cozi_edge_id_type(exprType(call.target)) != call.edge.dst_type ||
		!compares_alike(request, &call.edge))
		return NULL;
	operator = get_opfamily_member(request->opfamily, exprType(call.target), call.edge.dst_type,
								   BTEqualStrategyNumber);
	targets = targets_call(node->funcid, call.edge.dst_type, &call.name);
	if (!OidIsValid(operator) || targets == NULL || count_edges(&call.edge) > FEW_EDGES)
		return NULL;

	any = makeNode(ScalarArrayOpExpr);
	any->opno = operator;
	any->opfuncid = get_opcode(operator);
	any->useOr = true;
	any->inputcollid = call.edge.dst_type == TEXTOID ? request->indexcollation : InvalidOid;
	any->args = list_make2(call.target, targets);
	any->location = -1;
	request->lossy = call.predicate->by_role;
	return (Node *) list_make1(any);
}

/*
 * is_following(column) of an int or smallint column, which comes as its cast
 * to bigint and hides the column from its indexes, as is_edge('following',
 * column).
 */
static Node *
without_cast(FuncExpr *node)
{
	Oid			argtypes[2] = {NAMEOID, InvalidOid};
	EdgeCall	call;
	Node	   *column;
	Oid			is_edge;

	if (!find_name(node->funcid, node->args, &call) || call.predicate->by_role)
		return NULL;
	column = cozi_unwidened(call.target, &argtypes[1]);
	if (!OidIsValid(argtypes[1]))
		return NULL;
	is_edge = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							  CStringGetDatum("is_edge"),
							  PointerGetDatum(buildoidvector(argtypes, 2)),
							  ObjectIdGetDatum(get_func_namespace(node->funcid)));
	if (!OidIsValid(is_edge))
		return NULL;
	return (Node *) makeFuncExpr(is_edge, BOOLOID, list_make2(name_constant(&call.name), column),
								 InvalidOid, node->inputcollid, COERCE_EXPLICIT_CALL);
}

/* The share of the rows whose column is one of the caller's targets. */
static bool
selectivity(SupportRequestSelectivity *request)
{
	EdgeCall	call;
	VariableStatData vardata;
	bool		isdefault;
	double		distinct;

	if (request->is_join || !read_call(request->funcid, request->args, &call))
		return false;
	examine_variable(request->root, call.target, request->varRelid, &vardata);
	distinct = get_variable_numdistinct(&vardata, &isdefault);
	ReleaseVariableStats(vardata);
	if (distinct < 1)
		return false;
	request->selectivity = (double) count_edges(&call.edge) / distinct;
	CLAMP_PROBABILITY(request->selectivity);
	return true;
}

PG_FUNCTION_INFO_V1(cozi_edge_support);

/* _edge_support(internal) -> internal: planner support of the predicates */
Datum
cozi_edge_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	if (IsA(request, SupportRequestSimplify))
		answer = without_cast(((SupportRequestSimplify *) request)->fcall);
	else if (IsA(request, SupportRequestIndexCondition))
		answer = index_condition((SupportRequestIndexCondition *) request);
	else if (IsA(request, SupportRequestSelectivity) &&
			 selectivity((SupportRequestSelectivity *) request))
		answer = request;
	PG_RETURN_POINTER(answer);
}
