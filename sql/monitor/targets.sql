-- Health: one row a target.

CREATE TABLE targets (
    metric    text PRIMARY KEY,
    op        text NOT NULL CHECK (op IN ('<', '>')),
    target    float8,
    warn      float8,
    unit      text NOT NULL,
    period    interval NOT NULL DEFAULT '15 min' CHECK (period >= interval '0'),
    min_events bigint
);
COMMENT ON TABLE targets IS
'One row per figure that health judges: edit it; a NULL target is not judged, and a ratio of fewer '
'than min_events events is not found bad';
INSERT INTO targets (metric, op, target, warn, unit, min_events) VALUES
    ('query_time',      '<',  50,   40,   'ms',   20),
    ('api_response',    '<', 200,  160,   'ms',   20),
    ('cache_hit',       '>',  80,   99,   '%',  1000),
    ('error_rate',      '<',   0.1,  0.05, '%',  100),
    ('connections',     '<',  80,   70,   '%',  NULL),
    ('cpu',             '<',  70,   60,   '%',  NULL),
    ('memory',          '<',  80,   70,   '%',  NULL),
    ('replication_lag', '<',  10,    5,   's',  NULL),
    ('wraparound',      '<',  50,   25,   '%',  NULL),
    ('waiting_sessions',    '<',   5,   1, 'sessions', NULL),
    ('commits_waiting',     '<',   5,   1, 'sessions', NULL),
    ('longest_wait',        '<',  30,   5, 's',     NULL),
    ('oldest_transaction',  '<', 300,  60, 's',     NULL),
    ('idle_in_transaction', '<', 300,  60, 's',     NULL),
    ('inactive_slots',      '<',   5,   1, 'slots', NULL),
    ('retained_wal',        '<', 10240, 1024, 'MB', NULL),
    ('deadlocks',           '<',  10,   1, 'deadlocks', NULL),
    ('archiver',            '<', 300,   1, 's',     NULL),
    ('disk',                '<',  90,  80, '%',     NULL),
    ('temp_files',          '<', 10240, 1024, 'MB', NULL),
    ('checkpoints',         '<',  50,  25, '%',     10),
    ('network',             '<', NULL, NULL, 'B/s', NULL);

-- pg_dump keeps the rows; CREATE EXTENSION has put the same metrics in before
-- they are restored.
CREATE OR REPLACE FUNCTION _targets_replace() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM cozi.targets t WHERE t.metric = NEW.metric;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION _targets_replace() IS
'Lets a new row of targets replace the one of the same metric';
CREATE OR REPLACE TRIGGER replace BEFORE INSERT ON targets
    FOR EACH ROW EXECUTE FUNCTION _targets_replace();
COMMENT ON TRIGGER replace ON targets IS 'a new row replaces the one of the same metric';
SELECT pg_extension_config_dump('targets', '');

CREATE OR REPLACE FUNCTION _target_period(metric text) RETURNS interval
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
RETURN coalesce((SELECT t.period FROM cozi.targets t WHERE t.metric = _target_period.metric),
                interval '15 min');
COMMENT ON FUNCTION _target_period(text) IS
'Returns the period of a target, 15 minutes where there is no such target';
