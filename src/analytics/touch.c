/*
 * analytics/touch.c
 *		touch_activity(): a user is active, in an app that writes no events.
 *
 * A touch is a row of the activity's first source, so that it is counted, dumped,
 * verified and rebuilt like every event.  Where the state has that user's day
 * already, the row is not written: one row per user and day, and no lock.
 *
 * The law: the row is written as the caller, under the caller's policies.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "analytics/analytics.h"

/* May the caller insert these two columns?  The answer is the same on every day. */
static void
check_insert(const Kept *activity)
{
	static const KeptRole roles[] = {KEPT_ITEM, KEPT_AT};

	if (pg_class_aclcheck(activity->source, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		return;
	for (int i = 0; i < lengthof(roles); i++)
	{
		AttrNumber	attnum = get_attnum(activity->source, NameStr(activity->columns[roles[i]]));

		if (pg_attribute_aclcheck(activity->source, attnum, GetUserId(),
								  ACL_INSERT) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(activity->source));
	}
}

/* Has the state an event of this user on the day of the instant? */
static bool
is_touched(const Kept *activity, const char *user, TimestampTz at)
{
	KeptSums   *sums = cozi_kept_sums(activity, CurrentMemoryContext);
	KeptStore  *store = cozi_kept_open(activity, false);
	KeptKey		key = {.item = user};
	bytea	   *stored = NULL;

	key.scope = activity->kind->scope_of(activity, at);
	if (key.scope != NULL)
	{
		cozi_kept_hash_key(sums, &key);
		stored = cozi_kept_state(store, sums, GetActiveSnapshot(), &key);
	}
	cozi_kept_close(store);
	return stored != NULL && cozi_days_have(activity, stored, at);
}

/* The user's text as the column of the source writes it: '07' is the bigint 7. */
static char *
user_text(const Kept *activity, char *text)
{
	Oid			type = getBaseType(get_atttype(activity->relation,
											   get_attnum(activity->relation, "user_id")));
	Oid			input;
	Oid			ioparam;
	Oid			output;
	bool		varlena;

	getTypeInputInfo(type, &input, &ioparam);
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, OidInputFunctionCall(input, text, ioparam, -1));
}

/* The instant as the column of the source holds it: times without a zone are UTC. */
static const char *
instant_in_sql(const Kept *activity)
{
	AttrNumber	attnum = get_attnum(activity->source, NameStr(activity->columns[KEPT_AT]));

	switch (getBaseType(get_atttype(activity->source, attnum)))
	{
		case TIMESTAMPOID:
			return "$2 AT TIME ZONE 'UTC'";
		case DATEOID:
			return "($2 AT TIME ZONE 'UTC')::pg_catalog.date";
		default:
			return "$2";
	}
}

static void
insert_event(const Kept *activity, const char *user, TimestampTz at)
{
	Oid			types[] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[] = {CStringGetTextDatum(user), TimestampTzGetDatum(at)};
	char	   *sql = cozi_statement("INSERT INTO {events} ({user}, {at})"
									 " VALUES ($1::{type}, {instant})",
									 "events", cozi_qualified_name(activity->source),
									 "user", quote_identifier(NameStr(activity->columns[KEPT_ITEM])),
									 "at", quote_identifier(NameStr(activity->columns[KEPT_AT])),
									 "type", cozi_kept_column_type(activity->relation, "user_id"),
									 "instant", instant_in_sql(activity), NULL);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, 2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write \"%s\"", get_rel_name(activity->source));
	SPI_finish();
}

PG_FUNCTION_INFO_V1(cozi_touch_activity);

/*
 * touch_activity(activity regclass, user_id uuid | bigint | text, at timestamptz)
 *		-> void
 */
Datum
cozi_touch_activity(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"activity", "user_id", "at"};
	Kept		activity;
	Oid			output;
	bool		varlena;
	char	   *user;
	char	   *misfit;
	TimestampTz at;

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i, required[i]);
	cozi_kept_get(PG_GETARG_OID(0), "activity", &activity);
	at = PG_GETARG_TIMESTAMPTZ(2);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("instant must be finite")));
	misfit = cozi_kept_misfit(&activity);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be touched: %s", get_rel_name(activity.relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_activity().")));
	check_insert(&activity);
	getTypeOutputInfo(get_fn_expr_argtype(fcinfo->flinfo, 1), &output, &varlena);
	user = user_text(&activity, OidOutputFunctionCall(output, PG_GETARG_DATUM(1)));
	if (!is_touched(&activity, user, at))
		insert_event(&activity, user, at);
	PG_RETURN_VOID();
}
