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

/*
 * shard_check(parent regclass)
 *		-> table (shard regclass, row_id tid, key text, belongs_in regclass)
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
	queries = cozi_job_read(&job, "SELECT q FROM cozi._shard_check($1) q", 1);
	cozi_job_become_owner(&job, &saved);
	SPI_connect();
	foreach(lc, queries)
		fetch_rows(fcinfo, ((char **) lfirst(lc))[0]);
	SPI_finish();
	cozi_restore_user(&saved);
	return (Datum) 0;
}
