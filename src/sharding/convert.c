/*
 * sharding/convert.c
 *		shard_table and unshard_table: one table becomes many, and back.
 *
 * The law not to break: no row and no object is lost.  The ACCESS EXCLUSIVE
 * lock is taken before the plan is made and held until commit; every
 * statement sees a snapshot taken after the lock, so REPEATABLE READ is
 * refused; rows are counted before, while and after they are copied; the
 * old table is dropped with RESTRICT; and what the new table is must equal,
 * statement by statement, what the old one was.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "sharding/job.h"

/* Bytes of table and indexes handled in a second, to estimate the time. */
#define BYTES_PER_SECOND (20 * 1024 * 1024)

/* One bigint; a NULL counts as 0. */
static int64
query_int8(const char *query)
{
	bool		isnull;
	Datum		value;

	if (SPI_execute(query, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not execute: %s", query);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetInt64(value);
}

/* A column that PostgreSQL can hash. */
static void
check_key(ShardJob *job)
{
	AttrNumber	attnum = get_attnum(job->relid, job->key);
	Oid			type;

	if (attnum == InvalidAttrNumber)
		cozi_no_such_column(job->relname, job->key);
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("cannot use system column \"%s\" as the key", job->key)));
	type = get_atttype(job->relid, attnum);
	if (!OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("column \"%s\" of type %s cannot be hashed", job->key,
						format_type_be(type)),
				 errhint("Use a column of type bigint, int, uuid or text.")));
}

/* Rows without a key belong to nobody; PostgreSQL would put them in shard 0. */
static bool
has_null_keys(ShardJob *job)
{
	HeapTuple	tuple = SearchSysCacheAttName(job->relid, job->key);
	bool		maybe;
	bool		found;
	CoziSavedUser saved;

	if (!HeapTupleIsValid(tuple))
		return false;
	maybe = !((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	if (!maybe || get_rel_relkind(job->relid) != RELKIND_RELATION)
		return false;

	cozi_job_become_owner(job, &saved);
	SPI_connect();
	found = query_int8(cozi_statement("SELECT count(*) FROM"
									  " (SELECT FROM {table} WHERE {key} IS NULL LIMIT 1) x",
									  "table", job->qualified,
									  "key", quote_identifier(job->key), NULL)) > 0;
	SPI_finish();
	cozi_restore_user(&saved);
	return found;
}

/*
 * List every object that cannot be carried, each with what mends it: SQL that
 * runs as it stands, or words that begin with "--".
 */
static void
refuse_uncarried(ShardJob *job)
{
	List	   *rows = cozi_job_read(job,
									 "SELECT object, mend FROM cozi._shard_blockers($1, $2, $3, $4)", 4);
	StringInfoData objects;
	StringInfoData mends;
	ListCell   *lc;

	initStringInfo(&objects);
	initStringInfo(&mends);
	if (job->key && has_null_keys(job))
	{
		appendStringInfo(&objects, "rows have no \"%s\"", job->key);
		appendStringInfo(&mends,
						 "-- give the rows without \"%s\" one, or delete them: "
						 "all would lie in shard 0",
						 job->key);
	}
	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);
		bool		words = strncmp(row[1], "--", 2) == 0 || strstr(row[1], "; --");

		appendStringInfo(&objects, "%s%s", objects.len ? "\n" : "", row[0]);
		appendStringInfo(&mends, "%s%s%s", mends.len ? "\n" : "", row[1], words ? "" : ";");
	}
	if (objects.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s table \"%s\" without losing something",
						job->key ? "shard" : "unshard", job->relname),
				 errdetail_internal("%s", objects.data),
				 errhint("For each of them, in this order:\n%s", mends.data)));
}

/* What is going to happen: the lock, the disk, the time. */
static char *
announcement(ShardJob *job)
{
	List	   *rows = cozi_job_read(job,
									 "SELECT pg_size_pretty(b), b FROM (SELECT "
									 "sum(pg_total_relation_size(r))::int8"
									 " FROM (SELECT relid FROM pg_partition_tree($1) UNION SELECT "
									 "$1"
									 " UNION SELECT child FROM cozi._shard_children($1)) t (r)) x "
									 "(b)", 1);
	char	  **row = linitial(rows);

	return psprintf("locks %s in ACCESS EXCLUSIVE mode until the transaction ends, "
					"needs about %s of disk while both copies exist, takes about %lld s",
					job->qualified, row[0],
					strtoll(row[1], NULL, 10) / BYTES_PER_SECOND + 1);
}

static List *
read_plan(ShardJob *job)
{
	return cozi_job_read(job, "SELECT p FROM cozi._shard_plan($1, $2, $3, $4)"
						 " WITH ORDINALITY AS x (p, n) ORDER BY n", 4);
}

/* Each fact, with where it is and in which tablespace; sorted. */
static List *
read_facts(ShardJob *job)
{
	return cozi_job_read(job,
						 "SELECT x.place, x.fact FROM (SELECT concat(f.fact, chr(10), f.step, ' ',"
						 " f.place, ' ', f.index, ' ', f.spc), f.fact FROM cozi._shard_facts($1) f)"
						 " AS x (place, fact) ORDER BY x.place COLLATE \"C\"", 1);
}

/* The first fact of one sorted list that is not in the other, or NULL. */
static const char *
first_missing(List *list, List *other)
{
	int			j = 0;

	for (int i = 0; i < list_length(list); i++)
	{
		char	  **fact = list_nth(list, i);

		while (j < list_length(other) && strcmp(((char **) list_nth(other, j))[0], fact[0]) < 0)
			j++;
		if (j == list_length(other) || strcmp(((char **) list_nth(other, j))[0], fact[0]) != 0)
			return fact[1];
		j++;
	}
	return NULL;
}

static void
compare_facts(ShardJob *job, List *before, List *after)
{
	const char *lost = first_missing(before, after);
	const char *gained = first_missing(after, before);

	if (lost == NULL && gained == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" would not be what it was", job->relname),
			 lost && gained ? errdetail("It would lose \"%s\" and gain \"%s\".", lost, gained) :
			 lost ? errdetail("It would lose \"%s\".", lost) :
			 errdetail("It would gain \"%s\".", gained),
			 errhint("An event trigger or an extension may have altered the new table; nothing "
					 "was changed.")));
}

/* After the last row is copied: were all of them, and where are they? */
static void
check_copy(ShardJob *job, int64 total, int64 copied)
{
	int64		found = 0;

	if (SPI_execute(psprintf("SELECT c.relname, x.n FROM (SELECT tableoid, count(*) AS n FROM %s "
							 "GROUP BY 1) x"
							 " JOIN pg_class c ON c.oid = x.tableoid ORDER BY c.oid",
							 job->qualified), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count the rows of %s", job->qualified);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *n = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);

		found += strtoll(n, NULL, 10);
		ereport(NOTICE,
				(errmsg("%s: %s rows",
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), n)));
	}
	if (copied != total || found != total)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("of %lld rows of table \"%s\", %lld were copied and %lld arrived",
						(long long) total, job->relname, (long long) copied, (long long) found)));
}

/*
 * Run one statement of the plan.  Calls of cozi for boards and edges run as the
 * caller, because they act as the owner themselves, and not within a
 * security-restricted operation; what they return is not looked at.
 */
static void
run_statement(ShardJob *job, const char *statement, CoziSavedUser *saved)
{
	bool		ours = strncmp(statement, "SELECT cozi.", 12) == 0;
	CoziSavedUser caller;
	int			result;

	if (ours)
	{
		cozi_restore_user(saved);
		cozi_switch_user(GetUserId(), 0, &caller);
	}
	result = SPI_execute(statement, false, 0);
	if (result < 0)
		elog(ERROR, "could not execute: %s: %s", statement, SPI_result_code_string(result));
	if (ours)
	{
		cozi_restore_user(&caller);
		cozi_job_become_owner(job, saved);
	}
}

/* Run the plan, as the owner. */
static void
carry_out(ShardJob *job, List *plan)
{
	CoziSavedUser saved;
	ListCell   *lc;
	int64		total;
	int64		copied = 0;
	bool		copying = false;

	cozi_job_become_owner(job, &saved);
	SPI_connect();
	total = query_int8(psprintf("SELECT count(*) FROM %s", job->qualified));
	foreach(lc, plan)
	{
		const char *statement = ((char **) lfirst(lc))[0];
		bool		is_copy = strncmp(statement, "INSERT INTO", 11) == 0;

		CHECK_FOR_INTERRUPTS();
		if (copying && !is_copy)
			check_copy(job, total, copied);
		copying = is_copy;

		run_statement(job, statement, &saved);
		if (is_copy)
		{
			copied += SPI_processed;
			ereport(NOTICE,
					(errmsg("copied %lld of %lld rows", (long long) copied, (long long) total)));
		}
		if (SPI_tuptable)
			SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
	cozi_restore_user(&saved);
}

static void
put_text(FunctionCallInfo fcinfo, const char *line)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		value = CStringGetTextDatum(line);
	bool		isnull = false;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
}

/*
 * The common part of shard_table and unshard_table.  Everything that can be
 * refused is refused twice: before the lock, so that nobody waits for an
 * error, and under it, so that nothing slips in between.
 */
static void
convert_table(FunctionCallInfo fcinfo, ShardJob *job, bool dry_run)
{
	List	   *before;
	List	   *plan;
	ListCell   *lc;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("table \"%s\" cannot be rewritten in a REPEATABLE READ or SERIALIZABLE "
						"transaction", job->relname),
				 errdetail("Its snapshot may be older than rows that others have committed."),
				 errhint("Use BEGIN ISOLATION LEVEL READ COMMITTED.")));
	PreventCommandIfReadOnly(job->key ? "shard_table()" : "unshard_table()");
	PreventCommandIfParallelMode(job->key ? "shard_table()" : "unshard_table()");

	/* who comes second must not read about a table that is being replaced */
	cozi_job_lock(job, AccessShareLock);
	refuse_uncarried(job);
	if (dry_run)
		put_text(fcinfo, psprintf("-- %s", announcement(job)));
	else
	{
		ereport(NOTICE, (errmsg("%s", announcement(job))));
		UnlockRelationOid(job->relid, AccessShareLock);
		cozi_job_lock(job, AccessExclusiveLock);
		refuse_uncarried(job);
	}

	plan = read_plan(job);
	if (!dry_run)
	{
		before = read_facts(job);
		carry_out(job, plan);
		CommandCounterIncrement();
		job->relid = get_relname_relid(job->relname, job->namespace);
		compare_facts(job, before, read_facts(job));
	}
	foreach(lc, plan)
		put_text(fcinfo, ((char **) lfirst(lc))[0]);
}

/*
 * shard_table(rel regclass, key name, modulus int, dry_run boolean,
 *			   drop_children boolean) -> setof text
 *
 * The statements.  No argument may be NULL.
 */
PG_FUNCTION_INFO_V1(cozi_shard_table);
Datum
cozi_shard_table(PG_FUNCTION_ARGS)
{
	ShardJob	job = {0};

	cozi_require_argument(fcinfo, 1, "key");
	cozi_require_argument(fcinfo, 2, "modulus");
	cozi_require_argument(fcinfo, 3, "dry_run");
	cozi_require_argument(fcinfo, 4, "drop_children");
	job.key = NameStr(*PG_GETARG_NAME(1));
	job.modulus = PG_GETARG_INT32(2);
	job.drop_children = PG_GETARG_BOOL(4);
	cozi_job_check_modulus(job.modulus);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	cozi_job_open(fcinfo, "rel", &job);
	check_key(&job);
	convert_table(fcinfo, &job, PG_GETARG_BOOL(3));
	return (Datum) 0;
}

/* unshard_table(rel regclass, dry_run boolean) -> setof text */
PG_FUNCTION_INFO_V1(cozi_unshard_table);
Datum
cozi_unshard_table(PG_FUNCTION_ARGS)
{
	ShardJob	job = {0};

	cozi_require_argument(fcinfo, 1, "dry_run");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	cozi_job_open(fcinfo, "rel", &job);
	cozi_job_check_hash(&job);
	convert_table(fcinfo, &job, PG_GETARG_BOOL(1));
	return (Datum) 0;
}
