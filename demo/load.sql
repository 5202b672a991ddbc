-- The community as an application would hold it: its own tables, its own types.
CREATE EXTENSION cozi;
CREATE EXTENSION pg_stat_statements;

CREATE TABLE users (
    id         bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    reputation int NOT NULL
);
CREATE TABLE posts (
    id         bigint PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('question', 'answer', 'other')),
    parent_id  bigint,
    author_id  bigint,
    created_at timestamptz NOT NULL,
    score      int NOT NULL,
    views      int,
    tags       text[]
);
CREATE TABLE comments (
    id         bigint PRIMARY KEY,
    post_id    bigint NOT NULL,
    author_id  bigint,
    created_at timestamptz NOT NULL,
    score      int NOT NULL
);
\copy users FROM 'demo/data/users.csv' CSV HEADER
\copy posts FROM 'demo/data/posts.csv' CSV HEADER
\copy comments FROM 'demo/data/comments.csv' CSV HEADER

-- The site's votes, still outside the table the tour votes into.
CREATE TABLE votes_dump (
    id      bigint PRIMARY KEY,
    post_id bigint NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('up', 'down')),
    cast_on date NOT NULL
);
\copy votes_dump FROM 'demo/data/votes.csv' CSV HEADER
ANALYZE;
