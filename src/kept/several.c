/*
 * kept/several.c
 *		Kept tables of several sources.
 *
 * The first source is a column of cozi.kept.  Each further one is a row of
 * cozi.kept_source, and in this database one of cozi.kept_source_local.  In memory
 * a source is a Kept whose relation, columns and factor are that source's, so that
 * what counts, recounts or follows one source does so for each.
 *
 * The values of several sources are multiplied by the source's factor, and rounded
 * once, at the row, to thousandths.  These are the units of all sums of such a
 * kept table; one of a single source has the values themselves.
 *
 * The laws: whatever locks several sources locks them in the order of their OIDs.
 * A source that is given to another owner is not counted from then on, so that no
 * owner fills the tables of another.
 */
#include "postgres.h"

#include <float.h>

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "kept/kept.h"

/* Thousandths: what a value counts of several sources. */
#define UNIT 1000
#define UNIT_DIGITS 3

/* What a row counts at most, in units. */
#define MAX_UNITS INT64CONST(9000000000000000000)

/* The columns of cozi.kept_source_local; see sql/kept/kept.sql. */
enum
{
	SOURCE_LOCAL_KEPT = 1, SOURCE_LOCAL_NTH, SOURCE_LOCAL_SOURCE
};

static const CoziShape source_table = {"kept_source", {INT4OID, INT4OID, TEXTOID, NAMEOID,
NAMEOID, NAMEOID, NAMEOID, FLOAT8OID}};

static const CoziShape source_local_table = {"kept_source_local", {INT4OID, INT4OID, OIDOID}};

/* The kept table as each of its sources feeds it, the first one first. */
List	   *
cozi_kept_sources(const Kept *kept)
{
	return kept->sources != NIL ? kept->sources : list_make1(unconstify(Kept *, kept));
}

static Kept *
find_by_id(List *list, int32 id)
{
	ListCell   *lc;

	foreach(lc, list)
		if (((Kept *) lfirst(lc))->id == id)
		return lfirst(lc);
	return NULL;
}

static void
read_further(HeapTuple tuple, TupleDesc desc, void *arg)
{
	static const KeptRole roles[] = {KEPT_SCOPE, KEPT_ITEM, KEPT_VALUE, KEPT_AT};
	bool		isnull;
	Kept	   *first = find_by_id(*(List **) arg,
								   DatumGetInt32(cozi_getattr(tuple, SOURCE_KEPT, desc, &isnull)));
	Kept	   *source;

	if (first == NULL)
		return;
	if (first->sources == NIL)
		first->sources = list_make1(first);
	source = palloc(sizeof(Kept));
	*source = *first;
	source->nth = DatumGetInt32(cozi_getattr(tuple, SOURCE_NTH, desc, &isnull));
	source->source = cozi_kept_named_relation(tuple, desc, SOURCE_RELATION);
	memset(source->columns, 0, sizeof(source->columns));
	for (int i = 0; i < lengthof(roles); i++)
	{
		Datum		name = cozi_getattr(tuple, SOURCE_FIRST_COLUMN + i, desc, &isnull);

		if (!isnull)
			source->columns[roles[i]] = *DatumGetName(name);
	}
	source->factor = DatumGetFloat8(cozi_getattr(tuple, SOURCE_FACTOR, desc, &isnull));
	first->sources = lappend(first->sources, source);
}

static void
read_further_local(HeapTuple tuple, TupleDesc desc, void *arg)
{
	bool		isnull;
	Kept	   *first = find_by_id(*(List **) arg,
								   DatumGetInt32(cozi_getattr(tuple, SOURCE_LOCAL_KEPT, desc,
															  &isnull)));
	int32		nth = DatumGetInt32(cozi_getattr(tuple, SOURCE_LOCAL_NTH, desc, &isnull));
	ListCell   *lc;

	if (first == NULL)
		return;
	foreach(lc, first->sources)
	{
		Kept	   *source = lfirst(lc);

		if (source->nth == nth && nth > 0)
			source->source = DatumGetObjectId(cozi_getattr(tuple, SOURCE_LOCAL_SOURCE, desc,
														   &isnull));
	}
}

static int
by_nth(const ListCell *a, const ListCell *b)
{
	return ((const Kept *) lfirst(a))->nth - ((const Kept *) lfirst(b))->nth;
}

/*
 * The factor in decimal, to 15 digits as float8::numeric has it, so that the
 * product with a value is exact before it is rounded.
 */
static void
set_mantissa(Kept *source)
{
	char	   *text = psprintf("%.*e", DBL_DIG - 1, source->factor);
	char	   *exponent = strchr(text, 'e');
	char	   *point = strchr(text, '.');

	*exponent = '\0';
	memmove(point, point + 1, strlen(point));
	source->mantissa = strtoi64(text, NULL, 10);
	source->scale = DBL_DIG - 1 - UNIT_DIGITS - atoi(exponent + 1);
	pfree(text);
}

/* Give each kept table of a list its sources. */
void
cozi_kept_read_sources(List *list)
{
	ListCell   *lc;
	ListCell   *each;

	cozi_read_table(&source_table, read_further, &list);
	cozi_read_table(&source_local_table, read_further_local, &list);
	foreach(lc, list)
	{
		Kept	   *first = lfirst(lc);

		list_sort(first->sources, by_nth);
		foreach(each, first->sources)
		{
			Kept	   *source = lfirst(each);

			source->sources = first->sources;
			source->unit = UNIT;
			set_mantissa(source);
		}
	}
}

bool
cozi_kept_sources_are_known(void)
{
	return cozi_knows(&source_table) && cozi_knows(&source_local_table);
}

/* What a value counts, in the units of the sums. */
int64
cozi_kept_weigh(const Kept *kept, int64 value)
{
	int128		divisor = 1;
	int128		product;

	if (kept->unit == 1)
		return value;
	for (int i = 0; i < kept->scale; i++)
		divisor *= 10;
	product = (int128) value * kept->mantissa;
	product += product < 0 ? -divisor / 2 : divisor / 2;
	return (int64) Max(Min(product / divisor, MAX_UNITS), -MAX_UNITS);
}

/* The same of a value in SQL. */
char	   *
cozi_kept_weigh_in_sql(const Kept *kept, const char *value)
{
	if (kept->unit == 1)
		return pstrdup(value);
	return cozi_statement("CASE WHEN {value} IS NOT NULL THEN greatest(least({unit} *"
						  " pg_catalog.round(({value})::pg_catalog.numeric * {factor}, 3),"
						  " {most}), -{most}) END",
						  "value", value,
						  "factor", psprintf("'%.*g'::pg_catalog.numeric", DBL_DIG, kept->factor),
						  "unit", psprintf("%d", UNIT),
						  "most", psprintf(INT64_FORMAT "::pg_catalog.numeric", MAX_UNITS), NULL);
}

/* Has a source beside the first another owner than the public table? */
bool
cozi_kept_is_handed_over(const Kept *source)
{
	return source->nth > 0 && get_rel_name(source->source) != NULL &&
		get_rel_name(source->relation) != NULL &&
		cozi_relation_owner(source->source) != cozi_relation_owner(source->relation);
}

/*
 * Lock all sources with their leaves.  One that is gone has none, and of one that
 * is another owner's no row is counted: nobody waits for that owner.
 */
void
cozi_kept_lock_sources(const Kept *kept, int lockmode)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, cozi_kept_sources(kept))
	{
		Kept	   *source = lfirst(lc);

		if (OidIsValid(source->source) && get_rel_name(source->source) != NULL &&
			!cozi_kept_is_handed_over(source))
			relids = list_append_unique_oid(relids, source->source);
	}
	list_sort(relids, list_oid_cmp);
	foreach(lc, relids)
		cozi_kept_lock_source(lfirst_oid(lc), lockmode);
}

/*
 * The kept table is forgotten: take the triggers off those of its sources that
 * feed no other.  Those of a table that cannot be locked now stay, and count
 * nothing, where it is another owner's or wait is false.
 */
void
cozi_kept_unwatch_sources(const Kept *kept, bool wait)
{
	bool		own_ddl = cozi_kept_own_ddl;
	ListCell   *lc;

	cozi_kept_own_ddl = true;
	PG_TRY();
	{
		foreach(lc, cozi_kept_sources(kept))
		{
			const Kept *source = lfirst(lc);
			Oid			relid = source->source;

			if (OidIsValid(relid) && get_rel_name(relid) != NULL && cozi_kept_on(relid) == NIL &&
				((wait && !cozi_kept_is_handed_over(source)) ||
				 ConditionalLockRelationOid(relid, AccessExclusiveLock)))
				cozi_kept_watch(relid, false);
		}
	}
	PG_FINALLY();
	{
		cozi_kept_own_ddl = own_ddl;
	}
	PG_END_TRY();
}

/* A key column of a further source is typed like that of the public table. */
static void
check_source_key(const Kept *source, KeptRole role, const char *what)
{
	const char *column = NameStr(source->columns[role]);
	const char *kept_column = cozi_kept_role_column(source, role);
	Oid			type[2];
	Oid			collation[2];
	int32		typmod;
	KeptKeyType key[2];

	if (!kept_has(source, role) || (role == KEPT_SCOPE && kept_derives(source)))
		return;
	get_atttypetypmodcoll(source->source, get_attnum(source->source, column), &type[0], &typmod,
						  &collation[0]);
	get_atttypetypmodcoll(source->relation, get_attnum(source->relation, kept_column), &type[1],
						  &typmod, &collation[1]);
	for (int i = 0; i < 2; i++)
		cozi_kept_key_type(&key[i], type[i], collation[i]);
	if (key[0].type != key[1].type || key[0].collation != key[1].collation)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of \"%s\" is not of the type of the %ss of \"%s\"",
						column, get_rel_name(source->source), what,
						get_rel_name(source->relation)),
				 errdetail("It is %s, and they are %s.", format_type_be(type[0]),
						   format_type_be(type[1])),
				 errhint("Change the type of the column with ALTER TABLE.")));
}

static void
check_owner(const Kept *kept, Oid source)
{
	char	   *name = cozi_relation_name(source);

	if (cozi_relation_owner(source) != cozi_relation_owner(kept->relation))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of \"%s\" does not own \"%s\"", get_rel_name(kept->relation),
						name),
				 errhint("%c%s and its sources have one owner.",
						 pg_toupper(kept->kind->noun[0]), kept->kind->noun + 1)));
}

static void
check_new_source(const Kept *kept, const Kept *source)
{
	ListCell   *lc;

	check_owner(kept, source->source);
	foreach(lc, cozi_kept_sources(kept))
		if (((Kept *) lfirst(lc))->source == source->source)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" is a source of \"%s\" already", get_rel_name(source->source),
						get_rel_name(kept->relation)),
				 errhint("Remove it first with cozi.%s().", kept->kind->remove_source)));
	if (kept_has(kept, KEPT_SCOPE) && !kept_has(source, KEPT_SCOPE))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"%s\" has scopes, and no scope of \"%s\" is given",
						get_rel_name(kept->relation), get_rel_name(source->source)),
				 errhint("Name the column that holds it with scope => 'column'.")));
	if (!kept_has(kept, KEPT_SCOPE) && kept_has(source, KEPT_SCOPE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" has no scopes", get_rel_name(kept->relation)),
				 errhint("Leave out scope.")));
	cozi_kept_check_source(source);
	source->kind->check(source);
	check_source_key(source, KEPT_ITEM, "item");
	check_source_key(source, KEPT_SCOPE, "scope");
}

/*
 * A kept table that gets or loses a source is counted anew while the writers of
 * all sources wait: the units of its sums may change.  added is invalid for none.
 */
static void
lock_and_get(Oid relation, const char *wanted, Oid added, int lockmode, Kept *kept)
{
	Kept		more = {.source = added};
	Kept		all;

	cozi_kept_get_own(relation, wanted, kept);
	if (OidIsValid(added))
		check_owner(kept, added);
	(void) cozi_kept_lock(kept->id, true);
	cozi_kept_get_own(relation, wanted, kept);
	all = *kept;
	all.sources = lappend(list_copy(cozi_kept_sources(kept)), &more);
	cozi_kept_lock_sources(&all, lockmode);
	cozi_kept_get_own(relation, wanted, kept);
}

/* Add a source to a kept table: its relation, columns and factor are given. */
void
cozi_kept_add_source(Oid relation, const char *wanted, const Kept *given)
{
	Kept		kept;
	Kept		source;

	lock_and_get(relation, wanted, given->source, ShareRowExclusiveLock, &kept);
	cozi_kept_refuse_closed(&kept, "the sources");
	source = kept;
	source.source = given->source;
	memcpy(source.columns, given->columns, sizeof(source.columns));
	source.factor = given->factor;
	source.nth = ((Kept *) llast(cozi_kept_sources(&kept)))->nth + 1;
	check_new_source(&kept, &source);
	source.sources = lappend(list_copy(cozi_kept_sources(&kept)), &source);
	cozi_kept_check_leaves(&source);

	cozi_kept_write_source(&source, true);
	kept.sources = source.sources;
	cozi_kept_adopt(&kept);
	cozi_kept_depend(&kept);
	cozi_kept_rebuild(relation, wanted);
}

/* Remove a source beside the first from a kept table. */
void
cozi_kept_remove_source(Oid relation, const char *wanted, Oid source)
{
	Kept		kept;
	ListCell   *lc;
	Kept	   *found = NULL;
	Kept		alone;

	lock_and_get(relation, wanted, InvalidOid, AccessExclusiveLock, &kept);
	cozi_kept_refuse_closed(&kept, "the sources");
	foreach(lc, cozi_kept_sources(&kept))
		if (((Kept *) lfirst(lc))->source == source)
		found = lfirst(lc);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("\"%s\" is no source of \"%s\"", cozi_relation_name(source),
						get_rel_name(relation)),
				 errhint("The view cozi.%s_sources lists the sources.", kept.kind->name)));
	if (found->nth == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is the source that \"%s\" was created on", get_rel_name(source),
						get_rel_name(relation)),
				 errhint("Drop the %s with cozi.drop_%s(), and create it on another source.",
						 kept.kind->name, kept.kind->name)));
	cozi_kept_forget_source(found);
	(void) deleteDependencyRecordsForSpecific(RelationRelationId, relation, DEPENDENCY_NORMAL,
											  RelationRelationId, source);
	CommandCounterIncrement();
	alone = *found;
	alone.sources = NIL;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cozi_kept_unwatch_sources(&alone, true);
	SPI_finish();
	cozi_kept_rebuild(relation, wanted);
}

PG_FUNCTION_INFO_V1(cozi_kept_list_sources);

/*
 * _kept_sources(id int)
 *		-> setof (relation regclass, scope name, item name, value name, at name,
 *				  factor float8)
 *
 * None of a kept table that is not the caller's, unless the caller is in pg_monitor.
 */
Datum
cozi_kept_list_sources(PG_FUNCTION_ARGS)
{
	static const KeptRole roles[] = {KEPT_SCOPE, KEPT_ITEM, KEPT_VALUE, KEPT_AT};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Kept		kept;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (!cozi_kept_by_id(PG_GETARG_INT32(0), &kept) || !cozi_kept_may_see(&kept))
		return (Datum) 0;
	foreach(lc, cozi_kept_sources(&kept))
	{
		Kept	   *source = lfirst(lc);
		Datum		values[2 + lengthof(roles)];
		bool		nulls[2 + lengthof(roles)] = {false};

		values[0] = ObjectIdGetDatum(source->source);
		nulls[0] = !OidIsValid(source->source) || get_rel_name(source->source) == NULL;
		for (int i = 0; i < lengthof(roles); i++)
		{
			values[i + 1] = NameGetDatum(&source->columns[roles[i]]);
			nulls[i + 1] = !kept_has(source, roles[i]);
		}
		values[lengthof(roles) + 1] = Float8GetDatum(source->factor);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
