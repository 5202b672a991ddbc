-- identity: the keys that tokens are signed with: src/identity/key.c

CREATE OR REPLACE FUNCTION jwk_alg(jwk jsonb) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_jwk_alg'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION jwk_alg(jsonb) IS
'Returns the one signature algorithm that a JSON Web Key verifies; an error (22023) when it is no '
'sound key; NULL for NULL';

CREATE OR REPLACE FUNCTION check_key(jwk jsonb) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_check_key'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION check_key(jsonb) IS
'Returns why add_key() would refuse a JSON Web Key; NULL when it would not';

CREATE OR REPLACE FUNCTION _jwk_alg(jwk jsonb) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_jwk_alg_if'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _jwk_alg(jsonb) IS
'Returns what jwk_alg() returns, and NULL where that is an error';

CREATE OR REPLACE FUNCTION _check_length(argument text, value text, bytes int = 1024) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF octet_length(value) > bytes THEN
        RAISE EXCEPTION 'argument "%" must have at most % bytes', argument, bytes
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
COMMENT ON FUNCTION _check_length(text, text, int) IS
'Raises an error where a text is too long for an index';

CREATE OR REPLACE FUNCTION _check_key_issuer(issuer text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF octet_length(issuer) > 1024 THEN
        RAISE EXCEPTION 'column "issuer" of table "jwks" must have at most 1024 bytes'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION _check_key_issuer(text) IS
'Raises an error where the issuer of a key is too long for an index; else true';

-- Row-level security without a policy: to everybody but the owner the table is
-- empty, pg_read_all_data included, and no statistics are gathered of what
-- pg_statistic would show them.  No CHECK and no other constraint whose error
-- would print the row: the one there is raises its own.  The id is no serial:
-- pg_dump -s by the owner of the database would fail at its sequence.
CREATE TABLE jwks (
    id         uuid PRIMARY KEY DEFAULT cozi.uuid7(),
    jwk        jsonb NOT NULL,
    kid        text COLLATE "C"
               GENERATED ALWAYS AS (jwk OPERATOR(pg_catalog.->>) 'kid') STORED,
    alg        text COLLATE "C" GENERATED ALWAYS AS (cozi.jwk_alg(jwk)) STORED,
    not_before timestamptz,
    retired_at timestamptz,
    created_at timestamptz DEFAULT pg_catalog.now(),
    issuer     text COLLATE "C" CHECK (cozi._check_key_issuer(issuer)),
    audience   text[],
    id_tokens  boolean NOT NULL DEFAULT false,
    any_kid    boolean NOT NULL DEFAULT false,
    added_by   text NOT NULL DEFAULT 'add_key',
    retired_by text
);
CREATE UNIQUE INDEX jwks_name_key ON jwks (coalesce(issuer, ''), kid, alg);
CREATE INDEX jwks_kid_idx ON jwks (kid);    -- login() reads the keys of a kid by it
ALTER TABLE jwks ALTER COLUMN jwk SET STATISTICS 0;
ALTER TABLE jwks ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE jwks IS 'One row per key that tokens are signed with; readable by the owner alone';
COMMENT ON COLUMN jwks.id IS 'Numbers the keys in the order of their addition';
COMMENT ON COLUMN jwks.jwk IS 'The JSON Web Key (RFC 7517): a public key, or a secret';
COMMENT ON COLUMN jwks.kid IS 'The kid of the tokens that it verifies; NULL: tokens without kid';
COMMENT ON COLUMN jwks.alg IS 'The one algorithm that it verifies';
COMMENT ON COLUMN jwks.not_before IS 'Believed from this instant on; NULL: always';
COMMENT ON COLUMN jwks.retired_at IS 'No longer believed from this instant on; NULL: in use';
COMMENT ON COLUMN jwks.created_at IS 'When it was added';
COMMENT ON COLUMN jwks.issuer IS
'The iss that its tokens must have; NULL: cozi.jwt_issuer and cozi.jwt_audience judge them';
COMMENT ON COLUMN jwks.audience IS
'The audiences, of which its tokens must name one; NULL: any, or cozi.jwt_audience';
COMMENT ON COLUMN jwks.id_tokens IS 'Whether identity tokens are logins, too';
COMMENT ON COLUMN jwks.any_kid IS 'Whether a key without kid verifies tokens that have one, too';
COMMENT ON COLUMN jwks.added_by IS 'The function that added it: add_key, add_secret or add_jwks';
COMMENT ON COLUMN jwks.retired_by IS 'The function that retired it: retire_key or add_jwks';
SELECT pg_catalog.pg_extension_config_dump('cozi.jwks', '');

-- For each row, because a subscription fires no other; TRUNCATE has no rows.
CREATE OR REPLACE FUNCTION _keys_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_keys_changed'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _keys_changed() IS
'Tells all sessions, at commit, to read the table again; for the triggers of jwks and revocations';
CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON jwks
    FOR EACH ROW EXECUTE FUNCTION cozi._keys_changed();
CREATE OR REPLACE TRIGGER truncated AFTER TRUNCATE ON jwks
    FOR EACH STATEMENT EXECUTE FUNCTION cozi._keys_changed();
ALTER TABLE jwks ENABLE ALWAYS TRIGGER changed;
ALTER TABLE jwks ENABLE ALWAYS TRIGGER truncated;

CREATE OR REPLACE FUNCTION _check_issuer(issuer text, audience text[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF issuer = '' THEN
        RAISE EXCEPTION 'argument "issuer" must not be empty'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It is the iss of the tokens; NULL leaves them to cozi.jwt_issuer.';
    END IF;
    IF cardinality(audience) = 0 OR array_position(audience, NULL) IS NOT NULL
       OR '' = ANY (audience) THEN
        RAISE EXCEPTION 'argument "audience" must have elements, and none that is null or empty'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'NULL allows any audience.';
    END IF;
    PERFORM cozi._check_length('issuer', issuer);
    PERFORM cozi._check_length('audience', a) FROM unnest(audience) a;
END
$$;
COMMENT ON FUNCTION _check_issuer(text, text[]) IS
'Raises an error unless an issuer and its audiences may stand in table jwks';

CREATE OR REPLACE FUNCTION _add_key(jwk jsonb, not_before timestamptz, issuer text,
                                    audience text[], id_tokens boolean, any_kid boolean,
                                    added_by text) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    new_id uuid;
BEGIN
    PERFORM cozi._check_issuer(_add_key.issuer, _add_key.audience);
    INSERT INTO cozi.jwks AS k (jwk, not_before, issuer, audience, id_tokens, any_kid, added_by)
    VALUES (coalesce(_add_key.jwk, 'null'), _add_key.not_before, _add_key.issuer,
            _add_key.audience, coalesce(_add_key.id_tokens, false),
            coalesce(_add_key.any_kid, false), _add_key.added_by)
    ON CONFLICT (coalesce(issuer, ''), kid, alg) DO UPDATE
       SET jwk = excluded.jwk, not_before = excluded.not_before, retired_at = NULL,
           created_at = excluded.created_at, audience = excluded.audience,
           id_tokens = excluded.id_tokens, any_kid = excluded.any_kid,
           added_by = excluded.added_by, retired_by = NULL
     WHERE k.retired_at IS NOT NULL
    RETURNING k.id INTO new_id;
    IF new_id IS NULL THEN
        RAISE EXCEPTION 'a key "%" for % is in use already', _add_key.jwk ->> 'kid',
            cozi.jwk_alg(_add_key.jwk)
            USING ERRCODE = 'unique_violation',
                  HINT = 'Retire it with cozi.retire_key() first, or give the new key another kid.';
    END IF;
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION _add_key(jsonb, timestamptz, text, text[], boolean, boolean, text) IS
'Adds a key to table jwks, in the place of a retired one of the same name, and returns its id';

CREATE OR REPLACE FUNCTION add_key(jwk jsonb, not_before timestamptz = NULL, issuer text = NULL,
                                   audience text[] = NULL, id_tokens boolean = false) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT cozi._add_key(jwk, not_before, issuer, audience, id_tokens, false, 'add_key');
END;
COMMENT ON FUNCTION add_key(jsonb, timestamptz, text, text[], boolean) IS
'Adds a key (a JSON Web Key): tokens that it has signed are believed, from not_before on, and with '
'an issuer only tokens of that iss and audience';

CREATE OR REPLACE FUNCTION _secret_jwk(secret text, kid text, alg text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
               'kty', 'oct', 'alg', alg, 'kid', kid,
               'k', pg_catalog.translate(
                        pg_catalog.encode(pg_catalog.convert_to(secret, 'UTF8'), 'base64'),
                        E'+/=\n', '-_')));
END;
COMMENT ON FUNCTION _secret_jwk(text, text, text) IS
'Returns a secret, the bytes of its text, as a JSON Web Key';

CREATE OR REPLACE FUNCTION add_secret(secret text, kid text = NULL, not_before timestamptz = NULL,
                                      alg text = 'HS256', issuer text = NULL,
                                      audience text[] = NULL, id_tokens boolean = false,
                                      any_kid boolean = false) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF any_kid AND kid IS NOT NULL THEN
        RAISE EXCEPTION 'a secret with a kid cannot serve tokens of any kid'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Leave out kid, or any_kid.';
    END IF;
    PERFORM cozi._add_key(cozi._secret_jwk(secret, kid, alg), not_before, issuer, audience,
                          id_tokens, any_kid, 'add_secret');
END
$$;
COMMENT ON FUNCTION add_secret(text, text, timestamptz, text, text, text[], boolean, boolean) IS
'Adds a secret, the bytes of its text (at least 32 for HS256, 48 for HS384, 64 for HS512): tokens '
'signed with it are believed; with any_kid also those that have a kid';

CREATE OR REPLACE FUNCTION rotate_secret(secret text, grace interval = '0', issuer text = NULL,
                                         alg text = NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old cozi.jwks;
    new_id uuid;
BEGIN
    IF grace IS NULL OR grace < '0' THEN
        RAISE EXCEPTION 'argument "grace" must be a span of time, 0 or longer'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOCK TABLE cozi.jwks IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO old
    FROM cozi.jwks k
    WHERE k.kid IS NULL AND k.jwk ->> 'kty' = 'oct'
      AND k.issuer IS NOT DISTINCT FROM rotate_secret.issuer
      AND coalesce(k.retired_at, 'infinity') > clock_timestamp()
    ORDER BY k.created_at DESC, k.id DESC
    LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no secret without kid in use'
            USING ERRCODE = 'undefined_object',
                  HINT = 'Add the first with cozi.add_secret().';
    END IF;
    new_id := cozi._add_key(cozi._secret_jwk(secret, NULL, coalesce(rotate_secret.alg, old.alg)),
                            NULL, old.issuer, old.audience, old.id_tokens, old.any_kid,
                            'add_secret');
    UPDATE cozi.jwks k
       SET retired_at = clock_timestamp() + grace, retired_by = 'retire_key'
     WHERE k.kid IS NULL AND k.jwk ->> 'kty' = 'oct' AND k.id <> new_id
       AND k.issuer IS NOT DISTINCT FROM rotate_secret.issuer
       AND coalesce(k.retired_at, 'infinity') > clock_timestamp() + grace;
END
$$;
COMMENT ON FUNCTION rotate_secret(text, interval, text, text) IS
'Adds a secret in the place of the secrets without kid of the same issuer, which are retired after '
'the grace; the new one has their audience and, where alg is NULL, their algorithm';

CREATE OR REPLACE FUNCTION retire_key(kid text, at timestamptz = NULL, issuer text = NULL,
                                      alg text = NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[];
    issuers text[];
BEGIN
    SELECT array_agg(k.id), array_agg(DISTINCT coalesce(k.issuer, '')) INTO ids, issuers
    FROM cozi.jwks k
    WHERE k.kid IS NOT DISTINCT FROM retire_key.kid
      AND (retire_key.issuer IS NULL OR coalesce(k.issuer, '') = retire_key.issuer)
      AND (retire_key.alg IS NULL OR k.alg = retire_key.alg)
      AND coalesce(k.retired_at, 'infinity') > clock_timestamp();
    IF ids IS NULL THEN
        RAISE EXCEPTION 'there is no key "%" in use', coalesce(retire_key.kid, '(without kid)')
            USING ERRCODE = 'undefined_object',
                  HINT = 'SELECT issuer, kid, alg, not_before, retired_at FROM cozi.jwks '
                         'lists the keys.';
    ELSIF cardinality(issuers) > 1 THEN
        RAISE EXCEPTION 'key "%" is a key of % issuers', coalesce(retire_key.kid, '(without kid)'),
            cardinality(issuers)
            USING ERRCODE = 'cardinality_violation',
                  DETAIL = format('The issuers are: "%s".', array_to_string(issuers, '", "')),
                  HINT = 'Name one by the argument issuer; '''' means the keys without issuer.';
    END IF;
    UPDATE cozi.jwks k
       SET retired_at = coalesce(retire_key.at, clock_timestamp()), retired_by = 'retire_key'
     WHERE k.id = ANY (ids);
END
$$;
COMMENT ON FUNCTION retire_key(text, timestamptz, text, text) IS
'Retires a key: its tokens are believed no longer, from now or the given instant on; NULL as kid '
'means the keys without kid';
