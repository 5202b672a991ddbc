-- live: what has changed since

CREATE OR REPLACE FUNCTION track_changes(kept regclass, track boolean = true) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_track_changes'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION track_changes(regclass, boolean) IS
'Numbers the changes of a board, a counter or an activity from now on, for changes_since(), or no '
'longer; a counter is locked against writes while its keys get their first numbers';

CREATE OR REPLACE FUNCTION change_cursor(kept regclass) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_change_cursor'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION change_cursor(regclass) IS
'Returns the cursor after the last change of a kept table, for those who have read its rows; '
'needs SELECT on it; NULL for NULL';

CREATE OR REPLACE FUNCTION changes_since(kept regclass, after text = NULL, k int = 1000)
    RETURNS TABLE (item text, row_data jsonb, gone boolean, cursor text)
    AS 'MODULE_PATHNAME', 'cozi_changes_since'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 ROWS 100;
COMMENT ON FUNCTION changes_since(regclass, text, int) IS
'Returns the keys of a board, a counter or an activity that have changed after a cursor, at most '
'k, each once with its row as it is now, or with gone and its key; reads as the caller, and says '
'nothing of keys that policies hide: a last row with a NULL item then has the cursor alone; '
'NULL after: all keys';

CREATE OR REPLACE FUNCTION _is_new(xmin xid, after text, upto text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_is_new'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 2;
COMMENT ON FUNCTION _is_new(xid, text, text) IS
'Returns whether a row was written by a transaction that ended between two snapshots of '
'changes_since(); NULL for NULL';

CREATE OR REPLACE FUNCTION changes_since(
        relation regclass, key text, after text, k int = 1000, key_column name = 'post_id',
        id name = 'id')
    RETURNS TABLE (item text, row_data jsonb, gone boolean, cursor text)
    AS 'MODULE_PATHNAME', 'cozi_changes_since_key'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 ROWS 100;
COMMENT ON FUNCTION changes_since(regclass, text, text, int, name, name) IS
'Returns the rows of a table with one key that were written or changed after a cursor, at most k, '
'each once, also where a transaction commits late; reads as the caller; NULL after: all rows';
