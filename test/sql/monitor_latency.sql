-- Histograms as values: what they hold, what they tell, what they refuse.

-- each duration is in its bucket, and no bucket is wider than an eighth of
-- its start; from 125 ns to the end, both sides of every power of two
SELECT count(*) AS durations,
       count(*) FILTER (WHERE NOT (b.lower_ms <= v.ms AND v.ms < b.upper_ms)) AS outside,
       count(*) FILTER (WHERE v.ms >= 0.001 AND b.upper_ms < 'infinity'
           AND (b.upper_ms - b.lower_ms) / b.lower_ms > 0.125) AS too_wide
FROM (SELECT (2::float8 ^ e + d) / 8000 AS ms
      FROM generate_series(0, 40) e, unnest(ARRAY[-1, 0, 0.5, 1]) d) v,
     LATERAL (SELECT cozi.histogram(ms) AS h FROM (SELECT v.ms) x) h,
     LATERAL cozi.histogram_buckets(h.h) b;

-- the buckets follow one another without a gap
SELECT count(*) AS buckets, count(*) FILTER (WHERE lower_ms <> before) AS gaps,
       min(lower_ms), max(lower_ms) / 60000 AS last_minutes, max(upper_ms)
FROM (SELECT lower_ms, upper_ms, lag(upper_ms) OVER (ORDER BY lower_ms) AS before
      FROM cozi.histogram_buckets(array_fill(1::bigint, ARRAY[264]))) b;

-- against percentile_disc over the same durations, five shapes of 20,000
SELECT setseed(0.42);
CREATE TEMP TABLE durations AS
SELECT shape, CASE shape
           WHEN 'lognormal' THEN exp(normal * 1.2 + 1)
           WHEN 'pareto' THEN 0.05 / (1 - u) ^ (1 / 1.3)
           WHEN 'exponential' THEN -5 * ln(1 - u)
           WHEN 'uniform' THEN 0.01 + 300 * u
           WHEN 'bimodal' THEN CASE WHEN i % 50 = 0 THEN 80 + 4 * normal ELSE 1 + 0.1 * normal END
       END AS ms
FROM (SELECT shape, i, u, sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()) AS normal
      FROM unnest(ARRAY['lognormal', 'pareto', 'exponential', 'uniform', 'bimodal']) shape,
           LATERAL (SELECT i, random() AS u FROM generate_series(1, 20000) i
               WHERE shape IS NOT NULL) r) s;
CREATE TEMP TABLE quantiles AS
SELECT d.shape, q, cozi.histogram_quantile(d.h, q) AS told, x.exact,
       abs(cozi.histogram_quantile(d.h, q) / x.exact - 1) AS off
FROM (SELECT shape, cozi.histogram(ms) AS h FROM durations GROUP BY shape) d,
     unnest(ARRAY[0.5, 0.95, 0.99, 0.999]) q,
     LATERAL (SELECT percentile_disc(q) WITHIN GROUP (ORDER BY ms) AS exact FROM durations
         WHERE shape = d.shape) x;
SELECT count(*), max(off) <= 0.125 AS worst,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY off) <= 0.02 AS typical FROM quantiles;
SELECT * FROM quantiles WHERE off > 0.125;

-- adding histograms adds durations, subtracting takes them away
SELECT cozi.histogram(ms) = (SELECT cozi.histogram_sum(h)
           FROM (SELECT cozi.histogram(ms) AS h FROM durations GROUP BY shape) s) AS sum,
       cozi.histogram_minus(cozi.histogram(ms), cozi.histogram(ms) FILTER (WHERE shape <> 'pareto'))
         = cozi.histogram(ms) FILTER (WHERE shape = 'pareto') AS difference,
       cozi.histogram_count(cozi.histogram(ms))
FROM durations;
-- after a reset the older one does not count
SELECT cozi.histogram_minus('{0,1,1}', '{0,3}'), cozi.histogram_minus('{0,3,1}', '{0,3}'),
       cozi.histogram_minus('{1}', '{1}');

-- packed and unpacked again it is the same, and small
SELECT count(*), count(*) FILTER (WHERE cozi.histogram_unpack(cozi.histogram_pack(h)) = h) AS same
FROM (SELECT cozi.histogram(ms) AS h FROM durations GROUP BY shape UNION ALL
    VALUES ('{}'), (array_fill(9::bigint << 49, ARRAY[264]))) s;
SELECT cozi.histogram_pack('{0,0,7,0,1}'), cozi.histogram_unpack('{3586,516}'),
       cozi.histogram_pack('{0,0}'), cozi.histogram_unpack(NULL);
SELECT cozi.histogram_pack(ARRAY[1::bigint << 54]);
SELECT cozi.histogram_unpack('{1000}');

-- few durations, none, NULL
SELECT q, cozi.histogram_quantile(cozi.histogram(ms), q)
FROM (VALUES (0.5::float8), (NULL), (4)) v (ms), unnest(ARRAY[0, 0.5, 0.51, 1]) q GROUP BY q
ORDER BY q;
SELECT cozi.histogram(ms), cozi.histogram_count(cozi.histogram(ms))
FROM (SELECT 1::float8 LIMIT 0) v (ms);
SELECT cozi.histogram(NULL), cozi.histogram_quantile('{}', 0.5), cozi.histogram_quantile(NULL, 0.5),
       cozi.histogram_count('{}');
SELECT * FROM cozi.histogram_buckets(NULL);
SELECT * FROM cozi.histogram_buckets('{}');

-- what is refused
SELECT cozi.histogram('NaN'::float8);
SELECT cozi.histogram('infinity'::float8);
SELECT cozi.histogram(-0.001);
SELECT cozi.histogram_quantile('{1}', 1.1);
SELECT cozi.histogram_quantile('{1}', 'NaN');
SELECT cozi.histogram_count(array_fill(0::bigint, ARRAY[265]));
SELECT cozi.histogram_count('{1,NULL}');
SELECT cozi.histogram_count('{1,-1}');
SELECT cozi.histogram_count('{{1},{2}}');
