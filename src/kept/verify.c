/*
 * kept/verify.c
 *		Does a kept table equal a recount of its source?
 *
 * The recount is an aggregate in SQL, of the kind's own making, so that two ways
 * to the same figure are compared.  Everything is read in one snapshot, with what
 * is pending in it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/kept.h"

/*
 * The parameters of a recount: what is pending, as arrays; whether such a row
 * exists; the clock, the half-life, the hidden items; what closed rows add up to,
 * as arrays.
 */
#define MAX_PARAMETERS (2 * (KEPT_MAX_COLUMNS + 2) + 4)

/* Rows from n parameters that are arrays, beginning with the first. */
static char *
rows_from(const Kept *kept, int first, int n)
{
	StringInfoData rows;

	initStringInfo(&rows);
	for (int i = 0; i < n; i++)
		appendStringInfo(&rows, "%spg_catalog.unnest($%d)", i > 0 ? ", " : "", first + i);
	return cozi_statement("ROWS FROM ({rows}) g (scope, item, {columns}{exists})",
						  "rows", rows.data,
						  "columns", cozi_kept_column_list(kept, ""),
						  "exists", n > kept->kind->ncolumns + 2 ? ", exists" : "", NULL);
}

/* CTEs: closed, what closed rows add up to; live, the kept table with what is pending. */
static char *
live_rows(const Kept *kept)
{
	int			n = kept->kind->ncolumns + 2;
	bool		scoped = kept_has(kept, KEPT_SCOPE);
	const char *scope = cozi_kept_role_column(kept, KEPT_SCOPE);
	char	   *key = cozi_statement("{scope} g.item::{item} AS {name}",
									 "scope", scoped ?
									 psprintf("g.scope::%s AS %s,",
											  cozi_kept_column_type(kept->relation, scope),
											  scope) : "",
									 "item", cozi_kept_column_type(kept->relation,
																   kept->kind->item),
									 "name", kept->kind->item, NULL);

	return cozi_statement("pending AS (SELECT {as_key}, {from_g}, g.exists FROM {rows}),"
						  " closed AS (SELECT {as_key}, {from_g} FROM {closed}),"
						  " live AS (SELECT {key}, {columns} FROM {table}"
						  " WHERE ({key}) NOT IN (SELECT {key} FROM pending)"
						  " UNION ALL SELECT {key}, {columns} FROM pending WHERE pending.exists)",
						  "as_key", key,
						  "from_g", cozi_kept_column_list(kept, "g."),
						  "columns", cozi_kept_column_list(kept, ""),
						  "rows", rows_from(kept, 1, n + 1),
						  "closed", rows_from(kept, n + 5, n),
						  "key", cozi_kept_key_columns(kept),
						  "table", cozi_qualified_name(kept->relation), NULL);
}

/* One that the caller owns, of the right shape, locked. */
static void
open_kept(Oid relation, const char *wanted, Kept *kept)
{
	char	   *misfit;

	cozi_kept_get_own(relation, wanted, kept);
	cozi_kept_lock_sources(kept, AccessShareLock);
	LockRelationOid(kept->relation, AccessShareLock);
	/* it may have been dropped, or changed, while we waited */
	cozi_kept_get_own(relation, wanted, kept);
	misfit = cozi_kept_misfit(kept);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be verified: %s", get_rel_name(kept->relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_%s().", kept->kind->name)));
}

/*
 * Names are looked up as the owner of the extension, since the owner of the kept
 * table may have no privilege on our schema; the statement runs as the latter.
 */
static SPIPlanPtr
prepare(const Kept *kept, KeptRecount recount, int nargs, Oid *types)
{
	int			n = kept->kind->ncolumns + 4;
	char	   *shown = psprintf("AND at <= $%d AND {key} OPERATOR(pg_catalog.<>)"
								 " ALL ($%d::{type}[])", n, n + 2);
	char	   *source = cozi_kept_source_query(kept, cozi_statement(shown, "key", kept->kind->item,
																	 "type", cozi_kept_column_type(kept->relation,
																								   kept->kind->item),
																	 NULL), NULL);
	char	   *sql = psprintf("WITH %s, %s", live_rows(kept),
							   recount(kept, source, psprintf("$%d", n + 1)));
	CoziSavedUser saved;
	SPIPlanPtr	plan;

	cozi_switch_user(cozi_relation_owner(cozi_table("kept")), SECURITY_RESTRICTED_OPERATION,
					 &saved);
	plan = SPI_prepare(sql, nargs, types);
	cozi_restore_user(&saved);
	if (plan == NULL)
		elog(ERROR, "could not prepare a recount");
	return plan;
}

static int
set_parameters(const Kept *kept, Snapshot snapshot, TimestampTz now, Oid *types, Datum *values)
{
	Kept		raw;
	KeptPublicRow *rows;
	int			nrows;
	int			n = kept->kind->ncolumns + 2;

	rows = cozi_kept_pending_rows(kept, &nrows, snapshot, now);
	memcpy(types, cozi_kept_array_types(kept), n * sizeof(Oid));
	cozi_kept_arrays(kept, rows, nrows, values);
	types[n] = BOOLARRAYOID;
	values[n++] = cozi_kept_exists_array(rows, nrows);
	types[n] = TIMESTAMPTZOID;
	values[n++] = TimestampTzGetDatum(now);
	types[n] = INTERVALOID;
	values[n++] = IntervalPGetDatum(&kept->half_life);
	types[n] = TEXTARRAYOID;
	values[n++] = cozi_kept_hidden_items(kept, snapshot);

	rows = cozi_kept_closed_rows(kept, &nrows, &raw, snapshot);
	memcpy(types + n, types, (kept->kind->ncolumns + 2) * sizeof(Oid));
	cozi_kept_arrays(&raw, rows, nrows, values + n);
	return n + kept->kind->ncolumns + 2;
}

/* The body of verify_board() and verify_counter(): the rows that differ from a recount. */
void
cozi_kept_verify(FunctionCallInfo fcinfo, const char *wanted, KeptRecount recount)
{
	Kept		kept;
	Oid			types[MAX_PARAMETERS];
	Datum		values[MAX_PARAMETERS];
	Snapshot	snapshot;
	TimestampTz now;
	CoziSavedUser saved;
	SPIPlanPtr	plan;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	open_kept(PG_GETARG_OID(0), wanted, &kept);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
								GetLatestSnapshot());
	now = GetCurrentTimestamp();
	n = set_parameters(&kept, snapshot, now, types, values);
	plan = prepare(&kept, recount, n, types);
	cozi_switch_to_owner(kept.relation, &saved);
	(void) cozi_kept_plain_settings();
	if (SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot, true, false,
							 0) != SPI_OK_SELECT)
		elog(ERROR, "could not recount");
	cozi_restore_user(&saved);
	UnregisterSnapshot(snapshot);
	cozi_return_rows(fcinfo);
	SPI_finish();
}
