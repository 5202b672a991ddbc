/*
 * kept/change.h
 *		The numbers of changes, for those who give them and those who read them.
 *
 * The law of change.c: they are given under the fold lock.
 */
#ifndef COZI_CHANGE_H
#define COZI_CHANGE_H

#include "kept/kept.h"

typedef struct KeptChanges KeptChanges;

/* A change: of a key, and not what the change was. */
typedef struct KeptChange
{
	int64		number;
	KeptKey		key;
} KeptChange;

extern KeptChanges *cozi_kept_open_changes(const Kept *kept, KeptSums *sums,
										   struct SnapshotData *snapshot);
extern void cozi_kept_number(KeptChanges *changes, const KeptKey *key);
extern void cozi_kept_close_changes(KeptChanges *changes);
extern int64 cozi_kept_last_change(int32 id, struct SnapshotData *snapshot);
extern int64 cozi_kept_era(int32 id, struct SnapshotData *snapshot);
extern void cozi_kept_number_all(const Kept *kept);
extern void cozi_kept_track(Oid relation, bool track);
extern KeptChanges *cozi_kept_restart_changes(const Kept *kept, KeptSums *sums);
extern struct SysScanDescData *cozi_kept_begin_changes(int32 id, int64 after,
													   struct SnapshotData *snapshot,
													   Relation *rel, Relation *index);
extern bool cozi_kept_next_change(struct SysScanDescData *scan, Relation rel,
								  KeptChange *change);
extern void cozi_kept_end_changes(struct SysScanDescData *scan, Relation rel, Relation index);
extern bool cozi_kept_is_pending(const Kept *kept, struct SnapshotData *snapshot);

#endif							/* COZI_CHANGE_H */
