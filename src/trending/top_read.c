/*
 * trending/top_read.c
 *		Reading the top of a board: of all scopes, of some, after a place.
 *
 * Everything is read in the snapshot of the calling statement, pending votes
 * included, and never from the view of the board, which is its owner's.  Where
 * policies on the board hold for the caller, the board is read as the caller, and
 * what is only pending, which has no row yet that a policy could judge, shows
 * once it is folded.
 *
 * The law: what is read grows with k and with the scopes asked for, never with the
 * board.  The index of a board is by scope, so each scope is a walk of its own.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "kept/kept.h"
#include "trending/trending.h"

static const char *const given_scopes =
"SELECT DISTINCT s.scope FROM pg_catalog.unnest($7::{scope}[]) s (scope)"
" WHERE s.scope IS NOT NULL";

/*
 * An item that is not among the first k of its scope is not among the first k of
 * all.  Nor is one whose heat is below that of k items which lead a scope: floor.
 *
 * $1 to $5: what is pending, as arrays; $6: which of it has a row; $7: the scopes;
 * $8: k; $9: rows to read of a scope, k and the pending ones among them; $10 and
 * $11: the place to begin after.
 */
static const char *const scoped_top =
"WITH scopes AS MATERIALIZED ({scopes}),"
" pending AS MATERIALIZED (SELECT g.scope::{scope}, g.item::{item}, g.heat, g.\"exists\""
"  FROM {rows} {visible}),"
" floor AS (SELECT pg_catalog.min(f.heat) AS heat"
"  FROM (SELECT t.item, pg_catalog.max(t.heat) AS heat"
"  FROM scopes s CROSS JOIN LATERAL (SELECT b.item, b.heat FROM {table} b"
"   WHERE b.scope OPERATOR(pg_catalog.=) s.scope ORDER BY b.heat DESC, b.item DESC LIMIT 1) t"
"  WHERE {first_page} AND NOT EXISTS (SELECT FROM pending p"
"   WHERE p.scope OPERATOR(pg_catalog.=) s.scope AND p.item OPERATOR(pg_catalog.=) t.item)"
"  GROUP BY t.item ORDER BY 2 DESC LIMIT $8) f"
"  HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) $8),"
" walked AS MATERIALIZED (SELECT s.scope, t.item, t.heat FROM scopes s"
"  CROSS JOIN LATERAL (SELECT b.item, b.heat FROM {table} b"
"   WHERE b.scope OPERATOR(pg_catalog.=) s.scope AND {after_b}"
"    AND b.heat OPERATOR(pg_catalog.>=)"
"     coalesce((SELECT heat FROM floor), '-Infinity'::pg_catalog.float8)"
"   ORDER BY b.heat DESC, b.item DESC LIMIT $9) t),"
" live AS (SELECT w.item, w.heat FROM walked w WHERE NOT EXISTS (SELECT FROM pending p"
"   WHERE p.scope OPERATOR(pg_catalog.=) w.scope AND p.item OPERATOR(pg_catalog.=) w.item)"
"  UNION ALL SELECT p.item, p.heat FROM pending p"
"   WHERE p.\"exists\" AND {wanted_p} AND {after_p}),"
" best AS (SELECT u.item, u.heat FROM (SELECT item, pg_catalog.max(heat) AS heat FROM live"
"  GROUP BY item ORDER BY 2 DESC, 1 DESC) u WHERE {unseen} LIMIT $8)"
" SELECT t.item::pg_catalog.text, t.heat, m.more"
" FROM (SELECT EXISTS (SELECT FROM walked GROUP BY scope"
"  HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>=) $9) AS more) m"
" LEFT JOIN best t ON true ORDER BY t.heat DESC, t.item DESC";

/* Not on an earlier page, by its heat in another scope; asked of few items. */
static const char *const unseen =
"(SELECT true FROM scopes s CROSS JOIN LATERAL (SELECT b.heat FROM {table} b"
"  WHERE b.scope OPERATOR(pg_catalog.=) s.scope AND b.item OPERATOR(pg_catalog.=) u.item"
"   AND NOT {after_b} AND NOT EXISTS (SELECT FROM pending p"
"    WHERE p.scope OPERATOR(pg_catalog.=) s.scope AND p.item OPERATOR(pg_catalog.=) u.item)) t"
"  LIMIT 1) IS NULL"
" AND (SELECT true FROM pending p WHERE p.item OPERATOR(pg_catalog.=) u.item"
"  AND p.\"exists\" AND {wanted_p} AND NOT {after_p} LIMIT 1) IS NULL";

static const char *const plain_top =
"WITH pending AS MATERIALIZED (SELECT g.item::{item}, g.heat, g.\"exists\""
"  FROM {rows} {visible}),"
" walked AS (SELECT b.item, b.heat FROM {table} b WHERE {after_b}"
"  ORDER BY b.heat DESC, b.item DESC LIMIT $9),"
" live AS (SELECT w.item, w.heat FROM walked w WHERE NOT EXISTS (SELECT FROM pending p"
"   WHERE p.item OPERATOR(pg_catalog.=) w.item)"
"  UNION ALL SELECT p.item, p.heat FROM pending p WHERE p.\"exists\" AND {after_p})"
" SELECT t.item::pg_catalog.text, t.heat, false FROM live t"
" ORDER BY t.heat DESC, t.item DESC LIMIT $8";

static char *
after(const TopRequest *top, const char *alias)
{
	if (top->after == NULL)
		return "true";
	return psprintf("(%s.heat, %s.item) OPERATOR(pg_catalog.<) ($10, $11::%s)", alias, alias,
					cozi_kept_column_type(top->board.relation, "item"));
}

/* Of the pending rows those that the caller sees, where policies hold. */
static char *
visible(const TopRequest *top, const char *scope, const char *item)
{
	if (!top->as_caller)
		return "";
	return cozi_statement("JOIN {table} b ON {same_scope} b.item OPERATOR(pg_catalog.=)"
						  " g.item::{item}",
						  "table", cozi_qualified_name(top->board.relation),
						  "same_scope", scope == NULL ? "" :
						  psprintf("b.scope OPERATOR(pg_catalog.=) g.scope::%s AND", scope),
						  "item", item, NULL);
}

static char *
rows_with_exists(const Kept *board)
{
	return cozi_statement("ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
						  " pg_catalog.unnest($3), pg_catalog.unnest($4),"
						  " pg_catalog.unnest($5), pg_catalog.unnest($6))"
						  " g (scope, item, {columns}, \"exists\")",
						  "columns", cozi_kept_column_list(board, ""), NULL);
}

static char *
top_statement(const TopRequest *top)
{
	const Kept *board = &top->board;
	char	   *table = cozi_qualified_name(board->relation);
	char	   *item = cozi_kept_column_type(board->relation, "item");
	char	   *rows = rows_with_exists(board);
	char	   *scope;
	char	   *wanted_p;

	if (!kept_has(board, KEPT_SCOPE))
		return cozi_statement(plain_top, "item", item, "rows", rows, "table", table,
							  "visible", visible(top, NULL, item),
							  "after_b", after(top, "b"), "after_p", after(top, "p"), NULL);
	scope = cozi_kept_column_type(board->relation, "scope");
	wanted_p = top->scopes == (Datum) 0 ? "true" :
		"p.scope OPERATOR(pg_catalog.=) ANY (SELECT scope FROM scopes)";
	return cozi_statement(scoped_top, "item", item, "rows", rows, "table", table,
						  "scope", scope, "wanted_p", wanted_p,
						  "scopes", top->scopes == (Datum) 0 ?
						  cozi_kept_all_scopes(board) :
						  cozi_statement(given_scopes, "scope", scope, NULL),
						  "visible", visible(top, scope, item),
						  "first_page", top->after == NULL ? "true" : "false",
						  "after_b", after(top, "b"), "after_p", after(top, "p"),
						  "unseen", top->after == NULL ? "true" :
						  cozi_statement(unseen, "table", table, "wanted_p", wanted_p,
										 "after_b", after(top, "b"), "after_p", after(top, "p"),
										 NULL),
						  NULL);
}

/* Does the table have the columns that the statement is about to name? */
static void
check_shape(const Kept *board)
{
	char	   *misfit = get_rel_name(board->source) == NULL ? "its source is gone" :
	cozi_kept_misfit(board);

	if (misfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be read: %s", get_rel_name(board->relation), misfit),
				 errhint("Undo that, then call cozi.rebuild_board().")));
}

/* What is pending, read once for a request; SPI is connected. */
void
cozi_top_open(TopRequest *top)
{
	const Kept *board = &top->board;
	KeptPublicRow *rows;

	check_shape(board);
	top->as_caller = check_enable_rls(board->relation, InvalidOid, false) == RLS_ENABLED;
	rows = cozi_kept_pending_rows(board, &top->npending, GetActiveSnapshot(),
								  GetCurrentStatementStartTimestamp());
	cozi_kept_arrays(board, rows, top->npending, top->pending);
	top->pending[5] = cozi_kept_exists_array(rows, top->npending);
}

/* Read k rows, walking at most limit rows of each scope. */
static void
read_top(const TopRequest *top, int64 k, int64 limit)
{
	Oid			types[11];
	Datum		values[11];
	char		nulls[] = "           ";
	CoziSavedUser saved;
	int			level;

	memcpy(types, cozi_kept_array_types(&top->board), 5 * sizeof(Oid));
	memcpy(values, top->pending, sizeof(top->pending));
	types[5] = BOOLARRAYOID;
	types[6] = TEXTARRAYOID;
	values[6] = top->scopes;
	nulls[6] = top->scopes == (Datum) 0 ? 'n' : ' ';
	types[7] = types[8] = INT8OID;
	values[7] = Int64GetDatum(k);
	values[8] = Int64GetDatum(limit);
	types[9] = FLOAT8OID;
	values[9] = Float8GetDatum(top->after_heat);
	types[10] = TEXTOID;
	values[10] = top->after ? CStringGetTextDatum(top->after) : (Datum) 0;
	nulls[10] = top->after ? ' ' : 'n';

	if (!top->as_caller)
		cozi_switch_to_owner(top->board.relation, &saved);
	level = NewGUCNestLevel();
	cozi_set_locally("jit", "off");
	if (SPI_execute_with_args(top_statement(top), lengthof(types), types, values, nulls, true,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the board");
	AtEOXact_GUC(false, level);
	if (!top->as_caller)
		cozi_restore_user(&saved);
}

/*
 * The first k items of a request, by falling heat; fewer where there are fewer.
 *
 * After a place, items of earlier pages are met again in other scopes: too many,
 * and more of each scope is walked.
 */
TopItem    *
cozi_top_read(const TopRequest *top, int k, int *n)
{
	int64		limit = (int64) k + top->npending;
	TopItem    *items;
	bool		isnull;

	for (;; limit *= 4)
	{
		bool		more = false;

		CHECK_FOR_INTERRUPTS();
		read_top(top, k, limit);
		*n = 0;
		items = palloc_extended((SPI_processed + 1) * sizeof(TopItem), MCXT_ALLOC_HUGE);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;

			more = DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull));
			items[*n].heat = DatumGetFloat8(SPI_getbinval(tuple, desc, 2, &isnull));
			if (!isnull)
				items[(*n)++].item = SPI_getvalue(tuple, desc, 1);
		}
		SPI_freetuptable(SPI_tuptable);
		if (*n >= k || !more || top->after == NULL || limit > PG_INT64_MAX / 8)
			return items;
	}
}
