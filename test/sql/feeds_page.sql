-- Cursors are exact and opaque; page_sql() prints conditions of which pages
-- concatenate to the whole, by one walk of an index.
CREATE SCHEMA t_page;
SET search_path = t_page;

-- every value comes back as it was, whatever the settings of the session
SELECT cozi.cursor_decode(cozi.cursor_encode(1::bigint, -2, 3::smallint, NULL::int, 'a', ''::text,
    '9223372036854775807'::bigint, '-9223372036854775808'::bigint));
SET extra_float_digits = 0;
SET DateStyle = 'German';
SET TimeZone = 'Asia/Tokyo';
SET IntervalStyle = 'sql_standard';
SET bytea_output = 'escape';
SELECT cozi.cursor_decode(cozi.cursor_encode(
    timestamptz '2024-01-02 03:04:05.678901+00', timestamptz '-infinity', date '2024-02-01',
    timestamp '2024-02-01 00:00:00.000001', interval '-1 day 2:03', bytea '\x00ff'));
SELECT cozi.cursor_decode(cozi.cursor_encode(0.1::float8, '-0'::float8, 'NaN'::float8,
    '-Infinity'::float8, 5e-324::float8, 0.1::float4, 1.10::numeric, '{1,NULL}'::int[],
    'f0d6f0f6-0000-4000-8000-0123456789ab'::uuid, true));
RESET ALL;
SET search_path = t_page;
SELECT count(*) FILTER (WHERE float8send(f) <> float8send((c)[1]::float8)) AS bits_lost
FROM (SELECT sin(i) * 10 ^ (i % 300 - 150) AS f FROM generate_series(1, 2000) i) v,
     LATERAL (SELECT cozi.cursor_decode(cozi.cursor_encode(f))) d (c);
-- a cursor has the characters of a URL, and one text
SELECT c ~ '^[A-Za-z0-9_-]+$' AS url_safe, c = cozi.cursor_encode(VARIADIC ARRAY[1, 2]) AS same
FROM cozi.cursor_encode(1, 2) c;
SELECT cozi.cursor_encode(VARIADIC NULL::int[]) IS NULL AS null, cozi.cursor_decode(NULL) IS NULL
    AS null;
SELECT cozi.cursor_decode(cozi.cursor_encode(VARIADIC '{}'::int[]));
SELECT cozi.cursor_encode(repeat('x', 2000000));
SELECT cozi.cursor_encode(VARIADIC array_fill(1, '{256}'));

-- what cursor_encode() has not written is no cursor
SELECT cozi.cursor_decode('');
SELECT cozi.cursor_decode('AQNpAmkEbm78p5E=');
SELECT cozi.cursor_decode('AQNpAmkEbm78p5F');
SELECT cozi.cursor_decode('AQNpAmkEbm78p5');
SELECT cozi.cursor_decode(repeat('A', 100));
SELECT cozi.cursor_decode(repeat('A', 2000000));
DO $$
DECLARE
    good text := cozi.cursor_encode(42, 'text', now(), 0.5::float8);
    bad text;
    refused int := 0;
BEGIN
    FOR i IN 1 .. length(good) LOOP
        bad := overlay(good PLACING CASE substr(good, i, 1) WHEN 'A' THEN 'B' ELSE 'A' END
                       FROM i FOR 1);
        BEGIN
            PERFORM cozi.cursor_decode(bad);
        EXCEPTION WHEN invalid_parameter_value THEN
            refused := refused + 1;
        END;
        BEGIN
            PERFORM cozi.cursor_decode(left(good, i - 1));
        EXCEPTION WHEN invalid_parameter_value THEN
            refused := refused + 1;
        END;
    END LOOP;
    RAISE NOTICE 'refused all: %', refused = 2 * length(good);
END $$;

-- conditions
SELECT cozi.page_sql(o) FROM (VALUES ('{id}'::text[]), ('{"score DESC","id DESC"}'),
    ('{"score DESC",id}'), ('{"score DESC NULLS LAST",id}'),
    ('{"score DESC NULLS FIRST","id desc"}'),
    ('{"a ASC","p.b  asc",c,"d DESC"}'), ('{"\"Weird\"\"one\".\"select\" DESC"}'),
    ('{"score NULLS LAST"}')) v (o);
SELECT cozi.page_sql(NULL);
SELECT cozi.page_sql('{}');
SELECT cozi.page_sql('{NULL}');
SELECT cozi.page_sql('{"id; DROP TABLE t"}');
SELECT cozi.page_sql('{"id nulls"}');
SELECT cozi.page_sql('{"\"id"}');
SELECT cozi.page_sql('{1}');
SELECT cozi.page_sql('{a,b,c,d,e,f,g,h,i}');

-- pages concatenate to the whole in every direction, with ties and NULLs
CREATE TABLE t AS SELECT i AS id, CASE WHEN i % 7 = 0 THEN NULL ELSE i % 5 END AS score,
    CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN 'a' ELSE 'b' END AS kind
FROM generate_series(1, 60) i;
CREATE FUNCTION pages(ordering text[], k int) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    query text := format('SELECT array_agg(id ORDER BY n), cozi.cursor_encode(max(score) FILTER '
        '(WHERE last), max(kind) FILTER (WHERE last), max(id) FILTER (WHERE last)) FROM (SELECT *, '
        'row_number() OVER () AS n, count(*) OVER () = row_number() OVER () AS last FROM '
        '(SELECT * FROM t WHERE %%s ORDER BY %s LIMIT %s) p) q',
        array_to_string(ordering, ', '), k);
    page int[];
    pages int[] := '{}';
    after text;
    at text[];
BEGIN
    EXECUTE format(query, 'true') INTO page, after;
    WHILE cardinality(page) > 0 LOOP
        pages := pages || page;
        at := cozi.cursor_decode(after);
        EXECUTE format(query, cozi.page_sql(ordering)) INTO page, after
            USING at[1]::int, at[2], at[3]::int;
    END LOOP;
    RETURN pages;
END $$;
CREATE FUNCTION whole(ordering text[]) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    ids int[];
BEGIN
    EXECUTE format('SELECT array_agg(id ORDER BY %s) FROM t', array_to_string(ordering, ', '))
        INTO ids;
    RETURN ids;
END $$;
SELECT count(*) AS orders, count(*) FILTER (WHERE pages(o, k) = whole(o)) AS equal
FROM (VALUES ('ASC'), ('DESC')) a (a), (VALUES ('ASC'), ('DESC')) b (b),
     (VALUES ('ASC'), ('DESC')) c (c), (VALUES ('FIRST'), ('LAST')) d (d),
     (VALUES ('FIRST'), ('LAST')) e (e), (VALUES (1), (7)) k (k),
     LATERAL (SELECT ARRAY['score ' || a || ' NULLS ' || d, 'kind ' || b || ' NULLS ' || e,
                           'id ' || c]) o (o);

-- an index serves them: a range of it, or its order
CREATE INDEX t_score_id ON t (score DESC, id DESC);
CREATE INDEX t_last ON t (score DESC NULLS LAST, id);
SET enable_seqscan = off;
SET enable_sort = off;
CREATE FUNCTION plan(ordering text[], a text, b int) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('EXPLAIN (COSTS OFF) SELECT id FROM t WHERE %s ORDER BY %s LIMIT 5',
        replace(replace(cozi.page_sql(ordering), '$1', coalesce(a, 'NULL::int')), '$2', b::text),
        array_to_string(ordering, ', '));
END $$;
SELECT plan('{"score DESC","id DESC"}', '3', 9);
SELECT plan('{"score DESC NULLS FIRST","id DESC"}', '3', 9);
SELECT plan('{"score DESC NULLS FIRST","id DESC"}', NULL, 9);
SELECT plan('{"score DESC NULLS LAST",id}', NULL, 9);
RESET enable_seqscan;
RESET enable_sort;
-- parameters take their types from the columns
PREPARE page AS SELECT id FROM t WHERE (score <= $1 AND (score < $1 OR id > $2));
SELECT cozi.page_sql('{"score DESC",id}') = '(score <= $1 AND (score < $1 OR id > $2))' AS same;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'page';
DEALLOCATE page;

-- A wrapper for the schema of an API has one signature, and returns what its call does
SELECT cozi.api_function('t_page.listed', $$t_page.pages({ordering text[]}, {k int = 7})$$);
SELECT cozi.api_function('"A b".rows', $$cozi.feed_rows(NULL::t, 'e', {k int}, {item name},
    rank => {item name})$$);
SELECT cozi.api_function('paged', $$cozi.feed('t_page.t', 'e', {k int = 3},
    filters => '{kind,a}')$$);
SELECT cozi.api_function('t_page.ordered', $$t_page.whole({ordering text[] = '{id}'})$$) \gexec
SELECT cardinality(ordered) FROM ordered();
SELECT cozi.api_function('x', $$t_page.whole({ordering})$$);
SELECT cozi.api_function('x', $$t_page.whole({ordering nope})$$);
SELECT cozi.api_function('x', $$t; DROP TABLE t$$);
SELECT cozi.api_function('x', $$nope({k int})$$);
SELECT cozi.api_function(NULL, 'x') IS NULL AS null;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA t_page CASCADE;
