-- A community whose page moves: posts, votes, comments that some may not see, and an
-- outbox through which the gateway hears of comments.  :secret signs the tokens.
CREATE EXTENSION IF NOT EXISTS cozi;
CREATE ROLE live_owner LOGIN;                    -- owns the tables
CREATE ROLE live_gateway LOGIN NOINHERIT;        -- what the gateway connects as
CREATE ROLE live_reader;                         -- what it acts as for a viewer
GRANT live_reader TO live_gateway;
GRANT CREATE ON SCHEMA public TO live_owner;
GRANT USAGE ON SCHEMA cozi TO live_reader;
SELECT count(*) AS grants FROM cozi.grant_owner('live_owner');
SELECT count(*) AS grants FROM cozi.grant_app('live_gateway');
SELECT cozi.add_secret(:'secret') IS NULL AS secret_added;

SET ROLE live_owner;
CREATE TABLE posts (id bigint PRIMARY KEY, title text NOT NULL);
CREATE TABLE votes (
    post_id    bigint NOT NULL REFERENCES posts,
    user_id    bigint NOT NULL,
    value      smallint NOT NULL CHECK (value IN (-1, 1)),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (post_id, user_id)
);
CREATE TABLE comments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id    bigint NOT NULL REFERENCES posts,
    author_id  bigint NOT NULL,
    visibility text NOT NULL DEFAULT 'public' CHECK (visibility IN ('public', 'private')),
    body       text NOT NULL CHECK (length(body) BETWEEN 1 AND 500),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO posts VALUES (1, 'Do qubits dream?'), (2, 'What is a good first gate?'),
    (3, 'Measured twice, cut once'), (4, 'Noise, and what to do about it');
SELECT cozi.create_board('hot', 'votes', 'post_id', 'value');
SELECT cozi.track_changes('hot');
SELECT cozi.protect('comments', 'author_id', 'visibility') IS NOT NULL AS protected;
GRANT SELECT ON posts, hot TO live_reader;
GRANT SELECT, INSERT (post_id, author_id, visibility, body) ON comments TO live_reader;
SELECT cozi.create_outbox('outbox', '{live_reader}');
SELECT cozi.add_outbox_consumer('outbox', 'page', 'live_gateway');

-- A vote of a user who has logged in; again: changed.  The voters of the demo are many.
CREATE FUNCTION vote(post bigint, vote smallint) RETURNS void LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    INSERT INTO votes (post_id, user_id, value) VALUES (post, cozi.require_uid_bigint(), vote)
    ON CONFLICT (post_id, user_id) DO UPDATE
        SET value = excluded.value, created_at = excluded.created_at;
END;
REVOKE ALL ON FUNCTION vote(bigint, smallint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vote(bigint, smallint) TO live_reader;
RESET ROLE;
