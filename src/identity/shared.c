/*
 * identity/shared.c
 *		Tokens that any backend verified lately, and changes of keys under way.
 *
 * Clients send one token thousands of times; it need not be verified each
 * time.  A slot is found by a keyed 128-bit hash of the database and the whole
 * token, so that nothing but the token itself finds it, and has what login()
 * needs: the claims, the subject, and the digest of the row of cozi.jwks that
 * verified it.  The law: a slot never outlives a key.  Who finds one must also
 * find that very row, unchanged, among the keys of this moment, the settings
 * that judged the claims as they were, and the instant within the token's and
 * the key's time; then ask about revocations.
 *
 * Locks: a set of four slots by one of the LWLocks, shared to read.  Nothing
 * is allocated and nothing raises an error under one.
 *
 * A relcache invalidation tells sessions of new keys, but it is sent a moment
 * after the commit can be seen.  In between a session that has seen the commit
 * must not use what it has cached.  So a transaction that changed the keys
 * counts itself in "committing" before its commit can be seen, and out after
 * it has counted up "changes".  A session that reads committing as 0 and
 * changes as it was has seen no such commit.
 *
 * Two kinds of commit pass that count by.  A standby replays them: there each
 * login reads its row.  And a transaction that was prepared is committed by
 * any session, perhaps one that has not loaded cozi: PREPARE counts it in
 * "prepared", also over a restart, which begins with 1.  It holds its lock on
 * the table until its invalidation was sent; so a session goes on with what it
 * has cached only if, for that number, it has seen the table without a writer.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/rel.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/shared.h"
#include "pure/siphash.h"

/* Raise this with any change to the structures here or in shared.h. */
#define LAYOUT 2
#define SET_SLOTS 4
#define N_LOCKS 64

typedef struct LoginSlot
{
	uint64		token[2];		/* hash of database and token; 0, 0: empty */
	uint64		rules;			/* digest of the settings that judged it */
	Oid			database;
	pg_atomic_uint64 used_at;
	CoziLogin	login;
} LoginSlot;

typedef struct ChangeCount
{
	pg_atomic_uint64 changes;
	pg_atomic_uint64 prepared;
	pg_atomic_uint32 committing;
} ChangeCount;

typedef struct Shared
{
	CoziShmemHeader header;
	uint64		seed[2];
	ChangeCount change[COZI_CHANGE_KINDS];
	int			tranche;
	uint32		nsets;			/* a power of 2, or 0 */
	LWLockPadded lock[N_LOCKS];
	LoginSlot	slot[FLEXIBLE_ARRAY_MEMBER];
} Shared;

int			cozi_login_cache;	/* kB */

/* What this transaction has changed; and is counted in "committing". */
static bool has_changed[COZI_CHANGE_KINDS];
static bool is_committing = false;

/* For what number of prepared changes this session has seen no writer. */
static uint64 none_prepared[COZI_CHANGE_KINDS];

static Size
shared_size(void)
{
	return offsetof(Shared, slot) + (Size) cozi_login_cache * 1024;
}

static void
init_shared(CoziShmemHeader *header)
{
	Shared	   *shared = (Shared *) header;
	Size		n = (header->size - offsetof(Shared, slot)) / (sizeof(LoginSlot) * SET_SLOTS);

	if (!pg_strong_random(shared->seed, sizeof(shared->seed)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (int i = 0; i < COZI_CHANGE_KINDS; i++)
	{
		pg_atomic_init_u64(&shared->change[i].changes, 1);
		pg_atomic_init_u64(&shared->change[i].prepared, 1);
		pg_atomic_init_u32(&shared->change[i].committing, 0);
	}
	shared->tranche = LWLockNewTrancheId_compat("CoziLogins");
	shared->nsets = n == 0 ? 0 : 1U << pg_leftmost_one_pos32((uint32) Min(n, PG_INT32_MAX));
	for (int i = 0; i < N_LOCKS; i++)
		LWLockInitialize(&shared->lock[i].lock, shared->tranche);
#ifdef PG_HAVE_ATOMIC_U64_SIMULATION	/* native ones are made: zero */
	for (Size i = 0; i < (Size) shared->nsets * SET_SLOTS; i++)
		pg_atomic_init_u64(&shared->slot[i].used_at, 0);
#endif
}

static void
attach_shared(CoziShmemHeader *header)
{
	LWLockRegisterTranche_compat(((Shared *) header)->tranche, "CoziLogins");
}

static CoziShmem area = {
	.name = "cozi identity",
	.layout = LAYOUT,
	.size = shared_size,
	.init = init_shared,
	.attach = attach_shared
};

static Shared *
shared_area(void)
{
	return (Shared *) cozi_shmem_attach(&area, true);
}

/*
 * A hash that cannot be aimed: of a word and some bytes, by a key of this
 * server's start.
 */
void
cozi_hash128(uint64 first, const void *data, size_t len, uint64 hash[2])
{
	cozi_siphash128(shared_area()->seed, first, data, len, hash);
}

static LoginSlot *
find_set(Shared *shared, const uint64 token[2], LWLock * *lock)
{
	uint32		n = (uint32) token[0] & (shared->nsets - 1);

	*lock = &shared->lock[n % N_LOCKS].lock;
	return &shared->slot[(Size) n * SET_SLOTS];
}

static bool
is_slot_of(const LoginSlot *slot, const uint64 token[2])
{
	return slot->token[0] == token[0] && slot->token[1] == token[1] &&
		slot->database == MyDatabaseId;
}

/* A login that was remembered and is not over; false when there is none. */
bool
cozi_recall_login(const uint64 token[2], uint64 rules, TimestampTz now, CoziLogin *login)
{
	Shared	   *shared = shared_area();
	LWLock	   *lock;
	LoginSlot  *slot;
	bool		found = false;

	if (shared->nsets == 0)
		return false;
	slot = find_set(shared, token, &lock);
	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < SET_SLOTS && !found; i++, slot++)
	{
		/* before verified_at: the clock was set back, and nbf must be asked */
		if (!is_slot_of(slot, token) || slot->rules != rules ||
			now < slot->login.verified_at || now >= slot->login.valid_until)
			continue;
		memcpy(login, &slot->login, offsetof(CoziLogin, data) + slot->login.data_len);
		pg_atomic_write_u64(&slot->used_at, (uint64) now);
		found = true;
	}
	LWLockRelease(lock);
	return found;
}

/* The slot of the token, a free one, or the one that was not used for longest. */
static LoginSlot *
choose_slot(LoginSlot *set, const uint64 token[2], TimestampTz now)
{
	LoginSlot  *best = set;

	for (int i = 0; i < SET_SLOTS; i++)
	{
		if (is_slot_of(&set[i], token) || set[i].database == InvalidOid ||
			set[i].login.valid_until <= now)
			return &set[i];
		if (pg_atomic_read_u64(&set[i].used_at) < pg_atomic_read_u64(&best->used_at))
			best = &set[i];
	}
	return best;
}

void
cozi_remember_login(const uint64 token[2], uint64 rules, const CoziLogin *login)
{
	Shared	   *shared = shared_area();
	LWLock	   *lock;
	LoginSlot  *slot;

	if (shared->nsets == 0)
		return;
	slot = find_set(shared, token, &lock);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = choose_slot(slot, token, login->verified_at);
	slot->token[0] = token[0];
	slot->token[1] = token[1];
	slot->rules = rules;
	slot->database = MyDatabaseId;
	pg_atomic_write_u64(&slot->used_at, (uint64) login->verified_at);
	memcpy(&slot->login, login, offsetof(CoziLogin, data) + login->data_len);
	LWLockRelease(lock);
}

/* May a prepared transaction be about to change the table? */
static bool
is_prepared(ChangeCount *count, CoziChangeKind kind)
{
	uint64		prepared = pg_atomic_read_u64(&count->prepared);
	Oid			relid;

	if (max_prepared_xacts == 0 || prepared == none_prepared[kind])
		return false;
	relid = cozi_table(kind == COZI_KEYS ? "jwks" : "revocations");
	if (!OidIsValid(relid))
		return false;
	if (!ConditionalLockRelationOid(relid, ShareLock))
		return true;
	UnlockRelationOid(relid, ShareLock);
	none_prepared[kind] = prepared;
	return false;
}

/*
 * A number that differs once a table was changed, or 0 while a change may be
 * under way: then nothing cached of it may be used without asking the table.
 */
uint64
cozi_count_changes(CoziChangeKind kind)
{
	ChangeCount *count = &shared_area()->change[kind];

	if (RecoveryInProgress() || is_prepared(count, kind) ||
		pg_atomic_read_u32(&count->committing) != 0)
		return 0;
	pg_read_barrier();
	return pg_atomic_read_u64(&count->changes);
}

static void
begin_commit(Shared *shared)
{
	for (int i = 0; i < COZI_CHANGE_KINDS; i++)
		if (has_changed[i])
		{
			pg_atomic_fetch_add_u32(&shared->change[i].committing, 1);
			is_committing = true;
		}
}

static void
end_commit(Shared *shared)
{
	for (int i = 0; i < COZI_CHANGE_KINDS; i++)
	{
		if (has_changed[i] && is_committing)
		{
			pg_atomic_fetch_add_u64(&shared->change[i].changes, 1);
			pg_atomic_fetch_sub_u32(&shared->change[i].committing, 1);
		}
		has_changed[i] = false;
	}
	is_committing = false;
}

static void
count_prepared(Shared *shared)
{
	for (int i = 0; i < COZI_CHANGE_KINDS; i++)
		if (has_changed[i])
			pg_atomic_fetch_add_u64(&shared->change[i].prepared, 1);
}

static void
count_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		begin_commit((Shared *) area.area);
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		end_commit((Shared *) area.area);
	else if (event == XACT_EVENT_PRE_PREPARE)
		count_prepared((Shared *) area.area);
	else if (event == XACT_EVENT_PREPARE)
		memset(has_changed, 0, sizeof(has_changed));
}

PG_FUNCTION_INFO_V1(cozi_keys_changed);

/* _keys_changed() -> trigger: config_changed(), and the commit is counted */
Datum
cozi_keys_changed(PG_FUNCTION_ARGS)
{
	Datum		result = cozi_config_changed(fcinfo);
	Relation	rel = ((TriggerData *) fcinfo->context)->tg_relation;

	(void) shared_area();		/* an error now, not at commit */
	if (strcmp(RelationGetRelationName(rel), "revocations") == 0)
		has_changed[COZI_REVOCATIONS] = true;
	else
		has_changed[COZI_KEYS] = true;
	return result;
}

void
cozi_shared_init(void)
{
	cozi_shmem_request(&area);
	RegisterXactCallback(count_commit, NULL);
}
