/*
 * kept/closed.c
 *		Closed rows: their sums are frozen, and they may go.
 *
 * close_before() adds the rows of all sources that are dated before an instant to
 * the sums of closed rows, under the negative id in the state.  The sums of the
 * kept table stay as they are.  From then on a closed row that is deleted, or goes
 * with its table, changes nothing; and a recount is that of the other rows, added
 * to the sums of the closed ones.
 *
 * The law: what a statement would add to or change of closed rows is an error.
 * What it changes of their other columns is not looked at.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/kept.h"

/* The instant of a row: timestamp and date are read as UTC. */
TimestampTz
cozi_kept_instant(Datum value, Oid type)
{
	DateADT		date;

	if (type != DATEOID)
		return DatumGetTimestampTz(value);
	date = DatumGetDateADT(value);
	if (DATE_IS_NOBEGIN(date))
		return DT_NOBEGIN;
	if (DATE_IS_NOEND(date) || date >= TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE)
		return DT_NOEND;
	return (TimestampTz) date * USECS_PER_DAY;
}

/* An instant as a literal that does not depend on a setting. */
char	   *
cozi_kept_instant_in_sql(TimestampTz at)
{
	int			level = cozi_kept_plain_settings();
	char	   *text = DatumGetCString(DirectFunctionCall1(timestamptz_out,
														   TimestampTzGetDatum(at)));

	AtEOXact_GUC(false, level);
	return psprintf("'%s'::pg_catalog.timestamptz", text);
}

/* An error if rows are closed: what is asked for would count them anew. */
void
cozi_kept_refuse_closed(const Kept *kept, const char *what)
{
	if (kept->has_closed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s of \"%s\" cannot change: its rows before %s are closed", what,
						get_rel_name(kept->relation), timestamptz_to_str(kept->closed)),
				 errdetail("What is closed is not counted again."),
				 errhint("Create a second %s, of the rows that are left.", kept->kind->name)));
}

/* An error if a statement has changed what closed rows add up to. */
void
cozi_kept_refuse_late(const Kept *kept, KeptSums *sums)
{
	int			n;
	KeptGroup **groups = cozi_kept_list(sums, &n);

	for (int i = 0; i < n; i++)
		if (VARSIZE_ANY_EXHDR(kept->kind->store(groups[i]->sum)) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("rows of \"%s\" dated before %s are closed",
							get_rel_name(kept->source), timestamptz_to_str(kept->closed)),
					 errdetail("The %s \"%s\" has counted them for good; this would change its"
							   " row of \"%s\".", kept->kind->name,
							   get_rel_name(kept->relation), groups[i]->key.item),
					 errhint("Closed rows may be deleted; date new ones later.")));
	pfree(groups);
}

/* What closed rows add up to, in units and without the weight of down-votes. */
KeptPublicRow *
cozi_kept_closed_rows(const Kept *kept, int *n, Kept *raw, Snapshot snapshot)
{
	KeptSums   *sums = cozi_kept_sums(kept, CurrentMemoryContext);
	KeptStore  *store = cozi_kept_open_closed(kept, false);
	KeptHidden *hidden = cozi_kept_open_hidden(kept, sums, snapshot);
	SysScanDesc scan = cozi_kept_scan_state(store, snapshot);
	KeptGroup **groups;
	KeptPublicRow *rows;
	HeapTuple	tuple;
	int			ngroups;

	*raw = *kept;
	raw->unit = 1;
	raw->down_weight = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		KeptKey		key = {0};

		CHECK_FOR_INTERRUPTS();
		cozi_kept_read_key(store, tuple, &key);
		if (!cozi_kept_is_hidden(hidden, &key))
			cozi_kept_add_state(store, kept, sums, cozi_kept_group(sums, &key, true), tuple);
	}
	systable_endscan(scan);
	groups = cozi_kept_list(sums, &ngroups);
	rows = palloc_extended(Max(ngroups, 1) * sizeof(KeptPublicRow),
						   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	*n = 0;
	for (int i = 0; i < ngroups; i++)
	{
		rows[*n].key = groups[i]->key;
		rows[*n].exists = kept->kind->columns(groups[i]->sum, raw, rows[*n].values,
											  rows[*n].nulls);
		if (rows[*n].exists)
			(*n)++;
	}
	cozi_kept_close_hidden(hidden);
	cozi_kept_close(store);
	return rows;
}

/* The column by which a timeless kept table is closed. */
static void
choose_column(Kept *kept, const char *column)
{
	static const Oid times[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID, InvalidOid};
	NameData   *at = &kept->columns[KEPT_AT];

	if (!kept->kind->timeless && column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is closed by the time column of each source", kept->kind->noun),
				 errhint("Leave out created_at.")));
	if (!kept->kind->timeless)
		return;
	if (kept->has_closed && column != NULL && strcmp(NameStr(*at), column) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is closed by column \"%s\"", get_rel_name(kept->relation),
						NameStr(*at)),
				 errhint("Leave out created_at.")));
	if (!kept->has_closed)
		namestrcpy(at, column != NULL ? column : "created_at");
	cozi_kept_check_column(kept, KEPT_AT, "time", times,
						   "timestamp with time zone, timestamp (read as UTC), date (UTC)");
}

static void
check_before(const Kept *kept, TimestampTz before)
{
	if (TIMESTAMP_NOT_FINITE(before) || before > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("before must be an instant of the past")));
	if (kept->has_closed && before < kept->closed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is closed before %s already", get_rel_name(kept->relation),
						timestamptz_to_str(kept->closed)),
				 errhint("What is closed stays closed; give a later instant.")));
}

/* What differs from its rows must not be frozen. */
static void
check_state(const Kept *kept)
{
	char	   *misfit = cozi_kept_misfit(kept);

	if (misfit == NULL && kept->broken == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" cannot be closed: %s", get_rel_name(kept->relation),
					misfit != NULL ? misfit : kept->broken),
			 errhint("Mend that with cozi.rebuild_%s() first.", kept->kind->name)));
}

PG_FUNCTION_INFO_V1(cozi_close_before);

/*
 * close_before(kept regclass, before timestamptz, created_at name) -> bigint
 *
 * created_at: of a counter the time column of its rows; NULL: created_at, or that
 * of the call before.
 */
Datum
cozi_close_before(PG_FUNCTION_ARGS)
{
	Oid			relation;
	TimestampTz before;
	Kept		kept;
	int64		n;

	cozi_require_argument(fcinfo, 0, "kept");
	cozi_require_argument(fcinfo, 1, "before");
	relation = PG_GETARG_OID(0);
	before = PG_GETARG_TIMESTAMPTZ(1);
	cozi_kept_refuse_old_snapshot("close_before");
	cozi_kept_get_own(relation, NULL, &kept);
	check_before(&kept, before);
	(void) cozi_kept_lock(kept.id, true);
	cozi_kept_lock_sources(&kept, ShareRowExclusiveLock);
	LockRelationOid(kept.relation, AccessShareLock);
	/* it may have been dropped, or changed, while we waited */
	cozi_kept_get_own(relation, NULL, &kept);
	check_before(&kept, before);
	check_state(&kept);
	choose_column(&kept, PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	n = cozi_kept_fill_closed(&kept, before);
	kept.has_closed = true;
	kept.closed = before;
	cozi_kept_write(&kept, false);
	SPI_finish();
	PG_RETURN_INT64(n);
}
