/*
 * kept/write.c
 *		Writing the list of kept tables, as the owner of the extension.
 *
 * The law: a change of the list reaches all sessions, by a trigger on cozi.kept;
 * a change of what is counted is made under a lock that keeps writers out.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "kept/kept.h"

/* A statement on our own tables, as their owner. */
static void
execute(const char *template, int nargs, Oid *types, Datum *values, const char *nulls)
{
	CoziSavedUser saved;
	char	   *sql = cozi_statement(template,
									 "schema", cozi_schema_name(),
									 NULL);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_switch_user(cozi_relation_owner(cozi_table("kept")), SECURITY_RESTRICTED_OPERATION,
					 &saved);
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not execute: %s", sql);
	cozi_restore_user(&saved);
	SPI_finish();
	CommandCounterIncrement();
}

/* Every session forgets what it knows about the sources and their leaves. */
void
cozi_kept_changed(const Kept *kept)
{
	ListCell   *each;
	ListCell   *lc;

	foreach(each, cozi_kept_sources(kept))
	{
		Oid			source = ((Kept *) lfirst(each))->source;

		if (!OidIsValid(source) || get_rel_name(source) == NULL)
			continue;
		foreach(lc, cozi_kept_tree(source, false))
			CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
	CacheInvalidateRelcacheByRelid(cozi_table("kept"));
}

/* A number that no kept table has, nor any in a dump that is likely to come. */
int32
cozi_kept_new_id(void)
{
	int32		id;
	Kept		kept;

	do
		id = (int32) (pg_prng_uint32(&pg_global_prng_state) & PG_INT32_MAX);
	while (id == 0 || cozi_kept_by_id(id, &kept));
	return id;
}

static Datum
name_datum(Oid relid, char *null)
{
	char	   *name = get_rel_name(relid);
	char	   *namespace = get_namespace_name(get_rel_namespace(relid));

	*null = name == NULL || namespace == NULL ? 'n' : ' ';
	return *null == 'n' ? (Datum) 0 :
		CStringGetTextDatum(quote_qualified_identifier(namespace, name));
}

/* Write the row of cozi.kept. */
void
cozi_kept_write(const Kept *kept, bool insert)
{
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NAMEOID, NAMEOID,
		NAMEOID, NAMEOID, NAMEOID, NAMEOID, INTERVALOID, FLOAT8OID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, BOOLOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];
	bool		has_tracked = get_attnum(cozi_table("kept"), "tracked") > 0;

	if (kept->tracked && !has_tracked)
		cozi_refuse_unknown("kept", false);
	memset(nulls, ' ', sizeof(nulls));
	nulls[lengthof(types)] = '\0';
	values[KEPT_ID - 1] = Int32GetDatum(kept->id);
	values[KEPT_KIND - 1] = CStringGetTextDatum(kept->kind->name);
	values[KEPT_RELATION - 1] = name_datum(kept->relation, &nulls[KEPT_RELATION - 1]);
	values[KEPT_LIVE - 1] = name_datum(kept->live, &nulls[KEPT_LIVE - 1]);
	values[KEPT_SOURCE - 1] = name_datum(kept->source, &nulls[KEPT_SOURCE - 1]);
	for (int role = 0; role < KEPT_ROLES; role++)
	{
		values[KEPT_FIRST_ROLE - 1 + role] = NameGetDatum(&kept->columns[role]);
		if (!kept_has(kept, role))
			nulls[KEPT_FIRST_ROLE - 1 + role] = 'n';
	}
	values[KEPT_HALF_LIFE - 1] = IntervalPGetDatum(&kept->half_life);
	if (kept->half_life_us == 0)
		nulls[KEPT_HALF_LIFE - 1] = nulls[KEPT_DOWN_WEIGHT - 1] = 'n';
	values[KEPT_DOWN_WEIGHT - 1] = Float8GetDatum(kept->down_weight);
	values[KEPT_BROKEN - 1] = kept->broken ? CStringGetTextDatum(kept->broken) : (Datum) 0;
	if (kept->broken == NULL)
		nulls[KEPT_BROKEN - 1] = 'n';
	values[KEPT_TIME_ZONE - 1] = kept->time_zone ? CStringGetTextDatum(kept->time_zone) :
		(Datum) 0;
	if (kept->time_zone == NULL)
		nulls[KEPT_TIME_ZONE - 1] = 'n';
	values[KEPT_CLOSED - 1] = TimestampTzGetDatum(kept->closed);
	if (!kept->has_closed)
		nulls[KEPT_CLOSED - 1] = 'n';
	values[KEPT_TRACKED - 1] = BoolGetDatum(kept->tracked);

	execute(cozi_statement(insert ?
						   "INSERT INTO {schema}.kept VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,"
						   " $10, $11, $12, $13, $14, $15, $16{tracked})" :
						   "UPDATE {schema}.kept SET kind = $2, relation = coalesce($3, relation),"
						   " live = $4, source = coalesce($5, source), scope = $6, item = $7,"
						   " value = $8, at = $9, counted = $10, who = $11, half_life = $12,"
						   " down_weight = $13, broken = $14, time_zone = $15,"
						   " closed = $16{tracked} WHERE id = $1",
						   "schema", cozi_schema_name(),
						   "tracked", !has_tracked ? "" : insert ? ", $17" : ", tracked = $17",
						   NULL), lengthof(types), types, values, nulls);
	cozi_kept_changed(kept);
}

/* Write the row of a source beside the first. */
void
cozi_kept_write_source(const Kept *source, bool insert)
{
	static const KeptRole roles[] = {KEPT_SCOPE, KEPT_ITEM, KEPT_VALUE, KEPT_AT};
	Oid			types[] = {INT4OID, INT4OID, TEXTOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID,
	FLOAT8OID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];

	memset(nulls, ' ', sizeof(nulls));
	nulls[lengthof(types)] = '\0';
	values[SOURCE_KEPT - 1] = Int32GetDatum(source->id);
	values[SOURCE_NTH - 1] = Int32GetDatum(source->nth);
	values[SOURCE_RELATION - 1] = name_datum(source->source, &nulls[SOURCE_RELATION - 1]);
	for (int i = 0; i < lengthof(roles); i++)
	{
		values[SOURCE_FIRST_COLUMN - 1 + i] = NameGetDatum(&source->columns[roles[i]]);
		if (!kept_has(source, roles[i]))
			nulls[SOURCE_FIRST_COLUMN - 1 + i] = 'n';
	}
	values[SOURCE_FACTOR - 1] = Float8GetDatum(source->factor);
	execute(insert ?
			"INSERT INTO {schema}.kept_source VALUES ($1, $2, $3, $4, $5, $6, $7, $8)" :
			"UPDATE {schema}.kept_source SET source = coalesce($3, source), scope = $4,"
			" item = $5, value = $6, at = $7, factor = $8 WHERE kept = $1 AND nth = $2",
			lengthof(types), types, values, nulls);
	cozi_kept_changed(source);
}

/* Delete the row of a source beside the first. */
void
cozi_kept_forget_source(const Kept *source)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(source->id), Int32GetDatum(source->nth)};

	cozi_kept_changed(source);
	execute("DELETE FROM {schema}.kept_source WHERE kept = $1 AND nth = $2", 2, types, values,
			NULL);
	execute("DELETE FROM {schema}.kept_source_local WHERE kept = $1 AND nth = $2", 2, types,
			values, NULL);
}

/* The OIDs of the sources beside the first. */
static void
adopt_sources(const Kept *kept)
{
	Oid			types[] = {INT4OID, INT4OID, OIDOID};
	ListCell   *lc;

	foreach(lc, kept->sources)
	{
		const Kept *source = lfirst(lc);
		Datum		values[] = {Int32GetDatum(kept->id), Int32GetDatum(source->nth),
		ObjectIdGetDatum(source->source)};

		if (source->nth > 0 && OidIsValid(source->source))
			execute("INSERT INTO {schema}.kept_source_local VALUES ($1, $2, $3)"
					" ON CONFLICT (kept, nth) DO UPDATE SET source = $3",
					lengthof(types), types, values, NULL);
	}
}

/* Its OIDs are what the names mean in this database, and its owner was looked at. */
void
cozi_kept_adopt(Kept *kept)
{
	Oid			types[] = {INT4OID, OIDOID, OIDOID, OIDOID, OIDOID};
	Datum		values[lengthof(types)];

	kept->owner = cozi_relation_owner(kept->relation);
	values[0] = Int32GetDatum(kept->id);
	values[1] = ObjectIdGetDatum(kept->relation);
	values[2] = ObjectIdGetDatum(kept->live);
	values[3] = ObjectIdGetDatum(kept->source);
	values[4] = ObjectIdGetDatum(kept->owner);
	execute("INSERT INTO {schema}.kept_local AS l (id, relation, live, source, owner)"
			" VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET"
			" relation = $2, live = $3, source = $4, owner = $5",
			lengthof(types), types, values, NULL);
	adopt_sources(kept);
	if (!kept->adopted && kept->tracked)
		cozi_kept_new_era(kept);
	kept->adopted = true;
	cozi_kept_changed(kept);
}

/* No change number that was given before means anything from now on. */
void
cozi_kept_new_era(const Kept *kept)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(kept->id),
	Int64GetDatum((int64) (pg_prng_uint64(&pg_global_prng_state) >> 1) | 1)};

	execute("UPDATE {schema}.kept_local SET era = $2 WHERE id = $1", lengthof(types), types,
			values, NULL);
}

/* Delete everything that we have of a kept table. */
void
cozi_kept_forget(const Kept *kept)
{
	static const char *const tables[] = {"kept_state", "kept_state_unlogged", "kept_delta",
	"kept_delta_unlogged", "kept_aside", "kept_hidden", "kept_change"};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(kept->id)};

	for (int i = 0; i < lengthof(tables); i++)
	{
		cozi_kept_delete_rows(tables[i], kept->id);
		cozi_kept_delete_rows(tables[i], -kept->id);
	}
	execute("DELETE FROM {schema}.kept_source_local WHERE kept = $1", 1, types, values, NULL);
	execute("DELETE FROM {schema}.kept_source WHERE kept = $1", 1, types, values, NULL);
	execute("DELETE FROM {schema}.kept_local WHERE id = $1", 1, types, values, NULL);
	execute("DELETE FROM {schema}.kept WHERE id = $1", 1, types, values, NULL);
	CacheInvalidateRelcacheByRelid(cozi_table("kept"));
}

/* Forget what a dump has brought beside a kept table that was here already. */
void
cozi_kept_forget_doubles(const Kept *kept)
{
	ListCell   *lc;

	foreach(lc, cozi_kept_all_and_doubles())
	{
		Kept	   *other = lfirst(lc);

		if (!other->adopted && other->id != kept->id && other->relation == kept->relation)
			cozi_kept_forget(other);
	}
}

/* It may no longer equal its source; NULL: it does. */
void
cozi_kept_set_broken(const Kept *kept, const char *reason)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(kept->id),
	reason ? CStringGetTextDatum(reason) : (Datum) 0};

	execute("UPDATE {schema}.kept SET broken = $2 WHERE id = $1"
			" AND broken IS DISTINCT FROM $2",
			lengthof(types), types, values, reason ? "  " : " n");
}

/* A fold went well (error NULL), or did not. */
void
cozi_kept_note(const Kept *kept, TimestampTz folded, const char *error)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID, TEXTOID};
	Datum		values[] = {Int32GetDatum(kept->id), TimestampTzGetDatum(folded),
	error ? CStringGetTextDatum(error) : (Datum) 0};

	execute(error == NULL ?
			"UPDATE {schema}.kept_local SET last_fold = $2, last_error = NULL,"
			" stalled_since = NULL WHERE id = $1" :
			"UPDATE {schema}.kept_local SET last_error = $3,"
			" stalled_since = coalesce(stalled_since, $2) WHERE id = $1",
			lengthof(types), types, values, error ? "   " : "  n");
}
