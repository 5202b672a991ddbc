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

#include "datatype/timestamp.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/*
 * shmem.c: shared memory, by area.  A domain declares a CoziShmem, requests
 * it in its cozi_DOMAIN_init() and calls cozi_shmem_attach() before each use.
 * The area begins with a CoziShmemHeader, which shmem.c fills and checks.
 */
typedef struct CoziShmemHeader
{
	uint32		magic;
	uint32		layout;			/* of the area, as the domain counts it */
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

/* rls_identity.c: who is calling */
struct CoziJson;
typedef struct CoziIdentity
{
	uint64		generation;		/* differs between any two identities a
								 * backend has had: a key for caches */
	bool		has_uuid;
	bool		has_bigint;
	pg_uuid_t	uuid;			/* the subject, where it has that form */
	int64		bigint;
	const char *subject;		/* ends in a NUL; NULL when nobody */
	int			subject_len;
	const char *claims;			/* JSON text, NULL when none; a gateway's may
								 * have no subject */
} CoziIdentity;

extern const CoziIdentity *cozi_identity(void);
extern Jsonb *cozi_claims(void);
extern void cozi_set_identity(const char *claims, const struct CoziJson *json);
extern void cozi_rls_init(void);

/* rls_token.c: login() */
extern char *cozi_role_claim;	/* cozi.role_claim */
extern char *cozi_api_roles;	/* cozi.api_roles */
extern bool cozi_settings_forged(void);
extern void cozi_rls_token_init(void);

/* rls_owner.c: is_owner(), has_role() */
struct Node;
extern struct Node *cozi_unwidened(struct Node *arg, Oid *type);
extern bool cozi_check_role_claim(char **newval, void **extra, GucSource source);

/* rls_key.c: table jwks, signatures */
struct CoziJws;
extern const char *cozi_verify_signature(const struct CoziJws *jws, TimestampTz at);

/* ratelimit.c, ratelimit_table.c: rate limits; see ratelimit.h */
extern void cozi_ratelimit_init(void);

/* trending_fold.c */
extern void cozi_trending_init(void);

/* monitor_latency.c */
extern void cozi_monitor_init(void);

#endif							/* COZI_H */
