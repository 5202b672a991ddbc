-- The rate limiter: decisions, what shares a budget, and the pure steps
-- against the roadmap's sliding log.
SELECT clock_timestamp() AS began \gset
-- 3 calls in an hour
SELECT i, r.* FROM generate_series(1, 4) i,
LATERAL (SELECT cozi.rate_limit('regress three' || repeat('', i), 3, '1 hour')) r(allowed);
-- what is left, and when to come back: an hour after the calls above
SELECT allowed, max_calls, remaining,
       retry_after BETWEEN :'began'::timestamptz + '1 hour' - clock_timestamp()
           AND '1 hour' AS retry_in_an_hour,
       reset_after BETWEEN :'began'::timestamptz + '1 hour' - clock_timestamp()
           AND '1 hour' AS reset_in_an_hour
FROM cozi.rate_limit_info('regress three', 3, '1 hour');
SELECT allowed, max_calls, remaining, retry_after,
       reset_after BETWEEN :'began'::timestamptz + '1 hour' - clock_timestamp()
           AND '1 hour' AS reset_in_an_hour
FROM cozi.rate_limit_info('regress info', 3, '1 hour');
-- a peek counts nothing
SELECT count(*), bool_and(p.allowed), min(p.remaining), max(p.retry_after)
FROM generate_series(1, 10) i, LATERAL cozi.rate_limit_peek('regress info' || repeat('', i), 3,
    '1 hour') p;
SELECT * FROM cozi.rate_limit_peek('regress never called', 3, '1 hour');
SELECT * FROM cozi.rate_limit_peek('regress never called', 3, '1 hour', algorithm => 'gcra');

-- a call may cost more than one
SELECT allowed, remaining FROM cozi.rate_limit_info('regress cost', 10, '1 hour', 7);
SELECT allowed, remaining FROM cozi.rate_limit_info('regress cost', 10, '1 hour', 4);
SELECT allowed, remaining FROM cozi.rate_limit_info('regress cost', 10, '1 hour', 3);
SELECT allowed, remaining FROM cozi.rate_limit_info('regress cost', 100000000, '1 hour', 40000000,
    'gcra');

-- max_calls may change for a live key, and holds at once
SELECT count(*) FILTER (WHERE cozi.rate_limit('regress changed' || repeat('', i), 5, '1 hour'))
FROM generate_series(1, 10) i;
SELECT allowed, remaining FROM cozi.rate_limit_info('regress changed', 8, '1 hour');
SELECT allowed, remaining FROM cozi.rate_limit_info('regress changed', 3, '1 hour');
SELECT allowed, remaining FROM cozi.rate_limit_info('regress changed', 8, '1 hour', 2);
SELECT allowed, remaining FROM cozi.rate_limit_info('regress changed', 8, '1 hour');

-- another key, another "per" and the other algorithm have budgets of their own
SELECT cozi.rate_limit('regress own', 1, '1 hour') AS first,
       cozi.rate_limit('regress own', 1, '1 hour') AS again,
       cozi.rate_limit('regress own ', 1, '1 hour') AS key,
       cozi.rate_limit('regress own', 1, '1 day') AS per,
       cozi.rate_limit('regress own', 1, '1 hour', algorithm => 'gcra') AS algorithm,
       cozi.rate_limit('regress own', 1, '1 day', algorithm => 'gcra') AS gcra_per,
       cozi.rate_limit('regress own', 1, '1 hour', algorithm => 'gcra') AS gcra_again,
       cozi.rate_limit('regress own', 1, '60 min') AS same_per;
-- reset forgets them all
SELECT cozi.rate_limit_reset('regress own'), cozi.rate_limit_reset('regress own'),
    cozi.rate_limit_reset('regress never called');
SELECT cozi.rate_limit('regress own', 1, '1 hour') AS first,
       cozi.rate_limit('regress own ', 1, '1 hour') AS other_key,
       cozi.rate_limit('regress own', 1, '1 day') AS per,
       cozi.rate_limit('regress own', 1, '1 hour', algorithm => 'gcra') AS algorithm,
       cozi.rate_limit('regress own', 1, '1 day', algorithm => 'gcra') AS gcra_per;

-- The budget comes back.  retry_after is kept to the microsecond: a call that
-- comes so much later passes.  On a machine too slow to be refused "per" grows.
DO $$
DECLARE
    r record;
    a text;
    per interval := '10 ms';
    refused int;
    admitted int;
BEGIN
    FOREACH a IN ARRAY ARRAY['exact', 'gcra'] LOOP
        refused := 0;
        admitted := 0;
        WHILE refused < 50 LOOP
            SELECT * INTO r FROM cozi.rate_limit_info('regress patient', 3, per, 1, a);
            IF r.allowed THEN
                admitted := admitted + 1;
                per := per * CASE WHEN admitted % 10 = 0 THEN 2 ELSE 1 END;
                CONTINUE;
            END IF;
            refused := refused + 1;
            admitted := 0;
            PERFORM pg_sleep(extract(epoch FROM r.retry_after));
            IF NOT cozi.rate_limit('regress patient', 3, per, 1, a) THEN
                RAISE EXCEPTION 'refused after retry_after (%)', a;
            END IF;
        END LOOP;
    END LOOP;
END
$$;

-- counted in a transaction that cannot write, and in one that is undone
BEGIN READ ONLY;
SELECT cozi.rate_limit('regress tx', 4, '1 hour');
COMMIT;
BEGIN;
SELECT cozi.rate_limit('regress tx', 4, '1 hour');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT cozi.rate_limit('regress tx', 4, '1 hour');
ROLLBACK TO s;
SELECT cozi.rate_limit('regress tx', 4, '1 hour');
SELECT cozi.rate_limit('regress tx', 4, '1 hour');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT cozi.rate_limit('regress tx', 4, '1 hour');
COMMIT;

-- in a plan that is parallel below it
BEGIN;
CREATE TABLE regress_ratelimit AS SELECT g FROM generate_series(1, 20000) g;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT count(*) FILTER (WHERE cozi.rate_limit('regress parallel' || repeat('', s.g), 10, '1 hour'))
FROM (SELECT g FROM regress_ratelimit WHERE g % 100 = 0) s;
EXPLAIN (COSTS OFF) SELECT cozi.rate_limit('regress parallel' || repeat('', s.g), 10, '1 hour')
FROM (SELECT g FROM regress_ratelimit WHERE g % 100 = 0) s;
ROLLBACK;

-- enforced: an error with retry_after
\set VERBOSITY sqlstate
SELECT cozi.enforce_rate_limit('regress enforce', 1, '1 hour');
SELECT cozi.enforce_rate_limit('regress enforce', 1, '1 hour');
-- under PostgREST: its own SQLSTATE, the response as JSON
BEGIN READ ONLY;
SELECT set_config('request.method', 'GET', true);
SELECT cozi.enforce_rate_limit('regress enforce', 1, '1 hour');
ROLLBACK;
\set VERBOSITY default
CREATE FUNCTION regress_refusal(method text, OUT state text, OUT message text, OUT detail text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('request.method', method, true);
    PERFORM cozi.enforce_rate_limit('regress enforce', 1, '1 hour');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
    detail = PG_EXCEPTION_DETAIL;
END
$$;
SELECT state, message, regexp_replace(detail, '\d', '9', 'g') AS detail FROM regress_refusal('');
SELECT state, message::jsonb - 'details' AS body,
    message::jsonb ->> 'details' ~ '^retry_after=3[56]\d\d\.\d{6}$' AS details,
       detail::jsonb -> 'status' AS status,
       detail::jsonb #>> '{headers,RateLimit-Policy}' AS policy,
       detail::jsonb #>> '{headers,RateLimit}' ~ '^"1-per-3600s";r=0;t=3[56]\d\d$' AS ratelimit,
       (detail::jsonb #>> '{headers,Retry-After}')::int BETWEEN 3500 AND 3600 AS retry_after
FROM regress_refusal('GET');
DROP FUNCTION regress_refusal(text);

-- the log, by the limiter's own clock
SELECT number, cost, age >= '0' AND age < '1 min' AS age, clock > '0' AS clock,
       clock >= lag(clock, 1, clock) OVER (ORDER BY number) AS in_order
FROM cozi.rate_limit_log('regress cost', '1 hour');
SELECT count(*) FROM cozi.rate_limit_log('regress cost', '2 hours');

-- what the administrator sees
SELECT mode IN ('preload', 'dsm') AS mode, slots > 100000 AS slots, used > 0 AS used,
    allowed > 100 AS allowed, denied > 10 AS denied,
       evictions, bytes, since < now() AS since, log_max_calls >= 40000 AS log_max_calls, detail
FROM cozi.rate_limit_stats;

-- bad input names itself
SELECT cozi.rate_limit(NULL, 1, '1 s');
SELECT cozi.rate_limit('regress bad', NULL, '1 s');
SELECT cozi.rate_limit('regress bad', 1, NULL);
SELECT cozi.rate_limit('regress bad', 1, '1 s', NULL);
SELECT cozi.rate_limit('regress bad', 1, '1 s', 1, NULL);
SELECT cozi.rate_limit('', 1, '1 s');
SELECT cozi.rate_limit(repeat('x', 1025), 1, '1 s');
SELECT cozi.rate_limit('regress bad', 0, '1 s');
SELECT cozi.rate_limit('regress bad', 1, '1 s', 0);
SELECT cozi.rate_limit('regress bad', 1, '1 s', 2);
SELECT cozi.rate_limit('regress bad', 1, '0');
SELECT cozi.rate_limit('regress bad', 1, '-1 s');
SELECT cozi.rate_limit('regress bad', 1, '1 month');
SELECT cozi.rate_limit('regress bad', 1, '1 month -30 days');
SELECT cozi.rate_limit('regress bad', 1, '36501 days');
SELECT cozi.rate_limit('regress bad', 1, '2147483647 days');
SELECT cozi.rate_limit('regress bad', 1, '1 s', 1, 'sliding');
SELECT cozi.rate_limit('regress bad', 1, '1 s', 1, 'Exact');
SELECT cozi.rate_limit('regress bad', 1000001, '1 s', 1, 'gcra');
SELECT cozi.rate_limit_reset(NULL);
SELECT cozi.rate_limit_log('regress bad', NULL);
SELECT cozi.gcra_step(now(), NULL, 1, '1 s');
SELECT cozi.gcra_step('infinity', now(), 1, '1 s');
SELECT cozi.gcra_step('294276-12-31 23:59:59+00', '2026-01-01', 1, '1 day');
SELECT cozi.gcra_step(NULL, '294276-12-31 23:59:59+00', 1, '1 day');
SELECT cozi.gcra_step('294276-12-31 23:59:59+00', '4713-01-02 00:00:00+00 BC', 1, '1 day');
SELECT cozi.exact_step('{}', NULL, 1, '1 s');
SELECT cozi.exact_step('{2026-01-02,NULL}', now(), 1, '1 s');
SELECT cozi.exact_step('{2026-01-02,2026-01-01}', now(), 1, '1 s');
SELECT cozi.exact_step('{2026-01-02,infinity}', now(), 1, '1 s');
SELECT cozi.exact_step('{{2026-01-01},{2026-01-02}}', now(), 1, '1 s');
SELECT cozi.exact_step(NULL, now(), 2147483647, '1 s', 2147483647);
-- nothing of it was counted
SELECT remaining FROM cozi.rate_limit_peek('regress bad', 1, '1 s');
-- 'exact' is bounded by its memory, and says so; 'gcra' is not
\set VERBOSITY sqlstate
SELECT cozi.rate_limit('regress bad', 2147483647, '1 day');
\set VERBOSITY default
SELECT cozi.rate_limit('regress large', 2147483647, '1 day', 2147483647, 'gcra'),
    cozi.rate_limit('regress large', 2147483647, '1 day', 1, 'gcra');
SELECT allowed, remaining FROM cozi.rate_limit_info('regress large', 6000, '1 s', 5999);
SELECT allowed, remaining FROM cozi.rate_limit_info('regress large', 40000, '1 day', 39999);
SELECT allowed, remaining FROM cozi.rate_limit_info('regress large', 40000, '1 day', 2);

-- the steps, by hand: 3 in 60 s
SELECT * FROM cozi.exact_step(NULL, '2026-01-01 00:00:00', 3, '60 s');
SELECT * FROM cozi.exact_step('{2026-01-01 00:00:00}', '2026-01-01 00:00:10', 3, '60 s', 2);
SELECT * FROM cozi.exact_step('{2026-01-01 00:00:00,2026-01-01 00:00:10,2026-01-01 00:00:10}',
    '2026-01-01 00:00:59.999999', 3, '60 s');
SELECT * FROM cozi.exact_step('{2026-01-01 00:00:00,2026-01-01 00:00:10,2026-01-01 00:00:10}',
    '2026-01-01 00:01:00', 3, '60 s');
SELECT * FROM cozi.exact_step('{2026-01-01 00:00:00,2026-01-01 00:00:10,2026-01-01 00:00:10}',
    '2026-01-01 00:02:00', 3, '60 s', 3);
SELECT * FROM cozi.gcra_step(NULL, '2026-01-01 00:00:00', 3, '60 s');
SELECT * FROM cozi.gcra_step('2026-01-01 00:00:20', '2026-01-01 00:00:10', 3, '60 s', 2);
SELECT * FROM cozi.gcra_step('2026-01-01 00:01:00', '2026-01-01 00:00:10', 3, '60 s', 2);
SELECT * FROM cozi.gcra_step('2026-01-01 00:01:00', '2026-01-01 00:00:40', 3, '60 s', 2);

-- The roadmap's limiter:  attempts = attempts.filter(t => now - t < window);
-- if (attempts.length >= max) refuse, else attempts.push(now).
\getenv long COZI_LONG
\if :{?long}
\else
\set long 0
\endif
CREATE FUNCTION regress_oracle(decisions int, OUT differences int, OUT enough_admitted boolean,
    OUT enough_refused boolean)
LANGUAGE plpgsql AS $$
DECLARE
    attempts timestamptz[] := '{}';
    state    timestamptz[];
    clock    timestamptz := '2026-01-01';
    per      interval;
    max_calls int;
    cost     int;
    admit    boolean;
    step     record;
    admitted int := 0;
BEGIN
    PERFORM setseed(0.42);
    differences := 0;
    FOR i IN 0 .. decisions - 1 LOOP
        IF i % 500 = 0 THEN
            attempts := '{}';
            state := CASE WHEN random() < 0.5 THEN attempts END;
            per := (ARRAY['60 s', '1 s', '10 us', '24 hours'])[1 + floor(random() * 4)];
            max_calls := (ARRAY[1, 2, 5, 20, 40])[1 + floor(random() * 5)];
        END IF;
        -- bursts, a steady pace, boundaries to the microsecond, silence
        clock := clock + CASE floor(random() * 20)
            WHEN 0 THEN per
            WHEN 1 THEN per - interval '1 us'
            WHEN 2 THEN per * 2 * random()
            ELSE per / max_calls * random() END;
        cost := CASE WHEN random() < 0.8 THEN 1 ELSE 1 + floor(random() * max_calls)::int END;
        attempts := ARRAY(SELECT t FROM unnest(attempts) t WHERE clock - t < per);
        admit := cardinality(attempts) + cost <= max_calls;
        SELECT * INTO step FROM cozi.exact_step(state, clock, max_calls, per, cost);
        IF admit THEN
            attempts := attempts || array_fill(clock, ARRAY[cost]);
            admitted := admitted + 1;
        END IF;
        IF step.allowed <> admit OR step.new_log <> attempts
           OR step.retry_after <> (CASE WHEN admit THEN interval '0'
               ELSE attempts[cardinality(attempts) + cost - max_calls] + per - clock END)
        THEN
            differences := differences + 1;
        END IF;
        state := step.new_log;
    END LOOP;
    enough_admitted := admitted > decisions / 10;
    enough_refused := decisions - admitted > decisions / 10;
END
$$;
SELECT o.* FROM regress_oracle(CASE WHEN :long = 1 THEN 1000000 ELSE 100000 END) o;
DROP FUNCTION regress_oracle(int);

-- gcra against the virtual scheduling algorithm of ITU-T I.371, in numeric seconds
CREATE FUNCTION regress_oracle(decisions int, OUT differences int, OUT enough_admitted boolean,
    OUT enough_refused boolean)
LANGUAGE plpgsql AS $$
DECLARE
    clock     numeric := 0;
    tat       numeric := 0;
    increment numeric;
    tolerance numeric;
    per       int;
    max_calls int;
    cost      int;
    admit     boolean;
    state     timestamptz;
    step      record;
    admitted  int := 0;
BEGIN
    PERFORM setseed(0.42);
    differences := 0;
    FOR i IN 0 .. decisions - 1 LOOP
        IF i % 500 = 0 THEN
            tat := clock;
            state := NULL;
            per := (ARRAY[60, 1, 86400])[1 + floor(random() * 3)];
            max_calls := (ARRAY[1, 3, 7, 100, 6000])[1 + floor(random() * 5)];
            increment := ceil(per * 1000000.0 / max_calls) / 1000000;
        END IF;
        clock := clock + round((random() * random() * 3)::numeric * increment, 6);
        cost := CASE WHEN random() < 0.8 THEN 1 ELSE 1 + floor(random() * max_calls)::int END;
        -- conforming unless the cells come earlier than the tolerance allows
        tolerance := increment * (max_calls - cost);
        admit := clock >= tat - tolerance;
        -- whole microseconds: a double of seconds loses them within decades
        SELECT * INTO step FROM cozi.gcra_step(state,
            '2000-01-01 UTC'::timestamptz + interval '1 us' * (clock * 1000000)::float8, max_calls,
            make_interval(secs => per), cost);
        IF admit THEN
            tat := greatest(tat, clock) + increment * cost;
            admitted := admitted + 1;
        END IF;
        IF step.allowed <> admit OR (admit AND extract(epoch FROM step.new_tat) - 946684800 <> tat)
           OR extract(epoch FROM step.retry_after) <> (CASE WHEN admit THEN 0
               ELSE tat - tolerance - clock END)
        THEN
            differences := differences + 1;
        END IF;
        state := step.new_tat;
    END LOOP;
    enough_admitted := admitted > decisions / 10;
    enough_refused := decisions - admitted > decisions / 10;
END
$$;
SELECT o.* FROM regress_oracle(CASE WHEN :long = 1 THEN 1000000 ELSE 50000 END) o;
DROP FUNCTION regress_oracle(int);

SELECT count(*) FILTER (WHERE cozi.rate_limit_reset(k)) AS cleaned
FROM unnest('{regress three,regress info,regress cost,regress changed,regress own,
"regress own ",regress patient,regress tx,regress parallel,regress enforce,regress large}'::text[])
    k;
