/*
 * identity/key.c
 *		The keys that tokens are signed with: table cozi.jwks, and what a session
 *		keeps of it.
 *
 * The table belongs to the extension's owner and is read here below every
 * privilege, as committed at this moment: a REPEATABLE READ transaction must
 * not go on believing a key that was retired.
 *
 * The law: what a session keeps is used only while nothing says that the table
 * has changed, neither an invalidation (base/registry.c) nor a commit that is
 * under way (identity/shared.c).
 *
 * An issuer may have a thousand keys, and a token names one: a session reads
 * the keys of that kid, by an index, and makes one into what verifies when a
 * token first asks it.
 *
 * Memory: one context for the keys of a kid, child of one for all, which goes
 * when the table has changed.  OpenSSL's objects are given back then.  A kid
 * without keys leaves nothing, since tokens of strangers name any.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/key.h"
#include "identity/shared.h"

/* The columns of cozi.jwks. */
enum
{
	Anum_jwks_id = 1,
	Anum_jwks_jwk,
	Anum_jwks_kid,
	Anum_jwks_alg,
	Anum_jwks_not_before,
	Anum_jwks_retired_at,
	Anum_jwks_created_at,
	Anum_jwks_issuer,
	Anum_jwks_audience,
	Anum_jwks_id_tokens,
	Anum_jwks_any_kid
};

static const CoziShape jwks_table = {"jwks", {UUIDOID, JSONBOID, TEXTOID, TEXTOID, TIMESTAMPTZOID,
TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTARRAYOID, BOOLOID, BOOLOID, TEXTOID, TEXTOID}};

static CoziRegistry registry = {.table = "jwks"};

/* The keys of one kid, or those without. */
typedef struct KeySet
{
	char		kid[COZI_KID_MAX];
	MemoryContext context;		/* NULL when nothing was read */
	uint64		changes;		/* see cozi_count_changes(); 0: read again */
	List	   *keys;			/* of CoziKey */
}			KeySet;

/* What this backend has read of the table. */
static struct
{
	MemoryContext context;		/* NULL when nothing */
	uint64		generation;		/* of the registry */
	HTAB	   *sets;			/* of KeySet, by kid */
	KeySet		without;
}			cache;

static const char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static void
read_audience(CoziKey *key, Datum value)
{
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &key->naudiences);
	/* an array without an element must not mean "any" */
	key->audiences = palloc((key->naudiences + 1) * sizeof(char *));
	for (int i = 0; i < key->naudiences; i++)
		key->audiences[i] = nulls[i] ? "" : TextDatumGetCString(elements[i]);
	if (key->naudiences == 0)
		key->audiences[key->naudiences++] = "";
}

/* The digest of what decides about tokens of the key, and of nothing else. */
static void
digest_key(CoziKey *key, StringInfo row)
{
	int64		times[2] = {key->not_before, key->retired_at};
	char		flags[3] = {key->id_tokens, key->any_kid, key->issuer != NULL};

	resetStringInfo(row);
	appendBinaryStringInfo(row, (const char *) times, sizeof(times));
	appendBinaryStringInfo(row, flags, sizeof(flags));
	appendBinaryStringInfo(row, (const char *) &key->naudiences, sizeof(key->naudiences));
	if (key->issuer)
		appendBinaryStringInfo(row, key->issuer, strlen(key->issuer) + 1);
	for (int i = 0; i < key->naudiences; i++)
		appendBinaryStringInfo(row, key->audiences[i], strlen(key->audiences[i]) + 1);
	appendBinaryStringInfo(row, (const char *) key->jwk, VARSIZE(key->jwk));
	cozi_hash128(row->len, row->data, row->len, key->digest);
}

static void
read_key_row(HeapTuple tuple, TupleDesc desc, List **keys, StringInfo row)
{
	Datum		values[MaxHeapAttributeNumber];
	bool		nulls[MaxHeapAttributeNumber];
	CoziKey    *key;

	heap_deform_tuple(tuple, desc, values, nulls);
#define VALUE(column) (values[Anum_jwks_##column - 1])
#define IS_NULL(column) (nulls[Anum_jwks_##column - 1])
	if (IS_NULL(jwk) || IS_NULL(alg))
		return;
	key = palloc0(sizeof(CoziKey));
	key->jwk = DatumGetJsonbPCopy(VALUE(jwk));
	key->kid = text_or_null(VALUE(kid), IS_NULL(kid));
	key->alg = TextDatumGetCString(VALUE(alg));
	key->issuer = text_or_null(VALUE(issuer), IS_NULL(issuer));
	if (!IS_NULL(audience))
		read_audience(key, VALUE(audience));
	key->id_tokens = !IS_NULL(id_tokens) && DatumGetBool(VALUE(id_tokens));
	key->any_kid = !IS_NULL(any_kid) && DatumGetBool(VALUE(any_kid));
	key->not_before = IS_NULL(not_before) ? DT_NOBEGIN : DatumGetTimestampTz(VALUE(not_before));
	key->retired_at = IS_NULL(retired_at) ? DT_NOEND : DatumGetTimestampTz(VALUE(retired_at));
#undef VALUE
#undef IS_NULL
	digest_key(key, row);
	*keys = lappend(*keys, key);
}

/* Read the keys of a kid, or those without, as committed now. */
static List *
read_keys(const char *kid)
{
	Relation	rel = table_open(registry.relid, AccessShareLock);
	ScanKeyData scan_key;
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData row;
	List	   *keys = NIL;

	if (kid)
		ScanKeyEntryInitialize(&scan_key, 0, Anum_jwks_kid, BTEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(kid));
	else
		ScanKeyEntryInitialize(&scan_key, SK_ISNULL | SK_SEARCHNULL, Anum_jwks_kid,
							   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	(void) cozi_is_known(rel, &jwks_table, false);
	initStringInfo(&row);
	/* without a snapshot of ours: a new one */
	scan = systable_beginscan(rel, cozi_table("jwks_kid_idx"), true, NULL, 1, &scan_key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		read_key_row(tuple, RelationGetDescr(rel), &keys, &row);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	explicit_bzero(row.data, row.maxlen);
	pfree(row.data);
	return keys;
}

static bool
are_same_keys(const List *a, const List *b)
{
	ListCell   *in_a,
			   *in_b;

	if (list_length(a) != list_length(b))
		return false;
	forboth(in_a, a, in_b, b)
	{
		if (memcmp(((CoziKey *) lfirst(in_a))->digest, ((CoziKey *) lfirst(in_b))->digest,
				   sizeof(uint64[2])) != 0)
			return false;
	}
	return true;
}

/* Into the set what the table says; what is as it was stays, ready for use. */
static void
fill_set(KeySet * set, MemoryContext context, List *keys, uint64 changes)
{
	set->changes = changes;
	if (set->context && are_same_keys(set->keys, keys))
	{
		MemoryContextDelete(context);
		return;
	}
	if (set->context)
		MemoryContextDelete(set->context);
	MemoryContextSetParent(context, cache.context);
	set->context = context;
	set->keys = keys;
}

/* Forget everything when the table may have changed. */
static void
follow_table(uint64 generation)
{
	HASHCTL		ctl = {.keysize = COZI_KID_MAX,.entrysize = sizeof(KeySet)};

	if (cache.context && cache.generation == generation)
		return;
	if (cache.context)
		MemoryContextDelete(cache.context);
	memset(&cache, 0, sizeof(cache));
	ctl.hcxt = AllocSetContextCreate(TopMemoryContext, "cozi keys", ALLOCSET_SMALL_SIZES);
	cache.context = ctl.hcxt;
	cache.sets = hash_create("cozi keys", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	cache.generation = generation;
}

/*
 * The keys of a kid, or those without (NULL), of this moment; valid until the
 * next call.  Both numbers are taken before the table is read: what changes in
 * between makes the next call read it again.  An error on the way leaves what
 * was.
 */
List	   *
cozi_keys_of(const char *kid)
{
	uint64		changes = cozi_count_changes(COZI_KEYS);
	uint64		generation = cozi_registry_generation(&registry);
	KeySet	   *set;
	MemoryContext context,
				old;
	List	   *keys;

	if (!OidIsValid(registry.relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"cozi\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION cozi.")));
	follow_table(generation);
	set = kid ? hash_search(cache.sets, kid, HASH_FIND, NULL) : &cache.without;
	if (set && set->context && changes != 0 && set->changes == changes)
		return set->keys;

	context = AllocSetContextCreate(CurrentMemoryContext, "cozi keys of a kid",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	keys = read_keys(kid);
	MemoryContextSwitchTo(old);
	if (kid && keys == NIL)
	{
		MemoryContextDelete(context);
		if (set)
		{
			MemoryContextDelete(set->context);
			hash_search(cache.sets, kid, HASH_REMOVE, NULL);
		}
		return NIL;
	}
	if (set == NULL)
	{
		set = hash_search(cache.sets, kid, HASH_ENTER, NULL);
		set->context = NULL;
	}
	fill_set(set, context, keys, changes);
	return set->keys;
}

/* What verifies; NULL when the row was written around every check. */
const CoziVerifier *
cozi_key_verifier(CoziKey *key)
{
	CoziJwkProblem problem;
	MemoryContext old;

	if (key->jwk)
	{
		old = MemoryContextSwitchTo(GetMemoryChunkContext(key));
		key->verifier = cozi_make_verifier(key->jwk, false, &problem);
		MemoryContextSwitchTo(old);
		/* it may be a secret, and has served */
		explicit_bzero(key->jwk, VARSIZE(key->jwk));
		pfree(key->jwk);
		key->jwk = NULL;
	}
	return key->verifier;
}

/* Is there still the key of that kid and digest? */
bool
cozi_key_stands(const char *kid, const uint64 digest[2])
{
	ListCell   *cell;

	foreach(cell, cozi_keys_of(kid))
	{
		const CoziKey *key = lfirst(cell);

		if (key->digest[0] == digest[0] && key->digest[1] == digest[1])
			return true;
	}
	return false;
}
