/*
 * pure_flood.c
 *		arena.h and limit.h under floods of calls: which keys are forgotten,
 *		and how many steps a call takes.  Speaks TAP; the argument is the
 *		number of calls of each flood.
 */
#include "pure_arena.h"

/* Does a key get all the calls that a log may hold, and no more? */
static bool
fill(CoziArena *logs, uint64_t key, int64_t now)
{
	int32_t		max = cozi_arena_max_calls(logs);

	for (int32_t c = 0; c < max; c++)
		if (!call(logs, 0, key, 3600000000, now, max, 1, true).allowed)
			return false;
	return !call(logs, 0, key, 3600000000, now, max, 1, true).allowed &&
		cozi_log(logs, cozi_log_find(logs, key, 0, 3600000000))->used == max;
}

/* Ten thousand denied keys, and a flood of new ones. */
static void
flood(long keys)
{
	enum
	{
		VICTIMS = 500
	};
	CoziArena   *logs = new_logs(5000);
	int64_t		now = 1;
	int			freed = 0;

	for (int v = 0; v < VICTIMS; v++)
		for (int c = 0; c < 5; c++)
			call(logs, 0, (uint64_t) v, 3600000000, now += 10, 5, 1, true);
	for (long k = 0; k < keys; k++)
		call(logs, 0, rng() | (UINT64_C(1) << 40), 3600000000, now += 10, 5, 1, true);
	ok(logs_sound(logs), "flood: every block is in one place");
	ok(logs->touched <= logs->n_blocks && logs->evictions >= (uint64_t) keys - logs->n_blocks,
	   "flood: the memory stayed as it was, and evictions are counted");
	for (int v = 0; v < VICTIMS; v++)
		freed += call(logs, 0, (uint64_t) v, 3600000000, now, 5, 1, true).allowed;
	printf("# %ld keys into %u blocks: %d of %d denied keys freed\n",
		   keys, logs->n_blocks, freed, VICTIMS);
	ok(freed == 0, "flood: no denied key was freed");

	/* a log as long as is allowed, with the table full of others */
	ok(fill(logs, 999999, now) && logs_sound(logs),
	   "the longest log allowed fits into a full table");
	/* and two of them, against each other: the older gives way, whole */
	ok(fill(logs, 999998, now) && logs_sound(logs),
	   "a second log of that length displaces the first");
	free(logs);
}

/*
 * Floods: what is denied stays denied, whatever else is called how often.  The
 * 200 names are less than a 64th of the blocks: no class that holds less than
 * its even share of the memory is ever the largest.
 */

#define HOUR INT64_C(3600000000)
#define VICTIMS 200

/* 200 names, each with 5 calls of 5 in an hour and one refused. */
static void
deny(CoziArena *logs, uint32_t class, int64_t *now)
{
	for (int c = 0; c < 6; c++)
		for (uint64_t v = 0; v < VICTIMS; v++)
			call(logs, class, v, HOUR, *now += 10, 5, 1, true);
}

static int
admitted(CoziArena *logs, uint32_t class, int64_t now)
{
	int			n = 0;

	for (uint64_t v = 0; v < VICTIMS; v++)
		n += call(logs, class, v, HOUR, now, 5, 1, true).allowed;
	return n;
}

typedef enum Flood
{
	ONE_CALL,					/* new keys of the same limit, a call each */
	LONG_LIMIT,					/* new keys of 1 call in 24 hours */
	BUSY_LIMIT,					/* many keys with 60 calls of 100 in a minute */
	LARGE_LIMIT,				/* three keys whose logs take half the memory each */
	MANY_LIMITS,				/* a limit of its own for each key */
	FLOODS
} Flood;

static void
flood_call(CoziArena *logs, Flood kind, long i, int64_t now)
{
	uint64_t	key = (UINT64_C(1) << 40) + (uint64_t) i;

	if (kind == ONE_CALL)
		call(logs, 0, spread(key), HOUR, now, 5, 1, true);
	else if (kind == LONG_LIMIT)
		call(logs, 0, spread(key), 24 * HOUR, now, 1, 1, true);
	else if (kind == BUSY_LIMIT)
		call(logs, 0, spread(key % 20000 + 1000000), 60000000, now, 100, 1, true);
	else if (kind == LARGE_LIMIT)
		call(logs, 0, (UINT64_C(1) << 41) + key % 3, 24 * HOUR, now,
			 cozi_arena_max_calls(logs), 1, true);
	else
		call(logs, 0, spread(key), HOUR + i % 500, now,
			 3 + (int32_t) (i % 300), 1, true);
}

static void
floods(long calls)
{
	static const char *const name[] = {
		"one call of each new key", "one call of 1 in 24 hours", "20,000 busy keys",
		"three large logs", "1,500 limits"
	};
	char		text[100];

	for (int reserved = 0; reserved < 3; reserved++)
		for (int kind = 0; kind < FLOODS; kind++)
		{
			CoziArena  *logs = new_logs(14000);
			uint32_t	class = reserved ? LOGIN : 0;
			int64_t		now = 1;
			int			freed;

			cozi_class_reserve(logs, LOGIN, 256, 1, reserved == 2);
			deny(logs, class, &now);
			for (long i = 0; i < calls; i++)
				flood_call(logs, (Flood) kind, i, now += 10);
			freed = admitted(logs, class, now);
			printf("# %s: %d admitted, %lu evictions\n",
				   name[kind], freed, (unsigned long) logs->evictions);
			snprintf(text, sizeof(text),
					 "no denied name of a %s limit is admitted after a flood: %s",
					 reserved == 2 ? "reserved gcra" : reserved ? "reserved" : "shared",
					 name[kind]);
			ok(freed == 0 && logs_sound(logs) && (logs->evictions > 0 || calls < 1000000), text);
			free(logs);
		}
}

/* A reserved limit gives up its own keys, the least in debt first, and never more memory. */
static void
reserved_limit(void)
{
	CoziArena  *logs = new_logs(5880);
	int64_t		now = 1;

	cozi_class_reserve(logs, LOGIN, 256, 1, false);
	deny(logs, LOGIN, &now);
	for (uint64_t i = 0; i < 100000; i++)
		call(logs, LOGIN, spread(i + 1000), HOUR, now += 10, 5, 1, true);
	ok(admitted(logs, LOGIN, now) == 0 && cozi_class(logs, LOGIN)->held == 256 && logs_sound(logs),
	   "a flood of a reserved limit stays in its memory and forgets its own single calls");
	while (cozi_class_purge(logs, LOGIN, 100))
		;
	cozi_class_reserve(logs, LOGIN, 0, 2, false);
	ok(cozi_class(logs, LOGIN)->held == 0 && logs->reserved == 0 && logs_sound(logs),
	   "a limit that is dropped gives all of its blocks back");
}

/* No call takes more steps in a log of 300,000 calls than in a small memory. */
static void
bounded(void)
{
	CoziArena  *logs = new_logs(80000);
	const int32_t n = 300000;
	int64_t		now = 1000;
	long		most = 0;

	for (int i = 0; i < n; i++)
	{
		steps = 0;
		call(logs, 0, 1, HOUR, now += i % 2, n, 1, true);
		most = steps > most ? steps : most;
	}
	for (int32_t max = 1; max <= n; max = max * 3 + 1)
		for (int32_t cost = 1; cost <= max; cost = cost * 7 + 1)
		{
			steps = 0;
			call(logs, 0, 1, HOUR, now, max, cost, true);
			most = steps > most ? steps : most;
		}
	steps = 0;
	call(logs, 0, 1, HOUR, now + HOUR - n / 4, n, n / 4, true);	/* half of it expires at once */
	most = steps > most ? steps : most;
	steps = 0;
	call(logs, 0, 1, HOUR, now + 3 * HOUR, n, n, true);	/* then all of it */
	most = steps > most ? steps : most;
	printf("# at most %ld steps\n", most);
	ok(most < 200 && logs_sound(logs),
	   "no call on a log of 300,000 entries takes 200 steps: lowered, dear, expired at once");
	free(logs);
}

int
main(int argc, char **argv)
{
	long		calls = argc > 1 ? atol(argv[1]) : 1000000;

	flood(calls);
	floods(calls);
	reserved_limit();
	bounded();
	printf("1..%d\n", tests);
	return failures != 0;
}
