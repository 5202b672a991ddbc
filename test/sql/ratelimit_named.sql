-- Named limits: definitions, reserved memory, calls, several at once, headers.
SET client_min_messages = warning;
CREATE ROLE regress_limit_app;
GRANT USAGE ON SCHEMA cozi TO regress_limit_app;
GRANT EXECUTE ON FUNCTION cozi.use_rate_limit, cozi.use_rate_limits TO regress_limit_app;

-- created, used by a role that sees no row of it, and described
SELECT cozi.create_rate_limit('regress.login', 3, '1 day', memory => '64kB');
SELECT cozi.create_rate_limit('regress.api', 10, '1 h', 'gcra', '64kB');
SELECT cozi.create_rate_limit('regress.shadow', 1, '1 h', memory => '16kB', shadow => true);
SELECT name, max_calls, per, algorithm, memory, shadow FROM cozi.rate_limit_config ORDER BY name;
SET ROLE regress_limit_app;
SELECT i, cozi.use_rate_limit('regress.login', 'bob' || repeat('', i)) FROM generate_series(1, 5) i;
SELECT cozi.use_rate_limit('regress.login', 'alice', 3),
    cozi.use_rate_limit('regress.login', 'alice', 3);
SELECT count(*) FILTER (WHERE cozi.use_rate_limit('regress.api', 'bob' || repeat('', i)))
FROM generate_series(1, 20) i;
SELECT * FROM cozi.rate_limit_config;
RESET ROLE;
-- in shadow: counted as denied, and let through
SELECT i, cozi.use_rate_limit('regress.shadow', 'bob' || repeat('', i))
FROM generate_series(1, 3) i;
SELECT name, allowed, denied, evictions, log_keys, bytes, bytes_reserved, shadow
FROM cozi.rate_limit_stats WHERE name LIKE 'regress%' ORDER BY name;
-- a named limit's key is nobody else's
SELECT cozi.rate_limit('bob', 1, '15 min'), cozi.rate_limit_reset('bob');
SELECT allowed, remaining FROM cozi.use_rate_limit_info('regress.login', 'bob');
SELECT cozi.reset_rate_limit('regress.login', 'bob'), cozi.reset_rate_limit('regress.login', 'bob');
SELECT allowed, max_calls, remaining, retry_after, reset_after > '23 h' AS reset
FROM cozi.use_rate_limit_info('regress.login', 'bob');

-- all or none: what the narrow one refuses, the broad one has not counted
SELECT allowed, name, max_calls, remaining, retry_after
FROM cozi.use_rate_limits('{regress.api,regress.login}', '{carol,carol}', 2);
SELECT allowed, name, max_calls, remaining, retry_after > '23 h' AS retry
FROM cozi.use_rate_limits('{regress.api,regress.login}', '{carol,carol}', 2);
SELECT allowed, remaining FROM cozi.use_rate_limit_info('regress.api', 'carol');
-- a limit in shadow does not keep the others from counting
SELECT i, (r).allowed, (r).name, (r).remaining
FROM (SELECT i, cozi.use_rate_limits('{regress.shadow,regress.login}', ARRAY['dave',
    'dave' || repeat('', i)]) AS r FROM generate_series(1, 4) i) x;
-- the one that refuses for the longest time is told
SELECT allowed, name FROM cozi.use_rate_limits('{regress.login,regress.api,regress.shadow}',
    '{dave,bob,dave}');

-- altered without touching code: the new limit holds at once, and in this session
SELECT cozi.alter_rate_limit('regress.login', 5);
SELECT allowed, max_calls, remaining FROM cozi.use_rate_limit_info('regress.login', 'alice');
SELECT cozi.alter_rate_limit('regress.shadow', shadow => false);
SELECT cozi.use_rate_limit('regress.shadow', 'bob');
UPDATE cozi.rate_limit_config SET max_calls = 2 WHERE name = 'regress.shadow';
SELECT cozi.use_rate_limit('regress.shadow', 'bob'), cozi.use_rate_limit('regress.shadow', 'bob');
SELECT cozi.alter_rate_limit('regress.login', memory => '128kB');
SELECT bytes_reserved FROM cozi.rate_limit_stats WHERE name = 'regress.login';
SELECT cozi.use_rate_limit('regress.login', 'alice'), cozi.use_rate_limit('regress.login', 'alice');
BEGIN;
SELECT cozi.alter_rate_limit('regress.login', memory => '64kB');
ROLLBACK;
SELECT bytes_reserved FROM cozi.rate_limit_stats WHERE name = 'regress.login';
SELECT cozi.use_rate_limit('regress.login', 'alice');

-- a limit is altered and dropped by the role that created it: no other may, and
-- the owner of the extension may change all
CREATE ROLE regress_limit_owner;
CREATE ROLE regress_limit_other;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_limit_owner');
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_limit_other');
SET ROLE regress_limit_owner;
SELECT cozi.create_rate_limit('regress.owned', 1, '1 h', memory => '16kB');
SELECT cozi.alter_rate_limit('regress.owned', 2);
SET ROLE regress_limit_other;
SELECT cozi.alter_rate_limit('regress.owned', 1000000);
SELECT cozi.drop_rate_limit('regress.owned');
SELECT cozi.drop_rate_limit('regress.login');
SELECT cozi.create_rate_limit('regress.owned', 1, '1 h');
SELECT * FROM cozi.rate_limit_stats;
RESET ROLE;
SELECT max_calls, owner FROM cozi.rate_limit_config WHERE name = 'regress.owned';
SELECT cozi.alter_rate_limit('regress.owned', 3);
-- the role that is gone owns it no more
BEGIN;
DROP OWNED BY regress_limit_owner;
DROP ROLE regress_limit_owner;
SET LOCAL ROLE regress_limit_other;
SAVEPOINT s;
SELECT cozi.drop_rate_limit('regress.owned');
ROLLBACK TO s;
RESET ROLE;
SELECT cozi.drop_rate_limit('regress.owned');
ROLLBACK;
SET ROLE regress_limit_owner;
SELECT cozi.drop_rate_limit('regress.owned');
RESET ROLE;
DROP OWNED BY regress_limit_owner, regress_limit_other;
DROP ROLE regress_limit_owner, regress_limit_other;

-- transactions: what is rolled back has no memory, what is dropped gives it back at commit
CREATE FUNCTION pg_temp.reserved() RETURNS bigint
LANGUAGE sql AS 'SELECT bytes_reserved FROM cozi.rate_limit_stats WHERE name IS NULL';
SELECT pg_temp.reserved() AS before \gset
BEGIN;
SELECT cozi.create_rate_limit('regress.undone', 5, '1 h', memory => '64kB');
SELECT cozi.use_rate_limit('regress.undone', 'bob');
SELECT pg_temp.reserved() - :before AS taken;
ROLLBACK;
SELECT pg_temp.reserved() - :before AS taken;
SELECT cozi.use_rate_limit('regress.undone', 'bob');
BEGIN;
SAVEPOINT a;
SELECT cozi.create_rate_limit('regress.undone', 5, '1 h', memory => '64kB');
ROLLBACK TO a;
SELECT pg_temp.reserved() - :before AS taken;
SAVEPOINT b;
SELECT cozi.create_rate_limit('regress.kept', 5, '1 h', memory => '64kB');
RELEASE b;
COMMIT;
SELECT pg_temp.reserved() - :before AS taken;
BEGIN;
SELECT cozi.drop_rate_limit('regress.kept');
SELECT pg_temp.reserved() - :before AS taken;
ROLLBACK;
SELECT cozi.use_rate_limit('regress.kept', 'bob');
BEGIN;
SELECT cozi.drop_rate_limit('regress.kept');
SELECT cozi.create_rate_limit('regress.kept', 7, '1 h', memory => '128kB');
ROLLBACK;
SELECT max_calls, remaining FROM cozi.use_rate_limit_info('regress.kept', 'bob');
SELECT pg_temp.reserved() - :before AS taken;
SELECT cozi.drop_rate_limit('regress.kept');
SELECT pg_temp.reserved() - :before AS taken;
BEGIN;
SELECT cozi.create_rate_limit('regress.undone', 5, '1 h', memory => '64kB');
PREPARE TRANSACTION 'regress';
SELECT pg_temp.reserved() - :before AS taken;

-- READ ONLY, and rolled back: counted all the same
BEGIN READ ONLY;
SELECT cozi.use_rate_limit('regress.login', 'eve', 5);
ROLLBACK;
SELECT cozi.use_rate_limit('regress.login', 'eve');
BEGIN READ ONLY;
SELECT cozi.create_rate_limit('regress.never', 1, '1 s');
ROLLBACK;

-- memory ends: what is left is told, and the largest log must fit
\set VERBOSITY sqlstate
SELECT cozi.create_rate_limit('regress.large', 5, '1 h', memory => '1TB');
SELECT cozi.create_rate_limit('regress.large', 5, '1 h', memory => '9223372036854775807');
\set VERBOSITY default
SELECT cozi.create_rate_limit('regress.large', 1000000, '1 h', memory => '16kB');
SELECT cozi.create_rate_limit('regress.large', 1000000, '1 h', 'gcra', '16kB');
SELECT cozi.use_rate_limit('regress.large', 'bob', 999999),
    cozi.use_rate_limit('regress.large', 'bob', 2);
SELECT cozi.drop_rate_limit('regress.large');

-- bad input
SELECT cozi.create_rate_limit('regress.login', 3, '15 min');
SELECT cozi.create_rate_limit('no blank', 3, '15 min');
SELECT cozi.create_rate_limit('', 3, '15 min');
SELECT cozi.create_rate_limit(repeat('x', 64), 3, '15 min');
SELECT cozi.create_rate_limit(NULL, 3, '15 min');
SELECT cozi.create_rate_limit('regress.bad', NULL, '15 min');
SELECT cozi.create_rate_limit('regress.bad', 3, NULL);
SELECT cozi.create_rate_limit('regress.bad', 3, '1 s', NULL);
SELECT cozi.create_rate_limit('regress.bad', 3, '1 s', shadow => NULL);
SELECT cozi.create_rate_limit('regress.bad', 0, '1 s');
SELECT cozi.create_rate_limit('regress.bad', 3, '1 month');
SELECT cozi.create_rate_limit('regress.bad', 3, '1 s', 'sliding');
SELECT cozi.create_rate_limit('regress.bad', 3, '2 us', 'gcra');
SELECT cozi.create_rate_limit('regress.bad', 3, '1 s', memory => 'much');
SELECT cozi.create_rate_limit('regress.bad', 3, '1 s', memory => '1kB');
SELECT cozi.alter_rate_limit('regress.none', 3);
SELECT cozi.alter_rate_limit('regress.login', algorithm => 'gcra');
SELECT cozi.drop_rate_limit('regress.none');
SELECT cozi.use_rate_limit('regress.none', 'bob');
SELECT cozi.use_rate_limit(repeat('x', 100), 'bob');
SELECT cozi.use_rate_limit(NULL, 'bob');
SELECT cozi.use_rate_limit('regress.login', NULL);
SELECT cozi.use_rate_limit('regress.login', 'bob', NULL);
SELECT cozi.use_rate_limit('regress.login', '');
SELECT cozi.use_rate_limit('regress.login', 'bob', 0);
SELECT cozi.use_rate_limit('regress.login', 'bob', 6);
SELECT cozi.use_rate_limits(NULL, '{bob}');
SELECT cozi.use_rate_limits('{regress.login}', NULL);
SELECT cozi.use_rate_limits('{regress.login}', '{bob,bob}');
SELECT cozi.use_rate_limits('{}', '{}');
SELECT cozi.use_rate_limits('{regress.login,NULL}', '{bob,bob}');
SELECT cozi.use_rate_limits('{{regress.login}}', '{{bob}}');
SELECT cozi.use_rate_limits('{regress.login,regress.login}', '{bob,bob}');
SELECT cozi.use_rate_limits('{regress.login,regress.none}', '{bob,bob}');
SELECT cozi.use_rate_limits(array_fill('regress.login'::text, '{17}'), array_agg('k' || i))
FROM generate_series(1, 17) i;
-- the table refuses what no limit could be
INSERT INTO cozi.rate_limit_config VALUES ('regress.bad', 1, '1 month', 'exact', NULL, false,
    'owner');
INSERT INTO cozi.rate_limit_config VALUES ('regress.bad', 1, '1 month -30 days', 'exact', NULL,
    false, 'owner');
-- nothing of it was counted
SELECT remaining FROM cozi.use_rate_limit_info('regress.login', 'frank');

-- enforced: the limit is named, under PostgREST in the headers of each answer
SELECT cozi.enforce_rate_limits('{regress.login,regress.api}', '{gina,gina}', 5);
\set VERBOSITY sqlstate
SELECT cozi.enforce_rate_limits('{regress.login,regress.api}', '{gina,gina}', 5);
\set VERBOSITY default
BEGIN READ ONLY;
SET LOCAL request.method = 'GET';
SELECT cozi.enforce_rate_limits('{regress.login,regress.api}', '{hugo,hugo}');
SELECT h FROM jsonb_array_elements(current_setting('response.headers')::jsonb) h;
SET LOCAL response.headers = '[{"X-Mine": "1"}]';
SELECT cozi.enforce_rate_limit('regress hugo', 1, '250 ms');
SELECT h FROM jsonb_array_elements(current_setting('response.headers')::jsonb) h;
ROLLBACK;
CREATE FUNCTION regress_refusal(OUT state text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cozi.enforce_rate_limits('{regress.login,regress.api}', '{gina,gina}', 5);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
    detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;
SELECT state, message, regexp_replace(detail, '\d', '9', 'g') AS detail, hint
FROM regress_refusal();
SET request.method = 'POST';
SELECT state, message::jsonb - 'details' AS body,
    detail::jsonb #>> '{headers,RateLimit-Policy}' AS policy,
       detail::jsonb #>> '{headers,RateLimit}' ~ '^"regress.login";r=0;t=8[456]\d\d\d$' AS ratelimit
FROM regress_refusal();
RESET request.method;
DROP FUNCTION regress_refusal();

SELECT cozi.drop_rate_limit(name) FROM cozi.rate_limit_config WHERE name LIKE 'regress%'
ORDER BY name;
SELECT pg_temp.reserved();
REVOKE ALL ON FUNCTION cozi.use_rate_limit, cozi.use_rate_limits FROM regress_limit_app;
REVOKE USAGE ON SCHEMA cozi FROM regress_limit_app;
DROP ROLE regress_limit_app;
