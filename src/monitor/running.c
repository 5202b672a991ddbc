/*
 * monitor/running.c
 *		Which statement a backend runs, as the sampler of waits reads it.
 *
 * Each backend has an entry, by its number among the processes.  It says there
 * which statement of the client's it plans or executes, and after the end which
 * was the last one: what its commit waits for is that statement's.  The sampler
 * (sampler.c) leaves in the entry what it saw, and the backend takes it into the
 * slot of the statement at its end, and once more at the end of the transaction.
 * What is seen after that is the next statement's: it is parsed, and waits for
 * the locks of its tables, before anybody knows which one it is.
 *
 * Nothing is locked.  A sample that is taken in the moment when one statement
 * follows another may count for the wrong one of the two.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "monitor/monitor.h"

static CoziRunning *mine = NULL;	/* NULL: this backend has none yet */
static uint64 my_owner;			/* of the statement that is in it */

void
cozi_clear_running(void)
{
	for (int i = 0; i < MaxBackends; i++)
	{
		CoziRunning *entry = cozi_running_of(i);

		pg_atomic_init_u64(&entry->queryid, 0);
		pg_atomic_init_u32(&entry->pid, 0);
		pg_atomic_init_u32(&entry->running, 0);
		pg_atomic_init_u32(&entry->sampled, 0);
		pg_atomic_init_u32(&entry->seen, 0);
		for (int w = 0; w < COZI_SLOT_WAITS; w++)
			pg_atomic_init_u64(&entry->wait[w], 0);
	}
}

static void
drop_samples(void)
{
	pg_atomic_write_u32(&mine->sampled, 0);
	for (int w = 0; w < COZI_SLOT_WAITS; w++)
		pg_atomic_write_u64(&mine->wait[w], 0);
}

/* This backend's entry, without what another one of its number left there. */
static bool
find_mine(void)
{
	ptrdiff_t	number = MyProc == NULL ? -1 : MyProc - ProcGlobal->allProcs;

	if (number < 0 || number >= MaxBackends)
		return false;
	mine = cozi_running_of((int) number);
	pg_atomic_write_u64(&mine->queryid, 0);
	pg_atomic_write_u32(&mine->running, 0);
	if (pg_atomic_read_u32(&mine->seen) != (uint32) MyProcPid)
		drop_samples();
	pg_atomic_write_u32(&mine->pid, MyProcPid);
	return true;
}

/* Take the samples of the last statement into its slot, or drop them. */
static void
collect_last(void)
{
	CoziHistogram *slot;

	if (pg_atomic_read_u32(&mine->sampled) == 0)
		return;
	slot = cozi_existing_slot(&cozi_statement_table, pg_atomic_read_u64(&mine->queryid), my_owner);
	if (slot == NULL)
		drop_samples();
	else
	{
		cozi_collect_waits(slot);
		cozi_release_slot(&cozi_statement_table);
	}
}

/*
 * A statement of the client's begins to be planned or executed, or goes on.
 * What was sampled before, while it was parsed or planned, is its own.
 */
void
cozi_start_running(uint64 queryid, Oid role)
{
	if (cozi_wait_interval == 0 || (mine == NULL && !find_mine()))
		return;
	pg_atomic_write_u64(&mine->queryid, queryid);
	my_owner = COZI_OWNER(MyDatabaseId, role);
	pg_atomic_write_u32(&mine->running, 1);
}

void
cozi_stop_running(void)
{
	if (mine != NULL)
		pg_atomic_write_u32(&mine->running, 0);
}

/* What the sampler saw this backend wait for, into the slot of its statement. */
void
cozi_collect_waits(CoziHistogram *slot)
{
	if (mine == NULL || pg_atomic_read_u32(&mine->sampled) == 0)
		return;
	pg_atomic_write_u32(&mine->sampled, 0);
	for (int w = 0; w < COZI_SLOT_WAITS; w++)
	{
		uint64		word = pg_atomic_exchange_u64(&mine->wait[w], 0);

		if (word != 0)
			cozi_add_words(slot->wait, COZI_SLOT_WAITS, word, 40);
	}
}

/*
 * The transaction has ended, and so has what its last statement waited for;
 * but a procedure that commits runs on.
 */
void
cozi_end_running(void)
{
	if (mine == NULL || pg_atomic_read_u32(&mine->running) != 0)
		return;
	collect_last();
	pg_atomic_write_u64(&mine->queryid, 0);
}
