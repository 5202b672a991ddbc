-- The ways in: children that inherit, the model of an ORM, boards and edges; and
-- hints, run as they stand by the role that reads them.
CREATE ROLE regress_ways_owner;
CREATE ROLE regress_ways_reader;
CREATE SCHEMA ways AUTHORIZATION regress_ways_owner;
GRANT USAGE ON SCHEMA cozi TO regress_ways_owner;
GRANT EXECUTE ON FUNCTION cozi.create_shards, cozi.shard_table, cozi.unshard_table,
    cozi.shard_report, cozi.shard_check,
    cozi.create_board, cozi.drop_board, cozi.verify_board, cozi.add_source, cozi.remove_source,
    cozi.hide_item, cozi.hidden_items, cozi.create_counter, cozi.drop_counter, cozi.verify_counter,
    cozi.register_edge, cozi.drop_edge TO regress_ways_owner;
SET client_min_messages = warning;
SET search_path = ways;
SET ROLE regress_ways_owner;

-- Runs the SQL of a refusal's hint, and says how often it had to, what words were
-- in it, and how many rows the table had before and after.
CREATE FUNCTION follow_hints(rel text, key text, OUT refusals int, OUT words text,
    OUT rows_before bigint, OUT rows_after bigint)
LANGUAGE plpgsql AS $$
DECLARE
    hint text;
    line text;
    again boolean := true;
BEGIN
    refusals := 0;
    EXECUTE format('SELECT count(*) FROM %s', rel) INTO rows_before;
    WHILE again AND refusals < 3 LOOP
        again := false;
        BEGIN
            PERFORM cozi.shard_table(rel, key, 4);
        EXCEPTION WHEN feature_not_supported THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            again := true;
            refusals := refusals + 1;
        END;
        IF again THEN
            FOREACH line IN ARRAY (string_to_array(hint, E'\n'))[2:] LOOP
                IF line LIKE '--%' THEN
                    words := concat_ws(E'\n', words, line);
                    again := false;
                ELSE
                    EXECUTE line;
                END IF;
            END LOOP;
        END IF;
    END LOOP;
    EXECUTE format('SELECT count(*) FROM %s', rel) INTO rows_after;
END
$$;

--
-- the roadmap's own layout
--
CREATE TABLE posts (id bigint, user_id bigint NOT NULL, body text);
CREATE TABLE posts_0 (CHECK (user_id % 4 = 0)) INHERITS (posts);
CREATE TABLE posts_1 (CHECK (user_id % 4 = 1)) INHERITS (posts);
CREATE TABLE posts_2 (CHECK (user_id % 4 = 2)) INHERITS (posts);
CREATE TABLE posts_3 (CHECK (user_id % 4 = 3)) INHERITS (posts);
INSERT INTO posts_0 SELECT g, g * 4, 'a' FROM generate_series(1, 100) g;
INSERT INTO posts_1 SELECT g, g * 4 + 1, 'b' FROM generate_series(1, 100) g;
INSERT INTO posts_2 SELECT g, g * 4 + 2, 'c' FROM generate_series(1, 100) g;
INSERT INTO posts_3 SELECT g, g * 4 + 3, 'd' FROM generate_series(1, 90) g;
INSERT INTO posts SELECT g, g, 'above' FROM generate_series(1, 10) g;
SELECT count(*), sum(id), md5(string_agg(p::text, ',' ORDER BY p::text)) AS before
FROM posts p \gset before_
SELECT regexp_replace(s, '_' || 'posts'::regclass::oid, '_OID', 'g') AS s
FROM cozi.shard_table('posts', 'user_id', 4, dry_run => true) s WHERE s ~ 'INSERT|INHERIT|DROP';
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('posts', 'user_id', 4);
SELECT count(*) = :before_count AS rows, sum(id) = :before_sum AS ids,
    md5(string_agg(p::text, ',' ORDER BY p::text)) = :'before_before' AS same FROM posts p;
SELECT count(*) FROM cozi.shard_check('posts');
-- kept children have their rows, and are tables of their own
SELECT (SELECT count(*) FROM posts_0) AS posts_0, (SELECT count(*) FROM pg_inherits
    WHERE inhrelid = 'posts_0'::regclass) AS parents;
SELECT count(*) > 0 AS back FROM cozi.unshard_table('posts');
SELECT count(*) = :before_count AS rows FROM posts;
DROP TABLE posts, posts_0, posts_1, posts_2, posts_3;
-- children that go: at any depth, with the names that the shards take
CREATE TABLE posts (id bigint, user_id bigint NOT NULL);
CREATE TABLE posts_shard_0 (PRIMARY KEY (id)) INHERITS (posts);
CREATE TABLE posts_shard_1 () INHERITS (posts_shard_0);
INSERT INTO posts_shard_0 SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO posts_shard_1 SELECT g, g FROM generate_series(21, 50) g;
SELECT cozi.shard_table('posts', 'user_id', 2);
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('posts', 'user_id', 2, drop_children => true);
SELECT count(*), (SELECT count(*) FROM pg_class WHERE relnamespace = 'ways'::regnamespace
    AND relkind = 'r') AS tables FROM posts;
DROP TABLE posts;
-- what a child has of its own is not lost
CREATE TABLE posts (id bigint, user_id bigint NOT NULL);
CREATE TABLE posts_0 (extra text) INHERITS (posts);
CREATE FUNCTION route() RETURNS trigger
LANGUAGE plpgsql AS 'BEGIN INSERT INTO ways.posts_0 SELECT new.*; RETURN NULL; END';
CREATE TRIGGER route BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION route();
CREATE RULE sent AS ON INSERT TO posts WHERE new.user_id = 7 DO INSTEAD INSERT INTO posts_0
    VALUES (new.id, new.user_id);
CREATE TRIGGER watch AFTER INSERT ON posts_0 FOR EACH ROW EXECUTE FUNCTION route();
CREATE POLICY own ON posts_0 USING (true);
SELECT cozi.shard_table('posts', 'user_id', 4);
DROP TABLE posts CASCADE;
DROP FUNCTION route();

--
-- the model of an ORM: bigserial keys, comments that point at posts
--
CREATE TABLE users (id bigserial PRIMARY KEY);
CREATE TABLE posts (id bigserial PRIMARY KEY, author_id bigint REFERENCES users);
CREATE TABLE comments (id bigserial PRIMARY KEY, post_id bigint REFERENCES posts);
INSERT INTO users SELECT g FROM generate_series(1, 20) g;
INSERT INTO posts (author_id) SELECT g % 20 + 1 FROM generate_series(1, 200) g;
INSERT INTO comments (post_id) SELECT g FROM generate_series(1, 200) g;
SELECT * FROM follow_hints('posts', 'author_id');
SELECT count(*) FROM comments;
INSERT INTO posts (author_id) VALUES (1) RETURNING id;
-- with the author in comments, too, the foreign key holds again
ALTER TABLE comments ADD author_id bigint;
UPDATE comments c SET author_id = p.author_id FROM posts p WHERE p.id = c.post_id;
ALTER TABLE comments ADD FOREIGN KEY (post_id, author_id) REFERENCES posts (id, author_id);
INSERT INTO comments (post_id, author_id) VALUES (1, 19);
DROP TABLE users, posts, comments;

--
-- hints: what they run makes the call possible and loses nothing
--
CREATE UNLOGGED TABLE hinted (id int, uid bigint NOT NULL);
INSERT INTO hinted SELECT g, g FROM generate_series(1, 10) g;
SELECT * FROM follow_hints('hinted', 'uid');
SELECT * FROM follow_hints('hinted', 'uid');
DROP TABLE hinted;
CREATE TABLE hinted (id int PRIMARY KEY, uid bigint, slug text,
    CONSTRAINT score CHECK (id > 0) NO INHERIT);
CREATE UNIQUE INDEX hinted_slug ON hinted (lower(slug)) WHERE uid > 3;
INSERT INTO hinted SELECT g, g, g FROM generate_series(1, 10) g;
SELECT * FROM follow_hints('hinted', 'uid');
SELECT indexdef FROM pg_indexes WHERE indexname = 'hinted_slug';
DROP TABLE hinted;
-- words, where SQL would lose something: nothing is touched
CREATE TABLE hinted (id int GENERATED ALWAYS AS IDENTITY, uid bigint) PARTITION BY RANGE (uid);
CREATE TABLE hinted_default PARTITION OF hinted DEFAULT;
INSERT INTO hinted (uid) VALUES (1);
SELECT * FROM follow_hints('hinted', 'uid');
SELECT * FROM follow_hints('hinted_default', 'uid');
DROP TABLE hinted;
CREATE TABLE hinted (uid bigint);
INSERT INTO hinted VALUES (1), (NULL);
CREATE MATERIALIZED VIEW of_hinted AS SELECT * FROM hinted;
SELECT * FROM follow_hints('hinted', 'uid');
RESET ROLE;
SET client_min_messages = error;
CREATE PUBLICATION regress_ways FOR ALL TABLES;
SELECT object, mend FROM cozi._shard_blockers('hinted'::regclass, 'uid', 4, false) WHERE step = 70;
DROP PUBLICATION regress_ways;
CREATE TABLE other (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE PUBLICATION regress_ways FOR TABLE hinted, other;
ALTER PUBLICATION regress_ways OWNER TO regress_ways_owner;
SELECT object, mend FROM cozi._shard_blockers('hinted'::regclass, 'uid', 4, false) WHERE step = 70;
DROP PUBLICATION regress_ways;
DROP TABLE other;
SET client_min_messages = warning;
SET ROLE regress_ways_owner;
DROP TABLE hinted CASCADE;

--
-- boards, counters and edges come along, with their grants
--
CREATE TABLE ballots (post_id bigint, author_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO ballots SELECT g % 7, g FROM generate_series(1, 100) g;
SELECT cozi.create_board('hot_posts', 'ballots', 'post_id', half_life => '3 hours');
GRANT SELECT ON hot_posts TO regress_ways_reader;
GRANT SELECT ON hot_posts_live TO regress_ways_reader;
COMMENT ON TABLE hot_posts IS 'what is hot';
CREATE TABLE shares (post_id bigint, who bigint NOT NULL, at timestamptz DEFAULT now());
INSERT INTO shares SELECT g % 3, g FROM generate_series(1, 30) g;
SELECT cozi.add_source('hot_posts', 'shares', 'post_id', factor => 2, voted_at => 'at');
SELECT cozi.hide_item('hot_posts', '2');
CREATE TABLE items (id bigint PRIMARY KEY);
SELECT cozi.create_counter('post_counts', 'ballots', 'post_id', user_id => 'author_id',
    item_table => 'items');
GRANT SELECT ON post_counts, post_counts_live TO regress_ways_reader;
CREATE FUNCTION kept_state() RETURNS SETOF text
LANGUAGE sql AS $$
    SELECT 'source ' || concat_ws(' ', relation, item, weight, factor, voted_at)
    FROM cozi.board_sources
    UNION ALL SELECT 'hidden ' || cozi.hidden_items('ways.hot_posts')
    UNION ALL SELECT 'counter ' || concat_ws(' ', counter, relation, key, value, counted, user_id)
    FROM cozi.counters
    UNION ALL SELECT 'embeds ' || proname FROM pg_proc
    WHERE proargtypes[0] = 'ways.post_counts'::regtype
    UNION ALL SELECT 'wrong ' || item FROM cozi.verify_board('ways.hot_posts')
    UNION ALL SELECT 'wrong ' || key FROM cozi.verify_counter('ways.post_counts')
    UNION ALL SELECT 'readable ' || relname FROM pg_class
    WHERE relnamespace = 'ways'::regnamespace AND relkind IN ('r', 'v')
        AND has_table_privilege('regress_ways_reader', oid, 'SELECT')
    ORDER BY 1
$$;
CREATE TABLE state AS SELECT kept_state() AS line;
TABLE state;
CREATE TABLE follows (a bigint, b bigint, PRIMARY KEY (a, b));
SELECT cozi.register_edge('regress_follows', 'follows', 'a', 'b');
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('ballots', 'author_id', 4);
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('shares', 'who', 2);
SELECT * FROM (SELECT kept_state() EXCEPT TABLE state) x UNION ALL (TABLE state EXCEPT
    SELECT kept_state());
SELECT count(*) > 0 AS sharded FROM cozi.shard_table('follows', 'a', 2);
INSERT INTO ballots SELECT 1, g FROM generate_series(1, 50) g;
SELECT count(*) AS wrong FROM cozi.verify_board('hot_posts');
SELECT item, rank FROM cozi.top('hot_posts', 1);
SELECT half_life FROM cozi.boards WHERE board = 'hot_posts'::regclass;
SELECT has_table_privilege('regress_ways_reader', 'hot_posts', 'SELECT') AS reader,
    obj_description('hot_posts'::regclass) AS comment;
SELECT count(*) > 0 AS back FROM cozi.unshard_table('ballots');
SELECT count(*) > 0 AS back FROM cozi.unshard_table('shares');
SELECT * FROM (SELECT kept_state() EXCEPT TABLE state) x UNION ALL (TABLE state EXCEPT
    SELECT kept_state());
SELECT count(*) AS wrong FROM cozi.verify_board('hot_posts');
SELECT has_table_privilege('regress_ways_reader', 'hot_posts', 'SELECT') AS reader;
CREATE VIEW of_board AS SELECT * FROM hot_posts;
SELECT cozi.shard_table('ballots', 'author_id', 4);
DROP VIEW of_board;
CREATE VIEW of_counter AS SELECT * FROM post_counts;
SELECT cozi.shard_table('ballots', 'author_id', 4);
DROP VIEW of_counter;
SELECT cozi.shard_table('post_counts', 'key', 4);
RESET ROLE;
SELECT edge, relation, trouble FROM cozi.edges WHERE edge = 'regress_follows';
SELECT cozi.drop_edge('regress_follows');
SET ROLE regress_ways_owner;
SELECT cozi.drop_board('hot_posts'), cozi.drop_counter('post_counts');
DROP FUNCTION kept_state;
DROP TABLE ballots, follows, shares, items, state;

--
-- trees of two levels, without shards, by an expression
--
CREATE TABLE ev (uid bigint NOT NULL, at date) PARTITION BY HASH (uid);
CREATE TABLE ev_0 PARTITION OF ev FOR VALUES WITH (MODULUS 1, REMAINDER 0) PARTITION BY RANGE (at);
CREATE TABLE ev_0d PARTITION OF ev_0 DEFAULT;
INSERT INTO ev VALUES (1, '2026-01-01'), (2, '2026-01-01');
SELECT shard, rows, counted, bytes > 0 AS bytes, share FROM cozi.shard_report('ev');
ANALYZE ev;
SELECT shard, rows, counted, bytes > 0 AS bytes, share FROM cozi.shard_report('ev', exact => false);
SELECT * FROM cozi.shard_check('ev');
SELECT cozi.unshard_table('ev');
DROP TABLE ev;
CREATE TABLE e (k int, note text DEFAULT 'x') PARTITION BY HASH (k);
GRANT SELECT ON e TO regress_ways_reader;
SELECT * FROM cozi.shard_report('e');
SELECT * FROM cozi.shard_check('e');
SELECT s FROM cozi.unshard_table('e', dry_run => true) s WHERE s ~ '^CREATE';
SELECT count(*) > 0 AS unsharded FROM cozi.unshard_table('e');
SELECT relkind, has_table_privilege('regress_ways_reader', oid, 'SELECT') AS reader FROM pg_class
WHERE oid = 'e'::regclass;
DROP TABLE e;
CREATE TABLE x (k int) PARTITION BY HASH ((k + 1));
SELECT cozi.create_shards('x', 2);
SELECT cozi.shard_check('x');
SELECT * FROM cozi.shard_report('x');
SELECT cozi.unshard_table('x');
DROP TABLE x;

--
-- a report runs nothing of the table's owner: not the cast of its key
--
CREATE TYPE k AS (a int);
CREATE FUNCTION k2t(k) RETURNS text
LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'runs as %', current_user; RETURN 'x'; END$$;
CREATE CAST (k AS text) WITH FUNCTION k2t;
CREATE TABLE parts (k k, v int) PARTITION BY HASH (k);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO parts VALUES (ROW(1), 1);
RESET ROLE;
SELECT shard, rows, heaviest_users FROM cozi.shard_report('parts');
SELECT * FROM cozi.shard_check('parts');

SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA ways CASCADE;
DROP OWNED BY regress_ways_owner, regress_ways_reader;
DROP ROLE regress_ways_owner, regress_ways_reader;
