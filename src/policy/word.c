/*
 * policy/word.c
 *		A visibility column of any type, as the words of can_view().
 *
 * The law: the expression is total.  No value that a client can store in the
 * column makes it raise an error; a value without a word is NULL, and shown to
 * the owner of its row alone.
 */
#include "postgres.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/base.h"
#include "policy/policy.h"

static const char *const known_words[] = {"public", "followers", "group", "private", "unlisted"};

static bool
is_known_word(const char *word)
{
	for (int i = 0; i < lengthof(known_words); i++)
		if (strcmp(word, known_words[i]) == 0)
			return true;
	return false;
}

/* Is this a value of the column?  What no row can say must not be mapped. */
static bool
is_value(Oid type, const char *value)
{
	bool		truth;
	char	   *end;

	if (type == BOOLOID)
		return parse_bool(value, &truth);
	if (cozi_is_integer(type))
	{
		errno = 0;
		(void) strtoll(value, &end, 10);
		return errno == 0 && end != value && *end == '\0';
	}
	if (type_is_enum(type))
		return SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(type),
									 CStringGetDatum(value));
	return true;
}

static void
check_word(const CoziProtection *p, const char *value, const JsonbValue *word)
{
	char	   *meaning = word->type != jbvString ? "" :
	pnstrdup(word->val.string.val, word->val.string.len);

	if (!is_known_word(meaning))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("word \"%s\" does not stand for a visibility", value),
				 errhint("Visibilities are public, unlisted, followers, group and private.")));
	if (strcmp(meaning, "group") == 0 && !cozi_given(&p->grp))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("word \"%s\" stands for group, and there is no grp", value),
				 errhint("Name the column of the group: grp => '...'.")));
	if (!is_value(getBaseType(p->visibility.type), value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" has no value \"%s\"", NameStr(p->visibility.name), value),
				 errhint("The column is of type %s.", format_type_be(p->visibility.type))));
}

/* The column in the form in which its values are compared. */
static char *
compared_column(const CoziProtection *p)
{
	Oid			type = getBaseType(p->visibility.type);
	const char *name = quote_identifier(NameStr(p->visibility.name));

	if (type == BOOLOID || type == INT2OID || type == INT4OID || type == INT8OID ||
		type_is_enum(type))
		return pstrdup(name);
	if (type == TEXTOID || type == VARCHAROID)
		return get_collation_isdeterministic(p->visibility.collation) ? pstrdup(name)
			: psprintf("%s COLLATE \"C\"", name);
	return psprintf("%s::text", name);
}

static char *
mapped_words(const CoziProtection *p)
{
	JsonbIterator *it = JsonbIteratorInit(&p->words->root);
	JsonbValue	key,
				value;
	JsonbIteratorToken token;
	StringInfoData expression;

	initStringInfo(&expression);
	appendStringInfo(&expression, "CASE %s", compared_column(p));
	(void) JsonbIteratorNext(&it, &key, false);
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		char	   *from = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&it, &value, true);
		check_word(p, from, &value);
		appendStringInfo(&expression, " WHEN %s THEN %s", quote_literal_cstr(from),
						 quote_literal_cstr(pnstrdup(value.val.string.val, value.val.string.len)));
	}
	appendStringInfoString(&expression, " END");
	return expression.data;
}

/* Does the mapping, or the column itself, have that word? */
bool
cozi_word_is_used(const CoziProtection *p, const char *word)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!cozi_given(&p->visibility))
		return false;
	if (p->words == NULL)
		return getBaseType(p->visibility.type) != BOOLOID;
	it = JsonbIteratorInit(&p->words->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		if (token == WJB_VALUE && value.type == jbvString &&
			value.val.string.len == strlen(word) &&
			memcmp(value.val.string.val, word, value.val.string.len) == 0)
			return true;
	return false;
}

/* The visibility of a row as an SQL expression of type text. */
char	   *
cozi_visibility_word(const CoziProtection *p)
{
	Oid			type = getBaseType(p->visibility.type);
	const char *name = quote_identifier(NameStr(p->visibility.name));

	if (p->words != NULL)
	{
		if (!JB_ROOT_IS_OBJECT(p->words) || JB_ROOT_COUNT(p->words) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"words\" must be an object with members"),
					 errhint("For example '{\"everyone\": \"public\", \"friends\": "
							 "\"followers\"}'.")));
		return mapped_words(p);
	}
	if (type == TEXTOID || type == VARCHAROID)
		return pstrdup(name);
	if (type == BPCHAROID || type_is_enum(type))
		return psprintf("%s::text", name);
	if (type == BOOLOID)
		return psprintf("CASE WHEN %s THEN 'public' ELSE 'private' END", name);
	if (cozi_is_integer(type))
		return psprintf("CASE %s WHEN 1 THEN 'public' WHEN 2 THEN 'followers' WHEN 3 THEN 'group'"
						" WHEN 4 THEN 'private' WHEN 5 THEN 'unlisted' END", name);
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" is of type %s", NameStr(p->visibility.name),
					format_type_be(p->visibility.type)),
			 errhint("Say what its values mean: words => '{\"value\": \"public\", ...}'.")));
	return NULL;				/* not reached */
}
