/*
 * kept/watch.c
 *		Watching a source: statement triggers on it and on each of its leaves.
 *
 * One set of triggers serves all kept tables of a source.  A trigger is made
 * with the OID of its function, so that the owner of the source needs no
 * privilege on the schema of the extension.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "kept/kept.h"

static const struct
{
	const char *name;
	int16		timing;
	int16		event;
	bool		old_rows;
	bool		new_rows;
}			triggers[] = {
	{"cozi_count_insert", TRIGGER_TYPE_AFTER, TRIGGER_TYPE_INSERT, false, true},
	{"cozi_count_update", TRIGGER_TYPE_AFTER, TRIGGER_TYPE_UPDATE, true, true},
	{"cozi_count_delete", TRIGGER_TYPE_AFTER, TRIGGER_TYPE_DELETE, true, false},
	{"cozi_count_truncate", TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_TRUNCATE, false, false},
};

/* Our triggers on a relation: a bit for each of those that are enabled, or all. */
static int
find_triggers(Oid relid, bool also_disabled)
{
	Oid			function = cozi_trigger_function("_count_rows");
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			found = 0;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		for (int i = 0; i < lengthof(triggers); i++)
			if (form->tgfoid == function && strcmp(NameStr(form->tgname), triggers[i].name) == 0 &&
				(also_disabled || form->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
				 form->tgenabled == TRIGGER_FIRES_ALWAYS))
				found |= 1 << i;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Has the relation all of our triggers, enabled? */
bool
cozi_kept_is_watched(Oid relid)
{
	return find_triggers(relid, false) == (1 << lengthof(triggers)) - 1;
}

/* A public table does: kept/create.c. */
static bool
depends_on_extension(Oid relid)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = ((Form_pg_depend) GETSTRUCT(tuple))->refclassid == ExtensionRelationId &&
			((Form_pg_depend) GETSTRUCT(tuple))->refobjid == get_extension_oid("cozi", true);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Is a relation watched, or part of a source that is, or a public table?  By the catalogs
 * alone, for those who cannot read the list.
 */
bool
cozi_kept_concerns(Oid relid)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_tree(relid, true))
		if (find_triggers(lfirst_oid(lc), true) != 0)
		return true;
	return depends_on_extension(relid);
}

/* A relation of the tree of a source that is not watched; invalid: all are. */
Oid
cozi_kept_unwatched(Oid source)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_tree(source, false))
		if (!cozi_kept_is_watched(lfirst_oid(lc)))
		return lfirst_oid(lc);
	return InvalidOid;
}

static TriggerTransition *
transition(bool is_new)
{
	TriggerTransition *rows = makeNode(TriggerTransition);

	rows->name = is_new ? "cozi_new" : "cozi_old";
	rows->isNew = is_new;
	rows->isTable = true;
	return rows;
}

static void
create_trigger(Oid relid, int i)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);

	stmt->trigname = unconstify(char *, triggers[i].name);
	stmt->funcname = list_make1(makeString("_count_rows"));
	stmt->timing = triggers[i].timing;
	stmt->events = triggers[i].event;
	if (triggers[i].old_rows)
		stmt->transitionRels = lappend(stmt->transitionRels, transition(false));
	if (triggers[i].new_rows)
		stmt->transitionRels = lappend(stmt->transitionRels, transition(true));
	(void) CreateTrigger(stmt, NULL, relid, InvalidOid, InvalidOid, InvalidOid,
						 cozi_trigger_function("_count_rows"), InvalidOid, NULL, false, false);
}

/* Put our triggers on a relation, or take them away, as its owner. */
static void
set_triggers(Oid relid, bool watch)
{
	CoziSavedUser saved;
	int			there = find_triggers(relid, true);

	cozi_switch_to_owner(relid, &saved);
	for (int i = 0; i < lengthof(triggers); i++)
	{
		if (watch && (there & (1 << i)) == 0)
			create_trigger(relid, i);
		else if (!watch)
			cozi_run(cozi_statement("DROP TRIGGER IF EXISTS {trigger} ON {relation}",
									"trigger", triggers[i].name,
									"relation", cozi_qualified_name(relid), NULL), SPI_OK_UTILITY);
	}
	cozi_restore_user(&saved);
	CommandCounterIncrement();
}

static void
refuse_foreign(Oid source, Oid partition)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" has a foreign partition, \"%s\"",
					get_rel_name(source), get_rel_name(partition)),
			 errdetail("Rows written on the other server would not be counted."),
			 errhint("Create one board on each shard"
					 " and merge their heats with cozi.heat_merge().")));
}

/*
 * Watch a relation with its partitions and children, or none of them; SPI is
 * connected.
 */
void
cozi_kept_watch(Oid source, bool watch)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_tree(source, false))
	{
		Oid			relid = lfirst_oid(lc);

		if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
			refuse_foreign(source, relid);
		if (watch ? !cozi_kept_is_watched(relid) : find_triggers(relid, true) != 0)
			set_triggers(relid, watch);
	}
}

/*
 * Lock a source with all its leaves: who writes a leaf directly holds no lock
 * on the source.
 */
void
cozi_kept_lock_source(Oid source, int lockmode)
{
	LockRelationOid(source, lockmode);
	/* it may have been dropped while we waited */
	(void) cozi_relation_name(source);
	(void) find_all_inheritors(source, lockmode, NULL);
}
