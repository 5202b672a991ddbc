/*
 * edge/predicate.c
 *		The predicates of edges: is_edge(), is_following(), has_edge_role().
 *
 * They answer about the caller alone, and are STRICT: NULL about a target that
 * is NULL, and about no other.
 *
 * The law: a predicate is LEAKPROOF.  It raises no error that depends on its
 * arguments, and tells of them by its answer alone; answer.c keeps that.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "edge/edge.h"

static const CoziEdgePredicate predicates[] = {
	{"cozi_is_edge", NULL, false, 1, false},
	{"cozi_has_edge_role", NULL, false, 1, true},
	{"cozi_is_following", "following", false, 0, false},
	{"cozi_is_member", "member", false, 0, false},
	{"cozi_has_blocked", "blocked", false, 0, false},
	{"cozi_is_blocked_by", "blocked", true, 0, false}
};

/* In fn_extra. */
typedef struct PredicateCache
{
	const CoziEdgePredicate *predicate;
	Oid			type;			/* of the target */
	CoziEdgeAnswers *answers;
} PredicateCache;

/* The predicate that is this function; NULL when it is none. */
const CoziEdgePredicate *
cozi_edge_predicate(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	const CoziEdgePredicate *found = NULL;
	bool		isnull;
	Datum		symbol;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	symbol = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	if (!isnull)
		for (int i = 0; found == NULL && i < lengthof(predicates); i++)
			if (strcmp(TextDatumGetCString(symbol), predicates[i].symbol) == 0)
				found = &predicates[i];
	ReleaseSysCache(tuple);
	return found;
}

static PredicateCache *
cache_of(FunctionCallInfo fcinfo)
{
	PredicateCache *cache = fcinfo->flinfo->fn_extra;
	Oid		   *types;
	int			n;

	if (cache != NULL)
		return cache;
	cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(PredicateCache));
	cache->predicate = cozi_edge_predicate(fcinfo->flinfo->fn_oid);
	if (cache->predicate == NULL)
		elog(ERROR, "function %u is no predicate of edges", fcinfo->flinfo->fn_oid);
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n);
	cache->type = types[cache->predicate->target];
	fcinfo->flinfo->fn_extra = cache;
	return cache;
}

static int
edge_rank(FunctionCallInfo fcinfo, PredicateCache *cache)
{
	const CoziEdgePredicate *predicate = cache->predicate;
	Datum		target = PG_GETARG_DATUM(predicate->target);
	Oid			type = cache->type;

	if (type == INT4OID || type == INT2OID)
	{
		target = Int64GetDatum(type == INT4OID ? DatumGetInt32(target) : DatumGetInt16(target));
		type = INT8OID;
	}
	return cozi_edge_rank(&cache->answers, fcinfo->flinfo->fn_mcxt,
						  predicate->edge != NULL ? predicate->edge : NameStr(*PG_GETARG_NAME(0)),
						  predicate->reverse, target, type);
}

static Datum
edge_holds(FunctionCallInfo fcinfo)
{
	PG_RETURN_BOOL(edge_rank(fcinfo, cache_of(fcinfo)) != COZI_NO_EDGE);
}

PG_FUNCTION_INFO_V1(cozi_is_edge);

/*
 * is_edge(edge name, target uuid | bigint | int | smallint | text) -> boolean
 *
 * The small integers are for plans: __edge_support() in edge/plan.c.
 */
Datum
cozi_is_edge(PG_FUNCTION_ARGS)
{
	return edge_holds(fcinfo);
}

PG_FUNCTION_INFO_V1(cozi_is_following);

/* is_following(target uuid | bigint | text) -> boolean */
Datum
cozi_is_following(PG_FUNCTION_ARGS)
{
	return edge_holds(fcinfo);
}

PG_FUNCTION_INFO_V1(cozi_is_member);

/* is_member(target uuid | bigint | text) -> boolean */
Datum
cozi_is_member(PG_FUNCTION_ARGS)
{
	return edge_holds(fcinfo);
}

PG_FUNCTION_INFO_V1(cozi_has_blocked);

/* has_blocked(target uuid | bigint | text) -> boolean: did the caller block it? */
Datum
cozi_has_blocked(PG_FUNCTION_ARGS)
{
	return edge_holds(fcinfo);
}

PG_FUNCTION_INFO_V1(cozi_is_blocked_by);

/* is_blocked_by(target uuid | bigint | text) -> boolean: did it block the caller? */
Datum
cozi_is_blocked_by(PG_FUNCTION_ARGS)
{
	return edge_holds(fcinfo);
}

PG_FUNCTION_INFO_V1(cozi_has_edge_role);

/*
 * has_edge_role(edge name, target uuid | bigint | text, role text) -> boolean:
 * at least that role, of the roles that the edge was registered with
 */
Datum
cozi_has_edge_role(PG_FUNCTION_ARGS)
{
	PredicateCache *cache = cache_of(fcinfo);
	int			rank = edge_rank(fcinfo, cache);
	text	   *role = PG_GETARG_TEXT_PP(2);
	int			wanted = cozi_edge_role_rank(cache->answers, VARDATA_ANY(role),
											 VARSIZE_ANY_EXHDR(role));

	PG_RETURN_BOOL(wanted >= 0 && rank >= wanted);
}

static bool
accumulate_target(Datum target, int rank, void *arg)
{
	ArrayBuildState **state = arg;

	*state = accumArrayResult(*state, target, false, (*state)->element_type, CurrentMemoryContext);
	return true;
}

PG_FUNCTION_INFO_V1(cozi_edge_targets);

/*
 * edge_targets_uuid(edge name) -> uuid[], and so for bigint and text: all
 * targets of the caller's edges; none where the edge cannot be read, or its ids
 * are of another type
 */
Datum
cozi_edge_targets(PG_FUNCTION_ARGS)
{
	Oid			type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	ArrayBuildState *state = initArrayResult(type, CurrentMemoryContext, false);
	CoziEdge	edge;
	Datum		caller;

	if (cozi_find_edge(NameStr(*PG_GETARG_NAME(0)), &edge) && edge.trouble == NULL &&
		edge.dst_type == type && cozi_edge_caller(edge.src_type, &caller))
		(void) cozi_visit_edges(&edge, false, false, caller, PG_INT64_MAX,
								accumulate_target, &state);
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}
