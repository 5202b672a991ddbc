/*
 * base/base.h
 *		The server made small: what every room above may use.
 *
 * The law: nothing here knows a room above.
 */
#ifndef COZI_BASE_H
#define COZI_BASE_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/relcache.h"

#include "base/compat.h"
#include "pure/cursor.h"

/*
 * shmem.c: shared memory, by area.  A room declares a CoziShmem, requests it
 * in its cozi_ROOM_init() and calls cozi_shmem_attach() before each use.  The
 * area begins with a CoziShmemHeader, which shmem.c fills and checks.
 */
typedef struct CoziShmemHeader
{
	uint32		magic;
	uint32		layout;			/* of the area, as the room counts it */
	uint64		size;			/* of the area, header included */
} CoziShmemHeader;

typedef struct CoziShmem
{
	const char *name;			/* e.g. "cozi latency" */
	uint32		layout;			/* raised when the area's structures change */
	Size		(*size) (void); /* header included; settings are known */
	void		(*init) (CoziShmemHeader *area);	/* once; all is zero */
	void		(*attach) (CoziShmemHeader *area);	/* in each process, or
													 * NULL */
	CoziShmemHeader *area;		/* NULL until attached */
	bool		dynamic;		/* attached, and not in the main segment */
} CoziShmem;

extern bool cozi_preloaded(void);
extern void cozi_shmem_init(void);
extern void cozi_shmem_request(CoziShmem *shmem);
extern CoziShmemHeader *cozi_shmem_attach(CoziShmem *shmem, bool create);

/*
 * user.c: acting as another user.  The settings of the code that runs there
 * never survive it.
 */
typedef struct CoziSavedUser
{
	Oid			userid;
	int			context;
	int			nestlevel;
} CoziSavedUser;

extern Oid	cozi_relation_owner(Oid relid);
extern void cozi_switch_user(Oid userid, int context, CoziSavedUser *saved);
extern void cozi_switch_to_owner(Oid relid, CoziSavedUser *saved);
extern void cozi_restore_user(const CoziSavedUser *saved);
extern void cozi_set_locally(const char *setting, const char *value);

/* argument.c: one wording for one mistake */
struct FunctionCallInfoBaseData;
extern void cozi_require_argument(struct FunctionCallInfoBaseData *fcinfo, int n, const char *name);
pg_noreturn extern void cozi_no_such_relation(Oid relid);
pg_noreturn extern void cozi_no_such_column(const char *relation, const char *column);
pg_noreturn extern void cozi_wrong_kind(const char *relation, const char *wanted);
pg_noreturn extern void cozi_bad_value(const char *what, const char *hint);
extern char *cozi_relation_name(Oid relid);
extern char *cozi_qualified_name(Oid relid);
extern void cozi_require_owner(Oid relid);
extern MemoryContext cozi_aggregate_context(struct FunctionCallInfoBaseData *fcinfo);
extern void cozi_require_select(Oid relid);

/* distributed.c: tables whose rows are elsewhere */
extern void cozi_refuse_distributed(Oid relid, const char *hint);

/* column.c: a column of a user's table */
typedef struct CoziColumn
{
	NameData	name;			/* empty: none was given */
	AttrNumber	attnum;
	Oid			type;
	int32		typmod;
	Oid			collation;
} CoziColumn;

extern void cozi_find_column(Relation rel, const char *name, CoziColumn *column);
extern bool cozi_column_is_same(Relation rel, const CoziColumn *column);
extern bool cozi_is_integer(Oid type);

/* row.c: what SPI has selected, as the function's result */
extern void cozi_check_row_type(TupleDesc selected, TupleDesc declared);
extern void cozi_return_rows(struct FunctionCallInfoBaseData *fcinfo);
struct ReturnSetInfo;
extern char *cozi_rows_statement(Relation rel, const char *key, const char *item_type);
typedef bool (*CoziRowFits) (const Datum *values, const bool *nulls, void *arg);
extern int64 cozi_add_rows(struct ReturnSetInfo *rsinfo, const char *statement, Datum keys,
						   int64 k, CoziRowFits fits, void *arg);

/* attempt.c: work that may fail */
typedef void (*CoziWork) (void *arg);
extern ErrorData *cozi_attempt(CoziWork work, void *arg);

/* receiver.c: the rows of a statement, one by one */
struct TupleTableSlot;
struct _DestReceiver;
typedef bool (*CoziReceive) (struct TupleTableSlot *slot, struct _DestReceiver *self);
extern void cozi_init_receiver(struct _DestReceiver *receiver, CoziReceive receive);
struct _SPI_plan;
extern void cozi_receive(struct _SPI_plan *plan, const Datum *values, const char *nulls,
						 struct _DestReceiver *receiver);

/* worker.c: background workers of the library */
struct BackgroundWorker;
extern void cozi_describe_worker(struct BackgroundWorker *worker, const char *name,
								 const char *function);
extern bool cozi_start_worker(const char *name, const char *function, Datum argument);

/* statement.c: SQL from a template with named parts */
extern char *cozi_statement(const char *template,...);
extern void cozi_run(const char *statement, int expected);
extern void cozi_revoke_from_others(List *relids);

/*
 * registry.c: the tables of the extension, and what sessions cache of them.
 * A room declares a CoziRegistry for each table that it caches, fills its
 * cache when cozi_registry_generation() differs from the generation that the
 * cache was filled at, and asks before each use.
 */
typedef struct CoziRegistry
{
	const char *table;			/* in the extension's schema */
	Oid			relid;			/* as last seen; invalid when there is none */
	uint64		generation;		/* 0: never looked at */
	struct CoziRegistry *next;
} CoziRegistry;

/*
 * A table of the extension, as this library reads and writes it below SQL.  A release
 * adds columns at the end alone, and NULL in them means what the release before did:
 * so a library counts by the tables of an older release, and by those of a newer one.
 */
typedef struct CoziShape
{
	const char *name;
	Oid			types[20];		/* of its columns, and then InvalidOid */
} CoziShape;

/* Among the types of a shape: an older release has a table without what follows. */
#define COZI_ADDED_LATER ((Oid) 1)

typedef void (*CoziRowReader) (HeapTuple tuple, TupleDesc desc, void *arg);

extern Oid	cozi_schema(void);
extern const char *cozi_schema_name(void);
extern Oid	cozi_table(const char *name);
extern Oid	cozi_trigger_function(const char *name);
extern bool cozi_is_known(Relation rel, const CoziShape *table, bool to_write);
extern bool cozi_knows(const CoziShape *table);
pg_noreturn extern void cozi_refuse_unknown(const char *table, bool library_is_older);
extern HeapTuple cozi_form_tuple(Relation rel, const Datum *values, const bool *nulls, int n);
extern Datum cozi_getattr(HeapTuple tuple, int attnum, TupleDesc desc, bool *isnull);
extern Relation cozi_open_table(const CoziShape *table, LOCKMODE mode);
extern Datum cozi_tuple_value(HeapTuple tuple, TupleDesc desc, int attnum);
extern char *cozi_tuple_text(HeapTuple tuple, TupleDesc desc, int attnum);
extern void cozi_read_table(const CoziShape *table, CoziRowReader reader, void *arg);
extern uint64 cozi_registry_generation(CoziRegistry *registry);
extern Datum cozi_config_changed(struct FunctionCallInfoBaseData *fcinfo);

/* cursor.c: values in a text that goes through a URL, and back */
extern char *cozi_cursor_encode(const Datum *values, const bool *nulls, const Oid *types, int n);
extern int	cozi_cursor_decode(const char *text, CoziCursorField **fields);
extern char *cozi_cursor_text(const CoziCursorField *field);
extern Datum cozi_cursor_value(const CoziCursorField *field, Oid declared);
pg_noreturn extern void cozi_not_a_cursor(const char *text);

/* plan.c: plans that a session keeps, and the planner told to walk indexes */
typedef struct CoziPlanCosts
{
	double		startup;		/* before the first row */
	double		inner_row;		/* of a row of the inner side, if it is a join */
} CoziPlanCosts;

struct _SPI_plan;
extern void cozi_prefer_walks(void);
extern struct _SPI_plan *cozi_plan(const char *sql, int ntypes, const Oid *types, int options);
extern void cozi_plan_walks(struct _SPI_plan *plan, CoziPlanCosts *costs);

/* expression.c: expressions in plans */
struct Node;
extern struct Node *cozi_unwidened(struct Node *arg, Oid *type);

#endif							/* COZI_BASE_H */
