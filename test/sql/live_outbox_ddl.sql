-- Whatever DDL does to an outbox, each event that is there is delivered, once and in its
-- order, or writers are refused, or the consumer is told what is wrong.
--
-- Each command is tried on an outbox of its own: three events, of which two are done,
-- then the command, then four events.  "LOST" and "DISORDER" are in no line.
SET client_min_messages = error;
CREATE ROLE regress_obd;
CREATE ROLE regress_obd_writer;
CREATE ROLE regress_obd_mail;
CREATE ROLE regress_obd_other;
CREATE SCHEMA obd;
CREATE SCHEMA obd_away;
GRANT ALL ON SCHEMA obd, obd_away TO PUBLIC;
CREATE FUNCTION obd.pass() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE FUNCTION obd.swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;

-- What a consumer gets, at most k at once, until there is no more
CREATE PROCEDURE obd.drain(box oid, k int, INOUT got text[], INOUT said text)
LANGUAGE plpgsql AS $$
DECLARE
    batch record;
BEGIN
    LOOP
        BEGIN
            WHILE EXISTS (SELECT FROM cozi.outboxes o WHERE o.outbox = box AND waiting > 0) LOOP
                PERFORM pg_sleep(0.01);
            END LOOP;
            SELECT array_agg(t.aggregateid ORDER BY t.seq) AS ids, min(t.lease) AS lease
            INTO batch FROM cozi.outbox_take(box, 'mail', k) t;
            EXIT WHEN batch.lease IS NULL;
            PERFORM cozi.outbox_done(box, 'mail', batch.lease);
            got := got || batch.ids;
        EXCEPTION WHEN OTHERS THEN
            said := SQLSTATE;
            RETURN;
        END;
        COMMIT;
        EXIT WHEN k < 100;
    END LOOP;
END $$;

CREATE PROCEDURE obd.try(command text, rotated boolean, INOUT outcome text)
LANGUAGE plpgsql AS $$
DECLARE
    box oid;
    got text[] := '{}';
    there text[] := '{}';
    failed text;
    said text;
BEGIN
    CREATE SCHEMA obd_box;
    GRANT ALL ON SCHEMA obd_box TO PUBLIC;
    box := cozi.create_outbox('obd_box.box', '{regress_obd_writer}',
                              CASE WHEN rotated THEN interval '1 hour' END);
    ALTER TABLE obd_box.box OWNER TO regress_obd;
    IF rotated THEN
        -- whatever the hour
        ALTER TABLE obd_box.box ALTER slot SET DEFAULT 1;
    END IF;
    PERFORM cozi.add_outbox_consumer(box, 'mail', 'regress_obd_mail');
    COMMIT;
    FOR i IN 1 .. 7 LOOP
        BEGIN
            SET LOCAL ROLE regress_obd_writer;
            EXECUTE format('INSERT INTO %s (aggregatetype, aggregateid, type) '
                           'VALUES (''post'', %s, ''made'')', box::regclass, i);
        EXCEPTION WHEN OTHERS THEN failed := SQLSTATE;
        END;
        RESET ROLE;
        COMMIT;
        IF i = 3 THEN
            CALL obd.drain(box, 2, got, said);
            COMMIT;
            BEGIN
                EXECUTE command;
            EXCEPTION WHEN OTHERS THEN outcome := 'refused ' || SQLSTATE || ', ';
            END;
            COMMIT;
            EXIT WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = box);
        END IF;
    END LOOP;
    CALL obd.drain(box, 100, got, said);
    COMMIT;
    BEGIN
        EXECUTE format('SELECT coalesce(array_agg(aggregateid), ''{}'') FROM %s', box::regclass)
        INTO there;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    outcome := concat(outcome, 'writers refused ' || failed || ', ', CASE
        WHEN said IS NOT NULL THEN 'consumer told ' || said
        WHEN NOT there <@ got THEN 'LOST'
        WHEN got <> ARRAY(SELECT DISTINCT x FROM unnest(got) x ORDER BY x) THEN 'DISORDER'
        ELSE 'delivered ' || cardinality(got) END);
    DROP TABLE IF EXISTS obd_away.box CASCADE;
    DROP SCHEMA obd_box CASCADE;
    -- the view reads, whatever was done
    PERFORM * FROM cozi.outboxes;
    COMMIT;
END $$;

CREATE TABLE obd.commands (command text, of_rotated boolean DEFAULT false, outcome text);
INSERT INTO obd.commands (command) VALUES
    (''),
    ('ALTER TABLE BOX DISABLE TRIGGER ALL'),
    ('ALTER TABLE BOX DISABLE TRIGGER cozi_outbox'),
    ('ALTER TABLE BOX DISABLE TRIGGER cozi_outbox;
      ALTER TABLE BOX ALTER seq SET DEFAULT -floor(random() * 1e15);
      ALTER TABLE BOX ALTER horizon SET DEFAULT ''3'''),
    ('ALTER TABLE BOX DISABLE TRIGGER ALL; ALTER TABLE BOX ENABLE ALWAYS TRIGGER cozi_outbox'),
    ('ALTER TABLE BOX ENABLE REPLICA TRIGGER cozi_outbox'),
    ('ALTER TABLE BOX ENABLE TRIGGER cozi_outbox'),
    ('DROP TRIGGER cozi_outbox ON BOX'),
    ('ALTER TRIGGER cozi_outbox ON BOX RENAME TO zzz'),
    ('CREATE TRIGGER a BEFORE INSERT ON BOX FOR EACH ROW EXECUTE FUNCTION obd.pass()'),
    ('CREATE TRIGGER z BEFORE INSERT ON BOX FOR EACH ROW EXECUTE FUNCTION obd.swallow()'),
    ('DROP SEQUENCE BOX_seq_seq'),
    ('ALTER SEQUENCE BOX_seq_seq OWNED BY NONE'),
    ('ALTER SEQUENCE BOX_seq_seq RESTART'),
    ('ALTER SEQUENCE BOX_seq_seq INCREMENT -1'),
    ('ALTER SEQUENCE BOX_seq_seq CACHE 20'),
    ('ALTER SEQUENCE BOX_seq_seq MAXVALUE 4'),
    ('ALTER SEQUENCE BOX_seq_seq MAXVALUE 4 CYCLE'),
    ('ALTER SEQUENCE BOX_seq_seq RENAME TO numbers'),
    ('SET LOCAL ROLE regress_obd; CREATE SEQUENCE obd_box.numbers OWNED BY BOX.seq'),
    ('SELECT setval(''BOX_seq_seq'', 1, false)'),
    ('ALTER TABLE BOX SET UNLOGGED'),
    ('ALTER TABLE BOX DROP COLUMN payload'),
    ('ALTER TABLE BOX DROP COLUMN payload, ADD COLUMN payload jsonb'),
    ('ALTER TABLE BOX DROP COLUMN horizon'),
    ('ALTER TABLE BOX DROP COLUMN seq CASCADE, ADD COLUMN seq bigint'),
    ('ALTER TABLE BOX ADD COLUMN note text NOT NULL DEFAULT ''x'''),
    ('TRUNCATE BOX'),
    ('TRUNCATE BOX RESTART IDENTITY'),
    ('DROP TABLE BOX');
INSERT INTO obd.commands (command, of_rotated) SELECT command, true FROM obd.commands
WHERE command ~ '^$|TRIGGER ALL$|ENABLE TRIGGER|RESTART|COLUMN seq';
INSERT INTO obd.commands (command) VALUES
    ('ALTER SCHEMA obd_box RENAME TO obd_box_2; ALTER SCHEMA obd_box_2 RENAME TO obd_box'),
    ('ALTER TABLE BOX ALTER seq ADD GENERATED ALWAYS AS IDENTITY'),
    ('ALTER TABLE BOX ALTER seq TYPE int'),
    ('ALTER TABLE BOX ALTER horizon TYPE text USING ''x'''),
    ('ALTER TABLE BOX ALTER horizon DROP NOT NULL'),
    ('ALTER TABLE BOX ALTER payload TYPE json'),
    ('ALTER TABLE BOX ALTER aggregateid TYPE varchar(10)'),
    ('ALTER TABLE BOX ALTER created_at TYPE date'),
    ('ALTER TABLE BOX RENAME seq TO number'),
    ('ALTER TABLE BOX RENAME TO other'),
    ('ALTER TABLE BOX SET SCHEMA obd_away'),
    ('ALTER TABLE BOX OWNER TO regress_obd_other'),
    ('REASSIGN OWNED BY regress_obd TO regress_obd_other'),
    ('ALTER TABLE BOX DROP CONSTRAINT box_pkey'),
    ('ALTER TABLE BOX DROP CONSTRAINT box_seq_key'),
    ('ALTER TABLE BOX ENABLE ROW LEVEL SECURITY'),
    ('ALTER TABLE BOX ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
      CREATE POLICY p ON BOX FOR INSERT WITH CHECK (true)'),
    ('CREATE INDEX ON BOX (seq DESC)'),
    ('CREATE RULE r AS ON INSERT TO BOX DO INSTEAD NOTHING'),
    ('CREATE TABLE obd_box.heir () INHERITS (BOX)'),
    ('CREATE TABLE obd_box.heir (UNIQUE (seq)) INHERITS (BOX);
      INSERT INTO obd_box.heir (aggregatetype, aggregateid, type, seq, horizon)
      VALUES (''post'', 3.5, ''made'', 0, ''3'')'),
    ('CREATE TYPE obd_box.event AS (id uuid, aggregatetype text, aggregateid text, type text,
        payload jsonb, created_at timestamptz, seq bigint, horizon xid8);
      ALTER TABLE BOX OF obd_box.event'),
    ('REVOKE INSERT (type) ON BOX FROM regress_obd_writer'),
    ('ALTER ROLE regress_obd_mail RENAME TO regress_obd_post;
      ALTER ROLE regress_obd_post RENAME TO regress_obd_mail'),
    ('SET LOCAL session_replication_role = replica;
      INSERT INTO BOX (aggregatetype, aggregateid, type) VALUES (''post'', 3.5, ''made'')');
INSERT INTO obd.commands (command, of_rotated) VALUES
    ('ALTER TABLE BOX ALTER slot DROP DEFAULT', true),
    ('ALTER TABLE BOX DROP CONSTRAINT box_seq_slot_key', true),
    ('ALTER TABLE BOX_0 SET UNLOGGED', true),
    ('ALTER TABLE BOX_0 DISABLE TRIGGER USER', true),
    ('ALTER TABLE BOX DETACH PARTITION BOX_0', true),
    ('ALTER TABLE BOX DETACH PARTITION BOX_0;
      ALTER TABLE BOX ATTACH PARTITION BOX_0 FOR VALUES IN (0)', true),
    ('DROP TABLE BOX_0, BOX_1, BOX_2, BOX_3', true),
    ('CREATE TABLE obd_box.rest PARTITION OF BOX DEFAULT;
      ALTER TABLE BOX ALTER slot SET DEFAULT 9', true);
DO $$
DECLARE
    each record;
    said text;
BEGIN
    FOR each IN SELECT * FROM obd.commands LOOP
        said := '';
        CALL obd.try(replace(each.command, 'BOX', 'obd_box.box'), each.of_rotated, said);
        UPDATE obd.commands c SET outcome = said
        WHERE c.command = each.command AND c.of_rotated = each.of_rotated;
        COMMIT;
    END LOOP;
END $$;
SELECT command, of_rotated AS rotated, outcome FROM obd.commands ORDER BY command COLLATE "C", 2;

DROP SCHEMA obd, obd_away CASCADE;
DROP ROLE regress_obd, regress_obd_writer, regress_obd_mail, regress_obd_other;
