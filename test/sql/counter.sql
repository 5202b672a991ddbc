-- Counters: a table (key, n, sum) that equals a recount after every statement.
SET client_min_messages = warning;
CREATE SCHEMA counter_test;
SET search_path = counter_test, public;

-- Likes: how many a post has, what they gave, whose they are
CREATE TABLE likes (post_id bigint, user_id uuid, amount int, accepted boolean DEFAULT true,
    PRIMARY KEY (post_id, user_id));
INSERT INTO likes SELECT 1 + g % 3, md5(g::text)::uuid, g FROM generate_series(1, 9) g;
SELECT cozi.create_counter('like_counts', 'likes', 'post_id');
SELECT cozi.create_counter('gifts', 'likes', 'post_id', value => 'amount', counted => 'accepted',
                           user_id => 'user_id');
\d like_counts
\d gifts
SELECT * FROM like_counts ORDER BY key;
SELECT * FROM gifts ORDER BY key;
SELECT counter, relation, key, value, counted, user_id, live, state, last_error, stalled_since
FROM cozi.counters ORDER BY 1;

-- A NULL value counts and adds 0; a NULL key and a condition that is not true count nothing
INSERT INTO likes VALUES (4, md5('a')::uuid, NULL, true), (4, md5('b')::uuid, 5, false),
                         (4, md5('c')::uuid, 7, NULL);
SELECT * FROM like_counts WHERE key = 4;
SELECT * FROM gifts WHERE key = 4;
UPDATE likes SET accepted = true WHERE post_id = 4;
SELECT * FROM gifts WHERE key = 4;
UPDATE likes SET post_id = 5 WHERE user_id = md5('c')::uuid;
SELECT * FROM gifts WHERE key >= 4 ORDER BY key;
-- a row whose n is 0 disappears
DELETE FROM likes WHERE post_id = 4;
SELECT * FROM gifts WHERE key >= 4 ORDER BY key;
SELECT cozi.fold() >= 0 AS folded;
SELECT * FROM like_counts ORDER BY key;
SELECT * FROM gifts ORDER BY key;
SELECT count(*) FROM cozi.verify_counter('gifts');

-- The counts of a screen, in one call, and whether the caller has one of them
CREATE ROLE regress_counter_reader;
GRANT USAGE ON SCHEMA counter_test, cozi TO regress_counter_reader;
GRANT SELECT ON like_counts, gifts TO regress_counter_reader;
INSERT INTO likes VALUES (1, '00000000-0000-4000-8000-000000000001', 3);
SELECT * FROM cozi.item_counts(ARRAY['gifts', 'like_counts']::regclass[], ARRAY[1, 2, 77, NULL, 1]);
SELECT * FROM cozi.item_counts('{gifts}', '{1,02}');
SELECT * FROM cozi.item_counts('{}', '{1}');
BEGIN;
SELECT cozi.act_as('00000000-0000-4000-8000-000000000001') IS NOT NULL AS acts;
SELECT key, n, mine FROM cozi.item_counts('{gifts}', ARRAY[1, 2]);
UPDATE likes SET accepted = false WHERE amount = 3;
SELECT key, n, mine FROM cozi.item_counts('{gifts}', ARRAY[1, 2]);
ROLLBACK;
SET ROLE regress_counter_reader;
-- without SELECT on the likes, mine is not known
SELECT key, n, mine FROM cozi.item_counts('{gifts}', ARRAY[1, 2]);
SELECT * FROM cozi.counters;
SELECT count(*) FROM cozi.verify_counter('gifts');
SELECT cozi.rebuild_counter('gifts');
SELECT cozi.drop_counter('gifts');
RESET ROLE;
-- policies of the counter hold: what they do not show has no count
ALTER TABLE gifts ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON gifts TO regress_counter_reader USING (key <> 2);
SET ROLE regress_counter_reader;
SELECT key, n FROM cozi.item_counts('{gifts}', ARRAY[1, 2]);
RESET ROLE;
REVOKE SELECT ON gifts FROM regress_counter_reader;
SET ROLE regress_counter_reader;
SELECT * FROM cozi.item_counts('{gifts}', ARRAY[1]);
RESET ROLE;
DROP POLICY p ON gifts;
ALTER TABLE gifts DISABLE ROW LEVEL SECURITY;

-- The sum has the type of sum(): of every type of number, exactly
CREATE TABLE numbers (k text, s smallint, i int, b bigint, n numeric);
SELECT cozi.create_counter('n_' || v, 'numbers', 'k', v) FROM unnest('{s,i,b,n}'::name[]) v;
INSERT INTO numbers VALUES ('a', 1, 1, 1, 1.5), ('a', -3, 2147483647, 9223372036854775807, 1e-20),
    ('a', NULL, NULL, 9223372036854775807, 1e99), ('b', 0, 0, 0, 0);
SELECT attrelid::regclass, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attname = 'sum' AND attrelid IN (SELECT counter FROM cozi.counters) ORDER BY 1;
SELECT * FROM n_s ORDER BY key;
SELECT * FROM n_i ORDER BY key;
SELECT * FROM n_b ORDER BY key;
SELECT * FROM n_n ORDER BY key;
-- nothing is left of what went, not even of what no number can be taken from
INSERT INTO numbers VALUES ('c', 1, 1, 1, 'NaN'), ('c', 1, 1, 1, 2), ('d', 1, 1, 1, 'Infinity'),
    ('d', 1, 1, 1, '-Infinity'), ('e', 1, 1, 1, '-Infinity'), ('f', 1, 1, 1, '1e100000'),
    ('f', 1, 1, 1, '-9e131071'), ('f', 1, 1, 1, '-9e131071');
SELECT key, n, sum FROM n_n WHERE key > 'b' ORDER BY key;
SELECT count(*) FROM cozi.verify_counter('n_n');
SELECT cozi.fold() >= 0 AS folded;
DELETE FROM numbers WHERE n = 'NaN' OR n = 'Infinity' OR n < -10;
SELECT key, n, sum FROM n_n WHERE key > 'b' ORDER BY key;
DELETE FROM numbers WHERE n >= '1e100000';
SELECT cozi.fold() >= 0 AS folded;
SELECT key, n, sum FROM n_n ORDER BY key;
SELECT v, (SELECT count(*) FROM cozi.verify_counter(v))
FROM unnest('{n_s,n_i,n_b,n_n}'::regclass[]) v;

-- DDL: what would change counted values is refused, what does not is followed
ALTER TABLE numbers ALTER s TYPE int;
ALTER TABLE numbers ALTER i TYPE bigint;
ALTER TABLE numbers ALTER n TYPE numeric(200, 0);
ALTER TABLE numbers DROP COLUMN n;
ALTER TABLE likes ALTER accepted TYPE boolean USING NOT accepted;
ALTER TABLE likes DROP COLUMN user_id CASCADE;
ALTER TABLE likes RENAME accepted TO ok;
ALTER TABLE likes RENAME TO hearts;
ALTER TABLE gifts RENAME TO presents;
SELECT counter, relation, counted FROM cozi.counters WHERE counted IS NOT NULL;
ALTER TABLE presents ADD note text;
CREATE TRIGGER t BEFORE UPDATE ON presents FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger();
DROP TABLE presents;
CREATE INDEX ON presents (n DESC);
INSERT INTO hearts VALUES (8, md5('x')::uuid, 5);
SELECT * FROM presents WHERE key = 8;
SELECT * FROM gifts_live WHERE key = 8;

-- TRUNCATE, COPY, MERGE of rows, cascades, partitions
CREATE TABLE posts (id int PRIMARY KEY);
INSERT INTO posts SELECT generate_series(1, 10);
CREATE TABLE comments (id int, post_id int REFERENCES posts ON DELETE CASCADE ON UPDATE CASCADE,
    deleted boolean NOT NULL DEFAULT false) PARTITION BY HASH (id);
CREATE TABLE comments_0 PARTITION OF comments FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE comments_1 PARTITION OF comments FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE comments ADD shown boolean GENERATED ALWAYS AS (NOT deleted) STORED;
SELECT cozi.create_counter('comment_counts', 'comments', 'post_id', counted => 'shown');
INSERT INTO comments SELECT g, 1 + g % 10 FROM generate_series(1, 100) g;
UPDATE comments_0 SET deleted = true WHERE post_id = 3;
DELETE FROM posts WHERE id = 4;
UPDATE posts SET id = 40 WHERE id = 5;
INSERT INTO comments VALUES (200, 6), (201, 7) ON CONFLICT DO NOTHING;
COPY comments (id, post_id) FROM stdin;
300	6
301	\N
\.
SELECT * FROM comment_counts ORDER BY key;
TRUNCATE comments_1;
SELECT count(*) FROM cozi.verify_counter('comment_counts');
SELECT cozi.fold('comment_counts') >= 0 AS folded;
SELECT sum(n) = (SELECT count(*) FROM comments WHERE shown AND post_id IS NOT NULL) AS equal
FROM comment_counts;
TRUNCATE posts CASCADE;
SELECT count(*) FROM comment_counts;

-- A counter that was meddled with is found out, and counted anew
UPDATE like_counts SET n = n + 1 WHERE key = 1;
SELECT * FROM cozi.verify_counter('like_counts');
SELECT cozi.rebuild_counter('like_counts');
SELECT * FROM cozi.verify_counter('like_counts');

-- Refused
SELECT cozi.create_counter('c', 'hearts', 'nope');
SELECT cozi.create_counter('c', 'hearts', 'ok');
SELECT cozi.create_counter('c', 'hearts', 'post_id', value => 'ok');
SELECT cozi.create_counter('c', 'hearts', 'post_id', counted => 'amount');
SELECT cozi.create_counter('c', 'hearts', 'post_id', user_id => 'ok');
SELECT cozi.create_counter(NULL, 'hearts', 'post_id');
SELECT cozi.create_counter('c', 'hearts', NULL);
SELECT cozi.create_counter('', 'hearts', 'post_id');
SELECT cozi.create_counter('presents', 'hearts', 'post_id');
SELECT cozi.create_counter('c', 'gifts_live', 'key');
SELECT cozi.create_counter('c', 'comments_0', 'post_id');
SELECT * FROM cozi.verify_counter('hearts');
SELECT cozi.drop_board('presents');
SELECT cozi.item_counts('{hearts}', '{1}');
SELECT cozi.item_counts(NULL::regclass[], '{1}');
SELECT cozi.item_counts('{presents}', '{a}');
CREATE TEMP TABLE t (k int);
SELECT cozi.create_counter('c', 't', 'k');
DROP TABLE t;

-- Random statements of every kind, with conditions, moves of the key and NULLs
CREATE TABLE random_rows (id int, k int, v bigint, w numeric(12, 3), ok boolean);
SELECT cozi.create_counter('c_all', 'random_rows', 'k', 'v');
SELECT cozi.create_counter('c_some', 'random_rows', 'k', 'w', 'ok');
SELECT setseed(0.25);
DO $$
DECLARE
    i int; differ bigint := 0; r float8;
BEGIN
    FOR i IN 1 .. 150 LOOP
        r := random();
        IF r < 0.45 THEN
            INSERT INTO random_rows
            SELECT random() * 300, nullif((random() * 9)::int, 0),
                CASE WHEN random() > 0.1 THEN (random() - 0.4) * 1e18 END,
                CASE WHEN random() > 0.1 THEN (random() - 0.5) * 1e5 END,
                CASE WHEN random() > 0.2 THEN random() < 0.7 END
            FROM generate_series(1, (random() * 40)::int);
        ELSIF r < 0.6 THEN
            UPDATE random_rows SET k = nullif((random() * 9)::int, 0) WHERE id % 10 = i % 10;
        ELSIF r < 0.7 THEN
            UPDATE random_rows SET v = v + 1, w = NULL, ok = NOT ok WHERE id % 7 = i % 7;
        ELSIF r < 0.9 THEN
            DELETE FROM random_rows WHERE id % 11 = i % 11;
        ELSIF r < 0.92 THEN
            TRUNCATE random_rows;
        ELSE
            BEGIN
                DELETE FROM random_rows;
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
        END IF;
        IF random() < 0.3 THEN
            PERFORM cozi.fold();
        END IF;
        differ := differ + (SELECT count(*) FROM cozi.verify_counter('c_all'))
            + (SELECT count(*) FROM cozi.verify_counter('c_some'))
            + (SELECT count(*) FROM c_all c FULL JOIN
               (SELECT k, count(*) AS n, coalesce(sum(v), 0) AS sum FROM random_rows
                WHERE k IS NOT NULL GROUP BY k) t ON t.k = c.key
               WHERE (c.n, c.sum) IS DISTINCT FROM (t.n, t.sum));
    END LOOP;
    RAISE WARNING '% differ', differ;
END $$;

SELECT cozi.drop_counter(counter) FROM cozi.counters;
SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE tgname LIKE 'cozi%' AND c.relnamespace = 'counter_test'::regnamespace;
DROP SCHEMA counter_test CASCADE;
REVOKE USAGE ON SCHEMA cozi FROM regress_counter_reader;
DROP ROLE regress_counter_reader;
