\echo
\echo '== Sharding: one number per user, the same in the planner, partitions and the application'
\echo
\echo '-- The posts of the community that have an author, in one table.'
CREATE TABLE sharded_posts AS
SELECT id, author_id, created_at, score, tags FROM posts WHERE author_id IS NOT NULL;
ALTER TABLE sharded_posts ALTER author_id SET NOT NULL, ADD PRIMARY KEY (author_id, id);

\echo '-- Split by author into four, rows and all, in one transaction.'
SELECT * FROM cozi.shard_table('sharded_posts', 'author_id', 4);

\echo '-- What came of it.'
SELECT shard, rows, pg_size_pretty(bytes) AS size, round(share::numeric, 3) AS share,
       round(skew::numeric, 2) AS skew
FROM cozi.shard_report('sharded_posts');

\echo '-- The busiest author''s posts: the plan reads the one shard that shard_of names.'
SELECT author_id AS busiest, count(*) AS posts, cozi.shard_of(author_id, 4) FROM sharded_posts
GROUP BY author_id ORDER BY count(*) DESC, author_id LIMIT 1 \gset
SELECT :busiest AS author, :posts AS posts, cozi.shard_of(:busiest::bigint, 4);
EXPLAIN (COSTS OFF)
SELECT id, score FROM sharded_posts WHERE author_id = :busiest ORDER BY created_at DESC LIMIT 10;

\echo '-- Ten users: their shard by cozi, where their rows lie, and by PostgreSQL''s own function.'
SELECT author_id, cozi.shard_of(author_id, 4) AS shard_of,
       string_agg(DISTINCT tableoid::regclass::text, ' ') AS rows_lie_in, count(*) AS posts,
       bool_and(satisfies_hash_partition('sharded_posts'::regclass, 4,
                                         cozi.shard_of(author_id, 4), author_id))
           AS postgresql_agrees
FROM sharded_posts GROUP BY author_id ORDER BY count(*) DESC, author_id LIMIT 10;

\echo '-- All of them.'
SELECT count(DISTINCT author_id) AS authors, count(*) AS posts,
       count(*) FILTER (WHERE tableoid::regclass::text
                        <> 'sharded_posts_shard_' || cozi.shard_of(author_id, 4)) AS misrouted
FROM sharded_posts;

\echo '-- An id that knows its author''s bucket: /p/ID finds the shard without knowing the author.'
CREATE SEQUENCE sharded_post_ids;
INSERT INTO sharded_posts (id, author_id, created_at, score)
VALUES (cozi.next_id('sharded_post_ids', cozi.shard_of(:busiest::bigint, 1024)), :busiest, now(), 0)
RETURNING id, cozi.id_time(id), cozi.id_bucket(id), cozi.id_bucket(id) % 4 AS shard,
          tableoid::regclass AS lies_in;
