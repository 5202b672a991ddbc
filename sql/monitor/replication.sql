-- How far behind standbys, slots and this server are.

CREATE OR REPLACE VIEW replication_lag AS
WITH here AS (
    -- what this server can have sent: the end of its own WAL, or of what it received
    SELECT CASE WHEN pg_is_in_recovery()
                THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_lsn() END AS lsn
)
SELECT CASE WHEN r.state = 'backup' THEN 'backup'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
                         WHERE s.active_pid = r.pid AND s.slot_type = 'logical') THEN 'subscriber'
            WHEN r.replay_lsn IS NULL THEN 'receiver'
            ELSE 'standby' END AS kind, r.application_name AS name, r.client_addr, r.state,
       r.sync_state,
       pg_wal_lsn_diff(h.lsn, r.sent_lsn)::bigint AS sent_bytes,
       pg_wal_lsn_diff(h.lsn, r.write_lsn)::bigint AS write_bytes,
       pg_wal_lsn_diff(h.lsn, r.flush_lsn)::bigint AS flush_bytes,
       CASE WHEN r.replay_lsn IS NOT NULL
            THEN greatest(pg_wal_lsn_diff(h.lsn, r.replay_lsn), 0) END::bigint
           AS replay_bytes,
       -- of a receiver, which never replays, its writing
       CASE WHEN coalesce(r.replay_lsn, r.write_lsn) >= h.lsn THEN 0
            WHEN r.replay_lsn IS NULL THEN extract(epoch FROM r.write_lag)::float8
            ELSE extract(epoch FROM r.replay_lag)::float8 END AS lag_s,
       NULL::bigint AS retained_bytes, NULL::text AS wal_status, NULL::bigint AS safe_wal_size,
       NULL::timestamptz AS inactive_since
FROM pg_catalog.pg_stat_replication r, here h
UNION ALL
SELECT 'slot', s.slot_name, NULL, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, NULL,
       NULL,
       pg_wal_lsn_diff(h.lsn, s.confirmed_flush_lsn)::bigint, NULL, NULL,
       pg_wal_lsn_diff(h.lsn, s.restart_lsn)::bigint, s.wal_status, s.safe_wal_size,
       (to_jsonb(s) ->> 'inactive_since')::timestamptz
FROM pg_catalog.pg_replication_slots s, here h
UNION ALL
SELECT 'this server', current_setting('cluster_name'), NULL,
       CASE WHEN pg_is_in_recovery() AND pg_is_wal_replay_paused() THEN 'paused'
            WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 'not streaming'
            ELSE 'streaming' END, NULL, NULL, NULL, NULL,
       greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,
       -- an idle primary sends nothing to replay: only what was received and not replayed is behind
       CASE WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()
                 AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 0
            ELSE extract(epoch FROM clock_timestamp()
                         -- no commit was replayed yet: at least since the start
                         - coalesce(pg_last_xact_replay_timestamp(),
                                    pg_postmaster_start_time()))::float8 END,
       NULL, NULL, NULL, NULL
FROM (SELECT) standby WHERE pg_is_in_recovery();
COMMENT ON VIEW replication_lag IS
'One row per standby and slot, and on a standby one for this server: how far behind each is';
