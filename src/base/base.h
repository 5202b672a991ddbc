/*
 * base/base.h
 *		The server made small: what every room above may use.
 *
 * The law: nothing here knows a room above.
 */
#ifndef COZI_BASE_H
#define COZI_BASE_H

#include "base/compat.h"

/*
 * shmem.c: shared memory, by area.  A room declares a CoziShmem, requests it
 * in its cozi_ROOM_init() and calls cozi_shmem_attach() before each use.  The
 * area begins with a CoziShmemHeader, which shmem.c fills and checks.
 */
typedef struct CoziShmemHeader
{
	uint32		magic;
	uint32		layout;			/* of the area, as the room counts it */
	uint64		size;			/* of the area, header included */
} CoziShmemHeader;

typedef struct CoziShmem
{
	const char *name;			/* e.g. "cozi latency" */
	uint32		layout;			/* raised when the area's structures change */
	Size		(*size) (void); /* header included; settings are known */
	void		(*init) (CoziShmemHeader *area);	/* once; memory not zeroed */
	void		(*attach) (CoziShmemHeader *area);	/* in each process, or
													 * NULL */
	CoziShmemHeader *area;		/* NULL until attached */
	bool		dynamic;		/* attached, and not in the main segment */
} CoziShmem;

extern bool cozi_preloaded(void);
extern void cozi_shmem_init(void);
extern void cozi_shmem_request(CoziShmem *shmem);
extern CoziShmemHeader *cozi_shmem_attach(CoziShmem *shmem, bool create);

/* expression.c: expressions in plans */
struct Node;
extern struct Node *cozi_unwidened(struct Node *arg, Oid *type);

#endif							/* COZI_BASE_H */
