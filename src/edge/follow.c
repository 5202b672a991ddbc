/*
 * edge/follow.c
 *		What other commands do to the tables of edges: event triggers, and the
 *		trigger on cozi.edge_config.
 *
 * After each command every edge is looked at, which costs nothing where there
 * are none.  A table that was renamed is followed; a command that breaks an
 * edge says so in a WARNING, at once, and what the edge now hides.
 *
 * The law: the trouble of an edge never makes the command of another role fail
 * or wait.  A row of edge_state that another session has locked is left to that
 * session.  No lock on a table is waited for or kept, and no code of the table's owner runs;
 * the session that holds a lock on the table follows it itself.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/base.h"
#include "edge/edge.h"

/* What edge_state and edge_config say of an edge; NULL where nothing. */
typedef struct Known
{
	NameData	edge;
	char	   *rel;
	char	   *owner;
	char	   *ids;
	char	   *trouble;
} Known;

/* A row of the query in read_known(). */
static Known *
make_known(HeapTuple tuple, TupleDesc desc)
{
	Known	   *known = palloc0(sizeof(Known));

	namestrcpy(&known->edge, SPI_getvalue(tuple, desc, 1));
	known->rel = SPI_getvalue(tuple, desc, 2);
	known->owner = SPI_getvalue(tuple, desc, 3);
	known->ids = SPI_getvalue(tuple, desc, 4);
	known->trouble = SPI_getvalue(tuple, desc, 5);
	return known;
}

static Known *
known_of(List *all, const char *edge)
{
	ListCell   *cell;

	foreach(cell, all)
	{
		Known	   *known = lfirst(cell);

		if (strcmp(NameStr(known->edge), edge) == 0)
			return known;
	}
	return NULL;
}

/* The same words, or nothing in both? */
static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Write two words about the edge down, where they are $2 and $3. */
static void
update(CoziEdgeConfig *config, const char *sql, const char *second, const char *third)
{
	Oid			types[] = {NAMEOID, TEXTOID, TEXTOID};
	Datum		values[] = {NameGetDatum(&config->name), (Datum) 0, (Datum) 0};
	char		nulls[] = {' ', second == NULL ? 'n' : ' ', third == NULL ? 'n' : ' '};

	if (second != NULL)
		values[1] = CStringGetTextDatum(second);
	if (third != NULL)
		values[2] = CStringGetTextDatum(third);
	(void) cozi_edge_execute(sql, 3, types, values, nulls);
}

static void
warn(const CoziEdgeConfig *config, const char *message, const char *hint)
{
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("edge \"%s\" %s", NameStr(config->name), message),
			 errdetail("%s", strcmp(NameStr(config->name), "blocked") == 0
					   ? "Until then everybody counts as blocked: policies that ask for it hide "
					   "all rows but the caller's own."
					   : "Until then nothing is an edge of that name: policies that ask for it "
					   "hide the rows it showed."),
			 errhint("%s", hint != NULL ? hint
					 : "Undo the change, or call cozi.drop_edge() and "
					 "cozi.register_edge() again.")));
}

/* Describe the edge and keep no lock; false while another session alters it. */
static bool
describe_at_once(CoziEdgeConfig *config, CoziEdge *edge)
{
	if (OidIsValid(config->rel) && !ConditionalLockRelationOid(config->rel, AccessShareLock))
		return false;
	cozi_describe_edge(edge, config);
	if (!OidIsValid(config->rel))
		return true;
	UnlockRelationOid(config->rel, AccessShareLock);
	if (get_rel_name(config->rel) != NULL)
		UnlockRelationOid(config->rel, AccessShareLock);
	return true;
}

/* Look at one edge, and write down what has changed. */
static void
follow(CoziEdgeConfig *config, const Known *known)
{
	CoziEdge	edge;
	char	   *rel = NULL;
	char	   *owner = NULL;

	if (!describe_at_once(config, &edge))
		return;
	if (OidIsValid(config->rel) && get_rel_name(config->rel) != NULL)
	{
		rel = cozi_qualified_name(config->rel);
		owner = GetUserNameFromId(cozi_relation_owner(config->rel), true);
	}
	if (edge.trouble != NULL && known->trouble == NULL)
		warn(config, psprintf("cannot be read any more: %s", edge.trouble), edge.hint);
	else if (edge.trouble == NULL && known->ids != NULL && !same(edge.ids, known->ids))
		warn(config, psprintf("has ids of other types: they led from %s, and lead from %s",
							  known->ids, edge.ids),
			 "Policies that ask with ids of the types that were must be made again.");
	if (!same(rel, known->rel) || (owner != NULL && !same(owner, known->owner)))
		update(config, "UPDATE cozi.edge_config SET rel = $2, owner = coalesce($3, owner) WHERE "
			   "edge = $1", rel, owner);
	if (!same(edge.trouble, known->trouble) || (edge.ids != NULL && !same(edge.ids, known->ids)))
		update(config, "UPDATE cozi.edge_state SET trouble = $2, ids = coalesce($3, ids)"
			   " WHERE edge = (SELECT edge FROM cozi.edge_state WHERE edge = $1"
			   " FOR UPDATE SKIP LOCKED)",
			   edge.trouble, edge.ids);
}

static List *
read_known(void)
{
	List	   *all = NIL;
	MemoryContext caller = CurrentMemoryContext;
	CoziSavedUser saved;

	cozi_switch_to_owner(cozi_table("edge_config"), &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_run("SELECT c.edge, c.rel, c.owner, s.ids, s.trouble FROM cozi.edge_config c JOIN "
			 "cozi.edge_state s USING (edge)",
			 SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		all = lappend(all, make_known(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	cozi_restore_user(&saved);
	return all;
}

static void
follow_all(void)
{
	List	   *configs = OidIsValid(cozi_table("edge_state")) ? cozi_edge_configs() : NIL;
	List	   *all;
	ListCell   *cell;

	if (configs == NIL)
		return;
	all = read_known();
	foreach(cell, configs)
	{
		CoziEdgeConfig *config = lfirst(cell);
		Known	   *known = known_of(all, NameStr(config->name));

		if (known != NULL)
			follow(config, known);
	}
}

PG_FUNCTION_INFO_V1(cozi_edge_follow);

/* _edge_follow() -> event_trigger: at ddl_command_end and sql_drop */
Datum
cozi_edge_follow(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"_edge_follow\" was not called by an event trigger")));
	follow_all();
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(cozi_edge_config_changed);

/*
 * _edge_config_changed() -> trigger: finds the tables of new registrations, also
 * of those that pg_restore has loaded, and tells all sessions to read them
 */
Datum
cozi_edge_config_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"_edge_config_changed\" was not called as a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	(void) cozi_edge_execute("DELETE FROM cozi.edge_state s"
							 " WHERE NOT EXISTS (SELECT FROM cozi.edge_config c WHERE c.edge = "
							 "s.edge)",
							 0, NULL, NULL, NULL);
	(void) cozi_edge_execute("INSERT INTO cozi.edge_state (edge, relid)"
							 " SELECT c.edge, pg_catalog.to_regclass(c.rel) FROM cozi.edge_config c"
							 " ON CONFLICT DO NOTHING", 0, NULL, NULL, NULL);
	return PointerGetDatum(NULL);
}

PG_FUNCTION_INFO_V1(cozi_edge_trouble);

/* _edge_trouble(edge name) -> text: why it cannot be read; NULL when it can */
Datum
cozi_edge_trouble(PG_FUNCTION_ARGS)
{
	CoziEdge	edge;

	if (!cozi_find_edge(NameStr(*PG_GETARG_NAME(0)), &edge))
		PG_RETURN_TEXT_P(cstring_to_text("it is not registered"));
	if (edge.trouble == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(edge.trouble));
}
