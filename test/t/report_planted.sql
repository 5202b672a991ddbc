-- A community with ten holes, which the page has to show: doc/report.png is its top.
CREATE ROLE web;
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET cozi.api_roles = ''web''', current_database());
END $$;
CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL);
CREATE TABLE posts (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author bigint NOT NULL,
                    body text, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE votes (post_id int NOT NULL, user_id bigint NOT NULL, value int NOT NULL,
                    created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (post_id, user_id));
CREATE TABLE letters (id bigint PRIMARY KEY, writer bigint NOT NULL, reader bigint NOT NULL);
INSERT INTO users SELECT g, 'user' || g || '@example.org' FROM generate_series(1, 20000) g;
INSERT INTO posts (author, body) SELECT 1 + g % 20000, md5(g::text)
FROM generate_series(1, 100000) g;
INSERT INTO votes SELECT 1 + g % 5000, g, 1 FROM generate_series(1, 20000) g;

-- 1: anybody reads and writes a table, whose policies are off
GRANT SELECT, UPDATE, DELETE ON users TO web, PUBLIC;
-- 2: a policy lets everybody delete
ALTER TABLE letters ENABLE ROW LEVEL SECURITY;
CREATE POLICY drops ON letters FOR DELETE TO web USING (true);
GRANT SELECT, DELETE ON letters TO web;
-- 3: a view goes around the policies of its table
CREATE VIEW all_letters AS SELECT * FROM letters;
GRANT SELECT ON all_letters TO web;
-- 4: each delete of a user reads all letters
ALTER TABLE letters ADD FOREIGN KEY (reader) REFERENCES users;
-- 5: an index that another one makes redundant
CREATE INDEX ON votes (user_id);
CREATE INDEX ON votes (user_id, created_at);
-- 6: a constraint that older rows may break
ALTER TABLE posts ADD CONSTRAINT posts_author_fkey FOREIGN KEY (author) REFERENCES users NOT VALID;
CREATE INDEX ON posts (author, created_at);
-- 7: the ids of posts are nearly used up
SELECT setval('posts_id_seq', 2000000000);
-- 8: a slot that nobody uses keeps WAL for ever
SELECT pg_create_physical_replication_slot('forgotten', true);
-- 9: a table without a key
CREATE TABLE visits (user_id bigint, at timestamptz);
-- 10: a query without its index
SELECT id FROM posts ORDER BY md5(body || id) LIMIT 10;

SELECT cozi.create_board('hot_posts', 'votes', 'post_id', 'value');
SELECT cozi.create_rate_limit('login:ip', 5, '1 min');
