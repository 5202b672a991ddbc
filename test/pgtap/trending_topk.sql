-- Contract of top_ranked: names, labels, privileges, SQLSTATEs.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS cozi;
SELECT no_plan();

SELECT is((SELECT format('%s %s %s %s', provolatile, proparallel, proretset, prosecdef) FROM pg_proc
    WHERE oid = 'cozi.top_ranked'::regproc),
          's r t f', 'stable, parallel restricted, a set, of the caller''s rights');
SELECT is((SELECT proargnames::text FROM pg_proc WHERE oid = 'cozi.top_ranked'::regproc),
          '{rel,formula,k,item,points,created_at,interactions,as_of,gravity,since,ups,downs,'
              'active_at,item,rank,value}',
              'argument and column names');
SELECT is(pg_get_function_result('cozi.top_ranked'::regproc),
    'TABLE(item text, rank integer, value double precision)', 'column types');
SELECT ok(has_function_privilege('public', 'cozi.top_ranked'::regproc, 'EXECUTE'), 'for PUBLIC');

CREATE TABLE posts (id int PRIMARY KEY, score int, created_at timestamptz, note text, shape point,
    big numeric);
CREATE VIEW view AS SELECT * FROM posts;
SELECT throws_ok($$SELECT * FROM cozi.top_ranked('posts', 'gravity', 1)$$, '42704', NULL,
    'no index: 42704');
CREATE INDEX ON posts (created_at);
SELECT lives_ok($$SELECT * FROM cozi.top_ranked('posts', 'gravity', 1)$$,
    'an index on created_at is enough');
SELECT throws_ok(format('SELECT * FROM cozi.top_ranked(%s)', arguments), code, NULL,
    arguments || ': ' || code)
FROM (VALUES
    ('22023', $$'posts', 'hot', 1$$), ('22023', $$'posts', 'gravity', -1$$),
    ('22023', $$'posts', 'scaled_rank', 1$$),
    ('22023', $$'posts', 'gravity', 1, gravity => -1$$),
    ('22023', $$'posts', 'gravity', 1, gravity => 'NaN'$$),
    ('22008', $$'posts', 'gravity', 1, as_of => '-infinity'$$),
    ('22008', $$'posts', 'score', 1, since => 'infinity'$$),
    ('42703', $$'posts', 'wilson', 1$$),
    ('42703', $$'posts', 'active', 1, active_at => 'none'$$),
    ('42804', $$'posts', 'active', 1, active_at => 'note'$$),
    ('42804', $$'posts', 'controversy', 1, ups => 'score', downs => 'big'$$),
    ('42704', $$'posts', 'controversy', 1, ups => 'score', downs => 'id'$$),
    ('42704', $$'posts', 'score', 1$$),
    ('22004', $$'posts', 'wilson', 1, ups => NULL$$),
    ('22004', $$NULL, 'gravity', 1$$), ('22004', $$'posts', NULL, 1$$),
    ('22004', $$'posts', 'gravity', NULL$$),
    ('22004', $$'posts', 'gravity', 1, item => NULL$$),
    ('22004', $$'posts', 'gravity', 1, points => NULL$$),
    ('22004', $$'posts', 'gravity', 1, created_at => NULL$$),
    ('22004', $$'posts', 'gravity', 1, as_of => NULL$$),
    ('22004', $$'posts', 'gravity', 1, gravity => NULL$$),
    ('42703', $$'posts', 'gravity', 1, item => 'none'$$),
    ('42703', $$'posts', 'gravity', 1, points => 'none'$$),
    ('42703', $$'posts', 'gravity', 1, created_at => 'none'$$),
    ('42703', $$'posts', 'scaled_rank', 1, interactions => 'none'$$),
    ('42703', $$'posts', 'gravity', 1, points => 'score; DROP TABLE posts'$$),
    ('42703', $$'posts', 'gravity', 1, item => 'tableoid'$$),
    ('42804', $$'posts', 'gravity', 1, points => 'note'$$),
    ('42804', $$'posts', 'gravity', 1, points => 'big'$$),
    ('42804', $$'posts', 'gravity', 1, created_at => 'note'$$),
    ('42804', $$'posts', 'scaled_rank', 1, interactions => 'note'$$),
    ('42804', $$'posts', 'gravity', 1, item => 'shape'$$),
    ('42809', $$'view', 'gravity', 1$$), ('42809', $$'posts_pkey', 'gravity', 1$$),
        ('42P01', $$4294967295, 'gravity', 1$$)) v(code, arguments);

CREATE ROLE trending_topk_nobody;
GRANT USAGE ON SCHEMA cozi TO trending_topk_nobody;
SET ROLE trending_topk_nobody;
SELECT throws_ok($$SELECT * FROM cozi.top_ranked('posts', 'gravity', 1)$$, '42501', NULL,
    'top_ranked() of a table without SELECT is 42501');
SELECT throws_ok($$SELECT * FROM cozi.top_ranked('posts', 'gravity', 1, points => 'none')$$,
    '42501', NULL, 'top_ranked() tells nothing about the columns of a table without SELECT');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
