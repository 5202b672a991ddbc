/*
 * sharding/table.c
 *		Shards on one machine: create_shards, shard_table, unshard_table and
 *		shard_check.
 *
 * What to do is SQL that the functions sharding_* of sql/sharding.sql write
 * from the catalogues; how to do it safely is here.
 *
 * Two users are at work.  Catalogues are read as the owner of the extension,
 * because the readers are granted to nobody; they run no code of others, and
 * no operator that the caller's search_path would find.
 * Whatever touches the table (its statements run check functions, defaults,
 * index expressions) runs as the table's owner in a security-restricted
 * operation, as REINDEX does, whoever calls: so a superuser may shard the
 * table of a stranger, and an owner needs nothing but CREATE on the schema.
 *
 * The law not to break: no row and no object is lost.  The ACCESS EXCLUSIVE
 * lock is taken before the plan is made and held until commit; every
 * statement sees a snapshot taken after the lock, so REPEATABLE READ is
 * refused; rows are counted before, while and after they are copied; the
 * old table is dropped with RESTRICT; and what the new table is must equal,
 * statement by statement, what the old one was.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "base/base.h"

/* Partitions are files and locks; far beyond this only machines are added. */
#define MAX_SHARDS 4096

/* Bytes of table and indexes handled in a second, to estimate the time. */
#define BYTES_PER_SECOND (20 * 1024 * 1024)

PG_FUNCTION_INFO_V1(cozi_create_shards);
PG_FUNCTION_INFO_V1(cozi_shard_table);
PG_FUNCTION_INFO_V1(cozi_unshard_table);
PG_FUNCTION_INFO_V1(cozi_shard_check);

/* The table at work, as it was when the lock was held (all palloc'd). */
typedef struct ShardJob
{
	Oid			relid;
	Oid			namespace;
	char	   *relname;
	char	   *qualified;		/* schema.name, quoted */
	Oid			owner;			/* of the table */
	Oid			reader;			/* of the extension */
	const char *key;			/* NULL for unshard_table */
	int32		modulus;
} ShardJob;

typedef struct SavedUser
{
	Oid			userid;
	int			context;
	int			nestlevel;
} SavedUser;

/* Another user, who finds nothing but pg_catalog in his search_path. */
static void
become(Oid userid, int context, SavedUser *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->context);
	saved->nestlevel = NewGUCNestLevel();
	SetUserIdAndSecContext(userid, saved->context | context);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Back to the caller, whose settings are what they were: a plain SET by code
 * of the table's owner ends here, too.  An error needs none of this: the
 * abort restores both.
 */
static void
become_again(SavedUser *saved)
{
	AtEOXact_GUC(false, saved->nestlevel);
	SetUserIdAndSecContext(saved->userid, saved->context);
}

/* As the owner, under its restrictions but not under FORCE ROW LEVEL SECURITY. */
static void
become_owner(ShardJob *job, SavedUser *saved)
{
	become(job->owner, SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS, saved);
	(void) set_config_option("row_security", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The rows of a query over the catalogues, as a list of char *[columns].
 * $1 is the table, $2 the key and $3 the modulus.
 */
static List *
read_catalogs(ShardJob *job, const char *query)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[3] = {OIDOID, NAMEOID, INT4OID};
	Datum		values[3];
	char		nulls[4] = "   ";
	List	   *rows = NIL;
	SavedUser	saved;

	values[0] = ObjectIdGetDatum(job->relid);
	values[1] = (Datum) 0;
	values[2] = Int32GetDatum(job->modulus);
	if (job->key)
		values[1] = DirectFunctionCall1(namein, CStringGetDatum(job->key));
	else
		nulls[1] = nulls[2] = 'n';

	become(job->reader, SECURITY_LOCAL_USERID_CHANGE, &saved);
	SPI_connect();
	if (SPI_execute_with_args(query, 3, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalogs: %s", query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int			natts = SPI_tuptable->tupdesc->natts;
		MemoryContext spi = MemoryContextSwitchTo(caller);
		char	  **row = palloc0_array(char *, natts);

		for (int col = 0; col < natts; col++)
			row[col] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, col + 1);
		rows = lappend(rows, row);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	become_again(&saved);
	return rows;
}

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

static void
not_null(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

static void
check_modulus(int32 modulus)
{
	if (modulus <= 0 || modulus > MAX_SHARDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("modulus must be between 1 and %d", MAX_SHARDS),
				 errhint("The modulus is the number of shards.")));
}

/*
 * Whose table is it?  The owner's rights are what the caller has already, but
 * for one case: membership in a superuser role does not make a superuser.
 */
static void
open_job(FunctionCallInfo fcinfo, ShardJob *job)
{
	HeapTuple	tuple;
	Form_pg_class form;

	not_null(fcinfo, 0, "rel");
	job->relid = PG_GETARG_OID(0);

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(job->relid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", job->relid)));
	form = (Form_pg_class) GETSTRUCT(tuple);
	job->namespace = form->relnamespace;
	job->owner = form->relowner;
	job->relname = pstrdup(NameStr(form->relname));
	job->qualified = quote_qualified_identifier(get_namespace_name(form->relnamespace), job->relname);

	if (!object_ownercheck(RelationRelationId, job->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(form->relkind), job->relname);
	if (superuser_arg(job->owner) && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to shard a table owned by a superuser")));
	if (form->relkind != RELKIND_RELATION && form->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", job->relname)));
	if (job->relid < FirstNormalObjectId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is a system catalog", job->relname)));
	ReleaseSysCache(tuple);

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	job->reader = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
}

/* Wait for the lock, and look again at what was waited for. */
static void
lock_job(ShardJob *job, LOCKMODE mode)
{
	Relation	rel;

	LockRelationOid(job->relid, mode);
	rel = try_table_open(job->relid, NoLock);
	if (rel == NULL ||
		strcmp(RelationGetRelationName(rel), job->relname) != 0 ||
		RelationGetNamespace(rel) != job->namespace ||
		rel->rd_rel->relowner != job->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table %s was dropped or altered while it was waited for", job->qualified)));
	CheckTableNotInUse(rel, "shard");
	table_close(rel, NoLock);
}

static bool
is_hash_partitioned(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(relid));
	bool		hash;

	if (!HeapTupleIsValid(tuple))
		return false;
	hash = ((Form_pg_partitioned_table) GETSTRUCT(tuple))->partstrat == PARTITION_STRATEGY_HASH;
	ReleaseSysCache(tuple);
	return hash;
}

static void
check_hash_partitioned(ShardJob *job)
{
	if (!is_hash_partitioned(job->relid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" is not partitioned by hash", job->relname),
				 errhint("Use cozi.shard_table() to make it so, or create it with PARTITION BY HASH.")));
}

/* A column that PostgreSQL can hash. */
static void
check_key(ShardJob *job)
{
	AttrNumber	attnum = get_attnum(job->relid, job->key);
	Oid			type;

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", job->key, job->relname)));
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("cannot use system column \"%s\" as the key", job->key)));
	type = get_atttype(job->relid, attnum);
	if (!OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("column \"%s\" of type %s cannot be hashed", job->key, format_type_be(type)),
				 errhint("Use a column of type bigint, int, uuid or text.")));
}

/* Rows without a key belong to nobody; PostgreSQL would put them in shard 0. */
static bool
has_null_keys(ShardJob *job)
{
	HeapTuple	tuple = SearchSysCacheAttName(job->relid, job->key);
	bool		maybe;
	bool		found;
	SavedUser	saved;

	if (!HeapTupleIsValid(tuple))
		return false;
	maybe = !((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	if (!maybe || get_rel_relkind(job->relid) != RELKIND_RELATION)
		return false;

	become_owner(job, &saved);
	SPI_connect();
	found = query_int8(psprintf("SELECT count(*) FROM (SELECT FROM ONLY %s WHERE %s IS NULL LIMIT 1) x",
								job->qualified, quote_identifier(job->key))) > 0;
	SPI_finish();
	become_again(&saved);
	return found;
}

/* List every object that cannot be carried, each with what mends it. */
static void
refuse_uncarried(ShardJob *job)
{
	List	   *rows = read_catalogs(job, "SELECT object, mend FROM cozi.sharding_blockers($1, $2, $3)"
									 " ORDER BY step, object COLLATE pg_catalog.\"C\", mend COLLATE pg_catalog.\"C\"");
	StringInfoData objects;
	StringInfoData mends;
	ListCell   *lc;

	initStringInfo(&objects);
	initStringInfo(&mends);
	if (job->key && has_null_keys(job))
	{
		appendStringInfo(&objects, "rows have no \"%s\"", job->key);
		appendStringInfo(&mends, "DELETE FROM %s WHERE %s IS NULL;",
						 job->qualified, quote_identifier(job->key));
	}
	foreach(lc, rows)
	{
		char	  **row = lfirst(lc);

		appendStringInfo(&objects, "%s%s", objects.len ? "\n" : "", row[0]);
		appendStringInfo(&mends, "%s%s;", mends.len ? "\n" : "", row[1]);
	}
	if (objects.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s table \"%s\" without losing something",
						job->key ? "shard" : "unshard", job->relname),
				 errdetail_internal("%s", objects.data),
				 errhint("This SQL would make it possible:\n%s", mends.data)));
}

/* What is going to happen: the lock, the disk, the time. */
static char *
announcement(ShardJob *job)
{
	List	   *rows = read_catalogs(job,
									 "SELECT pg_catalog.pg_size_pretty(b), b FROM (SELECT coalesce("
									 "(SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(relid))"
									 " FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass)),"
									 " pg_catalog.pg_total_relation_size($1))::pg_catalog.int8) x (b)"
									 " WHERE $2 IS NULL OR $3 > 0");
	char	  **row = linitial(rows);

	return psprintf("locks %s in ACCESS EXCLUSIVE mode until the transaction ends, "
					"needs about %s of disk while both copies exist, takes about %lld s",
					job->qualified, row[0],
					strtoll(row[1], NULL, 10) / BYTES_PER_SECOND + 1);
}

static List *
read_plan(ShardJob *job)
{
	return read_catalogs(job, "SELECT p FROM cozi.sharding_plan($1, $2, $3) WITH ORDINALITY AS x (p, n) ORDER BY n");
}

static List *
read_facts(ShardJob *job)
{
	return read_catalogs(job, "SELECT f.fact, f.step || f.place || coalesce(f.index, '') || ' ' || coalesce(f.spc, '')"
						 " FROM cozi.sharding_facts($1) f WHERE $2 IS NULL OR $3 > 0"
						 " ORDER BY f.fact COLLATE pg_catalog.\"C\", 2");
}

/* Both lists are sorted: the first difference is what went astray. */
static void
compare_facts(ShardJob *job, List *before, List *after)
{
	int			common = Min(list_length(before), list_length(after));
	int			i;

	for (i = 0; i < common; i++)
	{
		char	  **was = list_nth(before, i);
		char	  **is = list_nth(after, i);

		if (strcmp(was[0], is[0]) != 0 || strcmp(was[1], is[1]) != 0)
			break;
	}
	if (i < list_length(before) || i < list_length(after))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" would not be what it was", job->relname),
				 errdetail("The first difference is \"%s\", which was \"%s\".",
						   i < list_length(after) ? ((char **) list_nth(after, i))[0] : "",
						   i < list_length(before) ? ((char **) list_nth(before, i))[0] : ""),
				 errhint("An event trigger or an extension may have altered the new table; nothing was changed.")));
}

/* After the last row is copied: were all of them, and where are they? */
static void
check_copy(ShardJob *job, int64 total, int64 copied)
{
	int64		found = 0;

	if (SPI_execute(psprintf("SELECT c.relname, x.n FROM (SELECT tableoid, count(*) AS n FROM %s GROUP BY 1) x"
							 " JOIN pg_class c ON c.oid = x.tableoid ORDER BY c.oid",
							 job->qualified), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count the rows of %s", job->qualified);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *n = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);

		found += strtoll(n, NULL, 10);
		ereport(NOTICE,
				(errmsg("%s: %s rows", SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), n)));
	}
	if (copied != total || found != total)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("of %lld rows of table \"%s\", %lld were copied and %lld arrived",
						(long long) total, job->relname, (long long) copied, (long long) found)));
}

/* Run the plan, as the owner. */
static void
run_plan(ShardJob *job, List *plan)
{
	SavedUser	saved;
	ListCell   *lc;
	int64		total;
	int64		copied = 0;
	bool		copying = false;

	become_owner(job, &saved);
	SPI_connect();
	total = query_int8(psprintf("SELECT count(*) FROM %s", job->qualified));
	foreach(lc, plan)
	{
		const char *statement = ((char **) lfirst(lc))[0];
		bool		is_copy = strncmp(statement, "INSERT INTO", 11) == 0;
		int			result;

		CHECK_FOR_INTERRUPTS();
		if (copying && !is_copy)
			check_copy(job, total, copied);
		copying = is_copy;

		result = SPI_execute(statement, false, 0);
		if (result < 0)
			elog(ERROR, "could not execute: %s: %s", statement, SPI_result_code_string(result));
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
	become_again(&saved);
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
				 errmsg("table \"%s\" cannot be rewritten in a REPEATABLE READ or SERIALIZABLE transaction", job->relname),
				 errdetail("Its snapshot may be older than rows that others have committed."),
				 errhint("Use BEGIN ISOLATION LEVEL READ COMMITTED.")));
	PreventCommandIfReadOnly(job->key ? "shard_table()" : "unshard_table()");
	PreventCommandIfParallelMode(job->key ? "shard_table()" : "unshard_table()");

	refuse_uncarried(job);
	if (dry_run)
		put_text(fcinfo, psprintf("-- %s", announcement(job)));
	else
	{
		ereport(NOTICE, (errmsg("%s", announcement(job))));
		lock_job(job, AccessExclusiveLock);
		refuse_uncarried(job);
	}

	plan = read_plan(job);
	if (!dry_run)
	{
		before = read_facts(job);
		run_plan(job, plan);
		CommandCounterIncrement();
		job->relid = get_relname_relid(job->relname, job->namespace);
		compare_facts(job, before, read_facts(job));
	}
	foreach(lc, plan)
		put_text(fcinfo, ((char **) lfirst(lc))[0]);
}

/*
 * shard_table(rel regclass, key name, modulus int, dry_run boolean) -> setof text
 *
 * The statements.  No argument may be NULL.
 */
Datum
cozi_shard_table(PG_FUNCTION_ARGS)
{
	ShardJob	job = {0};

	not_null(fcinfo, 1, "key");
	not_null(fcinfo, 2, "modulus");
	not_null(fcinfo, 3, "dry_run");
	job.key = NameStr(*PG_GETARG_NAME(1));
	job.modulus = PG_GETARG_INT32(2);
	check_modulus(job.modulus);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	open_job(fcinfo, &job);
	check_key(&job);
	convert_table(fcinfo, &job, PG_GETARG_BOOL(3));
	return (Datum) 0;
}

/* unshard_table(rel regclass, dry_run boolean) -> setof text */
Datum
cozi_unshard_table(PG_FUNCTION_ARGS)
{
	ShardJob	job = {0};

	not_null(fcinfo, 1, "dry_run");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	open_job(fcinfo, &job);
	check_hash_partitioned(&job);
	convert_table(fcinfo, &job, PG_GETARG_BOOL(1));
	return (Datum) 0;
}

/* create_shards(parent regclass, modulus int) -> setof regclass */
Datum
cozi_create_shards(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ShardJob	job = {0};
	SavedUser	saved;
	List	   *plan;
	ListCell   *lc;

	not_null(fcinfo, 1, "modulus");
	job.modulus = PG_GETARG_INT32(1);
	check_modulus(job.modulus);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	open_job(fcinfo, &job);
	check_hash_partitioned(&job);
	lock_job(&job, ShareUpdateExclusiveLock);
	if (find_inheritance_children(job.relid, NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has shards already", job.relname),
				 errhint("To change their number, use cozi.unshard_table() and then cozi.shard_table().")));

	job.key = "";
	plan = read_catalogs(&job, "SELECT p FROM cozi.sharding_partitions($1, $3, NULL) WITH ORDINALITY AS x (p, n)"
						 " WHERE $2 IS NOT NULL ORDER BY n");
	become_owner(&job, &saved);
	SPI_connect();
	foreach(lc, plan)
	{
		CHECK_FOR_INTERRUPTS();
		if (SPI_execute(((char **) lfirst(lc))[0], false, 0) < 0)
			elog(ERROR, "could not execute: %s", ((char **) lfirst(lc))[0]);
	}
	SPI_finish();
	become_again(&saved);

	plan = read_catalogs(&job, "SELECT s.shard FROM cozi.sharding_shards($1) s WHERE $2 IS NOT NULL OR $3 > 0");
	foreach(lc, plan)
	{
		Datum		shard = ObjectIdGetDatum(atooid(((char **) lfirst(lc))[0]));
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &shard, &isnull);
	}
	return (Datum) 0;
}

/*
 * shard_check(parent regclass)
 *		-> table (shard regclass, row_id tid, key text, belongs_in regclass)
 *
 * The key is NULL where the column is; belongs_in is NULL where no shard
 * takes the key.  Reads the shards themselves, under their own locks.
 */
Datum
cozi_shard_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ShardJob	job = {0};
	SavedUser	saved;
	List	   *queries;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	open_job(fcinfo, &job);
	check_hash_partitioned(&job);
	queries = read_catalogs(&job, "SELECT q FROM cozi.sharding_check($1) q WHERE $2 IS NULL OR $3 > 0");
	become_owner(&job, &saved);
	SPI_connect();
	foreach(lc, queries)
	{
		Portal		portal = SPI_cursor_open_with_args(NULL, ((char **) lfirst(lc))[0], 0, NULL, NULL, NULL, true, 0);

		for (;;)
		{
			SPI_cursor_fetch(portal, true, 1000);
			if (SPI_processed == 0)
				break;
			for (uint64 i = 0; i < SPI_processed; i++)
				tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
			SPI_freetuptable(SPI_tuptable);
			CHECK_FOR_INTERRUPTS();
		}
		SPI_cursor_close(portal);
	}
	SPI_finish();
	become_again(&saved);
	return (Datum) 0;
}
