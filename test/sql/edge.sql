-- Edges: registering them, what the predicates answer, and plans they become.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE ROLE rls_app;
CREATE ROLE rls_owner;
GRANT USAGE ON SCHEMA cozi TO rls_app, rls_owner;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.drop_edge TO rls_owner;
CREATE SCHEMA rls_edges AUTHORIZATION rls_owner;
GRANT USAGE ON SCHEMA rls_edges TO rls_app;
SET search_path = rls_edges, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
-- person n is the uuid 0...n
CREATE FUNCTION person(n int) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN lpad(to_hex(n), 32, '0')::uuid;
CREATE TABLE token AS SELECT n, pg_temp.token(person(n)::text) AS token
FROM generate_series(1, 12) n;
GRANT SELECT ON token TO rls_app;
GRANT EXECUTE ON FUNCTION person TO rls_app, rls_owner;
CREATE FUNCTION be(who int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN PERFORM cozi.login(t.token) FROM rls_edges.token t WHERE t.n = who; END $$;

-- before anything is registered
SELECT cozi.is_following(person(1));
SELECT cozi.is_member(1);
SELECT cozi.is_edge('likes', 'x'::text);
SELECT cozi.has_blocked(person(1)), cozi.is_blocked_by(person(1)), cozi.has_blocked(7),
       cozi.is_blocked_by('x'::text);
SELECT cozi.edge_targets_uuid('blocked'), cozi.edge_targets_bigint('blocked');
SELECT cozi.edge_targets_uuid('following');
SELECT cozi.drop_edge('following');

SET ROLE rls_owner;
CREATE TABLE follows (follower uuid, followee uuid, note jsonb);
CREATE TABLE members (member uuid, grp int, PRIMARY KEY (member, grp));
CREATE TABLE blocks (id bigint PRIMARY KEY, blocker uuid, blocked uuid);
INSERT INTO follows SELECT person(1 + g % 60), person(1 + (g * 7 + g / 60) % 200)
FROM generate_series(0, 1799) g;
INSERT INTO follows SELECT person(1), person(g) FROM generate_series(1, 300) g;
INSERT INTO members SELECT DISTINCT person(1 + g % 60), (g * 13) % 20
FROM generate_series(0, 299) g;
INSERT INTO blocks SELECT g, person(1 + (g * 11) % 60), person(1 + (g * 17) % 200)
FROM generate_series(0, 99) g;
-- who may register what
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee');
CREATE INDEX follows_partial ON follows (follower, followee) WHERE note IS NULL;
CREATE INDEX ON follows (followee, follower);
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee');
DROP INDEX follows_partial;
CREATE INDEX follows_index ON follows (follower, followee);
SELECT cozi.register_edge('following', 'follows', 'follower', 'nobody');
SELECT cozi.register_edge('following', 'follows', 'follower', 'note');
SELECT cozi.register_edge('following', 'pg_catalog.pg_class', 'oid', 'relname');
SELECT cozi.register_edge('following', 0, 'a', 'b');
SELECT cozi.register_edge('', 'follows', 'follower', 'followee');
CREATE TABLE parent (a uuid, b uuid, PRIMARY KEY (a, b));
CREATE TABLE child () INHERITS (parent);
SELECT cozi.register_edge('following', 'parent', 'a', 'b');
CREATE VIEW pairs AS SELECT * FROM parent;
SELECT cozi.register_edge('following', 'pairs', 'a', 'b');
CREATE TABLE parted (a uuid, b uuid) PARTITION BY HASH (a);
SELECT cozi.register_edge('following', 'parted', 'a', 'b');
DROP TABLE parted, child, parent CASCADE;
CREATE TEMP TABLE mine (a uuid, b uuid, PRIMARY KEY (a, b));
SELECT cozi.register_edge('following', 'mine', 'a', 'b');
DROP TABLE mine;
RESET ROLE;
SET ROLE rls_app;
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee');
SELECT * FROM cozi.edges;
RESET ROLE;
SET ROLE rls_owner;
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee');
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee');
SELECT cozi.register_edge('member', 'members', 'member', 'grp');
CREATE UNIQUE INDEX ON blocks (blocker, blocked) INCLUDE (id);
SELECT cozi.register_edge('blocked', 'blocks', 'blocker', 'blocked');
RESET ROLE;
SELECT * FROM cozi.edges ORDER BY edge;
GRANT EXECUTE ON FUNCTION cozi.drop_edge TO rls_app;
SET ROLE rls_app;
SELECT cozi.drop_edge('following');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION cozi.drop_edge FROM rls_app;

-- answers; the caller has no right to the tables
SET ROLE rls_app;
SELECT count(*) FROM follows;
SELECT cozi.is_following(person(8)), cozi.is_member(3), cozi.has_blocked(person(1)),
       cozi.is_following(NULL::uuid);
SELECT be(2)\; SELECT cozi.is_following(person(8)), cozi.is_following(person(9)),
       cozi.is_edge('following', person(8)), cozi.is_following(NULL::uuid)\;
SELECT cozi.edge_targets_bigint('member'), array_length(cozi.edge_targets_uuid('following'), 1)\;
SELECT g FROM generate_series(-1, 20) g WHERE cozi.is_member(g);
SELECT be(2)\; SELECT cozi.is_following(8);
SELECT be(2)\; SELECT cozi.is_following('8'::text);
SELECT be(2)\; SELECT cozi.edge_targets_bigint('following');
RESET ROLE;

-- what the policies are compared with: plain SQL over the same tables
CREATE TABLE post (id int PRIMARY KEY, author uuid, grp int, visibility text);
INSERT INTO post SELECT g, person(1 + (g * 31) % 200), (g * 3) % 20,
    (array['public', 'followers', 'group', 'private', 'odd', NULL])[1 + (g * 5 + g / 7) % 6]
        FROM generate_series(1, 2000) g;
CREATE INDEX ON post (author);
CREATE TABLE post_parted (LIKE post) PARTITION BY HASH (author);
SELECT format('CREATE TABLE post_parted_%s PARTITION OF post_parted '
              'FOR VALUES WITH (MODULUS 4, REMAINDER %s)', g, g) FROM generate_series(0, 3) g \gexec
INSERT INTO post_parted SELECT * FROM post;
CREATE INDEX ON post_parted (author);
ANALYZE;
CREATE TABLE post_seen AS SELECT * FROM post;
CREATE TABLE post_view AS SELECT * FROM post;
CREATE INDEX ON post_seen (author);
ALTER TABLE post ENABLE ROW LEVEL SECURITY;
ALTER TABLE post_parted ENABLE ROW LEVEL SECURITY;
ALTER TABLE post_view ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON post USING (cozi.is_following(author));
CREATE POLICY p ON post_parted USING (cozi.is_following(author));
CREATE POLICY p ON post_view USING (cozi.can_view(visibility, author, grp));
GRANT SELECT ON post, post_parted, post_view TO rls_app;
ANALYZE;
-- as the owner of everything: whom person n sees
CREATE FUNCTION expected(n int) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    RETURN (SELECT sum(id::bigint * id) FROM rls_edges.post_seen p
            WHERE EXISTS (SELECT FROM rls_edges.follows f WHERE f.follower = rls_edges.person(n)
                          AND f.followee = p.author));
CREATE FUNCTION expected_view(n int) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    RETURN (SELECT sum(id::bigint * id) FROM rls_edges.post_seen p
            WHERE p.author = rls_edges.person(n)
               OR (p.visibility = 'public'
                   OR (p.visibility = 'followers'
                       AND EXISTS (SELECT FROM rls_edges.follows f
                                   WHERE f.follower = rls_edges.person(n)
                                   AND f.followee = p.author))
                   OR (p.visibility = 'group'
                       AND EXISTS (SELECT FROM rls_edges.members m
                                   WHERE m.member = rls_edges.person(n) AND m.grp = p.grp)))
                  AND NOT EXISTS (SELECT FROM rls_edges.blocks b
                                  WHERE (b.blocker, b.blocked) = (rls_edges.person(n), p.author)
                                     OR (b.blocker, b.blocked) = (p.author, rls_edges.person(n))));
-- viewers whose rows differ, of some that see rows
CREATE FUNCTION differ(viewers int = 12) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n int;
    seen bigint;
    seeing int := 0;
    bad text := '';
BEGIN
    FOR n IN 1 .. viewers LOOP
        PERFORM rls_edges.be(n);
        SELECT sum(id::bigint * id) INTO seen FROM rls_edges.post;
        IF seen IS DISTINCT FROM rls_edges.expected(n) THEN bad := bad || ' post:' || n; END IF;
        seeing := seeing + (seen > 0)::int;
        SELECT sum(id::bigint * id) INTO seen FROM rls_edges.post_parted;
        IF seen IS DISTINCT FROM rls_edges.expected(n) THEN bad := bad || ' parted:' || n; END IF;
        SELECT sum(id::bigint * id) INTO seen FROM rls_edges.post_view;
        IF seen IS DISTINCT FROM rls_edges.expected_view(n) THEN
            bad := bad || ' view:' || n; END IF;
    END LOOP;
    RETURN seeing || ' viewers see rows, differing:' || bad;
END $$;
GRANT USAGE ON SCHEMA rls_edges TO rls_app;
SET ROLE rls_app;
SET plan_cache_mode = force_custom_plan;
SELECT differ();
SET plan_cache_mode = force_generic_plan;
SELECT differ();
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SELECT differ(4);
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
BEGIN; SELECT be(1);
EXPLAIN (COSTS OFF) SELECT sum(id) FROM post;
COMMIT;
SELECT differ(4);
RESET parallel_leader_participation; RESET min_parallel_table_scan_size; RESET parallel_tuple_cost;
RESET parallel_setup_cost;
RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan;
SET work_mem = '64kB';
SELECT differ(2);
RESET work_mem;
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT differ(3); COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT differ(3); COMMIT;
RESET plan_cache_mode;

-- few edges: an index condition, and none of it is the caller's
SET enable_seqscan = off; SET enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0;
BEGIN; SELECT be(2);
EXPLAIN (COSTS OFF) SELECT sum(id) FROM post;
EXPLAIN (COSTS OFF) SELECT sum(id) FROM post
    WHERE cozi.is_edge('following', author) AND cozi.has_blocked(author);
COMMIT;
PREPARE mine AS SELECT count(*), min(id) FROM post;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE mine;
EXECUTE mine;
BEGIN; SELECT be(2); EXECUTE mine; SELECT be(3); EXECUTE mine; COMMIT;
RESET plan_cache_mode; RESET enable_seqscan; RESET enable_bitmapscan;
RESET max_parallel_workers_per_gather;
RESET ROLE;

-- never stale: in one transaction, in plpgsql, across savepoints, viewers and cursors
CREATE FUNCTION stale() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    target uuid := rls_edges.person(999);
    f boolean;
    said text := '';
BEGIN
    PERFORM rls_edges.be(2);
    FOR i IN 1 .. 12 LOOP
        f := cozi.is_following(target);     -- one expression, for the whole loop
        said := said || left(f::text, 1);
        IF i = 2 THEN INSERT INTO rls_edges.follows VALUES (rls_edges.person(2), target); END IF;
        IF i = 4 THEN PERFORM rls_edges.be(3); END IF;
        IF i = 5 THEN PERFORM rls_edges.be(2); END IF;
        IF i = 6 THEN DELETE FROM rls_edges.follows WHERE followee = target; END IF;
        IF i = 8 THEN
            BEGIN
                INSERT INTO rls_edges.follows VALUES (rls_edges.person(2), target);
                f := cozi.is_following(target);
                said := said || '(' || left(f::text, 1) || ')';
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
        END IF;
        IF i = 10 THEN PERFORM cozi.logout(); END IF;
    END LOOP;
    RETURN said;
END $$;
SELECT stale();
BEGIN;
SELECT be(2);
DECLARE c CURSOR FOR SELECT g, cozi.is_following(person(g)) FROM generate_series(997, 999) g;
FETCH 1 FROM c;
INSERT INTO follows SELECT person(2), person(g) FROM generate_series(997, 999) g;
FETCH 1 FROM c;
SELECT cozi.is_following(person(999));
SAVEPOINT s;
DELETE FROM follows WHERE followee = person(999);
SELECT cozi.is_following(person(999));
ROLLBACK TO s;
SELECT cozi.is_following(person(999));
TRUNCATE follows;
SELECT cozi.is_following(person(999));
ROLLBACK;

-- can_view, word by word, as person 2 sees it
DELETE FROM blocks;
INSERT INTO blocks VALUES (1, person(2), person(8)), (2, person(15), person(2));
SET ROLE rls_app;
BEGIN; SELECT be(2);
SELECT who, v AS visibility, cozi.can_view(v, person(who), g) AS shown
FROM (VALUES (2, 'the caller'), (9, 'a stranger'), (22, 'followed'), (8, 'followed and blocked'),
      (15, 'followed, blocked the caller')) a(who, what),
     unnest(array['public', 'followers', 'group', 'private', 'odd']) v, (VALUES (13)) m(g)
         ORDER BY who, v;
SELECT cozi.can_view(NULL, person(9), 1), cozi.can_view(NULL, person(2), 1),
       cozi.can_view('public', NULL::uuid, NULL::int), cozi.can_view('followers', NULL::uuid, 1),
       cozi.can_view('group', person(9), NULL::int), cozi.can_view('group', person(9), 13),
       cozi.can_view('group', person(9), 12);
COMMIT;
-- nobody sees what is public
SELECT v, cozi.can_view(v, person(8), 13)
FROM unnest(array['public', 'followers', 'group', 'private']) v;
RESET ROLE;

-- ids of other types
SET ROLE rls_owner;
CREATE TABLE likes (src int, dst varchar(20), PRIMARY KEY (src, dst));
INSERT INTO likes VALUES (42, 'blue'), (7, 'red');
SELECT cozi.register_edge('likes', 'likes', 'src', 'dst');
RESET ROLE;
BEGIN;
SELECT cozi.login(pg_temp.token('42'));
SELECT c, cozi.is_edge('likes', c) FROM unnest(array['blue', 'red']) c;
SELECT cozi.login(pg_temp.token('99999999999'));
SELECT c, cozi.is_edge('likes', c) FROM unnest(array['blue', 'red']) c;
SELECT cozi.login(pg_temp.token('not a number'));
SELECT c, cozi.is_edge('likes', c) FROM unnest(array['blue', 'red']) c;
COMMIT;

-- and plans: int, smallint, text and varchar columns are looked up in their indexes
SET ROLE rls_owner;
CREATE TABLE counts (src text, dst smallint, PRIMARY KEY (src, dst));
INSERT INTO counts VALUES ('42', 3), ('42', 5), ('7', 4);
SELECT cozi.register_edge('following', 'counts', 'src', 'dst') FROM cozi.drop_edge('following');
RESET ROLE;
CREATE TABLE thing (i int, s smallint, t text, v varchar(20), d text COLLATE "POSIX");
INSERT INTO thing SELECT g, g, c, c, c FROM generate_series(1, 1000) g,
    LATERAL (SELECT CASE g WHEN 3 THEN 'blue' WHEN 4 THEN 'red' ELSE 'n' || g END) n(c);
CREATE INDEX ON thing (i); CREATE INDEX ON thing (s); CREATE INDEX ON thing (t);
CREATE INDEX ON thing (v); CREATE INDEX ON thing (d);
ANALYZE thing;
BEGIN;
SELECT cozi.login(pg_temp.token('42'));
SET LOCAL enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT i FROM thing WHERE cozi.is_following(i);
EXPLAIN (COSTS OFF) SELECT i FROM thing WHERE cozi.is_following(s);
EXPLAIN (COSTS OFF) SELECT i FROM thing WHERE cozi.is_edge('likes', t);
EXPLAIN (COSTS OFF) SELECT i FROM thing WHERE cozi.is_edge('likes', v);
EXPLAIN (COSTS OFF) SELECT i FROM thing WHERE cozi.is_edge('likes', d);
SELECT array(SELECT i FROM thing WHERE cozi.is_following(i)) AS i,
       array(SELECT i FROM thing WHERE cozi.is_following(s)) AS s,
       array(SELECT i FROM thing WHERE cozi.is_edge('likes', t)) AS t,
       array(SELECT i FROM thing WHERE cozi.is_edge('likes', v)) AS v,
       array(SELECT i FROM thing WHERE cozi.is_edge('likes', d)) AS d;
SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
SELECT array(SELECT i FROM thing WHERE cozi.is_following(i)) AS i,
       array(SELECT i FROM thing WHERE cozi.is_following(s)) AS s,
       array(SELECT i FROM thing WHERE cozi.is_edge('likes', t)) AS t,
       array(SELECT i FROM thing WHERE cozi.is_edge('likes', v)) AS v,
       array(SELECT i FROM thing WHERE cozi.is_edge('likes', d)) AS d;
SELECT cozi.is_edge('following', 3::smallint), cozi.is_edge('following', 3),
       cozi.is_edge('following', 3::bigint), cozi.is_edge('following', 4),
       cozi.edge_targets_text('likes'), cozi.edge_targets_bigint('following');
COMMIT;
SELECT cozi.register_edge('following', 'follows', 'follower', 'followee')
FROM cozi.drop_edge('following');
DROP TABLE thing, counts;

-- more targets than are probed one by one: read in bulk, up to hash_mem, in both directions, of
-- every type
CREATE FUNCTION bulk(typ text, reverse_index boolean, partitions text = NULL)
    RETURNS TABLE (type text, "from" text, "to" text)
LANGUAGE plpgsql AS $$
DECLARE
    me text := CASE typ WHEN 'uuid' THEN person(7)::text ELSE '7' END;
    id text := format(CASE typ WHEN 'uuid' THEN 'person(%%1$s)' ELSE '(%%1$s)::%s' END, typ);
    asks text := CASE typ WHEN 'varchar' THEN 'text' WHEN 'int' THEN 'bigint'
        WHEN 'smallint' THEN 'bigint' ELSE typ END;
BEGIN
    PERFORM cozi.drop_edge('blocked') FROM cozi.edges e WHERE e.edge = 'blocked';
    EXECUTE format('DROP TABLE many; CREATE TABLE many (x int, a %1$s, b %1$s) %2$s', typ,
                   coalesce('PARTITION BY ' || partitions, ''));
    IF partitions LIKE 'HASH%' THEN
        FOR i IN 0 .. 2 LOOP
            EXECUTE format('CREATE TABLE many_%1$s PARTITION OF many '
                           'FOR VALUES WITH (MODULUS 4, REMAINDER %1$s)', i);
        END LOOP;
        -- of two levels, and columns in another order
        EXECUTE format('CREATE TABLE many_3 (b %1$s, z int, a %1$s, x int) '
                       'PARTITION BY HASH (b); ALTER TABLE many_3 DROP z', typ);
        CREATE TABLE many_3_0 PARTITION OF many_3 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE many_3_1 PARTITION OF many_3 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        ALTER TABLE many ATTACH PARTITION many_3 FOR VALUES WITH (MODULUS 4, REMAINDER 3);
    ELSIF partitions IS NOT NULL THEN
        CREATE TABLE many_rest PARTITION OF many DEFAULT;
        EXECUTE 'CREATE TABLE many_some PARTITION OF many FOR VALUES FROM (' || format(id, '7')
            || ') TO (' || format(id, '8') || ')';
    END IF;
    EXECUTE 'INSERT INTO many (a, b) SELECT ' || format(id, 7) || ',' || format(id, 'g * 3')
        || ' FROM generate_series(1, 1000) g';
    EXECUTE 'INSERT INTO many (a, b) SELECT ' || format(id, 'g * 5') || ',' || format(id, 7)
        || ' FROM generate_series(1, 1000) g';
    INSERT INTO many (x) VALUES (1);
    EXECUTE 'INSERT INTO many (a) VALUES (' || format(id, 7) || ')';
    EXECUTE 'INSERT INTO many (b) VALUES (' || format(id, 7) || ')';
    SET LOCAL client_min_messages = warning;
    CREATE INDEX ON many (a, b);
    IF reverse_index THEN CREATE INDEX ON many (b, a); END IF;
    PERFORM cozi.register_edge('blocked', 'many', 'a', 'b');
    PERFORM cozi.login(pg_temp.token(me));
    type := typ || CASE WHEN reverse_index THEN ', indexed both ways' ELSE '' END
        || coalesce(', by ' || partitions, '');
    EXECUTE format($q$
        SELECT count(*) FILTER (WHERE cozi.has_blocked(t::%1$s)) || ', '
            || count(*) FILTER (WHERE cozi.has_blocked(t::%1$s) <> EXISTS (SELECT FROM many
            WHERE (a, b) = (%2$s, t))) || ' differ',
               count(*) FILTER (WHERE cozi.is_blocked_by(t::%1$s)) || ', '
                   || count(*) FILTER (WHERE cozi.is_blocked_by(t::%1$s) <> EXISTS (SELECT FROM many
                   WHERE (a, b) = (t, %2$s))) || ' differ'
        FROM (SELECT %3$s FROM generate_series(1, 4000) g) s(t)$q$, asks, format(id, 7),
             format(id, 'g')) INTO "from", "to";
    RETURN NEXT;
END $$;
CREATE TABLE many ();
SELECT b.* FROM unnest(array['uuid', 'bigint', 'int', 'smallint', 'text', 'varchar']) typ,
       unnest(array[true, false]) reverse, bulk(typ, reverse) b;
SELECT b.* FROM unnest(array['uuid', 'bigint', 'int', 'smallint', 'text', 'varchar']) typ,
       bulk(typ, typ < 'n', 'HASH (a)') b;
SELECT b.* FROM unnest(array['uuid', 'bigint', 'int', 'smallint', 'text', 'varchar']) typ,
       bulk(typ, typ > 'n', 'HASH (b)') b;
SELECT b.* FROM unnest(array['uuid', 'int', 'text']) typ, bulk(typ, typ < 'n', 'RANGE (a)') b;
-- those of the partition that may have them are opened, no other; and who fits into no column is
-- nowhere
SELECT b.type FROM bulk('smallint', true, 'HASH (a)') b;
BEGIN; SELECT cozi.login(pg_temp.token('7'));
SELECT cozi.has_blocked(3), cozi.has_blocked(4);
SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE relname ~ '^many_[0-9_]+$' AND relkind = 'r' AND pid = pg_backend_pid();
SELECT cozi.login(pg_temp.token('70000'));
SELECT cozi.has_blocked(3), cozi.is_blocked_by(5);
ROLLBACK;
SET work_mem = '64kB'; SET hash_mem_multiplier = 1;
SELECT b.* FROM unnest(array['uuid', 'text']) typ, bulk(typ, true) b;
RESET work_mem; RESET hash_mem_multiplier;
SELECT cozi.drop_edge('blocked'), cozi.register_edge('blocked', 'blocks', 'blocker', 'blocked');
DROP FUNCTION bulk;
DROP TABLE many;

-- what becomes of an edge whose table changes
SET ROLE rls_owner;
BEGIN; DROP INDEX follows_index; SELECT cozi.is_following(person(1)); ROLLBACK;
BEGIN; ALTER TABLE follows RENAME followee TO whom; SELECT cozi.is_following(person(1)); ROLLBACK;
BEGIN; ALTER TABLE follows RENAME TO follow; SELECT cozi.is_following(person(1)); ROLLBACK;
DROP TABLE likes;
SELECT cozi.is_edge('likes', 'x'::text);
SELECT cozi.drop_edge('likes');
RESET ROLE;
-- a leaking function sees what the policy shows, and no more
RESET ROLE;
CREATE FUNCTION leak(author uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    IF NOT cozi.is_following(author) THEN RAISE EXCEPTION 'saw a row of %', author; END IF;
    RETURN true;
END $$;
SET ROLE rls_app;
BEGIN; SELECT be(2);
SELECT count(*) > 0 AS some FROM post WHERE leak(author);
SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off;
SELECT count(*) > 0 AS some FROM post WHERE leak(author);
COMMIT;
RESET ROLE;

SET ROLE rls_owner;
SELECT cozi.drop_edge('following');
SELECT cozi.drop_edge('following');
RESET ROLE;
SELECT cozi.is_following(person(1));
SELECT cozi.drop_edge(edge) FROM cozi.edges;
SELECT count(*) FROM cozi.edges;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA rls_edges CASCADE;
RESET client_min_messages;
DELETE FROM cozi.jwks;
REVOKE ALL ON SCHEMA cozi FROM rls_app, rls_owner;
REVOKE ALL ON FUNCTION cozi.register_edge, cozi.drop_edge FROM rls_owner;
DROP ROLE rls_app, rls_owner;
