-- The page and the metrics: their shape, their escaping, their arguments.  Nothing
-- here depends on what the server has counted, nor on whether cozi is preloaded.
\set VERBOSITY terse
SET client_min_messages = warning;

-- a value becomes text of an element, or of an attribute in quotes
SELECT cozi._html('<script>alert("x")</script> & ''y''', 200);
SELECT cozi._html(E'a\x01b\x1b[31mc\x7fd\re\tf\ng', 200);
SELECT cozi._html(U&'\00e9 \65e5 \+01f600 \00a0 \0085 \202e \feff \fffe', 200);
SELECT cozi._html('javascript:alert(1) onload=x `y` {{z}}', 200);

-- in so many bytes, whatever the value
SELECT cozi._html('abc', 3), cozi._html('abcd', 3), cozi._html('', 3);
SELECT n, length(cozi._html(repeat('<', 1000000), n)) <= greatest(n, 8) AS bounded,
       cozi._html(repeat('<', 1000000), n)
FROM unnest('{-1,0,7,8,12,20}'::int[]) n;
SELECT octet_length(cozi._html(repeat(E'\x01', 1000000), 1000)) <= 1000 AS bounded;
SELECT cozi._html(NULL, 10) IS NULL AS none, cozi._html('a', NULL) IS NULL AS unbounded;

-- a row: each cell by its kind
SELECT cozi._html_row('tnsk', '<b>', '1', 'breach', 'x"y');
SELECT cozi._html_row('ss', 'ok" onclick="x', '<i>');
SELECT cozi._html_row('q', 'SELECT ''<b>''');
SELECT cozi._html_row('q', E'SELECT\n' || repeat('1 + ', 60) || '<1>');
SELECT cozi._html_row('bb', '0.5', 'NaN');
SELECT cozi._html_row('bb', '2', '"><script>');
SELECT cozi._html_row('h', cozi.histogram(ms)::text)
FROM unnest('{0.001,0.5,5,50,500000}'::float8[]) ms;
SELECT cozi._html_row('h', '{1,"><script>');
SELECT cozi._html_row('c', 'DROP TABLE "<x>"');
SELECT cozi._html_row('tn', NULL, NULL);
SELECT cozi._svg_curve('{0,1,NULL,4,NaN,Infinity,2}');
SELECT cozi._svg_curve('{}');
SELECT octet_length(cozi._svg_curve(array_fill('1e308'::float8, '{10000}'))) < 3000 AS bounded;
SELECT cozi._html_table('{a,#b}', NULL, 'No <rows>.');
SELECT cozi._html_table('{"<a>",#b}', cozi._html_row('tn', 'x', '1'), '');

-- figures
SELECT cozi._ms(ms) FROM unnest('{0,0.0004,1.5,12.34,1234,90000,7200000,NULL}'::float8[]) ms;
SELECT cozi._count(n) FROM unnest('{0,-1234,1234567.6,1e20,NULL}'::numeric[]) n;

-- the page: its parts in their order, and nothing that could not be read
SELECT r[1] AS section
FROM regexp_matches(cozi.report_html(), '<section id="([a-z]+)">', 'g') r;
SELECT p.page LIKE '<!DOCTYPE html>%</html>%' AS whole, p.page !~ 'Not shown' AS complete,
       p.page !~ '[^\x01-\x7f]' AS ascii, octet_length(p.page) < 200000 AS small,
       p.page !~* '<script|<img|<link|<iframe|src=|href="[^#]|@import|url\(' AS nothing_is_loaded
FROM (SELECT cozi.report_html()) p(page);
SELECT r[1] AS section
FROM regexp_matches(cozi.report_diff(now() - interval '2 h', now() - interval '1 h'),
                    '<section id="([a-z]+)">', 'g') r;

-- the policy names the hash of the style, and lets nothing else in
SELECT r[1] = encode(sha256(convert_to(cozi._report_style(), 'UTF8')), 'base64') AS of_the_style
FROM regexp_matches(cozi.report_html(),
    $$content="default-src 'none'; style-src 'sha256-([^']+)'; $$
    || $$base-uri 'none'; form-action 'none'"$$) r;

-- arguments
SELECT cozi.report_html(now(), now() - interval '1 h');
SELECT cozi.report_html('infinity');
SELECT cozi.report_diff(NULL, now());
SELECT cozi.report_diff(now(), NULL);
SELECT cozi.report_diff(now(), now() - interval '1 h');
SELECT cozi.report_diff(now() - interval '2 h', now() - interval '1 h', now(),
                        now() - interval '1 h');
SELECT cozi.report_html('-infinity', 'infinity') !~ 'Not shown' AS every_instant,
       cozi.report_diff('-infinity', now() - interval '1 h', NULL, 'infinity') !~ 'Not shown'
           AS and_of_two;

-- metrics: bounds that do not move, and counts at them
SELECT cozi._metric_bounds();
SELECT cozi._histogram_upto(cozi.histogram(ms), '{0.001,0.05,0.2,10}')
FROM unnest('{0.5,0.9,40,150,160,5000,20000}'::float8[]) ms;
SELECT cozi._histogram_upto('{}', '{0.001,10}'), cozi._histogram_upto(NULL, '{1}') IS NULL AS none;
SELECT cozi._metric_label(E'a"b\\c\nd'), length(cozi._metric_label(repeat('x', 1000))),
       cozi._metric_label(NULL) IS NULL AS none;
SELECT u.unit, m.* FROM unnest('{ms,s,%,MB,B/s,sessions,NULL}'::text[]) u(unit),
     cozi._metric_unit(u.unit) m;
SELECT r[1] AS family, r[2] AS type
FROM regexp_matches(cozi.openmetrics(),
                    '# TYPE (cozi_(?:health_(?:state|seconds|target_\w+)|info|connections)) (\w+)',
                    'g') r;
SELECT count(*) FILTER (WHERE l !~ '^(# (HELP|TYPE) cozi_\w+ .+|cozi_\w+(\{.*\})? [-+0-9.e]+|)$')
       AS wrong_lines
FROM string_to_table(cozi.openmetrics(), E'\n') l;

-- rules: a target that is not judged has none
BEGIN;
UPDATE cozi.targets SET target = NULL WHERE metric = 'cpu';
UPDATE cozi.targets SET target = 20, warn = NULL WHERE metric = 'query_time';
SELECT alert, expression, severity, summary FROM cozi._alert_rules()
WHERE expression ~ 'cpu|query_time|cache_hit' ORDER BY rank;
ROLLBACK;

-- what is granted
CREATE ROLE regress_report_stranger;
SET ROLE regress_report_stranger;
SELECT cozi.report_html();
SELECT cozi.report_diff(now() - interval '2 h', now() - interval '1 h');
SELECT cozi.openmetrics();
RESET ROLE;
DROP ROLE regress_report_stranger;
