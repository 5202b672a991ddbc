/*
 * base/statement.c
 *		SQL from a template with named parts:
 *
 *			cozi_statement("DELETE FROM {delta} WHERE {column} = $1",
 *						   "delta", cozi_qualified_name(relid),
 *						   "column", quote_identifier(name), NULL)
 *
 * The law: a part is quoted by the caller, with quote_identifier(),
 * quote_literal_cstr() or cozi_qualified_name(); values are parameters ($1).
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"

#include "base/base.h"

#define MAX_PARTS 32

typedef struct Part
{
	const char *name;
	const char *text;
} Part;

/* The part that a template names; len bytes of the name. */
static const char *
find_part(const Part *parts, int n, const char *name, int len)
{
	for (int i = 0; i < n; i++)
		if (strlen(parts[i].name) == len && memcmp(parts[i].name, name, len) == 0)
			return parts[i].text;
	elog(ERROR, "a statement has no part \"%.*s\"", len, name);
	return NULL;				/* not reached */
}

/*
 * Returns the template, palloc'd, with each {name} replaced.  The arguments
 * are pairs of a name and its text, and a NULL.
 */
char	   *
cozi_statement(const char *template,...)
{
	Part		parts[MAX_PARTS];
	int			n = 0;
	va_list		args;
	StringInfoData sql;

	va_start(args, template);
	for (const char *name = va_arg(args, const char *); name; name = va_arg(args, const char *))
	{
		if (n == MAX_PARTS)
			elog(ERROR, "a statement has more than %d parts", MAX_PARTS);
		parts[n].name = name;
		parts[n++].text = va_arg(args, const char *);
	}
	va_end(args);

	initStringInfo(&sql);
	while (*template)
	{
		int			len = 0;

		if (*template == '{')
			len = strspn(template + 1, "abcdefghijklmnopqrstuvwxyz_");

		if (len > 0 && template[len + 1] == '}')
		{
			appendStringInfoString(&sql, find_part(parts, n, template + 1, len));
			template += len + 2;
		}
		else
			appendStringInfoChar(&sql, *template++);
	}
	return sql.data;
}

/* Run a statement; expected is an SPI_OK_*. */
void
cozi_run(const char *statement, int expected)
{
	int			result = SPI_execute(statement, false, 0);

	if (result != expected)
		elog(ERROR, "SPI_execute returned %s for: %s", SPI_result_code_string(result), statement);
}

/*
 * Take away what ALTER DEFAULT PRIVILEGES has given to others on relations that the
 * current user has just made.  SPI is connected.
 */
void
cozi_revoke_from_others(List *relids)
{
	StringInfoData oids;
	List	   *statements = NIL;
	ListCell   *lc;

	initStringInfo(&oids);
	foreach(lc, relids)
		appendStringInfo(&oids, "%s%u", oids.len > 0 ? ", " : "", lfirst_oid(lc));

	SPI_execute(cozi_statement("SELECT DISTINCT pg_catalog.format('REVOKE ALL ON %s FROM %s',"
							   " c.oid::pg_catalog.regclass, CASE a.grantee WHEN 0 THEN 'PUBLIC'"
							   " ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END)"
							   " FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
							   " WHERE a.grantee OPERATOR(pg_catalog.<>) c.relowner"
							   " AND c.oid OPERATOR(pg_catalog.=) ANY"
							   " (ARRAY[{oids}]::pg_catalog.oid[])", "oids", oids.data, NULL),
				false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		statements = lappend(statements,
							 SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	foreach(lc, statements)
		cozi_run(lfirst(lc), SPI_OK_UTILITY);
}
