/*
 * monitor/sampler.c
 *		The process that looks, every cozi.wait_interval, at what sessions wait for.
 *
 * It reads shared memory alone: of each backend that runs a statement (running.c)
 * the wait event that the server keeps for pg_stat_activity.  What a parallel
 * worker waits for is its leader's.  A look stands for the time since the one
 * before, so that the times do not depend on how often it looks.
 *
 * A statement that runs and waits for nothing is on a processor, or wants to be.
 * Before it runs a backend is looked at while it parses, and after its end while
 * it commits; what it waits for from its client then is nobody's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "monitor/monitor.h"

#define MAX_LOOK	10			/* intervals that one look may stand for */

PGDLLEXPORT void cozi_wait_sampler(Datum arg);

/* class and number of a wait event, in 24 bits */
static uint32
short_event(uint32 wait_event_info)
{
	return wait_event_info == 0 ? COZI_WAIT_NONE :
		(wait_event_info >> 24) << 16 | (wait_event_info & 0xFFFF);
}

/* Between two statements: on a processor, or waiting for the client. */
static bool
is_idle(uint32 wait)
{
	return wait == 0 || (wait & 0xFF000000) == PG_WAIT_CLIENT ||
		(wait & 0xFF000000) == PG_WAIT_ACTIVITY;
}

static void
sample(int backend, uint64 ms)
{
	PGPROC	   *proc = &ProcGlobal->allProcs[backend];
	PGPROC	   *leader = ((volatile PGPROC *) proc)->lockGroupLeader;
	uint32		wait = ((volatile PGPROC *) proc)->wait_event_info;
	ptrdiff_t	number = leader == NULL ? backend : leader - ProcGlobal->allProcs;
	CoziRunning *entry;
	uint32		pid;
	bool		running;

	if (number < 0 || number >= MaxBackends)
		return;
	entry = cozi_running_of((int) number);
	pid = (uint32) ProcGlobal->allProcs[number].pid;
	if (pg_atomic_read_u32(&entry->seen) != pid)
	{
		for (int w = 0; w < COZI_SLOT_WAITS; w++)
			pg_atomic_write_u64(&entry->wait[w], 0);
		pg_atomic_write_u32(&entry->seen, pid);
	}
	running = pg_atomic_read_u32(&entry->pid) == pid && pg_atomic_read_u32(&entry->running) != 0;
	if (!running && is_idle(wait))
		return;
	cozi_add_words(entry->wait, COZI_SLOT_WAITS, COZI_WAIT_WORD(short_event(wait), ms), 40);
	pg_atomic_write_u32(&entry->sampled, 1);
}

void
cozi_wait_sampler(Datum arg)
{
	TimestampTz last = GetCurrentTimestamp();

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	while (!ShutdownRequestPending)
	{
		TimestampTz now;

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
						 (cozi_wait_interval > 0 ? WL_TIMEOUT : 0),
						 cozi_wait_interval, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		now = GetCurrentTimestamp();
		if (cozi_wait_interval > 0 && now > last)
		{
			int64		ms = Min((now - last) / 1000, (int64) cozi_wait_interval * MAX_LOOK);

			if (ms == 0)
				continue;
			for (int i = 0; i < MaxBackends; i++)
				if (ProcGlobal->allProcs[i].pid != 0)
					sample(i, ms);
		}
		last = now;
	}
}
