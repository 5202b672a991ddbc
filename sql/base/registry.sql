-- base: the tables of the extension: src/base/registry.c

CREATE OR REPLACE FUNCTION _config_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cozi_config_changed'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _config_changed() IS
'Tells all sessions, at commit, to read the table again; for triggers on tables of this extension.';
