/*
 * edge/config.c
 *		The registrations of edges, as a session caches them.
 *
 * cozi.edge_config says which table an edge is: in words, because a dump must
 * name the same table or none.  cozi.edge_state says which relation that is in
 * this database, and is not dumped; follow.c keeps the two together.  An edge
 * without a row there is found by its name.
 *
 * The law: both tables are written through cozi_edge_execute() alone, as their
 * owner, under SECURITY_RESTRICTED_OPERATION.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/regproc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "edge/edge.h"

/* The columns of cozi.edge_config, and those of cozi.edge_state. */
enum
{
	Anum_edge_name = 1,
	Anum_edge_rel,
	Anum_edge_src,
	Anum_edge_dst,
	Anum_edge_status,
	Anum_edge_accepted,
	Anum_edge_expires_at,
	Anum_edge_deleted_at,
	Anum_edge_role,
	Anum_edge_roles,
	Anum_edge_owner
};

enum
{
	Anum_state_edge = 1,
	Anum_state_relid
};

static const CoziShape config_table = {"edge_config", {NAMEOID, TEXTOID, NAMEOID, NAMEOID,
NAMEOID, TEXTARRAYOID, NAMEOID, NAMEOID, NAMEOID, TEXTARRAYOID, NAMEOID}};

static const CoziShape state_table = {"edge_state", {NAMEOID, OIDOID, TEXTOID, TEXTOID}};

static CoziRegistry registry = {.table = "edge_config"};
static CoziRegistry state_registry = {.table = "edge_state"};
static MemoryContext context = NULL;
static List *configs = NIL;		/* of CoziEdgeConfig *, in the context */
static uint64 read_at = 0;
static uint64 state_read_at = 0;

static NameData
read_name(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);
	NameData	none = {""};

	return isnull ? none : *DatumGetName(value);
}

static List *
read_words(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);
	List	   *words = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			words = lappend(words, TextDatumGetCString(elements[i]));
	return words;
}

/* The relation of that qualified name; invalid when there is none. */
static Oid
relation_named(const char *name)
{
	List	   *names = stringToQualifiedNameList_compat(name);

	if (list_length(names) != 2)
		return InvalidOid;
	return get_relname_relid(strVal(lsecond(names)),
							 get_namespace_oid(strVal(linitial(names)), true));
}

static void
read_config(HeapTuple tuple, TupleDesc desc, void *arg)
{
	CoziEdgeConfig *config = palloc0(sizeof(CoziEdgeConfig));
	bool		isnull;
	Datum		rel = heap_getattr(tuple, Anum_edge_rel, desc, &isnull);

	config->name = read_name(tuple, desc, Anum_edge_name);
	if (!isnull)
		config->rel = relation_named(TextDatumGetCString(rel));
	config->src = read_name(tuple, desc, Anum_edge_src);
	config->dst = read_name(tuple, desc, Anum_edge_dst);
	config->status = read_name(tuple, desc, Anum_edge_status);
	config->accepted = read_words(tuple, desc, Anum_edge_accepted);
	config->expires_at = read_name(tuple, desc, Anum_edge_expires_at);
	config->deleted_at = read_name(tuple, desc, Anum_edge_deleted_at);
	config->role = read_name(tuple, desc, Anum_edge_role);
	config->roles = read_words(tuple, desc, Anum_edge_roles);
	config->owner = read_name(tuple, desc, Anum_edge_owner);
	configs = lappend(configs, config);
}

static CoziEdgeConfig *
find_config(const char *name)
{
	ListCell   *cell;

	foreach(cell, configs)
	{
		CoziEdgeConfig *config = lfirst(cell);

		if (strcmp(NameStr(config->name), name) == 0)
			return config;
	}
	return NULL;
}

static void
read_state(HeapTuple tuple, TupleDesc desc, void *arg)
{
	NameData	name = read_name(tuple, desc, Anum_state_edge);
	CoziEdgeConfig *config = find_config(NameStr(name));
	bool		isnull;
	Datum		relid = heap_getattr(tuple, Anum_state_relid, desc, &isnull);

	if (config != NULL)
		config->rel = isnull ? InvalidOid : DatumGetObjectId(relid);
}

/* The cached registrations, read again when one of the tables has changed. */
static void
refresh(void)
{
	uint64		now = cozi_registry_generation(&registry);
	uint64		state_now = cozi_registry_generation(&state_registry);
	MemoryContext old;

	if (context != NULL && read_at == now && state_read_at == state_now)
		return;
	if (context == NULL)
		context = AllocSetContextCreate(CacheMemoryContext, "cozi edges", ALLOCSET_SMALL_SIZES);
	read_at = 0;
	configs = NIL;
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	cozi_read_table(&config_table, read_config, NULL);
	cozi_read_table(&state_table, read_state, NULL);
	MemoryContextSwitchTo(old);
	read_at = now;
	state_read_at = state_now;
}

/*
 * A copy that outlives the cache, in the current memory context: whatever opens
 * a relation may let in the invalidation that empties it.
 */
static CoziEdgeConfig *
copy_config(const CoziEdgeConfig *config)
{
	CoziEdgeConfig *copy = palloc(sizeof(CoziEdgeConfig));
	ListCell   *cell;

	*copy = *config;
	copy->accepted = copy->roles = NIL;
	foreach(cell, config->accepted)
		copy->accepted = lappend(copy->accepted, pstrdup(lfirst(cell)));
	foreach(cell, config->roles)
		copy->roles = lappend(copy->roles, pstrdup(lfirst(cell)));
	return copy;
}

/* The registration of that name, palloc'd; NULL when there is none. */
CoziEdgeConfig *
cozi_edge_config(const char *name)
{
	CoziEdgeConfig *config;

	refresh();
	config = find_config(name);
	return config == NULL ? NULL : copy_config(config);
}

/* All registrations, palloc'd. */
List	   *
cozi_edge_configs(void)
{
	List	   *copies = NIL;
	ListCell   *cell;

	refresh();
	foreach(cell, configs)
		copies = lappend(copies, copy_config(lfirst(cell)));
	return copies;
}

/* Run SQL on the two tables with their owner's rights: rows written. */
uint64
cozi_edge_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	CoziSavedUser saved;
	uint64		rows;

	cozi_switch_to_owner(cozi_table("edge_config"), &saved);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	rows = SPI_processed;
	SPI_finish();
	cozi_restore_user(&saved);
	return rows;
}
