-- A real community's votes: what the board says is what the site says.
SET client_min_messages = warning;
\getenv abs_srcdir PG_ABS_SRCDIR
\cd :abs_srcdir
CREATE SCHEMA community;
SET search_path = community, public;
CREATE TABLE posts (id bigint PRIMARY KEY, kind text, parent_id bigint, author_id bigint,
    created_at timestamptz, score int, views int, tags text[]);
\copy posts FROM 'demo/data/posts.csv' CSV HEADER
CREATE TABLE dump (id bigint, post_id bigint, kind text, cast_on date);
\copy dump FROM 'demo/data/votes.csv' CSV HEADER
CREATE TABLE votes (id bigint, post_id bigint, value int, cast_on date);
SELECT cozi.create_board('hot', 'votes', 'post_id', 'value', 'cast_on', half_life => '7 days');

-- in seven parts, as they were cast
DO $$
BEGIN
    FOR month IN 3 .. 9 LOOP
        INSERT INTO votes SELECT id, post_id, CASE kind WHEN 'up' THEN 1 ELSE -1 END, cast_on
        FROM dump
        WHERE extract(month FROM cast_on) = month;
    END LOOP;
END $$;
SELECT (SELECT count(*) FROM dump) AS dump, (SELECT count(*) FROM votes) AS votes,
       (SELECT sum(ups + downs) FROM hot_live) AS counted;

-- up-votes minus down-votes, against the site's own count
SELECT count(*) AS posts, count(*) FILTER (WHERE p.score = coalesce(b.ups - b.downs, 0)) AS agree
FROM posts p LEFT JOIN hot_live b ON b.item = p.id WHERE p.kind IN ('question', 'answer');

-- the whole order, against a scan of the votes with the textbook's formula
WITH textbook AS (
    SELECT post_id, sum(2 ^ ((cast_on - date '2018-06-01') / 7.0)) FILTER (WHERE value > 0)
           * (sum(value) FILTER (WHERE value > 0))::float8 / sum(abs(value)) AS worth
    FROM votes GROUP BY post_id)
SELECT count(*) AS items,
       count(*) FILTER (WHERE
           abs(cozi.heat_value(b.heat, '7 days', '2018-06-01 00:00+00') / t.worth - 1) < 1e-8) AS
               agree
FROM textbook t JOIN hot_live b ON b.item = t.post_id WHERE t.worth IS NOT NULL;
SELECT count(*) FROM cozi.verify_board('hot');
-- pages by keyset add up to the whole
WITH RECURSIVE page AS (
    SELECT 1 AS n, (SELECT array_agg((heat, item)::text ORDER BY heat DESC, item DESC)
               FROM (SELECT heat, item FROM hot_live ORDER BY heat DESC, item DESC
                   LIMIT 100) a) AS rows,
           (SELECT heat FROM (SELECT heat, item FROM hot_live ORDER BY heat DESC, item DESC
               LIMIT 100) a ORDER BY heat, item LIMIT 1) AS h,
           (SELECT item FROM (SELECT heat, item FROM hot_live ORDER BY heat DESC, item DESC
               LIMIT 100) a ORDER BY heat, item LIMIT 1) AS i
    UNION ALL
    SELECT n + 1, q.rows, q.h, q.i FROM page p CROSS JOIN LATERAL (
        SELECT array_agg((heat, item)::text ORDER BY heat DESC, item DESC) AS rows,
               (array_agg(heat ORDER BY heat, item))[1] AS h,
                   (array_agg(item ORDER BY heat, item))[1] AS i
        FROM (SELECT heat, item FROM hot_live WHERE (heat, item) < (p.h, p.i)
            ORDER BY heat DESC, item DESC LIMIT 100) a) q
    WHERE q.rows IS NOT NULL)
SELECT count(*) AS pages, sum(cardinality(rows)) = (SELECT count(*) FROM hot_live) AS whole,
       (SELECT array_agg(r)
       FROM (SELECT unnest(rows) AS r FROM page
           ORDER BY n) x) = (SELECT array_agg((heat, item)::text ORDER BY heat DESC, item DESC)
               FROM hot_live) AS in_order
FROM page;
DROP SCHEMA community CASCADE;
