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

typedef struct CoziIdentityExtra CoziIdentityExtra;

extern char *cozi_identity_setting;
extern const CoziIdentity *cozi_identity(void);
extern Jsonb *cozi_claims(void);
extern void cozi_set_identity(const char *claims, const char *subject, int subject_len);
extern CoziIdentityExtra *cozi_read_identity(const char *claims, void *(*alloc) (size_t),
											 const char **why);
extern const CoziIdentity *cozi_identity_of(const CoziIdentityExtra *extra);
extern bool cozi_subject_uuid(const char *s, int len, pg_uuid_t *uuid);
extern bool cozi_check_identity(char **newval, void **extra, GucSource source);
extern void cozi_assign_identity(const char *newval, void *extra);

/* caller.c: what SQL asks about it */
extern void cozi_require_subject(Oid type);

/* gateway.c: session users whose claims are believed */
extern char *cozi_trusted_gateways;
extern bool cozi_session_user_is_gateway(void);
extern const CoziIdentity *cozi_gateway_identity(void);
extern bool cozi_check_gateways(char **newval, void **extra, GucSource source);
extern void cozi_assign_gateways(const char *newval, void *extra);
extern void cozi_gateway_init(void);

/* settings.c: the settings that judge a token */
typedef struct CoziTokenSettings
{
	const char *issuer;			/* NULL: any */
	const char **audiences;
	int			naudiences;		/* 0: any */
	const char **types;
	int			ntypes;			/* 0: any */
	uint64		digest;			/* of these and the two below */
} CoziTokenSettings;

extern char *cozi_jwt_issuer;
extern char *cozi_jwt_audience;
extern char *cozi_jwt_types;
extern int	cozi_jwt_leeway;
extern int	cozi_jwt_max_lifetime;
extern const CoziTokenSettings *cozi_token_settings(void);
extern bool cozi_is_login_type(const char *typ);
extern void cozi_define_token_settings(void);

/* revocation.c: table revocations */
extern const char *cozi_find_revocation(const char *jti, int jti_len, const char *subject,
										int subject_len, TimestampTz issued_at);

/* role.c: has_role(), require_role() */
extern char *cozi_role_claim;
extern bool cozi_caller_has_role(const char *role);
extern bool cozi_check_role_claim(char **newval, void **extra, GucSource source);
extern void cozi_assign_role_claim(const char *newval, void *extra);

/* ask.c: what another identity would see */
extern Oid	cozi_ask_as(Oid role);
extern void cozi_ask_about(Oid relid);
extern void cozi_ask_init(void);

/* mask.c: no token in the server log */
extern void cozi_mask_init(void);

/* init.c: the front door */
extern char *cozi_api_roles;
extern bool cozi_settings_forged(void);
extern void cozi_identity_init(void);

#endif							/* COZI_IDENTITY_H */
