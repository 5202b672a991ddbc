/*
 * edge/edge.c
 *		An edge: its columns and indexes, what is wrong with it, and who asks.
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
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "edge/edge.h"
#include "identity/identity.h"

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
		bytewise &= !OidIsValid(index->rd_indcollation[i]) ||
			get_collation_isdeterministic(index->rd_indcollation[i]);
	index_close(index, AccessShareLock);
	return bytewise;
}

/* Can its rows be read here, all of them from this table? */
static const char *
kind_trouble(Relation rel)
{
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		return psprintf("\"%s\" is not a table", RelationGetRelationName(rel));
	if (kind == RELKIND_RELATION && rel->rd_rel->relhassubclass &&
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		return psprintf("table \"%s\" has children by inheritance", RelationGetRelationName(rel));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return psprintf("\"%s\" is a temporary table", RelationGetRelationName(rel));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && RecoveryInProgress())
		return psprintf("table \"%s\" is unlogged", RelationGetRelationName(rel));
	return NULL;
}

static const char *
column_trouble(Relation rel, const NameData *name, AttrNumber *column, Oid *id_type)
{
	Oid			type;

	*column = get_attnum(RelationGetRelid(rel), NameStr(*name));
	if (*column <= 0)
		return psprintf("column \"%s\" of table \"%s\" does not exist",
						NameStr(*name), RelationGetRelationName(rel));
	type = get_atttype(RelationGetRelid(rel), *column);
	*id_type = cozi_edge_id_type(type);
	if (!OidIsValid(*id_type))
		return psprintf("column \"%s\" of table \"%s\" is of type %s",
						NameStr(*name), RelationGetRelationName(rel), format_type_be(type));
	return NULL;
}

static void
no_index(CoziEdge *edge, Relation rel, const CoziEdgeTest *test)
{
	Oid			unusable = cozi_edge_unusable_index(rel, edge->src, edge->dst, test);

	if (OidIsValid(unusable))
	{
		edge->trouble = psprintf("index \"%s\" of table \"%s\" cannot be used yet",
								 get_rel_name(unusable), RelationGetRelationName(rel));
		edge->hint = "It is not valid, or was made while older transactions were open, which "
			"must end first; "
			"CREATE INDEX CONCURRENTLY waits for them.";
		return;
	}
	edge->trouble = psprintf("table \"%s\" has no index on (\"%s\", \"%s\") with all rows that "
							 "count",
							 RelationGetRelationName(rel),
							 NameStr(edge->config->src), NameStr(edge->config->dst));
}

static void
describe(CoziEdge *edge, Relation rel)
{
	CoziEdgeConfig *config = edge->config;
	CoziEdgeTest test;

	if ((edge->trouble = kind_trouble(rel)) != NULL ||
		(edge->trouble = column_trouble(rel, &config->src, &edge->src, &edge->src_type)) != NULL ||
		(edge->trouble = column_trouble(rel, &config->dst, &edge->dst, &edge->dst_type)) != NULL ||
		(edge->trouble = cozi_edge_test(rel, config, &test)) != NULL)
		return;
	edge->ids = psprintf("%s to %s", format_type_be(edge->src_type),
						 format_type_be(edge->dst_type));
	edge->index = cozi_edge_index(rel, edge->src, edge->dst, &test);
	edge->reverse_index = cozi_edge_index(rel, edge->dst, edge->src, &test);
	if (!OidIsValid(edge->index))
		no_index(edge, rel, &test);
	else
		edge->bytewise = is_bytewise(edge->index) && is_bytewise(edge->reverse_index);
}

/* Fill in the edge, its table locked; or trouble, and no index. */
void
cozi_describe_edge(CoziEdge *edge, CoziEdgeConfig *config)
{
	Relation	rel;

	memset(edge, 0, sizeof(CoziEdge));
	edge->config = config;
	edge->rel = config->rel;
	rel = OidIsValid(edge->rel) ? try_relation_open(edge->rel, AccessShareLock) : NULL;
	if (rel == NULL)
	{
		edge->trouble = "its table was dropped";
		edge->hint = "Call cozi.drop_edge(), and cozi.register_edge() for another table.";
		return;
	}
	describe(edge, rel);
	relation_close(rel, NoLock);
}

/* The edge of that name, as above; false when it is not registered. */
bool
cozi_find_edge(const char *name, CoziEdge *edge)
{
	CoziEdgeConfig *config = cozi_edge_config(name);

	if (config == NULL)
		return false;
	cozi_describe_edge(edge, config);
	return true;
}

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
