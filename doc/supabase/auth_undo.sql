-- Put back what auth.sql replaced.
\set ON_ERROR_STOP on
BEGIN;

SELECT definition FROM auth.before_cozi ORDER BY function \gexec

-- those that were not there before
SELECT format('DROP FUNCTION %s', p.oid::regprocedure)
FROM pg_proc p
WHERE p.pronamespace = 'auth'::regnamespace AND p.pronargs = 0
  AND p.proname IN ('uid', 'jwt', 'role', 'email')
  AND pg_get_function_sqlbody(p.oid) ~ '^RETURN cozi\.' \gexec

DROP TABLE auth.before_cozi;
COMMIT;
