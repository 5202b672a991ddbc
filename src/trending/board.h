/*
 * trending/board.h
 *		What the files of the boards share.
 *
 * A board B on a table of votes is four relations in the votes' schema, all
 * owned by the votes' owner:
 *
 *		B			item, ups, downs, heat: what readers rank by
 *		B_tally		item, tally: the exact sums behind each row (trending/tally.c)
 *		B_delta		votes counted but not yet folded in: appended, never updated
 *		B_live		the view of both together: exact now
 *
 * and a row in cozi.board_config.  Statement triggers on the votes table (one
 * set for all its boards) append to B_delta in the voter's transaction
 * (trending/count.c); a fold moves what is there into B_tally and B
 * (trending/fold.c).
 *
 * The law: a vote is in exactly one of B_tally and B_delta, in every
 * snapshot.  Only a fold or a rebuild takes rows out of B_delta, in the one
 * transaction that adds them to B_tally, under the board's fold lock.
 */
#ifndef TRENDING_BOARD_H
#define TRENDING_BOARD_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "pure/decay.h"

/* ---- trending/tally.c ---- */

typedef struct TallyOctave
{
	int64		octave;
	int128		mass;
} TallyOctave;

typedef struct Tally
{
	int128		ups;
	int128		downs;
	int			noctaves;
	int			room;
	TallyOctave *octaves;		/* ascending, no mass of zero */
	MemoryContext context;		/* where octaves are */
} Tally;

extern void tally_init(Tally *tally);
extern void tally_vote(Tally *tally, int64 weight, TimestampTz at,
					   int64 half_life, int times);
extern bool tally_is_empty(const Tally *tally);
extern bytea *tally_encode(const Tally *tally);

/* ---- trending/board.c ---- */

/* The columns of cozi.board_config; keep in step with sql/trending/board.sql. */
enum
{
	Anum_board = 1, Anum_tally, Anum_delta, Anum_live, Anum_votes,
	Anum_item, Anum_weight, Anum_voted_at, Anum_scope,
	Anum_half_life, Anum_down_weight,
	Natts_board_config = Anum_down_weight
};

/* One row of cozi.board_config. */
typedef struct Board
{
	Oid			board;
	Oid			tally;
	Oid			delta;
	Oid			live;
	Oid			votes;
	NameData	item;
	NameData	weight;			/* empty: every vote weighs 1 */
	NameData	voted_at;
	NameData	scope;			/* empty: one ranking */
	Interval	half_life;
	int64		half_life_us;
	float8		down_weight;
} Board;

/* Who we were before acting as a table's owner. */
typedef struct SavedUser
{
	Oid			userid;
	int			context;
	int			nestlevel;
} SavedUser;

extern List *all_boards(void);
extern List *boards_on(Oid relid);
extern bool find_board(Oid boardid, Board *board);
extern void get_board(Oid boardid, Board *board);
extern void get_own_board(Oid boardid, Board *board);
extern void boards_changed(Oid votes);
extern Oid	config_relid(void);
extern Oid	relation_owner(Oid relid);
extern void become_owner(Oid relid, SavedUser *saved);
extern void become_again(const SavedUser *saved);
extern char *qualified_name(Oid relid);
extern void refuse_old_snapshot(const char *function);
extern const char *board_key(const Board *board);
extern void run_sql(const char *sql, int expected);

#define board_has_scope(b)	(NameStr((b)->scope)[0] != '\0')
#define board_has_weight(b) (NameStr((b)->weight)[0] != '\0')


/* ---- trending/create.c ---- */

extern void check_board_columns(const Board *board);
extern void watch_votes(Oid votes, bool watch);
extern void unregister_board(Oid boardid);
extern void drop_relations(const Board *board);

/* ---- trending/fold.c ---- */

extern bool lock_fold(Oid boardid, bool wait);
extern int64 fold_if_free(const Board *board, int64 interval, int64 max_rows);
extern void cozi_fold_init(void);

/* ---- trending/fold_commit.c ---- */

extern void fold_at_commit(const Board *board, int64 appended);
extern void cozi_fold_commit_init(void);

/* ---- trending/fold_plan.c ---- */

extern int64 run_fold(const Board *board, int64 max_rows, TimestampTz now);

/* ---- trending/fold_worker.c ---- */

extern bool fold_worker_runs(void);
extern void cozi_fold_worker_init(void);

/* ---- trending/rebuild.c ---- */

extern char *live_query(const Board *board, const char *now);
extern void fill_board(const Board *board);
extern void return_rows(FunctionCallInfo fcinfo);
extern void board_progress(void);

#endif							/* TRENDING_BOARD_H */
