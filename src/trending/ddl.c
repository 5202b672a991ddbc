/*
 * trending/ddl.c
 *		Boards: keeping in step with the tables they count.
 *
 * Two event triggers keep the list of boards true: new partitions are watched
 * like their parents, renamed columns are followed, a board goes with its
 * votes table and cannot be dropped from under the triggers that feed it.
 * Both leave at once in a database without boards.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/base.h"
#include "trending/board.h"

/* The base type of a column, arrays as their elements. */
static Oid
key_type(Oid relid, const char *column)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Oid			type = attnum > 0 ? get_atttype(relid, attnum) : InvalidOid;
	Oid			element = OidIsValid(type) ? get_base_element_type(type) : InvalidOid;

	return OidIsValid(element) ? element : OidIsValid(type) ? getBaseType(type) : InvalidOid;
}

static void
refuse_type_change(const Board *board, const char *column, const char *key)
{
	if (key_type(board->votes, column) == getBaseType(key_type(board->board, key)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" is the %s of board \"%s\"",
					column, key, get_rel_name(board->board)),
			 errhint("Drop the board with cozi.drop_board(), change the column, and create the board again.")));
}

/*
 * A column that a board counts by was renamed: follow.  Returns whether the
 * name changed.
 */
static bool
follow_rename(const Board *board, NameData *column, int attnum)
{
	if (NameStr(*column)[0] == '\0' || get_attnum(board->votes, NameStr(*column)) > 0)
		return false;
	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop column \"%s\" because board \"%s\" counts by it",
						NameStr(*column), get_rel_name(board->board)),
				 errhint("Drop the board first with cozi.drop_board().")));
	namestrcpy(column, get_attname(board->votes, attnum, false));
	return true;
}

static void
update_columns(const Board *board)
{
	Oid			types[] = {OIDOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID};
	Datum		values[] = {ObjectIdGetDatum(board->board),
		NameGetDatum(&board->item), NameGetDatum(&board->weight),
	NameGetDatum(&board->voted_at), NameGetDatum(&board->scope)};
	SavedUser	saved;

	become_owner(config_relid(), &saved);
	if (SPI_execute_with_args("UPDATE cozi.board_config SET item = $2,"
							  " weight = nullif($3, ''), voted_at = $4, scope = nullif($5, '')"
							  " WHERE board = $1",
							  5, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not update cozi.board_config");
	become_again(&saved);
}

/* The votes have a new owner: so has the board, which is kept as its owner. */
static void
follow_owner(const Board *board)
{
	const Oid	relids[] = {board->board, board->tally, board->delta, board->live};
	Oid			owner = relation_owner(board->votes);
	SavedUser	saved;

	if (relation_owner(board->board) == owner)
		return;
	become_owner(config_relid(), &saved);
	for (int i = 0; i < lengthof(relids); i++)
		run_sql(psprintf("ALTER TABLE %s OWNER TO %s", qualified_name(relids[i]),
						 quote_identifier(GetUserNameFromId(owner, false))), SPI_OK_UTILITY);
	become_again(&saved);
}

/* A votes table was altered: columns may have other names, or other types. */
static void
follow_alter(const Board *board, int attnum)
{
	Board		changed = *board;
	bool		renamed = false;

	follow_owner(board);
	renamed |= follow_rename(board, &changed.item, attnum);
	renamed |= follow_rename(board, &changed.weight, attnum);
	renamed |= follow_rename(board, &changed.voted_at, attnum);
	renamed |= follow_rename(board, &changed.scope, attnum);
	if (renamed)
	{
		update_columns(&changed);
		boards_changed(board->votes);
		CommandCounterIncrement();
	}
	check_board_columns(&changed);
	refuse_type_change(&changed, NameStr(changed.item), "item");
	if (board_has_scope(&changed))
		refuse_type_change(&changed, NameStr(changed.scope), "scope");
}

PG_FUNCTION_INFO_V1(cozi_board_ddl);

/*
 * _board_ddl(): event trigger, at ddl_command_end of CREATE and ALTER TABLE.
 */
Datum
cozi_board_ddl(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_board_ddl() must be called as an event trigger")));
	if (all_boards() == NIL)
		PG_RETURN_NULL();

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	run_sql("SELECT objid, objsubid FROM pg_catalog.pg_event_trigger_ddl_commands()"
			" WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass",
			SPI_OK_SELECT);
	for (uint64 i = 0, n = SPI_processed; i < n; i++)
	{
		SPITupleTable *commands = SPI_tuptable;
		bool		isnull;
		Oid			relid = DatumGetObjectId(SPI_getbinval(commands->vals[i], commands->tupdesc, 1, &isnull));
		int			attnum = DatumGetInt32(SPI_getbinval(commands->vals[i], commands->tupdesc, 2, &isnull));
		ListCell   *lc;

		foreach(lc, boards_on(relid))
		{
			Board	   *board = lfirst(lc);

			if (board->votes == relid)
				follow_alter(board, attnum);
			watch_votes(board->votes, true);
		}
		SPI_tuptable = commands;
	}
	SPI_finish();
	PG_RETURN_NULL();
}

static bool
was_dropped(Oid relid, const Oid *dropped, uint64 ndropped)
{
	for (uint64 i = 0; i < ndropped; i++)
		if (dropped[i] == relid)
			return true;
	return false;
}

PG_FUNCTION_INFO_V1(cozi_board_dropped);

/*
 * _board_dropped(): event trigger, at sql_drop.
 */
Datum
cozi_board_dropped(PG_FUNCTION_ARGS)
{
	List	   *boards;
	Oid		   *dropped;
	uint64		ndropped;
	ListCell   *lc;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_board_dropped() must be called as an event trigger")));
	boards = all_boards();
	if (boards == NIL)
		PG_RETURN_NULL();

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	run_sql("SELECT objid FROM pg_catalog.pg_event_trigger_dropped_objects()"
			" WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass",
			SPI_OK_SELECT);
	ndropped = SPI_processed;
	dropped = palloc((ndropped + 1) * sizeof(Oid));
	for (uint64 i = 0; i < ndropped; i++)
	{
		bool		isnull;

		dropped[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}

	foreach(lc, boards)
	{
		Board	   *board = lfirst(lc);
		const Oid	parts[] = {board->board, board->tally, board->delta, board->live};

		if (get_rel_name(board->votes) == NULL)
		{
			unregister_board(board->board);
			drop_relations(board);
			continue;
		}
		for (int i = 0; i < lengthof(parts); i++)
			if (was_dropped(parts[i], dropped, ndropped) && get_rel_name(parts[i]) == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						 errmsg("cannot drop a part of a board by itself"),
						 errdetail("Votes in \"%s\" are counted into it.", get_rel_name(board->votes)),
						 errhint("Drop the board with cozi.drop_board(), or the votes with it.")));
		if (was_dropped(board->votes, dropped, ndropped))
			follow_alter(board, 0);
	}
	SPI_finish();
	PG_RETURN_NULL();
}
