/*
 * monitor/snapshot.c
 *		snapshot(): taken with the rights of the extension's owner.
 *
 * A role that schedules snapshots need neither be allowed to write, nor to see
 * the statements of others; one grant is enough.  What runs as the owner is
 * restricted as a maintenance command is.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "monitor/monitor.h"

/* Only those who may drop snapshots give a retention. */
static void
check_retention(Interval *retention)
{
	Interval	zero = {0};
	Oid			argtypes[] = {INT8ARRAYOID};
	List	   *name = list_make2(makeString("cozi"), makeString("drop_snapshots"));

	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(retention),
										  IntervalPGetDatum(&zero))) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retention must not be negative")));
	if (!cozi_may_execute(LookupFuncName(name, lengthof(argtypes), argtypes, false), GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to drop snapshots"),
				 errhint("Call cozi.snapshot() without an argument, or set "
						 "cozi.snapshot_retention.")));
}

/* The owner of the function that is called. */
static Oid
own_owner(FunctionCallInfo fcinfo)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

PG_FUNCTION_INFO_V1(cozi_snapshot);

/*
 * snapshot(retention interval = NULL) -> bigint
 */
Datum
cozi_snapshot(PG_FUNCTION_ARGS)
{
	Oid			argtypes[] = {INTERVALOID};
	Datum		value = PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0);
	char		null = PG_ARGISNULL(0) ? 'n' : ' ';
	CoziSavedUser caller;
	bool		isnull;
	int64		snapshot;

	if (!PG_ARGISNULL(0))
		check_retention(PG_GETARG_INTERVAL_P(0));
	cozi_switch_user(own_owner(fcinfo), SECURITY_RESTRICTED_OPERATION, &caller);
	SPI_connect();
	if (SPI_execute_with_args("SELECT cozi._take_snapshot($1)", 1, argtypes, &value, &null,
							  false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "cozi._take_snapshot() could not be called");
	snapshot = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
										   &isnull));
	SPI_finish();
	cozi_restore_user(&caller);
	PG_RETURN_INT64(snapshot);
}
