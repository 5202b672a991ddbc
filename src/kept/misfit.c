/*
 * kept/misfit.c
 *		The shape of a public table, and the code that hangs on it.
 *
 * The public table is its owner's, who may put indexes, policies, grants,
 * comments, statistics and storage parameters on it.  Everything else that could
 * change what a fold writes is refused when it is made (kept/ddl.c), and is
 * looked for here all the same before each fold.
 *
 * The law: a shape is described in words that say what to undo.
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
#include "nodes/readfuncs.h"
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

/* The columns of the public table, in their order. */
static int
expected_columns(const Kept *kept, const char **names, Oid *types)
{
	int			n = 0;

	for (int i = 0; i < 2; i++)
	{
		/* a derived scope stands behind the item */
		KeptRole	role = (i == 0) == kept_derives(kept) ? KEPT_ITEM : KEPT_SCOPE;

		if (!kept_has(kept, role))
			continue;
		names[n] = cozi_kept_role_column(kept, role);
		types[n++] = role == KEPT_SCOPE && kept_derives(kept) ? kept->kind->scope_type :
			InvalidOid;
	}
	for (int i = 0; i < kept->kind->ncolumns; i++)
	{
		names[n] = kept->kind->names[i];
		types[n++] = cozi_kept_computed_type(kept, i);
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

/* "its source", or which of them */
static char *
source_words(const Kept *source)
{
	return source->nth == 0 ? pstrdup("its source") :
		psprintf("its source \"%s\"", get_rel_name(source->source));
}

/* The key columns are typed like the columns of a source. */
static char *
misfit_key(const Kept *kept)
{
	for (int role = KEPT_SCOPE; role <= KEPT_ITEM; role++)
	{
		const char *name = cozi_kept_role_column(kept, role);
		AttrNumber	attnum;
		Oid			type[2];
		Oid			collation[2];
		int32		typmod;
		KeptKeyType key[2];

		if (!kept_has(kept, role) || (role == KEPT_SCOPE && kept_derives(kept)))
			continue;
		attnum = get_attnum(kept->source, NameStr(kept->columns[role]));
		if (attnum <= 0)
			return psprintf("%s has no column \"%s\"", source_words(kept),
							NameStr(kept->columns[role]));
		get_atttypetypmodcoll(kept->source, attnum, &type[0], &typmod, &collation[0]);
		get_atttypetypmodcoll(kept->relation, get_attnum(kept->relation, name),
							  &type[1], &typmod, &collation[1]);
		cozi_kept_key_type(&key[0], type[0], collation[0]);
		cozi_kept_key_type(&key[1], type[1], collation[1]);
		if (key[0].type != key[1].type || key[0].collation != key[1].collation || key[1].is_array)
			return psprintf("column \"%s\" of %s is of another type than its column \"%s\"",
							NameStr(kept->columns[role]), source_words(kept), name);
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

			fits = name != NULL &&
				(strcmp(name, kept->kind->item) == 0 ||
				 strcmp(name, cozi_kept_role_column(kept, KEPT_SCOPE)) == 0);
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
	return NULL;
}

/* All sources are there, the owner's, and alike. */
static char *
misfit_sources(const Kept *kept, Relation rel)
{
	Form_pg_class form = rel->rd_rel;
	ListCell   *lc;

	foreach(lc, cozi_kept_sources(kept))
	{
		const Kept *source = lfirst(lc);
		char	   *misfit;

		if (!OidIsValid(source->source) || get_rel_name(source->source) == NULL)
			return pstrdup("one of its sources is not in this database");
		if (form->relowner != cozi_relation_owner(source->source))
			return psprintf("its owner is not the owner of %s", source_words(source));
		if ((form->relpersistence == RELPERSISTENCE_UNLOGGED) !=
			cozi_kept_is_unlogged(source->source))
			return psprintf("it is logged and %s is not, or the other way round",
							source_words(source));
		misfit = misfit_key(source);
		if (misfit != NULL)
			return misfit;
	}
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
		misfit = misfit_sources(kept, rel);
	if (misfit == NULL)
		misfit = misfit_indexes(kept, rel);
	if (misfit == NULL && kept->kind->misfit != NULL)
		misfit = kept->kind->misfit(kept);
	relation_close(rel, AccessShareLock);
	return misfit;
}

static bool
is_user_defined(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

static bool
calls_foreign(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_user_defined, context) || IsA(node, CoerceToDomain))
		return true;
	return expression_tree_walker(node, calls_foreign, context);
}

/* An expression or a predicate of an index, as it was written. */
static Node *
stored_node(HeapTuple index, AttrNumber attnum)
{
	bool		isnull;
	Datum		node = SysCacheGetAttr(INDEXRELID, index, attnum, &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(node));
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
	/* as stored: the relcache has functions in SQL inlined */
	return calls_foreign(stored_node(tuple, Anum_pg_index_indexprs), NULL) ||
		calls_foreign(stored_node(tuple, Anum_pg_index_indpred), NULL);
}

/* The name of a CHECK of a domain; NULL if it has none of its own. */
static char *
check_of_domain(Oid type)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *name = NULL;

	ScanKeyInit(&key, Anum_pg_constraint_contypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(rel, ConstraintTypidIndexId, true, NULL, 1, &key);
	while (name == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);

		if (constraint->contype == CONSTRAINT_CHECK)
			name = pstrdup(NameStr(constraint->conname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return name;
}

/*
 * The statement that drops a constraint of a domain, or of one that it is over; NULL if
 * the last one was dropped while we look.
 */
static char *
drop_of_constraint(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;
	bool		not_null;
	Oid			base;
	char	   *check;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_type) GETSTRUCT(tuple);
	not_null = form->typnotnull;
	base = form->typbasetype;
	ReleaseSysCache(tuple);
	if (!OidIsValid(base))
		return NULL;
	if (not_null)
		return psprintf("ALTER DOMAIN %s DROP NOT NULL", format_type_be_qualified(type));
	check = check_of_domain(type);
	return check == NULL ? drop_of_constraint(base) :
		psprintf("ALTER DOMAIN %s DROP CONSTRAINT %s", format_type_be_qualified(type),
				 quote_identifier(check));
}

/*
 * Is a column of a domain?  ALTER DOMAIN ... ADD CHECK ... NOT VALID locks no table, so that one
 * without constraints may have some in the next moment.
 */
bool
cozi_kept_has_domain(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	bool		found = false;

	if (rel == NULL)
		return false;
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		found |= !att->attisdropped && get_typtype(att->atttypid) == TYPTYPE_DOMAIN;
	}
	relation_close(rel, AccessShareLock);
	return found;
}

/*
 * Code that is not pg_catalog's and that writing the table runs: the statement
 * that removes it; NULL if there is none.
 */
char	   *
cozi_kept_foreign_code(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	TupleDesc	desc;
	char	   *found = NULL;
	ListCell   *lc;

	if (rel == NULL)
		return NULL;
	desc = RelationGetDescr(rel);
	for (int i = 0; found == NULL && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && DomainHasConstraints_compat(att->atttypid))
			found = drop_of_constraint(att->atttypid);
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
	List	   *functions;

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
		{
			Form_pg_policy policy = (Form_pg_policy) GETSTRUCT(tuple);

			found = psprintf("DROP POLICY %s ON %s", quote_identifier(NameStr(policy->polname)),
							 cozi_qualified_name(kept->relation));
		}
		systable_endscan(scan);
		table_close(policies, AccessShareLock);
	}
	functions = cozi_kept_relationships(kept->relation);
	if (found == NULL && functions != NIL)
		found = psprintf("DROP FUNCTION %s", format_procedure_qualified(linitial_oid(functions)));
	relation_close(rel, AccessShareLock);
	return found;
}
