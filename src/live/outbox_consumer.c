/*
 * live/outbox_consumer.c
 *		The consumers of an outbox: who may take its events, and how far they are.
 *
 * The state is written as the owner of the extension.  A consumer has a role, in
 * words, because a role of another name is another role.
 *
 * The law: the caller's right is checked before a row of the state is locked.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/snapmgr.h"

#include "live/outbox.h"

/*
 * Run a statement on the tables of the extension, as their owner; returns the rows.
 * SPI is connected.
 */
uint64
cozi_outbox_run(const char *template, int n, const Oid *types, const Datum *values,
				const char *nulls, int expected)
{
	const char *schema = cozi_schema_name();
	CoziSavedUser saved;

	cozi_switch_user(cozi_relation_owner(cozi_table("outbox_consumer")), 0, &saved);
	if (SPI_execute_with_args(cozi_statement(template, "cozi", schema, NULL), n,
							  unconstify(Oid *, types), unconstify(Datum *, values), nulls,
							  false, 0) != expected)
		elog(ERROR, "could not execute: %s", template);
	cozi_restore_user(&saved);
	return SPI_processed;
}

/* The id of an outbox, which is the argument of its trigger; 0: the table is none. */
static int64
outbox_id(Relation rel)
{
	Oid			function = cozi_trigger_function(OUTBOX_FUNCTION);

	if (rel->trigdesc != NULL && OidIsValid(function))
		for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		{
			Trigger    *trigger = &rel->trigdesc->triggers[i];

			if (trigger->tgfoid == function && !trigger->tgisclone && trigger->tgnargs == 1)
				return DatumGetInt64(DirectFunctionCall1(int8in,
														 CStringGetDatum(trigger->tgargs[0])));
		}
	return 0;
}

/*
 * Which table an id belongs to is noted once in each database.  A second one, whose
 * owner made a trigger of the same id, never gets at the state of the first.
 */
static void
check_noted(const Outbox *outbox)
{
	Oid			types[] = {INT8OID, OIDOID};
	Datum		values[] = {Int64GetDatum(outbox->id),
	ObjectIdGetDatum(RelationGetRelid(outbox->rel))};
	uint64		others;

	SPI_connect();
	if (cozi_outbox_run("SELECT FROM {cozi}.outbox_local WHERE outbox = $1 AND relation = $2",
						2, types, values, NULL, SPI_OK_SELECT) == 0)
	{
		others = cozi_outbox_run("SELECT FROM {cozi}._outbox_relations() r"
								 " WHERE r.outbox = $1 AND r.relation <> $2",
								 2, types, values, NULL, SPI_OK_SELECT);
		if (others > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" has the trigger of another outbox",
							RelationGetRelationName(outbox->rel)),
					 errhint("Drop the trigger \"" OUTBOX_TRIGGER "\" of this table.")));
		if (!XactReadOnly && !RecoveryInProgress())
			(void) cozi_outbox_run("INSERT INTO {cozi}.outbox_local VALUES ($1, $2)"
								   " ON CONFLICT (outbox) DO UPDATE"
								   " SET relation = excluded.relation",
								   2, types, values, NULL, SPI_OK_INSERT);
	}
	SPI_finish();
}

/* Open an outbox, locked until the end of the transaction. */
void
cozi_outbox_open(Oid relid, Outbox *outbox)
{
	const char *name = cozi_relation_name(relid);
	char		kind = get_rel_relkind(relid);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		cozi_wrong_kind(name, "an outbox");
	outbox->rel = table_open(relid, AccessShareLock);
	outbox->id = outbox_id(outbox->rel);
	if (outbox->id == 0)
		cozi_wrong_kind(name, "an outbox");
	check_noted(outbox);
}

pg_noreturn static void
no_such_consumer(const Outbox *outbox, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("consumer \"%s\" of outbox \"%s\" does not exist", name,
					RelationGetRelationName(outbox->rel)),
			 errhint("Create it with cozi.add_outbox_consumer().")));
}

static Datum
column(int i, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i, isnull);
}

/*
 * Read a consumer, whose name is given; lock is a clause such as "FOR UPDATE".  False:
 * there is none, or its lock was skipped.
 */
bool
cozi_outbox_find_consumer(const Outbox *outbox, const char *lock, OutboxConsumer *consumer)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(outbox->id), CStringGetTextDatum(consumer->name)};
	bool		isnull;
	bool		found;

	SPI_connect();
	found = cozi_outbox_run(psprintf("SELECT role, done, lease,"
									 " coalesce(leased_until > pg_catalog.clock_timestamp(), false),"
									 " leased_upto, attempts, careful_upto"
									 " FROM {cozi}.outbox_consumer"
									 " WHERE outbox = $1 AND consumer = $2 %s", lock),
							2, types, values, NULL, SPI_OK_SELECT) == 1;
	if (found)
	{
		char	   *role = TextDatumGetCString(column(1, &isnull));

		consumer->role = get_role_oid(role, true);
		consumer->done = DatumGetInt64(column(2, &isnull));
		consumer->lease = DatumGetInt64(column(3, &isnull));
		consumer->leased = DatumGetBool(column(4, &isnull));
		consumer->leased_upto = DatumGetInt64(column(5, &isnull));
		consumer->attempts = DatumGetInt32(column(6, &isnull));
		consumer->careful_upto = DatumGetInt64(column(7, &isnull));
	}
	SPI_finish();
	return found;
}

/* The consumer's role, and the owner of the outbox */
static bool
may_consume(const Outbox *outbox, Oid role)
{
	return object_ownercheck(RelationRelationId, RelationGetRelid(outbox->rel), GetUserId()) ||
		(OidIsValid(role) && has_privs_of_role(GetUserId(), role));
}

/* Read a consumer that the caller may be, and then lock it, unless lock is empty. */
void
cozi_outbox_require_consumer(const Outbox *outbox, const char *lock, OutboxConsumer *consumer)
{
	if (!cozi_outbox_find_consumer(outbox, "", consumer))
		no_such_consumer(outbox, consumer->name);
	if (!may_consume(outbox, consumer->role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for consumer \"%s\" of outbox \"%s\"", consumer->name,
						RelationGetRelationName(outbox->rel))));
	if (lock[0] != '\0' && !cozi_outbox_find_consumer(outbox, lock, consumer))
		no_such_consumer(outbox, consumer->name);
}

/* The last event of those that may be delivered without a gap. */
static bool
remember_last(const OutboxEvent *event, void *arg)
{
	if (event->waits)
		return false;
	*(int64 *) arg = event->seq;
	return true;
}

static void
check_consumer_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a consumer: \"%s\"", name),
				 errhint("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
}

/*
 * add_outbox_consumer(outbox regclass, consumer text, role regrole,
 *					   from_now boolean = false) -> void
 */
PG_FUNCTION_INFO_V1(cozi_add_outbox_consumer);
Datum
cozi_add_outbox_consumer(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	const char *name;
	int64		done = 0;
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[4];

	cozi_require_argument(fcinfo, 0, "outbox");
	cozi_require_argument(fcinfo, 1, "consumer");
	cozi_require_argument(fcinfo, 2, "role");
	cozi_require_argument(fcinfo, 3, "from_now");
	cozi_require_owner(PG_GETARG_OID(0));
	cozi_outbox_open(PG_GETARG_OID(0), &outbox);
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	check_consumer_name(name);
	if (PG_GETARG_BOOL(3))
	{
		Snapshot	snapshot = RegisterSnapshot(GetTransactionSnapshot());

		cozi_outbox_visit(outbox.rel, 0, snapshot, remember_last, &done);
		UnregisterSnapshot(snapshot);
	}
	values[0] = Int64GetDatum(outbox.id);
	values[1] = CStringGetTextDatum(name);
	values[2] = CStringGetTextDatum(GetUserNameFromId(PG_GETARG_OID(2), false));
	values[3] = Int64GetDatum(done);
	SPI_connect();
	if (cozi_outbox_run("INSERT INTO {cozi}.outbox_consumer (outbox, consumer, role, done)"
						" VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
						4, types, values, NULL, SPI_OK_INSERT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("consumer \"%s\" of outbox \"%s\" already exists", name,
						RelationGetRelationName(outbox.rel))));
	SPI_finish();
	table_close(outbox.rel, NoLock);
	PG_RETURN_VOID();
}

/* remove_outbox_consumer(outbox regclass, consumer text) -> void */
PG_FUNCTION_INFO_V1(cozi_remove_outbox_consumer);
Datum
cozi_remove_outbox_consumer(PG_FUNCTION_ARGS)
{
	Outbox		outbox;
	OutboxConsumer consumer;
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[2];

	cozi_require_argument(fcinfo, 0, "outbox");
	cozi_require_argument(fcinfo, 1, "consumer");
	cozi_require_owner(PG_GETARG_OID(0));
	cozi_outbox_open(PG_GETARG_OID(0), &outbox);
	consumer.name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	cozi_outbox_require_consumer(&outbox, "", &consumer);
	values[0] = Int64GetDatum(outbox.id);
	values[1] = CStringGetTextDatum(consumer.name);
	SPI_connect();
	(void) cozi_outbox_run("DELETE FROM {cozi}.outbox_aside WHERE outbox = $1 AND consumer = $2",
						   2, types, values, NULL, SPI_OK_DELETE);
	(void) cozi_outbox_run("DELETE FROM {cozi}.outbox_consumer"
						   " WHERE outbox = $1 AND consumer = $2",
						   2, types, values, NULL, SPI_OK_DELETE);
	SPI_finish();
	table_close(outbox.rel, NoLock);
	PG_RETURN_VOID();
}
