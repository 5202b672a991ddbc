/*
 * identity/gateway.c
 *		Session users whose request.jwt.claims are believed.
 *
 * Where a session user is one of cozi.trusted_gateways (PostgREST and its
 * like, which verify tokens themselves), request.jwt.claims is the identity as
 * long as neither login() nor logout() was called in the transaction.
 *
 * The law: in all other sessions that setting counts for nothing, since
 * anybody may write it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "identity/identity.h"

char	   *cozi_trusted_gateways;

static const CoziIdentity nobody;

/* The last claims a gateway handed over, and who they are. */
static struct
{
	char	   *claims;			/* malloc'd, or NULL */
	CoziIdentityExtra *extra;	/* malloc'd, or NULL */
	CoziIdentity who;
}			gateway;

/* Is the session user a gateway?  Valid for the user it was asked for. */
static Oid	asked_user = InvalidOid;
static bool asked_is_gateway;

bool
cozi_check_gateways(char **newval, void **extra, GucSource source)
{
	char	   *raw = pstrdup(*newval);
	List	   *names;
	bool		ok = SplitIdentifierString(raw, ',', &names);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	else
		list_free(names);
	pfree(raw);
	return ok;
}

void
cozi_assign_gateways(const char *newval, void *extra)
{
	asked_user = InvalidOid;
}

/* A role was renamed, or dropped and its name given away. */
static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	asked_user = InvalidOid;
}

bool
cozi_session_user_is_gateway(void)
{
	Oid			user = GetSessionUserId();
	char	   *name,
			   *raw;
	List	   *names;
	ListCell   *cell;

	if (user == asked_user)
		return asked_is_gateway;

	/* first, so that a change seen by the look-up below makes us ask again */
	asked_user = user;
	asked_is_gateway = false;
	name = GetUserNameFromId(user, true);
	raw = pstrdup(cozi_trusted_gateways);
	if (name && SplitIdentifierString(raw, ',', &names))
		foreach(cell, names)
			if (strcmp(lfirst(cell), name) == 0)
			asked_is_gateway = true;
	return asked_is_gateway;
}

/* Claims that are not believed are nobody; the log says so once. */
static void
read_claims(const char *claims)
{
	const char *why = NULL;

	free(gateway.claims);
	free(gateway.extra);
	gateway.claims = strdup(claims);
	gateway.extra = cozi_read_identity(claims, malloc, &why);
	gateway.who = nobody;
	if (gateway.claims && gateway.extra)
	{
		gateway.who = *cozi_identity_of(gateway.extra);
		gateway.who.claims = gateway.claims;
	}
	if (why)
		ereport(LOG,
				(errmsg("request.jwt.claims of a trusted gateway is not believed"),
				 errdetail_log("Reason: %s.", why),
				 errhidestmt(true),
				 errhidecontext(true)));
}

/* Whom request.jwt.claims names; read again only when its text changed. */
const CoziIdentity *
cozi_gateway_identity(void)
{
	const char *claims = GetConfigOption("request.jwt.claims", true, false);

	if (claims == NULL || claims[0] == '\0' || cozi_settings_forged())
		return &nobody;
	if (gateway.claims == NULL || strcmp(claims, gateway.claims) != 0)
		read_claims(claims);
	return &gateway.who;
}

/* Called once, when the library is loaded. */
void
cozi_gateway_init(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
}
