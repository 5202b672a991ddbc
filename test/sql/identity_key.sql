-- The keys: which are taken, who reads them, when they count.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set keys `cat "$PG_ABS_SRCDIR/test/vectors/identity_keys.tsv"`
CREATE TABLE rls_keys AS
    SELECT split_part(line, E'\t', 1) AS name, split_part(line, E'\t', 2)::jsonb AS jwk
    FROM string_to_table(:'keys', E'\n') line WHERE line <> '';
CREATE FUNCTION pg_temp.try(jwk jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text; context text;
BEGIN
    PERFORM cozi.add_key(jwk);
    RETURN 'added';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RETURN concat_ws('|', SQLSTATE, message, nullif(detail, ''), nullif(hint, ''), nullif(context,
        ''));
END $$;

-- real ones: the examples of RFC 7515, 7517 and 8037 among them
SELECT name, pg_temp.try(jwk) FROM rls_keys ORDER BY name COLLATE "C";
SELECT kid, alg, not_before, retired_at FROM cozi.jwks ORDER BY id;
-- a kid is one key's
SELECT cozi.add_key(jwk) FROM rls_keys WHERE name = 'rsa';
TRUNCATE cozi.jwks;

-- others
SELECT jwk, pg_temp.try(jwk) FROM (VALUES
    (NULL::jsonb), ('null'), ('1'), ('"k"'), ('[]'), ('{}'), ('{"kty":null}'), ('{"kty":"DSA"}'),
        ('{"kty":["oct"]}'),
    ('{"kty":"oct"}'), ('{"kty":"oct","k":1}'), ('{"kty":"oct","k":""}'),
        ('{"kty":"oct","k":"a secret with blanks, as plain text is"}'),
    ('{"kty":"oct","k":"c2hvcnQ"}'),
        ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ"}'),
        ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="}'),
    ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","alg":"HS512"}'),
        ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","alg":"none"}'),
    ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","use":"enc"}'),
        ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","kid":7}'),
    ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","key_ops":["sign"]}'),
        ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","key_ops":"verify"}'),
    ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE","key_ops":["sign","verify"],'
     '"use":"sig","alg":"HS256"}'),
    ('{"kty":"EC","crv":"P-256"}'),
        ('{"kty":"EC","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",'
         '"y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'),
    ('{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",'
     '"y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'),
    ('{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}'),
        ('{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}'),
    ('{"kty":"RSA"}'), ('{"kty":"RSA","n":"AQAB"}'), ('{"kty":"RSA","n":"AQAB","e":"AQAB"}'),
        ('{"kty":"OKP","crv":"Ed25519"}'),
    ('{"kty":"OKP","crv":"Ed25519","x":"AAAA"}'),
        ('{"kty":"OKP","crv":"X25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'))
        v(jwk);
SELECT 'an exponent of 1', pg_temp.try(jwk || '{"e": "AQ"}') FROM rls_keys WHERE name = 'rsa'
UNION ALL SELECT 'an even modulus', pg_temp.try(jsonb_set(jwk, '{n}', to_jsonb(left(jwk->>'n',
    -2) || 'AA'))) FROM rls_keys WHERE name = 'rsa'
UNION ALL SELECT 'a point off the curve', pg_temp.try(jsonb_set(jwk, '{y}', jwk->'x'))
    FROM rls_keys WHERE name = 'ec'
UNION ALL SELECT 'RSA for ES256', pg_temp.try(jwk || '{"alg": "ES256"}') FROM rls_keys
    WHERE name = 'rsa'
UNION ALL SELECT 'RSA for HS256', pg_temp.try(jwk || '{"alg": "HS256"}') FROM rls_keys
    WHERE name = 'rsa'
UNION ALL SELECT 'a kid too long', pg_temp.try(jwk || jsonb_build_object('kid', repeat('k', 256)))
    FROM rls_keys WHERE name = 'rsa';
SELECT cozi.add_secret('short');
SELECT cozi.add_secret('31 bytes are not enough.......x');
SELECT cozi.add_secret(NULL);
SELECT kid, alg FROM cozi.jwks;
TRUNCATE cozi.jwks;

-- rotation: two keys at once, then the old one goes
SELECT pg_temp.sign(format('{"sub":"ann","exp":%s}', extract(epoch FROM now())::bigint + 600),
    '{"alg":"HS256","kid":"old"}') AS old,
       pg_temp.sign(format('{"sub":"ann","exp":%s}', extract(epoch FROM now())::bigint + 600),
           '{"alg":"HS256","kid":"new"}', 'the next secret, of 32 bytes or more') AS new,
       pg_temp.token('ann') AS kidless, pg_temp.token('ann',
           secret => 'the next secret, of 32 bytes or more') AS kidless_new \gset
SELECT cozi.login(:'old');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', 'old');
SELECT cozi.add_secret('the next secret, of 32 bytes or more', 'new', now() + '1 hour');
SELECT cozi.login(:'old');
SELECT cozi.login(:'new');
SELECT cozi.check_token(:'new'), cozi.check_token(:'new', now() + '61 minutes') AS in_an_hour;
UPDATE cozi.jwks SET not_before = now() - interval '1 second' WHERE kid = 'new';
SELECT cozi.login(:'new');
SELECT cozi.retire_key('old', now() + '5 minutes');
SELECT cozi.login(:'old');
SELECT cozi.check_token(:'old'), cozi.check_token(:'old', now() + '6 minutes') AS later;
SELECT cozi.retire_key('old');
SELECT cozi.login(:'old');
SELECT cozi.check_token(:'old');
SELECT cozi.retire_key('old');
SELECT cozi.retire_key('unknown');
SELECT cozi.retire_key(NULL);
SELECT cozi.login(:'new');
-- several without kid serve tokens without kid, and no others
SELECT cozi.login(:'kidless');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT cozi.add_secret('the next secret, of 32 bytes or more');
SELECT cozi.login(:'kidless'), cozi.login(:'kidless_new');
DELETE FROM cozi.jwks WHERE kid = 'new';
SELECT cozi.login(:'new');
SELECT cozi.retire_key(NULL);
SELECT cozi.login(:'kidless');
SELECT cozi.login(:'kidless_new');

-- whatever changes the table is seen at once, and unseen when it is undone
TRUNCATE cozi.jwks;
SELECT cozi.login(:'kidless');
BEGIN;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT cozi.login(:'kidless');
ROLLBACK;
SELECT cozi.login(:'kidless');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cozi.uid();
SAVEPOINT s;
INSERT INTO cozi.jwks (jwk) VALUES
    ('{"kty":"oct","k":"YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCB3aXRoIDMyIGJ5dGVzIG9yIG1vcmU"}');
SELECT cozi.login(:'kidless');
ROLLBACK TO s;
SELECT cozi.login(:'kidless');
ROLLBACK;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT cozi.login(:'kidless');
UPDATE cozi.jwks SET jwk = jwk || '{"kid":"x"}';
SELECT cozi.login(:'kidless');
UPDATE cozi.jwks SET jwk = jwk - 'kid';
SELECT cozi.login(:'kidless');
SET session_replication_role = replica;
DELETE FROM cozi.jwks;
RESET session_replication_role;
SELECT cozi.login(:'kidless');

-- nobody but the owner reads them
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT cozi.add_secret('the next secret, of 32 bytes or more', 'new');
ANALYZE cozi.jwks;
CREATE ROLE rls_reader IN ROLE pg_read_all_data, pg_monitor;
GRANT USAGE ON SCHEMA cozi TO rls_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON cozi.jwks TO rls_reader;
SET ROLE rls_reader;
SELECT * FROM cozi.jwks;
COPY cozi.jwks TO STDOUT;
UPDATE cozi.jwks SET retired_at = NULL;
DELETE FROM cozi.jwks;
SELECT count(*) FROM pg_stats WHERE tablename = 'jwks';
SELECT count(*) FROM pg_statistic s WHERE starelid = 'cozi.jwks'::regclass AND s::text ~ 'oct';
SET row_security = off;
SELECT * FROM cozi.jwks;
RESET row_security;
INSERT INTO cozi.jwks (jwk) VALUES
    ('{"kty":"oct","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"}');
SELECT cozi.add_secret('my own secret, which has 32 bytes or more');
SELECT cozi.retire_key('new');
SELECT cozi.check_token(:'kidless');
SELECT cozi.jwk_alg('{}');
-- while login(), which anybody may call, does
SELECT cozi.login(:'kidless');
RESET ROLE;
SELECT count(*) FROM pg_statistic s WHERE starelid = 'cozi.jwks'::regclass AND s::text ~ 'oct';

-- they are saved with the database
SELECT c::regclass, condition FROM pg_extension, unnest(extconfig, extcondition) u(c, condition)
WHERE extname = 'cozi' AND c = 'cozi.jwks'::regclass;

REVOKE ALL ON cozi.jwks FROM rls_reader;
REVOKE ALL ON SCHEMA cozi FROM rls_reader;
DROP ROLE rls_reader;
DROP TABLE rls_keys;
TRUNCATE cozi.jwks;
