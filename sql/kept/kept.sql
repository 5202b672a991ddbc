-- kept: tables that equal an aggregate of another table (src/kept/kept.h)
--
-- The tables below hold the configuration and the sums of all kept tables.  They
-- have base types only, and no object of any owner.  Rows are written by C.

-- Relations are named by text: a name that does not resolve must not stop a
-- restore.  An id is a random number.
CREATE TABLE kept (
    id          int  PRIMARY KEY,
    kind        text NOT NULL,
    relation    text NOT NULL,
    live        text,
    source      text NOT NULL,
    scope       name,
    item        name NOT NULL,
    value       name,
    at          name,
    counted     name,
    who         name,
    half_life   interval,
    down_weight float8,
    broken      text,
    time_zone   text,
    closed      timestamptz,
    tracked     boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE kept IS
'One row per kept table: what it counts and where it is; see the views boards, counters and '
'activities';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept', '');

CREATE OR REPLACE TRIGGER cozi_config_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON kept
    FOR EACH STATEMENT EXECUTE FUNCTION _config_changed();
ALTER TABLE kept ENABLE ALWAYS TRIGGER cozi_config_changed;
COMMENT ON TRIGGER cozi_config_changed ON kept IS 'Tells all sessions to read the list again';

CREATE TABLE kept_source (
    kept   int    NOT NULL,
    nth    int    NOT NULL,
    source text   NOT NULL,
    scope  name,
    item   name   NOT NULL,
    value  name,
    at     name,
    factor float8 NOT NULL,
    PRIMARY KEY (kept, nth)
);
COMMENT ON TABLE kept_source IS
'One row per source of a kept table beside the first: what of it is counted; see board_sources';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_source', '');

CREATE OR REPLACE TRIGGER cozi_config_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON kept_source
    FOR EACH STATEMENT EXECUTE FUNCTION _config_changed();
ALTER TABLE kept_source ENABLE ALWAYS TRIGGER cozi_config_changed;
COMMENT ON TRIGGER cozi_config_changed ON kept_source IS
'Tells all sessions to read the list again';

-- In no dump: OIDs are those of this database.  Every fold that moves rows writes it.
CREATE TABLE kept_local (
    id            int PRIMARY KEY,
    relation      oid NOT NULL,
    live          oid NOT NULL,
    source        oid NOT NULL,
    owner         oid NOT NULL,
    last_fold     timestamptz,
    last_error    text,
    stalled_since timestamptz,
    era           bigint
) WITH (fillfactor = 50);
COMMENT ON TABLE kept_local IS
'One row per kept table in use: its relations by OID, and its last fold';

CREATE TABLE kept_source_local (
    kept   int NOT NULL,
    nth    int NOT NULL,
    source oid NOT NULL,
    PRIMARY KEY (kept, nth)
);
COMMENT ON TABLE kept_source_local IS
'One row per source of a kept table in use beside the first: its OID';

CREATE TABLE kept_state (
    kept  int      NOT NULL,
    n     smallint NOT NULL,
    hash  bigint   NOT NULL,
    scope text COLLATE "C",
    item  text COLLATE "C" NOT NULL,
    sum   bytea    NOT NULL,
    PRIMARY KEY (kept, n, hash)
) WITH (fillfactor = 90);
COMMENT ON TABLE kept_state IS
'One row per key of a kept table: the exact sum behind the row of the public table; and, under '
'the negative id, the sum of the rows that close_before() has closed';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_state', '');

CREATE UNLOGGED TABLE kept_state_unlogged (
    kept  int      NOT NULL,
    n     smallint NOT NULL,
    hash  bigint   NOT NULL,
    scope text COLLATE "C",
    item  text COLLATE "C" NOT NULL,
    sum   bytea    NOT NULL,
    PRIMARY KEY (kept, n, hash)
) WITH (fillfactor = 90);
COMMENT ON TABLE kept_state_unlogged IS
'One row per key of a kept table whose source is unlogged: a crash empties both';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_state_unlogged', '');

-- Appended to and emptied all the time: vacuum by count, not by share.  REPLICA
-- IDENTITY FULL, or a publication of all tables would forbid folds to delete.
CREATE TABLE kept_delta (
    kept   int         NOT NULL,
    ready  timestamptz NOT NULL,
    hash   bigint      NOT NULL,
    due    timestamptz,
    queued timestamptz NOT NULL,
    scope  text COLLATE "C",
    item   text COLLATE "C" NOT NULL,
    sum    bytea       NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX kept_delta_ready ON kept_delta (kept, ready, hash);
ALTER TABLE kept_delta REPLICA IDENTITY FULL;
COMMENT ON TABLE kept_delta IS 'One row per key and statement: what is counted and not yet folded';
COMMENT ON INDEX kept_delta_ready IS 'What a fold of one kept table looks at';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_delta', '');

CREATE UNLOGGED TABLE kept_delta_unlogged (
    kept   int         NOT NULL,
    ready  timestamptz NOT NULL,
    hash   bigint      NOT NULL,
    due    timestamptz,
    queued timestamptz NOT NULL,
    scope  text COLLATE "C",
    item   text COLLATE "C" NOT NULL,
    sum    bytea       NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX kept_delta_unlogged_ready ON kept_delta_unlogged (kept, ready, hash);
COMMENT ON TABLE kept_delta_unlogged IS
'One row per key and statement on an unlogged source: what is counted and not yet folded';
COMMENT ON INDEX kept_delta_unlogged_ready IS 'What a fold of one kept table looks at';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_delta_unlogged', '');

CREATE TABLE kept_aside (
    kept  int         NOT NULL,
    scope text COLLATE "C",
    item  text COLLATE "C" NOT NULL,
    error text        NOT NULL,
    since timestamptz NOT NULL
);
CREATE INDEX kept_aside_kept ON kept_aside (kept);
ALTER TABLE kept_aside REPLICA IDENTITY FULL;
COMMENT ON TABLE kept_aside IS
'One row per key that the public table does not take, such as one too long for an index';
COMMENT ON INDEX kept_aside_kept IS 'What is set aside of one kept table';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_aside', '');

CREATE TABLE kept_hidden (
    kept  int         NOT NULL,
    hash  bigint      NOT NULL,
    item  text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL
);
CREATE INDEX kept_hidden_hash ON kept_hidden (kept, hash);
ALTER TABLE kept_hidden REPLICA IDENTITY FULL;
COMMENT ON TABLE kept_hidden IS
'One row per item that hide_item() has taken off a board: it is counted, and has no row there';
COMMENT ON INDEX kept_hidden_hash IS 'Is this item hidden?';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_hidden', '');

-- A key has one row, with the number of its last change: numbers are given under
-- the fold lock, which is held to the commit.
CREATE TABLE kept_change (
    kept    int    NOT NULL,
    changed bigint NOT NULL,
    hash    bigint NOT NULL,
    scope   text COLLATE "C",
    item    text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX kept_change_number ON kept_change (kept, changed);
CREATE INDEX kept_change_hash ON kept_change (kept, hash);
ALTER TABLE kept_change REPLICA IDENTITY FULL;
COMMENT ON TABLE kept_change IS
'One row per key, there or gone, of a kept table whose changes are tracked: the number of its '
'last change';
COMMENT ON INDEX kept_change_number IS 'What has changed since?';
COMMENT ON INDEX kept_change_hash IS 'When has this key changed?';
SELECT pg_catalog.pg_extension_config_dump('cozi.kept_change', '');

CREATE OR REPLACE FUNCTION _kept_status(
        id int, OUT relation regclass, OUT source regclass, OUT live regclass, OUT pending bigint,
        OUT oldest_pending timestamptz, OUT future bigint, OUT last_fold timestamptz,
        OUT state text, OUT last_error text, OUT stalled_since timestamptz, OUT set_aside bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_kept_status'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 1;
COMMENT ON FUNCTION _kept_status(int) IS
'Returns what the views say of a kept table; '
'no row to callers who neither own it nor are in pg_monitor';

CREATE OR REPLACE FUNCTION _kept_state(
        id int, OUT relation regclass, OUT state text, OUT last_error text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_kept_state_now'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100 ROWS 1;
COMMENT ON FUNCTION _kept_state(int) IS
'Returns a kept table, its state and why it is so, and reads nothing of what is pending; no row to '
'callers who neither own it nor are in pg_monitor, or where its tables are not there';

CREATE OR REPLACE FUNCTION _kept_sources(
        id int, OUT relation regclass, OUT scope name, OUT item name, OUT value name,
        OUT at name, OUT factor float8)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_kept_list_sources'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 2;
COMMENT ON FUNCTION _kept_sources(int) IS
'Returns the sources of a kept table, the first one first; '
'no row to callers who neither own it nor are in pg_monitor';

CREATE OR REPLACE FUNCTION _pending_rows(relation anyelement) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'cozi_pending_rows'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 20;
COMMENT ON FUNCTION _pending_rows(anyelement) IS
'Returns the rows of a kept table, named as NULL::hot_posts, that folds will change, '
'as they will be; needs SELECT on it; a row that will be gone has NULL in its computed columns';

CREATE OR REPLACE FUNCTION _count_rows() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_count_rows'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _count_rows() IS
'Counts, as a statement trigger on a source, what a statement has changed; '
'put there by create_board() and its kin';

CREATE OR REPLACE FUNCTION _kept_ddl() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_kept_ddl'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _kept_ddl() IS 'Keeps kept tables in step with the tables that they count';

CREATE OR REPLACE FUNCTION _kept_begins() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_kept_begins'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _kept_begins() IS
'Loads the library before a command, so that it sees which tables the command drops';

CREATE OR REPLACE FUNCTION _kept_dropped() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_kept_dropped'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _kept_dropped() IS
'Forgets a kept table whose source was dropped, and refuses to drop a part of one by itself';

CREATE EVENT TRIGGER cozi_kept_ddl ON ddl_command_end EXECUTE FUNCTION _kept_ddl();
COMMENT ON EVENT TRIGGER cozi_kept_ddl IS
'Keeps kept tables in step with the tables that they count';

CREATE EVENT TRIGGER cozi_kept_begins ON ddl_command_start EXECUTE FUNCTION _kept_begins();
COMMENT ON EVENT TRIGGER cozi_kept_begins IS
'Looks at partitions before they are dropped with rows in them';

CREATE EVENT TRIGGER cozi_kept_dropped ON sql_drop EXECUTE FUNCTION _kept_dropped();
COMMENT ON EVENT TRIGGER cozi_kept_dropped IS
'Keeps kept tables in step with the tables that they count';

CREATE OR REPLACE FUNCTION fold(board regclass = NULL, max_rows int = NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_fold'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION fold(regclass, int) IS
'Moves what is pending into a kept table, and returns the rows of the delta that went; '
'waits for a fold under way, and makes others wait until the end of the transaction; '
'refused before PREPARE TRANSACTION; '
'NULL board: every kept table that the caller owns; NULL max_rows: whatever is due';

CREATE OR REPLACE FUNCTION close_before(
        kept regclass, before timestamptz, created_at name = NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_close_before'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION close_before(regclass, timestamptz, name) IS
'Freezes what the rows of a board or a counter that are dated before an instant add up to, so '
'that they may be deleted, and returns how many counts it froze; later changes of such rows are '
'refused; locks all sources against writes until the end of the transaction; NULL created_at: a '
'counter is closed by its column created_at, a board by the time column of each source';
