-- The formulas: figures computed elsewhere in 80 digits, random input against
-- the same formula in numeric, and what is refused.
SET TimeZone = 'UTC';
\getenv abs_srcdir PG_ABS_SRCDIR
\cd :abs_srcdir

CREATE FUNCTION pg_temp.near(a float8, b float8, tolerance float8 = 1e-12) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS
$$ SELECT a IS NULL AND b IS NULL OR a = b OR abs(a - b) <= tolerance * greatest(abs(a), abs(b)) $$;

-- vectors, each column of each file
CREATE TEMP TABLE hot (ups bigint, downs bigint, created_at timestamptz, expected float8,
    round7 numeric, classic_round7 numeric);
\copy hot FROM 'test/vectors/trending_reddit_hot.csv' CSV HEADER
SELECT count(*), count(*) FILTER (WHERE pg_temp.near(cozi.hot(ups, downs, created_at), expected)) AS
    good,
       count(*) FILTER (WHERE round(cozi.hot(ups, downs, created_at)::numeric, 7) = round7) AS
       as_reddit_rounds,
       count(*) FILTER (WHERE classic_round7 <> round7) AS classic_bug_differs
FROM hot;

CREATE TEMP TABLE hn (points bigint, created_at timestamptz, as_of timestamptz, gravity float8,
    expected float8, arc float8);
\copy hn FROM 'test/vectors/trending_hn.csv' CSV HEADER
SELECT count(*), count(*) FILTER
    (WHERE pg_temp.near(cozi.gravity(points, created_at, as_of, gravity), expected)) AS good,
       count(*) FILTER (WHERE pg_temp.near(cozi.gravity(points, created_at, as_of), expected)) AS
       of_default_gravity,
       count(*) FILTER (WHERE pg_temp.near(cozi.hacker_news(points, created_at, as_of, gravity),
                              arc)) AS as_news_arc
FROM hn;

CREATE TEMP TABLE lemmy (score bigint, published_at timestamptz, as_of timestamptz,
    interactions bigint, hot_rank float8, scaled_rank float8);
\copy lemmy FROM 'test/vectors/trending_lemmy_hot.csv' CSV HEADER
SELECT count(*), count(*) FILTER (WHERE pg_temp.near(cozi.hot_rank(score, published_at, as_of),
           hot_rank)) AS hot_rank,
       count(*) FILTER (WHERE pg_temp.near(cozi.scaled_rank(score, published_at, interactions,
           as_of), scaled_rank)) AS scaled_rank
FROM lemmy;

CREATE TEMP TABLE controversy (ups bigint, downs bigint, expected float8);
\copy controversy FROM 'test/vectors/trending_controversy.csv' CSV HEADER
SELECT count(*), count(*) FILTER (WHERE pg_temp.near(cozi.controversy(ups, downs), expected)) AS
    good FROM controversy;

CREATE TEMP TABLE wilson (ups bigint, downs bigint, z float8, lower float8, upper float8);
\copy wilson FROM 'test/vectors/trending_wilson.csv' CSV HEADER
SELECT count(*), count(*) FILTER (WHERE pg_temp.near(cozi.wilson_lower(ups, downs, z), lower)) AS
    lower,
       count(*) FILTER (WHERE pg_temp.near(cozi.wilson_upper(ups, downs, z), upper)) AS upper,
       count(*) FILTER (WHERE pg_temp.near(cozi.wilson_lower(ups, downs), lower)) AS of_default_z
FROM wilson;

CREATE TEMP TABLE bayesian (sum float8, n bigint, prior_mean float8, prior_weight float8,
    expected float8);
\copy bayesian FROM 'test/vectors/trending_bayesian.csv' CSV HEADER
SELECT count(*), count(expected) AS not_null,
       count(*) FILTER (WHERE pg_temp.near(cozi.bayesian_average(sum, n, prior_mean, prior_weight),
           expected)) AS good
FROM bayesian;

-- random input, small and large, against numeric
SELECT setseed(0.5);
CREATE TEMP TABLE random_input AS
SELECT ups, downs, ups - downs AS score, created_at,
       created_at + random() * random() * interval '20 days' AS as_of,
       (random() * 3)::numeric(6, 4) AS gravity, (random() * 4)::numeric(6, 4) AS z
FROM (SELECT power(10, random() * 10)::bigint - 1 AS ups,
    power(10, random() * 10)::bigint - 1 AS downs,
             timestamptz '2010-01-01' + random() * interval '20 years' AS created_at
      FROM generate_series(1, 500)) r;
CREATE FUNCTION pg_temp.hours(since timestamptz, as_of timestamptz) RETURNS numeric
    LANGUAGE sql AS $$ SELECT extract(epoch FROM as_of - since) / 3600 $$;
CREATE FUNCTION pg_temp.hot_rank(score bigint, created_at timestamptz, as_of timestamptz)
    RETURNS numeric
    LANGUAGE sql AS $$ SELECT CASE WHEN as_of - created_at < interval '7 days'
                                   THEN log(greatest(2, score + 2)::numeric) /
                                       power(pg_temp.hours(created_at, as_of) + 2, 1.8) ELSE 0
                                       END $$;
CREATE FUNCTION pg_temp.wilson(ups bigint, downs bigint, z numeric, side int) RETURNS numeric
    LANGUAGE sql AS $$
    SELECT round((p + z * z / (2 * n) + side * z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) /
               (1 + z * z / n), 40)
    FROM (SELECT (ups + downs)::numeric(90, 60) AS n) a, LATERAL (SELECT ups / n AS p) b $$;
SELECT count(*),
       count(*) FILTER (WHERE pg_temp.near(cozi.hot(ups, downs, created_at),
           (sign(score) * log(greatest(abs(score), 1)::numeric) +
           (extract(epoch FROM created_at) - 1134028003) / 45000)::float8)) AS hot,
       count(*) FILTER (WHERE pg_temp.near(cozi.gravity(score, created_at, as_of, gravity::float8),
           ((score - 1) / power(pg_temp.hours(created_at, as_of) + 2,
               gravity))::float8)) AS gravity,
       -- news.arc: (/ (if (> base 0) (expt base .8) base) (expt (/ (+ age 120) 60) gravity))
       count(*) FILTER (WHERE pg_temp.near(cozi.hacker_news(score, created_at, as_of,
               gravity::float8),
           (CASE WHEN score - 1 > 0 THEN power((score - 1)::numeric, 0.8) ELSE score - 1 END /
            power((pg_temp.hours(created_at, as_of) * 60 + 120) / 60,
               gravity))::float8)) AS hacker_news,
       count(*) FILTER (WHERE pg_temp.near(cozi.hot_rank(score, created_at, as_of),
           pg_temp.hot_rank(score, created_at, as_of)::float8)) AS hot_rank,
       count(*) FILTER (WHERE pg_temp.near(cozi.scaled_rank(score, created_at, downs, as_of),
           (pg_temp.hot_rank(score, created_at,
               as_of) / log(2 + downs::numeric))::float8)) AS scaled_rank,
       count(*) FILTER (WHERE pg_temp.near(cozi.controversy(ups, downs),
           CASE WHEN ups = 0 OR downs = 0 THEN 0
                ELSE power((ups + downs)::numeric,
                    least(ups, downs)::numeric(60, 30) / greatest(ups, downs))
                        END::float8)) AS controversy,
       count(*) FILTER (WHERE pg_temp.near(cozi.bayesian_average(score, downs, z::float8,
           gravity::float8),
           ((gravity * z + score) / (gravity + downs))::float8)) AS bayesian_average
FROM random_input;
SELECT count(*), count(*) FILTER (WHERE hot_rank > 0) AS in_the_week
FROM (SELECT cozi.hot_rank(score, created_at, as_of) FROM random_input) r;
SELECT count(*),
       count(*) FILTER (WHERE pg_temp.near(cozi.wilson_lower(ups, downs, z::float8),
           pg_temp.wilson(ups, downs, z, -1)::float8)) AS lower,
       count(*) FILTER (WHERE pg_temp.near(cozi.wilson_upper(ups, downs, z::float8),
           pg_temp.wilson(ups, downs, z, 1)::float8)) AS upper
FROM random_input WHERE ups + downs > 0;

-- hot: a post below zero sinks, and the newer one lies above the older
SELECT cozi.hot(0, 100, '2026-06-02') > cozi.hot(0, 100, '2026-06-01') AS newer_above,
       cozi.hot(10, 0, '2026-06-01 12:00+00') - cozi.hot(1, 0,
           '2026-06-02 00:30+00') AS ten_votes_and_half_a_day,
       cozi.hot(9223372036854775807, -9223372036854775808, '2026-06-01') > 0 AS largest;

-- at the edges of age
SELECT cozi.gravity(10, '2026-06-01 17:00+00', '2026-06-01 12:00+00') = cozi.gravity(10,
           '2026-06-01 12:00+00', '2026-06-01 12:00+00') AS future_is_new,
       cozi.gravity(10, '4714-11-24 00:00+00 BC', '294276-12-31 23:59+00') > 0 AS longest,
       cozi.hot_rank(10, '2026-06-01 12:00:00.000001+00', '2026-06-01 12:00:00+00') AS future,
       cozi.hot_rank(10, '2026-06-01 12:00:00+00', '2026-06-01 12:00:00+00') AS now,
       cozi.hot_rank(10, '2026-06-01 12:00:00+00',
           '2026-06-08 11:59:59.999999+00') > 0 AS week_less_a_bit,
       cozi.hot_rank(10, '2026-06-01 12:00:00+00', '2026-06-08 12:00:00+00') AS week;
-- never -0
SELECT cozi.gravity(1, '2026-06-01', '2026-06-02') AS one,
       cozi.gravity(0, '2026-06-01', '2026-06-02', 1e6) AS underflow,
       cozi.bayesian_average('-0', 1, 0, 0) AS average;
-- of nothing, and of much
SELECT cozi.wilson_lower(0, 0) AS lower, cozi.wilson_upper(0, 0) AS upper,
       cozi.wilson_lower(3, 1, 0) AS p, cozi.wilson_upper(3, 1, 0) AS p,
       cozi.wilson_lower(3, 1, 1e200) AS lower, cozi.wilson_upper(3, 1, 1e200) AS upper,
       cozi.wilson_lower(0, 5, 0) AS none;
SELECT cozi.controversy(0, 0) AS nothing, cozi.controversy(5, 0) AS agreed,
       cozi.controversy(9223372036854775807, 9223372036854775807) > 1e19 AS largest,
       cozi.scaled_rank(1, '2026-06-01', 0, '2026-06-02') > cozi.scaled_rank(1, '2026-06-01', 1,
           '2026-06-02') AS smaller_place_first;
-- NULL in, NULL out
SELECT cozi.hot(NULL, 1, now()), cozi.gravity(1, NULL, now()), cozi.hot_rank(1, now(), NULL),
       cozi.scaled_rank(1, now(), NULL, now()),
       cozi.controversy(1, NULL), cozi.wilson_lower(1, 1, NULL), cozi.wilson_upper(NULL, 1),
       cozi.bayesian_average(1, 1, 1, NULL);

-- an index on hot() ranks without a column
CREATE TABLE trending_formulas_posts (id int, ups int, downs int, created_at timestamptz);
CREATE INDEX ON trending_formulas_posts (cozi.hot(ups, downs, created_at) DESC);
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM trending_formulas_posts
    ORDER BY cozi.hot(ups, downs, created_at) DESC LIMIT 10;
RESET enable_seqscan;
DROP TABLE trending_formulas_posts;

-- refused
SELECT cozi.hot(1, 0, 'infinity');
SELECT cozi.gravity(1, '-infinity', now());
SELECT cozi.gravity(1, now(), 'infinity');
SELECT cozi.gravity(1, now(), now(), -0.1);
SELECT cozi.gravity(1, now(), now(), 'NaN');
SELECT cozi.gravity(1, now(), now(), 'infinity');
SELECT cozi.hot_rank(1, 'infinity', now());
SELECT cozi.hot_rank(1, now(), '-infinity');
SELECT cozi.scaled_rank(1, now(), -1, now());
SELECT cozi.scaled_rank(1, '-infinity', 1, now());
SELECT cozi.controversy(-1, 1);
SELECT cozi.controversy(1, -1);
SELECT cozi.wilson_lower(-1, 1);
SELECT cozi.wilson_upper(1, -1);
SELECT cozi.wilson_lower(1, 1, -1);
SELECT cozi.wilson_upper(1, 1, 'NaN');
SELECT cozi.wilson_lower(1, 1, 'infinity');
SELECT cozi.bayesian_average('NaN', 1, 1, 1);
SELECT cozi.bayesian_average(1, -1, 1, 1);
SELECT cozi.bayesian_average(1, 1, 'infinity', 1);
SELECT cozi.bayesian_average(1, 1, 1, -1);
SELECT cozi.bayesian_average(1, 1, 1, 'NaN');
SELECT cozi.bayesian_average(1, 1, 1e300, 1e300);
