/*
 * analytics/funnel.c
 *		funnel(): how far a user comes in a sequence of steps; engagement().
 *
 * A funnel's rows are put in order at the end, so their order does not matter, nor
 * who of several workers has read them.  Of equal instants the lower step is first.
 *
 * The law: a state holds at most MAX_EVENTS events, which is an error that says so.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"

#define MAX_STEPS 64
#define MAX_EVENTS 1000000

typedef struct FunnelEvent
{
	TimestampTz at;
	int32		step;
} FunnelEvent;

typedef struct Funnel
{
	int64		within;			/* microseconds */
	int32		nevents;
	int32		capacity;
	FunnelEvent *events;
} Funnel;

static int64
span_of(const Interval *within)
{
	int64		span;

	if (INTERVAL_NOT_FINITE(within) || within->month != 0 ||
		pg_mul_s64_overflow(within->day, USECS_PER_DAY, &span) ||
		pg_add_s64_overflow(span, within->time, &span) || span < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("within must be finite, not negative, and without months"),
				 errhint("Say days or hours, such as interval '7 days'.")));
	return span;
}

static Funnel *
new_funnel(MemoryContext context, int64 within)
{
	Funnel	   *funnel = MemoryContextAllocZero(context, sizeof(Funnel));

	funnel->within = within;
	return funnel;
}

static void
add_events(Funnel *funnel, MemoryContext context, const FunnelEvent *events, int32 n)
{
	if (funnel->nevents + n > MAX_EVENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a funnel takes at most %d events", MAX_EVENTS),
				 errhint("Group by the user, and leave out events that are no step.")));
	if (funnel->nevents + n > funnel->capacity)
	{
		FunnelEvent *old = funnel->events;

		funnel->capacity = Max(Max(8, 2 * funnel->capacity), funnel->nevents + n);
		funnel->events = MemoryContextAlloc(context, funnel->capacity * sizeof(FunnelEvent));
		if (old != NULL)
		{
			memcpy(funnel->events, old, funnel->nevents * sizeof(FunnelEvent));
			pfree(old);
		}
	}
	memcpy(funnel->events + funnel->nevents, events, n * sizeof(FunnelEvent));
	funnel->nevents += n;
}

static void
check_within(const Funnel *funnel, int64 within)
{
	if (funnel->within != within)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("within must be the same in all rows")));
}

PG_FUNCTION_INFO_V1(cozi_funnel_add);

/*
 * _funnel_add(internal, at timestamptz, step int, within interval) -> internal
 *
 * A row with a NULL instant or step, or of an infinite instant, is left out.
 */
Datum
cozi_funnel_add(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	Funnel	   *funnel = PG_ARGISNULL(0) ? NULL : (Funnel *) PG_GETARG_POINTER(0);
	int64		within;
	FunnelEvent event;

	cozi_require_argument(fcinfo, 3, "within");
	within = span_of(PG_GETARG_INTERVAL_P(3));
	if (funnel == NULL)
		funnel = new_funnel(context, within);
	check_within(funnel, within);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
		PG_RETURN_POINTER(funnel);
	event.at = PG_GETARG_TIMESTAMPTZ(1);
	event.step = PG_GETARG_INT32(2);
	if (event.step < 1 || event.step > MAX_STEPS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step must be from 1 to %d", MAX_STEPS),
				 errhint("Let an event that is no step have the step NULL.")));
	add_events(funnel, context, &event, 1);
	PG_RETURN_POINTER(funnel);
}

PG_FUNCTION_INFO_V1(cozi_funnel_combine);

/* _funnel_combine(internal, internal) -> internal */
Datum
cozi_funnel_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	Funnel	   *funnel = PG_ARGISNULL(0) ? NULL : (Funnel *) PG_GETARG_POINTER(0);
	Funnel	   *other = PG_ARGISNULL(1) ? NULL : (Funnel *) PG_GETARG_POINTER(1);

	if (other == NULL)
	{
		if (funnel == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(funnel);
	}
	if (funnel == NULL)
		funnel = new_funnel(context, other->within);
	check_within(funnel, other->within);
	if (other->nevents > 0)
		add_events(funnel, context, other->events, other->nevents);
	PG_RETURN_POINTER(funnel);
}

PG_FUNCTION_INFO_V1(cozi_funnel_serialize);

/* _funnel_serialize(internal) -> bytea, in network order */
Datum
cozi_funnel_serialize(PG_FUNCTION_ARGS)
{
	Funnel	   *funnel = (Funnel *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) cozi_aggregate_context(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint64(&buf, funnel->within);
	pq_sendint32(&buf, funnel->nevents);
	for (int32 i = 0; i < funnel->nevents; i++)
	{
		pq_sendint64(&buf, funnel->events[i].at);
		pq_sendint32(&buf, funnel->events[i].step);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(cozi_funnel_deserialize);

/* _funnel_deserialize(bytea, internal) -> internal */
Datum
cozi_funnel_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	Funnel	   *funnel;
	int32		n;

	(void) cozi_aggregate_context(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	funnel = new_funnel(CurrentMemoryContext, pq_getmsgint64(&buf));
	n = pq_getmsgint(&buf, 4);
	for (int32 i = 0; i < n; i++)
	{
		FunnelEvent event;

		event.at = pq_getmsgint64(&buf);
		event.step = pq_getmsgint(&buf, 4);
		add_events(funnel, CurrentMemoryContext, &event, 1);
	}
	pq_getmsgend(&buf);
	pfree(buf.data);
	PG_RETURN_POINTER(funnel);
}

static int
by_time(const void *a, const void *b)
{
	const FunnelEvent *one = a;
	const FunnelEvent *other = b;

	if (one->at != other->at)
		return one->at < other->at ? -1 : 1;
	return one->step - other->step;
}

PG_FUNCTION_INFO_V1(cozi_funnel_depth);

/*
 * _funnel_depth(internal) -> int: the deepest step; of no rows, 0
 *
 * start[n] is when the sequence began that has reached step n: the latest, because
 * it leaves the most time for what follows.
 */
Datum
cozi_funnel_depth(PG_FUNCTION_ARGS)
{
	Funnel	   *funnel = PG_ARGISNULL(0) ? NULL : (Funnel *) PG_GETARG_POINTER(0);
	TimestampTz start[MAX_STEPS + 1];
	int			depth = 0;

	(void) cozi_aggregate_context(fcinfo);
	if (funnel == NULL)
		PG_RETURN_INT32(0);
	for (int i = 0; i <= MAX_STEPS; i++)
		start[i] = DT_NOBEGIN;
	if (funnel->nevents > 0)
		qsort(funnel->events, funnel->nevents, sizeof(FunnelEvent), by_time);
	for (int32 i = 0; i < funnel->nevents; i++)
	{
		const FunnelEvent *event = &funnel->events[i];
		TimestampTz begun = event->step == 1 ? event->at : start[event->step - 1];

		if (TIMESTAMP_IS_NOBEGIN(begun) || event->at - begun > funnel->within)
			continue;
		start[event->step] = begun;
		depth = Max(depth, event->step);
	}
	PG_RETURN_INT32(depth);
}

/* The two counts of engagement(), in an array of the aggregate's own. */
static int64 *
engagement_counts(ArrayType *array)
{
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) || ArrayGetNItems(1, ARR_DIMS(array)) != 2)
		elog(ERROR, "malformed state of engagement");
	return (int64 *) ARR_DATA_PTR(array);
}

PG_FUNCTION_INFO_V1(cozi_engagement_add);

/*
 * _engagement_add(bigint[], interaction boolean, impression boolean) -> bigint[]
 *
 * A NULL counts as false.
 */
Datum
cozi_engagement_add(PG_FUNCTION_ARGS)
{
	ArrayType  *array;

	(void) cozi_aggregate_context(fcinfo);
	array = PG_GETARG_ARRAYTYPE_P(0);
	for (int i = 0; i < 2; i++)
		if (!PG_ARGISNULL(i + 1) && PG_GETARG_BOOL(i + 1))
			engagement_counts(array)[i]++;
	PG_RETURN_ARRAYTYPE_P(array);
}

PG_FUNCTION_INFO_V1(cozi_engagement_combine);

/* _engagement_combine(bigint[], bigint[]) -> bigint[] */
Datum
cozi_engagement_combine(PG_FUNCTION_ARGS)
{
	ArrayType  *array;
	ArrayType  *other = PG_GETARG_ARRAYTYPE_P(1);

	(void) cozi_aggregate_context(fcinfo);
	array = PG_GETARG_ARRAYTYPE_P(0);
	for (int i = 0; i < 2; i++)
		engagement_counts(array)[i] += engagement_counts(other)[i];
	PG_RETURN_ARRAYTYPE_P(array);
}
