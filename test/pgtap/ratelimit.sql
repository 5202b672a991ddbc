-- The rate limiter's contract: who may call it, what bad input is called.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

-- labels
SELECT is(format('%s %s %s %s', p.provolatile, p.proparallel, p.proisstrict, p.prosecdef),
          CASE WHEN p.proname LIKE '%\_step' THEN 'i s f f' ELSE 'v r f f' END,
              p.proname || ': labels')
FROM pg_proc p
WHERE p.pronamespace = 'cozi'::regnamespace
  AND p.proname IN ('rate_limit', 'rate_limit_info', 'rate_limit_peek', 'enforce_rate_limit',
      'rate_limit_reset',
                    'rate_limit_log', 'rate_limit_stats', 'gcra_step', 'exact_step');

-- privileges: nobody burns another's budget
CREATE ROLE ratelimit_anon;
CREATE ROLE ratelimit_monitor IN ROLE pg_monitor;
CREATE ROLE ratelimit_app;
GRANT USAGE ON SCHEMA cozi TO ratelimit_anon, ratelimit_app, ratelimit_monitor;
SELECT throws_ok(format('SET LOCAL ROLE ratelimit_anon; SELECT %s', c), '42501', NULL,
    'PUBLIC may not: ' || c)
FROM unnest(ARRAY[
    $$cozi.rate_limit('k', 1, '1 s')$$,
    $$cozi.rate_limit_info('k', 1, '1 s')$$,
    $$cozi.rate_limit_peek('k', 1, '1 s')$$,
    $$cozi.enforce_rate_limit('k', 1, '1 s')$$,
    $$cozi.rate_limit_reset('k')$$,
    $$cozi.rate_limit_log('k', '1 s')$$,
    $$cozi.rate_limit_stats()$$,
    $$s FROM cozi.rate_limit_stats s$$]) c;
SELECT throws_ok($$SET LOCAL ROLE ratelimit_anon; SET cozi.rate_limit_on_error = 'allow'$$, '42501',
    NULL, 'a client does not choose what a broken limiter says');
SELECT lives_ok($$SET LOCAL ROLE ratelimit_anon; SELECT cozi.gcra_step(NULL, now(), 1, '1 s'),
    cozi.exact_step(NULL, now(), 1, '1 s'); RESET ROLE$$,
    'PUBLIC may run the pure steps');
SELECT lives_ok($$SET LOCAL ROLE ratelimit_monitor; SELECT * FROM cozi.rate_limit_stats;
RESET ROLE$$, 'pg_monitor may read the statistics');

-- the documented pattern: a function of the app's, with the key fixed
GRANT EXECUTE ON FUNCTION cozi.enforce_rate_limit(text, int, interval, int, text) TO ratelimit_app;
CREATE SCHEMA ratelimit_api AUTHORIZATION ratelimit_app;
SET ROLE ratelimit_app;
CREATE FUNCTION ratelimit_api.check_request() RETURNS void LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$SELECT cozi.enforce_rate_limit('api:' || nullif(current_setting('request.jwt.claim.sub',
        true), ''), 2, '1 hour')$$;
RESET ROLE;
GRANT USAGE ON SCHEMA ratelimit_api TO ratelimit_anon;
SELECT cozi.rate_limit_reset('api:alice'), cozi.rate_limit_reset('api:bob') \g /dev/null
SET request.jwt.claim.sub = 'alice';
SET request.method = 'GET';
SELECT lives_ok('SET LOCAL ROLE ratelimit_anon; SELECT ratelimit_api.check_request(); RESET ROLE',
    'pre-request: first');
SELECT lives_ok('SET LOCAL ROLE ratelimit_anon; SELECT ratelimit_api.check_request(); RESET ROLE',
    'pre-request: second');
SELECT throws_ok('SET LOCAL ROLE ratelimit_anon; SELECT ratelimit_api.check_request()', 'PGRST',
    NULL, 'pre-request: third is refused, for PostgREST');
SET request.jwt.claim.sub = 'bob';
SELECT lives_ok('SET LOCAL ROLE ratelimit_anon; SELECT ratelimit_api.check_request(); RESET ROLE',
    'pre-request: another user passes');
RESET request.jwt.claim.sub;
SELECT throws_ok('SET LOCAL ROLE ratelimit_anon; SELECT ratelimit_api.check_request()', '22004',
    NULL, 'pre-request: no user is an error, not a free pass');
RESET request.method;

-- bad input
SELECT throws_ok(format('SELECT cozi.%s(%s)', f, c.args), c.state, NULL,
    format('%s(%s): %s', f, left(c.args, 40), c.state))
FROM unnest('{rate_limit,rate_limit_info,rate_limit_peek,enforce_rate_limit}'::text[]) f,
(VALUES ($$NULL, 1, '1 s'$$, '22004'),
        ($$'k', NULL, '1 s'$$, '22004'),
        ($$'k', 1, NULL$$, '22004'),
        ($$'k', 1, '1 s', NULL$$, '22004'),
        ($$'k', 1, '1 s', 1, NULL$$, '22004'),
        ($$'', 1, '1 s'$$, '22023'),
        ($$repeat('k', 1025), 1, '1 s'$$, '22023'),
        ($$repeat('ä', 513), 1, '1 s'$$, '22023'),
        ($$'k', 0, '1 s'$$, '22023'),
        ($$'k', -1, '1 s'$$, '22023'),
        ($$'k', '-2147483648', '1 s'$$, '22023'),
        ($$'k', 1, '1 s', 0$$, '22023'),
        ($$'k', 1, '1 s', -5$$, '22023'),
        ($$'k', 5, '1 s', 6$$, '22023'),
        ($$'k', 1, '0 s'$$, '22023'),
        ($$'k', 1, '-1 us'$$, '22023'),
        ($$'k', 1, '1 day -24 hours'$$, '22023'),
        ($$'k', 1, '1 month'$$, '22023'),
        ($$'k', 1, '1 year'$$, '22023'),
        ($$'k', 1, '-1 month 40 days'$$, '22023'),
        ($$'k', 1, '100000 days'$$, '22023'),
        ($$'k', 1, '2147483647 days 2500000000 hours'$$, '22023'),
        ($$'k', 1, '1 s', 1, ''$$, '22023'),
        ($$'k', 1, '1 s', 1, 'log'$$, '22023'),
        ($$'k', 2, '1 us', 1, 'gcra'$$, '22023'),
        ($$'k', 2147483647, '1 s'$$, '22023')) c(args, state);
SELECT throws_ok($$SELECT cozi.rate_limit_reset(NULL)$$, '22004');
SELECT throws_ok($$SELECT cozi.rate_limit_reset('')$$, '22023');
SELECT throws_ok($$SELECT cozi.rate_limit_log(NULL, '1 s')$$, '22004');
SELECT throws_ok($$SELECT cozi.rate_limit_log('k', NULL)$$, '22004');
SELECT throws_ok($$SELECT cozi.rate_limit_log('k', '1 month')$$, '22023');
SELECT throws_ok(format('SELECT cozi.%s(%s)', f, c.args), c.state, NULL,
    format('%s(%s): %s', f, c.args, c.state))
FROM unnest('{gcra_step,exact_step}'::text[]) f,
(VALUES ($$NULL, NULL, 1, '1 s'$$, '22004'),
        ($$NULL, now(), NULL, '1 s'$$, '22004'),
        ($$NULL, now(), 1, NULL$$, '22004'),
        ($$NULL, now(), 1, '1 s', NULL$$, '22004'),
        ($$NULL, 'infinity', 1, '1 s'$$, '22023'),
        ($$NULL, '-infinity', 1, '1 s'$$, '22023'),
        ($$NULL, now(), 0, '1 s'$$, '22023'),
        ($$NULL, now(), 1, '1 s', 2$$, '22023'),
        ($$NULL, now(), 1, '1 mon'$$, '22023'),
        ($$NULL, now(), 1, '0'$$, '22023')) c(args, state);
SELECT throws_ok($$SELECT cozi.gcra_step('-infinity', now(), 1, '1 s')$$, '22023');
SELECT throws_ok($$SELECT cozi.gcra_step(NULL, now(), 2, '1 us')$$, '22023');
SELECT throws_ok($$SELECT cozi.gcra_step(NULL, '294276-12-31 23:59:59+00', 1, '1 day')$$, '22008');
SELECT throws_ok($$SELECT cozi.exact_step('{NULL}', now(), 1, '1 s')$$, '22004');
SELECT throws_ok($$SELECT cozi.exact_step('{infinity}', now(), 1, '1 s')$$, '22023');
SELECT throws_ok($$SELECT cozi.exact_step('{2026-01-02,2026-01-01}', now(), 1, '1 s')$$, '22023');
SELECT throws_ok($$SELECT cozi.exact_step('{{2026-01-01}}', now(), 1, '1 s')$$, '2202E');
SELECT throws_ok($$SELECT cozi.exact_step(NULL, now(), 2147483647, '1 s', 2147483647)$$, '54000');

-- the answer is never null
SELECT ok(NOT cozi.rate_limit('pgtap null', 1, '1 hour') IS NULL
    AND NOT cozi.rate_limit('pgtap null', 1, '1 hour') IS NULL, 'an answer is never null');
SELECT is((SELECT count(*) FROM cozi.rate_limit_info('pgtap null', 1, '1 hour') i
           WHERE num_nulls(i.allowed, i.max_calls, i.remaining, i.retry_after, i.reset_after) = 0),
               1::bigint, 'no part of an answer is null');
SELECT cozi.rate_limit_reset(k) FROM unnest('{pgtap null,api:alice,api:bob}'::text[]) k \g /dev/null

SELECT finish();
ROLLBACK;
