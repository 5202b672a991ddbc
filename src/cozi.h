/*
 * cozi.h
 *		The map of the extension: what each file offers to the others.
 *
 * Includes go down only:
 *
 *		cozi.c -> domains -> shmem -> pure arithmetic -> compat -> PostgreSQL
 *
 * A domain (trending, sharding, rls, ratelimit, analytics, monitor, advisor)
 * may have several files, DOMAIN.c or DOMAIN_part.c; it never calls another
 * domain.  What two domains need sinks a floor.
 */
#ifndef COZI_H
#define COZI_H

#include "compat.h"

#endif							/* COZI_H */
