-- Tokens for tests, signed in plain SQL: what login() is compared with shares
-- no line with it.
CREATE FUNCTION pg_temp.base64url(bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN translate(encode(bytes, 'base64'), E'+/=\n', '-_');

CREATE FUNCTION pg_temp.bytes_xor(bytes bytea, x int) RETURNS bytea LANGUAGE sql IMMUTABLE
    RETURN (SELECT string_agg(set_byte('\x00', 0, get_byte(bytes, i) # x), '' ORDER BY i)
            FROM generate_series(0, length(bytes) - 1) i);

-- RFC 2104, for keys of at most 64 bytes
CREATE FUNCTION pg_temp.hmac(message bytea, key bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    k bytea := key || decode(repeat('00', 64 - length(key)), 'hex');
BEGIN
    RETURN sha256(pg_temp.bytes_xor(k, 92) || sha256(pg_temp.bytes_xor(k, 54) || message));
END $$;

CREATE FUNCTION pg_temp.sign_bytes(payload bytea, header text = '{"alg":"HS256","typ":"JWT"}',
                                   secret text = 'a secret of the tests, with 32 bytes or more')
    RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT s || '.' || pg_temp.base64url(pg_temp.hmac(convert_to(s, 'UTF8'),
                                                      convert_to(secret, 'UTF8')))
    FROM (SELECT pg_temp.base64url(convert_to(header, 'UTF8')) || '.'
                 || pg_temp.base64url(payload)) t(s)
$$;

CREATE FUNCTION pg_temp.sign(payload text, header text = '{"alg":"HS256","typ":"JWT"}',
                             secret text = 'a secret of the tests, with 32 bytes or more')
    RETURNS text LANGUAGE sql IMMUTABLE
    RETURN pg_temp.sign_bytes(convert_to(payload, 'UTF8'), header, secret);

-- a good token: seconds until it ends, further claims
CREATE FUNCTION pg_temp.token(sub text, more jsonb = '{}',
                              secret text = 'a secret of the tests, with 32 bytes or more')
    RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.sign((jsonb_build_object('sub', sub,
                                            'exp', extract(epoch FROM now())::bigint + 600)
                         || more)::text,
                        secret => secret)
$$;
