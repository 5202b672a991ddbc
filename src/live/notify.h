/*
 * live/notify.h
 *		Notifications: throttled ones, and those that announce changes.
 *
 * The law: a message that is put off is sent after what it is about can be seen, and
 * never by the transaction of a writer who did not ask for it.
 */
#ifndef COZI_NOTIFY_H
#define COZI_NOTIFY_H

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "base/base.h"

#define NOTIFY_MOST_BYTES	8000	/* of a payload, its end included:
									 * NOTIFY's */
#define NOTIFY_MOST_PER		USECS_PER_HOUR

/* channel.c: when each channel was notified last, and what waits to be sent on it */
#define CHANNELS			256

/* A transaction's intention to notify a channel. */
typedef struct ChannelSend
{
	int			channel;
	int64		per;
	bool		waiting;		/* what waits, and nothing else */
	char	   *payload;
	bool		claimed;		/* this transaction sends */
	uint64		left;			/* what was waiting when it was claimed */
} ChannelSend;

extern int	cozi_channel_take(const char *name);
extern void cozi_channel_release(int channel);
extern bool cozi_channel_claim(ChannelSend *send, char *name, char *payload);
extern void cozi_channel_give_up(const ChannelSend *send);
extern bool cozi_channel_done(const ChannelSend *send);
extern int	cozi_channel_take_due(int *channels);
extern bool cozi_channel_waits(void);
extern void cozi_channel_init(void);

/* throttle.c */
extern void cozi_check_channel(const char *channel);
extern int64 cozi_notify_interval(FunctionCallInfo fcinfo, int n);
extern int64 cozi_throttle_flush(void);
extern void cozi_throttle_init(void);

/* init.c */
extern void cozi_live_init(void);

#endif							/* COZI_NOTIFY_H */
