\echo
\echo '== Trending: boards that keep what is hot, on a real community'
\echo
\echo 'A site on quantum computing, its first six months: posts, and a table of votes.'
\echo 'Three boards keep what is hot by the day, by the week, and by the week within each tag.'
\echo

CREATE TABLE votes (
    id      bigint PRIMARY KEY,
    post_id bigint NOT NULL REFERENCES posts,
    value   smallint NOT NULL CHECK (value IN (-1, 1)),
    cast_on date NOT NULL,
    tag     text                -- the question's first tag: the scope of a board
);
\set ECHO queries
SELECT cozi.create_board('hot_day', 'votes', 'post_id', 'value', 'cast_on', half_life => '1 day');
SELECT cozi.create_board('hot_week', 'votes', 'post_id', 'value', 'cast_on', half_life => '7 days');
SELECT cozi.create_board('hot_tag', 'votes', 'post_id', 'value', 'cast_on', scope => 'tag',
                         half_life => '7 days');
\set ECHO none

-- The votes of one stretch of time, as a client would cast them.
PREPARE cast_votes (date, date) AS
    INSERT INTO votes
    SELECT d.id, d.post_id, CASE d.kind WHEN 'up' THEN 1 ELSE -1 END, d.cast_on,
           (coalesce(p.tags, q.tags))[1]
    FROM votes_dump d JOIN posts p ON p.id = d.post_id LEFT JOIN posts q ON q.id = p.parent_id
    WHERE d.cast_on > $1 AND d.cast_on <= $2;

-- Beside the board, the same ranking as one would write it without cozi: a
-- scan of all votes, each worth half as much per half-life, times the approval.
PREPARE trending (date) AS
    WITH textbook AS (
        SELECT post_id, rank() OVER (ORDER BY score DESC, post_id DESC) AS rank, score
        FROM (SELECT post_id, sum(2 ^ ((cast_on - $1) / 7.0)) FILTER (WHERE value > 0)
                     * (sum(value) FILTER (WHERE value > 0))::float8 / sum(abs(value)) AS score
              FROM votes GROUP BY post_id) s
        WHERE score IS NOT NULL)
    SELECT b.rank, b.item AS board,
           round(cozi.heat_value(b.heat, '7 days', $1)::numeric, 3) AS worth,
           t.post_id AS full_scan, round(t.score::numeric, 3) AS score,
           p.kind, (coalesce(p.tags, q.tags))[1] AS tag, p.created_at::date AS posted
    FROM cozi.top('hot_week', 5) b
    JOIN textbook t ON t.rank = b.rank
    JOIN posts p ON p.id = b.item::bigint LEFT JOIN posts q ON q.id = p.parent_id
    ORDER BY b.rank;

\echo
\echo 'What was trending on 1 April 2018 (half-life 7 days), beside a full scan of the votes:'
EXECUTE cast_votes ('2018-01-01', '2018-04-01');
EXECUTE trending ('2018-04-01');
\echo 'On 1 June:'
EXECUTE cast_votes ('2018-04-01', '2018-06-01');
EXECUTE trending ('2018-06-01');
\echo 'On 1 September:'
EXECUTE cast_votes ('2018-06-01', '2018-09-01');
EXECUTE trending ('2018-09-01');
EXECUTE cast_votes ('2018-09-01', '2100-01-01');

\echo 'Within a tag:'
\set ECHO queries
SELECT item, rank, heat FROM cozi.top('hot_tag', 3, 'quantum-gate');
SELECT id, kind, score
FROM cozi.top_rows(NULL::posts, 'hot_tag', 3, scopes => '{quantum-gate,error-correction}');
\set ECHO none

\echo 'Two users vote, now, for the question of rank 40: the board has moved before the next read.'
SELECT item AS forty FROM cozi.top('hot_day', 40) ORDER BY rank DESC LIMIT 1 \gset
\set ECHO queries
INSERT INTO votes VALUES (1000001, :forty, 1, current_date, 'live'),
                         (1000002, :forty, 1, current_date, 'live');
SELECT item, rank, heat FROM cozi.top('hot_day', 3);
DELETE FROM votes WHERE id > 1000000;
SELECT item, rank, heat FROM cozi.top('hot_day', 3);
\set ECHO none

\echo 'The next page begins after the cursor of the last row; a moderator takes an item off.'
SELECT cursor FROM cozi.top('hot_week', 3) WHERE rank = 3 \gset
SELECT item AS first FROM cozi.top('hot_week', 1) \gset
\set ECHO queries
SELECT item, rank, heat FROM cozi.top('hot_week', 3, after => :'cursor');
SELECT cozi.hide_item('hot_week', :'first');
SELECT item, rank, heat FROM cozi.top('hot_week', 3);
SELECT cozi.show_item('hot_week', :'first');
SELECT count(*) AS rows_that_differ_from_a_recount FROM cozi.verify_board('hot_week');
\set ECHO none
\echo 'The site''s own scores agree with the board on every question and answer:'
SELECT count(*) AS posts, count(*) FILTER (WHERE p.score = coalesce(b.ups - b.downs, 0)) AS agree
FROM posts p LEFT JOIN hot_day b ON b.item = p.id WHERE p.kind IN ('question', 'answer');

\echo 'A comment warms a post by half a vote, and each post has the heat of its own creation:'
\set ECHO queries
SELECT cozi.add_source('hot_day', 'comments', 'post_id', factor => 0.5);
SELECT cozi.add_source('hot_day', 'posts', 'id');
SELECT relation, item, weight, factor FROM cozi.board_sources WHERE board = 'hot_day'::regclass;
SELECT item, rank, heat FROM cozi.top('hot_day', 3);
\set ECHO none

\echo 'Trending topics: the items of a board may be the tags of each post.'
\set ECHO queries
SELECT cozi.create_board('hot_topics', 'posts', 'tags', half_life => '7 days');
SELECT t.rank, t.item AS topic, b.ups AS posts FROM cozi.top('hot_topics', 5) t
JOIN hot_topics b USING (item) ORDER BY t.rank;
\set ECHO none

\echo 'Old votes go, and what they count stays (rolled back here):'
BEGIN;
\set ECHO queries
SELECT cozi.close_before('hot_week', '2018-07-01');
DELETE FROM votes WHERE cast_on < '2018-07-01';
SELECT cozi.rebuild_board('hot_week');
SELECT item, rank, heat FROM cozi.top('hot_week', 3);
SELECT count(*) AS rows_that_differ_from_a_recount FROM cozi.verify_board('hot_week');
\set ECHO none
ROLLBACK;
SELECT cozi.drop_board('hot_topics'), cozi.remove_source('hot_day', 'posts'),
       cozi.remove_source('hot_day', 'comments') \gset dropped_
