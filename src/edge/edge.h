/*
 * edge/edge.h
 *		Edges, the tables that say who follows whom: what the files of this
 *		room share.
 *
 *		config.c	the registrations, as a session caches them
 *		edge.c		one edge: its columns and indexes, and what is wrong with it
 *		condition.c	which rows of it count
 *		index.c		an index to read it by
 *		scan.c		its rows, wherever they are
 *		answer.c	answers, cached while they are right
 *		plan.c		what the planner is told
 *		register.c	register_edge(), drop_edge()
 *		follow.c	event triggers: tables renamed, altered, dropped
 *		predicate.c	the predicates: is_edge(), is_following(), ...
 *
 * The law: a predicate is total.  No row that a client writes, and nothing that
 * a migration does to an edge's table, makes one raise an error: an edge that
 * cannot be read has no rows, and CoziEdge.trouble says why.
 */
#ifndef COZI_EDGE_H
#define COZI_EDGE_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* A row of cozi.edge_config; a name that was not given is empty. */
typedef struct CoziEdgeConfig
{
	NameData	name;
	Oid			rel;			/* invalid when the table is gone */
	NameData	src;
	NameData	dst;
	NameData	status;
	List	   *accepted;		/* of char *: the values of status that count */
	NameData	expires_at;
	NameData	deleted_at;
	NameData	role;
	List	   *roles;			/* of char *, ascending */
	NameData	owner;			/* of the table, also when that is gone */
} CoziEdgeConfig;

typedef struct CoziEdge
{
	CoziEdgeConfig *config;
	const char *trouble;		/* why it cannot be read; NULL when it can */
	const char *hint;			/* and the next action, or NULL */
	const char *ids;			/* the types of its ids, in words */
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

/* config.c */
extern CoziEdgeConfig *cozi_edge_config(const char *name);
extern List *cozi_edge_configs(void);
extern uint64 cozi_edge_execute(const char *sql, int nargs, Oid *types, Datum *values,
								const char *nulls);

/* edge.c */
extern Oid	cozi_edge_id_type(Oid type);
extern void cozi_describe_edge(CoziEdge *edge, CoziEdgeConfig *config);
extern bool cozi_find_edge(const char *name, CoziEdge *edge);
extern bool cozi_edge_caller(Oid type, Datum *value);
extern void cozi_edge_key(CoziEdgeKey *key);

/* condition.c: which rows count */
typedef struct CoziEdgeColumn
{
	AttrNumber	column;			/* of the table, 0 when there is no such
								 * condition */
	Oid			type;			/* below domains */
	Oid			stored_type;
	int32		typmod;
	Oid			collation;
	int			nvalues;
	Datum	   *values;			/* of the column's type */
} CoziEdgeColumn;

typedef struct CoziEdgeTest
{
	CoziEdgeColumn status;
	CoziEdgeColumn expires_at;
	CoziEdgeColumn deleted_at;
	CoziEdgeColumn role;
} CoziEdgeTest;

/* Reads a column of the row at hand. */
typedef Datum (*CoziRowColumn) (void *row, AttrNumber column, bool *isnull);

extern const char *cozi_edge_test(Relation rel, const CoziEdgeConfig *config, CoziEdgeTest *test);
extern bool cozi_edge_test_is_empty(const CoziEdgeTest *test);
extern List *cozi_edge_test_clauses(const CoziEdgeTest *test);
extern int	cozi_edge_test_row(const CoziEdgeTest *test, CoziRowColumn read, void *row);

/* index.c */
extern Oid	cozi_edge_index(Relation rel, AttrNumber first, AttrNumber second,
							const CoziEdgeTest *test);
extern Oid	cozi_edge_unusable_index(Relation rel, AttrNumber first, AttrNumber second,
									 const CoziEdgeTest *test);
extern AttrNumber cozi_index_column(Relation index, AttrNumber column);

/* scan.c */
extern bool cozi_edge_parts(CoziEdge *edge, bool reverse, Datum caller, List **parts);
extern int	cozi_probe_edge(List *parts, Datum src, Datum dst);
extern bool cozi_visit_edges(CoziEdge *edge, bool reverse, bool all, Datum caller, int64 max,
							 bool (*visit) (Datum other, int rank, void *arg), void *arg);

/* answer.c */
#define COZI_NO_EDGE	(-1)
typedef struct CoziEdgeAnswers CoziEdgeAnswers;
extern int	cozi_edge_rank(CoziEdgeAnswers **answers, MemoryContext context, const char *name,
						   bool reverse, Datum target, Oid type);
extern int	cozi_edge_role_rank(const CoziEdgeAnswers *answers, const char *role, int len);

/* predicate.c: which edge a predicate asks */
typedef struct CoziEdgePredicate
{
	const char *symbol;			/* of its C function */
	const char *edge;			/* NULL: its first argument names it */
	bool		reverse;		/* from the target to the caller */
	int			target;			/* the argument that is the target */
	bool		by_role;		/* asks for more than an edge */
} CoziEdgePredicate;

extern const CoziEdgePredicate *cozi_edge_predicate(Oid function);

static inline bool
cozi_edge_holds(CoziEdgeAnswers **answers, MemoryContext context, const char *name,
				bool reverse, Datum target, Oid type)
{
	return cozi_edge_rank(answers, context, name, reverse, target, type) != COZI_NO_EDGE;
}

#endif							/* COZI_EDGE_H */
