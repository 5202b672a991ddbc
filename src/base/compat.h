/*
 * base/compat.h
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

/* 18: a function that does not return says so in front */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 16: what looks inside a varlena has a header of its own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17: a message in the WAL may be flushed at once */
#if PG_VERSION_NUM >= 170000
#define log_message_compat(prefix) LogLogicalMessage(prefix, "", 0, false, false)
#else
#define log_message_compat(prefix) LogLogicalMessage(prefix, "", 0, false)
#endif

/* 17: intervals may be infinite; before, none is */
#include "datatype/timestamp.h"
#ifndef INTERVAL_NOT_FINITE
#define INTERVAL_NOT_FINITE(i) false
#endif

/* 19: a scan has flags */
#if PG_VERSION_NUM >= 190000
#define table_beginscan_compat(rel, snapshot, nkeys, key) \
		table_beginscan(rel, snapshot, nkeys, key, 0)
#else
#define table_beginscan_compat(rel, snapshot, nkeys, key) \
		table_beginscan(rel, snapshot, nkeys, key)
#endif

/* 18: an index scan may be measured; 19: it has flags, too */
#if PG_VERSION_NUM >= 190000
#define index_beginscan_compat(rel, index, snapshot, nkeys) \
		index_beginscan(rel, index, snapshot, NULL, nkeys, 0, 0)
#elif PG_VERSION_NUM >= 180000
#define index_beginscan_compat(rel, index, snapshot, nkeys) \
		index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define index_beginscan_compat(rel, index, snapshot, nkeys) \
		index_beginscan(rel, index, snapshot, nkeys, 0)
#endif

/*
 * 16: settings live in a memory context of their own, also what a check hook
 * hands to its assign hook; and there is a function that finds one.
 */
#include "utils/guc_tables.h"

#if PG_VERSION_NUM >= 160000
#define guc_malloc_compat(size) guc_malloc(LOG, size)
#define guc_free_compat(ptr) guc_free(ptr)
#define find_setting_compat(name) find_option(name, false, true, 0)
#else
#define guc_malloc_compat(size) malloc(size)
#define guc_free_compat(ptr) free(ptr)
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

/* 19 also tells whether a constraint is volatile. */
#if PG_VERSION_NUM >= 190000
#define DomainHasConstraints_compat(type) DomainHasConstraints(type, NULL)
#else
#define DomainHasConstraints_compat(type) DomainHasConstraints(type)
#endif

/* 17: the expression of a generated column can be changed */
#if PG_VERSION_NUM >= 170000
#define COZI_AT_SET_EXPRESSION AT_SetExpression
#else
#define COZI_AT_SET_EXPRESSION (-1)
#endif

/* 16: one function instead of one a catalog */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
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
 * The head of a sequence's WAL record (sharding/id.c).  16 renamed its field;
 * 19 moved it to a header of its own.
 */
#if PG_VERSION_NUM >= 190000
#include "commands/sequence_xlog.h"
#else
#include "commands/sequence.h"
#endif
#if PG_VERSION_NUM >= 160000
#define SEQUENCE_RECORD(rel) {.locator = (rel)->rd_locator}
#define SEQUENCE_REWRITTEN(rel) ((rel)->rd_firstRelfilelocatorSubid)
#else
#define SEQUENCE_RECORD(rel) {.node = (rel)->rd_node}
#define SEQUENCE_REWRITTEN(rel) ((rel)->rd_firstRelfilenodeSubid)
#endif

/*
 * 18: a plan says how many of its nodes a setting has disabled.  Before, such a
 * node costs 1e10.
 */
#if PG_VERSION_NUM >= 180000
#define plan_is_disabled_compat(plan) ((plan)->disabled_nodes > 0)
#else
#define plan_is_disabled_compat(plan) ((plan)->total_cost >= 1.0e10)
#endif

/* 16: the name of a type may be read softly */
#if PG_VERSION_NUM >= 160000
#define parseTypeString_compat(text, type, typmod) \
	((void) parseTypeString(text, type, typmod, NULL))
#else
#define parseTypeString_compat(text, type, typmod) parseTypeString(text, type, typmod, false)
#endif

/* 17: the local transaction id moved */
#if PG_VERSION_NUM >= 170000
#define MyProcLxid_compat (MyProc->vxid.lxid)
#else
#define MyProcLxid_compat (MyProc->lxid)
#endif

/* 16: reading a qualified name may fail softly */
#if PG_VERSION_NUM >= 160000
#define stringToQualifiedNameList_compat(name) stringToQualifiedNameList(name, NULL)
#else
#define stringToQualifiedNameList_compat(name) stringToQualifiedNameList(name)
#endif

/* 16: one function checks the owner of anything */
#if PG_VERSION_NUM < 160000
#define object_ownercheck(classid, objid, roleid) pg_class_ownercheck(objid, roleid)
#endif

/*
 * 19: the planner hook also takes the EXPLAIN state.
 */
#if PG_VERSION_NUM >= 190000
#define COZI_PLANNER_ARGS	Query *parse, const char *query_string, \
		int cursorOptions, ParamListInfo boundParams, struct ExplainState *es
#define COZI_PLANNER_PASS	parse, query_string, cursorOptions, boundParams, es
#else
#define COZI_PLANNER_ARGS	Query *parse, const char *query_string, \
		int cursorOptions, ParamListInfo boundParams
#define COZI_PLANNER_PASS	parse, query_string, cursorOptions, boundParams
#endif

/*
 * 18: ExecutorRun lost execute_once.
 */
#if PG_VERSION_NUM >= 180000
#define COZI_RUN_ARGS		QueryDesc *queryDesc, ScanDirection direction, \
		uint64 count
#define COZI_RUN_PASS		queryDesc, direction, count
#else
#define COZI_RUN_ARGS		QueryDesc *queryDesc, ScanDirection direction, \
		uint64 count, bool execute_once
#define COZI_RUN_PASS		queryDesc, direction, count, execute_once
#endif

/*
 * 18: EXPLAIN's state and output moved to headers of their own.
 */
#if PG_VERSION_NUM >= 180000
#define COZI_EXPLAIN_STATE_H	"commands/explain_state.h"
#define COZI_EXPLAIN_FORMAT_H	"commands/explain_format.h"
#else
#define COZI_EXPLAIN_STATE_H	"commands/explain.h"
#define COZI_EXPLAIN_FORMAT_H	"commands/explain.h"
#endif

/* 17: the checkpointer's counters have names of their own */
#if PG_VERSION_NUM >= 170000
#define COZI_CHECKPOINTS_TIMED		num_timed
#define COZI_CHECKPOINTS_REQUESTED	num_requested
#else
#define COZI_CHECKPOINTS_TIMED		timed_checkpoints
#define COZI_CHECKPOINTS_REQUESTED	requested_checkpoints
#endif

/*
 * 16: query jumbling moved; rows of a portal fetched in parts are added up.
 */
#if PG_VERSION_NUM >= 160000
#define COZI_QUERYJUMBLE_H	"nodes/queryjumble.h"
#define COZI_ROWS(q)		((q)->estate->es_total_processed)
#else
#define COZI_QUERYJUMBLE_H	"utils/queryjumble.h"
#define COZI_ROWS(q)		((q)->estate->es_processed)
#endif

/*
 * 17: pg_stat_statements began to count DEALLOCATE as a utility statement.
 */
#if PG_VERSION_NUM >= 170000
#define COZI_UTILITY_COUNTED(n)	(!IsA(n, ExecuteStmt) && !IsA(n, PrepareStmt))
#else
#define COZI_UTILITY_COUNTED(n)	(!IsA(n, ExecuteStmt) && \
		!IsA(n, PrepareStmt) && !IsA(n, DeallocateStmt))
#endif

/*
 * The time a query spends in ExecutorRun and ExecutorFinish.  19 is told before
 * ExecutorStart that a clock is wanted.  Before 19 the first hook that wants a
 * clock makes it after ExecutorStart, in the query's own memory.
 *
 *		COZI_CLOCK_BEFORE_START(queryDesc), COZI_CLOCK_AFTER_START(queryDesc)
 *		COZI_CLOCK_RUNS(queryDesc)		has the query a clock?
 *		COZI_CLOCK_SECONDS(queryDesc)	in ExecutorEnd
 *		COZI_CLOCK_STARTED(queryDesc)	in an error: when it was last started
 *		COZI_CLOCK_SO_FAR(queryDesc)	in an error: the seconds before that
 */
#if PG_VERSION_NUM >= 190000
#define COZI_CLOCK_BEFORE_START(q)	((q)->query_instr_options |= INSTRUMENT_TIMER)
#define COZI_CLOCK_AFTER_START(q)	((void) 0)
#define COZI_CLOCK_RUNS(q)			((q)->query_instr != NULL)
#define COZI_CLOCK_SECONDS(q)		INSTR_TIME_GET_DOUBLE((q)->query_instr->total)
#define COZI_CLOCK_STARTED(q)		((q)->query_instr->starttime)
#define COZI_CLOCK_SO_FAR(q)		INSTR_TIME_GET_DOUBLE((q)->query_instr->total)
#else
#define COZI_CLOCK_BEFORE_START(q)	((void) 0)
#define COZI_CLOCK_AFTER_START(q) \
	do { \
		if ((q)->totaltime == NULL) \
		{ \
			MemoryContext caller = MemoryContextSwitchTo((q)->estate->es_query_cxt); \
\
			(q)->totaltime = InstrAlloc(1, INSTRUMENT_TIMER, false); \
			MemoryContextSwitchTo(caller); \
		} \
	} while (0)
#define COZI_CLOCK_RUNS(q)			((q)->totaltime != NULL)
#define COZI_CLOCK_SECONDS(q)		(InstrEndLoop((q)->totaltime), (q)->totaltime->total)
#define COZI_CLOCK_STARTED(q)		((q)->totaltime->starttime)
#define COZI_CLOCK_SO_FAR(q)		((q)->totaltime->total + \
									 INSTR_TIME_GET_DOUBLE((q)->totaltime->counter))
#endif

#endif							/* COZI_COMPAT_H */
