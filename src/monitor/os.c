/*
 * monitor/os.c
 *		What the machine says: CPU and memory, from /proc and cgroup v2.
 *
 * CPU is a share of time, so it takes two samples.  A session keeps its last
 * one: a caller that polls gets the share since the previous call, and a first
 * call waits FIRST_MS for its second sample.  Where the server's cgroup, or
 * one above it, has a limit, that limit is what it is measured against;
 * elsewhere the whole machine.
 *
 * Memory in use is what cannot be had without swapping: MemTotal less
 * MemAvailable, or what the cgroup holds less its inactive file pages.
 *
 * Law: what a system does not offer is NULL.  Nothing here raises an error
 * because a file is absent or has another form.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/base.h"

/* The share of less than this is the last share; in ms. */
#define LEAST_MS	1000
#define FIRST_MS	100

#define LINE_LEN	4096
#define CGROUP_ROOT	"/sys/fs/cgroup"

/* Time used and time there was, in a unit that does not matter. */
typedef struct CpuSample
{
	double		used;
	double		there;
	TimestampTz at;
	bool		known;
} CpuSample;

/* What limits the server; -1 is no limit. */
typedef struct Limits
{
	double		cpus;
	double		bytes;
	char		cpu_dir[MAXPGPATH]; /* the cgroup that has the limit */
	char		memory_dir[MAXPGPATH];
} Limits;

static CpuSample last_sample;
static double last_share;
static int64 last_ms;			/* the time last_share covers, 0 if none */

/*
 * The number behind a word in a file of "word number" lines, or the first of
 * the file if the word is NULL.  False if there is none.
 */
static bool
read_number(const char *dir, const char *file, const char *word, double *number)
{
	char		path[MAXPGPATH];
	char		line[LINE_LEN];
	size_t		len = word ? strlen(word) : 0;
	bool		found = false;
	FILE	   *fp;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fp = AllocateFile(path, "r");
	if (fp == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), fp))
	{
		if (word == NULL || (strncmp(line, word, len) == 0 && strchr(": \t", line[len])))
			found = sscanf(line + len, "%*[: \t]%lf", number) == 1 ||
				sscanf(line + len, "%lf", number) == 1;
		if (word == NULL)
			break;
	}
	FreeFile(fp);
	return found;
}

/* "QUOTA PERIOD" of cpu.max, as a number of processors. */
static bool
read_cpu_max(const char *dir, double *cpus)
{
	char		path[MAXPGPATH];
	double		quota;
	double		period;
	bool		found;
	FILE	   *fp;

	snprintf(path, sizeof(path), "%s/cpu.max", dir);
	fp = AllocateFile(path, "r");
	if (fp == NULL)
		return false;
	found = fscanf(fp, "%lf %lf", &quota, &period) == 2 && period > 0;
	FreeFile(fp);
	if (found)
		*cpus = quota / period;
	return found;
}

/* The path of this process in the cgroup v2 tree. */
static bool
own_cgroup(const char *root, char *group)
{
	char		path[MAXPGPATH];
	char		line[LINE_LEN];
	bool		found = false;
	FILE	   *fp;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	fp = AllocateFile(path, "r");
	if (fp == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), fp))
	{
		if (strncmp(line, "0::/", 4) == 0)
		{
			line[strcspn(line, "\n")] = '\0';
			strlcpy(group, line + 3, MAXPGPATH);
			found = true;
		}
	}
	FreeFile(fp);
	return found;
}

/* The tightest limits between the process's cgroup and the top of the tree. */
static void
find_limits(const char *root, Limits *limits)
{
	char		group[MAXPGPATH];
	char		dir[MAXPGPATH * 2];
	double		number;

	limits->cpus = limits->bytes = -1;
	if (!own_cgroup(root, group))
		return;
	for (;;)
	{
		char	   *slash = strrchr(group, '/');

		snprintf(dir, sizeof(dir), "%s" CGROUP_ROOT "%s", root, group);
		if (read_cpu_max(dir, &number) &&
			(limits->cpus < 0 || number < limits->cpus))
		{
			limits->cpus = number;
			strlcpy(limits->cpu_dir, dir, MAXPGPATH);
		}
		if (read_number(dir, "memory.max", NULL, &number) &&
			(limits->bytes < 0 || number < limits->bytes))
		{
			limits->bytes = number;
			strlcpy(limits->memory_dir, dir, MAXPGPATH);
		}
		if (slash == NULL)
			break;
		*slash = '\0';
	}
}

/* The first line of /proc/stat: all but idle and waiting for a disk is used. */
static void
sample_machine(const char *root, CpuSample *sample)
{
	char		path[MAXPGPATH];
	double		t[8];			/* user nice system idle iowait irq softirq
								 * steal */
	FILE	   *fp;

	snprintf(path, sizeof(path), "%s/proc/stat", root);
	fp = AllocateFile(path, "r");
	if (fp == NULL)
		return;
	if (fscanf(fp, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &t[0], &t[1], &t[2],
			   &t[3], &t[4], &t[5], &t[6], &t[7]) == 8)
	{
		sample->used = t[0] + t[1] + t[2] + t[5] + t[6] + t[7];
		sample->there = sample->used + t[3] + t[4];
		sample->known = true;
	}
	FreeFile(fp);
}

static CpuSample
sample_cpu(const char *root, const Limits *limits)
{
	CpuSample	sample = {0};

	sample.at = GetCurrentTimestamp();
	if (limits->cpus < 0)
		sample_machine(root, &sample);
	else if (read_number(limits->cpu_dir, "cpu.stat", "usage_usec", &sample.used))
	{
		sample.there = sample.at * limits->cpus;
		sample.known = true;
	}
	return sample;
}

/* The share of CPU used since the last call, and the time since, in ms. */
static bool
cpu_share(const char *root, const Limits *limits, double *share, int64 *ms)
{
	CpuSample	now = sample_cpu(root, limits);
	int64		since = (now.at - last_sample.at) / 1000;

	if (last_ms > 0 && since >= 0 && since < LEAST_MS)
	{
		*share = last_share;
		*ms = last_ms;
		return true;
	}
	if (!last_sample.known || now.there < last_sample.there)
	{
		pg_usleep(FIRST_MS * 1000L);
		CHECK_FOR_INTERRUPTS();
		last_sample = now;
		now = sample_cpu(root, limits);
	}
	if (!now.known || !last_sample.known || now.there <= last_sample.there)
		return false;

	*share = (now.used - last_sample.used) / (now.there - last_sample.there);
	*share = Min(Max(*share, 0), 1);
	*ms = Max((now.at - last_sample.at) / 1000, 1);
	last_sample = now;
	last_share = *share;
	last_ms = *ms;
	return true;
}

static bool
memory_use(const char *root, const Limits *limits, double *used, double *total)
{
	char		proc[MAXPGPATH];
	double		available;
	double		inactive = 0;

	if (limits->bytes >= 0)
	{
		*total = limits->bytes;
		if (!read_number(limits->memory_dir, "memory.current", NULL, used))
			return false;
		(void) read_number(limits->memory_dir, "memory.stat", "inactive_file", &inactive);
		*used = Max(*used - inactive, 0);
		return *total > 0;
	}
	snprintf(proc, sizeof(proc), "%s/proc", root);
	if (!read_number(proc, "meminfo", "MemTotal", total) ||
		!read_number(proc, "meminfo", "MemAvailable", &available) || *total <= 0)
		return false;
	*total *= 1024;
	*used = *total - available * 1024;
	return true;
}

/* The columns of os_load(). */
enum
{
	LOAD_CPU,
	LOAD_CPU_PERIOD,
	LOAD_CPUS,
	LOAD_MEMORY,
	LOAD_MEMORY_USED,
	LOAD_MEMORY_TOTAL,
	LOAD_SOURCE,
	LOAD_COLUMNS
};

PG_FUNCTION_INFO_V1(cozi_os_load);

/*
 * os_load(root text DEFAULT '', OUT cpu float8, OUT cpu_period interval,
 *         OUT cpus float8, OUT memory float8, OUT memory_used bigint,
 *         OUT memory_total bigint, OUT source text)
 *
 * cpu and memory are shares of 1.  root: where another machine's /proc and
 * /sys are mounted, for those who may read the server's files.
 */
Datum
cozi_os_load(PG_FUNCTION_ARGS)
{
	char	   *root = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TupleDesc	desc;
	Datum		values[LOAD_COLUMNS] = {0};
	bool		nulls[LOAD_COLUMNS];
	Limits		limits;
	double		share;
	double		used;
	double		total;
	int64		ms;

	if (root[0] != '\0' && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read below \"%s\"", root),
				 errhint("Only members of pg_read_server_files may name a directory.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));

	find_limits(root, &limits);
	if (cpu_share(root, &limits, &share, &ms))
	{
		Interval   *period = palloc0(sizeof(Interval));

		period->time = ms * 1000;
		values[LOAD_CPU] = Float8GetDatum(share);
		values[LOAD_CPU_PERIOD] = IntervalPGetDatum(period);
		nulls[LOAD_CPU] = nulls[LOAD_CPU_PERIOD] = false;
	}
	if (limits.cpus > 0)
	{
		values[LOAD_CPUS] = Float8GetDatum(limits.cpus);
		nulls[LOAD_CPUS] = false;
	}
	else if (root[0] == '\0' && sysconf(_SC_NPROCESSORS_ONLN) > 0)
	{
		values[LOAD_CPUS] = Float8GetDatum((double) sysconf(_SC_NPROCESSORS_ONLN));
		nulls[LOAD_CPUS] = false;
	}
	if (memory_use(root, &limits, &used, &total))
	{
		values[LOAD_MEMORY] = Float8GetDatum(used / total);
		values[LOAD_MEMORY_USED] = Int64GetDatum((int64) used);
		values[LOAD_MEMORY_TOTAL] = Int64GetDatum((int64) total);
		nulls[LOAD_MEMORY] = nulls[LOAD_MEMORY_USED] = nulls[LOAD_MEMORY_TOTAL] = false;
	}
	if (!nulls[LOAD_CPU] || !nulls[LOAD_MEMORY])
	{
		values[LOAD_SOURCE] = CStringGetTextDatum(limits.cpus > 0 || limits.bytes > 0 ?
												  "cgroup" : "/proc");
		nulls[LOAD_SOURCE] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
