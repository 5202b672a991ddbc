/*
 * live/announce.h
 *		Announcements of changes: who wants them, and how they are sent.
 *
 * The law: they are sent with no more than the rights of the table's owner, and no
 * code of an owner's runs.
 */
#ifndef COZI_ANNOUNCE_H
#define COZI_ANNOUNCE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "kept/kept.h"

typedef struct Announcement
{
	int32		kept;
	char	   *via;			/* "notify" or "realtime" */
	char	   *topic;
	int64		per;
	bool		counts;			/* the payload has rows */
	bool		is_private;		/* a channel of Realtime */

	/* how far it is, in this database */
	bool		begun;
	Oid			owner;			/* who wants it */
	int64		era;
	int64		sent;			/* the number of the last change announced */
	TimestampTz sent_at;		/* 0: never */
	int32		failures;		/* since the last message */
	TimestampTz retry_at;		/* 0: at once */
	char	   *last_error;
} Announcement;

/* announce.c */
extern List *cozi_announcements(void);
extern uint64 cozi_announce_run(const char *template, const Announcement *announcement, int n,
								const Oid *more_types, const Datum *more_values,
								const char *more_nulls, int expected);
extern bool cozi_announce_lock(Announcement *announcement);

/* announce_message.c */
extern char *cozi_announce_obstacle(const Kept *kept, const Announcement *announcement);
extern int64 cozi_announce_message(const Kept *kept, const Announcement *announcement,
								   int64 era, int64 last, struct SnapshotData *snapshot);

/* announce_send.c */
extern int64 cozi_announce_all(bool fold, bool *more);
extern void cozi_announce_init(void);

#endif							/* COZI_ANNOUNCE_H */
