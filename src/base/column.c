/*
 * base/column.c
 *		A column of a user's table.
 *
 * The law: a shape is looked at again before it is trusted; the owner may have
 * altered the table since.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/base.h"

/* Raise an error unless the relation has the column. */
void
cozi_find_column(Relation rel, const char *name, CoziColumn *column)
{
	memset(column, 0, sizeof(CoziColumn));
	namestrcpy(&column->name, name);
	column->attnum = get_attnum(RelationGetRelid(rel), name);
	if (column->attnum <= 0)
		cozi_no_such_column(RelationGetRelationName(rel), name);
	get_atttypetypmodcoll(RelationGetRelid(rel), column->attnum,
						  &column->type, &column->typmod, &column->collation);
}

/* Has the relation still that column, and of the same type? */
bool
cozi_column_is_same(Relation rel, const CoziColumn *column)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Form_pg_attribute att;

	if (column->attnum <= 0 || column->attnum > desc->natts)
		return false;
	att = TupleDescAttr(desc, column->attnum - 1);
	return !att->attisdropped && att->atttypid == column->type &&
		att->attcollation == column->collation &&
		strcmp(NameStr(att->attname), NameStr(column->name)) == 0;
}

/* smallint, int or bigint? */
bool
cozi_is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}
