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

#endif							/* COZI_COMPAT_H */
