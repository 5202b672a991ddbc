/*
 * monitor/device.c
 *		Disks, the network and checkpoints: what fills up.
 *
 * Law: what a system does not offer is NULL or no row.  Nothing here raises an
 * error because a file is absent or has another form, and no path of the
 * machine is shown.
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog_internal.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_tablespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/base.h"

#define LINE_LEN	4096

/* The columns of disk_usage(). */
enum
{
	DISK_PLACE,
	DISK_TOTAL,
	DISK_FREE,
	DISK_USED,
	DISK_COLUMNS
};

/* One row for the file system that holds path; none if it does not say. */
static void
put_file_system(ReturnSetInfo *result, const char *place, const char *path)
{
	Datum		value[DISK_COLUMNS];
	bool		null[DISK_COLUMNS] = {false};
	struct statvfs fs;
	double		used;

	if (statvfs(path, &fs) != 0 || fs.f_blocks == 0)
		return;
	/* as df does: what is reserved for root is neither used nor free */
	used = (double) (fs.f_blocks - fs.f_bfree);
	value[DISK_PLACE] = CStringGetTextDatum(place);
	value[DISK_TOTAL] = Int64GetDatum((int64) fs.f_blocks * (int64) fs.f_frsize);
	value[DISK_FREE] = Int64GetDatum((int64) fs.f_bavail * (int64) fs.f_frsize);
	value[DISK_USED] = Float8GetDatum(used / Max(used + (double) fs.f_bavail, 1));
	tuplestore_putvalues(result->setResult, result->setDesc, value, null);
}

PG_FUNCTION_INFO_V1(cozi_disk_usage);

/*
 * disk_usage() -> table(place text, total_bytes bigint, free_bytes bigint,
 *						 used float8)
 *
 * One row for the data directory, for pg_wal and for each tablespace that is
 * elsewhere; used is a share of 1.
 */
Datum
cozi_disk_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	InitMaterializedSRF(fcinfo, 0);
	put_file_system(result, "data directory", DataDir);
	put_file_system(result, "pg_wal", XLOGDIR);
	rel = table_open(TableSpaceRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_tablespace space = (Form_pg_tablespace) GETSTRUCT(tuple);
		char		path[MAXPGPATH];

		CHECK_FOR_INTERRUPTS();
		snprintf(path, sizeof(path), "pg_tblspc/%u", space->oid);
		put_file_system(result, NameStr(space->spcname), path);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return (Datum) 0;
}

/* The columns of network(). */
enum
{
	NETWORK_BYTES,
	NETWORK_SECONDS,
	NETWORK_COLUMNS
};

/* "  eth0: 1 2 ..": the bytes received and, eight columns on, sent. */
static bool
interface_bytes(const char *line, double *bytes)
{
	const char *colon = strchr(line, ':');
	double		received;
	double		sent;

	while (*line == ' ')
		line++;
	if (colon == NULL || strncmp(line, "lo:", 3) == 0 ||
		sscanf(colon + 1, "%lf %*s %*s %*s %*s %*s %*s %*s %lf", &received, &sent) != 2)
		return false;
	*bytes = received + sent;
	return true;
}

PG_FUNCTION_INFO_V1(cozi_network);

/*
 * network(root text = '', OUT bytes bigint, OUT seconds float8)
 *
 * What all interfaces but the loopback have received and sent since the start
 * of the machine, and how long ago that was.  root as in os_load().
 */
Datum
cozi_network(PG_FUNCTION_ARGS)
{
	char	   *root = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TupleDesc	desc;
	Datum		value[NETWORK_COLUMNS] = {0};
	bool		null[NETWORK_COLUMNS] = {true, true};
	char		path[MAXPGPATH];
	char		line[LINE_LEN];
	double		bytes;
	double		sum = 0;
	double		seconds;
	FILE	   *file;

	if (root[0] != '\0' && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read below \"%s\"", root),
				 errhint("Only members of pg_read_server_files may name a directory.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	snprintf(path, sizeof(path), "%s/proc/net/dev", root);
	file = AllocateFile(path, "r");
	if (file != NULL)
	{
		while (fgets(line, sizeof(line), file))
		{
			if (!interface_bytes(line, &bytes))
				continue;
			sum += bytes;
			null[NETWORK_BYTES] = false;
		}
		FreeFile(file);
	}
	snprintf(path, sizeof(path), "%s/proc/uptime", root);
	file = AllocateFile(path, "r");
	if (file != NULL)
	{
		null[NETWORK_SECONDS] = fscanf(file, "%lf", &seconds) != 1;
		FreeFile(file);
	}
	if (!null[NETWORK_BYTES])
		value[NETWORK_BYTES] = Int64GetDatum((int64) sum);
	if (!null[NETWORK_SECONDS])
		value[NETWORK_SECONDS] = Float8GetDatum(seconds);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), value, null)));
}

/* The columns of checkpoints(). */
enum
{
	CHECKPOINTS_TIMED,
	CHECKPOINTS_REQUESTED,
	CHECKPOINTS_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_checkpoints);

/*
 * checkpoints(OUT timed bigint, OUT requested bigint)
 *
 * As pg_stat_bgwriter counts them until 16, pg_stat_checkpointer from 17 on.
 */
Datum
cozi_checkpoints(PG_FUNCTION_ARGS)
{
	PgStat_CheckpointerStats *stats = pgstat_fetch_stat_checkpointer();
	TupleDesc	desc;
	Datum		value[CHECKPOINTS_COLUMNS];
	bool		null[CHECKPOINTS_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	value[CHECKPOINTS_TIMED] = Int64GetDatum(stats->COZI_CHECKPOINTS_TIMED);
	value[CHECKPOINTS_REQUESTED] = Int64GetDatum(stats->COZI_CHECKPOINTS_REQUESTED);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), value, null)));
}
