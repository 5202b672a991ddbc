-- Boards on every kind of table: types, scopes, names, partitions, DDL.
SET client_min_messages = warning;
CREATE SCHEMA board_tables;
SET search_path = board_tables, public;
SET TimeZone = 'America/New_York';

-- Time without a zone is UTC whatever the session says
CREATE TABLE v_ts (post int, created_at timestamp);
CREATE TABLE v_date (post int, created_at date);
CREATE TABLE v_tz (post int, created_at timestamptz);
INSERT INTO v_ts VALUES (1, '2026-06-01 00:00');
INSERT INTO v_date VALUES (1, '2026-06-01');
INSERT INTO v_tz VALUES (1, '2026-06-01 00:00+00');
SELECT cozi.create_board('b_ts', 'v_ts', 'post');
SELECT cozi.create_board('b_date', 'v_date', 'post');
SELECT cozi.create_board('b_tz', 'v_tz', 'post');
INSERT INTO v_ts VALUES (2, '2026-06-01 12:00'), (3, 'infinity');
INSERT INTO v_date VALUES (2, '2026-06-02'), (3, 'infinity'), (4, '-infinity'),
    (5, '5874897-12-31');
INSERT INTO v_tz VALUES (2, '2026-06-01 12:00+00'), (3, '294276-12-31');
SELECT cozi.fold() >= 0 AS folded;
SELECT item, heat FROM b_ts ORDER BY item;
SELECT item, heat FROM b_date ORDER BY item;
SELECT item, heat FROM b_tz ORDER BY item;
SELECT cozi.rebuild_board('b_date');
SELECT count(*) FROM b_date;
SELECT (SELECT count(*) FROM cozi.verify_board('b_ts')), (SELECT count(*)
    FROM cozi.verify_board('b_date')), (SELECT count(*) FROM cozi.verify_board('b_tz'));
SET TimeZone = 'Asia/Tokyo';

-- ... and says so where the clock of the session would fill it with a local time
SET client_min_messages = notice;
CREATE TABLE v_now (post int, created_at timestamp DEFAULT now());
CREATE TABLE v_now_tz (post int, created_at timestamptz DEFAULT now());
SELECT cozi.create_board('b_now', 'v_now', 'post');
SELECT cozi.create_board('b_now_tz', 'v_now_tz', 'post');
SET TimeZone = 'UTC';
SELECT cozi.create_board('b_now_utc', 'v_now', 'post');
SET client_min_messages = warning;
RESET TimeZone;

-- Items and weights
CREATE DOMAIN post_id AS uuid CHECK (VALUE IS NOT NULL);
CREATE TABLE v_uuid (post post_id, weight bigint, created_at timestamptz DEFAULT '2026-06-01');
CREATE TABLE v_text (post text COLLATE "C", weight int,
    created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('b_uuid', 'v_uuid', 'post', 'weight');
SELECT cozi.create_board('b_text', 'v_text', 'post', 'weight');
INSERT INTO v_uuid SELECT md5((g % 3)::text)::uuid, g FROM generate_series(1, 10) g;
INSERT INTO v_text SELECT repeat('ä', g % 3), g - 5 FROM generate_series(1, 10) g;
INSERT INTO v_text VALUES (NULL, 1);
SELECT item, ups, downs FROM b_uuid_live ORDER BY item;
SELECT item, ups, downs FROM b_text_live ORDER BY item;
SELECT cozi.fold() >= 0 AS folded;
SELECT (SELECT count(*) FROM cozi.verify_board('b_uuid')),
    (SELECT count(*) FROM cozi.verify_board('b_text'));
SELECT item, rank FROM cozi.top('b_text', 2);
SELECT attname, format_type(atttypid, atttypmod), attcollation = 'pg_catalog."C"'::regcollation AS c
FROM pg_attribute
WHERE attrelid IN ('b_uuid'::regclass, 'b_text'::regclass) AND attname = 'item' ORDER BY attrelid;
-- sums that no bigint holds are shown at its end, and come back from there
INSERT INTO v_uuid SELECT md5('big')::uuid, 9223372036854775807 FROM generate_series(1, 3);
SELECT ups FROM b_uuid_live WHERE item = md5('big')::uuid;
DELETE FROM v_uuid WHERE ctid IN (SELECT ctid FROM v_uuid WHERE post = md5('big')::uuid LIMIT 2);
INSERT INTO v_uuid VALUES (md5('big')::uuid, -1);
SELECT ups, downs FROM b_uuid_live WHERE item = md5('big')::uuid;
SELECT count(*) FROM cozi.verify_board('b_uuid');

-- Scopes: a column, or an array that counts once in each element
CREATE TABLE v_tag (post bigint, tag text, tags text[], value smallint DEFAULT 1,
    created_at timestamptz DEFAULT '2026-06-01');
INSERT INTO v_tag VALUES (1, 'a', '{a,b}'), (2, 'b', '{b,b,NULL}'), (3, NULL, '{}'), (4, 'b', NULL);
SELECT cozi.create_board('b_tag', 'v_tag', 'post', 'value', scope => 'tag');
SELECT cozi.create_board('b_tags', 'v_tag', 'post', 'value', scope => 'tags');
\d b_tags
INSERT INTO v_tag VALUES (1, 'b', '{b,c,a,c}'), (5, 'c', '{c}'), (5, 'c', '{c}');
SELECT scope, item, ups FROM b_tag_live ORDER BY 1, 2;
SELECT scope, item, ups FROM b_tags_live ORDER BY 1, 2;
SELECT item, rank FROM cozi.top('b_tags', 10, 'b');
SELECT item, rank FROM cozi.top('b_tags', 1);
UPDATE v_tag SET tags = '{z}', tag = 'z' WHERE post = 1;
DELETE FROM v_tag WHERE post = 5;
SELECT (SELECT count(*) FROM cozi.verify_board('b_tag')),
    (SELECT count(*) FROM cozi.verify_board('b_tags'));
SELECT cozi.fold() >= 0 AS folded;
SELECT scope, item, ups FROM b_tags ORDER BY 1, 2;
SELECT (SELECT count(*) FROM cozi.verify_board('b_tag')),
    (SELECT count(*) FROM cozi.verify_board('b_tags'));

-- Names that need quotes, and names that would like to be SQL
CREATE TABLE "Vo""tes; DROP TABLE v_tag" ("po""st" bigint, "Wert''" int,
    "né le" timestamptz DEFAULT '2026-06-01', "ta'g" text);
SELECT cozi.create_board('hö"t''; --', '"Vo""tes; DROP TABLE v_tag"', 'po"st', 'Wert''''', 'né le',
    'ta''g');
INSERT INTO "Vo""tes; DROP TABLE v_tag" VALUES (1, 3, DEFAULT, 'x'); 
SELECT * FROM cozi.top('"hö""t''; --"', 1, 'x');
SELECT cozi.fold('"hö""t''; --"') >= 0 AS folded;
SELECT count(*) FROM cozi.verify_board('"hö""t''; --"');
SELECT cozi.rebuild_board('"hö""t''; --"');
SELECT scope, item, ups FROM "hö""t'; --";
SELECT cozi.drop_board('"hö""t''; --"');

-- Partitions: through the parent, through the leaf, across, and later ones
CREATE TABLE v_part (post bigint, value int, created_at timestamptz)
    PARTITION BY RANGE (created_at);
CREATE TABLE v_may PARTITION OF v_part FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
CREATE TABLE v_june (value int, junk text, created_at timestamptz, post bigint);
ALTER TABLE v_june DROP COLUMN junk;
ALTER TABLE v_part ATTACH PARTITION v_june FOR VALUES FROM ('2026-06-01') TO ('2026-07-01');
INSERT INTO v_part VALUES (1, 1, '2026-05-05'), (1, 1, '2026-06-05');
SELECT cozi.create_board('b_part', 'v_part', 'post', 'value');
INSERT INTO v_part VALUES (1, 1, '2026-05-06'), (2, 1, '2026-06-06');
INSERT INTO v_june (post, value, created_at) VALUES (2, 1, '2026-06-07'), (3, -1, '2026-06-08');
UPDATE v_part SET created_at = '2026-05-20' WHERE post = 2 AND created_at = '2026-06-06';
UPDATE v_june SET value = 5 WHERE post = 2;
DELETE FROM v_may WHERE post = 1 AND created_at = '2026-05-05';
SELECT item, ups, downs FROM b_part_live ORDER BY item;
SELECT count(*) FROM cozi.verify_board('b_part');
-- a partition made later, one of two levels, one attached empty
CREATE TABLE v_july PARTITION OF v_part FOR VALUES FROM ('2026-07-01') TO ('2026-08-01')
    PARTITION BY LIST (post);
CREATE TABLE v_july_1 PARTITION OF v_july FOR VALUES IN (1);
CREATE TABLE v_july_2 PARTITION OF v_july DEFAULT;
CREATE TABLE v_august (LIKE v_part);
ALTER TABLE v_part ATTACH PARTITION v_august FOR VALUES FROM ('2026-08-01') TO ('2026-09-01');
INSERT INTO v_july_1 VALUES (1, 1, '2026-07-03');
INSERT INTO v_july VALUES (4, 1, '2026-07-03');
INSERT INTO v_august VALUES (4, 1, '2026-08-03');
INSERT INTO v_part VALUES (4, 1, '2026-07-04'), (4, 1, '2026-08-04');
SELECT count(*) FROM cozi.verify_board('b_part');
SELECT item, ups, downs FROM b_part_live ORDER BY item;
TRUNCATE v_july_2;
SELECT count(*) FROM cozi.verify_board('b_part');
-- archiving leaves history as counted, and verify_board shows it
ALTER TABLE v_part DETACH PARTITION v_may;
SELECT item, ups, downs, true_ups, true_downs FROM cozi.verify_board('b_part');
INSERT INTO v_may VALUES (9, 1, '2026-05-09');
SELECT count(*) FROM b_part_live WHERE item = 9;
SELECT cozi.rebuild_board('b_part');
SELECT count(*) FROM cozi.verify_board('b_part');
ALTER TABLE v_part ATTACH PARTITION v_may FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
SELECT item, ups, downs, true_ups, true_downs FROM cozi.verify_board('b_part');
SELECT cozi.rebuild_board('b_part');
DROP TABLE v_june;
SELECT item, ups, downs, true_ups, true_downs FROM cozi.verify_board('b_part');
TRUNCATE v_part;
SELECT cozi.rebuild_board('b_part');
SELECT count(*) FROM b_part;

-- A board keeps in step with its table
CREATE TABLE v_ddl (post bigint, value int, at timestamptz DEFAULT '2026-06-01',
    tag text DEFAULT 't');
SELECT cozi.create_board('b_ddl', 'v_ddl', 'post', 'value', 'at', 'tag');
ALTER TABLE v_ddl RENAME COLUMN post TO "the post";
ALTER TABLE v_ddl RENAME value TO weight;
ALTER TABLE v_ddl RENAME at TO voted;
ALTER TABLE v_ddl RENAME tag TO label;
ALTER TABLE v_ddl RENAME TO v_renamed;
ALTER TABLE b_ddl RENAME TO b_renamed;
ALTER TABLE b_ddl_live RENAME TO b_away;
SELECT item, weight, voted_at, scope FROM cozi.boards WHERE board = 'b_renamed'::regclass;
INSERT INTO v_renamed VALUES (1, 2), (2, 3);
SELECT count(*) FROM cozi.verify_board('b_renamed');
SELECT cozi.fold('b_renamed') >= 0 AS folded;
SELECT t.item, t.rank, b.ups FROM cozi.top('b_renamed', 5) t JOIN b_renamed b USING (heat)
ORDER BY rank;
-- the session keeps the fold's plan: not one that would write where the board was
ALTER TABLE b_renamed RENAME TO b_moved;
CREATE TABLE b_renamed (LIKE b_moved INCLUDING ALL);
INSERT INTO v_renamed VALUES (4, 1);
SELECT cozi.fold('b_moved') >= 0 AS folded;
SELECT (SELECT count(*) FROM b_renamed) AS written,
    (SELECT count(*) FROM cozi.verify_board('b_moved')) AS wrong, count(*) FROM b_moved;
DROP TABLE b_renamed;
ALTER TABLE b_moved RENAME TO b_renamed;
ALTER TABLE v_renamed ALTER COLUMN "the post" TYPE int;
ALTER TABLE v_renamed DROP COLUMN weight;
ALTER TABLE v_renamed ALTER COLUMN weight TYPE bigint;
ALTER TABLE v_renamed ADD COLUMN more text DEFAULT 'x';
INSERT INTO v_renamed VALUES (1, 2), (2, 3);
SELECT count(*) FROM cozi.verify_board('b_renamed');
CREATE ROLE cozi_test_heir;
GRANT ALL ON SCHEMA board_tables TO cozi_test_heir;
GRANT USAGE ON SCHEMA cozi TO cozi_test_heir;
ALTER TABLE v_renamed OWNER TO cozi_test_heir;
SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('b_renamed', 'b_away') ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('b_renamed');
DROP TABLE b_renamed CASCADE;
DROP VIEW b_away;
DROP TABLE v_renamed;
SELECT count(*) FROM cozi.kept WHERE relation LIKE '%renamed%';
SELECT to_regclass('b_renamed'), to_regclass('b_away');

REVOKE ALL ON SCHEMA board_tables, cozi FROM cozi_test_heir;
DROP ROLE cozi_test_heir;
-- What cannot be a board says so
\set VERBOSITY sqlstate
SELECT cozi.create_board('x', 'v_tag', 'nope');
SELECT cozi.create_board('x', 'v_tag', 'created_at');
SELECT cozi.create_board('x', 'v_tag', 'post', 'tag');
SELECT cozi.create_board('x', 'v_tag', 'post', voted_at => 'tag');
SELECT cozi.create_board('x', 'v_tag', 'post', half_life => '1 month');
SELECT cozi.create_board('x', 'v_tag', 'post', half_life => '0');
SELECT cozi.create_board('x', 'v_tag', 'post', down_weight => -1);
SELECT cozi.create_board('x', 'v_tag', 'post', down_weight => 'NaN');
SELECT cozi.create_board('x', 'v_tag', 'post', half_life => NULL);
SELECT cozi.create_board(NULL, 'v_tag', 'post');
SELECT cozi.create_board('', 'v_tag', 'post');
SELECT cozi.create_board(repeat('x', 60), 'v_tag', 'post');
SELECT cozi.create_board('b_tag', 'v_tag', 'post');
SELECT cozi.create_board('x', 'b_tag_live', 'item');
SELECT cozi.create_board('x', 'v_july_1', 'post');
SELECT cozi.create_board('x', 'pg_class', 'oid');
CREATE TEMP TABLE v_temp (post int, created_at timestamptz);
SELECT cozi.create_board('x', 'v_temp', 'post');
CREATE TABLE v_json (post int, j jsonb[], p point, created_at timestamptz);
SELECT cozi.create_board('x', 'v_json', 'post', scope => 'p');
SELECT cozi.drop_board('v_tag');
SELECT cozi.drop_board(0::oid::regclass);
SELECT cozi.fold('v_tag');
SELECT cozi.fold('b_tag', 0);
SELECT * FROM cozi.top('b_tag', 0);
SELECT * FROM cozi.top('b_uuid', 1, 'x');
SELECT * FROM cozi.top(NULL, 1);
SELECT cozi.set_half_life('b_tag', '-1 day');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cozi.create_board('x', 'v_tag', 'post');
ROLLBACK;
CREATE TRIGGER t AFTER INSERT ON v_json FOR EACH ROW EXECUTE FUNCTION cozi._count_rows();
INSERT INTO v_json VALUES (1);
\set VERBOSITY default
SELECT to_regclass('x');

-- A foreign partition: one board a shard
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE TABLE v_far (post int, created_at timestamptz) PARTITION BY LIST (post);
CREATE FOREIGN TABLE v_far_1 PARTITION OF v_far FOR VALUES IN (1) SERVER elsewhere;
SELECT cozi.create_board('b_far', 'v_far', 'post');
DROP FOREIGN TABLE v_far_1;
SELECT cozi.create_board('b_far', 'v_far', 'post');
CREATE FOREIGN TABLE v_far_1 PARTITION OF v_far FOR VALUES IN (1) SERVER elsewhere;

-- All goes with its schema
DROP SCHEMA board_tables CASCADE;
SELECT count(*) FROM cozi.kept;
SELECT count(*) FROM cozi.kept_local;
