-- needs: icu
-- An edge whose ids have a collation where other bytes are equal, too.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE SCHEMA edge_icu;
SET search_path = edge_icu, public;
SET client_min_messages = warning;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE shouts (a text, b text COLLATE blind, PRIMARY KEY (a, b));
CREATE INDEX ON shouts (b, a);
INSERT INTO shouts SELECT '7', 'n' || g FROM generate_series(1, 200) g;
SELECT cozi.register_edge('blocked', 'shouts', 'a', 'b');

-- a target that is not among the bytes read is asked for
BEGIN;
SELECT cozi.login(pg_temp.token('7'));
SELECT count(*) FILTER (WHERE cozi.has_blocked('N' || g)) FROM generate_series(1, 400) g;
CREATE TABLE shouted AS SELECT 'N' || g AS t FROM generate_series(1, 400) g;
CREATE INDEX ON shouted (t);
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT count(*) FROM shouted WHERE cozi.has_blocked(t);
ROLLBACK;

SELECT cozi.drop_edge('blocked');
DELETE FROM cozi.jwks;
DROP SCHEMA edge_icu CASCADE;
