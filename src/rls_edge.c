/*
 * rls_edge.c
 *		Relations between people: is_edge(), is_following(), can_view().
 *
 * An edge is a table of pairs that its owner registered under a name: who
 * follows whom, who is a member of what, who blocked whom.  The predicates
 * answer about the caller alone.  They read the table below privileges and
 * policies, as foreign keys do, so that a policy may ask without recursion;
 * that is why only the table's owner may register it.
 *
 * The law: never an answer that the statement's own snapshot would not give.
 * Answers are remembered only under a key that changes with everything an
 * answer depends on: snapshot, command, transaction, subtransaction, identity
 * and user.  What is remembered lives with the expression (fn_extra); plpgsql
 * keeps expressions for a whole transaction, and only the key makes that right.
 *
 * Each target asked for costs one probe of the index on (src, dst).  After 64
 * of them, and again each time their number doubles, the caller's whole set
 * of targets is read if it is no longer than four times the probes so far: so
 * the work is never more than a few times the better of both ways.
 *
 * Locks: AccessShareLock on the table, until the transaction ends, as a query
 * that reads it would hold.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "cozi.h"
#include "rls_edge.h"

#define FIRST_LOAD		64		/* probes before the first try to load */
#define LOAD_FACTOR		4		/* edges a load may read, per probe */

/* The columns of cozi.edge_config. */
enum
{
	Anum_edge_name = 1,
	Anum_edge_rel,
	Anum_edge_src,
	Anum_edge_dst
};

/* Everything an answer depends on, but the edge and the target. */
typedef struct EdgeKey
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
} EdgeKey;

/* A target, as it is remembered: a uuid, or a number and zeroes. */
typedef struct EdgeTarget
{
	unsigned char bytes[UUID_LEN];
} EdgeTarget;

typedef struct EdgeAnswer
{
	EdgeTarget	target;
	bool		holds;
} EdgeAnswer;

/* What is known of one edge, or of its reverse, under one key. */
typedef struct EdgeCache
{
	MemoryContext context;		/* of all below; reset with the key */
	bool		valid;
	EdgeKey		key;
	NameData	name;
	bool		registered;
	bool		somebody;		/* the caller may be in the table */
	CoziEdge	edge;
	ScanKeyData keys[2];		/* src, dst; the target's argument is open */
	HTAB	   *answers;		/* NULL until asked, and for text */
	bool		complete;		/* whoever is not in answers is no target */
	int64		probes;
	int64		next_load;
} EdgeCache;

/* In fn_extra. */
typedef struct EdgeCaches
{
	Oid			types[3];		/* of the function's arguments */
	EdgeCache	following;		/* or whatever the one edge is */
	EdgeCache	member;
	EdgeCache	blocked;
	EdgeCache	blocked_by;
} EdgeCaches;

PG_FUNCTION_INFO_V1(cozi_is_edge);
PG_FUNCTION_INFO_V1(cozi_is_following);
PG_FUNCTION_INFO_V1(cozi_is_member);
PG_FUNCTION_INFO_V1(cozi_has_blocked);
PG_FUNCTION_INFO_V1(cozi_is_blocked_by);
PG_FUNCTION_INFO_V1(cozi_can_view);
PG_FUNCTION_INFO_V1(cozi_edge_targets);

/* --- the table of an edge --------------------------------------------------- */

/* The type ids are compared as: uuid, bigint or text; else invalid. */
Oid
cozi_edge_id_type(Oid type)
{
	switch (getBaseType(type))
	{
		case UUIDOID:
			return UUIDOID;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return INT8OID;
		case TEXTOID:
		case VARCHAROID:
			return TEXTOID;
		default:
			return InvalidOid;
	}
}

/* May this snapshot trust the index?  As the planner decides it. */
static bool
index_usable(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisvalid || !form->indisready || !form->indislive)
		return false;
	return !form->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

/* A btree that begins with (src, dst) and has all rows; or invalid. */
Oid
cozi_edge_index(Relation rel, AttrNumber src, AttrNumber dst)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == BTREE_AM_OID && form->indnkeyatts >= 2 &&
			form->indkey.values[0] == src && form->indkey.values[1] == dst &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			index_usable(index))
			found = RelationGetRelid(index);
		index_close(index, NoLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

/* The registration of that name; false when there is none. */
static bool
read_config(const char *name, CoziEdge *edge, NameData *src, NameData *dst)
{
	Oid			configid = get_relname_relid("edge_config", get_namespace_oid("cozi", false));
	Relation	config = table_open(configid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(config, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(config);
		bool		isnull;

		if (strcmp(NameStr(*DatumGetName(heap_getattr(tuple, Anum_edge_name, desc, &isnull))), name) != 0)
			continue;
		edge->rel = DatumGetObjectId(heap_getattr(tuple, Anum_edge_rel, desc, &isnull));
		*src = *DatumGetName(heap_getattr(tuple, Anum_edge_src, desc, &isnull));
		*dst = *DatumGetName(heap_getattr(tuple, Anum_edge_dst, desc, &isnull));
		found = true;
	}
	systable_endscan(scan);
	table_close(config, AccessShareLock);
	return found;
}

/* The table of that edge, which may be gone; false when not registered. */
bool
cozi_edge_relation(const char *name, Oid *relid)
{
	CoziEdge	edge;
	NameData	src,
				dst;

	if (!read_config(name, &edge, &src, &dst))
		return false;
	*relid = edge.rel;
	return true;
}

/*
 * The edge of that name, its table locked until the transaction ends; false
 * when it is not registered.  quiet: also when it cannot be used.
 */
bool
cozi_find_edge(const char *name, CoziEdge *edge, bool quiet)
{
	NameData	src,
				dst;
	Relation	rel;

	if (!read_config(name, edge, &src, &dst))
		return false;
	rel = try_relation_open(edge->rel, AccessShareLock);
	if (rel == NULL)
	{
		if (quiet)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of edge \"%s\" no longer exists", name),
				 errhint("Call cozi.drop_edge() as the owner of the extension, and cozi.register_edge() for a new table.")));
	}
	edge->src = get_attnum(edge->rel, NameStr(src));
	edge->dst = get_attnum(edge->rel, NameStr(dst));
	edge->index = InvalidOid;
	if (edge->src > 0 && edge->dst > 0)
	{
		edge->src_type = cozi_edge_id_type(get_atttype(edge->rel, edge->src));
		edge->dst_type = cozi_edge_id_type(get_atttype(edge->rel, edge->dst));
		if (OidIsValid(edge->src_type) && OidIsValid(edge->dst_type))
			edge->index = cozi_edge_index(rel, edge->src, edge->dst);
	}
	relation_close(rel, NoLock);
	if (OidIsValid(edge->index) || quiet)
		return OidIsValid(edge->index);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("edge \"%s\" has no index on (\"%s\", \"%s\") of table \"%s\"",
					name, NameStr(src), NameStr(dst), get_rel_name(edge->rel)),
			 errhint("Create the index, or register the edge again if its columns were changed.")));
}

/* The caller as a value of that type; false when it has none. */
bool
cozi_edge_caller(Oid type, Datum *value)
{
	const CoziIdentity *who = cozi_identity();
	pg_uuid_t  *uuid;

	if (type == INT8OID && who->has_bigint)
		*value = Int64GetDatum(who->bigint);
	else if (type == TEXTOID && who->subject != NULL)
		*value = PointerGetDatum(cstring_to_text_with_len(who->subject, who->subject_len));
	else if (type == UUIDOID && who->has_uuid)
	{
		uuid = palloc(sizeof(pg_uuid_t));
		*uuid = who->uuid;
		*value = UUIDPGetDatum(uuid);
	}
	else
		return false;
	return true;
}

/* column = value, as the index of the edge compares it; value of type id_type */
static void
init_scan_key(ScanKey key, Relation index, int column, Oid id_type, Datum value)
{
	Oid			operator = get_opfamily_member(index->rd_opfamily[column], index->rd_opcintype[column],
											   id_type, BTEqualStrategyNumber);

	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" cannot compare its columns with ids", RelationGetRelationName(index)),
				 errhint("Create an index with the default operator classes.")));
	ScanKeyEntryInitialize(key, 0, index->rd_index->indkey.values[column], BTEqualStrategyNumber,
						   id_type, index->rd_indcollation[column], get_opcode(operator), value);
}

/* Keys for src and dst; one of the values may be set later. */
static void
init_scan_keys(ScanKeyData keys[2], const CoziEdge *edge, Datum src, Datum dst)
{
	Relation	index = index_open(edge->index, AccessShareLock);

	init_scan_key(&keys[0], index, 0, edge->src_type, src);
	init_scan_key(&keys[1], index, 1, edge->dst_type, dst);
	index_close(index, NoLock);
}

/*
 * Calls visit for the target of each edge of the caller until there are
 * max of them; false when there were more.
 */
bool
cozi_visit_edges(const CoziEdge *edge, Datum caller, int64 max,
				 void (*visit) (Datum target, void *arg), void *arg)
{
	Relation	rel = table_open(edge->rel, NoLock);
	Form_pg_attribute dst = TupleDescAttr(RelationGetDescr(rel), edge->dst - 1);
	Oid			dst_type = getBaseType(dst->atttypid);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		n = 0;
	bool		all = true;

	init_scan_keys(keys, edge, caller, (Datum) 0);
	scan = systable_beginscan(rel, edge->index, true, GetActiveSnapshot(), 1, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		target = heap_getattr(tuple, edge->dst, RelationGetDescr(rel), &isnull);

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			continue;
		if (n++ >= max)
		{
			all = false;
			break;
		}
		if (dst_type == INT4OID)
			target = Int64GetDatum((int64) DatumGetInt32(target));
		else if (dst_type == INT2OID)
			target = Int64GetDatum((int64) DatumGetInt16(target));
		visit(target, arg);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return all;
}

/* --- answers, remembered ------------------------------------------------------ */

static void
current_key(EdgeKey *key)
{
	Snapshot	snapshot = GetActiveSnapshot();

	memset(key, 0, sizeof(EdgeKey));
	key->xmin = snapshot->xmin;
	key->xmax = snapshot->xmax;
	key->xcnt = snapshot->xcnt;
	key->subxcnt = snapshot->subxcnt;
	key->curcid = snapshot->curcid;
	key->lxid = MyProcLxid_compat;
	key->subid = GetCurrentSubTransactionId();
	key->user = GetUserId();
	key->generation = cozi_identity()->generation;
}

static void
refuse_unknown_edge(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("edge \"%s\" is not registered", name),
			 errhint("The owner of the table calls cozi.register_edge(); the view cozi.edges lists the edges.")));
}

/* Nobody is blocked where nothing says so; any other edge must exist. */
static bool
may_be_missing(const char *name)
{
	return strcmp(name, "blocked") == 0;
}

static void
load_edge(EdgeCache *cache, const char *name, bool reverse)
{
	CoziEdge   *edge = &cache->edge;
	MemoryContext old = MemoryContextSwitchTo(cache->context);
	Datum		caller = (Datum) 0;

	namestrcpy(&cache->name, name);
	cache->registered = cozi_find_edge(name, edge, false);
	if (!cache->registered && !may_be_missing(name))
		refuse_unknown_edge(name);
	cache->somebody = cache->registered &&
		cozi_edge_caller(reverse ? edge->dst_type : edge->src_type, &caller);
	if (cache->somebody)
		init_scan_keys(cache->keys, edge, reverse ? (Datum) 0 : caller, reverse ? caller : (Datum) 0);
	MemoryContextSwitchTo(old);
}

/* Make the cache one of this edge under the current key. */
static void
validate(EdgeCache *cache, FunctionCallInfo fcinfo, const char *name, bool reverse)
{
	EdgeKey		key;

	current_key(&key);
	if (cache->valid && memcmp(&key, &cache->key, sizeof(EdgeKey)) == 0 &&
		strcmp(NameStr(cache->name), name) == 0)
		return;

	cache->valid = false;
	if (cache->context == NULL)
		cache->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "cozi edge", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache->context);
	cache->answers = NULL;
	cache->complete = false;
	cache->probes = 0;
	cache->next_load = FIRST_LOAD;
	load_edge(cache, name, reverse);
	cache->key = key;
	cache->valid = true;
}

static EdgeTarget
target_key(Datum target, Oid type)
{
	EdgeTarget	key;
	int64		n;

	memset(&key, 0, sizeof(key));
	if (type == UUIDOID)
		memcpy(key.bytes, DatumGetUUIDP(target), UUID_LEN);
	else
	{
		n = DatumGetInt64(target);
		memcpy(key.bytes, &n, sizeof(n));
	}
	return key;
}

/* How many answers fit into work_mem, roughly. */
static int64
room_for_answers(void)
{
	return (int64) work_mem * 1024 / 64;
}

static void
remember(EdgeCache *cache, Datum target, Oid type, bool holds)
{
	EdgeTarget	key = target_key(target, type);
	EdgeAnswer *answer;

	if (hash_get_num_entries(cache->answers) >= room_for_answers())
		return;
	answer = hash_search(cache->answers, &key, HASH_ENTER, NULL);
	answer->holds = holds;
}

static void
remember_target(Datum target, void *arg)
{
	EdgeCache  *cache = arg;

	remember(cache, target, cache->edge.dst_type, true);
}

/* The caller's whole set, if that is worth it by now. */
static void
try_to_load(EdgeCache *cache)
{
	int64		max = Min(cache->probes * LOAD_FACTOR, room_for_answers() - hash_get_num_entries(cache->answers));

	cache->next_load *= 2;
	if (max > 0)
		cache->complete = cozi_visit_edges(&cache->edge, cache->keys[0].sk_argument, max, remember_target, cache);
}

static bool
probe(EdgeCache *cache, bool reverse, Datum target)
{
	Relation	rel = table_open(cache->edge.rel, NoLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	/* a copy: the scan renumbers its keys */
	memcpy(keys, cache->keys, sizeof(keys));
	keys[reverse ? 0 : 1].sk_argument = target;
	scan = systable_beginscan(rel, cache->edge.index, true, GetActiveSnapshot(), 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, NoLock);
	cache->probes++;
	return found;
}

static void
create_answers(EdgeCache *cache)
{
	HASHCTL		info = {.keysize = sizeof(EdgeTarget),.entrysize = sizeof(EdgeAnswer),.hcxt = cache->context};

	cache->answers = hash_create("cozi edge", FIRST_LOAD, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Is there an edge from the caller to the target; reverse: from it to the caller? */
static bool
edge_holds(EdgeCache *cache, FunctionCallInfo fcinfo, const char *name, bool reverse, Datum target, Oid type)
{
	EdgeTarget	key;
	EdgeAnswer *answer;
	bool		holds;

	validate(cache, fcinfo, name, reverse);
	if (!cache->registered)
		return false;
	if (type != (reverse ? cache->edge.src_type : cache->edge.dst_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the ids of edge \"%s\" are not of type %s", name, format_type_be(type))));
	if (!cache->somebody)
		return false;
	if (type == TEXTOID)
		return probe(cache, reverse, target);	/* equality is up to a
												 * collation */

	if (cache->answers == NULL)
		create_answers(cache);
	key = target_key(target, type);
	answer = hash_search(cache->answers, &key, HASH_FIND, NULL);
	if (answer != NULL)
		return answer->holds;
	if (cache->complete)
		return false;
	holds = probe(cache, reverse, target);
	remember(cache, target, type, holds);
	if (!reverse && cache->probes >= cache->next_load)
		try_to_load(cache);
	return holds;
}

/* --- SQL --------------------------------------------------------------------------- */

static EdgeCaches *
caches(FunctionCallInfo fcinfo)
{
	EdgeCaches *all = fcinfo->flinfo->fn_extra;
	Oid		   *types;
	int			n;

	if (all != NULL)
		return all;
	all = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(EdgeCaches));
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &types, &n);
	memcpy(all->types, types, Min(n, 3) * sizeof(Oid));
	fcinfo->flinfo->fn_extra = all;
	return all;
}

static bool
caller_has_edge(FunctionCallInfo fcinfo, const char *name, bool reverse, int target)
{
	EdgeCaches *all = caches(fcinfo);

	return edge_holds(&all->following, fcinfo, name, reverse, PG_GETARG_DATUM(target), all->types[target]);
}

/* is_edge(edge name, target uuid | bigint | text) -> boolean */
Datum
cozi_is_edge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_edge(fcinfo, NameStr(*PG_GETARG_NAME(0)), false, 1));
}

/* is_following(target uuid | bigint | text) -> boolean */
Datum
cozi_is_following(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_edge(fcinfo, "following", false, 0));
}

/* is_member(target uuid | bigint | text) -> boolean */
Datum
cozi_is_member(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_edge(fcinfo, "member", false, 0));
}

/* has_blocked(target uuid | bigint | text) -> boolean: the caller blocked it */
Datum
cozi_has_blocked(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_edge(fcinfo, "blocked", false, 0));
}

/* is_blocked_by(target uuid | bigint | text) -> boolean: it blocked the caller */
Datum
cozi_is_blocked_by(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_edge(fcinfo, "blocked", true, 0));
}

static bool
is_caller(Datum id, Oid type)
{
	const CoziIdentity *who = cozi_identity();

	if (type == UUIDOID)
		return who->has_uuid && memcmp(&who->uuid, DatumGetUUIDP(id), UUID_LEN) == 0;
	if (type == INT8OID)
		return who->has_bigint && who->bigint == DatumGetInt64(id);
	return who->subject != NULL && VARSIZE_ANY_EXHDR(DatumGetPointer(id)) == who->subject_len &&
		memcmp(VARDATA_ANY(DatumGetPointer(id)), who->subject, who->subject_len) == 0;
}

static bool
is_word(text *t, const char *word)
{
	return VARSIZE_ANY_EXHDR(t) == strlen(word) && memcmp(VARDATA_ANY(t), word, strlen(word)) == 0;
}

/*
 * can_view(visibility text, author, grp) -> boolean: never NULL; what is not
 * known is not shown.
 */
Datum
cozi_can_view(PG_FUNCTION_ARGS)
{
	EdgeCaches *all = caches(fcinfo);
	bool		has_author = !PG_ARGISNULL(1);
	Datum		author = (Datum) 0;
	text	   *visibility;
	bool		shown;

	if (PG_ARGISNULL(0) && !has_author)
		PG_RETURN_BOOL(false);
	if (has_author)
	{
		author = PG_GETARG_DATUM(1);
		if (all->types[1] == TEXTOID)
			author = PointerGetDatum(PG_DETOAST_DATUM_PACKED(author));
		if (is_caller(author, all->types[1]))
			PG_RETURN_BOOL(true);
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);

	visibility = PG_GETARG_TEXT_PP(0);
	if (is_word(visibility, "public"))
		shown = true;
	else if (is_word(visibility, "followers"))
		shown = has_author && edge_holds(&all->following, fcinfo, "following", false, author, all->types[1]);
	else if (is_word(visibility, "group"))
		shown = !PG_ARGISNULL(2) &&
			edge_holds(&all->member, fcinfo, "member", false, PG_GETARG_DATUM(2), all->types[2]);
	else
		shown = false;

	if (shown && has_author)
		shown = !edge_holds(&all->blocked, fcinfo, "blocked", false, author, all->types[1]) &&
			!edge_holds(&all->blocked_by, fcinfo, "blocked", true, author, all->types[1]);
	PG_RETURN_BOOL(shown);
}

static void
accumulate_target(Datum target, void *arg)
{
	ArrayBuildState *state = *(ArrayBuildState **) arg;

	*(ArrayBuildState **) arg = accumArrayResult(state, target, false, state->element_type, CurrentMemoryContext);
}

/*
 * edge_targets_uuid(edge name) -> uuid[], edge_targets_bigint(edge name) ->
 * bigint[]: whom the caller's edges lead to
 */
Datum
cozi_edge_targets(PG_FUNCTION_ARGS)
{
	const char *name = NameStr(*PG_GETARG_NAME(0));
	Oid			type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	ArrayBuildState *state = initArrayResult(type, CurrentMemoryContext, false);
	CoziEdge	edge;
	Datum		caller;

	if (!cozi_find_edge(name, &edge, false))
	{
		if (!may_be_missing(name))
			refuse_unknown_edge(name);
	}
	else if (edge.dst_type != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the ids of edge \"%s\" are not of type %s", name, format_type_be(type))));
	else if (cozi_edge_caller(edge.src_type, &caller))
		(void) cozi_visit_edges(&edge, caller, PG_INT64_MAX, accumulate_target, &state);
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}
