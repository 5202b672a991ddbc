/*
 * monitor/error.c
 *		How often which error is reported: a counter for each database, SQLSTATE
 *		and origin.
 *
 * The counter is taken where the server writes its log: an error caught in
 * PL/pgSQL never gets there and is none, a FATAL one at login has no database
 * and is counted under 0.  A session with log_min_messages above error hides
 * its errors from the log, and so from here; monitor_status shows it.
 *
 * The hook runs at the worst of times.  It takes no lock, allocates nothing
 * and raises nothing, runs in every process but the postmaster and those that
 * have left shared memory, and passes over parallel workers, whose errors the
 * leader reports again.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "storage/pg_shmem.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/syscache.h"

#include "monitor/error.h"
#include "monitor/monitor.h"

#define MAX_KNOWN		512		/* SQLSTATEs of the server */
#define MAX_OWN_CODES	64		/* slots for the codes that a role makes up */

static emit_log_hook_type prev_emit_log;

/* The SQLSTATEs of the server's own list, sorted; none if it is not there. */
static int	known[MAX_KNOWN];
static int	known_count = 0;

static int
compare_ints(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return (x > y) - (x < y);
}

static bool
is_server_code(int code)
{
	return known_count == 0 ||
		bsearch(&code, known, known_count, sizeof(int), compare_ints) != NULL;
}

/* The one list of the classes that are the server's fault. */
bool
cozi_is_server_error(int code)
{
	switch (ERRCODE_TO_CATEGORY(code))
	{
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('H', 'V', '0', '0', '0'):
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):
			return true;
	}
	return false;
}

/* A connection that the server had no room for. */
static bool
is_refusal(int code)
{
	return ERRCODE_TO_CATEGORY(code) == MAKE_SQLSTATE('5', '3', '0', '0', '0') ||
		code == ERRCODE_CANNOT_CONNECT_NOW;
}

/* Whose fault is what that key counts? */
const char *
cozi_key_blame(uint64 key)
{
	int			code = KEY_CODE(key);

	switch (KEY_ORIGIN(key))
	{
		case ORIGIN_RAISED:
			return "client";
		case ORIGIN_SESSION:
			return is_refusal(code) ? "server" :
				ERRCODE_TO_CATEGORY(code) == MAKE_SQLSTATE('5', '7', '0', '0', '0') ?
				"session" : "client";
		default:
			return cozi_is_server_error(code) ? "server" : "client";
	}
}

/*
 * Where an error comes from.  RAISE in PL/pgSQL, and the limiter, raise what
 * the application asked for, whatever its SQLSTATE.  What ends a session that
 * runs no statement fails none.
 */
static ErrorOrigin
error_origin(const ErrorData *edata)
{
	if (edata->funcname && strcmp(edata->funcname, "exec_stmt_raise") == 0)
		return ORIGIN_RAISED;
	if (edata->filename && strcmp(edata->filename, "refusal.c") == 0)
		return ORIGIN_RAISED;
	if (edata->elevel >= FATAL && debug_query_string == NULL)
		return ORIGIN_SESSION;
	return ORIGIN_STATEMENT;
}

/* Count under a key, claimed if it is new; false if there is no slot for it. */
static bool
count_key(uint64 key, Oid role, uint64 count)
{
	uint32		home = (uint32) ((key * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);

	for (uint32 i = 0; i < COZI_PROBES; i++)
	{
		CoziError  *error = &cozi_monitor->error[(home + i) % COZI_ERRORS];
		uint64		found = pg_atomic_read_u64(&error->key);

		if (found == 0 && pg_atomic_compare_exchange_u64(&error->key, &found, key))
		{
			pg_atomic_write_u64(&error->role, role);
			found = key;
		}
		if (found == key)
		{
			pg_atomic_fetch_add_u64(&error->count, count);
			return true;
		}
	}
	return false;
}

static bool
has_key(uint64 key)
{
	uint32		home = (uint32) ((key * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);

	for (uint32 i = 0; i < COZI_PROBES; i++)
		if (pg_atomic_read_u64(&cozi_monitor->error[(home + i) % COZI_ERRORS].key) == key)
			return true;
	return false;
}

/* How many slots has that role claimed for codes of its own? */
static int
own_codes(Oid role)
{
	int			n = 0;

	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		key = pg_atomic_read_u64(&cozi_monitor->error[i].key);

		n += key != 0 && pg_atomic_read_u64(&cozi_monitor->error[i].role) == role &&
			(KEY_ORIGIN(key) == ORIGIN_RAISED || !is_server_code(KEY_CODE(key)));
	}
	return n;
}

static bool
is_class(int code)
{
	for (int i = 0; i < 2; i++)
	{
		int			ch = PGUNSIXBIT(code >> (6 * i));

		if (!(ch >= '0' && ch <= '9') && !(ch >= 'A' && ch <= 'Z'))
			return false;
	}
	return true;
}

/*
 * The key that an error is counted under.  A code that the server does not know
 * counts in its class; the codes that a role makes up take at most
 * MAX_OWN_CODES slots, and the others of that role are one code.
 */
static uint64
error_key(Oid database, Oid role, int code, ErrorOrigin origin)
{
	bool		own = origin == ORIGIN_RAISED;
	uint64		key;

	if (!is_server_code(code))
	{
		own = true;
		code = is_class(code) ? ERRCODE_TO_CATEGORY(code) | CODE_OF_CLASS : CODE_OTHER;
	}
	key = MAKE_KEY(database, origin, code);
	if (own && code != CODE_OTHER && !has_key(key) && own_codes(role) >= MAX_OWN_CODES)
		key = MAKE_KEY(database, origin, CODE_OTHER);
	return key;
}

/* The role that logged in; none yet where a login fails. */
static Oid
own_role(void)
{
	return MyProc != NULL ? MyProc->roleId : InvalidOid;
}

static void
count_error(ErrorData *edata)
{
	if (edata->elevel >= ERROR && cozi_track_errors && edata->sqlerrcode != 0 &&
		!IsParallelWorker() && cozi_monitor != NULL &&
		(IsUnderPostmaster || !IsPostmasterEnvironment) && UsedShmemSegAddr != NULL)
	{
		Oid			role = own_role();
		ErrorOrigin origin = error_origin(edata);

		if (!count_key(error_key(MyDatabaseId, role, edata->sqlerrcode, origin), role, 1) &&
			!count_key(MAKE_KEY(MyDatabaseId, origin, CODE_OTHER), InvalidOid, 1))
			pg_atomic_fetch_add_u64(&cozi_monitor->errors_dropped, 1);
	}
	if (prev_emit_log)
		prev_emit_log(edata);
}

/* What the file of the last shutdown has of an error. */
void
cozi_load_error(uint64 key, uint64 role, uint64 count)
{
	if (!count_key(key, (Oid) role, count))
		pg_atomic_fetch_add_u64(&cozi_monitor->errors_dropped, count);
}

/*
 * Free the slots of databases that are no more.  The others are counted anew
 * at their places, so that no walk ends at a hole; what is counted at that
 * very moment may be lost, as when all is reset.
 */
void
cozi_forget_errors(void)
{
	CoziError  *copy;
	bool		any = false;

	for (int i = 0; i < COZI_ERRORS && !any; i++)
	{
		Oid			database = KEY_DATABASE(pg_atomic_read_u64(&cozi_monitor->error[i].key));

		any = OidIsValid(database) &&
			!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	}
	if (!any)
		return;
	copy = palloc(sizeof(cozi_monitor->error));
	memcpy(copy, cozi_monitor->error, sizeof(cozi_monitor->error));
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		pg_atomic_write_u64(&cozi_monitor->error[i].key, 0);
		pg_atomic_write_u64(&cozi_monitor->error[i].count, 0);
	}
	for (int i = 0; i < COZI_ERRORS; i++)
	{
		uint64		key = pg_atomic_read_u64(&copy[i].key);
		Oid			database = KEY_DATABASE(key);

		if (key != 0 && (!OidIsValid(database) ||
						 SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database))))
			cozi_load_error(key, pg_atomic_read_u64(&copy[i].role),
							pg_atomic_read_u64(&copy[i].count));
	}
	pfree(copy);
}

/* Remember the SQLSTATEs of that list, for the hook. */
static void
remember_known(void)
{
	char	   *list = cozi_read_errcodes();

	for (char *line = list; line != NULL && known_count < MAX_KNOWN; line = strchr(line, '\n'))
	{
		char		state[6];
		char		kind;

		line += *line == '\n';
		if (sscanf(line, "%5[0-9A-Z] %c", state, &kind) == 2 && strlen(state) == 5 &&
			strchr("EWS", kind) != NULL)
			known[known_count++] = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
	}
	qsort(known, known_count, sizeof(int), compare_ints);
	pfree(list);
}

void
cozi_count_errors_of_log(void)
{
	remember_known();
	prev_emit_log = emit_log_hook;
	emit_log_hook = count_error;
}
