-- The page: what the advisors found.

-- The gravest findings, for the top of the page, then all with their statements:
-- one function, because finding them is half of the work of the page.
CREATE OR REPLACE FUNCTION _report_advice(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH advice AS MATERIALIZED (
        SELECT a.*, row_number() OVER (PARTITION BY a.of_indexes ORDER BY a.n) AS rank
        FROM (SELECT v.*, row_number() OVER () AS n, v.code ~ '(index|constraint)$' AS of_indexes
              FROM cozi.advice v) a
    ), kind AS (
        -- one line a kind, with the gravest of it
        SELECT a.level, a.code, min(a.n) AS n, count(*) AS found,
               (array_agg(a.object ORDER BY a.n))[1] AS object,
               (array_agg(coalesce(a.evidence, a.what) ORDER BY a.n))[1] AS evidence
        FROM advice a WHERE a.waived_by IS NULL GROUP BY a.level, a.code ORDER BY 3 LIMIT 16
    ), fresh AS (
        -- what record_advice() did not know before the window; NULL where it never ran
        SELECT count(*) AS n, string_agg(DISTINCT a.code, ', ') AS codes
        FROM advice a
        WHERE a.waived_by IS NULL AND _report_advice.since IS NOT NULL
          AND EXISTS (SELECT FROM cozi._advice_seen)
          AND NOT EXISTS (SELECT FROM cozi._advice_seen s
                          WHERE (s.code, s.object) = (a.code, a.object)
                            AND s.first_seen < _report_advice.since)
        HAVING count(*) > 0
    ), line AS (
        SELECT a.of_indexes, a.n,
               cozi._html_row('skttntc', CASE WHEN a.waived_by IS NULL THEN a.level ELSE 'waived'
                   END,
                   a.code, a.object, coalesce(a.evidence, a.what), pg_size_pretty(a.bytes),
                   coalesce(format('waived by %s: %s', a.waived_by, a.waived_because), a.why),
                   a.fix_sql) AS row
        FROM advice a WHERE a.rank <= CASE WHEN a.of_indexes THEN 20 ELSE 30 END
    ), part AS (
        SELECT l.of_indexes, string_agg(l.row, '' ORDER BY l.n) AS rows FROM line l GROUP BY 1
    ), shown AS (
        SELECT count(*) AS found, (SELECT count(*) FROM line) AS listed,
               count(*) FILTER (WHERE a.waived_by IS NULL AND a.level = 'error') AS errors,
               count(*) FILTER (WHERE a.waived_by IS NULL AND a.level = 'warn') AS warnings,
               count(*) FILTER (WHERE a.waived_by IS NULL AND a.level = 'info') AS hints
        FROM advice a
    )
    SELECT cozi._html_section('found', 'What was found',
               format('Errors: %s, warnings: %s, hints: %s.%s The statements that end them are '
                      'below, under Indexes and Advice.', s.errors, s.warnings, s.hints,
                      (SELECT format(' New in the window: %s (%s).', f.n, f.codes) FROM fresh f)),
               cozi._html_table('{level,finding,#found,object,evidence}',
                   (SELECT string_agg(cozi._html_row('sknkt', k.level, k.code, k.found::text,
                       k.object,
                                          k.evidence), '' ORDER BY k.n) FROM kind k), 'Nothing.'))
           || cozi._html_section('indexes', 'Indexes', NULL,
               cozi._html_table('{level,finding,object,evidence,#size,why,'
                      '"the statement that ends it"}',
                   (SELECT p.rows FROM part p WHERE p.of_indexes),
                   'No index is missing, unused, redundant or invalid.'))
           || cozi._html_section('advice', 'Advice',
                  CASE WHEN s.found > s.listed
                       THEN format('%s findings; %s are listed: see cozi.advice.', s.found,
                           s.listed) END,
                  cozi._html_table('{level,finding,object,evidence,#size,why,'
                      '"the statement that ends it"}',
                      (SELECT p.rows FROM part p WHERE NOT p.of_indexes), 'Nothing was found.'))
    FROM shown s;
END;
COMMENT ON FUNCTION _report_advice(timestamptz, timestamptz) IS
'Returns the sections of the page with the gravest findings of the advisors, with those about '
'indexes, and with the others';
