\echo
\echo '== Activity: who is active, and who comes back'
\echo
\echo 'Who asks, answers or comments is active: two tables, one activity, a row per user and month.'
\set ECHO queries
SELECT cozi.create_activity('active_days', 'posts', 'author_id');
SELECT cozi.add_activity_source('active_days', 'comments', 'author_id');
\set ECHO none

SELECT date_trunc('month', max(created_at))::date - 1 AS until,
       (date_trunc('month', max(created_at)) - interval '6 months')::date AS since
FROM posts \gset
\echo 'Each Wednesday: who was active on that day, in its week, in its 28 days'
\set ECHO queries
SELECT day, dau, wau, mau_28d, round(stickiness::numeric, 3) AS stickiness, new, resurrected,
       lapsed, repeat('#', (40 * mau_28d / max(mau_28d) OVER ())::int) AS monthly_users
FROM cozi.active_users('active_days', :'since', :'until')
WHERE extract(isodow FROM day) = 3 ORDER BY day;
\set ECHO none

\echo 'The curve of daily users, a column per day of the last eight weeks, and the users of 28 days'
\set ECHO queries
SELECT figure, min(n) AS lowest, max(n) AS highest,
       string_agg(substr(' .:-=+*#%@', 1 + (9 * n / greatest(max_n, 1))::int, 1), '' ORDER BY day)
           AS "day by day"
FROM (SELECT day, f.figure, f.n, max(f.n) OVER (PARTITION BY f.figure) AS max_n
      FROM cozi.active_users('active_days', :'until'::date - 55, :'until') a,
           LATERAL (VALUES ('daily', a.dau), ('monthly', a.mau_28d)) f (figure, n)) d
GROUP BY figure ORDER BY figure;
\set ECHO none

\echo 'Of those who came for the first time in a month, who came back? A period that is not over'
\echo 'is empty, and not 0.'
\set ECHO queries
SELECT cohort, size, string_agg(coalesce(to_char(100 * rate, '990') || ' %', '     .'), ''
                                ORDER BY period) AS "month 0, 1, 2 ..."
FROM cozi.retention('active_days', 'month', :'since', :'until', 6)
GROUP BY cohort, size ORDER BY cohort;
\set ECHO none

-- the same as pictures, where demo/run says where
\if :{?pictures}
\set users :pictures '-users.svg'
\set retention :pictures '-retention.svg'
\set engagement :pictures '-engagement.svg'
\pset format unaligned
\pset tuples_only on
\o :users
SELECT cozi._svg_file(cozi._svg_users(:'until', array_agg(dau ORDER BY day),
                                      array_agg(mau_28d ORDER BY day)),
                      'Users of the day, and of 28 days up to it')
FROM cozi.active_users('active_days', :'since', :'until');
\o :retention
SELECT cozi._svg_file(
           cozi._svg_retention(array_agg(cohort ORDER BY cohort) FILTER (WHERE period = 0),
                               array_agg(size ORDER BY cohort) FILTER (WHERE period = 0),
                               array_agg(rate ORDER BY cohort, period)),
           'Of those who came for the first time in a month, how many came back')
FROM cozi.retention('active_days', 'month', :'since', :'until', 6);
\o :engagement
SELECT cozi._svg_file(cozi._svg_bars(array_agg(users ORDER BY n)),
                      'How many users came on how many of 28 days')
FROM (SELECT n, count(d.days) AS users
      FROM generate_series(1, 28) n
      LEFT JOIN (SELECT user_id, count(*) AS days
                 FROM active_days_live, generate_series(0, 30) bit
                 WHERE days & (1 << bit) <> 0
                   AND month + bit BETWEEN :'until'::date - 27 AND :'until'
                 GROUP BY user_id) d ON d.days = n
      GROUP BY n) e;
\o
\pset format aligned
\pset tuples_only off
\echo 'The curve, the triangle and the engagement as pictures, to open in a browser:'
\echo :users
\echo :retention
\echo :engagement
\endif

\echo 'The same daily users, counted from posts and comments without cozi:'
\set ECHO queries
SELECT count(*) AS days, count(*) FILTER (WHERE a.dau <> t.dau) AS differ
FROM cozi.active_users('active_days', :'since', :'until') a
JOIN (SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(DISTINCT author_id) AS dau
      FROM (SELECT author_id, created_at FROM posts
            UNION ALL SELECT author_id, created_at FROM comments) e
      GROUP BY 1) t USING (day);
\set ECHO none

\echo 'Each day of each user, against a recount:'
\set ECHO queries
SELECT count(*) AS days_differ FROM cozi.verify_activity('active_days');
\set ECHO none
SELECT cozi.drop_activity('active_days') \gset dropped_
