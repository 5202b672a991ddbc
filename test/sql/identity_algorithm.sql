-- Every algorithm: keys and tokens that another library made, each judged at
-- the time of the tokens.
\set vectors `cat "$PG_ABS_SRCDIR/test/vectors/identity_algorithms.tsv"`
CREATE TEMP TABLE vector AS
    SELECT split_part(line, E'\t', 1) AS kind, split_part(line, E'\t', 2) AS name,
           split_part(line, E'\t', 3)::jsonb AS jwk, split_part(line, E'\t', 4) AS token, n
    FROM string_to_table(:'vectors', E'\n') WITH ORDINALITY l(line, n) WHERE line <> '';
-- why the token is refused when the key is the only one there is
CREATE FUNCTION pg_temp.judge(jwk jsonb, token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE cozi.jwks;
    PERFORM cozi.add_key(jwk);
    RETURN cozi.check_token(token, '2026-01-01 00:00:00+00');
END $$;

SELECT name, cozi.jwk_alg(jwk) AS alg, pg_temp.judge(jwk, token) AS reason FROM vector
    WHERE kind = 'good' ORDER BY n;
SELECT name, pg_temp.judge(jwk, token) AS reason FROM vector WHERE kind = 'bad' ORDER BY n;

-- With all keys there: a good token is bad when one byte of it is another,
-- when it is cut anywhere, and under each other algorithm's name.
TRUNCATE cozi.jwks;
DO $$ BEGIN PERFORM cozi.add_key(jwk) FROM vector WHERE kind = 'good'
    AND name = jwk ->> 'kid'; END $$;
SELECT count(*) AS good, count(cozi.check_token(token, '2026-01-01 00:00:00+00')) AS refused
    FROM vector WHERE kind = 'good' AND name = jwk ->> 'kid';
SELECT name, count(*) AS changed,
       count(cozi.check_token(overlay(token PLACING CASE substr(token, i,
           1) WHEN 'A' THEN 'B' ELSE 'A' END FROM i), '2026-01-01 00:00:00+00')) AS refused
FROM vector, generate_series(1, length(token)) i
WHERE kind = 'good' AND name = jwk ->> 'kid' AND substr(token, i, 1) <> '.'
GROUP BY name, n ORDER BY n;
SELECT name, count(*) AS cut, count(cozi.check_token(left(token, i), '2026-01-01 00:00:00+00'))
    AS refused
FROM vector, generate_series(0, length(token) - 1) i
WHERE kind = 'good' AND name = jwk ->> 'kid' GROUP BY name, n ORDER BY n;
CREATE FUNCTION pg_temp.header(alg text, kid text) RETURNS text LANGUAGE sql
    RETURN translate(encode(convert_to(format('{"alg":"%s","kid":"%s"}', alg, kid), 'UTF8'),
        'base64'), E'+/=\n', '-_');
SELECT count(*) AS renamed, count(cozi.check_token(regexp_replace(t.token, '^[^.]*',
    pg_temp.header(h.name, k.name)), '2026-01-01 00:00:00+00')) AS refused
FROM vector t, vector h, vector k
WHERE t.kind = 'good' AND t.name = t.jwk ->> 'kid' AND h.kind = 'good'
    AND h.name = h.jwk ->> 'kid' AND k.kind = 'good' AND k.name = k.jwk ->> 'kid'
  AND (h.name, k.name) <> (t.name, t.name);

-- Ed25519: 32 bytes that are no sound public key.  p is 2^255 - 19.
CREATE FUNCTION pg_temp.ed(bytes text) RETURNS text LANGUAGE sql
    RETURN cozi.check_key(jsonb_build_object('kty', 'OKP', 'crv', 'Ed25519',
                                             'x', translate(encode(decode(bytes, 'hex'),
                                                 'base64'), E'+/=\n', '-_')));
SELECT name, pg_temp.ed(bytes) AS reason FROM (VALUES
    ('the identity point', '0100000000000000000000000000000000000000000000000000000000000000'),
    ('the identity point, x negative',
        '0100000000000000000000000000000000000000000000000000000000000080'),
    ('order 2', 'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    ('order 4', '0000000000000000000000000000000000000000000000000000000000000000'),
    ('order 4, x negative', '0000000000000000000000000000000000000000000000000000000000000080'),
    ('order 8', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'),
    ('order 8, x negative', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85'),
    ('order 8, the other y', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'),
    ('order 8, the other y, x negative',
        'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa'),
    ('y = p: the identity written otherwise',
        'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    ('y = p', 'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    ('y = 2^255 - 1', 'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'),
    ('y = 2: no such point', '0200000000000000000000000000000000000000000000000000000000000000'),
    ('y = 7: no such point', '0700000000000000000000000000000000000000000000000000000000000000'),
    ('y = 3: a point', '0300000000000000000000000000000000000000000000000000000000000000'),
    ('the base point', '5866666666666666666666666666666666666666666666666666666666666666'),
    ('RFC 8032, test 1', 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'),
    ('RFC 8032, test 2', '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'),
    ('RFC 8032, test 3', 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025'))
        v(name, bytes);

-- secrets shorter than the digest
SELECT alg, len, cozi.check_key(jsonb_build_object('kty', 'oct', 'alg', alg, 'k',
    translate(encode(convert_to(repeat('s', len), 'UTF8'), 'base64'), E'+/=\n', '-_'))) AS reason
FROM (VALUES ('HS256', 31), ('HS256', 32), ('HS384', 47), ('HS384', 48), ('HS512', 63), ('HS512',
    64)) v(alg, len);
TRUNCATE cozi.jwks;
