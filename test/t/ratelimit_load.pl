# Thirty-two clients on one key, judged on the limiter's own clock; and a
# flood of keys.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $long = $ENV{COZI_LONG};
my $seconds = $long ? 60 : 4;
my $times = $long ? 20 : 8;    # a client calls 2,000 times so often
my $flood = $long ? 10_000_000 : 600_000;

my $node = Warm->new('load');
$node->init;
# jit: its compiler would keep 10 MB of a backend that is to be flat
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 60\njit = off\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION cozi;
CREATE UNLOGGED TABLE seen (number bigint, clock interval, cost int);
CREATE UNLOGGED TABLE refusals (before interval, after interval);
CREATE UNLOGGED TABLE callers (admitted int, refused int);
-- A log holds a second of admissions.  What every caller has read of it is all
-- of them, unless all callers slept for a second, whose admissions then lack.
CREATE VIEW admissions AS SELECT DISTINCT number, clock, cost FROM seen;

-- The limiter's clock, read off a log of one call that does not expire.
SELECT cozi.rate_limit('clock', 1, '365 days');
CREATE FUNCTION limiter_clock() RETURNS interval LANGUAGE sql VOLATILE AS
    $$SELECT clock + age FROM cozi.rate_limit_log('clock', '365 days')$$;

-- A caller reads the log after each admission, and remembers between which two
-- moments each refusal was.
CREATE FUNCTION caller(seconds int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    until    timestamptz := clock_timestamp() + make_interval(secs => seconds);
    c1       interval := limiter_clock();
    c2       interval;
    before   interval[] := '{}';
    after    interval[] := '{}';
    last     bigint := 0;
    admitted int := 0;
BEGIN
    WHILE clock_timestamp() < until LOOP
        IF cozi.rate_limit('hot', 100, '1 s') THEN
            admitted := admitted + 1;
            WITH new AS (
                INSERT INTO seen
                SELECT l.number, l.clock, l.cost FROM cozi.rate_limit_log('hot', '1 s') l
                WHERE l.number > last RETURNING number)
            SELECT coalesce(max(number), last) INTO last FROM new;
            c1 := limiter_clock();
        ELSE
            c2 := limiter_clock();
            before := before || c1;
            after := after || c2;
            c1 := c2;
        END IF;
    END LOOP;
    INSERT INTO refusals SELECT * FROM unnest(before, after);
    INSERT INTO callers VALUES (admitted, cardinality(before));
END
$$;

-- One more admission, by its number in the log: how many there were before.
CREATE FUNCTION admissions_of_log() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    tried bigint := 0;
    number bigint;
BEGIN
    WHILE number IS NULL LOOP
        IF cozi.rate_limit('hot', 100, '1 s') THEN
            tried := tried + 1;
            SELECT max(l.number) INTO number FROM cozi.rate_limit_log('hot', '1 s') l;
        END IF;
    END LOOP;
    RETURN number - tried;
END
$$;
SQL

my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/script", "SELECT caller($seconds);\n");
my ($out, $err) = run_command([ 'pgbench', '-n', '-c', 32, '-j', 2, '-t', 1, '-f', "$dir/script",
	'-d', $node->connstr('postgres') ]);
like($out, qr{number of transactions actually processed: 32/32}, '32 callers ran')
	or diag("$out\n$err");

my ($admitted, $refused) = split /\|/, $node->safe_psql('postgres',
	'SELECT sum(admitted), sum(refused) FROM callers');
note("$admitted admitted, $refused refused in $seconds s");
is($node->safe_psql('postgres', 'SELECT admissions_of_log()'), $admitted,
	'no admission was lost: the callers and the log count the same');
my ($known, $largest, $cost) = split /\|/, $node->safe_psql('postgres',
	'SELECT count(DISTINCT number), max(number), sum(cost) FROM admissions');
note("$known of $admitted admissions were read off the log");
is($cost, $known, 'every reader of the log saw an admission at one time and at a cost of 1');
cmp_ok($largest, '<=', $admitted, 'the log holds no more admissions than callers were told of');
cmp_ok($known, '>', 100, 'the budget came back');
cmp_ok($refused, '>', 0, 'the key was saturated');
is($node->safe_psql('postgres', q(SELECT count(*) FROM admissions a
    JOIN admissions b ON b.number = a.number + 100 WHERE b.clock - a.clock < '1 s')),
	0, 'no window of a second holds more than 100 admissions');
is($node->safe_psql('postgres', q(SELECT count(*)
    FROM (SELECT clock < lag(clock) OVER (ORDER BY number) AS back FROM admissions) s WHERE back)),
	0, 'the log is in order');

# A refusal is right if the window was full at some moment between its two
# readings of the clock: the 100th last admission before `after` was then still
# less than a second old.  Refusals beside an admission that no caller read are
# not judged.
is($node->safe_psql('postgres', q(
	WITH full_until AS (SELECT b.clock, a.clock + interval '1 s' AS until
		FROM admissions a JOIN admissions b ON b.number = a.number + 99),
	gaps AS (SELECT clock - interval '1 s' AS gap FROM (SELECT clock, number - lag(number) OVER
		(ORDER BY number) AS step FROM admissions) n WHERE step > 1),
	events AS (SELECT after AS at, 1 AS kind, before, NULL::interval AS until FROM refusals
		WHERE NOT EXISTS (SELECT FROM gaps WHERE after BETWEEN gap - interval '2 s'
			AND gap + interval '2 s')
		UNION ALL SELECT clock, 0, NULL, until FROM full_until),
	judged AS (SELECT kind, before, max(until) OVER (ORDER BY at, kind) AS until FROM events)
	SELECT count(*) FROM judged WHERE kind = 1 AND (until IS NULL OR until <= before))),
	0, 'no call was refused while the window had room');

# gcra on one key: every call leaves its debt, and the even rate is kept
$node->safe_psql('postgres', q(
	CREATE UNLOGGED TABLE passed (n bigint);
	-- Call until a call is refused: how many passed, and between which two
	-- moments that one was refused.
	CREATE FUNCTION fill(max_calls int, per interval, OUT n bigint, OUT before interval,
		OUT after interval)
	LANGUAGE plpgsql AS $$
	BEGIN
		n := -1;
		LOOP
			n := n + 1;
			before := limiter_clock();
			EXIT WHEN NOT cozi.rate_limit('hot', max_calls, per, 1, 'gcra');
		END LOOP;
		after := limiter_clock();
	END $$));
sub hammer
{
	my ($limit) = @_;
	append_to_file("$dir/gcra.sql",
		"INSERT INTO passed SELECT count(*) FROM generate_series(1, 2000) i
			WHERE cozi.rate_limit('hot' || repeat('', i), $limit, 1, 'gcra');\n");
	run_command([ 'pgbench', '-n', '-c', 16, '-j', 2, '-t', $times, '-f', "$dir/gcra.sql", '-d',
		$node->connstr('postgres') ]);
	unlink "$dir/gcra.sql";
	return;
}
my $unlimited = q(2147483647, '36500 days');      # one call is paid off in 1.47 s
my $began = $node->safe_psql('postgres', 'SELECT extract(epoch FROM limiter_clock())');
hammer($unlimited);
my ($span, $passed, $owed) = split /\|/, $node->safe_psql('postgres', qq(
	SELECT extract(epoch FROM limiter_clock()) - $began, (SELECT sum(n) FROM passed),
		2147483647 - (SELECT remaining FROM cozi.rate_limit_peek('hot', $unlimited, 1, 'gcra'))));
note("gcra: $passed admitted in $span s, $owed owed");
is($passed, 16 * $times * 2000, 'gcra: every call passed');
cmp_ok($owed, '<=', $passed, 'gcra: none counted twice');
cmp_ok($owed, '>=', $passed - $span / 1.4 - 2, 'gcra: none was lost');

# From one refusal to another a call passes each 10 ms.  Only a server that
# stood still for a minute would pass fewer.
my $even = q(6000, '60 s');
$node->safe_psql('postgres', "TRUNCATE passed; CREATE TABLE one AS SELECT * FROM fill($even)");
hammer($even);
$node->safe_psql('postgres', "CREATE TABLE two AS SELECT * FROM fill($even)");
my ($least, $most);
($passed, $least, $most) = split /\|/, $node->safe_psql('postgres', q(
	SELECT (SELECT sum(n) FROM passed) + two.n,
		100 * extract(epoch FROM two.before - one.after) - 1,
		100 * extract(epoch FROM two.after - one.before) + 1 FROM one, two));
note("gcra: $passed admitted, between $least and $most");
cmp_ok($passed, '<=', $most, 'gcra: no more calls pass than the even rate');
cmp_ok($passed, '>=', $least, 'gcra: no fewer calls pass than the even rate');

# a flood of keys: memory is flat, and denied keys stay denied
for my $alg (qw(exact gcra))
{
	$node->restart;
	$node->safe_psql('postgres',
		"SELECT cozi.rate_limit('denied' || i, 5, '1 hour', 5, '$alg')
			FROM generate_series(1, 2000) i");
	$node->safe_psql('postgres',
		"SELECT cozi.rate_limit('partly' || i, 5, '1 hour', 2, '$alg')
			FROM generate_series(1, 2000) i");
	my $before = $node->safe_psql('postgres', 'SELECT bytes FROM cozi.rate_limit_stats');
	my ($admits, $rss) = split /\|/, $node->safe_psql('postgres', qq(
		SELECT count(*) FROM generate_series(1, 1000) i
			WHERE cozi.rate_limit('warm' || i, 5, '1 hour', 1, '$alg') \\g /dev/null
		SELECT pg_read_file('/proc/self/status') AS a \\gset
		SELECT count(*) AS n FROM generate_series(1, $flood) i
			WHERE cozi.rate_limit('flood' || i, 5, '1 hour', 1, '$alg') \\gset
		SELECT pg_read_file('/proc/self/status') AS b \\gset
		SELECT :n || '|' || substring(:'b' FROM 'RssAnon:\\s*(\\d+)')::int - substring(:'a'
			FROM 'RssAnon:\\s*(\\d+)')::int));
	is($admits, $flood, "$alg flood: each new key passes");
	cmp_ok($rss, '<', 4096, "$alg flood: the backend's own memory is flat ($rss kB)");
	my ($bytes, $evictions, $slots, $used) =
	  split /\|/, $node->safe_psql('postgres',
		'SELECT bytes, evictions, slots, used FROM cozi.rate_limit_stats');
	is($bytes, $before, "$alg flood: the table's memory is what it was");
	cmp_ok($used, '<=', $slots, "$alg flood: $used of $slots slots used");
	my $held = $alg eq 'gcra' ? 'gcra_keys' : 'log_keys';
	cmp_ok($evictions, '>=', $flood - $slots, "$alg flood: $evictions evictions counted");
	cmp_ok(abs($evictions + $node->safe_psql('postgres', "SELECT $held
		FROM cozi.rate_limit_stats") - ($flood + 5000 + ($alg eq 'exact'))), '<=', 1,
		"$alg flood: every key is held or was counted out");
	my $freed = $node->safe_psql('postgres',
		"SELECT count(*) FROM generate_series(1, 2000) i
			WHERE cozi.rate_limit('denied' || i, 5, '1 hour', 1, '$alg')");
	my $lost = $node->safe_psql('postgres',
		"SELECT count(*) FROM generate_series(1, 2000) i,
			LATERAL cozi.rate_limit_peek('partly' || i, 5, '1 hour', 1, '$alg') p
			WHERE p.remaining = 5");
	note(sprintf '%s: %d keys flooded %d slots; denied keys freed %.2f %%, keys that owed 2 of 5 ' .
		'forgotten %.2f %%', $alg, $flood, $slots, $freed / 20, $lost / 20);
	is($freed, 0, "$alg flood: no denied key is let through");
	is($lost, 0, "$alg flood: nor was any forgotten that owed more than the flood");
}
$node->stop;
done_testing();
