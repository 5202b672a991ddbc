-- trending: boards, a ranking kept for a table of votes

-- Tallies: what votes add up to, exactly (src/trending/tally.c).  The
-- functions are pure; the views of boards call them for whoever reads.

CREATE OR REPLACE FUNCTION _tally_add(bytea, bytea) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_tally_add'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _tally_add(bytea, bytea) IS 'two tallies added up; NULL is the tally of no votes';

CREATE OR REPLACE FUNCTION _tally_ups(tally bytea) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_tally_ups'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _tally_ups(bytea) IS 'the sum of the up-weights of a tally';

CREATE OR REPLACE FUNCTION _tally_downs(tally bytea) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_tally_downs'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _tally_downs(bytea) IS 'the sum of the down-weights of a tally, as a positive number';

CREATE OR REPLACE FUNCTION _tally_heat(tally bytea, down_weight float8) RETURNS float8
    AS 'MODULE_PATHNAME', 'cozi_tally_heat'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 4;
COMMENT ON FUNCTION _tally_heat(bytea, float8) IS
'the heat of a tally: heat_agg of its up-votes plus log2(ups / (ups + down_weight * downs)); 0 without up-votes';

CREATE OR REPLACE FUNCTION _tally_sum_step(internal, bytea) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_tally_sum_step'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _tally_sum_step(internal, bytea) IS '_tally_sum: one more tally';

CREATE OR REPLACE FUNCTION _tally_of_step(internal, bigint, timestamptz, interval) RETURNS internal
    AS 'MODULE_PATHNAME', 'cozi_tally_of_step'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _tally_of_step(internal, bigint, timestamptz, interval) IS '_tally_of: one more vote';

CREATE OR REPLACE FUNCTION _tally_final(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'cozi_tally_final'
    LANGUAGE C IMMUTABLE PARALLEL SAFE COST 2;
COMMENT ON FUNCTION _tally_final(internal) IS '_tally_sum and _tally_of: the tally';

CREATE OR REPLACE AGGREGATE _tally_sum(tally bytea) (
    SFUNC = _tally_sum_step, STYPE = internal, FINALFUNC = _tally_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE _tally_sum(bytea) IS 'tallies added up';

CREATE OR REPLACE AGGREGATE _tally_of(weight bigint, voted_at timestamptz, half_life interval) (
    SFUNC = _tally_of_step, STYPE = internal, FINALFUNC = _tally_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE _tally_of(bigint, timestamptz, interval) IS 'the tally of votes';

-- The list of boards.  Rows are written by the functions below alone.

CREATE TABLE board_config (
    board       regclass PRIMARY KEY,
    tally       regclass NOT NULL,
    delta       regclass NOT NULL,
    live        regclass NOT NULL,
    votes       regclass NOT NULL,
    item        name     NOT NULL,
    weight      name,
    voted_at    name     NOT NULL,
    scope       name,
    half_life   interval NOT NULL,
    down_weight float8   NOT NULL
);
COMMENT ON TABLE board_config IS 'what each board counts, and where it keeps it: see the view boards';
SELECT pg_catalog.pg_extension_config_dump('cozi.board_config', '');

-- Apart, because every fold writes it.
CREATE TABLE board_fold (
    board     oid PRIMARY KEY,
    last_fold timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE board_fold IS 'when each board was last folded: see the view boards';

CREATE OR REPLACE FUNCTION _board_pending(board regclass, OUT pending bigint, OUT oldest_pending timestamptz, OUT future bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cozi_board_pending'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 1;
COMMENT ON FUNCTION _board_pending(regclass) IS
'delta rows of a board: due, since when, and dated in the future; none for who is neither its owner nor in pg_monitor';

CREATE OR REPLACE VIEW boards AS
    SELECT c.board, c.votes, c.item, c.weight, c.voted_at, c.scope, c.half_life, c.down_weight,
           p.pending, p.oldest_pending, f.last_fold, p.future, c.live
    FROM cozi.board_config c
    CROSS JOIN LATERAL cozi._board_pending(c.board) p
    LEFT JOIN cozi.board_fold f ON f.board = c.board::pg_catalog.oid;
COMMENT ON VIEW boards IS
'the boards the caller owns (all of them for pg_monitor): what they count, delta rows pending and since when, and the last fold';

-- Triggers

CREATE OR REPLACE FUNCTION _count_votes() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_count_votes'
    LANGUAGE C;
COMMENT ON FUNCTION _count_votes() IS
'statement trigger on a table of votes: appends what changed to the delta of each of its boards; put there by create_board';

CREATE OR REPLACE FUNCTION _board_ddl() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_board_ddl'
    LANGUAGE C;
COMMENT ON FUNCTION _board_ddl() IS 'event trigger: watches new partitions of votes, follows renamed columns';

CREATE OR REPLACE FUNCTION _board_dropped() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cozi_board_dropped'
    LANGUAGE C;
COMMENT ON FUNCTION _board_dropped() IS 'event trigger: drops a board with its votes, refuses to drop a part of one';

CREATE EVENT TRIGGER cozi_board_ddl ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'CREATE FOREIGN TABLE')
    EXECUTE FUNCTION _board_ddl();
COMMENT ON EVENT TRIGGER cozi_board_ddl IS 'keeps boards in step with the tables they count';

CREATE EVENT TRIGGER cozi_board_dropped ON sql_drop
    WHEN TAG IN ('DROP TABLE', 'DROP VIEW', 'DROP SCHEMA', 'DROP OWNED', 'ALTER TABLE')
    EXECUTE FUNCTION _board_dropped();
COMMENT ON EVENT TRIGGER cozi_board_dropped IS 'keeps boards in step with the tables they count';

-- For the owner of a table of votes

CREATE OR REPLACE FUNCTION create_board(board text, votes regclass, item name, weight name = NULL,
                                        voted_at name = 'created_at', scope name = NULL,
                                        half_life interval = '6 hours', down_weight float8 = 1)
    RETURNS regclass
    AS 'MODULE_PATHNAME', 'cozi_create_board'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION create_board(text, regclass, name, name, name, name, interval, float8) IS
'a ranking of the items that a table of votes is about: a table in its schema, filled and from then on kept; locks the votes against writes until the end of the transaction';

CREATE OR REPLACE FUNCTION drop_board(board regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_board'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_board(regclass) IS
'drops a board and stops counting; locks the votes exclusively until the end of the transaction';

CREATE OR REPLACE FUNCTION rebuild_board(board regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_rebuild_board'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION rebuild_board(regclass) IS
'counts the votes again; no vote waits, readers see the old board until the commit';

CREATE OR REPLACE FUNCTION set_half_life(board regclass, half_life interval) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_set_half_life'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION set_half_life(regclass, interval) IS
'counts the votes again by another half-life; locks the votes against writes, readers see the old board until the commit';

CREATE OR REPLACE FUNCTION verify_board(board regclass)
    RETURNS TABLE (item text, ups bigint, downs bigint, heat float8,
                   true_ups bigint, true_downs bigint, true_heat float8, scope text)
    AS 'MODULE_PATHNAME', 'cozi_verify_board'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION verify_board(regclass) IS
'the items whose counts or heat, pending votes included, differ from a recount of the votes: none';

CREATE OR REPLACE FUNCTION fold(board regclass = NULL, max_rows int = NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_fold'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION fold(regclass, int) IS
'moves pending votes into the board, or into all boards; returns how many delta rows went; waits for a fold under way, and makes others wait until the end of the transaction; refused before PREPARE TRANSACTION';

-- For readers

CREATE OR REPLACE FUNCTION top(board regclass, k int, scope text = NULL)
    RETURNS TABLE (item text, rank int, heat float8)
    AS 'MODULE_PATHNAME', 'cozi_top'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 50;
COMMENT ON FUNCTION top(regclass, int, text) IS
'the k hottest items, pending votes included, of one scope or of the whole board; needs SELECT on the board, whose policies hold';
