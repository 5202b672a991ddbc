/*
 * live/init.c
 *		The front door of live: what waits to be sent.
 */
#include "postgres.h"

#include "live/announce.h"
#include "live/notify.h"

void
cozi_live_init(void)
{
	cozi_channel_init();
	cozi_throttle_init();
	cozi_announce_init();
}
