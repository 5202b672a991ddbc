/*
 * sharding/owner.c
 *		run_as_owner(): statements of a printed plan, with the table's owner's rights.
 *
 * A plan is mostly run by a superuser, because subscriptions and slots are made
 * by one.  The table is somebody else's, whose triggers, checks and expressions
 * would run with the superuser's rights.
 *
 * The law: whatever the statements set off has run when this returns.  What is
 * deferred would run at the commit, as the caller, and the server refuses it in
 * a restricted operation; so in this transaction nothing is deferred.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/base.h"

/* run_as_owner(rel regclass, statement text) -> text */
PG_FUNCTION_INFO_V1(cozi_run_as_owner);
Datum
cozi_run_as_owner(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	text	   *answer = NULL;
	char	   *statement;
	CoziSavedUser saved;
	Oid			relid;
	int			code;

	cozi_require_argument(fcinfo, 0, "rel");
	cozi_require_argument(fcinfo, 1, "statement");
	relid = PG_GETARG_OID(0);
	statement = text_to_cstring(PG_GETARG_TEXT_PP(1));
	cozi_require_owner(relid);
	SPI_connect();
	SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0);
	cozi_switch_to_owner(relid, &saved);
	code = SPI_execute(statement, false, 0);
	if (code < 0)
		elog(ERROR, "could not run as owner: %s", SPI_result_code_string(code));
	if (SPI_tuptable != NULL && SPI_tuptable->numvals > 0)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		answer = value ? cstring_to_text(value) : NULL;
		MemoryContextSwitchTo(spi);
	}
	cozi_restore_user(&saved);
	SPI_finish();
	if (answer == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(answer);
}
