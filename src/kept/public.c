/*
 * kept/public.c
 *		The public table: its shape, and how folds write it.
 *
 * The public table is its owner's, who may put indexes, policies, grants,
 * comments, statistics and storage parameters on it.  Everything else that could
 * change what a fold writes is refused when it is made (kept/ddl.c), and is
 * looked for here all the same before each fold.
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
#include "access/xact.h"
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
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "kept/kept.h"

/* Rows that a fold sets aside before it takes the fault for the table's. */
#define MAX_ASIDE 100

/* The columns of the public table, in their order. */
static int
expected_columns(const Kept *kept, const char **names, Oid *types)
{
	int			n = 0;

	for (int role = KEPT_SCOPE; role <= KEPT_ITEM; role++)
	{
		if (!kept_has(kept, role))
			continue;
		names[n] = role == KEPT_SCOPE ? "scope" : "item";
		types[n++] = InvalidOid;
	}
	for (int i = 0; i < kept->kind->ncolumns; i++)
	{
		names[n] = kept->kind->names[i];
		types[n++] = kept->kind->types[i];
	}
	return n;
}

static char *
misfit_columns(const Kept *kept, Relation rel)
{
	const char *names[KEPT_MAX_COLUMNS + 2];
	Oid			types[KEPT_MAX_COLUMNS + 2];
	int			n = expected_columns(kept, names, types);
	int			found = 0;
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (found == n)
			return psprintf("it has a column \"%s\" of its own", NameStr(att->attname));
		if (strcmp(NameStr(att->attname), names[found]) != 0 ||
			(OidIsValid(types[found]) && att->atttypid != types[found]))
			return psprintf("its column \"%s\" is not what it was created with",
							NameStr(att->attname));
		if (att->atthasdef || att->attgenerated || att->attidentity)
			return psprintf("its column \"%s\" has a default", NameStr(att->attname));
		found++;
	}
	return found == n ? NULL : psprintf("it has no column \"%s\"", names[found]);
}

/* The key columns are typed like the columns of the source. */
static char *
misfit_key(const Kept *kept)
{
	for (int role = KEPT_SCOPE; role <= KEPT_ITEM; role++)
	{
		const char *name = role == KEPT_SCOPE ? "scope" : "item";
		AttrNumber	attnum;
		Oid			type[2];
		Oid			collation[2];
		int32		typmod;
		KeptKeyType key[2];

		if (!kept_has(kept, role))
			continue;
		attnum = get_attnum(kept->source, NameStr(kept->columns[role]));
		if (attnum <= 0)
			return psprintf("its source has no column \"%s\"", NameStr(kept->columns[role]));
		get_atttypetypmodcoll(kept->source, attnum, &type[0], &typmod, &collation[0]);
		get_atttypetypmodcoll(kept->relation, get_attnum(kept->relation, name),
							  &type[1], &typmod, &collation[1]);
		cozi_kept_key_type(&key[0], type[0], collation[0]);
		cozi_kept_key_type(&key[1], type[1], collation[1]);
		if (key[0].type != key[1].type || key[0].collation != key[1].collation || key[1].is_array)
			return psprintf("column \"%s\" of its source is of another type than its column \"%s\"",
							NameStr(kept->columns[role]), name);
	}
	return NULL;
}

/* No constraint but the key, which must be there. */
static char *
misfit_constraints(const Kept *kept, Relation rel)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *misfit = NULL;
	bool		keyed = false;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (misfit == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		if (con->contype == CONSTRAINT_PRIMARY && !con->condeferrable)
			keyed = true;
		else if (con->contype != 'n')	/* NOT NULL is a constraint since 18 */
			misfit = psprintf("it has a constraint: ALTER TABLE %s DROP CONSTRAINT %s",
							  cozi_qualified_name(kept->relation),
							  quote_identifier(NameStr(con->conname)));
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return misfit == NULL && !keyed ? pstrdup("its primary key is gone") : misfit;
}

static char *
misfit_indexes(const Kept *kept, Relation rel)
{
	ListCell   *lc;
	int			nkeys = kept_has(kept, KEPT_SCOPE) ? 2 : 1;

	foreach(lc, RelationGetIndexList(rel))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
		bool		fits = !index->indisunique ||
		(index->indisprimary && index->indnkeyatts == nkeys && index->indisvalid);

		for (int i = 0; fits && index->indisprimary && i < nkeys; i++)
		{
			char	   *name = get_attname(kept->relation, index->indkey.values[i], true);

			fits = name != NULL && (strcmp(name, "item") == 0 || strcmp(name, "scope") == 0);
		}
		ReleaseSysCache(tuple);
		if (!fits)
			return psprintf("it has a unique index: DROP INDEX %s",
							cozi_qualified_name(lfirst_oid(lc)));
	}
	return NULL;
}

/* Triggers and rules, which would run in a fold. */
static char *
misfit_code(const Kept *kept, Relation rel)
{
	if (rel->rd_rules != NULL)
		return pstrdup("it has a rule: drop that rule");
	if (rel->trigdesc == NULL)
		return NULL;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgisinternal)
			return pstrdup("a foreign key refers to it: drop that constraint");
		return psprintf("it has a trigger: DROP TRIGGER %s ON %s",
						quote_identifier(trigger->tgname), cozi_qualified_name(kept->relation));
	}
	return NULL;
}

static char *
misfit_kind(const Kept *kept, Relation rel)
{
	Form_pg_class form = rel->rd_rel;

	if (form->relkind != RELKIND_RELATION || OidIsValid(form->reloftype))
		return pstrdup("it is no longer an ordinary table");
	if (form->relispartition || has_superclass(kept->relation) ||
		find_inheritance_children(kept->relation, NoLock) != NIL)
		return pstrdup("it takes part in inheritance");
	if (form->relowner != cozi_relation_owner(kept->source))
		return pstrdup("its owner is not the owner of its source");
	if (form->relpersistence != get_rel_persistence(kept->source))
		return pstrdup("it is logged and its source is not, or the other way round");
	return NULL;
}

/*
 * Why a fold must not write this public table; NULL if it may.  The caller
 * holds a lock on the table.
 */
char	   *
cozi_kept_misfit(const Kept *kept)
{
	Relation	rel = try_relation_open(kept->relation, AccessShareLock);
	char	   *misfit;

	if (rel == NULL || get_rel_name(kept->source) == NULL)
	{
		if (rel != NULL)
			relation_close(rel, AccessShareLock);
		return pstrdup("it is gone, or its source is");
	}
	misfit = misfit_kind(kept, rel);
	if (misfit == NULL)
		misfit = misfit_code(kept, rel);
	if (misfit == NULL)
		misfit = misfit_constraints(kept, rel);
	if (misfit == NULL)
		misfit = misfit_columns(kept, rel);
	if (misfit == NULL)
		misfit = misfit_key(kept);
	if (misfit == NULL)
		misfit = misfit_indexes(kept, rel);
	relation_close(rel, AccessShareLock);
	return misfit;
}

static bool
is_foreign(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

static bool
calls_foreign(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_foreign, context) || IsA(node, CoerceToDomain))
		return true;
	return expression_tree_walker(node, calls_foreign, context);
}

static bool
index_is_foreign(Relation index)
{
	HeapTuple	tuple = index->rd_indextuple;
	oidvector  *opclasses;
	bool		isnull;

	if (index->rd_rel->relam >= FirstNormalObjectId)
		return true;
	opclasses = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple,
															  Anum_pg_index_indclass, &isnull));
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (opclasses->values[i] >= FirstNormalObjectId)
			return true;
	return calls_foreign((Node *) RelationGetIndexExpressions(index), NULL) ||
		calls_foreign((Node *) RelationGetIndexPredicate(index), NULL);
}

/*
 * Code that is not pg_catalog's and that writing the table runs: the statement
 * that removes it; NULL if there is none.
 */
char	   *
cozi_kept_foreign_code(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *found = NULL;
	ListCell   *lc;

	for (int i = 0; found == NULL && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && DomainHasConstraints(att->atttypid))
			found = psprintf("ALTER DOMAIN %s, which has a constraint",
							 format_type_be(att->atttypid));
	}
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (found == NULL && index_is_foreign(index))
			found = psprintf("DROP INDEX %s", cozi_qualified_name(lfirst_oid(lc)));
		index_close(index, AccessShareLock);
	}
	relation_close(rel, AccessShareLock);
	return found;
}

/*
 * Code of its owner that another owner would take over: the statement that
 * removes it; NULL if there is none.
 */
char	   *
cozi_kept_handed_over(const Kept *kept)
{
	Relation	rel = relation_open(kept->relation, AccessShareLock);
	char	   *found = misfit_code(kept, rel);

	if (found == NULL)
		found = cozi_kept_foreign_code(kept->relation);
	if (found == NULL)
	{
		Relation	policies = table_open(PolicyRelationId, AccessShareLock);
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber,
					F_OIDEQ, ObjectIdGetDatum(kept->relation));
		scan = systable_beginscan(policies, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
		if (HeapTupleIsValid(tuple = systable_getnext(scan)))
			found = psprintf("DROP POLICY %s ON %s",
							 quote_identifier(NameStr(((Form_pg_policy) GETSTRUCT(tuple))->polname)),
							 cozi_qualified_name(kept->relation));
		systable_endscan(scan);
		table_close(policies, AccessShareLock);
	}
	if (found == NULL && cozi_kept_relationships(kept->relation) != NIL)
		found = psprintf("DROP FUNCTION %s",
						 format_procedure_qualified(linitial_oid(cozi_kept_relationships(kept->relation))));
	relation_close(rel, AccessShareLock);
	return found;
}

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
		types[i + 2] = get_array_type(kept->kind->types[i]);
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

	arrays[0] = text_array(rows, n, true);
	arrays[1] = text_array(rows, n, false);
	for (int column = 0; column < kept->kind->ncolumns; column++)
	{
		int16		len;
		bool		byval;
		char		align;

		for (int i = 0; i < n; i++)
			values[i] = rows[i].values[column];
		get_typlenbyvalalign(kept->kind->types[column], &len, &byval, &align);
		arrays[column + 2] = PointerGetDatum(construct_array(values, n, kept->kind->types[column],
															 len, byval, align));
	}
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

	initStringInfo(&sets);
	for (int i = 0; i < kept->kind->ncolumns; i++)
		appendStringInfo(&sets, "%s%s = EXCLUDED.%s", i > 0 ? ", " : "",
						 kept->kind->names[i], kept->kind->names[i]);
	return cozi_statement(deletes ?
						  "DELETE FROM {table} b USING {rows} WHERE {match} b.item = g.item::{item}" :
						  "INSERT INTO {table} ({key}, {columns})"
						  " SELECT {scope} g.item::{item}, {columns} FROM {rows} ORDER BY {order}"
						  " ON CONFLICT ({key}) DO UPDATE SET {sets}",
						  "table", cozi_qualified_name(kept->relation),
						  "rows", cozi_kept_arrays_as_rows(kept),
						  "match", scoped ? psprintf("b.scope = g.scope::%s AND",
													 cozi_kept_column_type(kept->relation, "scope")) : "",
						  "scope", scoped ? psprintf("g.scope::%s,",
													 cozi_kept_column_type(kept->relation, "scope")) : "",
						  "item", cozi_kept_column_type(kept->relation, "item"),
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
	static const char *const off[] = {"enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit"};
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

static void
publish(Publishing *p, const KeptPublicRow *rows, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		write_rows(p->kept, rows, n, p->was_empty);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();

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
