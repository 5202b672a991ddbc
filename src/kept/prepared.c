/*
 * kept/prepared.c
 *		The worker stays for transactions that are prepared.
 *
 * The votes of a prepared transaction are seen once somebody commits it, and the
 * session that does so has nothing to fold.  So the worker that PREPARE asked for
 * stays until they are seen, but not for one that was forgotten.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "kept/kept.h"

#define FORGOTTEN	"10 s"

/* A job of the worker: is a transaction of this database about to be committed? */
static bool
awaits_commit(void)
{
	bool		found;

	if (max_prepared_xacts == 0)
		return false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_run(psprintf("SELECT FROM pg_catalog.pg_prepared_xact() p"
					  " WHERE p.dbid OPERATOR(pg_catalog.=) %u::pg_catalog.oid"
					  " AND p.prepared OPERATOR(pg_catalog.>)"
					  " (pg_catalog.now() OPERATOR(pg_catalog.-) '%s'::pg_catalog.interval)",
					  MyDatabaseId, FORGOTTEN), SPI_OK_SELECT);
	found = SPI_processed > 0;
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return found;
}

void
cozi_kept_prepared_init(void)
{
	cozi_kept_add_job(awaits_commit);
}
