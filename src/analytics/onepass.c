/*
 * analytics/onepass.c
 *		retention_of_events(): the retention of raw events, in one pass.
 *
 * The matrix is that of retention_matrix() over the masks of activity_days().  Those
 * are a group of the executor for each user; here all users are in one table
 * (users.h), which is less than half of the work.
 *
 * The law: the table takes at most what a hash table of the executor may, and then
 * says so; it cannot spill.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"

#include "analytics/matrix.h"
#include "analytics/users.h"

/* The state: bit 1 + n of a user is the day n days after the anchor. */
typedef struct OnePass
{
	Oid			type;
	int32		periods;
	CoziUsers	users;
} OnePass;

/* What all rows say. */
typedef struct OnePassArgs
{
	DateADT		anchor;
	int32		periods;
	int32		complete;
} OnePassArgs;

static OnePass *
new_pass(MemoryContext context, Oid type, const OnePassArgs *args, double expected)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	OnePass    *pass = palloc(sizeof(OnePass));

	pass->type = type;
	pass->periods = args->periods;
	cozi_users_init(&pass->users, type, args->anchor, args->complete, 1);
	cozi_users_begin(&pass->users, 0, expected);
	MemoryContextSwitchTo(caller);
	return pass;
}

static OnePass *
start_pass(FunctionCallInfo fcinfo, MemoryContext context, const OnePassArgs *args)
{
	Oid			type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 1));

	if (!cozi_users_can_be(type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("users of type %s cannot be counted in one pass", format_type_be(type)),
				 errhint("Their type must be int, bigint or uuid; for others use"
						 " cozi.activity_days() and cozi.retention_matrix().")));
	if (DATE_NOT_FINITE(args->anchor))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("anchor must be finite")));
	cozi_matrix_check(args->periods, args->complete);
	return new_pass(context, type, args, 0);
}

static void
check_fits(const OnePass *pass)
{
	if (pass->users.full)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("the users do not fit into the memory of a hash table"),
				 errhint("Raise work_mem or hash_mem_multiplier, or use cozi.activity_days() and"
						 " cozi.retention_matrix(), which can spill.")));
}

static bool
same_question(const OnePass *pass, const OnePassArgs *args)
{
	return pass->users.first == args->anchor && pass->periods == args->periods &&
		pass->users.ndays == args->complete;
}

PG_FUNCTION_INFO_V1(cozi_retention_of_events_add);

/*
 * _retention_of_events_add(internal, user_id anynonarray, day date, anchor date,
 *							periods int, complete int) -> internal
 *
 * A NULL user or day, and days out of the matrix, are left out.
 */
Datum
cozi_retention_of_events_add(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"anchor", "periods", "complete"};
	OnePass    *pass = PG_ARGISNULL(0) ? NULL : (OnePass *) PG_GETARG_POINTER(0);
	OnePassArgs args;
	DateADT		day;

	for (int i = 0; i < lengthof(required); i++)
		cozi_require_argument(fcinfo, i + 3, required[i]);
	args.anchor = PG_GETARG_DATEADT(3);
	args.periods = PG_GETARG_INT32(4);
	args.complete = PG_GETARG_INT32(5);
	if (pass == NULL)
		pass = start_pass(fcinfo, cozi_aggregate_context(fcinfo), &args);
	if (!same_question(pass, &args))
		cozi_bad_value("anchor, periods and complete must be the same in all rows",
					   "Group by what differs.");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(pass);
	day = PG_GETARG_DATEADT(2);
	if (day < args.anchor || (int64) day - args.anchor >= args.complete)
		PG_RETURN_POINTER(pass);
	cozi_users_add(&pass->users, PG_GETARG_DATUM(1), day, 1);
	check_fits(pass);
	PG_RETURN_POINTER(pass);
}

PG_FUNCTION_INFO_V1(cozi_retention_of_events_combine);

/* _retention_of_events_combine(internal, internal) -> internal */
Datum
cozi_retention_of_events_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = cozi_aggregate_context(fcinfo);
	OnePass    *pass = PG_ARGISNULL(0) ? NULL : (OnePass *) PG_GETARG_POINTER(0);
	OnePass    *other = PG_ARGISNULL(1) ? NULL : (OnePass *) PG_GETARG_POINTER(1);
	OnePassArgs args;

	if (other == NULL)
	{
		if (pass == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(pass);
	}
	args.anchor = other->users.first;
	args.periods = other->periods;
	args.complete = other->users.ndays;
	if (pass == NULL)
		pass = new_pass(context, other->type, &args, other->users.nusers);
	if (!same_question(pass, &args))
		cozi_bad_value("anchor, periods and complete must be the same in all rows",
					   "Group by what differs.");
	cozi_users_flush(&pass->users);
	cozi_users_flush(&other->users);
	cozi_users_merge(&pass->users, other->users.slots, other->users.nslots);
	check_fits(pass);
	PG_RETURN_POINTER(pass);
}

PG_FUNCTION_INFO_V1(cozi_retention_of_events_serialize);

/* _retention_of_events_serialize(internal) -> bytea, for a process of this server */
Datum
cozi_retention_of_events_serialize(PG_FUNCTION_ARGS)
{
	OnePass    *pass = (OnePass *) PG_GETARG_POINTER(0);
	CoziUsers  *users = &pass->users;
	StringInfoData buf;

	(void) cozi_aggregate_context(fcinfo);
	cozi_users_flush(users);
	check_fits(pass);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, pass->type);
	pq_sendint32(&buf, pass->periods);
	pq_sendint32(&buf, users->first);
	pq_sendint32(&buf, users->ndays);
	pq_sendint32(&buf, users->nusers);
	for (uint32 i = 0; i < users->nslots; i++)
	{
		const char *slot = users->slots + (Size) i * users->slot_size;

		if (cozi_users_slot_is_taken(users, slot))
			pq_sendbytes(&buf, slot, (int) users->slot_size);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(cozi_retention_of_events_deserialize);

/* _retention_of_events_deserialize(bytea, internal) -> internal */
Datum
cozi_retention_of_events_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	OnePassArgs args;
	OnePass    *pass;
	Oid			type;
	uint32		nusers;

	(void) cozi_aggregate_context(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	type = pq_getmsgint(&buf, 4);
	args.periods = pq_getmsgint(&buf, 4);
	args.anchor = pq_getmsgint(&buf, 4);
	args.complete = pq_getmsgint(&buf, 4);
	nusers = pq_getmsgint(&buf, 4);
	if (!cozi_users_can_be(type))
		elog(ERROR, "malformed state of retention_of_events");
	cozi_matrix_check(args.periods, args.complete);
	pass = new_pass(CurrentMemoryContext, type, &args, nusers);
	cozi_users_merge(&pass->users,
					 pq_getmsgbytes(&buf, (int) (nusers * pass->users.slot_size)), nusers);
	pq_getmsgend(&buf);
	check_fits(pass);
	pfree(buf.data);
	PG_RETURN_POINTER(pass);
}

static void
add_to_matrix(const CoziUser *user, void *arg)
{
	CoziWalk	walk;
	int			first = cozi_first_day(user, &walk);

	/* bit 0 is never set: days before the anchor are left out */
	for (int bit = first; bit > 0; bit = cozi_next_day(user, &walk))
		cozi_matrix_add(arg, first - 1, bit - first);
}

PG_FUNCTION_INFO_V1(cozi_retention_of_events_cells);

/* _retention_of_events_cells(internal) -> bigint[]; of no rows, NULL */
Datum
cozi_retention_of_events_cells(PG_FUNCTION_ARGS)
{
	OnePass    *pass = PG_ARGISNULL(0) ? NULL : (OnePass *) PG_GETARG_POINTER(0);
	CoziMatrix *matrix;

	(void) cozi_aggregate_context(fcinfo);
	if (pass == NULL)
		PG_RETURN_NULL();
	matrix = cozi_matrix_new(CurrentMemoryContext, pass->periods, pass->users.ndays);
	cozi_users_visit(&pass->users, add_to_matrix, matrix);
	check_fits(pass);
	PG_RETURN_DATUM(cozi_matrix_cells(matrix));
}
