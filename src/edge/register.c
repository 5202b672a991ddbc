/*
 * edge/register.c
 *		register_edge() and drop_edge().
 *
 * An edge steers everybody's policies and is read below privileges: only the
 * owner of its table may register it, where EXECUTE is granted at all; and a
 * name belongs to the owner of the table that has it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/base.h"
#include "edge/edge.h"

/* The arguments of register_edge(), which are the columns of edge_config, too. */
enum
{
	ARG_EDGE, ARG_REL, ARG_SRC, ARG_DST, ARG_STATUS, ARG_ACCEPTED, ARG_EXPIRES_AT,
	ARG_DELETED_AT, ARG_ROLE, ARG_ROLES, OWNER, NVALUES
};

/* The words of a text[] without NULLs; NIL when the argument is NULL. */
static List *
words_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	List	   *words = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain a null", name)));
		words = lappend(words, TextDatumGetCString(elements[i]));
	}
	if (words == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", name)));
	return words;
}

static NameData
name_argument(FunctionCallInfo fcinfo, int n)
{
	NameData	none = {""};

	return PG_ARGISNULL(n) ? none : *PG_GETARG_NAME(n);
}

static void
require_both(bool column, bool words, const char *column_name, const char *words_name)
{
	if (column != words)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"%s\" and \"%s\" must be given together",
						column_name, words_name),
				 errhint("\"%s\" is a column, and \"%s\" the values of it that count.",
						 column_name, words_name)));
}

static void
read_arguments(FunctionCallInfo fcinfo, CoziEdgeConfig *config)
{
	cozi_require_argument(fcinfo, ARG_EDGE, "edge");
	cozi_require_argument(fcinfo, ARG_REL, "rel");
	cozi_require_argument(fcinfo, ARG_SRC, "src");
	cozi_require_argument(fcinfo, ARG_DST, "dst");
	config->name = name_argument(fcinfo, ARG_EDGE);
	config->rel = PG_GETARG_OID(ARG_REL);
	config->src = name_argument(fcinfo, ARG_SRC);
	config->dst = name_argument(fcinfo, ARG_DST);
	config->status = name_argument(fcinfo, ARG_STATUS);
	config->accepted = words_argument(fcinfo, ARG_ACCEPTED, "accepted");
	config->expires_at = name_argument(fcinfo, ARG_EXPIRES_AT);
	config->deleted_at = name_argument(fcinfo, ARG_DELETED_AT);
	config->role = name_argument(fcinfo, ARG_ROLE);
	config->roles = words_argument(fcinfo, ARG_ROLES, "roles");
	if (NameStr(config->name)[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an edge must have a name")));
	require_both(NameStr(config->status)[0] != '\0', config->accepted != NIL, "status", "accepted");
	require_both(NameStr(config->role)[0] != '\0', config->roles != NIL, "role", "roles");
}

static void
check_id_column(Relation rel, const NameData *name)
{
	CoziColumn	column;

	cozi_find_column(rel, NameStr(*name), &column);
	if (!OidIsValid(cozi_edge_id_type(column.type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s", NameStr(*name), format_type_be(column.type)),
				 errhint("Ids are uuid, bigint, int or text.")));
}

/* Do the columns of the conditions exist, and can they be compared? */
static void
check_conditions(Relation rel, const CoziEdgeConfig *config, CoziEdgeTest *test)
{
	const NameData *names[] = {&config->status, &config->role,
	&config->expires_at, &config->deleted_at};
	const char *trouble;
	CoziColumn	column;

	for (int i = 0; i < lengthof(names); i++)
		if (NameStr(*names[i])[0] != '\0')
			cozi_find_column(rel, NameStr(*names[i]), &column);
	trouble = cozi_edge_test(rel, config, test);
	if (trouble != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s", trouble),
				 errhint("status and role are text, an enum, boolean or int; expires_at is "
						 "timestamptz.")));
}

/* CREATE INDEX, with what the conditions look at in the index. */
static char *
index_advice(Relation rel, const CoziEdgeConfig *config, const NameData *first,
			 const NameData *second)
{
	const NameData *names[] = {&config->status, &config->role,
	&config->expires_at, &config->deleted_at};
	StringInfoData include;

	initStringInfo(&include);
	for (int i = 0; i < lengthof(names); i++)
		if (NameStr(*names[i])[0] != '\0')
			appendStringInfo(&include, "%s%s", include.len == 0 ? " INCLUDE (" : ", ",
							 quote_identifier(NameStr(*names[i])));
	if (include.len > 0)
		appendStringInfoChar(&include, ')');
	return cozi_statement("CREATE INDEX ON {table} ({first}, {second}){include};",
						  "table", cozi_qualified_name(RelationGetRelid(rel)),
						  "first", quote_identifier(NameStr(*first)),
						  "second", quote_identifier(NameStr(*second)),
						  "include", include.data, NULL);
}

/* An index on the two columns that leaves rows out; NULL where there is none. */
static char *
partial_index(Relation rel, AttrNumber first, AttrNumber second)
{
	char	   *name = NULL;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indnkeyatts >= 2 && form->indkey.values[0] == first &&
			form->indkey.values[1] == second &&
			!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			name = pstrdup(RelationGetRelationName(index));
		index_close(index, NoLock);
	}
	return name;
}

/*
 * No index holds all rows that count.  One that leaves rows out knows which: a
 * full index in its place would make an edge of a request that is pending.
 */
pg_noreturn static void
refuse_without_index(Relation rel, const CoziEdgeConfig *config, AttrNumber src, AttrNumber dst)
{
	char	   *partial = partial_index(rel, src, dst);
	char	   *advice = index_advice(rel, config, &config->src, &config->dst);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table \"%s\" has no index on (\"%s\", \"%s\") with all rows that count",
					RelationGetRelationName(rel), NameStr(config->src), NameStr(config->dst)),
			 partial ? errdetail("Index \"%s\" leaves rows out, which would be edges.", partial)
			 : 0,
			 partial ? errhint("Say which rows count, as the index does, by status, accepted, "
							   "expires_at, deleted_at, role and roles; only where all do: %s",
							   advice)
			 : errhint("%s", advice)));
}

/* Is there an index to read the edge by, and back, where that is asked for? */
static void
check_indexes(Relation rel, const CoziEdgeConfig *config, const CoziEdgeTest *test)
{
	AttrNumber	src = get_attnum(RelationGetRelid(rel), NameStr(config->src));
	AttrNumber	dst = get_attnum(RelationGetRelid(rel), NameStr(config->dst));

	if (!OidIsValid(cozi_edge_index(rel, src, dst, test)))
		refuse_without_index(rel, config, src, dst);
	if (strcmp(NameStr(config->name), "blocked") == 0 &&
		!OidIsValid(cozi_edge_index(rel, dst, src, test)))
		ereport(NOTICE,
				(errmsg("is_blocked_by() and can_view() will be slow in large scans without an "
						"index on (\"%s\", \"%s\")",
						NameStr(config->dst), NameStr(config->src)),
				 errhint("%s", index_advice(rel, config, &config->dst, &config->src))));
}

/* Returns the types of the ids, in words. */
static const char *
check_edge(CoziEdgeConfig *config)
{
	CoziEdge	edge;
	CoziEdgeTest test;
	Relation	rel;
	char		kind;

	cozi_require_owner(config->rel);
	cozi_refuse_distributed(config->rel, "Make it a reference table, and register what each node"
							" has of it: cozi.citus_setup_plan() prints how.");
	kind = get_rel_relkind(config->rel);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", get_rel_name(config->rel)),
				 errhint("Edges are read from a table, which may be partitioned.")));
	rel = table_open(config->rel, AccessShareLock);
	check_id_column(rel, &config->src);
	check_id_column(rel, &config->dst);
	check_conditions(rel, config, &test);
	check_indexes(rel, config, &test);
	table_close(rel, NoLock);
	cozi_describe_edge(&edge, config);
	if (edge.trouble != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s", edge.trouble),
				 errhint("An edge is a table that all sessions read, with all its rows in itself "
						 "or in its partitions.")));
	return edge.ids;
}

PG_FUNCTION_INFO_V1(cozi_register_edge);

/*
 * register_edge(edge name, rel regclass, src name, dst name, status name,
 *		accepted text[], expires_at name, deleted_at name, role name,
 *		roles text[]) -> void
 */
Datum
cozi_register_edge(PG_FUNCTION_ARGS)
{
	Oid			types[NVALUES] = {NAMEOID, TEXTOID, NAMEOID, NAMEOID, NAMEOID, TEXTARRAYOID,
	NAMEOID, NAMEOID, NAMEOID, TEXTARRAYOID, TEXTOID};
	Datum		values[NVALUES];
	char		nulls[NVALUES];
	CoziEdgeConfig config;
	const char *ids;

	memset(&config, 0, sizeof(config));
	read_arguments(fcinfo, &config);
	ids = check_edge(&config);
	for (int i = 0; i < OWNER; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	values[ARG_REL] = CStringGetTextDatum(cozi_qualified_name(config.rel));
	values[OWNER] = CStringGetTextDatum(GetUserNameFromId(cozi_relation_owner(config.rel), false));
	nulls[OWNER] = ' ';
	if (cozi_edge_execute("INSERT INTO cozi.edge_config VALUES ($1, $2, $3, $4, $5, $6, $7, $8, "
						  "$9, $10, $11)"
						  " ON CONFLICT DO NOTHING", NVALUES, types, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("edge \"%s\" is registered already", NameStr(config.name)),
				 errhint("Call cozi.drop_edge() first, as the owner of its table.")));
	values[1] = CStringGetTextDatum(ids);
	(void) cozi_edge_execute("UPDATE cozi.edge_state SET ids = $2 WHERE edge = $1",
							 2, types, values, NULL);
	PG_RETURN_VOID();
}

/* May the caller drop it?  Its table is, or was, the caller's, or cozi is. */
static bool
may_drop(const CoziEdgeConfig *config)
{
	Oid			owner;

	if (object_ownercheck(RelationRelationId, cozi_table("edge_config"), GetUserId()))
		return true;
	if (OidIsValid(config->rel) && get_rel_name(config->rel) != NULL)
		return object_ownercheck(RelationRelationId, config->rel, GetUserId());
	owner = get_role_oid(NameStr(config->owner), true);
	return OidIsValid(owner) && has_privs_of_role(GetUserId(), owner);
}

static void
check_edge_owner(Name edge)
{
	CoziEdgeConfig *config = cozi_edge_config(NameStr(*edge));

	if (config == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("edge \"%s\" is not registered", NameStr(*edge)),
				 errhint("The view cozi.edges lists the edges.")));
	if (!may_drop(config))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the table of edge \"%s\"", NameStr(*edge))));
}

PG_FUNCTION_INFO_V1(cozi_drop_edge);

/* drop_edge(edge name) -> void */
Datum
cozi_drop_edge(PG_FUNCTION_ARGS)
{
	Oid			types[] = {NAMEOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	check_edge_owner(PG_GETARG_NAME(0));
	(void) cozi_edge_execute("DELETE FROM cozi.edge_config WHERE edge = $1",
							 1, types, values, NULL);
	PG_RETURN_VOID();
}
