/*
 * monitor/area.c
 *		The monitor's area in shared memory: its size, its making, its reset.
 *
 * See monitor/monitor.h for the laws.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "monitor/monitor.h"

static Size monitor_size(void);
static void make_monitor(CoziShmemHeader *area);
static void attach_monitor(CoziShmemHeader *area);

static CoziShmem shmem = {
	.name = "cozi monitor",
	.layout = 4,
	.size = monitor_size,
	.init = make_monitor,
	.attach = attach_monitor
};

CoziMonitor *cozi_monitor = NULL;

/* The tables are cut into sets of COZI_WAYS slots, or a few more. */
static int
table_sets(int size)
{
	return Max(size / COZI_WAYS, 1);
}

static int
all_sets(int statements)
{
	return table_sets(statements) + table_sets(COZI_TRANSACTIONS) + 1;
}

static Size
monitor_size(void)
{
	Size		size = CACHELINEALIGN(sizeof(CoziMonitor));

	size = add_size(size, mul_size(MaxBackends, COZI_RUNNING_SIZE));
	size = add_size(size, mul_size(all_sets(cozi_max_statements), sizeof(CoziSet)));
	return add_size(size, mul_size(COZI_OTHERS + COZI_TRANSACTIONS + cozi_max_statements,
								   sizeof(CoziHistogram)));
}

/* A table of at most size slots, in its sets. */
static void
find_table(CoziTable *table, int size, int sets, CoziSet **set, CoziHistogram **slots)
{
	table->sets = sets;
	table->ways = size / sets;
	table->size = table->sets * table->ways;
	table->set = *set;
	table->last = NULL;			/* after a crash the area may be elsewhere */
	table->histogram = *slots;
	*set += table->sets;
	*slots += table->size;
}

static void
find_tables(CoziMonitor *monitor)
{
	int			statements = monitor->max_statements;
	CoziSet    *set = (CoziSet *) ((char *) monitor + CACHELINEALIGN(sizeof(CoziMonitor)) +
								   MaxBackends * COZI_RUNNING_SIZE);
	CoziHistogram *slots = (CoziHistogram *) (set + all_sets(statements));

	cozi_monitor = monitor;
	find_table(&cozi_other_table, COZI_OTHERS, 1, &set, &slots);
	find_table(&cozi_transaction_table, COZI_TRANSACTIONS, table_sets(COZI_TRANSACTIONS),
			   &set, &slots);
	find_table(&cozi_statement_table, statements, table_sets(statements), &set, &slots);
	cozi_other_table.dropped = &monitor->others_dropped;
	cozi_transaction_table.dropped = &monitor->transactions_dropped;
	cozi_transaction_table.other_queryid = COZI_OTHER_TRANSACTIONS;
	cozi_statement_table.dropped = &monitor->statements_dropped;
	cozi_statement_table.other_queryid = COZI_OTHER_STATEMENTS;
}

/* What the backend of a number runs. */
CoziRunning *
cozi_running_of(int backend)
{
	return (CoziRunning *) ((char *) cozi_monitor + CACHELINEALIGN(sizeof(CoziMonitor)) +
							backend * COZI_RUNNING_SIZE);
}

void
cozi_clear_monitor(CoziResetReason reason)
{
	cozi_clear_table(&cozi_statement_table);
	cozi_clear_table(&cozi_transaction_table);
	cozi_clear_table(&cozi_other_table);
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		pg_atomic_write_u64(&cozi_monitor->error[i].key, 0);
		pg_atomic_write_u64(&cozi_monitor->error[i].count, 0);
		pg_atomic_write_u64(&cozi_monitor->error[i].role, 0);
	}
	pg_atomic_write_u64(&cozi_monitor->errors_dropped, 0);
	for (int i = 0; i < COZI_PLANS; i++)
		cozi_monitor->plan[i].number = 0;
	cozi_monitor->plans = 0;
	pg_atomic_write_u64(&cozi_monitor->since, GetCurrentTimestamp());
	pg_atomic_write_u64(&cozi_monitor->reset_reason, reason);
}

/* Before a word is read or written, it is made; of native ones zero is one. */
static void
make_words(void *area, Size bytes)
{
#ifdef PG_HAVE_ATOMIC_U64_SIMULATION
	pg_atomic_uint64 *word = area;

	for (Size w = 0; w < bytes / sizeof(pg_atomic_uint64); w++)
		pg_atomic_init_u64(&word[w], 0);
#endif
}

static void
make_table(CoziTable *table, int tranche)
{
	for (int s = 0; s < table->sets; s++)
	{
		LWLockInitialize(&table->set[s].lock, tranche);
		pg_atomic_init_u64(&table->set[s].turn, 0);
		pg_atomic_init_u64(&table->set[s].timeouts, 0);
	}
	make_words(table->histogram, table->size * sizeof(CoziHistogram));
}

/* Once, before anybody records; the words are made before they are used. */
static void
make_monitor(CoziShmemHeader *area)
{
	int			tranche = LWLockNewTrancheId_compat("cozi monitor");

	((CoziMonitor *) area)->max_statements = cozi_max_statements;
	find_tables((CoziMonitor *) area);
	cozi_monitor->tranche = tranche;
	LWLockInitialize(&cozi_monitor->lock, tranche);
	make_words(&cozi_monitor->since,
			   offsetof(CoziMonitor, plans) - offsetof(CoziMonitor, since));
	make_words(cozi_monitor->error,
			   offsetof(CoziMonitor, plan) - offsetof(CoziMonitor, error));
	cozi_clear_running();
	make_table(&cozi_other_table, tranche);
	make_table(&cozi_transaction_table, tranche);
	make_table(&cozi_statement_table, tranche);
	cozi_start_counting();
}

/* In each process: the postmaster first, when all libraries are loaded. */
static void
attach_monitor(CoziShmemHeader *area)
{
	find_tables((CoziMonitor *) area);
	LWLockRegisterTranche_compat(cozi_monitor->tranche, "cozi monitor");
	if (!IsUnderPostmaster)
		on_shmem_exit(cozi_save_at_exit, (Datum) 0);
	cozi_install_hooks();
}

void
cozi_request_monitor(void)
{
	cozi_shmem_request(&shmem);
}

/* Is there anything to read?  What a view asks for may be missing. */
bool
cozi_monitor_ready(bool missing_ok)
{
	if (cozi_monitor != NULL)
		return true;
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cozi must be loaded via \"shared_preload_libraries\""),
				 errhint("Set shared_preload_libraries = 'pg_stat_statements,cozi' and restart "
						 "the server.")));
	return false;
}

/* May the caller see other roles' statements?  As in pg_stat_statements. */
bool
cozi_sees_all_stats(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

/*
 * latency_stats(OUT preloaded boolean, OUT stats_since timestamptz,
 *				 OUT reset_reason text, OUT max_statements int,
 *				 OUT statements bigint, OUT statements_dropped bigint,
 *				 OUT transactions_dropped bigint, OUT errors_dropped bigint,
 *				 OUT plans bigint, OUT snapshots bigint,
 *				 OUT snapshot_failures bigint, OUT memory bigint)
 *
 * One row, also when cozi is not preloaded: then all but the first is NULL.
 */
/* The columns of latency_stats(). */
enum
{
	STATS_PRELOADED,
	STATS_SINCE,
	STATS_REASON,
	STATS_MAX_STATEMENTS,
	STATS_STATEMENTS,
	STATS_STATEMENTS_DROPPED,
	STATS_TRANSACTIONS_DROPPED,
	STATS_ERRORS_DROPPED,
	STATS_PLANS,
	STATS_SNAPSHOTS,
	STATS_SNAPSHOT_FAILURES,
	STATS_MEMORY,
	STATS_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_latency_stats);
Datum
cozi_latency_stats(PG_FUNCTION_ARGS)
{
	static const char *const reason[] = {"start", "crash", "reset", "version"};
	TupleDesc	desc;
	Datum		value[STATS_COLUMNS] = {0};
	bool		null[STATS_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(null, cozi_monitor == NULL, sizeof(null));
	null[STATS_PRELOADED] = false;
	value[STATS_PRELOADED] = BoolGetDatum(cozi_monitor != NULL);
	if (cozi_monitor != NULL)
	{
		uint64		plans;

		LWLockAcquire(&cozi_monitor->lock, LW_SHARED);
		plans = cozi_monitor->plans;
		LWLockRelease(&cozi_monitor->lock);
		value[STATS_SINCE] =
			TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&cozi_monitor->since));
		value[STATS_REASON] =
			CStringGetTextDatum(reason[pg_atomic_read_u64(&cozi_monitor->reset_reason)]);
		value[STATS_MAX_STATEMENTS] = Int32GetDatum(cozi_monitor->max_statements);
		value[STATS_STATEMENTS] = Int64GetDatum(cozi_count_slots(&cozi_statement_table));
		value[STATS_STATEMENTS_DROPPED] =
			Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->statements_dropped));
		value[STATS_TRANSACTIONS_DROPPED] =
			Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->transactions_dropped));
		value[STATS_ERRORS_DROPPED] =
			Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->errors_dropped));
		value[STATS_PLANS] = Int64GetDatum(plans);
		value[STATS_SNAPSHOTS] = Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->snapshots));
		value[STATS_SNAPSHOT_FAILURES] =
			Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->snapshot_failures));
		value[STATS_MEMORY] = Int64GetDatum(monitor_size());
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), value, null)));
}

PG_FUNCTION_INFO_V1(cozi_latency_reset);

/*
 * latency_reset() -> void
 *
 * Forgets every latency, error and plan, and frees their slots.
 */
Datum
cozi_latency_reset(PG_FUNCTION_ARGS)
{
	cozi_monitor_ready(false);
	LWLockAcquire(&cozi_monitor->lock, LW_EXCLUSIVE);
	cozi_clear_monitor(COZI_RESET_CALL);
	LWLockRelease(&cozi_monitor->lock);
	PG_RETURN_VOID();
}
