/*
 * counter/sum.c
 *		What the rows of a key add up to, exactly.
 *
 * Integers are added in 128 bits, numerics as numerics: nothing is rounded, so
 * sums may be added in any order, and a row that goes takes away what it brought.
 * A number that cannot be taken away again (NaN, the infinities, and 1e100000 and
 * beyond, of which a few would overflow a numeric) is not added but counted.
 *
 * On disk a sum is a bytea of varints: n and the sum of the integers; where there
 * are numerics, the three counts and the sum of the others as text, which any
 * machine can read.
 *
 * The law: the sum of no rows is the empty string.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "counter/counter.h"
#include "pure/varint.h"

enum
{
	COUNTER_N, COUNTER_SUM
};

typedef enum Special
{
	NOT_A_NUMBER,				/* or too large */
	INFINITE,
	MINUS_INFINITE,
	SPECIALS
}			Special;

typedef struct Sum
{
	int64		n;
	int128		integers;
	int64		specials[SPECIALS];
	Numeric		numbers;		/* NULL: 0, and of its first context */
	MemoryContext context;
}			Sum;

static void
counter_init(void *sum)
{
	memset(sum, 0, sizeof(Sum));
	((Sum *) sum)->context = CurrentMemoryContext;
}

static Numeric
numeric_of(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* Which of the numbers that are counted is it?  SPECIALS: none. */
static Special
special(Numeric number)
{
	static Numeric limit = NULL;
	Datum		absolute;
	bool		large;

	if (numeric_is_nan(number))
		return NOT_A_NUMBER;
	if (numeric_is_inf(number))
		return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(number),
												NumericGetDatum(int64_to_numeric(0)))) ?
			MINUS_INFINITE : INFINITE;
	if (limit == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		limit = numeric_of("1e100000");
		MemoryContextSwitchTo(caller);
	}
	absolute = DirectFunctionCall1(numeric_abs, NumericGetDatum(number));
	large = DatumGetBool(DirectFunctionCall2(numeric_ge, absolute, NumericGetDatum(limit)));
	pfree(DatumGetPointer(absolute));
	return large ? NOT_A_NUMBER : SPECIALS;
}

/* Add a number, or take it away. */
static void
add_number(Sum * sum, Numeric number, int times)
{
	MemoryContext caller = MemoryContextSwitchTo(sum->context);
	Numeric		before = sum->numbers != NULL ? sum->numbers : int64_to_numeric(0);

	sum->numbers = DatumGetNumeric(DirectFunctionCall2(times > 0 ? numeric_add : numeric_sub,
													   NumericGetDatum(before),
													   NumericGetDatum(number)));
	pfree(before);
	MemoryContextSwitchTo(caller);
}

static void
counter_add_row(void *to, const Kept *kept, const KeptRow *row, int times)
{
	Sum		   *sum = to;
	Special		which;

	sum->n += times;
	if (row->is_null || !kept_has(kept, KEPT_VALUE))
		return;
	if (row->number == NULL)
		sum->integers += (int128) row->value * times;
	else if ((which = special(row->number)) != SPECIALS)
		sum->specials[which] += times;
	else
		add_number(sum, row->number, times);
}

static void
bad_sum(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("malformed sum of a counter"),
			 errhint("Count its rows again with cozi.rebuild_counter().")));
}

static const unsigned char *
add_varint(const unsigned char *from, const unsigned char *end, int64 *to)
{
	int128		number;

	from = varint_get(from, end, &number);
	if (from == NULL)
		bad_sum();
	*to += (int64) number;
	return from;
}

static void
counter_add_stored(void *to, const bytea *stored)
{
	Sum		   *sum = to;
	const unsigned char *from = (unsigned char *) VARDATA_ANY(stored);
	const unsigned char *end = from + VARSIZE_ANY_EXHDR(stored);
	int128		integers;
	char	   *text;

	if (from == end)
		return;
	from = add_varint(from, end, &sum->n);
	from = varint_get(from, end, &integers);
	if (from == NULL)
		bad_sum();
	sum->integers += integers;
	if (from == end)
		return;
	for (int i = 0; i < SPECIALS; i++)
		from = add_varint(from, end, &sum->specials[i]);
	text = pnstrdup((const char *) from, end - from);

	add_number(sum, numeric_of(text), 1);
	pfree(text);
}

static bool
is_zero(Numeric number)
{
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(number),
											NumericGetDatum(int64_to_numeric(0))));
}

static bytea *
counter_store(const void *from)
{
	const		Sum *sum = from;
	bool		plain = (sum->numbers == NULL || is_zero(sum->numbers)) &&
	sum->specials[0] == 0 && sum->specials[1] == 0 && sum->specials[2] == 0;
	char	   *text = plain ? "" : "0";
	Size		length;
	bytea	   *result;
	char	   *to;

	if (!plain && sum->numbers != NULL)
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(sum->numbers)));

	length = strlen(text);
	result = palloc(VARHDRSZ + (2 + SPECIALS) * VARINT_BYTES + length);
	to = VARDATA(result);
	if (!plain || sum->n != 0 || sum->integers != 0)
	{
		to = varint_put(to, sum->n);
		to = varint_put(to, sum->integers);
	}
	if (!plain)
	{
		for (int i = 0; i < SPECIALS; i++)
			to = varint_put(to, sum->specials[i]);
		memcpy(to, text, length);
		to += length;
	}
	SET_VARSIZE(result, to - (char *) result);
	return result;
}

/* The type of sum() over the values. */
static Oid
sum_type(const Kept *kept)
{
	AttrNumber	attnum;
	Oid			type;

	if (!kept_has(kept, KEPT_VALUE))
		return INT8OID;
	attnum = get_attnum(kept->source, NameStr(kept->columns[KEPT_VALUE]));
	type = attnum > 0 ? getBaseType(get_atttype(kept->source, attnum)) : InvalidOid;
	return type == INT2OID || type == INT4OID ? INT8OID : NUMERICOID;
}

/* The sum of bigints is a numeric: 128 bits in decimal. */
static Numeric
integers_to_numeric(int128 integers)
{
	uint128		rest = integers < 0 ? -(uint128) integers : (uint128) integers;
	char		digits[42];
	char	   *at = digits + sizeof(digits);

	*--at = '\0';
	do
	{
		*--at = '0' + (int) (rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (integers < 0)
		*--at = '-';
	return numeric_of(at);
}

/* As sum() has it. */
static Numeric
total(const Sum * sum)
{
	const int64 *specials = sum->specials;

	if (specials[NOT_A_NUMBER] > 0 || (specials[INFINITE] > 0 && specials[MINUS_INFINITE] > 0))
		return numeric_of("NaN");
	if (specials[INFINITE] > 0)
		return numeric_of("Infinity");
	if (specials[MINUS_INFINITE] > 0)
		return numeric_of("-Infinity");
	return sum->numbers != NULL ? sum->numbers : integers_to_numeric(sum->integers);
}

static bool
counter_columns(const void *from, const Kept *kept, Datum *values, bool *nulls)
{
	const		Sum *sum = from;

	values[COUNTER_N] = Int64GetDatum(sum->n);
	nulls[COUNTER_N] = false;
	nulls[COUNTER_SUM] = !kept_has(kept, KEPT_VALUE);
	if (sum_type(kept) == INT8OID)
		values[COUNTER_SUM] = Int64GetDatum((int64) Max(Min(sum->integers, PG_INT64_MAX),
														PG_INT64_MIN));
	else
		values[COUNTER_SUM] = NumericGetDatum(total(sum));
	return sum->n != 0;
}

static void
counter_check(const Kept *kept)
{
	static const Oid keys[] = {
		INT2OID, INT4OID, INT8OID, UUIDOID, TEXTOID, VARCHAROID, InvalidOid
	};
	static const Oid numbers[] = {INT2OID, INT4OID, INT8OID, NUMERICOID, InvalidOid};
	static const Oid booleans[] = {BOOLOID, InvalidOid};
	static const Oid users[] = {INT4OID, INT8OID, UUIDOID, TEXTOID, VARCHAROID, InvalidOid};

	cozi_kept_check_column(kept, KEPT_ITEM, "key", keys,
						   "bigint, integer, smallint, uuid, text, varchar");
	if (kept_has(kept, KEPT_VALUE))
		cozi_kept_check_column(kept, KEPT_VALUE, "value", numbers,
							   "bigint, integer, smallint, numeric, whose sums are exact");
	if (kept_has(kept, KEPT_COUNTED))
		cozi_kept_check_column(kept, KEPT_COUNTED, "condition", booleans, "boolean");
	if (kept_has(kept, KEPT_WHO))
		cozi_kept_check_column(kept, KEPT_WHO, "user", users,
							   "uuid, bigint, integer, text, varchar");
}

const KeptKind cozi_counter_kind = {
	.name = "counter",
	.noun = "a counter",
	.plural = "counters",
	.item = "key",
	.ncolumns = 2,
	.names = {"n", "sum"},
	.types = {INT8OID, InvalidOid},
	.nullable = {false, true},
	.eager = true,
	.any_value = true,
	.timeless = true,
	.sum_size = sizeof(Sum),
	.init = counter_init,
	.add_row = counter_add_row,
	.add_stored = counter_add_stored,
	.store = counter_store,
	.columns = counter_columns,
	.value_type = sum_type,
	.check = counter_check,
};
