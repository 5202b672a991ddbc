/*
 * live/outbox.c
 *		Creating, trimming and dropping outboxes.
 *
 * The table is made as the caller, and belongs to the caller; the trigger is made as
 * the owner of the extension.  An outbox that is rotated has SLOTS partitions, by the
 * time at which its events were written, and no DDL later: a partition whose events
 * are all delivered is truncated.
 *
 * The law: an event that some consumer has not done is neither deleted nor truncated.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "live/outbox.h"

#define SLOTS			4

/* The longest of the names made from that of the outbox. */
#define SUFFIX_BYTES	(sizeof("_seq_seq") - 1)

/* An id of 18 digits at most, never 0 */
static int64
random_id(void)
{
	uint64		id;

	if (!pg_strong_random(&id, sizeof(id)))
		elog(ERROR, "could not generate random values");
	return (int64) (id % UINT64CONST(999999999999999999)) + 1;
}

/* The relation that is to be made, with its schema */
static RangeVar *
read_outbox_name(const char *text)
{
	RangeVar   *name = makeRangeVarFromNameList(stringToQualifiedNameList_compat(text));

	if (strlen(name->relname) + SUFFIX_BYTES >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("\"%s\" is too long for the name of an outbox", name->relname),
				 errhint("Use at most %d bytes.", (int) (NAMEDATALEN - 1 - SUFFIX_BYTES))));
	name->schemaname = get_namespace_name(RangeVarGetCreationNamespace(name));
	if (isTempNamespace(get_namespace_oid(name->schemaname, false)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an outbox cannot be a temporary table"),
				 errhint("Name a schema that is not temporary.")));
	return name;
}

/* Seconds that a partition takes events for; 0: the outbox has no partitions. */
static int64
read_rotate(FunctionCallInfo fcinfo, int n)
{
	Interval   *rotate;
	int64		seconds;

	if (PG_ARGISNULL(n))
		return 0;
	rotate = PG_GETARG_INTERVAL_P(n);
	seconds = rotate->day * INT64CONST(86400) + rotate->time / USECS_PER_SEC;
	if (INTERVAL_NOT_FINITE(rotate) || rotate->month != 0 || rotate->day < 0 ||
		rotate->time < 0 || rotate->time > 366 * USECS_PER_DAY || seconds < 60 ||
		seconds > INT64CONST(366) * 86400)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"rotate\" must be 1 minute to 366 days, without months")));
	return seconds;
}

static void
create_partitions(const RangeVar * name, const char *table)
{
	for (int slot = 0; slot < SLOTS; slot++)
	{
		char	   *partition = psprintf("%s_%d", name->relname, slot);

		cozi_run(cozi_statement("CREATE TABLE {partition} PARTITION OF {table}"
								" FOR VALUES IN ({slot})",
								"partition", quote_qualified_identifier(name->schemaname, partition),
								"table", table, "slot", psprintf("%d", slot), NULL),
				 SPI_OK_UTILITY);
	}
}

static void
create_outbox_table(const RangeVar * name, const char *table, int64 seconds)
{
	char	   *slot = psprintf(", slot smallint NOT NULL DEFAULT pg_catalog.mod(pg_catalog.floor("
								"pg_catalog.date_part('epoch', pg_catalog.now())"
								" OPERATOR(pg_catalog./) " INT64_FORMAT ")::bigint, %d)",
								seconds, SLOTS);

	cozi_run(cozi_statement("CREATE TABLE {table} ("
							"id pg_catalog.uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),"
							" aggregatetype pg_catalog.text NOT NULL,"
							" aggregateid pg_catalog.text NOT NULL,"
							" type pg_catalog.text NOT NULL,"
							" payload pg_catalog.jsonb,"
							" created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),"
							" seq bigint NOT NULL,"
							" horizon pg_catalog.xid8 NOT NULL{slot},"
							" PRIMARY KEY (id{key}), UNIQUE (seq{key})) {partitioned}",
							"table", table,
							"slot", seconds > 0 ? slot : "",
							"key", seconds > 0 ? ", slot" : "",
							"partitioned", seconds > 0 ? "PARTITION BY LIST (slot)" : "", NULL),
			 SPI_OK_UTILITY);
	if (seconds > 0)
		create_partitions(name, table);
	cozi_run(cozi_statement("CREATE SEQUENCE {sequence} OWNED BY {table}.seq",
							"table", table, "sequence",
							quote_qualified_identifier(name->schemaname,
													   psprintf("%s_seq_seq", name->relname)),
							NULL), SPI_OK_UTILITY);
}

static void
comment_table(const char *table)
{
	static const char *const comments[EVENT_COLUMNS] = {
		"Identifies the event, for consumers that see it twice",
		"Kind of the thing that the event is about, such as post",
		"The thing that the event is about: events of one thing stay in their order",
		"What happened, such as created",
		"What a consumer needs to know",
		"When the transaction of the writer began",
		"Number of the event, drawn as it is written",
		"The event is delivered when all transactions before this one have ended"
	};

	cozi_run(cozi_statement("COMMENT ON TABLE {table} IS"
							" 'outbox, kept by cozi: events to be delivered'",
							"table", table, NULL), SPI_OK_UTILITY);
	for (int i = 0; i < EVENT_COLUMNS; i++)
		cozi_run(cozi_statement("COMMENT ON COLUMN {table}.{column} IS {text}", "table", table,
								"column", cozi_outbox_column(i),
								"text", quote_literal_cstr(comments[i]), NULL), SPI_OK_UTILITY);
}

static void
grant_writers(const char *table, ArrayType *writers)
{
	Datum	   *roles;
	int			n;

	if (array_contains_nulls(writers))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"writers\" must not contain nulls")));
	deconstruct_array(writers, REGROLEOID, sizeof(Oid), true, TYPALIGN_INT, &roles, NULL, &n);
	for (int i = 0; i < n; i++)
		cozi_run(cozi_statement("GRANT INSERT (aggregatetype, aggregateid, type, payload)"
								" ON {table} TO {role}", "table", table,
								"role", quote_identifier(GetUserNameFromId(DatumGetObjectId(roles[i]),
																		   false)), NULL),
				 SPI_OK_UTILITY);
}

static void
create_outbox_trigger(Oid relid, int64 id)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);
	CoziSavedUser saved;

	stmt->trigname = OUTBOX_TRIGGER;
	stmt->funcname = list_make1(makeString(OUTBOX_FUNCTION));
	stmt->args = list_make1(makeString(psprintf(INT64_FORMAT, id)));
	stmt->row = true;
	stmt->timing = TRIGGER_TYPE_BEFORE;
	stmt->events = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
	cozi_switch_user(cozi_relation_owner(cozi_table("outbox_consumer")), 0, &saved);
	(void) CreateTriggerFiringOn(stmt, NULL, relid, InvalidOid, InvalidOid, InvalidOid,
								 cozi_trigger_function(OUTBOX_FUNCTION), InvalidOid, NULL, false,
								 false, TRIGGER_FIRES_ALWAYS);
	cozi_restore_user(&saved);
	CommandCounterIncrement();
}

/* Forget the outboxes that are no more, however they went. */
static void
forget_dropped(void)
{
	static const char *const tables[] = {"outbox_local", "outbox_consumer", "outbox_aside"};

	for (int i = 0; i < lengthof(tables); i++)
		(void) cozi_outbox_run(psprintf("DELETE FROM {cozi}.%s t WHERE NOT EXISTS (SELECT FROM"
										" {cozi}._outbox_relations() r WHERE r.outbox = t.outbox)",
										tables[i]), 0, NULL, NULL, NULL, SPI_OK_DELETE);
}

/*
 * create_outbox(outbox text, writers regrole[] = '{}', rotate interval = NULL) -> regclass
 */
PG_FUNCTION_INFO_V1(cozi_create_outbox);
Datum
cozi_create_outbox(PG_FUNCTION_ARGS)
{
	RangeVar   *name;
	const char *table;
	int64		seconds;
	Oid			relid;
	List	   *all;
	Oid			types[] = {INT8OID, OIDOID};
	Datum		values[2];

	cozi_require_argument(fcinfo, 0, "outbox");
	cozi_require_argument(fcinfo, 1, "writers");
	seconds = read_rotate(fcinfo, 2);
	PreventCommandIfReadOnly("create_outbox()");
	name = read_outbox_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	table = quote_qualified_identifier(name->schemaname, name->relname);

	SPI_connect();
	create_outbox_table(name, table, seconds);
	relid = get_relname_relid(name->relname, get_namespace_oid(name->schemaname, false));
	comment_table(table);
	all = list_concat(list_make2_oid(relid, cozi_outbox_sequence(relid)),
					  find_inheritance_children(relid, NoLock));
	cozi_revoke_from_others(all);
	grant_writers(table, PG_GETARG_ARRAYTYPE_P(1));
	forget_dropped();
	values[0] = Int64GetDatum(random_id());
	values[1] = ObjectIdGetDatum(relid);
	create_outbox_trigger(relid, DatumGetInt64(values[0]));
	(void) cozi_outbox_run("INSERT INTO {cozi}.outbox_local VALUES ($1, $2)", 2, types, values,
						   NULL, SPI_OK_INSERT);
	SPI_finish();
	PG_RETURN_OID(relid);
}

/* The number up to which every consumer has done all events; false: there is none. */
static bool
all_done(const Outbox *outbox, int64 *done)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(outbox->id)};
	bool		isnull;

	(void) cozi_outbox_run("SELECT min(done) FROM {cozi}.outbox_consumer WHERE outbox = $1",
						   1, types, values, NULL, SPI_OK_SELECT);
	*done = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return !isnull;
}

/* How many rows a statement about events up to $1, written $2 ago, returns or changes */
static uint64
run_on_events(const char *template, Oid relid, int64 done, Datum keep, int expected)
{
	Oid			types[] = {INT8OID, INTERVALOID};
	Datum		values[] = {Int64GetDatum(done), keep};

	if (SPI_execute_with_args(cozi_statement(template, "table", cozi_qualified_name(relid), NULL),
							  2, types, values, NULL, false, 0) != expected)
		elog(ERROR, "could not execute: %s", template);
	return SPI_processed;
}

/* Events of a partition if all of them are done and old enough; 0: it is not to be emptied. */
static int64
count_if_done(Oid leaf, int64 done, Datum keep)
{
	bool		isnull;

	if (run_on_events("SELECT count(*) FROM ONLY {table} HAVING max(seq) <= $1"
					  " AND max(created_at) <= pg_catalog.now() - $2", leaf, done, keep,
					  SPI_OK_SELECT) == 0)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Does it hold the youngest event?  Writers are there. */
static bool
is_written_to(Oid relid, Oid leaf)
{
	bool		isnull;
	Oid			youngest;

	if (SPI_execute(cozi_statement("SELECT tableoid FROM {table} ORDER BY seq DESC LIMIT 1",
								   "table", cozi_qualified_name(relid), NULL), false, 1) !=
		SPI_OK_SELECT || SPI_processed == 0)
		return true;
	youngest = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											  &isnull));
	return youngest == leaf;
}

/*
 * Empty the partitions whose events are all done.  TRUNCATE removes rows that no
 * snapshot of ours sees, so the events are counted again behind the lock, by a
 * snapshot of that moment.
 */
static int64
truncate_partitions(const Outbox *outbox, int64 done, Datum keep)
{
	Oid			relid = RelationGetRelid(outbox->rel);
	int64		removed = 0;
	ListCell   *lc;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("outbox_trim() cannot empty partitions in isolation level REPEATABLE READ"),
				 errhint("Use READ COMMITTED.")));
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Oid			leaf = lfirst_oid(lc);
		int64		events;

		if (get_rel_relkind(leaf) != RELKIND_RELATION || count_if_done(leaf, done, keep) == 0 ||
			is_written_to(relid, leaf) || !ConditionalLockRelationOid(leaf, AccessExclusiveLock))
			continue;
		events = count_if_done(leaf, done, keep);
		if (events > 0)
			cozi_run(cozi_statement("TRUNCATE ONLY {table}", "table", cozi_qualified_name(leaf),
									NULL), SPI_OK_UTILITY);
		removed += events;
	}
	return removed;
}

/* outbox_trim(outbox regclass, keep interval = '0') -> bigint: events that were removed */
PG_FUNCTION_INFO_V1(cozi_outbox_trim);
Datum
cozi_outbox_trim(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	CoziSavedUser saved;
	int64		done;
	int64		removed = 0;

	cozi_require_argument(fcinfo, 0, "outbox");
	cozi_require_argument(fcinfo, 1, "keep");
	cozi_require_owner(PG_GETARG_OID(0));
	PreventCommandIfReadOnly("outbox_trim()");
	cozi_outbox_open(PG_GETARG_OID(0), &outbox);
	SPI_connect();
	if (all_done(&outbox, &done))
	{
		cozi_switch_to_owner(PG_GETARG_OID(0), &saved);
		if (outbox.rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			removed = truncate_partitions(&outbox, done, PG_GETARG_DATUM(1));
		else
			removed = run_on_events("DELETE FROM ONLY {table} WHERE seq <= $1"
									" AND created_at <= pg_catalog.now() - $2",
									PG_GETARG_OID(0), done, PG_GETARG_DATUM(1), SPI_OK_DELETE);
		cozi_restore_user(&saved);
	}
	SPI_finish();
	table_close(outbox.rel, NoLock);
	PG_RETURN_INT64(removed);
}

static bool
any_event(const OutboxEvent *event, void *arg)
{
	*(bool *) arg = true;
	return false;
}

/* Refuse to drop what some consumer still has to get; SPI is connected. */
static void
check_delivered(const Outbox *outbox)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(outbox->id)};
	Snapshot	snapshot;
	int64		done;
	bool		found;

	found = cozi_outbox_run("SELECT FROM {cozi}.outbox_aside WHERE outbox = $1", 1, types, values,
							NULL, SPI_OK_SELECT) > 0;
	if (!found && all_done(outbox, &done))
	{
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		cozi_outbox_visit(outbox->rel, done, snapshot, any_event, &found);
		UnregisterSnapshot(snapshot);
	}
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("outbox \"%s\" has events that are not delivered",
						RelationGetRelationName(outbox->rel)),
				 errhint("See the view cozi.outboxes; drop it with force => true to lose them.")));
}

/* drop_outbox(outbox regclass, force boolean = false) -> void */
PG_FUNCTION_INFO_V1(cozi_drop_outbox);
Datum
cozi_drop_outbox(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	char	   *table;

	cozi_require_argument(fcinfo, 0, "outbox");
	cozi_require_argument(fcinfo, 1, "force");
	cozi_require_owner(PG_GETARG_OID(0));
	PreventCommandIfReadOnly("drop_outbox()");
	LockRelationOid(PG_GETARG_OID(0), AccessExclusiveLock);
	cozi_outbox_open(PG_GETARG_OID(0), &outbox);
	table = cozi_qualified_name(PG_GETARG_OID(0));
	SPI_connect();
	if (!PG_GETARG_BOOL(1))
		check_delivered(&outbox);
	table_close(outbox.rel, NoLock);
	cozi_run(cozi_statement("DROP TABLE {table}", "table", table, NULL), SPI_OK_UTILITY);
	forget_dropped();
	SPI_finish();
	PG_RETURN_VOID();
}
