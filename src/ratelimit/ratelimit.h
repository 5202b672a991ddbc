/*
 * ratelimit/ratelimit.h
 *		What the files of the rate limiter share.  Spans are in microseconds.
 *
 *		bucket.h			the arithmetic
 *		ratelimit/table.c	the shared table
 *		ratelimit.c			its SQL functions
 *		ratelimit/step.c	the same arithmetic on state the caller keeps
 *		ratelimit/arg.c		what all of them take and give
 */
#ifndef COZI_RATELIMIT_H
#define COZI_RATELIMIT_H

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "pure/bucket.h"
#include "base/base.h"

/* Who shares a budget: same database, key, per and algorithm. */
typedef struct CoziCall
{
	const char *key;
	int			key_len;
	bool		exact;			/* or gcra */
	int64		per;
	int32		max_calls;
	int32		cost;
} CoziCall;

typedef struct CoziLimiterStats
{
	int64		gcra_slots;
	int64		gcra_keys;		/* that owe something */
	int64		log_blocks;
	int64		log_blocks_used;
	int64		log_keys;		/* held; some may have expired */
	int64		log_max_calls;	/* the largest 'exact' allows */
	int64		allowed;
	int64		denied;
	int64		evictions;
	int64		bytes;
	TimestampTz since;
} CoziLimiterStats;

typedef struct CoziLogRow
{
	int64		number;			/* from 1, of the calls ever admitted */
	int32		cost;
	int64		at;				/* the limiter's clock */
	int64		age;
} CoziLogRow;

typedef struct CoziLimiter CoziLimiter;

/* ratelimit/arg.c */
extern void cozi_check_arg(FunctionCallInfo fcinfo, int i, const char *name);
extern void cozi_check_calls(int32 max_calls, int32 cost);
extern int64 cozi_read_per(const Interval *per);
extern void cozi_check_spacing(int64 per, int32 max_calls);
extern Datum cozi_interval_datum(int64 us);
extern Datum cozi_row_datum(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

/* ratelimit/table.c */
extern int	cozi_rate_limit_memory; /* setting, in kB */

extern CoziLimiter *cozi_limiter(bool create);
extern bool cozi_limiter_is_dynamic(void);
extern int32 cozi_limiter_max_calls(CoziLimiter *limiter);
extern CoziVerdict cozi_limiter_call(CoziLimiter *limiter, const CoziCall *call,
									 bool consume);
extern bool cozi_limiter_reset(CoziLimiter *limiter, const char *key, int key_len);
extern int	cozi_limiter_log(CoziLimiter *limiter, const CoziCall *call,
							 CoziLogRow *rows, int max_rows);
extern void cozi_limiter_stats(CoziLimiter *limiter, CoziLimiterStats *stats);
extern void cozi_limiter_init(void);

/* limiter.c */
extern void cozi_ratelimit_init(void);

#endif							/* COZI_RATELIMIT_H */
