/*
 * trending/board.c
 *		Finding boards, and acting as their owner.
 *
 * What a board is stands in trending/board.h; the list of them is the table
 * cozi.board_config.  Every voter's statement looks it up, so each session
 * keeps what it read, by votes table, until a relcache invalidation of that
 * table: whoever changes the list must call boards_changed(), and does so
 * under a lock that keeps voters out.
 *
 * Everything a board needs done is done as the owner of the votes table, the
 * way foreign-key triggers do: under SECURITY_RESTRICTED_OPERATION, with RLS
 * not forced, and with a search_path of nobody's making.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "trending/trending.h"
#include "trending/board.h"

/* What a session remembers of a table: the boards its votes count for. */
typedef struct VotesEntry
{
	Oid			relid;			/* hash key */
	List	   *boards;			/* of Board; often NIL */
} VotesEntry;

static HTAB *votes_cache = NULL;
static MemoryContext votes_context = NULL;
static bool votes_cache_stale = false;

/* ---------------------------------------------------------------------
 * Acting as a table's owner
 * ---------------------------------------------------------------------
 */

Oid
relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
become_owner(Oid relid, SavedUser *saved)
{
	Oid			owner = relation_owner(relid);

	GetUserIdAndSecContext(&saved->userid, &saved->context);
	saved->nestlevel = NewGUCNestLevel();
	SetUserIdAndSecContext(owner, saved->context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
become_again(const SavedUser *saved)
{
	AtEOXact_GUC(false, saved->nestlevel);
	SetUserIdAndSecContext(saved->userid, saved->context);
}

char	   *
qualified_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

/* ---------------------------------------------------------------------
 * The list of boards
 * ---------------------------------------------------------------------
 */

Oid
config_relid(void)
{
	Oid			namespace = get_namespace_oid("cozi", true);

	return OidIsValid(namespace) ? get_relname_relid("board_config", namespace) : InvalidOid;
}

static void
read_name(HeapTuple tuple, TupleDesc desc, int attnum, NameData *name)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	if (isnull)
		memset(name, 0, sizeof(NameData));
	else
		*name = *DatumGetName(value);
}

static Board *
read_board(HeapTuple tuple, TupleDesc desc)
{
	Board	   *board = palloc0(sizeof(Board));
	bool		isnull;

	board->board = DatumGetObjectId(heap_getattr(tuple, Anum_board, desc, &isnull));
	board->tally = DatumGetObjectId(heap_getattr(tuple, Anum_tally, desc, &isnull));
	board->delta = DatumGetObjectId(heap_getattr(tuple, Anum_delta, desc, &isnull));
	board->live = DatumGetObjectId(heap_getattr(tuple, Anum_live, desc, &isnull));
	board->votes = DatumGetObjectId(heap_getattr(tuple, Anum_votes, desc, &isnull));
	read_name(tuple, desc, Anum_item, &board->item);
	read_name(tuple, desc, Anum_weight, &board->weight);
	read_name(tuple, desc, Anum_voted_at, &board->voted_at);
	read_name(tuple, desc, Anum_scope, &board->scope);
	board->half_life = *DatumGetIntervalP(heap_getattr(tuple, Anum_half_life, desc, &isnull));
	board->half_life_us = cozi_half_life(&board->half_life);
	board->down_weight = DatumGetFloat8(heap_getattr(tuple, Anum_down_weight, desc, &isnull));
	return board;
}

/*
 * All boards, as committed just now: a voter above READ COMMITTED must feed
 * a board younger than his snapshot.
 */
List	   *
all_boards(void)
{
	List	   *boards = NIL;
	Oid			relid = config_relid();
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return NIL;
	rel = table_open(relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		boards = lappend(boards, read_board(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return boards;
}

static void
forget_votes(Datum arg, Oid relid)
{
	if (votes_cache == NULL)
		return;
	if (!OidIsValid(relid) || hash_search(votes_cache, &relid, HASH_FIND, NULL) != NULL)
		votes_cache_stale = true;
}

static void
prepare_cache(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(VotesEntry)};

	if (votes_context == NULL)
	{
		votes_context = AllocSetContextCreate(CacheMemoryContext, "cozi boards",
											  ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(forget_votes, (Datum) 0);
	}
	else if (!votes_cache_stale && votes_cache != NULL)
		return;

	votes_cache = NULL;
	MemoryContextReset(votes_context);
	ctl.hcxt = votes_context;
	votes_cache = hash_create("cozi boards", 32, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	votes_cache_stale = false;
}

/* A partition's or a child's votes are its parents' too. */
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
copy_boards(const List *boards)
{
	List	   *copies = NIL;
	ListCell   *lc;

	foreach(lc, boards)
	{
		Board	   *copy = palloc(sizeof(Board));

		*copy = *(Board *) lfirst(lc);
		copies = lappend(copies, copy);
	}
	return copies;
}

/*
 * The boards that count the votes cast into a relation.  This is also what
 * keeps a trigger that somebody puts on a table of his own from feeding
 * anything: a board is found by its votes table, never by what a trigger says.
 */
List	   *
boards_on(Oid relid)
{
	VotesEntry *entry;
	bool		found;
	ListCell   *lc;

	prepare_cache();
	entry = hash_search(votes_cache, &relid, HASH_FIND, NULL);
	if (entry == NULL)
	{
		List	   *relids = self_and_ancestors(relid);
		List	   *boards = NIL;
		MemoryContext caller;

		foreach(lc, all_boards())
		{
			if (list_member_oid(relids, ((Board *) lfirst(lc))->votes))
				boards = lappend(boards, lfirst(lc));
		}

		/* reading may have brought an invalidation: then it is not kept */
		if (votes_cache_stale)
			return boards;
		caller = MemoryContextSwitchTo(votes_context);
		entry = hash_search(votes_cache, &relid, HASH_ENTER, &found);
		entry->boards = copy_boards(boards);
		MemoryContextSwitchTo(caller);
		return boards;
	}

	/* a copy: the cache may go while it is in use */
	return copy_boards(entry->boards);
}

/* Every session forgets what it knows about a votes table and its partitions. */
void
boards_changed(Oid votes)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(votes, NoLock, NULL))
		CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
}

bool
find_board(Oid boardid, Board *board)
{
	ListCell   *lc;

	foreach(lc, all_boards())
	{
		Board	   *each = lfirst(lc);

		if (each->board == boardid)
		{
			*board = *each;
			return true;
		}
	}
	return false;
}

void
get_board(Oid boardid, Board *board)
{
	char	   *name = get_rel_name(boardid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", boardid)));
	if (!find_board(boardid, board))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a board", name),
				 errhint("The view cozi.boards lists the boards.")));
}

/* A board the caller may change: his own. */
void
get_own_board(Oid boardid, Board *board)
{
	get_board(boardid, board);
	if (!object_ownercheck(RelationRelationId, boardid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(boardid));
}

/*
 * What reads the votes must see every vote committed before its lock: a
 * snapshot taken with the transaction's first statement may be older.
 */
void
refuse_old_snapshot(const char *function)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run in a transaction above READ COMMITTED", function),
				 errdetail("Its snapshot would be older than its lock."),
				 errhint("Run it on its own, or at READ COMMITTED.")));
}

void
run_sql(const char *sql, int expected)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != expected)
		elog(ERROR, "SPI_execute returned %s for: %s", SPI_result_code_string(result), sql);
}

/* The columns that name a row of the board, its tally and its delta. */
const char *
board_key(const Board *board)
{
	return board_has_scope(board) ? "scope, item" : "item";
}
