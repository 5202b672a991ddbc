/*
 * ratelimit/named.c
 *		The reserved memory of named limits.
 *
 * A limit is a row of cozi.rate_limit_config; its memory is a class in each
 * partition (pure/arena.h), with the same number of blocks in each, and an
 * entry of the limiter's named[].  The entry is made by create_rate_limit(),
 * or by the first call after a server start, on a standby too, and goes with
 * drop_rate_limit(), or when another limit needs its place and its row or its
 * database is gone.
 *
 * Transactions: memory is taken at once, so that the statement fails if there
 * is not enough; what a rollback has to put back, and what a commit has to give
 * up, waits in a list until then.
 *
 * The law: the end of a transaction may not fail.  Whatever it calls here
 * neither allocates nor raises.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "ratelimit/table.h"

#define MIN_BLOCKS 8			/* of a limit, in each partition */
#define DEFAULT_SHARE 64		/* of the memory */
#define PURGE 64				/* logs removed in one hold of a lock */

/* Blocks that a limit of this database has to have at the end of the transaction. */
typedef struct Change
{
	char		name[COZI_NAME_BYTES];
	bool		gcra;
	int			level;			/* of the transaction */
	uint32		at_commit;		/* 0: none */
	uint32		at_abort;
	struct Change *next;		/* the change before */
} Change;

static Change *changes = NULL;

/*
 * How much memory, as blocks in each partition.  By default a share of all, and
 * room for one full log, so that the default never fails for its max_calls.
 */
uint32
cozi_limit_blocks(CoziLimiter *limiter, const CoziLimit *limit)
{
	int64		share = (int64) limiter->header.size / DEFAULT_SHARE;
	int64		bytes = limit->memory > 0 ? limit->memory : share;
	int64		unit = (int64) limiter->n_partitions * sizeof(CoziLog);
	int64		blocks = bytes / unit + (bytes % unit != 0);

	if (limit->memory == 0 && limit->exact)
		blocks += limit->max_calls / COZI_MORE_ENTRIES;
	return (uint32) Min(Max(blocks, MIN_BLOCKS), PG_INT32_MAX);
}

static int64
blocks_to_kb(CoziLimiter *limiter, int64 blocks)
{
	return blocks * limiter->n_partitions * (int64) sizeof(CoziLog) / 1024;
}

/* A log of max_calls has to fit into the limit's part of a partition. */
void
cozi_limit_check(CoziLimiter *limiter, const CoziLimit *limit)
{
	uint32		blocks = cozi_limit_blocks(limiter, limit);
	int64		needed = limit->max_calls / COZI_MORE_ENTRIES + 4;

	if (limit->exact && limit->max_calls > cozi_blocks_max_calls(blocks))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"max_calls\" (%d) must not exceed %d in %lld kB"
						" with algorithm \"exact\"",
						limit->max_calls, cozi_blocks_max_calls(blocks),
						(long long) blocks_to_kb(limiter, blocks)),
				 errdetail("\"exact\" keeps the time of each admitted call."),
				 errhint("Use algorithm \"gcra\", or memory => '%lldkB' or more.",
						 (long long) blocks_to_kb(limiter, needed))));
}

static CoziNamed *
find_named(CoziLimiter *limiter, Oid database, const char *name)
{
	for (int i = 0; i < COZI_MAX_NAMED; i++)
		if (limiter->named[i].database == database && strcmp(limiter->named[i].name, name) == 0)
			return &limiter->named[i];
	return NULL;
}

/* Blocks of a partition that limits may have in all. */
static int64
reservable(CoziLimiter *limiter)
{
	return cozi_partition_at(limiter, 0)->n_blocks / 2;
}

/* Blocks of a partition that all limits but one have. */
static int64
reserved_by_others(CoziLimiter *limiter, const CoziNamed *own)
{
	int64		blocks = 0;

	for (int i = 0; i < COZI_MAX_NAMED; i++)
		if (OidIsValid(limiter->named[i].database) && &limiter->named[i] != own)
			blocks += limiter->named[i].blocks;
	return blocks;
}

/* Give the class its blocks in each partition, and take away what is more. */
static void
set_blocks(CoziLimiter *limiter, CoziNamed *named, uint32 blocks)
{
	uint32		class = COZI_SHARED_CLASSES + (uint32) (named - limiter->named);
	uint32		generation = blocks > 0 ? named->generation : 0;

	named->blocks = blocks;
	for (uint32 i = 0; i < limiter->n_partitions; i++)
	{
		bool		more = true;
		CoziArena  *arena = cozi_lock_partition(limiter, i, LW_EXCLUSIVE);

		cozi_class_reserve(arena, class, blocks, generation, named->gcra);
		while (more && cozi_class(arena, class)->held > blocks)
		{
			uint32		excess = cozi_class(arena, class)->held - blocks;

			more = cozi_class_purge(arena, class, (int) Min(PURGE, excess));
			cozi_unlock_partition(limiter, i);
			cozi_lock_partition(limiter, i, LW_EXCLUSIVE);
		}
		cozi_unlock_partition(limiter, i);
	}
	if (blocks == 0)
	{
		named->database = InvalidOid;
		named->name[0] = '\0';
	}
}

/*
 * Have so many blocks for a limit; false if there are not as many, and *left
 * says how many there are.  Under the lock of the names.
 */
static bool
reserve(CoziLimiter *limiter, const char *name, bool gcra, uint32 blocks,
		CoziHandle *handle, int64 *left)
{
	CoziNamed  *named = find_named(limiter, MyDatabaseId, name);

	*left = reservable(limiter) - reserved_by_others(limiter, named);
	if (named == NULL && blocks > 0)
		named = find_named(limiter, InvalidOid, "");
	if (blocks > *left || (named == NULL && blocks > 0))
		return false;
	if (named == NULL)
		return true;			/* there is nothing to give back */
	if (!OidIsValid(named->database) || named->gcra != gcra)
	{
		if (OidIsValid(named->database))
			set_blocks(limiter, named, 0);
		named->generation = ++limiter->generation;
		named->gcra = gcra;
		strlcpy(named->name, name, COZI_NAME_BYTES);
		named->database = MyDatabaseId;
	}
	if (named->blocks != blocks || blocks == 0)
		set_blocks(limiter, named, blocks);
	handle->slot = (int) (named - limiter->named);
	handle->generation = named->generation;
	return true;
}

/*
 * Is no transaction changing the limits of this database?  The row of one that
 * is created is not seen before the commit, and its memory is no orphan.
 */
static bool
limits_are_settled(void)
{
	Oid			relid = cozi_table("rate_limit_config");

	if (RecoveryInProgress())
		return true;
	if (!ConditionalLockRelationOid(relid, ShareLock))
		return false;
	UnlockRelationOid(relid, ShareLock);
	return true;
}

/* Entries whose database or row is gone give their memory back. */
static void
reclaim_orphans(CoziLimiter *limiter)
{
	bool		settled;

	struct
	{
		Oid			database;
		char		name[COZI_NAME_BYTES];
	}			seen[COZI_MAX_NAMED];

	LWLockAcquire(&limiter->names_lock.lock, LW_SHARED);
	for (int i = 0; i < COZI_MAX_NAMED; i++)
	{
		seen[i].database = limiter->named[i].database;
		strlcpy(seen[i].name, limiter->named[i].name, COZI_NAME_BYTES);
	}
	LWLockRelease(&limiter->names_lock.lock);
	settled = limits_are_settled();

	for (int i = 0; i < COZI_MAX_NAMED; i++)
	{
		CoziNamed  *named = &limiter->named[i];
		bool		orphan = OidIsValid(seen[i].database) &&
		(seen[i].database == MyDatabaseId ?
		 settled && cozi_limit_find(seen[i].name) == NULL :
		 !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(seen[i].database)));

		if (!orphan)
			continue;
		LWLockAcquire(&limiter->names_lock.lock, LW_EXCLUSIVE);
		if (named->database == seen[i].database && strcmp(named->name, seen[i].name) == 0)
			set_blocks(limiter, named, 0);
		LWLockRelease(&limiter->names_lock.lock);
	}
}

static bool
try_reserve(CoziLimiter *limiter, const char *name, bool gcra, uint32 blocks,
			CoziHandle *handle, int64 *left)
{
	bool		done;

	LWLockAcquire(&limiter->names_lock.lock, LW_EXCLUSIVE);
	done = reserve(limiter, name, gcra, blocks, handle, left);
	LWLockRelease(&limiter->names_lock.lock);
	return done;
}

/* Have the memory of a limit, and its handle; or report that there is none. */
static bool
reserve_or_report(CoziLimiter *limiter, CoziLimit *limit, uint32 blocks, int elevel)
{
	CoziLimit	own = *limit;	/* the search for orphans may read the table
								 * again */
	int64		left;
	bool		done;

	done = try_reserve(limiter, own.name, !own.exact, blocks, &limit->handle, &left);
	if (!done)
	{
		reclaim_orphans(limiter);
		done = try_reserve(limiter, own.name, !own.exact, blocks, &own.handle, &left);
		if (done && (limit = cozi_limit_find(own.name)) != NULL)
			limit->handle = own.handle;
	}
	if (done)
		return true;
	if (blocks <= left)
		ereport(elevel,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a server has at most %d named rate limits", COZI_MAX_NAMED),
				 errhint("Drop one with cozi.drop_rate_limit().")));
	else
		ereport(elevel,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("rate limit \"%s\" needs %lld kB, and %lld kB are left",
						own.name, (long long) blocks_to_kb(limiter, blocks),
						(long long) blocks_to_kb(limiter, Max(left, 0))),
				 errdetail("Half of the memory for logs can be reserved: %lld kB.",
						   (long long) blocks_to_kb(limiter, reservable(limiter))),
				 errhint("Give the limit less memory, drop another, "
						 "or raise cozi.rate_limit_memory.")));
	return false;
}

/* The memory of a limit that is defined; a change of this transaction counts. */
bool
cozi_limit_reserve(CoziLimiter *limiter, CoziLimit *limit, int elevel)
{
	uint32		blocks = cozi_limit_blocks(limiter, limit);

	for (Change *change = changes; change; change = change->next)
		if (strcmp(change->name, limit->name) == 0)
			blocks = Max(blocks, Max(change->at_commit, change->at_abort));
	return reserve_or_report(limiter, limit, blocks, elevel);
}

/* The blocks that a limit has now. */
static uint32
blocks_of(CoziLimiter *limiter, const char *name)
{
	CoziNamed  *named;
	uint32		blocks;

	LWLockAcquire(&limiter->names_lock.lock, LW_SHARED);
	named = find_named(limiter, MyDatabaseId, name);
	blocks = named ? named->blocks : 0;
	LWLockRelease(&limiter->names_lock.lock);
	return blocks;
}

static void
end_change(const Change *change, uint32 blocks)
{
	CoziLimiter *limiter = cozi_limiter(false);
	CoziHandle	handle;
	int64		left;

	if (limiter)
		(void) try_reserve(limiter, change->name, change->gcra, blocks, &handle, &left);
}

/* The changes of this level and above are undone, the newest first. */
static void
abort_changes(int level)
{
	while (changes && changes->level >= level)
	{
		Change	   *change = changes;

		end_change(change, change->at_abort);
		changes = change->next;
		pfree(change);
	}
}

/* The newest change of a name holds. */
static void
commit_changes(void)
{
	while (changes)
	{
		Change	   *change = changes;
		Change	  **link = &change->next;

		end_change(change, change->at_commit);
		while (*link)
		{
			Change	   *older = *link;

			if (strcmp(older->name, change->name) == 0)
			{
				*link = older->next;
				pfree(older);
			}
			else
				link = &older->next;
		}
		changes = change->next;
		pfree(change);
	}
}

static void
end_changes(XactEvent event, void *arg)
{
	if (changes == NULL)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed a rate limit")));
	if (event == XACT_EVENT_COMMIT)
		commit_changes();
	else if (event == XACT_EVENT_ABORT)
		abort_changes(0);
}

static void
end_nested_changes(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
		abort_changes(level);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (Change *change = changes; change && change->level >= level; change = change->next)
			change->level = level - 1;
}

/*
 * A limit was created, altered or dropped by this transaction: have the memory
 * of both outcomes until it ends.
 */
void
cozi_limit_change(CoziLimiter *limiter, CoziLimit *limit, bool drop)
{
	static bool registered = false;
	uint32		now = blocks_of(limiter, limit->name);
	uint32		then = drop ? 0 : cozi_limit_blocks(limiter, limit);
	Change	   *change;

	if (!registered)
	{
		RegisterXactCallback(end_changes, NULL);
		RegisterSubXactCallback(end_nested_changes, NULL);
		registered = true;
	}
	if (then > now)
		(void) reserve_or_report(limiter, limit, then, ERROR);
	change = MemoryContextAllocZero(TopMemoryContext, sizeof(Change));
	strlcpy(change->name, limit->name, COZI_NAME_BYTES);
	change->gcra = !limit->exact;
	change->level = GetCurrentTransactionNestLevel();
	change->at_commit = then;
	change->at_abort = now;
	change->next = changes;
	changes = change;
}

/* Sums over the partitions; false if the limit has no memory. */
bool
cozi_limit_stats(CoziLimiter *limiter, const char *name, CoziClassStats *stats)
{
	CoziNamed  *named;
	int			slot;

	memset(stats, 0, sizeof(*stats));
	LWLockAcquire(&limiter->names_lock.lock, LW_SHARED);
	named = find_named(limiter, MyDatabaseId, name);
	slot = named ? (int) (named - limiter->named) : -1;
	LWLockRelease(&limiter->names_lock.lock);
	if (slot < 0)
		return false;
	for (uint32 i = 0; i < limiter->n_partitions; i++)
	{
		CoziArena  *arena = cozi_lock_partition(limiter, i, LW_SHARED);
		CoziClass  *class = cozi_class(arena, COZI_SHARED_CLASSES + slot);

		stats->blocks += class->reserved;
		stats->used += class->held;
		stats->keys += class->keys;
		stats->allowed += class->allowed;
		stats->denied += class->refused;
		stats->evictions += class->evictions;
		cozi_unlock_partition(limiter, i);
	}
	return true;
}
