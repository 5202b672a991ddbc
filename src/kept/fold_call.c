/*
 * kept/fold_call.c
 *		fold(): folding when it is called for.
 *
 * The law: what stops the fold of one kept table is a warning, and the others are
 * folded all the same.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "kept/kept.h"

/* For each kept table of fold() without an argument. */
#define FOLD_TIME_LIMIT 10000	/* milliseconds */

static bool
may_fold(const Kept *kept)
{
	return OidIsValid(kept->relation) && get_rel_name(kept->relation) != NULL &&
		(object_ownercheck(RelationRelationId, kept->relation, GetUserId()) ||
		 has_privs_of_role(GetUserId(), ROLE_PG_DATABASE_OWNER));
}

/* Code of another owner is the worker's, which nobody misses if it dies. */
static bool
is_left_to_worker(const Kept *kept)
{
	bool		left;

	/* the fold waits for a lock of the owner, within its time limit */
	if (!cozi_preloaded() || !ConditionalLockRelationOid(kept->relation, AccessShareLock))
		return false;
	left = get_rel_name(kept->relation) != NULL &&
		cozi_relation_owner(kept->relation) != GetUserId() &&
		cozi_kept_foreign_code(kept->relation) != NULL;
	UnlockRelationOid(kept->relation, AccessShareLock);
	return left;
}

static int
by_id(const ListCell *a, const ListCell *b)
{
	int32		left = ((const Kept *) lfirst(a))->id;
	int32		right = ((const Kept *) lfirst(b))->id;

	return left < right ? -1 : left > right;
}

PG_FUNCTION_INFO_V1(cozi_fold);

/*
 * fold(board regclass, max_rows int) -> bigint
 *
 * NULL board: every kept table that the caller may fold, in one order for
 * everybody.  NULL max_rows: whatever is ready.  Waits for a fold under way.
 */
Datum
cozi_fold(PG_FUNCTION_ARGS)
{
	List	   *list;
	int64		max_rows = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	int64		folded = 0;
	ListCell   *lc;

	if (!PG_ARGISNULL(1) && max_rows <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be positive")));
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot fold within a security-restricted operation")));
	if (PG_ARGISNULL(0))
	{
		list = cozi_kept_all();
		list_sort(list, by_id);
	}
	else
	{
		Kept	   *kept = palloc(sizeof(Kept));

		cozi_kept_get(PG_GETARG_OID(0), NULL, kept);
		if (!may_fold(kept))
			cozi_require_owner(kept->relation);
		list = list_make1(kept);
	}
	foreach(lc, list)
	{
		Kept	   *kept = lfirst(lc);
		char	   *failure = NULL;

		if (!may_fold(kept))
			continue;

		if (PG_ARGISNULL(0) && is_left_to_worker(kept))
			continue;
		folded += cozi_kept_fold_safely(kept->id, max_rows, 0, FOLD_BY_CALL,
										PG_ARGISNULL(0) ? FOLD_TIME_LIMIT : 0, &failure);
		if (failure != NULL)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" was not folded: %s", get_rel_name(kept->relation), failure),
					 errhint("The view cozi.%s shows it in last_error.", kept->kind->plural)));
		else if (kept->kind->folded != NULL)
			kept->kind->folded(kept, true);
	}
	PG_RETURN_INT64(folded);
}
