/*
 * kept/status.c
 *		What the views say of a kept table.
 *
 * The law: a kept table that cannot be read is a row that says so, never an
 * error, and no lock of an owner makes a view wait.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "kept/kept.h"

/* The result of _kept_status(), in its order. */
enum
{
	STATUS_RELATION, STATUS_SOURCE, STATUS_LIVE, STATUS_PENDING, STATUS_OLDEST, STATUS_FUTURE,
	STATUS_LAST_FOLD, STATUS_STATE, STATUS_LAST_ERROR, STATUS_STALLED_SINCE, STATUS_SET_ASIDE,
	STATUS_COLUMNS
};

static void
put_oid(Datum *values, bool *nulls, int column, Oid relid)
{
	values[column] = ObjectIdGetDatum(relid);
	nulls[column] = !OidIsValid(relid) || get_rel_name(relid) == NULL;
}

static void
put_instant(Datum *values, bool *nulls, int column, TimestampTz at)
{
	values[column] = TimestampTzGetDatum(at);
	nulls[column] = at == 0;
}

/* A standby has no rows of an unlogged source, and none that count them. */
static bool
is_elsewhere(const Kept *kept)
{
	return RecoveryInProgress() && cozi_kept_is_unlogged(kept->source);
}

/* ok, stalled or broken, and why; NULL: there is nothing to say. */
static char *
state_and_error(const Kept *kept, const KeptLocal *local, int64 asides, const char *example,
				char **error)
{
	char	   *state = "ok";
	char	   *misfit = NULL;

	*error = local->last_error;

	/* a lock of its owner: what the last fold said will do */
	if (ConditionalLockRelationOid(kept->relation, AccessShareLock))
	{
		misfit = cozi_kept_misfit(kept);
		UnlockRelationOid(kept->relation, AccessShareLock);
	}
	if (misfit != NULL)
		*error = psprintf("%s. Undo that, then call cozi.fold().", misfit);
	if (misfit != NULL || local->stalled_since != 0)
		state = "stalled";
	else if (kept->broken != NULL)
	{
		state = "broken";
		*error = psprintf("%s; call cozi.rebuild_%s().", kept->broken, kept->kind->name);
	}
	else if (asides > 0)
		*error = psprintf(INT64_FORMAT " set aside: %s; mend that and call cozi.rebuild_%s().",
						  asides, example, kept->kind->name);
	else if (is_elsewhere(kept))
		*error = pstrdup("its source is unlogged, and a standby has none of its rows.");
	return state;
}

static void
put_state(const Kept *kept, const KeptLocal *local, Datum *values, bool *nulls)
{
	char	   *example = NULL;
	int64		asides = cozi_kept_asides(kept, &example);
	char	   *error;
	char	   *state = state_and_error(kept, local, asides, example, &error);

	values[STATUS_STATE] = CStringGetTextDatum(state);
	nulls[STATUS_LAST_ERROR] = error == NULL;
	values[STATUS_LAST_ERROR] = error ? CStringGetTextDatum(error) : (Datum) 0;
	values[STATUS_SET_ASIDE] = Int64GetDatum(asides);
}

PG_FUNCTION_INFO_V1(cozi_kept_status);

/*
 * _kept_status(id int) -> one row; none for a kept table that is not the
 * caller's, unless the caller is in pg_monitor
 */
Datum
cozi_kept_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[STATUS_COLUMNS] = {0};
	bool		nulls[STATUS_COLUMNS] = {false};
	Kept		kept;
	KeptLocal	local;
	KeptCounts	counts = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_kept_by_id(PG_GETARG_INT32(0), &kept) || !cozi_kept_may_see(&kept))
		return (Datum) 0;
	(void) cozi_kept_local(kept.id, &local);
	put_oid(values, nulls, STATUS_RELATION, kept.relation);
	put_oid(values, nulls, STATUS_SOURCE, kept.source);
	put_oid(values, nulls, STATUS_LIVE, kept.live);
	if (nulls[STATUS_RELATION] || nulls[STATUS_SOURCE])
	{
		memset(nulls, true, sizeof(nulls));
		nulls[STATUS_STATE] = nulls[STATUS_LAST_ERROR] = false;
		values[STATUS_STATE] = CStringGetTextDatum("broken");
		values[STATUS_LAST_ERROR] =
			CStringGetTextDatum("its tables are not in this database; drop what is left of them.");
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		return (Datum) 0;
	}
	nulls[STATUS_PENDING] = nulls[STATUS_FUTURE] = is_elsewhere(&kept);
	if (!nulls[STATUS_PENDING])
		cozi_kept_count(&kept, &counts);
	values[STATUS_PENDING] = Int64GetDatum(counts.pending);
	put_instant(values, nulls, STATUS_OLDEST, counts.oldest);
	values[STATUS_FUTURE] = Int64GetDatum(counts.future);
	put_instant(values, nulls, STATUS_LAST_FOLD, local.last_fold);
	put_instant(values, nulls, STATUS_STALLED_SINCE, local.stalled_since);
	put_state(&kept, &local, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_kept_state_now);

/*
 * _kept_state(id int) -> one row (relation regclass, state text, last_error text),
 * without looking at what is pending; none where _kept_status() has none
 */
Datum
cozi_kept_state_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};
	char	   *error = NULL;
	Kept		kept;
	KeptLocal	local;

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_kept_by_id(PG_GETARG_INT32(0), &kept) || !cozi_kept_may_see(&kept))
		return (Datum) 0;
	(void) cozi_kept_local(kept.id, &local);
	put_oid(values, nulls, 0, kept.relation);
	if (nulls[0] || get_rel_name(kept.source) == NULL)
		return (Datum) 0;
	values[1] = CStringGetTextDatum(state_and_error(&kept, &local, 0, NULL, &error));
	nulls[2] = error == NULL;
	values[2] = error ? CStringGetTextDatum(error) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}
