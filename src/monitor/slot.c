/*
 * monitor/slot.c
 *		The tables of latencies: a key's slot.
 *
 * See monitor/monitor.h for the laws.  A key's slot is the first of the
 * COZI_PROBES from its home that is the key's or free; slots are not freed one
 * by one, so all backends that look for a key walk the same slots and stop at
 * the same one.  The walk never wraps: the last slots are nobody's home.
 */
#include "postgres.h"

#include "monitor/monitor.h"

StaticAssertDecl(sizeof(CoziHistogram) % PG_CACHE_LINE_SIZE == 0, "slots begin on cache lines");

CoziTable	cozi_statement_table;
CoziTable	cozi_transaction_table;

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

/* The slots that are a key's, to the last of its words. */
uint64
cozi_count_slots(CoziTable *table)
{
	uint64		n = 0;

	for (int i = 0; i < table->size; i++)
		n += pg_atomic_read_u64(&table->histogram[i].queryid) != 0 && pg_atomic_read_u64(&table->histogram[i].owner) != 0;
	return n;
}

/*
 * Every counter to 0, the keys first.  Run beside recording backends this
 * may lose or misplace what each of them is recording at this very moment.
 * Of a key the owner goes first: a slot without a query identifier but with
 * an owner is free, one without an owner might be claimed by a key that has
 * walked on to another slot.
 */
void
cozi_clear_table(CoziTable *table)
{
	const int	words = sizeof(CoziHistogram) / sizeof(pg_atomic_uint64);

	for (int i = 0; i < table->size; i++)
	{
		pg_atomic_uint64 *word = (pg_atomic_uint64 *) &table->histogram[i];

		pg_atomic_write_u64(&table->histogram[i].owner, 0);
		pg_atomic_write_u64(&table->histogram[i].queryid, 0);
		for (int w = 0; w < words; w++)
			pg_atomic_write_u64(&word[w], 0);
	}
	pg_atomic_write_u64(table->dropped, 0);
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
