/*
 * edge/answer.c
 *		Is there an edge between the caller and a target?  Answers are cached.
 *
 * The law: never an answer that the statement's own snapshot would not give.
 * Answers are cached only under a key that changes with everything an
 * answer depends on: snapshot, command, transaction, subtransaction, identity
 * and user.  The cache lives with the expression (fn_extra); plpgsql keeps
 * expressions for a whole transaction, and only the key makes that right.
 *
 * The other law: asking raises no error, whatever the target and whatever a
 * migration did.  What cannot be answered is no edge; except that a target
 * counts as blocked while the edge "blocked" is registered and cannot be read.
 * The log says so once a session.
 *
 * A target that is asked for anew costs one probe of the index.  After
 * FIRST_LOAD of them, after SECOND_LOAD, and again each time their number
 * doubles, all of the caller's edges are read if they are no more than
 * LOAD_FACTOR times the probes so far, which takes about as long as those probes
 * took: so the work is at most a few times that of the better way, whichever
 * that is (ski rental).  From then on an id that is not in the cache is no
 * target.  The first try is early, because most callers have few blocks and few
 * groups, and a page of a feed asks for each; the second is late, because a
 * caller of more edges than that mostly has many more.
 *
 * Memory: what a hash join may take, hash_mem; beyond it, targets are probed.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "base/base.h"
#include "edge/edge.h"
#include "identity/identity.h"

#define FIRST_LOAD		4		/* probes before the first try to load */
#define SECOND_LOAD		64		/* probes before the second */
#define FIRST_SIZE		64		/* answers that there is room for at first */
#define LOAD_FACTOR		16		/* edges read in the time of a probe; see
								 * bench/policy_predicate.pl */
#define MAX_LOGGED		64		/* edges whose trouble a session logs */

/* A target: the halves of a uuid, a number and 0, or where a text is and how long. */
typedef struct EdgeTarget
{
	uint64		a;
	uint64		b;
} EdgeTarget;

typedef struct EdgeAnswer
{
	EdgeTarget	target;
	char		status;			/* simplehash's */
	int			rank;			/* COZI_NO_EDGE: it is no target */
} EdgeAnswer;

static inline uint32 hash_target(bool is_text, EdgeTarget target);
static inline bool targets_equal(bool is_text, EdgeTarget x, EdgeTarget y);

#define SH_PREFIX answers
#define SH_ELEMENT_TYPE EdgeAnswer
#define SH_KEY_TYPE EdgeTarget
#define SH_KEY target
#define SH_HASH_KEY(tb, key) hash_target((tb)->private_data != NULL, key)
#define SH_EQUAL(tb, x, y) targets_equal((tb)->private_data != NULL, x, y)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What is known of one edge, or of its reverse, under one key. */
struct CoziEdgeAnswers
{
	MemoryContext context;		/* of all below; reset with the key */
	bool		valid;
	CoziEdgeKey key;
	NameData	name;
	bool		readable;		/* there is such an edge, without trouble */
	int			default_rank;	/* the answer while it is not */
	bool		caller_fits;	/* the caller may be in the table */
	bool		reverse;
	CoziEdge	edge;
	Datum		caller;
	Oid			type;			/* of the targets */
	List	   *parts;			/* where to probe */
	answers_hash *known;
	Size		text_bytes;		/* beside the table */
	bool		complete;		/* an id that is not in known is no target */
	int64		probes;
	int64		next_load;
};

/* Seeded, so that nobody can choose ids that collide. */
static inline uint32
hash_target(bool is_text, EdgeTarget target)
{
	static uint64 seed = 0;
	uint64		h;

	if (seed == 0)
		seed = pg_prng_uint64(&pg_global_prng_state) | 1;
	if (is_text)
		h = hash_bytes_extended((const unsigned char *) (uintptr_t) target.a, (int) target.b, seed);
	else
	{
		h = (target.a ^ seed) * UINT64CONST(0x9E3779B97F4A7C15);
		h = ((h ^ (h >> 32)) + target.b) * UINT64CONST(0xD6E8FEB86659FD93);
	}
	return (uint32) (h ^ (h >> 32));
}

static inline bool
targets_equal(bool is_text, EdgeTarget x, EdgeTarget y)
{
	if (!is_text)
		return x.a == y.a && x.b == y.b;
	return x.b == y.b && memcmp((void *) (uintptr_t) x.a, (void *) (uintptr_t) y.a, x.b) == 0;
}

static EdgeTarget
make_target(Datum value, Oid type)
{
	EdgeTarget	target = {0, 0};

	if (type == UUIDOID)
		memcpy(&target, DatumGetUUIDP(value), UUID_LEN);
	else if (type == INT8OID)
		target.a = (uint64) DatumGetInt64(value);
	else
	{
		text	   *t = DatumGetTextPP(value);

		target.a = (uint64) (uintptr_t) VARDATA_ANY(t);
		target.b = VARSIZE_ANY_EXHDR(t);
	}
	return target;
}

/* May one more be remembered?  The table doubles when it is full. */
static bool
has_room(CoziEdgeAnswers *answers)
{
	answers_hash *known = answers->known;
	uint64		size = known->members < known->grow_threshold ? known->size : known->size * 2;

	return size * sizeof(EdgeAnswer) + answers->text_bytes <= get_hash_memory_limit();
}

static void
remember(CoziEdgeAnswers *answers, EdgeTarget target, int rank)
{
	EdgeAnswer *answer;
	bool		found;

	answer = answers_insert(answers->known, target, &found);
	answer->rank = found ? Max(answer->rank, rank) : rank;
	if (!found && answers->type == TEXTOID)
	{
		char	   *bytes = MemoryContextAlloc(answers->context, target.b + 1);

		memcpy(bytes, (void *) (uintptr_t) target.a, target.b);
		answer->target.a = (uint64) (uintptr_t) bytes;
		answers->text_bytes += GetMemoryChunkSpace(bytes);
	}
}

static bool
remember_other(Datum other, int rank, void *arg)
{
	CoziEdgeAnswers *answers = arg;

	if (!has_room(answers))
		return false;
	remember(answers, make_target(other, answers->type), rank);
	return true;
}

/* All of the caller's edges, if that is worth it by now and can be done. */
static void
try_to_load(CoziEdgeAnswers *answers)
{
	answers->next_load = Max(answers->next_load * 2, SECOND_LOAD);
	if (answers->type == TEXTOID && !answers->edge.bytewise)
		return;
	answers->complete = cozi_visit_edges(&answers->edge, answers->reverse, false, answers->caller,
										 answers->probes * LOAD_FACTOR, remember_other, answers);
}

static int
probe(CoziEdgeAnswers *answers, Datum target)
{
	answers->probes += list_length(answers->parts);
	return answers->reverse
		? cozi_probe_edge(answers->parts, target, answers->caller)
		: cozi_probe_edge(answers->parts, answers->caller, target);
}

/*
 * Say once a session what is wrong with an edge.  Names that no edge has are
 * the caller's own, so they are counted, and after the first few not logged.
 */
static void
log_trouble(const char *name, const char *trouble)
{
	static List *logged = NIL;
	MemoryContext old;
	ListCell   *cell;

	if (IsParallelWorker() || list_length(logged) >= MAX_LOGGED)
		return;
	foreach(cell, logged)
		if (strcmp(lfirst(cell), name) == 0)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	logged = lappend(logged, pstrdup(name));
	MemoryContextSwitchTo(old);
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("edge \"%s\" cannot be read: %s", name, trouble),
			 errdetail("Until then nothing is an edge of that name; everything counts as blocked "
					   "if it is \"blocked\"."),
			 errhint("The view cozi.edges shows the trouble of each edge.")));
}

static void
load_edge(CoziEdgeAnswers *answers, const char *name, bool reverse)
{
	CoziEdge   *edge = &answers->edge;
	MemoryContext old = MemoryContextSwitchTo(answers->context);
	bool		blocks = strcmp(name, "blocked") == 0;
	bool		registered = cozi_find_edge(name, edge);

	namestrcpy(&answers->name, name);
	answers->reverse = reverse;
	answers->readable = registered && edge->trouble == NULL;
	answers->default_rank = registered && blocks && cozi_identity()->subject != NULL
		? 0 : COZI_NO_EDGE;
	answers->caller_fits = answers->readable &&
		cozi_edge_caller(reverse ? edge->dst_type : edge->src_type, &answers->caller);
	if (answers->readable)
		answers->type = reverse ? edge->src_type : edge->dst_type;
	if (answers->caller_fits)
	{
		answers->readable = cozi_edge_parts(edge, reverse, answers->caller, &answers->parts);
		answers->known = answers_create(answers->context, FIRST_SIZE,
										answers->type == TEXTOID ? answers : NULL);
	}
	if (registered && !answers->readable)
		log_trouble(name, edge->trouble);
	else if (!registered && !blocks)
		log_trouble(name, "it is not registered");
	MemoryContextSwitchTo(old);
}

/* Make it the answers about this edge under the current key. */
static CoziEdgeAnswers *
validate(CoziEdgeAnswers **place, MemoryContext context, const char *name, bool reverse)
{
	CoziEdgeAnswers *answers = *place;
	CoziEdgeKey key;

	cozi_edge_key(&key);
	if (answers != NULL && answers->valid &&
		memcmp(&key, &answers->key, sizeof(CoziEdgeKey)) == 0 &&
		strcmp(NameStr(answers->name), name) == 0)
		return answers;

	if (answers == NULL)
	{
		answers = MemoryContextAllocZero(context, sizeof(CoziEdgeAnswers));
		answers->context = AllocSetContextCreate(context, "cozi edge", ALLOCSET_SMALL_SIZES);
		*place = answers;
	}
	answers->valid = false;
	MemoryContextReset(answers->context);
	answers->text_bytes = 0;
	answers->complete = false;
	answers->probes = 0;
	answers->next_load = FIRST_LOAD;
	load_edge(answers, name, reverse);
	answers->key = key;
	answers->valid = true;
	return answers;
}

/*
 * The rank of the edge from the caller to the target (reverse: from the target
 * to the caller), or COZI_NO_EDGE.  *place is the cache, in the given context;
 * one place serves one direction.
 */
int
cozi_edge_rank(CoziEdgeAnswers **place, MemoryContext context,
			   const char *name, bool reverse, Datum target, Oid type)
{
	CoziEdgeAnswers *answers = validate(place, context, name, reverse);
	EdgeTarget	key;
	EdgeAnswer *answer;
	int			rank;

	if (!answers->readable)
		return answers->default_rank;
	if (type != answers->type)
	{
		log_trouble(name, psprintf("its ids are of type %s and are compared with type %s",
								   format_type_be(answers->type), format_type_be(type)));
		return answers->default_rank;
	}
	if (!answers->caller_fits)
		return COZI_NO_EDGE;

	key = make_target(target, type);
	answer = answers_lookup(answers->known, key);
	if (answer != NULL)
		return answer->rank;
	if (answers->complete)
		return COZI_NO_EDGE;
	rank = probe(answers, target);
	if (has_room(answers))
		remember(answers, key, rank);
	if (answers->probes >= answers->next_load)
		try_to_load(answers);
	return rank;
}

/* The place of a role among those of the edge last asked; -1 for none of them. */
int
cozi_edge_role_rank(const CoziEdgeAnswers *answers, const char *role, int len)
{
	ListCell   *cell;

	if (!answers->readable)
		return -1;
	foreach(cell, answers->edge.config->roles)
		if (strlen(lfirst(cell)) == len && memcmp(lfirst(cell), role, len) == 0)
		return foreach_current_index(cell);
	return -1;
}
