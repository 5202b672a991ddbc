-- Kept tables under hostile owners and hostile rows: the inputs that once made an
-- owner superuser, crashed the server, or stopped the tables of all others.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_kept_attacker;
CREATE ROLE regress_kept_heir;
GRANT USAGE ON SCHEMA cozi TO regress_kept_heir;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_kept_attacker');
CREATE SCHEMA kept_att AUTHORIZATION regress_kept_attacker;
CREATE SCHEMA kept_app;
GRANT ALL ON SCHEMA kept_att TO regress_kept_heir;

-- A view of the owner's is never read by top(), and a setting never stays behind
SET ROLE regress_kept_attacker;
CREATE TABLE kept_att.v1 (post_id bigint, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('b1', 'kept_att.v1', 'post_id');
INSERT INTO kept_att.v1 VALUES (1);
CREATE FUNCTION kept_att.leave() RETURNS bool LANGUAGE plpgsql AS
    $$BEGIN PERFORM set_config('search_path', 'kept_att, pg_catalog', false); RETURN true; END$$;
CREATE OR REPLACE VIEW kept_att.b1_live AS
    SELECT item, ups, downs, heat FROM kept_att.b1 WHERE kept_att.leave();
RESET ROLE;
SELECT item, rank FROM cozi.top('kept_att.b1', 1);
SHOW search_path;

-- An index function of the owner's runs as the owner, and its settings do not last
SET ROLE regress_kept_attacker;
CREATE FUNCTION kept_att.spy(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('search_path', 'kept_att, pg_catalog', false);
    IF current_user <> 'regress_kept_attacker' THEN RAISE 'runs as %', current_user; END IF;
    RETURN $1;
END $$;
CREATE INDEX b1_spy ON kept_att.b1 (kept_att.spy(ups));
RESET search_path;
INSERT INTO kept_att.v1 VALUES (1), (2);
RESET ROLE;
SELECT cozi.fold('kept_att.b1') >= 0 AS folded;
SHOW search_path;
SELECT item, ups FROM kept_att.b1 ORDER BY item;
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_att.b1'::regclass;

-- No function of the owner's closes a cursor that is open: that of a rebuild, between
-- whose fetches rows are written, and those of top_ranked(), which reads two in turn
SET ROLE regress_kept_attacker;
CREATE FUNCTION kept_att.shut() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    each refcursor;
BEGIN
    FOREACH each IN ARRAY ARRAY(SELECT name::refcursor FROM pg_cursors) LOOP
        BEGIN
            CLOSE each;
        EXCEPTION WHEN invalid_cursor_state OR invalid_cursor_name THEN NULL;
        END;
    END LOOP;
    RETURN true;
END $$;
CREATE FUNCTION kept_att.shut(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql
    AS 'SELECT kept_att.shut()';
CREATE TABLE kept_att.v0 (post_id int, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('b0', 'kept_att.v0', 'post_id');
INSERT INTO kept_att.v0 SELECT generate_series(1, 11000);
CREATE INDEX ON kept_att.b0 (kept_att.shut(ups)) WHERE item BETWEEN 9990 AND 10010;
SELECT cozi.rebuild_board('kept_att.b0');
SELECT count(*), (SELECT count(*) FROM cozi.verify_board('kept_att.b0')) AS wrong FROM kept_att.b0;
CREATE TABLE kept_att.posts (id int, score int, created_at timestamptz);
INSERT INTO kept_att.posts SELECT g, g % 977, timestamptz '2026-06-01' - g * interval '1 min'
FROM generate_series(1, 1000) g;
CREATE INDEX ON kept_att.posts (created_at);
CREATE INDEX ON kept_att.posts (score);
CREATE POLICY p ON kept_att.posts USING (id % 50 > 0 OR kept_att.shut());
ALTER TABLE kept_att.posts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT item FROM cozi.top_ranked('kept_att.posts', 'gravity', 2, as_of => '2026-06-02');
SELECT cozi.drop_board('kept_att.b0');
RESET ROLE;

-- What would change what a fold writes is refused when it is made
SET ROLE regress_kept_attacker;
CREATE TABLE kept_att.v2 (post_id bigint, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('b2', 'kept_att.v2', 'post_id');
CREATE FUNCTION kept_att.nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER t AFTER INSERT ON kept_att.b2 FOR EACH STATEMENT EXECUTE FUNCTION kept_att.nothing();
CREATE RULE r AS ON UPDATE TO kept_att.b2 DO INSTEAD NOTHING;
ALTER TABLE kept_att.b2 ADD COLUMN x int;
ALTER TABLE kept_att.b2 ADD CHECK (ups < 0) NOT VALID;
ALTER TABLE kept_att.b2 ALTER ups SET DEFAULT 3;
ALTER TABLE kept_att.b2 RENAME ups TO up;
ALTER TABLE kept_att.b2 DROP CONSTRAINT b2_pkey;
ALTER TABLE kept_att.b2 SET UNLOGGED;
CREATE UNIQUE INDEX ON kept_att.b2 (heat);
CREATE TABLE kept_att.refers (item bigint REFERENCES kept_att.b2);
CREATE TABLE kept_att.child () INHERITS (kept_att.b2);
CREATE TYPE kept_att.row AS (item bigint, ups bigint, downs bigint, heat float8);
ALTER TABLE kept_att.b2 OF kept_att.row;
ALTER TABLE kept_att.b2 OWNER TO regress_kept_attacker;
-- and what would not is welcome
CREATE INDEX ON kept_att.b2 (ups);
CREATE POLICY p ON kept_att.b2 USING (true);
ALTER TABLE kept_att.b2 ENABLE ROW LEVEL SECURITY;
ALTER TABLE kept_att.b2 SET (fillfactor = 50);
ALTER TABLE kept_att.b2 CLUSTER ON b2_pkey;
ALTER TABLE kept_att.b2 ALTER item SET STATISTICS 10;
GRANT SELECT ON kept_att.b2 TO regress_kept_heir;
CREATE STATISTICS kept_att.s ON ups, downs FROM kept_att.b2;
INSERT INTO kept_att.v2 VALUES (1);
SELECT cozi.fold('kept_att.b2') >= 0 AS folded;
SELECT item, ups FROM kept_att.b2;
RESET ROLE;
-- made while event triggers were off: that table alone is stalled, and says so
SET session_replication_role = replica;
CREATE TRIGGER t AFTER INSERT ON kept_att.b2 FOR EACH STATEMENT EXECUTE FUNCTION kept_att.nothing();
SET session_replication_role = origin;
INSERT INTO kept_att.v2 VALUES (2);
INSERT INTO kept_att.v1 VALUES (3);
SELECT cozi.fold('kept_att.b2') >= 0 AND cozi.fold('kept_att.b1') >= 0 AS folded;
SELECT board, state, last_error FROM cozi.boards WHERE board::text LIKE 'kept_att%' ORDER BY 1;
SELECT item FROM kept_att.b1 ORDER BY item;
-- fold() of all goes on after the one that fails, and the votes of that one wait
INSERT INTO kept_att.v2 VALUES (5);
INSERT INTO kept_att.v1 VALUES (5);
SET ROLE regress_kept_attacker;
SELECT cozi.fold() >= 0 AS folded;
RESET ROLE;
SELECT board, state, pending > 0 AS pending FROM cozi.boards WHERE board::text LIKE 'kept_att%'
ORDER BY 1;
SELECT item FROM kept_att.b1 ORDER BY item;
SELECT item, rank FROM cozi.top('kept_att.b1', 1);
DROP TRIGGER t ON kept_att.b2;
SELECT cozi.fold('kept_att.b2') >= 0 AS folded;
SELECT state, last_error, stalled_since FROM cozi.boards WHERE board = 'kept_att.b2'::regclass;

-- A new owner takes over no code of the former one
ALTER TABLE kept_att.v1 OWNER TO regress_kept_heir;
DROP INDEX kept_att.b1_spy;
ALTER TABLE kept_att.v1 OWNER TO regress_kept_heir;
SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('v1', 'b1', 'b1_live') ORDER BY 1;
-- its view is what it was created as
SELECT pg_get_viewdef('kept_att.b1_live') LIKE '%leave()%' AS of_the_former_owner;
ALTER TABLE kept_att.v2 OWNER TO regress_kept_heir;
-- REASSIGN OWNED fires no event trigger: the fold looks
CREATE INDEX b2_sql ON kept_att.b2 (kept_att.spy(downs));
REASSIGN OWNED BY regress_kept_attacker TO regress_kept_heir;
INSERT INTO kept_att.v2 VALUES (3);
SELECT cozi.fold('kept_att.b2') >= 0 AS folded;
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_att.b2'::regclass;
DROP INDEX kept_att.b2_sql;
DROP POLICY p ON kept_att.b2;
SELECT cozi.fold('kept_att.b2') >= 0 AS folded;
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_att.b2'::regclass;

-- DROP of a type, with all that hangs on it, never reaches the commands of others
CREATE TYPE kept_att.vt AS (post_id bigint, created_at timestamptz);
CREATE TABLE kept_att.v5 OF kept_att.vt;
SELECT cozi.create_board('b5', 'kept_att.v5', 'post_id');
CREATE VIEW kept_att.w AS SELECT * FROM kept_att.b5;
DROP TYPE kept_att.vt CASCADE;
CREATE TABLE kept_app.mine (a int, b int);
ALTER TABLE kept_app.mine DROP COLUMN b;
DROP TABLE kept_app.mine;
SELECT to_regclass('kept_att.b5'), to_regclass('kept_att.b5_live'), to_regclass('kept_att.w');
-- DROP TABLE ... CASCADE takes the views of users along, DROP TABLE does not
CREATE TABLE kept_app.v18 (post_id bigint, created_at timestamptz);
SELECT cozi.create_board('b18', 'kept_app.v18', 'post_id');
CREATE VIEW kept_app.w AS SELECT * FROM kept_app.b18;
DROP TABLE kept_app.v18;
DROP TABLE kept_app.v18 CASCADE;
SELECT to_regclass('kept_app.b18'), to_regclass('kept_app.w');

-- A key that no index takes is set aside; the rest folds
CREATE TABLE kept_app.tags (tag text, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('hot_tags', 'kept_app.tags', 'tag');
INSERT INTO kept_app.tags SELECT string_agg(md5(g::text), '') FROM generate_series(1, 120) g;
INSERT INTO kept_app.tags VALUES ('a'), ('b'), ('a');
SELECT cozi.fold('kept_app.hot_tags') >= 0 AS folded;
SELECT item, ups FROM kept_app.hot_tags ORDER BY 1;
SELECT state, left(last_error, 20) AS error, set_aside FROM cozi.boards
WHERE board = 'kept_app.hot_tags'::regclass;
SELECT cozi.rebuild_board('kept_app.hot_tags');
SELECT set_aside FROM cozi.boards WHERE board = 'kept_app.hot_tags'::regclass;
DELETE FROM kept_app.tags WHERE length(tag) > 10;
SELECT cozi.fold('kept_app.hot_tags') >= 0 AS folded;
SELECT state, last_error, set_aside FROM cozi.boards WHERE board = 'kept_app.hot_tags'::regclass;
SELECT * FROM cozi.verify_board('kept_app.hot_tags');
-- an index expression that fails for some rows sets those aside
CREATE TABLE kept_app.v6 (item int, u int, value int, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('b6', 'kept_app.v6', 'item', 'value');
CREATE INDEX ON kept_app.b6 ((1 / (5 - ups)));
INSERT INTO kept_app.v6 SELECT g, 1, g FROM generate_series(1, 8) g;
SELECT cozi.fold('kept_app.b6') >= 0 AS folded;
SELECT array_agg(item ORDER BY item) FROM kept_app.b6;
SELECT last_error FROM cozi.boards WHERE board = 'kept_app.b6'::regclass;

-- What would change counted values is refused
ALTER TABLE kept_app.v6 ALTER value TYPE bigint USING value * 10;
ALTER TABLE kept_app.v6 DROP COLUMN value, ADD COLUMN value smallint DEFAULT -1;
ALTER TABLE kept_app.v6 ALTER created_at TYPE timestamp;
ALTER TABLE kept_app.v6 ALTER item TYPE bigint;
ALTER TABLE kept_app.v6 ALTER value TYPE bigint;
CREATE TABLE kept_app.gen (item int, kind text, created_at timestamptz DEFAULT '2026-06-01',
    value int GENERATED ALWAYS AS (CASE kind WHEN 'up' THEN 1 ELSE -1 END) STORED);
SELECT cozi.create_board('bgen', 'kept_app.gen', 'item', 'value');
ALTER TABLE kept_app.gen ALTER kind TYPE varchar USING 'up';
-- a longer text needs nothing
CREATE TABLE kept_app.slugs (item varchar(5), created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('bslugs', 'kept_app.slugs', 'item');
ALTER TABLE kept_app.slugs ALTER item TYPE varchar(50);
INSERT INTO kept_app.slugs VALUES ('a-long-slug');
SELECT cozi.fold('kept_app.bslugs') >= 0 AS folded;
SELECT item FROM kept_app.bslugs;
-- what goes past the triggers is said
ALTER TABLE kept_app.slugs DISABLE TRIGGER USER;
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_app.bslugs'::regclass;
ALTER TABLE kept_app.slugs ENABLE TRIGGER USER;
SELECT cozi.rebuild_board('kept_app.bslugs');
DROP TRIGGER cozi_count_delete ON kept_app.slugs;
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_app.bslugs'::regclass;
SELECT cozi.rebuild_board('kept_app.bslugs');
DELETE FROM kept_app.slugs;
SELECT * FROM cozi.verify_board('kept_app.bslugs');
-- and a rebuild while triggers are disabled does not say that all is well
ALTER TABLE kept_app.slugs DISABLE TRIGGER USER;
SELECT cozi.rebuild_board('kept_app.bslugs');
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_app.bslugs'::regclass;

-- SET LOGGED and SET UNLOGGED are followed
CREATE UNLOGGED TABLE kept_app.v7 (item int, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('b7', 'kept_app.v7', 'item');
INSERT INTO kept_app.v7 SELECT g % 10 FROM generate_series(1, 100) g;
ALTER TABLE kept_app.v7 SET LOGGED;
SELECT relpersistence FROM pg_class WHERE oid = 'kept_app.b7'::regclass;
SELECT * FROM cozi.verify_board('kept_app.b7');
ALTER TABLE kept_app.v7 SET UNLOGGED;
SELECT relpersistence FROM pg_class WHERE oid = 'kept_app.b7'::regclass;
SELECT * FROM cozi.verify_board('kept_app.b7');

-- Votes of the future cancel against each other
CREATE TABLE kept_app.f1 (item int, u int, value int, created_at timestamptz);
SELECT cozi.create_board('bf1', 'kept_app.f1', 'item', 'value');
INSERT INTO kept_app.f1 VALUES (1, 1, 1, now() + interval '10 years');
DO $$ BEGIN FOR i IN 1..200 LOOP UPDATE kept_app.f1 SET value = -value; END LOOP; END $$;
SELECT cozi.fold('kept_app.bf1') >= 0 AS folded;
SELECT pending, future FROM cozi.boards WHERE board = 'kept_app.bf1'::regclass;
DELETE FROM kept_app.f1;
SELECT cozi.fold('kept_app.bf1') >= 0 AS folded;
SELECT pending, future FROM cozi.boards WHERE board = 'kept_app.bf1'::regclass;

-- The sum of an item that lives for thousands of half-lives stays small
CREATE TABLE kept_app.uses (tag text, created_at timestamptz);
INSERT INTO kept_app.uses SELECT 'cats', timestamptz '2026-06-01' - g * interval '50 minutes'
FROM generate_series(1, 20000) g;
SELECT cozi.create_board('buses', 'kept_app.uses', 'tag', half_life => '1 hour');
SELECT max(octet_length(sum)) < 2048 AS small FROM cozi.kept_state;
SELECT * FROM cozi.verify_board('kept_app.buses');
DELETE FROM kept_app.uses WHERE created_at < '2025-06-01';
DELETE FROM kept_app.uses WHERE extract(hour FROM created_at) < 12;
SELECT * FROM cozi.verify_board('kept_app.buses');

-- Equality is the type's own
CREATE TABLE kept_app.n (item int, tags numeric[], created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('bn', 'kept_app.n', 'item', scope => 'tags');
INSERT INTO kept_app.n VALUES (1, '{1.0,1.00}'), (1, '{1.000}');
SELECT cozi.fold('kept_app.bn') >= 0 AS folded;
SELECT scope, item, ups FROM kept_app.bn;
SELECT * FROM cozi.verify_board('kept_app.bn');
-- a long array is counted in linear time
INSERT INTO kept_app.n VALUES (2, (SELECT array_agg(g % 5000) FROM generate_series(1, 50000) g));
SELECT count(*) FROM cozi.verify_board('kept_app.bn');
-- an item of several scopes comes once, with its highest heat
INSERT INTO kept_app.n VALUES (3, '{7,8,9}', '2026-06-02');
SELECT item, rank FROM cozi.top('kept_app.bn', 3);

-- A detached partition feeds nothing; what it took along is said
CREATE TABLE kept_app.p (item int, created_at timestamptz) PARTITION BY RANGE (item);
CREATE TABLE kept_app.p1 PARTITION OF kept_app.p FOR VALUES FROM (0) TO (10);
SELECT cozi.create_board('bp', 'kept_app.p', 'item');
INSERT INTO kept_app.p1 VALUES (1, '2026-06-01');
ALTER TABLE kept_app.p DETACH PARTITION kept_app.p1;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'kept_app.p1'::regclass;
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_app.bp'::regclass;
ALTER TABLE kept_app.p ATTACH PARTITION kept_app.p1 FOR VALUES FROM (0) TO (10);
SELECT cozi.rebuild_board('kept_app.bp');
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_app.bp'::regclass;
SELECT * FROM cozi.verify_board('kept_app.bp');

-- A label of an enum that is a scope is renamed
CREATE TYPE kept_app.kind AS ENUM ('x', 'y');
CREATE TABLE kept_app.e (item int, kind kept_app.kind, created_at timestamptz DEFAULT '2026-06-01');
SELECT cozi.create_board('be', 'kept_app.e', 'item', scope => 'kind');
INSERT INTO kept_app.e VALUES (1, 'x');
ALTER TYPE kept_app.kind RENAME VALUE 'x' TO 'z';
SELECT state, last_error FROM cozi.boards WHERE board = 'kept_app.be'::regclass;
SELECT cozi.rebuild_board('kept_app.be');
SELECT scope, item FROM kept_app.be;

-- create_board() takes over a table of the same name and shape, and counts anew
CREATE TABLE kept_app.adopt (item int, created_at timestamptz DEFAULT '2026-06-01');
INSERT INTO kept_app.adopt VALUES (1), (1);
CREATE TABLE kept_app.badopt (item int PRIMARY KEY, ups bigint NOT NULL, downs bigint NOT NULL,
    heat float8 NOT NULL);
INSERT INTO kept_app.badopt VALUES (9, 9, 9, 9);
SELECT cozi.create_board('badopt', 'kept_app.adopt', 'item');
SELECT item, ups FROM kept_app.badopt;
SELECT cozi.create_board('badopt', 'kept_app.adopt', 'item');
SELECT cozi.create_board('adopt', 'kept_app.adopt', 'item');

-- The computed relationship reads the board by its index, under the policies of posts
CREATE TABLE kept_app.posts (id int PRIMARY KEY, title text);
INSERT INTO kept_app.posts VALUES (1, 'one');
SELECT cozi.create_board('hot_posts', 'kept_app.adopt', 'item', item_table => 'kept_app.posts');
SELECT h.item, p.title FROM kept_app.hot_posts h, kept_app.posts(h) p ORDER BY heat DESC LIMIT 50;
SELECT cozi.drop_board('kept_app.hot_posts');
SELECT count(*) FROM pg_proc WHERE proname = 'posts' AND pronamespace = 'kept_app'::regnamespace;

DROP SCHEMA kept_app, kept_att CASCADE;
SELECT count(*) FROM cozi.kept;
SELECT (SELECT count(*) FROM cozi.kept_local) + (SELECT count(*) FROM cozi.kept_state)
     + (SELECT count(*) FROM cozi.kept_delta) + (SELECT count(*) FROM cozi.kept_aside) AS left_over;
DROP OWNED BY regress_kept_attacker, regress_kept_heir;
DROP ROLE regress_kept_attacker, regress_kept_heir;
