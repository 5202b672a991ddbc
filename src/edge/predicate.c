/*
 * edge/predicate.c
 *		The predicates of relations: is_edge(), is_following(), can_view().
 *
 * They answer about the caller alone, never NULL about a target that is not.
 * What they remember of a statement is in edge/answer.c, and lives with
 * the expression, in fn_extra.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "identity/identity.h"
#include "edge/edge.h"

/* In fn_extra. */
typedef struct Remembered
{
	Oid			types[3];		/* of the function's arguments */
	CoziEdgeAnswers *edge;		/* the one edge of all but can_view() */
	CoziEdgeAnswers *following;
	CoziEdgeAnswers *member;
	CoziEdgeAnswers *blocked;
	CoziEdgeAnswers *blocked_by;
} Remembered;

PG_FUNCTION_INFO_V1(cozi_is_edge);
PG_FUNCTION_INFO_V1(cozi_is_following);
PG_FUNCTION_INFO_V1(cozi_is_member);
PG_FUNCTION_INFO_V1(cozi_has_blocked);
PG_FUNCTION_INFO_V1(cozi_is_blocked_by);
PG_FUNCTION_INFO_V1(cozi_can_view);
PG_FUNCTION_INFO_V1(cozi_edge_targets);

static Remembered *
remembered(FunctionCallInfo fcinfo)
{
	Remembered *all = fcinfo->flinfo->fn_extra;
	Oid		   *types;
	int			n;

	if (all != NULL)
		return all;
	all = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Remembered));
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n);
	memcpy(all->types, types, Min(n, 3) * sizeof(Oid));
	fcinfo->flinfo->fn_extra = all;
	return all;
}

/* --- one edge ------------------------------------------------------------------------ */

static bool
edge_holds(FunctionCallInfo fcinfo, const char *name, bool reverse, int target)
{
	Remembered *all = remembered(fcinfo);
	Datum		value = PG_GETARG_DATUM(target);
	Oid			type = all->types[target];

	if (type == INT4OID || type == INT2OID)
	{
		value = Int64GetDatum(type == INT4OID ? DatumGetInt32(value) : DatumGetInt16(value));
		type = INT8OID;
	}
	return cozi_edge_holds(&all->edge, fcinfo->flinfo->fn_mcxt, name, reverse, value, type);
}

/*
 * is_edge(edge name, target uuid | bigint | int | smallint | text) -> boolean
 *
 * The small integers are for plans: _edge_support() in edge/plan.c.
 */
Datum
cozi_is_edge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(edge_holds(fcinfo, NameStr(*PG_GETARG_NAME(0)), false, 1));
}

/* is_following(target uuid | bigint | text) -> boolean */
Datum
cozi_is_following(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(edge_holds(fcinfo, "following", false, 0));
}

/* is_member(target uuid | bigint | text) -> boolean */
Datum
cozi_is_member(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(edge_holds(fcinfo, "member", false, 0));
}

/* has_blocked(target uuid | bigint | text) -> boolean: the caller blocked it */
Datum
cozi_has_blocked(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(edge_holds(fcinfo, "blocked", false, 0));
}

/* is_blocked_by(target uuid | bigint | text) -> boolean: it blocked the caller */
Datum
cozi_is_blocked_by(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(edge_holds(fcinfo, "blocked", true, 0));
}

/* --- can_view -------------------------------------------------------------------------- */

static bool
is_caller(Datum id, Oid type)
{
	const CoziIdentity *who = cozi_identity();

	if (type == UUIDOID)
		return who->has_uuid && memcmp(&who->uuid, DatumGetUUIDP(id), UUID_LEN) == 0;
	if (type == INT8OID)
		return who->has_bigint && who->bigint == DatumGetInt64(id);
	return who->subject != NULL && VARSIZE_ANY_EXHDR(DatumGetPointer(id)) == who->subject_len &&
		memcmp(VARDATA_ANY(DatumGetPointer(id)), who->subject, who->subject_len) == 0;
}

static bool
is_word(text *t, const char *word)
{
	return VARSIZE_ANY_EXHDR(t) == strlen(word) && memcmp(VARDATA_ANY(t), word, strlen(word)) == 0;
}

/*
 * can_view(visibility text, author, grp) -> boolean: never NULL; what is not
 * known is not shown.
 */
Datum
cozi_can_view(PG_FUNCTION_ARGS)
{
	Remembered *all = remembered(fcinfo);
	MemoryContext context = fcinfo->flinfo->fn_mcxt;
	bool		has_author = !PG_ARGISNULL(1);
	Datum		author = (Datum) 0;
	text	   *visibility;
	bool		shown;

	if (has_author)
	{
		author = PG_GETARG_DATUM(1);
		if (all->types[1] == TEXTOID)
			author = PointerGetDatum(PG_DETOAST_DATUM_PACKED(author));
		if (is_caller(author, all->types[1]))
			PG_RETURN_BOOL(true);
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);

	visibility = PG_GETARG_TEXT_PP(0);
	if (is_word(visibility, "public"))
		shown = true;
	else if (is_word(visibility, "followers"))
		shown = has_author &&
			cozi_edge_holds(&all->following, context, "following", false, author, all->types[1]);
	else if (is_word(visibility, "group"))
		shown = !PG_ARGISNULL(2) &&
			cozi_edge_holds(&all->member, context, "member", false, PG_GETARG_DATUM(2), all->types[2]);
	else
		shown = false;

	if (shown && has_author)
		shown = !cozi_edge_holds(&all->blocked, context, "blocked", false, author, all->types[1]) &&
			!cozi_edge_holds(&all->blocked_by, context, "blocked", true, author, all->types[1]);
	PG_RETURN_BOOL(shown);
}

/* --- all targets ------------------------------------------------------------------------ */

static bool
accumulate_target(Datum target, void *arg)
{
	ArrayBuildState **state = arg;

	*state = accumArrayResult(*state, target, false, (*state)->element_type, CurrentMemoryContext);
	return true;
}

/*
 * edge_targets_uuid(edge name) -> uuid[], and so for bigint and text: whom the
 * caller's edges lead to
 */
Datum
cozi_edge_targets(PG_FUNCTION_ARGS)
{
	const char *name = NameStr(*PG_GETARG_NAME(0));
	Oid			type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	ArrayBuildState *state = initArrayResult(type, CurrentMemoryContext, false);
	CoziEdge	edge;
	Datum		caller;

	if (cozi_find_edge_or_none(name, &edge))
	{
		if (edge.dst_type != type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the ids of edge \"%s\" are not of type %s", name, format_type_be(type))));
		if (cozi_edge_caller(edge.src_type, &caller))
			(void) cozi_visit_edges(&edge, false, caller, PG_INT64_MAX, accumulate_target, &state);
	}
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}
