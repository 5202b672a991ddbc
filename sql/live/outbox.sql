-- live: outboxes, events that are written with the data and delivered in order

CREATE TABLE outbox_consumer (
    outbox       bigint NOT NULL,
    consumer     text   NOT NULL,
    role         text   NOT NULL,
    done         bigint NOT NULL,
    lease        bigint NOT NULL DEFAULT 0,
    leased_until timestamptz,
    leased_upto  bigint NOT NULL DEFAULT 0,
    attempts     int    NOT NULL DEFAULT 0,
    careful_upto bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (outbox, consumer)
) WITH (fillfactor = 50);
COMMENT ON TABLE outbox_consumer IS
'One row per consumer of an outbox: its role, how far it is, and its lease; see the view outboxes';
COMMENT ON COLUMN outbox_consumer.outbox IS 'Id of the outbox: the argument of its trigger';
COMMENT ON COLUMN outbox_consumer.consumer IS 'Name of the consumer';
COMMENT ON COLUMN outbox_consumer.role IS 'Role that may take its events';
COMMENT ON COLUMN outbox_consumer.done IS 'Number up to which all events are done';
COMMENT ON COLUMN outbox_consumer.lease IS 'Number of its last lease';
COMMENT ON COLUMN outbox_consumer.leased_until IS
'When the lease runs out; NULL when it was returned';
COMMENT ON COLUMN outbox_consumer.leased_upto IS
'Number of the last event of the lease; 0 when it was done';
COMMENT ON COLUMN outbox_consumer.attempts IS 'How often the first event of the lease was taken';
COMMENT ON COLUMN outbox_consumer.careful_upto IS
'Number up to which events are taken one at a time, because a lease ran out';
SELECT pg_catalog.pg_extension_config_dump('cozi.outbox_consumer', '');

CREATE TABLE outbox_aside (
    outbox        bigint NOT NULL,
    consumer      text   NOT NULL,
    seq           bigint NOT NULL,
    id            uuid   NOT NULL,
    aggregatetype text   NOT NULL,
    aggregateid   text   NOT NULL,
    type          text   NOT NULL,
    payload       jsonb,
    created_at    timestamptz NOT NULL,
    reason        text,
    at            timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (outbox, consumer, seq)
);
COMMENT ON TABLE outbox_aside IS
'One row per event that outbox_set_aside() has taken out of the way of a consumer';
SELECT pg_catalog.pg_extension_config_dump('cozi.outbox_aside', '');

-- In no dump: OIDs are those of this database.
CREATE TABLE outbox_local (
    outbox   bigint PRIMARY KEY,
    relation oid NOT NULL
);
COMMENT ON TABLE outbox_local IS 'One row per outbox in use: its table by OID';

CREATE OR REPLACE FUNCTION _outbox_keep() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_outbox_keep'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _outbox_keep() IS
'Keeps logical replication from changing how far the consumers of this server are; trigger';
CREATE OR REPLACE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON outbox_consumer
    FOR EACH ROW EXECUTE FUNCTION _outbox_keep();
ALTER TABLE outbox_consumer ENABLE REPLICA TRIGGER keep;
CREATE OR REPLACE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON outbox_aside
    FOR EACH ROW EXECUTE FUNCTION _outbox_keep();
ALTER TABLE outbox_aside ENABLE REPLICA TRIGGER keep;
CREATE OR REPLACE TRIGGER keep BEFORE INSERT OR UPDATE OR DELETE ON outbox_local
    FOR EACH ROW EXECUTE FUNCTION _outbox_keep();
ALTER TABLE outbox_local ENABLE REPLICA TRIGGER keep;

CREATE OR REPLACE FUNCTION _outbox_event() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_outbox_event'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _outbox_event() IS
'Numbers the events of an outbox, refuses to update them, and keeps logical replication from '
'deleting them; trigger, whose argument is the id of the outbox';

CREATE OR REPLACE FUNCTION _outbox_relations() RETURNS TABLE (outbox bigint, relation oid)
    LANGUAGE sql STABLE PARALLEL SAFE COST 100 ROWS 10
BEGIN ATOMIC
    SELECT substring(encode(t.tgargs, 'escape') FROM '^([0-9]{1,18})\\000$')::bigint, t.tgrelid
    FROM pg_trigger t
    WHERE t.tgfoid = 'cozi._outbox_event'::regproc AND t.tgparentid = 0;
END;
COMMENT ON FUNCTION _outbox_relations() IS
'Returns the tables that have the trigger of an outbox, and its id';

CREATE OR REPLACE FUNCTION create_outbox(
        outbox text, writers regrole[] = '{}', rotate interval = NULL) RETURNS regclass
    AS 'MODULE_PATHNAME', 'cozi_create_outbox'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION create_outbox(text, regrole[], interval) IS
'Creates an outbox, a table (id, aggregatetype, aggregateid, type, payload, created_at, seq, '
'horizon) into which the writers may insert aggregatetype, aggregateid, type and payload; with '
'rotate, of 4 partitions, each of which takes the events of so long a time in turn; an error if '
'outbox or writers is NULL';

CREATE OR REPLACE FUNCTION drop_outbox(outbox regclass, force boolean = false) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_outbox'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION drop_outbox(regclass, boolean) IS
'Drops an outbox with its events and consumers; an error if a consumer has events to get, unless '
'force is true, or if an argument is NULL';

CREATE OR REPLACE FUNCTION add_outbox_consumer(
        outbox regclass, consumer text, role regrole, from_now boolean = false) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_add_outbox_consumer'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION add_outbox_consumer(regclass, text, regrole, boolean) IS
'Adds a consumer to an outbox, whose events are taken by a role, from the oldest event that is '
'there or, with from_now, from those that are committed later; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION remove_outbox_consumer(outbox regclass, consumer text) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_remove_outbox_consumer'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION remove_outbox_consumer(regclass, text) IS
'Removes a consumer of an outbox, and what it has set aside; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION outbox_take(
        outbox regclass, consumer text, k int = 100, timeout interval = '30 s')
    RETURNS TABLE (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb,
                   created_at timestamptz, seq bigint, attempts int, lease bigint)
    AS 'MODULE_PATHNAME', 'cozi_outbox_take'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 ROWS 100;
COMMENT ON FUNCTION outbox_take(regclass, text, int, interval) IS
'Returns the next k events of a consumer in their order, and leases them; no row while another '
'worker of the consumer has a lease, or nothing is to be delivered; an error if an argument is '
'NULL';

CREATE OR REPLACE FUNCTION outbox_done(
        outbox regclass, consumer text, lease bigint, upto bigint = NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_outbox_done'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION outbox_done(regclass, text, bigint, bigint) IS
'Says that the events of a lease are done, all or those up to a number, and returns the lease; '
'returns false, and changes nothing, when another worker has taken them meanwhile; an error if an '
'argument but upto is NULL';

CREATE OR REPLACE FUNCTION outbox_set_aside(
        outbox regclass, consumer text, lease bigint, reason text = NULL) RETURNS uuid
    AS 'MODULE_PATHNAME', 'cozi_outbox_set_aside'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION outbox_set_aside(regclass, text, bigint, text) IS
'Sets the first event of a lease aside, so that the consumer goes on after it, and returns the '
'lease; returns the id of the event, NULL when another worker has taken it meanwhile; an error if '
'an argument but reason is NULL';

CREATE OR REPLACE FUNCTION outbox_aside(outbox regclass, consumer text)
    RETURNS TABLE (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb,
                   created_at timestamptz, seq bigint, reason text, at timestamptz)
    AS 'MODULE_PATHNAME', 'cozi_outbox_aside'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10;
COMMENT ON FUNCTION outbox_aside(regclass, text) IS
'Returns the events that a consumer has set aside, why, and when; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION outbox_resolve(outbox regclass, consumer text, id uuid)
    RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_outbox_resolve'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION outbox_resolve(regclass, text, uuid) IS
'Forgets an event that a consumer has set aside; returns whether it was; an error if an argument '
'is NULL';

CREATE OR REPLACE FUNCTION outbox_trim(outbox regclass, keep interval = '0') RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_outbox_trim'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION outbox_trim(regclass, interval) IS
'Removes the events that all consumers have done and that are older than keep: rows, or whole '
'partitions; returns how many; 0 when there is no consumer; an error if an argument is NULL';

CREATE OR REPLACE FUNCTION _outbox_status()
    RETURNS TABLE (outbox oid, consumer text, role text, done bigint, leased_until timestamptz,
                   attempts int, set_aside bigint, events bigint, waiting bigint,
                   oldest timestamptz)
    AS 'MODULE_PATHNAME', 'cozi_outbox_status'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000 ROWS 10;
COMMENT ON FUNCTION _outbox_status() IS 'Returns the rows of view outboxes';

CREATE OR REPLACE VIEW outboxes AS
    SELECT s.outbox::regclass AS outbox, s.consumer, s.role, s.events, s.waiting, s.oldest,
           now() - s.oldest AS lag, h.held_by, s.leased_until, s.attempts, s.set_aside, s.done
    FROM cozi._outbox_status() s
    LEFT JOIN LATERAL (
        -- the oldest transaction with an id: a prepared one has no process
        SELECT coalesce('process ' || l.pid, 'prepared transaction ' || quote_literal(p.gid),
                        'transaction ' || l.transactionid) AS held_by
        FROM pg_locks l
        LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
        ORDER BY age(l.transactionid) DESC
        LIMIT 1) h ON s.waiting > 0;
COMMENT ON VIEW outboxes IS
'One row per outbox and consumer, of the caller or, for pg_monitor, of everybody: events that are '
'not done (at most 10000 are counted), how many of them wait for an older transaction to end, and '
'for which; NULL numbers while the outbox is locked or cannot be read';
