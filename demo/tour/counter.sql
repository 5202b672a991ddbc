\echo
\echo '== Counters: numbers beside every post, and none of them drifts'
\echo
\echo 'How many comments a post has and what they scored; how many answers a question has.'
\echo
\set ECHO queries
SELECT cozi.create_counter('comment_counts', 'comments', 'post_id', value => 'score');
SELECT cozi.create_counter('answer_counts', 'posts', 'parent_id');
\set ECHO none

\echo 'The busiest questions, off the tables that the counters are:'
CREATE INDEX ON answer_counts (n DESC);
\set ECHO queries
SELECT a.key AS question, a.n AS answers, coalesce(c.n, 0) AS comments, c.sum AS scored
FROM answer_counts a LEFT JOIN comment_counts c USING (key) ORDER BY a.n DESC, a.key LIMIT 5;
\set ECHO none

SELECT key AS busiest FROM answer_counts ORDER BY n DESC, key LIMIT 1 \gset
\echo 'Somebody comments, edits, deletes; the counts of the screen follow each statement:'
\set ECHO queries
INSERT INTO comments
VALUES (100000001, :busiest, NULL, now(), 3), (100000002, :busiest, NULL, now(), 0);
SELECT counter, key, n, sum
FROM cozi.item_counts('{answer_counts,comment_counts}', ARRAY[:busiest]);
UPDATE comments SET score = score + 10 WHERE id = 100000001;
DELETE FROM comments WHERE id = 100000002;
SELECT n, sum FROM comment_counts WHERE key = :busiest;
DELETE FROM comments WHERE id > 100000000;
SELECT n, sum FROM comment_counts WHERE key = :busiest;
\set ECHO none

\echo 'Each count, against a recount:'
\set ECHO queries
SELECT (SELECT count(*) FROM cozi.verify_counter('comment_counts')) AS comment_counts_differ,
       (SELECT count(*) FROM cozi.verify_counter('answer_counts')) AS answer_counts_differ;
\set ECHO none
SELECT cozi.drop_counter('comment_counts'), cozi.drop_counter('answer_counts') \gset dropped_
