/*
 * monitor/source.h
 *		What the readers of pg_stat_statements share: its numbers and its texts.
 */
#ifndef COZI_MONITOR_SOURCE_H
#define COZI_MONITOR_SOURCE_H

#include "base/base.h"

#define PGSS "pg_stat_statements"

/* What stands in the way of reading pg_stat_statements. */
typedef enum CoziSourceState
{
	SOURCE_OK,
	SOURCE_ABSENT,				/* no CREATE EXTENSION in this database */
	SOURCE_NOT_LOADED,			/* not in shared_preload_libraries */
	SOURCE_DENIED				/* no right on its function or schema */
} CoziSourceState;

typedef struct CoziSource
{
	CoziSourceState state;
	Oid			function;		/* pg_stat_statements(showtext boolean) */
	Oid			info;			/* pg_stat_statements_info(), since 1.9 */
	Oid			schema;
} CoziSource;

/* monitor/source.c */
extern CoziSource cozi_find_source(void);
extern void cozi_warn_source(CoziSource src);

/* monitor/text.c */
extern bool cozi_with_raw_texts(CoziWork call, void *arg);

#endif							/* COZI_MONITOR_SOURCE_H */
