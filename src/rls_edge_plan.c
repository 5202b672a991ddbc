/*
 * rls_edge_plan.c
 *		Registering edges, and what the planner is told about them.
 *
 * register_edge() and drop_edge() check that the caller owns the table, and
 * write cozi.edge_config as its owner, under SECURITY_RESTRICTED_OPERATION.
 *
 * Planner support: is_following(column) can be looked up in an index on the
 * column, as column = ANY (edge_targets_uuid('following')), while the caller
 * has few edges; and it lets through edges / distinct values of the rows.
 * The number of edges is read from the table when the query is planned, no
 * further than EDGES_COUNTED.  The law: only estimates depend on it.  The plan
 * holds the call, and is right for any other caller and any later edges.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "cozi.h"
#include "rls_edge.h"

#define FEW_EDGES		5000	/* an index condition is worth trying */
#define EDGES_COUNTED	20000	/* at plan time */
#define EDGES_OF_NOBODY	100		/* a generic plan, made for whoever comes */

PG_FUNCTION_INFO_V1(cozi_register_edge);
PG_FUNCTION_INFO_V1(cozi_drop_edge);
PG_FUNCTION_INFO_V1(cozi_edge_support);

/* --- registration ------------------------------------------------------------ */

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

static void
check_edge_table(Oid relid, Name src, Name dst)
{
	Relation	rel;
	AttrNumber	src_attnum,
				dst_attnum;

	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE &&
		(get_rel_relkind(relid) != RELKIND_RELATION || has_subclass(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table, or has children", get_rel_name(relid)),
				 errhint("Edges are read from a table, which may be partitioned.")));
	rel = table_open(relid, AccessShareLock);
	src_attnum = id_column(rel, src);
	dst_attnum = id_column(rel, dst);
	if (!OidIsValid(cozi_edge_index(rel, src_attnum, dst_attnum)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no index on (\"%s\", \"%s\")",
						RelationGetRelationName(rel), NameStr(*src), NameStr(*dst)),
				 errhint("CREATE UNIQUE INDEX ON %s (%s, %s);",
						 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel)),
						 quote_identifier(NameStr(*src)), quote_identifier(NameStr(*dst)))));
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
	check_edge_table(PG_GETARG_OID(1), PG_GETARG_NAME(2), PG_GETARG_NAME(3));
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

/* --- planner support ------------------------------------------------------------ */

/* A call of is_edge() and its like: which edge, and where its target is. */
typedef struct EdgeCall
{
	NameData	name;
	Node	   *target;
	int			target_arg;
	CoziEdge	edge;
} EdgeCall;

static bool
constant_name(Node *arg, Name name)
{
	if (!IsA(arg, Const) || ((Const *) arg)->constisnull)
		return false;
	*name = *DatumGetName(((Const *) arg)->constvalue);
	return true;
}

/* Is it a call that names its edge now? */
static bool
read_name(Oid function, List *args, EdgeCall *call)
{
	char	   *function_name = get_func_name(function);

	if (function_name == NULL)
		return false;
	if (strcmp(function_name, "is_following") == 0)
		namestrcpy(&call->name, "following");
	else if (strcmp(function_name, "is_member") == 0)
		namestrcpy(&call->name, "member");
	else if (strcmp(function_name, "has_blocked") == 0)
		namestrcpy(&call->name, "blocked");
	else if (list_length(args) != 2 || !constant_name(linitial(args), &call->name))
		return false;
	call->target_arg = list_length(args) - 1;
	call->target = llast(args);
	return true;
}

/* And is that edge registered? */
static bool
read_call(Oid function, List *args, EdgeCall *call)
{
	return read_name(function, args, call) &&
		ActiveSnapshotSet() && cozi_find_edge(NameStr(call->name), &call->edge, true);
}

static bool
count_one(Datum target, void *arg)
{
	(*(int64 *) arg)++;
	return true;
}

/*
 * How many edges the caller has, as far as we count.  A query asks for each
 * partition and each index; the latest count is kept, under the key that
 * answers are kept under.
 */
static int64
count_edges(const CoziEdge *edge)
{
	static CoziEdgeKey counted_key;
	static Oid	counted_index;
	static int64 counted = -1;
	CoziEdgeKey key;
	Datum		caller;

	if (cozi_identity()->subject == NULL)
		return EDGES_OF_NOBODY;
	cozi_edge_key(&key);
	if (counted >= 0 && memcmp(&key, &counted_key, sizeof(key)) == 0 &&
		edge->index == counted_index)
		return counted;

	counted = -1;
	if (cozi_edge_caller(edge->src_type, &caller))
	{
		int64		n = 0;

		(void) cozi_visit_edges(edge, false, caller, EDGES_COUNTED, count_one, &n);
		counted = n;
	}
	else
		counted = 0;
	counted_key = key;
	counted_index = edge->index;
	return counted;
}

static Const *
name_constant(Name name)
{
	return makeConst(NAMEOID, -1, C_COLLATION_OID, NAMEDATALEN,
					 PointerGetDatum(memcpy(palloc(NAMEDATALEN), name, NAMEDATALEN)), false, false);
}

/* edge_targets_TYPE(edge) in the schema of that function */
static Expr *
targets_call(Oid sibling, Oid type, Name edge)
{
	const char *name = type == UUIDOID ? "edge_targets_uuid" : type == INT8OID ? "edge_targets_bigint" : "edge_targets_text";
	Oid			argtype = NAMEOID;
	Oid			targets = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										  CStringGetDatum(name),
										  PointerGetDatum(buildoidvector(&argtype, 1)),
										  ObjectIdGetDatum(get_func_namespace(sibling)));

	if (!OidIsValid(targets))
		return NULL;
	return (Expr *) makeFuncExpr(targets, get_array_type(type), list_make1(name_constant(edge)),
								 type == TEXTOID ? DEFAULT_COLLATION_OID : InvalidOid,
								 C_COLLATION_OID, COERCE_EXPLICIT_CALL);
}

/* Does the index find what the edge's own index would? */
static bool
compares_alike(SupportRequestIndexCondition *request, const CoziEdge *edge)
{
	return edge->dst_type != TEXTOID ||
		(edge->bytewise && get_collation_isdeterministic(request->indexcollation));
}

/* is_following(column) as column = ANY (edge_targets_uuid('following')) */
static Node *
index_condition(SupportRequestIndexCondition *request)
{
	FuncExpr   *node = (FuncExpr *) request->node;
	ScalarArrayOpExpr *any;
	EdgeCall	call;
	Oid			operator;
	Expr	   *targets;

	if (!IsA(node, FuncExpr) || request->index->relam != BTREE_AM_OID ||
		!read_call(node->funcid, node->args, &call) || request->indexarg != call.target_arg ||
		cozi_edge_id_type(exprType(call.target)) != call.edge.dst_type ||
		!compares_alike(request, &call.edge))
		return NULL;
	operator = get_opfamily_member(request->opfamily, exprType(call.target), call.edge.dst_type, BTEqualStrategyNumber);
	targets = targets_call(node->funcid, call.edge.dst_type, &call.name);
	if (!OidIsValid(operator) || targets == NULL || count_edges(&call.edge) > FEW_EDGES)
		return NULL;

	any = makeNode(ScalarArrayOpExpr);
	any->opno = operator;
	any->opfuncid = get_opcode(operator);
	any->useOr = true;
	any->inputcollid = call.edge.dst_type == TEXTOID ? request->indexcollation : InvalidOid;
	any->args = list_make2(call.target, targets);
	any->location = -1;
	request->lossy = false;
	return (Node *) list_make1(any);
}

/*
 * is_following(column) of an int or smallint column, which comes as its cast
 * to bigint and hides the column from its indexes, as is_edge('following',
 * column).
 */
static Node *
without_cast(FuncExpr *node)
{
	Oid			argtypes[2] = {NAMEOID, InvalidOid};
	EdgeCall	call;
	Node	   *column;
	Oid			is_edge;

	column = cozi_unwidened(llast(node->args), &argtypes[1]);
	if (!OidIsValid(argtypes[1]) || !read_name(node->funcid, node->args, &call))
		return NULL;
	is_edge = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							  CStringGetDatum("is_edge"),
							  PointerGetDatum(buildoidvector(argtypes, 2)),
							  ObjectIdGetDatum(get_func_namespace(node->funcid)));
	if (!OidIsValid(is_edge))
		return NULL;
	return (Node *) makeFuncExpr(is_edge, BOOLOID, list_make2(name_constant(&call.name), column),
								 InvalidOid, node->inputcollid, COERCE_EXPLICIT_CALL);
}

/* The share of the rows whose column is one of the caller's targets. */
static bool
selectivity(SupportRequestSelectivity *request)
{
	EdgeCall	call;
	VariableStatData vardata;
	bool		isdefault;
	double		distinct;

	if (request->is_join || !read_call(request->funcid, request->args, &call))
		return false;
	examine_variable(request->root, call.target, request->varRelid, &vardata);
	distinct = get_variable_numdistinct(&vardata, &isdefault);
	ReleaseVariableStats(vardata);
	if (distinct < 1)
		return false;
	request->selectivity = (double) count_edges(&call.edge) / distinct;
	CLAMP_PROBABILITY(request->selectivity);
	return true;
}

/* edge_support(internal) -> internal: planner support of is_edge() and its like */
Datum
cozi_edge_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *answer = NULL;

	if (IsA(request, SupportRequestSimplify))
		answer = without_cast(((SupportRequestSimplify *) request)->fcall);
	else if (IsA(request, SupportRequestIndexCondition))
		answer = index_condition((SupportRequestIndexCondition *) request);
	else if (IsA(request, SupportRequestSelectivity) && selectivity((SupportRequestSelectivity *) request))
		answer = request;
	PG_RETURN_POINTER(answer);
}
