-- hide_item() and show_item(): what moderators take off a board, and put back
CREATE SCHEMA t_hidden;
SET search_path = t_hidden;
SET client_min_messages = warning;
CREATE TABLE votes (post text, community int, value int,
                    created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('hot', 'votes', 'post', 'value');
SELECT cozi.create_board('hot_in', 'votes', 'post', 'value', scope => 'community');
INSERT INTO votes SELECT 'p' || i % 4, i % 3, 1 FROM generate_series(1, 60 + 1) i;
SELECT count(*) > 0 AS folded FROM cozi.fold();

-- A hidden item has no row, in no scope; readers need no condition
SELECT cozi.hide_item('hot', 'p1'), cozi.hide_item('hot_in', 'p1');
SELECT cozi.hide_item('hot', 'p1') AS again;
SELECT item, ups FROM hot ORDER BY 1;
SELECT scope, item, ups FROM hot_in ORDER BY 1, 2;
SELECT cozi.hidden_items('hot');
-- and it stays away: votes that are pending, a fold, a rebuild
INSERT INTO votes VALUES ('p1', 0, 1), ('p1', 9, 1), ('p2', 0, 1);
SELECT item, ups FROM hot_live ORDER BY 1;
SELECT item, rank FROM cozi.top('hot', 9);
SELECT item, rank FROM cozi.top('hot_in', 9);
SELECT count(*) FROM cozi.verify_board('hot');
SELECT count(*) FROM cozi.verify_board('hot_in');
SELECT count(*) > 0 AS folded FROM cozi.fold();
SELECT item, ups FROM hot ORDER BY 1;
SELECT cozi.rebuild_board('hot'), cozi.rebuild_board('hot_in');
SELECT item, ups FROM hot ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot') UNION ALL
SELECT count(*) FROM cozi.verify_board('hot_in');
-- put back, it has the votes of now, in each of its scopes
SELECT cozi.show_item('hot', 'p1'), cozi.show_item('hot_in', 'p1');
SELECT cozi.show_item('hot', 'p1') AS again;
SELECT item, ups FROM hot WHERE item = 'p1';
SELECT scope, ups FROM hot_in WHERE item = 'p1' ORDER BY 1;
SELECT count(*) FROM cozi.verify_board('hot') UNION ALL
SELECT count(*) FROM cozi.verify_board('hot_in');

-- An item may be hidden before its first vote
SELECT cozi.hide_item('hot', 'spam');
INSERT INTO votes VALUES ('spam', 1, 1);
SELECT count(*) > 0 AS folded FROM cozi.fold('hot');
SELECT count(*) FROM hot WHERE item = 'spam';
-- what is undone is not hidden
BEGIN;
SELECT cozi.hide_item('hot', 'p2');
ROLLBACK;
SELECT count(*) FROM hot WHERE item = 'p2';
-- an item of a type with more than one spelling
CREATE TABLE likes (post bigint, created_at timestamptz DEFAULT '2024-01-10 00:00+00');
SELECT cozi.create_board('liked', 'likes', 'post');
INSERT INTO likes VALUES (7), (8);
SELECT cozi.hide_item('liked', ' 007');
SELECT item FROM liked_live;
SELECT cozi.hidden_items('liked');
SELECT cozi.hide_item('liked', 'seven');
SELECT cozi.hide_item('liked', NULL);

-- The owner of the board, and nobody else
CREATE ROLE regress_hidden;
GRANT USAGE ON SCHEMA t_hidden, cozi TO regress_hidden;
SET ROLE regress_hidden;
SELECT cozi.hide_item('hot', 'p1');
SELECT * FROM cozi.kept_hidden;
RESET ROLE;
SELECT count(*) > 0 AS granted FROM cozi.grant_owner('regress_hidden');
SET ROLE regress_hidden;
SELECT cozi.hide_item('hot', 'p1');
SELECT cozi.show_item('hot', 'spam');
SELECT cozi.hidden_items('hot');
RESET ROLE;
SELECT cozi.hide_item('votes', 'p1');

-- Nothing is left behind
SELECT cozi.drop_board('hot'), cozi.drop_board('hot_in'), cozi.drop_board('liked');
SELECT count(*) FROM cozi.kept_hidden;
DROP SCHEMA t_hidden CASCADE;
DROP OWNED BY regress_hidden;
DROP ROLE regress_hidden;
