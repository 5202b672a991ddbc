\set id random(1, 5000)
SELECT kind, score FROM posts WHERE id = :id;
SELECT reputation FROM users WHERE id = :id;
