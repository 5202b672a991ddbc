/*
 * advisor/once.c
 *		Rows that many parts of one query read, found once.
 *
 * The findings of the advisor are one query over some twenty views, and nearly
 * each of them asks about the same policies.  As plain views, those would be
 * planned in each place, and every tree of a policy would be walked in each.  So
 * the first place runs the view, and the others are given a copy of its rows.
 * The parts of the list of findings are asked for once only; but as plain views
 * they would make one plan of all of them, which takes the planner twice the time
 * and four times the memory of a plan for each.
 *
 * The law: rows never outlive the query that asked for them.  They hang on the
 * memory of that query, whose end, by an error too, forgets them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "base/base.h"

/* What may be asked for: nothing but these. */
static const char *const views[] = {
	"_facts_now", "_policies_now", "_access_now", "_waived_now",
	"_findings_condition", "_findings_speed", "_findings_rights", "_findings_exposure",
	"_findings_content", "_findings_index", "_findings_table", "_findings_upkeep"
};

typedef struct Answer
{
	TupleDesc	desc;			/* NULL: not yet asked for */
	HeapTuple  *rows;
	uint64		nrows;
} Answer;

/* A query that runs, with what it has been given. */
typedef struct Asker
{
	struct Asker *next;
	MemoryContext memory;		/* the query's own */
	MemoryContextCallback end;
	Answer		answers[lengthof(views)];
} Asker;

static Asker *askers = NULL;

/* The query for which a view runs now. */
static Asker *served = NULL;

static void
forget(void *arg)
{
	Asker	  **link = &askers;

	while (*link != NULL && *link != arg)
		link = &(*link)->next;
	if (*link != NULL)
		*link = (*link)->next;
}

static Asker *
find_asker(MemoryContext memory)
{
	Asker	   *asker = askers;

	while (asker != NULL && asker->memory != memory)
		asker = asker->next;
	if (asker == NULL)
	{
		asker = MemoryContextAllocZero(memory, sizeof(Asker));
		asker->memory = memory;
		asker->end.func = forget;
		asker->end.arg = asker;
		MemoryContextRegisterResetCallback(memory, &asker->end);
		asker->next = askers;
		askers = asker;
	}
	return asker;
}

static void
run_view(const char *view, Asker *asker, Answer *answer)
{
	char	   *statement = cozi_statement("SELECT * FROM cozi.{view}", "view", view, NULL);
	SPIPlanPtr	plan;
	MemoryContext old;

	SPI_connect();
	plan = cozi_plan(statement, 0, NULL, 0);
	if (SPI_execute_plan(plan, NULL, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", view);
	old = MemoryContextSwitchTo(asker->memory);
	answer->nrows = SPI_processed;
	answer->rows = MemoryContextAllocHuge(asker->memory, (SPI_processed + 1) * sizeof(HeapTuple));
	for (uint64 i = 0; i < SPI_processed; i++)
		answer->rows[i] = heap_copytuple(SPI_tuptable->vals[i]);
	answer->desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
	MemoryContextSwitchTo(old);
	SPI_finish();
}

/* What the view asks for in its turn is kept for the same query. */
static void
serve(const char *view, Asker *asker, Answer *answer)
{
	Asker	   *outer = served;

	served = asker;
	PG_TRY();
	{
		run_view(view, asker, answer);
	}
	PG_FINALLY();
	{
		served = outer;
	}
	PG_END_TRY();
}

static Answer *
find_answer(const char *view, Asker *asker)
{
	for (int i = 0; i < lengthof(views); i++)
	{
		if (strcmp(view, views[i]) != 0)
			continue;
		if (asker->answers[i].desc == NULL)
			serve(view, asker, &asker->answers[i]);
		return &asker->answers[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no view \"%s\" to be read once", view)));
}

PG_FUNCTION_INFO_V1(cozi_once);

/* _once(view text) -> setof record */
Datum
cozi_once(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Answer	   *answer;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	answer = find_answer(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						 served ? served :
						 find_asker(rsinfo->econtext->ecxt_estate->es_query_cxt));
	cozi_check_row_type(answer->desc, rsinfo->setDesc);
	for (uint64 i = 0; i < answer->nrows; i++)
		tuplestore_puttuple(rsinfo->setResult, answer->rows[i]);
	return (Datum) 0;
}
