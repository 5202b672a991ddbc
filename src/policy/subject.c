/*
 * policy/subject.c
 *		What policies say to another subject, in the rights of a role that
 *		clients act as.
 *
 * The rows come from _rows_of(), which reads the table as its owner, past its
 * policies; the policies are expressions over them.  So no row of the table is
 * locked or changed, and a policy that looks into other tables finds there what
 * the role and the subject would find.
 *
 * The law: nothing runs as a role that the caller could not SET ROLE to, all of
 * it is a security-restricted operation, and identity, role and settings are
 * what they were when it ends.  PUBLIC may call these functions: who owns the
 * table asks by identity/ask.c, and for all else EXECUTE is granted by name.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "mb/pg_wchar.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "identity/identity.h"
#include "policy/policy.h"
#include "pure/json.h"

/* The query that _rows_of() runs, while one of the functions here is at work. */
static const char *rows_query = NULL;
static Oid	rows_rel = InvalidOid;

/*
 * Who asks: nobody who must be held back, where the caller was granted EXECUTE
 * on the function by name; else the caller, who must own the table.
 */
Oid
cozi_asker(Oid function, Oid relid)
{
	if (superuser() ||
		cozi_strings("SELECT 1 FROM pg_proc p, aclexplode(p.proacl) a WHERE p.oid = $1"
					 " AND a.grantee <> 0 AND pg_has_role(a.grantee, 'USAGE')", function) != NIL)
		return InvalidOid;
	cozi_require_owner(relid);
	return GetUserId();
}

/*
 * A role to ask with: the one named, or one that may read the table and that
 * the caller is a member of; else the caller's own.
 */
Oid
cozi_asking_role(Oid relid, const char *as_role)
{
	List	   *roles;

	if (as_role != NULL)
	{
		Oid			role = get_role_oid(as_role, false);

		if (!is_member_of_role(GetUserId(), role))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be member of role \"%s\"", as_role),
					 errhint("GRANT %s TO %s;", quote_identifier(as_role),
							 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
		return role;
	}
	roles = cozi_strings("SELECT r.oid::text FROM pg_class c, aclexplode(c.relacl) a, pg_roles r"
						 " WHERE c.oid = $1 AND r.oid = a.grantee AND a.privilege_type = 'SELECT'"
						 " AND a.grantee <> c.relowner AND NOT r.rolsuper AND NOT r.rolbypassrls"
						 " AND pg_has_role(a.grantee, 'MEMBER')"
						 " AND NOT pg_has_role(a.grantee, c.relowner, 'USAGE')"
						 " ORDER BY r.rolname <> 'authenticated', r.rolname LIMIT 1", relid);
	if (roles != NIL)
		return atooid(linitial(roles));
	ereport(NOTICE,
			(errmsg("no role that may read table \"%s\" is granted to %s: its policies are asked "
					"with the rights of %s",
					get_rel_name(relid), GetUserNameFromId(GetUserId(), false),
					GetUserNameFromId(GetUserId(), false)),
			 errhint("Where policies look into other tables, name a role: as_role => '...'.")));
	return GetUserId();
}

/* The claims of a subject: JSON as it is, or the subject alone. */
static char *
claims_of(const char *subject)
{
	CoziJson	json;
	StringInfoData claims;

	initStringInfo(&claims);
	if (subject[0] == '{')
		appendStringInfoString(&claims, subject);
	else
	{
		appendStringInfoString(&claims, "{\"sub\": ");
		escape_json(&claims, subject);
		appendStringInfoChar(&claims, '}');
	}
	if (cozi_json_read(&json, claims.data, claims.len,
					   GetDatabaseEncoding() == PG_UTF8
					   ? COZI_JSON_UTF8 : COZI_JSON_TRUSTED) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a subject is neither the \"sub\" of a token nor its claims"),
				 errhint("For example '42', or '{\"sub\": \"42\", \"role\": \"moderator\"}'.")));
	return claims.data;
}

/*
 * The identity of a subject, for the GUC nest level that is open: before the
 * operation is security-restricted, in which no code may change it.
 */
static void
take_identity(const char *subject)
{
	char	   *claims = subject == NULL ? "" : claims_of(subject);

	cozi_set_identity(claims, NULL, 0);
	/* what policies that were written by hand read */
	cozi_set_locally("request.jwt.claims", claims);
	cozi_set_locally("request.jwt.claim.sub",
					 cozi_identity()->subject != NULL ? cozi_identity()->subject : "");
}

/*
 * Run a query as that role and subject (NULL: no one is logged in), in which
 * _rows_of() reads the table by the query rows; the subject is its $1.  A valid
 * asker reads tables of their own alone.
 */
void
cozi_ask(Oid asker, Oid role, const char *subject, Oid relid, const char *rows,
		 const char *query)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {(Datum) 0};
	char		nulls[] = {subject == NULL ? 'n' : ' '};
	CoziSavedUser saved;
	Oid			before;
	int			nestlevel = NewGUCNestLevel();

	if (subject != NULL)
		values[0] = CStringGetTextDatum(subject);
	take_identity(subject);
	cozi_set_locally("max_parallel_workers_per_gather", "0");
	cozi_switch_user(role, SECURITY_RESTRICTED_OPERATION, &saved);
	rows_rel = relid;
	rows_query = rows;
	before = cozi_ask_as(asker);
	PG_TRY();
	{
		if (SPI_execute_with_args(query, 1, types, values, nulls, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not run \"%s\"", query);
	}
	PG_FINALLY();
	{
		rows_query = NULL;
		rows_rel = InvalidOid;
		(void) cozi_ask_as(before);
	}
	PG_END_TRY();
	cozi_restore_user(&saved);
	AtEOXact_GUC(false, nestlevel);
}

/* Put the composite values of the query into the tuplestore. */
static void
store_rows(ReturnSetInfo *rsinfo)
{
	int			natts = rsinfo->setDesc->natts;
	Datum	   *values = palloc(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		row = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		HeapTupleHeader header = DatumGetHeapTupleHeader(row);
		HeapTupleData tuple;

		tuple.t_len = HeapTupleHeaderGetDatumLength(header);
		ItemPointerSetInvalid(&tuple.t_self);
		tuple.t_tableOid = InvalidOid;
		tuple.t_data = header;
		heap_deform_tuple(&tuple, rsinfo->setDesc, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(cozi_rows_of);

/* _rows_of(anyelement) -> setof anyelement: the rows of the table asked about */
Datum
cozi_rows_of(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	CoziSavedUser saved;

	if (rows_query == NULL || get_typ_typrelid(type) != rows_rel)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function \"_rows_of\" is for policy_diff() and why_visible()")));
	InitMaterializedSRF(fcinfo, MAT_SRF_BLESS);
	cozi_switch_to_owner(rows_rel, &saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_run(rows_query, SPI_OK_SELECT);
	if (SPI_gettypeid(SPI_tuptable->tupdesc, 1) != type)
		elog(ERROR, "a query did not return rows of the table");
	store_rows((ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	cozi_restore_user(&saved);
	return (Datum) 0;
}

/* The primary key of a row as text, an expression; the row itself without one. */
char	   *
cozi_key_text(Oid relid)
{
	List	   *columns = cozi_strings("SELECT quote_ident(a.attname) FROM pg_index i,"
									   " unnest(i.indkey) WITH ORDINALITY k (attnum, n)"
									   " JOIN pg_attribute a ON a.attnum = k.attnum"
									   " WHERE i.indrelid = $1 AND i.indisprimary"
									   " AND a.attrelid = i.indrelid AND k.n <= i.indnkeyatts"
									   " ORDER BY k.n", relid);

	if (columns == NIL)
		return psprintf("(%s.*)::text", quote_identifier(get_rel_name(relid)));
	if (list_length(columns) == 1)
		return psprintf("%s::text", (char *) linitial(columns));
	return psprintf("ROW(%s)::text", cozi_joined(columns));
}
