-- trending: boards, a ranking kept for a table of votes

CREATE OR REPLACE VIEW boards AS
    SELECT s.relation AS board, s.source AS votes, k.item, k.value AS weight, k.at AS voted_at,
           k.scope, k.half_life, k.down_weight, s.pending, s.oldest_pending, s.last_fold, s.future,
           s.live, s.state, s.last_error, s.stalled_since, s.set_aside, k.closed AS closed_before
    FROM cozi.kept k
    CROSS JOIN LATERAL cozi._kept_status(k.id) s
    WHERE k.kind = 'board';
COMMENT ON VIEW boards IS
'One row per board of the caller, or of everybody for pg_monitor: what it counts, what is '
'pending, and its state: ok, stalled (cannot be folded), or broken (may no longer equal its '
'votes); last_error says the next call';

CREATE OR REPLACE VIEW board_sources AS
    SELECT b.relation AS board, s.relation, s.item, s.value AS weight, s.factor,
           s.at AS voted_at, s.scope
    FROM cozi.kept k
    CROSS JOIN LATERAL cozi._kept_status(k.id) b
    CROSS JOIN LATERAL cozi._kept_sources(k.id) s
    WHERE k.kind = 'board';
COMMENT ON VIEW board_sources IS
'One row per source of a board of the caller, or of everybody for pg_monitor: the table that the '
'board was created on, and those of add_source()';

CREATE OR REPLACE FUNCTION create_board(
        board text, votes regclass, item name, weight name = NULL, voted_at name = 'created_at',
        scope name = NULL, half_life interval = '6 hours', down_weight float8 = 1,
        item_table regclass = NULL)
    RETURNS regclass
    AS 'MODULE_PATHNAME', 'cozi_create_board'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION
    create_board(text, regclass, name, name, name, name, interval, float8, regclass) IS
'Creates a ranking of the items that a table of votes is about, a table in its schema, fills it, '
'and keeps it from then on; takes over and recounts one that a dump has brought; locks the votes '
'against writes until the end of the transaction; item_table also makes the computed '
'relationship that PostgREST embeds by; NULL weight: every vote weighs 1; NULL scope: one ranking';

CREATE OR REPLACE FUNCTION drop_board(board regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_board'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_board(regclass) IS
'Drops a board and stops counting; locks the votes exclusively until the end of the transaction';

CREATE OR REPLACE FUNCTION add_source(
        board regclass, relation regclass, item name, weight name = NULL, factor float8 = 1,
        voted_at name = 'created_at', scope name = NULL)
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_add_source'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION add_source(regclass, regclass, name, name, float8, name, name) IS
'Counts the rows of a further table into a board, each as weight times factor, rounded to '
'thousandths; counts all sources again, and locks them against writes until the end of the '
'transaction; NULL weight: every row weighs 1; NULL scope: the board has no scopes';

CREATE OR REPLACE FUNCTION remove_source(board regclass, relation regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_remove_source'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION remove_source(regclass, regclass) IS
'Takes a table of add_source() out of a board, and counts the others again; locks all sources '
'exclusively until the end of the transaction';

CREATE OR REPLACE FUNCTION rebuild_board(board regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_rebuild_board'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION rebuild_board(regclass) IS
'Counts the votes again; no vote waits, readers see the old board until the commit';

CREATE OR REPLACE FUNCTION set_half_life(board regclass, half_life interval) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_set_half_life'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION set_half_life(regclass, interval) IS
'Counts the votes again by another half-life; locks the votes against writes, readers see the '
'old board until the commit';

CREATE OR REPLACE FUNCTION set_down_weight(board regclass, down_weight float8) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_set_down_weight'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION set_down_weight(regclass, float8) IS
'Counts the votes again with another weight of a down-vote against an up-vote, a finite number '
'of at least 0; no vote waits, readers see the old board until the commit';

CREATE OR REPLACE FUNCTION verify_board(board regclass)
    RETURNS TABLE (item text, ups bigint, downs bigint, heat float8,
                   true_ups bigint, true_downs bigint, true_heat float8, scope text)
    AS 'MODULE_PATHNAME', 'cozi_verify_board'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION verify_board(regclass) IS
'Returns the items whose counts or heat, pending votes included, differ from a recount of the '
'votes; no row means that the board is right';

CREATE OR REPLACE FUNCTION hide_item(board regclass, item text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_hide_item'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION hide_item(regclass, text) IS
'Takes an item off a board, in all scopes, until show_item(): its votes are still counted, and '
'its rows are kept aside; false if it was hidden already; folds wait until the end of the '
'transaction';

CREATE OR REPLACE FUNCTION show_item(board regclass, item text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_show_item'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION show_item(regclass, text) IS
'Puts a hidden item back with the votes that it has now; reads the sums of the whole board; false '
'if it was not hidden; folds wait until the end of the transaction';

CREATE OR REPLACE FUNCTION hidden_items(board regclass) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'cozi_hidden_items'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 100;
COMMENT ON FUNCTION hidden_items(regclass) IS
'Returns the items that hide_item() has taken off a board; the board must be the caller''s';

-- For readers

CREATE OR REPLACE FUNCTION top(
        board regclass, k int, scope text = NULL, scopes text[] = NULL, after text = NULL)
    RETURNS TABLE (item text, rank int, heat float8, cursor text)
    AS 'MODULE_PATHNAME', 'cozi_top'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION top(regclass, int, text, text[], text) IS
'Returns the k hottest items, pending votes included; needs SELECT on the board, whose policies '
'hold; an item of several scopes comes once with its highest heat; after takes the cursor of the '
'last row of the page before; NULL scope and scopes: of the whole board; NULL after: from the '
'first rank';

CREATE OR REPLACE FUNCTION top_rows(
        row_type anyelement, board regclass, k int, scope text = NULL, scopes text[] = NULL,
        after text = NULL, key name = NULL)
    RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'cozi_top_rows'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION top_rows(anyelement, regclass, int, text, text[], text, name) IS
'Returns the rows of the k hottest items of a table, named as NULL::posts, by rank; reads it as '
'the caller, skips what the caller may not see, and still returns k rows; scope, scopes and after '
'as for top(); NULL key: the primary key holds the items';
