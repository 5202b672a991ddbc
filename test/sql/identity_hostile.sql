-- What a hostile or careless issuer publishes, and what is too long for an
-- index: refused with a reason, or taken in time that grows with its length.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
\set SHOW_CONTEXT never
\set secret '"kty": "oct", "k": "YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCB3aXRoIDMyIGJ5dGVzIG9yIG1vcmU"'
\set point '"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", '
\set point :point '"y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"'
\set ec '"kty": "EC", "crv": "P-256", ' :point

-- The rows that add_jwks reads, of a document with n new keys, given twice.
CREATE FUNCTION pg_temp.rows_read() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))::bigint
    FROM pg_class
    WHERE oid = 'cozi.jwks'::regclass
       OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'cozi.jwks'::regclass)
$$;
CREATE FUNCTION pg_temp.work(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    document jsonb = (SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object(
                          'kty', 'oct', 'k', repeat('A', 60), 'kid', 'k' || i)))
                      FROM generate_series(1, n) i);
    before bigint = pg_temp.rows_read();
BEGIN
    PERFORM cozi.add_jwks(document, 'https://issuer.example/' || n);
    PERFORM cozi.add_jwks(document, 'https://issuer.example/' || n);
    RETURN pg_temp.rows_read() - before;
END
$$;
BEGIN;
SELECT pg_temp.work(200) AS of_200 \gset
SELECT pg_temp.work(2000) AS of_2000 \gset
SELECT :of_200 > 0 AS some, :of_2000 < 15 * :of_200 AS linear;
SELECT issuer, count(*) FROM cozi.jwks GROUP BY issuer ORDER BY 2;
ROLLBACK;

-- Keys without kid are tried one after the other: a document has a hundred.
SELECT action, reason, count(*)
FROM cozi.add_jwks((SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object(
                        'kty', 'oct', 'k', repeat('A', 60) || lpad(i::text, 4, '0'))))
                    FROM generate_series(1, 150) i), 'https://issuer.example')
GROUP BY action, reason ORDER BY count;
TRUNCATE cozi.jwks;

-- Ten megabytes: in one key, in a member that nobody reads, in many keys.
SELECT action, reason FROM cozi.add_jwks(jsonb_build_object('keys', jsonb_build_array(
    ('{' || :'secret' || ', "kid": "a"}')::jsonb
    || jsonb_build_object('x5c', repeat('A', 10000000)),
    ('{' || :'secret' || ', "kid": "b"}')::jsonb)), 'https://issuer.example');
SELECT action, reason FROM cozi.add_jwks(jsonb_build_object('more', repeat('A', 10000000), 'keys',
    jsonb_build_array(('{' || :'secret' || ', "kid": "b"}')::jsonb)), 'https://issuer.example');
SELECT action, reason, count(*)
FROM cozi.add_jwks((SELECT jsonb_build_object('keys', jsonb_agg(CASE i
                               WHEN 1 THEN ('{' || :'secret' || ', "kid": "b"}')::jsonb
                               ELSE '{"kty": "RSA", "kid": "x"}' END))
                           || jsonb_build_object('more', repeat('A', 7000000))
                    FROM generate_series(1, 5000) i), 'https://other.example') GROUP BY 1, 2;

-- Deep nesting, members twice, a kid twice, control characters.
SELECT cozi.check_key(('{' || :'secret' || ', "x": ' || repeat('[', 1000) || repeat(']', 1000)
    || '}')::jsonb) AS nested;
\set VERBOSITY terse
SELECT cozi.check_key(('{"x": ' || repeat('[', 100000) || repeat(']', 100000) || '}')::jsonb);
\set VERBOSITY default
SELECT cozi.jwk_alg(('{"kty": "RSA", "kty": "EC", ' || :'ec' || '}')::jsonb) AS the_last_counts;
SELECT to_json(kid) AS kid, alg, action, reason
FROM cozi.add_jwks(('{"keys": [{' || :'ec' || ', "kid": "twice"}, {'
    || :'ec' || ', "kid": "twice"}, {' || :'secret' || ', "kid": "twice"}, {'
    || :'ec' || ', "kid": "a\tb\nc\u0007"}, {' || :'ec' || ', "kid": ""}, {'
    || :'ec' || ', "kid": 7}, {' || :'ec' || ', "kid": null}, {'
    || :'ec' || ', "alg": ["ES256"]}, [], null, "key", 7]}')::jsonb, 'https://issuer.example');
SELECT cozi.add_jwks('{"keys": [{"kty": "oct", "kid": "a\u0000b"}]}');

-- Moduli and exponents.  n: bytes of the modulus, the last of them, the exponent.
CREATE FUNCTION pg_temp.rsa(n int, last text, e text) RETURNS text LANGUAGE sql AS $$
    SELECT cozi.check_key(jsonb_build_object('kty', 'RSA', 'kid', 'r',
        'n', pg_temp.base64url(decode(repeat('c5', n - 1) || last, 'hex')),
        'e', pg_temp.base64url(decode(e, 'hex'))))
$$;
SELECT what, pg_temp.rsa(n, last, e) AS reason
FROM (VALUES ('512 bits', 64, 'c5', '010001'), ('1024 bits', 128, 'c5', '010001'),
             ('16384 bits', 2048, 'c5', '010001'), ('an even modulus', 256, 'c4', '010001'),
             ('a modulus with small factors', 256, 'c5', '010001'),
             ('an even exponent', 256, 'c5', '010000'), ('the exponent 1', 256, 'c5', '01'),
             ('the exponent 0', 256, 'c5', '00'), ('no exponent', 256, 'c5', ''),
             ('an exponent of 4096 bits', 256, 'c5', repeat('ff', 512))) v(what, n, last, e);

-- What an index would not take.  Random, so that no compression makes it fit.
SELECT string_agg(md5(i::text), '') AS long FROM generate_series(1, 200) i \gset
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', issuer => :'long');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', :'long');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', issuer => 'i',
    audience => ARRAY[:'long']);
SELECT cozi.add_key(('{' || :'ec' || '}')::jsonb, issuer => :'long');
SELECT cozi.add_jwks(('{"keys": [{' || :'ec' || '}]}')::jsonb, :'long');
SELECT cozi.add_jwks(('{"keys": [{' || :'ec' || '}]}')::jsonb, 'i', ARRAY['a', :'long']);
SELECT cozi.rotate_secret('a secret of the tests, with 32 bytes or more', issuer => :'long');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', left(:'long', 255),
    issuer => left(:'long', 1024), audience => ARRAY[left(:'long', 1024)]);
SELECT octet_length(issuer) AS issuer, octet_length(kid) AS kid FROM cozi.jwks
WHERE issuer = left(:'long', 1024);
-- written straight, by the table's owner
\set jwk '\'{' :secret '}\''
INSERT INTO cozi.jwks (jwk, issuer) VALUES (:jwk, :'long');
INSERT INTO cozi.jwks (jwk, issuer) VALUES (:jwk, left(:'long', 1024));
UPDATE cozi.jwks SET issuer = issuer || 'x' WHERE kid IS NULL;
INSERT INTO cozi.jwks (jwk) VALUES (:jwk::jsonb || jsonb_build_object('kid', :'long'));

-- A user and a token of any length are revoked, by a digest.
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token(left(:'long', 4000)) AS by_subject,
       pg_temp.token('1', jsonb_build_object('jti', left(:'long', 4000))) AS by_jti \gset
SELECT cozi.check_token(:'by_subject') AS by_subject, cozi.check_token(:'by_jti') AS by_jti;
SELECT cozi.revoke_user(left(:'long', 4000)), cozi.revoke_token(left(:'long', 4000), 'infinity');
SELECT cozi.check_token(:'by_subject') AS by_subject, cozi.check_token(:'by_jti') AS by_jti;
SELECT kind, left(value, 20) AS value, octet_length(value) FROM cozi.revocations ORDER BY kind;
\set VERBOSITY terse
INSERT INTO cozi.revocations (kind, value, until) VALUES ('tokens', 't', 'infinity');
INSERT INTO cozi.revocations (kind, value, until) VALUES ('token', :'long', 'infinity');
BEGIN;
SELECT cozi.act_as(:'long');
SELECT cozi.uid_text() = :'long' AS long_subject, cozi.has_role(:'long') AS long_role;
ROLLBACK;
TRUNCATE cozi.jwks, cozi.revocations;
