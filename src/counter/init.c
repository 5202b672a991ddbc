/*
 * counter/init.c
 *		The front door of counters.
 */
#include "postgres.h"

#include "counter/counter.h"

void
cozi_counter_init(void)
{
	cozi_kept_register_kind(&cozi_counter_kind);
}
