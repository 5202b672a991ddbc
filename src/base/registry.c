/*
 * base/registry.c
 *		The extension's own tables, and what sessions cache of them.
 *
 * Configuration that sessions cache (keys, revocations, edges, limits, shard
 * maps) has a trigger cozi._config_changed(), ENABLE ALWAYS, for each statement
 * and for TRUNCATE.  The trigger sends a relcache invalidation of its table at
 * commit, to all sessions and, by the WAL, to standbys; in its own session it
 * acts at the end of the command.  A COMMIT returns after the message was sent,
 * so that what starts later sees the change.
 *
 * The law: a lookup asks cozi_registry_generation() and nothing else: no scan
 * and no system call as long as nothing has changed.
 *
 * The schema is found by the extension's membership, never by its name.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"

static CoziRegistry *watched = NULL;

static Oid
find_schema(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("cozi"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return schema;
}

/*
 * The schema of the extension; invalid where it is not installed.  It cannot
 * be moved to another schema, so an OID that was right stays right for as long
 * as there is a schema of that OID.
 */
Oid
cozi_schema(void)
{
	static Oid	schema = InvalidOid;

	if (!OidIsValid(schema) || !SearchSysCacheExists1(NAMESPACEOID, ObjectIdGetDatum(schema)))
		schema = find_schema();
	return schema;
}

/* Its name, quoted where it must be. */
const char *
cozi_schema_name(void)
{
	return quote_identifier(get_namespace_name(cozi_schema()));
}

/* A table of the extension, or an index; invalid where there is none. */
Oid
cozi_table(const char *name)
{
	Oid			schema = cozi_schema();

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* A trigger function of the extension; invalid where there is none. */
Oid
cozi_trigger_function(const char *name)
{
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)),
						   ObjectIdGetDatum(cozi_schema()));
}

void
cozi_refuse_unknown(const char *table, bool library_is_older)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"cozi.%s\" is not the one that the library of cozi knows", table),
			 library_is_older ?
			 errhint("Connect again, or restart the server where cozi is preloaded: the"
					 " library that is loaded is older than the extension.") :
			 errhint("Run: ALTER EXTENSION cozi UPDATE;")));
}

/* The types of a shape; returns how many of them every release has. */
static int
list_types(const CoziShape *table, Oid *types, int *n)
{
	int			always = -1;

	*n = 0;
	for (const Oid *type = table->types; OidIsValid(*type); type++)
	{
		if (*type == COZI_ADDED_LATER)
			always = *n;
		else
			types[(*n)++] = *type;
	}
	return always < 0 ? *n : always;
}

/* Can it be read, and with to_write also be written?  What is not known stays NULL. */
static bool
is_known(TupleDesc desc, const CoziShape *table, bool to_write)
{
	Oid			types[lengthof(table->types)];
	int			n;
	int			always = list_types(table, types, &n);

	if (desc->natts < always)
		return false;
	for (int i = 0; i < Min(n, desc->natts); i++)
		if (TupleDescAttr(desc, i)->atttypid != types[i])
			return false;
	for (int i = n; to_write && i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attnotnull)
			return false;
	return true;
}

/*
 * Has a table of the extension the columns that this library reads and writes?  Not
 * where a column is another one than the library knows: to read a row, or to form one,
 * would crash.  False while an update runs: the event triggers that it fires have
 * nothing to follow yet.
 */
bool
cozi_is_known(Relation rel, const CoziShape *table, bool to_write)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (is_known(desc, table, to_write))
		return true;
	if (creating_extension)
		return false;
	cozi_refuse_unknown(table->name, is_known(desc, table, false));
}

/* The same to read, and without an error; true where there is no extension. */
bool
cozi_knows(const CoziShape *table)
{
	Oid			relid = cozi_table(table->name);
	Relation	rel;
	bool		known;

	if (!OidIsValid(relid) || creating_extension)
		return true;
	rel = table_open(relid, AccessShareLock);
	known = is_known(RelationGetDescr(rel), table, false);
	table_close(rel, AccessShareLock);
	return known;
}

/* Open a table of the extension that this library knows, and no other. */
Relation
cozi_open_table(const CoziShape *table, LOCKMODE mode)
{
	Oid			relid = cozi_table(table->name);
	Relation	rel = OidIsValid(relid) ? table_open(relid, mode) : NULL;

	if (rel == NULL || !cozi_is_known(rel, table, mode != AccessShareLock))
		cozi_refuse_unknown(table->name, false);
	return rel;
}

/* A row of n values: NULL in columns of a newer release, none for those it lacks. */
HeapTuple
cozi_form_tuple(Relation rel, const Datum *values, const bool *nulls, int n)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum		all_values[MaxHeapAttributeNumber];
	bool		all_nulls[MaxHeapAttributeNumber];

	for (int i = 0; i < desc->natts; i++)
	{
		all_nulls[i] = i >= n || nulls[i];
		all_values[i] = all_nulls[i] ? (Datum) 0 : values[i];
	}
	return heap_form_tuple(desc, all_values, all_nulls);
}

/* A column of a tuple; NULL where the table is of a release that has no such column. */
Datum
cozi_getattr(HeapTuple tuple, int attnum, TupleDesc desc, bool *isnull)
{
	*isnull = true;
	return attnum > desc->natts ? (Datum) 0 : heap_getattr(tuple, attnum, desc, isnull);
}

/* A text of a tuple; NULL for none. */
char	   *
cozi_tuple_text(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = cozi_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* A value of a tuple that is not NULL. */
Datum
cozi_tuple_value(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;

	return cozi_getattr(tuple, attnum, desc, &isnull);
}

/*
 * Call reader for each row of a table of the extension, as committed now: a
 * transaction above READ COMMITTED must see what changed since its snapshot.
 */
void
cozi_read_table(const CoziShape *table, CoziRowReader reader, void *arg)
{
	Oid			relid = cozi_table(table->name);
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return;
	rel = table_open(relid, AccessShareLock);
	if (cozi_is_known(rel, table, false))
	{
		scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			reader(tuple, RelationGetDescr(rel), arg);
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
}

static void
registry_changed(Datum arg, Oid relid)
{
	for (CoziRegistry *each = watched; each != NULL; each = each->next)
		if (!OidIsValid(relid) || !OidIsValid(each->relid) || each->relid == relid)
			each->generation++;
}

static void
watch(CoziRegistry *registry)
{
	if (watched == NULL)
		CacheRegisterRelcacheCallback(registry_changed, (Datum) 0);
	registry->next = watched;
	watched = registry;
	registry->generation = 1;
}

/*
 * A number that grows whenever the table may have changed, never 0.  What a
 * session fills its cache with must be read after this call, and kept only if
 * a second call returns the same number.
 */
uint64
cozi_registry_generation(CoziRegistry *registry)
{
	if (registry->generation == 0)
		watch(registry);
	/* what others have committed; free where there is nothing */
	AcceptInvalidationMessages();
	if (!OidIsValid(registry->relid) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(registry->relid)))
	{
		Oid			relid = cozi_table(registry->table);

		if (relid != registry->relid)
		{
			registry->relid = relid;
			registry->generation++;
		}
	}
	return registry->generation;
}

PG_FUNCTION_INFO_V1(cozi_config_changed);

/*
 * _config_changed() -> trigger: tells all sessions to read the table again
 */
Datum
cozi_config_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"_config_changed\" was not called as a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
