/*
 * ratelimit/limiter.c
 *		How often may this be done?  The SQL functions of the rate limiter.
 *
 * The counting is shared memory (ratelimit/table.c), not a table: it works
 * where nothing can be written, in READ ONLY transactions and on a standby,
 * and it stays counted when the transaction rolls back, as a failed login's
 * does.
 *
 * The law: no function here answers NULL.  `IF NOT rate_limit(...)` would let
 * everybody through, so that a NULL argument is an error, and bad input never
 * counts as a call.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "ratelimit/ratelimit.h"

#define MAX_KEY_BYTES 1024
#define MAX_MEMORY_KB (256 * 1024 * 1024)

typedef enum OnError
{
	ON_ERROR_ERROR,
	ON_ERROR_ALLOW,
	ON_ERROR_DENY
} OnError;

static const struct config_enum_entry on_error_options[] = {
	{"error", ON_ERROR_ERROR, false},
	{"allow", ON_ERROR_ALLOW, false},
	{"deny", ON_ERROR_DENY, false},
	{NULL, 0, false}
};

static int	rate_limit_on_error = ON_ERROR_ERROR;

void
cozi_ratelimit_init(void)
{
	/* Preloaded, the table is made with the server; else by its first call. */
	DefineCustomIntVariable("cozi.rate_limit_memory",
							"Memory of the rate limiter.",
							"Without preloading cozi, it is read when the first call after a server start makes the table.",
							&cozi_rate_limit_memory,
							16 * 1024,
							1024,
							MAX_MEMORY_KB,
							cozi_preloaded() ? PGC_POSTMASTER : PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL,
							NULL,
							NULL);

	DefineCustomEnumVariable("cozi.rate_limit_on_error",
							 "What a rate limit answers when its shared memory cannot be had.",
							 NULL,
							 &rate_limit_on_error,
							 ON_ERROR_ERROR,
							 on_error_options,
							 PGC_SUSET,
							 0,
							 NULL,
							 NULL,
							 NULL);

	cozi_limiter_init();
}

/* ---- arguments ---- */

static void
check_key(const char *key, int len)
{
	if (len < 1 || len > MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"key\" must be 1 to %d bytes long", MAX_KEY_BYTES),
				 errdetail("It has %d bytes.", len),
				 errhint("Use a digest of a longer key, such as md5(key).")));
}

static bool
read_algorithm(const text *algorithm)
{
	const char *name = VARDATA_ANY(algorithm);
	int			len = VARSIZE_ANY_EXHDR(algorithm);

	if (len == 5 && memcmp(name, "exact", 5) == 0)
		return true;
	if (len == 4 && memcmp(name, "gcra", 4) == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown algorithm \"%s\"", text_to_cstring(algorithm)),
			 errhint("Valid algorithms are \"exact\" and \"gcra\".")));
	pg_unreachable();
}

static void
read_key(FunctionCallInfo fcinfo, CoziCall *call)
{
	text	   *key;

	cozi_check_arg(fcinfo, 0, "key");
	key = PG_GETARG_TEXT_PP(0);
	call->key = VARDATA_ANY(key);
	call->key_len = VARSIZE_ANY_EXHDR(key);
	check_key(call->key, call->key_len);
}

/* (key text, max_calls int, per interval, cost int, algorithm text) */
static void
read_call(FunctionCallInfo fcinfo, CoziCall *call)
{
	read_key(fcinfo, call);
	cozi_check_arg(fcinfo, 1, "max_calls");
	cozi_check_arg(fcinfo, 2, "per");
	cozi_check_arg(fcinfo, 3, "cost");
	cozi_check_arg(fcinfo, 4, "algorithm");
	call->max_calls = PG_GETARG_INT32(1);
	call->per = cozi_read_per(PG_GETARG_INTERVAL_P(2));
	call->cost = PG_GETARG_INT32(3);
	call->exact = read_algorithm(PG_GETARG_TEXT_PP(4));
	cozi_check_calls(call->max_calls, call->cost);
	if (!call->exact)
		cozi_check_spacing(call->per, call->max_calls);
}

/* ---- the table, or what to answer without it ---- */

/*
 * Attach to the table, or return NULL with the reason.  Shared memory that is
 * full or too small must not take the caller's transaction down when the
 * administrator says otherwise, so the error is caught here; what the failed
 * attempt held is given back as a subtransaction would.  (A subtransaction
 * itself is not allowed in a parallel plan's leader on all versions.)
 */
static CoziLimiter *
try_attach(bool create, ErrorData **failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner attempt = ResourceOwnerCreate(owner, "cozi rate limiter");
	CoziLimiter *volatile limiter = NULL;

	*failure = NULL;
	CurrentResourceOwner = attempt;
	PG_TRY();
	{
		limiter = cozi_limiter(create);
	}
	PG_CATCH();
	{
		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		*failure = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	ResourceOwnerRelease(attempt, RESOURCE_RELEASE_BEFORE_LOCKS, *failure == NULL, false);
	ResourceOwnerRelease(attempt, RESOURCE_RELEASE_LOCKS, *failure == NULL, false);
	ResourceOwnerRelease(attempt, RESOURCE_RELEASE_AFTER_LOCKS, *failure == NULL, false);
	ResourceOwnerDelete(attempt);

	/* a cancel or a shutdown is not the limiter's to swallow */
	if (*failure && ERRCODE_TO_CATEGORY((*failure)->sqlerrcode) ==
		ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
		ReThrowError(*failure);
	return limiter;
}

/* The table, or NULL if there is none and the settings say to go on. */
static CoziLimiter *
limiter_or_null(void)
{
	static CoziLimiter *limiter = NULL;
	static bool warned = false;
	ErrorData  *failure;

	if (likely(limiter != NULL))
		return limiter;
	limiter = try_attach(true, &failure);
	if (limiter != NULL)
		return limiter;
	if (rate_limit_on_error == ON_ERROR_ERROR)
		ereport(ERROR,
				(errcode(failure->sqlerrcode),
				 errmsg("rate limiter has no shared memory: %s", failure->message),
				 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
				 failure->hint ? errhint("%s", failure->hint) :
				 errhint("Lower cozi.rate_limit_memory, give the server more shared memory, or preload cozi; cozi.rate_limit_on_error can let calls pass meanwhile.")));
	if (!warned)
		ereport(WARNING,
				(errcode(failure->sqlerrcode),
				 errmsg("rate limiter has no shared memory: %s", failure->message),
				 errdetail("By cozi.rate_limit_on_error, every call is %s.",
						   rate_limit_on_error == ON_ERROR_ALLOW ? "allowed" : "denied")));
	warned = true;
	FreeErrorData(failure);
	return NULL;
}

static CoziVerdict
decide_without_table(const CoziCall *call)
{
	CoziVerdict verdict = {.allowed = rate_limit_on_error == ON_ERROR_ALLOW};

	if (verdict.allowed)
		verdict.remaining = call->max_calls - call->cost;
	else
		verdict.retry_after = verdict.reset_after = call->per;
	return verdict;
}

static CoziVerdict
decide(FunctionCallInfo fcinfo, CoziCall *call, bool consume)
{
	CoziLimiter *limiter;

	read_call(fcinfo, call);
	limiter = limiter_or_null();
	if (limiter == NULL)
		return decide_without_table(call);
	if (call->exact && call->max_calls > cozi_limiter_max_calls(limiter))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"max_calls\" (%d) must not exceed %d for algorithm \"exact\"",
						call->max_calls, cozi_limiter_max_calls(limiter)),
				 errdetail("\"exact\" keeps the time of each admitted call."),
				 errhint("Use algorithm \"gcra\", or raise cozi.rate_limit_memory.")));
	return cozi_limiter_call(limiter, call, consume);
}

/* ---- results ---- */

static Datum
verdict_datum(FunctionCallInfo fcinfo, const CoziCall *call, const CoziVerdict *verdict)
{
	bool		nulls[5] = {0};
	Datum		values[5] = {
		BoolGetDatum(verdict->allowed),
		Int32GetDatum(call->max_calls),
		Int32GetDatum((int32) verdict->remaining),
		cozi_interval_datum(verdict->retry_after),
		cozi_interval_datum(verdict->reset_after)
	};

	return cozi_row_datum(fcinfo, values, nulls);
}

/* ---- the limiter ---- */

/*
 * rate_limit(key text, max_calls int, per interval, cost int = 1,
 *			  algorithm text = 'exact') -> boolean
 */
PG_FUNCTION_INFO_V1(cozi_rate_limit);
Datum
cozi_rate_limit(PG_FUNCTION_ARGS)
{
	CoziCall	call;

	PG_RETURN_BOOL(decide(fcinfo, &call, true).allowed);
}

/* rate_limit_info(as rate_limit) -> the decision, and what is left */
PG_FUNCTION_INFO_V1(cozi_rate_limit_info);
Datum
cozi_rate_limit_info(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide(fcinfo, &call, true);

	return verdict_datum(fcinfo, &call, &verdict);
}

/* rate_limit_peek(as rate_limit) -> what a call would be told; counts nothing */
PG_FUNCTION_INFO_V1(cozi_rate_limit_peek);
Datum
cozi_rate_limit_peek(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide(fcinfo, &call, false);

	return verdict_datum(fcinfo, &call, &verdict);
}

static int64
ceil_seconds(int64 us)
{
	return (us + USECS_PER_SEC - 1) / USECS_PER_SEC;
}

/*
 * What PostgREST turns into an HTTP response: the SQLSTATE "PGRST", a JSON
 * message that is the body and a JSON detail with status and headers.  The
 * RateLimit fields are those of draft-ietf-httpapi-ratelimit-headers-10.
 * Numbers and fixed words only: nothing needs escaping.
 */
static void
raise_for_postgrest(const CoziCall *call, const CoziVerdict *verdict)
{
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')),
			 errmsg_internal("{\"code\":\"53400\",\"message\":\"rate limit exceeded\","
							 "\"details\":\"retry_after=%.6f\",\"hint\":null}",
							 verdict->retry_after / (double) USECS_PER_SEC),
			 errdetail_internal("{\"status\":429,\"headers\":{\"Retry-After\":\"%lld\","
								"\"RateLimit-Policy\":\"\\\"default\\\";q=%d;w=%lld\","
								"\"RateLimit\":\"\\\"default\\\";r=%lld;t=%lld\"}}",
								(long long) ceil_seconds(verdict->retry_after),
								call->max_calls,
								(long long) ceil_seconds(call->per),
								(long long) verdict->remaining,
								(long long) ceil_seconds(verdict->reset_after))));
}

/* enforce_rate_limit(as rate_limit) -> void, or an error */
PG_FUNCTION_INFO_V1(cozi_enforce_rate_limit);
Datum
cozi_enforce_rate_limit(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziVerdict verdict = decide(fcinfo, &call, true);
	const char *method;

	if (verdict.allowed)
		PG_RETURN_VOID();
	method = GetConfigOption("request.method", true, false);
	if (method && *method)
		raise_for_postgrest(&call, &verdict);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("rate limit exceeded"),
			 errdetail("retry_after=%.6f", verdict.retry_after / (double) USECS_PER_SEC),
			 errhint("Call again after so many seconds.")));
	pg_unreachable();
}

/* rate_limit_reset(key text) -> boolean: was there anything to forget? */
PG_FUNCTION_INFO_V1(cozi_rate_limit_reset);
Datum
cozi_rate_limit_reset(PG_FUNCTION_ARGS)
{
	CoziCall	call;
	CoziLimiter *limiter;

	read_key(fcinfo, &call);
	limiter = limiter_or_null();
	PG_RETURN_BOOL(limiter && cozi_limiter_reset(limiter, call.key, call.key_len));
}

/*
 * rate_limit_log(key text, per interval)
 *		-> setof (number bigint, cost int, clock interval, age interval)
 */
PG_FUNCTION_INFO_V1(cozi_rate_limit_log);
Datum
cozi_rate_limit_log(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	CoziCall	call;
	CoziLimiter *limiter;
	CoziLogRow *rows = NULL;
	int			room = 0;
	int			n;

	read_key(fcinfo, &call);
	cozi_check_arg(fcinfo, 1, "per");
	call.per = cozi_read_per(PG_GETARG_INTERVAL_P(1));
	InitMaterializedSRF(fcinfo, 0);
	limiter = limiter_or_null();
	if (limiter == NULL)
		return (Datum) 0;

	/* memory is had before the lock, and the log may have grown meanwhile */
	while ((n = cozi_limiter_log(limiter, &call, rows, room)) > room)
	{
		room = n + n / 8 + 8;
		rows = MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(CoziLogRow));
	}
	for (int i = 0; i < n; i++)
	{
		bool		nulls[4] = {0};
		Datum		values[4] = {
			Int64GetDatum(rows[i].number),
			Int32GetDatum(rows[i].cost),
			cozi_interval_datum(rows[i].at),
			cozi_interval_datum(rows[i].age)
		};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* rate_limit_stats() -> the row of view rate_limit_stats */
PG_FUNCTION_INFO_V1(cozi_rate_limit_stats);
Datum
cozi_rate_limit_stats(PG_FUNCTION_ARGS)
{
	enum
	{
		MODE, SLOTS, USED, ALLOWED, DENIED, EVICTIONS, BYTES, SINCE,
		GCRA_SLOTS, GCRA_KEYS, LOG_BLOCKS, LOG_BLOCKS_USED, LOG_KEYS,
		LOG_MAX_CALLS, DETAIL, COLUMNS
	};
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS];
	ErrorData  *failure;
	CoziLimiter *limiter = try_attach(false, &failure);
	CoziLimiterStats stats;

	memset(nulls, limiter == NULL, sizeof(nulls));
	nulls[MODE] = false;
	nulls[DETAIL] = limiter != NULL;
	if (limiter == NULL)
	{
		values[MODE] = CStringGetTextDatum("off");
		values[DETAIL] = CStringGetTextDatum(failure ? failure->message :
											 "no limit was asked for since the server started");
		return cozi_row_datum(fcinfo, values, nulls);
	}
	cozi_limiter_stats(limiter, &stats);
	values[MODE] = CStringGetTextDatum(cozi_limiter_is_dynamic() ? "dsm" : "preload");
	values[SLOTS] = Int64GetDatum(stats.gcra_slots + stats.log_blocks);
	values[USED] = Int64GetDatum(stats.gcra_keys + stats.log_blocks_used);
	values[ALLOWED] = Int64GetDatum(stats.allowed);
	values[DENIED] = Int64GetDatum(stats.denied);
	values[EVICTIONS] = Int64GetDatum(stats.evictions);
	values[BYTES] = Int64GetDatum(stats.bytes);
	values[SINCE] = TimestampTzGetDatum(stats.since);
	values[GCRA_SLOTS] = Int64GetDatum(stats.gcra_slots);
	values[GCRA_KEYS] = Int64GetDatum(stats.gcra_keys);
	values[LOG_BLOCKS] = Int64GetDatum(stats.log_blocks);
	values[LOG_BLOCKS_USED] = Int64GetDatum(stats.log_blocks_used);
	values[LOG_KEYS] = Int64GetDatum(stats.log_keys);
	values[LOG_MAX_CALLS] = Int64GetDatum(stats.log_max_calls);
	return cozi_row_datum(fcinfo, values, nulls);
}
