/*
 * trending/init.c
 *		The front door of trending.
 */
#include "postgres.h"

#include "trending/board.h"
#include "trending/trending.h"

void
cozi_trending_init(void)
{
	cozi_fold_worker_init();
	cozi_fold_init();
	cozi_fold_commit_init();
}
