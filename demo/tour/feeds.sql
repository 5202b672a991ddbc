\echo
\echo '== Feeds: what those whom one follows have posted, exact, and cheap for everybody'
\echo
\echo 'A member follows whom they have answered; some have blocked one another.'
CREATE TABLE following AS
    SELECT DISTINCT a.author_id AS follower, q.author_id AS author
    FROM posts a JOIN posts q ON q.id = a.parent_id WHERE a.author_id <> q.author_id;
ALTER TABLE following ADD PRIMARY KEY (follower, author);
CREATE TABLE blocked (blocker bigint, blocked bigint, PRIMARY KEY (blocker, blocked));
CREATE INDEX ON blocked (blocked, blocker);
CREATE INDEX ON posts (author_id, created_at DESC, id DESC);
CREATE INDEX ON posts (created_at DESC, id DESC);
ANALYZE following, posts;
SELECT cozi.register_edge('following', 'following', 'follower', 'author'),
       cozi.register_edge('blocked', 'blocked', 'blocker', 'blocked') \gset edge_
CREATE ROLE reader;
GRANT SELECT ON posts TO reader;
GRANT USAGE ON SCHEMA cozi TO reader;
SELECT follower AS member, count(*) AS follows FROM following GROUP BY 1 ORDER BY 2 DESC, 1
LIMIT 1 \gset

\echo 'The home of the member who follows most; their role may read posts, and no edge:'
BEGIN;
SELECT cozi.act_as(:'member') \g /dev/null
SET LOCAL ROLE reader;
\set ECHO queries
SELECT cozi.uid_bigint() AS member, :follows AS follows;
SELECT id, kind, author_id, score, created_at::timestamp(0)
FROM cozi.feed_rows(NULL::posts, 'following', 5);
SELECT cursor FROM cozi.feed('posts', 'following', 5) OFFSET 4 \gset
SELECT item, rank_value FROM cozi.feed('posts', 'following', 3, after => :'cursor');
SELECT item, rank_value AS score FROM cozi.feed('posts', 'following', 3, rank => 'score',
    filters => '{kind,question}');
\set ECHO none
COMMIT;

\echo 'The author of the newest post blocks the member: in either direction, nothing crosses.'
BEGIN;
SELECT cozi.act_as(:'member') \g /dev/null
SELECT author_id AS author, id AS newest FROM cozi.feed_rows(NULL::posts, 'following', 1) \gset
INSERT INTO blocked VALUES (:author, :member);
\set ECHO queries
SELECT count(*) FILTER (WHERE author_id = :author) AS of_that_author, count(*) AS shown
FROM cozi.feed_rows(NULL::posts, 'following', 1000);
\set ECHO none

\echo 'The first 500 of it, against the query that one would write:'
\set ECHO queries
SELECT array_agg(f.item::bigint) = (SELECT array_agg(id) FROM (SELECT id FROM posts
    WHERE author_id IN (SELECT author FROM following WHERE follower = :member
                        EXCEPT SELECT blocker FROM blocked WHERE blocked = :member)
    ORDER BY created_at DESC, id DESC LIMIT 500) p) AS equal
FROM cozi.feed('posts', 'following', 500) f;
\set ECHO none
COMMIT;
SELECT cozi.drop_edge('following'), cozi.drop_edge('blocked') \gset dropped_
DROP TABLE following, blocked;
DROP OWNED BY reader;
DROP ROLE reader;
