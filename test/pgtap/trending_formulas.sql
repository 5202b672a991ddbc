-- Contracts of the formulas and of heat: names, labels, privileges, SQLSTATEs.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

-- pure functions: immutable, strict, parallel safe, float8, for everybody
CREATE TEMP TABLE pure (signature text);
INSERT INTO pure VALUES
    ('hot(bigint,bigint,timestamptz)'), ('gravity(bigint,timestamptz,timestamptz,float8)'),
    ('hacker_news(bigint,timestamptz,timestamptz,float8)'),
    ('hot_rank(bigint,timestamptz,timestamptz)'),
    ('scaled_rank(bigint,timestamptz,bigint,timestamptz)'),
    ('controversy(bigint,bigint)'), ('wilson_lower(bigint,bigint,float8)'),
    ('wilson_upper(bigint,bigint,float8)'),
    ('bayesian_average(float8,bigint,float8,float8)'), ('heat(float8,timestamptz,interval)'),
    ('heat_add(float8,float8,timestamptz,interval)'), ('heat_merge(float8,float8)'),
    ('heat_value(float8,interval,timestamptz)');
SELECT is((SELECT format('%s %s %s %s %s', provolatile, proisstrict, proparallel, proretset,
    prorettype::regtype)
           FROM pg_proc WHERE oid = ('cozi.' || signature)::regprocedure),
          'i t s f double precision', signature || ': labels') FROM pure;
SELECT ok(has_function_privilege('public', ('cozi.' || signature)::regprocedure, 'EXECUTE'),
    signature || ': for PUBLIC') FROM pure;
SELECT ok(NOT (SELECT proleakproof OR prosecdef FROM pg_proc
    WHERE oid = ('cozi.' || signature)::regprocedure),
          signature || ': neither leakproof nor security definer') FROM pure;
SELECT is((SELECT proargnames[1:pronargs]::text FROM pg_proc
    WHERE oid = ('cozi.' || signature)::regprocedure), names, signature || ': argument names')
FROM (VALUES ('hot(bigint,bigint,timestamptz)', '{ups,downs,created_at}'),
             ('gravity(bigint,timestamptz,timestamptz,float8)',
                 '{points,created_at,as_of,gravity}'),
             ('hacker_news(bigint,timestamptz,timestamptz,float8)',
                 '{points,created_at,as_of,gravity}'),
             ('hot_rank(bigint,timestamptz,timestamptz)', '{score,created_at,as_of}'),
             ('scaled_rank(bigint,timestamptz,bigint,timestamptz)',
                 '{score,created_at,interactions,as_of}'),
             ('controversy(bigint,bigint)', '{ups,downs}'),
             ('wilson_lower(bigint,bigint,float8)', '{ups,downs,z}'),
             ('wilson_upper(bigint,bigint,float8)', '{ups,downs,z}'),
             ('bayesian_average(float8,bigint,float8,float8)', '{sum,n,prior_mean,prior_weight}'),
             ('heat(float8,timestamptz,interval)', '{weight,at,half_life}'),
             ('heat_add(float8,float8,timestamptz,interval)', '{heat,weight,at,half_life}'),
             ('heat_value(float8,interval,timestamptz)', '{heat,half_life,as_of}'),
             ('heat_agg(float8,timestamptz,interval)', '{weight,at,half_life}')) v(signature,
                 names);

-- the aggregate: parallel, with a state that travels
SELECT is((SELECT format('%s %s', p.prokind, p.proparallel) FROM pg_proc p
    WHERE oid = 'cozi.heat_agg(float8,timestamptz,interval)'::regprocedure),
          'a s', 'heat_agg: an aggregate, parallel safe');
SELECT ok((SELECT aggcombinefn <> 0 AND aggserialfn <> 0 AND aggdeserialfn <> 0 FROM pg_aggregate
    WHERE aggfnoid = 'cozi.heat_agg'::regproc),
          'heat_agg: combines and serializes');
SELECT ok(has_function_privilege('public', 'cozi.heat_agg(float8,timestamptz,interval)', 'EXECUTE'),
    'heat_agg: for PUBLIC');
SELECT is((SELECT array_agg(p.proname::text ORDER BY 1) FROM pg_proc p
           WHERE p.pronamespace = 'cozi'::regnamespace AND p.proname LIKE 'heat\_agg\_%'
               AND has_function_privilege('public', p.oid, 'EXECUTE')),
          NULL, 'heat_agg: its parts are nobody''s');

-- defaults
SELECT is(cozi.gravity(100, '2026-01-01', '2026-01-02'),
    cozi.gravity(100, '2026-01-01', '2026-01-02', 1.8), 'gravity is 1.8');
SELECT is(cozi.wilson_lower(10, 3), cozi.wilson_lower(10, 3, 1.96), 'z is 1.96, below');
SELECT is(cozi.wilson_upper(10, 3), cozi.wilson_upper(10, 3, 1.96), 'z is 1.96, above');

-- SQLSTATEs
SELECT throws_ok('SELECT cozi.' || call, code, NULL, call || ': ' || code)
FROM (VALUES
    ('22008', $$hot(1, 0, 'infinity')$$), ('22008', $$hot(1, 0, '-infinity')$$),
    ('22008', $$gravity(1, '-infinity', now())$$), ('22008', $$gravity(1, now(), 'infinity')$$),
    ('22008', $$hot_rank(1, 'infinity', now())$$), ('22008', $$hot_rank(1, now(), '-infinity')$$),
    ('22008', $$scaled_rank(1, '-infinity', 1, now())$$),
    ('22008', $$scaled_rank(1, now(), 1, 'infinity')$$),
    ('22008', $$heat(1, 'infinity', '1 hour')$$),
    ('22008', $$heat_add(1, 1, '-infinity', '1 hour')$$),
    ('22008', $$heat_value(1, '1 hour', 'infinity')$$),
    ('22008', $$heat_agg(1, 'infinity', '1 hour')$$),
    ('22008', $$hacker_news(1, 'infinity', now())$$),
    ('22023', $$hacker_news(1, now(), now(), 'NaN')$$),
    ('22023', $$gravity(1, now(), now(), -1)$$), ('22023', $$gravity(1, now(), now(), 'NaN')$$),
    ('22023', $$gravity(1, now(), now(), 'infinity')$$),
    ('22023', $$scaled_rank(1, now(), -1, now())$$), ('22023', $$controversy(-1, 0)$$),
    ('22023', $$controversy(0, -1)$$),
    ('22023', $$wilson_lower(-1, 0)$$), ('22023', $$wilson_upper(0, -1)$$),
    ('22023', $$wilson_lower(1, 1, -1)$$),
    ('22023', $$wilson_lower(1, 1, 'NaN')$$), ('22023', $$wilson_upper(1, 1, 'infinity')$$),
    ('22023', $$bayesian_average('NaN', 1, 1, 1)$$), ('22023', $$bayesian_average(1, -1, 1, 1)$$),
    ('22023', $$bayesian_average(1, 1, 'NaN', 1)$$), ('22023', $$bayesian_average(1, 1, 1, -1)$$),
    ('22003', $$bayesian_average(1, 1, 1e300, 1e300)$$),
    ('22023', $$heat('NaN', now(), '1 hour')$$), ('22023', $$heat('-infinity', now(), '1 hour')$$),
    ('22023', $$heat_add('NaN', 1, now(), '1 hour')$$), ('22023', $$heat_merge('infinity', 1)$$),
    ('22023', $$heat_value('NaN', '1 hour', now())$$),
    ('22023', $$heat(1, now(), '0')$$), ('22023', $$heat(1, now(), '-1 second')$$),
    ('22023', $$heat(1, now(), '1 month')$$),
    ('22023', $$heat_add(1, 1, now(), '1 year')$$), ('22023', $$heat_value(1, '0', now())$$),
    ('22023', $$heat_agg(1, now(), '-1 day')$$),
    ('22023', $$heat_agg(1, now(), h) FROM (VALUES (interval '1 hour'), ('2 hours')) v(h)$$),
    ('22023', $$heat(1, now(), '2000000000 days')$$),
    ('22003', $$heat_value(231564, '1 hour', '2000-01-01')$$)) v(code, call);
-- infinite intervals came with 17
SELECT CASE WHEN current_setting('server_version_num')::int < 170000
       THEN throws_ok($$SELECT interval 'infinity'$$, '22007', NULL,
           'no infinite half-life before 17')
       ELSE throws_ok($$SELECT cozi.heat(1, now(), 'infinity')$$, '22023',
           'half-life must be finite', 'an infinite half-life') END;

SELECT * FROM finish();
ROLLBACK;
