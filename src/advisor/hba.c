/*
 * advisor/hba.c
 *		The lines of pg_hba.conf, for those who monitor.
 *
 * The server shows its file to superusers alone.  A member of pg_monitor is
 * told the line, its kind and its method; nobody else is told anything.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "base/base.h"

PG_FUNCTION_INFO_V1(cozi_hba_lines);

/* _hba_lines() -> setof (line, kind, address, method) */
Datum
cozi_hba_lines(PG_FUNCTION_ARGS)
{
	CoziSavedUser saved;

	InitMaterializedSRF(fcinfo, 0);
	if (!has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return (Datum) 0;
	cozi_switch_user(BOOTSTRAP_SUPERUSERID, SECURITY_RESTRICTED_OPERATION, &saved);
	SPI_connect();
	cozi_run("SELECT line_number, type, address, auth_method "
			 "FROM pg_catalog.pg_hba_file_rules WHERE error IS NULL", SPI_OK_SELECT);
	cozi_return_rows(fcinfo);
	SPI_finish();
	cozi_restore_user(&saved);
	return (Datum) 0;
}
