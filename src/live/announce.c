/*
 * live/announce.c
 *		announce_changes(): which kept tables tell on which topics that they changed.
 *
 * cozi.announcement says what the owners want, and is in every dump.
 * cozi.announcement_local says how far each announcement is, and who the owner was
 * that wanted it; it is in no dump.
 *
 * The law: a new owner of a table announces nothing that a former one has asked for.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "live/announce.h"
#include "live/live.h"
#include "live/notify.h"
#include "live/outbox.h"

#define MOST_OF_A_TABLE		16	/* announcements */
#define MOST_TOPIC_BYTES	255 /* of Realtime */
#define MOST_ARGUMENTS		8

static const CoziShape wanted_table = {"announcement", {INT4OID, TEXTOID, TEXTOID, INTERVALOID,
TEXTOID, BOOLOID}};

static const CoziShape progress_table = {"announcement_local", {INT4OID, TEXTOID, TEXTOID,
OIDOID, INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, TEXTOID}};

/* Their columns. */
enum
{
	CONFIG_KEPT = 1, CONFIG_VIA, CONFIG_TOPIC, CONFIG_PER, CONFIG_PAYLOAD, CONFIG_PRIVATE
};

enum
{
	PROGRESS_OWNER = 4, PROGRESS_ERA, PROGRESS_SENT, PROGRESS_SENT_AT, PROGRESS_FAILURES,
	PROGRESS_RETRY_AT, PROGRESS_LAST_ERROR
};

static void
read_announcement(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Announcement *each = palloc0(sizeof(Announcement));
	List	  **list = arg;

	each->kept = DatumGetInt32(cozi_tuple_value(tuple, desc, CONFIG_KEPT));
	each->via = cozi_tuple_text(tuple, desc, CONFIG_VIA);
	each->topic = cozi_tuple_text(tuple, desc, CONFIG_TOPIC);
	each->per = DatumGetIntervalP(cozi_tuple_value(tuple, desc, CONFIG_PER))->time;
	each->counts = strcmp(cozi_tuple_text(tuple, desc, CONFIG_PAYLOAD), "counts") == 0;
	each->is_private = DatumGetBool(cozi_tuple_value(tuple, desc, CONFIG_PRIVATE));
	*list = lappend(*list, each);
}

static Datum
value_or_zero(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* How far it is: a row of cozi.announcement_local. */
static void
read_progress(HeapTuple tuple, TupleDesc desc, Announcement *each)
{
	each->begun = true;
	each->owner = DatumGetObjectId(cozi_tuple_value(tuple, desc, PROGRESS_OWNER));
	each->era = DatumGetInt64(value_or_zero(tuple, desc, PROGRESS_ERA));
	each->sent = DatumGetInt64(cozi_tuple_value(tuple, desc, PROGRESS_SENT));
	each->sent_at = DatumGetTimestampTz(value_or_zero(tuple, desc, PROGRESS_SENT_AT));
	each->failures = DatumGetInt32(cozi_tuple_value(tuple, desc, PROGRESS_FAILURES));
	each->retry_at = DatumGetTimestampTz(value_or_zero(tuple, desc, PROGRESS_RETRY_AT));
	each->last_error = cozi_tuple_text(tuple, desc, PROGRESS_LAST_ERROR);
}

static void
read_begun(HeapTuple tuple, TupleDesc desc, void *arg)
{
	int32		kept = DatumGetInt32(cozi_tuple_value(tuple, desc, CONFIG_KEPT));
	char	   *via = cozi_tuple_text(tuple, desc, CONFIG_VIA);
	char	   *topic = cozi_tuple_text(tuple, desc, CONFIG_TOPIC);
	ListCell   *lc;

	foreach(lc, *(List **) arg)
	{
		Announcement *each = lfirst(lc);

		if (each->kept == kept && strcmp(each->via, via) == 0 && strcmp(each->topic, topic) == 0)
			read_progress(tuple, desc, each);
	}
}

/* All announcements of this database, as committed just now. */
List	   *
cozi_announcements(void)
{
	List	   *list = NIL;

	cozi_read_table(&wanted_table, read_announcement, &list);
	if (list != NIL)
		cozi_read_table(&progress_table, read_begun, &list);
	return list;
}

/*
 * Run a statement on our tables: $1, $2 and $3 are the key of the announcement, and
 * what else it needs follows.  SPI is connected.
 */
uint64
cozi_announce_run(const char *template, const Announcement *announcement, int n,
				  const Oid *more_types, const Datum *more_values, const char *more_nulls,
				  int expected)
{
	Oid			types[MOST_ARGUMENTS] = {INT4OID, TEXTOID, TEXTOID};
	Datum		values[MOST_ARGUMENTS] = {Int32GetDatum(announcement->kept),
	CStringGetTextDatum(announcement->via), CStringGetTextDatum(announcement->topic)};
	char		nulls[MOST_ARGUMENTS + 1] = "        ";

	Assert(n + 3 <= MOST_ARGUMENTS);
	for (int i = 0; i < n; i++)
	{
		types[3 + i] = more_types[i];
		values[3 + i] = more_values[i];
		if (more_nulls != NULL)
			nulls[3 + i] = more_nulls[i];
	}
	return cozi_outbox_run(template, n + 3, types, values, nulls, expected);
}

/* Read again how far an announcement is, and keep others from it; false: they do that. */
bool
cozi_announce_lock(Announcement *announcement)
{
	if (cozi_announce_run("SELECT l.* FROM {cozi}.announcement_local l"
						  " WHERE l.kept = $1 AND l.via = $2 AND l.topic = $3"
						  " FOR UPDATE SKIP LOCKED",
						  announcement, 0, NULL, NULL, NULL, SPI_OK_SELECT) == 0)
		return false;
	read_progress(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, announcement);
	return true;
}

static char *
word_of(FunctionCallInfo fcinfo, int n, const char *name, const char *one, const char *other)
{
	char	   *word;

	cozi_require_argument(fcinfo, n, name);
	word = text_to_cstring(PG_GETARG_TEXT_PP(n));
	if (strcmp(word, one) != 0 && strcmp(word, other) != 0)
		cozi_bad_value(psprintf("%s must not be \"%s\"", name, word),
					   psprintf("It is '%s' or '%s'.", one, other));
	return word;
}

/* The key of an announcement, from the arguments of a call. */
static void
read_key(FunctionCallInfo fcinfo, int via, Kept *kept, Announcement *announcement)
{
	cozi_require_argument(fcinfo, 0, "board");
	cozi_require_argument(fcinfo, 1, "topic");
	announcement->via = word_of(fcinfo, via, "via", "notify", "realtime");
	cozi_kept_get_own(PG_GETARG_OID(0), NULL, kept);
	announcement->kept = kept->id;
	announcement->topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
}

/* One more announcement of a table; under its fold lock. */
static void
check_room(const Announcement *announcement)
{
	int			others = 0;
	ListCell   *lc;

	foreach(lc, cozi_announcements())
	{
		Announcement *each = lfirst(lc);

		others += each->kept == announcement->kept &&
			(strcmp(each->via, announcement->via) != 0 ||
			 strcmp(each->topic, announcement->topic) != 0);
	}
	if (others >= MOST_OF_A_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("a table has at most %d announcements", MOST_OF_A_TABLE),
				 errhint("Remove one with cozi.drop_announcement().")));
}

/* What was announced before this call is not announced again. */
static void
write_announcement(FunctionCallInfo fcinfo, const Kept *kept, const Announcement *announcement)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Oid			config_types[] = {INTERVALOID, TEXTOID, BOOLOID};
	Datum		config[] = {PG_GETARG_DATUM(2), PG_GETARG_DATUM(4), PG_GETARG_DATUM(5)};
	Oid			local_types[] = {OIDOID, INT8OID, INT8OID};
	Datum		local[] = {ObjectIdGetDatum(announcement->owner),
		Int64GetDatum(cozi_kept_era(kept->id, snapshot)),
	Int64GetDatum(cozi_kept_last_change(kept->id, snapshot))};

	UnregisterSnapshot(snapshot);
	SPI_connect();
	(void) cozi_announce_run("INSERT INTO {cozi}.announcement VALUES ($1, $2, $3, $4, $5, $6)"
							 " ON CONFLICT (kept, via, topic)"
							 " DO UPDATE SET per = $4, payload = $5, private = $6",
							 announcement, lengthof(config_types), config_types, config, NULL,
							 SPI_OK_INSERT);
	(void) cozi_announce_run("INSERT INTO {cozi}.announcement_local"
							 " (kept, via, topic, owner, era, sent)"
							 " VALUES ($1, $2, $3, $4, $5, $6)"
							 " ON CONFLICT (kept, via, topic) DO UPDATE SET"
							 " owner = $4, failures = 0, retry_at = NULL, last_error = NULL",
							 announcement, lengthof(local_types), local_types, local, NULL,
							 SPI_OK_INSERT);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(cozi_announce_changes);

/*
 * announce_changes(board regclass, topic text, per interval, via text, payload text,
 *					private boolean) -> void
 */
Datum
cozi_announce_changes(PG_FUNCTION_ARGS)
{
	Kept		kept;
	Announcement announcement = {0};
	char	   *obstacle;

	announcement.per = cozi_notify_interval(fcinfo, 2);
	announcement.counts = strcmp(word_of(fcinfo, 4, "payload", "wakeup", "counts"),
								 "counts") == 0;
	cozi_require_argument(fcinfo, 5, "private");
	read_key(fcinfo, 3, &kept, &announcement);
	PreventCommandIfReadOnly("announce_changes()");
	cozi_kept_refuse_old_snapshot("announce_changes");
	if (strcmp(announcement.via, "notify") == 0)
		cozi_check_channel(announcement.topic);
	else if (announcement.topic[0] == '\0' || strlen(announcement.topic) > MOST_TOPIC_BYTES)
		cozi_bad_value(psprintf("a topic must have 1 to %d bytes", MOST_TOPIC_BYTES),
					   "Name it as in supabase.channel().");
	(void) cozi_kept_lock(kept.id, true);
	/* it may have been dropped, or changed, while we waited */
	cozi_kept_get_own(PG_GETARG_OID(0), NULL, &kept);
	announcement.owner = cozi_relation_owner(kept.relation);
	announcement.begun = true;
	obstacle = cozi_announce_obstacle(&kept, &announcement);
	if (obstacle != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of \"%s\" cannot be announced", get_rel_name(kept.relation)),
				 errdetail("%s.", obstacle),
				 errhint("Mend that, then call cozi.announce_changes().")));
	check_room(&announcement);
	write_announcement(fcinfo, &kept, &announcement);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(cozi_drop_announcement);

/*
 * drop_announcement(board regclass, topic text, via text) -> void
 */
Datum
cozi_drop_announcement(PG_FUNCTION_ARGS)
{
	Kept		kept;
	Announcement announcement = {0};
	uint64		found;

	read_key(fcinfo, 2, &kept, &announcement);
	PreventCommandIfReadOnly("drop_announcement()");
	SPI_connect();
	found = cozi_announce_run("DELETE FROM {cozi}.announcement"
							  " WHERE kept = $1 AND via = $2 AND topic = $3",
							  &announcement, 0, NULL, NULL, NULL, SPI_OK_DELETE);
	SPI_finish();
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("\"%s\" is not announced on \"%s\"", get_rel_name(kept.relation),
						announcement.topic),
				 errhint("The view cozi.announcements lists what is announced.")));
	PG_RETURN_VOID();
}

/* What _announcements() returns, in its order. */
enum
{
	STATUS_BOARD, STATUS_TOPIC, STATUS_VIA, STATUS_PER, STATUS_PAYLOAD, STATUS_PRIVATE,
	STATUS_CHANGE, STATUS_SENT, STATUS_SENT_AT, STATUS_STATE, STATUS_LAST_ERROR,
	STATUS_RETRY_AT, STATUS_COLUMNS
};

static void
put_status(ReturnSetInfo *rsinfo, const Kept *kept, const Announcement *each)
{
	Datum		values[STATUS_COLUMNS] = {0};
	bool		nulls[STATUS_COLUMNS] = {false};
	Interval	per = {.time = each->per};
	char	   *obstacle = NULL;
	const char *error;

	/* a lock of its owner: what was written down will do */
	if (ConditionalLockRelationOid(kept->relation, AccessShareLock))
	{
		obstacle = cozi_announce_obstacle(kept, each);
		UnlockRelationOid(kept->relation, AccessShareLock);
	}
	error = obstacle ? obstacle : each->last_error;
	values[STATUS_BOARD] = ObjectIdGetDatum(kept->relation);
	values[STATUS_TOPIC] = CStringGetTextDatum(each->topic);
	values[STATUS_VIA] = CStringGetTextDatum(each->via);
	values[STATUS_PER] = IntervalPGetDatum(&per);
	values[STATUS_PAYLOAD] = CStringGetTextDatum(each->counts ? "counts" : "wakeup");
	values[STATUS_PRIVATE] = BoolGetDatum(each->is_private);
	values[STATUS_CHANGE] = Int64GetDatum(cozi_kept_last_change(kept->id, GetActiveSnapshot()));
	values[STATUS_SENT] = Int64GetDatum(each->sent);
	values[STATUS_SENT_AT] = TimestampTzGetDatum(each->sent_at);
	values[STATUS_STATE] = CStringGetTextDatum(obstacle ? "stopped" :
											   each->failures > 0 ? "failing" : "ok");
	values[STATUS_LAST_ERROR] = error ? CStringGetTextDatum(error) : (Datum) 0;
	values[STATUS_RETRY_AT] = TimestampTzGetDatum(each->retry_at);
	nulls[STATUS_SENT] = !each->begun;
	nulls[STATUS_SENT_AT] = each->sent_at == 0;
	nulls[STATUS_LAST_ERROR] = error == NULL;
	nulls[STATUS_RETRY_AT] = each->retry_at == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(cozi_list_announcements);

/*
 * _announcements() -> setof the rows of view announcements that the caller may see
 */
Datum
cozi_list_announcements(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, cozi_announcements())
	{
		Announcement *each = lfirst(lc);
		Kept		kept;

		if (cozi_kept_by_id(each->kept, &kept) && OidIsValid(kept.relation) &&
			get_rel_name(kept.relation) != NULL && cozi_kept_may_see(&kept))
			put_status(rsinfo, &kept, each);
	}
	return (Datum) 0;
}
