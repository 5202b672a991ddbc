/*
 * kept/kept.h
 *		Kept tables: what boards, counters and activities have in common.
 *
 * A kept table holds one row per key (an item, in a scope) of a source table, and is
 * right after every statement on the source. A kind of kept table (KeptKind) says what
 * a row of the source adds to the sum of its key, and which columns are made of a sum.
 * Everything else is here: watching the source, counting in the writer's transaction,
 * folding, rebuilding, DDL.
 *
 * Where it is kept:
 *
 *		the public table	the owner's, in the schema of the source: what people
 *							read.  Written as its owner, and only by folds
 *		cozi.kept			one row per kept table: configuration, by names
 *		cozi.kept_source	one row per source beside the first
 *		cozi.kept_state		the exact sum behind each row
 *		cozi.kept_delta		sums counted and not yet folded: appended by writers
 *		cozi.kept_aside		keys whose row the public table does not take
 *		cozi.kept_change	the number of the last change of each key, if tracked
 *		cozi.kept_local		what holds in this database alone: OIDs, the last
 *							fold, the last error
 *
 * State and delta of all kept tables are in fixed tables, members of the extension and
 * registered for dump, whose columns are integers, text, bytea and instants. So no
 * owner has an object on them or a name in them, pg_dump carries them as data, a dump
 * of the schema alone needs no privilege on them, and DROP EXTENSION leaves none.
 * (Tables of their own for each kept table were the alternative. Those take the owner's
 * types and collations, need a run-time dependency for each, and their names collide
 * when data is restored into a migrated database.) A key is stored as text; the id of a
 * kept table is a random number, so that the rows of a dump never meet those of another
 * kept table. For an UNLOGGED source there is an unlogged twin of state and of delta: a
 * crash empties them together with the source.
 *
 * The laws.
 *
 * An addition to a sum is in exactly one of state and delta, in every snapshot.
 * Only a fold or a rebuild takes rows out of the delta, in the one transaction
 * that adds them to the state, under the fold lock of the kept table.
 *
 * Locks are taken in one order: the fold lock, the source with its leaves, the
 * public table, the row of cozi.kept_local.
 *
 * State and delta are read and written below SQL, and no statement names both
 * them and a relation of an owner.  The public table is written as its owner, in
 * a security-restricted operation, after its shape was looked at.
 */
#ifndef COZI_KEPT_H
#define COZI_KEPT_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#include "base/base.h"

/* The columns of a source that a kind may read. */
typedef enum KeptRole
{
	KEPT_SCOPE,					/* part of the key; may be an array */
	KEPT_ITEM,					/* part of the key */
	KEPT_VALUE,					/* a number */
	KEPT_AT,					/* an instant */
	KEPT_COUNTED,				/* a boolean: only rows where it is true count */
	KEPT_WHO,					/* whose row it is: not counted by */
	KEPT_ROLES
} KeptRole;

struct KeptKind;

/*
 * One row of cozi.kept, with the relations that its names mean here, as one of
 * its sources feeds it: the first, or one of cozi.kept_source.
 */
typedef struct Kept
{
	int32		id;
	const struct KeptKind *kind;
	Oid			relation;		/* the public table; invalid: not there */
	Oid			live;			/* its view; invalid: dropped */
	Oid			source;
	bool		adopted;		/* has its row in cozi.kept_local */
	Oid			owner;			/* as of the last fold; of that row */
	NameData	columns[KEPT_ROLES];	/* empty: none */
	Interval	half_life;
	int64		half_life_us;
	float8		down_weight;
	char	   *broken;			/* why it may no longer equal its source */
	bool		has_closed;		/* rows dated before the next: closed.c */
	TimestampTz closed;
	bool		tracked;		/* changes are numbered: change.c */
	int32		nth;			/* which of its sources; 0: the first */
	float8		factor;			/* of the values of this source: several.c */
	int64		mantissa;		/* of the factor, in decimal */
	int32		scale;			/* mantissa / 10^scale is factor * unit */
	int64		unit;			/* 1; of several sources 1000: several.c */
	List	   *sources;		/* of Kept, one for each source; NIL: only one */
	char	   *time_zone;		/* of a derived scope; NULL: none */
} Kept;

#define kept_has(k, role)	(NameStr((k)->columns[role])[0] != '\0')

/* Is the scope derived from the instant?  columns[KEPT_SCOPE] is that column, too. */
#define kept_derives(k)		((k)->kind->scope_of != NULL)

/* The columns of cozi.kept and of cozi.kept_local; see sql/kept/kept.sql. */
enum
{
	KEPT_ID = 1, KEPT_KIND, KEPT_RELATION, KEPT_LIVE, KEPT_SOURCE,
	KEPT_FIRST_ROLE,			/* scope, item, value, at, counted, who */
	KEPT_HALF_LIFE = KEPT_FIRST_ROLE + KEPT_ROLES, KEPT_DOWN_WEIGHT, KEPT_BROKEN,
	KEPT_TIME_ZONE, KEPT_CLOSED, KEPT_TRACKED
};

enum
{
	SOURCE_KEPT = 1, SOURCE_NTH, SOURCE_RELATION, SOURCE_FIRST_COLUMN,
	SOURCE_FACTOR = SOURCE_FIRST_COLUMN + 4
};

enum
{
	LOCAL_ID = 1, LOCAL_RELATION, LOCAL_LIVE, LOCAL_SOURCE, LOCAL_OWNER,
	LOCAL_LAST_FOLD, LOCAL_LAST_ERROR, LOCAL_STALLED_SINCE, LOCAL_ERA
};

/* What a row of the source says. */
typedef struct KeptRow
{
	int64		value;			/* 1 without such a column */
	bool		is_null;		/* the value is NULL */
	struct NumericData *number; /* the value of a numeric column, else NULL */
	TimestampTz at;
	bool		is_closed;		/* dated before close_before() */
} KeptRow;

#define KEPT_MAX_COLUMNS 4

/*
 * A kind.  A sum is a structure of sum_size bytes in the memory context that is
 * current when it is initialized; its disk form is a bytea, the sum of nothing
 * the empty one.
 */
typedef struct KeptKind
{
	const char *name;			/* "board" */
	const char *noun;			/* "a board" */
	const char *plural;			/* "boards", as the view is called */
	const char *remove_source;	/* the function; NULL: it has one source */
	const char *item;			/* the key column of the public table: "item" */
	int			ncolumns;		/* that are made of a sum */
	const char *names[KEPT_MAX_COLUMNS];
	Oid			types[KEPT_MAX_COLUMNS];	/* invalid: value_type() */
	bool		nullable[KEPT_MAX_COLUMNS];
	const char *order;			/* the column that readers rank by, or NULL */
	bool		eager;			/* written by statements: kept/direct.c */
	bool		any_value;		/* value 0 or NULL counts; numeric may be */
	bool		timeless;		/* the instant says what is closed, no more */
	bool		steady;			/* most rows change nothing; passed by value */

	Size		sum_size;
	void		(*init) (void *sum);
	void		(*add_row) (void *sum, const Kept *kept, const KeptRow *row, int times);
	void		(*add_stored) (void *sum, const bytea *stored);
	bytea	   *(*store) (const void *sum);

	/* The columns of a sum; false if the key has no row. */
	bool		(*columns) (const void *sum, const Kept *kept, Datum *values, bool *nulls);

	/* The type of columns that depends on that of the value. */
	Oid			(*value_type) (const Kept *kept);

	/* An error unless the columns of the source will do. */
	void		(*check) (const Kept *kept);

	/*
	 * Where the scope is derived from the instant of a row: what it is
	 * called, its type, its text (NULL: the row counts nothing), and the same
	 * in SQL from an expression for the instant.  Without: the scope is a
	 * column.
	 */
	const char *scope;
	Oid			scope_type;
	char	   *(*scope_of) (const Kept *kept, TimestampTz at);
	char	   *(*scope_in_sql) (const Kept *kept, const char *at);

	/* What keeps it from being counted on this server; NULL: nothing. */
	char	   *(*misfit) (const Kept *kept);

	/* After a fold by the worker, in no transaction, or by fold(); or NULL. */
	void		(*folded) (const Kept *kept, bool by_call);
} KeptKind;

extern void cozi_kept_register_kind(const KeptKind *kind);
extern const KeptKind *cozi_kept_find_kind(const char *name);
extern void cozi_kept_init(void);

/* kept/config.c: the list of kept tables */
extern const CoziShape cozi_kept_local_table;
extern List *cozi_kept_all(void);
extern List *cozi_kept_on(Oid source);
extern List *cozi_kept_tree(Oid relid, bool upward);
extern bool cozi_kept_list_is_known(void);
extern bool cozi_kept_by_id(int32 id, Kept *kept);
extern bool cozi_kept_find(Oid relation, Kept *kept);
extern void cozi_kept_get(Oid relation, const char *wanted, Kept *kept);
extern void cozi_kept_get_own(Oid relation, const char *wanted, Kept *kept);
extern int32 cozi_kept_new_id(void);
extern void cozi_kept_write(const Kept *kept, bool insert);
extern void cozi_kept_write_source(const Kept *source, bool insert);
extern void cozi_kept_forget_source(const Kept *source);
extern void cozi_kept_adopt(Kept *kept);
extern void cozi_kept_new_era(const Kept *kept);
extern void cozi_kept_forget(const Kept *kept);
extern List *cozi_kept_all_and_doubles(void);
extern void cozi_kept_forget_doubles(const Kept *kept);
extern void cozi_kept_changed(const Kept *kept);
extern void cozi_kept_set_broken(const Kept *kept, const char *reason);
extern void cozi_kept_note(const Kept *kept, TimestampTz folded, const char *error);
extern bool cozi_kept_restoring(void);
extern bool cozi_kept_may_see(const Kept *kept);
extern const char *cozi_kept_key_columns(const Kept *kept);
extern Oid	cozi_kept_named_relation(HeapTuple tuple, TupleDesc desc, int attnum);

/* What cozi.kept_local says of a kept table. */
typedef struct KeptLocal
{
	TimestampTz last_fold;		/* 0: never */
	char	   *last_error;
	TimestampTz stalled_since;	/* 0: not stalled */
} KeptLocal;
extern bool cozi_kept_local(int32 id, KeptLocal *local);

/* kept/several.c: kept tables of several sources */
extern List *cozi_kept_sources(const Kept *kept);
extern void cozi_kept_read_sources(List *list);
extern bool cozi_kept_sources_are_known(void);
extern int64 cozi_kept_weigh(const Kept *kept, int64 value);
extern char *cozi_kept_weigh_in_sql(const Kept *kept, const char *value);
extern void cozi_kept_lock_sources(const Kept *kept, int lockmode);
extern bool cozi_kept_is_handed_over(const Kept *source);
extern void cozi_kept_unwatch_sources(const Kept *kept, bool wait);
extern void cozi_kept_add_source(Oid relation, const char *wanted, const Kept *given);
extern void cozi_kept_remove_source(Oid relation, const char *wanted, Oid source);

/* kept/key.c: keys, and sums by key */
typedef struct KeptKeyType
{
	Oid			type;			/* below domains, of an array its elements */
	Oid			collation;
	bool		is_array;
	bool		wide;			/* equality is wider than identity */
	Oid			output;
	Oid			input;
	Oid			ioparam;
	FmgrInfo	output_finfo;
	FmgrInfo	input_finfo;
	FmgrInfo   *hash_finfo;		/* of a wide type */
	FmgrInfo   *equal_finfo;
} KeptKeyType;

typedef struct KeptKey
{
	const char *scope;			/* NULL: the kept table has none */
	const char *item;
	int64		hash;
	TimestampTz due;			/* 0: now */
} KeptKey;

typedef struct KeptGroup
{
	KeptKey		key;
	uint32		hash;
	char		status;			/* simplehash's */
	void	   *sum;
} KeptGroup;

typedef struct KeptSums KeptSums;

extern bool cozi_kept_is_wide(Oid type, Oid collation);
extern void cozi_kept_key_type(KeptKeyType *type, Oid column_type, Oid collation);
extern char *cozi_kept_key_text(KeptKeyType *type, Datum value);
extern bool cozi_kept_settings_matter(const KeptKeyType *type);
extern int	cozi_kept_plain_settings(void);
extern KeptSums *cozi_kept_sums(const Kept *kept, MemoryContext parent);
extern void cozi_kept_hash_key(KeptSums *sums, KeptKey *key);
extern bool cozi_kept_same_key(KeptSums *sums, const KeptKey *a, const KeptKey *b);
extern KeptGroup *cozi_kept_group(KeptSums *sums, const KeptKey *key, bool create);
extern int64 cozi_kept_groups(KeptSums *sums);
extern KeptGroup **cozi_kept_list(KeptSums *sums, int *n);
extern void cozi_kept_reset(KeptSums *sums);
extern MemoryContext cozi_kept_context(KeptSums *sums);

/* kept/store.c, kept/delta.c: state and delta, below SQL */
typedef struct KeptStore
{
	int32		id;
	Relation	delta;
	Oid			delta_index;
	struct ResultRelInfo *delta_indexes;	/* a CatalogIndexState */
	Relation	state;
	Oid			state_index;
	struct ResultRelInfo *state_indexes;

	/* the row that cozi_kept_state() has looked for */
	bool		found;
	ItemPointerData tid;
	int16		n;
} KeptStore;

struct SnapshotData;

extern KeptStore *cozi_kept_open(const Kept *kept, bool for_write);
extern KeptStore *cozi_kept_open_delta(const Kept *kept);
extern void cozi_kept_close(KeptStore *store);
extern bool cozi_kept_is_unlogged(Oid relid);
extern void cozi_kept_append(KeptStore *store, const KeptGroup *group, const bytea *sum,
							 TimestampTz ready, TimestampTz now);
extern int64 cozi_kept_take(KeptStore *store, KeptSums *sums, struct SnapshotData *snapshot,
							TimestampTz now, int64 max_rows, const Kept *kept);
extern void cozi_kept_settle(KeptStore *store, KeptSums *sums, struct SnapshotData *snapshot,
							 KeptGroup *group, TimestampTz now, const Kept *kept);
extern void cozi_kept_merge(const Kept *kept, int64 max_rows);
extern bool cozi_kept_delta_is_ready(KeptStore *store, struct SnapshotData *snapshot);
extern bool cozi_kept_pending(const Kept *kept, KeptSums *sums, struct SnapshotData *snapshot,
							  TimestampTz now);
extern bytea *cozi_kept_state(KeptStore *store, KeptSums *sums, struct SnapshotData *snapshot,
							  const KeptKey *key);
extern void cozi_kept_save(KeptStore *store, struct SnapshotData *snapshot,
						   const KeptKey *key, const bytea *sum);
extern void cozi_kept_insert_state(KeptStore *store, KeptSums *sums,
								   struct SnapshotData *snapshot, const KeptKey *key,
								   const bytea *sum);
extern void cozi_kept_add_sum(const Kept *kept, KeptSums *sums, KeptGroup *group,
							  HeapTuple tuple, TupleDesc desc, int attnum);
extern void cozi_kept_states_of_item(KeptStore *store, const Kept *kept, KeptSums *sums,
									 struct SnapshotData *snapshot, const char *item);
extern KeptStore *cozi_kept_open_closed(const Kept *kept, bool for_write);
extern void cozi_kept_read_key(KeptStore *store, HeapTuple tuple, KeptKey *key);
extern void cozi_kept_add_state(KeptStore *store, const Kept *kept, KeptSums *sums,
								KeptGroup *group, HeapTuple tuple);
extern struct SysScanDescData *cozi_kept_scan_state(KeptStore *store,
													struct SnapshotData *snapshot);
extern void cozi_kept_empty(KeptStore *store, struct SnapshotData *snapshot);
extern void cozi_kept_move(const Kept *kept, bool to_unlogged);

typedef struct KeptCounts
{
	int64		pending;
	int64		future;
	TimestampTz oldest;			/* 0: none pending */
} KeptCounts;

extern void cozi_kept_count(const Kept *kept, KeptCounts *counts);
extern void cozi_kept_put_text(Datum *values, bool *nulls, int attnum, const char *text);
extern struct SysScanDescData *cozi_kept_scan(Relation rel, Oid index, int32 id,
											  struct SnapshotData *snapshot);

/* kept/aside.c */
extern void cozi_kept_set_aside(const Kept *kept, const KeptKey *key, const char *error);
extern void cozi_kept_not_aside(const Kept *kept, KeptSums *sums);
extern int64 cozi_kept_asides(const Kept *kept, char **example);
extern void cozi_kept_delete_rows(const char *table, int32 id);

/* kept/hidden.c */
typedef struct KeptHidden KeptHidden;

extern KeptHidden *cozi_kept_open_hidden(const Kept *kept, KeptSums *sums,
										 struct SnapshotData *snapshot);
extern void cozi_kept_close_hidden(KeptHidden *hidden);
extern bool cozi_kept_is_hidden(KeptHidden *hidden, const KeptKey *key);
extern Datum cozi_kept_hidden_items(const Kept *kept, struct SnapshotData *snapshot);

/* kept/misfit.c, kept/public.c: the public table */
typedef struct KeptPublicRow
{
	KeptKey		key;
	bool		exists;			/* false: the key has no row */
	Datum		values[KEPT_MAX_COLUMNS];
	bool		nulls[KEPT_MAX_COLUMNS];
} KeptPublicRow;

extern Oid	cozi_kept_computed_type(const Kept *kept, int column);
extern const char *cozi_kept_role_column(const Kept *kept, KeptRole role);
extern char *cozi_kept_misfit(const Kept *kept);
extern char *cozi_kept_foreign_code(Oid relid);
extern bool cozi_kept_has_domain(Oid relid);
extern char *cozi_kept_handed_over(const Kept *kept);
extern char *cozi_kept_column_type(Oid relid, const char *column);
extern void cozi_kept_publish(const Kept *kept, KeptPublicRow *rows, int n, bool was_empty);
extern char *cozi_kept_all_scopes(const Kept *kept);
extern char *cozi_kept_column_list(const Kept *kept, const char *prefix);
extern void cozi_kept_arrays(const Kept *kept, const KeptPublicRow *rows, int n, Datum *arrays);
extern Datum cozi_kept_exists_array(const KeptPublicRow *rows, int n);
extern char *cozi_kept_arrays_as_rows(const Kept *kept);
extern Oid *cozi_kept_array_types(const Kept *kept);

/* kept/create.c, kept/watch.c */
extern void cozi_kept_create(Kept *kept, const char *name, Oid item_table);
extern void cozi_kept_check_source(const Kept *kept);
extern void cozi_kept_check_column(const Kept *kept, KeptRole role, const char *what,
								   const Oid *allowed, const char *names);
extern void cozi_kept_check_scope(const Kept *kept);
extern void cozi_kept_create_live(const Kept *kept, const char *name);
extern void cozi_kept_restore_live(const Kept *kept);
extern List *cozi_kept_relationships(Oid relation);
extern char *cozi_kept_primary_key(Oid relid, bool alone);
extern void cozi_kept_create_relationship(const Kept *kept, Oid relid);
extern void cozi_kept_depend(const Kept *kept);
extern void cozi_kept_watch(Oid source, bool watch);
extern bool cozi_kept_is_watched(Oid relid);
extern bool cozi_kept_concerns(Oid relid);
extern Oid	cozi_kept_unwatched(Oid source);
extern void cozi_kept_lock_source(Oid source, int lockmode);
extern void cozi_kept_drop(Oid relation, const char *wanted);
extern bool cozi_kept_own_ddl;	/* DDL that we run: not refused */

/* kept/fold.c and its callers */
typedef enum KeptFoldMode
{
	MERGE_AT_COMMIT,			/* only merges what no fold can move now */
	FOLD_AT_COMMIT,				/* waits for nothing, runs no foreign code */
	FOLD_BY_WORKER,				/* waits for no lock of a table */
	FOLD_BY_CALL
} KeptFoldMode;

extern bool cozi_kept_lock(int32 id, bool wait);

/* The class of our advisory locks: SQL's have 1 or 2 in the fourth field. */
#define KEPT_LOCK_CLASS 3

/* kept/direct.c */
extern int	cozi_kept_take_slots(const Kept *kept, KeptStore *store, KeptGroup **groups, int n,
								 TimestampTz now);
extern void cozi_kept_exclude_writers(const Kept *kept);
extern int64 cozi_kept_write_directly(const Kept *kept, KeptSums *sums, KeptGroup **groups,
									  int n);
extern void cozi_kept_accept(Kept *kept);
extern int64 cozi_kept_fold(Kept *kept, int64 max_rows);
extern int64 cozi_kept_fold_safely(int32 id, int64 max_rows, int64 interval,
								   KeptFoldMode mode, int time_limit, char **failure);
extern bool cozi_kept_limit_exceeded(void);
extern void cozi_kept_fold_at_commit(const Kept *kept, int64 appended);
extern bool cozi_kept_worker_runs(void);
extern void cozi_kept_call_worker(void);

/* What the worker does beside folding; is there more to do soon? */
typedef bool (*KeptJob) (void);
extern void cozi_kept_add_job(KeptJob job);
extern void cozi_kept_fold_init(void);
extern void cozi_kept_fold_commit_init(void);
extern void cozi_kept_worker_init(void);
extern void cozi_kept_prepared_init(void);

/* kept/ddl.c, kept/follow.c, kept/leaf.c, kept/dropped.c */
struct CollectedCommand;
extern void cozi_kept_refuse_if_concerned(Oid classid, Oid objid);
extern void cozi_kept_check_leaves(const Kept *kept);
extern void cozi_kept_entered(const Kept *kept, Oid relid);
extern void cozi_kept_left(const Kept *kept, Oid relid);
extern bool cozi_kept_rows_stay;	/* rows come and go within their source */
extern void cozi_kept_leaf_init(void);
extern bool cozi_kept_is_counted(const Kept *kept, const char *column);
extern void cozi_kept_break(const Kept *kept, const char *what, Oid relid);
extern void cozi_kept_source_changed(Kept *kept, Oid relid,
									 const struct CollectedCommand *command);
extern void cozi_kept_left_by(const struct CollectedCommand *command, Oid relid);
extern void cozi_kept_name_internal_error(void *arg);
extern void cozi_kept_require_event_trigger(FunctionCallInfo fcinfo, const char *name);

/* kept/query.c, kept/rebuild.c */
extern char *cozi_kept_source_query(const Kept *kept, const char *condition,
									const TimestampTz *until);
extern void cozi_kept_fill(const Kept *kept, bool was_empty);
extern int64 cozi_kept_fill_closed(const Kept *kept, TimestampTz until);
extern void cozi_kept_rebuild(Oid relation, const char *wanted);
extern void cozi_kept_refuse_old_snapshot(const char *function);

/* kept/closed.c */
extern TimestampTz cozi_kept_instant(Datum value, Oid type);
extern char *cozi_kept_instant_in_sql(TimestampTz at);
extern void cozi_kept_refuse_closed(const Kept *kept, const char *what);
extern void cozi_kept_refuse_late(const Kept *kept, KeptSums *sums);
extern KeptPublicRow *cozi_kept_closed_rows(const Kept *kept, int *n, Kept *raw,
											struct SnapshotData *snapshot);

/* kept/live.c */
extern KeptPublicRow *cozi_kept_pending_rows(const Kept *kept, int *n,
											 struct SnapshotData *snapshot, TimestampTz now);
extern KeptPublicRow *cozi_kept_key_rows(const Kept *kept, char **keys, int n,
										 struct SnapshotData *snapshot);
extern bool *cozi_kept_shown(const Kept *kept, KeptPublicRow *rows, int n);

/* kept/verify.c */
typedef char *(*KeptRecount) (const Kept *kept, const char *source, const char *half_life);
extern void cozi_kept_verify(FunctionCallInfo fcinfo, const char *wanted, KeptRecount recount);

#endif							/* COZI_KEPT_H */
