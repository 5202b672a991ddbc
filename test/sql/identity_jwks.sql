-- Documents as issuers publish them (the keys were made for this test), and
-- tokens as they write them, judged at the time of the tokens.
\set documents `cat "$PG_ABS_SRCDIR/test/vectors/identity_jwks.tsv"`
\set tokens `cat "$PG_ABS_SRCDIR/test/vectors/identity_jwks_tokens.tsv"`
CREATE TEMP TABLE vendor AS
    SELECT split_part(line, E'\t', 1) AS name, split_part(line, E'\t', 2) AS issuer,
           string_to_array(nullif(split_part(line, E'\t', 3), ''), ',') AS audience,
           split_part(line, E'\t', 4)::boolean AS id_tokens, split_part(line, E'\t', 5)::jsonb
               AS document, n
    FROM string_to_table(:'documents', E'\n') WITH ORDINALITY l(line, n) WHERE line <> '';
CREATE TEMP TABLE token AS
    SELECT split_part(line, E'\t', 1) AS vendor, split_part(line, E'\t', 2) AS name,
           split_part(line, E'\t', 3) AS expected, split_part(line, E'\t', 4) AS token, n
    FROM string_to_table(:'tokens', E'\n') WITH ORDINALITY l(line, n) WHERE line <> '';

SELECT name, left(kid, 16) AS kid, alg, action, reason
FROM vendor v, cozi.add_jwks(v.document, v.issuer, v.audience, v.id_tokens);
SELECT vendor, t.name, cozi.check_token(token, '2026-01-01 00:00:00+00') AS reason,
       CASE expected WHEN 'login' THEN cozi.check_token(token, '2026-01-01 00:00:00+00') IS NULL
                     ELSE cozi.check_token(token, '2026-01-01 00:00:00+00') ~ expected END
                         AS expected
FROM token t ORDER BY n;
-- a document can be given again and again
SELECT action, reason, count(*) FROM vendor v, cozi.add_jwks(v.document, v.issuer, v.audience,
    v.id_tokens)
WHERE action <> 'ignored' GROUP BY action, reason;
SELECT count(*) AS keys FROM cozi.jwks;

-- Of one issuer, in all its ways: what it rotates, and what is not its own.
TRUNCATE cozi.jwks;
SELECT document AS all_keys, issuer FROM vendor WHERE name = 'Auth0' \gset
SELECT jsonb_build_object('keys', jsonb_build_array(:'all_keys'::jsonb -> 'keys' -> 0))
    AS first_key,
       jsonb_build_object('keys', jsonb_build_array(:'all_keys'::jsonb -> 'keys' -> 1))
           AS second_key \gset
PREPARE add AS SELECT left(kid, 8) AS kid, action, reason FROM cozi.add_jwks($1::jsonb, $2,
    grace => $3::interval);
EXECUTE add(:'first_key', :'issuer', '0');
EXECUTE add(:'all_keys', :'issuer', '0');
EXECUTE add(:'second_key', :'issuer', '0');
SELECT left(kid, 8) AS kid, retired_at <= now() AS retired, retired_by FROM cozi.jwks ORDER BY id;
EXECUTE add(:'second_key', :'issuer', '0');
EXECUTE add(:'all_keys', :'issuer', '0');
-- with a grace, which runs from the first time that a key was missing
EXECUTE add(:'second_key', :'issuer', '1 hour');
SELECT retired_at AS first_time FROM cozi.jwks WHERE retired_at IS NOT NULL \gset
SELECT pg_sleep(0.01);
EXECUTE add(:'second_key', :'issuer', '1 hour');
SELECT retired_at = :'first_time' AS same FROM cozi.jwks WHERE retired_at IS NOT NULL;
-- a shorter grace holds at once
EXECUTE add(:'second_key', :'issuer', '0');
EXECUTE add(:'all_keys', :'issuer', '0');
-- the key of a kid becomes another
SELECT jsonb_set(:'all_keys', '{keys,0,n}', :'all_keys'::jsonb #> '{keys,1,n}') AS changed \gset
EXECUTE add(:'changed', :'issuer', '0');
EXECUTE add(:'all_keys', :'issuer', '0');
-- its algorithm changes: another key
SELECT jsonb_set(:'all_keys', '{keys,0,alg}', '"RS512"') AS another_alg \gset
SELECT left(kid, 8) AS kid, alg, action FROM cozi.add_jwks(:'another_alg', :'issuer');
SELECT left(kid, 8) AS kid, alg, action FROM cozi.add_jwks(:'all_keys', :'issuer');
-- its audience
SELECT action, reason FROM cozi.add_jwks(:'all_keys', :'issuer', '{web,app}');
SELECT action, reason FROM cozi.add_jwks(:'all_keys', :'issuer', '{web,app}');
SELECT DISTINCT audience FROM cozi.jwks WHERE retired_at IS NULL;
-- twice in one document
SELECT action, reason FROM cozi.add_jwks(jsonb_set(:'all_keys', '{keys,2}',
    :'all_keys'::jsonb #> '{keys,0}'), :'issuer', '{web,app}');

-- another issuer with the same kids, and none, which is an issuer too
EXECUTE add(:'all_keys', 'https://other.example.org', '0');
EXECUTE add(:'first_key', NULL, '0');
EXECUTE add(:'second_key', NULL, '0');
SELECT issuer, count(*) FILTER (WHERE retired_at IS NULL) AS in_use FROM cozi.jwks GROUP BY issuer
    ORDER BY issuer;

-- add_key's and add_secret's are left alone
TRUNCATE cozi.jwks;
SELECT cozi.add_key(:'all_keys'::jsonb #> '{keys,0}', issuer => :'issuer');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', issuer => :'issuer');
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more', 'named',
    issuer => :'issuer');
EXECUTE add(:'all_keys', :'issuer', '0');
EXECUTE add(:'second_key', :'issuer', '0');
SELECT left(kid, 8) AS kid, alg, added_by, retired_at FROM cozi.jwks ORDER BY id;
-- a key that was retired by hand may be a stolen one: the document does not bring it back
SELECT cozi.retire_key(:'second_key'::jsonb #>> '{keys,0,kid}');
EXECUTE add(:'all_keys', :'issuer', '0');
SELECT cozi.add_key(:'second_key'::jsonb #> '{keys,0}', issuer => :'issuer');
EXECUTE add(:'all_keys', :'issuer', '0');

-- keys without kid are told apart by themselves
TRUNCATE cozi.jwks;
SELECT jsonb_build_object('keys', jsonb_agg(k - 'kid')) AS kidless
    FROM jsonb_array_elements(:'all_keys'::jsonb -> 'keys') k \gset
EXECUTE add(:'kidless', :'issuer', '0');
EXECUTE add(:'kidless', :'issuer', '0');
EXECUTE add(jsonb_build_object('keys', jsonb_build_array(:'kidless'::jsonb #> '{keys,1}')),
    :'issuer', '0');
-- secrets and private keys in a document
TRUNCATE cozi.jwks;
SELECT * FROM cozi.add_jwks('{"keys": [{"kty": "oct", "alg": "HS512", "kid": "h",
    "k": "YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCB3aXRoIDY0IGJ5dGVzIG9yIG1vcmU6'
         'IDAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"},
                                       {"kty": "OKP", "crv": "Ed25519", "kid": "p",
                                           "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
                                           "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}');
SELECT * FROM cozi.add_jwks('{"keys": [{"kty": "oct", "alg": "HS512", "kid": "h",
    "k": "YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCB3aXRoIDY0IGJ5dGVzIG9yIG1vcmU6'
         'IDAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}');

-- What is no document changes nothing.
TRUNCATE cozi.jwks;
EXECUTE add(:'all_keys', :'issuer', '0');
SELECT cozi.add_jwks(NULL);
SELECT cozi.add_jwks('null');
SELECT cozi.add_jwks('[]');
SELECT cozi.add_jwks('{}');
SELECT cozi.add_jwks('{"keys": {}}');
SELECT cozi.add_jwks('{"error": "try again later"}', :'issuer');
SELECT cozi.add_jwks('{"keys": []}', :'issuer');
SELECT cozi.add_jwks('{"keys": [{"kty": "RSA", "kid": "e", "use": "enc", '
                     '"n": "AQAB", "e": "AQAB"}, 7]}', :'issuer');
SELECT cozi.add_jwks(:'all_keys'::jsonb #> '{keys,0}', :'issuer');
SELECT cozi.add_jwks(:'all_keys', '');
SELECT cozi.add_jwks(:'all_keys', :'issuer', '{}');
SELECT cozi.add_jwks(:'all_keys', :'issuer', '{web,NULL}');
SELECT cozi.add_jwks(:'all_keys', :'issuer', '{""}');
SELECT cozi.add_jwks(:'all_keys', :'issuer', grace => '-1 s');
SELECT cozi.add_jwks(:'all_keys', :'issuer', grace => NULL);
SELECT count(*) AS keys, count(retired_at) AS retired FROM cozi.jwks;
EXECUTE add(:'all_keys', :'issuer', '0');
TRUNCATE cozi.jwks;
