/*
 * edge/plan.c
 *		What the planner is told about is_edge() and its like.
 *
 * is_following(column) can be looked up in an index on the column, as
 * column = ANY (edge_targets_uuid('following')), while the caller has few
 * edges; and it lets through edges / distinct values of the rows.  The number
 * of edges is read from the table when the query is planned, no further than
 * EDGES_COUNTED.
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
#define EDGES_OF_NOBODY	100		/* a generic plan, made for whoever comes */

PG_FUNCTION_INFO_V1(cozi_edge_support);

/* --- the call ------------------------------------------------------------------ */

/* A call of is_edge() and its like: which edge, and where its target is. */
typedef struct EdgeCall
{
	NameData	name;
	Node	   *target;
	int			target_arg;
	CoziEdge	edge;
} EdgeCall;

static bool
constant_name(Node *arg, Name name)
{
	if (!IsA(arg, Const) || ((Const *) arg)->constisnull)
		return false;
	*name = *DatumGetName(((Const *) arg)->constvalue);
	return true;
}

/* Is it a call that names its edge now? */
static bool
read_name(Oid function, List *args, EdgeCall *call)
{
	char	   *function_name = get_func_name(function);

	if (function_name == NULL)
		return false;
	if (strcmp(function_name, "is_following") == 0)
		namestrcpy(&call->name, "following");
	else if (strcmp(function_name, "is_member") == 0)
		namestrcpy(&call->name, "member");
	else if (strcmp(function_name, "has_blocked") == 0)
		namestrcpy(&call->name, "blocked");
	else if (list_length(args) != 2 || !constant_name(linitial(args), &call->name))
		return false;
	call->target_arg = list_length(args) - 1;
	call->target = llast(args);
	return true;
}

/* And is that edge registered? */
static bool
read_call(Oid function, List *args, EdgeCall *call)
{
	return read_name(function, args, call) &&
		ActiveSnapshotSet() && cozi_find_edge(NameStr(call->name), &call->edge, true);
}

/* --- how many edges -------------------------------------------------------------- */

static bool
count_one(Datum target, void *arg)
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
count_edges(const CoziEdge *edge)
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

		(void) cozi_visit_edges(edge, false, caller, EDGES_COUNTED, count_one, &n);
		counted = n;
	}
	else
		counted = 0;
	counted_key = key;
	counted_index = edge->index;
	return counted;
}

/* --- the answers ----------------------------------------------------------------- */

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
	const char *name = type == UUIDOID ? "edge_targets_uuid" : type == INT8OID ? "edge_targets_bigint" : "edge_targets_text";
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
		!read_call(node->funcid, node->args, &call) || request->indexarg != call.target_arg ||
		cozi_edge_id_type(exprType(call.target)) != call.edge.dst_type ||
		!compares_alike(request, &call.edge))
		return NULL;
	operator = get_opfamily_member(request->opfamily, exprType(call.target), call.edge.dst_type, BTEqualStrategyNumber);
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
	request->lossy = false;
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

	column = cozi_unwidened(llast(node->args), &argtypes[1]);
	if (!OidIsValid(argtypes[1]) || !read_name(node->funcid, node->args, &call))
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

/* _edge_support(internal) -> internal: planner support of is_edge() and its like */
Datum
cozi_edge_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	if (IsA(request, SupportRequestSimplify))
		answer = without_cast(((SupportRequestSimplify *) request)->fcall);
	else if (IsA(request, SupportRequestIndexCondition))
		answer = index_condition((SupportRequestIndexCondition *) request);
	else if (IsA(request, SupportRequestSelectivity) && selectivity((SupportRequestSelectivity *) request))
		answer = request;
	PG_RETURN_POINTER(answer);
}
