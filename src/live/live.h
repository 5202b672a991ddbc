/*
 * live/live.h
 *		What the files of the room share about changes and cursors.
 *
 * The law: rows of users' tables are read by a statement of the caller's, so that
 * privileges and policies hold.
 */
#ifndef COZI_LIVE_H
#define COZI_LIVE_H

#include "fmgr.h"
#include "utils/snapshot.h"

#include "base/base.h"
#include "kept/change.h"
#include "kept/kept.h"

#define LIVE_MOST_ROWS	10000	/* of a call */

/* What a cursor is for: its first field. */
typedef enum LiveCursorKind
{
	LIVE_CHANGES = 1,
	LIVE_ROWS = 2
} LiveCursorKind;

/* changes.c: a change, told; item is NULL: all up to this number was hidden */
typedef struct LiveChange
{
	const char *item;
	Datum		row;			/* jsonb */
	bool		gone;
	int64		number;
} LiveChange;

typedef void (*LiveTell) (const LiveChange *change, void *arg);
extern int64 cozi_live_read(const Kept *kept, Snapshot snapshot, int64 after, int64 k,
							LiveTell tell, void *arg);

/* place.c */
extern int64 cozi_live_place(void);
extern void cozi_live_flush(void);
pg_noreturn extern void cozi_live_restart(Oid relid, const char *why);
pg_noreturn extern void cozi_live_other_cursor(void);
extern int64 cozi_live_limit(FunctionCallInfo fcinfo, int n);

/*
 * seen.c: the transactions that had ended when a snapshot was taken, by their full
 * ids: all before xmin, and those before xmax that are not among the running.
 */
typedef struct LiveSeen
{
	uint64		xmin;
	uint64		xmax;
	int			n;
	uint64	   *running;		/* ascending */
} LiveSeen;

extern LiveSeen *cozi_live_seen_now(Snapshot snapshot);
extern char *cozi_live_seen_text(const LiveSeen *seen);

#endif							/* COZI_LIVE_H */
