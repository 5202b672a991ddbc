/*
 * identity/identity.h
 *		Who is calling, and what the caller's token claims.
 */
#ifndef COZI_IDENTITY_H
#define COZI_IDENTITY_H

#include "datatype/timestamp.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

struct CoziJson;
struct CoziJws;

/* identity.c: the identity of the transaction */
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

/* identity.c: what init.c defines settings with */
extern char *cozi_identity_setting;
extern char *cozi_trusted_gateways;
extern bool cozi_check_identity(char **newval, void **extra, GucSource source);
extern void cozi_assign_identity(const char *newval, void *extra);
extern bool cozi_check_gateways(char **newval, void **extra, GucSource source);
extern void cozi_assign_gateways(const char *newval, void *extra);
extern void cozi_identity_watch_roles(void);

/* key.c: table jwks, signatures */
extern const char *cozi_verify_signature(const struct CoziJws *jws, TimestampTz at);

/* role.c: has_role(), require_role() */
extern bool cozi_caller_has_role(const char *role);
extern bool cozi_check_role_claim(char **newval, void **extra, GucSource source);

/* init.c: the settings of this room */
extern char *cozi_jwt_issuer;
extern char *cozi_jwt_audience;
extern int	cozi_jwt_leeway;
extern int	cozi_jwt_max_lifetime;
extern char *cozi_role_claim;
extern char *cozi_api_roles;
extern bool cozi_settings_forged(void);
extern void cozi_identity_init(void);

#endif							/* COZI_IDENTITY_H */
