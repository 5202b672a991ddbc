-- Partitions and children of a source that come and go with rows in them, and a
-- delta that no fold can move: what fires no trigger is said, and nothing grows.
SET client_min_messages = warning;
CREATE VIEW said AS
    SELECT board, state, last_error FROM cozi.boards WHERE board::text LIKE 'leaf%' ORDER BY 1;
CREATE TABLE leaf (post int, created_at timestamptz DEFAULT '2026-06-01') PARTITION BY LIST (post);
CREATE TABLE leaf_1 PARTITION OF leaf FOR VALUES IN (1);
CREATE TABLE leaf_2 PARTITION OF leaf FOR VALUES IN (2, 3) PARTITION BY LIST (post);
CREATE TABLE leaf_2a PARTITION OF leaf_2 FOR VALUES IN (2);
CREATE TABLE leaf_2b PARTITION OF leaf_2 FOR VALUES IN (3);
SELECT cozi.create_board('leaf_board', 'leaf', 'post');
INSERT INTO leaf VALUES (1), (2), (2);
SELECT cozi.fold('leaf_board') >= 0 AS folded;

-- An empty partition goes without a word
DROP TABLE leaf_2b;
SELECT * FROM said;

-- one that has rows does not, whichever command drops it
BEGIN;
SAVEPOINT before;
DROP TABLE leaf_1;
SELECT * FROM said;
ROLLBACK TO before;
SELECT * FROM said;
DROP TABLE leaf_2;
SELECT * FROM said;
SELECT item, ups, true_ups FROM cozi.verify_board('leaf_board');
SELECT cozi.rebuild_board('leaf_board');
SELECT * FROM said;
ROLLBACK;
BEGIN;
CREATE SCHEMA leaf_away;
ALTER TABLE leaf_1 SET SCHEMA leaf_away;
DROP SCHEMA leaf_away CASCADE;
SELECT * FROM said;
ROLLBACK;
-- a row of the same transaction is a row
BEGIN;
CREATE TABLE leaf_4 PARTITION OF leaf FOR VALUES IN (4);
INSERT INTO leaf VALUES (4);
DROP TABLE leaf_4;
SELECT * FROM said;
ROLLBACK;
-- a truncated one is none
BEGIN;
TRUNCATE leaf_1;
DROP TABLE leaf_1;
SELECT * FROM said;
SELECT item, ups, true_ups FROM cozi.verify_board('leaf_board');
ROLLBACK;

-- A crash empties all tables of a source, or none
CREATE UNLOGGED TABLE leaf_5 PARTITION OF leaf FOR VALUES IN (5);
ALTER TABLE leaf_1 SET UNLOGGED;
CREATE UNLOGGED TABLE leaf_5 (LIKE leaf);
ALTER TABLE leaf ATTACH PARTITION leaf_5 FOR VALUES IN (5);
CREATE TABLE leaf_parent (post int, created_at timestamptz DEFAULT '2026-06-01');
CREATE UNLOGGED TABLE leaf_child () INHERITS (leaf_parent);
SELECT cozi.create_board('leaf_child_board', 'leaf_parent', 'post');
ALTER TABLE leaf_child SET LOGGED;
SELECT cozi.create_board('leaf_child_board', 'leaf_parent', 'post');
ALTER TABLE leaf_parent SET UNLOGGED;
CREATE TEMP TABLE leaf_temporary () INHERITS (leaf_parent);
SELECT * FROM said;
INSERT INTO leaf_child VALUES (6);
DROP TABLE leaf_child;
SELECT * FROM said;
DROP TABLE leaf_parent;

-- A delta that no fold can move has one row a key, and nothing is lost
SET session_replication_role = replica;
ALTER TABLE leaf_board ADD CHECK (ups < 3);
RESET session_replication_role;
INSERT INTO leaf SELECT g % 2 + 1 FROM generate_series(1, 10) g;
INSERT INTO leaf VALUES (1, 'infinity'), (1, '2100-01-01');
DO $$ BEGIN
    FOR i IN 1 .. 50 LOOP
        INSERT INTO leaf VALUES (1), (2);
        INSERT INTO leaf VALUES (1, '2100-01-01');
    END LOOP;
    DELETE FROM leaf WHERE created_at = '2100-01-01' AND ctid IN
        (SELECT ctid FROM leaf WHERE created_at = '2100-01-01' LIMIT 50);
END $$;
SET client_min_messages = error;
SELECT cozi.fold('leaf_board') >= 0 AS folded;
RESET client_min_messages;
SELECT state, pending, future FROM cozi.boards WHERE board = 'leaf_board'::regclass;
SELECT item, ups FROM leaf_board_live ORDER BY 1;
SELECT item, rank FROM cozi.top('leaf_board', 5);
SET session_replication_role = replica;
ALTER TABLE leaf_board DROP CONSTRAINT leaf_board_ups_check;
RESET session_replication_role;
SELECT cozi.fold('leaf_board') >= 0 AS folded;
SELECT state, pending, future FROM cozi.boards WHERE board = 'leaf_board'::regclass;
SELECT * FROM cozi.verify_board('leaf_board');
SELECT item, ups FROM leaf_board ORDER BY 1;
DROP TABLE leaf, leaf_5;
DROP VIEW said;
