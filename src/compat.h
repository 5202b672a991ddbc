/*
 * compat.h
 *		Every difference between the supported major versions of PostgreSQL.
 *
 * No other file may test PG_VERSION_NUM.  Where an API changed, the call
 * site uses a name defined here and stays free of conditions.
 */
#ifndef COZI_COMPAT_H
#define COZI_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "cozi needs PostgreSQL 15 or later"
#endif

/* Since 19 a tranche of locks is named where it is made, not in each process. */
#if PG_VERSION_NUM >= 190000
#define LWLockNewTrancheId_compat(name) LWLockNewTrancheId(name)
#define LWLockRegisterTranche_compat(id, name) ((void) 0)
#else
#define LWLockNewTrancheId_compat(name) LWLockNewTrancheId()
#define LWLockRegisterTranche_compat(id, name) LWLockRegisterTranche(id, name)
#endif

/*
 * A small structure found by its name, made by who comes first.  17 has a
 * registry of dynamic segments; before, it is taken from the slack of the
 * main segment.  The initializer is declared as NAME(named_struct_init_args).
 */
#if PG_VERSION_NUM >= 190000
#include "storage/dsm_registry.h"
#define named_struct_init_args void *ptr, void *arg
#define get_named_struct_compat(name, size, init, found) \
	GetNamedDSMSegment(name, size, init, found, NULL)
#elif PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#define named_struct_init_args void *ptr
#define get_named_struct_compat(name, size, init, found) \
	GetNamedDSMSegment(name, size, init, found)
#else
#include "storage/lwlock.h"
#include "storage/shmem.h"
#define named_struct_init_args void *ptr
static inline void *
get_named_struct_compat(const char *name, Size size,
						void (*init) (named_struct_init_args), bool *found)
{
	void	   *ptr;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ptr = ShmemInitStruct(name, size, found);
	if (!*found)
		init(ptr);
	LWLockRelease(AddinShmemInitLock);
	return ptr;
}
#endif

/* 16: what looks inside a varlena has a header of its own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17: intervals may be infinite; before, none is */
#include "datatype/timestamp.h"
#ifndef INTERVAL_NOT_FINITE
#define INTERVAL_NOT_FINITE(i) false
#endif

/* 19: a scan has flags */
#if PG_VERSION_NUM >= 190000
#define table_beginscan_compat(rel, snapshot, nkeys, key) table_beginscan(rel, snapshot, nkeys, key, 0)
#else
#define table_beginscan_compat(rel, snapshot, nkeys, key) table_beginscan(rel, snapshot, nkeys, key)
#endif

/*
 * 16: settings live in a memory context of their own, also what a check hook
 * hands to its assign hook; and there is a function that finds one.
 */
#include "utils/guc_tables.h"

#if PG_VERSION_NUM >= 160000
#define guc_malloc_compat(size) guc_malloc(LOG, size)
#define find_setting_compat(name) find_option(name, false, true, 0)
#else
#define guc_malloc_compat(size) malloc(size)
static inline struct config_generic *
find_setting_compat(const char *name)
{
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (pg_strcasecmp(settings[i]->name, name) == 0)
			return settings[i];
	return NULL;
}
#endif

/* 16: one function instead of one a catalog */
#if PG_VERSION_NUM >= 160000
#define cozi_may_execute(function, role) \
	(object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#define cozi_may_use_schema(schema, role) \
	(object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK)
#else
#define cozi_may_execute(function, role) \
	(pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#define cozi_may_use_schema(schema, role) \
	(pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK)
#endif

/*
 * The head of a sequence's WAL record (sharding_id.c).  16 renamed its field;
 * 19 moved it to a header of its own.
 */
#if PG_VERSION_NUM >= 190000
#include "commands/sequence_xlog.h"
#else
#include "commands/sequence.h"
#endif
#if PG_VERSION_NUM >= 160000
#define SEQUENCE_RECORD(rel) {.locator = (rel)->rd_locator}
#else
#define SEQUENCE_RECORD(rel) {.node = (rel)->rd_node}
#endif

/* 16: one function checks the owner of anything */
#if PG_VERSION_NUM < 160000
#define object_ownercheck(classid, objid, roleid) pg_class_ownercheck(objid, roleid)
#endif

#endif							/* COZI_COMPAT_H */
