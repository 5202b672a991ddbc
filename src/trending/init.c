/*
 * trending/init.c
 *		The front door of trending.
 */
#include "postgres.h"

#include "kept/kept.h"
#include "trending/trending.h"

void
cozi_trending_init(void)
{
	cozi_kept_register_kind(&cozi_board_kind);
}
