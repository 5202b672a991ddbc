/*
 * monitor/mask.c
 *		Texts as another role may see them: in this database's encoding, and
 *		without constants.
 *
 * A text comes from any database of the server.  One that has no
 * representation here is NULL; it must not hide the others.
 *
 * A captured text or plan has the constants of the query, the values that were
 * bound and the constants of policies, which pg_stat_statements and
 * pg_stat_activity do not show.  They are masked for other roles than
 * superusers and the one that ran the statement, unless cozi.show_constants is
 * on.  The masking reads quotes and digits, not grammar: what it cannot tell
 * from a constant it masks, too.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "common/string.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "monitor/monitor.h"

#define MASK	'?'

/* The encoding of a database, of this one's texts if it has been dropped. */
static int
database_encoding(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	int			encoding = GetDatabaseEncoding();

	if (HeapTupleIsValid(tuple))
	{
		encoding = ((Form_pg_database) GETSTRUCT(tuple))->encoding;
		ReleaseSysCache(tuple);
	}
	return encoding;
}

/* A text of that database in the encoding of this one; NULL if it has none. */
char	   *
cozi_text_here(Oid database, char *text)
{
	int			here = GetDatabaseEncoding();
	int			len = strlen(text);
	int			encoding;
	Oid			conversion;
	Size		size;
	char	   *converted;

	if (here == PG_SQL_ASCII || pg_is_ascii(text))
		return text;

	encoding = database == MyDatabaseId ? here : database_encoding(database);
	if (encoding == here || encoding == PG_SQL_ASCII)
		return pg_verify_mbstr(here, text, len, true) ? text : NULL;

	conversion = FindDefaultConversionProc(encoding, here);
	if (!OidIsValid(conversion))
		return NULL;
	size = (Size) len * MAX_CONVERSION_GROWTH + 1;
	if (!AllocSizeIsValid(size))
		return NULL;
	converted = palloc(size);
	if (pg_do_encoding_conversion_buf(conversion, encoding, here, (unsigned char *) text, len,
									  (unsigned char *) converted, (int) size, true) == len)
		return converted;
	pfree(converted);
	return NULL;
}

/* Once for a query, whatever the number of its texts. */
void
cozi_warn_encoding(void)
{
	ereport(WARNING,
			(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
			 errmsg("a query text of another database cannot be shown in encoding \"%s\"",
					GetDatabaseEncodingName()),
			 errdetail("Such texts are null.")));
}

PG_FUNCTION_INFO_V1(cozi_readable);

/*
 * readable(dbid oid, query text) -> text
 *
 * NULL for what has no representation in this database's encoding.
 */
Datum
cozi_readable(PG_FUNCTION_ARGS)
{
	char	   *query;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	query = cozi_text_here(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0),
						   text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (query == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(query));
}

bool
cozi_sees_constants(Oid role)
{
	return cozi_show_constants || superuser() || role == GetUserId();
}

/* Behind the quoted text that begins at p; to its end if it was cut off. */
static const char *
skip_quoted(const char *p, char quote, bool backslashes)
{
	for (p++; *p != '\0'; p++)
	{
		if (*p == '\\' && backslashes && p[1] != '\0')
			p++;
		else if (*p == quote && p[1] == quote)
			p++;
		else if (*p == quote)
			return p + 1;
	}
	return p;
}

/* Behind $tag$...$tag$ if one begins at p; else p. */
static const char *
skip_dollars(const char *p)
{
	const char *open = p + 1;
	size_t		len;

	while (isalnum((unsigned char) *open) || *open == '_' || IS_HIGHBIT_SET(*open))
		open++;
	if (*open != '$' || isdigit((unsigned char) p[1]))
		return p;
	len = open - p + 1;
	for (const char *close = open + 1; *close != '\0'; close++)
		if (strncmp(close, p, len) == 0)
			return close + len;
	return p + strlen(p);
}

/* Behind a comment that begins at p, nested ones within it; else p. */
static const char *
behind_comment(const char *p)
{
	int			depth = 0;

	if (p[0] == '-' && p[1] == '-')
		return p + strcspn(p, "\n");
	if (p[0] != '/' || p[1] != '*')
		return p;
	while (*p != '\0')
	{
		if (p[0] == '/' && p[1] == '*')
			depth++, p += 2;
		else if (p[0] == '*' && p[1] == '/')
		{
			depth--, p += 2;
			if (depth == 0)
				return p;
		}
		else
			p++;
	}
	return p;
}

/* Append SQL without its constants and comments, to the end of it or of a line. */
static const char *
mask_sql(StringInfo buf, const char *p, bool line)
{
	char		before = ' ';

	while (*p != '\0' && !(line && *p == '\n'))
	{
		bool		in_word = isalnum((unsigned char) before) || before == '_' || before == '$' ||
		IS_HIGHBIT_SET(before);
		const char *behind = line ? p : behind_comment(p);

		if (behind != p)
			appendStringInfoChar(buf, ' ');
		else if (*p == '\'')
		{
			behind = skip_quoted(p, '\'', before == 'E' || before == 'e');
			appendStringInfoChar(buf, MASK);
		}
		else if (*p == '$' && !in_word && (behind = skip_dollars(p)) != p)
			appendStringInfoChar(buf, MASK);
		else if (*p == '"')
		{
			behind = skip_quoted(p, '"', false);
			appendBinaryStringInfo(buf, p, behind - p);
		}
		else if (isdigit((unsigned char) *p) && !in_word)
		{
			while (isalnum((unsigned char) *behind) || *behind == '.' || *behind == '_')
				behind++;
			appendStringInfoChar(buf, MASK);
		}
		else
			appendStringInfoChar(buf, *behind++);
		before = behind[-1];
		p = behind;
	}
	return p;
}

/* A query's text without its constants and comments. */
char	   *
cozi_mask_query(const char *query)
{
	StringInfoData buf;

	initStringInfo(&buf);
	(void) mask_sql(&buf, query, false);
	return buf.data;
}

/* Is it a line of EXPLAIN that has no expression of the query's? */
static bool
is_plain_line(const char *line)
{
	static const char *const plain[] = {"Settings:", "Workers Planned:", "Single Copy:",
	"Async Capable:", "Disabled:"};

	line += strspn(line, " ");
	for (int i = 0; i < lengthof(plain); i++)
		if (strncmp(line, plain[i], strlen(plain[i])) == 0)
			return true;
	return memchr(line, ':', strcspn(line, "(\n")) == NULL;
}

/* A plan without the constants in its expressions. */
char	   *
cozi_mask_plan(const char *plan)
{
	StringInfoData buf;

	initStringInfo(&buf);
	while (*plan != '\0')
	{
		size_t		len = strcspn(plan, "\n");

		if (is_plain_line(plan))
		{
			appendBinaryStringInfo(&buf, plan, len);
			plan += len;
		}
		else
			plan = mask_sql(&buf, plan, true);
		if (*plan == '\n')
			appendStringInfoChar(&buf, *plan++);
	}
	return buf.data;
}
