-- analytics: the figures of finished days, counted now and then and kept

CREATE OR REPLACE FUNCTION _days_of(sum bytea) RETURNS int
    AS 'MODULE_PATHNAME', 'cozi_days_of'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION _days_of(bytea) IS
'Returns the days of a month of a user, as bits, from the sum that is kept of it; NULL for NULL';

-- In no dump: the next fold() counts again.
CREATE TABLE activity_figures (
    kept    int         PRIMARY KEY,
    until   date        NOT NULL,
    counted timestamptz NOT NULL,
    ms      float8      NOT NULL,
    dau     bigint[]    NOT NULL,
    mau     bigint[]    NOT NULL,
    active  bigint[]    NOT NULL,
    cohort  date        NOT NULL,
    size    bigint[]    NOT NULL,
    users   bigint[]    NOT NULL
);
COMMENT ON TABLE activity_figures IS
'One row per activity: the daily and the 28-day users of the 91 days that end with until, how many '
'users were active on 1 to 28 of the last 28 days, and the retention of the twelve weeks from '
'cohort on, a row of twelve for each; when that was counted, and how many ms it took';

-- Beside the figures of the last finished day those of the period before it.
CREATE OR REPLACE VIEW activity_health AS
SELECT s.relation AS activity, s.state, f.until, f.counted, v.dau, v.mau, v.dau_before,
       v.mau_before, r.reason, f.dau AS daily, f.mau AS monthly, f.active AS active_days, f.cohort,
       f.size, f.users
FROM cozi.kept k
CROSS JOIN LATERAL cozi._kept_state(k.id) s
LEFT JOIN cozi.activity_figures f ON f.kept = k.id
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.state <> 'ok' THEN format('it is %s: %s', s.state, s.last_error)
                WHEN f.until IS NULL
                THEN 'its finished days are not counted yet: call cozi.fold()'
                -- two days are missing, whatever the time zone
                WHEN f.until < (now() AT TIME ZONE 'UTC')::date - 3
                THEN format('its finished days are counted up to %s: call cozi.fold()',
                            to_char(f.until, 'YYYY-MM-DD')) END) r(reason)
LEFT JOIN LATERAL (
    SELECT f.dau[91], f.mau[91], f.dau[84], f.mau[63] WHERE r.reason IS NULL)
    v(dau, mau, dau_before, mau_before) ON true
WHERE k.kind = 'activity'
ORDER BY s.relation;
COMMENT ON VIEW activity_health IS
'One row per activity of the caller, or of everybody for pg_monitor: the users of its last '
'finished day and of the 28 days up to it, those of 7 and of 28 days before, and why there are '
'none; and the figures that pictures are drawn from, see activity_figures; reading it reads no row '
'of an activity and no event';

CREATE OR REPLACE FUNCTION health_activities(
    OUT rank int, OUT metric text, OUT value float8, OUT period interval, OUT events bigint,
    OUT source text, OUT detail text, OUT trend float8)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
BEGIN ATOMIC
    SELECT m.rank, m.metric, m.value, m.period, NULL::bigint, a.activity::text,
           coalesce(a.reason,
                    format('%s users %s %s, %s; see cozi.active_users', m.value, m.words,
                           to_char(a.until, 'YYYY-MM-DD'),
                           CASE WHEN coalesce(m.before, 0) = 0
                                THEN format('and none %s before', m.ago)
                                WHEN m.value = m.before THEN format('as many as %s before', m.ago)
                                ELSE format('%s %% %s than %s before (%s)',
                                            round(abs(100 * (m.value - m.before)
                                                      / m.before)::numeric, 1),
                                            CASE WHEN m.value < m.before THEN 'fewer'
                                                 ELSE 'more' END, m.ago, m.before) END)),
           (m.value - m.before) / nullif(m.before, 0)
    FROM cozi.activity_health a
    CROSS JOIN LATERAL (VALUES
        (40, 'dau', a.dau::float8, a.dau_before::float8, interval '1 day', 'on', '7 days'),
        (41, 'mau', a.mau, a.mau_before, interval '28 days', 'in the 28 days to', '28 days'))
        m(rank, metric, value, before, period, words, ago);
END;
COMMENT ON FUNCTION health_activities() IS
'Returns the rows of health about activities, two for each: its daily and its 28-day users, and '
'their trend, against 7 and 28 days before, as a share';
