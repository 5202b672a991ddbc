/*
 * analytics/init.c
 *		The front door of analytics.
 */
#include "postgres.h"

#include "analytics/analytics.h"

void
cozi_analytics_init(void)
{
	cozi_kept_register_kind(&cozi_activity_kind);
	cozi_events_worker_init();
}
