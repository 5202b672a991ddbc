/*
 * ratelimit/define.c
 *		Creating, altering and dropping named limits.
 *
 * The definition is a row of cozi.rate_limit_config, written as the owner of
 * the extension, because nobody else may write it; pg_dump takes it along.
 * The memory follows: named.c.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ratelimit/ratelimit.h"

#define TABLE "rate_limit_config"
#define MIN_MEMORY (16 * 1024)

/* The arguments of create_rate_limit() */
enum
{
	NAME, MAX_CALLS, PER, ALGORITHM, MEMORY, SHADOW, OWNER, COLUMNS
};

/* A name is part of a header and of JSON: nothing in it needs escaping. */
static void
read_limit_name(FunctionCallInfo fcinfo, CoziLimit *limit)
{
	char	   *name;
	size_t		len;

	cozi_require_argument(fcinfo, NAME, "name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(NAME));
	len = strlen(name);
	if (len < 1 || len >= COZI_NAME_BYTES ||
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a rate limit: \"%s\"", name),
				 errhint("A name is 1 to %d letters, digits and characters of \"_.:-\".",
						 COZI_NAME_BYTES - 1)));
	strlcpy(limit->name, name, COZI_NAME_BYTES);
}

/* '1MB', as pg_size_bytes() reads it */
static int64
read_memory(const text *memory)
{
	int64		bytes = DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PointerGetDatum(memory)));

	if (bytes < MIN_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"memory\" must be at least %d kB", MIN_MEMORY / 1024)));
	return bytes;
}

static void
check_limit(const CoziLimit *limit)
{
	cozi_check_calls(limit->max_calls, 1);
	if (!limit->exact)
		cozi_check_spacing(limit->per, limit->max_calls);
}

/*
 * Run a statement on the table as its owner, with the first nargs columns of
 * the limit as parameters; returns the rows it touched.
 */
static uint64
run_on_table(const char *template, const CoziLimit *limit, int nargs, int expected)
{
	Oid			relid = cozi_table(TABLE);
	Oid			types[COLUMNS] = {TEXTOID, INT4OID, INTERVALOID, TEXTOID, INT8OID, BOOLOID,
	TEXTOID};
	char		nulls[COLUMNS + 1] = "       ";
	Datum		values[COLUMNS] = {
		CStringGetTextDatum(limit->name),
		Int32GetDatum(limit->max_calls),
		cozi_interval_datum(limit->per),
		CStringGetTextDatum(limit->exact ? "exact" : "gcra"),
		Int64GetDatum(limit->memory),
		BoolGetDatum(limit->shadow),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))
	};
	const char *table = cozi_qualified_name(relid);
	CoziSavedUser saved;
	uint64		rows;

	if (limit->memory == 0)
		nulls[MEMORY] = 'n';
	cozi_switch_user(cozi_relation_owner(relid), 0, &saved);
	SPI_connect();
	/* one after the other: who comes second sees the row */
	cozi_run(cozi_statement("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE", "table", table, NULL),
			 SPI_OK_UTILITY);
	if (SPI_execute_with_args(cozi_statement(template, "table", table, NULL),
							  nargs, types, values, nulls, false, 0) != expected)
		elog(ERROR, "could not execute: %s", template);
	rows = SPI_processed;
	SPI_finish();
	cozi_restore_user(&saved);
	return rows;
}

/*
 * create_rate_limit(name text, max_calls int, per interval,
 *					 algorithm text = 'exact', memory text = NULL,
 *					 shadow boolean = false) -> void
 *
 * A memory of NULL is a 64th of cozi.rate_limit_memory and room for max_calls.
 */
PG_FUNCTION_INFO_V1(cozi_create_rate_limit);
Datum
cozi_create_rate_limit(PG_FUNCTION_ARGS)
{
	CoziLimit	limit = {.handle = {.slot = -1}};
	CoziLimiter *limiter;

	read_limit_name(fcinfo, &limit);
	cozi_require_argument(fcinfo, MAX_CALLS, "max_calls");
	cozi_require_argument(fcinfo, PER, "per");
	cozi_require_argument(fcinfo, ALGORITHM, "algorithm");
	cozi_require_argument(fcinfo, SHADOW, "shadow");
	limit.max_calls = PG_GETARG_INT32(MAX_CALLS);
	limit.per = cozi_read_per(PG_GETARG_INTERVAL_P(PER));
	limit.exact = cozi_read_algorithm(PG_GETARG_TEXT_PP(ALGORITHM));
	limit.memory = PG_ARGISNULL(MEMORY) ? 0 : read_memory(PG_GETARG_TEXT_PP(MEMORY));
	limit.shadow = PG_GETARG_BOOL(SHADOW);
	check_limit(&limit);

	PreventCommandIfReadOnly("create_rate_limit()");
	limiter = cozi_limiter_or_null();
	if (limiter)
		cozi_limit_check(limiter, &limit);
	if (run_on_table("INSERT INTO {table} VALUES ($1, $2, $3, $4, $5, $6, $7)"
					 " ON CONFLICT (name) DO NOTHING",
					 &limit, COLUMNS, SPI_OK_INSERT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("rate limit \"%s\" already exists", limit.name),
				 errhint("Change it with cozi.alter_rate_limit().")));
	if (limiter)
		cozi_limit_change(limiter, &limit, false);
	PG_RETURN_VOID();
}

/*
 * The limit as it is, or an error; also for one that is another role's.  The
 * owner of the extension may change any.
 */
static void
read_existing(CoziLimit *limit)
{
	CoziLimit  *found = cozi_limit_find(limit->name);
	Oid			owner;

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("rate limit \"%s\" does not exist", limit->name)));
	*limit = *found;
	owner = get_role_oid(limit->owner, true);
	if (!(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)) &&
		!object_ownercheck(RelationRelationId, cozi_table(TABLE), GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of rate limit \"%s\"", limit->name)));
}

/*
 * alter_rate_limit(name text, max_calls int = NULL, per interval = NULL,
 *					algorithm text = NULL, memory text = NULL,
 *					shadow boolean = NULL) -> void
 *
 * What is NULL stays as it is.
 */
PG_FUNCTION_INFO_V1(cozi_alter_rate_limit);
Datum
cozi_alter_rate_limit(PG_FUNCTION_ARGS)
{
	CoziLimit	limit = {.handle = {.slot = -1}};
	CoziLimiter *limiter;

	read_limit_name(fcinfo, &limit);
	read_existing(&limit);
	if (!PG_ARGISNULL(MAX_CALLS))
		limit.max_calls = PG_GETARG_INT32(MAX_CALLS);
	if (!PG_ARGISNULL(PER))
		limit.per = cozi_read_per(PG_GETARG_INTERVAL_P(PER));
	if (!PG_ARGISNULL(ALGORITHM) &&
		cozi_read_algorithm(PG_GETARG_TEXT_PP(ALGORITHM)) != limit.exact)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the algorithm of rate limit \"%s\" cannot be changed", limit.name),
				 errhint("Drop the limit and create it again: its counts are lost.")));
	if (!PG_ARGISNULL(MEMORY))
		limit.memory = read_memory(PG_GETARG_TEXT_PP(MEMORY));
	if (!PG_ARGISNULL(SHADOW))
		limit.shadow = PG_GETARG_BOOL(SHADOW);
	check_limit(&limit);

	PreventCommandIfReadOnly("alter_rate_limit()");
	limiter = cozi_limiter_or_null();
	if (limiter)
		cozi_limit_check(limiter, &limit);
	(void) run_on_table("UPDATE {table} SET max_calls = $2, per = $3, algorithm = $4,"
						" memory = $5, shadow = $6 WHERE name = $1", &limit, OWNER,
						SPI_OK_UPDATE);
	if (limiter)
		cozi_limit_change(limiter, &limit, false);
	PG_RETURN_VOID();
}

/* drop_rate_limit(name text) -> void */
PG_FUNCTION_INFO_V1(cozi_drop_rate_limit);
Datum
cozi_drop_rate_limit(PG_FUNCTION_ARGS)
{
	CoziLimit	limit = {.handle = {.slot = -1}};
	CoziLimiter *limiter;

	read_limit_name(fcinfo, &limit);
	read_existing(&limit);
	PreventCommandIfReadOnly("drop_rate_limit()");
	limiter = cozi_limiter_or_null();
	(void) run_on_table("DELETE FROM {table} WHERE name = $1", &limit, 1, SPI_OK_DELETE);
	if (limiter)
		cozi_limit_change(limiter, &limit, true);
	PG_RETURN_VOID();
}
