/*
 * live/seen.c
 *		Which transactions a reader has seen: a snapshot that a cursor carries.
 *
 * pg_snapshot names top-level transactions only, and a row has the id of the
 * subtransaction that wrote it.  So the running subtransactions are written down,
 * too.  Where the server does not know them all, where there are too many, or where
 * the caller's own transaction writes, the snapshot is cut: what is at or above the
 * cut counts as running, and is given later.
 *
 * The law: of two snapshots taken one after the other, a transaction is in the
 * first, or between the two, or in neither; never twice, and never lost.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "live/live.h"

#define MOST_RUNNING	500		/* in the text of a cursor */

/* The full id of a transaction whose row is there, or that runs. */
static uint64
full_id(TransactionId xid)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64		full = (next & ~(uint64) PG_UINT32_MAX) | xid;

	if (!TransactionIdIsNormal(xid))
		return xid;
	return full >= next && full > PG_UINT32_MAX ? full - ((uint64) 1 << 32) : full;
}

static int
compare_ids(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

/* Count what is at or above an id as running. */
static void
cut(LiveSeen *seen, uint64 at)
{
	seen->xmax = Min(seen->xmax, at);
	seen->xmin = Min(seen->xmin, seen->xmax);
	while (seen->n > 0 && seen->running[seen->n - 1] >= seen->xmax)
		seen->n--;
}

LiveSeen   *
cozi_live_seen_now(Snapshot snapshot)
{
	LiveSeen   *seen = palloc0(sizeof(LiveSeen));
	TransactionId own = GetTopTransactionIdIfAny();

	seen->xmin = full_id(snapshot->xmin);
	seen->xmax = full_id(snapshot->xmax);
	seen->running = palloc((snapshot->xcnt + Max(snapshot->subxcnt, 0) + 1) * sizeof(uint64));
	if (!snapshot->takenDuringRecovery)
		for (uint32 i = 0; i < snapshot->xcnt; i++)
			seen->running[seen->n++] = full_id(snapshot->xip[i]);
	for (int32 i = 0; i < snapshot->subxcnt; i++)
		seen->running[seen->n++] = full_id(snapshot->subxip[i]);
	qsort(seen->running, seen->n, sizeof(uint64), compare_ids);
	if (snapshot->suboverflowed)
		cut(seen, seen->xmin);
	if (TransactionIdIsValid(own))
		cut(seen, full_id(own));
	cut(seen, seen->xmax);
	if (seen->n > MOST_RUNNING)
		cut(seen, seen->running[MOST_RUNNING]);
	return seen;
}

static bool
has_seen(const LiveSeen *seen, TransactionId xid)
{
	uint64		full = full_id(xid);

	if (full < seen->xmin)
		return true;
	return full < seen->xmax &&
		bsearch(&full, seen->running, seen->n, sizeof(uint64), compare_ids) == NULL;
}

char	   *
cozi_live_seen_text(const LiveSeen *seen)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT " " UINT64_FORMAT, seen->xmin, seen->xmax);
	for (int i = 0; i < seen->n; i++)
		appendStringInfo(&text, " " UINT64_FORMAT, seen->running[i]);
	return text.data;
}

/* The next number of a text, which a client may have written. */
static uint64
next_number(const char **at)
{
	uint64		number = 0;
	int			digits = 0;

	for (; **at >= '0' && **at <= '9' && digits < 19; (*at)++, digits++)
		number = number * 10 + (**at - '0');
	if (digits == 0 || (**at != ' ' && **at != '\0'))
		cozi_live_other_cursor();
	if (**at == ' ')
		(*at)++;
	return number;
}

static LiveSeen *
read_seen(const char *text)
{
	LiveSeen   *seen = palloc0(sizeof(LiveSeen));

	seen->running = palloc((MOST_RUNNING + 1) * sizeof(uint64));
	seen->xmin = next_number(&text);
	seen->xmax = next_number(&text);
	while (*text !='\0')
	{
		if (seen->n == MOST_RUNNING)
			cozi_live_other_cursor();
		seen->running[seen->n++] = next_number(&text);
	}
	qsort(seen->running, seen->n, sizeof(uint64), compare_ids);
	return seen;
}

/* What a call site of _is_new() has read. */
typedef struct SeenPair
{
	text	   *after_text;
	text	   *upto_text;
	LiveSeen   *after;
	LiveSeen   *upto;
} SeenPair;

static bool
is_same(const text *a, const text *b)
{
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

PG_FUNCTION_INFO_V1(cozi_is_new);

/*
 * _is_new(xmin xid, after text, upto text) -> boolean
 */
Datum
cozi_is_new(PG_FUNCTION_ARGS)
{
	TransactionId xid = PG_GETARG_TRANSACTIONID(0);
	text	   *after = PG_GETARG_TEXT_P(1);
	text	   *upto = PG_GETARG_TEXT_P(2);
	SeenPair   *pair = fcinfo->flinfo->fn_extra;

	if (pair == NULL || !is_same(pair->after_text, after) || !is_same(pair->upto_text, upto))
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		pair = palloc(sizeof(SeenPair));
		pair->after_text = DatumGetTextPCopy(PointerGetDatum(after));
		pair->upto_text = DatumGetTextPCopy(PointerGetDatum(upto));
		pair->after = read_seen(text_to_cstring(after));
		pair->upto = read_seen(text_to_cstring(upto));
		fcinfo->flinfo->fn_extra = pair;
		MemoryContextSwitchTo(caller);
	}
	PG_RETURN_BOOL(!has_seen(pair->after, xid) && has_seen(pair->upto, xid));
}
