/*
 * analytics/users.h
 *		A hash table of users and the days on which they were active.
 *
 * Its users are numbers or UUIDs, and it takes at most work_mem times
 * hash_mem_multiplier.  Users who do not fit may wait for another pass over the rows.
 *
 * The law: a user is in one pass, and all of the user's rows that came by are there.
 */
#ifndef COZI_USERS_H
#define COZI_USERS_H

#include "utils/uuid.h"

#include "analytics/analytics.h"

/* Rows whose slots are on their way from memory, which takes longer than the rest. */
#define QUEUE_ROWS		64

/* A row that waits for its slot. */
typedef struct CoziQueuedRow
{
	char		key[UUID_LEN];
	uint64		hash;
	DateADT		month;
	uint32		days;
} CoziQueuedRow;

/*
 * Slots of one size, at most three quarters taken.  A slot is a key and bits: those of
 * CoziUser, and one that says that it is taken.
 */
typedef struct CoziUsers
{
	MemoryContext context;
	Size		key_size;		/* 8, or that of a UUID */
	Size		slot_size;
	DateADT		first;			/* bit 0: before it; bit 1 + n: n days after */
	int			ndays;
	int			max_passes;
	uint64		seed;			/* so that nobody can choose who collides */
	uint32		from;			/* which hashes this pass is about */
	uint32		to;
	uint32		nslots;
	uint32		nusers;
	char	   *slots;
	bool		full;			/* they do not fit */
	int			nqueued;
	CoziQueuedRow queue[QUEUE_ROWS];
} CoziUsers;

extern bool cozi_users_can_be(Oid type);
extern void cozi_users_init(CoziUsers *users, Oid type, DateADT first, int ndays,
							int max_passes);
extern void cozi_users_begin(CoziUsers *users, uint32 from, double expected);
extern void cozi_users_add(CoziUsers *users, Datum user, DateADT month, uint32 days);
extern void cozi_users_flush(CoziUsers *users);
extern void cozi_users_visit(CoziUsers *users, CoziVisitUser visit, void *arg);
extern void cozi_users_merge(CoziUsers *users, const char *slots, uint32 nslots);
extern bool cozi_users_slot_is_taken(const CoziUsers *users, const char *slot);

#endif							/* COZI_USERS_H */
