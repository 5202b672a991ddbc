/*
 * sharding/job.c
 *		Opening, locking and reading about the table that is to be sharded.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "sharding/job.h"

/* Partitions are files and locks; far beyond this only machines are added. */
#define MAX_SHARDS 4096

/* As the owner, under its restrictions but not under FORCE ROW LEVEL SECURITY. */
void
cozi_job_become_owner(ShardJob *job, CoziSavedUser *saved)
{
	cozi_switch_user(job->owner, SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS, saved);
	cozi_set_locally("row_security", "off");
}

/* The rows of a query over the catalogues, as a list of char *[columns]. */
List	   *
cozi_job_read(ShardJob *job, const char *query, int nargs)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[4] = {OIDOID, NAMEOID, INT4OID, BOOLOID};
	Datum		values[4];
	char		nulls[5] = "    ";
	List	   *rows = NIL;
	CoziSavedUser saved;

	values[0] = ObjectIdGetDatum(job->relid);
	values[1] = (Datum) 0;
	values[2] = Int32GetDatum(job->modulus);
	values[3] = BoolGetDatum(job->drop_children);
	if (job->key)
		values[1] = DirectFunctionCall1(namein, CStringGetDatum(job->key));
	else
		nulls[1] = nulls[2] = 'n';

	cozi_switch_user(job->reader, 0, &saved);
	SPI_connect();
	if (SPI_execute_with_args(query, nargs, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalogs: %s", query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int			natts = SPI_tuptable->tupdesc->natts;
		MemoryContext spi = MemoryContextSwitchTo(caller);
		char	  **row = palloc0_array(char *, natts);

		for (int col = 0; col < natts; col++)
			row[col] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, col + 1);
		rows = lappend(rows, row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	cozi_restore_user(&saved);
	return rows;
}

void
cozi_job_check_modulus(int32 modulus)
{
	if (modulus <= 0 || modulus > MAX_SHARDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("modulus must be between 1 and %d", MAX_SHARDS),
				 errhint("The modulus is the number of shards.")));
}

/* The owner of the function, who is the owner of the extension. */
static Oid
function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * The table is argument 0.  The owner's rights are what the caller has already,
 * but for one case: membership in a superuser role does not make a superuser.
 */
void
cozi_job_open(FunctionCallInfo fcinfo, const char *argument, ShardJob *job)
{
	HeapTuple	tuple;
	Form_pg_class form;

	cozi_require_argument(fcinfo, 0, argument);
	job->relid = PG_GETARG_OID(0);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(job->relid));
	if (!HeapTupleIsValid(tuple))
		cozi_no_such_relation(job->relid);
	form = (Form_pg_class) GETSTRUCT(tuple);
	job->namespace = form->relnamespace;
	job->owner = form->relowner;
	job->relname = pstrdup(NameStr(form->relname));
	job->qualified = cozi_qualified_name(job->relid);
	job->reader = function_owner(fcinfo->flinfo->fn_oid);

	cozi_require_owner(job->relid);
	if (superuser_arg(job->owner) && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to shard a table owned by a superuser")));
	if (form->relkind != RELKIND_RELATION && form->relkind != RELKIND_PARTITIONED_TABLE)
		cozi_wrong_kind(job->relname, "a table");
	if (job->relid < FirstNormalObjectId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is a system catalog", job->relname)));
	ReleaseSysCache(tuple);
	cozi_refuse_distributed(job->relid, "Citus shards it already:"
							" undistribute_table() takes its rows back.");
}

/* Wait for the lock, and look again at what was waited for. */
void
cozi_job_lock(ShardJob *job, LOCKMODE mode)
{
	Relation	rel;

	LockRelationOid(job->relid, mode);
	rel = try_table_open(job->relid, NoLock);
	if (rel == NULL ||
		strcmp(RelationGetRelationName(rel), job->relname) != 0 ||
		RelationGetNamespace(rel) != job->namespace ||
		rel->rd_rel->relowner != job->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table %s was dropped or altered while it was waited for",
						job->qualified)));
	if (mode != AccessShareLock)
		CheckTableNotInUse(rel, "shard");
	table_close(rel, NoLock);
}

/* The table is partitioned by the hash of columns. */
void
cozi_job_check_hash(ShardJob *job)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(job->relid));
	bool		hash = false;
	bool		plain = true;

	if (HeapTupleIsValid(tuple))
	{
		hash = ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partstrat == PARTITION_STRATEGY_HASH;
		plain = heap_attisnull(tuple, Anum_pg_partitioned_table_partexprs, NULL);
		ReleaseSysCache(tuple);
	}
	if (!hash)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" is not partitioned by hash", job->relname),
				 errhint("Use cozi.shard_table() to make it so, or create it with PARTITION BY "
						 "HASH.")));
	if (!plain)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is partitioned by an expression", job->relname),
				 errdetail("cozi knows where a row belongs by columns alone.")));
}
