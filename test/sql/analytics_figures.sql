-- The figures of finished days: equal to the questions about an activity, and read by
-- views that read no row of one.
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE SCHEMA analytics_figures;
SET search_path = analytics_figures, public;

-- The users of each day, as the table has them
CREATE FUNCTION days_of(what regclass) RETURNS TABLE (user_id text, day date)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT a.user_id::text, a.month + d FROM %s_live a, generate_series(0, 30) d
         WHERE a.days & (1 << d) <> 0', what);
END $$;

-- What differs from active_users(), from retention(), and from a recount of active days
CREATE FUNCTION differ(what regclass, OUT days bigint, OUT cells bigint, OUT active_days bigint)
LANGUAGE sql AS $$
    WITH h AS MATERIALIZED (SELECT * FROM cozi.activity_health WHERE activity = what),
    r AS MATERIALIZED (
        SELECT r.* FROM h, cozi.retention(what, 'week', h.cohort, h.until, 12) r),
    d AS MATERIALIZED (
        SELECT d.user_id, count(*)::int AS n FROM h, days_of(what) d
        WHERE d.day BETWEEN h.until - 27 AND h.until GROUP BY d.user_id)
    SELECT (SELECT 91 - count(*)
            FROM h, cozi.active_users(what, h.until - 90, h.until) a
            WHERE a.dau = h.daily[a.day - h.until + 91]
              AND a.mau_28d = h.monthly[a.day - h.until + 91]),
           (SELECT count(*)
            FROM h CROSS JOIN generate_series(0, 11) c CROSS JOIN generate_series(0, 11) p
            LEFT JOIN r ON r.cohort = h.cohort + 7 * c AND r.period = p
            WHERE h.size[c + 1] <> coalesce(r.size, 0)
               OR h.users[12 * c + p + 1] <> coalesce(r.users, 0)
               OR (r.users IS NULL AND r.size > 0) <> (c + p > 11 AND h.size[c + 1] > 0)),
           (SELECT count(*)
            FROM h CROSS JOIN generate_series(1, 28) n
            WHERE h.active_days[n] <> (SELECT count(*) FROM d WHERE d.n = n.n));
$$;

CREATE TABLE events (user_id int, seen text, at timestamptz);
SELECT setseed(0.5);
INSERT INTO events
SELECT 300 * random() ^ 2, 'u' || (60 * random())::int, now() - 160 * random() ^ 2 * interval '1 d'
FROM generate_series(1, 4000);
SELECT cozi.create_activity('paris', 'events', 'user_id', 'at', 'Europe/Paris');
SELECT cozi.create_activity('tonga', 'events', 'seen', 'at', 'Pacific/Tongatapu');
CREATE UNLOGGED TABLE passing (user_id uuid, created_at timestamptz);
INSERT INTO passing SELECT md5((g % 7)::text)::uuid, now() - g * interval '5 hours'
FROM generate_series(1, 600) g;
SELECT cozi.create_activity('passing_days', 'passing', 'user_id');
CREATE TABLE nobody (user_id bigint, created_at timestamptz);
SELECT cozi.create_activity('nobody_days', 'nobody', 'user_id');
SELECT activity, state, until = (now() AT TIME ZONE a.time_zone)::date - 1 AS yesterday,
       dau > 0 AS users, mau >= dau AS monthly, cardinality(daily) AS days, reason,
       (differ(activity)).*
FROM cozi.activity_health h JOIN cozi.activities a USING (activity, state) ORDER BY activity::text;

-- Days that change are counted again an hour later, and a new day at once
CREATE VIEW counted AS
SELECT * FROM cozi.activity_figures
WHERE kept IN (SELECT id FROM cozi.kept WHERE relation ~ '\mparis$');
DELETE FROM events WHERE user_id % 3 = 0;
SELECT cozi.fold('paris') >= 0 AS folded;
SELECT days > 0 AS differ FROM differ('paris');
UPDATE counted SET counted = counted - interval '59 minutes';
SELECT cozi.fold('paris') >= 0 AS folded;
SELECT days > 0 AS differ FROM differ('paris');
UPDATE counted SET counted = counted - interval '2 minutes', ms = 40000;
SELECT cozi.fold('paris') >= 0 AS folded;
SELECT days > 0 AS differ FROM differ('paris');
UPDATE counted SET ms = 1;
SELECT cozi.fold('paris') >= 0 AS folded;
SELECT * FROM differ('paris');
UPDATE counted SET until = until - 1, dau = '{}', mau = '{}';
SELECT cozi.fold() >= 0 AS folded;
SELECT * FROM differ('paris');
-- so does a clock that was set back, and a rebuild
UPDATE counted SET counted = 'infinity', dau = '{}';
SELECT cozi.fold('paris') >= 0 AS folded;
SELECT * FROM differ('paris');
UPDATE counted SET dau = '{}';
SELECT cozi.rebuild_activity('paris');
SELECT * FROM differ('paris');
CREATE TABLE votes (voter int, at timestamptz);
INSERT INTO votes SELECT 1000 + g, now() - interval '30 h' FROM generate_series(1, 50) g;
SELECT cozi.add_activity_source('paris', 'votes', 'voter', 'at');
SELECT * FROM differ('paris');
SELECT cozi.remove_activity_source('paris', 'votes');
SELECT * FROM differ('paris');
-- a transaction that sees no change of others counts nothing
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE counted SET until = until - 1 RETURNING until AS before \gset
SELECT cozi.fold('paris') >= 0 AS folded;
SELECT until > :'before' AS counted FROM counted;
ROLLBACK;

-- health has a row for both figures of each, and a target if it is given one
SELECT cozi.drop_activity(activity) FROM cozi.activities
WHERE activity NOT IN ('paris'::regclass, 'nobody_days'::regclass);
CREATE VIEW users AS
SELECT metric, value > 0 AS users, unit, target, state, period, source,
       regexp_replace(detail, '\d[\d.-]*', 'N', 'g') AS detail, trend IS NOT NULL AS trend
FROM cozi.health WHERE metric IN ('dau', 'mau');
UPDATE counted SET dau = array_fill(8, '{90}') || 6::bigint, mau = array_fill(10, '{91}');
SELECT * FROM users;
SELECT metric, value, trend FROM cozi.health WHERE metric IN ('dau', 'mau') AND source ~ 'paris';
INSERT INTO cozi.targets VALUES ('dau', '>', 6, 7, 'users');
SELECT metric, source, state, target FROM users WHERE metric = 'dau';
DELETE FROM cozi.targets WHERE metric = 'dau';
SELECT count(*) FROM cozi.health WHERE source IS NULL AND metric IN ('dau', 'mau');
-- what is stalled, broken, old or not counted is NULL and says why; the other is there
SET session_replication_role = replica;
ALTER TABLE nobody_days ADD extra int;
RESET session_replication_role;
UPDATE counted SET until = until - 9;
SELECT metric, users, state, detail FROM users;
SET session_replication_role = replica;
ALTER TABLE nobody_days DROP extra;
RESET session_replication_role;
UPDATE cozi.kept SET broken = 'a trigger was disabled' WHERE relation ~ '\mnobody_days$';
DELETE FROM counted;
SELECT metric, users, state, detail FROM users;

-- who sees them, and whose code runs
CREATE ROLE regress_figures_owner;
CREATE ROLE regress_figures_monitor IN ROLE pg_monitor;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_figures_owner');
GRANT USAGE ON SCHEMA cozi TO regress_figures_monitor;
GRANT ALL ON SCHEMA analytics_figures TO regress_figures_owner;
SET ROLE regress_figures_owner;
CREATE TABLE own (user_id int, created_at timestamptz);
INSERT INTO own VALUES (1, now() - interval '1 d');
SELECT cozi.create_activity('own_days', 'own', 'user_id');
ALTER TABLE own_days ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON own_days USING (1 / 0 = 1);
INSERT INTO own VALUES (2, now() - interval '1 d');
SELECT cozi.rebuild_activity('own_days');
SELECT activity, dau FROM cozi.activity_health;
SELECT count(*) FROM cozi.activity_figures;
SELECT count(*) FROM cozi.health;
SET ROLE regress_figures_monitor;
SELECT activity, dau FROM cozi.activity_health;
SELECT value FROM cozi.health WHERE metric = 'dau' AND source ~ 'own_days';
SELECT cozi._report_activities(NULL, NULL) ~ 'aria-label="retention of 12 cohorts"' AS pictured;
SELECT * FROM analytics_figures.own_days;
RESET ROLE;

-- Pictures are of numbers, whatever they are
SELECT cozi._svg_bars('{}'), cozi._svg_bars(NULL);
SELECT cozi._svg_bars('{0,NULL,-5,9223372036854775807}');
SELECT cozi._svg_users('infinity', '{}', '{NULL}');
SELECT cozi._svg_users('2026-03-02', '{1,2}', '{3,NULL,3}');
SELECT cozi._svg_retention('{2026-03-02,NULL,2026-03-09}', '{4,0}', '{1,0.5,NaN,NULL}');
SELECT cozi._svg_retention('{}', '{1}', '{1}');
SELECT length(cozi._svg_users('2026-03-02', array_fill(99999999999::bigint, '{5000}'),
                              array_fill(1::bigint, '{5000}'))) < 20000 AS bounded,
       length(cozi._svg_retention(array_fill('2026-03-02'::date, '{90}'),
                                  array_fill(1::bigint, '{90}'), array_fill(0.5::float8, '{8100}')))
           < 120000 AS bounded;
SELECT regexp_replace(cozi._svg_file(cozi._svg_bars('{1}'), '<a> & b'), '<style>.*</style>', '');

-- What is dropped leaves nothing
SELECT cozi.drop_activity(activity) FROM cozi.activities;
CREATE TABLE last (user_id int, created_at timestamptz);
SELECT cozi.create_activity('last_days', 'last', 'user_id');
SELECT count(*) FROM cozi.activity_figures;
SELECT cozi.drop_activity('last_days');
DELETE FROM cozi.activity_figures;
DROP SCHEMA analytics_figures CASCADE;
DROP OWNED BY regress_figures_owner, regress_figures_monitor;
DROP ROLE regress_figures_owner, regress_figures_monitor;
