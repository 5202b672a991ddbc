-- live: notifications at most so often, and announcements of changes

CREATE TABLE announcement (
    kept    int      NOT NULL REFERENCES kept ON DELETE CASCADE,
    via     text COLLATE "C" NOT NULL,
    topic   text COLLATE "C" NOT NULL,
    per     interval NOT NULL,
    payload text     NOT NULL,
    private boolean  NOT NULL,
    PRIMARY KEY (kept, via, topic)
);
COMMENT ON TABLE announcement IS
'One row per topic on which a kept table tells that it has changed; see the view announcements';
SELECT pg_catalog.pg_extension_config_dump('cozi.announcement', '');

-- In no dump: OIDs and eras are those of this database.
CREATE TABLE announcement_local (
    kept       int    NOT NULL,
    via        text COLLATE "C" NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    owner      oid    NOT NULL,
    era        bigint,
    sent       bigint NOT NULL,
    sent_at    timestamptz,
    failures   int    NOT NULL DEFAULT 0,
    retry_at   timestamptz,
    last_error text,
    PRIMARY KEY (kept, via, topic),
    FOREIGN KEY (kept, via, topic) REFERENCES announcement ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE announcement_local IS
'One row per announcement in use: who wants it, and the last change that was announced';
CREATE OR REPLACE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON announcement_local
    FOR EACH ROW EXECUTE FUNCTION _outbox_keep();
ALTER TABLE announcement_local ENABLE REPLICA TRIGGER keep;

CREATE OR REPLACE FUNCTION notify_throttled(
        channel text, payload text = '', per interval = '250 ms') RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_notify_throttled'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION notify_throttled(text, text, interval) IS
'Notifies a channel at the commit, unless that was done less than per ago: then the last payload '
'is sent at the end of that time, by the fold worker or by notify_flush(); an error if an argument '
'is NULL';

CREATE OR REPLACE FUNCTION notify_flush() RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_notify_flush'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION notify_flush() IS
'Sends, at the commit, what notify_throttled() and announce_changes() have to send by now, and '
'returns how many messages that are; for a gateway, where cozi is not preloaded';

CREATE OR REPLACE FUNCTION announce_changes(
        board regclass, topic text, per interval = '250 ms', via text = 'notify',
        payload text = 'wakeup', private boolean = true) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_announce_changes'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION announce_changes(regclass, text, interval, text, text, boolean) IS
'Tells on a topic, at most once in per, that a board, a counter or an activity has changed: via '
'notify or realtime, with the payload wakeup (the table and the number of its last change) or '
'counts (the rows that have changed); private: of a private channel of Realtime; called again it '
'changes per, payload and private; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION drop_announcement(
        board regclass, topic text, via text = 'notify') RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_announcement'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION drop_announcement(regclass, text, text) IS
'Stops telling on a topic that a board, a counter or an activity has changed; an error if an '
'argument is NULL';

CREATE OR REPLACE FUNCTION _announcements()
    RETURNS TABLE (board regclass, topic text, via text, per interval, payload text,
                   private boolean, change bigint, sent bigint, sent_at timestamptz, state text,
                   last_error text, retry_at timestamptz)
    AS 'MODULE_PATHNAME', 'cozi_list_announcements'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000 ROWS 10;
COMMENT ON FUNCTION _announcements() IS 'Returns the rows of view announcements';

CREATE OR REPLACE VIEW announcements AS SELECT * FROM cozi._announcements();
COMMENT ON VIEW announcements IS
'One row per announcement of the tables of the caller, or of everybody for pg_monitor: the last '
'change of the table, the last one that was announced, and its state: ok, failing (tried again at '
'retry_at), or stopped until somebody mends last_error';
