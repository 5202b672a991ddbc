/*
 * ratelimit/ratelimit.h
 *		What the files of the rate limiter share.  Spans are in microseconds.
 *
 *		init.c		the settings
 *		arg.c		what the functions take and give, checked
 *		table.c		the shared memory
 *		call.c		a call on it
 *		named.c		named limits: their definitions and reserved memory
 *		attach.c	the memory, or what to answer without it
 *		limiter.c	the functions for limits that the caller states
 *		use.c		the functions for named limits
 *		define.c	creating, altering and dropping those
 *		refusal.c	how a refusal is told
 *		stats.c		what the administrator sees
 *		step.c		the same arithmetic on state the caller keeps
 *
 * The law: no function answers NULL.  `IF NOT rate_limit(...)` would let
 * everybody through; so a NULL argument is an error, and bad input never
 * counts as a call.
 */
#ifndef COZI_RATELIMIT_H
#define COZI_RATELIMIT_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/pg_list.h"

#include "base/base.h"
#include "base/compat.h"
#include "pure/limit.h"

#define COZI_MAX_NAMED 128		/* named limits of a server */
#define COZI_MAX_AT_ONCE 16		/* limits of one use_rate_limits() */
#define COZI_NAME_BYTES 64

/* A named limit in shared memory. */
typedef struct CoziHandle
{
	int			slot;			/* -1: none */
	uint32		generation;
} CoziHandle;

/* Who shares a budget: same database, key, and per and algorithm or name. */
typedef struct CoziCall
{
	const char *key;
	int			key_len;
	bool		exact;			/* or gcra */
	bool		shadow;			/* count, and never refuse */
	int64		per;
	int32		max_calls;
	int32		cost;
	CoziHandle	handle;			/* slot -1: not a named limit */
	uint64		name_hash;
	const char *name;			/* NULL: not a named limit */
} CoziCall;

typedef struct CoziLimiterStats
{
	int64		gcra_slots;
	int64		gcra_keys;		/* that owe something */
	int64		log_blocks;
	int64		log_blocks_used;
	int64		log_blocks_reserved;
	int64		log_keys;		/* held; some may have expired */
	int64		log_max_calls;	/* the largest 'exact' allows */
	int64		allowed;
	int64		denied;
	int64		evictions;
	int64		bytes;
	TimestampTz since;
} CoziLimiterStats;

/* Of one class of limits, over all partitions. */
typedef struct CoziClassStats
{
	int64		blocks;			/* reserved */
	int64		used;
	int64		keys;
	int64		allowed;
	int64		denied;
	int64		evictions;
} CoziClassStats;

typedef struct CoziLogRow
{
	int64		number;			/* from 1, of the entries ever made */
	int32		cost;
	int64		at;				/* the limiter's clock */
	int64		age;
} CoziLogRow;

/* The definition of a named limit. */
typedef struct CoziLimit
{
	char		name[COZI_NAME_BYTES];	/* the key of the session's cache */
	int32		max_calls;
	int64		per;
	int64		memory;			/* bytes; 0: the default */
	bool		exact;
	bool		shadow;
	char		owner[NAMEDATALEN]; /* a role, which may be gone */
	CoziHandle	handle;
	uint64		name_hash;
} CoziLimit;

typedef struct CoziLimiter CoziLimiter;

/* arg.c */
extern void cozi_check_calls(int32 max_calls, int32 cost);
extern int64 cozi_read_per(const Interval *per);
extern void cozi_check_spacing(int64 per, int32 max_calls);
extern void cozi_check_log_length(CoziLimiter *limiter, int32 max_calls);
extern bool cozi_read_algorithm(const text *algorithm);
extern void cozi_read_key(FunctionCallInfo fcinfo, int n, CoziCall *call);
extern void cozi_read_key_text(const text *key, CoziCall *call);
extern void cozi_read_rate(FunctionCallInfo fcinfo, int n, CoziCall *call);
extern Datum cozi_interval_datum(int64 us);
extern Datum cozi_row_datum(FunctionCallInfo fcinfo, Datum *values, bool *nulls);
extern Datum cozi_verdict_datum(FunctionCallInfo fcinfo, const CoziCall *call,
								const CoziVerdict *verdict);

/* table.c */
extern int	cozi_rate_limit_memory; /* setting, in kB */

extern CoziLimiter *cozi_limiter(bool create);
extern bool cozi_limiter_is_dynamic(void);
extern int32 cozi_limiter_max_calls(CoziLimiter *limiter);
extern void cozi_limiter_stats(CoziLimiter *limiter, CoziLimiterStats *stats);
extern void cozi_limiter_init(void);

/* call.c */
extern uint64 cozi_limit_hash(CoziLimiter *limiter, const char *name);
extern bool cozi_limiter_call(CoziLimiter *limiter, const CoziCall *call, bool consume,
							  CoziVerdict *verdict);
extern bool cozi_limiter_call_all(CoziLimiter *limiter, const CoziCall *calls, int n,
								  CoziVerdict *verdicts, int *refuses);
extern bool cozi_limiter_reset(CoziLimiter *limiter, const CoziCall *call);
extern int	cozi_limiter_log(CoziLimiter *limiter, const CoziCall *call,
							 int64 after, CoziLogRow *rows, int max_rows);

/* named.c */
extern uint32 cozi_limit_blocks(CoziLimiter *limiter, const CoziLimit *limit);
extern void cozi_limit_check(CoziLimiter *limiter, const CoziLimit *limit);
extern bool cozi_limit_reserve(CoziLimiter *limiter, CoziLimit *limit, int elevel);
extern void cozi_limit_change(CoziLimiter *limiter, CoziLimit *limit, bool drop);
extern bool cozi_limit_stats(CoziLimiter *limiter, const char *name, CoziClassStats *stats);

/* attach.c */
extern int	cozi_rate_limit_on_error;
extern CoziLimiter *cozi_limiter_or_null(void);
extern CoziLimiter *cozi_limiter_try(bool create, struct ErrorData **failure);
extern CoziVerdict cozi_verdict_without_table(const CoziCall *call);

typedef enum CoziOnError
{
	COZI_ON_ERROR_ERROR,
	COZI_ON_ERROR_ALLOW,
	COZI_ON_ERROR_DENY
} CoziOnError;

/* use.c */
extern CoziLimit *cozi_limit_find(const char *name);
extern List *cozi_limit_all(void);

/* refusal.c */
extern void cozi_tell_admitted(const CoziCall *calls, const CoziVerdict *verdicts, int n);
pg_noreturn extern void cozi_raise_refused(const CoziCall *call, const CoziVerdict *verdict);

/* init.c */
extern void cozi_ratelimit_init(void);

#endif							/* COZI_RATELIMIT_H */
