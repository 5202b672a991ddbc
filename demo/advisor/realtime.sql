-- A stand-in for Supabase's schema realtime, where a dump names it and has it not.
CREATE SCHEMA realtime;
CREATE TABLE realtime.messages (id uuid PRIMARY KEY, topic text NOT NULL, extension text NOT NULL,
    payload jsonb);
ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION realtime.topic() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('realtime.topic', true), '') $$;
