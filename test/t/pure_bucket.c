/*
 * pure_bucket.c
 *		bucket.h, log.h, arena.h, limit.h and siphash.h alone, with a clock
 *		driven by hand.
 *
 * The shared table's own code against the rule it claims: a call is admitted
 * iff the admitted units less than `per` old, plus its cost, are at most
 * max_calls.  The oracle keeps every admitted call of a key in a plain array.
 * Speaks TAP; the argument is the number of decisions.
 */
#include <stdio.h>
#include <stdlib.h>

static long steps = 0;

#define COZI_STEP() (steps++)
#include "pure/limit.h"
#include "pure/siphash.h"

static int	tests = 0;
static int	failures = 0;

static void
ok(bool good, const char *name)
{
	printf("%s %d - %s\n", good ? "ok" : "not ok", ++tests, name);
	failures += !good;
}

static uint64_t rng_state = 88172645463325252u;

static uint64_t
rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state;
}

static int64_t
between(int64_t lo, int64_t hi)
{
	return lo + (int64_t) (rng() % (uint64_t) (hi - lo + 1));
}

#define CLASSES (COZI_SHARED_CLASSES + 4)
#define LOGIN COZI_SHARED_CLASSES	/* a reserved class */

static CoziArena *
new_logs(size_t blocks)
{
	size_t		size = cozi_arena_size(blocks, CLASSES);
	CoziArena  *logs = malloc(size);

	memset(logs, 0xa5, size);	/* memory comes as it is */
	cozi_arena_init(logs, size, CLASSES);
	return logs;
}

/* A call on a shared limit (class 0) or on a reserved one. */
static CoziVerdict
call(CoziArena *logs, uint32_t class, uint64_t key, int64_t per, int64_t now,
	 int32_t max_calls, int32_t cost, bool consume)
{
	CoziAsk		ask = {key, now, now * 1000, per, max_calls, cost, class, consume};

	return class && cozi_class(logs, class)->gcra ? cozi_number_step(logs, &ask) :
		cozi_exact_step(logs, &ask);
}

/* the oracle */

typedef struct Oracle
{
	int64_t    *time;			/* of each admitted unit */
	int			n;
	int			room;
	int			dead;			/* units before this one are known to be old */
} Oracle;

static int
oracle_used(Oracle *o, int64_t per, int64_t now)
{
	while (o->dead < o->n && now - o->time[o->dead] >= per)
		o->dead++;
	return o->n - o->dead;
}

static void
oracle_add(Oracle *o, int64_t now, int cost)
{
	if (o->dead > o->n / 2)
	{
		memmove(o->time, o->time + o->dead, sizeof(int64_t) * (o->n - o->dead));
		o->n -= o->dead;
		o->dead = 0;
	}
	while (o->n + cost > o->room)
		o->time = realloc(o->time, sizeof(int64_t) * (o->room = o->room * 2 + cost + 64));
	while (cost-- > 0)
		o->time[o->n++] = now;
}

/* consistency of the memory: every block is in one place */

/* Every log is in the list of its rank, and a class counts what it holds. */
static bool
lists_sound(CoziArena *logs)
{
	uint32_t	all = 0;
	bool		good = true;

	for (uint32_t c = 0; c < logs->n_classes; c++)
	{
		CoziClass  *class = cozi_class(logs, c);
		uint32_t	keys = 0,
					held = 0;

		for (uint32_t rank = 0; rank < COZI_RANKS; rank++)
		{
			uint32_t	self = class->list[rank];

			if (self == COZI_NO_BLOCK)
				continue;
			do
			{
				CoziLog    *log = cozi_log(logs, self);

				good &= log->class == c && log->rank == rank && cozi_log(logs, log->after)->before == self;
				keys++;
				held += log->blocks;
				self = log->after;
			} while (self != class->list[rank] && keys <= logs->n_blocks);
		}
		good &= keys == class->keys && held == class->held;
		good &= c >= COZI_SHARED_CLASSES || (logs->active >> c & 1) == (keys > 0);
		all += keys;
	}
	return good && all == logs->keys;
}

static bool
logs_sound(CoziArena *logs)
{
	char	   *seen = calloc(logs->n_blocks, 1);
	uint32_t	held = 0,
				keys = 0,
				n_free = 0;
	bool		good = true;

	for (uint32_t b = 0; b < logs->n_buckets; b++)
		for (uint32_t self = ((uint32_t *) ((char *) logs + logs->buckets_at))[b]; self != COZI_NO_BLOCK; self = cozi_log(logs, self)->chain)
		{
			CoziLog    *log = cozi_log(logs, self);
			uint32_t	blocks = 1;
			int64_t		used = 0;
			int64_t		before = 0;
			CoziCursor	cursor = {0};
			CoziEntry	entry;

			good &= !seen[self]++;
			for (uint32_t i = log->next; blocks < log->blocks; i = cozi_more(logs, i)->next, blocks++)
			{
				/* blocks between the first one and log->first were given back */
				if (blocks == 1 && log->first != self)
					i = log->first;
				good &= i < logs->n_blocks && !seen[i]++;
			}
			while (cozi_log_next(logs, self, &cursor, &entry))
			{
				good &= cozi_entry_time(entry) >= before;
				before = cozi_entry_time(entry);
				used += cozi_entry_cost(entry);
			}
			good &= used == log->used && (used == 0 || before == cozi_log_newest(logs, self));
			held += log->blocks;
			keys++;
		}
	for (uint32_t i = logs->free; i != COZI_NO_BLOCK && n_free <= logs->n_blocks; i = cozi_more(logs, i)->next)
	{
		good &= !seen[i]++;
		n_free++;
	}
	free(seen);
	good &= lists_sound(logs);
	return good && keys == logs->keys && n_free == logs->n_free && held + n_free == logs->touched &&
		logs->touched <= logs->n_blocks;
}

/* Many keys, limits that change, costs, long silences; nothing is evicted. */
static void
exact_against_oracle(long decisions)
{
	enum
	{
		KEYS = 40
	};
	static const int64_t pers[] = {1, 7, 1000, 60000000, INT64_C(86400000000)};
	CoziArena   *logs = new_logs(200000);
	Oracle		oracle[KEYS] = {0};
	int64_t		clock[KEYS];
	uint32_t	most = 0;
	long		wrong = 0,
				unsound = 0,
				late = 0,
				admitted = 0;

	for (int k = 0; k < KEYS; k++)
		clock[k] = 1;
	for (long d = 0; d < decisions; d++)
	{
		int			k = (int) between(0, KEYS - 1);
		int64_t		per = pers[k % 5];

		/* these clocks run fast: anew before one passes COZI_MAX_TIME, 142 years */
		if (clock[k] > COZI_MAX_TIME / 2)
		{
			free(logs);
			logs = new_logs(200000);
			for (int i = 0; i < KEYS; i++)
			{
				free(oracle[i].time);
				oracle[i] = (Oracle) {0};
				clock[i] = 1;
			}
		}
		int32_t		usual = (int32_t[]) {1, 3, 100, 1000, 20000}[k / 5 % 5];
		int32_t		max_calls = rng() % 20 ? usual : (int32_t) between(1, usual * 2);
		int32_t		cost = rng() % 4 ? 1 : (int32_t) between(1, max_calls / 10 + 1);
		bool		consume = rng() % 10 != 0;
		int64_t		back = rng() % 50 ? 0 : between(0, 5);
		int64_t		at;
		int			used;
		CoziVerdict v;

		/* mostly close together, sometimes exactly a period, rarely far apart */
		clock[k] += rng() % 100 ? between(0, per / usual + 1) / 2 : rng() % 10 ? per / (int64_t) between(1, 100) : between(1, 2) * per;
		at = clock[k] > back ? clock[k] - back : clock[k];
		v = call(logs, 0, (uint64_t) k * UINT64_C(0x9E3779B97F4A7C15), per, at, max_calls, cost, consume);

		/* a clock read before another backend's newest entry counts as that one */
		if (oracle[k].n > 0 && at < oracle[k].time[oracle[k].n - 1])
		{
			at = oracle[k].time[oracle[k].n - 1];
			late++;
		}
		used = oracle_used(&oracle[k], per, at);
		wrong += v.allowed != (used + (int64_t) cost <= max_calls);
		if (!v.allowed)
		{
			/* the unit whose expiry makes room */
			int64_t		t = oracle[k].time[oracle[k].dead + used + cost - max_calls - 1];

			wrong += v.retry_after != t + per - at || v.retry_after <= 0;
		}
		else
		{
			wrong += v.retry_after != 0;
			if (consume)
			{
				oracle_add(&oracle[k], at, cost);
				used += cost;
				admitted++;
			}
		}
		wrong += v.remaining != (used < max_calls ? max_calls - used : 0);
		wrong += v.reset_after != (used ? oracle[k].time[oracle[k].n - 1] + per - at : 0);
		if (d % (decisions / 200 + 1) == 0)
			unsound += !logs_sound(logs);
		if (logs->touched - logs->n_free > most)
			most = logs->touched - logs->n_free;
	}
	printf("# %ld decisions, %ld admitted, %ld with a late clock, %u keys, at most %u blocks\n",
		   decisions, admitted, late, logs->keys, most);
	ok(wrong == 0, "exact: no decision, retry_after, remaining or reset_after differs from the log");
	ok(unsound == 0, "exact: every block is in one place");
	ok(logs->evictions == 0, "exact: nothing was evicted");
	ok(most > KEYS * 3 && late > 0 && admitted > decisions / 20 && admitted < decisions, "exact: the cases were there");
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
	ok(logs->touched <= logs->n_blocks && logs->evictions >= (uint64_t) keys - logs->n_blocks, "flood: memory stayed, evictions are counted");
	for (int v = 0; v < VICTIMS; v++)
		freed += call(logs, 0, (uint64_t) v, 3600000000, now, 5, 1, true).allowed;
	printf("# %ld keys into %u blocks: %d of %d denied keys freed\n", keys, logs->n_blocks, freed, VICTIMS);
	ok(freed == 0, "flood: no denied key was freed");

	/* a log as long as is allowed, with the table full of others */
	for (int c = 0; c < cozi_arena_max_calls(logs); c++)
		if (!call(logs, 0, 999999, 3600000000, now, cozi_arena_max_calls(logs), 1, true).allowed)
			break;
	ok(!call(logs, 0, 999999, 3600000000, now, cozi_arena_max_calls(logs), 1, true).allowed &&
	   cozi_log(logs, cozi_log_find(logs, 999999, 0, 3600000000))->used == cozi_arena_max_calls(logs) &&
	   logs_sound(logs), "the longest log allowed fits into a full table");

	/* and two of them, against each other: the older gives way, whole */
	for (int c = 0; c < cozi_arena_max_calls(logs); c++)
		call(logs, 0, 999998, 3600000000, now, cozi_arena_max_calls(logs), 1, true);
	ok(cozi_log(logs, cozi_log_find(logs, 999998, 0, 3600000000))->used == cozi_arena_max_calls(logs) &&
	   logs_sound(logs), "so do two");
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
		call(logs, 0, key * UINT64_C(0x9E3779B97F4A7C15), HOUR, now, 5, 1, true);
	else if (kind == LONG_LIMIT)
		call(logs, 0, key * UINT64_C(0x9E3779B97F4A7C15), 24 * HOUR, now, 1, 1, true);
	else if (kind == BUSY_LIMIT)
		call(logs, 0, key % 20000 * UINT64_C(0x9E3779B97F4A7C15) + (UINT64_C(1) << 50), 60000000, now, 100, 1, true);
	else if (kind == LARGE_LIMIT)
		call(logs, 0, (UINT64_C(1) << 41) + key % 3, 24 * HOUR, now, cozi_arena_max_calls(logs), 1, true);
	else
		call(logs, 0, key * UINT64_C(0x9E3779B97F4A7C15), HOUR + i % 500, now, 3 + (int32_t) (i % 300), 1, true);
}

static void
floods(long calls)
{
	static const char *const name[] = {
		"one call of each new key", "one call of 1 in 24 hours", "20,000 busy keys", "three large logs", "500 limits"
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
			printf("# %s: %d admitted, %lu evictions\n", name[kind], freed, (unsigned long) logs->evictions);
			snprintf(text, sizeof(text), "no denied name of a %s limit is admitted after a flood: %s",
					 reserved == 2 ? "reserved gcra" : reserved ? "reserved" : "shared", name[kind]);
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
		call(logs, LOGIN, (i + 1000) * UINT64_C(0x9E3779B97F4A7C15), HOUR, now += 10, 5, 1, true);
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
	ok(most < 200 && logs_sound(logs), "no call on a log of 300,000 entries takes 200 steps: lowered, dear, expired at once");
	free(logs);
}

/*
 * gcra against its own definition in wider arithmetic, and its promise: in
 * any span of `per` no more than twice max_calls; at rest exactly max_calls.
 */
static void
gcra(long decisions)
{
	static const int32_t maxes[] = {1, 2, 3, 7, 100, 6000, INT32_MAX};
	long		wrong = 0;

	for (int m = 0; m < 7; m++)
	{
		int32_t		max_calls = maxes[m];
		int64_t		per = max_calls == INT32_MAX ? INT64_C(3153600000) * 1000000000 : max_calls == 6000 ? 1000000000 : 60000000000;
		int64_t		spacing = cozi_gcra_spacing(per, max_calls);
		int64_t		now = INT64_C(31536000) * 1000000000 * 30;
		int64_t		tat = 0;
		int64_t		burst = 0;

		wrong += spacing * (__int128) max_calls < per || (spacing - 1) * (__int128) max_calls >= per;
		while (burst < 10000 && cozi_gcra_step(&tat, now, spacing, max_calls, 1))
			burst++;
		wrong += burst != (max_calls < 10000 ? max_calls : 10000);
		for (long d = 0; d < decisions / 7; d++)
		{
			int32_t		cost = rng() % 4 ? 1 : (int32_t) between(1, max_calls);
			int64_t		before = tat;
			__int128	owed = before > now ? (__int128) before - now : 0;
			bool		expect = owed + (__int128) spacing * cost <= (__int128) spacing * max_calls;
			bool		allowed = cozi_gcra_step(&tat, now, spacing, max_calls, cost);
			CoziVerdict v = cozi_gcra_verdict(tat, now, spacing, max_calls, cost, allowed);

			wrong += allowed != expect;
			wrong += allowed ? tat != (before > now ? before : now) + spacing * cost : tat != before;
			if (!allowed)
			{
				/* one unit of time early it fails, then it passes */
				int64_t		copy = tat;

				wrong += cozi_gcra_step(&copy, now + v.retry_after - 1, spacing, max_calls, cost);
				wrong += !cozi_gcra_step(&copy, now + v.retry_after, spacing, max_calls, cost);
			}
			else
			{
				/* what it says remains, passes, and no more */
				int64_t		copy = tat;

				wrong += v.remaining > 0 && !cozi_gcra_step(&copy, now, spacing, max_calls, (int32_t) v.remaining);
				wrong += v.remaining < max_calls && cozi_gcra_step(&copy, now, spacing, max_calls, 1);
			}
			now += between(0, spacing * 3);
		}
	}
	ok(wrong == 0, "gcra: every step is the definition's");
}

/* The authors' vectors: key 00..0f, message 00..n-1; ours begins with a word. */
static void
siphash(void)
{
	static const struct
	{
		int			len;
		unsigned char out[8];
	}			vector[] = {
		{8, {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93}},
		{9, {0xb0, 0xe4, 0xa9, 0x0b, 0xdf, 0x82, 0x00, 0x9e}},
		{15, {0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1}},
		{16, {0xdb, 0x9b, 0xc2, 0x57, 0x7f, 0xcc, 0x2a, 0x3f}},
		{63, {0x72, 0x45, 0x06, 0xeb, 0x4c, 0x32, 0x8a, 0x95}}
	};
	unsigned char bytes[64];
	uint64_t	seed[2];
	bool		good = true;

	for (int i = 0; i < 64; i++)
		bytes[i] = (unsigned char) i;
	memcpy(seed, bytes, 16);
	for (size_t i = 0; i < sizeof(vector) / sizeof(*vector); i++)
	{
		uint64_t	first;
		uint64_t	out;

		memcpy(&first, bytes, 8);
		out = cozi_siphash(seed, first, bytes + 8, vector[i].len - 8);
		good &= memcmp(&out, vector[i].out, 8) == 0;
	}
	ok(good, "siphash: the authors' vectors");
}

int
main(int argc, char **argv)
{
	long		decisions = argc > 1 ? atol(argv[1]) : 1000000;

	exact_against_oracle(decisions);
	flood(decisions);
	floods(decisions);
	reserved_limit();
	bounded();
	gcra(decisions);
	siphash();
	printf("1..%d\n", tests);
	return failures != 0;
}
