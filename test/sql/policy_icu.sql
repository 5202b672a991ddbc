-- needs: icu
-- A collation that calls other bytes equal: for policies, two ids that it calls
-- equal would be one user here and two there.  So protect() refuses it.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE icu_client;
GRANT USAGE ON SCHEMA cozi TO icu_client;
CREATE SCHEMA policy_icu;
GRANT USAGE ON SCHEMA policy_icu TO icu_client;
SET search_path = policy_icu, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SET client_min_messages = error;
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE cs (author text COLLATE ci, vis text COLLATE ci, body text);
INSERT INTO cs VALUES ('Owner', 'private'), ('owner', 'private');
GRANT SELECT, INSERT, UPDATE, DELETE ON cs TO icu_client;
SELECT cozi.protect('cs', 'author', 'vis');
SELECT cozi.protect('cs', 'author');
SELECT relrowsecurity FROM pg_class WHERE oid = 'cs'::regclass;
-- the hint makes it possible: one answer for all that is read and written
ALTER TABLE cs ALTER COLUMN author TYPE text COLLATE "C";
SELECT count(*) FROM cozi.protect('cs', 'author', 'vis');
BEGIN; SELECT cozi.login(pg_temp.token('owner')); SET LOCAL ROLE icu_client;
SELECT author FROM cs;
UPDATE cs SET body = 'z';
DELETE FROM cs;
SAVEPOINT s;
INSERT INTO cs (author) VALUES ('OWNER');
ROLLBACK TO s;
INSERT INTO cs (vis) VALUES ('private') RETURNING author;
ROLLBACK;

-- a visibility may have it: a word of other case is no word all the same
INSERT INTO cs VALUES ('Owner', 'PUBLIC'), ('Owner', 'public');
BEGIN; SELECT cozi.login(pg_temp.token('someone')); SET LOCAL ROLE icu_client;
SELECT vis FROM cs; ROLLBACK;
BEGIN; SELECT cozi.login(pg_temp.token('Owner')); SET LOCAL ROLE icu_client;
SELECT author, vis FROM cs ORDER BY vis COLLATE "C"; ROLLBACK;

RESET search_path;
DELETE FROM cozi.jwks;
DROP SCHEMA policy_icu CASCADE;
DROP OWNED BY icu_client; DROP ROLE icu_client;
