-- policy: what the caller may see: can_view()

CREATE OR REPLACE FUNCTION can_view(visibility text, author uuid, grp uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, uuid, uuid) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author uuid, grp bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, uuid, bigint) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author uuid, grp text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, uuid, text) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author bigint, grp uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, bigint, uuid) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author bigint, grp bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, bigint, bigint) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author bigint, grp text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, bigint, text) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author text, grp uuid) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, text, uuid) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author text, grp bigint) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, text, bigint) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

CREATE OR REPLACE FUNCTION can_view(visibility text, author text, grp text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cozi_can_view'
    LANGUAGE C STABLE PARALLEL SAFE COST 20;
COMMENT ON FUNCTION can_view(text, text, text) IS
'may the caller see it: its own, public, followers'' or its group''s, never private, unknown, or across a block in either direction';

-- Policies in one call.  What was before is kept in the comments of the
-- policies, which go with the table wherever it goes.
