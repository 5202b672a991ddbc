/*
 * monitor/detail.c
 *		Why a statement is slow: its waits, errors, plans, and slowest client.
 *
 * All of it is in the statement's slot.  A word of a wait or an error is a key
 * above a count; the keys that find no word are counted in the last one.  Words
 * are added to atomically, under the lock in any mode; a plan is claimed, and
 * the client written, under it in the exclusive mode alone.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/ip.h"
#include "miscadmin.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "monitor/monitor.h"

StaticAssertDecl(sizeof(CoziClient) % sizeof(uint64) == 0, "a client is made of words");
StaticAssertDecl(NAMEDATALEN % sizeof(uint64) == 0, "a client has no hole");

/*
 * Add a key's count to the word of that key, or to the last one, which has all
 * bits of the key set.  shift is that of the key.
 */
void
cozi_add_words(pg_atomic_uint64 *word, int words, uint64 add, int shift)
{
	uint64		mask = (UINT64CONST(1) << shift) - 1;

	for (int i = 0; i < words; i++)
	{
		uint64		found = pg_atomic_read_u64(&word[i]);
		uint64		key = i == words - 1 ? PG_UINT64_MAX >> shift : add >> shift;

		while (found == 0 || found >> shift == key)
		{
			uint64		count = Min((found & mask) + (add & mask), mask);

			if (pg_atomic_compare_exchange_u64(&word[i], &found, key << shift | count))
				return;
		}
	}
}

#define WAIT_SHIFT	40
#define ERROR_SHIFT	34

/* What an evicted slot waited for and failed by. */
void
cozi_merge_details(CoziHistogram *to, CoziHistogram *from)
{
	for (int i = 0; i < COZI_SLOT_WAITS; i++)
	{
		uint64		word = pg_atomic_read_u64(&from->wait[i]);

		if (word != 0)
			cozi_add_words(to->wait, COZI_SLOT_WAITS, word, WAIT_SHIFT);
	}
	for (int i = 0; i < COZI_SLOT_ERRORS; i++)
	{
		uint64		word = pg_atomic_read_u64(&from->error[i]);

		if (word != 0)
			cozi_add_words(to->error, COZI_SLOT_ERRORS, word, ERROR_SHIFT);
	}
}

void
cozi_note_error(CoziHistogram *slot, int code)
{
	cozi_add_words(slot->error, COZI_SLOT_ERRORS, ((uint64) (uint32) code << ERROR_SHIFT) | 1,
				   ERROR_SHIFT);
}

/* NULL: that plan is not among those that were seen last, or there is none. */
CoziSeenPlan *
cozi_find_plan(CoziHistogram *slot, uint64 shape)
{
	if (shape == 0)
		return NULL;
	for (int i = 0; i < COZI_SLOT_PLANS; i++)
		if (pg_atomic_read_u64(&slot->plan[i].shape) == shape)
			return &slot->plan[i];
	return NULL;
}

/* The place of a plan, a new one's free or that of the one seen longest ago. */
CoziSeenPlan *
cozi_claim_plan(CoziHistogram *slot, uint64 shape)
{
	CoziSeenPlan *place = cozi_find_plan(slot, shape);

	if (place != NULL || shape == 0)
		return place;
	place = &slot->plan[0];
	for (int i = 1; i < COZI_SLOT_PLANS; i++)
		if (pg_atomic_read_u64(&slot->plan[i].last) < pg_atomic_read_u64(&place->last))
			place = &slot->plan[i];
	pg_atomic_write_u64(&place->shape, shape);
	pg_atomic_write_u64(&place->first, GetCurrentStatementStartTimestamp());
	pg_atomic_write_u64(&place->last, GetCurrentStatementStartTimestamp());
	pg_atomic_write_u64(&place->calls, 0);
	pg_atomic_write_u64(&place->total, 0);
	return place;
}

/* When it was last seen is kept to the second. */
void
cozi_note_plan(CoziSeenPlan *plan, uint64 ns)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	pg_atomic_fetch_add_u64(&plan->calls, 1);
	pg_atomic_fetch_add_u64(&plan->total, ns);
	if (now >= (TimestampTz) pg_atomic_read_u64(&plan->last) + USECS_PER_SEC)
		cozi_raise_u64(&plan->last, now);
}

/* This session's client; its address is empty on a socket of the machine. */
void
cozi_this_client(CoziClient *client)
{
	memset(client, 0, sizeof(CoziClient));
	client->ended_at = GetCurrentTimestamp();
	if (application_name != NULL)
		strlcpy(client->application, application_name, sizeof(client->application));
	if (MyBEEntry != NULL && MyBEEntry->st_clientaddr.addr.ss_family != AF_UNIX &&
		pg_getnameinfo_all(&MyBEEntry->st_clientaddr.addr, MyBEEntry->st_clientaddr.salen,
						   client->address, sizeof(client->address), NULL, 0,
						   NI_NUMERICHOST) != 0)
		client->address[0] = '\0';
}

/* Its execution is the slowest so far. */
void
cozi_note_client(CoziHistogram *slot, const CoziClient *client)
{
	uint64		word[COZI_CLIENT_WORDS];

	memcpy(word, client, sizeof(CoziClient));
	for (int w = 0; w < COZI_CLIENT_WORDS; w++)
		pg_atomic_write_u64(&slot->client[w], word[w]);
}

/*
 * A lock or an event that an extension named may have another number after the
 * restart: it is a lock or an event of some extension then.
 */
static uint64
wait_of_last_start(uint64 word)
{
	uint32		event = COZI_WAIT_EVENT(word);
	uint32		class = event >> 16 << 24;

	if (class == PG_WAIT_EXTENSION)
		event &= 0xFF0000;
	else if (class == PG_WAIT_LWLOCK && (event & 0xFFFF) >= LWTRANCHE_FIRST_USER_DEFINED)
		event = COZI_WAIT_OTHER;
	return COZI_WAIT_WORD(event, COZI_WAIT_MS(word));
}

/* What the file of the last shutdown has, into a slot that is new. */
void
cozi_load_details(CoziHistogram *slot, const CoziFigures *saved)
{
	const uint64 *client = (const uint64 *) &saved->client;

	for (int i = 0; i < COZI_SLOT_WAITS; i++)
		if (saved->wait[i] != 0)
			cozi_add_words(slot->wait, COZI_SLOT_WAITS, wait_of_last_start(saved->wait[i]),
						   WAIT_SHIFT);
	for (int i = 0; i < COZI_SLOT_ERRORS; i++)
		if (saved->error[i] != 0)
			cozi_add_words(slot->error, COZI_SLOT_ERRORS, saved->error[i], ERROR_SHIFT);
	for (int i = 0; i < COZI_SLOT_PLANS; i++)
	{
		pg_atomic_write_u64(&slot->plan[i].shape, saved->plan[i].shape);
		pg_atomic_write_u64(&slot->plan[i].first, saved->plan[i].first);
		pg_atomic_write_u64(&slot->plan[i].last, saved->plan[i].last);
		pg_atomic_write_u64(&slot->plan[i].calls, saved->plan[i].calls);
		pg_atomic_write_u64(&slot->plan[i].total, saved->plan[i].total);
	}
	for (int w = 0; w < COZI_CLIENT_WORDS; w++)
		pg_atomic_write_u64(&slot->client[w], client[w]);
}
