-- A key speaks for its issuer alone; kinds of tokens; rotation of secrets.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set a 'the secret of issuer A, 32 bytes or more'
\set b 'the secret of issuer B, 32 bytes or more'
\set none 'the secret of no issuer, 32 bytes or more'
CREATE TEMP TABLE t (id int GENERATED ALWAYS AS IDENTITY, name text, token text);
CREATE FUNCTION pg_temp.results(OUT name text, OUT reason text) RETURNS SETOF record
    BEGIN ATOMIC
        SELECT name, cozi.check_token(token) FROM t ORDER BY id;
    END;

-- three keys without kid: of A, of B, and of none
SELECT cozi.add_secret(:'a', issuer => 'https://a.example', audience => '{web,app}');
SELECT cozi.add_secret(:'b', issuer => 'https://b.example');
SELECT cozi.add_secret(:'none');
INSERT INTO t (name, token)
    SELECT format('%s key, %s', k, coalesce(nullif(concat_ws(', ', 'iss ' || iss, 'aud ' || aud),
        ''), 'nothing')),
           pg_temp.token('1', jsonb_strip_nulls(jsonb_build_object('iss', iss, 'aud', aud)),
               secret)
    FROM (VALUES ('A''s', :'a'), ('B''s', :'b'), ('no one''s', :'none')) k(k, secret),
         (VALUES ('https://a.example', 'web'), ('https://a.example', 'mail'),
             ('https://a.example', NULL),
                 ('https://b.example', 'mail'), ('https://b.example', NULL), ('https://c.example',
                     'web'), (NULL, 'web'), (NULL, NULL)) c(iss, aud);
SELECT * FROM pg_temp.results();
-- the settings judge the tokens of keys without issuer, and no others
SET cozi.jwt_issuer = 'https://c.example';
SET cozi.jwt_audience = 'mail, web';
SELECT * FROM pg_temp.results() WHERE reason IS NULL;
SET cozi.jwt_audience = '"a, b", "https://x.example/?a=1"';
SELECT aud, cozi.check_token(pg_temp.token('1', jsonb_build_object('iss', 'https://c.example',
    'aud', aud), :'none')) AS reason
FROM (VALUES ('a, b'), ('https://x.example/?a=1'), ('a'), ('"a, b"'), ('A, B')) v(aud);
SET cozi.jwt_audience = 'web,, app';
SET cozi.jwt_audience = 'web, "app';
RESET cozi.jwt_issuer;
RESET cozi.jwt_audience;
-- a row that was written straight, with an audience of nothing, allows nothing
UPDATE cozi.jwks SET audience = '{}' WHERE issuer = 'https://b.example';
SELECT cozi.check_token(pg_temp.token('1', '{"iss":"https://b.example","aud":"web"}', :'b'));
UPDATE cozi.jwks SET audience = '{NULL}' WHERE issuer = 'https://b.example';
SELECT cozi.check_token(pg_temp.token('1', '{"iss":"https://b.example","aud":"web"}', :'b'));
UPDATE cozi.jwks SET audience = NULL WHERE issuer = 'https://b.example';
-- what belongs to an issuer is no issuer
SELECT cozi.add_secret(:'a', issuer => '');
SELECT cozi.add_secret(:'a', issuer => 'https://a.example', audience => '{}');

-- An issuer that names no audience: the client counts; where there is an aud,
-- it alone does.
TRUNCATE t;
INSERT INTO t (name, token)
    SELECT claims, pg_temp.token('1', '{"iss":"https://a.example"}'::jsonb || claims::jsonb, :'a')
    FROM (VALUES ('{"client_id":"web"}'), ('{"client_id":"other"}'), ('{"azp":"app"}'),
        ('{"azp":"other"}'),
                 ('{"client_id":"other","azp":"web"}'), ('{"client_id":["web"],"azp":"web"}'),
                     ('{"client_id":["web"]}'), ('{"client_id":7}'),
                 ('{"aud":"other","client_id":"web"}'), ('{"aud":[],"azp":"web"}'),
                     ('{"aud":null,"azp":"web"}')) v(claims);
SELECT * FROM pg_temp.results();

-- one kid of two issuers, and one key of two issuers
TRUNCATE cozi.jwks;
SELECT cozi.add_secret(:'a', 'k1', issuer => 'https://a.example'), cozi.add_secret(:'b', 'k1',
    issuer => 'https://b.example');
SELECT cozi.add_secret(:'a', 'k1', issuer => 'https://a.example');
SELECT cozi.add_secret(:'a' || :'b', 'k1', alg => 'HS512', issuer => 'https://a.example');
SELECT cozi.add_secret(:'none', issuer => 'accounts.example'), cozi.add_secret(:'none',
    issuer => 'https://accounts.example');
SELECT secret, iss, cozi.check_token(pg_temp.sign(format('{"sub":"1","iss":"%s","exp":%s}', iss,
    extract(epoch FROM now())::bigint + 60), '{"alg":"HS256","kid":"k1"}', secret)) AS reason
FROM (VALUES (:'a'), (:'b')) s(secret), (VALUES ('https://a.example'),
    ('https://b.example')) i(iss);
SELECT iss, cozi.check_token(pg_temp.token('1', jsonb_build_object('iss', iss), :'none'))
    AS reason
FROM (VALUES ('accounts.example'), ('https://accounts.example'),
    ('http://accounts.example')) i(iss);
-- retiring says which
SELECT cozi.retire_key('k1');
SELECT cozi.retire_key('k1', issuer => 'https://c.example');
SELECT cozi.retire_key('k1', issuer => '');
SELECT cozi.retire_key('k1', issuer => 'https://a.example', alg => 'HS512');
SELECT issuer, kid, alg, retired_at IS NOT NULL AS retired FROM cozi.jwks ORDER BY id;
SELECT cozi.retire_key('k1', issuer => 'https://a.example');
SELECT cozi.retire_key('k1');
SELECT issuer, kid, alg FROM cozi.jwks WHERE retired_at IS NULL ORDER BY id;

-- Kinds of tokens.  The type in the header:
TRUNCATE cozi.jwks;
TRUNCATE t;
SELECT cozi.add_secret(:'none');
CREATE FUNCTION pg_temp.typed(header text, more jsonb = '{}') RETURNS text LANGUAGE sql
    RETURN pg_temp.sign((jsonb_build_object('sub', '1', 'exp', extract(epoch
        FROM now())::bigint + 600) || more)::text, header,
        'the secret of no issuer, 32 bytes or more');
INSERT INTO t (name, token)
    SELECT typ, pg_temp.typed(format('{"alg":"HS256","typ":%s}', typ))
    FROM (VALUES ('"JWT"'), ('"jwt"'), ('"at+jwt"'), ('"AT+JWT"'), ('"application/at+jwt"'),
        ('"Application/JWT"'), ('"application/"'),
                 ('"logout+jwt"'), ('"secevent+jwt"'), ('"dpop+jwt"'), ('"application/dpop+jwt"'),
                     ('"kb+jwt"'), ('"oauth-authz-req+jwt"'), ('"entity-statement+jwt"'),
                 ('"JWS"'), ('"JOSE"'), ('"jwt "'), ('"x/jwt"'), ('""'), ('null'), ('7'),
                     ('["JWT"]'), ('"\u004aWT"'), ('"' || repeat('t', 100) || '"')) v(typ);
SELECT left(name, 40) AS typ, reason FROM pg_temp.results();
SET cozi.jwt_types = 'application/vc+jwt';
SELECT left(name, 40) AS typ, reason FROM pg_temp.results() WHERE reason IS NULL;
SELECT typ, cozi.check_token(pg_temp.typed(format('{"alg":"HS256","typ":%s}', typ))) AS reason
    FROM (VALUES ('"VC+JWT"'), ('"application/vc+jwt"'), ('"jwt"')) v(typ);
SELECT cozi.check_token(pg_temp.typed('{"alg":"HS256"}')) AS without_typ;
SET cozi.jwt_types = '';
SELECT cozi.check_token(pg_temp.typed('{"alg":"HS256","typ":"anything"}')) AS any_typ;
RESET cozi.jwt_types;
-- ... and what the claims say of themselves
TRUNCATE t;
INSERT INTO t (name, token)
    SELECT claims, pg_temp.typed('{"alg":"HS256"}', claims::jsonb)
    FROM (VALUES ('{"typ":"Bearer"}'), ('{"typ":"JWT"}'), ('{"token_use":"access"}'),
        ('{"token_type":"access"}'), ('{"type":"user"}'), ('{"typ":7,"token_use":null}'),
                 ('{"typ":"ID"}'), ('{"typ":"id"}'), ('{"token_use":"id"}'),
                     ('{"token_type":"id_token"}'),
                 ('{"typ":"Refresh"}'), ('{"typ":"Offline"}'), ('{"typ":"Logout"}'),
                     ('{"token_use":"refresh"}'), ('{"token_type":"refresh"}'),
                     ('{"type":"refresh"}'),
                 ('{"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}'),
                     ('{"events":{}}'), ('{"events":null}')) v(claims);
SELECT * FROM pg_temp.results();
TRUNCATE cozi.jwks;
SELECT cozi.add_secret(:'none', id_tokens => true);
SELECT * FROM pg_temp.results();

-- A secret without kid is rotated in one call, which keeps the new one.
TRUNCATE cozi.jwks;
SELECT cozi.rotate_secret(:'a');
SELECT cozi.add_secret(:'none');
SELECT cozi.add_secret(:'b', issuer => 'https://b.example');
SELECT pg_temp.token('1', secret => :'none') AS old, pg_temp.token('1', secret => :'a') AS new,
    pg_temp.token('1', '{"iss":"https://b.example"}', :'b') AS other \gset
SELECT cozi.rotate_secret(:'a');
SELECT cozi.check_token(:'old') AS old, cozi.check_token(:'new') AS new,
    cozi.check_token(:'other') AS other;
SELECT cozi.rotate_secret(:'none', '1 hour');
SELECT cozi.check_token(:'old') AS old, cozi.check_token(:'new') AS new, cozi.check_token(:'new',
    now() + '61 min') AS new_in_an_hour;
SELECT cozi.rotate_secret(:'a' || :'b', issuer => 'https://b.example', alg => 'HS512');
SELECT issuer, alg, retired_at <= now() AS retired FROM cozi.jwks ORDER BY id;
SELECT cozi.rotate_secret('short');
SELECT cozi.rotate_secret(:'a', NULL);
SELECT cozi.rotate_secret(:'a', '-1 s');
SELECT issuer, alg, retired_at <= now() AS retired FROM cozi.jwks ORDER BY id;
-- a key that was retired can be added again
TRUNCATE cozi.jwks;
SELECT cozi.add_secret(:'a', 'k1');
SELECT cozi.retire_key('k1');
SELECT cozi.add_secret(:'b', 'k1', issuer => 'https://b.example');
SELECT cozi.add_secret(:'b', 'k1');
SELECT cozi.add_secret(:'a', 'k1');
SELECT issuer, kid, retired_at, retired_by FROM cozi.jwks ORDER BY id;
SELECT cozi.check_token(pg_temp.typed('{"alg":"HS256","kid":"k1"}')) AS with_another_secret;
-- a secret for tokens with any kid
TRUNCATE cozi.jwks;
SELECT cozi.add_secret(:'none');
SELECT cozi.check_token(pg_temp.typed('{"alg":"HS256","kid":"k1"}')) AS with_a_kid,
    cozi.check_token(pg_temp.typed('{"alg":"HS256"}')) AS without;
TRUNCATE cozi.jwks;
SELECT cozi.add_secret(:'none', any_kid => true);
SELECT cozi.check_token(pg_temp.typed('{"alg":"HS256","kid":"k1"}')) AS with_a_kid,
    cozi.check_token(pg_temp.typed('{"alg":"HS256"}')) AS without;
SELECT cozi.rotate_secret(:'none');
SELECT cozi.check_token(pg_temp.typed('{"alg":"HS256","kid":"k1"}')) AS with_a_kid;
SELECT cozi.add_secret(:'a', 'k2', any_kid => true);

-- What a session has cached is what there is, also when the table has new
-- storage twice in one transaction, or is rewritten.
TRUNCATE cozi.jwks;
SELECT pg_temp.token('1', secret => :'a') AS token_a, pg_temp.token('1', secret => :'b')
    AS token_b \gset
BEGIN;
TRUNCATE cozi.jwks; SELECT cozi.add_secret(:'a'); SELECT cozi.check_token(:'token_a'); SELECT
    cozi.login(:'token_a');
TRUNCATE cozi.jwks; SELECT cozi.add_secret(:'b'); COMMIT;
SELECT cozi.check_token(:'token_a') AS a, cozi.check_token(:'token_b') AS b;
SELECT cozi.login(:'token_a');
SELECT cozi.login(:'token_b');
ALTER TABLE cozi.jwks ALTER COLUMN created_at TYPE timestamptz USING created_at + interval
    '1 second';
VACUUM FULL cozi.jwks;
SELECT cozi.check_token(:'token_a') AS a, cozi.check_token(:'token_b') AS b;
UPDATE cozi.jwks SET jwk = jsonb_set(jwk, '{k}',
    '"dGhlIHNlY3JldCBvZiBpc3N1ZXIgQSwgMzIgYnl0ZXMgb3IgbW9yZQ"');
SELECT cozi.check_token(:'token_a') AS a, cozi.check_token(:'token_b') AS b;
SELECT cozi.login(:'token_b');

-- An issuer with two names has its key twice.  Claims that the first could not
-- read to the end are not believed by the second.
TRUNCATE cozi.jwks;
SELECT cozi.add_secret(:'a', issuer => 'https://a.example');
SELECT cozi.add_secret(:'a', issuer => 'https://www.a.example');
SELECT claims, iss, cozi.check_token(pg_temp.sign(format(claims, iss), secret => :'a'),
                                     '2026-01-01 00:00:00+00') AS reason
FROM (VALUES ('{"sub":"1","exp":1767226200,"iss":"%s"}'),
             ('{"sub":"1","exp":1767226200,"iss":"%s","sub":"2"}'),
             ('{"sub":"1","exp":1767226200,"iss":"%s","x":"\u0000"}'),
             ('{"sub":"1","exp":1767226200,"iss":"%s","x":'),
             ('{"sub":"1","exp":1767226200,"iss":"%s"} {}')) c(claims),
     (VALUES ('https://a.example'), ('https://www.a.example'), ('https://b.example')) i(iss);
TRUNCATE cozi.jwks;
