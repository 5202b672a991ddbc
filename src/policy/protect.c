/*
 * policy/protect.c
 *		protect() and unprotect(): the policies of a table in one call.
 *
 * protect() checks everything, makes a list of statements, runs them as the
 * caller and returns them.  Run again, it replaces what it made before; what
 * was before the first time stays known (state.c).
 *
 * Locks: ACCESS EXCLUSIVE on the table and its children until the transaction
 * ends.  dry_run takes none.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/base.h"
#include "edge/edge.h"
#include "policy/policy.h"

enum
{
	ARG_REL, ARG_OWNER, ARG_VISIBILITY, ARG_GRP, ARG_FORCE, ARG_DRY_RUN, ARG_WORDS,
	ARG_PARENT, ARG_PARENT_KEY, ARG_DELETED_AT, ARG_OVERRIDE_ROLE
};

static void
column_argument(FunctionCallInfo fcinfo, int n, CoziColumn *column)
{
	if (!PG_ARGISNULL(n))
		namestrcpy(&column->name, NameStr(*PG_GETARG_NAME(n)));
}

static void
need(bool given, bool needed, const char *argument, const char *other)
{
	if (given && !needed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs %s", argument, other),
				 errhint("Name both columns, or neither.")));
}

static void
read_protection(FunctionCallInfo fcinfo, CoziProtection *p)
{
	memset(p, 0, sizeof(CoziProtection));
	cozi_require_argument(fcinfo, ARG_REL, "rel");
	cozi_require_argument(fcinfo, ARG_OWNER, "owner");
	cozi_require_argument(fcinfo, ARG_FORCE, "force");
	cozi_require_argument(fcinfo, ARG_DRY_RUN, "dry_run");
	p->rel = PG_GETARG_OID(ARG_REL);
	column_argument(fcinfo, ARG_OWNER, &p->owner);
	column_argument(fcinfo, ARG_VISIBILITY, &p->visibility);
	column_argument(fcinfo, ARG_GRP, &p->grp);
	column_argument(fcinfo, ARG_PARENT_KEY, &p->parent_key);
	column_argument(fcinfo, ARG_DELETED_AT, &p->deleted_at);
	p->force = PG_GETARG_BOOL(ARG_FORCE);
	p->dry_run = PG_GETARG_BOOL(ARG_DRY_RUN);
	if (!PG_ARGISNULL(ARG_WORDS))
		p->words = PG_GETARG_JSONB_P(ARG_WORDS);
	if (!PG_ARGISNULL(ARG_PARENT))
		p->parent = PG_GETARG_OID(ARG_PARENT);
	if (!PG_ARGISNULL(ARG_OVERRIDE_ROLE))
		p->override_role = text_to_cstring(PG_GETARG_TEXT_PP(ARG_OVERRIDE_ROLE));
	need(cozi_given(&p->grp), cozi_given(&p->visibility), "grp", "visibility");
	need(p->words != NULL, cozi_given(&p->visibility), "words", "visibility");
	need(OidIsValid(p->parent), cozi_given(&p->parent_key), "parent", "parent_key");
	need(cozi_given(&p->parent_key), OidIsValid(p->parent), "parent_key", "parent");
	if (p->override_role != NULL && p->override_role[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"override_role\" must not be empty")));
}

/* The caller's own table, locked unless it is a dry run. */
static Relation
open_table(Oid relid, bool lock)
{
	char		kind;

	cozi_require_owner(relid);
	kind = get_rel_relkind(relid);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		cozi_wrong_kind(get_rel_name(relid), "a table");
	if (lock)
	{
		LockRelationOid(relid, AccessExclusiveLock);
		cozi_require_owner(relid);
	}
	return table_open(relid, lock ? NoLock : AccessShareLock);
}

#define MADE_POLICIES "('cozi_select', 'cozi_insert', 'cozi_update', 'cozi_delete'," \
	" '" COZI_PROTECTED "')"

static bool
has_keep_owner(Oid relid)
{
	return cozi_strings("SELECT 1 FROM pg_trigger WHERE tgrelid = $1"
						" AND tgname = '" COZI_KEEP_OWNER "' AND tgparentid = 0", relid) != NIL;
}

/* Take away what protect() made, except for flags and the default. */
static List *
drop_made(Oid relid, const char *table)
{
	List	   *statements = NIL;
	ListCell   *cell;

	if (has_keep_owner(relid))
		statements = list_make1(psprintf("DROP TRIGGER " COZI_KEEP_OWNER " ON %s", table));
	foreach(cell, cozi_strings("SELECT polname FROM pg_policy WHERE polrelid = $1"
							   " AND polname IN " MADE_POLICIES " ORDER BY polname", relid))
		statements = lappend(statements,
							 psprintf("DROP POLICY %s ON %s", (char *) lfirst(cell), table));
	return statements;
}

/* Keep what was before the first protect(); refuse the owner's namesakes. */
static void
read_before(CoziProtection *p, Relation rel, Jsonb *state)
{
	List	   *namesakes;
	List	   *others;

	p->was_enabled = state ? cozi_state_flag(state, "was_enabled") : rel->rd_rel->relrowsecurity;
	p->was_forced = state ? cozi_state_flag(state, "was_forced") : rel->rd_rel->relforcerowsecurity;
	namesakes = cozi_strings("SELECT polname FROM pg_policy WHERE polrelid = $1 AND polname IN "
							 MADE_POLICIES, p->rel);
	if (state == NULL && namesakes != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" has a policy \"%s\" that protect() did not make",
						get_rel_name(p->rel), (char *) linitial(namesakes)),
				 errhint("Rename or drop it.")));
	others = cozi_strings("SELECT quote_ident(polname) FROM pg_policy WHERE polrelid = $1 AND "
						  "polpermissive AND polname NOT IN " MADE_POLICIES " ORDER BY polname",
						  p->rel);
	if (others != NIL)
		ereport(WARNING,
				(errmsg("table \"%s\" has other permissive policies: %s",
						get_rel_name(p->rel), cozi_joined(others)),
				 errdetail("A row that any permissive policy lets through is let through.")));
}

/* Has the owner column no default, and can it have one? */
static bool
needs_default(const CoziProtection *p)
{
	return cozi_strings(psprintf("SELECT 1 FROM pg_attribute WHERE attrelid = $1 AND attnum = %d"
								 " AND NOT atthasdef AND attidentity = '' AND attgenerated = ''",
								 p->owner.attnum), p->rel) != NIL;
}

static List *
plan_protection(CoziProtection *p, Relation rel)
{
	char	   *table = cozi_qualified_name(p->rel);
	Jsonb	   *state = cozi_policy_state(p->rel, COZI_PROTECTED);
	List	   *statements = NIL;
	bool		sets_default;
	ListCell   *cell;

#define add(template) statements = lappend(statements, cozi_protection_statement(p, template))
	cozi_check_protection(p, rel);
	read_before(p, rel, state);
	sets_default = needs_default(p);
	p->sets_default = sets_default || cozi_state_flag(state, "sets_default");
	if (state != NULL)
		statements = drop_made(p->rel, table);
	if (!cozi_owner_is_indexed(p))
		add("CREATE INDEX ON {table} ({owner})");
	if (sets_default)
		add("ALTER TABLE ONLY {table} ALTER COLUMN {owner} SET DEFAULT cozi.{uid}()");
	add("CREATE POLICY cozi_select ON {table} FOR SELECT USING ({sees})");
	add("CREATE POLICY cozi_insert ON {table} FOR INSERT WITH CHECK ({inserts})");
	add("CREATE POLICY cozi_update ON {table} FOR UPDATE USING ({owns}) WITH CHECK ({updates})");
	add("CREATE POLICY cozi_delete ON {table} FOR DELETE USING ({owns})");
	add("CREATE POLICY " COZI_PROTECTED " ON {table} AS RESTRICTIVE"
		" USING (cozi._protected({state}))");
	if (p->override_role != NULL)
		add("CREATE TRIGGER " COZI_KEEP_OWNER " BEFORE UPDATE OF {owner} ON {table}"
			" FOR EACH ROW EXECUTE FUNCTION cozi._keep_owner({role})");
	if (!rel->rd_rel->relrowsecurity)
		add("ALTER TABLE ONLY {table} ENABLE ROW LEVEL SECURITY");
	if (p->force && !rel->rd_rel->relforcerowsecurity)
		add("ALTER TABLE ONLY {table} FORCE ROW LEVEL SECURITY");
	if (!p->force && rel->rd_rel->relforcerowsecurity && !p->was_forced)
		add("ALTER TABLE ONLY {table} NO FORCE ROW LEVEL SECURITY");
#undef add
	foreach(cell, cozi_children(p->rel, !p->dry_run))
	{
		cozi_require_owner(lfirst_oid(cell));
		statements = list_concat(statements, cozi_close_child(lfirst_oid(cell), p->force));
	}
	return statements;
}

/* Run them, unless it is a dry run, and return them as rows. */
static void
run_and_return(FunctionCallInfo fcinfo, List *statements, bool dry_run)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	foreach(cell, statements)
	{
		Datum		value = CStringGetTextDatum(lfirst(cell));
		bool		isnull = false;

		if (!dry_run)
			cozi_run(lfirst(cell), SPI_OK_UTILITY);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
}

PG_FUNCTION_INFO_V1(cozi_protect);

/*
 * protect(rel regclass, owner name, visibility name, grp name, force boolean,
 *		dry_run boolean, words jsonb, parent regclass, parent_key name,
 *		deleted_at name, override_role text) -> setof text
 */
Datum
cozi_protect(PG_FUNCTION_ARGS)
{
	CoziProtection p;
	Relation	rel;
	List	   *statements;
	int			nestlevel;

	read_protection(fcinfo, &p);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	rel = open_table(p.rel, !p.dry_run);
	nestlevel = NewGUCNestLevel();
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	statements = plan_protection(&p, rel);
	table_close(rel, NoLock);
	run_and_return(fcinfo, statements, p.dry_run);
	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
	return (Datum) 0;
}

/* The default, where protect() set it and it is still a call of ours. */
static List *
drop_default(Oid relid, const char *table, Jsonb *state)
{
	char	   *owner = cozi_state_text(state, "owner");
	List	   *found;

	if (!cozi_state_flag(state, "sets_default") || owner == NULL)
		return NIL;
	found = cozi_strings("SELECT a.attname FROM pg_attrdef f"
						 " JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum"
						 " JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = "
						 "f.oid"
						 "  AND d.refclassid = 'pg_proc'::regclass"
						 " JOIN pg_proc p ON p.oid = d.refobjid AND p.proname IN ('uid', "
						 "'uid_bigint', 'uid_text')"
						 " WHERE f.adrelid = $1", relid);
	if (found == NIL)
		return NIL;
	return list_make1(psprintf("ALTER TABLE ONLY %s ALTER COLUMN %s DROP DEFAULT", table,
							   quote_identifier(linitial(found))));
}

/* A partition that was closed, and is detached by now. */
static List *
open_former_child(Oid relid)
{
	if (cozi_protected_ancestor(relid) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is closed because its parent is protected",
						get_rel_name(relid)),
				 errhint("Call cozi.unprotect() for the parent, or detach the table first.")));
	return cozi_open_child(relid);
}

static List *
plan_removal(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	Jsonb	   *state = cozi_policy_state(relid, COZI_PROTECTED);
	char	   *table = cozi_qualified_name(relid);
	List	   *statements;
	List	   *others;
	ListCell   *cell;

	if (state == NULL && cozi_policy_state(relid, COZI_CLOSED) != NULL)
		return open_former_child(relid);
	if (state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not protected", get_rel_name(relid)),
				 errhint("unprotect() drops the policies that protect() made, and no others.")));
	statements = list_concat(drop_made(relid, table), drop_default(relid, table, state));
	others = cozi_strings("SELECT quote_ident(polname) FROM pg_policy WHERE polrelid = $1"
						  " AND polname NOT IN " MADE_POLICIES " ORDER BY polname", relid);
	if (others != NIL && !cozi_state_flag(state, "was_enabled"))
		ereport(NOTICE,
				(errmsg("row-level security of table \"%s\" stays on for its other policies: %s",
						get_rel_name(relid), cozi_joined(others))));
	else if (!cozi_state_flag(state, "was_enabled"))
		statements = lappend(statements, cozi_statement("ALTER TABLE ONLY {table} DISABLE ROW "
														"LEVEL SECURITY",
														"table", table, NULL));
	if (rel->rd_rel->relforcerowsecurity && !cozi_state_flag(state, "was_forced"))
		statements = lappend(statements, cozi_statement("ALTER TABLE ONLY {table} NO FORCE ROW "
														"LEVEL SECURITY",
														"table", table, NULL));
	foreach(cell, cozi_children(relid, true))
		statements = list_concat(statements, cozi_open_child(lfirst_oid(cell)));
	return statements;
}

PG_FUNCTION_INFO_V1(cozi_unprotect);

/* unprotect(rel regclass) -> setof text */
Datum
cozi_unprotect(PG_FUNCTION_ARGS)
{
	Relation	rel;
	List	   *statements;
	int			nestlevel;

	cozi_require_argument(fcinfo, 0, "rel");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	rel = open_table(PG_GETARG_OID(0), true);
	nestlevel = NewGUCNestLevel();
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	statements = plan_removal(rel);
	table_close(rel, NoLock);
	run_and_return(fcinfo, statements, false);
	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
	return (Datum) 0;
}
