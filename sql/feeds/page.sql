-- feeds: cursors and pages

CREATE OR REPLACE FUNCTION cursor_encode(VARIADIC "values" "any") RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_cursor_encode_sql'
    LANGUAGE C STABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION cursor_encode("any") IS
'Returns values as one text that a URL takes as it is, exactly: integers, float8, uuid and '
'timestamptz by their bits, other types by their text; NULL is a value like any other';

CREATE OR REPLACE FUNCTION cursor_decode(cursor text) RETURNS text[]
    AS 'MODULE_PATHNAME', 'cozi_cursor_decode_sql'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION cursor_decode(text) IS
'Returns the values of a cursor as text, each to be cast to its type; raises 22023 for any text '
'that cursor_encode() has not returned; NULL for NULL';

CREATE OR REPLACE FUNCTION page_sql(order_by text[]) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_page_sql'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION page_sql(text[]) IS
'Returns the condition of the rows after ($1, $2, ...) in an order such as {"score DESC NULLS '
'LAST",id}, which an index on these columns serves; NULL for NULL';

CREATE OR REPLACE FUNCTION api_function(name text, call text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_api_function'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000;
COMMENT ON FUNCTION api_function(text, text) IS
'Returns the CREATE FUNCTION of a wrapper with one signature around a call that returns rows, for '
'the schema of an API; the parameters of the call stand in braces: {k int = 20}; runs nothing; '
'NULL for NULL';
