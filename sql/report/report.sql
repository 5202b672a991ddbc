-- The page: report_html() and report_diff().
--
-- The law: the page is read, as other views are, with the rights of the caller.
-- A part that the caller may not read is left out, and the page says so; no part
-- keeps another from being read.

CREATE OR REPLACE FUNCTION _report_parts(parts text[], VARIADIC bounds timestamptz[]) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text;
    markup text;
    page text := '';
    places CONSTANT text := (SELECT string_agg('$1[' || i || ']', ', ' ORDER BY i)
                             FROM generate_subscripts(bounds, 1) i);
BEGIN
    FOREACH part IN ARRAY parts LOOP
        BEGIN
            EXECUTE format('SELECT cozi.%I(%s)', '_report_' || part, places)
            INTO markup USING bounds;
        EXCEPTION
            WHEN insufficient_privilege THEN
                markup := cozi._html_section(part, 'Not shown: ' || part,
                              format('Role "%s" may not read it: %s. GRANT pg_monitor.',
                                     current_user, SQLERRM), '');
            WHEN OTHERS THEN
                markup := cozi._html_section(part, 'Not shown: ' || part,
                              format('It could not be read: %s (SQLSTATE %s)', SQLERRM, SQLSTATE),
                              '');
        END;
        page := page || coalesce(markup, '');
    END LOOP;
    RETURN page;
END $$;
COMMENT ON FUNCTION _report_parts(text[], timestamptz[]) IS
'Returns parts of the page, and a sentence in the place of one that could not be read';

CREATE OR REPLACE FUNCTION _report_page(title text, subtitle text, links text[], body text)
RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
RETURN format(
E'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; '
'style-src ''sha256-%s''; base-uri ''none''; form-action ''none''">\n'
'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
'<meta name="referrer" '
'content="no-referrer">\n<title>%s</title>\n<style>%s</style></head>\n<body>\n'
'<h1>%2$s</h1>\n<p class="z">%4$s</p>\n<nav>%5$s</nav>\n%6$s</body></html>\n',
           encode(sha256(convert_to(cozi._report_style(), 'UTF8')), 'base64'), cozi._html(title,
               300),
           cozi._report_style(), cozi._html(subtitle, 1000),
           (SELECT string_agg(format('<a href="#%s">%1$s</a>', cozi._html(l.id, 40)), ' '
               ORDER BY l.n)
            FROM unnest(links) WITH ORDINALITY l(id, n)), body);
COMMENT ON FUNCTION _report_page(text, text, text[], text) IS
'Returns the page around its parts: its style, its policy, its title and its links';

CREATE OR REPLACE FUNCTION _report_server() RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE
RETURN format('PostgreSQL %s, cozi %s%s; read by %s at %s',
              current_setting('server_version'),
              (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'cozi'),
              CASE WHEN pg_is_in_recovery() THEN ', a standby' END, current_user,
              cozi._instant(clock_timestamp()));
COMMENT ON FUNCTION _report_server() IS 'Says which server the page is of, who reads it and when';

-- The section of what changed compares with a window as long, just before.
CREATE OR REPLACE FUNCTION _report_changed(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH bound AS (
        SELECT w.since - (coalesce(_report_changed.until, clock_timestamp()) - w.since) AS before,
               w.since
        FROM (SELECT _report_changed.since) w(since)
    ), covered AS (
        SELECT b.*, cozi.snapshot_at(b.before) < cozi.snapshot_at(b.since) AS ok FROM bound b
    )
    SELECT cozi._html_section('changed', 'What changed',
               CASE WHEN c.ok THEN format('Against the window before, from %s to %s.',
                                          cozi._instant((SELECT s.taken_at FROM cozi.snapshots s
                                              WHERE s.snapshot = cozi.snapshot_at(c.before))),
                                          cozi._instant(c.since))
                    WHEN pg_is_in_recovery()
                    THEN 'A standby counts for itself, and has no snapshots of its own to compare '
                         'with.'
                    ELSE 'There are no snapshots from before the window: schedule cozi.snapshot() '
                         'every minute or so.' END,
               CASE WHEN c.ok THEN cozi._report_changes(c.before, c.since, c.since,
                                                        _report_changed.until) END)
    FROM covered c;
END;
COMMENT ON FUNCTION _report_changed(timestamptz, timestamptz) IS
'Returns the section of the page about what changed since the window before';

-- Where a window begins: with the snapshot that holds at since, by default an hour
-- before its end; NULL where there is none, or none before the end.
CREATE OR REPLACE FUNCTION _report_since(since timestamptz, until timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL UNSAFE
RETURN (SELECT b.taken_at FROM cozi.snapshots b
        LEFT JOIN cozi.snapshots e ON e.snapshot = cozi.snapshot_at(_report_since.until)
        WHERE b.snapshot = cozi.snapshot_at(coalesce(_report_since.since,
                               coalesce(_report_since.until, now()) - interval '1 hour'))
          AND (_report_since.until IS NULL OR b.snapshot < e.snapshot));
COMMENT ON FUNCTION _report_since(timestamptz, timestamptz) IS
'Returns when the snapshot was taken that a window of the page begins with; NULL if there is none';

CREATE OR REPLACE FUNCTION report_html(since timestamptz = NULL, until timestamptz = NULL)
    RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp SET jit = off SET DateStyle = 'ISO'
    SET IntervalStyle = 'postgres'
AS $$
DECLARE
    began timestamptz;
    note text;
    advice text;
    found text;
BEGIN
    IF since >= coalesce(until, now()) THEN
        RAISE EXCEPTION 'argument "since" must be before "until"'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The window ends now where "until" is NULL.';
    END IF;
    IF until >= now() THEN
        until := NULL;
    END IF;
    BEGIN
        began := cozi._report_since(since, until);
    EXCEPTION WHEN insufficient_privilege THEN
        began := NULL;
    END;
    note := CASE WHEN began IS NULL
                 THEN 'Since each counter began: there are no snapshots that span a window'
                 ELSE format('From %s to %s', cozi._instant(began),
                             coalesce(cozi._instant(until), 'now')) END;
    -- the gravest findings come first, and the others last; no value can hold a tag
    advice := cozi._report_parts('{advice}', began, until);
    found := substring(advice FROM '^<section id="found">.*?</section>\n');
    RETURN cozi._report_page('cozi: ' || current_database(), cozi._report_server() || '. ' || note
        || '.',
        '{found,health,changed,statements,waits,load,errors,locks,tables,replication,boards,'
        'activities,limits,indexes,advice,status}',
        replace(cozi._report_parts('{health}', began, until), '<section id="health">',
                coalesce(found, '') || '<section id="health">')
        || cozi._report_parts('{changed,queries,waits,load,errors,locks,tables,replication,boards,'
                              'activities,limits}', began, until)
        || substr(advice, 1 + coalesce(length(found), 0))
        || cozi._report_parts('{status}', began, until));
END $$;
COMMENT ON FUNCTION report_html(timestamptz, timestamptz) IS
'Returns a page about this server between two instants, as HTML: health, changes, statements, '
'tables, '
'advice; NULL since is an hour before the end, NULL until is now';

CREATE OR REPLACE FUNCTION _report_totals(before_since timestamptz, before_until timestamptz,
    since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('totals', 'This database', NULL,
           cozi._html_table('{figure,#before,#after,#ratio}',
               (SELECT string_agg(cozi._html_row('tnnn', f.name, round(f.before::numeric, 3)::text,
                                      round(f.after::numeric, 3)::text,
                                      round((f.after / nullif(f.before, 0))::numeric, 2)::text), ''
                                  ORDER BY f.n)
                FROM cozi._report_rates(before_since, before_until) b,
                     cozi._report_rates(since, until) a
                CROSS JOIN LATERAL (VALUES
                    (1, 'length of the window, s', extract(epoch FROM b.period)::float8,
                     extract(epoch FROM a.period)::float8),
                    (2, 'statements a second', b.calls, a.calls),
                    (3, 'mean time of a statement, ms', b.mean_ms, a.mean_ms),
                    (4, 'commits a second', b.commits, a.commits),
                    (5, 'rollbacks a second', b.rollbacks, a.rollbacks),
                    (6, 'blocks found in shared buffers, of 1', b.cache_hit, a.cache_hit),
                    (7, 'temporary files, bytes a second', b.temp_bytes, a.temp_bytes),
                    (8, 'deadlocks', b.deadlocks, a.deadlocks)) f(n, name, before, after)),
               'No two snapshots span both windows.'));
COMMENT ON FUNCTION _report_totals(timestamptz, timestamptz, timestamptz, timestamptz) IS
'Returns the section of report_diff() about the database as a whole';

CREATE OR REPLACE FUNCTION _report_compared(before_since timestamptz, before_until timestamptz,
    since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN cozi._html_section('statements', 'Statements',
           CASE WHEN cozi.snapshot_at(since) IS NULL
                THEN 'There are no snapshots: schedule cozi.snapshot() on the primary.' END,
           cozi._report_changes(before_since, before_until, since, until));
COMMENT ON FUNCTION _report_compared(timestamptz, timestamptz, timestamptz, timestamptz) IS
'Returns the section of report_diff() about statements';

CREATE OR REPLACE FUNCTION report_diff(before_since timestamptz, before_until timestamptz,
    since timestamptz = NULL, until timestamptz = NULL) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000000
SET search_path = pg_catalog, pg_temp SET jit = off SET DateStyle = 'ISO'
    SET IntervalStyle = 'postgres'
AS $$
BEGIN
    IF before_since IS NULL OR before_until IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN before_since IS NULL THEN 'before_since' ELSE 'before_until' END
            USING ERRCODE = 'null_value_not_allowed';
    ELSIF before_since >= before_until OR coalesce(since, before_until) >= coalesce(until, now())
        THEN
        RAISE EXCEPTION 'argument "%since" must be before "%until"',
            CASE WHEN before_since >= before_until THEN 'before_' ELSE '' END,
            CASE WHEN before_since >= before_until THEN 'before_' ELSE '' END
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The second window begins where the first ends where "since" is NULL, and '
                         'ends now where "until" is NULL.';
    END IF;
    since := coalesce(since, before_until);
    RETURN cozi._report_page('cozi: ' || current_database() || ', before and after',
        format('%s. Before: from %s to %s. After: from %s to %s.', cozi._report_server(),
               cozi._instant(before_since), cozi._instant(before_until), cozi._instant(since),
               coalesce(cozi._instant(until), 'now')),
        '{totals,statements}',
        cozi._report_parts('{totals,compared}', before_since, before_until, since, until));
END $$;
COMMENT ON FUNCTION report_diff(timestamptz, timestamptz, timestamptz, timestamptz) IS
'Returns a page that compares two windows, as HTML; NULL since is the end of the first, NULL '
'until is '
'now';
