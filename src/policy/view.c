/*
 * policy/view.c
 *		What the caller may see: can_view().
 *
 * The law: can_view() is total and LEAKPROOF, as the predicates of edges are;
 * what is not known is not shown.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "edge/edge.h"
#include "identity/identity.h"

/* In fn_extra. */
typedef struct ViewCache
{
	Oid			types[3];		/* of the arguments */
	CoziEdgeAnswers *following;
	CoziEdgeAnswers *member;
	CoziEdgeAnswers *blocked;
	CoziEdgeAnswers *blocked_by;
} ViewCache;

static ViewCache *
view_cache(FunctionCallInfo fcinfo)
{
	ViewCache  *cache = fcinfo->flinfo->fn_extra;
	Oid		   *types;
	int			n;

	if (cache != NULL)
		return cache;
	cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(ViewCache));
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n);
	memcpy(cache->types, types, Min(n, 3) * sizeof(Oid));
	fcinfo->flinfo->fn_extra = cache;
	return cache;
}

static bool
is_caller(Datum id, Oid type)
{
	const CoziIdentity *who = cozi_identity();

	if (type == UUIDOID)
		return who->has_uuid && memcmp(&who->uuid, DatumGetUUIDP(id), UUID_LEN) == 0;
	if (type == INT8OID)
		return who->has_bigint && who->bigint == DatumGetInt64(id);
	return who->subject != NULL &&
		VARSIZE_ANY_EXHDR(DatumGetPointer(id)) == who->subject_len &&
		memcmp(VARDATA_ANY(DatumGetPointer(id)), who->subject, who->subject_len) == 0;
}

static bool
is_word(text *t, const char *word)
{
	return VARSIZE_ANY_EXHDR(t) == strlen(word) && memcmp(VARDATA_ANY(t), word, strlen(word)) == 0;
}

/* Is it shown by its visibility, blocks apart? */
static bool
is_shown(FunctionCallInfo fcinfo, ViewCache *cache, text *visibility, Datum author)
{
	MemoryContext context = fcinfo->flinfo->fn_mcxt;

	if (is_word(visibility, "public") || is_word(visibility, "unlisted"))
		return true;
	if (is_word(visibility, "followers"))
		return !PG_ARGISNULL(1) &&
			cozi_edge_holds(&cache->following, context, "following", false,
							author, cache->types[1]);
	if (is_word(visibility, "group"))
		return PG_NARGS() > 2 && !PG_ARGISNULL(2) &&
			cozi_edge_holds(&cache->member, context, "member", false,
							PG_GETARG_DATUM(2), cache->types[2]);
	return false;
}

PG_FUNCTION_INFO_V1(cozi_can_view);

/* can_view(visibility text, author [, grp]) -> boolean: never NULL */
Datum
cozi_can_view(PG_FUNCTION_ARGS)
{
	ViewCache  *cache = view_cache(fcinfo);
	MemoryContext context = fcinfo->flinfo->fn_mcxt;
	Oid			type = cache->types[1];
	Datum		author = (Datum) 0;

	if (!PG_ARGISNULL(1))
	{
		author = PG_GETARG_DATUM(1);
		if (type == TEXTOID)
			author = PointerGetDatum(PG_DETOAST_DATUM_PACKED(author));
		if (is_caller(author, type))
			PG_RETURN_BOOL(true);
	}
	if (PG_ARGISNULL(0) || !is_shown(fcinfo, cache, PG_GETARG_TEXT_PP(0), author))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(PG_ARGISNULL(1) ||
				   (!cozi_edge_holds(&cache->blocked, context, "blocked", false, author, type) &&
					!cozi_edge_holds(&cache->blocked_by, context, "blocked", true, author, type)));
}
