/*
 * pure_decay.c
 *		The properties of decay.h and decay_sum.h, against long double.
 *
 * Compiled and run by test/t/pure_decay.pl, without a server.  Prints TAP.
 * Weights and instants are random; the seed is fixed, so a failure repeats.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pure/decay_sum.h"

#define HOUR INT64_C(3600000000)

static int	tests = 0;
static uint64_t seed = 20260601;

static uint64_t
draw(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void
ok(int good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
}

/* log2 of v, of which v / 2^octave was summed */
static int
near(double heat, long double v, int64_t octave, double ulps)
{
	double		expected = (double) ((v < 0 ? -1 : 1) * ((long double) octave + log2l(fabsl(v))));

	return fabs(heat - expected) <= ulps * DBL_EPSILON * fabs(expected);
}

static int64_t
instant(void)
{
	return INT64_C(800000000000000) + (int64_t) draw(48 * HOUR);
}

static void
check_functions(int64_t h, const char *name)
{
	int			heats = 1,
				adds = 1,
				removed = 1,
				commutes = 1,
				associates = 1,
				monotone = 1,
				value = 1;
	char		label[100];

	for (int i = 0; i < 20000; i++)
	{
		int64_t		t = instant(),
					u = t + (int64_t) draw(20 * h) - 10 * h;
		double		w = (double) (1 + draw(1000)) / 8,
					x = (double) (1 + draw(1000)) / 8;
		double		f;
		int64_t		q = decay_octave(t, h, &f);
		double		a = decay_heat(w, t, h),
					b = decay_heat(i % 2 ? x : -x, u, h),
					c = decay_heat(w + x, t + h, h);
		long double v = w * exp2l((long double) (t - q * h) / h);
		long double b_v = (i % 2 ? x : -x) * exp2l((long double) (u - q * h) / h);

		heats &= near(a, v, q, 2);
		/* what cancels to less than a thousandth has lost as many digits */
		if (fabsl(v + b_v) > 1e-3L * v)
		{
			adds &= near(decay_add(a, i % 2 ? x : -x, u, h), v + b_v, q, 1000);
			adds &= near(decay_merge(a, b), v + b_v, q, 1000);
			commutes &= decay_merge(a, b) == decay_merge(b, a);
		}
		removed &= decay_add(a, -w, t, h) == 0 && decay_merge(a, -a) == 0;
		if (i % 2)
			associates &=
				fabs(decay_merge(decay_merge(a, b), c) - decay_merge(a, decay_merge(b, c)))
				<= 4 * DBL_EPSILON * c;
		monotone &= decay_add(a, x, u, h) >= a && decay_heat(w, t + h, h) == a + 1 &&
			decay_heat(w + x, t, h) >= a;
		value &= fabs(decay_value(a, t, h) - w) <= w * 4 * DBL_EPSILON * a;
	}
	snprintf(label, sizeof(label), "heat, %s", name);
	ok(heats, label);
	snprintf(label, sizeof(label), "add and merge, %s", name);
	ok(adds, label);
	snprintf(label, sizeof(label), "an event taken back leaves nothing, %s", name);
	ok(removed, label);
	snprintf(label, sizeof(label), "merge commutes, %s", name);
	ok(commutes, label);
	snprintf(label, sizeof(label), "merge associates, within ulps, %s", name);
	ok(associates, label);
	snprintf(label, sizeof(label), "later, heavier or more is never less, %s", name);
	ok(monotone, label);
	snprintf(label, sizeof(label), "value, %s", name);
	ok(value, label);
}

static void
sum(DecaySum *s, double w, int64_t t, int64_t h)
{
	DecayTerm	term = decay_term(w, t, h);

	if (s->nlimbs > 0 && term.lowest + 2 < decay_sum_floor(s, term.lowest + 2))
		return;
	if (!decay_sum_fits(s, term.lowest, term.lowest + 2))
	{
		int64_t    *old = s->limb;

		decay_sum_move(s, malloc(sizeof(int64_t) * DECAY_SUM_ROOM), term.lowest, term.lowest + 2);
		free(old);
	}
	decay_sum_add(s, term.limb, term.lowest, 3, 1);
}

static void
check_sums(int64_t h, const char *name)
{
	enum
	{
		N = 2000
	};
	static double w[N];
	static int64_t t[N];
	int			same = 1,
				right = 1,
				nothing = 1;
	char		label[100];

	for (int round = 0; round < 50; round++)
	{
		DecaySum	forth = {0},
					back = {0};
		long double v = 0;
		double		f;
		int64_t		q = decay_octave(INT64_C(800000000000000), h, &f);

		for (int i = 0; i < N; i++)
		{
			w[i] = ((double) draw(2000) - 500) / 16;
			t[i] = INT64_C(800000000000000) + (int64_t) draw(40 * h);
			v += w[i] * exp2l((long double) (t[i] - q * h) / h);
			sum(&forth, w[i], t[i], h);
		}
		for (int i = N - 1; i >= 0; i--)
			sum(&back, w[i], t[i], h);
		same &= decay_sum_heat(&forth) == decay_sum_heat(&back);
		right &= near(decay_sum_heat(&forth), v, q, 100);
		/* through the carries as well, which come after 2^30 additions */
		forth.adds = DECAY_SUM_CARRY_AT;
		for (int i = 0; i < N; i++)
			sum(&forth, -w[i], t[i], h);
		nothing &= decay_sum_heat(&forth) == 0;
		free(forth.limb);
		free(back.limb);
	}
	snprintf(label, sizeof(label), "a sum in either order, %s", name);
	ok(same, label);
	snprintf(label, sizeof(label), "a sum, %s", name);
	ok(right, label);
	snprintf(label, sizeof(label), "a sum taken back leaves nothing, %s", name);
	ok(nothing, label);
}

int
main(void)
{
	check_functions(1000000, "1 second");
	check_functions(HOUR, "1 hour");
	check_functions(720 * HOUR, "30 days");
	check_sums(1000000, "1 second");
	check_sums(HOUR, "1 hour");
	check_sums(720 * HOUR, "30 days");
	printf("1..%d\n", tests);
	return 0;
}
