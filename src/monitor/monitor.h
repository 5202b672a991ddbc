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

/*
 * A slot: a key and what is counted for it.  What each statement touches is
 * two cache lines of it, the first and one of the buckets.
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
} CoziFigures;

/* What is first looked at for a key, and its lock; at the start of a line. */
typedef struct CoziSet
{
	LWLock		lock;
	pg_atomic_uint64 turn;		/* evictions */
	uint16		tag[COZI_MAX_WAYS]; /* of a key's hash; 0: the slot is free */
	char		pad[3 * PG_CACHE_LINE_SIZE - sizeof(LWLock) -
					sizeof(pg_atomic_uint64) - COZI_MAX_WAYS * sizeof(uint16)];
} CoziSet;

/* sets of slots, at the start of a cache line each */
typedef struct CoziTable
{
	int			sets;
	int			ways;			/* slots of each */
	int			size;			/* sets * ways */
	CoziSet    *set;
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
	uint64		plans;			/* ever captured */
	CoziError	error[COZI_ERRORS];
	CoziPlan	plan[COZI_PLANS];
	/* then the sets of the three tables, then their slots */
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
extern CoziHistogram *cozi_claim_slot(CoziTable *table, uint64 queryid, uint64 owner);
extern void cozi_release_slot(CoziTable *table, CoziHistogram *slot);
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

/* monitor/snapshot_worker.c */
extern void cozi_register_snapshot_launcher(void);

#endif							/* COZI_MONITOR_MONITOR_H */
