-- The golden schema: every case both ways.  The comment of a table says which
-- codes policy_advisor gives for it; a table without a comment has none.
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE service_role BYPASSRLS;
CREATE ROLE editors;
CREATE SCHEMA auth;
CREATE SCHEMA good;
CREATE SCHEMA bad;
CREATE SCHEMA hidden;
GRANT USAGE ON SCHEMA auth, good, bad TO anon, authenticated, service_role;
GRANT USAGE ON SCHEMA cozi TO anon, authenticated;

-- what Supabase brings
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, raw_user_meta_data jsonb);
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('request.jwt.claim.role', true), '') $$;
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;

-- good: own rows, in the ways that people write them

CREATE TABLE good.own_wrapped (id bigint PRIMARY KEY, user_id uuid NOT NULL, body text);
CREATE INDEX ON good.own_wrapped (user_id);
ALTER TABLE good.own_wrapped ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.own_wrapped TO authenticated
    USING ((SELECT auth.uid()) = user_id) WITH CHECK ((SELECT auth.uid()) = user_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON good.own_wrapped TO authenticated;

CREATE TABLE good.own_cozi (id bigint PRIMARY KEY, author int NOT NULL, body text);
CREATE INDEX ON good.own_cozi (author, id);
ALTER TABLE good.own_cozi ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.own_cozi TO authenticated USING (cozi.is_owner(author));
GRANT SELECT, INSERT, UPDATE, DELETE ON good.own_cozi TO authenticated;

CREATE TABLE good.own_uid (id bigint PRIMARY KEY, author uuid NOT NULL, body text);
CREATE INDEX ON good.own_uid (author);
ALTER TABLE good.own_uid ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.own_uid TO authenticated USING (author = cozi.uid());
GRANT SELECT, INSERT, UPDATE, DELETE ON good.own_uid TO authenticated;

-- each command has its policy, and all may read
CREATE TABLE good.public_read (id bigint PRIMARY KEY, author uuid NOT NULL, body text);
CREATE INDEX ON good.public_read (author);
ALTER TABLE good.public_read ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON good.public_read FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY adds ON good.public_read FOR INSERT TO authenticated
    WITH CHECK (author = (SELECT auth.uid()));
CREATE POLICY edits ON good.public_read FOR UPDATE TO authenticated
    USING (author = (SELECT auth.uid()));
CREATE POLICY drops ON good.public_read FOR DELETE TO authenticated
    USING (author = (SELECT auth.uid()));
GRANT SELECT ON good.public_read TO anon;
GRANT SELECT, INSERT, UPDATE, DELETE ON good.public_read TO authenticated;

-- visibility of a post
CREATE TABLE good.posts (id bigint PRIMARY KEY, author uuid NOT NULL, visibility text NOT NULL,
    grp uuid);
CREATE INDEX ON good.posts (author);
ALTER TABLE good.posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON good.posts FOR SELECT TO authenticated USING (cozi.can_view(visibility,
    author, grp));
CREATE POLICY adds ON good.posts FOR INSERT TO authenticated WITH CHECK (cozi.is_owner(author));
CREATE POLICY edits ON good.posts FOR UPDATE TO authenticated USING (cozi.is_owner(author))
    WITH CHECK (cozi.is_owner(author));
GRANT SELECT, INSERT, UPDATE ON good.posts TO authenticated;

-- groups: membership is read below another policy, and no role writes it
CREATE TABLE good.members (grp bigint, user_id uuid, role text NOT NULL, PRIMARY KEY (grp,
    user_id));
CREATE INDEX ON good.members (user_id);
ALTER TABLE good.members ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.members FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT ON good.members TO authenticated;
CREATE TABLE good.documents (id bigint PRIMARY KEY, grp bigint NOT NULL, body text);
CREATE INDEX ON good.documents (grp);
ALTER TABLE good.documents ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_group ON good.documents TO authenticated
    USING (grp IN (SELECT m.grp FROM good.members m WHERE m.user_id = (SELECT auth.uid())
        AND m.role = 'editor'));
GRANT SELECT, INSERT, UPDATE, DELETE ON good.documents TO authenticated;

-- a flag that the user may read and not write
CREATE TABLE good.profiles (id uuid PRIMARY KEY, nick text,
    is_admin boolean NOT NULL DEFAULT false);
ALTER TABLE good.profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON good.profiles FOR SELECT TO authenticated USING (true);
CREATE POLICY edits ON good.profiles FOR UPDATE TO authenticated
    USING (id = (SELECT auth.uid())) WITH CHECK (id = (SELECT auth.uid()));
GRANT SELECT, UPDATE (nick) ON good.profiles TO authenticated;
CREATE TABLE good.reports (id bigint PRIMARY KEY, body text);
ALTER TABLE good.reports ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_admins ON good.reports FOR SELECT TO authenticated
    USING (EXISTS (SELECT FROM good.profiles p WHERE p.id = (SELECT auth.uid()) AND p.is_admin));
GRANT SELECT ON good.reports TO authenticated;
-- the same through a function of the owner, that asks who calls
CREATE FUNCTION good.is_admin() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, good, pg_temp
    AS $$ SELECT EXISTS (SELECT FROM good.profiles p WHERE p.id = auth.uid() AND p.is_admin) $$;
CREATE TABLE good.audit (id bigint PRIMARY KEY, body text);
ALTER TABLE good.audit ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_admins ON good.audit TO authenticated USING ((SELECT good.is_admin()));
GRANT SELECT, INSERT, UPDATE, DELETE ON good.audit TO authenticated;

-- what is true for all is bounded by a restrictive policy
CREATE TABLE good.bounded (id bigint PRIMARY KEY, tenant uuid NOT NULL, body text);
CREATE INDEX ON good.bounded (tenant);
ALTER TABLE good.bounded ENABLE ROW LEVEL SECURITY;
CREATE POLICY anything ON good.bounded TO authenticated USING (true);
CREATE POLICY tenant ON good.bounded AS RESTRICTIVE TO authenticated
    USING (tenant = (SELECT (auth.jwt() ->> 'tenant')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON good.bounded TO authenticated;

-- a role behind the API may do all
CREATE TABLE good.jobs (id bigint PRIMARY KEY, body text);
ALTER TABLE good.jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON good.jobs TO service_role USING (true) WITH CHECK (true);
CREATE POLICY of_editors ON good.jobs TO editors USING (true);
GRANT ALL ON good.jobs TO service_role;

-- no role of the API may touch it
CREATE TABLE good.internal (id bigint PRIMARY KEY, body text);
CREATE TABLE hidden.unreachable (id bigint PRIMARY KEY, body text);
GRANT ALL ON hidden.unreachable TO anon, authenticated;

-- partitions that only the parent reaches
CREATE TABLE good.events (at date NOT NULL, user_id uuid NOT NULL,
    what text) PARTITION BY RANGE (at);
CREATE TABLE good.events_1 PARTITION OF good.events FOR VALUES FROM ('2026-01-01')
    TO ('2026-02-01');
CREATE TABLE good.events_2 PARTITION OF good.events FOR VALUES FROM ('2026-02-01')
    TO ('2026-03-01');
CREATE INDEX ON good.events (user_id);
ALTER TABLE good.events ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.events TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT, INSERT ON good.events TO authenticated;

-- an insert that the column privileges bound: the owner is a default
CREATE TABLE good.drafts (id bigint PRIMARY KEY, author uuid NOT NULL DEFAULT cozi.uid(),
    body text);
CREATE INDEX ON good.drafts (author);
ALTER TABLE good.drafts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.drafts FOR SELECT TO authenticated USING (author = cozi.uid());
CREATE POLICY adds ON good.drafts FOR INSERT TO authenticated WITH CHECK (body IS NOT NULL);
GRANT SELECT, INSERT (id, body) ON good.drafts TO authenticated;

-- IS NULL of a column that is never NULL, and of one that says nothing of owners
CREATE TABLE good.never_null (id bigint PRIMARY KEY, author uuid NOT NULL, deleted_at timestamptz);
CREATE INDEX ON good.never_null (author);
ALTER TABLE good.never_null ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.never_null TO authenticated
    USING (deleted_at IS NULL AND (author = cozi.uid() OR author IS NULL))
        WITH CHECK (author = cozi.uid());
GRANT SELECT, INSERT, UPDATE, DELETE ON good.never_null TO authenticated;

-- a cast that an index serves; a varchar that needs none
CREATE TABLE good.cast_indexed (id bigint PRIMARY KEY, author uuid NOT NULL,
    slug varchar(20) NOT NULL);
CREATE INDEX ON good.cast_indexed ((author::text));
CREATE INDEX ON good.cast_indexed (slug);
ALTER TABLE good.cast_indexed ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.cast_indexed TO authenticated USING (author::text = cozi.uid_text()
    AND slug = cozi.claim('slug'));
GRANT SELECT ON good.cast_indexed TO authenticated;

-- indexes that help under row-level security, or that nothing asks to
CREATE TABLE good.indexes (id numeric PRIMARY KEY, author uuid NOT NULL, at timestamptz, kind text,
    amount numeric REFERENCES good.indexes, price numeric);
CREATE INDEX ON good.indexes (author);
CREATE INDEX ON good.indexes (at);
CREATE INDEX ON good.indexes (kind);
CREATE INDEX ON good.indexes (amount);
CREATE INDEX ON good.indexes (price);
ALTER TABLE good.indexes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.indexes TO authenticated USING (author = cozi.uid() AND price < 100);
GRANT SELECT ON good.indexes TO authenticated;
CREATE TABLE good.prices (id bigint PRIMARY KEY, amount numeric, tags text[]);
CREATE INDEX ON good.prices (amount);
CREATE INDEX ON good.prices USING gin (tags);

-- a helper that the planner can inline
CREATE FUNCTION good.is_mine(who uuid) RETURNS boolean LANGUAGE sql STABLE RETURN who = cozi.uid();
CREATE TABLE good.inlined (id bigint PRIMARY KEY, author uuid NOT NULL);
CREATE INDEX ON good.inlined (author);
ALTER TABLE good.inlined ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.inlined TO authenticated USING (good.is_mine(author));
GRANT SELECT ON good.inlined TO authenticated;

-- an edge that only its source writes
CREATE TABLE good.follows (follower uuid, followee uuid, PRIMARY KEY (follower, followee));
ALTER TABLE good.follows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.follows TO authenticated USING (cozi.is_owner(follower))
    WITH CHECK (cozi.is_owner(follower));
GRANT SELECT, INSERT, DELETE ON good.follows TO authenticated;
SELECT cozi.register_edge('following', 'good.follows', 'follower', 'followee');

-- views and functions that do not lead around a policy
CREATE VIEW good.invoker_view WITH (security_invoker) AS SELECT * FROM good.own_uid;
GRANT SELECT ON good.invoker_view TO authenticated;
CREATE VIEW good.ungranted_view AS SELECT * FROM good.own_uid;
CREATE VIEW good.view_of_open AS SELECT id FROM good.internal;
GRANT SELECT ON good.view_of_open TO authenticated;
CREATE MATERIALIZED VIEW good.totals AS SELECT count(*) FROM good.internal;
GRANT SELECT ON good.totals TO anon;
CREATE FUNCTION good.my_notes() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ SELECT count(*) FROM good.own_uid WHERE author = cozi.uid() $$;
CREATE FUNCTION good.touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN UPDATE good.internal SET body = 'x'; RETURN NEW; END $$;
CREATE FUNCTION good.same(a uuid, b uuid) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF RETURN a
    = b;
CREATE FUNCTION good.says_so(a text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT 'current_setting(''a.b''), auth.uid() ' || a -- auth.uid() $$;

-- what is in a column: the caller's own rows, columns that are not granted,
-- and names that only look like secrets
CREATE TABLE good.accounts (id uuid PRIMARY KEY, email text NOT NULL, password_hash text NOT NULL);
ALTER TABLE good.accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON good.accounts FOR SELECT TO authenticated USING (id = (SELECT auth.uid()));
GRANT SELECT ON good.accounts TO authenticated;
CREATE TABLE good.people (id uuid PRIMARY KEY, nick text NOT NULL, phone text, api_key text);
ALTER TABLE good.people ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON good.people FOR SELECT TO anon, authenticated USING (true);
GRANT SELECT (id, nick) ON good.people TO anon, authenticated;
CREATE TABLE good.devices (id bigint PRIMARY KEY, public_key text, key_token_count int,
    has_password boolean, password boolean, email_verified_at timestamptz, postcode text,
    password_changed_at timestamptz, tax numeric, account text, secretary text);
ALTER TABLE good.devices ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON good.devices FOR SELECT TO anon USING (true);
GRANT SELECT ON good.devices TO anon;
CREATE TABLE hidden.logins (id uuid PRIMARY KEY, email text, api_key text);
CREATE VIEW good.my_account AS
    SELECT l.id, l.email, l.api_key FROM hidden.logins l WHERE l.id = auth.uid();
GRANT SELECT ON good.my_account TO authenticated;

-- files: what Supabase brings, with policies that look at more than the bucket
CREATE SCHEMA storage;
GRANT USAGE ON SCHEMA storage TO anon, authenticated;
CREATE TABLE storage.objects (id uuid PRIMARY KEY, bucket_id text, name text, owner uuid);
CREATE INDEX ON storage.objects (owner);
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON storage.objects TO anon, authenticated;
CREATE POLICY good_folder ON storage.objects FOR SELECT TO anon
    USING (bucket_id = 'a' AND name LIKE 'shared/%');
CREATE POLICY good_own ON storage.objects FOR SELECT TO authenticated
    USING (bucket_id = 'b' AND owner = (SELECT auth.uid()));
CREATE POLICY good_upload ON storage.objects FOR INSERT TO authenticated
    WITH CHECK (bucket_id = 'b' AND owner = (SELECT auth.uid()));
