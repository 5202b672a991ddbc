/*
 * pure/json.h
 *		A strict reader of small JSON objects that an enemy may have written.
 *
 * jsonb forgives: of two members with one name it keeps the last, and where
 * it does not forgive it raises an error whose context prints the document.
 * Here a document is right in every byte or refused with a fixed sentence
 * that quotes none of it: UTF-8, RFC 8259's grammar, no name twice in any
 * object (compared after unescaping), no NUL, no lone surrogate, bounded
 * depth, size and numbers.  What this accepts, jsonb accepts.
 *
 * No server include: the reader is fuzzed alone.  It allocates nothing.
 */
#ifndef COZI_JSON_H
#define COZI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COZI_JSON_MAX_SIZE		8192
#define COZI_JSON_MAX_DEPTH		32
#define COZI_JSON_MAX_MEMBERS	512 /* of all objects open at one place */
#define COZI_JSON_MAX_NUMBER	64	/* characters */

/* How to treat bytes above 127. */
typedef enum CoziJsonBytes
{
	COZI_JSON_UTF8,				/* must be UTF-8 */
	COZI_JSON_ASCII,			/* refused, escaped or not */
	COZI_JSON_TRUSTED,			/* already checked, in some server encoding */
} CoziJsonBytes;

typedef enum CoziJsonKind
{
	COZI_JSON_OBJECT,
	COZI_JSON_ARRAY,
	COZI_JSON_STRING,
	COZI_JSON_NUMBER,
	COZI_JSON_TRUE,
	COZI_JSON_FALSE,
	COZI_JSON_NULL,
} CoziJsonKind;

typedef struct CoziJsonMember
{
	const char *name;			/* unescaped, in CoziJson.names */
	int			name_len;
	uint32_t	hash;			/* of the name */
	CoziJsonKind kind;
	const char *value;			/* as written, in the document */
	int			value_len;
} CoziJsonMember;

typedef struct CoziJson
{
	CoziJsonMember members[COZI_JSON_MAX_MEMBERS];
	int			nmembers;		/* of the outermost object, when read */
	char		names[COZI_JSON_MAX_SIZE];
	int			names_len;

	/* the reader's own */
	const char *at;
	const char *end;
	CoziJsonBytes bytes;
	const char *error;
} CoziJson;

extern const char *cozi_json_read(CoziJson *json, const char *text, size_t len,
								  CoziJsonBytes bytes);
extern const CoziJsonMember *cozi_json_member(const CoziJson *json, const char *name);
extern int	cozi_json_string(const CoziJsonMember *member, char *out, size_t size);
extern bool cozi_json_equals(const CoziJsonMember *member, const char *want);
extern bool cozi_json_contains(const CoziJsonMember *member, const char *want, bool *strings);
extern bool cozi_json_seconds(const CoziJsonMember *member, int64_t *seconds);

/* json_string.c: for json.c */
extern bool cozi_json_read_string(CoziJson *json, char *out, int *out_len);

/* Take a sentence as the reason why the document is refused. */
static inline bool
cozi_json_fail(CoziJson *json, const char *error)
{
	json->error = error;
	return false;
}

#endif							/* COZI_JSON_H */
