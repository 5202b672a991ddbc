-- counter: how many rows each key of a table has, kept

CREATE OR REPLACE VIEW counters AS
    SELECT s.relation AS counter, s.source AS relation, k.item AS key, k.value, k.counted,
           k.who AS user_id, s.pending, s.oldest_pending, s.last_fold, s.live, s.state,
           s.last_error, s.stalled_since, s.set_aside, k.at AS closed_by,
           k.closed AS closed_before
    FROM cozi.kept k
    CROSS JOIN LATERAL cozi._kept_status(k.id) s
    WHERE k.kind = 'counter';
COMMENT ON VIEW counters IS
'One row per counter of the caller, or of everybody for pg_monitor: what it counts, what is '
'pending, and its state: ok, stalled (cannot be folded), or broken (may no longer equal its '
'rows); last_error says the next call';

CREATE OR REPLACE FUNCTION create_counter(
        counter text, relation regclass, key name, value name = NULL, counted name = NULL,
        user_id name = NULL, item_table regclass = NULL)
    RETURNS regclass
    AS 'MODULE_PATHNAME', 'cozi_create_counter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION create_counter(text, regclass, name, name, name, name, regclass) IS
'Creates a counter, a table (key, n, sum) in the schema of the relation with a row per key, fills '
'it, and keeps it from then on; takes over and recounts one that a dump has brought; locks the '
'relation against writes until the end of the transaction; item_table also makes the computed '
'relationship that PostgREST embeds by; NULL value: sum is NULL; NULL counted: every row counts; '
'NULL user_id: item_counts() cannot tell whose a row is';

CREATE OR REPLACE FUNCTION drop_counter(counter regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_drop_counter'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION drop_counter(regclass) IS
'Drops a counter and stops counting; locks the relation exclusively until the end of the '
'transaction';

CREATE OR REPLACE FUNCTION rebuild_counter(counter regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_rebuild_counter'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION rebuild_counter(regclass) IS
'Counts the rows again; no writer waits, readers see the old counts until the commit';

CREATE OR REPLACE FUNCTION verify_counter(counter regclass)
    RETURNS TABLE (key text, n bigint, sum numeric, true_n bigint, true_sum numeric)
    AS 'MODULE_PATHNAME', 'cozi_verify_counter'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION verify_counter(regclass) IS
'Returns the keys whose count or sum, pending rows included, differs from a recount; no row means '
'that the counter is right';

CREATE OR REPLACE FUNCTION item_counts(counters regclass[], keys anycompatiblearray)
    RETURNS TABLE (counter regclass, key text, n bigint, sum numeric, mine boolean)
    AS 'MODULE_PATHNAME', 'cozi_item_counts'
    LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000 ROWS 20;
COMMENT ON FUNCTION item_counts(regclass[], anycompatiblearray) IS
'Returns the counts of these keys, exact now, 0 for a key without a row, and whether the caller '
'has a row of the key; needs SELECT on the counters, whose policies hold; NULL elements are left '
'out; mine is NULL where it is not known: without user_id, without a login, without SELECT on the '
'relation';
