/*
 * counter/read.c
 *		The counts of the items of a screen: item_counts().
 *
 * Counts are read in the snapshot of the calling statement, what is pending
 * included.  The caller needs SELECT on each counter; where policies on a counter
 * hold for the caller, a key whose row they do not show has no count.  Whether the
 * caller has a row is asked of the source as the caller, under its policies.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "counter/counter.h"
#include "identity/identity.h"

enum
{
	RESULT_COUNTER, RESULT_KEY, RESULT_N, RESULT_SUM, RESULT_MINE, RESULT_COLUMNS
};

/* The texts of an array of keys, NULLs left out. */
static char **
key_texts(ArrayType *array, int *n)
{
	int16		len;
	bool		byval;
	char		align;
	Oid			output;
	bool		varlena;
	Datum	   *values;
	bool	   *nulls;
	int			count;
	char	  **texts;

	getTypeOutputInfo(ARR_ELEMTYPE(array), &output, &varlena);
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align, &values, &nulls, &count);
	texts = palloc((count + 1) * sizeof(char *));
	*n = 0;
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			texts[(*n)++] = OidOutputFunctionCall(output, values[i]);
	return texts;
}

/* As texts of the counter's own keys: '07' is the bigint 7. */
static char **
own_texts(const Kept *counter, char **texts, int n)
{
	char	  **own = palloc((n + 1) * sizeof(char *));
	Oid			type = getBaseType(get_atttype(counter->relation,
											   get_attnum(counter->relation, "key")));
	Oid			input;
	Oid			ioparam;
	Oid			output;
	bool		varlena;

	getTypeInputInfo(type, &input, &ioparam);
	getTypeOutputInfo(type, &output, &varlena);
	for (int i = 0; i < n; i++)
		own[i] = OidOutputFunctionCall(output, OidInputFunctionCall(input, texts[i], ioparam, -1));
	return own;
}

/* A counter that the caller may read. */
static void
open_counter(Oid relation, Kept *counter)
{
	AclResult	acl;
	char	   *misfit;

	cozi_kept_get(relation, "counter", counter);
	acl = pg_class_aclcheck(relation, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, get_rel_name(relation));
	misfit = get_rel_name(counter->source) == NULL ? "its source is gone" :
		cozi_kept_misfit(counter);
	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be read: %s", get_rel_name(relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_counter().")));
}

/* The caller as a value of that type; false if nobody is logged in. */
static bool
caller_as(Oid type, Datum *who)
{
	const CoziIdentity *identity = cozi_identity();

	switch (type)
	{
		case UUIDOID:
			*who = UUIDPGetDatum(&identity->uuid);
			return identity->has_uuid;
		case INT4OID:
		case INT8OID:
			*who = Int64GetDatum(identity->bigint);
			return identity->has_bigint;
		default:
			*who = (Datum) 0;
			if (identity->subject != NULL)
				*who = PointerGetDatum(cstring_to_text_with_len(identity->subject,
																identity->subject_len));
			return identity->subject != NULL;
	}
}

/* May the caller read these columns of the source? */
static bool
may_read(const Kept *counter)
{
	static const KeptRole roles[] = {KEPT_ITEM, KEPT_WHO, KEPT_COUNTED};

	if (pg_class_aclcheck(counter->source, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < lengthof(roles); i++)
	{
		AttrNumber	attnum;

		if (!kept_has(counter, roles[i]))
			continue;
		attnum = get_attnum(counter->source, NameStr(counter->columns[roles[i]]));
		if (pg_attribute_aclcheck(counter->source, attnum, GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			return false;
	}
	return true;
}

static char *
mine_statement(const Kept *counter)
{
	const char *counted = NameStr(counter->columns[KEPT_COUNTED]);

	return cozi_statement("SELECT g.n FROM pg_catalog.unnest($1) WITH ORDINALITY g (key, n)"
						  " WHERE EXISTS (SELECT FROM {source} s"
						  " WHERE s.{key} OPERATOR(pg_catalog.=) g.key::{type}"
						  " AND s.{who} OPERATOR(pg_catalog.=) $2{counted})",
						  "source", cozi_qualified_name(counter->source),
						  "key", quote_identifier(NameStr(counter->columns[KEPT_ITEM])),
						  "type", cozi_kept_column_type(counter->relation, "key"),
						  "who", quote_identifier(NameStr(counter->columns[KEPT_WHO])),
						  "counted", kept_has(counter, KEPT_COUNTED) ?
						  psprintf(" AND s.%s", quote_identifier(counted)) : "", NULL);
}

/* Of which keys has the caller a row?  NULL: that is not known. */
static bool *
mine(const Kept *counter, char **keys, int n)
{
	Oid			types[] = {TEXTARRAYOID, InvalidOid};
	Datum		values[2];
	Datum	   *texts = palloc((n + 1) * sizeof(Datum));
	bool	   *result;

	if (!kept_has(counter, KEPT_WHO) || !may_read(counter))
		return NULL;
	types[1] = getBaseType(get_atttype(counter->source,
									   get_attnum(counter->source,
												  NameStr(counter->columns[KEPT_WHO]))));
	if (!caller_as(types[1], &values[1]))
		return NULL;
	types[1] = types[1] == INT4OID ? INT8OID : types[1] == VARCHAROID ? TEXTOID : types[1];
	for (int i = 0; i < n; i++)
		texts[i] = CStringGetTextDatum(keys[i]);
	values[0] = PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
	result = palloc0((n + 1) * sizeof(bool));
	if (SPI_execute_with_args(mine_statement(counter), 2, types, values, NULL, true,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read \"%s\"", get_rel_name(counter->source));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		result[DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
										   &isnull)) - 1] = true;
	}
	return result;
}

/* One row a key, in the order of the keys. */
static void
put_counts(ReturnSetInfo *rsinfo, const Kept *counter, char **keys, int n, Snapshot snapshot)
{
	char	  **own = own_texts(counter, keys, n);
	KeptPublicRow *rows = cozi_kept_key_rows(counter, own, n, snapshot);
	bool	   *shown = cozi_kept_shown(counter, rows, n);
	bool	   *is_mine = mine(counter, own, n);
	bool		numeric = cozi_kept_computed_type(counter, 1) == NUMERICOID;

	for (int i = 0; i < n; i++)
	{
		Datum		values[RESULT_COLUMNS];
		bool		nulls[RESULT_COLUMNS] = {false};
		bool		exists = shown[i] && rows[i].exists;

		CHECK_FOR_INTERRUPTS();
		values[RESULT_COUNTER] = ObjectIdGetDatum(counter->relation);
		values[RESULT_KEY] = CStringGetTextDatum(own[i]);
		values[RESULT_N] = exists ? rows[i].values[0] : Int64GetDatum(0);
		nulls[RESULT_SUM] = rows[i].nulls[1];
		values[RESULT_SUM] = !exists ? NumericGetDatum(int64_to_numeric(0)) :
			numeric ? rows[i].values[1] :
			NumericGetDatum(int64_to_numeric(DatumGetInt64(rows[i].values[1])));
		nulls[RESULT_MINE] = is_mine == NULL;
		values[RESULT_MINE] = BoolGetDatum(is_mine != NULL && is_mine[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(cozi_item_counts);

/*
 * item_counts(counters regclass[], keys anycompatiblearray)
 *		-> setof (counter regclass, key text, n bigint, sum numeric, mine boolean)
 */
Datum
cozi_item_counts(PG_FUNCTION_ARGS)
{
	Datum	   *counters;
	bool	   *nulls;
	int			ncounters;
	char	  **keys;
	int			n;

	cozi_require_argument(fcinfo, 0, "counters");
	cozi_require_argument(fcinfo, 1, "keys");
	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
					  &counters, &nulls, &ncounters);
	keys = key_texts(PG_GETARG_ARRAYTYPE_P(1), &n);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < ncounters; i++)
	{
		Kept		counter;

		if (nulls[i])
			continue;
		open_counter(DatumGetObjectId(counters[i]), &counter);
		put_counts((ReturnSetInfo *) fcinfo->resultinfo, &counter, keys, n, GetActiveSnapshot());
	}
	SPI_finish();
	return (Datum) 0;
}
