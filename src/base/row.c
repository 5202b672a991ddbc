/*
 * base/row.c
 *		Rows that SPI has selected become a function's result.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/base.h"

/*
 * The law: a column is never taken for the declared type without a look.  The
 * table behind the query may have been altered.
 */
void
cozi_check_row_type(TupleDesc selected, TupleDesc declared)
{
	if (selected->natts < declared->natts)
		elog(ERROR, "a query returned %d columns for %d", selected->natts, declared->natts);
	for (int i = 0; i < declared->natts; i++)
	{
		Oid			is = SPI_gettypeid(selected, i + 1);
		Oid			wanted = TupleDescAttr(declared, i)->atttypid;

		if (is != wanted && !TupleDescAttr(declared, i)->attisdropped)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" is of type %s, not %s",
							NameStr(TupleDescAttr(declared, i)->attname),
							format_type_be(is), format_type_be(wanted))));
	}
}

/* After InitMaterializedSRF() and a query run by SPI. */
void
cozi_return_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			natts = rsinfo->setDesc->natts;
	Datum	   *values = palloc(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));

	cozi_check_row_type(SPI_tuptable->tupdesc, rsinfo->setDesc);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int j = 0; j < natts; j++)
			values[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
									  j + 1, &nulls[j]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * The statement that cozi_add_rows() runs: rows of the relation by a key, of a type
 * that is written as item_type.  The columns come in the order of the row type;
 * NULL for those that were dropped.
 */
char	   *
cozi_rows_statement(Relation rel, const char *key, const char *item_type)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		appendStringInfo(&columns, "%s%s%s", i > 0 ? ", " : "", att->attisdropped ? "" : "t.",
						 att->attisdropped ? "NULL" : quote_identifier(NameStr(att->attname)));
	}

	/*
	 * a cast in the join, which is not leakproof, would keep a policy from
	 * the index
	 */
	return cozi_statement("SELECT {columns}"
						  " FROM pg_catalog.unnest($1::{item}[]) WITH ORDINALITY i (item, n)"
						  " JOIN {table} t ON t.{key} OPERATOR(pg_catalog.=) i.item"
						  " ORDER BY i.n LIMIT $2",
						  "columns", columns.data,
						  "table", cozi_qualified_name(RelationGetRelid(rel)),
						  "key", quote_identifier(key), "item", item_type, NULL);
}

/*
 * Add the rows of a text[] of keys to the result, at most k; returns how many there
 * were.  fits: refuses rows, or NULL.
 */
int64
cozi_add_rows(struct ReturnSetInfo *rsinfo, const char *statement, Datum keys, int64 k,
			  CoziRowFits fits, void *arg)
{
	Oid			types[] = {TEXTARRAYOID, INT8OID};
	Datum		arguments[] = {keys, Int64GetDatum(k)};
	int			natts = rsinfo->setDesc->natts;
	Datum	   *values = palloc(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));
	int64		found;

	if (SPI_execute_with_args(statement, 2, types, arguments, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of the items");
	found = SPI_processed;
	cozi_check_row_type(SPI_tuptable->tupdesc, rsinfo->setDesc);
	for (int64 row = 0; row < found; row++)
	{
		for (int i = 0; i < natts; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1,
									  &nulls[i]);
		if (fits == NULL || fits(values, nulls, arg))
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}
