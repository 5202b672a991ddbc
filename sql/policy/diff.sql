-- policy: what policies say to somebody else: src/policy/subject.c, why.c, diff.c

-- One row more a table, whose policy is empty, says whether row security was on.
CREATE TABLE saved_policies (
    relid      oid NOT NULL,
    policy     name NOT NULL,
    permissive boolean NOT NULL,
    command    text,
    roles      text[],
    qual       text,
    with_check text,
    PRIMARY KEY (relid, policy)
);
COMMENT ON TABLE saved_policies IS
'One row per policy that save_policies() has kept, for policy_diff(); not dumped';

CREATE OR REPLACE FUNCTION _rows_of(anyelement) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'cozi_rows_of'
    LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION _rows_of(anyelement) IS
'Returns the rows of a table to policy_diff() and why_visible(), and to nobody else';

CREATE OR REPLACE FUNCTION save_policies(relation regclass) RETURNS integer
    AS 'MODULE_PATHNAME', 'cozi_save_policies'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION save_policies(regclass) IS
'Saves the present policies of a table of the caller as text, in place of those saved before, '
'and returns their number';

CREATE OR REPLACE FUNCTION policy_diff(relation regclass, subjects text[], as_role name = NULL)
    RETURNS TABLE (subject text, command text, saved bigint, present bigint, differing bigint,
                   keys text[])
    AS 'MODULE_PATHNAME', 'cozi_policy_diff'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 30;
COMMENT ON FUNCTION policy_diff(regclass, text[], name) IS
'Returns for each subject the number of rows of a table of the caller that are visible, '
'updatable and deletable under the saved policies and under the present ones, how many differ, '
'and the first ten keys of those; a subject is the sub of a token or its claims as JSON, NULL '
'is no one';

CREATE OR REPLACE FUNCTION why_visible(relation regclass, key text, subject text,
                                       as_role name = NULL)
    RETURNS TABLE (rule text, holds boolean, because text)
    AS 'MODULE_PATHNAME', 'cozi_why_visible'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10;
COMMENT ON FUNCTION why_visible(regclass, text, text, name) IS
'Returns why the row of that primary key is visible to a subject or hidden from it, one row per '
'policy and rule; a subject is the sub of a token or its claims as JSON, NULL is no one';
