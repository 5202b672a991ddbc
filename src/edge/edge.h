/*
 * edge/edge.h
 *		Edges, the tables that say who follows whom: what the files of this
 *		name share.
 *
 *		edge/edge.c			one edge: its registration, and who asks
 *		edge/scan.c		its rows, wherever they are
 *		edge/answer.c	answers, remembered while they are right
 *		edge/plan.c		what the planner is told
 *		edge/register.c	register_edge(), drop_edge()
 *		edge/predicate.c		the predicates: is_edge(), can_view(), ...
 */
#ifndef RLS_EDGE_H
#define RLS_EDGE_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

typedef struct CoziEdge
{
	Oid			rel;			/* may be partitioned; so may its indexes */
	AttrNumber	src;
	AttrNumber	dst;
	Oid			src_type;		/* uuid, bigint or text: what it is compared
								 * as */
	Oid			dst_type;
	Oid			index;			/* a btree that begins with (src, dst) */
	Oid			reverse_index;	/* one that begins with (dst, src), or invalid */
	bool		bytewise;		/* equal ids have equal bytes: not under a
								 * nondeterministic collation */
} CoziEdge;

/* Everything an answer depends on, but the edge and the target. */
typedef struct CoziEdgeKey
{
	TransactionId xmin;
	TransactionId xmax;
	uint32		xcnt;
	int32		subxcnt;
	CommandId	curcid;
	LocalTransactionId lxid;
	SubTransactionId subid;
	Oid			user;
	uint64		generation;
} CoziEdgeKey;

/* edge/edge.c */
extern Oid	cozi_edge_id_type(Oid type);
extern Oid	cozi_edge_index(Relation rel, AttrNumber first, AttrNumber second);
extern bool cozi_edge_relation(const char *name, Oid *relid);
extern bool cozi_find_edge(const char *name, CoziEdge *edge, bool quiet);
extern bool cozi_find_edge_or_none(const char *name, CoziEdge *edge);
extern bool cozi_edge_caller(Oid type, Datum *value);
extern void cozi_edge_key(CoziEdgeKey *key);

/* edge/scan.c */
extern List *cozi_edge_parts(const CoziEdge *edge, bool reverse, Datum caller);
extern bool cozi_probe_edge(List *parts, Datum src, Datum dst);
extern bool cozi_visit_edges(const CoziEdge *edge, bool reverse, Datum caller, int64 max,
							 bool (*visit) (Datum other, void *arg), void *arg);

/* edge/answer.c */
typedef struct CoziEdgeAnswers CoziEdgeAnswers;
extern bool cozi_edge_holds(CoziEdgeAnswers **answers, MemoryContext context,
							const char *name, bool reverse, Datum target, Oid type);

#endif							/* RLS_EDGE_H */
