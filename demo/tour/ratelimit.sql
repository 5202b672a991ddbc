\echo
\echo '== Rate limits: in shared memory: a GET counts, a standby counts, a ROLLBACK undoes nothing'
\echo
\echo '-- 101 requests of one user in a READ ONLY transaction; 100 are allowed in any 60 seconds.'
BEGIN READ ONLY;
SELECT call, (r).allowed, (r).remaining, (r).retry_after
FROM (SELECT call, cozi.rate_limit_info('user:42', 100, '60 s') AS r
      FROM generate_series(1, 101) AS call) AS calls
ORDER BY call DESC LIMIT 3;
ROLLBACK;

\echo '-- The transaction is over and undone; its calls still count.'
SELECT * FROM cozi.rate_limit_peek('user:42', 100, '60 s');

\echo '-- What PostgREST receives from a pre-request function: HTTP 429 with its headers.'
\set ON_ERROR_STOP off
BEGIN READ ONLY;
SET LOCAL request.method = 'GET';
SELECT cozi.enforce_rate_limit('user:42', 100, '60 s');
ROLLBACK;
\set ON_ERROR_STOP on

\echo '-- A failed login raises and rolls back: five attempts in 15 minutes all the same.'
CREATE FUNCTION pg_temp.try_login(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT cozi.rate_limit('login:' || name, 5, '15 min') THEN
        RETURN 'try again later';
    END IF;
    RAISE EXCEPTION 'wrong password';
EXCEPTION WHEN raise_exception THEN
    RETURN SQLERRM;     -- everything the block wrote is rolled back
END
$$;
SELECT answer, count(*)
FROM (SELECT pg_temp.try_login('mallory') AS answer FROM generate_series(1, 8)) AS attempts
GROUP BY answer ORDER BY count(*) DESC;

\echo '-- Before a limit goes live: which of six months of comments would it have refused?'
CREATE FUNCTION pg_temp.refused(times timestamptz[], max_calls int, per interval) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    log     timestamptz[];
    t       timestamptz;
    ok      boolean;
    refused int := 0;
BEGIN
    FOREACH t IN ARRAY times LOOP
        SELECT s.allowed, s.new_log INTO ok, log FROM cozi.exact_step(log, t, max_calls, per) s;
        refused := refused + (NOT ok)::int;
    END LOOP;
    RETURN refused;
END
$$;
SELECT l.max_calls || ' in ' || l.per AS "limit",
       count(*) FILTER (WHERE a.refused > 0) AS "authors refused",
       sum(a.refused) AS "comments refused",
       sum(a.n) AS "of comments", count(*) AS "of authors"
FROM (VALUES (3, interval '5 min'), (5, '1 hour'), (10, '1 hour'), (15, '24 hours'))
     l(max_calls, per),
LATERAL (SELECT author_id, count(*) AS n,
                pg_temp.refused(array_agg(created_at ORDER BY created_at),
                                l.max_calls, l.per) AS refused
         FROM comments WHERE author_id IS NOT NULL GROUP BY author_id) a
GROUP BY l.max_calls, l.per ORDER BY l.per, l.max_calls;

\echo '-- The limiter itself: fixed memory, nothing to vacuum.'
SELECT mode, pg_size_pretty(bytes) AS memory, used, slots, allowed, denied, evictions
FROM cozi.rate_limit_stats;
