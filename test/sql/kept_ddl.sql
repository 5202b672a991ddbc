-- Whatever DDL does, a kept table is right, or the command is refused, or the kept
-- table says that it is not: of boards, counters and activities, on the source, its
-- children and partitions, and on the public table.
--
-- Each command is tried in a transaction of its own that is undone.  Rows are written
-- after it through the source and its child, all is folded, and each kept table is
-- compared with a recount.  "WRONG" is in no line.
SET client_min_messages = error;
CREATE SCHEMA kddl;
CREATE SCHEMA kddl_away;
CREATE ROLE regress_kddl;
GRANT ALL ON SCHEMA kddl, kddl_away TO regress_kddl;
GRANT USAGE ON SCHEMA cozi TO regress_kddl;
SET search_path = kddl;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE kind AS ENUM ('up', 'down');
CREATE COLLATION other FROM "C";
CREATE TABLE plain (id int, item varchar(10) COLLATE "C", who int, amount int, ok boolean,
    at timestamptz DEFAULT '2026-06-01', kind kind DEFAULT 'up', price numeric(8, 2),
    rating positive, note text,
    vote int GENERATED ALWAYS AS (CASE WHEN note = 'no' THEN -1 ELSE 1 END) STORED);
CREATE TABLE child (extra int) INHERITS (plain);
CREATE TABLE parted (LIKE plain INCLUDING ALL) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (0, 1);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (2, 3);
CREATE TABLE part_3 (LIKE plain INCLUDING ALL);
CREATE TABLE empty (LIKE plain INCLUDING ALL);
CREATE TABLE bystander (a int, b int);
DO $$
DECLARE
    source regclass;
BEGIN
    FOREACH source IN ARRAY '{plain,parted}'::regclass[] LOOP
        PERFORM cozi.create_board(source || '_board', source, 'item', 'vote', 'at', 'kind'),
            cozi.create_counter(source || '_counter', source, 'item', 'amount', 'ok'),
            cozi.create_counter(source || '_prices', source, 'rating', 'price'),
            cozi.create_activity(source || '_activity', source, 'who', 'at');
        PERFORM cozi.track_changes((source || '_board')::regclass),
            cozi.track_changes((source || '_counter')::regclass);
    END LOOP;
END $$;
CREATE FUNCTION fill(into_table text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (id, item, who, amount, ok, price, rating, note)
        SELECT g %% 4, g %% 3, g %% 2, g, g %% 5 > 0, g, 1 + g %% 2,
               CASE WHEN g %% 3 = 0 THEN ''no'' END FROM generate_series(1, 12) g', into_table);
END $$;
SELECT fill('plain'), fill('child'), fill('parted');
SELECT cozi.fold() >= 0 AS folded;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;

-- Rows that are written after the command; what the command has made impossible is left
CREATE FUNCTION write() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    target regclass;
BEGIN
    FOR target IN SELECT c.oid FROM pg_class c
        WHERE c.relname ~ '^(plain|child|parted|part_[1-3]|renamed)$' AND c.relkind IN ('r', 'p')
        ORDER BY relname LOOP
        BEGIN
            EXECUTE format('UPDATE %s SET who = who + 1, ok = NOT ok, note = ''no'' WHERE id = 1',
                           target);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        BEGIN
            EXECUTE format('INSERT INTO %s SELECT * FROM jsonb_populate_record(NULL::%1$s,
                ''{"id": 2, "item": "7", "who": 7}'')', target);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        BEGIN
            EXECUTE format('INSERT INTO %s (id, item, who, amount) VALUES (2, 8, 8, 8)', target);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        BEGIN
            EXECUTE format('DELETE FROM %s WHERE id = 3', target);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $$;

-- What each kept table says, and whether it is true
CREATE FUNCTION verdict() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    kept record;
    wrong bigint;
    said text[] := '{}';
BEGIN
    FOR kept IN SELECT board AS r, state, 'board' AS kind FROM cozi.boards
        UNION ALL SELECT counter, state, 'counter' FROM cozi.counters
        UNION ALL SELECT activity, state, 'activity' FROM cozi.activities LOOP
        BEGIN
            EXECUTE format('SELECT count(*) FROM cozi.verify_%s(%L)', kept.kind, kept.r) INTO wrong;
        EXCEPTION WHEN OTHERS THEN
            wrong := -1;
        END;
        said := said || CASE WHEN kept.state <> 'ok' THEN kept.kind || ' ' || kept.state
                             WHEN wrong = 0 THEN 'right' ELSE kept.kind || ' WRONG' END;
    END LOOP;
    RETURN (SELECT string_agg(DISTINCT s, ', ' ORDER BY s) FROM unnest(said) s);
END $$;
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        BEGIN
            EXECUTE command;
            SET LOCAL session_replication_role = origin;
        EXCEPTION WHEN OTHERS THEN
            result := 'refused ' || SQLSTATE;
        END;
        IF result IS NULL THEN
            PERFORM kddl.write();
            PERFORM cozi.fold();
            -- others' tables are nothing to it
            ALTER TABLE kddl.bystander DROP COLUMN b;
            result := kddl.verdict();
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
    EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
        RETURN result;
    END;
END $$;

SELECT command, try(command) AS outcome FROM (VALUES
    (''),
    ('ALTER TABLE SOURCE SET UNLOGGED'),
    ('ALTER TABLE SOURCE SET UNLOGGED; ALTER TABLE SOURCE SET LOGGED'),
    ('ALTER TABLE SOURCE SET SCHEMA kddl_away'),
    ('ALTER SCHEMA kddl RENAME TO kddl_2; ALTER SCHEMA kddl_2 RENAME TO kddl'),
    ('ALTER TABLE SOURCE RENAME TO renamed'),
    ('ALTER TABLE SOURCE RENAME item TO thing'),
    ('ALTER TABLE SOURCE RENAME at TO made_at'),
    ('ALTER TABLE SOURCE RENAME vote TO worth'),
    ('ALTER TABLE SOURCE RENAME note TO remark'),
    ('ALTER TABLE SOURCE OWNER TO regress_kddl'),
    ('ALTER TABLE SOURCE ALTER item TYPE varchar(20)'),
    ('ALTER TABLE SOURCE ALTER item TYPE varchar(20) COLLATE "C"'),
    ('ALTER TABLE SOURCE ALTER item TYPE text'),
    ('ALTER TABLE SOURCE ALTER item TYPE varchar(10) COLLATE other'),
    ('ALTER TABLE SOURCE ALTER item TYPE varchar(10) USING item || ''x'''),
    ('ALTER TABLE SOURCE ALTER item TYPE int USING 1'),
    ('ALTER TABLE SOURCE ALTER amount TYPE bigint'),
    ('ALTER TABLE SOURCE ALTER amount TYPE smallint'),
    ('ALTER TABLE SOURCE ALTER amount TYPE int USING amount * 2'),
    ('ALTER TABLE SOURCE ALTER amount TYPE positive'),
    ('ALTER TABLE SOURCE ALTER ok TYPE boolean USING NOT ok'),
    ('ALTER TABLE SOURCE ALTER at TYPE timestamp'),
    ('ALTER TABLE SOURCE ALTER at TYPE timestamptz(0)'),
    ('ALTER TABLE SOURCE ALTER price TYPE numeric(8, 0)'),
    ('ALTER TABLE SOURCE ALTER price TYPE numeric(20, 2)'),
    ('ALTER TABLE SOURCE ALTER price TYPE float8'),
    ('ALTER TABLE SOURCE ALTER rating TYPE int'),
    ('ALTER TABLE SOURCE ALTER rating TYPE bigint'),
    ('ALTER TABLE SOURCE ALTER kind TYPE text'),
    ('ALTER TABLE SOURCE ALTER who TYPE bigint'),
    ('ALTER TABLE SOURCE ALTER note TYPE varchar(1) USING ''n'''),
    ('ALTER TABLE SOURCE ALTER note TYPE varchar(9)'),
    ('ALTER TABLE SOURCE ALTER vote DROP EXPRESSION'),
    ('ALTER TYPE kind RENAME VALUE ''up'' TO ''high'''),
    ('ALTER TYPE kind ADD VALUE ''sideways'''),
    ('ALTER TYPE kind RENAME TO sort'),
    ('ALTER DOMAIN positive DROP CONSTRAINT positive_check'),
    ('ALTER DOMAIN positive RENAME TO above_zero'),
    ('DROP TYPE kind CASCADE'),
    ('DROP DOMAIN positive CASCADE'),
    ('DROP COLLATION other'),
    ('ALTER TABLE SOURCE DROP COLUMN item'),
    ('ALTER TABLE SOURCE DROP COLUMN item CASCADE'),
    ('ALTER TABLE SOURCE DROP COLUMN amount, ADD COLUMN amount int DEFAULT 7'),
    ('ALTER TABLE SOURCE DROP COLUMN note CASCADE'),
    ('ALTER TABLE SOURCE DROP COLUMN vote, ADD COLUMN vote int DEFAULT 5'),
    ('ALTER TABLE SOURCE ADD COLUMN more text DEFAULT ''x'''),
    ('ALTER TABLE SOURCE ALTER at SET DEFAULT ''2026-07-01'', ALTER who SET DEFAULT 3'),
    ('ALTER TABLE SOURCE ADD CHECK (amount < 1000)'),
    ('ALTER TABLE SOURCE DISABLE TRIGGER ALL'),
    ('ALTER TABLE SOURCE DISABLE TRIGGER cozi_count_update'),
    ('ALTER TABLE SOURCE ENABLE REPLICA TRIGGER cozi_count_insert'),
    ('ALTER TABLE SOURCE ENABLE ALWAYS TRIGGER cozi_count_insert'),
    ('DROP TRIGGER cozi_count_delete ON SOURCE'),
    ('ALTER TRIGGER cozi_count_delete ON SOURCE RENAME TO mine'),
    ('CREATE RULE r AS ON DELETE TO SOURCE DO INSTEAD NOTHING'),
    ('CREATE TRIGGER t BEFORE INSERT ON SOURCE FOR EACH ROW EXECUTE FUNCTION nothing()'),
    ('TRUNCATE SOURCE'),
    ('DROP TABLE SOURCE'),
    ('DROP TABLE SOURCE CASCADE'),
    ('DROP OWNED BY regress_kddl')) c (command_of),
    (VALUES ('plain'), ('parted')) s (source), replace(command_of, 'SOURCE', source) command
WHERE source = 'plain' OR command_of ~ 'SOURCE'
    AND command_of !~ 'LOGGED|ALTER (amount|at|price|rating|kind|who|note) '
ORDER BY command COLLATE "C";

-- Newer minor releases refuse a CHECK for a domain that a view uses.
SELECT try('ALTER DOMAIN positive ADD CHECK (VALUE < 100)') IN ('right', 'refused 0A000')
    AS right_or_refused;

-- Children and partitions
SELECT command, try(command) AS outcome FROM (VALUES
    ('ALTER TABLE child NO INHERIT plain'),
    ('ALTER TABLE child NO INHERIT plain; ALTER TABLE child INHERIT plain'),
    ('ALTER TABLE child SET UNLOGGED'),
    ('ALTER TABLE child SET SCHEMA kddl_away'),
    ('ALTER TABLE child RENAME TO renamed'),
    ('ALTER TABLE child OWNER TO regress_kddl'),
    ('ALTER TABLE child DISABLE TRIGGER USER'),
    ('DROP TRIGGER cozi_count_insert ON child'),
    ('DROP TABLE child'),
    ('TRUNCATE child'),
    ('DELETE FROM child; DROP TABLE child'),
    ('CREATE TABLE child_2 () INHERITS (plain); INSERT INTO child_2 (item, who) VALUES (1, 1)'),
    ('CREATE TABLE child_2 () INHERITS (child); INSERT INTO child_2 (item, who) VALUES (1, 1)'),
    ('SELECT fill(''empty''); ALTER TABLE empty INHERIT plain'),
    ('ALTER TABLE empty INHERIT plain; SELECT fill(''empty'')'),
    ('ALTER TABLE empty ALTER vote DROP EXPRESSION; ALTER TABLE empty INHERIT plain'),
    ('ALTER TABLE parted DETACH PARTITION part_2'),
    ('ALTER TABLE parted DETACH PARTITION part_2; DROP TABLE part_2'),
    ('ALTER TABLE parted DETACH PARTITION part_2;
      ALTER TABLE parted ATTACH PARTITION part_2 FOR VALUES IN (2, 3)'),
    ('DROP TABLE part_2'),
    ('DROP TABLE part_2 CASCADE'),
    ('DELETE FROM part_2; DROP TABLE part_2'),
    ('TRUNCATE part_2'),
    ('ALTER TABLE part_2 SET UNLOGGED'),
    ('ALTER TABLE part_2 SET SCHEMA kddl_away'),
    ('ALTER TABLE part_2 RENAME TO renamed'),
    ('ALTER TABLE part_2 OWNER TO regress_kddl'),
    ('ALTER TABLE part_2 DISABLE TRIGGER USER'),
    ('DROP TRIGGER cozi_count_truncate ON part_2'),
    ('ALTER TABLE parted ATTACH PARTITION part_3 FOR VALUES IN (4)'),
    ('INSERT INTO part_3 (id, item, who) VALUES (4, 1, 1);
      ALTER TABLE parted ATTACH PARTITION part_3 FOR VALUES IN (4)'),
    ('CREATE TABLE part_4 PARTITION OF parted DEFAULT;
      INSERT INTO part_4 (id, item) VALUES (9, 9)'),
    ('CREATE TABLE part_4 PARTITION OF parted DEFAULT PARTITION BY LIST (who);
      CREATE TABLE part_5 PARTITION OF part_4 DEFAULT;
      INSERT INTO part_5 (id, item) VALUES (9, 9)'),
    ('UPDATE parted SET id = 3 - id'),
    ('CREATE UNLOGGED TABLE part_4 PARTITION OF parted DEFAULT')) c (command);

-- The public table and its view
SELECT command_of, string_agg(DISTINCT try(command), '; ') AS outcomes FROM (VALUES
    ('ALTER TABLE PUBLIC SET UNLOGGED'),
    ('ALTER TABLE PUBLIC SET SCHEMA kddl_away'),
    ('ALTER TABLE PUBLIC RENAME TO moved'),
    ('ALTER TABLE PUBLIC OWNER TO regress_kddl'),
    ('ALTER TABLE PUBLIC RENAME KEY TO other_key'),
    ('ALTER TABLE PUBLIC ALTER KEY TYPE text'),
    ('ALTER TABLE PUBLIC ADD COLUMN x int'),
    ('ALTER TABLE PUBLIC DROP COLUMN KEY CASCADE, ADD COLUMN KEY text'),
    ('ALTER TABLE PUBLIC DROP COLUMN KEY'),
    ('ALTER TABLE PUBLIC DROP COLUMN KEY CASCADE'),
    ('ALTER TABLE PUBLIC ALTER KEY SET DEFAULT NULL'),
    ('ALTER TABLE PUBLIC ALTER KEY SET STATISTICS 10'),
    ('ALTER TABLE PUBLIC ADD CHECK (false) NOT VALID'),
    ('ALTER TABLE PUBLIC SET (fillfactor = 50)'),
    ('ALTER TABLE PUBLIC SET WITHOUT CLUSTER'),
    ('ALTER TABLE PUBLIC REPLICA IDENTITY FULL'),
    ('ALTER TABLE PUBLIC SET TABLESPACE pg_default'),
    ('ALTER TABLE PUBLIC ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY'),
    ('ALTER TABLE PUBLIC DISABLE TRIGGER ALL'),
    ('CREATE INDEX ON PUBLIC (KEY)'),
    ('CREATE UNIQUE INDEX ON PUBLIC (KEY)'),
    ('CREATE INDEX ON PUBLIC ((1 / 0)) WHERE KEY IS NULL'),
    ('CREATE TRIGGER t BEFORE INSERT ON PUBLIC FOR EACH ROW EXECUTE FUNCTION nothing()'),
    ('CREATE RULE r AS ON INSERT TO PUBLIC DO INSTEAD NOTHING'),
    ('CREATE TABLE heir () INHERITS (PUBLIC)'),
    ('CREATE TABLE parent (); ALTER TABLE PUBLIC INHERIT parent'),
    ('CREATE TABLE refers (LIKE PUBLIC, foreign key (KEYS) REFERENCES PUBLIC)'),
    ('DROP TABLE PUBLIC'),
    ('DROP TABLE PUBLIC CASCADE'),
    ('DROP VIEW PUBLIC_live'),
    ('DROP VIEW PUBLIC_live CASCADE'),
    ('ALTER VIEW PUBLIC_live RENAME TO seen'),
    ('CREATE OR REPLACE VIEW PUBLIC_live AS SELECT * FROM PUBLIC WHERE false'),
    ('COMMENT ON TABLE PUBLIC IS ''mine'''),
    ('GRANT SELECT ON PUBLIC TO regress_kddl'),
    ('CREATE POLICY p ON PUBLIC USING (false)'),
    ('SET LOCAL session_replication_role = replica; ALTER TABLE PUBLIC ADD COLUMN x int'),
    ('SET LOCAL session_replication_role = replica; ALTER TABLE PUBLIC DROP COLUMN KEY CASCADE'),
    ('SET LOCAL session_replication_role = replica; DROP TABLE PUBLIC CASCADE'),
    ('SET LOCAL session_replication_role = replica; ALTER TABLE PUBLIC SET UNLOGGED'),
    ('SET LOCAL session_replication_role = replica; ALTER TABLE PUBLIC RENAME TO moved')
    ) c (command_of),
    (VALUES ('plain_board', 'item', 'scope, item'), ('plain_counter', 'key', 'key'),
        ('plain_activity', 'user_id', 'user_id, month')) p (public, key, keys),
    replace(replace(replace(command_of, 'PUBLIC', public), 'KEYS', keys), 'KEY', key) command
GROUP BY 1 ORDER BY command_of COLLATE "C";
SELECT verdict();

-- A new owner takes over no code: the statement of each hint removes it, until none is left
CREATE DOMAIN checked AS int CHECK (VALUE > 0);
CREATE DOMAIN not_null AS checked NOT NULL;
CREATE TABLE handed (item not_null, at timestamptz DEFAULT '2026-06-01');
CREATE TABLE posts (id int PRIMARY KEY);
SELECT cozi.create_board('handed_board', 'handed', 'item', voted_at => 'at',
                         item_table => 'posts');
CREATE FUNCTION same(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE INDEX handed_index ON handed_board (same(ups));
CREATE POLICY "a policy" ON handed_board USING (true);
CREATE TABLE hints (n serial, hint text);
DO $$
DECLARE
    hint text;
BEGIN
    FOR i IN 1 .. 9 LOOP
        BEGIN
            ALTER TABLE kddl.handed OWNER TO regress_kddl;
            EXIT;
        EXCEPTION WHEN insufficient_privilege THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
        END;
        EXECUTE substring(hint, 'Run (.*) first.');
        INSERT INTO kddl.hints (hint) VALUES (hint);
    END LOOP;
END $$;
SELECT hint FROM hints ORDER BY n;
SELECT relowner::regrole FROM pg_class WHERE oid = 'handed_board'::regclass;
SELECT verdict();

DROP SCHEMA kddl, kddl_away CASCADE;
REVOKE USAGE ON SCHEMA cozi FROM regress_kddl;
DROP ROLE regress_kddl;
