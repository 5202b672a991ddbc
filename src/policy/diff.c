/*
 * policy/diff.c
 *		The proof of a migration: save_policies(), policy_diff().
 *
 * save_policies() keeps the present policies of a table as text.  policy_diff()
 * puts both, the saved and the present ones, into conditions over the rows of
 * the table, as the server does: a row that any permissive policy of the command
 * lets through and every restrictive one; to be updated or deleted, a row must
 * be visible as well.
 *
 * The law: saved policies are those of a relation by its OID, so that a table
 * that only has the name is never judged by another's text.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "policy/policy.h"

/* The policies of pg_policy, and those that were saved, in one form. */
#define PRESENT_POLICIES \
	"SELECT p.polname::text AS policy, p.polpermissive AS permissive, p.polcmd::text AS command," \
	" p.polroles AS roles, pg_get_expr(p.polqual, p.polrelid) AS qual" \
	" FROM pg_policy p WHERE p.polrelid = $1"
#define SAVED_POLICIES \
	"SELECT s.policy::text, s.permissive, s.command," \
	" ARRAY(SELECT coalesce(to_regrole(quote_ident(r)), 0)::oid FROM unnest(s.roles) r" \
	"  WHERE r IS NULL OR to_regrole(quote_ident(r)) IS NOT NULL), s.qual" \
	" FROM cozi.saved_policies s WHERE s.relid = $1 AND s.policy <> ''"

/* The first string of a query about the relation. */
static char *
one_string(const char *sql, Oid relid)
{
	List	   *strings = cozi_strings(sql, relid);

	return strings == NIL ? NULL : linitial(strings);
}

/* The policies of a command ('r', 'w', 'd') that hold for the role, as a condition. */
static char *
condition(Oid relid, const char *policies, const char *enabled, const char *command, Oid role)
{
	return one_string(cozi_statement(
									 "SELECT CASE WHEN NOT ({enabled}) THEN 'true' ELSE "
									 "format('coalesce((%s) AND (%s), false)',"
									 " coalesce(string_agg('(' || qual || ')', ' OR ' ORDER BY "
									 "policy) FILTER (WHERE permissive), 'false'),"
									 " coalesce(string_agg('(' || qual || ')', ' AND ' ORDER BY "
									 "policy) FILTER (WHERE NOT permissive), 'true')) END"
									 " FROM ({policies}) p (policy, permissive, command, roles, "
									 "qual)"
									 " WHERE command IN ('*', {command}) AND (0 = ANY (roles) OR "
									 "EXISTS"
									 "  (SELECT FROM unnest(roles) r WHERE r <> 0 AND "
									 "pg_has_role({role}, r, 'USAGE')))",
									 "enabled", enabled, "policies", policies,
									 "command", quote_literal_cstr(command),
									 "role", psprintf("%u::oid", role), NULL), relid);
}

static const char *const present_enabled = "SELECT relrowsecurity FROM pg_class WHERE oid = $1";
static const char *const saved_enabled =
"SELECT bool_or(s.permissive) FROM cozi.saved_policies s WHERE s.relid = $1 AND s.policy = ''";

/* The condition on a row that is seen, updated or deleted; for why_visible(). */
char	   *
cozi_present_condition(Oid relid, Oid role)
{
	return condition(relid, PRESENT_POLICIES, present_enabled, "r", role);
}

/* Saved policies are in a table of the extension, which the caller cannot read. */
static char *
saved_condition(Oid relid, const char *command, Oid role)
{
	CoziSavedUser saved;
	char	   *found;

	cozi_switch_to_owner(cozi_table("saved_policies"), &saved);
	found = condition(relid, SAVED_POLICIES, saved_enabled, command, role);
	cozi_restore_user(&saved);
	return found;
}

PG_FUNCTION_INFO_V1(cozi_save_policies);

/* save_policies(relation regclass) -> integer */
Datum
cozi_save_policies(PG_FUNCTION_ARGS)
{
	Oid			types[] = {OIDOID};
	Datum		values[1];
	CoziSavedUser saved;
	uint64		rows;

	cozi_require_argument(fcinfo, 0, "relation");
	cozi_require_owner(PG_GETARG_OID(0));
	values[0] = PG_GETARG_DATUM(0);
	cozi_switch_to_owner(cozi_table("saved_policies"), &saved);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("DELETE FROM cozi.saved_policies s WHERE s.relid = $1"
							  " OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relid)",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE ||
		SPI_execute_with_args("INSERT INTO cozi.saved_policies (relid, policy, permissive)"
							  " SELECT oid, '', relrowsecurity FROM pg_class WHERE oid = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_INSERT ||
		SPI_execute_with_args("INSERT INTO cozi.saved_policies"
							  " SELECT $1, p.polname, p.polpermissive, p.polcmd::text,"
							  " ARRAY(SELECT CASE r WHEN 0 THEN NULL ELSE "
							  "pg_get_userbyid(r)::text END"
							  "  FROM unnest(p.polroles) r),"
							  " pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, "
							  "p.polrelid)"
							  " FROM pg_policy p WHERE p.polrelid = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not save the policies of relation %u", PG_GETARG_OID(0));
	rows = SPI_processed;
	SPI_finish();
	cozi_restore_user(&saved);
	PG_RETURN_INT32((int32) rows);
}

/* One SELECT that judges every row for the subject, whose name is $1. */
static char *
diff_query(Oid relid, Oid role)
{
	static const char *const command[] = {"r", "w", "d"};
	static const char *const row =
	"SELECT $1, '{name}', count(*) FILTER (WHERE s{c}), count(*) FILTER (WHERE p{c}),"
	" count(*) FILTER (WHERE s{c} <> p{c}),"
	" (SELECT array_agg(key) FROM (SELECT key FROM judged WHERE s{c} <> p{c} ORDER BY key LIMIT "
	"10) k)"
	" FROM judged";
	const char *names[] = {"select", "update", "delete"};
	char	   *conditions[6];
	char	   *rows[3];

	for (int i = 0; i < 3; i++)
	{
		conditions[i] = saved_condition(relid, command[i], role);
		conditions[i + 3] = condition(relid, PRESENT_POLICIES, present_enabled, command[i], role);
		rows[i] = cozi_statement(row, "c", command[i], "name", names[i], NULL);
	}
	return cozi_statement("WITH judged AS MATERIALIZED (SELECT key, sr, sr AND sw AS sw, sr AND "
						  "sd AS sd,"
						  " pr, pr AND pw AS pw, pr AND pd AS pd FROM (SELECT {key} AS key,"
						  " {sr} AS sr, {sw} AS sw, {sd} AS sd, {pr} AS pr, {pw} AS pw, {pd} AS pd"
						  " FROM cozi._rows_of(NULL::{table}) AS {alias} OFFSET 0) one)"
						  " {r} UNION ALL {w} UNION ALL {d}",
						  "key", cozi_key_text(relid), "table", cozi_qualified_name(relid),
						  "alias", quote_identifier(get_rel_name(relid)),
						  "sr", conditions[0], "sw", conditions[1], "sd", conditions[2],
						  "pr", conditions[3], "pw", conditions[4], "pd", conditions[5],
						  "r", rows[0], "w", rows[1], "d", rows[2], NULL);
}

static void
require_saved(Oid relid)
{
	CoziSavedUser saved;
	char	   *found;

	cozi_switch_to_owner(cozi_table("saved_policies"), &saved);
	found = one_string("SELECT '' FROM cozi.saved_policies WHERE relid = $1 AND policy = ''",
					   relid);
	cozi_restore_user(&saved);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no policies of table \"%s\" are saved", get_rel_name(relid)),
				 errhint("Call cozi.save_policies() before the policies are changed.")));
}

PG_FUNCTION_INFO_V1(cozi_policy_diff);

/*
 * policy_diff(relation regclass, subjects text[], as_role name) -> setof
 *		(subject text, command text, saved bigint, present bigint,
 *		differing bigint, keys text[])
 */
Datum
cozi_policy_diff(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Oid			asker;
	Oid			role;
	int			nestlevel;
	Datum	   *subjects;
	bool	   *nulls;
	int			n;
	char	   *query;
	char	   *rows;

	cozi_require_argument(fcinfo, 0, "relation");
	cozi_require_argument(fcinfo, 1, "subjects");
	relid = PG_GETARG_OID(0);
	cozi_require_owner(relid);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &subjects, &nulls, &n);
	InitMaterializedSRF(fcinfo, 0);
	nestlevel = NewGUCNestLevel();
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	require_saved(relid);
	asker = cozi_asker(fcinfo->flinfo->fn_oid, relid);
	role = cozi_asking_role(relid, PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2)));
	query = diff_query(relid, role);
	rows = psprintf("SELECT t FROM %s t", cozi_qualified_name(relid));
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		cozi_ask(asker, role, nulls[i] ? NULL : TextDatumGetCString(subjects[i]), relid,
				 rows, query);
		cozi_return_rows(fcinfo);
	}
	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
	return (Datum) 0;
}
