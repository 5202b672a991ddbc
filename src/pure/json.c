/*
 * pure/json.c
 *		A strict reader of small JSON objects: see json.h.
 *
 * A recursive descent over the text.  The names of the objects open at one
 * place lie on one stack, so that a duplicate is found in any of them; those
 * of the outermost object stay when it is done, with where their values are.
 * Every error is a fixed sentence: it goes to a log and must quote nothing.
 */
#include "pure/json.h"

#include <string.h>

#define INT64_SECONDS_MAX INT64_C(253402300799) /* 9999-12-31 23:59:59 */

static bool read_value(CoziJson *json, int depth, CoziJsonKind *kind);

static void
skip_space(CoziJson *json)
{
	while (json->at < json->end &&
		   (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r'))
		json->at++;
}

static bool
take(CoziJson *json, char c)
{
	skip_space(json);
	if (json->at == json->end || *json->at != c)
		return false;
	json->at++;
	return true;
}

static bool
is_digit(const CoziJson *json)
{
	return json->at < json->end && *json->at >= '0' && *json->at <= '9';
}

static bool
parse_number(CoziJson *json)
{
	const char *start = json->at;
	int			exponent = 0;

	if (*json->at == '-')
		json->at++;
	if (!is_digit(json))
		return cozi_json_fail(json, "invalid JSON: bad number");
	if (*json->at == '0')
		json->at++;
	else
		while (is_digit(json))
			json->at++;
	if (json->at < json->end && *json->at == '.')
	{
		json->at++;
		if (!is_digit(json))
			return cozi_json_fail(json, "invalid JSON: bad number");
		while (is_digit(json))
			json->at++;
	}
	if (json->at < json->end && (*json->at == 'e' || *json->at == 'E'))
	{
		json->at++;
		if (json->at < json->end && (*json->at == '+' || *json->at == '-'))
			json->at++;
		if (!is_digit(json))
			return cozi_json_fail(json, "invalid JSON: bad number");
		for (; is_digit(json); json->at++)
			if (exponent < 10000)
				exponent = exponent * 10 + (*json->at - '0');
	}
	if (json->at - start > COZI_JSON_MAX_NUMBER || exponent > 308)
		return cozi_json_fail(json, "number out of range");
	return true;
}

static bool
read_word(CoziJson *json, const char *word)
{
	size_t		len = strlen(word);

	if (json->end - json->at < len || memcmp(json->at, word, len) != 0)
		return cozi_json_fail(json, "invalid JSON: unknown word");
	json->at += len;
	return true;
}

/* A member's name, onto the stack; base is where its object's names begin. */
static bool
parse_name(CoziJson *json, int base)
{
	CoziJsonMember *member = &json->members[json->nmembers];
	uint32_t	hash = 2166136261u;

	if (json->nmembers == COZI_JSON_MAX_MEMBERS)
		return cozi_json_fail(json, "too many members");
	if (!take(json, '"'))
		return cozi_json_fail(json, "invalid JSON: a name expected");
	member->name = json->names + json->names_len;
	if (!cozi_json_read_string(json, json->names + json->names_len, &member->name_len))
		return false;
	for (int i = 0; i < member->name_len; i++)
		hash = (hash ^ (unsigned char) member->name[i]) * 16777619u;
	member->hash = hash;
	for (int i = base; i < json->nmembers; i++)
		if (json->members[i].hash == hash && json->members[i].name_len == member->name_len &&
			memcmp(json->members[i].name, member->name, member->name_len) == 0)
			return cozi_json_fail(json, "a member given twice");
	json->names_len += member->name_len;
	json->nmembers++;
	return true;
}

static bool
read_object(CoziJson *json, int depth)
{
	int			base = json->nmembers;
	int			names = json->names_len;

	if (!take(json, '}'))
	{
		do
		{
			CoziJsonMember *member = &json->members[json->nmembers];

			if (!parse_name(json, base))
				return false;
			if (!take(json, ':'))
				return cozi_json_fail(json, "invalid JSON: a colon expected");
			skip_space(json);
			member->value = json->at;
			if (!read_value(json, depth, &member->kind))
				return false;
			member->value_len = (int) (json->at - member->value);
		} while (take(json, ','));
		if (!take(json, '}'))
			return cozi_json_fail(json, "invalid JSON: object not closed");
	}
	if (depth > 1)
	{
		json->nmembers = base;
		json->names_len = names;
	}
	return true;
}

static bool
read_array(CoziJson *json, int depth)
{
	CoziJsonKind kind;

	if (take(json, ']'))
		return true;
	do
	{
		if (!read_value(json, depth, &kind))
			return false;
	} while (take(json, ','));
	if (!take(json, ']'))
		return cozi_json_fail(json, "invalid JSON: array not closed");
	return true;
}

static bool
read_value(CoziJson *json, int depth, CoziJsonKind *kind)
{
	skip_space(json);
	if (json->at == json->end)
		return cozi_json_fail(json, "invalid JSON: a value expected");
	switch (*json->at)
	{
		case '{':
		case '[':
			if (depth == COZI_JSON_MAX_DEPTH)
				return cozi_json_fail(json, "nested too deeply");
			*kind = *json->at++ == '{' ? COZI_JSON_OBJECT : COZI_JSON_ARRAY;
			if (*kind == COZI_JSON_OBJECT)
				return read_object(json, depth + 1);
			return read_array(json, depth + 1);
		case '"':
			*kind = COZI_JSON_STRING;
			json->at++;
			return cozi_json_read_string(json, NULL, NULL);
		case 't':
			*kind = COZI_JSON_TRUE;
			return read_word(json, "true");
		case 'f':
			*kind = COZI_JSON_FALSE;
			return read_word(json, "false");
		case 'n':
			*kind = COZI_JSON_NULL;
			return read_word(json, "null");
		default:
			*kind = COZI_JSON_NUMBER;
			return parse_number(json);
	}
}

/*
 * Read an object.  NULL when all of it is right, else why not.  The text must
 * outlive the members.
 */
const char *
cozi_json_read(CoziJson *json, const char *text, size_t len, CoziJsonBytes bytes)
{
	CoziJsonKind kind;

	json->nmembers = 0;
	json->names_len = 0;
	json->at = text;
	json->end = text +len;

	json->bytes = bytes;
	json->error = NULL;

	if (len > COZI_JSON_MAX_SIZE)
		return "too long";
	skip_space(json);
	if (json->at == json->end || *json->at != '{')
		return "not a JSON object";
	if (!read_value(json, 0, &kind))
		return json->error;
	skip_space(json);
	if (json->at != json->end)
		return "invalid JSON: something after the object";
	return NULL;
}

const CoziJsonMember *
cozi_json_member(const CoziJson *json, const char *name)
{
	size_t		len = strlen(name);

	for (int i = 0; i < json->nmembers; i++)
		if (json->members[i].name_len == len && memcmp(json->members[i].name, name, len) == 0)
			return &json->members[i];
	return NULL;
}

/*
 * What a string member says, with a NUL after it: its length, or -1 when it
 * is no string or does not fit.
 */
int
cozi_json_string(const CoziJsonMember *member, char *out, size_t size)
{
	CoziJson	json;
	int			len;

	/* written, a string is at least as long as what it says, and 2 quotes */
	if (member == NULL || member->kind != COZI_JSON_STRING || member->value_len - 1 > size)
		return -1;
	json.at = member->value + 1;
	json.end = member->value + member->value_len;
	json.bytes = COZI_JSON_TRUSTED;
	if (!cozi_json_read_string(&json, out, &len))
		return -1;
	out[len] = '\0';
	return len;
}

/* Is the member the string "want"? */
bool
cozi_json_equals(const CoziJsonMember *member, const char *want)
{
	char		buf[COZI_JSON_MAX_SIZE];
	int			len = cozi_json_string(member, buf, sizeof(buf));

	return len >= 0 && len == strlen(want) && memcmp(buf, want, len) == 0;
}

/*
 * Is the member the string "want", or an array of strings with it?  *strings
 * says whether it is one of the two kinds at all.
 */
bool
cozi_json_contains(const CoziJsonMember *member, const char *want, bool *strings)
{
	CoziJson	json;
	bool		found = false;

	*strings = member != NULL && member->kind == COZI_JSON_STRING;
	if (*strings)
		return cozi_json_equals(member, want);
	if (member == NULL || member->kind != COZI_JSON_ARRAY)
		return false;

	json.nmembers = json.names_len = 0;
	json.at = member->value + 1;
	json.end = member->value + member->value_len;
	json.bytes = COZI_JSON_TRUSTED;
	do
	{
		CoziJsonMember element;

		skip_space(&json);
		element.value = json.at;
		if (json.at == json.end || *json.at == ']' ||
			!read_value(&json, 0, &element.kind) || element.kind != COZI_JSON_STRING)
			return false;
		element.value_len = (int) (json.at - element.value);
		found |= cozi_json_equals(&element, want);
	} while (take(&json, ','));
	*strings = true;
	return found;
}

/*
 * A NumericDate: a number of seconds, not after the year 9999, written without
 * an exponent; a fraction is cut off.
 */
bool
cozi_json_seconds(const CoziJsonMember *member, int64_t *seconds)
{
	int			i = 0;
	int64_t		value = 0;

	if (member == NULL || member->kind != COZI_JSON_NUMBER)
		return false;
	for (; i < member->value_len && member->value[i] >= '0' && member->value[i] <= '9'; i++)
	{
		value = value * 10 + (member->value[i] - '0');
		if (value > INT64_SECONDS_MAX)
			return false;
	}
	if (i == 0)
		return false;			/* negative */
	if (i < member->value_len && member->value[i] == '.')
		for (i++; i < member->value_len && member->value[i] >= '0' && member->value[i] <= '9';)
			i++;
	if (i < member->value_len)
		return false;			/* an exponent */
	*seconds = value;
	return true;
}
