/*
 * kept/init.c
 *		The front door of kept tables.
 */
#include "postgres.h"

#include "kept/kept.h"

#define MAX_KINDS 8

static const KeptKind *kinds[MAX_KINDS];
static int	nkinds = 0;

/* Called once by the room of each kind, when the library is loaded. */
void
cozi_kept_register_kind(const KeptKind *kind)
{
	if (nkinds == MAX_KINDS)
		elog(ERROR, "too many kinds of kept tables");
	kinds[nkinds++] = kind;
}

const KeptKind *
cozi_kept_find_kind(const char *name)
{
	for (int i = 0; i < nkinds; i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

void
cozi_kept_init(void)
{
	cozi_kept_worker_init();
	cozi_kept_prepared_init();
	cozi_kept_fold_init();
	cozi_kept_fold_commit_init();
	cozi_kept_leaf_init();
}
