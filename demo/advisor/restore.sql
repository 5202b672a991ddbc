-- Executes a statement of a dump; what is missing is made, or noted.
SET client_min_messages = error;
CREATE TEMP TABLE left_out (what text, n int GENERATED ALWAYS AS IDENTITY);

CREATE FUNCTION pg_temp.stand_in(message text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    m text[];
BEGIN
    m := regexp_match(message, '^role "(.*)" does not exist$');
    IF m IS NOT NULL THEN
        EXECUTE format('CREATE ROLE %I', m[1]);
        RETURN '';
    END IF;
    m := regexp_match(message, '^schema "(.*)" does not exist$');
    IF m IS NOT NULL THEN
        EXECUTE format('CREATE SCHEMA %I', m[1]);
        RETURN format('schema %s is a stand-in', m[1]);
    END IF;
    m := regexp_match(message, '^type '
        '"((.*)\.)?(citext|vector|halfvec|geometry|geography|ltree|hstore)(\(.*)?" does not '
        'exist$');
    IF m IS NOT NULL THEN
        EXECUTE format('CREATE DOMAIN %s%I AS text', coalesce(quote_ident(m[2]) || '.', 'public.'),
            m[3]);
        RETURN format('type %s is a stand-in of type text', m[3]);
    END IF;
    m := regexp_match(message, '^function '
        '((.*)\.)?(uuid_generate_v1|uuid_generate_v1mc|uuid_generate_v4|gen_random_uuid)\(\) does '
        'not exist$');
    IF m IS NOT NULL THEN
        EXECUTE format('CREATE FUNCTION %s%I() RETURNS uuid LANGUAGE sql VOLATILE AS ''SELECT '
            'pg_catalog.gen_random_uuid()''',
                       coalesce(quote_ident(m[2]) || '.', 'public.'), m[3]);
        RETURN format('function %s() is a stand-in', m[3]);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION pg_temp.run(statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    note text;
    extension text[];
BEGIN
    FOR i IN 1 .. 20 LOOP
        BEGIN
            EXECUTE statement;
            RETURN;
        EXCEPTION WHEN OTHERS THEN
            extension := regexp_match(statement,
                '^CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?"?([^"\s]+)"?'
                '(?:\s+WITH)?(?:\s+SCHEMA\s+"?([^"\s;]+)"?)?', 'i');
            IF SQLSTATE IN ('42P06', '42710')
                AND statement ~* '^CREATE\s+(SCHEMA|EXTENSION|ROLE)\M' THEN
                RETURN;
            ELSIF statement ~* '^SET\s' AND SQLSTATE = '42704' THEN
                RETURN;  -- a setting of a newer server
            ELSIF SQLSTATE = '42501' AND statement ~* ('^ALTER\s+(FOREIGN\s+DATA\s+WRAPPER|'
                    'EVENT\s+TRIGGER)\M.*\sOWNER\s+TO\M') THEN
                RETURN;  -- its owner must be a superuser, which no stand-in is
            ELSIF SQLSTATE = '3F000' THEN
                note := pg_temp.stand_in(SQLERRM);
            ELSIF extension IS NOT NULL THEN
                IF extension[2] IS NOT NULL THEN
                    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', extension[2]);
                END IF;
                INSERT INTO pg_temp.left_out VALUES (format('extension %s', extension[1]));
                RETURN;
            ELSIF statement ~* '^COMMENT\s+ON\s+EXTENSION\M' THEN
                RETURN;
            ELSE
                note := pg_temp.stand_in(SQLERRM);
            END IF;
            IF note IS NULL THEN
                INSERT INTO pg_temp.left_out
                VALUES (format('%s ...: %s', left(regexp_replace(statement, '\s+', ' ', 'g'), 80),
                    SQLERRM));
                RETURN;
            ELSIF note <> '' THEN
                INSERT INTO pg_temp.left_out VALUES (note);
            END IF;
        END;
    END LOOP;
END
$$;
