/*
 * monitor/relation.c
 *		How large relations are, without opening them.
 *
 * pg_total_relation_size() queues behind a session that alters the table, and
 * all others behind it; and a session that asks for thousands of tables keeps
 * each of them in memory.  So the sizes are those of the files in the directories of
 * this database, read once.
 *
 * Law: no lock is waited for, and a file that comes or goes meanwhile is no
 * error.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "catalog/pg_tablespace_d.h"
#include "common/relpath.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "base/base.h"

/* A relation's file: its number, and of a temporary one the session's. */
typedef struct FileKey
{
	Oid			filenode;
	int			backend;		/* -1: not temporary */
} FileKey;

typedef struct FileTotal
{
	FileKey		key;
	int64		bytes;			/* of all forks and segments */
} FileTotal;

PG_FUNCTION_INFO_V1(cozi_relation_bytes);

/*
 * relation_bytes(relation oid) -> bigint
 *
 * The bytes of all forks of this relation, not of its indexes or TOAST;
 * NULL if it is locked ACCESS EXCLUSIVE, or gone.  The lock is asked for once
 * and released at once.
 */
Datum
cozi_relation_bytes(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	int64		bytes = 0;
	bool		exists;

	if (!ConditionalLockRelationOid(relation, AccessShareLock))
		PG_RETURN_NULL();
	exists = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation));
	if (exists)
	{
		for (ForkNumber fork = MAIN_FORKNUM; fork <= MAX_FORKNUM; fork++)
			bytes += DatumGetInt64(DirectFunctionCall2(pg_relation_size,
													   ObjectIdGetDatum(relation),
													   CStringGetTextDatum(forkNames[fork])));
	}
	UnlockRelationOid(relation, AccessShareLock);
	if (!exists)
		PG_RETURN_NULL();
	PG_RETURN_INT64(bytes);
}

/* Whose file is it?  NUMBER, or tBACKEND_NUMBER, then a fork and a segment. */
static bool
read_file_key(const char *name, FileKey *key)
{
	char	   *end;

	memset(key, 0, sizeof(FileKey));
	key->backend = -1;
	if (*name == 't')
	{
		key->backend = (int) strtol(name + 1, &end, 10);
		if (*end != '_')
			return false;
		name = end + 1;
	}
	if (*name < '1' || *name > '9')
		return false;
	key->filenode = (Oid) strtoul(name, &end, 10);
	return *end == '\0' || *end == '_' || *end == '.';
}

/* Add the files of a directory up; one that is not there has none. */
static void
read_directory(const char *path, HTAB *sizes)
{
	DIR		   *dir = AllocateDir(path);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, path, LOG)) != NULL)
	{
		char		file[MAXPGPATH];
		struct stat status;
		FileKey		key;
		FileTotal  *size;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		if (!read_file_key(entry->d_name, &key))
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (stat(file, &status) != 0)
			continue;
		size = hash_search(sizes, &key, HASH_ENTER, &found);
		if (!found)
			size->bytes = 0;
		size->bytes += status.st_size;
	}
	FreeDir(dir);
}

/* The columns of _relation_files(). */
enum
{
	FILE_TABLESPACE,
	FILE_FILENODE,
	FILE_BACKEND,
	FILE_BYTES,
	FILE_COLUMNS
};

static void
put_directory(ReturnSetInfo *result, Oid tablespace, const char *path)
{
	HASHCTL		ctl = {0};
	HTAB	   *sizes;
	HASH_SEQ_STATUS scan;
	FileTotal  *size;

	ctl.keysize = sizeof(FileKey);
	ctl.entrysize = sizeof(FileTotal);
	sizes = hash_create("cozi files", 1024, &ctl, HASH_ELEM | HASH_BLOBS);
	read_directory(path, sizes);
	hash_seq_init(&scan, sizes);
	while ((size = hash_seq_search(&scan)) != NULL)
	{
		Datum		value[FILE_COLUMNS];
		bool		null[FILE_COLUMNS] = {false};

		value[FILE_TABLESPACE] = ObjectIdGetDatum(tablespace);
		value[FILE_FILENODE] = ObjectIdGetDatum(size->key.filenode);
		value[FILE_BACKEND] = Int32GetDatum(size->key.backend);
		value[FILE_BYTES] = Int64GetDatum(size->bytes);
		null[FILE_BACKEND] = size->key.backend < 0;
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	hash_destroy(sizes);
}

PG_FUNCTION_INFO_V1(cozi_relation_files);

/*
 * _relation_files() -> table(tablespace oid, filenode oid, backend int, bytes bigint)
 *
 * tablespace is 0 for that of the database, as in pg_class.
 */
Datum
cozi_relation_files(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DIR		   *dir;
	struct dirent *entry;

	InitMaterializedSRF(fcinfo, 0);
	put_directory(result, InvalidOid, DatabasePath);
	if (MyDatabaseTableSpace != DEFAULTTABLESPACE_OID)
		put_directory(result, DEFAULTTABLESPACE_OID, psprintf("base/%u", MyDatabaseId));
	dir = AllocateDir("pg_tblspc");
	while (dir != NULL && (entry = ReadDirExtended(dir, "pg_tblspc", LOG)) != NULL)
	{
		Oid			tablespace = (Oid) strtoul(entry->d_name, NULL, 10);

		if (OidIsValid(tablespace) && tablespace != MyDatabaseTableSpace)
			put_directory(result, tablespace,
						  psprintf("pg_tblspc/%u/%s/%u", tablespace,
								   TABLESPACE_VERSION_DIRECTORY, MyDatabaseId));
	}
	if (dir != NULL)
		FreeDir(dir);
	return (Datum) 0;
}
