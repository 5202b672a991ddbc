-- analytics: on which days users were active, kept

CREATE OR REPLACE VIEW activities AS
    SELECT s.relation AS activity, s.source AS events, k.item AS user_id, k.at, k.counted,
           k.time_zone, s.pending, s.oldest_pending, s.last_fold, s.future, s.live, s.state,
           s.last_error, s.stalled_since, s.set_aside, k.closed AS closed_before
    FROM cozi.kept k
    CROSS JOIN LATERAL cozi._kept_status(k.id) s
    WHERE k.kind = 'activity';
COMMENT ON VIEW activities IS
'One row per activity of the caller, or of everybody for pg_monitor: what it counts, what is '
'pending, and its state: ok, stalled (cannot be folded), or broken (may no longer equal its '
'events); last_error says the next call';

CREATE OR REPLACE FUNCTION create_activity(
        activity text, events regclass, user_id name, at name = 'created_at',
        time_zone text = 'UTC', counted name = NULL)
    RETURNS regclass
    AS 'MODULE_PATHNAME', 'cozi_create_activity'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION create_activity(text, regclass, name, name, text, name) IS
'Creates an activity, a table (user_id, month, days) in the schema of the events with a row per '
'user and month whose bit 0 is the first of the month, fills it, and keeps it from then on; takes '
'over and recounts one that a dump has brought; locks the events against writes until the end of '
'the transaction; time_zone is UTC or an area and a city, such as Europe/Paris; NULL counted: '
'every event counts';

CREATE OR REPLACE VIEW activity_sources AS
    SELECT a.relation AS activity, s.relation AS events, s.item AS user_id, s.at
    FROM cozi.kept k
    CROSS JOIN LATERAL cozi._kept_status(k.id) a
    CROSS JOIN LATERAL cozi._kept_sources(k.id) s
    WHERE k.kind = 'activity';
COMMENT ON VIEW activity_sources IS
'One row per source of an activity of the caller, or of everybody for pg_monitor: the table that '
'the activity was created on, and those of add_activity_source()';

CREATE OR REPLACE FUNCTION add_activity_source(
        activity regclass, events regclass, user_id name, at name = 'created_at')
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_add_activity_source'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION add_activity_source(regclass, regclass, name, name) IS
'Counts the rows of a further table into an activity: who votes or comments is active, too; counts '
'all sources again, and locks them against writes until the end of the transaction';

CREATE OR REPLACE FUNCTION remove_activity_source(activity regclass, events regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_remove_activity_source'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION remove_activity_source(regclass, regclass) IS
'Takes a table of add_activity_source() out of an activity, and counts the others again; locks all '
'sources exclusively until the end of the transaction';

CREATE OR REPLACE FUNCTION drop_activity(activity regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_activity'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_activity(regclass) IS
'Drops an activity and stops counting; locks the events exclusively until the end of the '
'transaction';

CREATE OR REPLACE FUNCTION rebuild_activity(activity regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_rebuild_activity'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION rebuild_activity(regclass) IS
'Counts the events again; no writer waits, readers see the old days until the commit';

CREATE OR REPLACE FUNCTION verify_activity(activity regclass)
    RETURNS TABLE (user_id text, month date, days int, true_days int)
    AS 'MODULE_PATHNAME', 'cozi_verify_activity'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION verify_activity(regclass) IS
'Returns the users and months whose days, pending events included, differ from a recount; no row '
'means that the activity is right';

CREATE OR REPLACE FUNCTION touch_activity(
        activity regclass, user_id uuid, at timestamptz = now())
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_touch_activity'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION touch_activity(regclass, uuid, timestamptz) IS
'Notes that a user is active, as a row of the table of events that the activity was created on, '
'written as the caller; writes nothing where the day of the user is folded already; a NULL is an '
'error';

CREATE OR REPLACE FUNCTION touch_activity(
        activity regclass, user_id bigint, at timestamptz = now())
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_touch_activity'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION touch_activity(regclass, bigint, timestamptz) IS
'Notes that a user is active, as a row of the table of events that the activity was created on, '
'written as the caller; writes nothing where the day of the user is folded already; a NULL is an '
'error';

CREATE OR REPLACE FUNCTION touch_activity(
        activity regclass, user_id text, at timestamptz = now())
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_touch_activity'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION touch_activity(regclass, text, timestamptz) IS
'Notes that a user is active, as a row of the table of events that the activity was created on, '
'written as the caller; writes nothing where the day of the user is folded already; a NULL is an '
'error';
