/*
 * analytics/track.c
 *		track_event(), track_events(): events of the caller.
 *
 * An event is written as the caller, who needs INSERT on three columns and no more.
 * Who it is of and when it was are the defaults of the other two, so that nobody
 * writes in the name of another user or at another time.
 *
 * The law: of what a client says of its own clock nothing is believed.  It is kept
 * as client_at, for comparison.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"
#include "identity/identity.h"

#define MAX_BATCH 1000

/* The client's clock: milliseconds since 1970.  What no calendar has is infinite. */
static TimestampTz
client_instant(float8 ms)
{
	float8		us = rint(ms * 1000) -
	(float8) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	if (isnan(us))
		return DT_NOBEGIN;
	if (us < (float8) MIN_TIMESTAMP)
		return DT_NOBEGIN;
	if (us >= (float8) END_TIMESTAMP)
		return DT_NOEND;
	return (TimestampTz) us;
}

/* Does the table let nobody write, too?  And of which type are its users? */
static bool
is_anonymous(Oid events, Oid *type)
{
	HeapTuple	tuple = SearchSysCacheAttName(events, "user_id");
	bool		anonymous;

	if (!HeapTupleIsValid(tuple))
		return false;
	*type = getBaseType(((Form_pg_attribute) GETSTRUCT(tuple))->atttypid);
	anonymous = !((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	return anonymous;
}

/* An error unless it is a table of events, and the caller has an identity. */
static void
check_call(Oid events)
{
	static const char *const columns[] = {"event", "properties", "created_at", "client_at"};
	Oid			type = InvalidOid;
	bool		anonymous;

	if (get_rel_name(events) == NULL)
		cozi_no_such_relation(events);
	anonymous = is_anonymous(events, &type);
	for (int i = 0; i < lengthof(columns); i++)
		if (!OidIsValid(type) || get_attnum(events, columns[i]) == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is not a table of events", get_rel_name(events)),
					 errhint("Create one with cozi.create_events().")));
	if (!anonymous || cozi_identity()->subject != NULL)
		cozi_require_subject(type);
}

/* As the caller; source is what INSERT takes the three columns from. */
static uint64
write_events(Oid events, const char *source, int n, Oid *types, Datum *values, const char *nulls)
{
	char	   *sql = cozi_statement("INSERT INTO {events} (event, properties, client_at) {source}",
									 "events", cozi_qualified_name(events),
									 "source", source, NULL);
	uint64		written;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, n, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write \"%s\"", get_rel_name(events));
	written = SPI_processed;
	SPI_finish();
	return written;
}

PG_FUNCTION_INFO_V1(cozi_track_event);

/*
 * track_event(events regclass, event text, properties jsonb, timestamp float8) -> void
 */
Datum
cozi_track_event(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"events", "event", "properties"};
	Oid			types[] = {TEXTOID, JSONBOID, TIMESTAMPTZOID};
	Datum		values[3];
	char		nulls[] = {' ', ' ', PG_ARGISNULL(3) ? 'n' : ' '};

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i, required[i]);
	check_call(PG_GETARG_OID(0));
	values[0] = PG_GETARG_DATUM(1);
	values[1] = PG_GETARG_DATUM(2);
	values[2] = PG_ARGISNULL(3) ? (Datum) 0 :
		TimestampTzGetDatum(client_instant(PG_GETARG_FLOAT8(3)));
	(void) write_events(PG_GETARG_OID(0), "VALUES ($1, $2, $3)", 3, types, values, nulls);
	PG_RETURN_VOID();
}

/* The events of a batch: a value of each column. */
typedef struct TrackedBatch
{
	int			n;
	Datum	   *events;
	Datum	   *properties;
	Datum	   *instants;
	bool	   *timeless;		/* which of the instants are NULL */
} TrackedBatch;

static bool
is_key(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

/* One key of an event, the n-th of its batch. */
static void
read_pair(TrackedBatch *batch, int n, const JsonbValue *key, JsonbValue *value)
{
	if (is_key(key, "event") && value->type == jbvString)
		batch->events[n] = PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
																	value->val.string.len));
	else if (is_key(key, "properties") && value->type == jbvBinary)
		batch->properties[n] = JsonbPGetDatum(JsonbValueToJsonb(value));
	else if (is_key(key, "timestamp") && value->type == jbvNumeric)
	{
		float8		ms =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
										   NumericGetDatum(value->val.numeric)));

		batch->instants[n] = TimestampTzGetDatum(client_instant(ms));
		batch->timeless[n] = false;
	}
	else if (value->type != jbvNull || is_key(key, "event"))
		cozi_bad_value(psprintf("event %d of the batch has no such \"%s\"", n + 1,
								pnstrdup(key->val.string.val, key->val.string.len)),
					   "An event has event, a string, and may have properties, an object, and"
					   " timestamp, a number; user and time are the server's.");
}

static void
read_tracked(TrackedBatch *batch, int n, const JsonbValue *element)
{
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	value;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		cozi_bad_value(psprintf("event %d of the batch is not an object", n + 1),
					   "Pass [{\"event\": \"view\"}, ...].");
	it = JsonbIteratorInit(element->val.binary.data);
	(void) JsonbIteratorNext(&it, &key, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&it, &value, true);
		read_pair(batch, n, &key, &value);
	}
	if (batch->events[n] == (Datum) 0)
		cozi_bad_value(psprintf("event %d of the batch has no name", n + 1),
					   "Pass [{\"event\": \"view\"}, ...].");
}

static TrackedBatch
read_batch(Jsonb *jsonb)
{
	TrackedBatch batch = {0};

	if (!JB_ROOT_IS_ARRAY(jsonb) || JB_ROOT_IS_SCALAR(jsonb))
		cozi_bad_value("the batch is not an array", "Pass [{\"event\": \"view\"}, ...].");
	batch.n = JB_ROOT_COUNT(jsonb);
	if (batch.n > MAX_BATCH)
		cozi_bad_value(psprintf("a batch has at most %d events", MAX_BATCH),
					   "Call cozi.track_events() again with the others.");
	batch.events = palloc0((batch.n + 1) * sizeof(Datum));
	batch.properties = palloc0((batch.n + 1) * sizeof(Datum));
	batch.instants = palloc0((batch.n + 1) * sizeof(Datum));
	batch.timeless = palloc((batch.n + 1) * sizeof(bool));
	for (int i = 0; i < batch.n; i++)
	{
		batch.timeless[i] = true;
		batch.properties[i] = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
		read_tracked(&batch, i, getIthJsonbValueFromContainer(&jsonb->root, i));
	}
	return batch;
}

PG_FUNCTION_INFO_V1(cozi_track_events);

/*
 * track_events(events regclass, batch jsonb) -> int
 */
Datum
cozi_track_events(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID};
	TrackedBatch batch;
	Datum		values[3];
	int			lower = 1;

	check_call(PG_GETARG_OID(0));
	batch = read_batch(PG_GETARG_JSONB_P(1));
	values[0] = PointerGetDatum(construct_array(batch.events, batch.n, TEXTOID, -1, false,
												TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(batch.properties, batch.n, JSONBOID, -1, false,
												TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_md_array(batch.instants, batch.timeless, 1, &batch.n,
												   &lower, TIMESTAMPTZOID, sizeof(TimestampTz),
												   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	PG_RETURN_INT32((int32) write_events(PG_GETARG_OID(0),
										 "SELECT * FROM ROWS FROM (pg_catalog.unnest($1),"
										 " pg_catalog.unnest($2), pg_catalog.unnest($3))",
										 3, types, values, "   "));
}
