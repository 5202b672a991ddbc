/*
 * trending/top_rows.c
 *		top_rows(): the top of a board as rows of the caller's own table.
 *
 * The rows are read as the caller, under the caller's policies, by the key of the
 * table: one index lookup an item.  Items that the caller may not see, or that have
 * no row, are skipped; more of the board is read until k rows are found.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "trending/trending.h"

static bool
is_text(Oid type)
{
	return type == TEXTOID || type == VARCHAROID;
}

/* The column that holds items, of a type that equals that of the board's. */
static void
find_key(Relation rel, const char *name, const Kept *board, CoziColumn *key)
{
	Oid			item = getBaseType(get_atttype(board->relation,
											   get_attnum(board->relation, "item")));
	Oid			type;

	if (name == NULL)
		name = cozi_kept_primary_key(RelationGetRelid(rel), true);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key of one column",
						RelationGetRelationName(rel)),
				 errhint("Name the column that holds the items: key => 'id'.")));
	cozi_find_column(rel, name, key);
	type = getBaseType(key->type);
	if (type != item && !(cozi_is_integer(type) && cozi_is_integer(item)) &&
		!(is_text(type) && is_text(item)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is of type %s,"
						" the items of \"%s\" of type %s",
						name, RelationGetRelationName(rel), format_type_be(key->type),
						get_rel_name(board->relation), format_type_be(item)),
				 errhint("Name the column that holds the items: key => 'id'.")));
}

static Datum
item_array(const TopItem *items, int n)
{
	Datum	   *values = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(items[i].item);
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT));
}

PG_FUNCTION_INFO_V1(cozi_top_rows);

/*
 * top_rows(row_type anyelement, board regclass, k int, scope text, scopes text[],
 *			after text, key name) -> setof anyelement
 *
 * row_type names the table: NULL::posts.  NULL key: the primary key.
 */
Datum
cozi_top_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = get_typ_typrelid(get_fn_expr_argtype(fcinfo->flinfo, 0));
	TopRequest	top = {0};
	Relation	rel;
	CoziColumn	key;
	char	   *statement;
	int64		found = 0;
	int			done = 0;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC | MAT_SRF_BLESS);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("top_rows() takes the row type of a table"),
				 errhint("Write NULL::posts for the table posts.")));
	cozi_top_arguments(fcinfo, 1, &top);
	rel = relation_open(relid, AccessShareLock);
	find_key(rel, PG_ARGISNULL(6) ? NULL : NameStr(*PG_GETARG_NAME(6)), &top.board, &key);
	statement = cozi_rows_statement(rel, NameStr(key.name),
									cozi_kept_column_type(top.board.relation, "item"));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_top_open(&top);
	for (int64 wanted = top.k; found < top.k && wanted <= PG_INT32_MAX; wanted *= 2)
	{
		int			n;
		TopItem    *items = cozi_top_read(&top, (int) wanted, &n);

		found += cozi_add_rows(rsinfo, statement, item_array(items + Min(done, n),
															 n - Min(done, n)),
							   top.k - found, NULL, NULL);
		done = n;
		if (n < wanted)
			break;
	}
	SPI_finish();
	relation_close(rel, NoLock);
	return (Datum) 0;
}
