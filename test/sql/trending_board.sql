-- Boards: every vote exactly once, whatever statement cast it.
SET client_min_messages = warning;
SET IntervalStyle = postgres;
CREATE SCHEMA board_test;
SET search_path = board_test, public;

-- What a board must say, from the votes and nothing of the board's own.
CREATE FUNCTION truth(votes regclass, half_life interval DEFAULT '6 hours',
    down_weight float8 DEFAULT 1)
RETURNS TABLE (item text, ups bigint, downs bigint, heat float8) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        SELECT post::text, sum(greatest(value, 0))::bigint, -sum(least(value, 0))::bigint,
               CASE WHEN sum(greatest(value, 0)) > 0
                    THEN cozi.heat_agg(value, created_at, %L) FILTER (WHERE value > 0)
                         + ln(sum(greatest(value, 0))::float8 / (sum(greatest(value, 0))
                             - %L::float8 * sum(least(value, 0)))) / ln(2::float8)
                    ELSE 0 END
        FROM %s WHERE post IS NOT NULL AND value <> 0 AND created_at <= clock_timestamp()
            AND isfinite(created_at)
        GROUP BY post$q$, half_life, down_weight, votes);
END $$;

-- Rows of truth, of the board and of its live view that are not alike: none.
CREATE FUNCTION wrong(board regclass, votes regclass, half_life interval DEFAULT '6 hours',
    down_weight float8 DEFAULT 1)
RETURNS TABLE (which text, item text, ups bigint, downs bigint, heat float8) LANGUAGE plpgsql AS $$
DECLARE
    live text;
BEGIN
    SELECT b.live INTO live FROM cozi.boards b WHERE b.board = wrong.board;
    -- with votes pending, then folded
    RETURN QUERY
        EXECUTE format('SELECT ''live'', coalesce(l.item::text, t.item), l.ups, l.downs, l.heat
        FROM %s l FULL JOIN truth(%L, %L, %L) t ON l.item::text = t.item
        WHERE (l.ups, l.downs) IS DISTINCT FROM (t.ups, t.downs) OR abs(l.heat - t.heat) > 1e-9',
            live, votes, half_life, down_weight);
    RETURN QUERY SELECT 'verify', v.item, v.ups, v.downs, v.heat FROM cozi.verify_board(board) v;
    PERFORM cozi.fold(board);
    RETURN QUERY
        EXECUTE format('SELECT ''board'', coalesce(l.item::text, t.item), l.ups, l.downs, l.heat
        FROM %s l FULL JOIN truth(%L, %L, %L) t ON l.item::text = t.item
        WHERE (l.ups, l.downs) IS DISTINCT FROM (t.ups, t.downs) OR abs(l.heat - t.heat) > 1e-9',
            board, votes, half_life, down_weight);
    RETURN QUERY SELECT 'verify folded', v.item, v.ups, v.downs, v.heat
        FROM cozi.verify_board(board) v;
END $$;

CREATE TABLE posts (id bigint PRIMARY KEY);
INSERT INTO posts SELECT generate_series(1, 100);
CREATE TABLE votes (
    post       bigint REFERENCES posts ON DELETE CASCADE ON UPDATE CASCADE,
    voter      int,
    value      smallint,
    created_at timestamptz DEFAULT now(),
    PRIMARY KEY (post, voter)
);
INSERT INTO votes
SELECT p, v, CASE WHEN (p * 7 + v) % 6 = 0 THEN -1 ELSE 1 END,
    '2026-06-01 12:00+00'::timestamptz - (p * 31 + v * 97) % 200 * interval '1 hour'
FROM generate_series(1, 50) p, generate_series(1, 10) v;

-- votes that were there before
SELECT cozi.create_board('hot', 'votes', 'post', 'value');
SELECT count(*) FROM hot;
SELECT * FROM wrong('hot', 'votes');
SELECT item, rank, round(heat::numeric, 6) AS heat FROM cozi.top('hot', 3);
SELECT item, round(heat::numeric, 6) AS heat FROM hot ORDER BY heat DESC, item DESC LIMIT 3;

-- all in one transaction, so that nothing is folded on the way
BEGIN;
INSERT INTO votes VALUES (1, 100, 1, '2026-06-02'), (1, 101, -1, '2026-06-02'),
    (60, 100, 1, '2026-06-02');
SELECT pending FROM cozi.boards WHERE board = 'hot'::regclass;
SELECT l.ups, l.downs, b.ups AS folded_ups FROM hot_live l LEFT JOIN hot b USING (item)
WHERE l.item IN (1, 60) ORDER BY l.item;
SELECT * FROM wrong('hot', 'votes');
UPDATE votes SET value = -value WHERE voter = 3;
UPDATE votes SET created_at = created_at + interval '3 hours' WHERE voter = 4;
UPDATE votes SET post = 61 WHERE post = 60;
-- what changes nothing that counts appends nothing
SELECT pending AS before FROM cozi.boards WHERE board = 'hot'::regclass \gset
UPDATE votes SET voter = voter WHERE post < 20;
SELECT pending > 0 AS some, pending - :before AS more FROM cozi.boards
WHERE board = 'hot'::regclass;
DELETE FROM votes WHERE voter IN (5, 6) AND post < 10;
SELECT * FROM wrong('hot', 'votes');
COMMIT;
INSERT INTO votes VALUES (1, 5, 1), (1, 100, 1), (2, 100, 1) ON CONFLICT (post, voter) DO UPDATE
    SET value = -1;
INSERT INTO votes VALUES (1, 5, 1), (3, 100, 1) ON CONFLICT DO NOTHING;
SELECT * FROM wrong('hot', 'votes');
MERGE INTO votes v USING (VALUES (1, 5, 0), (2, 100, 1), (4, 777, 1)) s(p, u, w) ON v.post = s.p
    AND v.voter = s.u
WHEN MATCHED AND w = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET value = w
WHEN NOT MATCHED THEN INSERT VALUES (p, u, w);
SELECT * FROM wrong('hot', 'votes');
COPY votes (post, voter, value, created_at) FROM stdin;
70	1	1	2026-06-03 00:00+00
70	2	1	2026-06-03 06:00+00
71	1	-1	2026-06-03 00:00+00
\.
SELECT * FROM wrong('hot', 'votes');
WITH moved AS (DELETE FROM votes WHERE post = 70 RETURNING *)
INSERT INTO votes SELECT 72, voter, value, created_at FROM moved;
SELECT * FROM wrong('hot', 'votes');
-- foreign keys cascade
DELETE FROM posts WHERE id = 1;
UPDATE posts SET id = 200 WHERE id = 2;
SELECT * FROM wrong('hot', 'votes');
SELECT count(*) FROM hot WHERE item IN (1, 2);
SELECT count(*) FROM hot WHERE item = 200;
-- a savepoint takes its votes with it
BEGIN;
INSERT INTO votes VALUES (80, 1, 1);
SAVEPOINT s;
INSERT INTO votes VALUES (80, 2, 1), (81, 1, 1);
ROLLBACK TO s;
INSERT INTO votes VALUES (80, 3, 1);
COMMIT;
SELECT item, ups FROM hot_live WHERE item IN (80, 81);
-- an item nobody votes for any more is as if never voted on
DELETE FROM votes WHERE post = 80;
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT count(*) FROM hot WHERE item = 80;
SELECT count(*) FROM cozi.kept_state WHERE item = '80';
TRUNCATE votes;
SELECT count(*) FROM hot_live;
SELECT * FROM wrong('hot', 'votes');
SELECT count(*) FROM hot;

-- Nothing is left of 200,000 votes of which 199,990 are taken back
INSERT INTO posts VALUES (1), (2);
INSERT INTO votes SELECT 1, g, 1,
    '2026-06-01'::timestamptz + (g * 7919 % 172800) * interval '1 second'
    FROM generate_series(1, 200000) g;
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT ups FROM hot WHERE item = 1;
DELETE FROM votes WHERE voter % 20000 <> 0;
SELECT ups, downs FROM hot_live;
SELECT * FROM wrong('hot', 'votes');
-- also what is a thousand half-lives older than what was taken back
INSERT INTO votes VALUES (1, -1, 1, '2025-01-01'), (1, -2, 1, '2026-09-01'),
    (1, -3, 1, '2026-09-02');
SELECT cozi.fold('hot') >= 0 AS folded;
DELETE FROM votes WHERE voter > -2 AND voter <> -1 OR voter < -1;
SELECT cozi.fold('hot') >= 0 AS folded;
SELECT ups, heat = cozi.heat(1, '2025-01-01', '6 hours') AS same FROM hot;
SELECT * FROM wrong('hot', 'votes');
DELETE FROM votes;

-- A vote dated in the future counts from that moment on
INSERT INTO votes VALUES (5, 1, 1, now() + interval '1 hour'), (5, 2, 1, now() + interval '1 hour'),
    (6, 1, 1, 'infinity'), (6, 2, 1, '-infinity');
SELECT item, ups FROM hot_live;
SELECT * FROM wrong('hot', 'votes');
SELECT pending, future FROM cozi.boards WHERE board = 'hot'::regclass;
UPDATE votes SET created_at = clock_timestamp() + interval '0.1 s' WHERE post = 5 AND voter = 2;
SELECT pg_sleep(0.2);
SELECT item, ups FROM hot_live;
SELECT * FROM wrong('hot', 'votes');
SELECT item, ups FROM hot;
-- taken back before it counted
DELETE FROM votes WHERE voter = 1;
SELECT * FROM wrong('hot', 'votes');
SELECT cozi.rebuild_board('hot');
SELECT * FROM wrong('hot', 'votes');
-- a forged date wins nothing
INSERT INTO votes VALUES (7, 1, 1, now() + interval '10 years');
SELECT item FROM cozi.top('hot', 1);
DELETE FROM votes;

-- An up-vote is never worth nothing, and an item without one is worth 0
INSERT INTO votes VALUES (8, 1, 1, '1990-01-01'), (9, 1, -1, '2026-01-01'),
    (10, 1, 1, '2000-01-01 00:00+00');
SELECT item, ups, downs, heat > 0 AS positive FROM hot_live ORDER BY heat DESC, item;
SELECT count(*) FROM cozi.verify_board('hot');
DELETE FROM votes;
-- NULLs and zeros are not counted
INSERT INTO votes VALUES (11, 1, NULL, now()), (11, 2, 0, now()), (11, 3, 1, NULL);
SELECT count(*) FROM hot_live;
DELETE FROM votes;

-- Random statements, each checked against a recount
DO $$
DECLARE
    bad bigint := 0;
    step int;
BEGIN
    PERFORM setseed(0.42);
    FOR step IN 1 .. 60 LOOP
        CASE (random() * 5)::int
            WHEN 0, 1 THEN
                INSERT INTO votes SELECT 1 + (random() * 19)::int, (random() * 1e9)::int,
                    CASE WHEN random() < 0.2 THEN -1 ELSE 1 END,
                    '2026-06-01'::timestamptz + random() * interval '40 days'
                        FROM generate_series(1, 1 + (random() * 20)::int);
            WHEN 2 THEN UPDATE votes SET value = -value WHERE random() < 0.2;
            WHEN 3 THEN UPDATE votes SET created_at = created_at - random() * interval '300 days'
                WHERE random() < 0.1;
            WHEN 4 THEN DELETE FROM votes WHERE random() < 0.3;
            ELSE PERFORM cozi.fold('hot', 1 + (random() * 30)::int);
        END CASE;
        SELECT bad + count(*) INTO bad FROM cozi.verify_board('hot');
    END LOOP;
    RAISE WARNING 'differences: %', bad;
END $$;
SELECT * FROM wrong('hot', 'votes');
SELECT cozi.set_half_life('hot', '1 hour');
SELECT * FROM wrong('hot', 'votes', '1 hour');
SELECT cozi.set_half_life('hot', '1 second');
SELECT count(*) FROM cozi.verify_board('hot');
SELECT cozi.set_half_life('hot', '3000 days');
SELECT * FROM wrong('hot', 'votes', '3000 days');

-- Several boards on one table, one without down-votes
SELECT cozi.create_board('best', 'votes', 'post', 'value', half_life => '1 day', down_weight => 0);
SELECT cozi.create_board('voters', 'votes', 'voter');
DELETE FROM votes WHERE post < 5;
INSERT INTO votes VALUES (15, 1, -5, '2026-06-05'), (16, 1, 7, '2026-06-05');
SELECT * FROM wrong('hot', 'votes', '3000 days');
SELECT * FROM wrong('best', 'votes', '1 day', 0);
SELECT count(*) FROM cozi.verify_board('voters');
SELECT ups, downs FROM voters_live WHERE item = 1;
SELECT board, item, weight, voted_at, scope, half_life, down_weight FROM cozi.boards
ORDER BY board::text;
SELECT cozi.drop_board('best');
SELECT cozi.drop_board('voters');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'votes'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT cozi.drop_board('hot');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'votes'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT relname FROM pg_class WHERE relnamespace = 'board_test'::regnamespace
    AND relkind IN ('r', 'v') ORDER BY 1;
SELECT count(*) FROM cozi.kept;

-- The top of the live view walks the board's index, whatever is pending
CREATE TABLE many (post int, created_at timestamptz);
INSERT INTO many SELECT g, '2026-06-01'::timestamptz - g * interval '1 minute'
    FROM generate_series(1, 20000) g;
SELECT cozi.create_board('big', 'many', 'post');
ANALYZE big;
CREATE FUNCTION plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END $$;
BEGIN;
INSERT INTO many SELECT g * 100, '2026-06-02' FROM generate_series(1, 20) g;
SELECT plan ~ 'Merge Append' AND plan ~ 'big_heat_idx'
    AND plan !~ 'Seq Scan on big\M(?!_)' AS by_index
FROM plan('SELECT item, heat FROM big_live ORDER BY heat DESC, item DESC LIMIT 50');
SELECT plan ~ 'big_pkey' AND plan !~ 'Seq Scan on big\M(?!_)' AS by_key
FROM plan('SELECT heat FROM big_live WHERE item = 7');
SELECT (SELECT array_agg(t.item::int ORDER BY rank) FROM cozi.top('big', 50) t)
     = (SELECT array_agg(item) FROM (SELECT item FROM big_live ORDER BY heat DESC, item DESC
         LIMIT 50) l) AS same;
SELECT array_agg(item ORDER BY rank) FROM cozi.top('big', 3);
COMMIT;
SELECT cozi.rebuild_board('big') IS NOT NULL;
BEGIN ISOLATION LEVEL REPEATABLE READ;
\set VERBOSITY sqlstate
SELECT cozi.rebuild_board('big');
\set VERBOSITY default
ROLLBACK;

DROP SCHEMA board_test CASCADE;
