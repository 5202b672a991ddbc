-- changes_since() of a table: the rows of one key, for those who may see them
CREATE SCHEMA t_rows;
SET search_path = t_rows;
SET client_min_messages = warning;
CREATE TABLE comments (id bigint, post_id int NOT NULL, author text, body text,
                       PRIMARY KEY (post_id, id)) PARTITION BY HASH (post_id);
CREATE TABLE comments_0 PARTITION OF comments FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE comments_1 PARTITION OF comments FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO comments SELECT g, g % 3, 'ann', 'body ' || g FROM generate_series(1, 9) g;
SELECT item, row_data, gone FROM cozi.changes_since('comments', '1', NULL) ORDER BY item;
SELECT cursor AS one FROM cozi.changes_since('comments', '1', NULL, 2) OFFSET 1 \gset
SELECT item, row_data->>'body' AS body FROM cozi.changes_since('comments', '1', :'one');
CREATE TABLE pages (slug text PRIMARY KEY, "Topic" text);
INSERT INTO pages VALUES ('a', 'x'), ('b', 'y');
SELECT item FROM cozi.changes_since('pages', 'y', NULL, key_column => 'Topic', id => 'slug');

-- What cannot be told raises, and says what to do
SELECT cozi.changes_since('comments', '2', :'one');
SELECT cozi.changes_since('pages', '1', :'one', key_column => 'Topic', id => 'slug');
SELECT cozi.changes_since('comments', '1', 'nonsense');
SELECT cozi.changes_since('comments', '1',
    cozi.cursor_encode(2, 'comments'::regclass::oid::bigint, 1, 'post_id'::text, '1'::text,
                       'x'::text, NULL, NULL));
SELECT cozi.changes_since('comments', 'one', NULL);
SELECT cozi.changes_since('comments', NULL, NULL::text);
SELECT cozi.changes_since('comments', '1', NULL, 0);
SELECT cozi.changes_since('comments', '1', NULL, key_column => 'nothing');
SELECT cozi.changes_since('pages', '1', NULL, key_column => 'Topic', id => 'Topic');
CREATE VIEW seen AS SELECT * FROM comments;
SELECT cozi.changes_since('seen', '1', NULL);
SELECT cozi.create_counter('counts', 'comments', 'post_id');
SELECT cozi.changes_since('counts', '1', NULL);
SELECT cozi.changes_since(0, '1', NULL);
SELECT cozi._is_new('7', '1 2 3 x', '1 2');

-- Privileges and policies are the caller's
CREATE ROLE regress_rows;
GRANT USAGE ON SCHEMA cozi, t_rows TO regress_rows;
SET ROLE regress_rows;
SELECT cozi.changes_since('comments', '1', NULL);
RESET ROLE;
GRANT SELECT ON comments TO regress_rows;
ALTER TABLE comments ENABLE ROW LEVEL SECURITY;
CREATE POLICY ann ON comments TO regress_rows USING (author = 'ann');
INSERT INTO comments VALUES (31, 1, 'bob', 'secret'), (34, 1, 'ann', 'open');
SET ROLE regress_rows;
SELECT string_agg(item, ' ' ORDER BY item::int) FROM cozi.changes_since('comments', '1', NULL);
SELECT string_agg(item, ' ' ORDER BY item::int) FROM cozi.changes_since('comments', '1', :'one');
RESET ROLE;
SELECT cozi.drop_counter('counts');
DROP SCHEMA t_rows CASCADE;
DROP OWNED BY regress_rows;
DROP ROLE regress_rows;
