/*
 * ratelimit/use.c
 *		Named limits: what they are, as a session knows it, and calls on them.
 *
 * A session reads cozi.rate_limit_config once, and again when the table has
 * changed (base/registry.c).  A limit's memory is asked for with the first
 * call; a call that finds the memory gone asks for it once more.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"

static CoziRegistry registry = {.table = "rate_limit_config"};
static HTAB *limits = NULL;
static uint64 limits_generation = 0;

/* The columns of cozi.rate_limit_config */
enum
{
	NAME = 1, MAX_CALLS, PER, ALGORITHM, MEMORY, SHADOW, OWNER
};

static const CoziShape table = {"rate_limit_config", {TEXTOID, INT4OID, INTERVALOID, TEXTOID,
INT8OID, BOOLOID, TEXTOID}};

static void
read_row(HeapTuple tuple, TupleDesc desc, void *arg)
{
	bool		isnull;
	char	   *name = TextDatumGetCString(heap_getattr(tuple, NAME, desc, &isnull));
	char		key[COZI_NAME_BYTES] = "";
	CoziLimit  *limit;

	strlcpy(key, name, sizeof(key));
	limit = hash_search(limits, key, HASH_ENTER, NULL);
	limit->max_calls = DatumGetInt32(heap_getattr(tuple, MAX_CALLS, desc, &isnull));
	limit->per = cozi_read_per(DatumGetIntervalP(heap_getattr(tuple, PER, desc, &isnull)));
	limit->exact =
		cozi_read_algorithm(DatumGetTextPP(heap_getattr(tuple, ALGORITHM, desc, &isnull)));
	limit->memory = DatumGetInt64(heap_getattr(tuple, MEMORY, desc, &isnull));
	if (isnull)
		limit->memory = 0;
	limit->shadow = DatumGetBool(heap_getattr(tuple, SHADOW, desc, &isnull));
	strlcpy(limit->owner, TextDatumGetCString(heap_getattr(tuple, OWNER, desc, &isnull)),
			sizeof(limit->owner));
	limit->handle.slot = -1;
	limit->name_hash = 0;
}

/* Have the session's copy of the table, as it is now. */
static void
read_limits(void)
{
	uint64		generation = cozi_registry_generation(&registry);

	while (limits == NULL || limits_generation != generation)
	{
		HASHCTL		info = {.keysize = COZI_NAME_BYTES,.entrysize = sizeof(CoziLimit),
		.hcxt = TopMemoryContext};

		if (limits)
			hash_destroy(limits);
		limits = NULL;
		limits = hash_create("cozi rate limits", 16, &info,
							 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
		limits_generation = 0;	/* an error leaves it stale */
		cozi_read_table(&table, read_row, NULL);
		limits_generation = generation;
		generation = cozi_registry_generation(&registry);
	}
}

/* The limit of that name, or NULL; good until the next look. */
CoziLimit  *
cozi_limit_find(const char *name)
{
	char		key[COZI_NAME_BYTES] = "";

	read_limits();
	strlcpy(key, name, sizeof(key));
	return strlen(name) < sizeof(key) ? hash_search(limits, key, HASH_FIND, NULL) : NULL;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((CoziLimit *) lfirst(a))->name, ((CoziLimit *) lfirst(b))->name);
}

/* All limits, by name. */
List	   *
cozi_limit_all(void)
{
	HASH_SEQ_STATUS status;
	CoziLimit  *limit;
	List	   *all = NIL;

	read_limits();
	hash_seq_init(&status, limits);
	while ((limit = hash_seq_search(&status)) != NULL)
		all = lappend(all, limit);
	list_sort(all, compare_names);
	return all;
}

static CoziLimit *
find_limit(const text *name)
{
	char	   *cstring = text_to_cstring(name);
	CoziLimit  *limit = cozi_limit_find(cstring);

	if (limit == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("rate limit \"%s\" does not exist", cstring),
				 errhint("Create it with cozi.create_rate_limit().")));
	pfree(cstring);
	return limit;
}

/*
 * Make the call one on a named limit, which has its memory.  False if it has
 * not, and cozi.rate_limit_on_error says to go on.
 */
static bool
read_limit(const text *name, int32 cost, CoziLimiter *limiter, bool again, CoziCall *call)
{
	int			elevel = cozi_rate_limit_on_error == COZI_ON_ERROR_ERROR ? ERROR : WARNING;
	CoziLimit  *limit = find_limit(name);
	bool		reserved = limiter != NULL;

	if (limiter && (limit->handle.slot < 0 || again))
	{
		reserved = cozi_limit_reserve(limiter, limit, elevel);
		limit = find_limit(name);	/* the cache may have been read again */
	}
	if (limiter && limit->name_hash == 0)
		limit->name_hash = cozi_limit_hash(limiter, limit->name);
	cozi_check_calls(limit->max_calls, cost);
	call->name = limit->name;
	call->name_hash = limit->name_hash;
	call->handle = limit->handle;
	call->exact = limit->exact;
	call->shadow = limit->shadow;
	call->per = limit->per;
	call->max_calls = limit->max_calls;
	call->cost = cost;
	return reserved;
}

/* (name text, key text, cost int) */
static CoziVerdict
decide_named(FunctionCallInfo fcinfo, CoziCall *call, bool consume)
{
	CoziLimiter *limiter;
	CoziVerdict verdict;
	bool		again = false;

	memset(call, 0, sizeof(*call));
	cozi_require_argument(fcinfo, 0, "name");
	cozi_read_key(fcinfo, 1, call);
	cozi_require_argument(fcinfo, 2, "cost");
	limiter = cozi_limiter_or_null();
	do
	{
		if (!read_limit(PG_GETARG_TEXT_PP(0), PG_GETARG_INT32(2), limiter, again, call))
		{
			verdict = cozi_verdict_without_table(call);
			break;
		}
		again = true;
	} while (!cozi_limiter_call(limiter, call, consume, &verdict));
	if (call->shadow && !verdict.allowed)
	{
		verdict.allowed = true;
		verdict.retry_after = 0;
	}
	return verdict;
}

/* use_rate_limit(name text, key text, cost int = 1) -> boolean */
PG_FUNCTION_INFO_V1(cozi_use_rate_limit);
Datum
cozi_use_rate_limit(PG_FUNCTION_ARGS)
{
	CoziCall	call;

	PG_RETURN_BOOL(decide_named(fcinfo, &call, true).allowed);
}

/* use_rate_limit_info(as use_rate_limit) -> the decision, and what is left */
PG_FUNCTION_INFO_V1(cozi_use_rate_limit_info);
Datum
cozi_use_rate_limit_info(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide_named(fcinfo, &call, true);

	return cozi_verdict_datum(fcinfo, &call, &verdict);
}

/* reset_rate_limit(name text, key text) -> boolean: was there anything to forget? */
PG_FUNCTION_INFO_V1(cozi_reset_rate_limit);
Datum
cozi_reset_rate_limit(PG_FUNCTION_ARGS)
{
	CoziCall	call = {0};
	CoziLimiter *limiter;

	cozi_require_argument(fcinfo, 0, "name");
	cozi_read_key(fcinfo, 1, &call);
	limiter = cozi_limiter_or_null();
	PG_RETURN_BOOL(read_limit(PG_GETARG_TEXT_PP(0), 1, limiter, false, &call) &&
				   cozi_limiter_reset(limiter, &call));
}

/* The elements of an array of text, none of them NULL. */
static text **
read_text_array(FunctionCallInfo fcinfo, int i, const char *name, int *n)
{
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;

	cozi_require_argument(fcinfo, i, name);
	array = PG_GETARG_ARRAYTYPE_P(i);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument \"%s\" must have one dimension", name)));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not contain nulls", name)));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, n);
	return (text **) values;
}

static bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static void
check_lists(text **names, int n, text **keys, int n_keys)
{
	if (n != n_keys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"names\" and \"keys\" must have the same length, not %d and %d",
						n, n_keys)));
	if (n < 1 || n > COZI_MAX_AT_ONCE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"names\" must name 1 to %d limits, not %d",
						COZI_MAX_AT_ONCE, n)));
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			if (same_text(names[i], names[j]) && same_text(keys[i], keys[j]))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("rate limit \"%s\" is named twice with the same key",
								text_to_cstring(names[i])),
						 errhint("Raise \"cost\" instead.")));
}

/*
 * (names text[], keys text[], cost int): decide on all of them.  Returns the
 * number of the one to be told: who refuses for the longest time, or, if all
 * are admitted, who has the least left.
 */
static int
decide_all(FunctionCallInfo fcinfo, CoziCall *calls, CoziVerdict *verdicts, int *n)
{
	int			n_keys;
	text	  **names = read_text_array(fcinfo, 0, "names", n);
	text	  **keys = read_text_array(fcinfo, 1, "keys", &n_keys);
	CoziLimiter *limiter;
	bool		again = false;
	bool		current;
	int			told;

	cozi_require_argument(fcinfo, 2, "cost");
	check_lists(names, *n, keys, n_keys);
	memset(calls, 0, *n * sizeof(*calls));
	limiter = cozi_limiter_or_null();
	do
	{
		bool		have_memory = true;

		for (int i = 0; i < *n; i++)
		{
			cozi_read_key_text(keys[i], &calls[i]);
			have_memory &= read_limit(names[i], PG_GETARG_INT32(2), limiter, again, &calls[i]);
			calls[i].name = pstrdup(calls[i].name); /* the next may move it */
		}
		if (!have_memory)
		{
			for (int i = 0; i < *n; i++)
				verdicts[i] = cozi_verdict_without_table(&calls[i]);
			return 0;
		}
		current = cozi_limiter_call_all(limiter, calls, *n, verdicts, &told);
		again = true;
	} while (!current);
	if (told >= 0)
		return told;

	told = 0;
	for (int i = 0; i < *n; i++)
	{
		verdicts[i].allowed = true; /* in shadow, too */
		verdicts[i].retry_after = 0;
		if (verdicts[i].remaining < verdicts[told].remaining)
			told = i;
	}
	return told;
}

/*
 * use_rate_limits(names text[], keys text[], cost int = 1)
 *		-> (allowed boolean, name text, max_calls int, remaining int,
 *			retry_after interval, reset_after interval)
 */
PG_FUNCTION_INFO_V1(cozi_use_rate_limits);
Datum
cozi_use_rate_limits(PG_FUNCTION_ARGS)
{
	CoziCall	calls[COZI_MAX_AT_ONCE];
	CoziVerdict verdicts[COZI_MAX_AT_ONCE];
	int			n;
	int			told = decide_all(fcinfo, calls, verdicts, &n);
	bool		nulls[6] = {0};
	Datum		values[6] = {
		BoolGetDatum(verdicts[told].allowed),
		CStringGetTextDatum(calls[told].name),
		Int32GetDatum(calls[told].max_calls),
		Int32GetDatum((int32) verdicts[told].remaining),
		cozi_interval_datum(verdicts[told].retry_after),
		cozi_interval_datum(verdicts[told].reset_after)
	};

	return cozi_row_datum(fcinfo, values, nulls);
}

/* enforce_rate_limits(as use_rate_limits) -> void, or an error */
PG_FUNCTION_INFO_V1(cozi_enforce_rate_limits);
Datum
cozi_enforce_rate_limits(PG_FUNCTION_ARGS)
{
	CoziCall	calls[COZI_MAX_AT_ONCE];
	CoziVerdict verdicts[COZI_MAX_AT_ONCE];
	int			n;
	int			told = decide_all(fcinfo, calls, verdicts, &n);

	if (!verdicts[told].allowed)
		cozi_raise_refused(&calls[told], &verdicts[told]);
	cozi_tell_admitted(calls, verdicts, n);
	PG_RETURN_VOID();
}
