/*
 * monitor/monitor.h
 *		What latency, errors, plans and the snapshot worker share.
 *
 * One area in shared memory, made when the library is preloaded, of a size
 * that never changes.  The law of it:
 *
 * - To record takes one lock in shared mode, that of the set the key is in, and
 *   adds atomically, 64 bits wide.  slot.c says what a claim and an eviction do
 *   under the same lock, and that nothing else happens there.
 * - What is evicted is added to the row "other" of its database: totals only
 *   grow, until the server crashes or latency_reset() is called.
 * - Errors are counted without any lock.
 * - "lock" guards the ring of plans and latency_reset() alone; nothing is
 *   allocated or raised under it.
 */
#ifndef COZI_MONITOR_MONITOR_H
#define COZI_MONITOR_MONITOR_H

#include "executor/execdesc.h"
#include "nodes/execnodes.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "pure/histogram.h"

#define COZI_WAYS			64	/* slots of a set, at least */
#define COZI_MAX_WAYS		128 /* and fewer than that */
#define COZI_PROBES			64	/* errors looked at for a key */
#define COZI_TRANSACTIONS	512 /* pairs of database and role */
#define COZI_OTHERS			127 /* what was evicted, by database */
#define COZI_ERRORS			1024	/* databases, SQLSTATEs and origins */
#define COZI_PLANS			128
#define COZI_PLAN_SIZE		8192	/* bytes of a plan's text, a final 0
									 * included */
#define COZI_QUERY_SIZE		1024	/* the same of a query's */
#define COZI_SLOT_WAITS		12	/* wait events of a statement; the last is any
								 * other */
#define COZI_SLOT_ERRORS	12	/* SQLSTATEs of a statement; the same */
#define COZI_SLOT_PLANS		5	/* the plans of a statement that were seen
								 * last */
#define COZI_CLIENT_SIZE	48	/* bytes of a client's address, a final 0
								 * included */

/* A plan of a statement: detail.c. */
typedef struct CoziSeenPlan
{
	pg_atomic_uint64 shape;		/* of shape.c; 0: free */
	pg_atomic_uint64 first;		/* TimestampTz */
	pg_atomic_uint64 last;
	pg_atomic_uint64 calls;
	pg_atomic_uint64 total;		/* ns */
} CoziSeenPlan;

/* The client of the slowest execution. */
typedef struct CoziClient
{
	TimestampTz ended_at;		/* 0: not known */
	char		application[NAMEDATALEN];
	char		address[COZI_CLIENT_SIZE];
} CoziClient;

#define COZI_CLIENT_WORDS	((int) (sizeof(CoziClient) / sizeof(uint64)))

/*
 * A slot: a key and what is counted for it.  What each statement touches is
 * three cache lines of it, the first, one of the buckets and its plan's.
 */
typedef struct CoziHistogram
{
	pg_atomic_uint64 queryid;
	pg_atomic_uint64 owner;		/* database << 32 | role */
	pg_atomic_uint64 since;		/* TimestampTz of the claim */
	pg_atomic_uint64 total;		/* ns */
	pg_atomic_uint64 max;		/* ns */
	pg_atomic_uint64 failed;	/* of the count: ended in an error */
	pg_atomic_uint64 timeouts;	/* of the failed: timed out or cancelled */
	pg_atomic_uint64 used;		/* the set's turn when it was last used, and
								 * COZI_TRANSACTION_CONTROL */
	pg_atomic_uint64 count[COZI_BUCKETS];
	pg_atomic_uint64 wait[COZI_SLOT_WAITS]; /* event << 40 | ms */
	pg_atomic_uint64 error[COZI_SLOT_ERRORS];	/* SQLSTATE << 34 | count */
	CoziSeenPlan plan[COZI_SLOT_PLANS]; /* claimed under the lock alone */
	pg_atomic_uint64 client[COZI_CLIENT_WORDS]; /* written under the lock
												 * alone */
} CoziHistogram;

/* It is BEGIN, COMMIT or the like: no work of a client's. */
#define COZI_TRANSACTION_CONTROL	(UINT64CONST(1) << 63)

#define COZI_SLOT_WORDS	((int) (sizeof(CoziHistogram) / sizeof(pg_atomic_uint64)))

/* A copy of a slot, word by word. */
typedef struct CoziFigures
{
	uint64		queryid;
	uint64		owner;
	uint64		since;
	uint64		total;
	uint64		max;
	uint64		failed;
	uint64		timeouts;
	uint64		used;
	uint64		count[COZI_BUCKETS];
	uint64		wait[COZI_SLOT_WAITS];
	uint64		error[COZI_SLOT_ERRORS];
	struct
	{
		uint64		shape;
		uint64		first;
		uint64		last;
		uint64		calls;
		uint64		total;
	}			plan[COZI_SLOT_PLANS];
	CoziClient	client;
} CoziFigures;

/*
 * What a backend executes, for the sampler: running.c.  The backend of a number
 * writes the first three, the sampler the waits, in cache lines of their own.
 */
typedef struct CoziRunning
{
	pg_atomic_uint64 queryid;	/* 0: none yet */
	pg_atomic_uint32 pid;		/* of the backend that wrote it */
	pg_atomic_uint32 running;	/* the statement has not ended */
	pg_atomic_uint32 sampled;	/* is there a wait to collect? */
	pg_atomic_uint32 seen;		/* the process whose waits they are */
	pg_atomic_uint64 wait[COZI_SLOT_WAITS];
} CoziRunning;

#define COZI_RUNNING_SIZE	TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(CoziRunning))

/* A wait is its event, class << 16 | number, and the time it was seen for. */
#define COZI_WAIT_MS(word)		((word) & UINT64CONST(0xFFFFFFFFFF))
#define COZI_WAIT_EVENT(word)	((uint32) ((word) >> 40))
#define COZI_WAIT_NONE			0xFFFFFE	/* it runs, and waits for nothing */
#define COZI_WAIT_OTHER			0xFFFFFF	/* there are more than
											 * COZI_SLOT_WAITS */
#define COZI_WAIT_WORD(event, ms)	(((uint64) (event) << 40) | (ms))

/* The same of an error. */
#define COZI_ERROR_COUNT(word)	((word) & UINT64CONST(0x3FFFFFFFF))
#define COZI_ERROR_CODE(word)	((uint32) ((word) >> 34))
#define COZI_ERROR_OTHER		0x3FFFFFFF

/* What is first looked at for a key, and its lock; at the start of a line. */
typedef struct CoziSet
{
	LWLock		lock;
	pg_atomic_uint64 turn;		/* evictions */
	pg_atomic_uint64 timeouts;	/* ever, of its slots; 0: no need to look at
								 * them */
	uint16		tag[COZI_MAX_WAYS]; /* of a key's hash; 0: the slot is free */
	char		pad[3 * PG_CACHE_LINE_SIZE - sizeof(LWLock) -
					2 * sizeof(pg_atomic_uint64) - COZI_MAX_WAYS * sizeof(uint16)];
} CoziSet;

/* sets of slots, at the start of a cache line each */
typedef struct CoziTable
{
	int			sets;
	int			ways;			/* slots of each */
	int			size;			/* sets * ways */
	CoziSet    *set;
	CoziHistogram *last;		/* that this process looked for, NULL: none */
	CoziSet    *held;			/* whose lock it took, and that slot's */
	CoziHistogram *histogram;
	pg_atomic_uint64 *dropped;	/* keys that were evicted */
	uint64		other_queryid;	/* of the row that they are added to */
} CoziTable;

/* What stands for a query identifier where there is none. */
#define COZI_TRANSACTION		1
#define COZI_OTHER_STATEMENTS	2
#define COZI_OTHER_TRANSACTIONS	3

/* Raise a maximum. */
static inline void
cozi_raise_u64(pg_atomic_uint64 *maximum, uint64 value)
{
	uint64		max = pg_atomic_read_u64(maximum);

	while (value > max && !pg_atomic_compare_exchange_u64(maximum, &max, value))
		;
}

typedef struct CoziError
{
	pg_atomic_uint64 key;		/* see error.c; 0: free */
	pg_atomic_uint64 count;
	pg_atomic_uint64 role;		/* that was first to need it */
} CoziError;

typedef struct CoziPlan
{
	uint64		number;			/* 1, 2, ...; 0: never used */
	TimestampTz ended_at;
	Oid			database;
	Oid			role;
	uint64		queryid;
	double		ms;
	uint64		rows;
	uint64		shape;			/* of shape.c; 0: it timed out */
	int			encoding;
	char		query[COZI_QUERY_SIZE];
	char		explained[COZI_PLAN_SIZE];	/* empty: it timed out */
} CoziPlan;

typedef enum CoziResetReason
{
	COZI_RESET_START,			/* nothing had been saved, no crash */
	COZI_RESET_CRASH,			/* or an immediate shutdown */
	COZI_RESET_CALL,			/* latency_reset() */
	COZI_RESET_VERSION			/* what was saved is damaged, stale or another
								 * version's */
} CoziResetReason;

typedef struct CoziMonitor
{
	CoziShmemHeader header;
	LWLock		lock;			/* guards the ring of plans */
	int			tranche;
	int			max_statements;
	pg_atomic_uint64 since;		/* TimestampTz of the last reset */
	pg_atomic_uint64 reset_reason;
	pg_atomic_uint64 statements_dropped;
	pg_atomic_uint64 transactions_dropped;
	pg_atomic_uint64 others_dropped;
	pg_atomic_uint64 errors_dropped;
	pg_atomic_uint64 snapshots; /* ticks of the worker that succeeded */
	pg_atomic_uint64 snapshot_failures;
	pg_atomic_uint64 snapshot_ticks;	/* processes that came to a good end */
	uint64		plans;			/* ever captured */
	CoziError	error[COZI_ERRORS];
	CoziPlan	plan[COZI_PLANS];
	/* then what each backend runs, the sets of the three tables, their slots */
} CoziMonitor;

#define COZI_OWNER(database, role)	(((uint64) (database) << 32) | (role))

/* monitor/init.c: the settings */
extern bool cozi_track_latency;
extern bool cozi_track_transactions;
extern bool cozi_track_errors;
extern bool cozi_track_plans;
extern int	cozi_slow_plan_ms;
extern bool cozi_show_constants;
extern int	cozi_max_statements;
extern int	cozi_snapshot_interval;
extern int	cozi_wait_interval;
extern char *cozi_snapshot_database;
extern void cozi_monitor_init(void);

/* monitor/area.c */
extern CoziMonitor *cozi_monitor;	/* NULL: not preloaded */
extern void cozi_request_monitor(void);
extern void cozi_clear_monitor(CoziResetReason reason);
extern bool cozi_monitor_ready(bool missing_ok);
extern bool cozi_sees_all_stats(void);

/* monitor/slot.c */
extern CoziTable cozi_statement_table;
extern CoziTable cozi_transaction_table;
extern CoziTable cozi_other_table;
extern CoziHistogram *cozi_claim_slot(CoziTable *table, uint64 queryid, uint64 owner,
									  LWLockMode mode);
extern CoziHistogram *cozi_existing_slot(CoziTable *table, uint64 queryid, uint64 owner);
extern void cozi_add_timeouts(CoziTable *table, CoziHistogram *slot, uint64 n);
extern bool cozi_may_have_timeouts(CoziTable *table, int i);
extern void cozi_release_slot(CoziTable *table);
extern bool cozi_copy_slot(CoziTable *table, int i, CoziFigures *copy);
extern bool cozi_find_slot(CoziTable *table, uint64 queryid, uint64 owner, CoziFigures *copy);
extern uint64 cozi_count_slots(CoziTable *table);
extern void cozi_clear_table(CoziTable *table);
extern void cozi_forget_dropped(CoziTable *table);

/* monitor/file.c */
extern void cozi_start_counting(void);
extern void cozi_save_at_exit(int code, Datum arg);

/* monitor/hooks.c */
extern void cozi_install_hooks(void);

/* monitor/record.c */
extern void cozi_record_statement(uint64 queryid, Oid role, double seconds, uint64 shape,
								  bool transaction_control);
extern void cozi_record_failure(uint64 queryid, Oid role, double seconds, uint64 shape,
								const char *source, int location, int len);
extern void cozi_record_transaction(uint64 ns, bool failed);

/* monitor/detail.c */
extern void cozi_add_words(pg_atomic_uint64 *word, int words, uint64 add, int shift);
extern void cozi_merge_details(CoziHistogram *to, CoziHistogram *from);
extern CoziSeenPlan *cozi_find_plan(CoziHistogram *slot, uint64 shape);
extern CoziSeenPlan *cozi_claim_plan(CoziHistogram *slot, uint64 shape);
extern void cozi_note_plan(CoziSeenPlan *plan, uint64 ns);
extern void cozi_this_client(CoziClient *client);
extern void cozi_note_client(CoziHistogram *slot, const CoziClient *client);
extern void cozi_note_error(CoziHistogram *slot, int code);
extern void cozi_load_details(CoziHistogram *slot, const CoziFigures *saved);

/* monitor/detail_read.c */
struct FunctionCallInfoBaseData;
extern bool cozi_visible_slot(struct FunctionCallInfoBaseData *fcinfo, CoziFigures *slot);

/* monitor/shape.c */
extern uint64 cozi_plan_shape(PlannedStmt *stmt);

/* monitor/running.c */
extern CoziRunning *cozi_running_of(int backend);
extern void cozi_clear_running(void);
extern void cozi_start_running(uint64 queryid, Oid role);
extern void cozi_stop_running(void);
extern void cozi_collect_waits(CoziHistogram *slot);
extern void cozi_end_running(void);

/* monitor/histogram.c */
extern ArrayType *cozi_histogram_array(const uint64 *count);

/* monitor/mask.c */
extern char *cozi_text_here(Oid database, char *text);
extern void cozi_warn_encoding(void);
extern bool cozi_sees_constants(Oid role);
extern char *cozi_mask_query(const char *query);
extern char *cozi_mask_plan(const char *plan);

/* monitor/unfinished.c */
extern void cozi_add_unfinished(ReturnSetInfo *rsinfo);
extern bool cozi_never_completed(Oid database, Oid role, int64 queryid);

/* monitor/error.c */
extern void cozi_count_errors_of_log(void);
extern void cozi_load_error(uint64 key, uint64 role, uint64 count);

/* monitor/plan.c */
extern Datum cozi_captured(Oid database, Oid role, int64 queryid, bool *null);
extern void cozi_capture_plan(QueryDesc *queryDesc, double ms);
extern void cozi_capture_timeout(uint64 queryid, Oid role, double ms,
								 const char *source, int location, int len);

#endif							/* COZI_MONITOR_MONITOR_H */
