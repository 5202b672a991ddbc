-- Sessions, as pg_stat_activity shows them to the caller.

-- Clients of a pooler wait in front of the server, which knows nothing of them.
CREATE OR REPLACE FUNCTION _pooler_processes() RETURNS SETOF text
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'cozi_pooler_processes';
COMMENT ON FUNCTION _pooler_processes() IS
'Returns the names of the connection poolers that run on this machine, as /proc has them; no row '
'on a system without it';

CREATE OR REPLACE FUNCTION poolers(OUT name text, OUT source text) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 1
BEGIN ATOMIC
    SELECT p.name, 'a process of this machine' FROM cozi._pooler_processes() p(name)
    UNION ALL
    SELECT DISTINCT lower(substring(a.application_name
               FROM '(?i)pgbouncer|pgcat|odyssey|supavisor|pgdog|pgpool|pgagroal')),
           'the application_name of a session'
    FROM pg_catalog.pg_stat_activity a
    WHERE a.backend_type = 'client backend'
      AND a.application_name ~* 'pgbouncer|pgcat|odyssey|supavisor|pgdog|pgpool|pgagroal';
END;
COMMENT ON FUNCTION poolers() IS
'Returns the connection poolers in front of this server that can be seen: by their processes on '
'this machine, or by the names of their sessions';

CREATE OR REPLACE VIEW connections AS
WITH room AS (
    SELECT current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0) AS available
)
SELECT a.datname, a.usename AS rolname, a.application_name, count(*) AS total,
       count(*) FILTER (WHERE a.state = 'active') AS active,
       count(*) FILTER (WHERE a.state = 'idle') AS idle,
       count(*) FILTER (WHERE a.state LIKE 'idle in transaction%') AS idle_in_transaction,
       count(*) FILTER (WHERE a.wait_event_type = 'Lock') AS waiting,
       max(clock_timestamp() - a.xact_start) AS oldest_transaction,
       r.available, count(*) / nullif(r.available, 0)::float8 AS share,
       CASE WHEN grouping(a.datname) = 1
            THEN (SELECT format('%s: see SHOW POOLS there for the clients that wait',
                                string_agg(DISTINCT p.name, ', ')) FROM cozi.poolers() p
                  HAVING count(*) > 0) END AS pooler
FROM pg_catalog.pg_stat_activity a, room r
WHERE a.backend_type = 'client backend'
GROUP BY GROUPING SETS ((r.available), (r.available, a.datname, a.usename, a.application_name))
ORDER BY grouping(a.datname) DESC, count(*) DESC;
COMMENT ON VIEW connections IS
'One row per database, role and application, and one for all: client connections against the '
'limit';

CREATE OR REPLACE VIEW activity_now AS
SELECT a.pid, a.leader_pid, a.datname, a.usename AS rolname, a.application_name, a.client_addr,
       a.backend_type, a.state,
       a.wait_event_type, a.wait_event,
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) END AS blocked_by,
       clock_timestamp() - a.xact_start AS transaction_age,
       clock_timestamp() - a.query_start AS query_age,
       clock_timestamp() - a.state_change AS state_age,
       a.query_id AS queryid, cozi._readable(a.datid, a.query) AS query
FROM pg_catalog.pg_stat_activity a
WHERE a.pid <> pg_backend_pid()
  AND (a.state <> 'idle' OR a.backend_type IN ('autovacuum worker', 'parallel worker'))
ORDER BY a.xact_start;
COMMENT ON VIEW activity_now IS
'One row per session that runs something or holds a transaction open right now, longest first';

CREATE OR REPLACE VIEW blocking_tree AS
WITH RECURSIVE waiting AS MATERIALIZED (
    SELECT a.pid, pg_blocking_pids(a.pid) AS blocked_by
    FROM pg_catalog.pg_stat_activity a WHERE a.wait_event_type = 'Lock'
), wanted AS MATERIALIZED (
    SELECT DISTINCT ON (l.pid) l.pid, l.locktype, l.mode, l.waitstart,
           CASE WHEN l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                   WHERE d.datname = current_database())
                THEN l.relation END AS relation
    FROM pg_catalog.pg_locks l WHERE NOT l.granted ORDER BY l.pid, l.waitstart
), parent AS (
    -- of several that stand in the way, the last to have queued is next ahead
    SELECT DISTINCT ON (w.pid) w.pid, w.blocked_by, b.pid AS parent_pid
    FROM waiting w
    CROSS JOIN LATERAL unnest(w.blocked_by) b(pid)
    LEFT JOIN wanted l ON l.pid = b.pid
    WHERE b.pid <> w.pid
    ORDER BY w.pid, l.waitstart DESC NULLS LAST, b.pid
), above AS (
    SELECT p.pid, p.parent_pid AS ancestor FROM parent p
    UNION
    SELECT a.pid, p.parent_pid FROM above a JOIN parent p ON p.pid = a.ancestor
), root AS (
    SELECT p.parent_pid AS pid FROM parent p
    WHERE NOT EXISTS (SELECT FROM parent q WHERE q.pid = p.parent_pid)
    UNION
    -- a deadlock not yet resolved has no root: the lowest of its circle stands for it
    SELECT a.pid FROM above a
    WHERE a.ancestor = a.pid AND a.pid = (SELECT min(b.ancestor) FROM above b WHERE b.pid = a.pid)
), tree AS (
    SELECT r.pid AS root_pid, r.pid, NULL::int AS parent_pid, 1 AS depth, ARRAY[r.pid] AS path
    FROM root r
    UNION ALL
    SELECT t.root_pid, p.pid, t.pid, t.depth + 1, t.path || p.pid
    FROM tree t JOIN parent p ON p.parent_pid = t.pid WHERE p.pid <> ALL (t.path)
)
SELECT t.root_pid, t.depth, t.pid, t.parent_pid, w.blocked_by,
       extract(epoch FROM clock_timestamp() - l.waitstart)::float8 AS wait_s,
       l.locktype, l.mode, l.relation::regclass AS relation,
       a.datname, a.usename AS rolname, a.application_name,
       CASE WHEN t.pid = 0 THEN 'prepared transaction' ELSE a.state END AS state,
       clock_timestamp() - a.xact_start AS transaction_age, a.query_id AS queryid,
       cozi._readable(a.datid, a.query) AS query
FROM tree t
LEFT JOIN waiting w ON w.pid = t.pid
LEFT JOIN wanted l ON l.pid = t.pid
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = t.pid
ORDER BY t.path;
COMMENT ON VIEW blocking_tree IS
'One row per session in a chain of locks, below the root, which waits for none: which session '
'waits for which';

-- What vacuum may remove from an ordinary table of this database is bounded by
-- the transactions of this database, by standbys that report theirs, and by the
-- xmin of slots: not by other databases, not by lazy vacuums, and not by a
-- catalog_xmin, which bounds the catalogs alone (ComputeXidHorizons).
CREATE OR REPLACE VIEW long_transactions AS
WITH held AS (
    SELECT 'session' AS source, a.pid, a.application_name AS name, a.datname, a.usename AS rolname,
           a.state AS activity,
           a.xact_start AS started, a.state_change,
           greatest(age(a.backend_xid), age(a.backend_xmin)) AS xid_age,
           CASE WHEN coalesce(a.datname, current_database()) = current_database()
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v
                                     WHERE v.pid = a.pid)
                THEN greatest(age(a.backend_xid), age(a.backend_xmin)) END AS held,
           a.query_id AS queryid, cozi._readable(a.datid, a.query) AS query
    FROM pg_catalog.pg_stat_activity a
    WHERE (a.xact_start IS NOT NULL OR a.backend_xmin IS NOT NULL)
      AND a.pid <> pg_backend_pid() AND a.backend_type <> 'walsender' AND a.leader_pid IS NULL
    UNION ALL
    SELECT 'prepared', NULL, x.gid, x.database, x.owner, 'prepared', x.prepared, x.prepared,
           age(x.transaction),
           CASE WHEN x.database = current_database() THEN age(x.transaction) END, NULL, NULL
    FROM pg_catalog.pg_prepared_xacts x
    UNION ALL
    SELECT 'slot', s.active_pid, s.slot_name, s.database, NULL,
           CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, NULL,
           greatest(age(s.xmin), age(s.catalog_xmin)), age(s.xmin), NULL, NULL
    FROM pg_catalog.pg_replication_slots s WHERE s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL
    UNION ALL
    SELECT 'standby', r.pid, r.application_name, NULL, r.usename, r.state, NULL, NULL,
           age(r.backend_xmin),
           age(r.backend_xmin), NULL, NULL
    FROM pg_catalog.pg_stat_replication r WHERE r.backend_xmin IS NOT NULL
), target AS (
    SELECT coalesce(max(t.target) FILTER (WHERE t.metric = 'oldest_transaction'), 300) AS oldest,
           coalesce(max(t.warn) FILTER (WHERE t.metric = 'oldest_transaction'), 60) AS oldest_warn,
           coalesce(max(t.target) FILTER (WHERE t.metric = 'idle_in_transaction'), 300) AS idle
    FROM cozi.targets t
)
SELECT h.source, h.pid, h.name, h.datname, h.rolname, h.activity, h.started, d.age, h.xid_age,
       coalesce(h.held > 0 AND h.held = max(h.held) OVER (), false) AS holds_horizon,
       CASE WHEN h.activity LIKE 'idle in transaction%'
                 AND extract(epoch FROM clock_timestamp() - h.state_change) > t.idle
                 OR extract(epoch FROM d.age) > t.oldest THEN 'breach'
            WHEN extract(epoch FROM d.age) > t.oldest_warn THEN 'warn'
            WHEN d.age IS NOT NULL THEN 'ok' ELSE 'unknown' END AS state,
       h.queryid, h.query
FROM held h
CROSS JOIN target t
CROSS JOIN LATERAL (SELECT clock_timestamp() - h.started AS age) d
ORDER BY h.started, h.xid_age DESC NULLS LAST;
COMMENT ON VIEW long_transactions IS
'One row per transaction, prepared transaction, slot and standby that is open; holds_horizon is '
'true for what keeps vacuum from removing dead rows of this database';
