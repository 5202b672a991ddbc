/*
 * analytics/matrix.c
 *		retention_matrix(): the retention of users whose days are masks.
 *
 * The law: the state has as many cells as the arguments say, whatever rows say.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/varbit.h"

#include "analytics/matrix.h"

/* How many cells there are; an error if there cannot be. */
int64
cozi_matrix_check(int32 periods, int32 complete)
{
	if (periods < 1 || complete < 1 || (int64) periods * complete > MAX_CELLS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("periods and complete must be at least 1, and have at most %d cells",
						MAX_CELLS),
				 errhint("periods is how many days after the first are counted;"
						 " complete is how many days of the masks are over.")));
	return (int64) periods * complete;
}

CoziMatrix *
cozi_matrix_new(MemoryContext context, int32 periods, int32 complete)
{
	CoziMatrix *matrix = MemoryContextAllocZero(context, offsetof(CoziMatrix, cells) +
												cozi_matrix_check(periods, complete) * sizeof(int64));

	matrix->periods = periods;
	matrix->complete = complete;
	return matrix;
}

static void
check_same(const CoziMatrix *matrix, int32 periods, int32 complete)
{
	if (matrix->periods != periods || matrix->complete != complete)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("periods and complete must be the same in all rows")));
}

PG_FUNCTION_INFO_V1(cozi_retention_matrix_add);

/*
 * _retention_matrix_add(internal, days bit varying, periods int, complete int)
 *		-> internal
 *
 * NULL days, days without a bit, and first days that are not complete count nothing.
 */
Datum
cozi_retention_matrix_add(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	CoziMatrix *matrix = PG_ARGISNULL(0) ? NULL : (CoziMatrix *) PG_GETARG_POINTER(0);
	VarBit	   *mask;
	CoziUser	user;
	CoziWalk	walk;
	int			first;

	for (int i = 2; i < 4; i++)
		cozi_require_argument(fcinfo, i, i == 2 ? "periods" : "complete");
	if (matrix == NULL)
		matrix = cozi_matrix_new(context, PG_GETARG_INT32(2), PG_GETARG_INT32(3));
	check_same(matrix, PG_GETARG_INT32(2), PG_GETARG_INT32(3));
	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(matrix);
	mask = PG_GETARG_VARBIT_P(1);
	user.bits = VARBITS(mask);
	user.nbits = VARBITLEN(mask);
	first = cozi_first_day(&user, &walk);
	for (int day = first; day >= 0 && day < matrix->complete; day = cozi_next_day(&user, &walk))
		cozi_matrix_add(matrix, first, day - first);
	PG_RETURN_POINTER(matrix);
}

PG_FUNCTION_INFO_V1(cozi_retention_matrix_combine);

/* _retention_matrix_combine(internal, internal) -> internal */
Datum
cozi_retention_matrix_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	CoziMatrix *matrix = PG_ARGISNULL(0) ? NULL : (CoziMatrix *) PG_GETARG_POINTER(0);
	CoziMatrix *other = PG_ARGISNULL(1) ? NULL : (CoziMatrix *) PG_GETARG_POINTER(1);
	int64		n;

	if (other == NULL)
	{
		if (matrix == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(matrix);
	}
	if (matrix == NULL)
		matrix = cozi_matrix_new(context, other->periods, other->complete);
	check_same(matrix, other->periods, other->complete);
	n = cozi_matrix_check(other->periods, other->complete);
	for (int64 i = 0; i < n; i++)
		matrix->cells[i] += other->cells[i];
	PG_RETURN_POINTER(matrix);
}

PG_FUNCTION_INFO_V1(cozi_retention_matrix_serialize);

/* _retention_matrix_serialize(internal) -> bytea, in network order */
Datum
cozi_retention_matrix_serialize(PG_FUNCTION_ARGS)
{
	CoziMatrix *matrix = (CoziMatrix *) PG_GETARG_POINTER(0);
	int64		n = cozi_matrix_check(matrix->periods, matrix->complete);
	StringInfoData buf;

	(void) cozi_aggregate_context(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, matrix->periods);
	pq_sendint32(&buf, matrix->complete);
	for (int64 i = 0; i < n; i++)
		pq_sendint64(&buf, matrix->cells[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(cozi_retention_matrix_deserialize);

/* _retention_matrix_deserialize(bytea, internal) -> internal */
Datum
cozi_retention_matrix_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	CoziMatrix *matrix;
	int32		periods;
	int32		complete;
	int64		n;

	(void) cozi_aggregate_context(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	periods = pq_getmsgint(&buf, 4);
	complete = pq_getmsgint(&buf, 4);
	matrix = cozi_matrix_new(CurrentMemoryContext, periods, complete);
	n = cozi_matrix_check(periods, complete);
	for (int64 i = 0; i < n; i++)
		matrix->cells[i] = pq_getmsgint64(&buf);
	pq_getmsgend(&buf);
	pfree(buf.data);
	PG_RETURN_POINTER(matrix);
}

/* As a bigint[][]: NULL where the day is not over. */
Datum
cozi_matrix_cells(const CoziMatrix *matrix)
{
	int64		n = cozi_matrix_check(matrix->periods, matrix->complete);
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			dims[] = {matrix->complete, matrix->periods};
	int			lbs[] = {1, 1};

	for (int64 i = 0; i < n; i++)
	{
		values[i] = Int64GetDatum(matrix->cells[i]);
		nulls[i] = i / matrix->periods + i % matrix->periods >= matrix->complete;
	}
	return PointerGetDatum(construct_md_array(values, nulls, 2, dims, lbs, INT8OID,
											  sizeof(int64), FLOAT8PASSBYVAL,
											  TYPALIGN_DOUBLE));
}

PG_FUNCTION_INFO_V1(cozi_retention_matrix_cells);

/* _retention_matrix_cells(internal) -> bigint[]; of no rows, NULL */
Datum
cozi_retention_matrix_cells(PG_FUNCTION_ARGS)
{
	(void) cozi_aggregate_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(cozi_matrix_cells((CoziMatrix *) PG_GETARG_POINTER(0)));
}
