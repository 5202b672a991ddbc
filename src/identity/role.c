/*
 * identity/role.c
 *		The roles that the caller's claims give: has_role(), require_role().
 *
 * cozi.role_claim is a list of paths.  A path names members, separated by
 * dots; a member whose name has a dot itself may be written in double quotes,
 * and is found without them, too: of the ways to read a.b.c the one with the
 * longest first name is tried first.
 *
 * The law: only verified claims give a role, and nothing that users write
 * themselves.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

#include "base/base.h"
#include "identity/identity.h"

/* A name between two dots of a path. */
typedef struct Step
{
	const char *name;			/* in Paths.text */
	int			len;
	bool		quoted;			/* never joined with its neighbours */
	bool		last;			/* of its path */
} Step;

/* What the setting says; in its "extra". */
typedef struct Paths
{
	int			nsteps;
	Step	   *steps;
	char	   *text;
} Paths;

char	   *cozi_role_claim;

static const Paths *paths = NULL;

/* One step at *at, which moves behind it; false: no name is there. */
static bool
read_path_step(char **at, Step *step)
{
	char	   *s = *at;

	step->quoted = *s == '"';
	if (step->quoted)
	{
		step->name = ++s;
		s = strchr(s, '"');
		if (s == NULL)
			return false;
		step->len = s - step->name;
		s++;
	}
	else
	{
		step->name = s;
		s += strcspn(s, ".,\"");
		step->len = s - step->name;
		/* white space before a comma or the end is not of the name */
		while (*s != '.' && step->len > 0 && isspace((unsigned char) step->name[step->len - 1]))
			step->len--;
	}
	while (*s != '.' && isspace((unsigned char) *s))
		s++;
	step->last = *s != '.';
	if (*s != '\0' && *s != '.' && *s != ',')
		return false;
	*at = s;
	return true;
}

static bool
read_paths(Paths *result)
{
	char	   *s = result->text;

	result->nsteps = 0;
	while (isspace((unsigned char) *s))
		s++;
	if (*s == '\0')
		return true;
	for (bool first = true;;)
	{
		Step	   *step = &result->steps[result->nsteps++];

		if (!read_path_step(&s, step))
			return false;
		/* a name may be empty, a path may not */
		if (first && step->last && step->len == 0 && !step->quoted)
			return false;
		if (*s == '\0')
			return step->last;
		first = step->last;
		if (*s++ == ',')
			while (isspace((unsigned char) *s))
				s++;
	}
}

/* Users write these themselves: they give nobody a role. */
static bool
begins_with_metadata(const Paths *result)
{
	static const char *const written_by_users[] = {"user_metadata", "raw_user_meta_data"};

	for (int i = 0; i < result->nsteps; i++)
	{
		const Step *step = &result->steps[i];

		if (i > 0 && !result->steps[i - 1].last)
			continue;
		for (int j = 0; j < lengthof(written_by_users); j++)
		{
			int			len = strlen(written_by_users[j]);

			if (step->len >= len && memcmp(step->name, written_by_users[j], len) == 0 &&
				(step->len == len || step->name[len] == '.'))
			{
				GUC_check_errdetail("Users may write \"%s\" themselves.", written_by_users[j]);
				return true;
			}
		}
	}
	return false;
}

bool
cozi_check_role_claim(char **newval, void **extra, GucSource source)
{
	size_t		len = strlen(*newval);
	size_t		room = sizeof(Paths) + (len + 1) * sizeof(Step);
	Paths	   *result = guc_malloc_compat(room + len + 1);

	*extra = NULL;
	if (result == NULL)
		return false;
	result->steps = (Step *) (result + 1);
	result->text = (char *) result + room;
	memcpy(result->text, *newval, len + 1);
	if (!read_paths(result))
		GUC_check_errdetail("It must be a list of paths: names separated by dots, those with a "
							"comma in double quotes.");
	else if (!begins_with_metadata(result))
	{
		*extra = result;
		return true;
	}
	guc_free_compat(result);
	return false;
}

void
cozi_assign_role_claim(const char *newval, void *extra)
{
	paths = extra;
}

/* Into one member of an object; false where there is none. */
static bool
descend(JsonbContainer * object, const char *name, int len, JsonbValue *found)
{
	return JsonContainerIsObject(object) &&
		getKeyJsonValueFromContainer(object, name, len, found) != NULL;
}

static bool
is_string(const JsonbValue *value, const char *s, int len)
{
	return value->type == jbvString && value->val.string.len == len &&
		memcmp(value->val.string.val, s, len) == 0;
}

/* Is the role one of the words of a scope (RFC 6749 section 3.3)? */
static bool
has_word(const JsonbValue *value, const char *s, int len)
{
	const char *at,
			   *end;

	if (value->type != jbvString)
		return false;
	at = value->val.string.val;
	end = at + value->val.string.len;
	while (at < end)
	{
		const char *space = memchr(at, ' ', end - at);
		int			word = (space ? space : end) - at;

		if (word == len && memcmp(at, s, len) == 0)
			return true;
		at += word + 1;
	}
	return false;
}

/* Does what stands at the end of a path give the role? */
static bool
gives_role(const JsonbValue *value, bool scope, const char *s, int len)
{
	JsonbValue	wanted;

	if (is_string(value, s, len) || (scope && has_word(value, s, len)))
		return true;
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return false;
	wanted.type = jbvString;
	wanted.val.string.val = unconstify(char *, s);
	wanted.val.string.len = len;
	return findJsonbValueFromContainer(value->val.binary.data, JB_FARRAY, &wanted) != NULL;
}

/*
 * Does the path, from its step on, lead to the role?  All ways to join steps
 * to names are tried, the longest first name first; the setting is the
 * administrator's, and each way ends where there is no such member.
 */
static bool
path_gives_role(JsonbContainer * object, const Step *step, const char *s, int len)
{
	const Step *to = step;

	while (!to->last && !step->quoted && !to[1].quoted)
		to++;
	for (; to >= step; to--)
	{
		int			name_len = to->name + to->len - step->name;
		bool		scope = name_len == 5 && memcmp(step->name, "scope", 5) == 0;
		JsonbValue	found;

		scope |= name_len == 3 && memcmp(step->name, "scp", 3) == 0;
		if (!descend(object, step->name, name_len, &found))
			continue;
		if (to->last ? gives_role(&found, scope, s, len)
			: found.type == jbvBinary && path_gives_role(found.val.binary.data, to + 1, s, len))
			return true;
	}
	return false;
}

static bool
caller_has_role(text *role)
{
	Jsonb	   *claims = cozi_settings_forged() ? NULL : cozi_claims();
	bool		begins = true;

	if (claims == NULL || paths == NULL)
		return false;
	for (int i = 0; i < paths->nsteps; i++)
	{
		const Step *step = &paths->steps[i];

		if (begins && path_gives_role(&claims->root, step,
									  VARDATA_ANY(role), VARSIZE_ANY_EXHDR(role)))
			return true;
		begins = step->last;
	}
	return false;
}

/* The same for a string that ends in a NUL. */
bool
cozi_caller_has_role(const char *role)
{
	return caller_has_role(cstring_to_text(role));
}

PG_FUNCTION_INFO_V1(cozi_has_role);

/* has_role(role text) -> boolean: do the verified claims give it? */
Datum
cozi_has_role(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caller_has_role(PG_GETARG_TEXT_PP(0)));
}

PG_FUNCTION_INFO_V1(cozi_require_role);

/* require_role(role text) -> void: has_role(), or an error instead of false */
Datum
cozi_require_role(PG_FUNCTION_ARGS)
{
	/* not STRICT: a role that is NULL must not pass in silence */
	cozi_require_argument(fcinfo, 0, "role");
	if (cozi_identity()->claims == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("nobody is logged in"),
				 errhint("Call cozi.login() with a signed token in the same transaction.")));
	if (!caller_has_role(PG_GETARG_TEXT_PP(0)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is required", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errdetail("The roles of the caller are at \"%s\" in the claims of the token.",
						   cozi_role_claim)));
	PG_RETURN_VOID();
}
