-- grants: who may do what.  This page is the last part of the script.
--
-- Everything is denied: below, every object that the script has just created
-- is revoked from PUBLIC, and then granted by the list.  A name stands for all
-- functions of that name, or for a table or view.  An update script runs this
-- page too: it touches the objects that are new and no others, because a GRANT
-- on an old one would overwrite what the administrator granted or revoked, and
-- pg_dump would take the result for the extension's own.

CREATE OR REPLACE VIEW _members AS
SELECT d.classid, d.objid, o.name, o.privilege, o.object, o.owner, o.acl
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_depend d
  ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
CROSS JOIN LATERAL (
    SELECT p.proname, 'EXECUTE', 'ROUTINE ' || p.oid::pg_catalog.regprocedure, p.proowner, p.proacl
    FROM pg_catalog.pg_proc p
    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
    UNION ALL
    SELECT c.relname, 'SELECT', CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END
           || c.oid::pg_catalog.regclass, c.relowner, c.relacl
    FROM pg_catalog.pg_class c
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
      AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
) AS o (name, privilege, object, owner, acl)
WHERE d.deptype = 'e' AND e.extname = 'cozi';
COMMENT ON VIEW _members IS
'One row per function, table, view and sequence of the extension, with the privilege to read or '
'call it';

CREATE OR REPLACE VIEW _grants AS
WITH list (grantee, privilege, names) AS (VALUES
    -- what a query or a policy of any role may need
    ('PUBLIC', 'EXECUTE', 'hot gravity hacker_news hot_rank scaled_rank controversy'),
    ('PUBLIC', 'EXECUTE', 'wilson_lower wilson_upper'),
    ('PUBLIC', 'EXECUTE', 'bayesian_average heat heat_add heat_merge heat_value heat_agg'),
    ('PUBLIC', 'EXECUTE', 'heat_merge_agg top_across'),
    ('PUBLIC', 'EXECUTE', 'top top_rows top_ranked _count_rows _pending_rows _kept_status'),
    ('PUBLIC', 'EXECUTE', '_kept_sources _kept_state'),
    ('PUBLIC', 'EXECUTE', 'item_counts'),
    ('PUBLIC', 'EXECUTE', 'active_users retention activity_days retention_matrix funnel'),
    ('PUBLIC', 'EXECUTE', 'retention_of_events engagement _days_between _events_due'),
    ('PUBLIC', 'EXECUTE', '_event_settings _event_partitions _events_plan _events_floor'),
    ('PUBLIC', 'EXECUTE', '_events_next _event_partition_name _shut_partition'),
    ('PUBLIC', 'SELECT',  'boards board_sources counters activities activity_sources'),
    ('PUBLIC', 'SELECT',  'activity_health'),
    ('PUBLIC', 'SELECT',  'event_tables'),
    ('PUBLIC', 'EXECUTE', 'shard_of shard_of_text shard_hash shard_hash_text'),
    -- a sequence is read by pg_dump --schema-only, too
    ('PUBLIC', 'SELECT',  'shard_map_version'),
    ('PUBLIC', 'EXECUTE', '_shard_bounds _shard_counts _need _shard_function'),
    ('PUBLIC', 'EXECUTE', 'shard_predicate'),
    ('PUBLIC', 'EXECUTE', 'next_id uuid7 id_bucket id_time'),
    ('PUBLIC', 'EXECUTE', 'login login_if logout uid uid_bigint uid_text claims claim has_role'),
    ('PUBLIC', 'EXECUTE', 'require_uid require_uid_bigint require_uid_text require_role'),
    ('PUBLIC', 'EXECUTE', 'is_edge has_edge_role is_following is_member has_blocked'),
    ('PUBLIC', 'EXECUTE', 'is_owner is_blocked_by can_view _protected _keep_owner _rows_of'),
    -- for the owner of the table; to a role that is granted them by name they tell more
    ('PUBLIC', 'EXECUTE', 'why_visible policy_diff'),
    ('PUBLIC', 'EXECUTE', 'edge_targets_uuid edge_targets_bigint edge_targets_text'),
    ('PUBLIC', 'EXECUTE', 'cursor_encode cursor_decode page_sql api_function'),
    ('PUBLIC', 'EXECUTE', 'feed feed_of feed_rows unread'),
    ('PUBLIC', 'EXECUTE', 'comment_thread'),
    ('PUBLIC', 'EXECUTE', 'changes_since change_cursor _is_new'),
    ('PUBLIC', 'EXECUTE', 'exact_step gcra_step'),
    ('PUBLIC', 'EXECUTE', '_outbox_status _announcements'),
    ('PUBLIC', 'SELECT',  'outboxes announcements'),

    -- what owners of tables need: grant_owner()
    ('owner', 'EXECUTE', 'create_board drop_board rebuild_board verify_board set_half_life'),
    ('owner', 'EXECUTE', 'set_down_weight hide_item show_item hidden_items fold'),
    ('owner', 'EXECUTE', 'add_source remove_source close_before archive_plan track_changes'),
    ('owner', 'EXECUTE', '_archive_column _archive_literal _archive_partitions'),
    ('owner', 'EXECUTE', 'create_counter drop_counter rebuild_counter verify_counter'),
    ('owner', 'EXECUTE', 'create_activity drop_activity rebuild_activity verify_activity'),
    ('owner', 'EXECUTE', 'add_activity_source remove_activity_source touch_activity'),
    ('owner', 'EXECUTE', 'create_events set_events maintain_events track_event track_events'),
    ('owner', 'EXECUTE', 'create_shards shard_table unshard_table shard_check shard_report'),
    ('owner', 'EXECUTE', 'node_of node_of_text node_of_bucket shard_map_version bucket_load'),
    ('owner', 'EXECUTE', 'rebalance_plan node_report'),
    ('owner', 'SELECT',  'nodes shard_map'),
    ('owner', 'EXECUTE', 'attach_plan colocation_check _attach_table _attach_columns'),
    ('owner', 'EXECUTE', '_attach_shards _attach_objects _attach_there _attach_here'),
    ('owner', 'EXECUTE', 'split_plan move_plan shard_digest wait_for_slot replica_ok'),
    ('owner', 'EXECUTE', '_split_refuse _split_facts _split_keys _split_templates _split_parts'),
    ('owner', 'EXECUTE', '_move_refuse _move_facts _move_tables _move_templates _move_parts'),
    ('owner', 'EXECUTE', '_move_fence _move_unfence _bucket_moved'),
    ('owner', 'EXECUTE', '_plan_text _plan_quote _plan_quoted _plan_parts _plan_as_owner'),
    ('owner', 'EXECUTE', '_plan_mapping _plan_columns _shard_name run_as_owner'),
    ('owner', 'EXECUTE', 'citus_setup_plan _citus_refuse _citus_blockers _citus_kept'),
    ('owner', 'EXECUTE', '_citus_everywhere _citus_keep _citus_copied _citus_tables'),
    ('owner', 'EXECUTE', 'register_edge drop_edge protect unprotect save_policies'),
    ('owner', 'EXECUTE', 'rate_limit rate_limit_info rate_limit_peek enforce_rate_limit'),
    ('owner', 'EXECUTE', 'rate_limit_reset reset_rate_limit'),
    ('owner', 'EXECUTE', 'create_rate_limit alter_rate_limit drop_rate_limit'),
    ('owner', 'EXECUTE', 'use_rate_limit use_rate_limit_info use_rate_limits enforce_rate_limits'),
    ('owner', 'EXECUTE', 'create_outbox drop_outbox add_outbox_consumer remove_outbox_consumer'),
    ('owner', 'EXECUTE', 'outbox_take outbox_done outbox_set_aside outbox_aside outbox_resolve'),
    -- which a partition of an outbox takes over: the server asks for the right again
    ('owner', 'EXECUTE', 'outbox_trim _outbox_event'),
    ('owner', 'EXECUTE', 'announce_changes drop_announcement notify_throttled notify_flush'),

    -- what the pooled role of an app needs beside PUBLIC's: grant_app()
    ('app', 'EXECUTE', 'rate_limit rate_limit_info rate_limit_peek enforce_rate_limit'),
    ('app', 'EXECUTE', 'use_rate_limit use_rate_limit_info use_rate_limits enforce_rate_limits'),
    ('app', 'EXECUTE', 'touch_activity track_event track_events'),
    -- each of them asks for the role of the consumer, too
    ('app', 'EXECUTE', 'outbox_take outbox_done outbox_set_aside outbox_aside outbox_resolve'),
    ('app', 'EXECUTE', 'notify_throttled notify_flush'),
    ('app', 'EXECUTE', 'node_of node_of_text node_of_bucket shard_map_version replica_ok'),
    ('app', 'SELECT',  'nodes shard_map'),

    -- what is read about others
    ('pg_monitor', 'SELECT',  'edges rate_limit_stats'),
    ('pg_monitor', 'EXECUTE', '_edge_trouble replica_ok'),
    ('pg_monitor', 'EXECUTE', 'rate_limit_stats'),
    ('pg_monitor', 'SELECT',  'slow_queries slow_queries_by_total slow_queries_by_p99 slow_plans'),
    ('pg_monitor', 'SELECT',  'health regressions error_rate cache_hit connections table_sizes'),
    ('pg_monitor', 'EXECUTE', 'health_activities'),
    ('pg_monitor', 'SELECT',  'activity_now blocking_tree long_transactions replication_lag'),
    ('pg_monitor', 'SELECT',  'vacuum_health monitor_status targets snapshots snapshot_databases'),
    ('pg_monitor', 'SELECT',  'snapshot_statements snapshot_latencies snapshot_errors'),
    ('pg_monitor', 'EXECUTE', 'snapshot snapshot_at statement_deltas'),
    ('pg_monitor', 'EXECUTE', '_statements_at _was_restarted latency_at latency_window'),
    ('pg_monitor', 'EXECUTE', 'window_start latency_start recent_query_time recent_cache_hit'),
    ('pg_monitor', 'EXECUTE', 'recent_transaction_time recent_error_ratio stats_epoch os_load'),
    ('pg_monitor', 'EXECUTE', 'statements statements_info statements_state statements_fix'),
    ('pg_monitor', 'EXECUTE', '_readable statements_completed query_text preload_fix is_preloaded'),
    ('pg_monitor', 'EXECUTE', 'database_time timed_io relation_bytes _relation_files latency'),
    ('pg_monitor', 'EXECUTE', 'latency_of latency_histogram latency_reason latency_stats'),
    ('pg_monitor', 'EXECUTE', 'transaction_latency'),
    ('pg_monitor', 'EXECUTE', 'transaction_time timeouts_of captured_text plans unfinished errors'),
    ('pg_monitor', 'EXECUTE', 'waits_now _sees_sessions health_waits health_transactions'),
    ('pg_monitor', 'EXECUTE', 'health_replication _recent_database _in_period _target_period'),
    ('pg_monitor', 'EXECUTE', 'health_database health_machine health_server connection_limits'),
    ('pg_monitor', 'EXECUTE', 'health_statements health_connections disk_usage network'),
    ('pg_monitor', 'EXECUTE', 'checkpoints latency_calls latency_since statement_totals'),
    ('pg_monitor', 'EXECUTE', 'error_name error_blame error_ratio histogram histogram_sum'),
    ('pg_monitor', 'EXECUTE', '_histogram_add _histogram_merge _histogram_final histogram_minus'),
    ('pg_monitor', 'EXECUTE', 'histogram_pack histogram_unpack histogram_count'),
    ('pg_monitor', 'EXECUTE', 'histogram_quantile histogram_buckets _other_samples'),
    ('pg_monitor', 'EXECUTE', 'statement_waits statement_errors statement_plans'),
    ('pg_monitor', 'SELECT',  'statement_blocks latency_blocks'),
    ('pg_monitor', 'EXECUTE', '_statements_held _latencies_held'),
    ('pg_monitor', 'EXECUTE', 'waits_of errors_of slowest_of _no_room poolers _pooler_processes'),
    ('pg_monitor', 'SELECT',  'waits plan_changes'),
    ('pg_monitor', 'SELECT',  'policy_advisor index_usage duplicate_indexes missing_fk_indexes'),
    ('pg_monitor', 'SELECT',  'invalid_objects sequence_usage tables_without_key bloat'),
    ('pg_monitor', 'SELECT',  'settings_advisor advice waivers _advice_seen'),
    ('pg_monitor', 'EXECUTE', '_findings_of _index_covers _index_verdict _sequence_position'),
    ('pg_monitor', 'EXECUTE', '_hba_lines advice_gate advice_new what_if _one_statement'),
    ('pg_monitor', 'EXECUTE', '_api_role_names'),
    ('pg_monitor', 'SELECT',  'missing_indexes table_growth table_size_blocks'),
    ('pg_monitor', 'SELECT',  'latency_histograms'),
    ('pg_monitor', 'EXECUTE', 'openmetrics _metric_bounds _histogram_upto _metric_databases'),
    ('pg_monitor', 'EXECUTE', '_metric_label _metric_unit _metrics_health _metrics_latency'),
    ('pg_monitor', 'EXECUTE', '_metrics_server _metrics_community _alert_rules alert_rules'),
    ('pg_monitor', 'EXECUTE', 'report_html report_diff _html _html_row _svg_curve _html_table'),
    ('pg_monitor', 'EXECUTE', '_html_section _html_heading _html_tile _html_curve _ms _span'),
    ('pg_monitor', 'EXECUTE', '_count _instant _report_style _report_statements _report_latency'),
    ('pg_monitor', 'EXECUTE', '_report_text _report_who _report_top _report_unfinished'),
    ('pg_monitor', 'EXECUTE', '_report_queries _report_pairs _report_changes _report_rates'),
    ('pg_monitor', 'EXECUTE', '_report_figure _report_health _report_load _report_errors'),
    ('pg_monitor', 'EXECUTE', '_report_locks _report_growth _report_tables _report_replication'),
    ('pg_monitor', 'EXECUTE', '_report_boards _report_limits _report_advice'),
    ('pg_monitor', 'EXECUTE', '_report_status _report_parts _report_page _report_server'),
    ('pg_monitor', 'EXECUTE', '_report_changed _report_since _report_totals _report_compared'),
    ('pg_monitor', 'EXECUTE', '_report_waits _report_activity _report_activities _svg_users'),
    ('pg_monitor', 'EXECUTE', '_svg_retention _svg_bars _svg_file _svg_style'),
    ('owner', 'SELECT',  'advice policy_advisor missing_indexes'),
    ('owner', 'EXECUTE', '_findings_of advice_gate')
)
SELECT l.grantee, l.privilege, n.name, m.object, m.classid, m.objid
FROM list l
CROSS JOIN LATERAL pg_catalog.string_to_table(l.names, ' ') AS n (name)
LEFT JOIN cozi._members m ON m.name = n.name AND m.privilege = l.privilege;
COMMENT ON VIEW _grants IS
'One row per privilege and object that the extension grants: to PUBLIC and to pg_monitor at once, '
'to owners of tables and to apps by grant_owner() and grant_app()';

CREATE OR REPLACE FUNCTION _grant(grantee text, role regrole, dry_run boolean) RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    IF role IS NULL OR dry_run IS NULL THEN
        RAISE EXCEPTION 'argument "%" must not be null',
            CASE WHEN role IS NULL THEN 'role' ELSE 'dry_run' END
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    FOR statement IN
        SELECT format('GRANT USAGE ON SCHEMA cozi TO %s', role)
        UNION ALL
        (SELECT format('GRANT %s ON %s TO %s', g.privilege, g.object, role)
         FROM cozi._grants g WHERE g.grantee = _grant.grantee ORDER BY g.object)
    LOOP
        IF NOT dry_run THEN
            EXECUTE statement;
        END IF;
        RETURN NEXT statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION _grant(text, regrole, boolean) IS
'Grants what the page of grants lists for a kind of role, and returns the statements';

CREATE OR REPLACE FUNCTION grant_owner(role regrole, dry_run boolean = false) RETURNS SETOF text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT cozi._grant('owner', role, dry_run);
END;
COMMENT ON FUNCTION grant_owner(regrole, boolean) IS
'Grants a role what the owners of tables need: boards, shards, policies, edges, rate limits, '
'outboxes; '
'returns the statements that it ran, or with dry_run would run';

CREATE OR REPLACE FUNCTION grant_app(role regrole, dry_run boolean = false) RETURNS SETOF text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT cozi._grant('app', role, dry_run);
END;
COMMENT ON FUNCTION grant_app(regrole, boolean) IS
'Grants a role what the pooled role of an app needs beside the privileges of PUBLIC: rate limits, '
'and to consume an outbox; '
'returns the statements that it ran, or with dry_run would run';

-- An object is new while it has no initial privileges: a REVOKE in the script of
-- an extension records them.  Nothing is left to those either to whom ALTER
-- DEFAULT PRIVILEGES has granted every new object.
DO $$
DECLARE
    statements text[];
    statement text;
BEGIN
    SELECT string_agg(format('%s (%s)', g.name, g.grantee), ', ') INTO statement
    FROM cozi._grants g WHERE g.object IS NULL;
    IF statement IS NOT NULL THEN
        RAISE EXCEPTION 'the page of grants names objects that do not exist: %', statement
            USING ERRCODE = 'undefined_object';
    END IF;
    WITH new_member AS (
        SELECT m.* FROM cozi._members m
        WHERE NOT EXISTS (SELECT FROM pg_init_privs i
                          WHERE i.classoid = m.classid AND i.objoid = m.objid AND i.objsubid = 0)
    )
    SELECT array_agg(s.statement ORDER BY s.step) INTO statements
    FROM (
        SELECT 1, format('REVOKE ALL ON %s FROM PUBLIC', m.object) FROM new_member m
        UNION ALL
        SELECT 2, format('REVOKE ALL ON %s FROM %s', m.object, a.grantee::regrole)
        FROM new_member m, aclexplode(m.acl) a WHERE a.grantee NOT IN (0, m.owner)
        UNION ALL
        SELECT 3, format('GRANT %s ON %s TO %s', g.privilege, g.object, g.grantee)
        FROM cozi._grants g JOIN new_member m ON m.classid = g.classid AND m.objid = g.objid
        WHERE g.grantee IN ('PUBLIC', 'pg_monitor')
    ) s (step, statement);
    FOREACH statement IN ARRAY coalesce(statements, '{}') LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
