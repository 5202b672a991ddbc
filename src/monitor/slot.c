/*
 * monitor/slot.c
 *		The tables of latencies: a key's slot, and what is evicted for a new one.
 *
 * A table is cut into sets of COZI_WAYS slots or more; a key's slot is in the
 * set that its hash names.  Who records holds the set's lock in shared mode and
 * adds atomically; a key is claimed, and a slot evicted, under the same lock in
 * exclusive mode.  Nothing is allocated, raised or waited for under it, but for
 * the lock of cozi_other_table, which is always taken last.
 *
 * A set that is full gives a new key the slot of the role that has the most
 * slots in it, and of those the one that is worth the least: its time, halved
 * for each turnover of the set since it was last used.  So a role that makes up
 * texts evicts its own.  What a slot held is added to the row "other" of its
 * database, and no total ever shrinks.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "utils/syscache.h"

#include "monitor/monitor.h"

StaticAssertDecl(sizeof(CoziHistogram) % PG_CACHE_LINE_SIZE == 0, "slots begin on cache lines");
StaticAssertDecl(sizeof(CoziFigures) == sizeof(CoziHistogram), "a copy has the words of a slot");

#define RESERVED_WAYS	2		/* COZI_OTHER_STATEMENTS, _TRANSACTIONS */

CoziTable	cozi_statement_table;
CoziTable	cozi_transaction_table;
CoziTable	cozi_other_table;

static uint64
key_hash(uint64 queryid, uint64 owner)
{
	uint64		hash = queryid ^ (owner * UINT64CONST(0x9E3779B97F4A7C15));

	hash ^= hash >> 32;
	hash *= UINT64CONST(0xD6E8FEB86659FD93);
	return hash ^ (hash >> 29);
}

/* What is looked at first of a slot: never 0, which is a free one's. */
static inline uint16
key_tag(uint64 hash)
{
	return (uint16) hash | 1;
}

static inline CoziSet *
key_set(CoziTable *table, uint64 hash)
{
	return &table->set[((hash >> 32) * (uint64) table->sets) >> 32];
}

static inline CoziHistogram *
set_slot(CoziTable *table, CoziSet *set, int way)
{
	return &table->histogram[(set - table->set) * table->ways + way];
}

static inline CoziSet *
slot_set(CoziTable *table, CoziHistogram *slot)
{
	return &table->set[(slot - table->histogram) / table->ways];
}

/* The way that is looked at first for a key, and claimed if it is free. */
static inline int
home_way(CoziTable *table, uint64 hash)
{
	return (int) ((((hash >> 16) & 0xFFFF) * (uint64) table->ways) >> 16);
}

static inline int
next_way(CoziTable *table, int way)
{
	return way + 1 < table->ways ? way + 1 : 0;
}

static inline bool
is_of(CoziHistogram *slot, uint64 queryid, uint64 owner)
{
	return pg_atomic_read_u64(&slot->queryid) == queryid &&
		pg_atomic_read_u64(&slot->owner) == owner;
}

/* The key's slot in its set, whose lock is held; NULL if it has none. */
static CoziHistogram *
find_in_set(CoziTable *table, CoziSet *set, uint64 hash, uint64 queryid, uint64 owner)
{
	uint16		tag = key_tag(hash);
	int			way = home_way(table, hash);

	for (int n = 0; n < table->ways; n++, way = next_way(table, way))
	{
		CoziHistogram *slot;

		if (set->tag[way] != tag)
			continue;
		slot = set_slot(table, set, way);
		if (is_of(slot, queryid, owner))
			return slot;
	}
	return NULL;
}

/* Under the lock of its set, in exclusive mode.  A free slot is zero. */
static void
empty_slot(CoziTable *table, CoziSet *set, int way)
{
	pg_atomic_uint64 *word = (pg_atomic_uint64 *) set_slot(table, set, way);

	set->tag[way] = 0;
	for (int w = 0; w < COZI_SLOT_WORDS; w++)
		pg_atomic_write_u64(&word[w], 0);
}

/* Add all that a slot counted to another, whose set is locked. */
static void
add_slot(CoziHistogram *to, CoziHistogram *from)
{
	uint64		max = pg_atomic_read_u64(&from->max);

	pg_atomic_fetch_add_u64(&to->total, pg_atomic_read_u64(&from->total));
	pg_atomic_fetch_add_u64(&to->failed, pg_atomic_read_u64(&from->failed));
	pg_atomic_fetch_add_u64(&to->timeouts, pg_atomic_read_u64(&from->timeouts));
	cozi_raise_u64(&to->max, max);
	cozi_merge_details(to, from);
	for (int b = 0; b < COZI_BUCKETS; b++)
	{
		uint64		n = pg_atomic_read_u64(&from->count[b]);

		if (n != 0)
			pg_atomic_fetch_add_u64(&to->count[b], n);
	}
}

/*
 * What a slot is worth: its time, halved for each turnover of the set since it
 * was used, or made.
 */
static uint64
slot_worth(CoziTable *table, CoziSet *set, CoziHistogram *slot)
{
	uint64		used = pg_atomic_read_u64(&slot->used) & ~COZI_TRANSACTION_CONTROL;
	uint64		idle = pg_atomic_read_u64(&set->turn) - used;

	return pg_atomic_read_u64(&slot->total) >> Min(idle / table->ways, 63);
}

/* The way of a full set that a new key is given. */
static int
find_victim(CoziTable *table, CoziSet *set)
{
	Oid			role[COZI_MAX_WAYS];
	int			most = 0;
	uint64		least = PG_UINT64_MAX;
	int			victim = 0;

	for (int way = 0; way < table->ways; way++)
		role[way] = (Oid) pg_atomic_read_u64(&set_slot(table, set, way)->owner);
	for (int way = 0; way < table->ways; way++)
	{
		int			n = 0;
		uint64		worth;

		for (int other = 0; other < table->ways; other++)
			n += role[other] == role[way];
		if (n < most)
			continue;
		worth = slot_worth(table, set, set_slot(table, set, way));
		if (n > most || worth < least)
		{
			victim = way;
			least = worth;
		}
		most = n;
	}
	return victim;
}

/* Free a slot, whose set is locked in exclusive mode, into its database's row. */
static void
evict(CoziTable *table, CoziSet *set, int way)
{
	CoziHistogram *slot = set_slot(table, set, way);
	Oid			database = (Oid) (pg_atomic_read_u64(&slot->owner) >> 32);
	CoziHistogram *other = cozi_claim_slot(&cozi_other_table, table->other_queryid,
										   COZI_OWNER(database, InvalidOid), LW_SHARED);

	add_slot(other, slot);
	cozi_release_slot(&cozi_other_table);
	empty_slot(table, set, way);
}

static int
free_ways(CoziTable *table, CoziSet *set)
{
	int			n = 0;

	for (int way = 0; way < table->ways; way++)
		n += set->tag[way] == 0;
	return n;
}

/*
 * A slot for a new key in its set, which is locked in exclusive mode.  The
 * table of the rows "other" evicts nothing: the last of its slots are of no
 * database, for all that have none of their own.
 */
static CoziHistogram *
give_slot(CoziTable *table, CoziSet *set, uint64 queryid, uint64 owner)
{
	uint64		hash = key_hash(queryid, owner);
	CoziHistogram *slot;
	int			way;

	if (table == &cozi_other_table && owner != 0 && free_ways(table, set) <= RESERVED_WAYS)
	{
		owner = 0;
		hash = key_hash(queryid, owner);
		slot = find_in_set(table, set, hash, queryid, owner);
		if (slot != NULL)
			return slot;
	}
	way = home_way(table, hash);
	for (int n = 1; n < table->ways && set->tag[way] != 0; n++)
		way = next_way(table, way);
	if (set->tag[way] != 0)
	{
		way = find_victim(table, set);
		evict(table, set, way);
		pg_atomic_fetch_add_u64(table->dropped, 1);
		pg_atomic_fetch_add_u64(&set->turn, 1);
	}
	slot = set_slot(table, set, way);
	pg_atomic_write_u64(&slot->queryid, queryid);
	pg_atomic_write_u64(&slot->owner, owner);
	pg_atomic_write_u64(&slot->used, pg_atomic_read_u64(&set->turn));
	pg_atomic_write_u64(&slot->since, GetCurrentTimestamp());
	set->tag[way] = key_tag(hash);
	return slot;
}

/*
 * The slot of a key, NULL if it has none, and the lock of its set.  A session
 * that asks for the same key again finds it where it was.
 */
static CoziHistogram *
lock_slot(CoziTable *table, uint64 queryid, uint64 owner, LWLockMode mode)
{
	uint64		hash;

	if (table->last != NULL && is_of(table->last, queryid, owner))
	{
		LWLockAcquire(&table->held->lock, mode);
		if (is_of(table->last, queryid, owner))
			return table->last;
		LWLockRelease(&table->held->lock);
	}
	hash = key_hash(queryid, owner);
	table->held = key_set(table, hash);
	LWLockAcquire(&table->held->lock, mode);
	table->last = find_in_set(table, table->held, hash, queryid, owner);
	return table->last;
}

/*
 * The slot of a key, claimed if it is new, to be released after recording.  The
 * lock is held in that mode, or in the exclusive one.
 */
CoziHistogram *
cozi_claim_slot(CoziTable *table, uint64 queryid, uint64 owner, LWLockMode mode)
{
	CoziHistogram *slot = lock_slot(table, queryid, owner, mode);
	uint64		turn;
	uint64		used;

	if (slot == NULL && mode == LW_SHARED)
	{
		LWLockRelease(&table->held->lock);
		slot = lock_slot(table, queryid, owner, LW_EXCLUSIVE);
	}
	if (slot == NULL)
		slot = table->last = give_slot(table, table->held, queryid, owner);
	turn = pg_atomic_read_u64(&table->held->turn);
	used = pg_atomic_read_u64(&slot->used);
	if ((used & ~COZI_TRANSACTION_CONTROL) != turn)
		pg_atomic_write_u64(&slot->used, turn | (used & COZI_TRANSACTION_CONTROL));
	return slot;
}

/* The slot of a key, to be released after recording; NULL if it has none. */
CoziHistogram *
cozi_existing_slot(CoziTable *table, uint64 queryid, uint64 owner)
{
	CoziHistogram *slot = lock_slot(table, queryid, owner, LW_SHARED);

	if (slot == NULL)
		LWLockRelease(&table->held->lock);
	return slot;
}

/* Of the slot that was claimed last: its set tells readers where to look. */
void
cozi_add_timeouts(CoziTable *table, CoziHistogram *slot, uint64 n)
{
	pg_atomic_fetch_add_u64(&slot->timeouts, n);
	pg_atomic_fetch_add_u64(&table->held->timeouts, n);
}

/* Slot number i; only then does a reader look at the slot itself. */
bool
cozi_may_have_timeouts(CoziTable *table, int i)
{
	return pg_atomic_read_u64(&table->set[i / table->ways].timeouts) != 0 &&
		pg_atomic_read_u64(&table->histogram[i].timeouts) != 0;
}

/* The slot that was claimed, or found, last: a table has one at a time. */
void
cozi_release_slot(CoziTable *table)
{
	LWLockRelease(&table->held->lock);
}

/* A copy of slot number i; false if it is free. */
bool
cozi_copy_slot(CoziTable *table, int i, CoziFigures *copy)
{
	CoziHistogram *slot = &table->histogram[i];
	CoziSet    *set = slot_set(table, slot);
	pg_atomic_uint64 *word = (pg_atomic_uint64 *) slot;
	bool		taken;

	if (set->tag[i % table->ways] == 0)
		return false;
	LWLockAcquire(&set->lock, LW_SHARED);
	taken = set->tag[i % table->ways] != 0;
	for (int w = 0; taken && w < COZI_SLOT_WORDS; w++)
		((uint64 *) copy)[w] = pg_atomic_read_u64(&word[w]);
	LWLockRelease(&set->lock);
	return taken;
}

/* A copy of a key's slot; false if it has none. */
bool
cozi_find_slot(CoziTable *table, uint64 queryid, uint64 owner, CoziFigures *copy)
{
	uint64		hash = key_hash(queryid, owner);
	CoziSet    *set = key_set(table, hash);
	CoziHistogram *slot;

	LWLockAcquire(&set->lock, LW_SHARED);
	slot = find_in_set(table, set, hash, queryid, owner);
	for (int w = 0; slot != NULL && w < COZI_SLOT_WORDS; w++)
		((uint64 *) copy)[w] = pg_atomic_read_u64((pg_atomic_uint64 *) slot + w);
	LWLockRelease(&set->lock);
	return slot != NULL;
}

uint64
cozi_count_slots(CoziTable *table)
{
	uint64		n = 0;

	for (int i = 0; i < table->size; i++)
		n += table->set[i / table->ways].tag[i % table->ways] != 0;
	return n;
}

/* Every slot free. */
void
cozi_clear_table(CoziTable *table)
{
	for (int s = 0; s < table->sets; s++)
	{
		CoziSet    *set = &table->set[s];

		LWLockAcquire(&set->lock, LW_EXCLUSIVE);
		for (int way = 0; way < table->ways; way++)
			if (set->tag[way] != 0)
				empty_slot(table, set, way);
		pg_atomic_write_u64(&set->turn, 0);
		pg_atomic_write_u64(&set->timeouts, 0);
		LWLockRelease(&set->lock);
	}
	pg_atomic_write_u64(table->dropped, 0);
}

/* Has that database, or that role, been dropped? */
static bool
is_dropped(int cache, Oid object)
{
	return OidIsValid(object) && !SearchSysCacheExists1(cache, ObjectIdGetDatum(object));
}

static void
forget_slot(CoziTable *table, int i, const CoziFigures *seen, bool database_dropped)
{
	CoziHistogram *slot = &table->histogram[i];
	CoziSet    *set = slot_set(table, slot);

	LWLockAcquire(&set->lock, LW_EXCLUSIVE);
	if (set->tag[i % table->ways] != 0 && pg_atomic_read_u64(&slot->owner) == seen->owner)
	{
		if (!database_dropped)
			evict(table, set, i % table->ways);
		else
			empty_slot(table, set, i % table->ways);
	}
	LWLockRelease(&set->lock);
}

/*
 * Free the slots of databases and roles that are no more.  A dropped role's
 * statements are in its database's row "other" from then on; a dropped
 * database is forgotten.
 */
void
cozi_forget_dropped(CoziTable *table)
{
	uint64		last = 0;
	bool		database = false;
	bool		role = false;

	for (int i = 0; i < table->size; i++)
	{
		CoziFigures seen;

		CHECK_FOR_INTERRUPTS();
		if (!cozi_copy_slot(table, i, &seen))
			continue;
		if (seen.owner != last)
		{
			database = is_dropped(DATABASEOID, (Oid) (seen.owner >> 32));
			role = is_dropped(AUTHOID, (Oid) seen.owner);
			last = seen.owner;
		}
		if (database || role)
			forget_slot(table, i, &seen, database);
	}
}
