/*
 * live/throttle.c
 *		notify_throttled(): NOTIFY, at most so often on each channel.
 *
 * Every transaction that notifies takes a lock of the whole server for its commit.
 * Here one in so many does; what the others would have said is sent once, at the
 * end of the interval, by the fold worker or by notify_flush().
 *
 * The law: whether a transaction sends is decided in the last moment before its
 * commit, so that no open transaction holds a channel.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kept/kept.h"
#include "live/notify.h"

/* What this transaction wants to send. */
typedef struct Request
{
	int			level;			/* the subtransaction that asked */
	ChannelSend send;
} Request;

static List *requests = NIL;	/* in TopTransactionContext; the last call
								 * last */

void
cozi_check_channel(const char *channel)
{
	if (channel[0] == '\0')
		cozi_bad_value("a channel must have a name", "Name it as in LISTEN.");
	if (strlen(channel) >= NAMEDATALEN)
		cozi_bad_value("the name of the channel is too long",
					   psprintf("A name has at most %d bytes.", NAMEDATALEN - 1));
}

/* per, in microseconds */
int64
cozi_notify_interval(FunctionCallInfo fcinfo, int n)
{
	Interval   *per;

	cozi_require_argument(fcinfo, n, "per");
	per = PG_GETARG_INTERVAL_P(n);
	if (per->month != 0 || per->day != 0 || per->time <= 0 || per->time > NOTIFY_MOST_PER)
		cozi_bad_value("per must be positive, and at most 1 hour", "Use '250 ms'.");
	return per->time;
}

static Request *
find_request(int channel)
{
	ListCell   *lc;
	Request    *found = NULL;

	foreach(lc, requests)
		if (((Request *) lfirst(lc))->send.channel == channel)
		found = lfirst(lc);
	return found;
}

/* Ask for a channel that is taken. */
static void
add_request(int channel, int64 per, bool waiting, const char *payload)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Request    *request = palloc0(sizeof(Request));

	request->level = GetCurrentTransactionNestLevel();
	request->send.channel = channel;
	request->send.per = per;
	request->send.waiting = waiting;
	request->send.payload = pstrdup(payload);
	requests = lappend(requests, request);
	MemoryContextSwitchTo(caller);
}

PG_FUNCTION_INFO_V1(cozi_notify_throttled);

/*
 * notify_throttled(channel text, payload text, per interval) -> void
 */
Datum
cozi_notify_throttled(PG_FUNCTION_ARGS)
{
	char	   *channel;
	char	   *payload;
	int64		per;
	int			place;
	Request    *request;

	cozi_require_argument(fcinfo, 0, "channel");
	cozi_require_argument(fcinfo, 1, "payload");
	channel = text_to_cstring(PG_GETARG_TEXT_PP(0));
	payload = text_to_cstring(PG_GETARG_TEXT_PP(1));
	per = cozi_notify_interval(fcinfo, 2);
	PreventCommandDuringRecovery("notify_throttled()");
	cozi_check_channel(channel);
	if (strlen(payload) >= NOTIFY_MOST_BYTES)
		cozi_bad_value("the payload is too long",
					   psprintf("It has at most %d bytes: name what is to be read.",
								NOTIFY_MOST_BYTES - 1));
	place = cozi_channel_take(channel);
	request = find_request(place);
	if (request == NULL || request->level != GetCurrentTransactionNestLevel())
		add_request(place, per, false, payload);
	else
	{
		cozi_channel_release(place);
		pfree(request->send.payload);
		request->send.payload = MemoryContextStrdup(TopTransactionContext, payload);
		request->send.per = per;
		request->send.waiting = false;
	}
	PG_RETURN_VOID();
}

/* Send what waits and is due at the commit of this transaction; on how many channels? */
int64
cozi_throttle_flush(void)
{
	int			channels[CHANNELS];
	int			n = cozi_channel_take_due(channels);
	int64		sent = 0;

	for (int i = 0; i < n; i++)
	{
		/* what this transaction itself has to say comes later */
		if (find_request(channels[i]) != NULL)
			cozi_channel_release(channels[i]);
		else
		{
			add_request(channels[i], 0, true, "");
			sent++;
		}
	}
	return sent;
}

/* Of several requests for a channel the last one counts. */
static void
send_requests(void)
{
	bool		seen[CHANNELS] = {false};
	char		name[NAMEDATALEN];
	char		payload[NOTIFY_MOST_BYTES];

	for (int i = list_length(requests) - 1; i >= 0; i--)
	{
		ChannelSend *send = &((Request *) list_nth(requests, i))->send;

		if (seen[send->channel])
		{
			cozi_channel_release(send->channel);
			requests = list_delete_nth_cell(requests, i);
			continue;
		}
		seen[send->channel] = true;
		if (cozi_channel_claim(send, name, payload))
			Async_Notify(name, payload);
	}
}

/* After the commit, so that a worker that looks once more sees it. */
static void
end_requests(bool committed)
{
	bool		waits = false;
	ListCell   *lc;

	foreach(lc, requests)
	{
		ChannelSend *send = &((Request *) lfirst(lc))->send;

		if (!committed)
			cozi_channel_give_up(send);
		else if (cozi_channel_done(send))
			waits = true;
	}
	requests = NIL;
	if (waits)
		(void) cozi_kept_worker_runs();
}

static void
at_end(XactEvent event, void *arg)
{
	if (requests == NIL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			send_requests();
			return;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has called"
							" notify_throttled() or notify_flush()")));
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			end_requests(event == XACT_EVENT_COMMIT);
			return;
		default:
			return;
	}
}

/*
 * Hand a request on to the subtransaction above, where it takes the place of an
 * earlier one.
 */
static void
hand_on(int i)
{
	Request    *request = list_nth(requests, i);

	request->level--;
	for (int j = i - 1; j >= 0; j--)
	{
		Request    *earlier = list_nth(requests, j);

		if (earlier->level < request->level)
			return;
		if (earlier->level > request->level ||
			earlier->send.channel != request->send.channel)
			continue;
		cozi_channel_release(earlier->send.channel);
		requests = list_delete_nth_cell(requests, j);
		return;
	}
}

/* What asked and aborts has not asked. */
static void
at_savepoint_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
				 void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	if (requests == NIL)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = 0; i < list_length(requests); i++)
			if (((Request *) list_nth(requests, i))->level == level)
			{
				int			n = list_length(requests);

				hand_on(i);
				i -= n - list_length(requests);
			}
		return;
	}
	while (requests != NIL && ((Request *) llast(requests))->level >= level)
	{
		cozi_channel_release(((Request *) llast(requests))->send.channel);
		requests = list_delete_last(requests);
	}
}

void
cozi_throttle_init(void)
{
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_savepoint_end, NULL);
}
