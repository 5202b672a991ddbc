-- base: what functions in PL/pgSQL say of their arguments, in one wording

CREATE OR REPLACE FUNCTION _need(argument text, given boolean) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT given THEN
        RAISE EXCEPTION 'argument "%" must not be null', argument
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
END
$$;
COMMENT ON FUNCTION _need(text, boolean) IS 'Raises an error about an argument that is not given';
