/*
 * live/channel.c
 *		When each channel was notified last, and what waits to be sent on it.
 *
 * One table in shared memory for all databases, of at most CHANNELS channels that
 * were notified within their intervals.  A channel that is quiet says nothing, and
 * its place is given to another.
 *
 * A transaction takes the channels that it wants to notify while it may still fail
 * for want of room.  In the last moment before its commit it claims those whose
 * interval is over; then it sends.  For others its payload is left, once it has
 * committed, for the one who sends next.
 *
 * The laws.  A transaction that rolls back has sent nothing and leaves nothing: the
 * table changes after the commit alone.  What is left is taken away only by who has
 * committed a message that was claimed after it was left.  Nothing is allocated, and
 * no error is raised, under the lock.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "live/notify.h"

typedef struct Channel
{
	Oid			database;		/* invalid: the place is free */
	uint32		hash;			/* of the name */
	NameData	name;
	int			users;			/* transactions that have taken it */
	bool		sending;		/* one of them has claimed it */
	bool		waiting;		/* a payload waits */
	uint64		left;			/* how many payloads have been left */
	int64		per;			/* of the last message */
	int64		waiting_per;	/* of what waits: the shortest */
	TimestampTz sent;			/* 0: never */
	char		payload[NOTIFY_MOST_BYTES];
} Channel;

typedef struct ChannelTable
{
	CoziShmemHeader header;
	int			tranche;
	LWLockPadded lock;
	Channel		channels[CHANNELS];
} ChannelTable;

static Size
channels_size(void)
{
	return sizeof(ChannelTable);
}

static void
channels_init(CoziShmemHeader *area)
{
	ChannelTable *table = (ChannelTable *) area;

	table->tranche = LWLockNewTrancheId_compat("CoziChannels");
	LWLockInitialize(&table->lock.lock, table->tranche);
}

static void
channels_attach(CoziShmemHeader *area)
{
	LWLockRegisterTranche_compat(((ChannelTable *) area)->tranche, "CoziChannels");
}

static CoziShmem channels_shmem = {
	.name = "cozi channels",
	.layout = 1,
	.size = channels_size,
	.init = channels_init,
	.attach = channels_attach,
};

static ChannelTable *
lock_table(void)
{
	ChannelTable *table = (ChannelTable *) cozi_shmem_attach(&channels_shmem, true);

	LWLockAcquire(&table->lock.lock, LW_EXCLUSIVE);
	return table;
}

static void
unlock_table(ChannelTable *table)
{
	LWLockRelease(&table->lock.lock);
}

/*
 * Has an interval passed since?  A clock set back must not stop us.  So now is asked for
 * under the lock: earlier, and what another sent meanwhile would look like such a clock.
 */
static bool
is_over(TimestampTz since, int64 per, TimestampTz now)
{
	return since == 0 || now < since || now - since >= per;
}

/* The place of a channel of this database, or -1; and one for it that can be had. */
static int
find_channel(ChannelTable *table, const char *name, uint32 hash, TimestampTz now, int *room)
{
	*room = -1;
	for (int i = 0; i < CHANNELS; i++)
	{
		Channel    *each = &table->channels[i];

		if (each->database == MyDatabaseId && each->hash == hash &&
			strcmp(NameStr(each->name), name) == 0)
			return i;
		if (each->database == InvalidOid ||
			(each->users == 0 && !each->waiting && is_over(each->sent, each->per, now)))
			*room = i;
	}
	return -1;
}

/* The channel, taken; -1 if there is no room for it. */
static int
take_place(const char *name)
{
	uint32		hash = hash_bytes((const unsigned char *) name, strlen(name));
	ChannelTable *table = lock_table();
	TimestampTz now = GetCurrentTimestamp();
	int			room;
	int			place = find_channel(table, name, hash, now, &room);

	if (place < 0 && room >= 0)
	{
		Channel    *channel = &table->channels[room];

		place = room;
		channel->database = MyDatabaseId;
		channel->hash = hash;
		strlcpy(NameStr(channel->name), name, NAMEDATALEN);
		channel->users = 0;
		channel->sending = channel->waiting = false;
		channel->left = 0;
		channel->per = channel->waiting_per = 0;
		channel->sent = 0;
	}
	if (place >= 0)
		table->channels[place].users++;
	unlock_table(table);
	return place;
}

/* Free the channels of databases that have been dropped; was there any? */
static bool
free_dropped(void)
{
	Oid			databases[CHANNELS];
	bool		any = false;
	ChannelTable *table = lock_table();

	for (int i = 0; i < CHANNELS; i++)
		databases[i] = table->channels[i].database;
	unlock_table(table);
	for (int i = 0; i < CHANNELS; i++)
	{
		if (!OidIsValid(databases[i]) ||
			SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(databases[i])))
			continue;
		table = lock_table();
		if (table->channels[i].database == databases[i])
			table->channels[i].database = InvalidOid;
		unlock_table(table);
		any = true;
	}
	return any;
}

/* Take a channel until the end of the transaction: it keeps its place. */
int
cozi_channel_take(const char *name)
{
	int			place = take_place(name);

	if (place < 0 && free_dropped())
		place = take_place(name);
	if (place < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no more than %d channels can be throttled at a time", CHANNELS),
				 errdetail("A channel counts while its interval runs, or a message waits."),
				 errhint("Use fewer channels, or a shorter interval; cozi.notify_flush() sends"
						 " what waits.")));
	return place;
}

void
cozi_channel_release(int place)
{
	ChannelTable *table = lock_table();

	table->channels[place].users--;
	unlock_table(table);
}

/*
 * May this transaction, which is about to commit, send?  Then it must say how it
 * ended: cozi_channel_done() or cozi_channel_give_up().  name has NAMEDATALEN bytes,
 * payload NOTIFY_MOST_BYTES.
 */
bool
cozi_channel_claim(ChannelSend *send, char *name, char *payload)
{
	ChannelTable *table = lock_table();
	TimestampTz now = GetCurrentTimestamp();
	Channel    *channel = &table->channels[send->channel];

	if (send->waiting)
		send->claimed = channel->waiting && is_over(channel->sent, channel->waiting_per, now);
	else
		send->claimed = is_over(channel->sent, send->per, now);
	send->claimed = send->claimed && !channel->sending;
	if (send->claimed)
	{
		channel->sending = true;
		send->left = channel->left;
		strlcpy(name, NameStr(channel->name), NAMEDATALEN);
		if (send->waiting)
		{
			send->per = channel->waiting_per;
			strlcpy(payload, channel->payload, NOTIFY_MOST_BYTES);
		}
	}
	unlock_table(table);
	if (send->claimed && !send->waiting)
		strlcpy(payload, send->payload, NOTIFY_MOST_BYTES);
	return send->claimed;
}

/* The transaction rolls back: nothing was sent, and nothing is left. */
void
cozi_channel_give_up(const ChannelSend *send)
{
	ChannelTable *table = lock_table();

	if (send->claimed)
		table->channels[send->channel].sending = false;
	table->channels[send->channel].users--;
	unlock_table(table);
}

/*
 * The transaction has committed: it has sent, or leaves its payload.  Does anything
 * wait now?
 */
bool
cozi_channel_done(const ChannelSend *send)
{
	ChannelTable *table = lock_table();
	TimestampTz now = GetCurrentTimestamp();
	Channel    *channel = &table->channels[send->channel];
	bool		waits;

	if (send->claimed)
	{
		channel->sending = false;
		channel->sent = now;
		channel->per = send->per;
		if (channel->left == send->left)
			channel->waiting = false;
	}
	else if (!send->waiting)
	{
		channel->waiting_per = channel->waiting ? Min(channel->waiting_per, send->per) :
			send->per;
		channel->waiting = true;
		channel->left++;
		strlcpy(channel->payload, send->payload, NOTIFY_MOST_BYTES);
	}
	channel->users--;
	waits = channel->waiting;
	unlock_table(table);
	return waits;
}

/* Take the channels of this database on which something is to be sent now. */
int
cozi_channel_take_due(int *channels)
{
	ChannelTable *table = lock_table();
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	for (int i = 0; i < CHANNELS; i++)
	{
		Channel    *each = &table->channels[i];

		if (each->database != MyDatabaseId || !each->waiting || each->sending ||
			!is_over(each->sent, each->waiting_per, now))
			continue;
		each->users++;
		channels[n++] = i;
	}
	unlock_table(table);
	return n;
}

/* Does anything wait in this database? */
bool
cozi_channel_waits(void)
{
	ChannelTable *table = (ChannelTable *) cozi_shmem_attach(&channels_shmem, false);
	bool		waits = false;

	if (table == NULL)
		return false;
	LWLockAcquire(&table->lock.lock, LW_SHARED);
	for (int i = 0; !waits && i < CHANNELS; i++)
		waits = table->channels[i].database == MyDatabaseId && table->channels[i].waiting;
	LWLockRelease(&table->lock.lock);
	return waits;
}

void
cozi_channel_init(void)
{
	cozi_shmem_request(&channels_shmem);
}
