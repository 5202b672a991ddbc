-- feeds: the first rows of those whom the caller follows

CREATE OR REPLACE FUNCTION feed(
        relation regclass, edge name, k int, item name = 'id', author name = 'author_id',
        rank name = 'created_at', after text = NULL, filters text[] = NULL)
    RETURNS TABLE (item text, rank_value text, cursor text)
    AS 'MODULE_PATHNAME', 'cozi_feed'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION feed(regclass, name, int, name, name, name, text, text[]) IS
'Returns the k first rows, by falling rank and item, of the authors to whom the caller has that '
'edge; reads the relation as the caller, under the caller''s policies; leaves out authors behind '
'a block in either direction and those whom the caller has muted; rows with a NULL in rank or '
'item are none; after takes the cursor of the last row of the page before; filters are pairs of '
'a column and its value; NULL after: from the first row; NULL filters: none';

CREATE OR REPLACE FUNCTION feed_of(
        relation regclass, keys anyarray, k int, key name = 'community_id', item name = 'id',
        rank name = 'created_at', after text = NULL, filters text[] = NULL, author name = NULL)
    RETURNS TABLE (item text, rank_value text, cursor text)
    AS 'MODULE_PATHNAME', 'cozi_feed_of'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION feed_of(regclass, anyarray, int, name, name, name, text, text[], name) IS
'Returns the k first rows, by falling rank and item, whose key is in an array: communities, '
'tags, groups; as feed() otherwise; NULL author: no row is left out because of its author';

CREATE OR REPLACE FUNCTION feed_rows(
        row_type anyelement, edge name, k int, item name = 'id', author name = 'author_id',
        rank name = 'created_at', after text = NULL, filters text[] = NULL)
    RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'cozi_feed_rows'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION feed_rows(anyelement, name, int, name, name, name, text, text[]) IS
'Returns the rows that feed() names of a table or view, which row_type names as NULL::posts; '
'cursor_encode(rank, item) of the last row is the cursor of the next page; NULL after and NULL '
'filters: as for feed()';

CREATE OR REPLACE FUNCTION unread(
        relation regclass, key text, after text, cap int = 99, owner name = 'user_id',
        rank name = 'created_at', item name = 'id', filters text[] = NULL)
    RETURNS int
    AS 'MODULE_PATHNAME', 'cozi_unread'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION unread(regclass, text, text, int, name, name, name, text[]) IS
'Returns how many rows of a key are newer than a cursor, cursor_encode(rank) or '
'cursor_encode(rank, item), and cap + 1 where there are more than cap; reads at most cap + 1 '
'rows, as the caller; NULL after: of all rows; NULL filters: none';
