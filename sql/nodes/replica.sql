-- nodes: may this server be read, or is it too far behind?

-- Lag is the age of the last transaction replayed, except where nothing newer has
-- come: then the primary must have been heard from.  An idle primary that is alive
-- answers within half of wal_receiver_timeout.
CREATE OR REPLACE FUNCTION replica_ok(max_lag interval) RETURNS boolean
    LANGUAGE sql VOLATILE STRICT PARALLEL RESTRICTED SECURITY DEFINER COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT NOT pg_is_in_recovery()
    OR coalesce(clock_timestamp() - pg_last_xact_replay_timestamp() <= max_lag, false)
    OR EXISTS (
        SELECT FROM pg_stat_wal_receiver r
        WHERE r.status = 'streaming' AND pg_last_wal_replay_lsn() >= r.flushed_lsn
          AND clock_timestamp() - r.last_msg_receipt_time <= greatest(max_lag, interval '1 s'
                  + coalesce(nullif(current_setting('wal_receiver_timeout')::interval,
                                    interval '0'), interval '1 min') / 2))
$$;
COMMENT ON FUNCTION replica_ok(interval) IS
'Returns whether what is read here is at most max_lag old: true on a primary, and on a standby '
'that has replayed all that was committed max_lag ago; NULL if max_lag is NULL';
