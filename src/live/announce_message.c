/*
 * live/announce_message.c
 *		The message of an announcement, and its way to NOTIFY or to Realtime.
 *
 * A message is JSON: the kept table and the number of its last change, and where the
 * owner asks for it the rows that have changed since the message before.
 *
 * The law: rows are read, and Realtime is called, as the owner of the table, in a
 * security-restricted operation.  Where code of an owner's would run, or policies say
 * who may see which rows, no rows are sent.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "live/announce.h"
#include "live/live.h"
#include "live/notify.h"

#define MOST_ROWS			1000	/* of a message */
#define REALTIME_MOST_BYTES	100000	/* of a message */
#define END_BYTES			2	/* what closes it */

static bool
via_realtime(const Announcement *announcement)
{
	return strcmp(announcement->via, "realtime") == 0;
}

static bool
is_foreign_type(Oid relid, const char *column)
{
	AttrNumber	attnum = get_attnum(relid, column);

	return attnum == InvalidAttrNumber ||
		getBaseType(get_atttype(relid, attnum)) >= FirstNormalObjectId;
}

/* Would code of the owner's run where the rows are read? */
static bool
runs_foreign_code(const Kept *kept)
{
	return is_foreign_type(kept->relation, kept->kind->item) ||
		(kept_has(kept, KEPT_SCOPE) &&
		 is_foreign_type(kept->relation, cozi_kept_role_column(kept, KEPT_SCOPE))) ||
		cozi_kept_foreign_code(kept->relation) != NULL;
}

/* Do policies say who reads which rows?  A message reaches every listener. */
static bool
has_policies(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		found = HeapTupleIsValid(tuple) &&
	((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return found;
}

/*
 * Why Realtime is not called; NULL if it may be.  The schema must be a superuser's:
 * who could make the function would act as the owner of the table.
 */
static char *
realtime_obstacle(Oid owner)
{
	Oid			arguments[] = {JSONBOID, TEXTOID, TEXTOID, BOOLOID};
	Oid			schema = get_namespace_oid("realtime", true);
	HeapTuple	tuple;
	Oid			schema_owner;
	Oid			messages;

	if (!OidIsValid(schema) ||
		!SearchSysCacheExists3(PROCNAMEARGSNSP, CStringGetDatum("send"),
							   PointerGetDatum(buildoidvector(arguments, lengthof(arguments))),
							   ObjectIdGetDatum(schema)))
		return pstrdup("there is no function realtime.send(jsonb, text, text, boolean)");
	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	if (!HeapTupleIsValid(tuple))
		return pstrdup("the schema realtime is gone");
	schema_owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	if (!superuser_arg(schema_owner))
		return pstrdup("the schema realtime is not a superuser's");
	/* realtime.send() makes a warning of it */
	messages = get_relname_relid("messages", schema);
	if (OidIsValid(messages) && pg_class_aclcheck(messages, owner, ACL_INSERT) != ACLCHECK_OK)
		return pstrdup("the owner of the table may not insert into realtime.messages");
	return NULL;
}

/* Why an announcement is not sent until somebody mends that; NULL: it is. */
char	   *
cozi_announce_obstacle(const Kept *kept, const Announcement *announcement)
{
	if (!OidIsValid(kept->source) || get_rel_name(kept->source) == NULL)
		return pstrdup("the source of the table is gone");
	if (!kept->tracked)
		return pstrdup("changes are not tracked: call cozi.track_changes()");
	if (cozi_kept_is_unlogged(kept->source))
		return pstrdup("the table is unlogged: its changes are not known");
	if (announcement->begun && announcement->owner != cozi_relation_owner(kept->relation))
		return pstrdup("the owner of the table has changed: call cozi.announce_changes()");
	if (announcement->counts && has_policies(kept->relation))
		return pstrdup("the table has row-level security, which counts would pass by");
	if (announcement->counts && runs_foreign_code(kept))
		return pstrdup("counts would run code of the owner's, of an index or a type");
	return via_realtime(announcement) ?
		realtime_obstacle(cozi_relation_owner(kept->relation)) : NULL;
}

/* A message that is being written. */
typedef struct Message
{
	StringInfoData text;
	Size		most;
	int			items;
	bool		full;
	int64		upto;			/* the change that it ends with */
} Message;

static void
add_item(const LiveChange *change, void *arg)
{
	Message    *message = arg;
	StringInfoData item;

	if (message->full || change->item == NULL)
		return;
	initStringInfo(&item);
	appendStringInfoString(&item, message->items > 0 ? ", {\"item\": " : "{\"item\": ");
	escape_json(&item, change->item);
	appendStringInfo(&item, ", \"gone\": %s, \"row\": ", change->gone ? "true" : "false");
	(void) JsonbToCString(&item, &DatumGetJsonbP(change->row)->root, -1);
	appendStringInfoChar(&item, '}');
	if (message->text.len + item.len + END_BYTES > message->most)
		message->full = true;
	else
	{
		appendBinaryStringInfo(&message->text, item.data, item.len);
		message->items++;
		message->upto = change->number;
	}
	pfree(item.data);
}

static void
begin_message(Message *message, const Kept *kept)
{
	resetStringInfo(&message->text);
	appendStringInfoString(&message->text, "{\"kept\": ");
	escape_json(&message->text, cozi_qualified_name(kept->relation));
}

static void
end_message(Message *message, int64 change, const char *more)
{
	message->upto = change;
	appendStringInfo(&message->text, ", \"change\": " INT64_FORMAT "%s}", change, more);
}

/*
 * The rows since the message before; more of them come with the next one.  Where the
 * first does not fit, readers are woken up and read it.
 */
static void
write_counts(Message *message, const Kept *kept, const Announcement *announcement, int64 last,
			 Snapshot snapshot)
{
	begin_message(message, kept);
	/* the number comes behind the rows: it is known then */
	message->most -= strlen(", \"change\": -9223372036854775808}");
	appendStringInfoString(&message->text, ", \"items\": [");
	PushActiveSnapshot(snapshot);
	(void) cozi_live_read(kept, snapshot, announcement->sent, MOST_ROWS, add_item, message);
	PopActiveSnapshot();
	if (message->items > 0)
	{
		appendStringInfoChar(&message->text, ']');
		end_message(message, message->upto, "");
	}
	else
	{
		begin_message(message, kept);
		end_message(message, last, "");
	}
}

static void
send_by_realtime(const Announcement *announcement, const char *text)
{
	Oid			types[] = {TEXTOID, TEXTOID, BOOLOID};
	Datum		values[] = {CStringGetTextDatum(text), CStringGetTextDatum(announcement->topic),
	BoolGetDatum(announcement->is_private)};

	if (SPI_execute_with_args("SELECT realtime.send($1::pg_catalog.jsonb,"
							  " 'changes'::pg_catalog.text, $2, $3)",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call realtime.send()");
}

/*
 * Send the message of an announcement whose table is at the change last of an era.
 * Returns the number of the change that it ends with.  SPI is connected.
 */
int64
cozi_announce_message(const Kept *kept, const Announcement *announcement, int64 era,
					  int64 last, Snapshot snapshot)
{
	Message		message = {.most = via_realtime(announcement) ? REALTIME_MOST_BYTES :
	NOTIFY_MOST_BYTES - 1};
	CoziSavedUser saved;

	initStringInfo(&message.text);
	/* what a reader is told survives a crash */
	cozi_live_flush();
	cozi_switch_to_owner(kept->relation, &saved);
	cozi_set_locally("lock_timeout", "200ms");
	if (announcement->counts && announcement->era == era && announcement->sent >= 0)
		write_counts(&message, kept, announcement, last, snapshot);
	else
	{
		begin_message(&message, kept);
		end_message(&message, last, announcement->counts ? ", \"reset\": true" : "");
	}
	if (via_realtime(announcement))
		send_by_realtime(announcement, message.text.data);
	cozi_restore_user(&saved);
	if (!via_realtime(announcement))
		Async_Notify(announcement->topic, message.text.data);
	return message.upto;
}
