/*
 * feeds/unread.c
 *		unread(): how many rows of a key are newer than a marker, up to a cap.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "feeds/feeds.h"

/* The marker: a rank, or a rank and an item; false when it is the rank alone. */
static bool
read_marker(Feed *feed, const char *cursor)
{
	CoziCursorField *fields;
	int			n = cozi_cursor_decode(cursor, &fields);

	if (n == 2)
	{
		cozi_feed_after(feed, cursor);
		return true;
	}
	if (n != 1 || fields[0].kind == COZI_CURSOR_NULL)
		cozi_not_a_cursor(cursor);
	feed->after.rank = cozi_cursor_value(&fields[0], feed->rank.type);
	feed->has_after = true;
	return false;
}

static Datum
owner_datum(const Feed *feed, char *text)
{
	Oid			input;
	Oid			ioparam;

	getTypeInputInfo(feed->key.type, &input, &ioparam);
	return OidInputFunctionCall(input, text, ioparam, -1);
}

PG_FUNCTION_INFO_V1(cozi_unread);

/*
 * unread(relation regclass, key text, after text, cap int, owner name, rank name,
 *		item name, filters text[]) -> int
 */
Datum
cozi_unread(PG_FUNCTION_ARGS)
{
	Feed		feed = {0};
	bool		by_item = false;
	Datum		values[PARAMS];
	char		nulls[PARAMS];
	CoziPlanCosts costs;
	SPIPlanPtr	plan;
	bool		isnull;
	int64		count;
	int			cap;

	cozi_require_argument(fcinfo, 0, "relation");
	cozi_require_argument(fcinfo, 1, "key");
	cozi_require_argument(fcinfo, 3, "cap");
	cap = PG_GETARG_INT32(3);
	if (cap < 0 || cap > FEED_MOST_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cap must be between 0 and %d", FEED_MOST_ROWS)));
	cozi_feed_open(&feed, PG_GETARG_OID(0), cozi_feed_name(fcinfo, 6, "item"),
				   cozi_feed_name(fcinfo, 5, "rank"), cozi_feed_name(fcinfo, 4, "owner"), 1);
	if (!PG_ARGISNULL(2))
		by_item = read_marker(&feed, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (!PG_ARGISNULL(7))
		cozi_feed_filters(&feed, PG_GETARG_ARRAYTYPE_P(7));
	feed.key_array_type = feed.key.type;	/* one key, not an array of them */
	cozi_feed_params(&feed, values, nulls);
	values[PARAM_KEYS] = owner_datum(&feed, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	values[PARAM_LIMIT] = Int64GetDatum((int64) cap + 1);
	nulls[PARAM_KEYS] = nulls[PARAM_LIMIT] = ' ';

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = cozi_feed_plan(&feed, cozi_feed_unread_sql(&feed, by_item), 0);
	cozi_plan_walks(plan, &costs);
	if (SPI_execute_plan(plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count the rows of a key");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
										&isnull));
	SPI_finish();
	PG_RETURN_INT32((int32) count);
}
