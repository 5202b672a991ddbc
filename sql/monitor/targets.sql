-- Health: one row a target.

CREATE TABLE targets (
    metric    text PRIMARY KEY,
    op        text NOT NULL CHECK (op IN ('<', '>')),
    target    float8,
    warn      float8,
    unit      text NOT NULL,
    period    interval NOT NULL DEFAULT '15 min' CHECK (period >= interval '0')
);
COMMENT ON TABLE targets IS 'what health compares with: edit it; a NULL target is not judged';
INSERT INTO targets (metric, op, target, warn, unit) VALUES
    ('query_time',      '<',  50,   40,   'ms'),
    ('api_response',    '<', 200,  160,   'ms'),
    ('cache_hit',       '>',  80,   99,   '%'),
    ('error_rate',      '<',   0.1,  0.05, '%'),
    ('connections',     '<',  80,   70,   '%'),
    ('cpu',             '<',  70,   60,   '%'),
    ('memory',          '<',  80,   70,   '%'),
    ('replication_lag', '<',  10,    5,   's'),
    ('wraparound',      '<',  50,   25,   '%');

-- pg_dump keeps the rows; CREATE EXTENSION has put the same metrics in before
-- they are restored.
CREATE OR REPLACE FUNCTION _targets_replace() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM cozi.targets t WHERE t.metric = NEW.metric;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION _targets_replace() IS 'lets a new row of targets replace the one of the same metric';
CREATE OR REPLACE TRIGGER replace BEFORE INSERT ON targets FOR EACH ROW EXECUTE FUNCTION _targets_replace();
COMMENT ON TRIGGER replace ON targets IS 'a new row replaces the one of the same metric';
SELECT pg_extension_config_dump('targets', '');
