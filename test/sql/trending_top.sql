-- top() by scopes and pages, and top_rows(): the front page, the communities that
-- a reader follows, and rows instead of items
--
-- Every answer is compared with what it is defined by, a sort of the whole view.
CREATE SCHEMA t_top;
SET search_path = t_top;
SET client_min_messages = warning;
CREATE TABLE posts (id bigint PRIMARY KEY, gone int, title text, hidden boolean NOT NULL);
ALTER TABLE posts DROP COLUMN gone;
INSERT INTO posts SELECT i, 'post ' || i, i % 3 = 0 FROM generate_series(1, 60) i;
CREATE TABLE votes (post bigint, community int, value int,
                    created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('hot', 'votes', 'post', 'value', scope => 'community');
SELECT cozi.create_board('all_hot', 'votes', 'post', 'value');
-- a post is in up to three communities, with as many heats
INSERT INTO votes
    SELECT 1 + i * 7 % 60, 1 + i * 11 % 13, 1, timestamptz '2024-01-10' - i * interval '97 s'
    FROM generate_series(0, 599) i;
SELECT count(*) > 0 AS folded FROM cozi.fold();
-- and these stay pending: a post rises, one leaves a community, one is new
INSERT INTO votes SELECT 5, 2, 1 FROM generate_series(1, 9);
DELETE FROM votes WHERE post = 7 AND community = 13;
INSERT INTO votes VALUES (777, 99, 1, '2024-01-11'), (778, 4, 1, '2024-01-11');

-- The k first of some scopes, an item once with its highest heat; NULL: of all
CREATE FUNCTION naive(of int[]) RETURNS TABLE (item bigint, heat float8) LANGUAGE sql AS $$
    SELECT l.item, max(l.heat) FROM t_top.hot_live l WHERE of IS NULL OR l.scope = ANY (of)
    GROUP BY l.item ORDER BY 2 DESC, 1 DESC $$;
-- All pages of k items, one after the other
CREATE FUNCTION pages(k int, of text[], OUT items bigint[], OUT ranks int[], OUT heats float8[])
LANGUAGE plpgsql AS $$
DECLARE
    page record;
    place text;
BEGIN
    LOOP
        SELECT array_agg(t.item::bigint ORDER BY rank) AS i, array_agg(rank ORDER BY rank) AS r,
               array_agg(heat ORDER BY rank) AS h, max(cursor) FILTER (WHERE last) AS c
        INTO page
        FROM (SELECT *, rank = max(rank) OVER () AS last
              FROM cozi.top('t_top.hot', k, scopes => of, after => place)) t;
        EXIT WHEN page.i IS NULL;
        items := items || page.i; ranks := ranks || page.r; heats := heats || page.h;
        place := page.c;
    END LOOP;
END $$;

-- the first k, of one, of several, of all, of scopes that are not there
SELECT name, k, (SELECT array_agg(item::bigint ORDER BY rank) FROM cozi.top('hot', k, scopes => s))
       IS NOT DISTINCT FROM (SELECT array_agg(item) FROM (SELECT * FROM naive(s::int[]) LIMIT k) n)
       AS equal
FROM (VALUES ('one', '{2}'::text[]), ('one again', '{13}'), ('three', '{2,3,13}'),
             ('pending only', '{99}'), ('twice the same', '{4,4,4}'), ('nothing there', '{1000}'),
             ('a NULL among them', '{NULL,2}'), ('all', NULL)) c (name, s),
     (VALUES (1), (5), (1000)) k (k)
ORDER BY name, k;
SELECT count(*) FROM cozi.top('hot', 10, scopes => '{}');
SELECT t.item FROM cozi.top('hot', 2, '2') t;
-- pages one after the other are the whole, their ranks go on
SELECT name, k, p.items = (SELECT array_agg(n.item) FROM naive(s::int[]) n) AS items,
       p.ranks = (SELECT array_agg(i) FROM generate_series(1, cardinality(p.items)) i) AS ranks,
       p.heats = (SELECT array_agg(n.heat) FROM naive(s::int[]) n) AS heats
FROM (VALUES ('one', '{2}'::text[]), ('three', '{2,3,13}'), ('all', NULL)) c (name, s),
     (VALUES (1), (7), (1000)) k (k), pages(k, s) p
ORDER BY name, k;
-- a board without scopes, too
SELECT array_agg(t.item::bigint ORDER BY rank) = (SELECT array_agg(x.item) FROM (SELECT item
    FROM all_hot_live ORDER BY heat DESC, item DESC OFFSET 4 LIMIT 6) x) AS equal
FROM cozi.top('all_hot', 6, after =>
    (SELECT cursor FROM cozi.top('all_hot', 4) ORDER BY rank DESC LIMIT 1)) t;

-- a cursor is a place, and nothing else that a client writes there is
SELECT cozi.top('hot', 1, after => '40e3325b9ee33939.1.5');
SELECT cozi.top('hot', 1, after => cozi.cursor_encode(39321.2::float8, 1, '5', '5') || 'A');
DO $$
DECLARE
    forged text;
BEGIN
    FOREACH forged IN ARRAY ARRAY[
        cozi.cursor_encode(39321.2::float8, 1), cozi.cursor_encode(39321.2::float8, 1, '5', '5'),
        cozi.cursor_encode(39321, 1, '5'), cozi.cursor_encode('NaN'::float8, 1, '5'),
        cozi.cursor_encode(NULL::float8, 1, '5'), cozi.cursor_encode(39321.2::float8, -1, '5'),
        cozi.cursor_encode(39321.2::float8, 2147483648, '5'),
        cozi.cursor_encode(39321.2::float8, NULL::int, '5'),
        cozi.cursor_encode(39321.2::float8, 1, NULL::text)] LOOP
        BEGIN
            PERFORM cozi.top('hot', 1, after => forged);
            RAISE EXCEPTION 'accepted: %', cozi.cursor_decode(forged);
        EXCEPTION WHEN invalid_parameter_value THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT cozi.top('hot', 1, after => cozi.cursor_encode(39321.2::float8, 1,
    '5; DROP TABLE votes'));
SELECT count(*) FROM cozi.top('hot', 5, after => cozi.cursor_encode(39321.2::float8, 2147483647,
    '5'));
SELECT count(*) FROM cozi.top('hot', 5, after => cozi.cursor_encode('-Infinity'::float8, 1, '5'));
SELECT cozi.top('hot', 1, '2', '{2}');
SELECT cozi.top('all_hot', 1, scopes => '{2}');
SELECT cozi.top('hot', 1, scopes => '{x}');
SELECT cozi.top('hot', 0);
SELECT cozi.top(NULL, 1);
-- no name of the caller's stands in for one of PostgreSQL
CREATE FUNCTION max(float8) RETURNS float8 LANGUAGE sql AS 'SELECT 1 / 0.0::float8';
SET search_path = t_top, pg_catalog;
SELECT count(*) FROM cozi.top('hot', 5);
SET search_path = t_top;
DROP FUNCTION t_top.max(float8);

-- Rows instead of items
SELECT * FROM cozi.top_rows(NULL::posts, 'hot', 3);
SELECT array_agg(r.id) = (SELECT array_agg(n.item) FROM (SELECT n.item FROM naive('{2,3,13}') n
    JOIN posts p ON p.id = n.item) n) AS equal
FROM cozi.top_rows(NULL::posts, 'hot', 1000, scopes => '{2,3,13}') r;
SELECT array_agg(r.id) = (SELECT array_agg(x.id) FROM (SELECT n.item AS id FROM naive(NULL) n
    JOIN posts p ON p.id = n.item OFFSET 4 LIMIT 3) x) AS equal
FROM cozi.top_rows(NULL::posts, 'hot', 3, after => (SELECT cursor FROM cozi.top('hot', 6)
    ORDER BY rank DESC LIMIT 1)) r;
-- under the caller's policies: what the caller may not see is skipped, k is filled
CREATE ROLE regress_top_reader;
GRANT USAGE ON SCHEMA t_top, cozi TO regress_top_reader;
GRANT SELECT ON posts TO regress_top_reader;
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON posts TO regress_top_reader USING (NOT hidden);
SET ROLE regress_top_reader;
SELECT count(*) FROM cozi.top_rows(NULL::posts, 'hot', 3);
RESET ROLE;
GRANT SELECT ON hot TO regress_top_reader;
SET ROLE regress_top_reader;
SELECT count(*), bool_and(NOT hidden) AS shown FROM cozi.top_rows(NULL::posts, 'hot', 25);
SELECT count(*), bool_and(NOT hidden) AS shown FROM cozi.top_rows(NULL::posts, 'hot', 1000);
RESET ROLE;
-- by the index, whatever the policy: no row of a large table is read in vain
CREATE TABLE large (id bigint PRIMARY KEY, hidden boolean NOT NULL);
CREATE TABLE large_text (id varchar(20) PRIMARY KEY, hidden boolean NOT NULL);
INSERT INTO large SELECT i, i % 3 = 0 FROM generate_series(1, 20000) i;
INSERT INTO large_text SELECT i, i % 3 = 0 FROM generate_series(1, 20000) i;
CREATE TABLE text_votes (post varchar(20), created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('text_hot', 'text_votes', 'post');
INSERT INTO text_votes SELECT i FROM generate_series(1, 40) i;
ANALYZE large, large_text;
ALTER TABLE large ENABLE ROW LEVEL SECURITY;
ALTER TABLE large_text ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON large TO regress_top_reader USING (NOT hidden);
CREATE POLICY shown ON large_text TO regress_top_reader USING (NOT hidden);
GRANT SELECT ON large, large_text, text_hot TO regress_top_reader;
SET ROLE regress_top_reader;
-- what was counted until here is sent first: within a second it would be shown below
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT count(*) FROM cozi.top_rows(NULL::large, 'hot', 20);
SELECT count(*) FROM cozi.top_rows(NULL::large_text, 'text_hot', 20);
SELECT relname, seq_scan, idx_tup_fetch < 100 AS few FROM pg_stat_xact_user_tables
WHERE relname LIKE 'large%' ORDER BY 1;
COMMIT;
RESET ROLE;
-- the column that holds the items: the primary key, or the one that is named
CREATE TABLE pages_of (site int, page int, PRIMARY KEY (site, page));
INSERT INTO pages_of SELECT 1, i FROM generate_series(1, 60) i;
SELECT count(*) FROM cozi.top_rows(NULL::pages_of, 'hot', 3);
SELECT count(*) FROM cozi.top_rows(NULL::pages_of, 'hot', 3, key => 'page');
SELECT count(*) FROM cozi.top_rows(NULL::pages_of, 'hot', 3, key => 'none');
SELECT count(*) FROM cozi.top_rows(NULL::posts, 'hot', 3, key => 'title');
CREATE VIEW titles AS SELECT id, title FROM posts;
SELECT title FROM cozi.top_rows(NULL::titles, 'hot', 1, key => 'id');
SELECT cozi.top_rows(NULL::int, 'hot', 3);
SELECT cozi.top_rows(NULL::posts, 'hot', NULL);
SELECT cozi.top_rows(NULL::posts, 'posts', 3);

-- A down-vote weighs less, or more, than an up-vote
INSERT INTO votes VALUES (5, 2, -1), (8, 2, -1);
SELECT round(sum(heat)::numeric, 6) AS before FROM all_hot_live WHERE item IN (5, 8) \gset
SELECT cozi.set_down_weight('all_hot', 3);
SELECT count(*) FROM cozi.verify_board('all_hot');
SELECT down_weight FROM cozi.boards WHERE board = 'all_hot'::regclass;
SELECT round(sum(heat)::numeric, 6) < :before AS colder FROM all_hot_live WHERE item IN (5, 8);
SELECT cozi.set_down_weight('all_hot', -1);
SELECT cozi.set_down_weight('all_hot', 'NaN');
SELECT cozi.set_down_weight('all_hot', 'Infinity');
SELECT cozi.set_down_weight('posts', 1);
SET ROLE regress_top_reader;
SELECT cozi.set_down_weight('hot', 1);
RESET ROLE;

SELECT cozi.drop_board('hot');
SELECT cozi.drop_board('all_hot'), cozi.drop_board('text_hot');
DROP SCHEMA t_top CASCADE;
REVOKE ALL ON SCHEMA cozi FROM regress_top_reader;
DROP ROLE regress_top_reader;
