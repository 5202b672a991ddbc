-- identity: logging in, and who is calling: src/identity/token.c,
-- src/identity/caller.c, src/identity/act.c

CREATE OR REPLACE FUNCTION login(token text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_login'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION login(text) IS
'Verifies a signed token (JWT) and makes its subject the caller until the transaction ends; an '
'error (28000) for a bad token and for NULL';

CREATE OR REPLACE FUNCTION login_if(token text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_login_if'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION login_if(text) IS
'Does what login() does, and for NULL and the empty text what logout() does: the caller is nobody, '
'and the result NULL';

CREATE OR REPLACE FUNCTION logout() RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_logout'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION logout() IS
'Ends the identity of this transaction; uid() is NULL until the next login()';

CREATE OR REPLACE FUNCTION check_token(token text, as_of timestamptz = NULL) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_check_token'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100;
COMMENT ON FUNCTION check_token(text, timestamptz) IS
'Returns why login() would refuse the token, now or at the given instant; NULL when it would not';

CREATE OR REPLACE FUNCTION act_as(subject text, claims jsonb = '{}', reason text = NULL)
    RETURNS void
    AS 'MODULE_PATHNAME', 'cozi_act_as'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION act_as(text, jsonb, text) IS
'Makes a user the caller until the transaction ends, without a token: for tests, scheduled jobs '
'and support; each call is a line in the server log, and claims() names the session user as act';

-- Who calls.  Leakproof: they have no argument and raise no error.

CREATE OR REPLACE FUNCTION uid() RETURNS uuid
    AS 'MODULE_PATHNAME', 'cozi_uid'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1;
COMMENT ON FUNCTION uid() IS
'Returns the subject of the verified token as uuid; NULL when nobody is logged in or it is no '
'uuid';

CREATE OR REPLACE FUNCTION uid_bigint() RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_uid_bigint'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1;
COMMENT ON FUNCTION uid_bigint() IS
'Returns the subject of the verified token as bigint; NULL when nobody is logged in or it is no '
'number';

CREATE OR REPLACE FUNCTION uid_text() RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_uid_text'
    LANGUAGE C STABLE STRICT PARALLEL SAFE LEAKPROOF COST 1;
COMMENT ON FUNCTION uid_text() IS
'Returns the subject of the verified token; NULL when nobody is logged in';

CREATE OR REPLACE FUNCTION require_uid() RETURNS uuid
    AS 'MODULE_PATHNAME', 'cozi_require_uid'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION require_uid() IS 'Returns uid(), or raises an error (28000) instead of NULL';

CREATE OR REPLACE FUNCTION require_uid_bigint() RETURNS bigint
    AS 'MODULE_PATHNAME', 'cozi_require_uid_bigint'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION require_uid_bigint() IS
'Returns uid_bigint(), or raises an error (28000) instead of NULL';

CREATE OR REPLACE FUNCTION require_uid_text() RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_require_uid_text'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION require_uid_text() IS
'Returns uid_text(), or raises an error (28000) instead of NULL';

CREATE OR REPLACE FUNCTION claims() RETURNS jsonb
    AS 'MODULE_PATHNAME', 'cozi_claims_jsonb'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION claims() IS
'Returns all claims of the verified token; NULL when nobody is logged in';

CREATE OR REPLACE FUNCTION claim(name text) RETURNS text
    AS 'MODULE_PATHNAME', 'cozi_claim'
    LANGUAGE C STABLE STRICT PARALLEL SAFE COST 5;
COMMENT ON FUNCTION claim(text) IS
'Returns one claim of the verified token as text; NULL when there is none';
