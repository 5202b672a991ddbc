/*
 * cozi.c
 *		Where the server loads the library: a table of contents.
 *
 * Each room defines its settings, hooks and shared memory in its own
 * cozi_ROOM_init().  Preloading is optional: without it the same
 * functions run when a session first calls into the library, and what only
 * a preloaded library can do stays off.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "analytics/analytics.h"
#include "base/base.h"
#include "counter/counter.h"
#include "identity/identity.h"
#include "kept/kept.h"
#include "live/notify.h"
#include "monitor/monitor.h"
#include "ratelimit/ratelimit.h"
#include "trending/trending.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cozi_shmem_init();
	cozi_identity_init();
	cozi_ratelimit_init();
	cozi_kept_init();
	cozi_trending_init();
	cozi_counter_init();
	cozi_analytics_init();
	cozi_monitor_init();
	cozi_live_init();
	MarkGUCPrefixReserved("cozi");
}
