-- The golden schema's other half: what must be found.  advisor_good.sql is first.
CREATE TABLE bad.rls_off_write (id bigint PRIMARY KEY, body text);
GRANT SELECT, INSERT, UPDATE, DELETE ON bad.rls_off_write TO authenticated;
COMMENT ON TABLE bad.rls_off_write IS 'rls_off';
CREATE TABLE bad.rls_off_column (id bigint PRIMARY KEY, body text);
GRANT SELECT (body) ON bad.rls_off_column TO PUBLIC;
COMMENT ON TABLE bad.rls_off_column IS 'rls_off';

CREATE TABLE bad.policies_off (id bigint PRIMARY KEY, author uuid);
CREATE INDEX ON bad.policies_off (author);
CREATE POLICY own ON bad.policies_off TO authenticated USING (author = cozi.uid());
COMMENT ON TABLE bad.policies_off IS 'policies_rls_off';

CREATE TABLE bad.child_open (at date NOT NULL, user_id uuid NOT NULL,
    what text) PARTITION BY RANGE (at);
CREATE TABLE bad.child_open_1 PARTITION OF bad.child_open FOR VALUES FROM ('2026-01-01')
    TO ('2026-02-01');
CREATE INDEX ON bad.child_open (user_id);
ALTER TABLE bad.child_open ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.child_open TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT ON bad.child_open, bad.child_open_1 TO authenticated;
COMMENT ON TABLE bad.child_open_1 IS 'partition_open';
CREATE TABLE bad.parent (user_id uuid NOT NULL);
CREATE TABLE bad.heir (more int) INHERITS (bad.parent);
CREATE INDEX ON bad.parent (user_id);
ALTER TABLE bad.parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.parent TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT ON bad.parent, bad.heir TO authenticated;
COMMENT ON TABLE bad.heir IS 'partition_open';
-- a partitioned table, itself open, is one finding
CREATE TABLE bad.parted (at date NOT NULL, user_id uuid NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE bad.parted_1 PARTITION OF bad.parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
GRANT SELECT, INSERT ON bad.parted, bad.parted_1 TO authenticated;
COMMENT ON TABLE bad.parted IS 'rls_off';

CREATE TABLE bad.everyone (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.everyone (user_id);
ALTER TABLE bad.everyone ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.everyone FOR SELECT TO authenticated USING (user_id = cozi.uid());
CREATE POLICY edits ON bad.everyone FOR UPDATE TO authenticated USING (user_id IS NOT NULL)
    WITH CHECK (user_id = cozi.uid());
CREATE POLICY drops ON bad.everyone FOR DELETE TO authenticated USING (id = 7 OR 1 = 1);
COMMENT ON TABLE bad.everyone IS 'policy_always_true';
CREATE TABLE bad.contact (id bigint PRIMARY KEY, body text);
ALTER TABLE bad.contact ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.contact FOR SELECT TO authenticated USING (false);
CREATE POLICY adds ON bad.contact FOR INSERT TO anon WITH CHECK (true);
COMMENT ON TABLE bad.contact IS 'policy_always_true';

CREATE TABLE bad.signed_in (id bigint PRIMARY KEY, user_id uuid NOT NULL, body text);
CREATE INDEX ON bad.signed_in (user_id);
ALTER TABLE bad.signed_in ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.signed_in FOR SELECT TO authenticated USING (user_id = cozi.uid());
CREATE POLICY edits ON bad.signed_in FOR UPDATE TO authenticated
    USING ((SELECT auth.role() = 'authenticated')) WITH CHECK (user_id = cozi.uid());
CREATE POLICY drops ON bad.signed_in FOR DELETE TO authenticated USING (NOT (cozi.uid() IS NULL));
COMMENT ON TABLE bad.signed_in IS 'policy_any_signed_in';

CREATE TABLE bad.unbound (id bigint PRIMARY KEY, user_id uuid NOT NULL, body text);
CREATE INDEX ON bad.unbound (user_id);
ALTER TABLE bad.unbound ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.unbound FOR SELECT TO authenticated USING (user_id = cozi.uid());
CREATE POLICY adds ON bad.unbound FOR INSERT TO authenticated WITH CHECK (length(body) < 100
    AND cozi.uid() IS NOT NULL);
CREATE POLICY edits ON bad.unbound FOR UPDATE TO authenticated USING (user_id = cozi.uid())
    WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON bad.unbound TO authenticated;
COMMENT ON TABLE bad.unbound IS 'policy_check_unbound';
-- a trigger may set the owner: information
CREATE FUNCTION bad.set_owner() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN NEW.user_id := cozi.uid(); RETURN NEW; END $$;
CREATE TABLE bad.by_trigger (id bigint PRIMARY KEY, user_id uuid NOT NULL, body text);
CREATE INDEX ON bad.by_trigger (user_id);
CREATE TRIGGER owner BEFORE INSERT ON bad.by_trigger FOR EACH ROW EXECUTE FUNCTION bad.set_owner();
ALTER TABLE bad.by_trigger ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.by_trigger FOR SELECT TO authenticated USING (user_id = cozi.uid());
CREATE POLICY adds ON bad.by_trigger FOR INSERT TO authenticated WITH CHECK (true);
COMMENT ON TABLE bad.by_trigger IS 'policy_check_unbound';

CREATE TABLE bad.null_rows (id bigint PRIMARY KEY, user_id uuid);
CREATE INDEX ON bad.null_rows (user_id);
ALTER TABLE bad.null_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.null_rows TO authenticated
    USING (user_id = cozi.uid() OR user_id IS NULL) WITH CHECK (user_id = cozi.uid());
COMMENT ON TABLE bad.null_rows IS 'policy_null_permissive';
CREATE TABLE bad.null_distinct (id bigint PRIMARY KEY, user_id uuid);
CREATE INDEX ON bad.null_distinct (user_id);
ALTER TABLE bad.null_distinct ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.null_distinct TO authenticated
    USING (user_id IS NOT DISTINCT FROM cozi.uid()) WITH CHECK (user_id = cozi.uid());
COMMENT ON TABLE bad.null_distinct IS 'policy_null_permissive';
CREATE TABLE bad.null_caller (id bigint PRIMARY KEY, user_id uuid NOT NULL);
ALTER TABLE bad.null_caller ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.null_caller FOR SELECT TO authenticated
    USING (coalesce(user_id = cozi.uid(), true));
COMMENT ON TABLE bad.null_caller IS 'policy_null_permissive';

CREATE TABLE bad.metadata (id bigint PRIMARY KEY, body text);
ALTER TABLE bad.metadata ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_admins ON bad.metadata FOR SELECT TO authenticated
    USING ((SELECT auth.jwt() -> 'user_metadata' ->> 'role') = 'admin');
COMMENT ON TABLE bad.metadata IS 'policy_user_metadata';

CREATE TABLE bad.forged (id bigint PRIMARY KEY, tenant text NOT NULL);
CREATE INDEX ON bad.forged (tenant);
ALTER TABLE bad.forged ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.forged TO authenticated
    USING (tenant = (SELECT current_setting('app.tenant', true)));
COMMENT ON TABLE bad.forged IS 'policy_forgeable_identity';
-- through a function's string
CREATE FUNCTION bad.tenant() RETURNS text LANGUAGE plpgsql STABLE AS
$$ BEGIN RETURN current_setting('app.tenant'); END $$;
CREATE TABLE bad.forged_deep (id bigint PRIMARY KEY, tenant text NOT NULL);
CREATE INDEX ON bad.forged_deep (tenant);
ALTER TABLE bad.forged_deep ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.forged_deep TO authenticated USING (tenant = (SELECT bad.tenant()));
COMMENT ON TABLE bad.forged_deep IS 'policy_forgeable_identity';

CREATE TABLE bad.to_public (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.to_public (user_id);
ALTER TABLE bad.to_public ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.to_public USING (user_id = cozi.uid());
COMMENT ON TABLE bad.to_public IS 'policy_to_public';

CREATE TABLE bad.blind_delete (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.blind_delete (user_id);
ALTER TABLE bad.blind_delete ENABLE ROW LEVEL SECURITY;
CREATE POLICY drops ON bad.blind_delete FOR DELETE TO authenticated USING (user_id = cozi.uid());
GRANT SELECT, DELETE ON bad.blind_delete TO authenticated;
COMMENT ON TABLE bad.blind_delete IS 'policy_write_without_select';

CREATE TABLE bad.insert_only (id bigint PRIMARY KEY, user_id uuid NOT NULL);
ALTER TABLE bad.insert_only ENABLE ROW LEVEL SECURITY;
CREATE POLICY adds ON bad.insert_only FOR INSERT TO authenticated WITH CHECK (user_id = cozi.uid());
GRANT SELECT, INSERT ON bad.insert_only TO authenticated;
COMMENT ON TABLE bad.insert_only IS 'policy_select_missing';
CREATE TABLE bad.no_policy (id bigint PRIMARY KEY);
ALTER TABLE bad.no_policy ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON bad.no_policy TO anon;
COMMENT ON TABLE bad.no_policy IS 'policy_select_missing';

CREATE TABLE bad.several (id bigint PRIMARY KEY, user_id uuid NOT NULL, open boolean);
CREATE INDEX ON bad.several (user_id);
ALTER TABLE bad.several ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.several FOR SELECT TO authenticated USING (user_id = cozi.uid());
CREATE POLICY opened ON bad.several FOR SELECT TO authenticated USING (open);
COMMENT ON TABLE bad.several IS 'policy_several_permissive';

CREATE TABLE bad.per_row (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.per_row (user_id);
ALTER TABLE bad.per_row ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.per_row TO authenticated USING (auth.uid() = user_id)
    WITH CHECK ((SELECT auth.uid()) = user_id);
COMMENT ON TABLE bad.per_row IS 'policy_per_row_function';
CREATE TABLE bad.per_row_inside (id bigint PRIMARY KEY, grp bigint NOT NULL);
ALTER TABLE bad.per_row_inside ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.per_row_inside FOR SELECT TO authenticated
    USING (EXISTS (SELECT FROM good.members m WHERE m.grp = per_row_inside.grp
        AND m.user_id = auth.uid()));
COMMENT ON TABLE bad.per_row_inside IS 'policy_per_row_function';

CREATE FUNCTION bad.is_mine(who uuid) RETURNS boolean LANGUAGE plpgsql STABLE
    AS $$ BEGIN RETURN who = cozi.uid(); END $$;
CREATE FUNCTION bad.is_mine_too(who uuid) RETURNS boolean LANGUAGE sql STABLE SET search_path =
    pg_catalog AS $$ SELECT who = cozi.uid() $$;
CREATE TABLE bad.opaque (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.opaque (user_id);
ALTER TABLE bad.opaque ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.opaque TO authenticated USING (bad.is_mine(user_id));
COMMENT ON TABLE bad.opaque IS 'policy_opaque_helper';
CREATE TABLE bad.opaque_sql (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.opaque_sql (user_id);
ALTER TABLE bad.opaque_sql ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.opaque_sql TO authenticated USING (bad.is_mine_too(user_id));
COMMENT ON TABLE bad.opaque_sql IS 'policy_opaque_helper';

CREATE TABLE bad.unindexed (id bigint PRIMARY KEY, user_id uuid NOT NULL, gone boolean);
CREATE INDEX ON bad.unindexed (user_id) WHERE NOT gone;
CREATE INDEX ON bad.unindexed (id, user_id);
ALTER TABLE bad.unindexed ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.unindexed TO authenticated USING (cozi.is_owner(user_id));
COMMENT ON TABLE bad.unindexed IS 'policy_column_unindexed';
CREATE TABLE bad.unindexed_parted (id bigint, user_id uuid NOT NULL) PARTITION BY HASH (id);
ALTER TABLE bad.unindexed_parted ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.unindexed_parted TO authenticated USING (user_id = (SELECT auth.uid()));
COMMENT ON TABLE bad.unindexed_parted IS 'policy_column_unindexed';
CREATE TABLE bad.under_cast (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.under_cast (user_id);
ALTER TABLE bad.under_cast ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.under_cast TO authenticated USING (user_id::text = cozi.uid_text());
COMMENT ON TABLE bad.under_cast IS 'policy_column_cast';

CREATE TYPE bad.visibility AS ENUM ('public', 'private');
CREATE TABLE bad.leaky_indexes (id bigint PRIMARY KEY, user_id uuid NOT NULL, v bad.visibility,
    n numeric, words tsvector, title text, code text);
CREATE INDEX ON bad.leaky_indexes (user_id);
CREATE INDEX ON bad.leaky_indexes (v);
CREATE INDEX ON bad.leaky_indexes (n);
CREATE INDEX ON bad.leaky_indexes USING gin (words);
CREATE INDEX ON bad.leaky_indexes (lower(title));
CREATE INDEX ON bad.leaky_indexes (code);
ALTER TABLE bad.leaky_indexes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.leaky_indexes TO authenticated USING (user_id = cozi.uid());
COMMENT ON TABLE bad.leaky_indexes IS 'policy_index_not_leakproof';

CREATE TABLE bad.truncatable (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.truncatable (user_id);
ALTER TABLE bad.truncatable ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.truncatable TO authenticated USING (user_id = cozi.uid());
GRANT ALL ON bad.truncatable TO authenticated;
COMMENT ON TABLE bad.truncatable IS 'rls_bypassing_privilege';

CREATE TABLE bad.profiles (id uuid PRIMARY KEY, nick text, is_admin boolean NOT NULL DEFAULT false,
    grade text);
ALTER TABLE bad.profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.profiles FOR SELECT TO authenticated USING (true);
CREATE POLICY edits ON bad.profiles FOR UPDATE TO authenticated USING (id = (SELECT auth.uid()))
    WITH CHECK (id = (SELECT auth.uid()));
GRANT SELECT, UPDATE ON bad.profiles TO authenticated;
CREATE TABLE bad.promoted (id bigint PRIMARY KEY, body text);
ALTER TABLE bad.promoted ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_admins ON bad.promoted FOR SELECT TO authenticated
    USING (EXISTS (SELECT FROM bad.profiles p WHERE p.id = (SELECT auth.uid()) AND p.is_admin));
COMMENT ON TABLE bad.promoted IS 'policy_self_promotion';
CREATE FUNCTION bad.graded() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path =
    pg_catalog, pg_temp
    AS $$ SELECT grade FROM bad.profiles WHERE id = auth.uid() $$;
CREATE TABLE bad.promoted_deep (id bigint PRIMARY KEY, body text);
ALTER TABLE bad.promoted_deep ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_graded ON bad.promoted_deep FOR SELECT TO authenticated
    USING ((SELECT bad.graded()) = 'gold');
COMMENT ON TABLE bad.promoted_deep IS 'policy_self_promotion';

CREATE TABLE bad.loop_a (id bigint PRIMARY KEY, b bigint);
CREATE TABLE bad.loop_b (id bigint PRIMARY KEY, a bigint);
ALTER TABLE bad.loop_a ENABLE ROW LEVEL SECURITY;
ALTER TABLE bad.loop_b ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.loop_a FOR SELECT TO authenticated USING (EXISTS (SELECT
    FROM bad.loop_b x WHERE x.id = loop_a.b));
CREATE POLICY sees ON bad.loop_b FOR SELECT TO authenticated USING (EXISTS (SELECT
    FROM bad.loop_a x WHERE x.id = loop_b.a));
COMMENT ON TABLE bad.loop_a IS 'policy_recursion';
COMMENT ON TABLE bad.loop_b IS 'policy_recursion';
CREATE TABLE bad.loop_self (id bigint PRIMARY KEY, grp bigint, user_id uuid NOT NULL);
CREATE INDEX ON bad.loop_self (user_id);
ALTER TABLE bad.loop_self ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.loop_self FOR SELECT TO authenticated
    USING (grp IN (SELECT x.grp FROM bad.loop_self x WHERE x.user_id = (SELECT auth.uid())));
COMMENT ON TABLE bad.loop_self IS 'policy_recursion';

CREATE TABLE bad.blocks (blocker uuid, blocked uuid, PRIMARY KEY (blocker, blocked));
CREATE INDEX ON bad.blocks (blocked, blocker);
GRANT SELECT, INSERT, DELETE ON bad.blocks TO authenticated;
SELECT cozi.register_edge('blocked', 'bad.blocks', 'blocker', 'blocked');
COMMENT ON TABLE bad.blocks IS 'edge_writable';
CREATE TABLE bad.joins (member uuid, grp uuid, PRIMARY KEY (member, grp));
ALTER TABLE bad.joins ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.joins FOR SELECT TO authenticated USING (true);
CREATE POLICY adds ON bad.joins FOR INSERT TO authenticated WITH CHECK (grp IS NOT NULL);
GRANT SELECT, INSERT ON bad.joins TO authenticated;
SELECT cozi.register_edge('member', 'bad.joins', 'member', 'grp');
COMMENT ON TABLE bad.joins IS 'edge_writable policy_always_true';

CREATE ROLE app IN ROLE authenticated;
CREATE TABLE bad.owned_by_api (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON bad.owned_by_api (user_id);
ALTER TABLE bad.owned_by_api ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON bad.owned_by_api TO authenticated USING (user_id = cozi.uid());
ALTER TABLE bad.owned_by_api OWNER TO authenticated;
COMMENT ON TABLE bad.owned_by_api IS 'rls_owner_exempt';

CREATE VIEW bad.all_notes AS SELECT * FROM good.own_uid;
GRANT SELECT ON bad.all_notes TO authenticated;
COMMENT ON VIEW bad.all_notes IS 'view_bypasses_rls';
CREATE VIEW bad.all_notes_deep AS SELECT count(*) FROM good.ungranted_view;
GRANT SELECT ON bad.all_notes_deep TO anon;
COMMENT ON VIEW bad.all_notes_deep IS 'view_bypasses_rls';
CREATE VIEW bad.emails AS SELECT email FROM auth.users;
GRANT SELECT ON bad.emails TO anon;
COMMENT ON VIEW bad.emails IS 'sensitive_column_exposed view_bypasses_rls';
CREATE MATERIALIZED VIEW bad.stale AS SELECT * FROM good.own_uid;
GRANT SELECT ON bad.stale TO authenticated;
COMMENT ON MATERIALIZED VIEW bad.stale IS 'matview_exposed';
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE bad.elsewhere (id int) SERVER nowhere;
GRANT SELECT ON bad.elsewhere TO authenticated;
COMMENT ON FOREIGN TABLE bad.elsewhere IS 'foreign_table_exposed';

CREATE FUNCTION bad.all_bodies() RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$ SELECT body FROM good.own_uid $$;
CREATE FUNCTION bad.by_path() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
    AS $$ SELECT cozi.uid() $$;
CREATE FUNCTION bad.frozen() RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT auth.uid() $$;
CREATE FUNCTION bad.frozen_deep() RETURNS text LANGUAGE sql IMMUTABLE RETURN bad.frozen()::text;
CREATE FUNCTION bad.tight(a numeric, b numeric) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF
    RETURN a / b > 1;
CREATE FUNCTION bad.tight_too(a text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF
    AS $$ BEGIN RAISE NOTICE '%', a; RETURN true; END $$;

-- columns that others must not see
CREATE TABLE bad.credentials (id uuid PRIMARY KEY, nick text NOT NULL, "Password-Hash" text);
ALTER TABLE bad.credentials ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.credentials FOR SELECT TO anon, authenticated USING (true);
GRANT SELECT ON bad.credentials TO anon, authenticated;
COMMENT ON TABLE bad.credentials IS 'sensitive_column_exposed';
CREATE TABLE bad.payments (id bigint PRIMARY KEY, card_number text, cvv text, amount numeric);
ALTER TABLE bad.payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON bad.payments FOR SELECT TO authenticated
    USING (auth.role() = 'authenticated');
GRANT SELECT (card_number, amount) ON bad.payments TO authenticated;
COMMENT ON TABLE bad.payments IS 'policy_per_row_function sensitive_column_exposed';
CREATE TABLE bad.contacts (id bigint PRIMARY KEY, name text, email text) PARTITION BY HASH (id);
CREATE TABLE bad.contacts_1 PARTITION OF bad.contacts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
GRANT SELECT ON bad.contacts TO PUBLIC;
COMMENT ON TABLE bad.contacts IS 'rls_off sensitive_column_exposed';
CREATE VIEW bad.directory AS SELECT l.id, l.email, l.api_key FROM hidden.logins l;
GRANT SELECT ON bad.directory TO anon;
COMMENT ON VIEW bad.directory IS 'sensitive_column_exposed';

CREATE POLICY "bad bucket" ON storage.objects FOR SELECT TO anon USING (bucket_id = 'c');
CREATE POLICY "bad all" ON storage.objects TO authenticated
    USING ((SELECT auth.role()) = 'authenticated' AND bucket_id = 'd') WITH CHECK (false);
COMMENT ON TABLE storage.objects IS 'policy_several_permissive storage_lists_bucket';
