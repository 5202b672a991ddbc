/*
 * monitor/source.c
 *		Where pg_stat_statements is, and whether it can be read.
 *
 * Nothing of cozi names pg_stat_statements in a view or a function body: a
 * recorded dependency makes ALTER EXTENSION pg_stat_statements UPDATE fail,
 * and a name would have to guess its schema.  Its functions are found through
 * the catalog instead, as the members of the extension that they are.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "monitor/monitor.h"
#include "monitor/source.h"

/*
 * Is the library loaded for the whole server?  A setting of that name may be
 * a placeholder that anybody can make with SET; the flag tells them apart.
 */
static bool
pgss_is_loaded(void)
{
	const char *setting = PGSS ".max";

	if (GetConfigOption(setting, true, false) == NULL)
		return false;
	return (GetConfigOptionFlags(setting, true) & GUC_CUSTOM_PLACEHOLDER) == 0;
}

/*
 * The C function of that name that belongs to the extension and takes a
 * boolean, or nothing; one of that name elsewhere is somebody else's.
 */
static Oid
extension_function(Oid extension, const char *name, int nargs)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tup;
	Oid			found = InvalidOid;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);

	while (!OidIsValid(found) && HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_depend dep = (Form_pg_depend) GETSTRUCT(tup);
		HeapTuple	proc;

		if (dep->classid != ProcedureRelationId ||
			dep->deptype != DEPENDENCY_EXTENSION)
			continue;
		proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(dep->objid));
		if (HeapTupleIsValid(proc))
		{
			Form_pg_proc form = (Form_pg_proc) GETSTRUCT(proc);

			if (strcmp(NameStr(form->proname), name) == 0 &&
				form->prolang == ClanguageId && form->pronargs == nargs &&
				(nargs == 0 || form->proargtypes.values[0] == BOOLOID))
				found = form->oid;
			ReleaseSysCache(proc);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

CoziSource
cozi_find_source(void)
{
	CoziSource	src = {SOURCE_ABSENT, InvalidOid, InvalidOid, InvalidOid};
	Oid			extension = get_extension_oid(PGSS, true);

	if (!OidIsValid(extension))
		return src;
	src.function = extension_function(extension, PGSS, 1);
	src.info = extension_function(extension, PGSS "_info", 0);
	if (!OidIsValid(src.function))
		return src;
	src.schema = get_func_namespace(src.function);

	if (!pgss_is_loaded())
		src.state = SOURCE_NOT_LOADED;
	else if (!cozi_may_use_schema(src.schema, GetUserId()) ||
			 !cozi_may_execute(src.function, GetUserId()))
		src.state = SOURCE_DENIED;
	else
		src.state = SOURCE_OK;
	return src;
}

/* The command that adds a library to those loaded at start. */
static char *
preload_fix(const char *library)
{
	StringInfoData buf;
	char	   *libraries = pstrdup(shared_preload_libraries_string);
	List	   *elems;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "ALTER SYSTEM SET shared_preload_libraries = ");

	/* The present list is for those who may read it. */
	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS) &&
		SplitDirectoriesString(libraries, ',', &elems))
	{
		foreach(lc, elems)
			appendStringInfo(&buf, "%s, ", quote_literal_cstr(lfirst(lc)));
	}
	else
		appendStringInfoString(&buf, "..., ");
	appendStringInfo(&buf, "%s; then restart the server.",
					 quote_literal_cstr(library));
	return buf.data;
}

/* The commands that make the source readable, NULL if it is. */
static char *
source_fix(CoziSource src)
{
	const char *role = quote_identifier(GetUserNameFromId(GetUserId(), false));
	const char *schema;

	switch (src.state)
	{
		case SOURCE_OK:
			break;
		case SOURCE_ABSENT:
			return psprintf("CREATE EXTENSION " PGSS ";%s%s",
							pgss_is_loaded() ? "" : " ",
							pgss_is_loaded() ? "" : preload_fix(PGSS));
		case SOURCE_NOT_LOADED:
			return preload_fix(PGSS);
		case SOURCE_DENIED:
			schema = get_namespace_name(src.schema);
			return cozi_statement("GRANT USAGE ON SCHEMA {schema} TO {role};"
								  " GRANT EXECUTE ON FUNCTION {function}(boolean) TO {role};",
								  "schema", quote_identifier(schema),
								  "function", quote_qualified_identifier(schema, PGSS),
								  "role", role, NULL);
	}
	return NULL;
}

void
cozi_warn_source(CoziSource src)
{
	switch (src.state)
	{
		case SOURCE_OK:
			break;
		case SOURCE_ABSENT:
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("extension \"%s\" is not installed in database \"%s\"",
							PGSS, get_database_name(MyDatabaseId)),
					 errhint("Run: %s", source_fix(src))));
			break;
		case SOURCE_NOT_LOADED:
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("library \"%s\" is not loaded at the start of the server", PGSS),
					 errhint("Run: %s", source_fix(src))));
			break;
		case SOURCE_DENIED:
			ereport(WARNING,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for extension \"%s\"", PGSS),
					 errhint("Run: %s", source_fix(src))));
			break;
	}
}

PG_FUNCTION_INFO_V1(cozi_statements_state);

/*
 * statements_state() -> text
 *
 * "ok", "absent", "not loaded" or "denied", for the current user.
 */
Datum
cozi_statements_state(PG_FUNCTION_ARGS)
{
	static const char *const words[] = {"ok", "absent", "not loaded", "denied"};

	PG_RETURN_TEXT_P(cstring_to_text(words[cozi_find_source().state]));
}

PG_FUNCTION_INFO_V1(cozi_statements_fix);

/*
 * statements_fix() -> text
 *
 * The commands that make pg_stat_statements readable, NULL if it is.
 */
Datum
cozi_statements_fix(PG_FUNCTION_ARGS)
{
	char	   *fix = source_fix(cozi_find_source());

	if (fix == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(fix));
}

PG_FUNCTION_INFO_V1(cozi_preload_fix);

/*
 * preload_fix(library text) -> text
 *
 * The command that adds a library to those loaded at start.
 */
Datum
cozi_preload_fix(PG_FUNCTION_ARGS)
{
	char	   *library = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(preload_fix(library)));
}

PG_FUNCTION_INFO_V1(cozi_is_preloaded);

/*
 * is_preloaded() -> boolean
 *
 * Whether cozi itself was loaded at the start of the server.
 */
Datum
cozi_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(cozi_preloaded());
}
