/*
 * analytics/events.c
 *		create_events(), set_events(): a table of events, and how it is kept.
 *
 * The table is the caller's, and ordinary: \d shows all that holds.
 * A client needs INSERT on (event, properties, client_at) and no more, so
 * that user_id and created_at are their defaults: the client's identity, and now.
 * A policy says so once more, for clients with more rights.  Sizes and names are
 * checks, and a rate limit is a part of the policy, so a client who writes past
 * track_event() goes round none of them.
 *
 * How the partitions are kept stands in the arguments of the trigger cozi_events,
 * where a dump and a rename carry it along; events_worker.c is what it does.
 *
 * The law: nothing here is done with more than the caller's rights.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "common/int.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "analytics/analytics.h"
#include "ratelimit/ratelimit.h"

/* The table and its default partition have room for their suffixes. */
#define MAX_NAME		40

#define MAX_AHEAD		366
#define MAX_BYTES		1048576

/* How the partitions are kept, as the trigger's arguments say it. */
typedef struct Keeping
{
	char	   *every;
	char	   *keep;			/* empty: for good */
	bool		drop_old;
	int			ahead;
} Keeping;

/* An interval as "N months" or "N hours"; NULL if it is neither. */
static char *
in_words(const Interval *span, int64 max_months, int64 max_hours)
{
	int64		us;

	if (pg_add_s64_overflow((int64) span->day * USECS_PER_DAY, span->time, &us))
		return NULL;
	if (us == 0 && span->month > 0 && span->month <= max_months)
		return psprintf("%d months", span->month);
	if (span->month == 0 && us > 0 && us % USECS_PER_HOUR == 0 &&
		us / USECS_PER_HOUR <= max_hours)
		return psprintf("%lld hours", (long long) (us / USECS_PER_HOUR));
	return NULL;
}

/* The arguments from the n-th on: every, keep, and where the others are. */
static Keeping
read_keeping(FunctionCallInfo fcinfo, int every, int drop_old, int ahead)
{
	Keeping		keeping = {.keep = ""};

	cozi_require_argument(fcinfo, every, "every");
	cozi_require_argument(fcinfo, drop_old, "drop_old");
	cozi_require_argument(fcinfo, ahead, "ahead");
	keeping.every = in_words(PG_GETARG_INTERVAL_P(every), 12, 366 * 24);
	if (keeping.every == NULL)
		cozi_bad_value("every must be a number of months, or of whole hours",
					   "Say 1 month, 3 months, 1 week, 1 day or 1 hour; at most a year.");
	if (!PG_ARGISNULL(every + 1))
	{
		keeping.keep = in_words(PG_GETARG_INTERVAL_P(every + 1), 1200, 876000);
		if (keeping.keep == NULL)
			cozi_bad_value("keep must be a number of months, or of whole hours",
						   "Say 1 year or 90 days, or NULL to keep events for good.");
	}
	keeping.drop_old = PG_GETARG_BOOL(drop_old);
	keeping.ahead = PG_GETARG_INT32(ahead);
	if (keeping.ahead < 1 || keeping.ahead > MAX_AHEAD)
		cozi_bad_value(psprintf("ahead must be from 1 to %d", MAX_AHEAD),
					   "It is how many partitions there are beside that of now.");
	return keeping;
}

/* The trigger, and the first maintenance. */
static void
start_keeping(const char *events, const Keeping *keeping)
{
	cozi_run(cozi_statement("CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT ON {events}"
							" FOR EACH STATEMENT EXECUTE FUNCTION {schema}._events_due("
							"{every}, {keep}, {old}, {ahead})",
							"trigger", EVENTS_TRIGGER, "events", events,
							"schema", cozi_schema_name(),
							"every", quote_literal_cstr(keeping->every),
							"keep", quote_literal_cstr(keeping->keep),
							"old", keeping->drop_old ? "'drop'" : "'detach'",
							"ahead", psprintf("'%d'", keeping->ahead), NULL),
			 SPI_OK_UTILITY);
	if (OidIsValid(get_extension_oid("pg_partman", true)))
		ereport(NOTICE,
				(errmsg("pg_partman is installed, too"),
				 errdetail("The partitions of %s are kept by cozi.maintain_events().", events),
				 errhint("Leave this table out of partman.part_config.")));
}

/* What the type of the users is called, and who the caller is in that type. */
static const char *
uid_of(Oid type)
{
	switch (type)
	{
		case UUIDOID:
			return "uid";
		case INT8OID:
			return "uid_bigint";
		case TEXTOID:
			return "uid_text";
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("user_type cannot be %s", format_type_be(type)),
			 errhint("Say uuid, bigint or text, as the subjects of your tokens are.")));
	return NULL;				/* not reached */
}

/* The condition that event must be one of the names, with its constraint. */
static char *
names_check(ArrayType *names)
{
	Oid			output;
	bool		varlena;

	if (array_contains_nulls(names) || ArrayGetNItems(ARR_NDIM(names), ARR_DIMS(names)) == 0)
		cozi_bad_value("names must be names", "Leave names out to take any event.");
	getTypeOutputInfo(TEXTARRAYOID, &output, &varlena);
	return psprintf(", CONSTRAINT event_is_known CHECK (event = ANY (%s::text[]))",
					quote_literal_cstr(OidOutputFunctionCall(output, PointerGetDatum(names))));
}

/* The part of the policy that counts an event on a limit. */
static char *
limit_condition(const char *limit)
{
	if (cozi_limit_find(limit) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("rate limit \"%s\" does not exist", limit),
				 errhint("Create it with cozi.create_rate_limit().")));
	return cozi_statement(" AND {schema}.enforce_rate_limits(ARRAY[{limit}]::text[],"
						  " ARRAY[coalesce({schema}.uid_text(), 'anonymous')]) IS NOT NULL",
						  "schema", cozi_schema_name(), "limit", quote_literal_cstr(limit), NULL);
}

/* What create_events() was called with, in SQL. */
typedef struct NewEvents
{
	char	   *events;
	char	   *fallback;
	const char *type;
	const char *uid;			/* cozi.uid() */
	bool		anonymous;
	const char *names_check;
	char	   *max_bytes;
	const char *limit;
} NewEvents;

/* Where the table will be, and its default partition: qualified names. */
static void
new_names(text *given, NewEvents *new)
{
	RangeVar   *range = makeRangeVarFromNameList(textToQualifiedNameList(given));
	Oid			namespace = RangeVarGetCreationNamespace(range);

	if (strlen(range->relname) > MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name \"%s\" is longer than %d bytes", range->relname, MAX_NAME),
				 errhint("Its partitions are called by it, too.")));
	if (OidIsValid(get_relname_relid(range->relname, namespace)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", range->relname),
				 errhint("Choose another name, or call cozi.set_events().")));
	new->events = quote_qualified_identifier(get_namespace_name(namespace), range->relname);
	new->fallback = quote_qualified_identifier(get_namespace_name(namespace),
											   psprintf("%s_default", range->relname));
}

static Oid
oid_named(const char *name)
{
	return DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(name)));
}

/*
 * Rows of a new partition are reached through its table alone: policies are on that,
 * and privileges that the partition was born with would go round them.  SPI is
 * connected.
 */
void
cozi_shut_partition(Oid partition, Oid events)
{
	Relation	rel = table_open(events, AccessShareLock);
	bool		secure = rel->rd_rel->relrowsecurity;

	table_close(rel, NoLock);
	cozi_revoke_from_others(list_make1_oid(partition));
	if (secure)
		cozi_run(cozi_statement("ALTER TABLE {partition} ENABLE ROW LEVEL SECURITY",
								"partition", cozi_qualified_name(partition), NULL),
				 SPI_OK_UTILITY);
}

PG_FUNCTION_INFO_V1(cozi_shut_partition_in_sql);

/*
 * _shut_partition(partition regclass, events regclass) -> void
 */
Datum
cozi_shut_partition_in_sql(PG_FUNCTION_ARGS)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_shut_partition(PG_GETARG_OID(0), PG_GETARG_OID(1));
	SPI_finish();
	PG_RETURN_VOID();
}

static void
create_event_table(const NewEvents *new)
{
	cozi_run(cozi_statement("CREATE TABLE {events} (event text NOT NULL,"
							" user_id {type} {null} DEFAULT {uid},"
							" properties jsonb NOT NULL DEFAULT '{}',"
							" created_at timestamptz NOT NULL DEFAULT now(),"
							" client_at timestamptz,"
							" CONSTRAINT event_is_named"
							" CHECK (octet_length(event) BETWEEN 1 AND 100),"
							" CONSTRAINT properties_are_small"
							" CHECK (jsonb_typeof(properties) = 'object' AND"
							" octet_length(properties::text) <= {bytes}){names}"
							") PARTITION BY RANGE (created_at)",
							"events", new->events, "type", new->type, "uid", new->uid,
							"null", new->anonymous ? "" : "NOT NULL",
							"bytes", new->max_bytes, "names", new->names_check, NULL),
			 SPI_OK_UTILITY);
	cozi_run(cozi_statement("CREATE TABLE {fallback} PARTITION OF {events} DEFAULT",
							"fallback", new->fallback, "events", new->events, NULL),
			 SPI_OK_UTILITY);
	cozi_run(cozi_statement("CREATE INDEX ON {events} USING brin (created_at)"
							" WITH (autosummarize = on)", "events", new->events, NULL),
			 SPI_OK_UTILITY);
	cozi_run(cozi_statement("ALTER TABLE {events} ENABLE ROW LEVEL SECURITY",
							"events", new->events, NULL), SPI_OK_UTILITY);
	cozi_revoke_from_others(list_make1_oid(oid_named(new->events)));
	cozi_shut_partition(oid_named(new->fallback), oid_named(new->events));
	cozi_run(cozi_statement("CREATE POLICY cozi_track ON {events} FOR INSERT"
							" WITH CHECK (user_id {is} {uid} AND created_at = now(){limit})",
							"events", new->events, "uid", new->uid, "limit", new->limit,
							"is", new->anonymous ? "IS NOT DISTINCT FROM" : "=", NULL),
			 SPI_OK_UTILITY);
}

/* Partitions as they are now due; what fails here is an error. */
static void
maintain_now(const char *events)
{
	bool		again;

	if (!cozi_maintain(oid_named(events), true, NULL, &again))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the partitions of %s could not be made", events),
				 errhint("The warning before says why.")));
}

PG_FUNCTION_INFO_V1(cozi_create_events);

/*
 * create_events(events text, every interval, keep interval, user_type regtype,
 *				 anonymous boolean, drop_old boolean, ahead int, names text[],
 *				 max_bytes int, rate_limit text) -> regclass
 */
Datum
cozi_create_events(PG_FUNCTION_ARGS)
{
	static const struct
	{
		int			n;
		const char *name;
	}			required[] = {{0, "events"}, {3, "user_type"}, {4, "anonymous"}, {8, "max_bytes"}};
	Keeping		keeping;
	NewEvents	new = {.names_check = "",.limit = ""};
	int			level;

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, required[i].n, required[i].name);
	cozi_kept_refuse_old_snapshot("create_events");
	keeping = read_keeping(fcinfo, 1, 5, 6);
	new.anonymous = PG_GETARG_BOOL(4);
	new.type = format_type_be(PG_GETARG_OID(3));
	new.uid = psprintf("%s.%s()", cozi_schema_name(), uid_of(PG_GETARG_OID(3)));
	if (PG_GETARG_INT32(8) < 2 || PG_GETARG_INT32(8) > MAX_BYTES)
		cozi_bad_value(psprintf("max_bytes must be from 2 to %d", MAX_BYTES),
					   "It is the size of the properties of an event, as text.");
	new.max_bytes = psprintf("%d", PG_GETARG_INT32(8));
	if (!PG_ARGISNULL(7))
		new.names_check = names_check(PG_GETARG_ARRAYTYPE_P(7));
	if (!PG_ARGISNULL(9))
		new.limit = limit_condition(text_to_cstring(PG_GETARG_TEXT_PP(9)));
	new_names(PG_GETARG_TEXT_PP(0), &new);
	level = NewGUCNestLevel();
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	create_event_table(&new);
	start_keeping(new.events, &keeping);
	SPI_finish();
	maintain_now(new.events);
	AtEOXact_GUC(false, level);
	PG_RETURN_OID(oid_named(new.events));
}

/* An error unless it is partitioned by ranges of one timestamptz column. */
static void
check_partitioned(Oid events)
{
	Relation	rel = table_open(events, AccessShareLock);
	PartitionKey key = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
	RelationGetPartitionKey(rel) : NULL;
	bool		fits = key != NULL && get_partition_strategy(key) == PARTITION_STRATEGY_RANGE &&
	get_partition_natts(key) == 1 && get_partition_col_attnum(key, 0) > 0 &&
	get_partition_col_typid(key, 0) == TIMESTAMPTZOID;

	table_close(rel, AccessShareLock);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not partitioned by ranges of a timestamp with time zone",
						get_rel_name(events)),
				 errhint("Create a table with cozi.create_events(), and move the events there.")));
}

PG_FUNCTION_INFO_V1(cozi_set_events);

/*
 * set_events(events regclass, every interval, keep interval, drop_old boolean, ahead int)
 *		-> void
 */
Datum
cozi_set_events(PG_FUNCTION_ARGS)
{
	Keeping		keeping;
	Oid			events;
	char	   *name;
	int			level;

	cozi_require_argument(fcinfo, 0, "events");
	keeping = read_keeping(fcinfo, 1, 3, 4);
	events = PG_GETARG_OID(0);
	cozi_require_owner(events);
	check_partitioned(events);
	name = cozi_qualified_name(events);
	level = NewGUCNestLevel();
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	start_keeping(name, &keeping);
	SPI_finish();
	AtEOXact_GUC(false, level);
	PG_RETURN_VOID();
}
