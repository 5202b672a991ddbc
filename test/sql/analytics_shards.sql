-- Activities over shards: counts add up by the user's shard, and masks merge by OR.
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE SCHEMA analytics_shards;
SET search_path = analytics_shards, public;
CREATE TABLE events (user_id int, created_at timestamptz);
SELECT setseed(0.25);
INSERT INTO events
SELECT 1 + floor(60 * random() ^ 2), '2026-01-20'::timestamptz + random() * interval '60 days'
FROM generate_series(1, 2000);
SELECT cozi.create_activity('whole', 'events', 'user_id');

-- Three shards by the user, and two nodes that have events of everybody
CREATE TABLE shard_0 AS SELECT * FROM events WHERE cozi.shard_of(user_id, 3) = 0;
CREATE TABLE shard_1 AS SELECT * FROM events WHERE cozi.shard_of(user_id, 3) = 1;
CREATE TABLE shard_2 AS SELECT * FROM events WHERE cozi.shard_of(user_id, 3) = 2;
CREATE TABLE node_0 AS SELECT * FROM events WHERE extract(day FROM created_at)::int % 2 = 0;
CREATE TABLE node_1 AS SELECT * FROM events WHERE extract(day FROM created_at)::int % 2 = 1;
SELECT cozi.create_activity(s || '_days', s::regclass, 'user_id')
FROM unnest('{shard_0,shard_1,shard_2,node_0,node_1}'::text[]) s;
SELECT sum(n), count(*) AS shards, min(n) > 0 AS all_have_users
FROM (SELECT count(DISTINCT user_id) AS n FROM events
      GROUP BY cozi.shard_of(user_id, 3)) s;

-- by the user's shard: all figures of a day and of a cohort are sums, and stickiness follows
SELECT day, sum(dau), sum(wau), sum(mau_28d), sum(mau_month),
       sum(dau) / nullif(sum(mau_28d)::float8, 0), sum(new), sum("returning"),
       sum(resurrected), sum(lapsed)
FROM unnest('{shard_0_days,shard_1_days,shard_2_days}'::regclass[]) s,
     cozi.active_users(s, '2026-01-15', '2026-04-15')
GROUP BY day
EXCEPT SELECT * FROM cozi.active_users('whole', '2026-01-15', '2026-04-15');
SELECT cohort, sum(size)::bigint, period, sum(users)::bigint, sum(users) / sum(size)
FROM unnest('{shard_0_days,shard_1_days,shard_2_days}'::regclass[]) s,
     cozi.retention(s, 'week', '2026-01-01', '2026-04-15', 5)
GROUP BY cohort, period
EXCEPT SELECT cohort, size, period, users, users::numeric / size
FROM cozi.retention('whole', 'week', '2026-01-01', '2026-04-15', 5);

-- of events that lie anywhere: the masks of a user and month, by OR
CREATE TABLE merged AS
SELECT user_id, month, bit_or(days) AS days
FROM (SELECT * FROM node_0_days UNION ALL SELECT * FROM node_1_days) n GROUP BY 1, 2;
(SELECT * FROM merged EXCEPT SELECT * FROM whole)
UNION ALL (SELECT * FROM whole EXCEPT SELECT * FROM merged);
SELECT count(*) FILTER (WHERE n > 1) > 50 AS in_both
FROM (SELECT count(*) AS n FROM (SELECT * FROM node_0_days UNION ALL SELECT * FROM node_1_days) n
      GROUP BY user_id, month) b;

-- the states of an aggregate over raw events merge in the same way
SELECT cozi.activity_days(created_at::date, '2026-01-20') = m.mask AS equal, count(*)
FROM events JOIN (
    SELECT user_id, cozi.activity_days(day, '2026-01-20') AS mask
    FROM (SELECT DISTINCT user_id, created_at::date AS day FROM node_0
          UNION ALL SELECT DISTINCT user_id, created_at::date FROM node_1) n GROUP BY 1) m
USING (user_id) GROUP BY user_id, m.mask HAVING NOT
    (cozi.activity_days(created_at::date, '2026-01-20') = m.mask);

SELECT count(cozi.drop_activity(activity)) FROM cozi.activities
WHERE activity::text ~ '^(whole|(shard|node)_[0-9]_days)$';
DROP SCHEMA analytics_shards CASCADE;
