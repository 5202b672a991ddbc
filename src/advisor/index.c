/*
 * advisor/index.c
 *		Indexes that another index makes redundant, and where sequences stand.
 *
 * The law: nothing waits for a lock.  An index is judged by its row in
 * pg_index; a sequence that another session has locked has no position.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "advisor/advisor.h"

/* A row of pg_index, its variable part taken apart. */
typedef struct IndexRow
{
	HeapTuple	tuple;
	Form_pg_index form;
	oidvector  *classes;
	oidvector  *collations;
	int2vector *options;
	List	   *expressions;
	Node	   *predicate;
} IndexRow;

static Datum
attribute(HeapTuple tuple, AttrNumber number, bool *isnull)
{
	return SysCacheGetAttr(INDEXRELID, tuple, number, isnull);
}

/* False where the index is gone, or too deeply nested to be read. */
static bool
read_index(Oid indexid, IndexRow *index)
{
	bool		isnull,
				readable = true;
	Datum		tree;

	memset(index, 0, sizeof(IndexRow));
	index->tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	if (!HeapTupleIsValid(index->tuple))
		return false;
	index->form = (Form_pg_index) GETSTRUCT(index->tuple);
	index->classes = (oidvector *) DatumGetPointer(attribute(index->tuple, Anum_pg_index_indclass,
															 &isnull));
	index->collations = (oidvector *) DatumGetPointer(attribute(index->tuple,
																Anum_pg_index_indcollation, &isnull));
	index->options = (int2vector *) DatumGetPointer(attribute(index->tuple,
															  Anum_pg_index_indoption, &isnull));
	tree = attribute(index->tuple, Anum_pg_index_indexprs, &isnull);
	if (!isnull)
	{
		index->expressions = (List *) cozi_tree(tree);
		readable = index->expressions != NIL;
	}
	tree = attribute(index->tuple, Anum_pg_index_indpred, &isnull);
	if (!isnull)
	{
		index->predicate = cozi_tree(tree);
		readable = readable && index->predicate != NULL;
	}
	if (!readable)
		ReleaseSysCache(index->tuple);
	return readable;
}

/* Are the first key columns of wide all those of narrow, in their order? */
static bool
same_keys(const IndexRow *wide, const IndexRow *narrow)
{
	int			expression = 0;

	if (wide->form->indnkeyatts < narrow->form->indnkeyatts)
		return false;
	for (int i = 0; i < narrow->form->indnkeyatts; i++)
	{
		if (wide->form->indkey.values[i] != narrow->form->indkey.values[i] ||
			wide->classes->values[i] != narrow->classes->values[i] ||
			wide->collations->values[i] != narrow->collations->values[i] ||
			wide->options->values[i] != narrow->options->values[i])
			return false;
		if (wide->form->indkey.values[i] == 0)
		{
			if (!equal(list_nth(wide->expressions, expression),
					   list_nth(narrow->expressions, expression)))
				return false;
			expression++;
		}
	}
	return true;
}

/* Has wide each column that narrow only stores? */
static bool
stores_same(const IndexRow *wide, const IndexRow *narrow)
{
	for (int i = narrow->form->indnkeyatts; i < narrow->form->indnatts; i++)
	{
		bool		found = false;

		for (int j = 0; j < wide->form->indnatts; j++)
			found = found || wide->form->indkey.values[j] == narrow->form->indkey.values[i];
		if (!found)
			return false;
	}
	return true;
}

static Oid
access_method(Oid indexid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(indexid));
	Oid			am = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		am = ((Form_pg_class) GETSTRUCT(tuple))->relam;
		ReleaseSysCache(tuple);
	}
	return am;
}

static bool
index_covers(const IndexRow *wide, const IndexRow *narrow)
{
	Oid			am = access_method(wide->form->indexrelid);
	bool		same_length = wide->form->indnkeyatts == narrow->form->indnkeyatts;

	if (wide->form->indrelid != narrow->form->indrelid || !wide->form->indisvalid ||
		am != access_method(narrow->form->indexrelid) || !equal(wide->predicate, narrow->predicate))
		return false;
	/* only a btree serves a condition on its first columns as a shorter one */
	if (!same_length && am != BTREE_AM_OID)
		return false;

	/*
	 * what is unique says something that a longer or an ordinary index does
	 * not
	 */
	if (narrow->form->indisunique &&
		(!wide->form->indisunique || !same_length ||
		 wide->form->indnullsnotdistinct != narrow->form->indnullsnotdistinct ||
		 (narrow->form->indimmediate && !wide->form->indimmediate)))
		return false;
	return same_keys(wide, narrow) && stores_same(wide, narrow);
}

PG_FUNCTION_INFO_V1(cozi_index_covers);

/* _index_covers(wide oid, narrow oid) -> boolean */
Datum
cozi_index_covers(PG_FUNCTION_ARGS)
{
	IndexRow	wide,
				narrow;
	bool		result = false;

	if (!read_index(PG_GETARG_OID(0), &wide))
		PG_RETURN_NULL();
	if (read_index(PG_GETARG_OID(1), &narrow))
	{
		result = index_covers(&wide, &narrow);
		ReleaseSysCache(narrow.tuple);
	}
	ReleaseSysCache(wide.tuple);
	PG_RETURN_BOOL(result);
}

/* A column by its number, or a function of it as name(number); else "?". */
static char *
term(Node *node)
{
	char	   *function = NULL;

	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, FuncExpr) && list_length(((FuncExpr *) node)->args) == 1)
	{
		function = get_func_name(((FuncExpr *) node)->funcid);
		node = linitial(((FuncExpr *) node)->args);
		while (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
	}
	if (!IsA(node, Var))
		return pstrdup("?");
	return function ? psprintf("%s(%d)", function, ((Var *) node)->varattno)
		: psprintf("%d", ((Var *) node)->varattno);
}

static char *
condition_term(Node *node)
{
	BoolExpr   *negation = (BoolExpr *) node;
	NullTest   *test = (NullTest *) node;

	if (IsA(node, NullTest))
		return psprintf("%s:%s", test->nulltesttype == IS_NULL ? "null" : "notnull",
						term((Node *) test->arg));
	if (IsA(node, BoolExpr) && negation->boolop == NOT_EXPR && IsA(linitial(negation->args), Var))
		return psprintf("false:%s", term(linitial(negation->args)));
	return psprintf("true:%s", term(node));
}

static Datum
array_of_texts(Datum *texts, int count)
{
	return PointerGetDatum(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}

PG_FUNCTION_INFO_V1(cozi_index_terms);

/* _index_terms(index oid) -> (keys text[], conditions text[]) */
Datum
cozi_index_terms(PG_FUNCTION_ARGS)
{
	IndexRow	index;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	Datum		keys[INDEX_MAX_KEYS];
	Datum	   *conditions;
	List	   *predicate;
	int			expression = 0,
				n = 0;
	ListCell   *cell;

	if (!read_index(PG_GETARG_OID(0), &index))
		PG_RETURN_NULL();
	for (int i = 0; i < index.form->indnkeyatts; i++)
		keys[i] = CStringGetTextDatum(index.form->indkey.values[i] != 0
									  ? psprintf("%d", index.form->indkey.values[i])
									  : term(list_nth(index.expressions, expression++)));
	values[0] = array_of_texts(keys, index.form->indnkeyatts);
	predicate = make_ands_implicit((Expr *) index.predicate);
	conditions = palloc(sizeof(Datum) * (list_length(predicate) + 1));
	foreach(cell, predicate)
		conditions[n++] = CStringGetTextDatum(condition_term(lfirst(cell)));
	values[1] = array_of_texts(conditions, n);
	ReleaseSysCache(index.tuple);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

PG_FUNCTION_INFO_V1(cozi_sequence_position);

/* _sequence_position(sequence oid) -> bigint: NULL when unused, locked or gone */
Datum
cozi_sequence_position(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	bool		used = false;
	int64		position = 0;

	/*
	 * what pg_sequences shows the caller, and to those who read statistics
	 * all
	 */
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) &&
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT | ACL_USAGE) != ACLCHECK_OK)
		PG_RETURN_NULL();
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		PG_RETURN_NULL();
	if (get_rel_relkind(relid) == RELKIND_SEQUENCE)
	{
		Relation	rel = relation_open(relid, NoLock);
		TableScanDesc scan = table_beginscan_compat(rel, GetActiveSnapshot(), 0, NULL);
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		if (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			bool		isnull;

			position = DatumGetInt64(slot_getattr(slot, SEQ_COL_LASTVAL, &isnull));
			used = DatumGetBool(slot_getattr(slot, SEQ_COL_CALLED, &isnull));
		}
		ExecDropSingleTupleTableSlot(slot);
		table_endscan(scan);
		relation_close(rel, NoLock);
	}
	UnlockRelationOid(relid, AccessShareLock);
	if (!used)
		PG_RETURN_NULL();
	PG_RETURN_INT64(position);
}
