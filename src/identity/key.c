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
	Anum_jwks_any_kid,
	Natts_jwks_read = Anum_jwks_any_kid
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

/* What decides about tokens of the key, and nothing else. */
static void
digest_key(CoziKey *key)
{
	StringInfoData all;
	int64		times[2] = {key->not_before, key->retired_at};

	initStringInfo(&all);
	appendBinaryStringInfo(&all, (const char *) times, sizeof(times));
	appendStringInfo(&all, "%d%d%d %d %s", key->id_tokens, key->any_kid, key->issuer != NULL,
					 key->naudiences, key->issuer ? key->issuer : "");
	for (int i = 0; i < key->naudiences; i++)
		appendBinaryStringInfo(&all, key->audiences[i], strlen(key->audiences[i]) + 1);
	appendBinaryStringInfo(&all, (const char *) key->jwk, VARSIZE(key->jwk));
	cozi_hash128(all.len, all.data, all.len, key->digest);
	explicit_bzero(all.data, all.len);
	pfree(all.data);
}

static void
read_key_row(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Datum		values[Natts_jwks_read + 1];
	bool		nulls[Natts_jwks_read + 1];
	CoziKey    *key;

	for (int i = Anum_jwks_id; i <= Natts_jwks_read; i++)
		values[i] = heap_getattr(tuple, i, desc, &nulls[i]);
	if (nulls[Anum_jwks_jwk] || nulls[Anum_jwks_alg])
		return;
	key = palloc0(sizeof(CoziKey));
	key->jwk = DatumGetJsonbPCopy(values[Anum_jwks_jwk]);
	key->kid = text_or_null(values[Anum_jwks_kid], nulls[Anum_jwks_kid]);
	key->alg = TextDatumGetCString(values[Anum_jwks_alg]);
	key->issuer = text_or_null(values[Anum_jwks_issuer], nulls[Anum_jwks_issuer]);
	if (!nulls[Anum_jwks_audience])
		read_audience(key, values[Anum_jwks_audience]);
	key->id_tokens = !nulls[Anum_jwks_id_tokens] && DatumGetBool(values[Anum_jwks_id_tokens]);
	key->any_kid = !nulls[Anum_jwks_any_kid] && DatumGetBool(values[Anum_jwks_any_kid]);
	key->not_before = nulls[Anum_jwks_not_before] ? DT_NOBEGIN
		: DatumGetTimestampTz(values[Anum_jwks_not_before]);
	key->retired_at = nulls[Anum_jwks_retired_at] ? DT_NOEND
		: DatumGetTimestampTz(values[Anum_jwks_retired_at]);
	digest_key(key);
	*(List **) arg = lappend(*(List **) arg, key);
}

/* Read the keys anew.  An error on the way leaves what was. */
static void
fill_cache(uint64 generation, uint64 changes)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "cozi keys",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *keys = NIL;

	cozi_read_table("jwks", read_key_row, &keys);
	MemoryContextSwitchTo(old);
	if (cache.context)
		MemoryContextDelete(cache.context);
	MemoryContextSetParent(context, TopMemoryContext);
	cache.context = context;
	cache.generation = generation;
	cache.changes = changes;
	cache.keys = keys;
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
