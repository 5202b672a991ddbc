-- identity: a whole document of an issuer's keys

CREATE OR REPLACE FUNCTION _add_jwk(key jsonb, issuer text, audience text[], id_tokens boolean,
                                    seen uuid[], OUT id uuid, OUT action text, OUT reason text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old cozi.jwks;
BEGIN
    SELECT * INTO old
    FROM cozi.jwks k
    WHERE k.issuer IS NOT DISTINCT FROM _add_jwk.issuer
      AND (k.kid = key ->> 'kid' AND k.alg = cozi.jwk_alg(key)
           OR k.kid IS NULL AND k.jwk = key)
    ORDER BY k.id = ANY (seen), k.added_by = 'add_jwks' DESC, k.retired_at DESC NULLS FIRST
    LIMIT 1;
    id := old.id;
    IF old.id IS NULL THEN
        id := cozi._add_key(key, NULL, _add_jwk.issuer, _add_jwk.audience, _add_jwk.id_tokens,
                            false, 'add_jwks');
        action := 'added';
    ELSIF old.id = ANY (seen) THEN
        action := 'ignored';
        reason := 'the document has a key of that name twice';
    ELSIF old.added_by <> 'add_jwks' THEN
        action := 'ignored';
        reason := format('%s() has added a key of that name', old.added_by);
    ELSIF old.retired_at IS NOT NULL AND old.retired_by IS DISTINCT FROM 'add_jwks' THEN
        action := 'ignored';
        reason := 'retire_key() has retired it; add_key() can add it again';
    ELSIF (old.jwk, old.audience, old.id_tokens, old.retired_at)
          IS NOT DISTINCT FROM (key, _add_jwk.audience, _add_jwk.id_tokens, NULL::timestamptz) THEN
        action := 'unchanged';
    ELSE
        UPDATE cozi.jwks k
           SET jwk = key, audience = _add_jwk.audience, id_tokens = _add_jwk.id_tokens,
               retired_at = NULL, retired_by = NULL
         WHERE k.id = old.id;
        action := 'updated';
        reason := CASE WHEN old.retired_at IS NOT NULL THEN 'it is published again'
                       WHEN old.jwk <> key THEN 'the key has changed'
                       ELSE 'its audience or id_tokens has changed' END;
    END IF;
    IF action <> 'ignored' AND key ->> 'kty' = 'oct' THEN
        reason := concat_ws('; ', reason, 'it is a secret: the document must not be public');
    END IF;
END
$$;
COMMENT ON FUNCTION _add_jwk(jsonb, text, text[], boolean, uuid[]) IS
'Adds or updates a sound key of a document, unless it is among those seen';

CREATE OR REPLACE FUNCTION add_jwks(document jsonb, issuer text = NULL, audience text[] = NULL,
                                    id_tokens boolean = false, grace interval = '0')
    RETURNS TABLE (kid text, alg text, action text, reason text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    key jsonb;
    id uuid;
    seen uuid[] = '{}';
    refused text[] = '{}';
BEGIN
    IF document IS NULL THEN
        RAISE EXCEPTION 'argument "document" must not be null'
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF jsonb_typeof(document -> 'keys') IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'the document is not a set of JSON Web Keys'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A set is an object with an array "keys" (RFC 7517 section 5); '
                         'a single key is for cozi.add_key().';
    ELSIF grace IS NULL OR grace < '0' THEN
        RAISE EXCEPTION 'argument "grace" must be a span of time, 0 or longer'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM cozi._check_issuer(issuer, audience);
    id_tokens := coalesce(id_tokens, false);
    LOCK TABLE cozi.jwks IN SHARE ROW EXCLUSIVE MODE;

    FOR key IN SELECT e.value FROM jsonb_array_elements(document -> 'keys') AS e LOOP
        kid := key ->> 'kid';
        reason := cozi.check_key(key);
        IF reason IS NULL THEN
            alg := cozi.jwk_alg(key);
            SELECT a.id, a.action, a.reason INTO id, action, reason
            FROM cozi._add_jwk(key, issuer, audience, id_tokens, seen) AS a;
            seen := seen || id;
        ELSE
            alg := key ->> 'alg';
            action := 'ignored';
            refused := refused || format('"%s": %s', kid, reason);
        END IF;
        RETURN NEXT;
    END LOOP;

    IF seen = '{}' THEN
        RAISE EXCEPTION 'the document has no key that can verify signatures'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = coalesce(nullif(array_to_string(refused[1:10], '; '), ''),
                                    'It has no key at all.'),
                  HINT = 'Nothing was changed; look at what the address of the keys returned.';
    END IF;

    FOR kid, alg IN
        UPDATE cozi.jwks k
           SET retired_at = clock_timestamp() + grace, retired_by = 'add_jwks'
         WHERE k.added_by = 'add_jwks' AND k.issuer IS NOT DISTINCT FROM issuer
           AND k.id <> ALL (seen)
           AND coalesce(k.retired_at, 'infinity') > clock_timestamp() + grace
        RETURNING k.kid, k.alg
    LOOP
        action := 'retired';
        reason := 'the document no longer has it'
                  || CASE WHEN grace > '0' THEN '; it is believed until the grace ends' ELSE '' END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION add_jwks(jsonb, text, text[], boolean, interval) IS
'Adds, updates and retires the keys of an issuer as its published document (a JSON Web Key Set) '
'says, and returns one row per key: added, updated, unchanged, retired or ignored, and why; a key '
'that vanished is believed for the grace; with an issuer only tokens of that iss and audience are '
'believed';
