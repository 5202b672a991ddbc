-- Every bad token is refused, with one error; the reason is for the log.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set keys `cat "$PG_ABS_SRCDIR/test/vectors/identity_keys.tsv"`
\set tokens `cat "$PG_ABS_SRCDIR/test/vectors/identity_tokens.tsv"`
CREATE TABLE rls_keys AS
    SELECT split_part(line, E'\t', 1) AS name, split_part(line, E'\t', 2)::jsonb AS jwk
    FROM string_to_table(:'keys', E'\n') line WHERE line <> '';
CREATE TABLE rls_tokens AS
    SELECT split_part(line, E'\t', 1) AS name, split_part(line, E'\t', 2)::timestamptz AS as_of,
        split_part(line, E'\t', 3) AS token
    FROM string_to_table(:'tokens', E'\n') line WHERE line <> '';

-- what login() tells its caller
CREATE FUNCTION pg_temp.try(token text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text; context text;
BEGIN
    RETURN 'welcome, ' || cozi.login(token);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RETURN concat_ws('|', SQLSTATE, message, nullif(detail, ''), nullif(hint, ''), nullif(context,
        ''));
END $$;

SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT cozi.add_secret('a secret of the tests that has a kid, "named"', 'named');
SELECT cozi.add_key(jwk) FROM rls_keys WHERE name IN ('rsa', 'ec', 'ed');
SELECT kid, alg FROM cozi.jwks ORDER BY id;

-- Each token, what its caller hears and what the log does.
CREATE TEMP TABLE t (id int GENERATED ALWAYS AS IDENTITY, name text, token text);
CREATE FUNCTION pg_temp.results(OUT name text, OUT caller text, OUT log text) RETURNS SETOF record
    BEGIN ATOMIC
        SELECT name, pg_temp.try(token), cozi.check_token(token) FROM t ORDER BY id;
    END;
SELECT extract(epoch FROM now())::bigint + 600 AS soon, extract(epoch FROM now())::bigint
    AS this_second \gset
SELECT format('{"sub":"ann","exp":%s}', :soon) AS good \gset
SELECT pg_temp.sign(:'good') AS token \gset

-- good ones
INSERT INTO t (name, token) VALUES
    ('plain', :'token'),
    ('with a kid', pg_temp.sign(:'good', '{"alg":"HS256","kid":"named"}',
        'a secret of the tests that has a kid, "named"')),
    ('cty, x5u and jku are ignored', pg_temp.sign(:'good',
        '{"typ":"jwt","cty":["y"],"alg":"HS256","x5u":"http://x","jku":"file:///etc/passwd"}')),
    ('escapes in the header', pg_temp.sign(:'good', '{"\u0061lg":"\u0048S256"}')),
    ('white space', pg_temp.sign(E' {\t"sub" :\r\n"ann" ,"exp": ' || :soon || ' } ')),
    ('a fraction of a second',
        pg_temp.sign(format('{"sub":"ann","exp":%s.75,"iat":%s.5,"nbf":%s}', :soon, :this_second,
        :this_second))),
    ('ended within the leeway', pg_temp.sign(format('{"sub":"ann","exp":%s}',
        :this_second - 10))),
    ('begins within the leeway', pg_temp.sign(format('{"sub":"ann","exp":%s,"nbf":%s,"iat":%s}',
        :soon, :this_second + 20, :this_second + 20))),
    ('one name at two depths',
        pg_temp.sign(format('{"sub":"ann","exp":%s,"a":{"sub":1,"a":[{"sub":2},{"sub":3}]}}',
        :soon))),
    ('escapes, and a pair of surrogates',
        pg_temp.sign(format('{"\u0073ub":"\"\\\/\b\f\n\r\t\u20ac\ud83d\ude00€😀","exp":%s}',
        :soon))),
    ('numbers',
     pg_temp.sign(format('{"sub":"ann","exp":%s,'
        '"a":[0,-0,-1.5e+10,1E-300,1e308,0.10,12345678901234567890.5]}', :soon))),
    ('31 deep', pg_temp.sign(format('{"sub":"ann","exp":%s,"a":%s1%s}', :soon, repeat('[', 31),
        repeat(']', 31)))),
    ('aud as a string', pg_temp.sign(format('{"sub":"ann","exp":%s,"aud":"web"}', :soon))),
    ('aud as an array', pg_temp.sign(format('{"sub":"ann","exp":%s,"aud":["web","app"]}',
        :soon)));
SELECT * FROM pg_temp.results();
-- all of it is there afterwards
BEGIN;
SELECT cozi.login(token) = E'"\\/\b\f\n\r\t€😀€😀' AS same FROM t WHERE name ~ '^escapes, and';
SELECT cozi.uid_text() = E'"\\/\b\f\n\r\t€😀€😀' AND cozi.claims()->>'sub' = cozi.uid_text()
    AS same;
SELECT cozi.login(token) FROM t WHERE name = 'numbers';
SELECT length(cozi.claim('a')) AS digits;
COMMIT;
TRUNCATE t;

-- the form
INSERT INTO t (name, token) VALUES
    ('NULL', NULL),
    ('empty', ''),
    ('a space', ' '),
    ('two dots', '..'),
    ('two parts', 'a.b'),
    ('four parts', :'token' || '.x'),
    ('four parts, the last empty', :'token' || '.'),
    ('five parts, as JWE has', 'e30.e30.e30.e30.e30'),
    ('a space before', ' ' || :'token'),
    ('a line feed behind', :'token' || E'\n'),
    ('with its scheme', 'Bearer ' || :'token'),
    ('JSON serialization',
        '{"payload":"e30","signatures":[{"protected":"e30","signature":"e30"}]}'),
    ('padding', :'token' || '='),
    ('standard alphabet', regexp_replace(:'token', '..$', '+/')),
    ('8 kB and a byte', pg_temp.sign(format('{"sub":"ann","exp":%s,"x":"%s"}', :soon, repeat('x',
        6000))) || repeat('A', 200)),
    ('a megabyte', repeat('A', 1000000)),
    ('no signature', regexp_replace(:'token', '[^.]*$', '')),
    ('a signature one character shorter', left(:'token', -2) || 'B'),
            -- B: bits beyond the last byte
    ('a signature one byte shorter', left(:'token', -2) || 'A'),
    ('a signature one byte longer', :'token' || 'A'),
    ('another signature', regexp_replace(:'token', '[^.]*$', repeat('A', 43))),
    ('header and payload exchanged', split_part(:'token', '.', 2) || '.' || split_part(:'token',
        '.', 1) || '.' || split_part(:'token', '.', 3)),
    ('not ASCII', regexp_replace(:'token', '[^.]*$', repeat('é', 43)));
-- the last of 43 characters has two bits that must be 0
INSERT INTO t (name, token)
    SELECT 'another way to write the signature', left(:'token', -1) ||
           substr(a, strpos(a, right(:'token', 1)) + 1, 1)
    FROM (VALUES ('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')) v(a);
SELECT * FROM pg_temp.results();
TRUNCATE t;

-- the header
INSERT INTO t (name, token)
    SELECT replace(header, E'\ufeff', 'BOM '), pg_temp.sign(:'good', header)
    FROM (VALUES
        (''), ('x'), ('null'), ('"HS256"'), ('["HS256"]'), ('{}'), ('{"alg":"HS256"'),
            ('{"alg":"HS256"}x'), ('{"alg":"HS256",}'),
        ('{"typ":"JWT"}'), ('{"alg":null}'), ('{"alg":256}'), ('{"alg":["HS256"]}'),
            ('{"alg":""}'), ('{"Alg":"HS256"}'),
        ('{"alg":"none"}'), ('{"alg":"None"}'), ('{"alg":"nOnE"}'), ('{"alg":"NONE"}'),
            ('{"alg":"hs256"}'), ('{"alg":"HS256 "}'),
        ('{"alg":"HS384"}'), ('{"alg":"HS512"}'), ('{"alg":"RS256"}'), ('{"alg":"ES256"}'),
            ('{"alg":"EdDSA"}'), ('{"alg":"dir"}'),
        ('{"alg":"HS256xxxxxxxxxxxxxxxxxxxxxxxxxxxx"}'),
        ('{"alg":"HS256","alg":"HS256"}'), ('{"alg":"none","alg":"HS256"}'),
            ('{"alg":"HS256","\u0061lg":"none"}'),
        ('{"alg":"HS256","crit":["exp"]}'), ('{"alg":"HS256","crit":[]}'),
            ('{"alg":"HS256","crit":null}'),
        ('{"alg":"HS256","crit":["b64"],"b64":false}'), ('{"alg":"HS256","b64":true}'),
            ('{"alg":"HS256","zip":"DEF"}'),
        ('{"alg":"HS256","\u0063rit":["exp"]}'),
        ('{"alg":"HS256","kid":"other"}'), ('{"alg":"HS256","kid":"named"}'),
            ('{"alg":"HS256","kid":""}'), ('{"alg":"HS256","kid":null}'),
        ('{"alg":"HS256","kid":1}'), ('{"alg":"HS256","kid":["named"]}'),
            ('{"alg":"HS256","kid":"'' OR true --"}'),
        ('{"alg":"HS256","kid":"../../../../dev/null"}'), ('{"alg":"HS256","kid":"rsa"}'),
            ('{"alg":"HS256","kid":"named\u0000"}'),
        ('{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"kid":"x"}'),
        (E'\ufeff{"alg":"HS256"}'), ('{"alg":"HS256","x":"\ud800"}')) v(header);
INSERT INTO t (name, token) VALUES
    ('a kid of 300 bytes', pg_temp.sign(:'good', format('{"alg":"HS256","kid":"%s"}', repeat('k',
        300)))),
    ('a deep header', pg_temp.sign(:'good', format('{"alg":"HS256","x":%s%s}', repeat('[', 2000),
        repeat(']', 2000)))),
    ('the named secret without kid', pg_temp.sign(:'good', '{"alg":"HS256"}',
        'a secret of the tests that has a kid, "named"')),
    ('no secret', pg_temp.sign(:'good', secret => ''));
SELECT * FROM pg_temp.results();
TRUNCATE t;

-- the payload; E stands for a good exp
INSERT INTO t (name, token)
    SELECT replace(payload, E'\ufeff', 'BOM '), pg_temp.sign(replace(payload, 'E', :'soon'))
    FROM (VALUES
        (''), ('x'), ('null'), ('"ann"'), ('["ann"]'), ('{}'), ('{"exp":E}'),
            ('{"Sub":"ann","exp":E}'),
        ('{"sub":null,"exp":E}'), ('{"sub":42,"exp":E}'), ('{"sub":"","exp":E}'),
            ('{"sub":["ann"],"exp":E}'), ('{"sub":true,"exp":E}'),
            ('{"sub":{"sub":"ann"},"exp":E}'),
        ('{"sub":"bob","sub":"ann","exp":E}'), ('{"sub":"ann","sub":"ann","exp":E}'),
            ('{"sub":"ann","\u0073ub":"bob","exp":E}'),
        ('{"sub":"ann","exp":E,"a":{"b":1,"b":2}}'),
            ('{"sub":"ann","exp":E,"a":[{"b":1,"\u0062":2}]}'),
        ('{"sub":"ann"}'), ('{"sub":"ann","Exp":E}'), ('{"sub":"ann","exp":null}'),
            ('{"sub":"ann","exp":"E"}'), ('{"sub":"ann","exp":"nan"}'),
            ('{"sub":"ann","exp":""}'),
        ('{"sub":"ann","exp":NaN}'), ('{"sub":"ann","exp":Infinity}'),
            ('{"sub":"ann","exp":-Infinity}'), ('{"sub":"ann","exp":1e308}'),
            ('{"sub":"ann","exp":1e400}'),
        ('{"sub":"ann","exp":2e9}'), ('{"sub":"ann","exp":E.0e0}'), ('{"sub":"ann","exp":-1}'),
            ('{"sub":"ann","exp":0}'), ('{"sub":"ann","exp":-0}'), ('{"sub":"ann","exp":+E}'),
        ('{"sub":"ann","exp":0E}'), ('{"sub":"ann","exp":0x7fffffff}'),
            ('{"sub":"ann","exp":E.}'), ('{"sub":"ann","exp":.5}'), ('{"sub":"ann","exp":[E]}'),
            ('{"sub":"ann","exp":true}'),
        ('{"sub":"ann","exp":253402300800}'), ('{"sub":"ann","exp":9223372036854775807}'),
            ('{"sub":"ann","exp":9223372036854775808}'),
            ('{"sub":"ann","exp":18446744073709551616}'),
        ('{"sub":"ann",'
            '"exp":99999999999999999999999999999999999999999999999999999999999999999999999999}'),
        ('{"sub":"ann","exp":E,"exp":9999999999}'), ('{"sub":"ann","exp":1,"exp":E}'),
        ('{"sub":"ann","exp":E,"nbf":"E"}'), ('{"sub":"ann","exp":E,"nbf":null}'),
            ('{"sub":"ann","exp":E,"nbf":E}'), ('{"sub":"ann","exp":E,"nbf":NaN}'),
        ('{"sub":"ann","exp":E,"iat":"E"}'), ('{"sub":"ann","exp":E,"iat":E}'),
            ('{"sub":"ann","exp":E,"iat":-1}'), ('{"sub":"ann","exp":E,"iat":1}'),
        ('{"sub":"ann","exp":E,"iss":1}'), ('{"sub":"ann","exp":E,"aud":1}'),
            ('{"sub":"ann","exp":E,"aud":[1]}'), ('{"sub":"ann","exp":E,"aud":["web",1]}'),
            ('{"sub":"ann","exp":E,"aud":{}}'), ('{"sub":"ann","exp":E,"aud":null}'),
        ('{"sub":"ann\u0000","exp":E}'), ('{"sub":"ann","exp":E,"a\u0000":1}'),
            ('{"sub":"\ud800","exp":E}'), ('{"sub":"\ud800x","exp":E}'),
            ('{"sub":"\udc00\ud800","exp":E}'), ('{"sub":"\ud800\u0041","exp":E}'),
        ('{"sub":"\uZZZZ","exp":E}'), ('{"sub":"\x41","exp":E}'), ('{"sub":"ann\","exp":E}'),
            ('{"sub":"ann,"exp":E}'), ('{sub:"ann","exp":E}'), ('{''sub'':''ann'',"exp":E}'),
        ('{"sub":"ann" "exp":E}'), ('{"sub":"ann","exp":E,}'), ('{,"sub":"ann","exp":E}'),
            ('{"sub":"ann","exp":E}}'), ('{"sub":"ann","exp":E} {}'), ('{"sub":"ann","exp":E'),
            ('{"sub":"ann","exp":E]'),
        ('{"sub":"ann","exp":E,"a":tru}'), ('{"sub":"ann","exp":E,"a":True}'),
            ('{"sub":"ann","exp":E,"a":[1,]}'), ('{"sub":"ann","exp":E,"a":[1 2]}'),
            ('{"sub":"ann","exp":E,"a":01}'), ('{"sub":"ann","exp":E,"a":1.}'),
            ('{"sub":"ann","exp":E,"a":1e}'), ('{"sub":"ann","exp":E,"a":--1}'),
        ('{"sub":"ann","exp":E}//'), ('/**/{"sub":"ann","exp":E}'),
            (E'\ufeff{"sub":"ann","exp":E}'), (E'{"sub":"a\nb","exp":E}'),
            (E'{"sub":"a\tb","exp":E}'), (E'{"sub":"ann",\f"exp":E}'),
            (E'{"sub":"ann",\u00a0"exp":E}')) v(payload);
INSERT INTO t (name, token) VALUES
    ('ended before the leeway', pg_temp.sign(format('{"sub":"ann","exp":%s}',
        :this_second - 31))),
    ('begins after the leeway', pg_temp.sign(format('{"sub":"ann","exp":%s,"nbf":%s}', :soon,
        :this_second + 90))),
    ('issued after the leeway', pg_temp.sign(format('{"sub":"ann","exp":%s,"iat":%s}', :soon,
        :this_second + 90))),
    ('ends in two days', pg_temp.sign(format('{"sub":"ann","exp":%s}',
        :this_second + 2 * 86400))),
    ('issued two days ago', pg_temp.sign(format('{"sub":"ann","exp":%s,"iat":%s}', :soon,
        :this_second - 2 * 86400))),
    ('a NUL behind', pg_temp.sign_bytes(convert_to(:'good', 'UTF8') || '\x00')),
    ('UTF-8: a byte alone', pg_temp.sign_bytes(overlay(convert_to(:'good', 'UTF8') PLACING '\xff'
        FROM 9))),
    ('UTF-8: cut short', pg_temp.sign_bytes(overlay(convert_to(:'good', 'UTF8') PLACING '\xe282'
        FROM 9 FOR 3))),
    ('UTF-8: overlong', pg_temp.sign_bytes(overlay(convert_to(:'good', 'UTF8') PLACING '\xc0af'
        FROM 9 FOR 3))),
    ('UTF-8: overlong NUL', pg_temp.sign_bytes(overlay(convert_to(:'good',
        'UTF8') PLACING '\xc080' FROM 9 FOR 3))),
    ('UTF-8: overlong, 3 bytes', pg_temp.sign_bytes(overlay(convert_to(:'good',
        'UTF8') PLACING '\xe08080' FROM 9 FOR 3))),
    ('UTF-8: a surrogate', pg_temp.sign_bytes(overlay(convert_to(:'good',
        'UTF8') PLACING '\xeda080' FROM 9 FOR 3))),
    ('UTF-8: beyond Unicode', pg_temp.sign_bytes(overlay(convert_to(:'good',
        'UTF8') PLACING '\xf4908080' FROM 9 FOR 3))),
    ('UTF-16', pg_temp.sign_bytes('\xfeff007b0022')),
    ('a NUL for a byte', pg_temp.sign_bytes(overlay(convert_to(:'good', 'UTF8') PLACING '\x00'
        FROM 9 FOR 1))),
    ('33 deep', pg_temp.sign(format('{"sub":"ann","exp":%s,"a":%s1%s}', :soon, repeat('[', 32),
        repeat(']', 32)))),
    ('2,000 deep', pg_temp.sign(format('{"sub":"ann","exp":%s,"a":%s%s}', :soon, repeat('[',
        2000), repeat(']', 2000)))),
    ('2,000 deep, not closed', pg_temp.sign(format('{"sub":"ann","exp":%s,"a":%s', :soon,
        repeat('[{"a":', 900)))),
    ('600 members', (SELECT pg_temp.sign(format('{"sub":"ann","exp":%s,%s}', :soon,
        string_agg(format('"%s":1', i), ','))) FROM generate_series(1, 600) i));
SELECT * FROM pg_temp.results();
TRUNCATE t;

-- issuer, audience, lifetime and leeway, where they are set
SET cozi.jwt_issuer = 'https://issuer.example';
SET cozi.jwt_audience = 'web';
INSERT INTO t (name, token)
    SELECT claims, pg_temp.sign(replace('{"sub":"ann","exp":E,' || claims || '}', 'E', :'soon'))
    FROM (VALUES ('"iss":"https://issuer.example","aud":"web"'),
        ('"iss":"https://issuer.example","aud":["app","web"]'),
        ('"iss":"https:\/\/issuer.example","aud":["\u0077eb"]'),
        ('"a":1'), ('"iss":"https://issuer.example"'), ('"aud":"web"'),
            ('"iss":"https://issuer.example/","aud":"web"'),
            ('"iss":"HTTPS://issuer.example","aud":"web"'), ('"iss":"","aud":"web"'),
        ('"iss":["https://issuer.example"],"aud":"web"'),
            ('"iss":"https://issuer.example","aud":"Web"'),
            ('"iss":"https://issuer.example","aud":"web "'),
            ('"iss":"https://issuer.example","aud":"webx"'),
        ('"iss":"https://issuer.example","aud":""'), ('"iss":"https://issuer.example","aud":[]'),
            ('"iss":"https://issuer.example","aud":[["web"]]'),
            ('"iss":"https://issuer.example","aud":["app",{"web":"web"}]'),
        ('"iss":"https://issuer.example","aud":["web",null]'),
            ('"iss":"https://issuer.example","aud":{"web":1}'),
            ('"iss":"https://issuer.example","aud":"web","aud":"app"')) v(claims);
SELECT * FROM pg_temp.results();
TRUNCATE t;
RESET cozi.jwt_issuer;
RESET cozi.jwt_audience;
SET cozi.jwt_leeway = 0;
SET cozi.jwt_max_lifetime = '5min';
INSERT INTO t (name, token) VALUES
    ('ended a second ago', pg_temp.sign(format('{"sub":"ann","exp":%s}', :this_second - 1))),
    ('begins in a minute', pg_temp.sign(format('{"sub":"ann","exp":%s,"nbf":%s}',
        :this_second + 200, :this_second + 60))),
    ('ends in 4 minutes', pg_temp.sign(format('{"sub":"ann","exp":%s}', :this_second + 240))),
    ('ends in 4 minutes, issued 4 minutes ago',
        pg_temp.sign(format('{"sub":"ann","exp":%s,"iat":%s}', :this_second + 240,
        :this_second - 240))),
    ('ends in 10 minutes', :'token');
SELECT * FROM pg_temp.results();
SET cozi.jwt_max_lifetime = 0;
SELECT * FROM pg_temp.results();
TRUNCATE t;
RESET cozi.jwt_leeway;
RESET cozi.jwt_max_lifetime;

-- other algorithms: keys and tokens made elsewhere, judged at their time
SELECT name, cozi.check_token(token, as_of) AS reason FROM rls_tokens WHERE name !~ '^RFC';
-- when a token is good, any other byte in its place is not
SELECT name, count(*) AS changed, count(cozi.check_token(overlay(token PLACING CASE substr(token,
    i, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM i), as_of)) AS refused
FROM (SELECT * FROM rls_tokens WHERE name IN ('RS256', 'ES256', 'EdDSA')
      UNION ALL SELECT 'HS256', now(), :'token') t, generate_series(1, length(token)) i
WHERE substr(token, i, 1) <> '.'
GROUP BY name ORDER BY name COLLATE "C";
-- cut anywhere, it is not good either
SELECT name, count(*) AS cut, count(cozi.check_token(left(token, i), as_of)) AS refused
FROM rls_tokens, generate_series(0, length(token) - 1) i WHERE name IN ('RS256', 'ES256', 'EdDSA')
GROUP BY name ORDER BY name COLLATE "C";

-- the examples of RFC 7515 and 8037: signed as said, though none names a subject
TRUNCATE cozi.jwks;
SELECT cozi.add_key(jwk) FROM rls_keys WHERE name IN ('RFC 7515 A.1', 'RFC 7515 A.2',
    'RFC 7515 A.3', 'RFC 8037 A.2');
SELECT name, cozi.check_token(token, as_of) AS reason FROM rls_tokens WHERE name ~ '^RFC'
    ORDER BY name COLLATE "C";
SELECT name, cozi.check_token(overlay(token PLACING 'x' FROM length(token) - 5), as_of) AS changed
    FROM rls_tokens WHERE name ~ '^RFC' ORDER BY name COLLATE "C";

DROP TABLE rls_keys, rls_tokens;
TRUNCATE cozi.jwks;
