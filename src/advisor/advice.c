/*
 * advisor/advice.c
 *		Findings, for those who may see them.
 *
 * The views of sql/advisor/ read catalogs that are closed to most, so the
 * extension's owner reads them.  The caller is given all rows if they monitor,
 * else the rows about their own tables.
 *
 * The queries are long and their rows few: compiling them would take ten times
 * as long as running them, so jit is off while they run.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/base.h"

/* What may be asked for: nothing but these. */
static const struct
{
	const char *view;
	const char *columns;
}			known[] =

{
	{"_policy_findings", "level, code, relation, policy, role, command, evidence, fix_sql, object"},
	{"_missing", "relation, method, definition, queryids, calls, ms_per_day, evidence, fix_sql"},
	{"_advice", "level, code, object, what, why, evidence, bytes, fix_sql, "
	"waived_by, waived_because, waived_until, ms_per_day"}
};

/* Making a plan takes longer than running it, so a session keeps it. */
static SPIPlanPtr
plan_of(const char *view)
{
	Oid			types[] = {BOOLOID, OIDOID};

	for (int i = 0; i < lengthof(known); i++)
		if (strcmp(view, known[i].view) == 0)
			return cozi_plan(cozi_statement("SELECT {columns} FROM cozi.{view} f "
											"WHERE $1 OR f.relation::oid IN "
											"(SELECT c.oid FROM pg_class c "
											"WHERE pg_has_role($2, c.relowner, 'USAGE'))",
											"columns", known[i].columns, "view", known[i].view,
											NULL),
							 2, types, CURSOR_OPT_GENERIC_PLAN);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there are no findings \"%s\"", view)));
}

PG_FUNCTION_INFO_V1(cozi_findings_of);

/* _findings_of(view text) -> setof record */
Datum
cozi_findings_of(PG_FUNCTION_ARGS)
{
	Datum		values[2];
	CoziSavedUser saved;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	values[0] = BoolGetDatum(has_privs_of_role(GetUserId(), ROLE_PG_MONITOR));
	values[1] = ObjectIdGetDatum(GetUserId());
	cozi_switch_user(cozi_relation_owner(cozi_table("_advice")), SECURITY_RESTRICTED_OPERATION,
					 &saved);
	cozi_set_locally("jit", "off");
	SPI_connect();
	if (SPI_execute_plan(plan_of(text_to_cstring(PG_GETARG_TEXT_PP(0))), values, NULL,
						 true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the findings");
	cozi_return_rows(fcinfo);
	SPI_finish();
	cozi_restore_user(&saved);
	return (Datum) 0;
}
