/*
 * analytics/read.c
 *		The users of an activity, put together in memory.
 *
 * An activity has a row per user and month.  Where its users are numbers or UUIDs, and
 * MAX_PASSES tables (users.h) hold them, they are put together here; else the executor
 * groups them, and may spill (question.c).
 *
 * Where no policy holds for the caller, and nothing is pending, the rows are read by a
 * sequential scan below SQL; else by SQL.  Either way as the caller, who was found to
 * have SELECT on all of it, and in the snapshot of the calling query.
 *
 * The law: nobody is visited before all rows are read, so that giving up is free.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "analytics/users.h"
#include "base/base.h"

#define MAX_PASSES		8

enum
{
	READ_USER, READ_MONTH, READ_DAYS, READ_COLUMNS
};

/* What receives the rows of a query. */
typedef struct Receiver
{
	DestReceiver pub;
	CoziUsers  *users;
}			Receiver;

/* A row, unless a column is NULL; false stops the query: the users do not fit. */
static bool
add_values(CoziUsers *users, const Datum *values, const bool *nulls)
{
	if (!nulls[READ_USER] && !nulls[READ_MONTH] && !nulls[READ_DAYS])
		cozi_users_add(users, values[READ_USER], DatumGetDateADT(values[READ_MONTH]),
					   DatumGetInt32(values[READ_DAYS]) & PG_INT32_MAX);
	return !users->full;
}

static bool
receive_row(TupleTableSlot *row, DestReceiver *self)
{
	slot_getallattrs(row);
	return add_values(((Receiver *) self)->users, row->tts_values, row->tts_isnull);
}

static void
read_by_sql(CoziUsers *users, const char *query, DateADT last)
{
	Oid			types[] = {DATEOID};
	SPIPlanPtr	plan = SPI_prepare(query, 1, types);
	Datum		values[] = {DateADTGetDatum(last)};
	Receiver	receiver = {.users = users};

	if (plan == NULL)
		elog(ERROR, "could not prepare: %s", query);
	cozi_init_receiver(&receiver.pub, receive_row);
	cozi_receive(plan, values, NULL, &receiver.pub);
	SPI_freeplan(plan);
}

/*
 * Where the columns are in an activity that is open, and so keeps its shape; false:
 * they are of other types.
 */
static bool
find_attributes(Relation rel, Oid type, AttrNumber *attnums)
{
	static const char *const names[] = {"user_id", "month", "days"};
	const Oid	types[] = {type, DATEOID, INT4OID};

	for (int i = 0; i < READ_COLUMNS; i++)
	{
		attnums[i] = get_attnum(RelationGetRelid(rel), names[i]);
		if (attnums[i] <= 0 || attnums[i] > RelationGetDescr(rel)->natts ||
			getBaseType(TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1)->atttypid) != types[i])
			return false;
	}
	return true;
}

/* The activity, open, if it may be read below SQL; else NULL. */
static Relation
open_directly(Oid activity, Oid type, AttrNumber *attnums)
{
	Relation	rel;

	if (!OidIsValid(activity))
		return NULL;
	rel = table_open(activity, AccessShareLock);
	if (check_enable_rls(activity, InvalidOid, true) != RLS_ENABLED &&
		!rel->rd_rel->relhassubclass && find_attributes(rel, type, attnums))
		return rel;
	table_close(rel, AccessShareLock);
	return NULL;
}

static void
read_directly(CoziUsers *users, Relation rel, const AttrNumber *attnums, DateADT last)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan_compat(rel, GetActiveSnapshot(), 0, NULL);
	bool		fits = true;

	while (fits && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Datum		values[READ_COLUMNS];
		bool		nulls[READ_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < READ_COLUMNS; i++)
			values[i] = slot_getattr(slot, attnums[i], &nulls[i]);
		if (DatumGetDateADT(values[READ_MONTH]) <= last)
			fits = add_values(users, values, nulls);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Visit the users of an activity, or of a query whose columns are user, month and
 * days, up to $1; activity is invalid: it must be the query.  False: there are too
 * many, and none was visited.  SPI is connected.
 */
bool
cozi_visit_in_memory(Oid activity, const char *query, Oid type, DateADT first, DateADT last,
					 CoziVisitUser visit, void *arg)
{
	CoziUsers	users;
	AttrNumber	attnums[READ_COLUMNS];
	Relation	rel;

	if (!cozi_users_can_be(type))
		return false;
	cozi_users_init(&users, type, first, last - first + 1, MAX_PASSES);
	rel = open_directly(activity, type, attnums);
	for (uint64 from = 0; from <= PG_UINT32_MAX && !users.full; from = (uint64) users.to + 1)
	{
		/* rows are of users, who have a few each */
		cozi_users_begin(&users, (uint32) from, rel ? rel->rd_rel->reltuples / 2 : 0);
		if (rel != NULL)
			read_directly(&users, rel, attnums, last);
		else
			read_by_sql(&users, query, last);
		cozi_users_flush(&users);
		if (!users.full)
			cozi_users_visit(&users, visit, arg);
	}
	pfree(users.slots);
	if (rel != NULL)
		table_close(rel, NoLock);
	return !users.full;
}
