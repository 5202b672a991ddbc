/*
 * kept/config.c
 *		The list of kept tables, and what a session caches of it.
 *
 * cozi.kept is in every dump and names relations by text.  cozi.kept_local is
 * in no dump and has their OIDs: a row is written there when the kept table is
 * created or, after a restore, first folded (adopted).  Until then names are
 * resolved on use; later, names follow the OIDs.
 *
 * Every statement of a writer looks the list up, so each session keeps what it
 * read, by source, until a relcache invalidation of the source or of cozi.kept.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "kept/kept.h"

/* The columns of cozi.kept and of cozi.kept_local; see sql/kept/kept.sql. */
enum
{
	KEPT_ID = 1, KEPT_KIND, KEPT_RELATION, KEPT_LIVE, KEPT_SOURCE,
	KEPT_FIRST_ROLE,			/* scope, item, value, at */
	KEPT_HALF_LIFE = KEPT_FIRST_ROLE + KEPT_ROLES, KEPT_DOWN_WEIGHT, KEPT_BROKEN
};

enum
{
	LOCAL_ID = 1, LOCAL_RELATION, LOCAL_LIVE, LOCAL_SOURCE, LOCAL_OWNER,
	LOCAL_LAST_FOLD, LOCAL_LAST_ERROR, LOCAL_STALLED_SINCE
};

/* What a session caches of a relation: the kept tables that it feeds. */
typedef struct SourceEntry
{
	Oid			relid;			/* hash key */
	List	   *kept;			/* of Kept; often NIL */
} SourceEntry;

static HTAB *sources = NULL;
static MemoryContext sources_context = NULL;
static bool sources_stale = false;

static Oid
text_datum_relation(Datum value, Oid *namespace)
{
	char	   *name = TextDatumGetCString(value);
	List	   *names;

	if (!SplitIdentifierString(name, '.', &names) || list_length(names) != 2)
		return InvalidOid;
	*namespace = get_namespace_oid(linitial(names), true);
	return OidIsValid(*namespace) ? get_relname_relid(lsecond(names), *namespace) : InvalidOid;
}

static Oid
named_relation(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);
	Oid			namespace;

	return isnull ? InvalidOid : text_datum_relation(value, &namespace);
}

static void
read_kept(HeapTuple tuple, TupleDesc desc, void *arg)
{
	List	  **list = arg;
	Kept	   *kept = palloc0(sizeof(Kept));
	bool		isnull;
	Datum		value;

	kept->id = DatumGetInt32(heap_getattr(tuple, KEPT_ID, desc, &isnull));
	value = heap_getattr(tuple, KEPT_KIND, desc, &isnull);
	kept->kind = cozi_kept_find_kind(TextDatumGetCString(value));
	if (kept->kind == NULL)
		return;
	kept->relation = named_relation(tuple, desc, KEPT_RELATION);
	kept->live = named_relation(tuple, desc, KEPT_LIVE);
	kept->source = named_relation(tuple, desc, KEPT_SOURCE);
	for (int role = 0; role < KEPT_ROLES; role++)
	{
		value = heap_getattr(tuple, KEPT_FIRST_ROLE + role, desc, &isnull);
		if (!isnull)
			kept->columns[role] = *DatumGetName(value);
	}
	value = heap_getattr(tuple, KEPT_HALF_LIFE, desc, &isnull);
	if (!isnull)
	{
		kept->half_life = *DatumGetIntervalP(value);
		kept->half_life_us = kept->half_life.day * USECS_PER_DAY + kept->half_life.time;
	}
	value = heap_getattr(tuple, KEPT_DOWN_WEIGHT, desc, &isnull);
	kept->down_weight = isnull ? 0 : DatumGetFloat8(value);
	value = heap_getattr(tuple, KEPT_BROKEN, desc, &isnull);
	kept->broken = isnull ? NULL : TextDatumGetCString(value);
	*list = lappend(*list, kept);
}

static void
read_local(HeapTuple tuple, TupleDesc desc, void *arg)
{
	ListCell   *lc;
	bool		isnull;
	int32		id = DatumGetInt32(heap_getattr(tuple, LOCAL_ID, desc, &isnull));

	foreach(lc, *(List **) arg)
	{
		Kept	   *kept = lfirst(lc);

		if (kept->id != id)
			continue;
		kept->adopted = true;
		kept->relation = DatumGetObjectId(heap_getattr(tuple, LOCAL_RELATION, desc, &isnull));
		kept->live = DatumGetObjectId(heap_getattr(tuple, LOCAL_LIVE, desc, &isnull));
		kept->source = DatumGetObjectId(heap_getattr(tuple, LOCAL_SOURCE, desc, &isnull));
		kept->owner = DatumGetObjectId(heap_getattr(tuple, LOCAL_OWNER, desc, &isnull));
	}
}

/*
 * Where the data of a dump were loaded into a database that had the kept table
 * already, there are two rows: the one that was created here counts.
 */
static List *
without_doubles(List *list)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *other;

	foreach(lc, list)
	{
		Kept	   *kept = lfirst(lc);
		bool		doubled = false;

		if (!kept->adopted)
			foreach(other, list)
		{
			Kept	   *first = lfirst(other);

			if (first->adopted && first->relation == kept->relation)
			{
				doubled = true;
				if (first->broken == NULL)
					first->broken = "the data of a dump was loaded beside it";
			}
		}
		if (!doubled)
			result = lappend(result, kept);
	}
	return result;
}

static List *
read_all(void)
{
	List	   *list = NIL;

	cozi_read_table("kept", read_kept, &list);
	if (list != NIL)
		cozi_read_table("kept_local", read_local, &list);
	return list;
}

/* All kept tables, as committed just now. */
List	   *
cozi_kept_all(void)
{
	return without_doubles(read_all());
}

static void
forget_source(Datum arg, Oid relid)
{
	/* cozi.kept itself is an entry of the cache */
	if (sources != NULL &&
		(!OidIsValid(relid) || hash_search(sources, &relid, HASH_FIND, NULL) != NULL))
		sources_stale = true;
}

static void
prepare_cache(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(SourceEntry)};
	Oid			config;
	SourceEntry *entry;

	if (sources_context == NULL)
	{
		sources_context = AllocSetContextCreate(CacheMemoryContext, "cozi kept tables",
												ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(forget_source, (Datum) 0);
	}
	else if (!sources_stale && sources != NULL)
		return;
	sources = NULL;
	MemoryContextReset(sources_context);
	ctl.hcxt = sources_context;
	sources = hash_create("cozi kept tables", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	sources_stale = false;
	config = cozi_table("kept");
	entry = hash_search(sources, &config, HASH_ENTER, NULL);
	entry->kept = NIL;
}

/* The rows of a partition or a child are its parents' too. */
static List *
self_and_ancestors(Oid relid)
{
	List	   *found = list_make1_oid(relid);
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);

	for (int i = 0; i < list_length(found); i++)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber,
					F_OIDEQ, ObjectIdGetDatum(list_nth_oid(found, i)));
		scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			found = list_append_unique_oid(found, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
		systable_endscan(scan);
	}
	table_close(inherits, AccessShareLock);
	return found;
}

static List *
copy_list(const List *list)
{
	List	   *copies = NIL;
	ListCell   *lc;

	foreach(lc, list)
	{
		Kept	   *copy = palloc(sizeof(Kept));

		*copy = *(Kept *) lfirst(lc);
		if (copy->broken != NULL)
			copy->broken = pstrdup(copy->broken);
		copies = lappend(copies, copy);
	}
	return copies;
}

/*
 * The kept tables that the rows of a relation feed.  They are found by their
 * source, never by what a trigger says: a trigger that an owner puts on a table
 * feeds nothing.
 */
List	   *
cozi_kept_on(Oid source)
{
	SourceEntry *entry;
	ListCell   *lc;
	List	   *relids;
	List	   *list = NIL;
	MemoryContext caller;

	prepare_cache();
	entry = hash_search(sources, &source, HASH_FIND, NULL);
	if (entry != NULL)
		return copy_list(entry->kept);

	relids = self_and_ancestors(source);
	foreach(lc, cozi_kept_all())
		if (list_member_oid(relids, ((Kept *) lfirst(lc))->source))
		list = lappend(list, lfirst(lc));

	/* reading may have brought an invalidation: then it is not kept */
	if (sources_stale)
		return list;
	caller = MemoryContextSwitchTo(sources_context);
	entry = hash_search(sources, &source, HASH_ENTER, NULL);
	entry->kept = copy_list(list);
	MemoryContextSwitchTo(caller);
	return list;
}

bool
cozi_kept_by_id(int32 id, Kept *kept)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_all())
		if (((Kept *) lfirst(lc))->id == id)
	{
		*kept = *(Kept *) lfirst(lc);
		return true;
	}
	return false;
}

bool
cozi_kept_find(Oid relation, Kept *kept)
{
	ListCell   *lc;

	if (!OidIsValid(relation))
		return false;
	foreach(lc, cozi_kept_all())
		if (((Kept *) lfirst(lc))->relation == relation)
	{
		*kept = *(Kept *) lfirst(lc);
		return true;
	}
	return false;
}

/* wanted: "board", or NULL for any kind */
void
cozi_kept_get(Oid relation, const char *wanted, Kept *kept)
{
	char	   *name = cozi_relation_name(relation);

	if (cozi_kept_find(relation, kept) &&
		(wanted == NULL || strcmp(kept->kind->name, wanted) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a %s", name, wanted ? wanted : "kept table"),
			 errhint("The view cozi.boards lists the boards.")));
}

/* A kept table that the caller may change: one of their own. */
void
cozi_kept_get_own(Oid relation, const char *wanted, Kept *kept)
{
	cozi_kept_get(relation, wanted, kept);
	cozi_require_owner(relation);
	if (!OidIsValid(kept->source) || get_rel_name(kept->source) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source of \"%s\" does not exist", get_rel_name(relation)),
				 errhint("Drop the table \"%s\".", get_rel_name(relation))));
	cozi_require_owner(kept->source);
}

bool
cozi_kept_may_see(const Kept *kept)
{
	return (OidIsValid(kept->relation) && get_rel_name(kept->relation) != NULL &&
			object_ownercheck(RelationRelationId, kept->relation, GetUserId())) ||
		has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/*
 * Is this a session that loads a dump?  What pg_dump writes says so at its
 * beginning, and nothing else does.
 */
bool
cozi_kept_restoring(void)
{
	return !check_function_bodies && !row_security;
}

/* The columns that name a row. */
const char *
cozi_kept_key_columns(const Kept *kept)
{
	return kept_has(kept, KEPT_SCOPE) ? "scope, item" : "item";
}

/* A statement on our own tables, as their owner. */
static void
execute(const char *template, int nargs, Oid *types, Datum *values, const char *nulls)
{
	CoziSavedUser saved;
	char	   *sql = cozi_statement(template,
									 "schema", quote_identifier(get_namespace_name(cozi_schema())),
									 NULL);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_switch_user(cozi_relation_owner(cozi_table("kept")), SECURITY_RESTRICTED_OPERATION, &saved);
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
	cozi_restore_user(&saved);
	SPI_finish();
	CommandCounterIncrement();
}

/* Every session forgets what it knows about a source and its leaves. */
void
cozi_kept_changed(const Kept *kept)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(kept->source, NoLock, NULL))
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	CacheInvalidateRelcacheByRelid(cozi_table("kept"));
}

/* A number that no kept table has, nor any in a dump that is likely to come. */
int32
cozi_kept_new_id(void)
{
	int32		id;
	Kept		kept;

	do
		id = (int32) (pg_prng_uint32(&pg_global_prng_state) & PG_INT32_MAX);
	while (id == 0 || cozi_kept_by_id(id, &kept));
	return id;
}

static Datum
name_datum(Oid relid, char *null)
{
	*null = ' ';
	if (OidIsValid(relid) && get_rel_name(relid) != NULL)
		return CStringGetTextDatum(cozi_qualified_name(relid));
	*null = 'n';
	return (Datum) 0;
}

/* Write the row of cozi.kept. */
void
cozi_kept_write(const Kept *kept, bool insert)
{
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NAMEOID, NAMEOID,
	NAMEOID, NAMEOID, INTERVALOID, FLOAT8OID, TEXTOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];

	memset(nulls, ' ', sizeof(nulls));
	nulls[lengthof(types)] = '\0';
	values[KEPT_ID - 1] = Int32GetDatum(kept->id);
	values[KEPT_KIND - 1] = CStringGetTextDatum(kept->kind->name);
	values[KEPT_RELATION - 1] = name_datum(kept->relation, &nulls[KEPT_RELATION - 1]);
	values[KEPT_LIVE - 1] = name_datum(kept->live, &nulls[KEPT_LIVE - 1]);
	values[KEPT_SOURCE - 1] = name_datum(kept->source, &nulls[KEPT_SOURCE - 1]);
	for (int role = 0; role < KEPT_ROLES; role++)
	{
		values[KEPT_FIRST_ROLE - 1 + role] = NameGetDatum(&kept->columns[role]);
		if (!kept_has(kept, role))
			nulls[KEPT_FIRST_ROLE - 1 + role] = 'n';
	}
	values[KEPT_HALF_LIFE - 1] = IntervalPGetDatum(&kept->half_life);
	values[KEPT_DOWN_WEIGHT - 1] = Float8GetDatum(kept->down_weight);
	values[KEPT_BROKEN - 1] = kept->broken ? CStringGetTextDatum(kept->broken) : (Datum) 0;
	if (kept->broken == NULL)
		nulls[KEPT_BROKEN - 1] = 'n';

	execute(insert ?
			"INSERT INTO {schema}.kept VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)" :
			"UPDATE {schema}.kept SET kind = $2, relation = coalesce($3, relation), live = $4,"
			" source = coalesce($5, source), scope = $6, item = $7, value = $8, at = $9,"
			" half_life = $10, down_weight = $11, broken = $12 WHERE id = $1",
			lengthof(types), types, values, nulls);
	if (OidIsValid(kept->source) && get_rel_name(kept->source) != NULL)
		cozi_kept_changed(kept);
}

/* Its OIDs are what the names mean in this database, and its owner was looked at. */
void
cozi_kept_adopt(Kept *kept)
{
	Oid			types[] = {INT4OID, OIDOID, OIDOID, OIDOID, OIDOID};
	Datum		values[lengthof(types)];

	kept->owner = cozi_relation_owner(kept->relation);
	values[0] = Int32GetDatum(kept->id);
	values[1] = ObjectIdGetDatum(kept->relation);
	values[2] = ObjectIdGetDatum(kept->live);
	values[3] = ObjectIdGetDatum(kept->source);
	values[4] = ObjectIdGetDatum(kept->owner);
	execute("INSERT INTO {schema}.kept_local AS l (id, relation, live, source, owner)"
			" VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET"
			" relation = $2, live = $3, source = $4, owner = $5",
			lengthof(types), types, values, NULL);
	kept->adopted = true;
	cozi_kept_changed(kept);
}

/* Delete everything that we have of a kept table. */
void
cozi_kept_forget(const Kept *kept)
{
	static const char *const tables[] = {"kept_state", "kept_state_unlogged", "kept_delta",
	"kept_delta_unlogged", "kept_aside"};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(kept->id)};

	for (int i = 0; i < lengthof(tables); i++)
		cozi_kept_delete_rows(tables[i], kept->id);
	execute("DELETE FROM {schema}.kept_local WHERE id = $1", 1, types, values, NULL);
	execute("DELETE FROM {schema}.kept WHERE id = $1", 1, types, values, NULL);
	CacheInvalidateRelcacheByRelid(cozi_table("kept"));
}

/* Forget what a dump has brought beside a kept table that was here already. */
void
cozi_kept_forget_doubles(const Kept *kept)
{
	ListCell   *lc;

	foreach(lc, read_all())
	{
		Kept	   *other = lfirst(lc);

		if (!other->adopted && other->id != kept->id && other->relation == kept->relation)
			cozi_kept_forget(other);
	}
}

/* It may no longer equal its source; NULL: it does. */
void
cozi_kept_set_broken(const Kept *kept, const char *reason)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(kept->id), reason ? CStringGetTextDatum(reason) : (Datum) 0};

	execute("UPDATE {schema}.kept SET broken = $2 WHERE id = $1"
			" AND broken IS DISTINCT FROM $2",
			lengthof(types), types, values, reason ? "  " : " n");
}

/* A fold went well (error NULL), or did not. */
void
cozi_kept_note(const Kept *kept, TimestampTz folded, const char *error)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID, TEXTOID};
	Datum		values[] = {Int32GetDatum(kept->id), TimestampTzGetDatum(folded),
	error ? CStringGetTextDatum(error) : (Datum) 0};

	execute(error == NULL ?
			"UPDATE {schema}.kept_local SET last_fold = $2, last_error = NULL,"
			" stalled_since = NULL WHERE id = $1" :
			"UPDATE {schema}.kept_local SET last_error = $3,"
			" stalled_since = coalesce(stalled_since, $2) WHERE id = $1",
			lengthof(types), types, values, error ? "   " : "  n");
}

typedef struct LocalSearch
{
	int32		id;
	KeptLocal  *local;
	bool		found;
} LocalSearch;

static void
read_status(HeapTuple tuple, TupleDesc desc, void *arg)
{
	LocalSearch *search = arg;
	bool		isnull;
	Datum		value = heap_getattr(tuple, LOCAL_ID, desc, &isnull);

	if (DatumGetInt32(value) != search->id)
		return;
	search->found = true;
	value = heap_getattr(tuple, LOCAL_LAST_FOLD, desc, &isnull);
	search->local->last_fold = isnull ? 0 : DatumGetTimestampTz(value);
	value = heap_getattr(tuple, LOCAL_LAST_ERROR, desc, &isnull);
	search->local->last_error = isnull ? NULL : TextDatumGetCString(value);
	value = heap_getattr(tuple, LOCAL_STALLED_SINCE, desc, &isnull);
	search->local->stalled_since = isnull ? 0 : DatumGetTimestampTz(value);
}

bool
cozi_kept_local(int32 id, KeptLocal *local)
{
	LocalSearch search = {.id = id,.local = local};

	memset(local, 0, sizeof(KeptLocal));
	cozi_read_table("kept_local", read_status, &search);
	return search.found;
}
