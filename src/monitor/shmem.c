/*
 * monitor/shmem.c
 *		The monitor's shared memory: its making, its slots, its file.
 *
 * See monitor/monitor.h for the laws.  A key's slot is the first of the
 * COZI_PROBES from its home that is the key's or free; slots are not freed one
 * by one, so all backends that look for a key walk the same slots and stop at
 * the same one.  The walk never wraps: the last slots are nobody's home.
 *
 * A clean shutdown leaves the counters in pg_stat/cozi.stat, which is read
 * and removed at the next start.  It is believed if it is whole and names the
 * checkpoint the server was shut down with: an older one could neither be
 * removed nor replaced.  After a crash or an immediate shutdown backends ended
 * anywhere, also between two counters of one statement, and nothing is kept;
 * latency_stats() says since when and why it counts anew.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "monitor/monitor.h"

#define SAVED_FILE	PGSTAT_STAT_PERMANENT_DIRECTORY "/cozi.stat"
#define SAVED_MAGIC	UINT64CONST(0x636f7a692d303032) /* cozi-002 */

/* words in a slot, and which are its key */
#define HISTOGRAM_WORDS	(sizeof(CoziHistogram) / sizeof(pg_atomic_uint64))
#define QUERYID_WORD	(offsetof(CoziHistogram, queryid) / sizeof(pg_atomic_uint64))
#define OWNER_WORD		(offsetof(CoziHistogram, owner) / sizeof(pg_atomic_uint64))

StaticAssertDecl(sizeof(CoziHistogram) % PG_CACHE_LINE_SIZE == 0, "slots begin on cache lines");

static Size monitor_size(void);
static void make_monitor(CoziShmemHeader *area);
static void attach_monitor(CoziShmemHeader *area);

static CoziShmem shmem = {
	.name = "cozi monitor",
	.layout = 1,
	.size = monitor_size,
	.init = make_monitor,
	.attach = attach_monitor
};

CoziMonitor *cozi_monitor = NULL;
CoziTable	cozi_statement_table;
CoziTable	cozi_transaction_table;

static int	max_statements = 5000;
static void (*when_attached) (void);
static uint64 started_from;		/* checkpoint */

static Size
monitor_size(void)
{
	return add_size(CACHELINEALIGN(sizeof(CoziMonitor)),
					mul_size(COZI_TRANSACTIONS + max_statements, sizeof(CoziHistogram)));
}

static void
find_tables(CoziMonitor *monitor)
{
	CoziHistogram *slots = (CoziHistogram *) ((char *) monitor + CACHELINEALIGN(sizeof(CoziMonitor)));

	cozi_monitor = monitor;
	cozi_transaction_table.size = COZI_TRANSACTIONS;
	cozi_transaction_table.histogram = slots;
	cozi_transaction_table.dropped = &cozi_monitor->transactions_dropped;
	cozi_statement_table.size = cozi_monitor->max_statements;
	cozi_statement_table.histogram = slots + COZI_TRANSACTIONS;
	cozi_statement_table.dropped = &cozi_monitor->statements_dropped;
}

/*
 * Every counter to 0, the keys first.  Run beside recording backends this
 * may lose or misplace what each of them is recording at this very moment.
 * Of a key the owner goes first: a slot without a query identifier but with
 * an owner is free, one without an owner might be claimed by a key that has
 * walked on to another slot.
 */
static void
clear_table(CoziTable *table)
{
	for (int i = 0; i < table->size; i++)
	{
		pg_atomic_uint64 *word = (pg_atomic_uint64 *) &table->histogram[i];

		pg_atomic_write_u64(&table->histogram[i].owner, 0);
		pg_atomic_write_u64(&table->histogram[i].queryid, 0);
		for (int w = 0; w < HISTOGRAM_WORDS; w++)
			pg_atomic_write_u64(&word[w], 0);
	}
	pg_atomic_write_u64(table->dropped, 0);
}

static void
clear_monitor(CoziResetReason reason)
{
	clear_table(&cozi_statement_table);
	clear_table(&cozi_transaction_table);
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		pg_atomic_write_u64(&cozi_monitor->error[i].key, 0);
		pg_atomic_write_u64(&cozi_monitor->error[i].count, 0);
	}
	pg_atomic_write_u64(&cozi_monitor->errors_dropped, 0);
	for (int i = 0; i < COZI_PLANS; i++)
		cozi_monitor->plan[i].number = 0;
	cozi_monitor->plans = 0;
	pg_atomic_write_u64(&cozi_monitor->since, GetCurrentTimestamp());
	pg_atomic_write_u64(&cozi_monitor->reset_reason, reason);
}

/* Before a word is read or written, it is made. */
static void
make_words(void *area, Size bytes)
{
	pg_atomic_uint64 *word = area;

	for (Size w = 0; w < bytes / sizeof(pg_atomic_uint64); w++)
		pg_atomic_init_u64(&word[w], 0);
}

/* The first slot a key may be in; *probes slots from there on may be. */
static int
home_slot(CoziTable *table, uint64 queryid, uint64 owner, int *probes)
{
	uint64		hash = queryid ^ (owner * UINT64CONST(0x9E3779B97F4A7C15));

	hash ^= hash >> 32;
	hash *= UINT64CONST(0xD6E8FEB86659FD93);
	*probes = Min(COZI_PROBES, table->size);
	return (int) (((hash >> 32) * (uint64) (table->size - *probes + 1)) >> 32);
}

/*
 * The slot of a key, claimed if it is new.  NULL, and one more dropped, if
 * there is no room.
 *
 * Both words of a key settle by compare-and-swap and never change after: of
 * the backends that race for a free slot one wins, the others read the
 * winner's word and either find it is their own key or walk on.
 */
CoziHistogram *
cozi_claim_slot(CoziTable *table, uint64 queryid, uint64 owner)
{
	int			probes;
	int			home = home_slot(table, queryid, owner, &probes);

	for (int i = home; i < home + probes; i++)
	{
		CoziHistogram *slot = &table->histogram[i];
		uint64		found = pg_atomic_read_u64(&slot->queryid);

		if (found == 0 && pg_atomic_compare_exchange_u64(&slot->queryid, &found, queryid))
			found = queryid;
		if (found != queryid)
			continue;
		found = pg_atomic_read_u64(&slot->owner);
		if (found == 0 && pg_atomic_compare_exchange_u64(&slot->owner, &found, owner))
		{
			pg_atomic_write_u64(&slot->since, GetCurrentTimestamp());
			found = owner;
		}
		if (found == owner)
			return slot;
	}
	pg_atomic_fetch_add_u64(table->dropped, 1);
	return NULL;
}

/* The slot of a key, NULL if it has none. */
CoziHistogram *
cozi_find_slot(CoziTable *table, uint64 queryid, uint64 owner)
{
	int			probes;
	int			home = home_slot(table, queryid, owner, &probes);

	for (int i = home; i < home + probes; i++)
	{
		uint64		found = pg_atomic_read_u64(&table->histogram[i].queryid);

		if (found == 0)
			return NULL;
		if (found == queryid && pg_atomic_read_u64(&table->histogram[i].owner) == owner)
			return &table->histogram[i];
	}
	return NULL;
}

/* database << 32 | packed SQLSTATE */
void
cozi_count_error(uint64 key, uint64 count)
{
	uint32		home = (uint32) ((key * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);

	for (uint32 i = 0; i < COZI_PROBES; i++)
	{
		CoziError  *error = &cozi_monitor->error[(home + i) % COZI_ERRORS];
		uint64		found = pg_atomic_read_u64(&error->key);

		if (found == 0 && pg_atomic_compare_exchange_u64(&error->key, &found, key))
			found = key;
		if (found == key)
		{
			pg_atomic_fetch_add_u64(&error->count, count);
			return;
		}
	}
	pg_atomic_fetch_add_u64(&cozi_monitor->errors_dropped, count);
}

/* --- the file ----------------------------------------------------------- */

typedef struct SavedFile
{
	FILE	   *file;
	pg_crc32c	crc;			/* of what was written or read so far */
} SavedFile;

/* What the file begins with; the counts say what follows, and its CRC. */
typedef struct CoziSaved
{
	uint64		magic;
	uint64		pg_version;		/* major: a plan's text is a version's */
	uint64		checkpoint;		/* the server was shut down with */
	uint64		since;
	uint64		reset_reason;
	uint64		statements;
	uint64		statements_dropped;
	uint64		transactions;
	uint64		transactions_dropped;
	uint64		errors_dropped;
	uint64		plans;
} CoziSaved;

static bool
put(SavedFile *saved, const void *data, Size size)
{
	COMP_CRC32C(saved->crc, data, size);
	return fwrite(data, size, 1, saved->file) == 1;
}

static bool
get(SavedFile *saved, void *data, Size size)
{
	if (fread(data, size, 1, saved->file) != 1)
		return false;
	COMP_CRC32C(saved->crc, data, size);
	return true;
}

/* The slots that are a key's, to the last of its words. */
static uint64
count_slots(CoziTable *table)
{
	uint64		n = 0;

	for (int i = 0; i < table->size; i++)
		n += pg_atomic_read_u64(&table->histogram[i].queryid) != 0 && pg_atomic_read_u64(&table->histogram[i].owner) != 0;
	return n;
}

static bool
save_table(SavedFile *file, CoziTable *table)
{
	for (int i = 0; i < table->size; i++)
	{
		uint64		record[HISTOGRAM_WORDS];
		pg_atomic_uint64 *word = (pg_atomic_uint64 *) &table->histogram[i];

		for (int w = 0; w < HISTOGRAM_WORDS; w++)
			record[w] = pg_atomic_read_u64(&word[w]);
		if (record[QUERYID_WORD] == 0 || record[OWNER_WORD] == 0)
			continue;
		if (!put(file, record, sizeof(record)))
			return false;
	}
	return true;
}

static bool
load_table(SavedFile *file, CoziTable *table, uint64 n)
{
	while (n-- > 0)
	{
		uint64		record[HISTOGRAM_WORDS];
		CoziHistogram *histogram;

		if (!get(file, record, sizeof(record)) || record[QUERYID_WORD] == 0 || record[OWNER_WORD] == 0)
			return false;
		histogram = cozi_claim_slot(table, record[QUERYID_WORD], record[OWNER_WORD]);
		if (histogram != NULL)
			for (int w = 0; w < HISTOGRAM_WORDS; w++)
				pg_atomic_write_u64((pg_atomic_uint64 *) histogram + w, record[w]);
	}
	return true;
}

static bool
save_monitor(FILE *stream, uint64 checkpoint)
{
	SavedFile	file = {.file = stream};
	CoziSaved	saved = {
		.magic = SAVED_MAGIC,
		.pg_version = PG_MAJORVERSION_NUM,
		.checkpoint = checkpoint,
		.since = pg_atomic_read_u64(&cozi_monitor->since),
		.reset_reason = pg_atomic_read_u64(&cozi_monitor->reset_reason),
		.statements = count_slots(&cozi_statement_table),
		.statements_dropped = pg_atomic_read_u64(&cozi_monitor->statements_dropped),
		.transactions = count_slots(&cozi_transaction_table),
		.transactions_dropped = pg_atomic_read_u64(&cozi_monitor->transactions_dropped),
		.errors_dropped = pg_atomic_read_u64(&cozi_monitor->errors_dropped),
		.plans = cozi_monitor->plans,
	};

	INIT_CRC32C(file.crc);
	if (!put(&file, &saved, sizeof(saved)) ||
		!save_table(&file, &cozi_statement_table) ||
		!save_table(&file, &cozi_transaction_table))
		return false;
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		record[2];

		record[0] = pg_atomic_read_u64(&cozi_monitor->error[i].key);
		record[1] = pg_atomic_read_u64(&cozi_monitor->error[i].count);
		if (!put(&file, record, sizeof(record)))
			return false;
	}
	if (!put(&file, cozi_monitor->plan, sizeof(cozi_monitor->plan)))
		return false;
	FIN_CRC32C(file.crc);
	return fwrite(&file.crc, sizeof(file.crc), 1, stream) == 1;
}

static bool
load_monitor(FILE *stream, uint64 checkpoint)
{
	SavedFile	file = {.file = stream};
	CoziSaved	saved;
	pg_crc32c	crc;

	INIT_CRC32C(file.crc);
	if (!get(&file, &saved, sizeof(saved)) || saved.magic != SAVED_MAGIC ||
		saved.pg_version != PG_MAJORVERSION_NUM || saved.checkpoint != checkpoint ||
		!load_table(&file, &cozi_statement_table, saved.statements) ||
		!load_table(&file, &cozi_transaction_table, saved.transactions))
		return false;
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		record[2];

		if (!get(&file, record, sizeof(record)))
			return false;
		if (record[0] != 0)
			cozi_count_error(record[0], record[1]);
	}
	if (!get(&file, cozi_monitor->plan, sizeof(cozi_monitor->plan)))
		return false;
	FIN_CRC32C(file.crc);
	if (fread(&crc, sizeof(crc), 1, stream) != 1 || !EQ_CRC32C(crc, file.crc))
		return false;
	cozi_monitor->plans = saved.plans;
	pg_atomic_write_u64(&cozi_monitor->since, saved.since);
	pg_atomic_write_u64(&cozi_monitor->reset_reason, saved.reset_reason);
	pg_atomic_fetch_add_u64(&cozi_monitor->statements_dropped, saved.statements_dropped);
	pg_atomic_fetch_add_u64(&cozi_monitor->transactions_dropped, saved.transactions_dropped);
	pg_atomic_fetch_add_u64(&cozi_monitor->errors_dropped, saved.errors_dropped);
	return true;
}

/* Was the server shut down?  Then also with which checkpoint. */
static bool
shut_down(uint64 *checkpoint)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	bool		clean = crc_ok && (control->state == DB_SHUTDOWNED ||
								   control->state == DB_SHUTDOWNED_IN_RECOVERY);

	*checkpoint = control->checkPoint;
	pfree(control);
	return clean;
}

/*
 * In the postmaster, at the end: everybody else is gone.  A start that failed,
 * by a mistake in pg_hba.conf say, gives back what it read.
 */
static void
save_at_exit(int code, Datum arg)
{
	FILE	   *file;
	uint64		checkpoint;

	if (cozi_monitor == NULL || !shut_down(&checkpoint) || (code != 0 && checkpoint != started_from))
		return;
	file = AllocateFile(SAVED_FILE ".tmp", PG_BINARY_W);
	if (file != NULL)
	{
		bool		written = save_monitor(file, checkpoint);

		if (FreeFile(file) == 0 && written)
		{
			(void) durable_rename(SAVED_FILE ".tmp", SAVED_FILE, LOG);
			return;
		}
	}
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", SAVED_FILE ".tmp")));
	unlink(SAVED_FILE ".tmp");
}

static void
start_counting(void)
{
	uint64		checkpoint;
	bool		clean = shut_down(&checkpoint);
	FILE	   *file = AllocateFile(SAVED_FILE, PG_BINARY_R);

	started_from = checkpoint;
	if (file == NULL && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", SAVED_FILE)));
	if (!clean)
		clear_monitor(COZI_RESET_CRASH);
	else if (file == NULL)
		clear_monitor(COZI_RESET_START);
	else if (!load_monitor(file, checkpoint))
	{
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("ignoring file \"%s\": it is damaged, of an earlier shutdown or of another version", SAVED_FILE)));
		clear_monitor(COZI_RESET_VERSION);
	}
	if (file != NULL)
		FreeFile(file);
	/* it would only be copied into base backups */
	if (unlink(SAVED_FILE) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", SAVED_FILE)));
}

/* Once, before anybody records; the words are made before they are used. */
static void
make_monitor(CoziShmemHeader *area)
{
	int			tranche = LWLockNewTrancheId_compat("cozi monitor");

	((CoziMonitor *) area)->max_statements = max_statements;
	find_tables((CoziMonitor *) area);
	cozi_monitor->tranche = tranche;
	LWLockInitialize(&cozi_monitor->lock, tranche);
	make_words(&cozi_monitor->since,
			   offsetof(CoziMonitor, plans) - offsetof(CoziMonitor, since));
	make_words(cozi_monitor->error,
			   offsetof(CoziMonitor, plan) - offsetof(CoziMonitor, error));
	make_words(cozi_transaction_table.histogram,
			   (COZI_TRANSACTIONS + max_statements) * sizeof(CoziHistogram));
	start_counting();
}

/* In each process: the postmaster first, when all libraries are loaded. */
static void
attach_monitor(CoziShmemHeader *area)
{
	find_tables((CoziMonitor *) area);
	LWLockRegisterTranche_compat(cozi_monitor->tranche, "cozi monitor");
	if (!IsUnderPostmaster)
		on_shmem_exit(save_at_exit, (Datum) 0);
	when_attached();
}

/*
 * attached is called when every preloaded library has installed its hooks.
 */
void
cozi_monitor_shmem_init(void (*attached) (void))
{
	bool		preloading = process_shared_preload_libraries_in_progress;

	DefineCustomIntVariable("cozi.max_statements",
							"Sets for how many statements latencies are kept.",
							"A statement is a database, a role and a query identifier. "
							"Each takes 2,192 bytes of shared memory.",
							&max_statements,
							5000,
							100,
							1000000,
							preloading ? PGC_POSTMASTER : PGC_SIGHUP,
							0,
							NULL,
							NULL,
							NULL);
	if (!preloading)
		return;
	when_attached = attached;
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
				 errhint("Set shared_preload_libraries = 'pg_stat_statements,cozi' and restart the server.")));
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
PG_FUNCTION_INFO_V1(cozi_latency_stats);
Datum
cozi_latency_stats(PG_FUNCTION_ARGS)
{
	static const char *const reason[] = {"start", "crash", "reset", "version"};
	TupleDesc	desc;
	Datum		value[12] = {0};
	bool		null[12];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(null, cozi_monitor == NULL, sizeof(null));
	null[0] = false;
	value[0] = BoolGetDatum(cozi_monitor != NULL);
	if (cozi_monitor != NULL)
	{
		uint64		plans;

		LWLockAcquire(&cozi_monitor->lock, LW_SHARED);
		plans = cozi_monitor->plans;
		LWLockRelease(&cozi_monitor->lock);
		value[1] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&cozi_monitor->since));
		value[2] = CStringGetTextDatum(reason[pg_atomic_read_u64(&cozi_monitor->reset_reason)]);
		value[3] = Int32GetDatum(cozi_monitor->max_statements);
		value[4] = Int64GetDatum(count_slots(&cozi_statement_table));
		value[5] = Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->statements_dropped));
		value[6] = Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->transactions_dropped));
		value[7] = Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->errors_dropped));
		value[8] = Int64GetDatum(plans);
		value[9] = Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->snapshots));
		value[10] = Int64GetDatum(pg_atomic_read_u64(&cozi_monitor->snapshot_failures));
		value[11] = Int64GetDatum(monitor_size());
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), value, null)));
}

/*
 * latency_reset() -> void
 *
 * Forgets every latency, error and plan, and frees their slots.
 */
PG_FUNCTION_INFO_V1(cozi_latency_reset);
Datum
cozi_latency_reset(PG_FUNCTION_ARGS)
{
	cozi_monitor_ready(false);
	LWLockAcquire(&cozi_monitor->lock, LW_EXCLUSIVE);
	clear_monitor(COZI_RESET_CALL);
	LWLockRelease(&cozi_monitor->lock);
	PG_RETURN_VOID();
}
