-- A stand-in for Supabase's schema storage, where a dump names it and has it not.
CREATE SCHEMA storage;
CREATE TABLE storage.buckets (id text PRIMARY KEY, name text NOT NULL, owner uuid, public boolean);
CREATE TABLE storage.objects (
    id uuid PRIMARY KEY,
    bucket_id text REFERENCES storage.buckets,
    name text,
    owner uuid,
    owner_id text,
    metadata jsonb,
    path_tokens text[],
    created_at timestamptz,
    updated_at timestamptz
);
CREATE INDEX ON storage.objects (bucket_id);
CREATE INDEX ON storage.objects (owner);
ALTER TABLE storage.buckets ENABLE ROW LEVEL SECURITY;
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION storage.foldername(name text) RETURNS text[] LANGUAGE sql IMMUTABLE
RETURN (string_to_array(name, '/'))[1:cardinality(string_to_array(name, '/')) - 1];
CREATE FUNCTION storage.filename(name text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (string_to_array(name, '/'))[cardinality(string_to_array(name, '/'))];
CREATE FUNCTION storage.extension(name text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN reverse(split_part(reverse(name), '.', 1));
