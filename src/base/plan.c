/*
 * base/plan.c
 *		Plans that a session keeps, and the planner told to walk indexes.
 *
 * A plan is found by the text of its statement and the types of its parameters.
 * The server makes a plan anew when a table of it, the role, row security or the
 * search path has changed; what the text cannot say (the type of a column) is for
 * the caller to put into the types.
 *
 * The law: a session keeps at most MOST_PLANS; the one that was not used for the
 * longest time goes first, and none that this transaction has used, because it may
 * be running further up: a policy may ask what its own query is asking.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/spi.h"
#include "executor/spi_priv.h"
#include "nodes/plannodes.h"
#include "storage/proc.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#include "base/base.h"

#define MOST_PLANS 64

typedef struct KeptPlan
{
	uint32		hash;
	char	   *sql;
	int			ntypes;
	Oid		   *types;
	int			options;
	SPIPlanPtr	plan;			/* NULL: the place is free */
	uint64		used;
	LocalTransactionId lxid;	/* of the transaction that used it last */
} KeptPlan;

static KeptPlan plans[MOST_PLANS];
static uint64 uses = 0;

/*
 * Set settings, until AtEOXact_GUC() of a level of the caller's, by which the
 * planner walks an index wherever there is one: it knows nothing of where the
 * reader of the rows will stop.
 */
void
cozi_prefer_walks(void)
{
	static const char *const settings[][2] = {
		{"enable_indexscan", "on"}, {"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"}, {"enable_sort", "off"}, {"enable_memoize", "off"},
		{"jit", "off"}
	};

	for (int i = 0; i < lengthof(settings); i++)
		cozi_set_locally(settings[i][0], settings[i][1]);
}

static bool
is_plan(const KeptPlan *kept, uint32 hash, const char *sql, int ntypes, const Oid *types,
		int options)
{
	return kept->plan != NULL && kept->hash == hash && kept->options == options &&
		kept->ntypes == ntypes && memcmp(kept->types, types, ntypes * sizeof(Oid)) == 0 &&
		strcmp(kept->sql, sql) == 0;
}

/* A place for one more plan; NULL when this transaction has used all. */
static KeptPlan *
free_place(void)
{
	KeptPlan   *oldest = &plans[0];

	for (int i = 0; i < MOST_PLANS; i++)
	{
		if (plans[i].plan == NULL)
			return &plans[i];
		if (plans[i].used < oldest->used)
			oldest = &plans[i];
	}
	if (oldest->lxid == MyProcLxid_compat)
		return NULL;
	SPI_freeplan(oldest->plan);
	oldest->plan = NULL;
	pfree(oldest->sql);
	pfree(oldest->types);
	return oldest;
}

/*
 * The plan of a statement, for SPI_execute_plan() and SPI_cursor_open(); SPI is
 * connected.  It is good until SPI_finish().
 */
SPIPlanPtr
cozi_plan(const char *sql, int ntypes, const Oid *types, int options)
{
	uint32		hash = hash_bytes((const unsigned char *) sql, strlen(sql));
	KeptPlan   *kept;
	SPIPlanPtr	plan;
	char	   *text;
	Oid		   *copy;

	for (int i = 0; i < MOST_PLANS; i++)
		if (is_plan(&plans[i], hash, sql, ntypes, types, options))
		{
			plans[i].used = ++uses;
			plans[i].lxid = MyProcLxid_compat;
			return plans[i].plan;
		}
	plan = SPI_prepare_cursor(sql, ntypes, unconstify(Oid *, types), options);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare returned %s for: %s", SPI_result_code_string(SPI_result), sql);
	kept = free_place();
	if (kept == NULL)
		return plan;			/* gone with the connection to SPI */
	text = MemoryContextStrdup(TopMemoryContext, sql);

	copy = MemoryContextAlloc(TopMemoryContext, Max(ntypes, 1) * sizeof(Oid));
	memcpy(copy, types, ntypes * sizeof(Oid));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	kept->hash = hash;
	kept->sql = text;

	kept->ntypes = ntypes;
	kept->types = copy;
	kept->options = options;
	kept->plan = plan;
	kept->used = ++uses;
	kept->lxid = MyProcLxid_compat;
	return plan;
}

/*
 * Make the generic plan where there is none that is valid, with walks preferred,
 * and say what the planner expects of it.
 */
void
cozi_plan_walks(SPIPlanPtr plan, CoziPlanCosts *costs)
{
	int			level = NewGUCNestLevel();
	CachedPlan *cached;
	Plan	   *tree;

	cozi_prefer_walks();
	cached = SPI_plan_get_cached_plan(plan);
	AtEOXact_GUC(false, level);
	memset(costs, 0, sizeof(CoziPlanCosts));
	if (cached == NULL)
		return;
	tree = linitial_node(PlannedStmt, cached->stmt_list)->planTree;
	costs->startup = tree->startup_cost;
	if (tree->righttree != NULL)
		costs->inner_row = tree->righttree->total_cost / Max(tree->righttree->plan_rows, 1);
	if (plan_is_disabled_compat(tree))
		costs->startup = costs->inner_row = get_float8_infinity();
	ReleaseCachedPlan(cached, plan->saved ? CurrentResourceOwner : NULL);
}
