-- identity: a whole document of an issuer's keys

-- What is done with each key of a document, by one join of the document with
-- the table, so that a document of a thousand keys takes ten times as long as
-- one of a hundred.  A key is found by its name, one without kid by itself.
CREATE OR REPLACE FUNCTION _judge_jwks(document jsonb, issuer text, audience text[],
                                       id_tokens boolean)
    RETURNS TABLE (n bigint, jwk jsonb, kid text, alg text, id uuid, action text, reason text)
    LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH key AS MATERIALIZED (
        SELECT e.n, e.jwk ->> 'kid' AS kid, a.alg, e.jwk ->> 'alg' AS written_alg,
               CASE WHEN a.alg IS NULL THEN cozi.check_key(e.jwk) END AS fault,
               -- what is no key may be ten megabytes
               CASE WHEN a.alg IS NOT NULL THEN e.jwk END AS jwk,
               CASE WHEN a.alg IS NOT NULL AND e.jwk ->> 'kid' IS NULL THEN e.jwk
                    ELSE 'null' END AS itself
        FROM jsonb_array_elements(document -> 'keys') WITH ORDINALITY AS e (jwk, n)
        CROSS JOIN LATERAL (SELECT cozi._jwk_alg(e.jwk) AS alg OFFSET 0) AS a
    ), counted AS (
        SELECT *, row_number() OVER (PARTITION BY k.kid, k.alg, k.itself ORDER BY k.n) AS nth,
               row_number() OVER (PARTITION BY k.alg IS NULL, k.kid IS NULL ORDER BY k.n) AS place
        FROM key k
    ), known AS (
        SELECT *, CASE WHEN o.kid IS NULL THEN o.jwk ELSE 'null' END AS itself
        FROM cozi.jwks o
        WHERE o.issuer IS NOT DISTINCT FROM _judge_jwks.issuer
    ), found AS (
        SELECT DISTINCT ON (k.n) k.*, o.id, o.added_by, o.retired_by, o.retired_at,
               o.jwk <> k.jwk AS is_another,
               (o.audience, o.id_tokens)
               IS DISTINCT FROM (_judge_jwks.audience, _judge_jwks.id_tokens) AS differs
        FROM counted k
        LEFT JOIN known o ON coalesce(o.kid, '') = coalesce(k.kid, '') AND o.alg = k.alg
                         AND o.itself = k.itself
        ORDER BY k.n, o.added_by = 'add_jwks' DESC, o.retired_at DESC NULLS FIRST
    ), judged AS (
        SELECT f.*,
               CASE WHEN f.alg IS NULL THEN f.fault
                    WHEN f.nth > 1 THEN 'the document has a key of that name twice'
                    WHEN f.kid IS NULL AND f.place > 100
                    THEN 'the document has more than 100 keys without kid'
                    WHEN f.added_by <> 'add_jwks'
                    THEN format('%s() has added a key of that name', f.added_by)
                    WHEN f.retired_at IS NOT NULL AND f.retired_by IS DISTINCT FROM 'add_jwks'
                    THEN 'retire_key() has retired it; add_key() can add it again'
               END AS refusal,
               CASE WHEN f.id IS NULL THEN NULL
                    WHEN f.retired_at IS NOT NULL THEN 'it is published again'
                    WHEN f.is_another THEN 'the key has changed'
                    WHEN f.differs THEN 'its audience or id_tokens has changed'
               END AS change
        FROM found f
    )
    SELECT j.n, j.jwk, j.kid, coalesce(j.alg, j.written_alg), j.id,
           CASE WHEN j.refusal IS NOT NULL THEN 'ignored' WHEN j.id IS NULL THEN 'added'
                WHEN j.change IS NULL THEN 'unchanged' ELSE 'updated' END,
           coalesce(j.refusal,
                    nullif(concat_ws('; ', j.change,
                                     CASE WHEN j.jwk ->> 'kty' = 'oct'
                                          THEN 'it is a secret: the document must not be public'
                                     END), ''))
    FROM judged j
$$;
COMMENT ON FUNCTION _judge_jwks(jsonb, text, text[], boolean) IS
'Returns one row per key of a document, with what add_jwks() does with it and why';

CREATE OR REPLACE FUNCTION add_jwks(document jsonb, issuer text = NULL, audience text[] = NULL,
                                    id_tokens boolean = false, grace interval = '0')
    RETURNS TABLE (kid text, alg text, action text, reason text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
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
    PERFORM FROM jsonb_array_elements(document -> 'keys') AS e (jwk)
    WHERE cozi._jwk_alg(e.jwk) IS NOT NULL LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the document has no key that can verify signatures'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = coalesce(
                      (SELECT string_agg(format('"%s": %s', e.jwk ->> 'kid',
                                                cozi.check_key(e.jwk)), '; ')
                       FROM (SELECT jsonb_array_elements(document -> 'keys') LIMIT 10) AS e (jwk)),
                      'It has no key at all.'),
                  HINT = 'Nothing was changed; look at what the address of the keys returned.';
    END IF;
    LOCK TABLE cozi.jwks IN SHARE ROW EXCLUSIVE MODE;

    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT * FROM cozi._judge_jwks(document, issuer, audience, id_tokens)
    ), added AS (
        INSERT INTO cozi.jwks (jwk, issuer, audience, id_tokens, added_by)
        SELECT j.jwk, add_jwks.issuer, add_jwks.audience, add_jwks.id_tokens, 'add_jwks'
        FROM judged j WHERE j.action = 'added' ORDER BY j.n
    ), updated AS (
        UPDATE cozi.jwks k
           SET jwk = j.jwk, audience = add_jwks.audience, id_tokens = add_jwks.id_tokens,
               retired_at = NULL, retired_by = NULL
          FROM judged j
         WHERE j.action = 'updated' AND k.id = j.id
    ), retired AS (
        UPDATE cozi.jwks k
           SET retired_at = clock_timestamp() + grace, retired_by = 'add_jwks'
         WHERE k.added_by = 'add_jwks' AND k.issuer IS NOT DISTINCT FROM add_jwks.issuer
           AND NOT EXISTS (SELECT FROM judged j WHERE j.id = k.id)
           AND coalesce(k.retired_at, 'infinity') > clock_timestamp() + grace
        RETURNING k.id, k.kid, k.alg
    ), told AS (
        SELECT false AS is_gone, j.n, NULL::uuid AS id, j.kid, j.alg, j.action, j.reason
        FROM judged j
        UNION ALL
        SELECT true, NULL, r.id, r.kid, r.alg, 'retired',
               'the document no longer has it'
               || CASE WHEN grace > '0' THEN '; it is believed until the grace ends' ELSE '' END
        FROM retired r
    )
    SELECT t.kid, t.alg, t.action, t.reason FROM told t ORDER BY t.is_gone, t.n, t.id;
END
$$;
COMMENT ON FUNCTION add_jwks(jsonb, text, text[], boolean, interval) IS
'Adds, updates and retires the keys of an issuer as its published document (a JSON Web Key Set) '
'says, and returns one row per key: added, updated, unchanged, retired or ignored, and why; a key '
'that vanished is believed for the grace; with an issuer only tokens of that iss and audience are '
'believed';
