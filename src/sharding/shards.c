/*
 * sharding/shards.c
 *		create_shards and shard_check: the shards of a table that is
 *		partitioned by hash.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "sharding/job.h"

/* The shards that a query returns, as the function's result. */
static void
return_shards(FunctionCallInfo fcinfo, List *rows)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	foreach(lc, rows)
	{
		Datum		shard = ObjectIdGetDatum(atooid(((char **) lfirst(lc))[0]));
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &shard, &isnull);
	}
}

/* create_shards(parent regclass, modulus int) -> setof regclass */
PG_FUNCTION_INFO_V1(cozi_create_shards);
Datum
cozi_create_shards(PG_FUNCTION_ARGS)
{
	ShardJob	job = {0};
	CoziSavedUser saved;
	List	   *plan;
	ListCell   *lc;

	cozi_require_argument(fcinfo, 1, "modulus");
	job.modulus = PG_GETARG_INT32(1);
	job.key = "";
	cozi_job_check_modulus(job.modulus);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	cozi_job_open(fcinfo, "parent", &job);
	cozi_job_check_hash(&job);
	cozi_job_lock(&job, ShareUpdateExclusiveLock);
	if (find_inheritance_children(job.relid, NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has shards already", job.relname),
				 errhint("To change their number, use cozi.unshard_table() and then "
						 "cozi.shard_table().")));

	plan = cozi_job_read(&job, "SELECT p FROM cozi._shard_partitions($1, $3, NULL)"
						 " WITH ORDINALITY AS x (p, n) WHERE $2 IS NOT NULL ORDER BY n", 3);
	cozi_job_become_owner(&job, &saved);
	SPI_connect();
	foreach(lc, plan)
	{
		CHECK_FOR_INTERRUPTS();
		cozi_run(((char **) lfirst(lc))[0], SPI_OK_UTILITY);
	}
	SPI_finish();
	cozi_restore_user(&saved);
	return_shards(fcinfo, cozi_job_read(&job, "SELECT s.shard FROM cozi._shard_bounds($1) s", 1));
	return (Datum) 0;
}

/* The rows of a query, fetched in pieces, into the function's result. */
static void
fetch_rows(FunctionCallInfo fcinfo, const char *query)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Portal		portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, 0);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
}

/* A row that says why a foreign shard could not be read. */
static void
put_error(FunctionCallInfo fcinfo, Oid shard, const char *server, const ErrorData *error)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[6] = {0};
	bool		nulls[6] = {false, true, true, true, false, false};

	values[0] = ObjectIdGetDatum(shard);
	values[4] = CStringGetTextDatum(server);
	values[5] = CStringGetTextDatum(error->detail ?
									psprintf("%s: %s", error->message, error->detail) :
									error->message);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* What a foreign shard is asked. */
typedef struct Fetch
{
	FunctionCallInfo fcinfo;
	const char *query;
} Fetch;

static void
fetch_asked(void *arg)
{
	Fetch	   *asked = arg;

	fetch_rows(asked->fcinfo, asked->query);
}

/*
 * The rows of a foreign shard, or a row with the error.  A statement that is
 * cancelled, here or there, is an error as ever.
 */
static void
fetch_foreign(FunctionCallInfo fcinfo, char **shard)
{
	Fetch		foreign = {fcinfo, shard[2]};
	ErrorData  *error = cozi_attempt(fetch_asked, &foreign);

	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	put_error(fcinfo, atooid(shard[0]), shard[1], error);
}

/*
 * shard_check(parent regclass)
 *		-> table (shard regclass, row_id tid, key text, belongs_in regclass, node text, error text)
 *
 * The key is empty where the column is NULL; belongs_in is NULL where no shard
 * takes the key.  Reads the shards themselves, under their own locks.
 */
PG_FUNCTION_INFO_V1(cozi_shard_check);
Datum
cozi_shard_check(PG_FUNCTION_ARGS)
{
	ShardJob	job = {0};
	CoziSavedUser saved;
	List	   *queries;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	cozi_job_open(fcinfo, "parent", &job);
	cozi_job_check_hash(&job);
	queries = cozi_job_read(&job, "SELECT shard, server, query FROM cozi._shard_check($1)", 1);
	cozi_job_become_owner(&job, &saved);
	SPI_connect();
	foreach(lc, queries)
	{
		char	  **shard = lfirst(lc);

		if (shard[1])
			fetch_foreign(fcinfo, shard);
		else
			fetch_rows(fcinfo, shard[2]);
	}
	SPI_finish();
	cozi_restore_user(&saved);
	return (Datum) 0;
}
