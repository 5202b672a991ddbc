/*
 * cozi.c
 *		Where the server loads the library: a table of contents.
 *
 * Each domain defines its settings, hooks and shared memory in its own
 * cozi_DOMAIN_init().  Preloading is optional: without it the same
 * functions run when a session first calls into the library, and what only
 * a preloaded library can do stays off.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "cozi.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cozi_shmem_init();
	cozi_rls_init();
	cozi_ratelimit_init();
	cozi_trending_init();
	cozi_monitor_init();
	MarkGUCPrefixReserved("cozi");
}
