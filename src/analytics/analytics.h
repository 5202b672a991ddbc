/*
 * analytics/analytics.h
 *		Who is active, who comes back, what engages.
 *
 * An activity is a kept table (kept/kept.h) of kind "activity": its source holds
 * events, and its rows say on which days of a month a user was active.  The
 * questions about it read ACTIVITY_live, as the caller.
 *
 * The law: a day is a day of the calendar in the activity's time zone, found from
 * the instant and never by dividing a number of seconds.
 */
#ifndef COZI_ANALYTICS_H
#define COZI_ANALYTICS_H

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "utils/date.h"
#include "utils/varbit.h"

#include "kept/kept.h"

/* A mask of days has a century, and a few days more. */
#define MAX_MASK_DAYS		36600

/* A question is about ten years at most. */
#define MAX_QUESTION_DAYS	3660

/* The cells of a retention. */
#define MAX_CELLS			4000000

/* A user of an activity, as a question sees them. */
typedef struct CoziUser
{
	DateADT		cohort;			/* the day of the signup, if it was asked for */
	int			nbits;			/* 0: never active */
	uint8	   *bits;			/* see _days_between() */
} CoziUser;

/* A walk along the bits of a user that are set. */
typedef struct CoziWalk
{
	int			at;				/* the bit that the word begins with */
	uint64		word;			/* what is left of it, from the left */
} CoziWalk;

/* The 64 bits from one on, that begins a byte; 0 for those that are not there. */
static inline uint64
cozi_bits_from(const CoziUser *user, int bit)
{
	int			left = user->nbits - bit;
	uint64		word = 0;

	memcpy(&word, user->bits + bit / BITS_PER_BYTE,
		   left >= 64 ? 8 : (left + BITS_PER_BYTE - 1) / BITS_PER_BYTE);
	word = pg_ntoh64(word);
	return left >= 64 ? word : word & ~(PG_UINT64_MAX >> left);
}

/* The next bit that is set, first one from a bit on; -1: there is none. */
static inline int
cozi_next_day(const CoziUser *user, CoziWalk *walk)
{
	int			skip;

	while (walk->word == 0)
	{
		walk->at += 64;
		if (walk->at >= user->nbits)
			return -1;
		walk->word = cozi_bits_from(user, walk->at);
	}
	skip = 63 - pg_leftmost_one_pos64(walk->word);
	walk->word ^= UINT64CONST(1) << (63 - skip);
	return walk->at + skip;
}

/* The first bit that is set; -1: there is none. */
static inline int
cozi_first_day(const CoziUser *user, CoziWalk *walk)
{
	walk->at = -64;
	walk->word = 0;
	return cozi_next_day(user, walk);
}

typedef void (*CoziVisitUser) (const CoziUser *user, void *arg);

extern void cozi_analytics_init(void);

/* analytics/events.c: tables of events, whose trigger says how they are kept */
#define EVENTS_TRIGGER	"cozi_events"
extern void cozi_shut_partition(Oid partition, Oid events);

/* analytics/maintain.c */
struct ReturnSetInfo;
extern List *cozi_event_tables(void);
extern bool cozi_maintain(Oid events, bool alone, struct ReturnSetInfo *rsinfo, bool *again);

/* analytics/events_worker.c */
extern void cozi_events_worker_init(void);
extern void cozi_ask_events_worker(void);

/* analytics/figures.c */
extern void cozi_count_figures(const Kept *activity, bool always);
extern void cozi_figures_folded(const Kept *activity, bool by_call);

/* analytics/days.c */
extern const KeptKind cozi_activity_kind;
extern bool cozi_days_have(const Kept *activity, const bytea *stored, TimestampTz at);
extern char *cozi_day_in_sql(const Kept *activity, const char *at);
extern DateADT cozi_local_day(const Kept *activity, TimestampTz at);

/* analytics/read.c */
extern bool cozi_visit_in_memory(Oid activity, const char *query, Oid type, DateADT first,
								 DateADT last, CoziVisitUser visit, void *arg);

/* analytics/question.c */
extern void cozi_open_activity(Oid relation, Kept *activity);
extern void cozi_check_period(DateADT since, DateADT until);
extern char *cozi_users_query(const Kept *activity);
extern void cozi_each_user(const char *query, DateADT first, DateADT last, CoziVisitUser visit,
						   void *arg);
extern void cozi_visit_users(const Kept *activity, DateADT first, DateADT last,
							 CoziVisitUser visit, void *arg);
extern DateADT cozi_month_start(DateADT day);
extern DateADT cozi_month_end(DateADT day);

#endif							/* COZI_ANALYTICS_H */
