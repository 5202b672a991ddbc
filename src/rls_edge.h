/*
 * rls_edge.h
 *		The tables of edges: what rls_edge.c offers to the files around it.
 */
#ifndef RLS_EDGE_H
#define RLS_EDGE_H

#include "utils/relcache.h"

typedef struct CoziEdge
{
	Oid			rel;
	AttrNumber	src;
	AttrNumber	dst;
	Oid			src_type;		/* uuid, bigint or text: what it is compared
								 * as */
	Oid			dst_type;
	Oid			index;			/* a btree that begins with (src, dst) */
} CoziEdge;

extern Oid	cozi_edge_id_type(Oid type);
extern Oid	cozi_edge_index(Relation rel, AttrNumber src, AttrNumber dst);
extern bool cozi_edge_relation(const char *name, Oid *relid);
extern bool cozi_find_edge(const char *name, CoziEdge *edge, bool quiet);
extern bool cozi_edge_caller(Oid type, Datum *value);
extern bool cozi_visit_edges(const CoziEdge *edge, Datum caller, int64 max,
							 void (*visit) (Datum target, void *arg), void *arg);

#endif							/* RLS_EDGE_H */
