-- Where the roles of the caller are: cozi.role_claim.
\set claims '{"role":"one","roles":["two",7,{"x":"y"}],"https://example.org/roles":["three"],'
\set claims :claims '"https://hasura.io/jwt/claims":{"x-hasura-allowed-roles":["four","user"],'
\set claims :claims '"x-hasura-default-role":"user"},'
\set claims :claims '"realm_access":{"roles":["five"]},'
\set claims :claims '"resource_access":{"my.client":{"roles":["six"]},"web":{"roles":["seven"]}},'
\set claims :claims '"scope":"read:posts write:posts","scp":"posts.read posts.write",'
\set claims :claims '"deep":{"scope":"a b"},"title":"site admin",'
\set claims :claims '"a":{"b":{"c":"eight"}},"a.b":{"c":"nine"},"a.b.c":"ten",'
\set claims :claims '"with, comma":"eleven","user_metadata":{"roles":["mine"]},'
\set claims :claims '"app_metadata":{"user_metadata":["odd"]}}'
CREATE FUNCTION pg_temp.roles(path text, claims text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    PERFORM set_config('cozi.role_claim', path, true);
    PERFORM cozi.act_as('ann', claims::jsonb);
    SELECT string_agg(r, ' | ') INTO found
    FROM unnest('{one,two,three,four,five,six,seven,eight,nine,ten,eleven,user,7,read:posts,'
                'write:posts,read,posts.read,posts.write,"read:posts write:posts",a,b,admin,site,'
                '"site admin",mine,odd,y,x,roles,""}'::text[]) r
    WHERE cozi.has_role(r);
    RETURN found;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN SQLERRM;
END $$;
SELECT path, pg_temp.roles(path, :'claims') AS roles FROM (VALUES
    ('role'), ('roles'), ('https://example.org/roles'),
        ('https://hasura.io/jwt/claims.x-hasura-allowed-roles'), ('realm_access.roles'),
    ('resource_access.my.client.roles'), ('resource_access."my.client".roles'),
        ('resource_access.web.roles'),
    ('realm_access.roles, resource_access.my.client.roles'),
        ('realm_access.roles,resource_access.web.roles , role'), ('nothing, role'),
    ('scope'), ('scp'), ('deep.scope'), ('title'), ('a.b.c'), ('a."b".c'), ('"a.b".c'),
        ('"a.b.c"'), ('"with, comma"'),
    ('app_metadata.user_metadata'), ('resource_access'), ('role.x'), ('roles.x'), (''),
    ('user_metadata.roles'), ('role, user_metadata.roles'), ('"user_metadata".roles'),
        (' user_metadata'), ('raw_user_meta_data.x'),
    ('a..b'), ('.a'), ('a.'), (','), ('a,'), ('a, ,b'), ('"a'), ('a"b'), ('"a"b'), ('""'),
        ('"a". b')) v(path);
-- nobody has no role, and NULL is no role
SELECT cozi.has_role('one'), cozi.has_role(NULL);
SELECT cozi.require_role('one');
SELECT cozi.require_role(NULL);
BEGIN;
SELECT cozi.act_as('ann', '{"role": "one"}');
SELECT cozi.require_role('one');
SELECT cozi.require_role('two');
ROLLBACK;
