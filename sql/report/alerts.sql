-- Alerting rules of Prometheus that are equal to the table targets.

-- What "ok" is not, by the bounds of the target and in the units of the metrics.
-- A value that the view does not judge, because it is of too few events, is none.
CREATE OR REPLACE FUNCTION _alert_rules(OUT rank int, OUT alert text, OUT expression text,
    OUT severity text, OUT summary text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 50
BEGIN ATOMIC
    SELECT (row_number() OVER (ORDER BY t.metric COLLATE "C", l.severity))::int,
           'Cozi' || replace(initcap(translate(t.metric, '_', ' ')), ' ', ''),
           format('cozi_health_%1$s{metric="%2$s"} %3$s %4$s'
                  ' and cozi_health_state{metric="%2$s"} >= 0',
                  u.name, cozi._metric_label(t.metric), CASE t.op WHEN '<' THEN '>=' ELSE '<=' END,
                  (l.bound::numeric * u.factor::numeric)::float8),
           l.severity,
           -- two braces begin a template
           format('%s is %s %s %s', replace(t.metric, '{', '('), CASE t.op WHEN '<'
               THEN 'not below' ELSE 'not above' END,
                  l.bound, replace(t.unit, '{', '('))
    FROM cozi.targets t
    CROSS JOIN LATERAL cozi._metric_unit(t.unit) u
    CROSS JOIN LATERAL (VALUES ('critical', t.target), ('warning', t.warn)) l(severity, bound)
    WHERE t.target IS NOT NULL AND l.bound IS NOT NULL
    UNION ALL
    SELECT * FROM (VALUES
        (1001, 'CoziSilent', 'absent(cozi_info)', 'critical', 'nothing was scraped of cozi'),
        (1002, 'CoziBoard', 'cozi_board_state > 0', 'warning',
         'a board is stalled or broken: see cozi.boards'),
        (1003, 'CoziSnapshots',
         'cozi_snapshot_age_seconds > 3600 and on (job, instance) cozi_in_recovery == 0', 'warning',
         'no snapshot was taken for an hour: windows grow coarse')) more;
END;
COMMENT ON FUNCTION _alert_rules() IS
'Returns the rules of alert_rules(), one for each target and severity';

CREATE OR REPLACE FUNCTION alert_rules() RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT E'groups:\n  - name: cozi\n    rules:\n'
           || string_agg(format(E'      - alert: %s\n        expr: %s\n        for: 5m\n'
                                '        labels: {severity: %s}\n        annotations: {summary: '
                                '%s}\n',
                                to_json(r.alert), to_json(r.expression), r.severity,
                                to_json(r.summary)),
                         '' ORDER BY r.rank)
    FROM cozi._alert_rules() r;
END;
COMMENT ON FUNCTION alert_rules() IS
'Returns alerting rules of Prometheus, as YAML, that are equal to the rows of targets';
