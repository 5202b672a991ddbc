/*
 * monitor/pooler.c
 *		Is there a connection pooler on this machine?  Its process says so.
 *
 * What a pooler's clients wait for in front of the server no view of the server
 * can show, so who looks at the connections has to be sent there.
 */
#include "postgres.h"

#include <dirent.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define NAME_SIZE	16			/* of a process, a final 0 included */

static const char *const pooler[] =
{"pgbouncer", "pgcat", "odyssey", "supavisor", "pgdog", "pgpool", "pgagroal"};

/* The name of a process; false if it has gone. */
static bool
process_name(const char *pid, char *name)
{
	char		path[MAXPGPATH];
	FILE	   *file;
	bool		read;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = AllocateFile(path, "r");
	if (file == NULL)
		return false;
	read = fgets(name, NAME_SIZE + 1, file) != NULL;
	FreeFile(file);
	name[read ? strcspn(name, "\n") : 0] = '\0';
	return read;
}

PG_FUNCTION_INFO_V1(cozi_pooler_processes);

/*
 * _pooler_processes() -> setof text
 */
Datum
cozi_pooler_processes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		found[lengthof(pooler)] = {false};
	struct dirent *entry;
	DIR		   *dir;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	dir = AllocateDir("/proc");
	if (dir == NULL)
		return (Datum) 0;
	while ((entry = ReadDirExtended(dir, "/proc", DEBUG1)) != NULL)
	{
		char		name[NAME_SIZE + 1];

		CHECK_FOR_INTERRUPTS();
		if (!isdigit((unsigned char) entry->d_name[0]) || !process_name(entry->d_name, name))
			continue;
		for (int i = 0; i < lengthof(pooler); i++)
			found[i] |= strcmp(name, pooler[i]) == 0;
	}
	FreeDir(dir);
	for (int i = 0; i < lengthof(pooler); i++)
	{
		Datum		value = CStringGetTextDatum(pooler[i]);
		bool		null = false;

		if (found[i])
			tuplestore_putvalues(result->setResult, result->setDesc, &value, &null);
	}
	return (Datum) 0;
}
