-- Questions about activities: every figure equals a recount in SQL over raw events.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
SET datestyle = 'ISO, YMD';
SET timezone = 'America/New_York';
CREATE SCHEMA analytics_questions;
SET search_path = analytics_questions, public;

-- Users of every habit: daily, weekly, once, with gaps of 27, 28 and 29 days, at the ends of months
CREATE TABLE events (user_id int, at timestamptz);
SELECT setseed(0.75);
INSERT INTO events
SELECT u, '2026-01-01 00:00+00'::timestamptz + g * interval '1 day' + random() * interval '1 day'
FROM generate_series(1, 30) u, generate_series(0, 180) g
WHERE random() < 0.5 / u OR (u = 30 AND g % 7 = 0);
INSERT INTO events
SELECT 100 + gap, '2026-01-31 23:59:59.6+01'::timestamptz + n * gap * interval '1 day'
FROM generate_series(26, 30) gap, generate_series(0, 4) n;
INSERT INTO events SELECT 200, d + time '22:59:59.7' AT TIME ZONE 'UTC'
FROM unnest('{2025-12-31,2026-01-01,2026-02-28,2026-03-28,2026-03-29,2026-03-31}'::date[]) d;
INSERT INTO events VALUES (201, '2020-02-29 12:00+00'), (201, '2026-04-15 12:00+00'),
    (202, '2026-05-05 12:00+00'), (203, '2026-06-30 21:59:59.5+00'), (203, '2026-06-30 22:00+00'),
    (204, '0900-01-01 00:00+00'), (204, '2026-05-05 12:00+00'), (205, '9000-01-01 00:00+00');
SELECT cozi.create_activity('days', 'events', 'user_id', 'at', 'Europe/Paris');
-- some are folded, and some are pending
INSERT INTO events SELECT u, '2026-03-15'::timestamptz + u * interval '17 hours'
FROM generate_series(1, 60) u;
DELETE FROM events WHERE user_id = 3 AND at > '2026-05-01';
CREATE TABLE truth AS
    SELECT DISTINCT user_id, (at AT TIME ZONE 'Europe/Paris')::date AS day FROM events
    WHERE at < '8000-01-01';
CREATE INDEX ON truth (day);
CREATE INDEX ON truth (user_id, day);
ANALYZE truth;

SELECT * FROM cozi.active_users('days', '2026-01-30', '2026-02-03');
CREATE FUNCTION recount(since date, until date) RETURNS TABLE (
    day date, dau bigint, wau bigint, mau_28d bigint, mau_month bigint, stickiness float8,
    new bigint, "returning" bigint, resurrected bigint, lapsed bigint) LANGUAGE sql AS $$
    WITH first AS (SELECT user_id, min(day) AS day FROM truth GROUP BY 1),
    figures AS (
        SELECT d::date AS day,
            (SELECT count(*) FROM truth t WHERE t.day = d) AS dau,
            (SELECT count(DISTINCT user_id) FROM truth t WHERE t.day BETWEEN d - 6 AND d) AS wau,
            (SELECT count(DISTINCT user_id) FROM truth t WHERE t.day BETWEEN d - 27 AND d) AS mau,
            (SELECT count(DISTINCT user_id) FROM truth t
             WHERE date_trunc('month', t.day) = date_trunc('month', d)) AS in_month,
            (SELECT count(*) FROM first f WHERE f.day = d) AS new,
            (SELECT count(*) FROM truth t JOIN first f USING (user_id)
             WHERE t.day = d AND f.day < d AND EXISTS (
                 SELECT FROM truth o WHERE o.user_id = t.user_id AND o.day BETWEEN d - 28 AND d - 1)
            ) AS back,
            (SELECT count(*) FROM truth t JOIN first f USING (user_id)
             WHERE t.day = d AND f.day < d AND NOT EXISTS (
                 SELECT FROM truth o WHERE o.user_id = t.user_id AND o.day BETWEEN d - 28 AND d - 1)
            ) AS resurrected,
            (SELECT count(*) FROM truth t
             WHERE t.day = d - 28 AND NOT EXISTS (
                 SELECT FROM truth o WHERE o.user_id = t.user_id AND o.day BETWEEN d - 27 AND d)
            ) AS lapsed
        FROM (SELECT since + g AS d FROM generate_series(0, until - since) g) s)
    SELECT day, dau, wau, mau, in_month, dau::float8 / nullif(mau, 0), new, back, resurrected,
           lapsed
    FROM figures;
$$;
-- of every length of a period, and from every day of two months
SELECT count(*) AS differ, min(day) AS first FROM (
    SELECT * FROM cozi.active_users('days', '2025-12-01', '2026-08-15')
    EXCEPT SELECT * FROM recount('2025-12-01', '2026-08-15')) d;
SELECT count(*) FROM (
    SELECT * FROM recount('2025-12-01', '2026-08-15')
    EXCEPT SELECT * FROM cozi.active_users('days', '2025-12-01', '2026-08-15')) d;
SELECT count(*) AS differ
FROM generate_series(0, 60) s,
     LATERAL (SELECT '2026-02-01'::date + s AS since, '2026-02-01'::date + s + s % 9 AS until) p,
     LATERAL (SELECT count(*) AS n FROM (
         SELECT * FROM cozi.active_users('days', p.since, p.until)
         EXCEPT SELECT * FROM cozi.active_users('days', '2026-01-01', '2026-04-30')) d) d
WHERE n > 0;
-- the two sums of the law
SELECT bool_and(dau = new + "returning" + resurrected) AS a,
       bool_and(mau_28d = before + new + resurrected - lapsed) AS b
FROM (SELECT *, lag(mau_28d) OVER (ORDER BY day) AS before
      FROM cozi.active_users('days', '2026-01-01', '2026-08-01')) a;
SELECT count(*), sum(dau), max(mau_28d), count(stickiness)
FROM cozi.active_users('days', '2027-01-01', '2027-01-31');

-- Retention
CREATE FUNCTION recount_retention(unit text, since date, until date, periods int, kind text)
RETURNS TABLE (cohort date, size bigint, period int, users bigint, rate float8)
LANGUAGE sql AS $$
    WITH first AS (
        SELECT user_id, date_trunc(unit, min(day)::timestamp)::date AS cohort
        FROM truth GROUP BY 1),
    cells AS (
        SELECT cohort, count(*) AS size, p AS period,
            (cohort + p * ('1 ' || unit)::interval)::date AS begins,
            (cohort + (p + 1) * ('1 ' || unit)::interval)::date - 1 AS ends
        FROM first, generate_series(0, periods - 1) p
        WHERE cohort BETWEEN since AND until GROUP BY cohort, p)
    SELECT cohort, size, period, n, n::float8 / size
    FROM (SELECT c.*, CASE WHEN ends <= until THEN (
              SELECT count(DISTINCT t.user_id) FROM truth t JOIN first f USING (user_id)
              WHERE f.cohort = c.cohort
              AND t.day BETWEEN c.begins AND CASE kind WHEN 'bounded' THEN c.ends ELSE until END)
          END AS n FROM cells c) c;
$$;
SELECT * FROM cozi.retention('days', 'month', '2026-01-01', '2026-04-15', 4);
SELECT unit, since, until, kind, (SELECT count(*) FROM (
    (SELECT * FROM cozi.retention('days', unit, since, until, 12, 'first', kind)
     EXCEPT SELECT * FROM recount_retention(unit, since, until, 12, kind))
    UNION ALL
    (SELECT * FROM recount_retention(unit, since, until, 12, kind)
     EXCEPT SELECT * FROM cozi.retention('days', unit, since, until, 12, 'first', kind))) d)
    AS differ
FROM unnest('{day,week,month}'::text[]) unit, unnest('{bounded,rolling}'::text[]) kind,
     (VALUES ('2026-01-01'::date, '2026-05-31'::date), ('2026-01-14', '2026-03-29'),
             ('2018-12-20', '2026-06-30'), ('2026-02-28', '2026-02-28')) p (since, until)
ORDER BY 1, 2, 4;
-- a cell whose period is not over is NULL, an empty one of a period that is over 0
SELECT period, users FROM cozi.retention('days', 'day', '2026-05-05', '2026-05-07', 5)
WHERE cohort = '2026-05-05';
SELECT users
FROM cozi.retention('days', 'day', '2026-05-05', '2026-05-07', 5, kind => 'on_or_after')
WHERE cohort = '2026-05-05';
-- nothing is known of tomorrow
BEGIN;
INSERT INTO events VALUES (300, now());
SELECT period, users IS NULL AS unknown
FROM cozi.retention('days', 'day', current_date - 2, current_date + 5, 2) WHERE users IS NULL
OR users > 0 ORDER BY 1;
ROLLBACK;

-- Cohorts by signup: who never came belongs to one, too
CREATE TABLE profiles (id int PRIMARY KEY, created_at timestamptz, born timestamp, joined date);
INSERT INTO profiles SELECT u, '2026-01-31 22:59:59.5+00'::timestamptz + u * interval '9 hours',
    '2026-01-31 22:59:59.5'::timestamp + u * interval '9 hours',
    ('2026-01-31 22:59:59.5+00'::timestamptz + u * interval '9 hours') AT TIME ZONE 'Europe/Paris'
FROM generate_series(0, 120) u;
INSERT INTO profiles VALUES (205, NULL), (200, 'infinity');
SELECT * FROM cozi.retention('days', 'month', '2026-01-01', '2026-04-30', 3, 'profiles.created_at');
CREATE FUNCTION recount_signup() RETURNS TABLE (
    cohort date, size bigint, period int, users bigint) LANGUAGE sql AS $$
    WITH signup AS (
        SELECT id, date_trunc('week', created_at AT TIME ZONE 'Europe/Paris')::date AS cohort
        FROM profiles WHERE isfinite(created_at))
    SELECT cohort, count(*), p, CASE WHEN cohort + p * 7 + 6 <= '2026-04-30'
        THEN count(*) FILTER (WHERE EXISTS (
            SELECT FROM truth t WHERE t.user_id = s.id
            AND t.day BETWEEN cohort + p * 7 AND cohort + p * 7 + 6)) END
    FROM signup s, generate_series(0, 5) p WHERE cohort BETWEEN '2026-01-01' AND '2026-04-30'
    GROUP BY cohort, p;
$$;
SELECT c, (SELECT count(*) FROM (
    SELECT cohort, size, period, users
    FROM cozi.retention('days', 'week', '2026-01-01', '2026-04-30', 6, c)
    EXCEPT SELECT * FROM recount_signup()) d) AS differ,
    (SELECT count(*) FROM cozi.retention('days', 'week', '2026-01-01', '2026-04-30', 6, c)) AS cells
FROM unnest('{profiles.created_at,analytics_questions.profiles.born,profiles.joined}'::text[]) c;

-- The documented example of ClickHouse's retention()
CREATE TABLE retention_test (day date, uid int);
INSERT INTO retention_test
SELECT '2020-01-01'::date + g, u FROM generate_series(0, 2) g, generate_series(0, 4 + 5 * g) u;
SELECT cozi.create_activity('tested', 'retention_test', 'uid', 'day');
SELECT * FROM cozi.retention('tested', 'day', '2020-01-01', '2020-01-03', 3);
SELECT cozi.retention_matrix(m, 3, 3)
FROM (SELECT cozi.activity_days(day, '2020-01-01') AS m FROM retention_test GROUP BY uid) u;

-- One pass over raw events
SELECT cozi.activity_days(d::date, '2026-03-28')
FROM unnest('{2026-04-03,2026-03-28,2026-03-28,2026-03-27,NULL,infinity}'::date[]) d;
SELECT cozi.activity_days(NULL, '2026-03-28'), cozi.activity_days('2026-03-27', '2026-03-28') = B'';
SELECT cozi.activity_days(NULL, '2026-03-28') IS NULL AS none WHERE false;
SELECT cozi.activity_days(d::date, '2026-03-28') IS NULL AS none FROM unnest('{}'::text[]) d;
SELECT cozi.activity_days('3026-03-27', '2026-03-28');
SELECT cozi.activity_days('2026-03-27', NULL);
SELECT cozi.activity_days('2026-03-27', 'infinity');
SELECT cozi.activity_days('2026-03-27', a::date) FROM unnest('{2026-01-01,2026-01-02}'::text[]) a;
WITH matrix AS MATERIALIZED (
    SELECT cozi.retention_matrix(mask, 40, 181) AS m FROM (
        SELECT cozi.activity_days(day, '2026-01-01') AS mask FROM truth
        WHERE user_id NOT IN (200, 201, 204) GROUP BY user_id) u),
cells AS (
    SELECT '2026-01-01'::date + c AS cohort, p AS period, m[c + 1][p + 1] AS users
    FROM matrix, generate_series(0, 180) c, generate_series(0, 39) p)
SELECT count(*) AS cells, count(r.cohort) AS in_cohorts,
       count(*) FILTER (WHERE CASE WHEN r.cohort IS NOT NULL THEN c.users IS DISTINCT FROM r.users
                                   ELSE c.users > 0 END) AS differ
FROM cells c LEFT JOIN cozi.retention('days', 'day', '2026-01-01', '2026-06-30', 40) r
USING (cohort, period);
-- in one aggregate, of users of three types, the same
WITH masks AS (
    SELECT cozi.retention_matrix(mask, 40, 181) AS m FROM (
        SELECT cozi.activity_days(day, '2026-01-01') AS mask FROM truth GROUP BY user_id) u),
events AS (
    SELECT cozi.retention_of_events(user_id, day, '2026-01-01', 40, 181) AS i,
           cozi.retention_of_events(user_id::bigint << 40, day, '2026-01-01', 40, 181) AS b,
           cozi.retention_of_events(md5(user_id::text)::uuid, day, '2026-01-01', 40, 181) AS u
    FROM truth)
SELECT i = m AS as_ints, b = m AS as_big, u = m AS as_uid FROM masks, events;
SELECT cozi.retention_of_events(u, d::date, '2026-03-28', 2, 2)
FROM (VALUES (1, '2026-03-27'), (1, '2026-03-29'), (2, '2026-03-28'), (2, NULL),
             (NULL, '2026-03-28'), (2, '2026-03-30'), (3, 'infinity'), (4, '-infinity'),
             (2, '2026-03-28')) v(u, d);
SELECT cozi.retention_of_events(1, '2026-03-28', '2026-03-28', 2, 2) IS NULL AS none WHERE false;
SELECT cozi.retention_of_events('a'::text, '2026-03-28', '2026-03-28', 2, 2);
SELECT cozi.retention_of_events(1, '2026-03-28', NULL, 2, 2);
SELECT cozi.retention_of_events(1, '2026-03-28', 'infinity', 2, 2);
SELECT cozi.retention_of_events(1, '2026-03-28', '2026-03-28', 0, 2);
SELECT cozi.retention_of_events(1, '2026-03-28', '2026-03-28', n, 2) FROM generate_series(1, 2) n;
SELECT cozi.retention_matrix(B'1', 0, 1);
SELECT cozi.retention_matrix(B'1', 3000, 3000);
SELECT cozi.retention_matrix(B'1', NULL, 1);
SELECT cozi.retention_matrix(B'1', n, 2) FROM generate_series(1, 2) n;
SELECT cozi.retention_matrix(b, 2, 2) FROM unnest('{01,10,11,001,"",NULL}'::bit varying[]) b;

-- The documented example of ClickHouse's windowFunnel()
CREATE TABLE steps (user_id int, at timestamptz, event int);
INSERT INTO steps VALUES (1, '2019-01-29 10:00:00', 1003), (1, '2019-01-31 09:00:00', 1007),
    (1, '2019-01-30 08:00:00', 1009), (1, '2019-02-01 08:00:00', 1010);
SELECT level, count(*) FROM (
    SELECT cozi.funnel(at, array_position('{1003,1009,1007,1010}', event), '7 days') AS level
    FROM steps GROUP BY user_id) u GROUP BY level;
SELECT within, cozi.funnel(at, step, within) FROM (VALUES
    ('2026-01-01 00:00'::timestamptz, 1), ('2026-01-01 01:00', 2), ('2026-01-01 02:00', 3)
) v (at, step), unnest('{0,1 hour,01:59:59.999999,2 hours,1 day}'::interval[]) within
GROUP BY within ORDER BY within;
-- a later beginning leaves more time; at one instant the lower step is first; steps are not skipped
SELECT n, cozi.funnel(at::timestamptz, step, '1 hour') FROM (VALUES
    (1, '2026-01-01 00:00', 1), (1, '2026-01-01 00:30', 1), (1, '2026-01-01 01:20', 2),
    (2, '2026-01-01 00:00', 2), (2, '2026-01-01 00:00', 1), (2, '2026-01-01 00:00', 3),
    (3, '2026-01-01 00:00', 1), (3, '2026-01-01 00:10', 3),
    (4, '2026-01-01 00:00', 2), (4, NULL, 1), (4, '2026-01-01', NULL), (4, '-infinity', 1),
    (5, '2026-01-01 00:00', 1), (5, '2026-01-01 00:10', 2), (5, '2026-01-01 00:20', 1),
    (5, '2026-01-01 01:15', 3)
) v (n, at, step) GROUP BY n ORDER BY n;
SELECT cozi.funnel(at, event, '1 hour') FROM steps WHERE false;
SELECT cozi.funnel(at, event, '1 hour') FROM steps;
SELECT cozi.funnel(at, 1, '1 month') FROM steps;
SELECT cozi.funnel(at, 1, '-1 hour') FROM steps;
SELECT cozi.funnel(at, 1, NULL) FROM steps;
SELECT cozi.funnel(at, 1, (event - 1002) * interval '1 hour') FROM steps;
SELECT cozi.funnel('2026-01-01', 1, '1 hour') FROM generate_series(1, 1000001);

-- Random sequences against a recount by joins
CREATE TABLE sequences AS
    SELECT u AS user_id,
           '2026-01-01'::timestamptz + (random() * 300)::int * interval '1 minute' AS at,
           1 + (random() * 3)::int AS step
    FROM generate_series(1, 300) u, generate_series(1, 8) g;
SELECT count(*) AS users, count(*) FILTER (WHERE f.depth <> t.depth) AS differ, min(t.depth),
       max(t.depth)
FROM (SELECT user_id, cozi.funnel(at, step, '40 minutes') AS depth FROM sequences GROUP BY 1) f
JOIN (SELECT u.user_id,
      CASE WHEN EXISTS (SELECT FROM sequences a JOIN sequences b USING (user_id)
                        JOIN sequences c USING (user_id) JOIN sequences d USING (user_id)
                        WHERE user_id = u.user_id AND a.step = 1 AND b.step = 2 AND c.step = 3
                        AND d.step = 4 AND a.at <= b.at AND b.at <= c.at AND c.at <= d.at
                        AND d.at <= a.at + interval '40 minutes') THEN 4
           WHEN EXISTS (SELECT FROM sequences a JOIN sequences b USING (user_id)
                        JOIN sequences c USING (user_id)
                        WHERE user_id = u.user_id AND a.step = 1 AND b.step = 2 AND c.step = 3
                        AND a.at <= b.at AND b.at <= c.at
                        AND c.at <= a.at + interval '40 minutes') THEN 3
           WHEN EXISTS (SELECT FROM sequences a JOIN sequences b USING (user_id)
                        WHERE user_id = u.user_id AND a.step = 1 AND b.step = 2 AND a.at <= b.at
                        AND b.at <= a.at + interval '40 minutes') THEN 2
           WHEN EXISTS (SELECT FROM sequences a WHERE user_id = u.user_id AND a.step = 1) THEN 1
           ELSE 0 END AS depth
      FROM (SELECT DISTINCT user_id FROM sequences) u) t USING (user_id);

-- Engagement: small numbers do not win
SELECT post, (e).interactions, (e).impressions, round((e).rate::numeric, 4) AS rate,
       round((e).lower::numeric, 4) AS lower, round((e).upper::numeric, 4) AS upper,
       (e).lower = cozi.wilson_lower((e).interactions, (e).impressions - (e).interactions) AS same
FROM (SELECT post, cozi.engagement(event = 'like', event = 'view') AS e
      FROM (SELECT 1 AS post, 'view' AS event FROM generate_series(1, 1000)
            UNION ALL SELECT 1, 'like' FROM generate_series(1, 300)
            UNION ALL SELECT 2, unnest('{view,like,comment,NULL}'::text[])
            UNION ALL SELECT 3, unnest('{view,view}'::text[])) v GROUP BY post) p
ORDER BY (e).lower DESC;
SELECT cozi.engagement(event = 'like', event = 'view') FROM (VALUES ('like')) v (event);
SELECT cozi.engagement(e, e) FROM unnest('{}'::boolean[]) e;
-- more interactions than impressions: the bounds are those of all
SELECT (cozi.engagement(e = 'i', e = 'v')).* FROM unnest('{i,i,v}'::text[]) e;

-- Parallel equals serial
CREATE TABLE many AS
    SELECT (random() * 500)::int AS user_id, '2026-01-01'::date + (random() * 90)::int AS day,
           '2026-01-01'::timestamptz + random() * interval '3 days' AS at,
           1 + (random() * 4)::int AS step
    FROM generate_series(1, 30000);
ANALYZE many;
CREATE FUNCTION answers() RETURNS TABLE (a text) LANGUAGE sql AS $$
    SELECT md5(string_agg(user_id || ' ' || mask || ' ' || depth || ' ' || e, ',' ORDER BY user_id))
    FROM (SELECT user_id, cozi.activity_days(day, '2026-01-01') AS mask,
                 cozi.funnel(at, step, '5 hours') AS depth,
                 cozi.engagement(step = 1, step > 2)::text AS e FROM many GROUP BY user_id) u
    UNION ALL
    SELECT cozi.retention_matrix(cast(lpad('1', 1 + user_id % 50, '0') AS bit varying), 3, 5)::text
    FROM many WHERE user_id % 50 < 5
    UNION ALL
    SELECT cozi.retention_of_events(user_id, day, '2026-01-01', 20, 30)::text FROM many
$$;
CREATE TABLE serial AS SELECT * FROM answers();
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT * FROM answers() EXCEPT SELECT * FROM serial;
SELECT count(DISTINCT a) FROM serial;
EXPLAIN (COSTS off)
SELECT cozi.funnel(at, step, '5 hours'), cozi.activity_days(day, '2026-01-01'),
       cozi.engagement(step = 1, step > 2) FROM many;
EXPLAIN (COSTS off)
SELECT cozi.retention_matrix(B'1', 3, 3), cozi.retention_of_events(user_id, day, day, 3, 3)
FROM many;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- More users than fit into memory are read in passes, and where those would be many
-- grouped by the executor, with the same answers
CREATE TABLE crowd (user_id bigint, created_at date);
INSERT INTO crowd SELECT g - 2000, '2026-01-20'::date + (g::bigint * g * n % 47)::int
FROM generate_series(1, 12000) g, generate_series(1, 2) n;
SELECT cozi.create_activity('crowd_days', 'crowd', 'user_id');
CREATE VIEW crowd_answers AS
SELECT (SELECT md5(string_agg(a::text, ',' ORDER BY day))
        FROM cozi.active_users('crowd_days', '2026-02-01', '2026-02-28') a) AS active,
       (SELECT md5(string_agg(r::text, ',' ORDER BY cohort, period))
        FROM cozi.retention('crowd_days', 'day', '2026-01-21', '2026-03-10', 40) r) AS retention,
       (SELECT md5(string_agg(r::text, ',' ORDER BY cohort, period))
        FROM cozi.retention('crowd_days', 'week', '2017-01-01', '2026-03-10', 9) r) AS long;
CREATE TABLE in_memory AS SELECT * FROM crowd_answers;
SET work_mem = '64kB';
SELECT count(*) AS same FROM crowd_answers JOIN in_memory USING (active, retention, long);
SELECT cozi.retention_of_events(user_id, created_at, '2026-01-20', 50, 50) FROM crowd;
RESET work_mem;
SELECT dau, new = (SELECT count(*) FROM (SELECT FROM crowd GROUP BY user_id
                                         HAVING min(created_at) = '2026-02-01') u) AS new
FROM cozi.active_users('crowd_days', '2026-02-01', '2026-02-01');
SELECT mau_28d, mau_28d = (SELECT count(DISTINCT user_id) FROM crowd
                           WHERE created_at BETWEEN '2026-01-20' AND '2026-02-16') AS right
FROM cozi.active_users('crowd_days', '2026-02-16', '2026-02-16');
DROP VIEW crowd_answers;

-- Empty, one user, and what is refused
CREATE TABLE nothing (user_id uuid, created_at timestamptz);
SELECT cozi.create_activity('empty', 'nothing', 'user_id');
SELECT * FROM cozi.active_users('empty', '2026-01-31', '2026-02-01');
SELECT * FROM cozi.retention('empty', 'week', '2026-01-01', '2026-02-01', 3);
INSERT INTO nothing
VALUES ('00000000-0000-4000-8000-000000000001', '2026-02-28 23:59:59.999999+00');
SELECT * FROM cozi.active_users('empty', '2026-02-28', '2026-03-01');
SELECT * FROM cozi.retention('empty', 'month', '2026-02-01', '2026-03-31', 3);
SELECT * FROM cozi.active_users('empty', '2026-02-01', '2026-01-31');
SELECT * FROM cozi.active_users('empty', '2016-02-01', 'infinity');
SELECT * FROM cozi.active_users('empty', '1900-02-01', '2026-01-01');
SELECT * FROM cozi.active_users('empty', NULL, '2026-01-01');
SELECT * FROM cozi.active_users('nothing', '2026-01-01', '2026-01-01');
SELECT * FROM cozi.retention('empty', 'year', '2026-01-01', '2026-01-01', 1);
SELECT * FROM cozi.retention('empty', 'day', '2026-01-01', '2026-01-01', 0);
SELECT * FROM cozi.retention('empty', 'day', '2020-01-01', '2026-01-01', 3000);
SELECT * FROM cozi.retention('empty', 'day', '2026-01-01', '2026-01-01', 1, kind => 'unbounded');
SELECT * FROM cozi.retention('empty', 'day', '2026-01-01', '2026-01-01', 1, 'created_at');
SELECT * FROM cozi.retention('empty', 'day', '2026-01-01', '2026-01-01', 1, 'profiles.nope');
SELECT * FROM cozi.retention('empty', 'day', '2026-01-01', '2026-01-01', 1, 'nowhere.created_at');
SELECT * FROM cozi.retention('empty', 'day', '2026-01-01', '2026-01-01', 1, 'profiles.created_at');
SELECT * FROM cozi.retention('days', 'day', '2026-01-01', '2026-01-01', 1, 'profiles.id');

-- The caller's rights, and the caller's policies
CREATE ROLE regress_analytics_reader;
GRANT USAGE ON SCHEMA analytics_questions, cozi TO regress_analytics_reader;
SET ROLE regress_analytics_reader;
SELECT * FROM cozi.active_users('empty', '2026-02-28', '2026-02-28');
SELECT * FROM cozi.retention('empty', 'day', '2026-02-28', '2026-02-28', 1);
RESET ROLE;
GRANT SELECT ON empty, days, crowd_days TO regress_analytics_reader;
ALTER TABLE empty ENABLE ROW LEVEL SECURITY;
ALTER TABLE crowd_days ENABLE ROW LEVEL SECURITY;
CREATE POLICY part ON crowd_days USING (user_id > 9000);
SET ROLE regress_analytics_reader;
SELECT dau FROM cozi.active_users('empty', '2026-02-28', '2026-02-28');
SELECT dau FROM cozi.active_users('days', '2026-05-05', '2026-05-05');
SELECT mau_28d FROM cozi.active_users('crowd_days', '2026-02-16', '2026-02-16');
SELECT * FROM cozi.retention('days', 'day', '2026-01-01', '2026-01-01', 1, 'profiles.joined');
RESET ROLE;

SELECT cozi.drop_activity(activity) FROM cozi.activities;
DROP SCHEMA analytics_questions CASCADE;
DROP OWNED BY regress_analytics_reader;
DROP ROLE regress_analytics_reader;
