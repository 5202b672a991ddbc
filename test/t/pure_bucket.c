/*
 * pure_bucket.c
 *		bucket.h, log.h, limit.h and siphash.h alone, with a clock driven by
 *		hand.
 *
 * The shared table's own code against the rule it claims: a call is admitted
 * iff the admitted units less than `per` old, plus its cost, are at most
 * max_calls.  The oracle keeps every admitted call of a key in a plain array.
 * Speaks TAP; the argument is the number of decisions.
 */
#include "pure_arena.h"
#include "pure/siphash.h"

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
		clock[k] += rng() % 100 ? between(0, per / usual + 1) / 2 :
			rng() % 10 ? per / (int64_t) between(1, 100) : between(1, 2) * per;
		at = clock[k] > back ? clock[k] - back : clock[k];
		v = call(logs, 0, spread(k), per, at, max_calls, cost, consume);

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
	ok(wrong == 0,
	   "exact: no decision, retry_after, remaining or reset_after differs from the log");
	ok(unsound == 0, "exact: every block is in one place");
	ok(logs->evictions == 0, "exact: nothing was evicted");
	ok(most > KEYS * 3 && late > 0 && admitted > decisions / 20 && admitted < decisions,
	   "exact: refusals, late clocks and long logs were among the decisions");
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
		int64_t		per = max_calls == INT32_MAX ? INT64_C(3153600000) * 1000000000 :
			max_calls == 6000 ? 1000000000 : 60000000000;
		int64_t		spacing = cozi_gcra_spacing(per, max_calls);
		int64_t		now = INT64_C(31536000) * 1000000000 * 30;
		int64_t		tat = 0;
		int64_t		burst = 0;

		wrong += spacing * (__int128) max_calls < per ||
			(spacing - 1) * (__int128) max_calls >= per;
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
			wrong += tat != (!allowed ? before : (before > now ? before : now) + spacing * cost);
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

				wrong += v.remaining > 0 &&
					!cozi_gcra_step(&copy, now, spacing, max_calls, (int32_t) v.remaining);
				wrong += v.remaining < max_calls &&
					cozi_gcra_step(&copy, now, spacing, max_calls, 1);
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
	gcra(decisions);
	siphash();
	printf("1..%d\n", tests);
	return failures != 0;
}
