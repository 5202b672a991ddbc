/*
 * ratelimit/init.c
 *		The settings of the rate limiter.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "ratelimit/ratelimit.h"

#define MAX_MEMORY_KB (256 * 1024 * 1024)

static const struct config_enum_entry on_error_options[] = {
	{"error", COZI_ON_ERROR_ERROR, false},
	{"allow", COZI_ON_ERROR_ALLOW, false},
	{"deny", COZI_ON_ERROR_DENY, false},
	{NULL, 0, false}
};

void
cozi_ratelimit_init(void)
{
	/* Preloaded, the table is made with the server; else by its first call. */
	DefineCustomIntVariable("cozi.rate_limit_memory",
							"Sets the memory of the rate limiter.",
							"Without preloading cozi, it is read when the first call after a "
							"server start makes the table.",
							&cozi_rate_limit_memory,
							16 * 1024,
							1024,
							MAX_MEMORY_KB,
							cozi_preloaded() ? PGC_POSTMASTER : PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL,
							NULL,
							NULL);

	DefineCustomEnumVariable("cozi.rate_limit_on_error",
							 "Sets what a rate limit answers when its shared memory cannot be had.",
							 NULL,
							 &cozi_rate_limit_on_error,
							 COZI_ON_ERROR_ERROR,
							 on_error_options,
							 PGC_SUSET,
							 0,
							 NULL,
							 NULL,
							 NULL);

	cozi_limiter_init();
}
