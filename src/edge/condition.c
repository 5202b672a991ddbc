/*
 * edge/condition.c
 *		Which rows of an edge count: by status, expiry, deletion and role.
 *
 * A row of no known role does not count, where roles are given; nor does one
 * whose status is NULL.  The rank of a row is the place of its role among the
 * roles, ascending from 0.
 *
 * The law: values are compared by the bytes they are stored as, and converted
 * once, by core's own code.  No function of the table's owner runs here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/base.h"
#include "edge/edge.h"

/* One word as a value of the type; false when it is none. */
static bool
word_value(Oid type, const char *word, Datum *value)
{
	bool		truth;
	char	   *end;
	int64		number;

	if (type == TEXTOID || type == VARCHAROID || type == BPCHAROID)
		*value = CStringGetTextDatum(word);
	else if (type == BOOLOID)
	{
		if (!parse_bool(word, &truth))
			return false;
		*value = BoolGetDatum(truth);
	}
	else if (type == INT2OID || type == INT4OID)
	{
		errno = 0;
		number = strtol(word, &end, 10);
		if (errno != 0 || end == word || *end != '\0' || number != (int32) number ||
			(type == INT2OID && number != (int16) number))
			return false;
		*value = type == INT2OID ? Int16GetDatum(number) : Int32GetDatum(number);
	}
	else
	{
		Oid			label = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
											ObjectIdGetDatum(type), CStringGetDatum(word));

		*value = ObjectIdGetDatum(label);
		return OidIsValid(label);
	}
	return true;
}

static bool
is_word_type(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == BOOLOID ||
		type == INT2OID || type == INT4OID || type_is_enum(type);
}

/* Find the column; a sentence when it is not there or not of the type wanted. */
static const char *
condition_column(Relation rel, const NameData *name, const char *wanted, CoziEdgeColumn *column)
{
	bool		fits = true;

	if (NameStr(*name)[0] == '\0')
		return NULL;
	column->column = get_attnum(RelationGetRelid(rel), NameStr(*name));
	if (column->column <= 0)
		return psprintf("column \"%s\" of table \"%s\" does not exist",
						NameStr(*name), RelationGetRelationName(rel));
	get_atttypetypmodcoll(RelationGetRelid(rel), column->column, &column->stored_type,
						  &column->typmod, &column->collation);
	column->type = getBaseType(column->stored_type);
	if (strcmp(wanted, "a word") == 0)
		fits = is_word_type(column->type);
	else if (strcmp(wanted, "an instant") == 0)
		fits = column->type == TIMESTAMPTZOID;
	if (!fits)
		return psprintf("column \"%s\" of table \"%s\" is of type %s",
						NameStr(*name), RelationGetRelationName(rel),
						format_type_be(column->stored_type));
	return NULL;
}

static const char *
find_words(Relation rel, const NameData *name, List *words, CoziEdgeColumn *column)
{
	const char *trouble = condition_column(rel, name, "a word", column);
	ListCell   *cell;

	if (trouble != NULL || column->column == 0)
		return trouble;
	column->values = palloc(Max(list_length(words), 1) * sizeof(Datum));
	foreach(cell, words)
		if (!word_value(column->type, lfirst(cell), &column->values[column->nvalues++]))
		return psprintf("column \"%s\" of table \"%s\" has no value \"%s\"",
						NameStr(*name), RelationGetRelationName(rel), (char *) lfirst(cell));
	return NULL;
}

/*
 * What a row of this relation, the edge's table or a partition of it, must
 * meet.  Returns NULL, or a sentence that says what is wrong.
 */
const char *
cozi_edge_test(Relation rel, const CoziEdgeConfig *config, CoziEdgeTest *test)
{
	const char *trouble;

	memset(test, 0, sizeof(CoziEdgeTest));
	if ((trouble = find_words(rel, &config->status, config->accepted, &test->status)) != NULL ||
		(trouble = find_words(rel, &config->role, config->roles, &test->role)) != NULL ||
		(trouble = condition_column(rel, &config->expires_at, "an instant",
									&test->expires_at)) != NULL)
		return trouble;
	return condition_column(rel, &config->deleted_at, "anything", &test->deleted_at);
}

bool
cozi_edge_test_is_empty(const CoziEdgeTest *test)
{
	return test->status.column == 0 && test->role.column == 0 &&
		test->expires_at.column == 0 && test->deleted_at.column == 0;
}

static int
trimmed_length(text *t, Oid type)
{
	int			len = VARSIZE_ANY_EXHDR(t);

	if (type == BPCHAROID)
		while (len > 0 && VARDATA_ANY(t)[len - 1] == ' ')
			len--;
	return len;
}

static bool
values_equal(Oid type, Datum stored, Datum wanted)
{
	text	   *a,
			   *b;
	int			len;

	if (type == BOOLOID)
		return DatumGetBool(stored) == DatumGetBool(wanted);
	if (type == INT2OID)
		return DatumGetInt16(stored) == DatumGetInt16(wanted);
	if (type == INT4OID)
		return DatumGetInt32(stored) == DatumGetInt32(wanted);
	if (type != TEXTOID && type != VARCHAROID && type != BPCHAROID)
		return DatumGetObjectId(stored) == DatumGetObjectId(wanted);
	a = DatumGetTextPP(stored);
	b = DatumGetTextPP(wanted);
	len = trimmed_length(a, type);
	return len == trimmed_length(b, type) && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), len) == 0;
}

/* The place of the row's value among those wanted; -1 for none of them. */
static int
place_of(const CoziEdgeColumn *column, CoziRowColumn read, void *row)
{
	bool		isnull;
	Datum		value = read(row, column->column, &isnull);

	for (int i = 0; !isnull && i < column->nvalues; i++)
		if (values_equal(column->type, value, column->values[i]))
			return i;
	return -1;
}

/* The rank of a row that counts; COZI_NO_EDGE for one that does not. */
int
cozi_edge_test_row(const CoziEdgeTest *test, CoziRowColumn read, void *row)
{
	bool		isnull;
	Datum		value;

	if (test->status.column != 0 && place_of(&test->status, read, row) < 0)
		return COZI_NO_EDGE;
	if (test->deleted_at.column != 0)
	{
		(void) read(row, test->deleted_at.column, &isnull);
		if (!isnull)
			return COZI_NO_EDGE;
	}
	if (test->expires_at.column != 0)
	{
		value = read(row, test->expires_at.column, &isnull);
		if (!isnull && DatumGetTimestampTz(value) <= GetCurrentTransactionStartTimestamp())
			return COZI_NO_EDGE;
	}
	return test->role.column == 0 ? 0 : place_of(&test->role, read, row);
}

static Node *
column_var(const CoziEdgeColumn *column)
{
	return (Node *) makeVar(1, column->column, column->stored_type, column->typmod,
							column->collation, 0);
}

/* column = ANY (values), as a query would say it */
static Node *
words_clause(const CoziEdgeColumn *column)
{
	TypeCacheEntry *entry = lookup_type_cache(column->type, TYPECACHE_EQ_OPR);
	Oid			compared = column->type == VARCHAROID ? TEXTOID : column->type;
	Node	   *var = column_var(column);
	ScalarArrayOpExpr *any;
	ArrayType  *array;

	if (column->type == BOOLOID)
		return column->nvalues != 1 ? NULL
			: DatumGetBool(column->values[0]) ? var
			: (Node *) makeBoolExpr(NOT_EXPR, list_make1(var), -1);
	if (!OidIsValid(entry->eq_opr))
		return NULL;
	if (compared != column->stored_type)
		var = (Node *) makeRelabelType((Expr *) var, compared, -1, column->collation,
									   COERCE_IMPLICIT_CAST);
	array = construct_array(column->values, column->nvalues, compared,
							entry->typlen, entry->typbyval, entry->typalign);
	any = makeNode(ScalarArrayOpExpr);
	any->opno = entry->eq_opr;
	any->opfuncid = get_opcode(entry->eq_opr);
	any->useOr = true;
	any->inputcollid = column->collation;
	any->args = list_make2(var, makeConst(get_array_type(compared), -1, column->collation, -1,
										  PointerGetDatum(array), false, false));
	any->location = -1;
	return (Node *) any;
}

/*
 * What is known of the rows that count, as clauses about relation 1: an index
 * whose predicate they imply has all of those rows.
 */
List	   *
cozi_edge_test_clauses(const CoziEdgeTest *test)
{
	List	   *clauses = NIL;
	Node	   *clause;

	if (test->status.column != 0 && (clause = words_clause(&test->status)) != NULL)
		clauses = lappend(clauses, clause);
	if (test->role.column != 0 && (clause = words_clause(&test->role)) != NULL)
		clauses = lappend(clauses, clause);
	if (test->deleted_at.column != 0)
	{
		NullTest   *isnull = makeNode(NullTest);

		isnull->arg = (Expr *) column_var(&test->deleted_at);
		isnull->nulltesttype = IS_NULL;
		isnull->location = -1;
		clauses = lappend(clauses, isnull);
	}
	return clauses;
}
