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

#include "kept/kept.h"

extern void cozi_analytics_init(void);

/* analytics/days.c */
extern const KeptKind cozi_activity_kind;
extern bool cozi_days_have(const Kept *activity, const bytea *stored, TimestampTz at);
extern char *cozi_day_in_sql(const Kept *activity, const char *at);

#endif							/* COZI_ANALYTICS_H */
