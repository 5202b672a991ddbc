/*
 * policy/check.c
 *		What protect() looks at before it writes anything: columns, the parent,
 *		edges, indexes.
 *
 * The law: it refuses what would make an answer differ from the documentation;
 * what is only missing yet, such as an edge, is a WARNING.
 */
#include "postgres.h"

#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/base.h"
#include "edge/edge.h"
#include "policy/policy.h"

static void
check_ids(const CoziColumn *column)
{
	if (!OidIsValid(cozi_edge_id_type(column->type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s", NameStr(column->name),
						format_type_be(column->type)),
				 errhint("Ids are uuid, bigint, int, smallint, text or varchar.")));
}

/* can_view() compares bytes, and is_owner() as the column's collation says. */
static void
check_collation(const CoziColumn *column)
{
	if (OidIsValid(column->collation) && !get_collation_isdeterministic(column->collation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" has a nondeterministic collation", NameStr(column->name)),
				 errdetail("Two ids that it calls equal would be two users for some policies, "
						   "and one for others."),
				 errhint("Give the column another one: ALTER COLUMN %s TYPE text COLLATE \"C\".",
						 quote_identifier(NameStr(column->name)))));
}

static void
warn_of_enum(const CoziColumn *column)
{
	if (!type_is_enum(getBaseType(column->type)))
		return;
	ereport(WARNING,
			(errmsg("column \"%s\" is an enum", NameStr(column->name)),
			 errdetail("The operators of enums are not leakproof: under a policy, conditions on "
					   "the column use no index."),
			 errhint("Make it text or smallint.")));
}

static void
warn_of_edge(const char *name, Oid id_type, const char *consequence)
{
	CoziEdge	edge;
	const char *trouble = NULL;

	if (!cozi_find_edge(name, &edge))
	{
		if (strcmp(name, "blocked") == 0)
			return;
		trouble = "it is not registered";
	}
	else if (edge.trouble != NULL)
		trouble = edge.trouble;
	else if (edge.dst_type != id_type)
		trouble = psprintf("its ids are of type %s and not %s",
						   format_type_be(edge.dst_type), format_type_be(id_type));
	if (trouble != NULL)
		ereport(WARNING,
				(errmsg("edge \"%s\" does not answer for this table: %s", name, trouble),
				 errdetail("%s", consequence),
				 errhint("Call cozi.register_edge() for a table with such ids; the policies need "
						 "not be made again.")));
}

static void
warn_of_edges(const CoziProtection *p)
{
	Oid			author = cozi_edge_id_type(p->owner.type);

	if (!cozi_given(&p->visibility))
		return;
	if (cozi_word_is_used(p, "followers"))
		warn_of_edge("following", author, "Until it does, rows for followers are shown to their "
					 "owner alone.");
	if (cozi_given(&p->grp))
		warn_of_edge("member", cozi_edge_id_type(p->grp.type),
					 "Until it does, rows for groups are shown to their owner alone, and nobody "
					 "can write one.");
	warn_of_edge("blocked", author, "Until it does, rows are shown to their owner alone.");
}

/* What parent_key refers to: by a foreign key, or the primary key. */
static char *
parent_column(const CoziProtection *p)
{
	List	   *names;

	names = cozi_strings(cozi_statement(
										"SELECT a.attname FROM pg_constraint k"
										" JOIN pg_attribute a ON a.attrelid = k.confrelid AND "
										"a.attnum = k.confkey[array_position(k.conkey, {column})]"
										" WHERE k.contype = 'f' AND k.conrelid = $1 AND "
										"k.confrelid = {parent} AND {column} = ANY (k.conkey) "
										"LIMIT 1",
										"column", psprintf("%d::int2", p->parent_key.attnum),
										"parent", psprintf("%u", p->parent), NULL), p->rel);
	if (names == NIL)
		names = cozi_strings("SELECT a.attname FROM pg_index i"
							 " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = "
							 "i.indkey[0]"
							 " WHERE i.indrelid = $1 AND i.indisprimary", p->parent);
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no primary key", get_rel_name(p->parent)),
				 errhint("A row's parent is found by the primary key of \"%s\", or by a foreign "
						 "key on \"%s\".",
						 get_rel_name(p->parent), NameStr(p->parent_key.name))));
	return linitial(names);
}

/* Would asking for the parent ask for this table again, and so for ever? */
static void
check_circle(const CoziProtection *p)
{
	List	   *reached = cozi_strings(
									   "WITH RECURSIVE reached (oid) AS ("
									   " SELECT $1"
									   " UNION"
									   " SELECT d.refobjid FROM reached r, LATERAL ("
									   "  SELECT 'pg_policy'::regclass AS classid, oid FROM "
									   "pg_policy WHERE polrelid = r.oid"
									   "  UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM "
									   "pg_rewrite WHERE ev_class = r.oid) o"
									   " JOIN pg_depend d ON d.classid = o.classid AND d.objid = "
									   "o.oid AND d.refclassid = 'pg_class'::regclass)"
									   " SELECT oid::text FROM reached", p->parent);
	ListCell   *cell;

	foreach(cell, reached)
		if (atooid(lfirst(cell)) == p->rel)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("table \"%s\" cannot be the parent of table \"%s\"",
						get_rel_name(p->parent), get_rel_name(p->rel)),
				 errdetail("The policies of \"%s\" ask for \"%s\" themselves, which would never "
						   "end.",
						   get_rel_name(p->parent), get_rel_name(p->rel)),
				 errhint("Name the table at the top: of replies to comments, the parent is the "
						 "post.")));
}

static void
check_parent(CoziProtection *p)
{
	char		kind = get_rel_relkind(p->parent);
	Oid			type;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		cozi_wrong_kind(cozi_relation_name(p->parent), "a table");
	check_ids(&p->parent_key);
	p->parent_column = parent_column(p);
	type = get_atttype(p->parent, get_attnum(p->parent, p->parent_column));
	if (cozi_edge_id_type(type) != cozi_edge_id_type(p->parent_key.type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is of type %s, and column \"%s\" of table \"%s\" is of "
						"type %s",
						NameStr(p->parent_key.name), format_type_be(p->parent_key.type),
						p->parent_column, get_rel_name(p->parent), format_type_be(type)),
				 errhint("The two must be ids of one type.")));
	check_circle(p);
	if (cozi_strings("SELECT 1 FROM pg_class WHERE oid = $1 AND relrowsecurity", p->parent) == NIL)
		ereport(WARNING,
				(errmsg("table \"%s\" has no row-level security", get_rel_name(p->parent)),
				 errdetail("All of its rows are visible, and so all rows of \"%s\" are.",
						   get_rel_name(p->rel)),
				 errhint("Call cozi.protect() for it, too.")));
	ereport(NOTICE,
			(errmsg("readers of table \"%s\" need SELECT on table \"%s\", too",
					get_rel_name(p->rel), get_rel_name(p->parent))));
}

static void
find_given(Relation rel, CoziColumn *column)
{
	if (cozi_given(column))
		cozi_find_column(rel, pstrdup(NameStr(column->name)), column);
}

/* Find the columns that p names, and refuse or warn. */
void
cozi_check_protection(CoziProtection *p, Relation rel)
{
	find_given(rel, &p->owner);
	find_given(rel, &p->visibility);
	find_given(rel, &p->grp);
	find_given(rel, &p->parent_key);
	find_given(rel, &p->deleted_at);
	check_ids(&p->owner);
	check_collation(&p->owner);
	if (cozi_given(&p->grp))
		check_ids(&p->grp);
	if (cozi_given(&p->visibility))
	{
		(void) cozi_visibility_word(p);
		warn_of_enum(&p->visibility);
	}
	if (OidIsValid(p->parent))
		check_parent(p);
	warn_of_edges(p);
}

/* Is there an index that answers is_owner()? */
bool
cozi_owner_is_indexed(const CoziProtection *p)
{
	return cozi_strings(cozi_statement(
									   "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = "
									   "i.indexrelid"
									   " WHERE i.indrelid = $1 AND i.indkey[0] = {column} AND "
									   "i.indisvalid"
									   " AND i.indpred IS NULL AND i.indcollation[0] IN (0, "
									   "{collation})"
									   " AND c.relam IN ({btree}, {hash})",
									   "column", psprintf("%d", p->owner.attnum),
									   "collation", psprintf("%u", p->owner.collation),
									   "btree", psprintf("%u", BTREE_AM_OID),
									   "hash", psprintf("%u", HASH_AM_OID), NULL), p->rel) != NIL;
}
