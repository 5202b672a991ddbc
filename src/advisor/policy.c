/*
 * advisor/policy.c
 *		Facts about policies and functions, one a row.
 *
 * policy_facts() reads each policy's trees and says what it found in them:
 *
 *	passes		whom a clause lets pass: all, signed_in or some
 *	binds		a clause tells callers apart on every way through it
 *	text		a clause, as SQL
 *	owner		a column that a clause compares with the identity
 *	filter		such a column, where an index on it could find the rows
 *	cast		such a column below a cast or a function
 *	null_row	rows without an owner pass; null_caller: who is not signed in
 *	column		a column that a clause names
 *	per_row		functions that are asked for each row; fix: asked once
 *	opaque		a function of a row that the planner cannot inline
 *	read		a table that is read; attnum: a column that is trusted, or 0
 *	call		a function that is called, itself or by another
 *	setting		a setting that any client may set
 *	metadata	what a user writes about themselves is trusted
 *	unreadable	a clause is nested too deeply; nothing else is known of it
 *
 * function_facts() says the same of functions: identity, read, call, setting.
 *
 * The law: catalogs only, read as committed now, under ACCESS SHARE.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "catalog/dependency.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#include "advisor/advisor.h"
#include "identity/identity.h"

enum
{
	FACT_SUBJECT, FACT_CLAUSE, FACT_FACT, FACT_OBJECT, FACT_ATTNUM, FACT_DETAIL, FACT_FIX,
	FACT_COLUMNS
};

void
cozi_put_fact(CoziFacts *facts, const char *fact, Oid object, int attnum,
			  const char *detail, const char *fix)
{
	Datum		values[FACT_COLUMNS] = {0};
	bool		nulls[FACT_COLUMNS] = {0};

	values[FACT_SUBJECT] = ObjectIdGetDatum(facts->subject);
	values[FACT_FACT] = CStringGetTextDatum(fact);
	values[FACT_OBJECT] = ObjectIdGetDatum(object);
	values[FACT_ATTNUM] = Int16GetDatum(attnum);
	nulls[FACT_OBJECT] = !OidIsValid(object);
	if (facts->clause != NULL)
		values[FACT_CLAUSE] = CStringGetTextDatum(facts->clause);
	else
		nulls[FACT_CLAUSE] = true;
	if (detail != NULL)
		values[FACT_DETAIL] = CStringGetTextDatum(detail);
	else
		nulls[FACT_DETAIL] = true;
	if (fix != NULL)
		values[FACT_FIX] = CStringGetTextDatum(fix);
	else
		nulls[FACT_FIX] = true;
	tuplestore_putvalues(facts->result->setResult, facts->result->setDesc, values, nulls);
}

static List *
api_roles(void)
{
	char	   *names = pstrdup(cozi_api_roles ? cozi_api_roles : "");
	List	   *roles;

	return SplitIdentifierString(names, ',', &roles) ? roles : NIL;
}

static void
put_policy(CoziFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	static const char *const clauses[] = {"using", "check"};
	static const AttrNumber columns[] = {Anum_pg_policy_polqual, Anum_pg_policy_polwithcheck};
	Form_pg_policy policy = (Form_pg_policy) GETSTRUCT(tuple);

	facts->subject = policy->oid;
	facts->condition.relid = policy->polrelid;
	for (int i = 0; i < 2; i++)
	{
		bool		isnull;
		Datum		tree = heap_getattr(tuple, columns[i], desc, &isnull);

		Node	   *clause = isnull ? NULL : cozi_tree(tree);

		facts->clause = clauses[i];
		if (clause != NULL)
			cozi_put_clause(facts, clause);
		else if (!isnull)
			cozi_put_fact(facts, "unreadable", InvalidOid, 0, NULL, NULL);
	}
}

static void
put_function(CoziFacts *facts, HeapTuple tuple, TupleDesc desc)
{
	Oid			funcid = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
	CoziFunction *function;

	if (funcid < FirstNormalObjectId || cozi_is_extensions(funcid) ||
		OidIsValid(getExtensionOfObject(ProcedureRelationId, funcid)))
		return;
	function = cozi_function(facts->condition.functions, funcid);
	facts->subject = funcid;
	cozi_put_reads(facts, function);
	if (function->unreadable)
		cozi_put_fact(facts, "unreadable", InvalidOid, 0, NULL, NULL);
}

/* The facts of each row of a catalog.  Names are written so that they are found on any path. */
static Datum
facts_of(FunctionCallInfo fcinfo, Oid catalog,
		 void (*put) (CoziFacts *facts, HeapTuple tuple, TupleDesc desc))
{
	int			nestlevel = NewGUCNestLevel();
	CoziFacts	facts = {.condition = {.functions = cozi_functions(),.roles = api_roles()}};
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	InitMaterializedSRF(fcinfo, 0);
	facts.result = (ReturnSetInfo *) fcinfo->resultinfo;
	cozi_set_locally("search_path", "pg_catalog, pg_temp");
	rel = table_open(catalog, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		put(&facts, tuple, RelationGetDescr(rel));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	AtEOXact_GUC(false, nestlevel);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(cozi_policy_facts);

/* policy_facts() -> setof (subject, clause, fact, object, attnum, detail, fix) */
Datum
cozi_policy_facts(PG_FUNCTION_ARGS)
{
	return facts_of(fcinfo, PolicyRelationId, put_policy);
}

PG_FUNCTION_INFO_V1(cozi_function_facts);

/* function_facts() -> setof (subject, clause, fact, object, attnum, detail, fix) */
Datum
cozi_function_facts(PG_FUNCTION_ARGS)
{
	return facts_of(fcinfo, ProcedureRelationId, put_function);
}

PG_FUNCTION_INFO_V1(cozi_api_role_names);

/* _api_role_names() -> text[]: of cozi.api_roles, whether or not they exist */
Datum
cozi_api_role_names(PG_FUNCTION_ARGS)
{
	List	   *roles = api_roles();
	Datum	   *names = palloc(sizeof(Datum) * (list_length(roles) + 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, roles)
		names[n++] = CStringGetTextDatum(lfirst(cell));
	PG_RETURN_ARRAYTYPE_P(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}
