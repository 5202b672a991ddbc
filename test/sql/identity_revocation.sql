-- Revocation; logging in with no token; acting as a user.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT extract(epoch FROM now())::bigint AS this_second \gset
CREATE FUNCTION pg_temp.issued(sub text, ago int, more jsonb = '{}') RETURNS text LANGUAGE sql
    RETURN pg_temp.token(sub, jsonb_build_object('iat', extract(epoch
        FROM now())::bigint - ago) || more);

-- a token, by its jti: also one that this server has verified before
SELECT pg_temp.token('1', '{"jti":"t1"}') AS t1, pg_temp.token('1', '{"jti":"t2"}') AS t2,
    pg_temp.token('1') AS no_jti,
       pg_temp.token('1', '{"jti":7}') AS odd, pg_temp.token('1', jsonb_build_object('jti',
           repeat('j', 3000))) AS long \gset
SELECT cozi.login(:'t1'), cozi.login(:'t2'), cozi.login(:'no_jti'), cozi.login(:'long');
SELECT cozi.revoke_token('t1', now() + '10 min');
SELECT cozi.check_token(:'t1') AS t1, cozi.check_token(:'t2') AS t2, cozi.check_token(:'no_jti')
    AS no_jti, cozi.check_token(:'odd') AS odd;
SELECT cozi.login(:'t1');
SELECT cozi.login(:'t2'), cozi.login(:'no_jti'), cozi.login(:'odd');
SELECT cozi.revoke_token(repeat('j', 3000), now() + '10 min');
SELECT cozi.login(:'long');
-- again: the later end counts
SELECT cozi.revoke_token('t1', now() + '5 min'), cozi.revoke_token('t2', now() + '5 min');
SELECT cozi.revoke_token('t2', now() + '10 min');
SELECT kind, left(value, 5) AS value, until > now() + '9 min' AS later FROM cozi.revocations
    ORDER BY value;
-- it is undone with its transaction, and by deleting the row
DELETE FROM cozi.revocations;
SELECT cozi.login(:'t1');
BEGIN;
SELECT cozi.revoke_token('t1', now() + '10 min');
SELECT cozi.check_token(:'t1');
ROLLBACK;
SELECT cozi.login(:'t1');
BEGIN;
SAVEPOINT s;
SELECT cozi.revoke_token('t1', now() + '10 min');
ROLLBACK TO s;
SELECT cozi.login(:'t1');
COMMIT;
TRUNCATE cozi.revocations;

-- a user, by all tokens issued before an instant
SELECT to_timestamp(:this_second - 60 + 0.5) AS minute_ago \gset
SELECT cozi.revoke_user('1', :'minute_ago');
CREATE FUNCTION pg_temp.of_second(sub text, second bigint) RETURNS text LANGUAGE sql
    RETURN pg_temp.token(sub, jsonb_build_object('iat', second));
SELECT name, cozi.check_token(token) AS reason FROM (VALUES
    ('issued before', pg_temp.of_second('1', :this_second - 120)),
    ('issued in that very second', pg_temp.of_second('1', :this_second - 60)),
    ('issued in the next', pg_temp.of_second('1', :this_second - 59)),
    ('issued a fraction after it', pg_temp.sign(format('{"sub":"1","exp":%s,"iat":%s.75}',
        :this_second + 600, :this_second - 60))),
    ('without iat', pg_temp.token('1')),
    ('of another user', pg_temp.of_second('10', :this_second - 120)),
    ('of a user that is written otherwise', pg_temp.of_second('01', :this_second - 120))
) v(name, token);
-- the later instant counts
SELECT cozi.revoke_user('1', now() - interval '90 s');
SELECT issued_before = :'minute_ago' AS kept FROM cozi.revocations;
SELECT cozi.check_token(pg_temp.issued('1', 80)) AS reason;
SELECT cozi.revoke_user('1');
SELECT cozi.check_token(pg_temp.issued('1', 30)) AS issued_before,
    cozi.check_token(pg_temp.issued('1', -2)) AS issued_after;
-- a uuid is one user in either case, another text is not
SELECT cozi.revoke_user('ABCDEF01-1111-4111-8111-111111111111'), cozi.revoke_user('Ann');
SELECT sub, cozi.check_token(pg_temp.issued(sub, 30)) AS reason
    FROM (VALUES ('abcdef01-1111-4111-8111-111111111111'),
    ('ABCDEF01-1111-4111-8111-111111111111'), ('Ann'), ('ann')) v(sub);
DELETE FROM cozi.revocations WHERE value <> '1';
-- how long it is kept: as long as such a token may live
SELECT until - revoked_at < '1 day 1 min' AS a_day FROM cozi.revocations;
SET cozi.jwt_max_lifetime = 0;
SELECT cozi.revoke_user('2');
SELECT until FROM cozi.revocations WHERE value = '2';
RESET cozi.jwt_max_lifetime;
-- what has ended goes with the next revocation, an hour later because of the leeway
TRUNCATE cozi.revocations;
INSERT INTO cozi.revocations (kind, value, until)
    SELECT 'token', i::text, now() - interval '61 min' FROM generate_series(1, 150) i;
INSERT INTO cozi.revocations (kind, value, until) VALUES ('token', 'ended lately',
    now() - interval '59 min');
SELECT cozi.revoke_token('t1', now() + '10 min');
SELECT count(*) FROM cozi.revocations;
SELECT cozi.revoke_token('t2', now() + '10 min');
SELECT value FROM cozi.revocations ORDER BY value COLLATE "C";
-- bad input changes nothing
SELECT cozi.revoke_token(NULL, now());
SELECT cozi.revoke_token('t3', NULL);
SELECT cozi.revoke_token('', now());
SELECT cozi.revoke_user(NULL);
SELECT cozi.revoke_user('1', NULL);
SELECT cozi.revoke_user('');
SELECT count(*) FROM cozi.revocations;
TRUNCATE cozi.revocations;

-- who may, and whom it is granted to, needs no right to the table
CREATE ROLE rls_support;
GRANT USAGE ON SCHEMA cozi TO rls_support;
SET ROLE rls_support;
SELECT cozi.revoke_user('1');
SELECT cozi.revoke_token('t1', now());
SELECT * FROM cozi.revocations;
SELECT cozi.act_as('1');
RESET ROLE;
GRANT EXECUTE ON FUNCTION cozi.revoke_user, cozi.revoke_token, cozi.act_as TO rls_support;
SET ROLE rls_support;
SELECT cozi.revoke_user('1');
SELECT cozi.revoke_token('t1', now() + '10 min');
BEGIN;
SELECT cozi.act_as('1');
SELECT cozi.uid_bigint();
COMMIT;
RESET ROLE;
SELECT kind, value FROM cozi.revocations ORDER BY kind;
TRUNCATE cozi.revocations;

-- Without a token login_if() makes the caller nobody; with a bad one it is login().
BEGIN;
SELECT cozi.login_if(:'no_jti') AS logged_in, cozi.uid_bigint() AS uid;
SELECT cozi.login_if(NULL) AS nobody, cozi.uid_bigint() AS uid, cozi.claims() AS claims;
SELECT cozi.login_if(:'no_jti') AS logged_in, cozi.uid_bigint() AS uid;
SELECT cozi.login_if('') AS nobody, cozi.uid_bigint() AS uid;
COMMIT;
SELECT cozi.login_if(' ');
SELECT cozi.login_if('x');
SELECT cozi.login_if('Bearer ' || :'no_jti');

-- Acting as a user: claims, roles, the actor; over with the transaction.
BEGIN;
SELECT cozi.act_as('11111111-1111-4111-8111-111111111111',
    '{"role": "moderator", "sub": "somebody else"}', 'ticket 7');
SELECT cozi.uid(), cozi.uid_text() AS subject, cozi.has_role('moderator'), cozi.claims() - 'act'
    AS claims, cozi.claims() #>> '{act,sub}' = session_user AS actor;
SELECT cozi.act_as('2', '{"act": {"sub": "a gateway"}}');
SELECT cozi.uid_bigint(), cozi.claims() #>> '{act,act,sub}' AS earlier_actor,
    cozi.has_role('moderator');
SELECT cozi.act_as('3', '{"act": "no object"}');
SELECT jsonb_typeof(cozi.claims() -> 'act') AS act;
SELECT cozi.login(:'no_jti');
SELECT cozi.claims() ? 'act' AS acting;
COMMIT;
SELECT cozi.uid_text();
BEGIN;
SELECT cozi.act_as(E'O''Neill "\\ \n\t é 😀');
SELECT cozi.uid_text() = E'O''Neill "\\ \n\t é 😀' AS same;
COMMIT;
SELECT cozi.act_as(NULL);
SELECT cozi.act_as('');
SELECT cozi.act_as('1', NULL);
SELECT cozi.act_as('1', '[]');
SELECT cozi.act_as('1', '"x"');
SELECT cozi.act_as('1', jsonb_build_object('x', repeat('x', 9000)));
SELECT cozi.act_as('1', jsonb_build_object('x', 1e100::numeric));

-- Code of a table's owner that maintenance runs changes nobody's identity.
CREATE ROLE rls_owner;
GRANT USAGE ON SCHEMA cozi TO rls_owner;
GRANT EXECUTE ON FUNCTION cozi.act_as TO rls_owner;
GRANT CREATE ON SCHEMA public TO rls_owner;
SET ROLE rls_owner;
CREATE FUNCTION rls_in() RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM cozi.login(current_setting('rls_test.token')); RETURN 1; END $$;
CREATE FUNCTION rls_in_if() RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM cozi.login_if(NULL); RETURN 1; END $$;
CREATE FUNCTION rls_out() RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM cozi.logout(); RETURN 1; END $$;
CREATE FUNCTION rls_act() RETURNS int LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM cozi.act_as('666'); RETURN 1; END $$;
CREATE MATERIALIZED VIEW rls_m AS SELECT 1 AS f WITH NO DATA;
RESET ROLE;
SELECT set_config('rls_test.token', :'t1', false) <> '' AS set;
\set VERBOSITY terse
BEGIN;
SELECT cozi.login(:'no_jti');
SAVEPOINT s;
SET ROLE rls_owner; CREATE TABLE rls_i (x int); INSERT INTO rls_i VALUES (1); RESET ROLE;
CREATE INDEX ON rls_i ((rls_in()));
ROLLBACK TO s;
SET ROLE rls_owner; CREATE TABLE rls_i (x int); INSERT INTO rls_i VALUES (1); RESET ROLE;
CREATE INDEX ON rls_i ((rls_in_if()));
ROLLBACK TO s;
SET ROLE rls_owner; CREATE TABLE rls_i (x int); INSERT INTO rls_i VALUES (1); RESET ROLE;
CREATE INDEX ON rls_i ((rls_out()));
ROLLBACK TO s;
SET ROLE rls_owner; CREATE TABLE rls_i (x int); INSERT INTO rls_i VALUES (1); RESET ROLE;
CREATE INDEX ON rls_i ((rls_act()));
ROLLBACK TO s;
SELECT cozi.uid_bigint();
COMMIT;
\set VERBOSITY default
DROP MATERIALIZED VIEW rls_m;
DROP FUNCTION rls_in, rls_in_if, rls_out, rls_act;
REVOKE ALL ON FUNCTION cozi.act_as, cozi.revoke_user, cozi.revoke_token FROM rls_owner,
    rls_support;
REVOKE ALL ON SCHEMA cozi FROM rls_owner, rls_support;
REVOKE ALL ON SCHEMA public FROM rls_owner;
DROP ROLE rls_owner, rls_support;
TRUNCATE cozi.jwks;
