-- What linters of schemas look for, re-enacted: each situation both ways.  An
-- object with "bad" in its name is to be found, and no other; where a linter is
-- known to be wrong, the situation says so.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE ROLE anon;
CREATE ROLE authenticated;
CREATE ROLE lint_worker;
CREATE SCHEMA lint;
CREATE SCHEMA auth;
CREATE SCHEMA storage;
CREATE SCHEMA realtime;
CREATE SCHEMA pgmq;
CREATE SCHEMA lint_closed;
GRANT USAGE ON SCHEMA lint, auth, storage, realtime, pgmq, cozi TO anon, authenticated;
CREATE TABLE auth.users (id uuid PRIMARY KEY, handle text UNIQUE, data text);
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
    AS $$ SELECT current_setting('request.jwt.claim.sub', true)::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT current_setting('request.jwt.claim.role', true) $$;
CREATE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT current_setting('request.jwt.claim.email', true) $$;
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE
    AS $$ SELECT current_setting('request.jwt.claims', true)::jsonb $$;
CREATE FUNCTION lint.found() RETURNS TABLE (code text, object text) LANGUAGE sql
    AS $$ SELECT a.code, a.object FROM cozi.advice a
          WHERE a.object ~ ('^(lint|auth|storage|realtime|pgmq|extension)'
                            '| on (lint|storage|realtime)')
            AND a.code NOT IN ('table_without_key', 'policy_to_public', 'policy_column_unindexed',
                               'policy_several_permissive')
          ORDER BY a.code, a.object COLLATE "C" $$;

-- foreign keys: a partial index is none, whatever a linter says; (b, a) serves (a, b)
CREATE TABLE lint.city (id int PRIMARY KEY, zip int, town int, UNIQUE (zip, town));
CREATE TABLE lint.shop (
    id int PRIMARY KEY,
    city int CONSTRAINT bad_plain REFERENCES lint.city,
    partly int CONSTRAINT bad_partly REFERENCES lint.city,
    served int REFERENCES lint.city,
    zip int, town int, zip2 int, town2 int,
    FOREIGN KEY (zip, town) REFERENCES lint.city (zip, town),
    CONSTRAINT bad_pair FOREIGN KEY (zip2, town2) REFERENCES lint.city (zip, town));
CREATE INDEX ON lint.shop (partly) WHERE partly > 5;
CREATE INDEX ON lint.shop (served);
CREATE INDEX ON lint.shop (town, zip);
CREATE TABLE lint.lodger (city int REFERENCES lint.city, person uuid, PRIMARY KEY (city, person));
CREATE TABLE lint.fan (id uuid PRIMARY KEY REFERENCES auth.users,
    handle text UNIQUE CONSTRAINT bad_to_unique REFERENCES auth.users (handle));

-- the table of logins: through views
CREATE VIEW lint.bad_logins AS SELECT id FROM auth.users;
CREATE MATERIALIZED VIEW lint.bad_logins_kept AS SELECT id FROM auth.users;
CREATE VIEW lint.logins_as_caller WITH (security_invoker = on) AS SELECT id FROM auth.users;
CREATE VIEW lint.one AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW lint.one_kept AS SELECT 1 AS one;
GRANT SELECT ON lint.bad_logins, lint.bad_logins_kept, lint.logins_as_caller, lint.one,
    lint.one_kept TO anon;

-- the caller, asked for each row or once
CREATE TABLE lint.rows (id int PRIMARY KEY, who uuid NOT NULL, doc jsonb, as_role text, mail text);
CREATE INDEX ON lint.rows (who);
ALTER TABLE lint.rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY bad_uid ON lint.rows FOR SELECT TO authenticated USING (auth.uid() = who);
CREATE POLICY bad_jwt ON lint.rows FOR INSERT TO authenticated WITH CHECK (doc = auth.jwt());
CREATE POLICY bad_role ON lint.rows FOR UPDATE TO authenticated
    USING (as_role = auth.role()) WITH CHECK (who = (SELECT auth.uid()));
CREATE POLICY bad_email ON lint.rows FOR DELETE TO authenticated USING (auth.email() = mail);
CREATE POLICY bad_setting ON lint.rows FOR DELETE TO authenticated
    USING (mail = current_setting ( 'role' ) );
CREATE POLICY once_uid ON lint.rows FOR SELECT TO authenticated USING ((SELECT auth.uid()) = who);
CREATE POLICY once_jwt ON lint.rows FOR INSERT TO authenticated
    WITH CHECK (doc = (SELECT auth.jwt()));
CREATE POLICY once_setting ON lint.rows FOR DELETE TO authenticated
    USING (mail = (SELECT current_setting('role')));
CREATE TABLE realtime.messages (id int PRIMARY KEY, topic text);
ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY bad_topic ON realtime.messages FOR INSERT TO authenticated
    WITH CHECK (topic = auth.email());

-- what users write about themselves
CREATE TABLE lint.metadata (id int PRIMARY KEY);
ALTER TABLE lint.metadata ENABLE ROW LEVEL SECURITY;
CREATE POLICY bad_metadata ON lint.metadata FOR SELECT TO authenticated
    USING (((SELECT auth.jwt()) -> 'user_metadata' ->> 'staff')::boolean);
CREATE POLICY bad_metadata_too ON lint.metadata FOR INSERT TO authenticated
    WITH CHECK (((SELECT current_setting('request.jwt.claims', true))::json
                 -> 'user_metadata' ->> 'staff')::boolean);
CREATE POLICY metadata_of_the_app ON lint.metadata FOR UPDATE TO authenticated
    USING (((SELECT auth.jwt()) -> 'app_metadata' ->> 'staff')::boolean);

-- row-level security that is off, or says nothing; a partitioned table is a table
CREATE TABLE lint.bad_open (id int PRIMARY KEY);
CREATE TABLE lint.bad_open_tree (id int PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE lint.closed (id int PRIMARY KEY);
CREATE TABLE lint_closed.elsewhere (id int PRIMARY KEY, api_key text);
CREATE TABLE lint.bad_switched_off (id int PRIMARY KEY);
CREATE POLICY unheard ON lint.bad_switched_off FOR SELECT TO anon USING (id = 1);
CREATE TABLE lint.bad_silent (id int PRIMARY KEY);
ALTER TABLE lint.bad_silent ENABLE ROW LEVEL SECURITY;
CREATE TABLE lint.shut (id int PRIMARY KEY);
ALTER TABLE lint.shut ENABLE ROW LEVEL SECURITY;
CREATE POLICY nobody ON lint.shut FOR SELECT TO anon USING (false);
CREATE TABLE lint.of_extension (id int PRIMARY KEY);
ALTER EXTENSION plpgsql ADD TABLE lint.of_extension;
GRANT SELECT ON lint.bad_open, lint.bad_open_tree, lint_closed.elsewhere, lint.bad_silent,
    lint.shut, lint.of_extension TO anon;
CREATE TABLE pgmq.q_bad (msg_id bigint PRIMARY KEY);
CREATE TABLE pgmq.q_private (msg_id bigint PRIMARY KEY);
GRANT SELECT ON pgmq.q_bad TO anon;

-- conditions that are true: a policy a table, because policies bound one another
DO $$
DECLARE
    policy text;
    n int := 0;
BEGIN
    FOREACH policy IN ARRAY ARRAY[
        'bad FOR UPDATE TO authenticated USING (true)',
        'bad FOR DELETE TO authenticated USING (true)',
        'bad TO authenticated USING (true)',
        'bad FOR INSERT TO authenticated WITH CHECK (true)',
        'bad FOR INSERT TO authenticated WITH CHECK (1 = 1)',
        'bad FOR INSERT TO authenticated',
        'bad FOR UPDATE TO authenticated USING (who = (SELECT auth.uid())) WITH CHECK (true)',
        'bad FOR UPDATE TO authenticated USING (true) WITH CHECK (true)',
        'bad FOR UPDATE TO authenticated USING (  TRUE OR NULL)',
        'bad FOR UPDATE TO anon USING (true)',
        'bad FOR UPDATE USING (true)',
        'fine FOR SELECT TO authenticated USING (true)',
        'fine AS RESTRICTIVE FOR UPDATE TO authenticated USING (true)',
        'fine FOR UPDATE TO lint_worker USING (true)',
        'fine FOR UPDATE TO authenticated USING (who = (SELECT auth.uid()))',
        'fine TO authenticated USING (who = (SELECT auth.uid()))'] LOOP
        n := n + 1;
        EXECUTE format('CREATE TABLE lint.truth_%s (id int PRIMARY KEY, who uuid NOT NULL)', n);
        EXECUTE format('CREATE INDEX ON lint.truth_%s (who)', n);
        EXECUTE format('ALTER TABLE lint.truth_%s ENABLE ROW LEVEL SECURITY', n);
        EXECUTE format('CREATE POLICY sees ON lint.truth_%s FOR SELECT TO PUBLIC '
                       'USING (who = (SELECT auth.uid()))', n);
        EXECUTE format('CREATE POLICY %s', replace(policy, split_part(policy, ' ', 1),
            split_part(policy, ' ', 1) || ' ON lint.truth_' || n));
    END LOOP;
END $$;

-- several policies: restrictive ones are meant to be several
CREATE TABLE lint.several (id int PRIMARY KEY);
ALTER TABLE lint.several ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON lint.several FOR SELECT TO anon USING (id > 1);
CREATE POLICY two ON lint.several TO anon USING (id > 2);
CREATE TABLE lint.restricted (LIKE lint.several INCLUDING ALL);
ALTER TABLE lint.restricted ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON lint.restricted AS RESTRICTIVE FOR SELECT TO anon USING (id > 1);
CREATE POLICY two ON lint.restricted AS RESTRICTIVE TO anon USING (id > 2);
SELECT relation, command FROM cozi.policy_advisor
WHERE code = 'policy_several_permissive' AND relation::text ~ 'several|restricted';

-- indexes: x on (x) and y on (y) are not the same; the key's own index is one, too
CREATE TABLE lint.blog (id int PRIMARY KEY, x int, y int);
CREATE INDEX bad_key ON lint.blog (id);
CREATE INDEX x ON lint.blog (x);
CREATE INDEX y ON lint.blog (y);
CREATE INDEX bad_x ON lint.blog (x);
CREATE UNIQUE INDEX once ON lint.blog (x) WHERE y > 0;

-- functions with their owner's rights
CREATE TABLE lint.vault (id int PRIMARY KEY, what text);
CREATE FUNCTION lint.plain() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE lint.total(int) (SFUNC = int4pl, STYPE = int);
CREATE FUNCTION lint.bad_path() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION lint.harmless(n int) RETURNS int LANGUAGE sql SECURITY DEFINER
    SET search_path = '' AS 'SELECT $1';
CREATE FUNCTION lint.bad_vault(n int) RETURNS text LANGUAGE sql SECURITY DEFINER
    SET search_path = '' AS 'SELECT what FROM lint.vault WHERE id = $1';
CREATE FUNCTION lint.bad_vault(n int, m int) RETURNS text LANGUAGE sql SECURITY DEFINER
    SET search_path = '' AS 'SELECT what FROM lint.vault WHERE id = $1 + $2';
CREATE FUNCTION lint.revoked(n int) RETURNS text LANGUAGE sql SECURITY DEFINER
    SET search_path = '' AS 'SELECT what FROM lint.vault WHERE id = $1';
REVOKE EXECUTE ON FUNCTION lint.revoked FROM PUBLIC;
-- a policy calls it: to revoke it would break the policy, so there is no statement
CREATE FUNCTION lint.bad_but_used() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = '' AS 'SELECT EXISTS (SELECT FROM lint.vault)';
CREATE TABLE lint.guarded (id int PRIMARY KEY);
ALTER TABLE lint.guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY asks ON lint.guarded FOR SELECT TO anon USING ((SELECT lint.bad_but_used()));

-- foreign tables
CREATE FOREIGN DATA WRAPPER lint_wrapper;
CREATE SERVER lint_server FOREIGN DATA WRAPPER lint_wrapper;
CREATE FOREIGN TABLE lint.bad_far (id int) SERVER lint_server;
CREATE FOREIGN TABLE lint.far (id int) SERVER lint_server;
CREATE FOREIGN TABLE lint_closed.far (id int) SERVER lint_server;
GRANT SELECT ON lint.bad_far, lint_closed.far TO anon;

-- types that stand in the way of pg_upgrade
CREATE TABLE lint.kinds (id int PRIMARY KEY, a regclass, b regrole, c regtype,
    bad_collation regcollation, bad_config regconfig, bad_dictionary regdictionary,
    bad_namespace regnamespace, bad_oper regoper, bad_operator regoperator, bad_proc regproc,
    bad_procedure regprocedure, bad_list regproc[], bad_used regconfig);
CREATE VIEW lint.uses AS SELECT bad_used FROM lint.kinds;

-- what is in a column
CREATE TABLE lint.bad_people (id int PRIMARY KEY, password text, ssn text);
CREATE TABLE lint.bad_cards (id int PRIMARY KEY, credit_card text, cvv text);
CREATE TABLE lint.own_people (id uuid PRIMARY KEY, password text);
CREATE TABLE lint.posts (id int PRIMARY KEY, title text, content text, created_at timestamptz);
ALTER TABLE lint.own_people ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON lint.own_people FOR SELECT TO anon USING (id = (SELECT auth.uid()));
GRANT SELECT ON lint.bad_people, lint.bad_cards, lint.own_people TO anon;

-- files
CREATE TABLE storage.objects (id uuid PRIMARY KEY, bucket_id text, name text);
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
CREATE POLICY adds ON storage.objects FOR INSERT TO authenticated WITH CHECK (bucket_id = 'a');
CREATE POLICY below ON storage.objects FOR SELECT TO authenticated
    USING (bucket_id = 'b' AND name LIKE 'open/%');
CREATE POLICY bad_name ON storage.objects FOR SELECT TO authenticated
    USING (bucket_id = 'a|b[1]^{x}\z');
CREATE POLICY bad_all ON storage.objects TO authenticated USING (bucket_id = 'c')
    WITH CHECK (false);
CREATE POLICY bad_true ON storage.objects FOR SELECT TO authenticated USING (true);
CREATE POLICY bounds ON storage.objects AS RESTRICTIVE FOR SELECT TO anon USING (bucket_id = 'd');

-- extensions: one is old, and in public
CREATE EXTENSION pg_stat_statements SCHEMA public VERSION '1.9';

SELECT * FROM lint.found();
SELECT * FROM lint.found() WHERE object !~ 'bad|^extension';

-- what has a statement is gone when it has run, and nothing new has come
SELECT count(*) AS statements FROM cozi.advice a JOIN lint.found() f USING (code, object)
WHERE a.fix_sql IS NOT NULL;
SELECT replace(a.fix_sql, 'CONCURRENTLY ', '') FROM cozi.advice a
JOIN lint.found() f USING (code, object) WHERE a.fix_sql IS NOT NULL
ORDER BY a.code, a.object COLLATE "C" \gexec
SELECT * FROM lint.found();

-- a version that is not among the files was left by pg_upgrade, and no statement mends it
UPDATE pg_extension SET extversion = 'foo' WHERE extname = 'pg_stat_statements';
SELECT code FROM lint.found() WHERE object ~ 'pg_stat_statements';
-- an extension is moved where the database's search path finds it again
CREATE SCHEMA extensions;
SELECT format('ALTER DATABASE %I SET search_path = "$user", public, extensions', current_database())
\gexec
SELECT a.fix_sql FROM cozi.advice a WHERE a.code = 'extension_in_public' \gexec
SELECT count(*) FROM cozi.advice a WHERE a.code = 'extension_in_public';

-- names that pg_graphql tells: no more than a column need be granted; of a tree the
-- partitions, and nothing without the extension
CREATE SCHEMA lint_names;
GRANT USAGE ON SCHEMA lint_names TO authenticated;
CREATE TABLE lint_names.key (id int PRIMARY KEY, service text);
CREATE VIEW lint_names.key_view AS SELECT id FROM lint_names.key;
CREATE MATERIALIZED VIEW lint_names.key_kept AS SELECT id FROM lint_names.key;
CREATE FOREIGN TABLE lint_names.far (id int) SERVER lint_server;
CREATE TABLE lint_names.tree (id int PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE lint_names.leaf PARTITION OF lint_names.tree
    FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE lint_names.one_column (id int PRIMARY KEY, hidden text);
CREATE TABLE lint_names.inserted (id int PRIMARY KEY);
CREATE TABLE lint_names.nobodys (id int PRIMARY KEY);
ALTER TABLE lint_names.one_column ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON ALL TABLES IN SCHEMA lint FROM authenticated;
GRANT SELECT ON lint_names.key, lint_names.key_view, lint_names.key_kept, lint_names.far,
    lint_names.tree, lint_names.leaf TO authenticated;
GRANT SELECT (id) ON lint_names.one_column TO authenticated;
GRANT INSERT ON lint_names.inserted TO authenticated;
GRANT SELECT ON lint_names.nobodys TO lint_worker;
SELECT count(*) FROM cozi.policy_advisor WHERE code = 'graphql_shows_names';
UPDATE pg_extension SET extname = 'pg_graphql' WHERE extname = 'pg_stat_statements';
SELECT level, object, evidence, fix_sql FROM cozi.policy_advisor
WHERE code = 'graphql_shows_names' AND role = 'authenticated';
REVOKE SELECT ON ALL TABLES IN SCHEMA lint_names FROM authenticated;
REVOKE SELECT (id) ON lint_names.one_column FROM authenticated;
SELECT count(*) FROM cozi.policy_advisor
WHERE code = 'graphql_shows_names' AND role = 'authenticated';
ROLLBACK;
