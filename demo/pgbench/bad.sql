\set id random(1, 5000)
SELECT count(*) FROM comments WHERE post_id = :id;
SELECT id FROM posts
ORDER BY log(greatest(abs(score), 1)) + extract(epoch FROM created_at) / 45000 DESC LIMIT 10;
SELECT id FROM comments ORDER BY created_at OFFSET 1000 LIMIT 10;
