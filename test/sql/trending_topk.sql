-- top_ranked: the rows of the full sort, ties included, of which it reads few.
-- Instants without a time zone are UTC's, whatever the session thinks.
SET TimeZone = 'America/New_York';
SET client_min_messages = warning;
SELECT setseed(0.125);

-- The same by brute force: the formula over every row that has a rank.
CREATE FUNCTION pg_temp.instant(rel regclass, col name) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format(CASE atttypid WHEN 'timestamptz'::regtype THEN '%I'
                  ELSE '(%I::timestamp AT TIME ZONE ''UTC'')' END, col)
    FROM pg_attribute WHERE attrelid = rel AND attname = col $$;
CREATE FUNCTION pg_temp.sorted(rel regclass, formula text, k int, item name, points name,
    created_at name, interactions name, as_of timestamptz, gravity float8, since timestamptz)
    RETURNS TABLE (i text, r int, v float8) LANGUAGE plpgsql AS $$
DECLARE
    at text := pg_temp.instant(rel, created_at);
    value text := format(CASE formula
        WHEN 'gravity' THEN 'cozi.gravity(%1$I, %2$s, $1, $2)'
        WHEN 'hacker_news' THEN 'cozi.hacker_news(%1$I, %2$s, $1, $2)'
        WHEN 'hot_rank' THEN 'cozi.hot_rank(%1$I, %2$s, $1)'
        WHEN 'scaled_rank' THEN 'cozi.scaled_rank(%1$I, %2$s, %3$I, $1)'
        WHEN 'active' THEN 'cozi.hot_rank(%1$I, active, $1)'
        WHEN 'score' THEN '%1$I::float8'
        WHEN 'controversy' THEN 'cozi.controversy(ups, downs)'
        ELSE 'cozi.wilson_lower(ups, downs)' END, points, at, interactions);
    ranked text := format(CASE formula
        WHEN 'scaled_rank' THEN '%1$I >= 0' WHEN 'active' THEN 'isfinite(active)'
        WHEN 'controversy' THEN 'ups >= 0 AND downs >= 0'
        WHEN 'wilson' THEN 'ups >= 0 AND downs >= 0' ELSE 'true' END, interactions);
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT i::text, row_number() OVER (ORDER BY v DESC, i DESC)::int, v
         FROM (SELECT %1$I AS i, %2$s AS v FROM %3$s
               WHERE %1$I IS NOT NULL AND %4$s AND (isfinite(%5$I) OR %8$L = ''active'')
                 AND ($3 IS NULL OR %6$s >= $3) OFFSET 0) r
         WHERE v IS NOT NULL ORDER BY r.v DESC, r.i DESC LIMIT %7$s',
        item, value, rel, ranked, created_at, at, k, formula)
    USING as_of, gravity, since;
END $$;
-- Both, row by row: the number of rows, and of those that differ.
CREATE FUNCTION pg_temp.compare(rel regclass, formula text, k int, item name = 'id',
    points name = 'score', created_at name = 'created_at', interactions name = NULL,
    as_of timestamptz = '2026-06-01 12:00+00', gravity float8 = 1.8, since timestamptz = NULL)
    RETURNS TABLE (n bigint, differ bigint) LANGUAGE sql AS $$
    WITH a AS (SELECT * FROM cozi.top_ranked(rel, formula, k, item, points, created_at,
                   interactions, as_of, gravity, since, active_at => 'active')
               WITH ORDINALITY r(item, rank, value, position)),
         b AS (SELECT * FROM pg_temp.sorted(rel, formula, k, item, points, created_at,
                   interactions, as_of, gravity, since)
               WITH ORDINALITY r(item, rank, value, position))
    SELECT count(*), count(*) FILTER (WHERE (a.item, a.rank, a.value) IS DISTINCT FROM (b.item,
               b.rank, b.value))
    FROM a FULL JOIN b USING (position) $$;

-- Random tables: types, indexes, ties, NULLs, the future, infinity, negative
-- points; each under every formula, several k, in and out of a window.
CREATE TABLE trending_topk_results (shape text, formula text, k int, n bigint, differ bigint);
\set long 0
\getenv long COZI_LONG
SELECT set_config('test.tables', CASE WHEN :'long' = '1' THEN '600' ELSE '40' END,
           false) AS tables \gset
DO $$
DECLARE
    shape text;
    item text; points text; instant text; spread interval; levels int; i int; f text;
    since timestamptz; indexed boolean;
BEGIN
    FOR i IN 1 .. current_setting('test.tables')::int LOOP
        item := (ARRAY['int', 'bigint', 'uuid', 'text', 'text COLLATE "C"',
            'numeric'])[1 + floor(random() * 6)];
        points := (ARRAY['smallint', 'int', 'bigint'])[1 + floor(random() * 3)];
        instant := (ARRAY['timestamptz', 'timestamp', 'date'])[1 + floor(random() * 3)];
        spread := (ARRAY['1 hour', '3 days', '30 days',
            '5 years'])[1 + floor(random() * 4)]::interval;
        levels := (ARRAY[1, 3, 40, 10000])[1 + floor(random() * 4)];
        shape := format('%s %s %s %s %s', item, points, instant, spread, levels);
        EXECUTE format('CREATE TABLE trending_topk_random (id %1$s, score %2$s, created_at %3$s,
            interactions int, active timestamptz, ups %2$s, downs %2$s)', item, points, instant);
        EXECUTE format(
            'INSERT INTO trending_topk_random
             SELECT %1$s, CASE WHEN random() < 0.02 THEN NULL
                 ELSE floor(least(power(random(), -0.5), 30000))::int %% %2$s -
                 CASE WHEN random() < 0.3 THEN 2 ELSE 0 END END,
                    CASE WHEN random() < 0.01 THEN NULL WHEN random() < 0.01 THEN ''infinity''
                        WHEN random() < 0.01 THEN ''-infinity''
                         ELSE timestamptz ''2026-06-01 14:00+00'' - random() * interval %3$L END,
                    CASE WHEN random() < 0.02 THEN -1 ELSE floor(random() * 100) END,
                    CASE WHEN random() < 0.02 THEN NULL WHEN random() < 0.01 THEN ''-infinity''
                         ELSE timestamptz ''2026-06-01 14:00+00'' - random() * interval %3$L END,
                    CASE WHEN random() > 0.02 THEN floor(power(random(), -0.5))::int %% %2$s END,
                    CASE WHEN random() > 0.02 THEN floor(random() * 9)::int %% %2$s END
             FROM generate_series(1, %4$s) g',
            CASE WHEN item = 'uuid' THEN 'md5(g::text)::uuid' WHEN item LIKE 'text%'
                THEN 'md5((g % 500)::text)' ELSE '(g * 7919) % 10007' END,
            levels + 1, spread, floor(random() * 1500));
        EXECUTE format('CREATE INDEX ON trending_topk_random (created_at%s)',
            (ARRAY['', ' DESC', ' DESC NULLS LAST', ' NULLS FIRST',
                ', score'])[1 + floor(random() * 5)]);
        CREATE INDEX ON trending_topk_random (active);
        indexed := random() < 0.8;
        IF indexed THEN
            EXECUTE format('CREATE INDEX ON trending_topk_random (score%s)',
                (ARRAY['', ' DESC', ' DESC NULLS LAST', ' NULLS FIRST'])[1 + floor(random() * 4)]);
            CREATE INDEX ON trending_topk_random (cozi.controversy(ups, downs) DESC, id);
            CREATE INDEX ON trending_topk_random (cozi.wilson_lower(ups, downs) DESC NULLS LAST);
        ELSE
            -- counts that the functions refuse, in a row that has no rank
            EXECUTE format('INSERT INTO trending_topk_random (id, created_at, ups, downs)
                SELECT %s, ''2026-06-01 11:00+00'', 5, -1 FROM generate_series(1, 3) g',
                CASE item WHEN 'uuid' THEN 'md5(g::text)::uuid' ELSE 'g' END);
        END IF;
        IF random() < 0.5 THEN
            CREATE INDEX ON trending_topk_random (id);
        END IF;
        FOREACH f IN ARRAY ARRAY['gravity', 'hacker_news', 'hot_rank', 'scaled_rank', 'active',
                                 'score', 'controversy', 'wilson'] LOOP
            since := timestamptz '2026-06-01 14:00+00' - random() * spread * 0.7;
            IF random() < 0.4 AND (indexed OR f NOT IN ('score', 'controversy', 'wilson')) THEN
                since := NULL;
            END IF;
            INSERT INTO trending_topk_results
            SELECT shape, f, k, c.n, c.differ
            FROM unnest(ARRAY[1, 10, 200, 2000]) k,
                 pg_temp.compare('trending_topk_random', f, k, interactions => 'interactions',
                                 gravity => (ARRAY[0, 1, 1.8, 1.8, 5])[1 + floor(random() * 5)],
                                 since => since) c;
        END LOOP;
        DROP TABLE trending_topk_random;
    END LOOP;
END $$;
SELECT formula, count(*) = 4 * current_setting('test.tables')::int AS all_compared,
       sum(n) > 10000 AS many_rows, sum(differ) AS differ
FROM trending_topk_results GROUP BY formula ORDER BY formula;
SELECT * FROM trending_topk_results WHERE differ > 0 LIMIT 10;
DROP TABLE trending_topk_results;

-- Few rows are read: 20,000 posts of 90 days, points with a heavy tail.
CREATE TABLE trending_topk_posts (id bigint PRIMARY KEY, author int, score int,
    created_at timestamptz, interactions int, active timestamptz, ups int, downs int);
INSERT INTO trending_topk_posts
SELECT g, g % 10, floor(power(random(), -0.8)),
       timestamptz '2026-06-01 12:00+00' - random() * interval '90 days', random() * 1000,
       timestamptz '2026-06-01 12:00+00' - random() * interval '20 days',
       floor(power(random(), -0.8)), floor(power(random(), -0.5))
FROM generate_series(1, 20000) g;
CREATE INDEX trending_topk_posts_created_at ON trending_topk_posts (created_at DESC);
CREATE INDEX trending_topk_posts_score ON trending_topk_posts (score DESC);
CREATE INDEX trending_topk_posts_active ON trending_topk_posts (active);
CREATE INDEX trending_topk_posts_best ON trending_topk_posts (cozi.wilson_lower(ups, downs));
CREATE INDEX trending_topk_posts_split ON trending_topk_posts (cozi.controversy(ups, downs));
VACUUM ANALYZE trending_topk_posts;
CREATE FUNCTION pg_temp.fetched(query text) RETURNS TABLE (seq_scans bigint, few boolean)
    LANGUAGE plpgsql AS $$
DECLARE
    before pg_stat_xact_user_tables;
    after pg_stat_xact_user_tables;
BEGIN
    SELECT * INTO before FROM pg_stat_xact_user_tables WHERE relname = 'trending_topk_posts';
    EXECUTE query;
    SELECT * INTO after FROM pg_stat_xact_user_tables WHERE relname = 'trending_topk_posts';
    RETURN QUERY SELECT after.seq_scan - before.seq_scan,
        after.idx_tup_fetch - before.idx_tup_fetch < 4000;
END $$;
SELECT f AS formula, c.n, c.differ, r.*
FROM unnest(ARRAY['gravity', 'hacker_news', 'hot_rank', 'scaled_rank', 'active', 'score',
                  'controversy', 'wilson']) f,
     pg_temp.compare('trending_topk_posts', f, 20, interactions => 'interactions') c,
     pg_temp.fetched(format($$SELECT *
         FROM cozi.top_ranked('trending_topk_posts', %L, 20, interactions => 'interactions',
                              as_of => '2026-06-01 12:00+00', active_at => 'active')$$, f)) r;
-- a window of an hour, a week or all: as few, for one walk ends with the window
SELECT f AS formula, since, c.n, c.differ, r.*
FROM unnest(ARRAY['gravity', 'score', 'controversy', 'wilson']) f,
     unnest(ARRAY['2026-06-01 11:00+00', '2026-05-25 12:00+00', '-infinity']::timestamptz[]) since,
     pg_temp.compare('trending_topk_posts', f, 20, since => since) c,
     pg_temp.fetched(format($$SELECT *
         FROM cozi.top_ranked('trending_topk_posts', %L, 20, as_of => '2026-06-01 12:00+00',
                              since => %L)$$, f, since)) r;
-- the same where the session has turned index scans off
SET enable_indexscan = off;
SELECT r.* FROM pg_temp.fetched($$SELECT *
           FROM cozi.top_ranked('trending_topk_posts', 'gravity', 20,
               as_of => '2026-06-01 12:00+00')$$) r;
SHOW enable_indexscan;
RESET enable_indexscan;
-- years later no post is of the week any more: ranked by item, off its index
SELECT c.n, c.differ, r.*
FROM pg_temp.compare('trending_topk_posts', 'hot_rank', 20, as_of => '2030-01-01') c,
     pg_temp.fetched($$SELECT *
         FROM cozi.top_ranked('trending_topk_posts', 'hot_rank', 20, as_of => '2030-01-01')$$) r;
-- without an index on the points their maximum is looked for first
DROP INDEX trending_topk_posts_score;
SELECT f AS formula, c.n, c.differ
FROM unnest(ARRAY['gravity', 'hot_rank', 'scaled_rank']) f,
     pg_temp.compare('trending_topk_posts', f, 20, interactions => 'interactions') c;
CREATE INDEX trending_topk_posts_score ON trending_topk_posts (score DESC);

-- All of one instant, all of one score, both: only the item is left.
CREATE TABLE trending_topk_flat AS
    SELECT g AS id, 5 AS score, timestamptz '2026-06-01' AS created_at
    FROM generate_series(1, 5000) g;
CREATE INDEX ON trending_topk_flat (created_at);
CREATE INDEX ON trending_topk_flat (score);
SELECT string_agg(item, ' ' ORDER BY rank) AS items, count(DISTINCT value) AS worths
FROM cozi.top_ranked('trending_topk_flat', 'gravity', 5, as_of => '2026-06-02');
UPDATE trending_topk_flat SET score = id;
SELECT c.* FROM pg_temp.compare('trending_topk_flat', 'gravity', 100) c;
UPDATE trending_topk_flat SET score = 1 + id % 2,
    created_at = created_at - id * interval '1 minute';
SELECT c.* FROM pg_temp.compare('trending_topk_flat', 'gravity', 100) c;
UPDATE trending_topk_flat SET score = -1;
SELECT c.* FROM pg_temp.compare('trending_topk_flat', 'gravity', 100) c;
-- below zero the older is the better: the walk must not stop short of it
TRUNCATE trending_topk_flat;
INSERT INTO trending_topk_flat VALUES (1, 0, '2026-05-28 08:00+00'), (2, -1, '2024-06-01 12:00+00');
INSERT INTO trending_topk_flat
SELECT g, -1, timestamptz '2026-06-01 12:00+00' - g * interval '1 minute'
FROM generate_series(3, 100) g;
SELECT item FROM cozi.top_ranked('trending_topk_flat', 'gravity', 1,
           as_of => '2026-06-01 12:00+00');
SELECT c.* FROM pg_temp.compare('trending_topk_flat', 'gravity', 3) c;
TRUNCATE trending_topk_flat;
SELECT * FROM cozi.top_ranked('trending_topk_flat', 'gravity', 5);
DROP TABLE trending_topk_flat;

-- The defaults: id, score, created_at, now().
BEGIN;
INSERT INTO trending_topk_posts VALUES (20001, 0, 1000000000, now());
SELECT item, rank, value = cozi.gravity(1000000000, now(), now()) AS value
FROM cozi.top_ranked('trending_topk_posts', 'gravity', 1);
SELECT count(*) AS cursors FROM pg_cursors;
ROLLBACK;

-- Partitions, children, a materialized view, a domain, names in need of quotes.
CREATE TABLE trending_topk_parts (LIKE trending_topk_posts) PARTITION BY RANGE (created_at);
CREATE TABLE trending_topk_old PARTITION OF trending_topk_parts FOR VALUES FROM ('2026-01-01')
    TO ('2026-05-15');
CREATE TABLE trending_topk_new PARTITION OF trending_topk_parts DEFAULT;
CREATE INDEX ON trending_topk_parts (created_at);
CREATE INDEX ON trending_topk_parts (score);
INSERT INTO trending_topk_parts SELECT * FROM trending_topk_posts;
SELECT c.* FROM pg_temp.compare('trending_topk_parts', 'gravity', 50) c;
CREATE TABLE trending_topk_child () INHERITS (trending_topk_posts);
INSERT INTO trending_topk_child
VALUES (30001, 0, 900, '2026-06-01 11:00+00'), (30002, 0, 901, '2026-06-01 10:00+00');
SELECT c.* FROM pg_temp.compare('trending_topk_posts', 'gravity', 50) c;
DROP TABLE trending_topk_child;
CREATE MATERIALIZED VIEW trending_topk_view AS SELECT * FROM trending_topk_posts WHERE author = 1;
CREATE INDEX ON trending_topk_view (created_at);
SELECT c.* FROM pg_temp.compare('trending_topk_view', 'hot_rank', 50) c;
CREATE SCHEMA "trending topk; --";
CREATE DOMAIN "trending topk; --"."Point" AS int CHECK (VALUE > -100);
CREATE TABLE "trending topk; --"."p""osts" ("I'd" text, "select" "trending topk; --"."Point",
    "zażółć $1" timestamptz);
INSERT INTO "trending topk; --"."p""osts" SELECT id, score, created_at FROM trending_topk_posts
LIMIT 300;
CREATE INDEX ON "trending topk; --"."p""osts" ("zażółć $1");
CREATE INDEX ON "trending topk; --"."p""osts" ("select");
SELECT c.* FROM pg_temp.compare('"trending topk; --"."p""osts"', 'gravity', 50, 'I''d', 'select',
           'zażółć $1') c;
DROP INDEX "trending topk; --"."p""osts_zażółć $1_idx", "trending topk; --"."p""osts_select_idx";
SELECT * FROM cozi.top_ranked('"trending topk; --"."p""osts"', 'gravity', 50, 'I''d', 'select',
           'zażółć $1');
SET client_min_messages = error;
DROP SCHEMA "trending topk; --" CASCADE;
RESET client_min_messages;
DROP MATERIALIZED VIEW trending_topk_view;

-- Indexes that cannot be walked: none, partial, of another kind or column,
-- not finished on every partition.
DROP INDEX trending_topk_posts_created_at;
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5);
CREATE INDEX ON trending_topk_posts (created_at) WHERE score > 0;
CREATE INDEX ON trending_topk_posts USING brin (created_at);
CREATE INDEX ON trending_topk_posts (score, created_at);
CREATE INDEX ON trending_topk_posts ((created_at AT TIME ZONE 'UTC'));
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5);
CREATE INDEX ON trending_topk_posts (created_at, author);
SELECT c.* FROM pg_temp.compare('trending_topk_posts', 'gravity', 5) c;
DROP INDEX trending_topk_parts_created_at_idx, trending_topk_parts_score_idx;
CREATE INDEX ON ONLY trending_topk_parts (created_at);
SELECT * FROM cozi.top_ranked('trending_topk_parts', 'gravity', 5);
DROP TABLE trending_topk_parts;

-- Row-level security: a reader's ranks are those of the rows he sees, and the
-- walk is one of indexes all the same.
CREATE ROLE trending_topk_reader;
GRANT USAGE ON SCHEMA cozi TO trending_topk_reader;
GRANT SELECT ON trending_topk_posts TO trending_topk_reader;
ALTER TABLE trending_topk_posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON trending_topk_posts FOR SELECT USING (author % 3 = 1);
SET ROLE trending_topk_reader;
SELECT f AS formula, c.n, c.differ, r.*
FROM unnest(ARRAY['gravity', 'hot_rank', 'scaled_rank']) f,
     pg_temp.compare('trending_topk_posts', f, 20, interactions => 'interactions') c,
     pg_temp.fetched(format($$SELECT *
         FROM cozi.top_ranked('trending_topk_posts', %L, 20, interactions => 'interactions',
                                                             as_of => '2026-06-01 12:00+00')$$,
                                                                 f)) r;
SELECT count(*), count(*) FILTER (WHERE p.id IS NULL) AS unseen
FROM cozi.top_ranked('trending_topk_posts', 'gravity', 100000) t LEFT
JOIN trending_topk_posts p ON p.id::text = t.item;
SELECT count(*) FROM trending_topk_posts;
SET row_security = off;
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 3);
RESET row_security;
RESET ROLE;
-- a policy that fails on a row: the error passes, cursors and settings are as before
CREATE FUNCTION trending_topk_fail(author int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    RETURN 1 / (author - 4) < 100; END $$;
CREATE POLICY failing ON trending_topk_posts AS RESTRICTIVE USING (trending_topk_fail(author));
SET ROLE trending_topk_reader;
BEGIN;
SAVEPOINT s;
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 3);
ROLLBACK TO s;
SELECT count(*) AS cursors FROM pg_cursors;
SHOW enable_seqscan;
COMMIT;
RESET ROLE;
DROP POLICY failing ON trending_topk_posts;
-- and one that is slow: the walk can be interrupted
CREATE FUNCTION trending_topk_sleep(author int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_sleep(0.01); RETURN true; END $$;
CREATE POLICY slow ON trending_topk_posts AS RESTRICTIVE USING (trending_topk_sleep(author));
SET ROLE trending_topk_reader;
SET statement_timeout = '2s';
SELECT count(*) FROM cozi.top_ranked('trending_topk_posts', 'gravity', 10000);
RESET statement_timeout;
RESET ROLE;
DROP POLICY slow ON trending_topk_posts;
DROP FUNCTION trending_topk_fail(int), trending_topk_sleep(int);
-- privileges: of the columns it reads, and of the table
REVOKE SELECT ON trending_topk_posts FROM trending_topk_reader;
SET ROLE trending_topk_reader;
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 3);
RESET ROLE;
GRANT SELECT (id, score, created_at) ON trending_topk_posts TO trending_topk_reader;
SET ROLE trending_topk_reader;
SELECT count(*) FROM cozi.top_ranked('trending_topk_posts', 'gravity', 3);
SELECT count(*) FROM cozi.top_ranked('trending_topk_posts', 'scaled_rank', 3,
           interactions => 'interactions');
RESET ROLE;
REVOKE ALL ON trending_topk_posts FROM trending_topk_reader;
REVOKE USAGE ON SCHEMA cozi FROM trending_topk_reader;
DROP POLICY readers ON trending_topk_posts;
DROP ROLE trending_topk_reader;

-- none asked for
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 0);

-- refused
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'hot', 5);
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', -1);
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', NULL);
SELECT * FROM cozi.top_ranked(NULL, 'gravity', 5);
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'scaled_rank', 5);
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, points => 'points');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, item => 'ctid');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, points => 'created_at');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, created_at => 'score');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'scaled_rank', 5,
           interactions => 'created_at');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, as_of => 'infinity');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, gravity => 'NaN');
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, gravity => -1);
SELECT * FROM cozi.top_ranked('pg_views', 'gravity', 5);
SELECT * FROM cozi.top_ranked(4294967295, 'gravity', 5);
ALTER TABLE trending_topk_posts ADD shape point;
SELECT * FROM cozi.top_ranked('trending_topk_posts', 'gravity', 5, item => 'shape');
DROP TABLE trending_topk_posts;
