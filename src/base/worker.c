/*
 * base/worker.c
 *		Background workers of this library: what all of them are told.
 *
 * The law: a worker that cannot be started is an answer, and no error.
 */
#include "postgres.h"

#include "postmaster/bgworker.h"

#include "base/base.h"

/* A worker that runs a function of the library, under a name, once. */
void
cozi_describe_worker(BackgroundWorker *worker, const char *name, const char *function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "cozi", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
}

/* Start such a worker; false if all workers are in use. */
bool
cozi_start_worker(const char *name, const char *function, Datum argument)
{
	BackgroundWorker worker;

	cozi_describe_worker(&worker, name, function);
	worker.bgw_main_arg = argument;
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}
