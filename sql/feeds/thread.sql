-- feeds: trees of comments

CREATE OR REPLACE FUNCTION comment_thread(
        relation regclass, root text, k int, sort text = 'best', after text = NULL,
        item name = 'id', parent name = 'parent_id', post name = 'post_id',
        score name = 'score', created_at name = 'created_at', heat name = 'heat',
        max_depth int = 8, under text = NULL, author name = NULL)
    RETURNS TABLE (item text, parent text, depth int, path text[], hidden int, cursor text)
    AS 'MODULE_PATHNAME', 'cozi_comment_thread'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION comment_thread(regclass, text, int, text, text, name, name, name, name,
    name, name, int, text, name) IS
'Returns k comments of a post in the order of a tree, each level by falling score (best), '
'created_at (new) or heat, then item; reads the relation as the caller, under the caller''s '
'policies; hidden counts the direct replies that the page does not show, up to 1,000; after takes '
'the cursor of the last row of the page before; NULL under: all of the post, otherwise the '
'replies of that comment; NULL author: no comment is left out because of its author';
