-- Supabase's auth.uid(), auth.jwt(), auth.role() and auth.email() ask cozi.
--
-- Existing policies run unchanged: the functions stay the same objects, only
-- their bodies change.  Run it as a superuser (self-hosted: supabase_admin)
-- in the database of the project:
--
--     psql -U supabase_admin -d postgres -f auth.sql
--
-- auth_undo.sql puts back what was there, kept in table auth.before_cozi.
-- After an upgrade of Supabase look at cozi.identity_status(): its migrations
-- may have replaced the functions again.  Then run this once more.
\set ON_ERROR_STOP on
BEGIN;

CREATE TABLE IF NOT EXISTS auth.before_cozi (
    function   text PRIMARY KEY,
    definition text NOT NULL
);
REVOKE ALL ON auth.before_cozi FROM PUBLIC;
COMMENT ON TABLE auth.before_cozi IS 'the auth functions as they were before cozi; auth_undo.sql puts them back';

-- what is replaced is kept, unless it asks cozi already
INSERT INTO auth.before_cozi
SELECT p.proname, pg_get_functiondef(p.oid)
FROM pg_proc p
WHERE p.pronamespace = 'auth'::regnamespace AND p.pronargs = 0
  AND p.proname IN ('uid', 'jwt', 'role', 'email')
  AND coalesce(pg_get_function_sqlbody(p.oid), '') !~ '^RETURN cozi\.'
ON CONFLICT (function) DO UPDATE SET definition = excluded.definition;

CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE RETURN cozi.uid();
CREATE OR REPLACE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE RETURN cozi.claims();
CREATE OR REPLACE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE RETURN cozi.claim('role');
CREATE OR REPLACE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE RETURN cozi.claim('email');

GRANT USAGE ON SCHEMA cozi TO anon, authenticated, service_role;

COMMIT;

SELECT item, state, detail FROM cozi.identity_status();
