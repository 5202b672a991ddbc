/*
 * analytics/mask.c
 *		Days as bits: the aggregates activity_days() and _days_between().
 *
 * A mask of days is a bit string: its bits, from the left, are a day after the
 * other.  activity_days() makes one of raw events, from an anchor on;
 * _days_between() makes one of the months of an activity, for the questions of
 * this room, with a bit before it that says whether the user was active earlier.
 *
 * The law: a state never holds more than MAX_MASK_DAYS bits, whatever rows say.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/date.h"
#include "utils/varbit.h"

#include "analytics/analytics.h"

#define MASK_BYTES(days)	(((days) + BITS_PER_BYTE - 1) / BITS_PER_BYTE)

/* The state of both aggregates. */
typedef struct DayMask
{
	DateADT		anchor;
	int32		ndays;			/* up to the last bit that is set */
	int32		capacity;		/* bytes */
	uint8	   *bits;
} DayMask;

static DayMask *
new_mask(MemoryContext context, DateADT anchor)
{
	DayMask    *mask = MemoryContextAllocZero(context, sizeof(DayMask));

	mask->anchor = anchor;
	return mask;
}

/* Have room for as many days. */
static void
reserve_days(DayMask *mask, MemoryContext context, int32 ndays)
{
	int32		need = MASK_BYTES(ndays);
	uint8	   *bits;

	if (need <= mask->capacity)
		return;
	need = Min(Max(need, 2 * mask->capacity), MASK_BYTES(MAX_MASK_DAYS + 1));
	bits = MemoryContextAllocZero(context, need);
	if (mask->bits != NULL)
	{
		memcpy(bits, mask->bits, mask->capacity);
		pfree(mask->bits);
	}
	mask->bits = bits;
	mask->capacity = need;
}

static void
set_day(DayMask *mask, MemoryContext context, int32 day)
{
	reserve_days(mask, context, day + 1);
	mask->bits[day / BITS_PER_BYTE] |= HIGHBIT >> (day % BITS_PER_BYTE);
	mask->ndays = Max(mask->ndays, day + 1);
}

static void
check_anchor(DateADT one, DateADT other)
{
	if (one != other)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("days of different anchors cannot be put into one mask"),
				 errhint("Use one anchor for all rows, or group by it.")));
}

PG_FUNCTION_INFO_V1(cozi_activity_days_add);

/*
 * _activity_days_add(internal, day date, anchor date) -> internal
 *
 * A NULL or infinite day, and one before the anchor, is left out.
 */
Datum
cozi_activity_days_add(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	DayMask    *mask = PG_ARGISNULL(0) ? NULL : (DayMask *) PG_GETARG_POINTER(0);
	DateADT		day;
	DateADT		anchor;

	cozi_require_argument(fcinfo, 2, "anchor");
	anchor = PG_GETARG_DATEADT(2);
	if (DATE_NOT_FINITE(anchor))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("anchor must be finite")));
	if (mask == NULL)
		mask = new_mask(context, anchor);
	check_anchor(mask->anchor, anchor);
	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(mask);
	day = PG_GETARG_DATEADT(1);
	if (DATE_NOT_FINITE(day) || day < anchor)
		PG_RETURN_POINTER(mask);
	if ((int64) day - anchor >= MAX_MASK_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a mask holds at most %d days from its anchor on", MAX_MASK_DAYS),
				 errhint("Leave out later days with a condition, or choose a later anchor.")));
	set_day(mask, context, day - anchor);
	PG_RETURN_POINTER(mask);
}

PG_FUNCTION_INFO_V1(cozi_activity_days_combine);

/* _activity_days_combine(internal, internal) -> internal */
Datum
cozi_activity_days_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	DayMask    *mask = PG_ARGISNULL(0) ? NULL : (DayMask *) PG_GETARG_POINTER(0);
	DayMask    *other = PG_ARGISNULL(1) ? NULL : (DayMask *) PG_GETARG_POINTER(1);

	if (other == NULL)
	{
		if (mask == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(mask);
	}
	if (mask == NULL)
		mask = new_mask(context, other->anchor);
	check_anchor(mask->anchor, other->anchor);
	reserve_days(mask, context, other->ndays);
	for (int i = 0; i < MASK_BYTES(other->ndays); i++)
		mask->bits[i] |= other->bits[i];
	mask->ndays = Max(mask->ndays, other->ndays);
	PG_RETURN_POINTER(mask);
}

PG_FUNCTION_INFO_V1(cozi_activity_days_serialize);

/* _activity_days_serialize(internal) -> bytea, in network order */
Datum
cozi_activity_days_serialize(PG_FUNCTION_ARGS)
{
	DayMask    *mask = (DayMask *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) cozi_aggregate_context(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, mask->anchor);
	pq_sendint32(&buf, mask->ndays);
	pq_sendbytes(&buf, (char *) mask->bits, MASK_BYTES(mask->ndays));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(cozi_activity_days_deserialize);

/* _activity_days_deserialize(bytea, internal) -> internal */
Datum
cozi_activity_days_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	DayMask    *mask;

	(void) cozi_aggregate_context(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	mask = new_mask(CurrentMemoryContext, (int32) pq_getmsgint(&buf, 4));
	mask->ndays = pq_getmsgint(&buf, 4);
	if (mask->ndays < 0 || mask->ndays > MAX_MASK_DAYS)
		elog(ERROR, "malformed state of activity_days");
	reserve_days(mask, CurrentMemoryContext, mask->ndays);
	if (mask->ndays > 0)
		pq_copymsgbytes(&buf, (char *) mask->bits, MASK_BYTES(mask->ndays));
	pq_getmsgend(&buf);
	pfree(buf.data);
	PG_RETURN_POINTER(mask);
}

PG_FUNCTION_INFO_V1(cozi_activity_days_mask);

/* _activity_days_mask(internal) -> bit varying; of no rows, NULL */
Datum
cozi_activity_days_mask(PG_FUNCTION_ARGS)
{
	DayMask    *mask = PG_ARGISNULL(0) ? NULL : (DayMask *) PG_GETARG_POINTER(0);
	VarBit	   *result;

	(void) cozi_aggregate_context(fcinfo);
	if (mask == NULL)
		PG_RETURN_NULL();
	result = palloc0(VARBITTOTALLEN(mask->ndays));
	SET_VARSIZE(result, VARBITTOTALLEN(mask->ndays));
	VARBITLEN(result) = mask->ndays;
	if (mask->ndays > 0)
		memcpy(VARBITS(result), mask->bits, MASK_BYTES(mask->ndays));
	PG_RETURN_VARBIT_P(result);
}

PG_FUNCTION_INFO_V1(cozi_days_between_add);

/*
 * _days_between_add(internal, month date, days int, first date, last date) -> internal
 *
 * Bit 0: active before first.  Bit 1 + n: active n days after first, until last.
 * Called by the questions of this room alone, which check first and last.
 */
Datum
cozi_days_between_add(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	DayMask    *mask = PG_ARGISNULL(0) ? NULL : (DayMask *) PG_GETARG_POINTER(0);
	DateADT		month;
	uint32		days;
	DateADT		first;
	DateADT		last;

	for (int i = 1; i < 5; i++)
		if (PG_ARGISNULL(i))
			elog(ERROR, "argument %d of _days_between is NULL", i);
	month = PG_GETARG_DATEADT(1);
	days = PG_GETARG_INT32(2) & PG_INT32_MAX;
	first = PG_GETARG_DATEADT(3);
	last = PG_GETARG_DATEADT(4);
	if (last < first || (int64) last - first >= MAX_MASK_DAYS)
		elog(ERROR, "_days_between cannot hold that many days");
	if (mask == NULL)
	{
		mask = new_mask(context, first);
		reserve_days(mask, context, last - first + 2);
	}
	for (int day = 0; days != 0; day++, days >>= 1)
	{
		int64		at = (int64) month + day - first;

		if ((days & 1) == 0 || at > last - first)
			continue;
		set_day(mask, context, at < 0 ? 0 : (int32) at + 1);
	}
	PG_RETURN_POINTER(mask);
}
