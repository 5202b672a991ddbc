/*
 * edge/register.c
 *		register_edge() and drop_edge().
 *
 * An edge steers everybody's policies and is read below privileges: only the
 * owner of its table may register it, where EXECUTE is granted at all.
 *
 * The law: cozi.edge_config is written here alone, as its owner, under
 * SECURITY_RESTRICTED_OPERATION.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "edge/edge.h"

PG_FUNCTION_INFO_V1(cozi_register_edge);
PG_FUNCTION_INFO_V1(cozi_drop_edge);

/* Run SQL on edge_config with its owner's rights: rows written. */
static uint64
change_config(const char *sql, int nargs, Oid *types, Datum *values)
{
	Oid			configid = get_relname_relid("edge_config", get_namespace_oid("cozi", false));
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(configid));
	Oid			owner,
				user;
	int			context,
				nestlevel;
	uint64		rows;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", configid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	GetUserIdAndSecContext(&user, &context);
	nestlevel = NewGUCNestLevel();
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	rows = SPI_processed;
	SPI_finish();
	AtEOXact_GUC(true, nestlevel);
	SetUserIdAndSecContext(user, context);
	return rows;
}

static AttrNumber
id_column(Relation rel, Name column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), NameStr(*column));
	Oid			type;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist",
						NameStr(*column), RelationGetRelationName(rel))));
	type = get_atttype(RelationGetRelid(rel), attnum);
	if (!OidIsValid(cozi_edge_id_type(type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s", NameStr(*column), format_type_be(type)),
				 errhint("Ids are uuid, bigint, int or text.")));
	return attnum;
}

/* A table that everybody's sessions can read, with all its rows in itself. */
static void
check_kind(Oid relid)
{
	char		kind = get_rel_relkind(relid);

	if (kind != RELKIND_PARTITIONED_TABLE && (kind != RELKIND_RELATION || has_subclass(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table, or has children", get_rel_name(relid)),
				 errhint("Edges are read from a table, which may be partitioned.")));
	if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a temporary table", get_rel_name(relid)),
				 errhint("An edge is read by all sessions.")));
}

static char *
create_index_on(Relation rel, const char *unique, Name first, Name second)
{
	return psprintf("CREATE %sINDEX ON %s (%s, %s);", unique,
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel)),
					quote_identifier(NameStr(*first)), quote_identifier(NameStr(*second)));
}

static void
check_indexes(Relation rel, Name edge, Name src, Name dst)
{
	AttrNumber	src_attnum = id_column(rel, src);
	AttrNumber	dst_attnum = id_column(rel, dst);

	if (!OidIsValid(cozi_edge_index(rel, src_attnum, dst_attnum)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no index on (\"%s\", \"%s\")",
						RelationGetRelationName(rel), NameStr(*src), NameStr(*dst)),
				 errhint("%s", create_index_on(rel, "UNIQUE ", src, dst))));
	/* the one edge that is also asked for backwards */
	if (strcmp(NameStr(*edge), "blocked") == 0 &&
		!OidIsValid(cozi_edge_index(rel, dst_attnum, src_attnum)))
		ereport(NOTICE,
				(errmsg("is_blocked_by() and can_view() will be slow in large scans without an index on (\"%s\", \"%s\")",
						NameStr(*dst), NameStr(*src)),
				 errhint("%s", create_index_on(rel, "", dst, src))));
}

static void
check_edge_table(Oid relid, Name edge, Name src, Name dst)
{
	Relation	rel;

	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	check_kind(relid);
	rel = table_open(relid, AccessShareLock);
	check_indexes(rel, edge, src, dst);
	table_close(rel, NoLock);
}

/* register_edge(edge name, rel regclass, src name, dst name) -> void */
Datum
cozi_register_edge(PG_FUNCTION_ARGS)
{
	Oid			types[] = {NAMEOID, OIDOID, NAMEOID, NAMEOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3)};
	Name		edge = PG_GETARG_NAME(0);

	if (NameStr(*edge)[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an edge must have a name")));
	check_edge_table(PG_GETARG_OID(1), edge, PG_GETARG_NAME(2), PG_GETARG_NAME(3));
	if (change_config("INSERT INTO cozi.edge_config VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", 4, types, values) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("edge \"%s\" is registered already", NameStr(*edge)),
				 errhint("Call cozi.drop_edge() first, as the owner of its table.")));
	PG_RETURN_VOID();
}

/* The table of an edge, which the caller owns; or is gone, and cozi is the caller's. */
static void
check_edge_owner(Name edge)
{
	Oid			configid = get_relname_relid("edge_config", get_namespace_oid("cozi", false));
	Oid			relid;

	if (!cozi_edge_relation(NameStr(*edge), &relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("edge \"%s\" is not registered", NameStr(*edge)),
				 errhint("The view cozi.edges lists the edges.")));
	if (object_ownercheck(RelationRelationId, configid, GetUserId()))
		return;
	if (get_rel_name(relid) == NULL || !object_ownercheck(RelationRelationId, relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the table of edge \"%s\"", NameStr(*edge))));
}

/* drop_edge(edge name) -> void */
Datum
cozi_drop_edge(PG_FUNCTION_ARGS)
{
	Oid			types[] = {NAMEOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	check_edge_owner(PG_GETARG_NAME(0));
	(void) change_config("DELETE FROM cozi.edge_config WHERE edge = $1", 1, types, values);
	PG_RETURN_VOID();
}
