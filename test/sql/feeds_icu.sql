-- needs: icu
-- A feed of ids that differ in their bytes and are equal by their collation: it
-- follows and hides whom is_edge() and has_blocked() say, whichever index there is.
CREATE SCHEMA feeds_icu;
SET search_path = feeds_icu;
SET client_min_messages = warning;
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE posts (id int PRIMARY KEY, author_id text COLLATE blind, created_at int);
CREATE TABLE plain_posts (id int PRIMARY KEY, author_id text, created_at int);
INSERT INTO posts SELECT i, (CASE WHEN i % 2 = 0 THEN 'N' ELSE 'n' END) || i % 7, i / 3
    FROM generate_series(1, 700) i;
INSERT INTO plain_posts SELECT * FROM posts;
CREATE TABLE follows (a text, b text, PRIMARY KEY (a, b));
CREATE TABLE blind_follows (a text, b text COLLATE blind, PRIMARY KEY (a, b));
INSERT INTO follows VALUES ('7', 'n1'), ('7', 'N2'), ('7', 'n3');
INSERT INTO blind_follows SELECT * FROM follows;
CREATE TABLE blocks (a text, b text COLLATE blind, PRIMARY KEY (a, b));
CREATE INDEX ON blocks (b, a);
INSERT INTO blocks VALUES ('7', 'N3');
SELECT cozi.register_edge('following', 'follows', 'a', 'b');
SELECT cozi.register_edge('blind', 'blind_follows', 'a', 'b');
SELECT cozi.register_edge('blocked', 'blocks', 'a', 'b');
CREATE FUNCTION compared(ways text)
RETURNS TABLE (index text, rel regclass, edge name, equal boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOREACH rel IN ARRAY '{posts,plain_posts}'::regclass[] LOOP
        FOREACH edge IN ARRAY '{following,blind}'::name[] LOOP
            EXECUTE format('SELECT (SELECT array_agg(item::int) FROM cozi.feed(%L, %L, 100))'
                ' = (SELECT array_agg(x.id) FROM (SELECT id FROM %s p'
                '    WHERE cozi.is_edge(%L, author_id) AND NOT cozi.has_blocked(author_id)'
                '    ORDER BY created_at DESC, id DESC LIMIT 100) x)', rel, edge, rel, edge)
            INTO equal;
            index := ways;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;
BEGIN;
SELECT cozi.act_as('7');
SELECT * FROM compared('none');
CREATE INDEX ON posts (author_id, created_at DESC, id DESC);
CREATE INDEX ON plain_posts (author_id, created_at DESC, id DESC);
SELECT * FROM compared('of authors');
CREATE INDEX ON posts (created_at DESC, id DESC);
CREATE INDEX ON plain_posts (created_at DESC, id DESC);
SELECT * FROM compared('both');
-- an array of keys is compared as the column compares
SELECT count(*) = (SELECT count(*) FROM posts WHERE author_id IN ('N1', 'n2')) AS equal
FROM cozi.feed_of('posts', '{n1,N1,N2}'::text[], 1000, 'author_id');
COMMIT;
SELECT cozi.drop_edge('following');
SELECT cozi.drop_edge('blind');
SELECT cozi.drop_edge('blocked');
RESET search_path;
DROP SCHEMA feeds_icu CASCADE;
