/*
 * policy/keep_owner.c
 *		The trigger that keeps a row with its owner.
 *
 * A moderator may change rows of others, and a policy sees the new row only; so
 * BEFORE UPDATE OF the owner column a row's owner must not have changed.  The
 * trigger holds for callers under row security whom the role lets in: owners of
 * the table, superusers and the owner's own policies stay free.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/base.h"
#include "identity/identity.h"
#include "policy/policy.h"

static bool
same_owner(TriggerData *trigger, AttrNumber column)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Form_pg_attribute att = TupleDescAttr(desc, column - 1);
	bool		old_null,
				new_null;
	Datum		old = heap_getattr(trigger->tg_trigtuple, column, desc, &old_null);
	Datum		new = heap_getattr(trigger->tg_newtuple, column, desc, &new_null);

	if (old_null || new_null)
		return old_null == new_null;
	return datum_image_eq(old, new, att->attbyval, att->attlen);
}

PG_FUNCTION_INFO_V1(cozi_keep_owner);

/* _keep_owner(role) -> trigger: BEFORE UPDATE OF owner, FOR EACH ROW */
Datum
cozi_keep_owner(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		trigger->tg_trigger->tgnattr != 1 || trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"_keep_owner\" must be called BEFORE UPDATE OF one column, "
						"for each row, with a role")));
	if (!same_owner(trigger, trigger->tg_trigger->tgattr[0]) &&
		check_enable_rls(RelationGetRelid(trigger->tg_relation), InvalidOid, true) == RLS_ENABLED &&
		cozi_caller_has_role(trigger->tg_trigger->tgargs[0]))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not give a row of table \"%s\" to another owner",
						trigger->tg_trigger->tgargs[0],
						RelationGetRelationName(trigger->tg_relation)),
				 errhint("Leave the owner column as it is; the table's owner may change it.")));
	return PointerGetDatum(trigger->tg_newtuple);
}
