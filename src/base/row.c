/*
 * base/row.c
 *		Rows that SPI has selected become a function's result.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/base.h"

/*
 * The law: a column is never taken for the declared type without a look.  The
 * table behind the query may have been altered.
 */
static void
check_row_type(TupleDesc selected, TupleDesc declared)
{
	if (selected->natts < declared->natts)
		elog(ERROR, "a query returned %d columns for %d", selected->natts, declared->natts);
	for (int i = 0; i < declared->natts; i++)
	{
		Oid			is = SPI_gettypeid(selected, i + 1);
		Oid			wanted = TupleDescAttr(declared, i)->atttypid;

		if (is != wanted)
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

	check_row_type(SPI_tuptable->tupdesc, rsinfo->setDesc);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int j = 0; j < natts; j++)
			values[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
									  j + 1, &nulls[j]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}
