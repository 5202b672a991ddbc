/*
 * monitor/size.c
 *		The size of a relation, without waiting for its lock.
 *
 * pg_total_relation_size() queues behind whoever alters a table, and
 * everybody else behind it: a monitor must not do that.  The lock is asked
 * for once, and given back at once.
 */
#include "postgres.h"

#include "common/relpath.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "base/base.h"

PG_FUNCTION_INFO_V1(cozi_relation_bytes);

/*
 * relation_bytes(relation oid) -> bigint
 *
 * The bytes of all forks of this relation, not of its indexes or TOAST;
 * NULL if it is locked ACCESS EXCLUSIVE, or gone.
 */
Datum
cozi_relation_bytes(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	int64		bytes = 0;
	bool		exists;

	if (!ConditionalLockRelationOid(relation, AccessShareLock))
		PG_RETURN_NULL();
	exists = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation));
	if (exists)
	{
		for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
			bytes += DatumGetInt64(DirectFunctionCall2(pg_relation_size,
													   ObjectIdGetDatum(relation),
													   CStringGetTextDatum(forkNames[fork])));
	}
	UnlockRelationOid(relation, AccessShareLock);
	if (!exists)
		PG_RETURN_NULL();
	PG_RETURN_INT64(bytes);
}
