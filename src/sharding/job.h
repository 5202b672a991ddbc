/*
 * sharding/job.h
 *		A table at work: what convert.c and shards.c share.
 *
 * What to do is SQL that the functions _shard_* of sql/sharding/ write from the
 * catalogues; how to do it safely is in C.
 *
 * Two users are at work.  Catalogues are read as the owner of the extension,
 * because the readers are granted to nobody; they run no code of others.
 * Whatever touches the table (its statements run check functions, defaults,
 * index expressions) runs as the table's owner in a security-restricted
 * operation, as REINDEX does, for every caller: so a superuser may shard the
 * table of a stranger, and an owner needs nothing but CREATE on the schema.
 */
#ifndef COZI_SHARDING_JOB_H
#define COZI_SHARDING_JOB_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

#include "base/base.h"

/* The table, as it was when the lock was held (all palloc'd). */
typedef struct ShardJob
{
	Oid			relid;
	Oid			namespace;
	char	   *relname;
	char	   *qualified;		/* schema.name, quoted */
	Oid			owner;			/* of the table */
	Oid			reader;			/* of the extension */
	const char *key;			/* NULL for unshard_table */
	int32		modulus;
	bool		drop_children;
} ShardJob;

extern void cozi_job_open(FunctionCallInfo fcinfo, const char *argument, ShardJob *job);
extern void cozi_job_lock(ShardJob *job, LOCKMODE mode);
extern void cozi_job_check_modulus(int32 modulus);
extern void cozi_job_check_hash(ShardJob *job);
extern void cozi_job_become_owner(ShardJob *job, CoziSavedUser *saved);

/* $1 is the table, $2 the key, $3 the modulus, $4 whether children go */
extern List *cozi_job_read(ShardJob *job, const char *query, int nargs);

#endif							/* COZI_SHARDING_JOB_H */
