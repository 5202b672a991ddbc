-- identity: what an administrator should know of it; the auth.* functions are
-- those of Supabase, whose policies call them.

CREATE OR REPLACE FUNCTION _key_status() RETURNS TABLE (item text, state text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT has_table_privilege('cozi.jwks', 'select') OR row_security_active('cozi.jwks') THEN
        RETURN QUERY
            SELECT 'cozi.jwks', NULL::text, 'only the owner of the extension sees the keys';
        RETURN;
    END IF;
    RETURN QUERY
        WITH usable AS (
            SELECT k.issuer, k.audience FROM cozi.jwks k
            WHERE coalesce(k.not_before, '-infinity') <= clock_timestamp()
              AND coalesce(k.retired_at, 'infinity') > clock_timestamp()
        )
        SELECT 'cozi.jwks', CASE count(*) WHEN 0 THEN 'warn' ELSE 'ok' END,
               format('%s keys in use', count(*))
        FROM usable
        UNION ALL
        (SELECT 'issuer ' || u.issuer,
                CASE WHEN bool_or(u.audience IS NULL) THEN 'warn' ELSE 'ok' END,
                format('%s keys in use%s', count(*),
                       CASE WHEN bool_or(u.audience IS NULL) THEN ', for any audience' END)
         FROM usable u WHERE u.issuer IS NOT NULL GROUP BY u.issuer ORDER BY u.issuer);
END
$$;
COMMENT ON FUNCTION _key_status() IS
'Returns the rows of identity_status() about the keys and their issuers';

CREATE OR REPLACE FUNCTION identity_status() RETURNS TABLE (item text, state text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cozi.uid();     -- loads the library, which defines the settings
    RETURN QUERY
        SELECT s.item,
               CASE WHEN (current_setting(s.item) = '') = s.empty_is_ok THEN 'ok' ELSE 'warn' END,
               CASE WHEN current_setting(s.item) = '' THEN s.empty
                    ELSE format(s.given, current_setting(s.item)) END
        FROM (VALUES
            ('cozi.jwt_issuer', false, 'a token may name any issuer, or none', '%s'),
            ('cozi.jwt_audience', false,
             'a token for another service of the same issuer is believed too', '%s'),
            ('cozi.trusted_gateways', true, 'none: identity comes from login() alone',
             'request.jwt.claims is believed, without a token, in sessions of %s')
        ) AS s (item, empty_is_ok, empty, given);
    RETURN QUERY SELECT * FROM cozi._key_status();
    RETURN QUERY
        SELECT p.parname, 'warn',
               'may be set by ' || string_agg(a.grantee::regrole::text, ', '
                                              ORDER BY a.grantee::regrole::text)
        FROM pg_parameter_acl p, aclexplode(p.paracl) a
        WHERE p.parname LIKE 'cozi.%' AND a.privilege_type = 'SET' AND a.grantee <> 10
        GROUP BY p.parname ORDER BY p.parname;
    RETURN QUERY
        SELECT format('auth.%s()', p.proname),
               CASE WHEN pg_get_function_sqlbody(p.oid) = w.body THEN 'ok' ELSE 'warn' END,
               CASE WHEN pg_get_function_sqlbody(p.oid) = w.body THEN 'asks cozi'
                    ELSE 'does not ask cozi: policies that call it believe what it believes' END
        FROM (VALUES ('uid', 'RETURN cozi.uid()'), ('jwt', 'RETURN cozi.claims()'),
                     ('role', 'RETURN cozi.claim(''role''::text)'),
                     ('email', 'RETURN cozi.claim(''email''::text)')) w (name, body)
        JOIN pg_proc p ON p.proname = w.name AND p.pronargs = 0
        JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'auth'
        ORDER BY 1;
    -- edges are a part above, and may be read by their owner alone
    IF has_table_privilege('cozi.edges', 'select') THEN
        RETURN QUERY
            SELECT format('edge %s', e.edge), 'warn', 'cannot be read: ' || e.trouble
            FROM cozi.edges e WHERE e.trouble IS NOT NULL ORDER BY 1;
    END IF;
END
$$;
COMMENT ON FUNCTION identity_status() IS
'Returns what identity rests on here: issuer, audience, keys, gateways, and whether the auth.* '
'functions of Supabase ask cozi';
