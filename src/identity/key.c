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
 * A key is made into what verifies when a token first names it: an issuer may
 * have a thousand.
 *
 * Memory: one context a reading, child of TopMemoryContext, replaced whole.
 * OpenSSL's objects are given back, and secrets wiped, when it goes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
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

static CoziRegistry registry = {.table = "jwks"};

/* What this backend has read of the table. */
static struct
{
	MemoryContext context;		/* NULL when nothing */
	uint64		generation;		/* of the registry */
	uint64		changes;		/* see cozi_count_changes() */
	List	   *keys;			/* of CoziKey */
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

/* A reading of the table. */
typedef struct Reading
{
	List	   *keys;
	StringInfoData row;			/* what decides about tokens of a key */
} Reading;

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
read_key_row(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Reading    *reading = arg;
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
	digest_key(key, &reading->row);
	reading->keys = lappend(reading->keys, key);
}

/* Read the keys anew.  An error on the way leaves what was. */
static void
fill_cache(uint64 generation, uint64 changes)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi keys",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Reading		reading = {.keys = NIL};

	initStringInfo(&reading.row);
	cozi_read_table("jwks", read_key_row, &reading);
	explicit_bzero(reading.row.data, reading.row.maxlen);
	pfree(reading.row.data);
	MemoryContextSwitchTo(old);
	if (cache.context)
		MemoryContextDelete(cache.context);
	MemoryContextSetParent(context, TopMemoryContext);
	cache.context = context;
	cache.generation = generation;
	cache.changes = changes;
	cache.keys = reading.keys;
}

/*
 * The keys of this moment.  Both numbers are taken before the table is read:
 * what changes in between makes the next call read it again.
 */
List	   *
cozi_current_keys(void)
{
	uint64		changes = cozi_count_changes(COZI_KEYS);
	uint64		generation = cozi_registry_generation(&registry);

	if (!OidIsValid(registry.relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"cozi\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION cozi.")));
	if (cache.context == NULL || cache.generation != generation ||
		changes == 0 || cache.changes != changes)
		fill_cache(generation, changes);
	return cache.keys;
}

/* Does the key serve the token's kid, or its lack of one? */
bool
cozi_key_is_meant(const CoziKey *key, const CoziJws *jws)
{
	if (key->kid == NULL)
		return !jws->has_kid || key->any_kid;
	return jws->has_kid && strcmp(key->kid, jws->kid) == 0;
}

/* What verifies; NULL when the row was written around every check. */
const CoziVerifier *
cozi_key_verifier(CoziKey *key)
{
	CoziJwkProblem problem;
	MemoryContext old;

	if (key->verifier == NULL)
	{
		old = MemoryContextSwitchTo(cache.context);
		key->verifier = cozi_make_verifier(key->jwk, &problem);
		MemoryContextSwitchTo(old);
	}
	return key->verifier;
}

/* The key of that digest; NULL when there is none any more. */
const CoziKey *
cozi_find_key(const uint64 digest[2])
{
	ListCell   *cell;

	foreach(cell, cozi_current_keys())
	{
		const CoziKey *key = lfirst(cell);

		if (key->digest[0] == digest[0] && key->digest[1] == digest[1])
			return key;
	}
	return NULL;
}
