/*
 * base/user.c
 *		Acting as another user: the owner of a table, or of the extension.
 *
 * Maintenance runs the way foreign-key triggers do: as the table's owner, under
 * SECURITY_RESTRICTED_OPERATION, and without FORCE ROW LEVEL SECURITY.
 *
 * The law: after cozi_restore_user() the caller's settings and identity are
 * what they were before, whatever code ran in between.  A plain SET of that
 * code would survive if AtEOXact_GUC() kept its level; so the level is always
 * rolled back.  An error needs no cozi_restore_user(): the abort restores all of it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "base/base.h"

Oid
cozi_relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		cozi_no_such_relation(relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Become that user, with these flags of the security context added, and with
 * pg_catalog alone in the search path.
 */
void
cozi_switch_user(Oid userid, int context, CoziSavedUser *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->context);
	saved->nestlevel = NewGUCNestLevel();
	SetUserIdAndSecContext(userid, saved->context | context | SECURITY_LOCAL_USERID_CHANGE);
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
}

void
cozi_switch_to_owner(Oid relid, CoziSavedUser *saved)
{
	cozi_switch_user(cozi_relation_owner(relid),
					 SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS, saved);
}

void
cozi_restore_user(const CoziSavedUser *saved)
{
	AtEOXact_GUC(false, saved->nestlevel);
	SetUserIdAndSecContext(saved->userid, saved->context);
}

/* Set a setting until cozi_restore_user(), or the end of the GUC nest level. */
void
cozi_set_locally(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}
