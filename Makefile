# cozi: a PostgreSQL extension, built with PGXS
#
#   make && make install     for the server whose pg_config is on the PATH
#   make test, make demo     the two commands of the README: test/run, demo/run
#   make installcheck        the tests, on a server that runs and has cozi
#   make pgtap               the contracts, on a server that has pgTAP as well
#   make format              src/ as pgindent would leave it; make format-check
#   make tidy                the Perl files as perltidy leaves them
#   make shellcheck          the scripts
#   make dist                the archive for PGXN, of what is committed

EXTENSION  = cozi
MODULE_big = cozi
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" cozi.control)

# The parts of the script, in their order.
SQL_PARTS  = $(patsubst %,sql/%.sql,$(shell sed '/^#/d' sql/order))
OBJS       = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))

UPDATES    = $(patsubst sql/update/%,sql/cozi--%,$(wildcard sql/update/*--$(EXTVERSION).sql))
DATA_built = sql/cozi--$(EXTVERSION).sql $(UPDATES)
DATA       = $(filter-out $(DATA_built),$(wildcard sql/cozi--*.sql))

# pg_regress looks for NAME.sql below its output directory first: without
# --outputdir it would run our own sql/trending/board.sql as a test.
REGRESS        = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS   = --outputdir=test --encoding=UTF8 --load-extension=cozi
ISOLATION      = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --outputdir=test --encoding=UTF8 --load-extension=cozi
TAP_TESTS      = 1
PROVE_TESTS    = test/t/*.pl
# PostgreSQL::Test::Cluster would lock its ports in the server's own directory.
export PG_TEST_PORT_DIR ?= $(CURDIR)/tmp_check/portlock
EXTRA_CLEAN    = test/results test/output_iso test/log test/tmp_check tmp_check \
                 test/regression.diffs test/regression.out

PG_CFLAGS  = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare
PG_CPPFLAGS = -I$(srcdir)/src
SHLIB_LINK = -lcrypto

PG_CONFIG ?= pg_config
PGXS      := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

.DEFAULT_GOAL := all
.PHONY: demo test bench pgtap format format-check tidy shellcheck dist no-check no-server

ifneq ($(PGXS),)
include $(PGXS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*/*.h)

# Functions that differ in the types of their arguments alone are a table.
SQL_TABLES = $(wildcard sql/*/*.tsv)
$(SQL_TABLES:.tsv=.sql): %.sql: %.tsv sql/functions.awk
	awk -f sql/functions.awk $< > $@

# sql/build says what the two scripts take from the parts.
sql/cozi--$(EXTVERSION).sql: $(SQL_PARTS) sql/order sql/build cozi.control
	sql/build install > $@
$(UPDATES): sql/cozi--%.sql: sql/update/%.sql $(SQL_PARTS) sql/order sql/build
	sql/build update $< > $@

# Nothing but what SQL and the server call: a library shares one name space
# with all others.  (PostgreSQL 16 and later hide by themselves what they can.)
ifeq ($(PORTNAME), linux)
SHLIB_LINK += -Wl,--version-script=src/exports.map
$(shlib): src/exports.map
endif
else
all install installcheck: no-server
no-server:
	@echo 'cozi needs pg_config and the headers of a PostgreSQL server (Debian: postgresql-server-dev-15);' >&2; \
	 echo 'name them by PG_CONFIG=/path/to/pg_config, or let "make test" install what is missing' >&2; exit 1
endif

# PG_CONFIG goes on to the commands only where the caller set it.
demo test bench:
	@PG_CONFIG='$(if $(filter-out undefined default file,$(origin PG_CONFIG)),$(PG_CONFIG))' $@/run

pgtap:
	pg_prove --ext .sql test/pgtap/

format:
	test/format --write
format-check:
	test/format
tidy:
	perltidy -b -bext=/ test/t/*.p[lm] test/t/*/*.pm bench/*.p[lm]
shellcheck:
	test/shell

dist: name = cozi-$(EXTVERSION)
dist:
	mkdir -p dist
	git archive --format=zip --prefix=$(name)/ --output=dist/$(name).zip HEAD

# PGXS answers `make check` with a sentence and success; it tested nothing.
check: no-check
no-check:
	@echo 'make check needs an installed cozi: use "make test", or "make installcheck" on a running server' >&2; exit 1
