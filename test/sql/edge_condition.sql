-- Edges with conditions: only the rows that hold count, whatever index is read.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/token.sql'
\set ECHO none
\set QUIET on
\i :helpers
\set QUIET off
\set ECHO all
CREATE SCHEMA condition;
SET search_path = condition, public;
SELECT cozi.add_secret('a secret of the tests, with 32 bytes or more');
SELECT pg_temp.token('1') AS one \gset

-- a pending request is no friend
CREATE TABLE f (a bigint, b bigint, status text, PRIMARY KEY (a, b));
INSERT INTO f VALUES (1, 2, 'pending'), (1, 3, 'accepted'), (1, 4, NULL), (1, 5, 'ACCEPTED'),
    (1, 6, 'accepted ');
SELECT cozi.register_edge('following', 'f', 'a', 'b', status => 'status',
    accepted => '{accepted,close}');
BEGIN; SELECT cozi.login(:'one');
SELECT array_agg(g) FILTER (WHERE cozi.is_following(g)) AS followed,
    cozi.edge_targets_bigint('following') FROM generate_series(1::bigint, 9) g;
UPDATE f SET status = 'close' WHERE b = 2; SELECT cozi.is_following(2);
ROLLBACK;
SELECT cozi.drop_edge('following');

-- what the arguments may be
SELECT cozi.register_edge('x', 'f', 'a', 'b', status => 'status');
SELECT cozi.register_edge('x', 'f', 'a', 'b', accepted => '{a}');
SELECT cozi.register_edge('x', 'f', 'a', 'b', status => 'status', accepted => '{}');
SELECT cozi.register_edge('x', 'f', 'a', 'b', status => 'status', accepted => '{a,NULL}');
SELECT cozi.register_edge('x', 'f', 'a', 'b', role => 'status');
SELECT cozi.register_edge('x', 'f', 'a', 'b', status => 'nope', accepted => '{a}');
SELECT cozi.register_edge('x', 'f', 'a', 'b', expires_at => 'status');
SELECT cozi.register_edge('x', 'f', 'a', 'b', deleted_at => 'nope');
SELECT cozi.register_edge('x', 'f', NULL, 'b');
SELECT cozi.register_edge(NULL, 'f', 'a', 'b');

-- every kind of condition, on every kind of column, against plain SQL
CREATE TYPE rank AS ENUM ('guest', 'member', 'moderator', 'admin');
CREATE DOMAIN word AS varchar(20);
CREATE TABLE m (
    id bigserial, usr bigint, grp bigint, t text, v varchar(10), c char(8), d word, e rank,
        ok boolean, n smallint,
    expires_at timestamptz, deleted_at date
);
INSERT INTO m (usr, grp, t, v, c, d, e, ok, n, expires_at, deleted_at)
SELECT usr, g, s, s, s, s, (enum_range(NULL::rank))[1 + g % 4], g % 2 = 0, g % 4,
       (array[NULL, now() - interval '1 hour', now() + interval '1 hour', 'infinity',
           '-infinity'])[1 + g % 5],
       CASE WHEN g % 7 = 0 THEN current_date END
FROM generate_series(0, 420) g, generate_series(1, 3) usr,
    LATERAL (SELECT (array['in', 'out', NULL])[1 + g % 3]) x (s);
CREATE INDEX plain ON m (usr, grp);
CREATE INDEX covering ON m (usr, grp) INCLUDE (t, v, c, d, e, ok, n, expires_at, deleted_at);
CREATE FUNCTION differ(holds text, VARIADIC arguments text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    wrong bigint;
    right_ones bigint;
    wrong_list bigint;
BEGIN
    EXECUTE format('SELECT cozi.register_edge(''m'', ''condition.m'', ''usr'', ''grp'', %s)',
        array_to_string(arguments, ', '));
    EXECUTE format('SELECT count(*) FILTER (WHERE answer <> should),
            count(*) FILTER (WHERE should) FROM (
        SELECT cozi.is_edge(''m'', g) AS answer,
            EXISTS (SELECT FROM condition.m WHERE usr = 1 AND grp = g AND (%s)) AS should
        FROM generate_series(0::bigint, 500) g) x', holds) INTO wrong, right_ones;
    EXECUTE format('SELECT count(*) FROM (
        (SELECT unnest(cozi.edge_targets_bigint(''m'')) EXCEPT SELECT grp FROM condition.m
            WHERE usr = 1 AND (%1$s))
        UNION ALL (SELECT grp FROM condition.m WHERE usr = 1 AND (%1$s)
            EXCEPT SELECT unnest(cozi.edge_targets_bigint(''m'')))) x', holds) INTO wrong_list;
    PERFORM cozi.drop_edge('m');
    RETURN format('%s edges, %s wrong', right_ones, wrong + wrong_list);
END $$;
CREATE TABLE asked (n int GENERATED ALWAYS AS IDENTITY, holds text, arguments text[]);
INSERT INTO asked (holds, arguments) VALUES
    ('t = ''in''', '{"status => ''t''", "accepted => ''{in}''"}'),
    ('t IN (''in'', ''out'')', '{"status => ''t''", "accepted => ''{out,in}''"}'),
    ('v = ''in''', '{"status => ''v''", "accepted => ''{in}''"}'),
    ('c = ''in''', '{"status => ''c''", "accepted => ''{in}''"}'),
    ('d = ''in''', '{"status => ''d''", "accepted => ''{in}''"}'),
    ('e >= ''moderator''', '{"status => ''e''", "accepted => ''{admin,moderator}''"}'),
    ('ok', '{"status => ''ok''", "accepted => ''{true}''"}'),
    ('NOT ok', '{"status => ''ok''", "accepted => ''{f}''"}'),
    ('n IN (1, 2)', '{"status => ''n''", "accepted => ''{1,2}''"}'),
    ('expires_at IS NULL OR expires_at > now()', '{"expires_at => ''expires_at''"}'),
    ('deleted_at IS NULL', '{"deleted_at => ''deleted_at''"}'),
    ('e IN (''member'', ''admin'')', '{"role => ''e''", "roles => ''{member,admin}''"}'),
    ('t = ''in'' AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > now()) '
     'AND e <> ''guest''',
     '{"status => ''t''", "accepted => ''{in}''", "expires_at => ''expires_at''", '
     '"deleted_at => ''deleted_at''", "role => ''e''", "roles => ''{member,moderator,admin}''"}');
SET jit = off;
BEGIN; SELECT cozi.login(:'one');
SELECT holds, differ(holds, VARIADIC arguments) FROM asked ORDER BY n;
COMMIT;
-- the table all visible: the covering index answers alone; without it the table is read
VACUUM (ANALYZE) m;
BEGIN; SELECT cozi.login(:'one');
SELECT holds, differ(holds, VARIADIC arguments) FROM asked ORDER BY n;
DROP INDEX covering;
SELECT holds, differ(holds, VARIADIC arguments) FROM asked ORDER BY n;
ROLLBACK;
-- partitions, whose columns are in other places
ALTER TABLE m RENAME TO one_table;
CREATE TABLE m (LIKE one_table) PARTITION BY HASH (grp);
CREATE TABLE m_0 PARTITION OF m FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE m_1 (deleted_at date, gone int, e rank, n smallint, ok boolean, d word, c char(8),
    v varchar(10), t text,
                  grp bigint, usr bigint, expires_at timestamptz, id bigint NOT NULL);
ALTER TABLE m_1 DROP COLUMN gone;
ALTER TABLE m ATTACH PARTITION m_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO m SELECT * FROM one_table;
CREATE INDEX ON m (usr, grp) INCLUDE (t, e, deleted_at);
BEGIN; SELECT cozi.login(:'one');
SELECT holds, differ(holds, VARIADIC arguments) FROM asked ORDER BY n;
COMMIT;
DROP TABLE m;
ALTER TABLE one_table RENAME TO m;

-- partial indexes: of use when the conditions imply what the index leaves out
DROP INDEX plain, covering;
SELECT cozi.register_edge('p', 'm', 'usr', 'grp', deleted_at => 'deleted_at', status => 't',
    accepted => '{in}');
CREATE INDEX partial ON m (usr, grp) WHERE deleted_at IS NULL;
SELECT cozi.register_edge('p', 'm', 'usr', 'grp');
BEGIN; SELECT cozi.login(:'one');
SELECT differ('deleted_at IS NULL', 'deleted_at => ''deleted_at''');
SELECT differ('deleted_at IS NULL AND t = ''in''', 'deleted_at => ''deleted_at''',
    'status => ''t''', 'accepted => ''{in}''');
DROP INDEX partial; CREATE UNIQUE INDEX partial ON m (usr, grp, id) WHERE ok;
SELECT differ('ok', 'status => ''ok''', 'accepted => ''{true}''');
DROP INDEX partial; CREATE INDEX partial ON m (usr, grp) WHERE NOT ok;
SELECT differ('NOT ok', 'status => ''ok''', 'accepted => ''{false}''');
DROP INDEX partial; CREATE INDEX partial ON m (usr, grp) WHERE e = 'admin' OR e = 'moderator';
SELECT differ('e >= ''moderator''', 'status => ''e''', 'accepted => ''{admin,moderator}''');
DROP INDEX partial; CREATE INDEX partial ON m (usr, grp) WHERE v = 'in';
SELECT differ('v = ''in''', 'status => ''v''', 'accepted => ''{in}''');
DROP INDEX partial; CREATE INDEX partial ON m (usr, grp) WHERE t IN ('in', 'out');
SELECT differ('t = ''in''', 'status => ''t''', 'accepted => ''{in}''');
DROP INDEX partial; CREATE INDEX partial ON m (usr, grp) WHERE n > 0;
SELECT differ('n IN (1, 2)', 'status => ''n''', 'accepted => ''{1,2}''');
SAVEPOINT s;
SELECT differ('n IN (0, 2)', 'status => ''n''', 'accepted => ''{0,2}''');
ROLLBACK TO s;
-- a predicate that calls a function of the table's owner is never looked into
CREATE FUNCTION spy() RETURNS boolean LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RAISE WARNING 'the spy runs as %', current_user; RETURN true; END $$;
DROP INDEX partial; SET LOCAL client_min_messages = error;
CREATE INDEX partial ON m (usr, grp) WHERE spy(); RESET client_min_messages;
SELECT cozi.register_edge('p', 'm', 'usr', 'grp');
ROLLBACK;
CREATE INDEX plain ON m (usr, grp);

-- roles: at least this one
DELETE FROM m WHERE usr = 1;
INSERT INTO m (usr, grp, e, t) VALUES (1, 1, 'guest', 'guest'), (1, 2, 'member', 'member'),
    (1, 3, 'moderator', 'moderator'), (1, 4, 'admin', 'admin'), (1, 5, NULL, NULL),
    (1, 6, 'member', 'member'), (1, 6, 'admin', 'admin'), (1, 6, 'guest', 'guest');
SELECT cozi.register_edge('by_enum', 'm', 'usr', 'grp', role => 'e',
    roles => '{member,moderator,admin}');
SELECT cozi.register_edge('by_text', 'm', 'usr', 'grp', role => 't',
    roles => '{member,moderator,admin}');
SELECT cozi.register_edge('no_role', 'm', 'usr', 'grp');
BEGIN; SELECT cozi.login(:'one');
SELECT g, cozi.is_edge('by_enum', g) AS edge, cozi.has_edge_role('by_enum', g, 'member') AS member,
    cozi.has_edge_role('by_enum', g, 'moderator') AS moderator,
       cozi.has_edge_role('by_text', g, 'admin') AS admin,
           cozi.has_edge_role('by_text', g, 'guest') AS guest,
           cozi.has_edge_role('no_role', g, 'member') AS no_role,
       cozi.has_edge_role('nothing', g, 'member') AS no_edge
FROM generate_series(1::bigint, 7) g;
SELECT cozi.has_edge_role('by_enum', NULL::bigint, 'member'),
    cozi.has_edge_role('by_enum', 1::bigint, NULL),
    cozi.has_edge_role('by_enum', 'x'::text, 'member');
-- in bulk as one by one
SELECT count(*) FILTER (WHERE cozi.has_edge_role('by_enum', g % 7, 'moderator')) AS asked,
    count(*) FILTER (WHERE g % 7 IN (3, 4, 6)) AS should FROM generate_series(1::bigint, 700) g;
SELECT count(*) FILTER (WHERE cozi.has_edge_role('by_enum', g, 'moderator'))
    FROM generate_series(-300::bigint, 300) g;
-- looked up in an index, and then asked about each row
CREATE TABLE thread (id int, grp bigint);
INSERT INTO thread SELECT g, g % 50 FROM generate_series(1, 5000) g; CREATE INDEX ON thread (grp);
ANALYZE thread;
EXPLAIN (COSTS OFF) SELECT * FROM thread WHERE cozi.has_edge_role('by_enum', grp, 'moderator');
SELECT count(*), min(grp), max(grp) FROM thread
    WHERE cozi.has_edge_role('by_enum', grp, 'moderator');
ROLLBACK;
SELECT cozi.has_edge_role('by_enum', 4::bigint, 'member');

-- one hop more: the closure of an organisation, kept as a table
CREATE TABLE org (unit bigint, above bigint, PRIMARY KEY (unit, above));
CREATE TABLE worker (usr bigint, unit bigint, PRIMARY KEY (usr, unit));
CREATE TABLE reach (usr bigint, unit bigint, PRIMARY KEY (usr, unit));
INSERT INTO org VALUES (1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3);
INSERT INTO worker VALUES (1, 2);
INSERT INTO reach SELECT w.usr, o.unit FROM worker w JOIN org o ON o.above = w.unit;
SELECT cozi.register_edge('reaches', 'reach', 'usr', 'unit');
BEGIN; SELECT cozi.login(:'one');
SELECT u, cozi.is_edge('reaches', u) FROM generate_series(1::bigint, 3) u; COMMIT;

SELECT edge, relation, status, accepted, expires_at, deleted_at, role, roles FROM cozi.edges
    ORDER BY edge;
SELECT count(cozi.drop_edge(edge)) FROM cozi.edges;
RESET search_path; RESET jit;
SET client_min_messages = warning;
DROP SCHEMA condition CASCADE;
RESET client_min_messages;
DELETE FROM cozi.jwks;
