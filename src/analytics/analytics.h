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

typedef void (*CoziVisitUser) (const CoziUser *user, void *arg);

extern void cozi_analytics_init(void);

/* analytics/events.c: tables of events, whose trigger says how they are kept */
#define EVENTS_TRIGGER	"cozi_events"

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

/* analytics/users.c */
extern bool cozi_visit_in_memory(const char *query, Oid type, DateADT first, DateADT last,
								 CoziVisitUser visit, void *arg);

/* analytics/question.c */
extern void cozi_open_activity(Oid relation, Kept *activity);
extern void cozi_check_period(DateADT since, DateADT until);
extern char *cozi_users_query(const Kept *activity);
extern void cozi_each_user(const char *query, DateADT first, DateADT last, CoziVisitUser visit,
						   void *arg);
extern void cozi_visit_users(const Kept *activity, DateADT first, DateADT last,
							 CoziVisitUser visit, void *arg);
extern int	cozi_next_day(const CoziUser *user, int from);
extern DateADT cozi_month_start(DateADT day);
extern DateADT cozi_month_end(DateADT day);

#endif							/* COZI_ANALYTICS_H */
