/*
 * kept/config.c
 *		The list of kept tables.
 *
 * cozi.kept is in every dump and names relations by text.  cozi.kept_local is
 * in no dump and has their OIDs: a row is written there when the kept table is
 * created or, after a restore, first folded (adopted).  Until then names are
 * resolved on use; later, names follow the OIDs.
 *
 * The law: the list is read as committed just now, never by an older snapshot.
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

static const CoziShape kept_table = {"kept", {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		NAMEOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID, INTERVALOID, FLOAT8OID, TEXTOID,
TEXTOID, TIMESTAMPTZOID, COZI_ADDED_LATER, BOOLOID}};

const CoziShape cozi_kept_local_table = {"kept_local", {INT4OID, OIDOID, OIDOID, OIDOID, OIDOID,
TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, INT8OID}};

/* The relation that a column of our tables names; invalid: it is not there. */
Oid
cozi_kept_named_relation(HeapTuple tuple, TupleDesc desc, int attnum)
{
	char	   *name = cozi_tuple_text(tuple, desc, attnum);
	List	   *names;
	Oid			namespace;

	if (name == NULL || !SplitIdentifierString(name, '.', &names) || list_length(names) != 2)
		return InvalidOid;
	namespace = get_namespace_oid(linitial(names), true);
	return OidIsValid(namespace) ? get_relname_relid(lsecond(names), namespace) : InvalidOid;
}

static void
read_kept(HeapTuple tuple, TupleDesc desc, void *arg)
{
	List	  **list = arg;
	Kept	   *kept = palloc0(sizeof(Kept));
	bool		isnull;
	Datum		value;

	kept->id = DatumGetInt32(cozi_getattr(tuple, KEPT_ID, desc, &isnull));
	value = cozi_getattr(tuple, KEPT_KIND, desc, &isnull);
	kept->kind = cozi_kept_find_kind(TextDatumGetCString(value));
	if (kept->kind == NULL)
		return;
	kept->relation = cozi_kept_named_relation(tuple, desc, KEPT_RELATION);
	kept->live = cozi_kept_named_relation(tuple, desc, KEPT_LIVE);
	kept->source = cozi_kept_named_relation(tuple, desc, KEPT_SOURCE);
	for (int role = 0; role < KEPT_ROLES; role++)
	{
		value = cozi_getattr(tuple, KEPT_FIRST_ROLE + role, desc, &isnull);
		if (!isnull)
			kept->columns[role] = *DatumGetName(value);
	}
	value = cozi_getattr(tuple, KEPT_HALF_LIFE, desc, &isnull);
	if (!isnull)
	{
		kept->half_life = *DatumGetIntervalP(value);
		kept->half_life_us = kept->half_life.day * USECS_PER_DAY + kept->half_life.time;
	}
	value = cozi_getattr(tuple, KEPT_DOWN_WEIGHT, desc, &isnull);
	kept->down_weight = isnull ? 0 : DatumGetFloat8(value);
	value = cozi_getattr(tuple, KEPT_BROKEN, desc, &isnull);
	kept->broken = isnull ? NULL : TextDatumGetCString(value);
	value = cozi_getattr(tuple, KEPT_CLOSED, desc, &isnull);
	kept->has_closed = !isnull;
	kept->closed = isnull ? 0 : DatumGetTimestampTz(value);
	value = cozi_getattr(tuple, KEPT_TRACKED, desc, &isnull);
	kept->tracked = !isnull && DatumGetBool(value);
	kept->factor = 1;
	kept->unit = 1;
	value = cozi_getattr(tuple, KEPT_TIME_ZONE, desc, &isnull);
	kept->time_zone = isnull ? NULL : TextDatumGetCString(value);
	*list = lappend(*list, kept);
}

static void
read_local(HeapTuple tuple, TupleDesc desc, void *arg)
{
	ListCell   *lc;
	bool		isnull;
	int32		id = DatumGetInt32(cozi_getattr(tuple, LOCAL_ID, desc, &isnull));

	foreach(lc, *(List **) arg)
	{
		Kept	   *kept = lfirst(lc);

		if (kept->id != id)
			continue;
		kept->adopted = true;
		kept->relation = DatumGetObjectId(cozi_getattr(tuple, LOCAL_RELATION, desc, &isnull));
		kept->live = DatumGetObjectId(cozi_getattr(tuple, LOCAL_LIVE, desc, &isnull));
		kept->source = DatumGetObjectId(cozi_getattr(tuple, LOCAL_SOURCE, desc, &isnull));
		kept->owner = DatumGetObjectId(cozi_getattr(tuple, LOCAL_OWNER, desc, &isnull));
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

/* All of them, also those that without_doubles() leaves out. */
List	   *
cozi_kept_all_and_doubles(void)
{
	List	   *list = NIL;

	cozi_read_table(&kept_table, read_kept, &list);
	if (list != NIL)
	{
		cozi_read_table(&cozi_kept_local_table, read_local, &list);
		cozi_kept_read_sources(list);
	}
	return list;
}

/* All kept tables, as committed just now. */
List	   *
cozi_kept_all(void)
{
	return without_doubles(cozi_kept_all_and_doubles());
}

/* Can this library read the list?  An error is for those whom it concerns. */
bool
cozi_kept_list_is_known(void)
{
	return cozi_knows(&kept_table) && cozi_knows(&cozi_kept_local_table) &&
		cozi_kept_sources_are_known();
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
	const KeptKind *kind = wanted ? cozi_kept_find_kind(wanted) : NULL;

	if (cozi_kept_find(relation, kept) &&
		(wanted == NULL || strcmp(kept->kind->name, wanted) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not %s", name,
					kind ? kind->noun : "a board, a counter or an activity"),
			 kind ? errhint("The view cozi.%s lists the %s.", kind->plural, kind->plural) :
			 errhint("The views cozi.boards, cozi.counters and cozi.activities list them.")));
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
	return kept_has(kept, KEPT_SCOPE) ?
		psprintf("%s, %s", cozi_kept_role_column(kept, KEPT_SCOPE), kept->kind->item) :
		kept->kind->item;
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
	Datum		value = cozi_getattr(tuple, LOCAL_ID, desc, &isnull);

	if (DatumGetInt32(value) != search->id)
		return;
	search->found = true;
	value = cozi_getattr(tuple, LOCAL_LAST_FOLD, desc, &isnull);
	search->local->last_fold = isnull ? 0 : DatumGetTimestampTz(value);
	value = cozi_getattr(tuple, LOCAL_LAST_ERROR, desc, &isnull);
	search->local->last_error = isnull ? NULL : TextDatumGetCString(value);
	value = cozi_getattr(tuple, LOCAL_STALLED_SINCE, desc, &isnull);
	search->local->stalled_since = isnull ? 0 : DatumGetTimestampTz(value);
}

bool
cozi_kept_local(int32 id, KeptLocal *local)
{
	LocalSearch search = {.id = id,.local = local};

	memset(local, 0, sizeof(KeptLocal));
	cozi_read_table(&cozi_kept_local_table, read_status, &search);
	return search.found;
}
