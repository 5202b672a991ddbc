/*
 * identity/revocation.c
 *		Tokens and users that were revoked: table cozi.revocations.
 *
 * A token is revoked by its jti, a user by all tokens issued before an
 * instant.  Each login asks, also when its token was verified before: a
 * revocation holds from its commit on, in every session, at every isolation
 * level, on a standby as soon as it is replayed.  A session keeps whether the
 * table is empty, as it keeps the keys; otherwise it asks the index, with a
 * snapshot of this moment, since an app that revokes a token at each logout
 * would make every session read the table at each login.
 *
 * The law: what cannot be told is refused.  A token of a revoked user that
 * does not say when it was issued counts as issued before.
 */
#include "postgres.h"

#include <openssl/sha.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/shared.h"

/* The columns of cozi.revocations, whose primary key is the first two. */
enum
{
	Anum_revocations_kind = 1,
	Anum_revocations_value,
	Anum_revocations_issued_before
};

static const CoziShape table = {"revocations", {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
TIMESTAMPTZOID}};

#define VALUE_MAX 1024			/* bytes */

static CoziRegistry registry = {.table = "revocations"};

/* Most of the time nothing is revoked, which this session has seen at ... */
static struct
{
	uint64		generation;		/* of the registry; 0: not looked yet */
	uint64		changes;		/* see cozi_count_changes() */
	bool		empty;
}			seen;

/* Is there no revocation at all? */
static bool
nothing_is_revoked(void)
{
	uint64		changes = cozi_count_changes(COZI_REVOCATIONS);
	uint64		generation = cozi_registry_generation(&registry);
	Relation	rel;
	SysScanDesc scan;

	if (seen.generation == generation && changes != 0 && seen.changes == changes)
		return seen.empty;
	if (!OidIsValid(registry.relid))
		return false;
	rel = table_open(registry.relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	seen.empty = !HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	seen.generation = generation;
	seen.changes = changes;
	return seen.empty;
}

/*
 * A jti or a subject as it stands in the table: a uuid is one user in either
 * case, and what is too long for the index is there by its digest.
 */
static text *
stored_value(const char *kind, const char *value, int len)
{
	char	   *result;
	pg_uuid_t	uuid;
	unsigned char digest[SHA256_DIGEST_LENGTH];

	if (len > VALUE_MAX)
	{
		result = palloc0(sizeof("sha256:") + 2 * sizeof(digest));
		strcpy(result, "sha256:");
		SHA256((const unsigned char *) value, len, digest);
		hex_encode((const char *) digest, sizeof(digest), result + strlen(result));
		return cstring_to_text(result);
	}
	result = pnstrdup(value, len);
	if (strcmp(kind, "user") == 0 && cozi_subject_uuid(value, len, &uuid))
		for (char *c = result; *c; c++)
			*c = pg_ascii_tolower((unsigned char) *c);
	return cstring_to_text_with_len(result, len);
}

PG_FUNCTION_INFO_V1(cozi_stored_value);

/* _stored_value(kind text, value text) -> text */
Datum
cozi_stored_value(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(1);

	PG_RETURN_TEXT_P(stored_value(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								  VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
}

/*
 * Is there a row of that kind and value?  issued_before is set to what it
 * says, DT_NOEND where it says nothing.
 */
static bool
find_revocation(Relation rel, Oid index, const char *kind, const char *value, int value_len,
				TimestampTz *issued_before)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	for (int i = 0; i < 2; i++)
		ScanKeyEntryInitialize(&key[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXTEQ,
							   PointerGetDatum(i == 0 ? cstring_to_text(kind)
											   : stored_value(kind, value, value_len)));
	(void) cozi_is_known(rel, &table, false);
	/* without a snapshot of ours: a new one */
	scan = systable_beginscan(rel, index, true, NULL, 2, key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		bool		isnull;
		Datum		at = heap_getattr(tuple, Anum_revocations_issued_before,
									  RelationGetDescr(rel), &isnull);

		*issued_before = isnull ? DT_NOEND : DatumGetTimestampTz(at);
	}
	systable_endscan(scan);
	return found;
}

/* Why a token that is right in all else is not to be believed, or NULL. */
const char *
cozi_find_revocation(const char *jti, int jti_len, const char *subject, int subject_len,
					 TimestampTz issued_at)
{
	Oid			index;
	Relation	rel;
	TimestampTz before;
	const char *reason = NULL;

	if (nothing_is_revoked())
		return NULL;
	index = cozi_table("revocations_pkey");
	if (!OidIsValid(registry.relid) || !OidIsValid(index))
		return "there is no table of revocations";
	rel = table_open(registry.relid, AccessShareLock);
	if (jti_len > 0 && find_revocation(rel, index, "token", jti, jti_len, &before))
		reason = "the token was revoked";
	else if (find_revocation(rel, index, "user", subject, subject_len, &before) &&
			 issued_at < before)
		reason = "the user's tokens of that time were revoked";
	table_close(rel, AccessShareLock);
	return reason;
}
