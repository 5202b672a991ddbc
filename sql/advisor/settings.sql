-- advisor: settings and logins

CREATE OR REPLACE FUNCTION _hba_lines(OUT line integer, OUT kind text, OUT address text,
    OUT method text)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_hba_lines'
    LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 20;
COMMENT ON FUNCTION _hba_lines() IS
'Returns the lines of pg_hba.conf to members of pg_monitor; no rows to others.';

CREATE OR REPLACE VIEW settings_advisor AS
WITH setting AS (
    SELECT s.name, s.setting, s.unit FROM pg_catalog.pg_settings s
), fixed (level, code, name, wrong, evidence, value, source) AS (VALUES
    ('error', 'setting_loses_data', 'fsync', 'off',
        'a crash of the machine loses or breaks the database', 'on', 'manual, Write Ahead Log'),
    ('error', 'setting_loses_data', 'full_page_writes', 'off',
        'a page that was half written at a crash stays broken', 'on', 'manual, Write Ahead Log'),
    ('error', 'setting_stops_vacuum', 'autovacuum', 'off',
        'dead rows stay, and transaction ids run out', 'on', 'manual, Routine Vacuuming'),
    ('error', 'setting_stops_vacuum', 'track_counts', 'off',
        'autovacuum does not know where to work', 'on', 'manual, Routine Vacuuming'),
    ('warn', 'password_hash_weak', 'password_encryption', 'md5',
        'an md5 hash is enough to log in, and is quick to guess', 'scram-sha-256',
        'manual, Password Authentication'),
    ('info', 'setting_hides_io', 'track_io_timing', 'off',
        'no view can tell reading from computing', 'on', 'manual, Run-time Statistics'),
    ('info', 'setting_no_limit', 'idle_in_transaction_session_timeout', '0',
        'a client that forgets COMMIT keeps its locks, and vacuum from removing rows', '5min',
        'manual, Client Connection Defaults'),
    ('info', 'setting_default_size', 'shared_buffers', '16384',
        '128 MB is what a new cluster gets; a quarter of the memory is usual', NULL,
        'manual, Resource Consumption'),
    ('info', 'setting_default_size', 'random_page_cost', '4',
        '4 is the cost on a disk that turns; 1.1 is usual for others', '1.1',
        'manual, Query Planning')
)
SELECT f.level, f.code, f.name AS setting, s.setting AS value, f.name || ' is ' || s.setting
    || ': ' || f.evidence AS evidence,
       CASE WHEN f.value IS NOT NULL THEN format('ALTER SYSTEM SET %s = %L', f.name, f.value) END
           AS fix_sql, f.source
FROM fixed f JOIN setting s ON s.name = f.name AND s.setting = f.wrong
UNION ALL
SELECT 'warn', 'setting_many_connections', 'max_connections', s.setting,
       format('max_connections is %s: each may take work_mem several times, and each snapshot '
           'reads them all; a pooler needs a tenth', s.setting),
       NULL, 'manual, Connections and Authentication'
FROM setting s WHERE s.name = 'max_connections' AND s.setting::int > 500
UNION ALL
SELECT 'warn', 'tls_off', 'ssl', s.setting,
    format('ssl is off while the server listens on %s: passwords and rows pass in clear',
    l.setting),
       NULL, 'manual, Secure TCP/IP Connections'
FROM setting s, setting l
WHERE s.name = 'ssl' AND s.setting = 'off' AND l.name = 'listen_addresses'
    AND l.setting NOT IN ('', 'localhost', '127.0.0.1', '::1')
UNION ALL
SELECT CASE WHEN h.method = 'md5' OR h.kind = 'local' THEN 'warn' ELSE 'error' END,
       CASE h.method WHEN 'trust' THEN 'login_without_password' ELSE 'login_password_weak' END,
           format('line %s of pg_hba.conf', h.line),
       h.method,
       format('line %s of pg_hba.conf: %s', h.line, CASE h.method
              WHEN 'trust' THEN 'a client who reaches the server is any user'
              WHEN 'password' THEN 'the password itself is sent'
              ELSE 'md5; scram-sha-256 keeps the password from the server''s files and from the '
                  'wire' END),
       NULL, 'manual, Client Authentication'
FROM cozi._hba_lines() h WHERE h.method IN ('trust', 'password', 'md5')
UNION ALL
SELECT 'warn', 'login_without_tls', format('line %s of pg_hba.conf', h.line), h.kind,
       format('line %s of pg_hba.conf lets %s connect without TLS: hostssl asks for it', h.line,
           h.address), NULL, 'manual, Client Authentication'
FROM cozi._hba_lines() h, setting s
WHERE h.kind = 'host' AND s.name = 'ssl' AND s.setting = 'on' AND h.method NOT IN ('reject', 'gss')
  AND coalesce(h.address, '') NOT IN ('127.0.0.1', '::1', 'localhost', 'samehost')
UNION ALL
SELECT 'info', 'password_never_expires', 'pg_roles', count(*)::text,
       format('%s roles log in with a password that never expires: %s', count(*),
           string_agg(r.rolname, ', ' ORDER BY r.rolname)),
       NULL, 'manual, CREATE ROLE'
FROM pg_catalog.pg_authid r
WHERE r.rolcanlogin AND r.rolpassword IS NOT NULL AND coalesce(r.rolvaliduntil,
    'infinity') = 'infinity' HAVING count(*) > 0
UNION ALL
SELECT 'error', 'secret_readable', 'role ' || a.rolname, c.oid::regclass::text,
       format('role %s of the API may read %s', a.rolname, c.oid::regclass), NULL, 'doc/rls.md'
FROM cozi._advisor_roles a
CROSS JOIN pg_catalog.pg_class c
WHERE c.oid IN ('cozi.jwks'::regclass, 'pg_catalog.pg_authid'::regclass)
    AND has_any_column_privilege(a.oid, c.oid, 'SELECT')
ORDER BY 2, 3, 4;
COMMENT ON VIEW settings_advisor IS
'One row per setting, line of pg_hba.conf or login that is unsafe or does not fit, with the '
    'chapter that says why.';
