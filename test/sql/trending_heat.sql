-- Heat: figures computed elsewhere in 80 digits, random ones against numeric,
-- and the promises: an order for ever, exact sums, exact retraction.
SET TimeZone = 'UTC';
\getenv abs_srcdir PG_ABS_SRCDIR
\cd :abs_srcdir

CREATE FUNCTION pg_temp.near(a float8, b float8, tolerance float8) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS
$$ SELECT a = b OR abs(a - b) <= tolerance * greatest(abs(a), abs(b)) $$;

-- vectors: "weight@instant;weight@instant;..." in the order of arrival
CREATE TEMP TABLE vectors (name text, events text, half_life_s int, key float8, value float8);
\copy vectors FROM 'test/vectors/trending_forward_decay.csv' CSV HEADER
CREATE TEMP TABLE events AS
SELECT v.name, v.key, v.value, make_interval(secs => v.half_life_s) AS half_life,
       split_part(e.e, '@', 1)::float8 AS weight, split_part(e.e, '@', 2)::timestamptz AS at, e.n
FROM vectors v, unnest(string_to_array(v.events, ';')) WITH ORDINALITY e(e, n);
CREATE TEMP VIEW folded AS
WITH RECURSIVE f AS (
    SELECT name, key, value, half_life, 0::bigint AS n, 0::float8 AS added, 0::float8 AS merged
    FROM vectors, make_interval(secs => half_life_s) half_life
    UNION ALL
    SELECT f.name, f.key, f.value, f.half_life, e.n,
           cozi.heat_add(f.added, e.weight, e.at, e.half_life),
           cozi.heat_merge(f.merged, cozi.heat(e.weight, e.at, e.half_life))
    FROM f JOIN events e ON e.name = f.name AND e.n = f.n + 1)
SELECT DISTINCT ON (name) * FROM f ORDER BY name, n DESC;
SELECT f.name,
       pg_temp.near(f.added, f.key, 1e-12) AS added,
       pg_temp.near(f.merged, f.key, 1e-12) AS merged,
       pg_temp.near(a.heat, f.key, 1e-12) AS summed,
       pg_temp.near(cozi.heat_value(a.heat, f.half_life, '2026-06-01 12:00+00'), f.value,
           1e-8) AS value
FROM folded f
JOIN (SELECT name, cozi.heat_agg(weight, at, half_life) AS heat FROM events GROUP BY name) a
    USING (name)
ORDER BY f.name COLLATE "C";

-- random events against numeric: log2 of the sum of weight * 2^(t / h)
SELECT setseed(0.25);
CREATE TEMP TABLE random_events AS
SELECT g AS item, h.half_life, round(((random() - 0.2) * 1000)::numeric, 3)::float8 AS weight,
       timestamptz '2026-01-01' + random() * 20 * h.half_life AS at
FROM generate_series(1, 60) g,
    (VALUES (interval '1 second'), ('1 hour'), ('6:00:00.000001'), ('30 days')) h(half_life),
     generate_series(1, 8);
WITH origin AS (
    SELECT half_life, (extract(epoch FROM timestamptz '2026-01-01' - '2000-01-01') /
               extract(epoch FROM half_life)) AS octaves
    FROM (SELECT DISTINCT half_life FROM random_events) h
), exact AS (
    SELECT e.item, e.half_life, o.octaves,
           sum(e.weight::numeric * power(2::numeric,
               (extract(epoch FROM e.at - '2026-01-01') /
               extract(epoch FROM e.half_life))::numeric(60, 40))) AS v
    FROM random_events e JOIN origin o USING (half_life) GROUP BY 1, 2, 3
), ours AS (
    SELECT item, half_life, cozi.heat_agg(weight, at, half_life) AS heat FROM random_events
    GROUP BY 1, 2
)
SELECT half_life, count(*), count(*) FILTER (WHERE heat < 0) > 0 AS negative_too,
       bool_and(pg_temp.near(heat, (sign(v) * (octaves + log(2, abs(v))))::float8, 1e-12)) AS heat,
       bool_and(pg_temp.near(cozi.heat_value(heat, half_life, '2026-01-01'), v::float8, 1e-6)) AS
       value
FROM exact JOIN ours USING (item, half_life) GROUP BY half_life ORDER BY half_life;

-- the order never changes: by heat as by worth, now and ten half-lives on
CREATE TEMP VIEW items AS
SELECT item, cozi.heat_agg(weight, at, '6 hours') AS heat
FROM random_events WHERE half_life = '6:00:00.000001' GROUP BY item;
SELECT d AS days, count(*) AS out_of_order
FROM generate_series(0, 30, 10) d,
    (SELECT *, lag(heat) OVER (ORDER BY heat DESC) AS above FROM items) i
WHERE cozi.heat_value(i.heat, '6 hours', timestamptz '2026-01-06' + d * interval '1 day')
    > cozi.heat_value(i.above, '6 hours', timestamptz '2026-01-06' + d * interval '1 day')
GROUP BY d;

-- the instant is divided exactly: a half-life of a second keeps its microseconds
SELECT cozi.heat(1, '2026-06-01 12:00:00.5+00', '1 second') - cozi.heat(1, '2026-06-01 12:00+00',
           '1 second') AS half_a_second,
       cozi.heat(1, '2026-06-01 12:00+00', '1 day') = cozi.heat(1, '2026-06-01 12:00+00',
           '24 hours') AS days_are_24_hours,
       cozi.heat(8, '2000-01-01 00:00:00.000002+00', '1 microsecond') AS microseconds;

-- a heat is never -0, and a weight of 0 changes nothing
SELECT cozi.heat(-1, '2000-01-01 00:00+00', '1 hour') AS one_at_the_origin,
       cozi.heat(-1, '1999-01-01 00:00+00', '1 hour') AS before_it,
       cozi.heat(0, '2026-01-01', '1 hour') AS nothing,
       cozi.heat('-0', '2026-01-01', '1 hour') AS minus_nothing,
       cozi.heat_merge('-0', '-0') AS merged,
       cozi.heat_add('-0', 0, '2026-01-01', '1 hour') AS added,
       cozi.heat_value('-0', '1 hour', '2026-01-01') AS value,
       cozi.heat_value(-1, '1 hour', '2026-01-01') AS underflow,
       cozi.heat_agg(-1, '1999-01-01 00:00+00', '1 hour') AS summed;
SELECT cozi.heat_add(-231564.5, 0, '2026-06-01', '1 hour') AS kept,
       cozi.heat_merge(-231564.5, 0) AS merged;

-- taken back: nothing is left, not of one vote, nor after 199,990 of 200,000
SELECT cozi.heat_add(cozi.heat(w, at, h), -w, at, h) AS of_one,
       cozi.heat_merge(cozi.heat(w, at, h), cozi.heat(-w, at, h)) AS merged
FROM (VALUES (1::float8, timestamptz '2026-06-01 12:34:56.789+00', interval '1 second'),
    (0.1, '2026-06-01 01:02:03+00', '7 hours'),
             (3, '2031-01-01 00:00:00.000001+00', '30 days')) v(w, at, h);
CREATE TEMP TABLE votes AS
SELECT n, timestamptz '2026-06-01' + random() * interval '48 hours' AS at
FROM generate_series(1, 200000) n;
SELECT (SELECT cozi.heat_agg(w, at, '1 hour')
        FROM (SELECT 1::float8 AS w, at FROM votes UNION ALL SELECT -1, at FROM votes
            WHERE n > 10) v)
     = (SELECT cozi.heat_agg(1, at, '1 hour') FROM votes WHERE n <= 10) AS ten_left,
       (SELECT cozi.heat_agg(w, at, '1 hour')
        FROM (SELECT 1::float8 AS w, at FROM votes UNION ALL SELECT -1, at
            FROM votes) v) AS none_left;

-- also where the years between are thousands of half-lives
SELECT cozi.heat_agg(w, at, '1 hour') = cozi.heat(1, '2024-01-01 00:00:00.123456+00',
           '1 hour') AS old_one_left
FROM (VALUES (1::float8, timestamptz '2026-06-01'), (1, '2024-01-01 00:00:00.123456+00'),
    (5, '2026-06-02'), (-1, '2026-06-01'), (-5, '2026-06-02')) v(w, at);
-- what is further than 32,768 half-lives back counts for nothing, in any order
SELECT cozi.heat_agg(w, at, '1 second' ORDER BY at) AS oldest_first,
       cozi.heat_agg(w, at, '1 second' ORDER BY at DESC) AS newest_first
FROM (VALUES (1::float8, timestamptz '2026-06-01'), (1, '2026-07-01'), (-1, '2026-07-01')) v(w, at);

-- the order of the rows does not matter, not to the last bit
SELECT count(DISTINCT heat) AS answers FROM (
    SELECT cozi.heat_agg(1 + n % 3, at, '10 minutes' ORDER BY n) AS heat FROM votes UNION ALL
    SELECT cozi.heat_agg(1 + n % 3, at, '10 minutes' ORDER BY at) FROM votes UNION ALL
    SELECT cozi.heat_agg(1 + n % 3, at, '10 minutes' ORDER BY at DESC) FROM votes UNION ALL
    SELECT cozi.heat_agg(1 + n % 3, at, '10 minutes' ORDER BY hashint4(n)) FROM votes) a;
-- events of three times as many half-lives as the sum is wide pass through it
SELECT cozi.heat_agg(1, timestamptz '2025-06-01' + s * interval '1 second', '1 second')
     - cozi.heat(1, timestamptz '2025-06-01' + interval '100000 seconds', '1 second') AS log2_of_two
FROM generate_series(1, 100000) s;

-- parallel: workers are launched, and the figure is the same
CREATE TABLE trending_heat_votes AS SELECT n % 7 AS item, n, at FROM votes;
CREATE FUNCTION pg_temp.plan(query text) RETURNS TABLE (node text, launched int) LANGUAGE plpgsql
    AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) ' || query INTO
        plan;
    RETURN QUERY
    WITH RECURSIVE nodes AS (
        SELECT plan -> 0 -> 'Plan' AS p
        UNION ALL
        SELECT json_array_elements(p -> 'Plans') FROM nodes WHERE p -> 'Plans' IS NOT NULL)
    SELECT concat_ws(' ', p ->> 'Partial Mode', p ->> 'Node Type'), (p ->> 'Workers Launched')::int
    FROM nodes
    WHERE p ->> 'Partial Mode' <> 'Simple' OR p ->> 'Node Type' LIKE 'Gather%';
END $$;
BEGIN;
SET LOCAL max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE alone AS SELECT item, cozi.heat_agg(n % 5 - 1, at, '1 hour') AS heat
    FROM trending_heat_votes GROUP BY item;
SELECT cozi.heat_agg(n % 5 - 1, at, '1 hour') AS alone FROM trending_heat_votes \gset
SET LOCAL max_parallel_workers_per_gather = 2;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL jit = off;
SELECT node, launched > 0 AS launched
FROM pg_temp.plan($$SELECT cozi.heat_agg(n % 5 - 1, at, '1 hour') FROM trending_heat_votes$$);
SELECT cozi.heat_agg(n % 5 - 1, at, '1 hour') = :'alone'::float8 AS same FROM trending_heat_votes;
SELECT bool_and(p.heat = a.heat) AND count(*) = 7 AS same
FROM (SELECT item, cozi.heat_agg(n % 5 - 1, at, '1 hour') AS heat FROM trending_heat_votes
    GROUP BY item) p
JOIN alone a USING (item);
-- workers that saw no row, and rows of no weight
SELECT cozi.heat_agg(1, at, '1 hour') AS no_rows FROM trending_heat_votes WHERE n < 0;
SELECT cozi.heat_agg(0, at, '1 hour') AS no_weight FROM trending_heat_votes;
ROLLBACK;

-- one half-life to an aggregate: of its rows, and of its parts
SELECT cozi.heat_agg(1, at, (1 + n % 2) * interval '1 hour')
FROM (SELECT * FROM trending_heat_votes ORDER BY n LIMIT 10) v;
CREATE TABLE trending_heat_parts (part int, at timestamptz) PARTITION BY LIST (part);
CREATE TABLE trending_heat_part1 PARTITION OF trending_heat_parts FOR VALUES IN (1);
CREATE TABLE trending_heat_part2 PARTITION OF trending_heat_parts FOR VALUES IN (2);
INSERT INTO trending_heat_parts SELECT 1 + n % 2, at FROM trending_heat_votes;
SET enable_partitionwise_aggregate = on;
SET max_parallel_workers_per_gather = 0;
EXPLAIN (COSTS OFF) SELECT cozi.heat_agg(1, at, '1 hour') FROM trending_heat_parts;
SELECT (SELECT cozi.heat_agg(1, at, '1 hour') FROM trending_heat_parts)
     = (SELECT cozi.heat_agg(1, at, '1 hour') FROM trending_heat_votes) AS same;
SELECT cozi.heat_agg(1, at, part * interval '1 hour') FROM trending_heat_parts;
RESET enable_partitionwise_aggregate;
RESET max_parallel_workers_per_gather;
DROP TABLE trending_heat_parts;
DROP TABLE trending_heat_votes;

-- a heat can be the expression of an index
CREATE TABLE trending_heat_posts (id int PRIMARY KEY, created_at timestamptz NOT NULL);
CREATE INDEX ON trending_heat_posts (cozi.heat(1, created_at, '6 hours') DESC, id DESC);
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM trending_heat_posts
    ORDER BY cozi.heat(1, created_at, '6 hours') DESC, id DESC LIMIT 10;
RESET enable_seqscan;
DROP TABLE trending_heat_posts;

-- NULL: strict functions, and rows the aggregate passes over
SELECT cozi.heat(NULL, now(), '1 hour'), cozi.heat_add(NULL, 1, now(), '1 hour'),
       cozi.heat_merge(NULL, 1), cozi.heat_value(1, NULL, now());
SELECT cozi.heat_agg(w, at, h) AS heat
FROM (VALUES (2::float8, timestamptz '2000-01-02 00:00+00', interval '1 hour'),
    (NULL, '2026-01-01', '1 hour'),
             (1, NULL, '1 hour'), (1, '2026-01-01', NULL)) v(w, at, h);
SELECT cozi.heat_agg(NULL, now(), '1 hour') AS only_null;

-- refused
SELECT cozi.heat(1, 'infinity', '1 hour');
SELECT cozi.heat(1, '-infinity', '1 hour');
SELECT cozi.heat_add(0, 1, 'infinity', '1 hour');
SELECT cozi.heat_value(1, '1 hour', '-infinity');
SELECT cozi.heat_agg(1, 'infinity', '1 hour');
SELECT cozi.heat('NaN', now(), '1 hour');
SELECT cozi.heat('infinity', now(), '1 hour');
SELECT cozi.heat_add(1, '-infinity', now(), '1 hour');
SELECT cozi.heat_agg('NaN', now(), '1 hour');
SELECT cozi.heat_add('NaN', 1, now(), '1 hour');
SELECT cozi.heat_merge(1, 'infinity');
SELECT cozi.heat_merge('NaN', 1);
SELECT cozi.heat_value('-infinity', '1 hour', now());
SELECT cozi.heat(1, now(), '0');
SELECT cozi.heat(1, now(), '-1 hour');
SELECT cozi.heat(1, now(), '1 day -24 hours');
SELECT cozi.heat(1, now(), '1 month');
SELECT cozi.heat_add(0, 1, now(), '1 year -1 second');
SELECT cozi.heat_value(0, '1 month -30 days', now());
SELECT cozi.heat_agg(1, now(), '1 month');
SELECT cozi.heat(1, now(), '2000000000 days');
-- worth more than a float8 holds: long before the event
SELECT cozi.heat_value(231564, '1 hour', '2000-01-01');
SELECT cozi.heat_merge(1.7976931348623157e308, 1.7976931348623157e308) > 0 AS largest;
