-- A dump in the shape of "supabase db dump", with what other servers cannot do.
\restrict abc
SET statement_timeout = 0;
SET transaction_timeout = 0;
SET check_function_bodies = false;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE EXTENSION IF NOT EXISTS "pg_net" WITH SCHEMA "extensions";
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA "extensions";
CREATE SCHEMA IF NOT EXISTS "public";
ALTER SCHEMA "public" OWNER TO "pg_database_owner";
CREATE OR REPLACE FUNCTION "public"."touch"() RETURNS "trigger" LANGUAGE "plpgsql"
    AS $$ begin new.updated_at = now(); return new; end; $$;
CREATE OR REPLACE FUNCTION "public"."std"("a" integer) RETURNS integer LANGUAGE "sql" BEGIN ATOMIC
    SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END; SELECT 3; END;
ALTER FUNCTION "public"."touch"() OWNER TO "postgres";
CREATE TABLE IF NOT EXISTS "public"."profiles" (
    "id" "uuid" NOT NULL,
    "email" "extensions"."citext",
    "x" "uuid" DEFAULT "extensions"."uuid_generate_v4"() NOT NULL,
    "note" "text" DEFAULT 'a;b''c'::"text"
);
ALTER TABLE "public"."profiles" OWNER TO "postgres";
ALTER TABLE ONLY "public"."profiles" ADD CONSTRAINT "profiles_pkey" PRIMARY KEY ("id");
ALTER TABLE ONLY "public"."profiles" ADD CONSTRAINT "profiles_id_fkey" FOREIGN KEY ("id")
    REFERENCES "auth"."users"("id") ON DELETE CASCADE;
CREATE POLICY "own; profile" ON "public"."profiles" USING (("auth"."uid"() = "id"));
CREATE POLICY "files" ON "storage"."objects" FOR SELECT TO "authenticated"
    USING ((("bucket_id" = 'a'::"text") AND (("storage"."foldername"("name"))[1] =
    ("auth"."uid"())::"text")));
GRANT USAGE ON SCHEMA "public" TO "postgres", "anon", "authenticated", "service_role";
GRANT ALL ON TABLE "public"."profiles" TO "anon";
GRANT ALL ON TABLE "public"."profiles" TO "authenticated";
ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT ALL ON TABLES
    TO "service_role";
CREATE PUBLICATION "supabase_realtime" WITH (publish = 'insert, update, delete, truncate');
CREATE EVENT TRIGGER "x" ON "ddl_command_end" EXECUTE FUNCTION "extensions"."y"();
COPY public.profiles FROM PROGRAM 'touch owned';
SELECT 1 \! touch owned2
;
\unrestrict abc
CREATE POLICY "<script>alert(1)</script>" ON "public"."profiles" FOR DELETE TO "authenticated"
    USING (true);
CREATE FOREIGN DATA WRAPPER "wasm_wrapper";
ALTER FOREIGN DATA WRAPPER "wasm_wrapper" OWNER TO "supabase_admin";
