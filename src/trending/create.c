/*
 * trending/create.c
 *		Boards: creating and dropping them.
 *
 * Both work for whoever owns the votes table: what he owns is created as him
 * (become_owner), the list of boards and nothing else is written as the
 * extension's owner.
 *
 * The law: while a board comes or goes no voter is under way.  The votes
 * table is locked first, then the list is changed, then every session is told
 * (boards_changed).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "trending/trending.h"
#include "trending/board.h"

/* The longest of the names made from a board's own. */
#define SUFFIX_ROOM		(sizeof("_heat_idx") - 1)

/* ---------------------------------------------------------------------
 * Creating
 * ---------------------------------------------------------------------
 */

static Name
optional_name(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : PG_GETARG_NAME(arg);
}

static void
required(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/* The column's declared type, checked to be there and stored. */
static Oid
column_type(Oid relid, const char *column, int32 *typmod, Oid *collation)
{
	AttrNumber	attnum = get_attnum(relid, column);
	HeapTuple	tuple;
	Form_pg_attribute att;
	Oid			type;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						column, get_rel_name(relid))));
	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for attribute %d of relation %u", attnum, relid);
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	if (att->attgenerated != '\0' && att->attgenerated != 's')
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" is a virtual generated column", column),
				 errdetail("Its value is not in the rows that a trigger sees."),
				 errhint("Make it a STORED generated column.")));
	type = att->atttypid;
	if (typmod)
		*typmod = att->atttypmod;
	if (collation)
		*collation = att->attcollation;
	ReleaseSysCache(tuple);
	return type;
}

static void
check_column_type(Oid relid, const char *column, const char *what,
				  const Oid *allowed, const char *names)
{
	Oid			type = column_type(relid, column, NULL, NULL);
	Oid			base = getBaseType(type);

	for (; OidIsValid(*allowed); allowed++)
		if (*allowed == base)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of type %s cannot be the %s of a board",
					column, format_type_be(type), what),
			 errhint("It must be one of: %s.", names)));
}

/* "item bigint NOT NULL", typed like the votes' column; arrays as their elements. */
static char *
column_definition(const char *name, Oid relid, const char *column)
{
	int32		typmod;
	Oid			collation;
	Oid			type = column_type(relid, column, &typmod, &collation);
	Oid			element = get_base_element_type(type);
	StringInfoData def;

	if (OidIsValid(element))
		type = element;
	initStringInfo(&def);
	appendStringInfo(&def, "%s %s", name,
					 format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN |
										  FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation) && collation != get_typcollation(type))
	{
		HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
		Form_pg_collation coll;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for collation %u", collation);
		coll = (Form_pg_collation) GETSTRUCT(tuple);
		appendStringInfo(&def, " COLLATE %s",
						 quote_qualified_identifier(get_namespace_name(coll->collnamespace),
													NameStr(coll->collname)));
		ReleaseSysCache(tuple);
	}
	appendStringInfoString(&def, " NOT NULL");
	return def.data;
}

static void
refuse_foreign(Oid votes, Oid partition)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" has a foreign partition, \"%s\"",
					get_rel_name(votes), get_rel_name(partition)),
			 errdetail("Votes written on the other server would not be counted."),
			 errhint("Create one board on each shard and merge their heats with cozi.heat_merge().")));
}

/* The table of votes: ours to watch, and made of rows that a trigger sees. */
static void
check_votes(Oid votes)
{
	Relation	rel = table_open(votes, AccessShareLock);
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(rel))));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a temporary table cannot have a board"),
				 errhint("Create \"%s\" as an ordinary table.", RelationGetRelationName(rel))));
	if (has_superclass(votes))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is a partition or a child of another table",
						RelationGetRelationName(rel)),
				 errhint("Create the board on the parent: it counts the votes of all its partitions.")));
	if (IsSystemRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" is a system catalog", RelationGetRelationName(rel))));
	table_close(rel, AccessShareLock);
}

/* The four relations of a new board, by the name its owner gave it. */
static void
create_relations(Board *board, const char *name)
{
	char	   *schema = get_namespace_name(get_rel_namespace(board->votes));
	Oid			namespace = get_rel_namespace(board->votes);
	bool		scoped = board_has_scope(board);
	const char *scope = scoped ? "scope, " : "";
	char	   *item_def = column_definition("item", board->votes, NameStr(board->item));
	char	   *scope_def = scoped ?
	psprintf("%s, ", column_definition("scope", board->votes, NameStr(board->scope))) : "";
	const char *unlogged = get_rel_persistence(board->votes) == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "";
	char	   *tally_name = psprintf("%s_tally", name);
	char	   *delta_name = psprintf("%s_delta", name);
	char	   *live_name = psprintf("%s_live", name);
	char	   *b = quote_qualified_identifier(schema, name);
	char	   *t = quote_qualified_identifier(schema, tally_name);
	char	   *d = quote_qualified_identifier(schema, delta_name);
	char	   *l = quote_qualified_identifier(schema, live_name);

	run_sql(psprintf("CREATE %sTABLE %s (%s%s, ups bigint NOT NULL, downs bigint NOT NULL,"
					 " heat double precision NOT NULL, PRIMARY KEY (%sitem)) WITH (fillfactor = 90)",
					 unlogged, b, scope_def, item_def, scope), SPI_OK_UTILITY);
	run_sql(psprintf("CREATE INDEX %s ON %s (%sheat DESC, item DESC)",
					 quote_identifier(psprintf("%s_heat_idx", name)), b, scope), SPI_OK_UTILITY);
	run_sql(psprintf("CREATE %sTABLE %s (%s%s, tally bytea NOT NULL, PRIMARY KEY (%sitem))"
					 " WITH (fillfactor = 70)",
					 unlogged, t, scope_def, item_def, scope), SPI_OK_UTILITY);

	/* appended to and emptied all the time: vacuum by count, not by share */
	run_sql(psprintf("CREATE %sTABLE %s (%s%s, tally bytea NOT NULL, due timestamptz,"
					 " queued timestamptz NOT NULL) WITH (autovacuum_vacuum_scale_factor = 0,"
					 " autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0)",
					 unlogged, d, scope_def, item_def), SPI_OK_UTILITY);
	/* a publication FOR ALL TABLES would forbid a fold to delete from it */
	run_sql(psprintf("ALTER TABLE %s REPLICA IDENTITY FULL", d), SPI_OK_UTILITY);

	board->board = get_relname_relid(name, namespace);
	board->tally = get_relname_relid(tally_name, namespace);
	board->delta = get_relname_relid(delta_name, namespace);
	run_sql(psprintf("CREATE VIEW %s AS %s", l,
					 live_query(board, "pg_catalog.statement_timestamp()")), SPI_OK_UTILITY);
	board->live = get_relname_relid(live_name, namespace);

	run_sql(psprintf("COMMENT ON TABLE %s IS %s", b,
					 quote_literal_cstr(psprintf("board of %s, kept by cozi", get_rel_name(board->votes)))), SPI_OK_UTILITY);
	run_sql(psprintf("COMMENT ON TABLE %s IS 'exact sums behind the board, kept by cozi'", t), SPI_OK_UTILITY);
	run_sql(psprintf("COMMENT ON TABLE %s IS 'votes not yet folded into the board, kept by cozi'", d), SPI_OK_UTILITY);
	run_sql(psprintf("COMMENT ON VIEW %s IS 'the board with pending votes added: exact now'", l), SPI_OK_UTILITY);
}

/* As the extension's owner: the list is nobody else's to write. */
static void
register_board(const Board *board)
{
	Oid			types[Natts_board_config] = {OIDOID, OIDOID, OIDOID, OIDOID, OIDOID,
	NAMEOID, NAMEOID, NAMEOID, NAMEOID, INTERVALOID, FLOAT8OID};
	Datum		values[Natts_board_config];
	char		nulls[Natts_board_config + 1] = "           ";
	SavedUser	saved;

	values[Anum_board - 1] = ObjectIdGetDatum(board->board);
	values[Anum_tally - 1] = ObjectIdGetDatum(board->tally);
	values[Anum_delta - 1] = ObjectIdGetDatum(board->delta);
	values[Anum_live - 1] = ObjectIdGetDatum(board->live);
	values[Anum_votes - 1] = ObjectIdGetDatum(board->votes);
	values[Anum_item - 1] = NameGetDatum(&board->item);
	values[Anum_weight - 1] = NameGetDatum(&board->weight);
	values[Anum_voted_at - 1] = NameGetDatum(&board->voted_at);
	values[Anum_scope - 1] = NameGetDatum(&board->scope);
	values[Anum_half_life - 1] = IntervalPGetDatum(&board->half_life);
	values[Anum_down_weight - 1] = Float8GetDatum(board->down_weight);
	if (!board_has_weight(board))
		nulls[Anum_weight - 1] = 'n';
	if (!board_has_scope(board))
		nulls[Anum_scope - 1] = 'n';

	become_owner(config_relid(), &saved);
	if (SPI_execute_with_args("INSERT INTO cozi.board_config"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
							  Natts_board_config, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert into cozi.board_config");
	become_again(&saved);
}

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a board must not be empty")));
	if (strlen(name) + SUFFIX_ROOM >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("\"%s\" is too long for the name of a board", name),
				 errhint("Use at most %d bytes.", (int) (NAMEDATALEN - 1 - SUFFIX_ROOM))));
}

void
check_board_columns(const Board *board)
{
	static const Oid items[] = {INT2OID, INT4OID, INT8OID, UUIDOID, TEXTOID, VARCHAROID, InvalidOid};
	static const Oid weights[] = {INT2OID, INT4OID, INT8OID, InvalidOid};
	static const Oid times[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID, InvalidOid};

	check_column_type(board->votes, NameStr(board->item), "item", items,
					  "bigint, integer, smallint, uuid, text, varchar");
	if (board_has_weight(board))
		check_column_type(board->votes, NameStr(board->weight), "weight", weights,
						  "bigint, integer, smallint");
	check_column_type(board->votes, NameStr(board->voted_at), "time", times,
					  "timestamp with time zone, timestamp (read as UTC), date (UTC)");
	if (board_has_scope(board))
	{
		Oid			type = column_type(board->votes, NameStr(board->scope), NULL, NULL);
		Oid			element = get_base_element_type(type);

		type = getBaseType(OidIsValid(element) ? element : type);
		if (!OidIsValid(lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf) ||
			(type >= FirstNormalObjectId && get_typtype(type) != TYPTYPE_ENUM))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of type %s cannot be the scope of a board",
							NameStr(board->scope), format_type_be(type)),
					 errhint("It must be of a built-in type with an order, an enum, or an array of these.")));
	}
}

PG_FUNCTION_INFO_V1(cozi_create_board);

/*
 * create_board(board text, votes regclass, item name, weight name,
 *				voted_at name, scope name, half_life interval,
 *				down_weight float8) -> regclass
 *
 * weight NULL: every vote weighs 1.  scope NULL: one ranking.  Everything
 * else must be given.
 */
Datum
cozi_create_board(PG_FUNCTION_ARGS)
{
	static const char *const arguments[] = {"board", "votes", "item", NULL,
	"voted_at", NULL, "half_life", "down_weight"};
	Board		board = {0};
	char	   *name;
	SavedUser	saved;

	for (int i = 0; i < lengthof(arguments); i++)
		if (arguments[i] != NULL)
			required(fcinfo, i, arguments[i]);

	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	board.votes = PG_GETARG_OID(1);
	board.item = *PG_GETARG_NAME(2);
	if (optional_name(fcinfo, 3))
		board.weight = *PG_GETARG_NAME(3);
	board.voted_at = *PG_GETARG_NAME(4);
	if (optional_name(fcinfo, 5))
		board.scope = *PG_GETARG_NAME(5);
	board.half_life = *PG_GETARG_INTERVAL_P(6);
	board.half_life_us = cozi_half_life(&board.half_life);
	board.down_weight = PG_GETARG_FLOAT8(7);

	check_name(name);
	if (!(board.down_weight >= 0) || isinf(board.down_weight))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("down_weight must be a finite number of at least 0")));
	if (get_rel_name(board.votes) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", board.votes)));
	if (!object_ownercheck(RelationRelationId, board.votes, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(board.votes));

	refuse_old_snapshot("create_board");

	/*
	 * Voters wait from here to the end of the transaction: what is counted by
	 * the fill and what by the triggers must not overlap.
	 */
	LockRelationOid(board.votes, ShareRowExclusiveLock);
	check_votes(board.votes);
	check_board_columns(&board);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	become_owner(board.votes, &saved);
	create_relations(&board, name);
	become_again(&saved);
	register_board(&board);
	boards_changed(board.votes);
	CommandCounterIncrement();
	watch_votes(board.votes, true);
	fill_board(&board);
	SPI_finish();
	PG_RETURN_OID(board.board);
}

/* ---------------------------------------------------------------------
 * Watching a votes table
 * ---------------------------------------------------------------------
 */

static bool
is_watched(Oid relid)
{
	Oid			function = LookupFuncName(list_make2(makeString("cozi"), makeString("_count_votes")),
										  0, NULL, false);
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = ((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid == function;
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

static const char *const trigger_events[][2] = {
	{"cozi_count_insert", "AFTER INSERT ON %s REFERENCING NEW TABLE AS cozi_new"},
	{"cozi_count_update", "AFTER UPDATE ON %s REFERENCING OLD TABLE AS cozi_old NEW TABLE AS cozi_new"},
	{"cozi_count_delete", "AFTER DELETE ON %s REFERENCING OLD TABLE AS cozi_old"},
	{"cozi_count_truncate", "BEFORE TRUNCATE ON %s"},
};

/* Put our triggers on a relation, or take them away, as its owner. */
static void
set_triggers(Oid relid, bool watch)
{
	SavedUser	saved;
	char	   *name = qualified_name(relid);

	become_owner(relid, &saved);
	for (int i = 0; i < lengthof(trigger_events); i++)
	{
		if (watch)
			run_sql(psprintf("CREATE TRIGGER %s %s FOR EACH STATEMENT"
							 " EXECUTE FUNCTION cozi._count_votes()",
							 trigger_events[i][0], psprintf(trigger_events[i][1], name)),
					SPI_OK_UTILITY);
		else
			run_sql(psprintf("DROP TRIGGER IF EXISTS %s ON %s",
							 trigger_events[i][0], name), SPI_OK_UTILITY);
	}
	become_again(&saved);
}

/* A table of votes, its partitions and children, all watched, or none of them. */
void
watch_votes(Oid votes, bool watch)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(votes, NoLock, NULL))
	{
		Oid			relid = lfirst_oid(lc);

		if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
			refuse_foreign(votes, relid);
		if (is_watched(relid) != watch)
			set_triggers(relid, watch);
	}
}

/* ---------------------------------------------------------------------
 * Dropping
 * ---------------------------------------------------------------------
 */

void
unregister_board(Oid boardid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(boardid)};
	SavedUser	saved;

	become_owner(config_relid(), &saved);
	if (SPI_execute_with_args("DELETE FROM cozi.board_fold WHERE board = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE ||
		SPI_execute_with_args("DELETE FROM cozi.board_config WHERE board = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from cozi.board_config");
	become_again(&saved);
	CommandCounterIncrement();
}

/* Drop what is left of a board, as its owner. */
void
drop_relations(const Board *board)
{
	const Oid	relids[] = {board->live, board->delta, board->tally, board->board};

	for (int i = 0; i < lengthof(relids); i++)
	{
		SavedUser	saved;

		if (get_rel_name(relids[i]) == NULL)
			continue;
		become_owner(relids[i], &saved);
		run_sql(psprintf("DROP %s %s",
						 get_rel_relkind(relids[i]) == RELKIND_VIEW ? "VIEW" : "TABLE",
						 qualified_name(relids[i])), SPI_OK_UTILITY);
		become_again(&saved);
	}
}

PG_FUNCTION_INFO_V1(cozi_drop_board);

/*
 * drop_board(board regclass) -> void
 *
 * Voters wait while it runs.  Fails, as DROP TABLE would, when something of
 * the user's depends on the board.
 */
Datum
cozi_drop_board(PG_FUNCTION_ARGS)
{
	Board		board;

	get_own_board(PG_GETARG_OID(0), &board);
	LockRelationOid(board.votes, AccessExclusiveLock);
	get_own_board(PG_GETARG_OID(0), &board);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	unregister_board(board.board);
	boards_changed(board.votes);
	CommandCounterIncrement();
	drop_relations(&board);
	if (boards_on(board.votes) == NIL)
		watch_votes(board.votes, false);
	SPI_finish();
	PG_RETURN_VOID();
}
