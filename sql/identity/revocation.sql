-- identity: tokens and users that were revoked: src/identity/revocation.c

CREATE TABLE revocations (
    kind          text COLLATE "C" CHECK (kind OPERATOR(pg_catalog.=) ANY ('{token,user}')),
    value         text COLLATE "C"
                  CHECK (pg_catalog.octet_length(value) OPERATOR(pg_catalog.<=) 1024),
    issued_before timestamptz,
    until         timestamptz NOT NULL,
    revoked_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (kind, value)
);
COMMENT ON TABLE revocations IS
'One row per token or user that was revoked; login() asks it for each token';
COMMENT ON COLUMN revocations.kind IS 'token or user';
COMMENT ON COLUMN revocations.value IS
'The jti of the token, or the subject of the user; a digest of one that has more than 1024 bytes';
COMMENT ON COLUMN revocations.issued_before IS
'Tokens of the user that were issued before are refused; NULL for a token';
COMMENT ON COLUMN revocations.until IS
'When no such token can be valid any more; the row goes an hour later';
COMMENT ON COLUMN revocations.revoked_at IS 'When it was revoked';
SELECT pg_catalog.pg_extension_config_dump('cozi.revocations', '');
CREATE OR REPLACE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON revocations
    FOR EACH ROW EXECUTE FUNCTION cozi._keys_changed();
CREATE OR REPLACE TRIGGER truncated AFTER TRUNCATE ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION cozi._keys_changed();
ALTER TABLE revocations ENABLE ALWAYS TRIGGER changed;
ALTER TABLE revocations ENABLE ALWAYS TRIGGER truncated;

-- The tokens ended at until, and the leeway is an hour at most.  Rows that
-- another session is about to change are left to it.
CREATE OR REPLACE FUNCTION _purge_revocations() RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    DELETE FROM cozi.revocations r
    USING (SELECT o.kind, o.value
           FROM cozi.revocations o
           WHERE o.until OPERATOR(pg_catalog.<)
                 (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '1 hour'::pg_catalog.interval)
           LIMIT 100
           FOR UPDATE SKIP LOCKED) AS o
    WHERE r.kind OPERATOR(pg_catalog.=) o.kind AND r.value OPERATOR(pg_catalog.=) o.value;
END;
COMMENT ON FUNCTION _purge_revocations() IS
'Deletes up to 100 revocations of tokens that have ended';
CREATE INDEX revocations_until_idx ON revocations (until);

CREATE OR REPLACE FUNCTION _stored_value(kind text, value text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_stored_value'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _stored_value(text, text) IS
'Returns a jti (kind token) or a subject (kind user) as it stands in table revocations';

CREATE OR REPLACE FUNCTION revoke_token(jti text, until timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF jti IS NULL OR until IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN jti IS NULL THEN 'jti' ELSE 'until' END
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF jti = '' THEN
        RAISE EXCEPTION 'argument "jti" must not be empty'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO cozi.revocations AS r (kind, value, until)
    VALUES ('token', cozi._stored_value('token', revoke_token.jti), revoke_token.until)
    ON CONFLICT (kind, value) DO UPDATE SET until = greatest(r.until, excluded.until);
    PERFORM cozi._purge_revocations();
END
$$;
COMMENT ON FUNCTION revoke_token(text, timestamptz) IS
'Revokes the token of that jti: from the commit on no login() believes it; until is the exp of the '
'token, after which the revocation is forgotten';

CREATE OR REPLACE FUNCTION revoke_user(subject text, issued_before timestamptz = now()) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lifetime interval;
BEGIN
    IF subject IS NULL OR issued_before IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN subject IS NULL THEN 'subject' ELSE 'issued_before' END
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF subject = '' THEN
        RAISE EXCEPTION 'argument "subject" must not be empty'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM cozi.uid();     -- loads the library, which defines the settings
    lifetime := current_setting('cozi.jwt_max_lifetime')::interval;
    INSERT INTO cozi.revocations AS r (kind, value, issued_before, until)
    VALUES ('user', cozi._stored_value('user', revoke_user.subject), revoke_user.issued_before,
            CASE WHEN lifetime = '0' THEN 'infinity'
                 ELSE greatest(revoke_user.issued_before, now()) + lifetime END)
    ON CONFLICT (kind, value) DO UPDATE
       SET issued_before = greatest(r.issued_before, excluded.issued_before),
           until = greatest(r.until, excluded.until);
    PERFORM cozi._purge_revocations();
END
$$;
COMMENT ON FUNCTION revoke_user(text, timestamptz) IS
'Revokes all tokens of a user (their sub) that were issued before the instant, which their iat '
'tells; a token without iat counts as issued before; the revocation is forgotten after '
'cozi.jwt_max_lifetime';
