-- Ten defects of policies that text matches find two of.
CREATE SCHEMA auth;
GRANT USAGE ON SCHEMA auth TO anon, authenticated;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
CREATE FUNCTION my_uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT auth.uid() $$;

-- 1
CREATE TABLE p1 (id bigint, user_id uuid NOT NULL) PARTITION BY HASH (id);
CREATE TABLE p1_1 PARTITION OF p1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX ON p1 (user_id);
ALTER TABLE p1 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p1 TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT ON p1, p1_1 TO authenticated;
-- 2
CREATE TABLE p2 (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON p2 (user_id);
ALTER TABLE p2 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p2 TO authenticated USING ((SELECT auth.uid() = user_id));
-- 3
CREATE TABLE p3 (id bigint PRIMARY KEY, a uuid NOT NULL, b uuid NOT NULL);
CREATE INDEX ON p3 (a);
CREATE INDEX ON p3 (b);
ALTER TABLE p3 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p3 TO authenticated USING ((SELECT auth.uid()) = a OR auth.uid() = b);
-- 4
CREATE TABLE p4 (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON p4 (user_id);
ALTER TABLE p4 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p4 TO authenticated USING (user_id = my_uid());
-- 5
CREATE TABLE p5 (id bigint, user_id uuid NOT NULL) PARTITION BY HASH (id);
GRANT SELECT ON p5 TO anon;
-- 6
CREATE TABLE p6 (id bigint PRIMARY KEY, user_id uuid);
ALTER TABLE p6 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p6 TO authenticated USING (user_id IS NOT NULL OR true);
-- 7
CREATE TABLE p7 (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON p7 (user_id);
ALTER TABLE p7 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p7 TO authenticated USING (user_id = (SELECT auth.uid()))
    WITH CHECK (user_id = user_id);
-- 8
CREATE TABLE p8 (id bigint PRIMARY KEY, user_id uuid NOT NULL);
ALTER TABLE p8 ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON p8 FOR SELECT TO authenticated USING (true);
CREATE POLICY adds ON p8 FOR INSERT TO authenticated WITH CHECK (id = id);
CREATE POLICY drops ON p8 FOR DELETE TO authenticated USING ((SELECT auth.uid()) IS NOT NULL);
-- 9
CREATE TABLE p9 (id bigint PRIMARY KEY, user_id uuid NOT NULL);
CREATE INDEX ON p9 (user_id);
ALTER TABLE p9 ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON p9 TO authenticated USING (user_id = (SELECT auth.uid()));
GRANT SELECT, TRUNCATE ON p9 TO authenticated;
-- 10
CREATE TABLE g (id uuid PRIMARY KEY, is_admin boolean);
ALTER TABLE g ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON g TO authenticated USING (id = (SELECT auth.uid()));
GRANT SELECT, UPDATE ON g TO authenticated;
CREATE TABLE p10 (id bigint PRIMARY KEY);
ALTER TABLE p10 ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_admins ON p10 TO authenticated
    USING (EXISTS (SELECT FROM g WHERE g.id = (SELECT auth.uid()) AND g.is_admin));
