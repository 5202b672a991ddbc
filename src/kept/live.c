/*
 * kept/live.c
 *		What is pending, as rows: for BOARD_live and for those who rank.
 *
 * BOARD_live is a view with security_invoker over the public table and
 * _pending_rows(), which checks that the caller may read the public table.  Where
 * policies on the public table hold for the caller, only the rows that they show
 * are given: a key that is only pending has no row yet that a policy could judge.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "kept/kept.h"

/* The rows of keys with pending sums, as they will be once these are folded. */
KeptPublicRow *
cozi_kept_pending_rows(const Kept *kept, int *n, Snapshot snapshot, TimestampTz now)
{
	KeptSums   *sums = cozi_kept_sums(kept, CurrentMemoryContext);
	KeptHidden *hidden;
	KeptStore  *store;
	KeptGroup **groups;
	KeptPublicRow *rows;

	*n = 0;
	if (!cozi_kept_pending(kept, sums, snapshot, now))
		return NULL;
	groups = cozi_kept_list(sums, n);
	rows = palloc_extended(*n * sizeof(KeptPublicRow), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	hidden = cozi_kept_open_hidden(kept, sums, snapshot);
	store = cozi_kept_open(kept, false);
	for (int i = 0; i < *n; i++)
	{
		bytea	   *stored = cozi_kept_state(store, sums, snapshot, &groups[i]->key);

		CHECK_FOR_INTERRUPTS();
		if (stored != NULL)
			kept->kind->add_stored(groups[i]->sum, stored);
		rows[i].key = groups[i]->key;
		rows[i].exists = kept->kind->columns(groups[i]->sum, kept, rows[i].values, rows[i].nulls) &&
			!cozi_kept_is_hidden(hidden, &rows[i].key);
	}
	cozi_kept_close(store);
	cozi_kept_close_hidden(hidden);
	return rows;
}

/*
 * The rows of these keys as they will be once all is folded; a key that comes
 * twice has two rows.
 */
KeptPublicRow *
cozi_kept_key_rows(const Kept *kept, char **keys, int n, Snapshot snapshot)
{
	KeptSums   *pending = cozi_kept_sums(kept, CurrentMemoryContext);
	KeptSums   *sums = cozi_kept_sums(kept, CurrentMemoryContext);
	KeptPublicRow *rows = palloc0(Max(n, 1) * sizeof(KeptPublicRow));
	KeptStore  *store;

	(void) cozi_kept_pending(kept, pending, snapshot, GetCurrentStatementStartTimestamp());
	store = cozi_kept_open(kept, false);
	for (int i = 0; i < n; i++)
	{
		KeptKey		key = {.item = keys[i]};
		KeptGroup  *group;
		KeptGroup  *added;
		bytea	   *stored;

		CHECK_FOR_INTERRUPTS();
		cozi_kept_hash_key(sums, &key);
		added = cozi_kept_group(pending, &key, false);
		group = cozi_kept_group(sums, &key, true);
		kept->kind->init(group->sum);
		stored = cozi_kept_state(store, sums, snapshot, &key);
		if (stored != NULL)
			kept->kind->add_stored(group->sum, stored);
		if (added != NULL)
			kept->kind->add_stored(group->sum, kept->kind->store(added->sum));
		rows[i].key = group->key;
		rows[i].exists = kept->kind->columns(group->sum, kept, rows[i].values, rows[i].nulls);
	}
	cozi_kept_close(store);
	return rows;
}

/* Which of these rows does the caller see in the public table? */
bool	   *
cozi_kept_shown(const Kept *kept, KeptPublicRow *rows, int n)
{
	bool		scoped = kept_has(kept, KEPT_SCOPE);
	const char *scope = cozi_kept_role_column(kept, KEPT_SCOPE);
	bool		judged = check_enable_rls(kept->relation, InvalidOid, false) == RLS_ENABLED;
	bool	   *shown = palloc((n + 1) * sizeof(bool));
	char	   *sql;
	Datum		arrays[KEPT_MAX_COLUMNS + 2];

	memset(shown, !judged, n);
	if (n == 0 || !judged)
		return shown;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_kept_arrays(kept, rows, n, arrays);
	sql = cozi_statement("SELECT g.n FROM"
						 " ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
						 " WITH ORDINALITY g (scope, item, n)"
						 " JOIN {table} b ON {match}"
						 " b.{key} OPERATOR(pg_catalog.=) g.item::{item}",
						 "table", cozi_qualified_name(kept->relation),
						 "key", kept->kind->item,
						 "item", cozi_kept_column_type(kept->relation, kept->kind->item),
						 "match", scoped ?
						 psprintf("b.%s OPERATOR(pg_catalog.=) g.scope::%s AND", scope,
								  cozi_kept_column_type(kept->relation, scope)) : "",
						 NULL);
	if (SPI_execute_with_args(sql, 2, cozi_kept_array_types(kept), arrays, NULL, true,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read \"%s\"", get_rel_name(kept->relation));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		shown[DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
										  &isnull)) - 1] = true;
	}
	SPI_finish();
	return shown;
}

static Datum
key_datum(Oid type, const char *text)
{
	Oid			input;
	Oid			ioparam;

	/* not as a domain, whose constraints must not run here */
	getTypeInputInfo(getBaseType(type), &input, &ioparam);
	return OidInputFunctionCall(input, unconstify(char *, text), ioparam, -1);
}

PG_FUNCTION_INFO_V1(cozi_pending_rows);

/*
 * _pending_rows(relation anyelement) -> setof anyelement
 *
 * The argument names the public table by its row type: NULL::hot_posts.  A key
 * that will have no row is given with its columns NULL but the key's.
 */
Datum
cozi_pending_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = get_typ_typrelid(get_fn_expr_argtype(fcinfo->flinfo, 0));
	Kept		kept;
	KeptPublicRow *rows;
	bool	   *shown;
	int			n;
	int			level;
	TupleDesc	desc;
	AclResult	acl;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC | MAT_SRF_BLESS);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("_pending_rows() takes the row type of a kept table"),
				 errhint("Write NULL::hot_posts for the board hot_posts.")));
	if (!cozi_kept_find(relid, &kept))
		return (Datum) 0;
	acl = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(relid));
	if (cozi_kept_misfit(&kept) != NULL)
		return (Datum) 0;

	rows = cozi_kept_pending_rows(&kept, &n, GetActiveSnapshot(),
								  GetCurrentStatementStartTimestamp());
	shown = cozi_kept_shown(&kept, rows, n);
	desc = rsinfo->setDesc;
	level = cozi_kept_plain_settings();
	for (int i = 0; i < n; i++)
	{
		Datum	   *values = palloc0(desc->natts * sizeof(Datum));
		bool	   *nulls = palloc0(desc->natts * sizeof(bool));
		int			column = 0;

		if (!shown[i])
			continue;
		for (int att = 0; att < desc->natts; att++)
		{
			Form_pg_attribute form = TupleDescAttr(desc, att);

			nulls[att] = form->attisdropped;
			if (form->attisdropped)
				continue;
			if (strcmp(NameStr(form->attname), kept.kind->item) == 0)
				values[att] = key_datum(form->atttypid, rows[i].key.item);
			else if (strcmp(NameStr(form->attname),
							cozi_kept_role_column(&kept, KEPT_SCOPE)) == 0)
				values[att] = key_datum(form->atttypid, rows[i].key.scope);
			else if (column < kept.kind->ncolumns)
			{
				nulls[att] = !rows[i].exists || rows[i].nulls[column];
				values[att] = rows[i].values[column++];
			}
		}
		tuplestore_putvalues(rsinfo->setResult, desc, values, nulls);
	}
	AtEOXact_GUC(false, level);
	return (Datum) 0;
}
