/*
 * kept/create.c
 *		Creating and dropping kept tables.
 *
 * Both work for the owner of the source: what that owner has is created as the
 * owner, the list of kept tables is written as the owner of the extension.
 *
 * The public table and its view depend on the source as a sequence depends on
 * its column: DROP TABLE of the source takes them along.  These entries of
 * pg_depend are in no dump; a fold makes them again when it adopts a kept table.
 *
 * The law: while a kept table comes or goes no writer is under way, on no leaf.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
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
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "kept/kept.h"

/* The longest of the names made from that of the public table. */
#define SUFFIX_BYTES	(sizeof("_heat_idx") - 1)

bool		cozi_kept_own_ddl = false;

/* The column's declared type, checked to be there and stored. */
static void
stored_column(Oid source, const char *column, CoziColumn *found)
{
	Relation	rel = table_open(source, AccessShareLock);
	char		generated;

	cozi_find_column(rel, column, found);
	generated = TupleDescAttr(RelationGetDescr(rel), found->attnum - 1)->attgenerated;
	table_close(rel, NoLock);
	if (generated != '\0' && generated != 's')
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" is a virtual generated column", column),
				 errdetail("Its value is not in the rows that a trigger sees."),
				 errhint("Make it a STORED generated column.")));
}

void
cozi_kept_check_column(const Kept *kept, KeptRole role, const char *what, const Oid *allowed,
					   const char *names)
{
	const char *column = NameStr(kept->columns[role]);
	CoziColumn	found;
	Oid			base;

	stored_column(kept->source, column, &found);
	base = getBaseType(found.type);
	for (; OidIsValid(*allowed); allowed++)
		if (*allowed == base)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of type %s cannot be the %s of %s",
					column, format_type_be(found.type), what, kept->kind->noun),
			 errhint("It must be one of: %s.", names)));
}

/* A scope: a built-in type with an order, an enum, or an array of these. */
void
cozi_kept_check_scope(const Kept *kept)
{
	CoziColumn	found;
	Oid			element;
	Oid			type;

	stored_column(kept->source, NameStr(kept->columns[KEPT_SCOPE]), &found);
	element = get_base_element_type(found.type);
	type = getBaseType(OidIsValid(element) ? element : found.type);
	if (OidIsValid(lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf) &&
		(type < FirstNormalObjectId || get_typtype(type) == TYPTYPE_ENUM) &&
		!OidIsValid(get_base_element_type(type)) &&
		get_typtype(type) != TYPTYPE_RANGE && get_typtype(type) != TYPTYPE_MULTIRANGE)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of type %s cannot be the scope of %s",
					NameStr(kept->columns[KEPT_SCOPE]), format_type_be(found.type),
					kept->kind->noun),
			 errhint("It must be of a built-in type with an order, an enum,"
					 " or an array of these.")));
}

/* The source: a table that triggers can watch, with the caller its owner. */
void
cozi_kept_check_source(const Kept *kept)
{
	Oid			source = kept->source;
	const char *what = kept->kind->noun;
	Relation	rel = table_open(source, AccessShareLock);
	char		kind = rel->rd_rel->relkind;
	const char *name = RelationGetRelationName(rel);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		cozi_wrong_kind(name, "a table");
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a temporary table cannot have %s", what),
				 errhint("Create \"%s\" as an ordinary table.", name)));
	if (has_superclass(source))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is a partition or a child of another table", name),
				 errhint("Create the %s on the parent:"
						 " it counts the rows of all its partitions.", kept->kind->name)));
	if (IsSystemRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" is a system catalog", name)));
	table_close(rel, NoLock);
	cozi_refuse_distributed(source, "Create it before the table is distributed:"
							" cozi.citus_setup_plan() carries it along.");
}

static void
check_name(const Kept *kept, const char *name)
{
	const char *what = kept->kind->noun;

	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of %s must not be empty", what)));
	if (strlen(name) + SUFFIX_BYTES >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("\"%s\" is too long for the name of %s", name, what),
				 errhint("Use at most %d bytes.", (int) (NAMEDATALEN - 1 - SUFFIX_BYTES))));
}

/* The view that people read is made of a function of ours. */
static void
check_usage(Oid owner)
{
	char	   *schema = get_namespace_name(cozi_schema());

	if (!cozi_may_use_schema(cozi_schema(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", the table's owner, may not use schema \"%s\"",
						GetUserNameFromId(owner, false), schema),
				 errhint("GRANT USAGE ON SCHEMA %s TO %s.", quote_identifier(schema),
						 quote_identifier(GetUserNameFromId(owner, false)))));
}

/*
 * "item bigint NOT NULL, ": typed like the column of the source, arrays as
 * their elements, and without a length, so that a longer one needs no change.
 */
static char *
column_definition(const Kept *kept, KeptRole role, const char *name)
{
	CoziColumn	found;
	Oid			element;
	StringInfoData def;

	initStringInfo(&def);
	if (!kept_has(kept, role))
		return def.data;
	if (role == KEPT_SCOPE && kept_derives(kept))
		return psprintf("%s %s NOT NULL, ", kept->kind->scope,
						format_type_be(kept->kind->scope_type));
	stored_column(kept->source, NameStr(kept->columns[role]), &found);
	element = get_base_element_type(found.type);
	if (OidIsValid(element))
		found.type = element;
	appendStringInfo(&def, "%s %s", name,
					 format_type_extended(found.type, -1, FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(found.collation) && found.collation != get_typcollation(found.type))
	{
		HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(found.collation));
		Form_pg_collation coll = (Form_pg_collation) GETSTRUCT(tuple);

		appendStringInfo(&def, " COLLATE %s",
						 quote_qualified_identifier(get_namespace_name(coll->collnamespace),
													NameStr(coll->collname)));
		ReleaseSysCache(tuple);
	}
	appendStringInfoString(&def, " NOT NULL, ");
	return def.data;
}

static char *
computed_definitions(const Kept *kept)
{
	StringInfoData defs;

	initStringInfo(&defs);
	for (int i = 0; i < kept->kind->ncolumns; i++)
		appendStringInfo(&defs, "%s %s%s, ", kept->kind->names[i],
						 format_type_be(cozi_kept_computed_type(kept, i)),
						 kept->kind->nullable[i] ? "" : " NOT NULL");
	return defs.data;
}

/* The view of the public table with what is pending. */
void
cozi_kept_create_live(const Kept *kept, const char *name)
{
	Oid			beside = OidIsValid(kept->live) ? kept->live : kept->relation;
	char	   *namespace = get_namespace_name(get_rel_namespace(beside));

	cozi_run(cozi_statement("CREATE OR REPLACE VIEW {live} WITH (security_invoker = true) AS"
							" SELECT {key}, {columns} FROM ("
							"SELECT {key}, {columns}, false AS pending FROM {table}"
							" UNION ALL SELECT {key}, {columns}, true"
							" FROM {schema}._pending_rows(NULL::{table})) u"
							" WHERE CASE WHEN pending THEN {first} IS NOT NULL ELSE ({key}) NOT IN"
							" (SELECT {key} FROM {schema}._pending_rows(NULL::{table})) END",
							"live", quote_qualified_identifier(namespace, name),
							"table", cozi_qualified_name(kept->relation),
							"schema", cozi_schema_name(),
							"key", cozi_kept_key_columns(kept),
							"columns", cozi_kept_column_list(kept, ""),
							"first", kept->kind->names[0], NULL), SPI_OK_UTILITY);
}

/* The view has a new owner: it becomes what we made of it, whatever it was. */
void
cozi_kept_restore_live(const Kept *kept)
{
	CoziSavedUser saved;
	bool		own_ddl = cozi_kept_own_ddl;

	if (!OidIsValid(kept->live) || get_rel_name(kept->live) == NULL)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_switch_user(cozi_relation_owner(cozi_table("kept")), SECURITY_RESTRICTED_OPERATION,
					 &saved);
	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		cozi_kept_create_live(kept, get_rel_name(kept->live));
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = own_ddl;
	}
	PG_END_TRY();
	cozi_restore_user(&saved);
	SPI_finish();
}

static void
create_public(const Kept *kept, const char *table)
{
	bool		unlogged = get_rel_persistence(kept->source) == RELPERSISTENCE_UNLOGGED;
	char	   *scope = column_definition(kept, KEPT_SCOPE, "scope");
	char	   *item = column_definition(kept, KEPT_ITEM, kept->kind->item);

	cozi_run(cozi_statement("CREATE {unlogged} TABLE {table} ({first}{second}{computed}"
							"PRIMARY KEY ({key})) WITH (fillfactor = 90)",
							"unlogged", unlogged ? "UNLOGGED" : "",
							"table", table,
							"first", kept_derives(kept) ? item : scope,
							"second", kept_derives(kept) ? scope : item,
							"computed", computed_definitions(kept),
							"key", cozi_kept_key_columns(kept), NULL), SPI_OK_UTILITY);
}

/* The index of the order, after the fill, so that its pages are full. */
static void
create_order(const Kept *kept, const char *name)
{
	char	   *index = psprintf("%s_%s_idx", name, kept->kind->order);
	CoziSavedUser saved;

	cozi_switch_to_owner(kept->relation, &saved);
	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		cozi_run(cozi_statement("CREATE INDEX IF NOT EXISTS {index} ON {table}"
								" ({scope} {order} DESC, {item} DESC)",
								"index", quote_identifier(index),
								"table", cozi_qualified_name(kept->relation),
								"order", kept->kind->order, "item", kept->kind->item,
								"scope", kept_has(kept, KEPT_SCOPE) ? "scope," : "", NULL),
				 SPI_OK_UTILITY);
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = false;
	}
	PG_END_TRY();
	cozi_restore_user(&saved);
}

static void
create_relations(Kept *kept, const char *name, bool exists)
{
	Oid			namespace = get_rel_namespace(kept->source);
	char	   *table = quote_qualified_identifier(get_namespace_name(namespace), name);
	char	   *live = psprintf("%s_live", name);
	char	   *comment = psprintf("%s of %s, kept by cozi", kept->kind->name,
								   get_rel_name(kept->source));

	if (!exists)
		create_public(kept, table);
	kept->relation = get_relname_relid(name, namespace);
	cozi_kept_create_live(kept, live);
	kept->live = get_relname_relid(live, namespace);
	if (!exists)
		cozi_revoke_from_others(list_make2_oid(kept->relation, kept->live));
	cozi_run(cozi_statement("COMMENT ON TABLE {table} IS {text}", "table", table,
							"text", quote_literal_cstr(comment), NULL), SPI_OK_UTILITY);
	cozi_run(cozi_statement("COMMENT ON VIEW {live} IS"
							" 'the table with what is pending added: exact now'",
							"live", cozi_qualified_name(kept->live), NULL), SPI_OK_UTILITY);
}

/* Is there a table of that name, of the same shape, that nothing keeps? */
static bool
can_take_over(Kept *kept, const char *name)
{
	Oid			relid = get_relname_relid(name, get_rel_namespace(kept->source));
	Kept		other;
	char	   *misfit;

	if (!OidIsValid(relid))
		return false;
	if (cozi_kept_find(relid, &other))
	{
		if (other.adopted || other.has_closed)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("\"%s\" is %s already", name, other.kind->noun)));
		/* it came with a dump, and is counted anew */
		cozi_kept_forget(&other);
	}
	kept->relation = relid;
	misfit = cozi_kept_misfit(kept);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", name),
				 errdetail("It cannot be taken over: %s.", misfit),
				 errhint("Choose another name, or drop the table.")));
	return true;
}

static void
depend(Oid classid, Oid objid, Oid refclassid, Oid refobjid, DependencyType type)
{
	ObjectAddress object;
	ObjectAddress referenced;

	ObjectAddressSet(object, classid, objid);
	ObjectAddressSet(referenced, refclassid, refobjid);
	(void) deleteDependencyRecordsForSpecific(classid, objid, type, refclassid, refobjid);
	recordDependencyOn(&object, &referenced, type);
}

/*
 * The public table goes with its first source, and with the extension; another
 * source is not dropped without it.
 */
void
cozi_kept_depend(const Kept *kept)
{
	ListCell   *lc;

	depend(RelationRelationId, kept->relation, RelationRelationId, kept->source, DEPENDENCY_AUTO);
	depend(RelationRelationId, kept->relation, ExtensionRelationId,
		   get_extension_oid("cozi", false), DEPENDENCY_NORMAL);
	if (OidIsValid(kept->live))
		depend(RelationRelationId, kept->live, RelationRelationId, kept->source, DEPENDENCY_AUTO);
	foreach(lc, cozi_kept_relationships(kept->relation))
		depend(ProcedureRelationId, lfirst_oid(lc), RelationRelationId, kept->source,
			   DEPENDENCY_AUTO);
	foreach(lc, cozi_kept_sources(kept))
	{
		const Kept *source = lfirst(lc);

		if (source->nth > 0 && OidIsValid(source->source))
			depend(RelationRelationId, kept->relation, RelationRelationId, source->source,
				   DEPENDENCY_NORMAL);
	}
	CommandCounterIncrement();
}

/*
 * Create a kept table: its kind, source, columns and parameters are given.  One
 * of the same name and shape that nothing keeps is taken over and counted anew.
 */
void
cozi_kept_create(Kept *kept, const char *name, Oid item_table)
{
	CoziSavedUser saved;
	bool		exists;

	check_name(kept, name);
	cozi_require_owner(kept->source);
	check_usage(cozi_relation_owner(kept->source));
	kept->id = cozi_kept_new_id();
	kept->factor = kept->unit = 1;
	(void) cozi_kept_lock(kept->id, true);

	/* writers wait to the end, so that no row is counted twice or never */
	cozi_kept_lock_source(kept->source, ShareRowExclusiveLock);
	cozi_kept_check_source(kept);
	cozi_kept_check_leaves(kept);
	kept->kind->check(kept);
	exists = can_take_over(kept, name);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		cozi_switch_to_owner(kept->source, &saved);
		create_relations(kept, name, exists);
		cozi_restore_user(&saved);
		cozi_kept_write(kept, true);
		cozi_kept_adopt(kept);
		if (OidIsValid(item_table))
		{
			cozi_switch_to_owner(kept->source, &saved);
			cozi_kept_create_relationship(kept, item_table);
			cozi_restore_user(&saved);
		}
		cozi_kept_depend(kept);
		cozi_kept_watch(kept->source, true);
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = false;
	}
	PG_END_TRY();
	cozi_kept_fill(kept, !exists);
	if (kept->kind->order != NULL)
		create_order(kept, name);
	SPI_finish();
}

/* Drop a kept table.  Fails, as DROP TABLE would, when other objects depend on it. */
void
cozi_kept_drop(Oid relation, const char *wanted)
{
	Kept		kept;
	CoziSavedUser saved;

	cozi_kept_get_own(relation, wanted, &kept);
	(void) cozi_kept_lock(kept.id, true);
	cozi_kept_get_own(relation, wanted, &kept);
	cozi_kept_lock_sources(&kept, AccessExclusiveLock);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_kept_changed(&kept);
	cozi_kept_forget(&kept);
	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		ListCell   *lc;

		cozi_switch_to_owner(kept.relation, &saved);
		foreach(lc, cozi_kept_relationships(kept.relation))
			cozi_run(psprintf("DROP FUNCTION %s", format_procedure_qualified(lfirst_oid(lc))),
					 SPI_OK_UTILITY);
		if (OidIsValid(kept.live) && get_rel_name(kept.live) != NULL)
			cozi_run(psprintf("DROP VIEW %s", cozi_qualified_name(kept.live)), SPI_OK_UTILITY);
		cozi_run(psprintf("DROP TABLE %s", cozi_qualified_name(kept.relation)), SPI_OK_UTILITY);
		cozi_restore_user(&saved);
		cozi_kept_unwatch_sources(&kept, true);
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = false;
	}
	PG_END_TRY();
	SPI_finish();
}
