-- The page: what the advisors found.

-- The gravest findings, for the top of the page.
CREATE OR REPLACE FUNCTION _report_found() RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH advice AS MATERIALIZED (
        SELECT v.*, row_number() OVER () AS n FROM cozi.advice v WHERE v.waived_by IS NULL
    ), kind AS (
        -- one line a kind, with the gravest of it
        SELECT a.level, a.code, min(a.n) AS n, count(*) AS found,
               (array_agg(a.object ORDER BY a.n))[1] AS object,
               (array_agg(coalesce(a.evidence, a.what) ORDER BY a.n))[1] AS evidence
        FROM advice a GROUP BY a.level, a.code ORDER BY 3 LIMIT 16
    )
    SELECT cozi._html_section('found', 'What was found',
               (SELECT format('Errors: %s, warnings: %s, hints: %s. The statements that end them '
                              'are below, under Indexes and Advice.',
                              count(*) FILTER (WHERE a.level = 'error'),
                              count(*) FILTER (WHERE a.level = 'warn'),
                              count(*) FILTER (WHERE a.level = 'info')) FROM advice a),
               cozi._html_table('{level,finding,#found,object,evidence}',
                   (SELECT string_agg(cozi._html_row('sknkt', k.level, k.code, k.found::text,
                       k.object,
                                          k.evidence), '' ORDER BY k.n) FROM kind k), 'Nothing.'));
END;
COMMENT ON FUNCTION _report_found() IS
'Returns the section of the page with the gravest findings of the advisors';

CREATE OR REPLACE FUNCTION _report_advice(since timestamptz, until timestamptz) RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH advice AS MATERIALIZED (
        SELECT a.*, row_number() OVER (PARTITION BY a.code ~ '(index|constraint)$'
                                       ORDER BY a.n) AS rank
        FROM (SELECT v.*, row_number() OVER () AS n FROM cozi.advice v) a
    ), line AS (
        SELECT a.code ~ '(index|constraint)$' AS of_indexes, a.n,
               cozi._html_row('skttntc', CASE WHEN a.waived_by IS NULL THEN a.level ELSE 'waived'
                   END,
                   a.code, a.object, coalesce(a.evidence, a.what), pg_size_pretty(a.bytes),
                   coalesce(format('waived by %s: %s', a.waived_by, a.waived_because), a.why),
                   a.fix_sql) AS row
        FROM advice a WHERE a.rank <= CASE WHEN a.code ~ '(index|constraint)$' THEN 20 ELSE 30 END
    ), part AS (
        SELECT l.of_indexes, string_agg(l.row, '' ORDER BY l.n) AS rows FROM line l GROUP BY 1
    ), shown AS (
        SELECT count(*) AS found, (SELECT count(*) FROM line) AS listed FROM advice
    )
    SELECT cozi._html_section('indexes', 'Indexes', NULL,
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
'Returns the sections of the page about indexes and advice, with the statements that end findings';
