/*
 * identity/settings.c
 *		The settings that judge a token: its issuer, audience, type, times.
 *
 * They are parsed when they have changed, not for each token.  Their digest
 * stands with each token that was verified: by other settings it must be
 * verified again.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "base/base.h"
#include "identity/identity.h"
#include "identity/shared.h"
#include "pure/jws.h"

char	   *cozi_jwt_issuer;
char	   *cozi_jwt_audience;
char	   *cozi_jwt_types;
int			cozi_jwt_leeway;
int			cozi_jwt_max_lifetime;

static CoziTokenSettings settings;
static MemoryContext context = NULL;	/* of what settings points to */
static bool stale = true;

static bool
check_list(char **newval, void **extra, GucSource source)
{
	char	   *raw = pstrdup(*newval);
	List	   *words;
	bool		ok = SplitGUCList(raw, ',', &words);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	pfree(raw);
	return ok;
}

static void
string_changed(const char *newval, void *extra)
{
	stale = true;
}

static void
int_changed(int newval, void *extra)
{
	stale = true;
}

static const char **
split_list(const char *value, int *n)
{
	char	   *raw = pstrdup(value);
	List	   *words;
	const char **result;
	ListCell   *cell;

	*n = 0;
	if (!SplitGUCList(raw, ',', &words))
		elog(ERROR, "invalid list in a setting");
	result = palloc((list_length(words) + 1) * sizeof(char *));
	foreach(cell, words)
		result[(*n)++] = lfirst(cell);
	return result;
}

static uint64
digest_settings(void)
{
	StringInfoData all;
	uint64		hash[2];

	initStringInfo(&all);
	appendStringInfo(&all, "%d %d", cozi_jwt_leeway, cozi_jwt_max_lifetime);
	appendBinaryStringInfo(&all, cozi_jwt_issuer, strlen(cozi_jwt_issuer) + 1);
	appendBinaryStringInfo(&all, cozi_jwt_audience, strlen(cozi_jwt_audience) + 1);
	appendBinaryStringInfo(&all, cozi_jwt_types, strlen(cozi_jwt_types) + 1);
	cozi_hash128(all.len, all.data, all.len, hash);
	return hash[0];
}

const CoziTokenSettings *
cozi_token_settings(void)
{
	MemoryContext old;

	if (!stale)
		return &settings;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "cozi token settings",
										ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	old = MemoryContextSwitchTo(context);
	settings.issuer = cozi_jwt_issuer[0] ? pstrdup(cozi_jwt_issuer) : NULL;
	settings.audiences = split_list(cozi_jwt_audience, &settings.naudiences);
	settings.types = split_list(cozi_jwt_types, &settings.ntypes);
	settings.digest = digest_settings();
	MemoryContextSwitchTo(old);
	stale = false;
	return &settings;
}

/* Is a header's typ that of a login? */
bool
cozi_is_login_type(const char *typ)
{
	const CoziTokenSettings *s = cozi_token_settings();

	for (int i = 0; i < s->ntypes; i++)
		if (cozi_media_type_is(typ, s->types[i]))
			return true;
	return s->ntypes == 0;
}

void
cozi_define_token_settings(void)
{
	DefineCustomStringVariable("cozi.jwt_issuer",
							   "Sets the issuer (iss) that a token must name; any when empty.",
							   "A key that was added with an issuer has its own.",
							   &cozi_jwt_issuer,
							   "",
							   PGC_SUSET,
							   0,
							   NULL, string_changed, NULL);
	DefineCustomStringVariable("cozi.jwt_audience",
							   "Sets the audiences, of which a token must name one.",
							   "A key that was added with an issuer has its own.",
							   &cozi_jwt_audience,
							   "",
							   PGC_SUSET,
							   GUC_LIST_INPUT,
							   check_list, string_changed, NULL);
	DefineCustomStringVariable("cozi.jwt_types",
							   "Sets the types (typ) of tokens that are logins; any when empty.",
							   "A token without a type is one, too.",
							   &cozi_jwt_types,
							   "JWT, at+jwt",
							   PGC_SUSET,
							   GUC_LIST_INPUT,
							   check_list, string_changed, NULL);
	DefineCustomIntVariable("cozi.jwt_leeway",
							"Sets how far the clocks of issuer and server may differ.",
							NULL,
							&cozi_jwt_leeway,
							30, 0, 3600,
							PGC_SUSET,
							GUC_UNIT_S,
							NULL, int_changed, NULL);
	DefineCustomIntVariable("cozi.jwt_max_lifetime",
							"Sets the longest lifetime of a token; 0 allows any.",
							NULL,
							&cozi_jwt_max_lifetime,
							24 * 60 * 60, 0, PG_INT32_MAX,
							PGC_SUSET,
							GUC_UNIT_S,
							NULL, int_changed, NULL);
}
