/*
 * base/distributed.c
 *		Tables that Citus distributes.
 *
 * Such a table is empty here: its rows are in shards, which are tables of other
 * names, mostly on other servers.  What reads or watches it below SQL would find
 * nothing, ever, and nobody would be told.  Therefore it is refused.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "catalog/pg_namespace.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/base.h"

/* Is the table in the list that Citus keeps of its tables? */
static bool
is_distributed(Oid relid)
{
	Oid			listid = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	AttrNumber	attnum;
	Relation	list;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (!OidIsValid(listid))
		return false;
	attnum = get_attnum(listid, "logicalrelid");
	if (attnum == InvalidAttrNumber)
		return false;
	list = table_open(listid, AccessShareLock);
	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(list, InvalidOid, false, NULL, 1, &key);
	found = systable_getnext(scan) != NULL;
	systable_endscan(scan);
	table_close(list, AccessShareLock);
	return found;
}

/* hint: what to do instead */
void
cozi_refuse_distributed(Oid relid, const char *hint)
{
	if (is_distributed(relid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is distributed by Citus", get_rel_name(relid)),
				 errdetail("Its rows are in shards, and the table itself is empty."),
				 errhint("%s", hint)));
}
