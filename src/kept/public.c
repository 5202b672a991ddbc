/*
 * kept/public.c
 *		How folds write the public table.
 *
 * The laws: rows are written as the owner, in a security-restricted operation,
 * from arrays.  A row that the table does not take is set aside alone; an error
 * that is not the row's stops the fold.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "kept/kept.h"

/* Rows that a fold sets aside before it takes the fault for the table's. */
#define MAX_ASIDE 100

/*
 * The type of a key column, as SQL: below its domains, whose constraints must
 * not run for those who read.
 */
char	   *
cozi_kept_column_type(Oid relid, const char *column)
{
	return format_type_extended(getBaseType(get_atttype(relid, get_attnum(relid, column))), -1,
								FORMAT_TYPE_FORCE_QUALIFY);
}

/* The type of a column that is made of a sum. */
Oid
cozi_kept_computed_type(const Kept *kept, int column)
{
	Oid			type = kept->kind->types[column];

	return OidIsValid(type) ? type : kept->kind->value_type(kept);
}

/* What a key column is called in the public table. */
const char *
cozi_kept_role_column(const Kept *kept, KeptRole role)
{
	if (role != KEPT_SCOPE)
		return kept->kind->item;
	return kept_derives(kept) ? kept->kind->scope : "scope";
}

/* "ups, downs, heat", each with a prefix */
char	   *
cozi_kept_column_list(const Kept *kept, const char *prefix)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < kept->kind->ncolumns; i++)
		appendStringInfo(&list, "%s%s%s", i > 0 ? ", " : "", prefix, kept->kind->names[i]);
	return list.data;
}

/* $1 scope, $2 item, then the columns: arrays */
Oid		   *
cozi_kept_array_types(const Kept *kept)
{
	Oid		   *types = palloc((kept->kind->ncolumns + 2) * sizeof(Oid));

	types[0] = types[1] = TEXTARRAYOID;
	for (int i = 0; i < kept->kind->ncolumns; i++)
		types[i + 2] = get_array_type(cozi_kept_computed_type(kept, i));
	return types;
}

/* A FROM item g of those arrays: scope, item as text, and the columns. */
char	   *
cozi_kept_arrays_as_rows(const Kept *kept)
{
	StringInfoData from;

	initStringInfo(&from);
	appendStringInfoString(&from, "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)");
	for (int i = 0; i < kept->kind->ncolumns; i++)
		appendStringInfo(&from, ", pg_catalog.unnest($%d)", i + 3);
	appendStringInfo(&from, ") g (scope, item, %s)", cozi_kept_column_list(kept, ""));
	return from.data;
}

/* A query of all scopes, by stepping over the index: it is entered once a scope. */
char	   *
cozi_kept_all_scopes(const Kept *kept)
{
	return cozi_statement("SELECT w.scope FROM (WITH RECURSIVE walk AS ("
						  "(SELECT b.scope FROM {table} b ORDER BY b.scope LIMIT 1)"
						  " UNION ALL SELECT (SELECT b.scope FROM {table} b"
						  "  WHERE b.scope OPERATOR(pg_catalog.>) w.scope"
						  "  ORDER BY b.scope LIMIT 1)"
						  " FROM walk w WHERE w.scope IS NOT NULL) SELECT scope FROM walk) w"
						  " WHERE w.scope IS NOT NULL",
						  "table", cozi_qualified_name(kept->relation), NULL);
}

static Datum
text_array(const KeptPublicRow *rows, int n, bool scope)
{
	Datum	   *texts = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(n, 1) * sizeof(bool));
	int			dims[] = {n};
	int			lbs[] = {1};

	for (int i = 0; i < n; i++)
	{
		const char *text = scope ? rows[i].key.scope : rows[i].key.item;

		nulls[i] = text == NULL;
		texts[i] = text ? CStringGetTextDatum(text) : (Datum) 0;
	}
	return PointerGetDatum(construct_md_array(texts, nulls, 1, dims, lbs, TEXTOID, -1, false,
											  TYPALIGN_INT));
}

/* The rows as arrays, columns of keys without a row as whatever they hold. */
void
cozi_kept_arrays(const Kept *kept, const KeptPublicRow *rows, int n, Datum *arrays)
{
	Datum	   *values = palloc(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));
	int			dims[] = {n};
	int			lbs[] = {1};

	arrays[0] = text_array(rows, n, true);
	arrays[1] = text_array(rows, n, false);
	for (int column = 0; column < kept->kind->ncolumns; column++)
	{
		Oid			type = cozi_kept_computed_type(kept, column);
		int16		len;
		bool		byval;
		char		align;

		for (int i = 0; i < n; i++)
		{
			values[i] = rows[i].values[column];
			nulls[i] = rows[i].nulls[column];
		}
		get_typlenbyvalalign(type, &len, &byval, &align);
		arrays[column + 2] = PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, type,
																len, byval, align));
	}
}

/* Which of the keys have a row. */
Datum
cozi_kept_exists_array(const KeptPublicRow *rows, int n)
{
	Datum	   *values = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		values[i] = BoolGetDatum(rows[i].exists);
	return PointerGetDatum(construct_array(values, n, BOOLOID, sizeof(bool), true,
										   TYPALIGN_CHAR));
}

/*
 * The two statements that write rows, planned once a session.  A plan names the
 * table as it was called then, and is used only while it is valid.
 */
typedef struct WritePlan
{
	struct
	{
		int32		id;
		int32		deletes;
	}			key;
	SPIPlanPtr	plan;
} WritePlan;

static HTAB *plans = NULL;

static char *
write_statement(const Kept *kept, bool deletes)
{
	StringInfoData sets;
	bool		scoped = kept_has(kept, KEPT_SCOPE);
	const char *scope = cozi_kept_role_column(kept, KEPT_SCOPE);

	initStringInfo(&sets);
	for (int i = 0; i < kept->kind->ncolumns; i++)
		appendStringInfo(&sets, "%s%s = EXCLUDED.%s", i > 0 ? ", " : "",
						 kept->kind->names[i], kept->kind->names[i]);
	return cozi_statement(deletes ?
						  "DELETE FROM {table} b USING {rows}"
						  " WHERE {match} b.{name} = g.item::{item}" :
						  "INSERT INTO {table} ({key}, {columns})"
						  " SELECT {scope} g.item::{item}, {columns} FROM {rows} ORDER BY {order}"
						  " ON CONFLICT ({key}) DO UPDATE SET {sets}",
						  "table", cozi_qualified_name(kept->relation),
						  "rows", cozi_kept_arrays_as_rows(kept),
						  "match", scoped ? psprintf("b.%s = g.scope::%s AND", scope,
													 cozi_kept_column_type(kept->relation, scope)) : "",
						  "scope", scoped ? psprintf("g.scope::%s,",
													 cozi_kept_column_type(kept->relation, scope)) : "",
						  "name", kept->kind->item,
						  "item", cozi_kept_column_type(kept->relation, kept->kind->item),
						  "key", cozi_kept_key_columns(kept),
						  "order", scoped ? "1, 2" : "1",
						  "columns", cozi_kept_column_list(kept, ""),
						  "sets", sets.data, NULL);
}

static SPIPlanPtr
find_plan(const Kept *kept, bool deletes)
{
	WritePlan  *entry;
	WritePlan	key = {.key = {kept->id, deletes}};
	bool		found;
	SPIPlanPtr	plan;

	if (plans == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(key.key),.entrysize = sizeof(WritePlan)};

		plans = hash_create("cozi write plans", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(plans, &key.key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		if (SPI_plan_is_valid(entry->plan))
			return entry->plan;
		SPI_freeplan(entry->plan);
		(void) hash_search(plans, &key.key, HASH_REMOVE, NULL);
	}
	plan = SPI_prepare_cursor(write_statement(kept, deletes), kept->kind->ncolumns + 2,
							  cozi_kept_array_types(kept), CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare writing \"%s\"", get_rel_name(kept->relation));
	entry = hash_search(plans, &key.key, HASH_ENTER, &found);
	entry->plan = plan;
	return plan;
}

static void
write_some(const Kept *kept, const KeptPublicRow *rows, int n, bool deletes)
{
	Datum		arrays[KEPT_MAX_COLUMNS + 2];

	if (n == 0)
		return;
	cozi_kept_arrays(kept, rows, n, arrays);
	if (SPI_execute_plan(find_plan(kept, deletes), arrays, NULL, false, 0) < 0)
		elog(ERROR, "could not write \"%s\"", get_rel_name(kept->relation));
}

/* Write rows lo to hi - 1, those that exist before those that are gone. */
static void
write_rows(const Kept *kept, const KeptPublicRow *rows, int n, bool was_empty)
{
	/* a handful of rows, each by its key: whatever the statistics say */
	static const char *const off[] = {"enable_hashjoin", "enable_mergejoin", "enable_seqscan",
	"jit"};
	KeptPublicRow *some = palloc_extended(Max(n, 1) * sizeof(KeptPublicRow), MCXT_ALLOC_HUGE);
	CoziSavedUser saved;
	int			nsome;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_switch_to_owner(kept->relation, &saved);
	(void) cozi_kept_plain_settings();
	for (int i = 0; i < lengthof(off); i++)
		cozi_set_locally(off[i], "off");
	for (int deletes = was_empty ? 0 : 1; deletes >= 0; deletes--)
	{
		nsome = 0;
		for (int i = 0; i < n; i++)
			if (rows[i].exists == !deletes)
				some[nsome++] = rows[i];
		write_some(kept, some, nsome, deletes);
	}
	cozi_restore_user(&saved);
	SPI_finish();
	pfree(some);
}

/* Is this error the row's, or would any other row meet it, too? */
static bool
is_of_a_row(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_TRANSACTION_ROLLBACK:
			return false;
		default:
			return error->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE;
	}
}

typedef struct Publishing
{
	const Kept *kept;
	bool		was_empty;
	int			aside;
	int			written;
} Publishing;

/* Rows that are written together. */
typedef struct PublicBatch
{
	const Publishing *p;
	const KeptPublicRow *rows;
	int			n;
} PublicBatch;

static void
write_together(void *arg)
{
	PublicBatch *batch = arg;

	write_rows(batch->p->kept, batch->rows, batch->n, batch->p->was_empty);
}

static void
publish(Publishing *p, const KeptPublicRow *rows, int n)
{
	PublicBatch batch = {p, rows, n};
	ErrorData  *error = cozi_attempt(write_together, &batch);

	if (error == NULL)
	{
		p->written += n;
		return;
	}
	if (!is_of_a_row(error) || (n == 1 && ++p->aside > MAX_ASIDE))
		ReThrowError(error);
	if (n == 1)
	{
		cozi_kept_set_aside(p->kept, &rows[0].key, error->message);
		ereport(LOG,
				(errmsg("one row of \"%s\" is set aside: %s",
						get_rel_name(p->kept->relation), error->message)));
		return;
	}
	publish(p, rows, n / 2);
	publish(p, rows + n / 2, n - n / 2);
}

/* Write rows to the public table; was_empty: nothing is there to be deleted. */
void
cozi_kept_publish(const Kept *kept, KeptPublicRow *rows, int n, bool was_empty)
{
	Publishing	p = {.kept = kept,.was_empty = was_empty};

	if (n > 0)
		publish(&p, rows, n);
}
