/*
 * kept/relationship.c
 *		Computed relationships, by which PostgREST embeds the rows of items.
 *
 * A foreign key on a public table is refused.  In its place there may be a
 * function from a row of the public table to a row of the table that the items
 * are of, which the planner inlines.
 *
 * The law: the function runs as the caller, under the policies of that table.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "kept/kept.h"

#define RELATIONSHIP	"SELECT p.* FROM "

/*
 * The first column of a primary key, which if alone is true must be the only one;
 * NULL without such a key.
 */
char	   *
cozi_kept_primary_key(Oid relid, bool alone)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	Oid			index;
	char	   *column = NULL;

	(void) RelationGetIndexList(rel);
	index = rel->rd_pkindex;
	if (OidIsValid(index))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
		Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);

		if (!alone || form->indnkeyatts == 1)
			column = get_attname(relid, form->indkey.values[0], true);
		ReleaseSysCache(tuple);
	}
	relation_close(rel, NoLock);
	return column;
}

/*
 * The computed relationship by which PostgREST embeds a row of the item's table:
 * a function from a row of the public table, which the planner inlines.
 */
void
cozi_kept_create_relationship(const Kept *kept, Oid relid)
{
	char	   *key = cozi_kept_primary_key(relid, false);
	char	   *namespace;
	char	   *body;

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("\"%s\" has no primary key", get_rel_name(relid)),
				 errhint("Add the primary key that the items refer to.")));
	namespace = get_namespace_name(get_rel_namespace(kept->relation));
	body = cozi_statement(RELATIONSHIP "{item_table} p WHERE p.{key} = $1.{item}",
						  "item_table", cozi_qualified_name(relid),
						  "key", quote_identifier(key), "item", kept->kind->item, NULL);
	cozi_run(cozi_statement("CREATE OR REPLACE FUNCTION {schema}.{name}({table})"
							" RETURNS SETOF {item_table}"
							" LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS {body}",
							"schema", quote_identifier(namespace),
							"name", quote_identifier(get_rel_name(relid)),
							"table", cozi_qualified_name(kept->relation),
							"item_table", cozi_qualified_name(relid),
							"body", quote_literal_cstr(body), NULL), SPI_OK_UTILITY);
}

/* Those functions: they begin in the same way, and take a row of the table. */
List	   *
cozi_kept_relationships(Oid relation)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *found = NIL;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(TypeRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(get_rel_type_id(relation)));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		HeapTuple	proc;
		bool		isnull;
		Datum		body;

		if (form->classid != ProcedureRelationId)
			continue;
		proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(form->objid));
		/* dropped while we look */
		if (!HeapTupleIsValid(proc))
			continue;
		body = SysCacheGetAttr(PROCOID, proc, Anum_pg_proc_prosrc, &isnull);
		if (strncmp(TextDatumGetCString(body), RELATIONSHIP, strlen(RELATIONSHIP)) == 0)
			found = list_append_unique_oid(found, form->objid);
		ReleaseSysCache(proc);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}
