/*
 * edge/edge.c
 *		An edge: its registration, and who asks about it.
 *
 * An edge is a table of pairs that its owner registered under a name: who
 * follows whom, who is a member of what, who blocked whom.  It is read below
 * privileges and policies, as foreign keys read, so that a policy may ask
 * without recursion; that is why only the table's owner may register it.
 *
 * Locks: AccessShareLock on the table, until the transaction ends, as a query
 * that reads it would hold.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/base.h"
#include "identity/identity.h"
#include "edge/edge.h"

/* The columns of cozi.edge_config. */
enum
{
	Anum_edge_name = 1,
	Anum_edge_rel,
	Anum_edge_src,
	Anum_edge_dst
};

/* --- registration ------------------------------------------------------------- */

/* The type ids are compared as: uuid, bigint or text; else invalid. */
Oid
cozi_edge_id_type(Oid type)
{
	switch (getBaseType(type))
	{
		case UUIDOID:
			return UUIDOID;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return INT8OID;
		case TEXTOID:
		case VARCHAROID:
			return TEXTOID;
		default:
			return InvalidOid;
	}
}

/* May this snapshot trust the index?  As the planner decides it. */
static bool
index_usable(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || !form->indisready || !form->indislive)
		return false;
	return !form->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

static Oid
find_index(Relation rel, AttrNumber first, AttrNumber second, bool usable)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == BTREE_AM_OID && form->indnkeyatts >= 2 &&
			form->indkey.values[0] == first && form->indkey.values[1] == second &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			index_usable(index) == usable)
			found = RelationGetRelid(index);
		index_close(index, NoLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

/* A btree that begins with these columns and has all rows; or invalid. */
Oid
cozi_edge_index(Relation rel, AttrNumber first, AttrNumber second)
{
	return find_index(rel, first, second, true);
}

/* The registration of that name; false when there is none. */
static bool
read_config(const char *name, CoziEdge *edge, NameData *src, NameData *dst)
{
	Oid			configid = get_relname_relid("edge_config", get_namespace_oid("cozi", false));
	Relation	config = table_open(configid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(config, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(config);
		bool		isnull;

		if (strcmp(NameStr(*DatumGetName(heap_getattr(tuple, Anum_edge_name, desc, &isnull))), name) != 0)
			continue;
		edge->rel = DatumGetObjectId(heap_getattr(tuple, Anum_edge_rel, desc, &isnull));
		*src = *DatumGetName(heap_getattr(tuple, Anum_edge_src, desc, &isnull));
		*dst = *DatumGetName(heap_getattr(tuple, Anum_edge_dst, desc, &isnull));
		found = true;
	}
	systable_endscan(scan);
	table_close(config, AccessShareLock);
	return found;
}

/* The table of that edge, which may be gone; false when not registered. */
bool
cozi_edge_relation(const char *name, Oid *relid)
{
	CoziEdge	edge;
	NameData	src,
				dst;

	if (!read_config(name, &edge, &src, &dst))
		return false;
	*relid = edge.rel;
	return true;
}

/* Are equal keys of the index equal in their bytes?  True of no index. */
static bool
is_bytewise(Oid indexid)
{
	Relation	index;
	bool		bytewise = true;

	if (!OidIsValid(indexid))
		return true;
	index = index_open(indexid, AccessShareLock);
	for (int i = 0; i < 2; i++)
		bytewise &= !OidIsValid(index->rd_indcollation[i]) || get_collation_isdeterministic(index->rd_indcollation[i]);
	index_close(index, NoLock);
	return bytewise;
}

/* Columns, types and indexes; no index when there is none to use. */
static void
describe_edge(Relation rel, CoziEdge *edge, const char *src, const char *dst)
{
	edge->index = edge->reverse_index = InvalidOid;
	edge->src = get_attnum(edge->rel, src);
	edge->dst = get_attnum(edge->rel, dst);
	if (edge->src <= 0 || edge->dst <= 0)
		return;
	edge->src_type = cozi_edge_id_type(get_atttype(edge->rel, edge->src));
	edge->dst_type = cozi_edge_id_type(get_atttype(edge->rel, edge->dst));
	if (!OidIsValid(edge->src_type) || !OidIsValid(edge->dst_type))
		return;
	edge->index = cozi_edge_index(rel, edge->src, edge->dst);
	edge->reverse_index = cozi_edge_index(rel, edge->dst, edge->src);
	edge->bytewise = is_bytewise(edge->index) && is_bytewise(edge->reverse_index);
}

static void
refuse_without_index(Relation rel, const char *name, const char *src, const char *dst)
{
	Oid			index = find_index(rel, get_attnum(RelationGetRelid(rel), src), get_attnum(RelationGetRelid(rel), dst), false);

	if (OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" of edge \"%s\" cannot be used yet", get_rel_name(index), name),
				 errhint("It is not valid, or was made while older transactions were open, which must end first; CREATE INDEX CONCURRENTLY waits for them.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("edge \"%s\" has no index on (\"%s\", \"%s\") of table \"%s\"",
					name, src, dst, RelationGetRelationName(rel)),
			 errhint("Create the index, or register the edge again if its columns were changed.")));
}

/*
 * The edge of that name, its table locked until the transaction ends; false
 * when it is not registered.  quiet: also when it cannot be used.
 */
bool
cozi_find_edge(const char *name, CoziEdge *edge, bool quiet)
{
	NameData	src,
				dst;
	Relation	rel;

	if (!read_config(name, edge, &src, &dst))
		return false;
	rel = try_relation_open(edge->rel, AccessShareLock);
	if (rel == NULL)
	{
		if (quiet)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of edge \"%s\" no longer exists", name),
				 errhint("Call cozi.drop_edge() as the owner of the extension, and cozi.register_edge() for a new table.")));
	}
	describe_edge(rel, edge, NameStr(src), NameStr(dst));
	if (!OidIsValid(edge->index) && !quiet)
		refuse_without_index(rel, name, NameStr(src), NameStr(dst));
	relation_close(rel, NoLock);
	return OidIsValid(edge->index);
}

/*
 * The same for who asks it: an edge must exist, except that nobody is blocked
 * where nothing says so.
 */
bool
cozi_find_edge_or_none(const char *name, CoziEdge *edge)
{
	if (cozi_find_edge(name, edge, false))
		return true;
	if (strcmp(name, "blocked") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("edge \"%s\" is not registered", name),
				 errhint("The owner of the table calls cozi.register_edge(); the view cozi.edges lists the edges.")));
	return false;
}

/* --- who asks, and when --------------------------------------------------------- */

/* The caller as a value of that type; false when it has none. */
bool
cozi_edge_caller(Oid type, Datum *value)
{
	const CoziIdentity *who = cozi_identity();
	pg_uuid_t  *uuid;

	if (type == INT8OID && who->has_bigint)
		*value = Int64GetDatum(who->bigint);
	else if (type == TEXTOID && who->subject != NULL)
		*value = PointerGetDatum(cstring_to_text_with_len(who->subject, who->subject_len));
	else if (type == UUIDOID && who->has_uuid)
	{
		uuid = palloc(sizeof(pg_uuid_t));
		*uuid = who->uuid;
		*value = UUIDPGetDatum(uuid);
	}
	else
		return false;
	return true;
}

/*
 * Two keys are equal only if the same question has the same answer.  Within a
 * transaction, snapshots of the same bounds can only lose members, so that
 * their number tells them apart.
 */
void
cozi_edge_key(CoziEdgeKey *key)
{
	Snapshot	snapshot = GetActiveSnapshot();

	memset(key, 0, sizeof(CoziEdgeKey));
	key->xmin = snapshot->xmin;
	key->xmax = snapshot->xmax;
	key->xcnt = snapshot->xcnt;
	key->subxcnt = snapshot->subxcnt;
	key->curcid = snapshot->curcid;
	key->lxid = MyProcLxid_compat;
	key->subid = GetCurrentSubTransactionId();
	key->user = GetUserId();
	key->generation = cozi_identity()->generation;
}
