/*
 * kept/key.c
 *		Keys, and sums by key.
 *
 * A key is the text of its values.  Where two values of a type are equal only if
 * they are identical, so are their texts.  A type whose equality is wider (1.0
 * and 1.00, or a collation that ignores case) is hashed and compared by its own
 * functions, which are the server's.
 *
 * The law: what is written here into a key does not depend on a setting.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "kept/kept.h"
#include "pure/siphash.h"

struct groups_hash;

struct KeptSums
{
	const Kept *kept;
	KeptKeyType scope;
	KeptKeyType item;
	MemoryContext context;		/* holds the groups */
	uint64		salts[2];		/* odd: nobody knows which keys collide in the
								 * table */
	struct groups_hash *groups;
};

static inline uint32
hash_group(KeptSums *sums, KeptKey key)
{
	return (uint32) (((uint64) key.hash * sums->salts[0] +
					  (uint64) key.due * sums->salts[1]) >> 32);
}

static inline bool
same_group(KeptSums *sums, KeptKey a, KeptKey b)
{
	return cozi_kept_same_key(sums, &a, &b);
}

#define SH_PREFIX			groups
#define SH_ELEMENT_TYPE		KeptGroup
#define SH_KEY_TYPE			KeptKey
#define SH_KEY				key
#define SH_HASH_KEY(tb, k)	hash_group((tb)->private_data, k)
#define SH_EQUAL(tb, a, b)	same_group((tb)->private_data, a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)	(a)->hash
#define SH_SCOPE			static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Is equality of this type anything but identity of the bytes? */
bool
cozi_kept_is_wide(Oid type, Oid collation)
{
	TypeCacheEntry *entry;
	Oid			opcintype;
	Oid			proc;

	/* what most items are need not be looked up by each statement */
	if (type == INT8OID || type == INT4OID || type == UUIDOID)
		return false;
	entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	opcintype = entry->btree_opintype;
	if (!OidIsValid(entry->btree_opf))
		return true;
	proc = get_opfamily_proc(entry->btree_opf, opcintype, opcintype, BTEQUALIMAGE_PROC);
	return !OidIsValid(proc) ||
		!DatumGetBool(OidFunctionCall1Coll(proc, collation, ObjectIdGetDatum(opcintype)));
}

void
cozi_kept_key_type(KeptKeyType *type, Oid column_type, Oid collation)
{
	Oid			element;
	bool		varlena;

	memset(type, 0, sizeof(KeptKeyType));
	type->type = getBaseType(column_type);
	type->collation = collation;
	element = get_element_type(type->type);
	if (OidIsValid(element))
	{
		type->is_array = true;
		type->type = getBaseType(element);
	}
	getTypeOutputInfo(type->type, &type->output, &varlena);
	getTypeInputInfo(type->type, &type->input, &type->ioparam);
	fmgr_info(type->output, &type->output_finfo);
	type->wide = cozi_kept_is_wide(type->type, collation);
	if (type->wide)
	{
		TypeCacheEntry *entry = lookup_type_cache(type->type, TYPECACHE_EQ_OPR_FINFO |
												  TYPECACHE_HASH_EXTENDED_PROC_FINFO);

		/* without a hash function, identity is all there is */
		if (OidIsValid(entry->hash_extended_proc) && OidIsValid(entry->eq_opr))
		{
			type->hash_finfo = &entry->hash_extended_proc_finfo;
			type->equal_finfo = &entry->eq_opr_finfo;
			fmgr_info(type->input, &type->input_finfo);
		}
		else
			type->wide = false;
	}
}

char	   *
cozi_kept_key_text(KeptKeyType *type, Datum value)
{
	switch (type->type)
	{
		case TEXTOID:
		case VARCHAROID:
			return TextDatumGetCString(value);
		default:
			return OutputFunctionCall(&type->output_finfo, value);
	}
}

/* Does the text of a value depend on settings? */
bool
cozi_kept_settings_matter(const KeptKeyType *type)
{
	switch (type->type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
		case BOOLOID:
		case NUMERICOID:
			return false;
		default:
			return get_typtype(type->type) != TYPTYPE_ENUM;
	}
}

/* Settings under which a text is read as it was written; ends by AtEOXact_GUC(). */
int
cozi_kept_plain_settings(void)
{
	int			level = NewGUCNestLevel();

	cozi_set_locally("DateStyle", "ISO, YMD");
	cozi_set_locally("IntervalStyle", "postgres");
	cozi_set_locally("TimeZone", "UTC");
	cozi_set_locally("extra_float_digits", "1");
	cozi_set_locally("bytea_output", "hex");
	return level;
}

KeptSums   *
cozi_kept_sums(const Kept *kept, MemoryContext parent)
{
	KeptSums   *sums = MemoryContextAllocZero(parent, sizeof(KeptSums));
	MemoryContext caller = MemoryContextSwitchTo(parent);
	AttrNumber	attnum = get_attnum(kept->relation, kept->kind->item);
	Oid			type;
	Oid			collation;
	int32		typmod;

	sums->kept = kept;
	for (int i = 0; i < lengthof(sums->salts); i++)
		sums->salts[i] = pg_prng_uint64(&pg_global_prng_state) | 1;
	get_atttypetypmodcoll(kept->relation, attnum, &type, &typmod, &collation);
	cozi_kept_key_type(&sums->item, type, collation);
	if (kept_has(kept, KEPT_SCOPE))
	{
		attnum = get_attnum(kept->relation, cozi_kept_role_column(kept, KEPT_SCOPE));
		get_atttypetypmodcoll(kept->relation, attnum, &type, &typmod, &collation);
		cozi_kept_key_type(&sums->scope, type, collation);
	}
	sums->context = AllocSetContextCreate(parent, "cozi sums", ALLOCSET_DEFAULT_SIZES);
	sums->groups = groups_create(sums->context, 16, sums);
	MemoryContextSwitchTo(caller);
	return sums;
}

static Datum
key_value(KeptKeyType *type, const char *text)
{
	return InputFunctionCall(&type->input_finfo, unconstify(char *, text), type->ioparam, -1);
}

static uint64
hash_part(KeptKeyType *type, const char *text, uint64 seed)
{
	static const uint64 seeds[2] = {UINT64CONST(0x636f7a692e6b6570), UINT64CONST(0x742e6b657973)};

	if (type->wide)
		return DatumGetUInt64(FunctionCall2Coll(type->hash_finfo, type->collation,
												key_value(type, text), UInt64GetDatum(seed)));
	return cozi_siphash(seeds, seed, text, strlen(text));
}

/* Fill in the hash of a key. */
void
cozi_kept_hash_key(KeptSums *sums, KeptKey *key)
{
	uint64		hash = 0;

	if (key->scope != NULL)
		hash = hash_part(&sums->scope, key->scope, 0);
	key->hash = (int64) hash_part(&sums->item, key->item, hash);
}

static bool
same_part(KeptKeyType *type, const char *a, const char *b)
{
	if (a == NULL || b == NULL || strcmp(a, b) == 0)
		return a == b || (a != NULL && b != NULL);
	return type->wide &&
		DatumGetBool(FunctionCall2Coll(type->equal_finfo, type->collation,
									   key_value(type, a), key_value(type, b)));
}

bool
cozi_kept_same_key(KeptSums *sums, const KeptKey *a, const KeptKey *b)
{
	return a->hash == b->hash && a->due == b->due &&
		same_part(&sums->item, a->item, b->item) &&
		same_part(&sums->scope, a->scope, b->scope);
}

/* The group of a key; made, with copies of its texts, if it is to be. */
KeptGroup  *
cozi_kept_group(KeptSums *sums, const KeptKey *key, bool create)
{
	MemoryContext caller;
	KeptGroup  *group;
	bool		found;

	if (!create)
		return groups_lookup(sums->groups, *key);
	caller = MemoryContextSwitchTo(sums->context);
	group = groups_insert(sums->groups, *key, &found);
	if (!found)
	{
		group->key.item = pstrdup(key->item);
		group->key.scope = key->scope ? pstrdup(key->scope) : NULL;
		group->sum = palloc0(sums->kept->kind->sum_size);
		sums->kept->kind->init(group->sum);
	}
	MemoryContextSwitchTo(caller);
	return group;
}

int64
cozi_kept_groups(KeptSums *sums)
{
	return sums->groups->members;
}

/* The groups, in no order. */
KeptGroup **
cozi_kept_list(KeptSums *sums, int *n)
{
	KeptGroup **list = palloc_extended((sums->groups->members + 1) * sizeof(KeptGroup *),
									   MCXT_ALLOC_HUGE);
	groups_iterator it;
	KeptGroup  *group;

	*n = 0;
	groups_start_iterate(sums->groups, &it);
	while ((group = groups_iterate(sums->groups, &it)) != NULL)
		list[(*n)++] = group;
	return list;
}

void
cozi_kept_reset(KeptSums *sums)
{
	MemoryContextReset(sums->context);
	sums->groups = groups_create(sums->context, 16, sums);
}

MemoryContext
cozi_kept_context(KeptSums *sums)
{
	return sums->context;
}
