-- analytics: tables of events, whose partitions are made ahead and taken off in time

CREATE OR REPLACE FUNCTION _events_due() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_events_due'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _events_due() IS
'Asks the worker to maintain tables of events, once an hour, where cozi is preloaded; its '
'arguments say how the table is kept; trigger of create_events() and set_events()';

-- How a table of events is kept stands in its trigger, so it is renamed, dumped and
-- restored with the table.  A trigger that says something else: no row.
CREATE OR REPLACE FUNCTION _event_settings(
        events regclass, OUT at name, OUT every interval, OUT keep interval,
        OUT drop_old boolean, OUT ahead int)
    RETURNS SETOF record
    LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT a.attname, (x.args[1])::interval, nullif(x.args[2], '')::interval, x.args[3] = 'drop',
       (x.args[4])::int
FROM pg_trigger t
JOIN pg_partitioned_table p ON p.partrelid = t.tgrelid AND p.partstrat = 'r' AND p.partnatts = 1
JOIN pg_attribute a
  ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.atttypid = 'timestamptz'::regtype
CROSS JOIN LATERAL (
    -- one row at most, and no row whose words are not ours
    SELECT string_to_array(encode(t.tgargs, 'escape'), '\000') AS args
    WHERE encode(t.tgargs, 'escape') ~
          ('^[1-9][0-9]{0,4} (months|hours)\\000([1-9][0-9]{0,6} (months|hours))?\\000'
           || '(drop|detach)\\000[1-9][0-9]{0,2}\\000$')
    OFFSET 0
) AS x
WHERE t.tgrelid = events AND t.tgname = 'cozi_events'
  AND t.tgfoid = 'cozi._events_due'::regproc AND t.tgnargs = 4
$$;

COMMENT ON FUNCTION _event_settings(regclass) IS
'Returns how a table of events is kept (internal); no row for another table';

CREATE OR REPLACE FUNCTION _event_partitions(
        events regclass, OUT partition regclass, OUT since timestamptz, OUT until timestamptz,
        OUT is_default boolean)
    RETURNS SETOF record
    LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 20
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET timezone = 'UTC'
AS $$
SELECT c.oid::regclass,
       CASE b.bound[1] WHEN 'MINVALUE' THEN '-infinity'
            ELSE trim(b.bound[1], '''') END::timestamptz,
       CASE b.bound[2] WHEN 'MAXVALUE' THEN 'infinity'
            ELSE trim(b.bound[2], '''') END::timestamptz,
       b.bound IS NULL
FROM pg_inherits i
JOIN pg_partitioned_table p
  ON p.partrelid = i.inhparent AND p.partstrat = 'r' AND p.partnatts = 1
JOIN pg_attribute a
  ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.atttypid = 'timestamptz'::regtype
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (
    SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
                        '^FOR VALUES FROM \((.*)\) TO \((.*)\)$')
) AS b (bound)
WHERE i.inhparent = events AND NOT i.inhdetachpending
ORDER BY 2
$$;
COMMENT ON FUNCTION _event_partitions(regclass) IS
'Returns the partitions of a table of events, and from when until when they are; NULL of the '
'default partition (internal)';

CREATE OR REPLACE VIEW event_tables AS
SELECT c.oid::pg_catalog.regclass AS events, s.at, s.every, s.keep, s.drop_old, s.ahead,
       p.partitions, p.since, p.until,
       pg_catalog.pg_relation_size(p.fallback) AS default_bytes,
       CASE WHEN p.fallback IS NULL THEN 'no default partition'
            WHEN p.until IS NULL OR p.until OPERATOR(pg_catalog.<=) pg_catalog.now() THEN 'late'
            ELSE 'ok' END AS state
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
CROSS JOIN LATERAL cozi._event_settings(c.oid) s
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) FILTER (WHERE NOT e.is_default) AS partitions,
           pg_catalog.min(e.since) AS since, pg_catalog.max(e.until) AS until,
           pg_catalog.max(e.partition::pg_catalog.oid)
               FILTER (WHERE e.is_default)::pg_catalog.regclass AS fallback
    FROM cozi._event_partitions(c.oid) e
) AS p
WHERE t.tgname OPERATOR(pg_catalog.=) 'cozi_events'
  AND t.tgfoid OPERATOR(pg_catalog.=) 'cozi._events_due'::pg_catalog.regproc
  AND (pg_catalog.pg_has_role(c.relowner, 'USAGE')
       OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW event_tables IS
'One row per table of events of the caller, or of everybody for pg_monitor: how it is kept, how '
'many partitions there are beside the default one, from when until when, and its state: ok, late '
'(no partition for now: rows go to the default one) or no default partition';

-- Intervals begin on the first of a month, or at whole hours from a Monday on, in UTC.
CREATE OR REPLACE FUNCTION _events_floor(at timestamptz, every interval) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10
AS $$
SELECT CASE WHEN m.n = 0 THEN date_bin(every, at, '2000-01-03 00:00:00+00')
       ELSE (timestamp '2000-01-01 00:00'
             + make_interval(months => (floor(m.since / m.n) * m.n)::int)) AT TIME ZONE 'UTC' END
FROM (SELECT extract(year FROM every) * 12 + extract(month FROM every),
             (extract(year FROM at AT TIME ZONE 'UTC') - 2000) * 12
             + extract(month FROM at AT TIME ZONE 'UTC') - 1) AS m (n, since)
$$;
COMMENT ON FUNCTION _events_floor(timestamptz, interval) IS
'Returns when the interval of an instant begins (internal)';

CREATE OR REPLACE FUNCTION _events_next(since timestamptz, every interval) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 2
AS $$
SELECT (since AT TIME ZONE 'UTC' + every) AT TIME ZONE 'UTC'
$$;
COMMENT ON FUNCTION _events_next(timestamptz, interval) IS
'Returns when the next interval begins (internal)';

-- A name that nobody has: that of the table, and when its events are.
CREATE OR REPLACE FUNCTION _event_partition_name(
        events regclass, since timestamptz, every interval)
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 100
    SET search_path = pg_catalog, pg_temp
AS $$
SELECT format('%I.%I', n.nspname, x.name)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT g, CASE WHEN octet_length(c.relname::text) > 40 THEN 'events_' || c.oid
                   ELSE c.relname END
           || '_' || to_char(since AT TIME ZONE 'UTC',
                             CASE WHEN extract(month FROM every) + extract(year FROM every) > 0
                                  THEN 'YYYY_MM' WHEN every >= '1 day' THEN 'YYYY_MM_DD'
                                  ELSE 'YYYY_MM_DD_HH24' END)
           || CASE WHEN g = 1 THEN '' ELSE '_' || g END
    FROM generate_series(1, 20) g
) AS x (n, name)
WHERE c.oid = events AND NOT EXISTS (
    SELECT FROM pg_class o WHERE o.relname = x.name AND o.relnamespace = n.oid)
ORDER BY x.n
LIMIT 1
$$;
COMMENT ON FUNCTION _event_partition_name(regclass, timestamptz, interval) IS
'Returns the name of a partition to be (internal)';

CREATE OR REPLACE FUNCTION _shut_partition(partition regclass, events regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_shut_partition_in_sql'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _shut_partition(regclass, regclass) IS
'Has the rows of a new partition reached through its table alone: revokes what default privileges '
'have given to others, and turns on row security where it is on for the table (internal)';

-- What is to be done.  Rows in the default partition get partitions of their own, 100
-- at a time; those of the far future wait there until their time is near.  What
-- counts the events is closed in one call, and partitions go in the next: closing
-- reads them, and going locks the table.
CREATE OR REPLACE FUNCTION _events_plan(events regclass, as_of timestamptz = now())
    RETURNS TABLE (action text, partition text, until timestamptz, statements text[])
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED ROWS 5
    SET search_path = pg_catalog, pg_temp
    SET datestyle = 'ISO, YMD'
    SET timezone = 'UTC'
AS $$
DECLARE
    s record;
    fallback regclass;
    unlogged text := '';
    first timestamptz;
    next timestamptz;
    horizon timestamptz;
    waiting timestamptz[];
    wanted timestamptz[];
    part text;
    make text;
    shut text;
    attach text;
    moving text[] := '{}';
    moved text[] := '{}';
    attached text[] := '{}';
    taken tstzmultirange;
    gone timestamptz;
    kept record;
    columns text;
BEGIN
    SELECT * INTO s FROM cozi._event_settings(events);
    IF NOT FOUND THEN
        RAISE EXCEPTION '"%" is not a table of events', events
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Create one with cozi.create_events(), or call cozi.set_events().';
    END IF;
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_attribute a
    WHERE a.attrelid = events AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    SELECT p.partition INTO fallback FROM cozi._event_partitions(events) p WHERE p.is_default;
    IF fallback IS NULL THEN
        SELECT format('%I.%I', n.nspname, c.relname || '_default') INTO part
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = events;
        RETURN QUERY VALUES ('made', part, NULL::timestamptz, ARRAY[
            format('CREATE TABLE %s PARTITION OF %s DEFAULT', part, events),
            format('SELECT cozi._shut_partition(%L, %L)', part, events)]);
        RETURN;
    END IF;
    SELECT CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END INTO unlogged
    FROM pg_class c WHERE c.oid = fallback;

    first := cozi._events_floor(as_of, s.every);
    FOR i IN 0 .. s.ahead LOOP
        wanted := wanted || first;
        first := cozi._events_next(first, s.every);
    END LOOP;
    horizon := first;
    EXECUTE format('SELECT array_agg(w.since) FROM ('
                   'SELECT DISTINCT cozi._events_floor(h.at, $1) AS since FROM ('
                   'SELECT DISTINCT date_trunc(''hour'', %1$I, ''UTC'') AS at FROM ONLY %2$s'
                   ' WHERE isfinite(%1$I) AND %1$I < $2) h ORDER BY 1 LIMIT 100) w',
                   s.at, fallback)
        INTO waiting USING s.every, horizon;

    SELECT range_agg(tstzrange(p.since, p.until)) INTO taken
    FROM cozi._event_partitions(events) p WHERE NOT p.is_default;
    FOR first IN SELECT DISTINCT w FROM unnest(wanted || waiting) w ORDER BY w LOOP
        next := cozi._events_next(first, s.every);
        CONTINUE WHEN taken && tstzrange(first, next);
        part := cozi._event_partition_name(events, first, s.every);
        make := format('CREATE %4$sTABLE %1$s (LIKE %2$s INCLUDING DEFAULTS INCLUDING GENERATED'
                       ' INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION,'
                       ' CONSTRAINT cozi_bounds CHECK (%3$I IS NOT NULL AND %3$I >= %5$L'
                       ' AND %3$I < %6$L))', part, events, s.at, unlogged, first, next);
        attach := format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                         events, part, first, next);
        shut := format('SELECT cozi._shut_partition(%L, %L)', part, events);
        IF first = ANY (waiting) THEN
            moving := moving || make || shut;
            moved := moved
                || format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM ONLY %3$s'
                          ' WHERE %4$I >= %5$L AND %4$I < %6$L',
                          part, columns, fallback, s.at, first, next)
                || format('DELETE FROM ONLY %1$s WHERE %2$I >= %3$L AND %2$I < %4$L',
                          fallback, s.at, first, next);
            attached := attached || attach;
        ELSE
            action := 'made';
            partition := part;
            statements := ARRAY[make, shut, attach];
            RETURN NEXT;
        END IF;
    END LOOP;
    IF moving <> '{}' THEN
        action := 'moved';
        partition := fallback;
        until := NULL;
        statements := moving || format('ALTER TABLE %s DETACH PARTITION %s', events, fallback)
            || moved || attached
            || format('ALTER TABLE %s ATTACH PARTITION %s DEFAULT', events, fallback);
        RETURN NEXT;
    END IF;

    SELECT max(o.until) INTO gone
    FROM (SELECT p.until FROM cozi._event_partitions(events) p
          WHERE p.until <= (as_of AT TIME ZONE 'UTC' - s.keep) AT TIME ZONE 'UTC'
          ORDER BY p.until LIMIT 20) o;
    IF gone IS NULL THEN
        RETURN;
    END IF;
    FOR kept IN
        SELECT b.board AS rel, format('SELECT cozi.close_before(%L, %L)', b.board, gone) AS s
        FROM cozi.board_sources o JOIN cozi.boards b USING (board)
        WHERE o.relation = events AND (b.closed_before IS NULL OR b.closed_before < gone)
        UNION
        SELECT c.counter, format('SELECT cozi.close_before(%L, %L, %L)', c.counter, gone,
                                 coalesce(c.closed_by, s.at))
        FROM cozi.counters c
        WHERE c.relation = events AND (c.closed_before IS NULL OR c.closed_before < gone)
        UNION
        SELECT a.activity, format('SELECT cozi.close_before(%L, %L)', a.activity, gone)
        FROM cozi.activity_sources o JOIN cozi.activities a USING (activity)
        WHERE o.events = _events_plan.events
          AND (a.closed_before IS NULL OR a.closed_before < gone)
        ORDER BY 1
    LOOP
        action := 'closed';
        partition := kept.rel;
        until := gone;
        statements := ARRAY[kept.s];
        RETURN NEXT;
    END LOOP;
    IF action = 'closed' THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT CASE WHEN s.drop_old THEN 'dropped' ELSE 'detached' END, p.partition::text, p.until,
               ARRAY[CASE WHEN s.drop_old THEN format('DROP TABLE %s', p.partition)
                     ELSE format('ALTER TABLE %s DETACH PARTITION %s', events, p.partition) END]
        FROM cozi._event_partitions(events) p
        WHERE p.until <= gone
        ORDER BY p.until;
END
$$;
COMMENT ON FUNCTION _events_plan(regclass, timestamptz) IS
'Returns what maintain_events() is to do with a table of events at an instant: partitions to make, '
'rows to move out of the default one, kept tables to close, partitions to take off; executes '
'nothing';

CREATE OR REPLACE FUNCTION maintain_events(
        events regclass = NULL, OUT relation regclass, OUT action text, OUT partition text,
        OUT detail text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_maintain_events'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 ROWS 5;
COMMENT ON FUNCTION maintain_events(regclass) IS
'Makes the partitions ahead, moves rows out of the default partition, closes what counts old '
'events, and detaches or drops old partitions, in the next call; waits a quarter of a second for a '
'lock, three times; returns what was done, or failed and why; NULL: all tables of the caller';

CREATE OR REPLACE FUNCTION create_events(
        events text, every interval = '1 month', keep interval = NULL, user_type regtype = 'uuid',
        anonymous boolean = false, drop_old boolean = false, ahead int = 3,
        names text[] = NULL, max_bytes int = 8192, rate_limit text = NULL)
    RETURNS regclass
    AS 'MODULE_PATHNAME', 'cozi_create_events'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION create_events(
    text, interval, interval, regtype, boolean, boolean, int, text[], int, text) IS
'Creates a table of events (event, user_id, properties, created_at, client_at), partitioned by '
'created_at, whose clients write in their own name alone; its partitions are made ahead, and go '
'after keep; names are the events that there are, max_bytes is the size of properties, rate_limit '
'a limit of create_rate_limit(); NULL keep: for good; NULL names: any of 1 to 100 bytes; NULL '
'rate_limit: none';

CREATE OR REPLACE FUNCTION set_events(
        events regclass, every interval = '1 month', keep interval = NULL,
        drop_old boolean = false, ahead int = 3)
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_set_events'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION set_events(regclass, interval, interval, boolean, int) IS
'Sets how the partitions of a table are kept: one of create_events(), or another that is '
'partitioned by ranges of a timestamp with time zone; NULL keep: for good';

CREATE OR REPLACE FUNCTION track_event(
        events regclass, event text, properties jsonb = '{}', "timestamp" float8 = NULL)
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_track_event'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION track_event(regclass, text, jsonb, float8) IS
'Writes an event of the caller, as the caller, dated now; timestamp is the clock of the client in '
'milliseconds since 1970 (Date.now()), kept as client_at and never believed; an error where nobody '
'is logged in, unless the table takes anonymous events; NULL timestamp: no client_at';

CREATE OR REPLACE FUNCTION track_events(events regclass, batch jsonb) RETURNS int
    AS 'MODULE_PATHNAME', 'cozi_track_events'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION track_events(regclass, jsonb) IS
'Writes at most 1000 events of the caller, an array of objects with event, properties and '
'timestamp as track_event() takes them, all or none; returns how many';
