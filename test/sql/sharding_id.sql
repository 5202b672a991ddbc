-- Ids that know their shard: next_id, uuid7 and what can be read from them.
CREATE SCHEMA ids;
SET search_path = ids;
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = iso;
CREATE SEQUENCE s;
SELECT date_trunc('milliseconds', clock_timestamp()) AS began \gset

-- The layout: 41 bits of milliseconds, 12 bits of count, 10 bits of bucket.
SELECT cozi.id_time(0), cozi.id_bucket(0);
SELECT cozi.id_time((12345::bigint << 22) | (4095 << 10) | 1023),
       cozi.id_bucket((12345::bigint << 22) | (4095 << 10) | 1023);
SELECT cozi.id_time(9223372036854775807), cozi.id_bucket(9223372036854775807);

-- An id is of now, of its bucket, and greater than the one before.
CREATE TABLE made AS SELECT n, cozi.next_id('s', n % 1024) AS id FROM generate_series(1, 5000) n;
SELECT count(*) AS ids, count(DISTINCT id) AS distinct_ids,
       count(*) FILTER (WHERE cozi.id_bucket(id) <> n % 1024) AS wrong_bucket,
       count(*) FILTER (WHERE id <= before) AS wrong_order,
       bool_and(cozi.id_time(id) BETWEEN :'began' AND clock_timestamp() + interval '10 s') AS of_now
FROM (SELECT *, lag(id) OVER (ORDER BY n) AS before FROM made) m;
-- JavaScript's Number is exact to 2^53 only: give it text.
SELECT bool_and(id > 2::bigint ^ 53) AS beyond_javascript FROM made;

-- The sequence holds the id without its bucket; nextval of others only counts on.
SELECT last_value = (SELECT max(id) >> 10 FROM made) AS holds, is_called FROM s;
SELECT nextval('s') > (SELECT max(id) >> 10 FROM made) AS nextval_goes_on;
SELECT cozi.next_id('s') >> 10 > last_value AS next_id_goes_on,
       cozi.id_bucket(cozi.next_id('s')) AS default_bucket FROM s;

-- Rolled back: not given again.
BEGIN;
SELECT cozi.next_id('s') AS rolled_back \gset
ROLLBACK;
SELECT cozi.next_id('s') > :rolled_back AS goes_on;

-- As a column's default, by a role that may only use the sequence.
CREATE TABLE posts (id bigint PRIMARY KEY DEFAULT cozi.next_id('ids.s', 7), body text);
CREATE ROLE cozi_test_app;
GRANT USAGE ON SCHEMA cozi, ids TO cozi_test_app;
GRANT INSERT, SELECT ON posts TO cozi_test_app;
SET ROLE cozi_test_app;
INSERT INTO posts (body) VALUES ('hello');
RESET ROLE;
GRANT USAGE ON SEQUENCE s TO cozi_test_app;
SET ROLE cozi_test_app;
INSERT INTO posts (body) VALUES ('hello') RETURNING cozi.id_bucket(id);
RESET ROLE;

-- A sequence whose state can go back would give an id twice: refused, with the
-- ALTER that mends it.
CREATE TEMP SEQUENCE t;
CREATE UNLOGGED SEQUENCE u;
SELECT cozi.next_id('t');
SELECT cozi.next_id('u');
ALTER SEQUENCE ids.u SET LOGGED;
SELECT cozi.next_id('u') IS NOT NULL AS logged;
CREATE UNLOGGED TABLE unlogged_posts (id bigint GENERATED ALWAYS AS IDENTITY);
SELECT cozi.next_id(pg_get_serial_sequence('unlogged_posts', 'id'));
DROP TABLE unlogged_posts;
BEGIN;
ALTER SEQUENCE u RESTART;
SELECT cozi.next_id('u');
ROLLBACK;
BEGIN;
CREATE SEQUENCE fresh;
SELECT cozi.next_id('fresh') IS NOT NULL AS made_in_this_transaction;
ROLLBACK;
BEGIN READ ONLY;
SELECT cozi.next_id('s');
ROLLBACK;

-- Ahead of the clock, as after the clock was set back.  By less than ten
-- seconds: as ever.  By more: each session draws few a millisecond, so that
-- the clock gains on the sequence, and nothing fails or repeats.
CREATE SEQUENCE ahead;
CREATE FUNCTION ahead_ms() RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT extract(epoch FROM cozi.id_time(last_value << 10) - clock_timestamp()) * 1000
    FROM ids.ahead
$$;
CREATE FUNCTION set_ahead(ms bigint) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT setval('ids.ahead',
               (extract(epoch FROM clock_timestamp() - '2024-01-01 00:00Z') * 1000 + ms)::bigint <<
                   12)
$$;
-- How far ahead, and how long ago that was set: their sum does not depend on
-- the speed of the machine.
CREATE FUNCTION passed_ms(since timestamptz) RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT extract(epoch FROM clock_timestamp() - since) * 1000
$$;
SELECT clock_timestamp() AS set_at \gset
SELECT set_ahead(5000);
CREATE TABLE drawn (n bigint, id bigint);
INSERT INTO drawn SELECT n, cozi.next_id('ahead') FROM generate_series(1, 20000) n;
SELECT ahead_ms() <= 5010 AS ahead_by_less, ahead_ms() + passed_ms(:'set_at') >= 4999 AS not_back;
SELECT clock_timestamp() AS set_at \gset
SELECT set_ahead(3600000);
SELECT ahead_ms() AS before \gset
INSERT INTO drawn SELECT n, cozi.next_id('ahead') FROM generate_series(20001, 40000) n;
SELECT ahead_ms() + passed_ms(:'set_at') >= 3600000 AS still_ahead,
       ahead_ms() < :before - 100 AS but_less;
SELECT count(DISTINCT id) AS distinct_ids, count(*) FILTER (WHERE id <= before) AS wrong_order
FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM drawn) d;

-- The end of the last millisecond of the 41 bits.
SELECT setval('ahead', 9007199254740990) IS NULL AS x \gset
SELECT cozi.id_time(cozi.next_id('ahead'));
SELECT cozi.next_id('ahead');
SELECT cozi.next_id('ahead');
SELECT setval('ahead', 9223372036854775807) IS NULL AS x \gset
SELECT cozi.next_id('ahead');

-- Refused: what would repeat or reorder ids, and what is no sequence.
CREATE SEQUENCE cached CACHE 20;
CREATE SEQUENCE stepped INCREMENT 2;
CREATE SEQUENCE falling INCREMENT -1;
CREATE SEQUENCE cycled CYCLE;
CREATE SEQUENCE "Small" AS int;
CREATE SEQUENCE capped MAXVALUE 1000;
SELECT cozi.next_id('cached');
SELECT cozi.next_id('stepped');
SELECT cozi.next_id('falling');
SELECT cozi.next_id('cycled');
SELECT cozi.next_id('"Small"');
SELECT cozi.next_id('capped');
ALTER SEQUENCE ids."Small" AS bigint;
SELECT cozi.next_id('"Small"') IS NOT NULL AS mended;
SELECT cozi.next_id('posts');
SELECT cozi.next_id(0::oid);
SELECT cozi.next_id('nothing');
SELECT cozi.next_id('s', -1);
SELECT cozi.next_id('s', 1024);
SELECT cozi.next_id(NULL), cozi.next_id('s', NULL);

-- uuid7: RFC 9562's own example, then ours.
SELECT cozi.id_time('017F22E2-79B0-7CC3-98C4-DC0C0C07398F'::uuid);
CREATE TABLE uuids AS SELECT n, cozi.uuid7(n % 1024) AS id FROM generate_series(1, 5000) n;
SELECT count(DISTINCT id) AS distinct_ids,
       count(*) FILTER (WHERE substr(id::text, 15, 1) <> '7') AS wrong_version,
       count(*) FILTER (WHERE substr(id::text, 20, 1) !~ '[89ab]') AS wrong_variant,
       count(*) FILTER (WHERE cozi.id_bucket(id) <> n % 1024) AS wrong_bucket,
       count(*) FILTER (WHERE id <= before) AS wrong_order,
       count(DISTINCT right(id::text, 13)) > 4900 AS random,
       bool_and(cozi.id_time(id) BETWEEN :'began' AND clock_timestamp()) AS of_now
FROM (SELECT *, lag(id) OVER (ORDER BY n) AS before FROM uuids) u;
SELECT cozi.id_bucket(cozi.uuid7()) AS default_bucket, cozi.uuid7(NULL);
SELECT cozi.uuid7(1024);
SELECT cozi.uuid7(-1);

-- Nothing can be read from what was not made so.
SELECT cozi.id_time(-1);
SELECT cozi.id_bucket(-1);
SELECT cozi.id_time('00000000-0000-0000-0000-000000000000'::uuid);
SELECT cozi.id_bucket('f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::uuid);
SELECT cozi.id_bucket('017F22E2-79B0-7CC3-D8C4-DC0C0C07398F'::uuid);

DROP SCHEMA ids CASCADE;
DROP OWNED BY cozi_test_app;
DROP ROLE cozi_test_app;
