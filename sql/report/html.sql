-- Markup from values: src/report.
--
-- The law: no SQL of the page puts a value between tags.  It hands the value, and
-- what kind of a cell it is, to these functions, which escape.

CREATE OR REPLACE FUNCTION _html(value text, max_bytes int) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_html';
COMMENT ON FUNCTION _html(text, int) IS
'Returns a value as the text of an element or of a quoted attribute of HTML, in at most that many '
'bytes of ASCII; NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION _html_row(kinds text, VARIADIC cells text[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_html_row';
COMMENT ON FUNCTION _html_row(text, text[]) IS
'Returns a row of a table of HTML from values and a letter for the kind of each: t text, n number, '
'k word, s state, b share, q query, c code, h histogram, w waits; a NULL cell is a dash; NULL for '
'NULL';

CREATE OR REPLACE FUNCTION _svg_curve(value float8[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_svg_curve';
COMMENT ON FUNCTION _svg_curve(float8[]) IS
'Returns a curve from 0 to its highest value as SVG, with gaps for NULLs; NULL for NULL';

CREATE OR REPLACE FUNCTION _svg_users(until date, daily bigint[], monthly bigint[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_svg_users';
COMMENT ON FUNCTION _svg_users(date, bigint[], bigint[]) IS
'Returns the curves of daily and of 28-day users, which end with a day, as SVG; at most 400 days; '
'a gap for a NULL; NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION _svg_retention(cohort date[], size bigint[], rate float8[])
RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_svg_retention';
COMMENT ON FUNCTION _svg_retention(date[], bigint[], float8[]) IS
'Returns a triangle of retention as SVG: a row per cohort, of as many rates as there are for each; '
'at most 26 of both; a NULL rate is left out; NULL if an argument is NULL';

CREATE OR REPLACE FUNCTION _svg_bars(value bigint[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cozi_svg_bars';
COMMENT ON FUNCTION _svg_bars(bigint[]) IS
'Returns bars, numbered from 1 on, as SVG; at most 31; NULL for NULL';

-- A head that begins with a number sign is of a column of numbers.
CREATE OR REPLACE FUNCTION _html_table(heads text[], rows text, otherwise text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN rows IS NULL THEN '<p class="z">' || cozi._html(otherwise, 400) || E'</p>\n'
            ELSE '<div class="w"><table><thead><tr>'
                 || (SELECT string_agg(CASE WHEN h.head LIKE '#%' THEN '<th class="n">' ELSE '<th>'
                     END
                                       || cozi._html(ltrim(h.head, '#'), 100) || '</th>', ''
                                       ORDER BY h.n)
                     FROM unnest(heads) WITH ORDINALITY h(head, n))
                 || E'</tr></thead><tbody>\n' || rows || E'</tbody></table></div>\n' END;
COMMENT ON FUNCTION _html_table(text[], text, text) IS
'Returns a table of HTML from rows that _html_row() made; a sentence where rows is NULL';

CREATE OR REPLACE FUNCTION _html_section(id text, title text, lead text, VARIADIC parts text[])
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format(E'<section id="%s"><h2>%s</h2>\n', cozi._html(id, 40), cozi._html(title, 200))
       || coalesce('<p class="z">' || cozi._html(lead, 2000) || E'</p>\n', '')
       || array_to_string(parts, '') || E'</section>\n';
COMMENT ON FUNCTION _html_section(text, text, text, text[]) IS
'Returns a section of the page from parts that are markup; no lead where it is NULL';

CREATE OR REPLACE FUNCTION _html_heading(title text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN '<h3>' || cozi._html(title, 200) || E'</h3>\n';
COMMENT ON FUNCTION _html_heading(text) IS
'Returns a heading within a section; NULL for NULL';

CREATE OR REPLACE FUNCTION _html_tile(state text, name text, value text, note text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format(E'<div class="tile %s"><span>%s</span><b>%s</b><small>%s</small></div>\n',
              CASE WHEN state IN ('ok', 'warn', 'breach') THEN state ELSE 'unknown' END,
              cozi._html(name, 100), coalesce(cozi._html(value, 100), '&ndash;'),
              coalesce(cozi._html(note, 200), ''));
COMMENT ON FUNCTION _html_tile(text, text, text, text) IS
'Returns one of the large figures at the top of the page; a NULL value is a dash';

CREATE OR REPLACE FUNCTION _html_curve(title text, unit text, value float8[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format(E'<figure><figcaption>%s <small>up to %s</small></figcaption>%s</figure>\n',
              cozi._html(title, 100),
              coalesce(cozi._html((SELECT trim_scale(round(max(v)::numeric, 2))
                                   FROM unnest(value) v) || ' ' || unit, 100), '&ndash;'),
              cozi._svg_curve(value));
COMMENT ON FUNCTION _html_curve(text, text, float8[]) IS
'Returns a curve with its title and its highest value';

-- Figures as people read them.

CREATE OR REPLACE FUNCTION _ms(ms float8) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN ms >= 3600000 THEN trim_scale(round((ms / 3600000)::numeric, 1)) || ' h'
            WHEN ms >= 60000 THEN trim_scale(round((ms / 60000)::numeric, 1)) || ' min'
            WHEN ms >= 1000 THEN trim_scale(round((ms / 1000)::numeric, 2)) || ' s'
            WHEN ms >= 10 THEN trim_scale(round(ms::numeric, 1)) || ' ms'
            ELSE trim_scale(round(ms::numeric, 3)) || ' ms' END;
COMMENT ON FUNCTION _ms(float8) IS 'Returns a time in ms with a unit that fits; NULL for NULL';

CREATE OR REPLACE FUNCTION _span(span interval) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN cozi._ms(1000 * extract(epoch FROM span)::float8);
COMMENT ON FUNCTION _span(interval) IS 'Returns an interval with a unit that fits; NULL for NULL';

CREATE OR REPLACE FUNCTION _count(n numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN abs(n) < 1e15 THEN ltrim(to_char(n, 'FM999,999,999,999,990')) ELSE n::text END;
COMMENT ON FUNCTION _count(numeric) IS
'Returns a number with commas between thousands; NULL for NULL';

CREATE OR REPLACE FUNCTION _instant(at timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC';
COMMENT ON FUNCTION _instant(timestamptz) IS 'Returns an instant in UTC; NULL for NULL';

-- The colours, light and dark, and what is drawn with them.
CREATE OR REPLACE FUNCTION _svg_style() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $css$
:root{color-scheme:light dark;--b:#fff;--f:#1b1f24;--z:#59636e;--l:#d9dee3;--p:#f5f7f9;--a:#2563c9;
--ok:#1a7f37;--warn:#9a6700;--breach:#c3222e}
@media(prefers-color-scheme:dark){:root{--b:#10141a;--f:#e3e8ee;--z:#98a4b0;--l:#2d3540;--p:#181e26;
--a:#6ea8fe;--ok:#46c266;--warn:#dba32c;--breach:#ff6b6f}}
svg path{fill:var(--a);stroke:none}svg .g{fill:var(--l)}svg .cpu{fill:var(--ok)}
svg .lock{fill:var(--breach)}svg .lwlock{fill:var(--warn)}svg .other{fill:var(--z)}
svg.b{width:60px;height:10px;vertical-align:middle}
svg.h{width:112px;height:23px}svg.h .g{fill:none;stroke:var(--l)}
svg.l{display:block;width:100%;height:90px}
svg.l path{fill:none;stroke:var(--a);stroke-width:1.5;vector-effect:non-scaling-stroke}
svg.l .g{stroke:var(--l);stroke-width:1}
svg text{font-size:11px;fill:var(--z)}svg.u,svg.a{display:block;width:100%}
svg.u path{fill:none;stroke:var(--a);stroke-width:1.5}svg.u .g{stroke:var(--l);stroke-width:1}
svg.u path.m{stroke:var(--z)}svg.u text.d{fill:var(--a)}
svg.t{display:block;width:100%}svg text.c{fill:var(--f)}svg text.i{fill:var(--b)}
$css$;
COMMENT ON FUNCTION _svg_style() IS 'Returns the style sheet of pictures';

-- The style sheet.  The policy of the page names its hash: no other style, no
-- script and no address is followed, whatever a value would say.
CREATE OR REPLACE FUNCTION _report_style() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN cozi._svg_style() || $css$*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:20px;background:var(--b);color:var(--f);
font:14px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:17px;margin:30px 0 6px;padding-top:10px;
border-top:1px solid var(--l)}h3{font-size:14px;margin:16px 0 4px}
a{color:var(--a)}nav a{margin-right:12px}.z,small,figcaption{color:var(--z)}p{margin:4px 0 8px}
.verdict{font-size:18px;font-weight:600;padding:10px 14px;margin:14px 0;border-left:6px solid;
background:var(--p);border-radius:4px}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(170px,1fr));gap:10px}
.tile{background:var(--p);border-left:4px solid var(--l);border-radius:4px;padding:8px 12px}
.tile span,.tile b,.tile small{display:block;overflow-wrap:anywhere}.tile b{font-size:20px}
.tile small{font-size:12px}
.tile.ok,.verdict.ok{border-color:var(--ok)}.tile.warn,.verdict.warn{border-color:var(--warn)}
.tile.breach,.verdict.breach{border-color:var(--breach)}
.tile.breach b,.s.breach,.s.error,.s.broken{color:var(--breach)}
.tile.warn b,.s.warn,.s.stalled,.s.missing{color:var(--warn)}.s.ok{color:var(--ok)}
.s.unknown,.s.info,.s.off{color:var(--z)}
.w{overflow-x:auto}table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;color:var(--z);font-size:12px;white-space:nowrap}
td,th{padding:4px 10px 4px 0;border-bottom:1px solid var(--l);vertical-align:top}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td{overflow-wrap:break-word;max-width:420px}.s,.k{white-space:nowrap}
.q{min-width:210px;max-width:520px}
code,pre{font:12px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
pre{white-space:pre-wrap;margin:2px 0;max-height:260px;overflow:auto}summary{cursor:pointer}
figure{margin:8px 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:16px}
.wide{grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr))}
@media print{body{max-width:none;padding:0;font-size:11px}nav{display:none}.w{overflow:visible}
pre{max-height:none}details::details-content{content-visibility:visible;block-size:auto}
tr,figure,.tile{break-inside:avoid}}
$css$;
COMMENT ON FUNCTION _report_style() IS 'Returns the style sheet of the page';

-- A picture by itself brings its style along.
CREATE OR REPLACE FUNCTION _svg_file(picture text, title text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN '<svg xmlns="http://www.w3.org/2000/svg" ' || substr(picture, 6, strpos(picture, '>') - 5)
       || '<title>' || cozi._html(title, 200) || E'</title><style>' || cozi._svg_style()
       || E'svg{background:var(--b);font-family:sans-serif}</style>'
       || substr(picture, strpos(picture, '>') + 1);
COMMENT ON FUNCTION _svg_file(text, text) IS
'Returns a picture of the page as a file of its own, with a title; NULL if an argument is NULL';
