\echo
\echo '== What is wrong here: findings, each with the statement that ends it'
\echo
\echo 'Letters between users; somebody wrote policies in a hurry.'
CREATE ROLE authenticated;
GRANT USAGE ON SCHEMA public TO authenticated;
CREATE TABLE letters AS
    SELECT c.id, c.author_id AS writer, p.author_id AS reader, false AS is_read
    FROM comments c JOIN posts p ON p.id = c.post_id WHERE p.author_id IS NOT NULL;
ALTER TABLE letters ADD PRIMARY KEY (id);
CREATE INDEX ON letters (writer);
CREATE INDEX ON letters (writer, reader);
ALTER TABLE letters ENABLE ROW LEVEL SECURITY;
CREATE POLICY reads ON letters FOR SELECT TO authenticated USING (reader = cozi.uid_bigint());
CREATE POLICY writes ON letters FOR INSERT TO authenticated WITH CHECK (id = id);
CREATE POLICY drops ON letters FOR DELETE TO authenticated USING (cozi.uid_bigint() IS NOT NULL);
GRANT SELECT, INSERT, DELETE, TRUNCATE ON letters TO authenticated;

\echo 'The advisor reads the parsed policies, the grants and the indexes:'
SELECT level, code, evidence FROM cozi.advice WHERE object ~ 'letters';
\echo 'What it would run, where a statement is safe:'
SELECT code, fix_sql FROM cozi.advice WHERE object ~ 'letters' AND fix_sql IS NOT NULL;
SELECT fix_sql FROM cozi.advice WHERE object ~ 'letters' AND fix_sql IS NOT NULL \gexec
\echo 'What is left is a decision:'
SELECT level, code, object FROM cozi.advice WHERE object ~ 'letters';

\echo 'What statements look for without an index, by pg_stat_statements:'
CREATE TABLE openings AS
    SELECT g AS id, g * 7919 % 3000 AS letter, now() - g * interval '1 min' AS at
    FROM generate_series(1, 50000) g;
ANALYZE openings;
SELECT at FROM openings WHERE letter = 42 ORDER BY at DESC LIMIT 1 \g /dev/null
SELECT definition, evidence FROM cozi.missing_indexes WHERE relation = 'openings'::regclass;
SELECT fix_sql FROM cozi.missing_indexes WHERE relation = 'openings'::regclass \gexec
