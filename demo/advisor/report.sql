-- The report of demo/check: text, then HTML to the file $REPORT, then the number
-- of findings that fail the check to $FAILING.  $WAIVERS and $LEFT_OUT are files.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET jit = off;
SET client_min_messages = error;
\getenv level LEVEL
\getenv report REPORT
\getenv failing FAILING
\set waivers `cat "$WAIVERS"`
\set left_out `cat "$LEFT_OUT"`

CREATE TEMP TABLE waiver AS
SELECT w[1] AS code, w[2] AS object, w[3] AS reason, nullif(w[4], '') AS until
FROM (SELECT string_to_array(btrim(line, E' \r'), E'\t')
      FROM string_to_table(:'waivers', E'\n') line WHERE line !~ '^\s*(#|$)') l(w);

-- what a schema says; settings and usage are the other server's own
CREATE TEMP TABLE finding AS
SELECT a.level, array_position(ARRAY['error', 'warn', 'info'], a.level) AS rank, a.code, a.object,
       a.what, a.why, a.evidence, a.fix_sql, w.reason AS waived,
       w.until IS NOT NULL AND w.until::date < current_date AS expired
FROM cozi.advice a
LEFT JOIN waiver w ON w.code = a.code AND w.object = a.object
WHERE a.code !~ '^(setting|login|tls|password|secret|unused)'
  AND a.object !~ '^(auth|storage|realtime)\.' AND a.object !~ ' on (auth|realtime)\.'
  -- nobody but Supabase makes indexes there
  AND NOT (a.code LIKE 'policy\_column%' AND a.object ~ ' on storage\.');
CREATE TEMP VIEW counted AS SELECT * FROM finding WHERE waived IS NULL OR expired;
CREATE TEMP TABLE note AS
SELECT btrim(l) AS line FROM string_to_table(:'left_out', E'\n') l WHERE l ~ '\S'
UNION ALL
SELECT format('waiver without a finding: %s %s', w.code, w.object) FROM waiver w
WHERE NOT EXISTS (SELECT FROM finding f WHERE f.code = w.code AND f.object = w.object)
UNION ALL
SELECT format('waiver without a reason: %s %s', w.code, w.object) FROM waiver w
    WHERE coalesce(w.reason, '') = ''
UNION ALL
SELECT format('waiver that ended on %s: %s %s', w.until, w.code, w.object) FROM waiver w
WHERE w.until::date < current_date;
UPDATE finding f SET waived = NULL FROM waiver w
WHERE (w.code, w.object) = (f.code, f.object) AND coalesce(w.reason, '') = '';

SELECT E'\n' || upper(f.level) || ' ' || f.code || ': ' || f.object || E'\n    ' || f.evidence
       || coalesce(E'\n    fix: ' || f.fix_sql || ';', '')
FROM counted f ORDER BY f.rank, f.code, f.object, f.evidence, f.fix_sql;
SELECT E'\nwaived:' WHERE EXISTS (SELECT FROM finding WHERE waived IS NOT NULL AND NOT expired);
SELECT format('    %s: %s (%s)', f.code, f.object, f.waived) FROM finding f
WHERE f.waived IS NOT NULL AND NOT f.expired ORDER BY f.code, f.object, f.evidence;
SELECT E'\nnot as in your database:' WHERE EXISTS (SELECT FROM note);
SELECT '    ' || line FROM note;
SELECT format(E'\n%s errors, %s warnings, %s notes, %s waived', count(*) FILTER (WHERE rank = 1
    AND c),
              count(*) FILTER (WHERE rank = 2 AND c), count(*) FILTER (WHERE rank = 3 AND c),
              count(*) FILTER (WHERE NOT c))
FROM (SELECT f.rank, f.waived IS NULL OR f.expired AS c FROM finding f) x;

\o :failing
SELECT count(*) FROM counted f WHERE f.rank <= array_position(ARRAY['error', 'warn', 'info'],
    :'level');
\o

CREATE FUNCTION pg_temp.h(t text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN replace(replace(replace(replace(coalesce(t, ''), '&', '&amp;'), '<', '&lt;'), '>', '&gt;'),
    '"', '&quot;');
\o :report
\qecho '<!DOCTYPE html>'
\qecho '<html lang="en"><head><meta charset="utf-8"><title>Advice</title>'
\qecho '<meta http-equiv="Content-Security-Policy"'
\qecho 'content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;">'
\qecho '<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}'
\qecho 'article{border-left:4px solid #888;padding:0 1em;margin:1.5em 0}'
\qecho '.error{border-color:#c00}.warn{border-color:#d80}h2{font-size:1em;margin:0}'
\qecho 'code,pre{background:#8882;padding:.1em .3em;white-space:pre-wrap}'
\qecho '@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}</style></head>'
\qecho '<body><h1>Advice</h1>'
SELECT format('<p>%s errors, %s warnings, %s notes</p>', count(*) FILTER (WHERE rank = 1),
              count(*) FILTER (WHERE rank = 2), count(*) FILTER (WHERE rank = 3)) FROM counted;
SELECT format('<article class="%s"><h2>%s: <code>%s</code></h2><p>%s: %s.</p><p>%s</p>%s</article>',
              f.level, pg_temp.h(f.code), pg_temp.h(f.object), pg_temp.h(f.what), pg_temp.h(f.why),
              pg_temp.h(f.evidence), coalesce('<pre>' || pg_temp.h(f.fix_sql) || ';</pre>', ''))
FROM counted f ORDER BY f.rank, f.code, f.object, f.evidence, f.fix_sql;
SELECT '<h1>Waived</h1>' WHERE EXISTS (SELECT FROM finding WHERE waived IS NOT NULL
    AND NOT expired);
SELECT format('<p>%s: <code>%s</code>: %s</p>', pg_temp.h(f.code), pg_temp.h(f.object),
    pg_temp.h(f.waived))
FROM finding f WHERE f.waived IS NOT NULL AND NOT f.expired ORDER BY f.code, f.object, f.evidence;
SELECT '<h1>Not as in your database</h1>' WHERE EXISTS (SELECT FROM note);
SELECT format('<p>%s</p>', pg_temp.h(line)) FROM note;
\qecho '</body></html>'
\o
