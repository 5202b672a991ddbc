-- feed(), feed_of(), feed_rows() and unread() give what the plain query gives, for
-- any caller and by either way, and nothing that a client writes harms them
CREATE SCHEMA t_feed;
SET search_path = t_feed;
SET client_min_messages = warning;
CREATE TABLE posts (id int PRIMARY KEY, gone int, author_id int, language text, score float8,
                    hidden boolean NOT NULL, created_at timestamptz);
ALTER TABLE posts DROP COLUMN gone;
-- 40 authors, of whom few write much; ties of three; NULLs in every column
INSERT INTO posts
    SELECT i, CASE WHEN i % 97 = 0 THEN NULL ELSE 1 + (i * i % 1601) % 40 END,
           CASE i % 5 WHEN 0 THEN 'de' WHEN 1 THEN NULL ELSE 'en' END,
           CASE WHEN i % 31 = 0 THEN NULL WHEN i % 37 = 0 THEN 'NaN' WHEN i % 41 = 0 THEN
           'Infinity' ELSE (i % 11)::float8 END, i % 4 = 0,
           CASE WHEN i % 89 = 0 THEN NULL WHEN i % 500 = 0 THEN 'infinity'
           ELSE timestamptz '2026-01-01' + i / 3 * interval '1 min' END
    FROM generate_series(1, 3000) i;
CREATE INDEX ON posts (author_id, created_at DESC, id DESC);
CREATE INDEX ON posts (created_at DESC, id DESC);
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE TABLE blocks (a bigint, b bigint, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
CREATE TABLE mutes (a bigint, b bigint, PRIMARY KEY (a, b));
-- 1 follows some, 2 dead accounts alone, 3 everybody and more than a statement opens
INSERT INTO follows SELECT 1, b FROM generate_series(1, 40, 4) b
    UNION ALL SELECT 2, b FROM generate_series(41, 43) b
    UNION ALL SELECT 3, b FROM generate_series(1, 400) b;
INSERT INTO blocks VALUES (1, 5), (9, 1), (3, 17);
INSERT INTO mutes VALUES (1, 13), (3, 21);
SELECT cozi.register_edge('following', 'follows', 'a', 'b');
SELECT cozi.register_edge('blocked', 'blocks', 'a', 'b');
SELECT cozi.register_edge('muted', 'mutes', 'a', 'b');

-- The page as everybody would write it.
CREATE FUNCTION plain(who bigint, k int, after_at timestamptz = NULL, after_id int = NULL)
    RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(x.id) FROM (
        SELECT p.id FROM t_feed.posts p
        WHERE p.author_id IN (SELECT b FROM t_feed.follows WHERE a = who)
          AND p.author_id NOT IN (SELECT b FROM t_feed.blocks WHERE a = who UNION ALL
                                  SELECT a FROM t_feed.blocks WHERE b = who UNION ALL
                                  SELECT b FROM t_feed.mutes WHERE a = who)
          AND p.created_at IS NOT NULL
          AND (after_at IS NULL OR (p.created_at, p.id) < (after_at, after_id))
        ORDER BY p.created_at DESC, p.id DESC LIMIT k) x $$;
CREATE FUNCTION fed(k int, after text = NULL) RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(item::int) FROM cozi.feed('t_feed.posts', 'following', k, after => after) $$;
CREATE FUNCTION compared(who bigint) RETURNS TABLE (k int, equal boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cozi.act_as(who::text);
    FOREACH k IN ARRAY '{1,20,700,10000}'::int[] LOOP
        equal := t_feed.fed(k) IS NOT DISTINCT FROM t_feed.plain(who, k);
        RETURN NEXT;
    END LOOP;
END $$;
BEGIN;
SELECT who, c.* FROM generate_series(1, 4) who, compared(who) c;
SELECT cozi.logout();
SELECT count(*) AS of_nobody FROM cozi.feed('posts', 'following', 5);
COMMIT;
BEGIN;
SELECT cozi.act_as('1');
SELECT item, rank_value, cozi.cursor_decode(cursor) FROM cozi.feed('posts', 'following', 3);

-- Pages concatenate to the whole, though the last row of each is deleted or moved
CREATE FUNCTION pages(k int, meddle boolean) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    page int[];
    pages int[] := '{}';
    last text;
BEGIN
    LOOP
        SELECT array_agg(f.item::int), (array_agg(f.cursor))[count(*)] INTO page, last
        FROM cozi.feed('t_feed.posts', 'following', k, after => last) f;
        EXIT WHEN page IS NULL;
        pages := pages || page;
        IF meddle THEN
            UPDATE t_feed.posts SET created_at = NULL WHERE id = page[cardinality(page)];
            INSERT INTO t_feed.posts SELECT 10000 + cardinality(pages), 1, 'en', 0, false,
                timestamptz '2027-01-01';
        END IF;
    END LOOP;
    RETURN pages;
END $$;
SELECT k, pages(k, false) = plain(1, 10000) AS equal FROM (VALUES (3), (7), (100)) v (k);
SAVEPOINT before;
WITH whole AS MATERIALIZED (SELECT plain(1, 10000) AS ids)
SELECT pages(7, true) = ids AS equal FROM whole;
ROLLBACK TO before;

-- Filters, by any column; a view with a condition; ranks with NaN, infinity and ties
SELECT array_agg(item::int) = (SELECT array_agg(x.id) FROM (SELECT p.id FROM posts p
    WHERE p.id IN (SELECT unnest(plain(1, 10000))) AND language = 'de' AND NOT hidden
    ORDER BY created_at DESC, id DESC LIMIT 9) x) AS equal
FROM cozi.feed('posts', 'following', 9, filters => '{language,de,hidden,f}');
SELECT count(*) = (SELECT count(*) FROM posts
    WHERE id IN (SELECT unnest(plain(1, 10000))) AND language IS NULL) AS equal
FROM cozi.feed('posts', 'following', 10000, filters => '{{language,NULL}}');
CREATE VIEW shown AS SELECT * FROM posts WHERE NOT hidden;
SELECT array_agg(item::int) = (SELECT array_agg(x.id) FROM (SELECT p.id FROM posts p
    WHERE p.id IN (SELECT unnest(plain(1, 10000))) AND NOT hidden
    ORDER BY created_at DESC, id DESC LIMIT 9) x) AS equal
FROM cozi.feed('shown', 'following', 9);
CREATE FUNCTION by_score(k int) RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(item::int) FROM cozi.feed('t_feed.posts', 'following', k, rank => 'score') $$;
CREATE FUNCTION plain_by_score(k int) RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(x.id) FROM (SELECT p.id FROM t_feed.posts p
        WHERE p.author_id IN (1, 17, 21, 25, 29, 33, 37) AND p.score IS NOT NULL
        ORDER BY p.score DESC, p.id DESC LIMIT k) x $$;
SELECT 'no index' AS ways, by_score(50) = plain_by_score(50) AS equal;
CREATE INDEX walk ON posts (score DESC, id DESC);
SELECT 'a walk' AS ways, by_score(50) = plain_by_score(50) AS equal;
CREATE INDEX ON posts (author_id, score DESC, id DESC);
SELECT 'both' AS ways, by_score(50) = plain_by_score(50) AS equal;
DROP INDEX walk;
SELECT 'ranges' AS ways, by_score(50) = plain_by_score(50) AS equal;
SELECT array_agg(item::int) = (plain_by_score(60))[31:60] AS equal
FROM cozi.feed('posts', 'following', 30, rank => 'score',
    after => (SELECT (array_agg(cursor))[30] FROM cozi.feed('posts', 'following', 30,
        rank => 'score')));

-- Lists of keys, duplicates and NULLs among them
SELECT array_agg(item::int) = (SELECT array_agg(x.id) FROM (SELECT id FROM posts
    WHERE author_id IN (5, 13, 40) AND created_at IS NOT NULL ORDER BY created_at DESC, id DESC
    LIMIT 30) x) AS equal
FROM cozi.feed_of('posts', '{13,5,NULL,40,5}'::int[], 30, 'author_id');
SELECT array_agg(DISTINCT p.author_id) AS authors
FROM cozi.feed_of('posts', '{13,5,9,40}'::int[], 10000, 'author_id', author => 'author_id') f
JOIN posts p ON p.id = f.item::int;
SELECT count(*) FROM cozi.feed_of('posts', '{}'::int[], 5, 'author_id');
SELECT count(*) = (SELECT count(*) FROM posts WHERE language IN ('de', 'en')
    AND created_at IS NOT NULL) AS equal
FROM cozi.feed_of('posts', '{de,en,fr}'::text[], 10000, 'language');
SELECT cozi.feed_of('posts', '{1}'::bigint[], 5, 'author_id');
ROLLBACK;

-- Rows instead of items
BEGIN;
SELECT cozi.act_as('1');
SELECT id, author_id, language, created_at FROM cozi.feed_rows(NULL::posts, 'following', 2);
SELECT array_agg(id) = plain(1, 25) AS equal FROM cozi.feed_rows(NULL::posts, 'following', 25);
SELECT array_agg(id) = (plain(1, 10))[6:10] AS equal
FROM cozi.feed_rows(NULL::posts, 'following', 5, after => (SELECT cozi.cursor_encode(created_at, id)
    FROM posts WHERE id = (plain(1, 5))[5]));
COMMIT;

-- Unread, capped
SELECT cozi.unread('posts', '1', NULL, owner => 'author_id') AS all_of_few,
       cozi.unread('posts', '1', NULL, 5, owner => 'author_id') AS capped,
       cozi.unread('posts', '1', cozi.cursor_encode(timestamptz '2026-01-01 10:00'), 10000,
                   owner => 'author_id')
       = (SELECT count(*) FROM posts WHERE author_id = 1 AND created_at > '2026-01-01 10:00')
       AS by_rank,
       cozi.unread('posts', '1', cozi.cursor_encode(timestamptz '2026-01-01 10:00', 1801), 10000,
                   owner => 'author_id')
       = (SELECT count(*) FROM posts WHERE author_id = 1
          AND (created_at, id) > ('2026-01-01 10:00', 1801)) AS by_item,
       cozi.unread('posts', '1', NULL, 10000, owner => 'author_id', filters => '{language,de}')
       = (SELECT count(*) FROM posts WHERE author_id = 1 AND language = 'de'
          AND created_at IS NOT NULL) AS filtered;
SELECT cozi.unread('posts', 'x', NULL, owner => 'author_id');
SELECT cozi.unread('posts', '1', cozi.cursor_encode(1, 2, 3), owner => 'author_id');
SELECT cozi.unread('posts', '1', NULL, -1, owner => 'author_id');

-- The caller's rights: none on the edges, some on the posts, and policies
CREATE ROLE regress_feed_reader;
GRANT USAGE ON SCHEMA t_feed, cozi TO regress_feed_reader;
BEGIN;
SELECT cozi.act_as('1');
SET LOCAL ROLE regress_feed_reader;
SELECT cozi.feed('posts', 'following', 5);
ROLLBACK;
GRANT SELECT (id, author_id, created_at, hidden) ON posts TO regress_feed_reader;
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON posts TO regress_feed_reader USING (NOT hidden);
PREPARE page AS SELECT array_agg(item::int) FROM cozi.feed('posts', 'following', 20);
BEGIN;
SELECT cozi.act_as('3');
SELECT array_agg(x.id) AS shown FROM (SELECT p.id FROM posts p
    WHERE p.id IN (SELECT unnest(plain(3, 10000))) AND NOT hidden
    ORDER BY created_at DESC, id DESC LIMIT 20) x \gset
SELECT fed(20) = plain(3, 20) AS as_owner;
SET LOCAL ROLE regress_feed_reader;
SELECT array_agg(item::int) = :'shown' AS as_reader FROM cozi.feed('posts', 'following', 20);
SELECT cozi.feed('posts', 'following', 5, rank => 'score');
ROLLBACK;
-- what is shown follows the policy, the blocks and the table from call to call
BEGIN;
SELECT cozi.act_as('3');
EXECUTE page \gset
INSERT INTO blocks SELECT DISTINCT 3, author_id FROM posts
    WHERE id = (:'array_agg'::int[])[1];
SELECT array_agg IS NOT DISTINCT FROM plain(3, 20) AS follows_blocks
FROM (SELECT array_agg(item::int) FROM cozi.feed('posts', 'following', 20)) f;
ALTER TABLE posts ALTER id TYPE bigint, ALTER author_id TYPE bigint;
SELECT array_agg(item::int) = plain(3, 20) AS follows_types
FROM cozi.feed('posts', 'following', 20);
ALTER TABLE posts RENAME COLUMN created_at TO posted_at;
SAVEPOINT renamed;
EXECUTE page;
ROLLBACK TO renamed;
SELECT count(*) FROM cozi.feed('posts', 'following', 20, rank => 'posted_at');
ALTER TABLE posts ALTER author_id TYPE text;
SELECT cozi.feed('posts', 'following', 20, rank => 'posted_at');
ROLLBACK;
-- an edge that cannot be read, and one that is gone
BEGIN;
SELECT cozi.act_as('1');
SET LOCAL client_min_messages = error;
ALTER TABLE follows DROP CONSTRAINT follows_pkey;
SAVEPOINT broken;
SELECT cozi.feed('posts', 'following', 5);
ROLLBACK TO broken;
ROLLBACK;
BEGIN;
SELECT cozi.act_as('1');
SET LOCAL client_min_messages = error;
ALTER TABLE blocks DROP CONSTRAINT blocks_pkey;
SELECT count(*) AS of_blocks_unknown FROM cozi.feed('posts', 'following', 5);
ROLLBACK;

-- items that are NULL take no place of others; an item that is not unique names no other's row
CREATE TABLE loose (id int, author_id int, created_at int, hidden boolean);
INSERT INTO loose SELECT CASE WHEN i % 3 > 0 THEN i END, i % 4, i / 40, false
    FROM generate_series(1, 2000) i;
CREATE INDEX ON loose (author_id, created_at DESC, id DESC);
INSERT INTO loose VALUES (1999, 9, 49, false), (1999, 5, 49, false);
BEGIN;
SELECT cozi.act_as('1');
SELECT k, array_agg(f.item::int) = (SELECT array_agg(x.id) FROM (SELECT id FROM loose
    WHERE author_id IN (1, 9) AND id IS NOT NULL AND author_id <> 9
    ORDER BY created_at DESC, id DESC LIMIT k) x) AS equal
FROM (VALUES (5), (50), (1000)) k (k), cozi.feed('loose', 'following', k) f GROUP BY k ORDER BY k;
SELECT count(*) AS of_others
FROM cozi.feed_rows(NULL::loose, 'following', 1000, item => 'created_at') WHERE author_id <> 1;
ROLLBACK;
-- a policy about the caller follows the caller, and row_security = off raises an error
CREATE POLICY own ON posts TO regress_feed_reader
    USING (author_id % 5 = cozi.uid_bigint() OR author_id = 40);
DROP POLICY shown ON posts;
CREATE FUNCTION seen() RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(item::int) FROM cozi.feed('t_feed.posts', 'following', 500) $$;
INSERT INTO follows VALUES (1, 40);
CREATE FUNCTION own(who bigint) RETURNS int[] LANGUAGE sql AS $$
    SELECT array_agg(x.id) FROM (SELECT p.id FROM t_feed.posts p
        WHERE p.id IN (SELECT unnest(t_feed.plain(who, 10000)))
          AND (p.author_id % 5 = who OR p.author_id = 40)
        ORDER BY p.created_at DESC, p.id DESC LIMIT 500) x $$;
BEGIN;
SELECT own(1) AS one, own(3) AS three, cozi.act_as('1') \gset
SET LOCAL ROLE regress_feed_reader;
SELECT seen() = :'one' AS of_one;
RESET ROLE;
SELECT cozi.act_as('3');
SET LOCAL ROLE regress_feed_reader;
SELECT seen() = :'three' AS of_three, :'one' <> :'three' AS differ;
RESET ROLE;
SELECT seen() = plain(3, 500) AS of_the_owner;
SET LOCAL ROLE regress_feed_reader;
SELECT seen() = :'three' AS of_three_again;
SET LOCAL row_security = off;
\set VERBOSITY terse
SELECT count(*) FROM cozi.feed('posts', 'following', 5);
\set VERBOSITY default
ROLLBACK;
-- the edge's table is gone
BEGIN;
SELECT cozi.act_as('1');
SET LOCAL client_min_messages = error;
DROP TABLE follows;
SELECT count(*) FROM cozi.feed('posts', 'following', 5);
ROLLBACK;

-- Partitioned by author and by time
CREATE TABLE by_author (LIKE posts INCLUDING DEFAULTS) PARTITION BY HASH (author_id);
SELECT format('CREATE TABLE by_author_%s PARTITION OF by_author FOR VALUES WITH (MODULUS 3, '
    'REMAINDER %s)', i, i) FROM generate_series(0, 2) i \gexec
CREATE TABLE by_time (LIKE posts INCLUDING DEFAULTS) PARTITION BY RANGE (created_at);
CREATE TABLE by_time_1 PARTITION OF by_time FOR VALUES FROM (MINVALUE) TO ('2026-01-01 08:00');
CREATE TABLE by_time_2 PARTITION OF by_time DEFAULT;
INSERT INTO by_author SELECT * FROM posts;
INSERT INTO by_time SELECT * FROM posts;
CREATE INDEX ON by_author (author_id, created_at DESC, id DESC);
CREATE INDEX ON by_time (author_id, created_at DESC, id DESC);
CREATE INDEX ON by_author (created_at DESC, id DESC);
CREATE INDEX ON by_time (created_at DESC, id DESC);
BEGIN;
SELECT who, rel, cozi.act_as(who::text) AS act,
       (SELECT array_agg(item::int) FROM cozi.feed(rel::regclass, 'following', k))
       IS NOT DISTINCT FROM plain(who, k) AS equal
FROM (VALUES ('by_author'), ('by_time')) r (rel), generate_series(1, 3) who,
     (VALUES (20), (900)) k (k);
COMMIT;

-- more statements than a session keeps plans of, while one of them is open
BEGIN;
SELECT cozi.act_as('1');
DO $$
BEGIN
    FOR i IN 1 .. 40 LOOP
        EXECUTE format('CREATE VIEW v%s AS SELECT * FROM posts', i);
    END LOOP;
END $$;
CREATE FUNCTION asks_all(id int) RETURNS boolean LANGUAGE sql AS $$
    SELECT count(*) >= 0 FROM generate_series(1, 40) i,
        cozi.feed(('t_feed.v' || i)::regclass, 'following', 1) f $$;
CREATE VIEW asking AS SELECT * FROM posts WHERE id % 997 <> 0 OR asks_all(id);
SELECT array_agg(item::int) = plain(1, 700) AS equal FROM cozi.feed('asking', 'following', 700);
SELECT array_agg(item::int) = plain(1, 20) AS equal FROM cozi.feed('posts', 'following', 20);
ROLLBACK;

-- a function of the owner's that closes all portals cannot close the walk: rows of
-- the last authors take long, so that ranges of the first are read while it is open
BEGIN;
SELECT cozi.act_as('1');
CREATE FUNCTION closes_all(author int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF author > 20 THEN
        PERFORM count(*) FROM generate_series(1, 20000);
    ELSE
        EXECUTE 'CLOSE ALL';
    END IF;
    RETURN true;
END $$;
CREATE VIEW closing AS SELECT * FROM posts WHERE closes_all(author_id);
CREATE FUNCTION asked_closing() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM count(*) FROM cozi.feed('closing', 'following', 100);
    RETURN 'answered';
EXCEPTION WHEN invalid_cursor_state THEN
    RETURN 'refused';
END $$;
SELECT asked_closing();
ROLLBACK;

-- What a client may get wrong
BEGIN;
SELECT cozi.act_as('1');
CREATE FUNCTION refused(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT count(*) FROM ' || call;
    RETURN 'accepted';
EXCEPTION WHEN others THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT refused(c) FROM (VALUES
    ($$cozi.feed(NULL, 'following', 5)$$), ($$cozi.feed('posts', NULL, 5)$$),
    ($$cozi.feed('posts', 'following', NULL)$$), ($$cozi.feed('posts', 'following', 0)$$),
    ($$cozi.feed('posts', 'following', 10001)$$), ($$cozi.feed('posts', 'friends', 5)$$),
    ($$cozi.feed(4242, 'following', 5)$$), ($$cozi.feed('posts_pkey', 'following', 5)$$),
    ($$cozi.feed('posts', 'following', 5, rank => 'rank')$$),
    ($$cozi.feed('posts', 'following', 5, rank => 'ctid')$$),
    ($$cozi.feed('posts', 'following', 5, author => 'language')$$),
    ($$cozi.feed('posts', 'following', 5, after => 'x')$$),
    ($$cozi.feed('posts', 'following', 5, after => cozi.cursor_encode(1))$$),
    ($$cozi.feed('posts', 'following', 5,
                 after => cozi.cursor_encode(date '2026-01-01', NULL::int))$$),
    ($$cozi.feed('posts', 'following', 5, after => cozi.cursor_encode('x', 1))$$),
    ($$cozi.feed('posts', 'following', 5,
                 after => cozi.cursor_encode(date '2026-01-01', 9999999999))$$),
    ($$cozi.feed('posts', 'following', 5,
                 after => cozi.cursor_encode('-infinity'::timestamptz, 1))$$),
    ($$cozi.feed('posts', 'following', 5, filters => '{language}')$$),
    ($$cozi.feed('posts', 'following', 5, filters => '{NULL,en}')$$),
    ($$cozi.feed('posts', 'following', 5, filters => '{nope,en}')$$),
    ($$cozi.feed('posts', 'following', 5, filters => '{hidden,maybe}')$$),
    ($$cozi.feed('posts', 'following', 5, filters => '{language,"en''; DROP TABLE posts"}')$$),
    ($$cozi.feed_of('posts', NULL::int[], 5, 'author_id')$$),
    ($$cozi.feed_of('posts', '{1}'::int[], 5, 'author_id', author => 'hidden')$$),
    ($$cozi.feed_rows(1, 'following', 5)$$)) v (c);
-- no operator of the caller's stands in for one of PostgreSQL
CREATE FUNCTION never(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / 0 = 0';
CREATE OPERATOR < (LEFTARG = int, RIGHTARG = int, FUNCTION = never);
SET LOCAL search_path = t_feed, pg_catalog;
SELECT fed(5, (SELECT max(cursor) FROM cozi.feed('posts', 'following', 1))) IS NOT NULL AS read;
ROLLBACK;

RESET search_path;
DEALLOCATE page;
SELECT cozi.drop_edge('following');
SELECT cozi.drop_edge('blocked');
SELECT cozi.drop_edge('muted');
DROP SCHEMA t_feed CASCADE;
REVOKE USAGE ON SCHEMA cozi FROM regress_feed_reader;
DROP ROLE regress_feed_reader;
