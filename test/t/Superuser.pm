package Superuser;

# Superuser.pm: the servers of the tests have the superuser postgres, for every
# user who runs them.  test/run loads it into each TAP file, before the file:
# PostgreSQL::Test::Utils takes PGUSER away while it is compiled.

use strict;
use warnings;

INIT { $ENV{PGUSER} //= 'postgres' }

1;
