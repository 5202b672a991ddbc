# The official PostgreSQL image with cozi in it:
#
#     docker build -t cozi .                               # or --build-arg PG_MAJOR=17
#     docker run -e POSTGRES_PASSWORD=... -p 5432:5432 cozi
#
# When the data directory is new, the extension is created in the database that
# POSTGRES_DB names (else postgres), and cozi is preloaded, whatever options the
# command has.  An old data directory keeps its own postgresql.conf.
ARG PG_MAJOR=15
FROM postgres:$PG_MAJOR-bookworm
ARG PG_MAJOR

COPY . /tmp/cozi

# One layer: what is needed to build is gone from the image.
RUN apt-get update && \
    apt-mark hold locales && \
    apt-get install -y --no-install-recommends build-essential libssl-dev postgresql-server-dev-$PG_MAJOR && \
    make -C /tmp/cozi clean && \
    make -C /tmp/cozi with_llvm=no && \
    make -C /tmp/cozi install with_llvm=no && \
    mkdir -p /usr/share/doc/cozi && \
    cp /tmp/cozi/LICENSE /tmp/cozi/README.md /usr/share/doc/cozi && \
    rm -r /tmp/cozi && \
    apt-get purge -y --auto-remove build-essential libssl-dev postgresql-server-dev-$PG_MAJOR && \
    apt-mark unhold locales && \
    rm -rf /var/lib/apt/lists/*

RUN echo "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi;" > /docker-entrypoint-initdb.d/cozi.sql && \
    echo "shared_preload_libraries = 'pg_stat_statements,cozi'" >> /usr/share/postgresql/postgresql.conf.sample
