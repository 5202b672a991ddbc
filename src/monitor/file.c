/*
 * monitor/file.c
 *		The monitor's counters over a restart: pg_stat/cozi.stat.
 *
 * A clean shutdown leaves the counters in that file, which is read and removed
 * at the next start.  It is believed if it is whole and names the checkpoint
 * the server was shut down with: an older one could neither be removed nor
 * replaced.  After a crash or an immediate shutdown backends ended anywhere,
 * also between two counters of one statement, and nothing is kept;
 * latency_stats() says since when and why it counts anew.
 */
#include "postgres.h"

#include <unistd.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "monitor/monitor.h"

#define SAVED_FILE	PGSTAT_STAT_PERMANENT_DIRECTORY "/cozi.stat"
#define SAVED_MAGIC	UINT64CONST(0x636f7a692d303034) /* cozi-004 */

static uint64 started_from;		/* checkpoint */

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
	uint64		others;
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

static bool
save_table(SavedFile *file, CoziTable *table)
{
	CoziFigures slot;

	for (int i = 0; i < table->size; i++)
		if (cozi_copy_slot(table, i, &slot) && !put(file, &slot, sizeof(slot)))
			return false;
	return true;
}

/* Into a table of another size, too: what finds no room there is evicted. */
static bool
load_table(SavedFile *file, CoziTable *table, uint64 n)
{
	CoziFigures saved;

	while (n-- > 0)
	{
		CoziHistogram *slot;

		if (!get(file, &saved, sizeof(saved)) || saved.queryid == 0)
			return false;
		slot = cozi_claim_slot(table, saved.queryid, saved.owner, LW_SHARED);
		pg_atomic_write_u64(&slot->since, saved.since);
		pg_atomic_fetch_or_u64(&slot->used, saved.used & COZI_TRANSACTION_CONTROL);
		pg_atomic_fetch_add_u64(&slot->total, saved.total);
		cozi_raise_u64(&slot->max, saved.max);
		cozi_load_details(slot, &saved);
		pg_atomic_fetch_add_u64(&slot->failed, saved.failed);
		cozi_add_timeouts(table, slot, saved.timeouts);
		for (int b = 0; b < COZI_BUCKETS; b++)
			pg_atomic_fetch_add_u64(&slot->count[b], saved.count[b]);
		cozi_release_slot(table);
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
		.statements = cozi_count_slots(&cozi_statement_table),
		.statements_dropped = pg_atomic_read_u64(&cozi_monitor->statements_dropped),
		.transactions = cozi_count_slots(&cozi_transaction_table),
		.transactions_dropped = pg_atomic_read_u64(&cozi_monitor->transactions_dropped),
		.others = cozi_count_slots(&cozi_other_table),
		.errors_dropped = pg_atomic_read_u64(&cozi_monitor->errors_dropped),
		.plans = cozi_monitor->plans,
	};

	INIT_CRC32C(file.crc);
	if (!put(&file, &saved, sizeof(saved)) ||
		!save_table(&file, &cozi_other_table) ||
		!save_table(&file, &cozi_statement_table) ||
		!save_table(&file, &cozi_transaction_table))
		return false;
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		record[3];

		record[0] = pg_atomic_read_u64(&cozi_monitor->error[i].key);
		record[1] = pg_atomic_read_u64(&cozi_monitor->error[i].role);
		record[2] = pg_atomic_read_u64(&cozi_monitor->error[i].count);
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
		!load_table(&file, &cozi_other_table, saved.others) ||
		!load_table(&file, &cozi_statement_table, saved.statements) ||
		!load_table(&file, &cozi_transaction_table, saved.transactions))
		return false;
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		record[3];

		if (!get(&file, record, sizeof(record)))
			return false;
		if (record[0] != 0)
			cozi_load_error(record[0], record[1], record[2]);
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
void
cozi_save_at_exit(int code, Datum arg)
{
	FILE	   *file;
	uint64		checkpoint;

	if (cozi_monitor == NULL || !shut_down(&checkpoint) ||
		(code != 0 && checkpoint != started_from))
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

void
cozi_start_counting(void)
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
		cozi_clear_monitor(COZI_RESET_CRASH);
	else if (file == NULL)
		cozi_clear_monitor(COZI_RESET_START);
	else if (!load_monitor(file, checkpoint))
	{
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("ignoring file \"%s\": it is damaged, of an earlier shutdown or of "
						"another version", SAVED_FILE)));
		cozi_clear_monitor(COZI_RESET_VERSION);
	}
	if (file != NULL)
		FreeFile(file);
	/* it would only be copied into base backups */
	if (unlink(SAVED_FILE) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", SAVED_FILE)));
}
