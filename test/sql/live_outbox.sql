-- Outboxes: what is written, who may take it, in which order, and what is left.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE regress_ob_owner;
CREATE ROLE regress_ob_writer;
CREATE ROLE regress_ob_mail;
CREATE ROLE regress_ob_other;
CREATE SCHEMA ob AUTHORIZATION regress_ob_owner;
GRANT USAGE ON SCHEMA ob TO PUBLIC;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_ob_owner');
SELECT count(*) > 0 AS granted FROM cozi.grant_app('regress_ob_mail');
SELECT count(*) > 0 AS granted FROM cozi.grant_app('regress_ob_other');
-- what a worker of the server holds back for a moment
CREATE FUNCTION ob.settle() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM cozi.outboxes WHERE waiting > 0) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

-- created by its owner; what default privileges give to others is taken away
ALTER DEFAULT PRIVILEGES FOR ROLE regress_ob_owner GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_ob_owner GRANT ALL ON SEQUENCES TO PUBLIC;
SET ROLE regress_ob_owner;
SELECT cozi.create_outbox('ob.box', '{regress_ob_writer}');
SELECT cozi.create_outbox('ob.turning', '{regress_ob_writer}', rotate => '1 hour');
RESET ROLE;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_ob_owner REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE regress_ob_owner REVOKE ALL ON SEQUENCES FROM PUBLIC;
SELECT relname, relkind, coalesce(array_length(relacl, 1), 1) AS grantees, relowner::regrole
FROM pg_class WHERE relnamespace = 'ob'::regnamespace AND relkind IN ('r', 'p', 'S') ORDER BY 1;
SELECT attname, format_type(atttypid, atttypmod), attnotnull, attacl,
       col_description(attrelid, attnum) IS NOT NULL AS described
FROM pg_attribute WHERE attrelid = 'ob.box'::regclass AND attnum > 0 ORDER BY attnum;
SELECT tgname, tgenabled, tgtype FROM pg_trigger WHERE tgrelid = 'ob.box'::regclass;

-- a writer says what happened, and nothing else
SET ROLE regress_ob_writer;
INSERT INTO ob.box (aggregatetype, aggregateid, type, payload)
SELECT 'post', i % 3, 'created', jsonb_build_object('i', i) FROM generate_series(1, 10) i;
INSERT INTO ob.box (seq, aggregatetype, aggregateid, type) VALUES (1, 'post', '1', 'forged');
INSERT INTO ob.box (horizon, aggregatetype, aggregateid, type) VALUES ('3', 'post', '1', 'forged');
INSERT INTO ob.box (id, aggregatetype, aggregateid, type)
VALUES (gen_random_uuid(), 'post', '1', 'forged');
INSERT INTO ob.box (created_at, aggregatetype, aggregateid, type)
VALUES ('2001-01-01', 'post', '1', 'forged');
SELECT nextval('ob.box_seq_seq');
SELECT count(*) FROM ob.box;
DELETE FROM ob.box;
UPDATE ob.box SET payload = '{}';
SELECT cozi.create_outbox('ob.mine');
SELECT * FROM cozi.outbox_take('ob.box', 'mail');
RESET ROLE;
-- who may insert every column gets a number and a mark none the less
GRANT INSERT, SELECT ON ob.box TO regress_ob_other;
SET ROLE regress_ob_other;
INSERT INTO ob.box (seq, horizon, aggregatetype, aggregateid, type)
VALUES (1, '18446744073709551615', 'post', '1', 'forged')
RETURNING seq, horizon < '18446744073709551615' AS own_horizon;
RESET ROLE;
REVOKE ALL ON ob.box FROM regress_ob_other;
-- the owner may give both, as a restore of rows does, with triggers and without
SET ROLE regress_ob_owner;
INSERT INTO ob.box (seq, horizon, aggregatetype, aggregateid, type)
VALUES (-1, '3', 'post', '1', 'restored') RETURNING seq, horizon;
INSERT INTO ob.box (seq, aggregatetype, aggregateid, type)
VALUES (-2, 'post', '1', 'by owner') RETURNING seq, horizon > '3' AS own_horizon;
UPDATE ob.box SET seq = 0;
RESET ROLE;
SET session_replication_role = replica;
INSERT INTO ob.box (seq, horizon, aggregatetype, aggregateid, type)
VALUES (-3, '3', 'post', '1', 'restored') RETURNING seq, horizon;
RESET session_replication_role;
DELETE FROM ob.box WHERE seq < 0;

-- consumers, each for a role
SET ROLE regress_ob_owner;
SELECT cozi.add_outbox_consumer('ob.box', 'mail', 'regress_ob_mail');
SELECT cozi.add_outbox_consumer('ob.box', 'mail', 'regress_ob_mail');
SELECT cozi.add_outbox_consumer('ob.box', '', 'regress_ob_mail');
SELECT cozi.add_outbox_consumer('ob.box', NULL, 'regress_ob_mail');
RESET ROLE;
SELECT ob.settle();
SET ROLE regress_ob_owner;
SELECT cozi.add_outbox_consumer('ob.box', 'search', 'regress_ob_other', from_now => true);
SELECT outbox, consumer, role, events, waiting, held_by, attempts, set_aside, done
FROM cozi.outboxes ORDER BY 1, 2;
SET ROLE regress_ob_other;
SELECT cozi.add_outbox_consumer('ob.box', 'mine', 'regress_ob_other');
SELECT * FROM cozi.outbox_take('ob.box', 'mail');
SELECT cozi.outbox_done('ob.box', 'mail', 1);
SELECT cozi.outbox_set_aside('ob.box', 'mail', 1);
SELECT * FROM cozi.outbox_aside('ob.box', 'mail');
SELECT cozi.outbox_resolve('ob.box', 'mail', gen_random_uuid());
SELECT cozi.outbox_trim('ob.box');
SELECT cozi.drop_outbox('ob.box');
SELECT cozi.remove_outbox_consumer('ob.box', 'mail');
SELECT outbox, consumer, role, events FROM cozi.outboxes ORDER BY 1, 2;
SELECT * FROM cozi.outbox_consumer;

-- taken in order, leased, done in part and as a whole
SET ROLE regress_ob_mail;
SELECT seq, aggregateid, type, payload, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 4);
SELECT seq FROM cozi.outbox_take('ob.box', 'mail', 4);
SELECT cozi.outbox_done('ob.box', 'mail', 1, upto => 5);
SELECT cozi.outbox_done('ob.box', 'mail', 1, upto => 2);
SELECT cozi.outbox_done('ob.box', 'mail', 1);
SELECT seq, lease FROM cozi.outbox_take('ob.box', 'mail', 2);
SELECT cozi.outbox_done('ob.box', 'mail', 2);
-- given back, and taken again
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 2);
SELECT cozi.outbox_done('ob.box', 'mail', 3, upto => 0);
-- a lease that runs out: one at a time up to its end, until the event that ends workers is found
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 3, '1 us');
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 3, '1 us');
SELECT cozi.outbox_done('ob.box', 'mail', 4);
SELECT cozi.outbox_done('ob.box', 'mail', 5);
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 3, '1 us');
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 3, '1 us');
SELECT cozi.outbox_set_aside('ob.box', 'mail', 6, 'stale') IS NULL AS stale;
SELECT cozi.outbox_set_aside('ob.box', 'mail', 7, 'ends workers') IS NOT NULL AS aside;
SELECT seq, payload, reason FROM cozi.outbox_aside('ob.box', 'mail');
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 3, '1 us');
SELECT cozi.outbox_done('ob.box', 'mail', 8);
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 100);
SELECT cozi.outbox_done('ob.box', 'mail', 9);
SELECT seq, attempts, lease FROM cozi.outbox_take('ob.box', 'mail', 100);
SELECT cozi.outbox_done('ob.box', 'mail', 10);
SELECT outbox, consumer, events, waiting, oldest, set_aside, done FROM cozi.outboxes;
SELECT cozi.outbox_resolve('ob.box', 'mail', id) FROM cozi.outbox_aside('ob.box', 'mail');
SELECT count(*) FROM cozi.outbox_aside('ob.box', 'mail');
SELECT * FROM cozi.outbox_take('ob.box', 'none');
SELECT * FROM cozi.outbox_take('ob.box', 'mail', 0);
SELECT * FROM cozi.outbox_take('ob.box', 'mail', 1, '-1 s');
SELECT * FROM cozi.outbox_take('ob.box', 'mail', 1, '1 month');
SELECT * FROM cozi.outbox_take('ob.box', 'mail', NULL);
SELECT * FROM cozi.outbox_take(NULL, 'mail');
SELECT * FROM cozi.outbox_take('pg_class', 'mail');
SELECT * FROM cozi.outbox_take(0, 'mail');
BEGIN READ ONLY;
SELECT * FROM cozi.outbox_take('ob.box', 'mail');
ROLLBACK;
RESET ROLE;

-- what a transaction has written it does not take: others may have written before
BEGIN;
INSERT INTO ob.box (aggregatetype, aggregateid, type) VALUES ('post', '1', 'mine');
SELECT count(*) FROM cozi.outbox_take('ob.box', 'mail');
SELECT events, waiting, held_by = 'process ' || pg_backend_pid() AS held_by_me
FROM cozi.outboxes WHERE consumer = 'mail';
COMMIT;
SELECT ob.settle();
SELECT seq, type FROM cozi.outbox_take('ob.box', 'search');

-- a mark of another server, which a dump has brought: delivered at once
INSERT INTO ob.box (seq, horizon, aggregatetype, aggregateid, type)
VALUES (1000, '18446744073709551615', 'post', '1', 'restored');
SELECT seq, type, lease FROM cozi.outbox_take('ob.box', 'mail');
SELECT cozi.outbox_done('ob.box', 'mail', 10);

-- numbers that sessions cache would come out of order
ALTER SEQUENCE ob.box_seq_seq CACHE 10;
SELECT * FROM cozi.outbox_take('ob.box', 'mail');
ALTER SEQUENCE ob.box_seq_seq CACHE 1;
-- nor may they be behind what is done, as after a restore by hand
SELECT * FROM cozi.outbox_take('ob.box', 'mail');
SELECT setval('ob.box_seq_seq', 1000);
SELECT * FROM cozi.outbox_take('ob.box', 'mail');

-- trimmed to what every consumer has done
SET ROLE regress_ob_owner;
SELECT cozi.outbox_trim('ob.box', keep => '1 day');
SELECT cozi.outbox_trim('ob.box');
SELECT array_agg(seq ORDER BY seq) FROM ob.box;
SELECT cozi.outbox_trim('ob.turning');
SELECT cozi.drop_outbox('ob.box');
SELECT cozi.remove_outbox_consumer('ob.box', 'search');
SELECT cozi.remove_outbox_consumer('ob.box', 'search');
RESET ROLE;

-- an outbox that is rotated: merged in order, emptied by partition, never the youngest
INSERT INTO ob.turning (aggregatetype, aggregateid, type, slot)
SELECT 'post', i, 'created', i % 4 FROM generate_series(1, 8) i;
SELECT cozi.add_outbox_consumer('ob.turning', 'mail', 'regress_ob_mail');
SELECT ob.settle();
SELECT seq, aggregateid, lease FROM cozi.outbox_take('ob.turning', 'mail', 6);
SELECT cozi.outbox_done('ob.turning', 'mail', 1);
SELECT cozi.outbox_trim('ob.turning');
SELECT array_agg(seq ORDER BY seq) FROM ob.turning;
SELECT seq, aggregateid, lease FROM cozi.outbox_take('ob.turning', 'mail', 6);
SELECT cozi.outbox_done('ob.turning', 'mail', 2);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cozi.outbox_trim('ob.turning');
ROLLBACK;
SELECT cozi.outbox_trim('ob.turning');
SELECT array_agg(seq ORDER BY seq) FROM ob.turning;
-- a partition is no outbox, nor a table with a trigger of another's id
SELECT * FROM cozi.outbox_take('ob.turning_0', 'mail');
SET ROLE regress_ob_owner;
CREATE TABLE ob.fake (LIKE ob.box);
DO $$ BEGIN
    EXECUTE format('CREATE TRIGGER cozi_outbox BEFORE INSERT ON ob.fake FOR EACH ROW '
                   'EXECUTE FUNCTION cozi._outbox_event(%L)', outbox)
    FROM cozi._outbox_relations() WHERE relation = 'ob.box'::regclass;
EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING '%', SQLERRM;
END $$;
RESET ROLE;
DO $$ BEGIN
    EXECUTE format('CREATE TRIGGER cozi_outbox BEFORE INSERT ON ob.fake FOR EACH ROW '
                   'EXECUTE FUNCTION cozi._outbox_event(%L)',
                   (SELECT outbox FROM cozi._outbox_relations()
                    WHERE relation = 'ob.box'::regclass));
END $$;
SET ROLE regress_ob_owner;
SELECT * FROM cozi.outbox_take('ob.fake', 'mail');
SELECT cozi.remove_outbox_consumer('ob.fake', 'mail');
INSERT INTO ob.fake (aggregatetype, aggregateid, type) VALUES ('post', '1', 'created');
DROP TABLE ob.fake;
RESET ROLE;

-- renamed, and read by a view that neither fails nor waits
INSERT INTO ob.box (aggregatetype, aggregateid, type) VALUES ('post', '1', 'late');
SELECT ob.settle();
ALTER TABLE ob.box RENAME TO renamed;
SELECT count(*), min(lease) AS lease FROM cozi.outbox_take('ob.renamed', 'mail');
SELECT cozi.outbox_done('ob.renamed', 'mail', 11, upto => 0);
ALTER TABLE ob.renamed DROP CONSTRAINT box_seq_key;
SELECT outbox, consumer, events, waiting, oldest FROM cozi.outboxes ORDER BY 1;
SELECT * FROM cozi.outbox_take('ob.renamed', 'mail');
ALTER TABLE ob.renamed ADD UNIQUE (seq);
ALTER TABLE ob.renamed ALTER payload TYPE text;
SELECT outbox, consumer, events, waiting, oldest FROM cozi.outboxes ORDER BY 1;
SELECT * FROM cozi.outbox_take('ob.renamed', 'mail');
ALTER TABLE ob.renamed ALTER payload TYPE jsonb USING payload::jsonb;

-- what cannot be an outbox
SELECT cozi.create_outbox('ob.renamed');
SELECT cozi.create_outbox('pg_temp.box');
SELECT cozi.create_outbox(repeat('x', 60));
SELECT cozi.create_outbox('ob.x', rotate => '1 s');
SELECT cozi.create_outbox('ob.x', rotate => '1 month');
SELECT cozi.create_outbox('ob.x', '{NULL}');
SELECT cozi.create_outbox(NULL);

-- removed
SELECT p FROM cozi.uninstall_plan() p WHERE p ~ 'ob\.';
SELECT cozi.drop_outbox('ob.renamed');
SELECT cozi.drop_outbox('ob.renamed', force => true);
DROP TABLE ob.turning;
SELECT count(*) FROM cozi.outboxes;
SELECT cozi.create_outbox('ob.last');
SELECT cozi.drop_outbox('ob.last');
SELECT count(*) FROM cozi.outbox_consumer;
SELECT count(*) FROM cozi.outbox_local;
DROP FUNCTION ob.settle();
DROP SCHEMA ob;
DROP OWNED BY regress_ob_owner, regress_ob_writer, regress_ob_mail, regress_ob_other;
DROP ROLE regress_ob_owner, regress_ob_writer, regress_ob_mail, regress_ob_other;
