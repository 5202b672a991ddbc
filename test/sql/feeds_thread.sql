-- comment_thread(): a tree in its order, whole or in pages, as the caller sees it
CREATE SCHEMA t_thread;
SET search_path = t_thread;
SET client_min_messages = warning;
CREATE TABLE comments (id int PRIMARY KEY, post_id bigint NOT NULL, parent_id int, author_id bigint,
                       score int, created_at timestamptz, heat float8, hidden boolean NOT NULL);
CREATE INDEX ON comments (post_id, parent_id, score DESC, id DESC);
-- wide at the top, a deep chain, ties, another post, a cycle and a NULL score
INSERT INTO comments SELECT i, 1, CASE WHEN i % 5 = 0 THEN NULL WHEN i % 7 = 0 THEN i - 1
    ELSE 1 + i * 31 % (i - 1) END, i % 9, i % 6, timestamptz '2026-01-01' - i * interval '1 min',
    sin(i), i % 13 = 0
FROM generate_series(2, 400) i;
INSERT INTO comments VALUES (1, 1, NULL, 1, 3, now(), 0, false),
    (1000, 2, NULL, 1, 1, now(), 0, false),
    (1001, 1, 1002, 1, 9, now(), 0, false), (1002, 1, 1001, 1, 9, now(), 0, false),
    (1003, 1, NULL, 1, NULL, now(), 0, false);
-- The same by a recursive query and a sort of paths.
CREATE FUNCTION whole(max_depth int, shown boolean = false, by_heat boolean = false)
    RETURNS TABLE (ids int[], depths int[]) LANGUAGE sql AS $$
    WITH RECURSIVE ranked AS (
        SELECT c.*, CASE WHEN by_heat THEN heat ELSE score END AS rank FROM t_thread.comments c
        WHERE NOT (shown AND hidden)),
    tree AS (
        SELECT id, 1 AS depth, ARRAY[-rank, -id]::float8[] AS place FROM ranked
        WHERE post_id = 1 AND parent_id IS NULL AND rank IS NOT NULL
        UNION ALL
        SELECT r.id, t.depth + 1, t.place || ARRAY[-r.rank, -r.id]::float8[]
        FROM tree t JOIN ranked r ON r.parent_id = t.id AND r.post_id = 1
        WHERE t.depth < max_depth)
    SELECT array_agg(id ORDER BY place), array_agg(depth ORDER BY place) FROM tree $$;
CREATE FUNCTION pages(k int, max_depth int, sort text = 'best', OUT ids int[], OUT depths int[])
LANGUAGE plpgsql AS $$
DECLARE
    page int[];
    levels int[];
    after text;
BEGIN
    LOOP
        SELECT array_agg(t.item::int), array_agg(t.depth), (array_agg(t.cursor))[count(*)]
        INTO page, levels, after
        FROM cozi.comment_thread('t_thread.comments', '1', k, sort, after,
            max_depth => max_depth) t;
        EXIT WHEN page IS NULL;
        ids := ids || page;
        depths := depths || levels;
    END LOOP;
END $$;
SELECT k, d AS max_depth, (p.ids, p.depths) = (w.ids, w.depths) AS equal
FROM (VALUES (1), (7), (50), (10000)) k (k), (VALUES (1), (3), (8), (50)) d (d),
     pages(k, d) p, whole(d) w;
SELECT (p.ids, p.depths) = (w.ids, w.depths) AS equal
FROM pages(9, 8, 'heat') p, whole(8, by_heat => true) w;
SELECT array_agg(t.item::int) = (SELECT array_agg(id) FROM (SELECT id FROM comments
    WHERE post_id = 1 AND parent_id IS NULL ORDER BY created_at DESC, id DESC LIMIT 20) c) AS equal
FROM cozi.comment_thread('comments', '1', 20, 'new', max_depth => 1) t;

-- path, parent and what is not shown
SELECT item, parent, depth, path, hidden
FROM cozi.comment_thread('comments', '1', 12, max_depth => 3);
WITH page AS MATERIALIZED (SELECT * FROM cozi.comment_thread('comments', '1', 60, max_depth => 3))
SELECT count(*) AS comments, count(*) FILTER (WHERE t.hidden <> (SELECT count(*) FROM comments c
    WHERE c.parent_id = t.item::int AND c.post_id = 1 AND c.score IS NOT NULL)
    - (SELECT count(*) FROM page p WHERE p.parent = t.item)) AS wrong,
    count(*) FILTER (WHERE t.path[cardinality(t.path)] <> t.item OR t.path[t.depth - 1] IS DISTINCT
    FROM t.parent) AS wrong_paths
FROM page t;

-- the replies of one comment; a cycle ends with its depth; a post without comments
SELECT item, parent, depth, path FROM cozi.comment_thread('comments', '1', 3, under => '1');
SELECT array_agg(item), max(depth) FROM cozi.comment_thread('comments', '1', 100, under => '1001',
    max_depth => 4);
SELECT count(*) FROM cozi.comment_thread('comments', '77', 5);

-- policies and blocks: what hangs below a hidden comment is hidden, too
CREATE ROLE regress_thread_reader;
GRANT USAGE ON SCHEMA t_thread, cozi TO regress_thread_reader;
GRANT SELECT ON comments TO regress_thread_reader;
ALTER TABLE comments ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON comments TO regress_thread_reader USING (NOT hidden);
SELECT w.ids FROM whole(8, true) w \gset
SET ROLE regress_thread_reader;
SELECT array_agg(item::int) = :'ids' AS equal FROM cozi.comment_thread('comments', '1', 10000);
RESET ROLE;
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
SELECT cozi.register_edge('blocked', 'blocks', 'a', 'b');
INSERT INTO blocks VALUES (42, 3), (4, 42);
BEGIN;
SELECT cozi.act_as('42');
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE c.author_id IN (3, 4)) AS of_blocked,
       count(*) FILTER (WHERE EXISTS (SELECT FROM comments a WHERE a.id = ANY (t.path::int[])
       AND a.author_id IN (3, 4))) AS below_blocked
FROM cozi.comment_thread('comments', '1', 10000, author => 'author_id') t
JOIN comments c ON c.id = t.item::int;
COMMIT;

-- the last comment of a page may be gone; a cursor of the caller's own is a place, or an error
SELECT array_agg(item ORDER BY n) AS rest FROM cozi.comment_thread('comments', '1', 12)
    WITH ORDINALITY t (item, parent, depth, path, hidden, cursor, n) WHERE n > 5 \gset
SELECT cursor, item FROM cozi.comment_thread('comments', '1', 5) WITH ORDINALITY
    t (item, parent, depth, path, hidden, cursor, n) WHERE n = 5 \gset
BEGIN;
UPDATE comments SET score = NULL WHERE id = :'item'::int;
SELECT array_agg(item) = :'rest' AS equal
FROM cozi.comment_thread('comments', '1', 7, after => :'cursor');
ROLLBACK;
CREATE FUNCTION refused(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT count(*) FROM cozi.comment_thread(' || call || ')';
    RETURN 'accepted';
EXCEPTION WHEN others THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT refused(c) FROM (VALUES ($$NULL, '1', 5$$), ($$'comments', NULL, 5$$),
    ($$'comments', '1', NULL$$), ($$'comments', '1', 0$$), ($$'comments', 'x', 5$$),
    ($$'comments', '1', 5, 'worst'$$), ($$'comments', '1', 5, max_depth => 51$$),
    ($$'comments', '1', 5, parent => 'post_id'$$), ($$'comments', '1', 5, score => 'nope'$$),
    ($$'comments', '1', 5, under => 'x'$$), ($$'comments', '1', 5, author => 'hidden'$$),
    ($$'comments', '1', 5, after => cozi.cursor_encode(1)$$),
    ($$'comments', '1', 5, after => cozi.cursor_encode(1, NULL::int)$$),
    ($$'comments', '1', 5, after => cozi.cursor_encode(1, 2, 3, 4, 5, 6), max_depth => 2$$),
    ($$'comments', '1', 5, after => cozi.cursor_encode(1, 2, 3, 1001, 9, 1002)$$)) v (c);

SELECT cozi.drop_edge('blocked');
RESET search_path;
DROP SCHEMA t_thread CASCADE;
REVOKE USAGE ON SCHEMA cozi FROM regress_thread_reader;
DROP ROLE regress_thread_reader;
