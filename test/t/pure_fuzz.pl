# The token parser alone, compiled with every check the compiler has, against
# millions of broken tokens.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @sanitize = qw(-fsanitize=address,undefined -fno-sanitize-recover=undefined);
my @flags = qw(-std=c99 -O1 -g -Wall -Wextra -Werror -Wno-sign-compare -Isrc);
my @sources = qw(test/t/pure_fuzz.c src/pure/json.c src/pure/json_string.c src/pure/jws.c
  src/pure/base64url.c);
my @cc = ('cc', @flags, '-o', "$dir/fuzz", @sources);

# a compiler may come without the sanitizers' libraries
system("@cc @sanitize 2>$dir/cc.log") == 0 || system(@cc) == 0
  or BAIL_OUT('pure_fuzz.c does not compile');

my $rounds = $ENV{COZI_LONG} ? 20_000_000 : 200_000;
my $out = qx($dir/fuzz $rounds 2>&1);
my $status = $?;
my $ran = 0;
for my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $ran++; }
	else                                  { note($line); }
}
is($status, 0, 'the program of the token parser ends well');
is($ran, 5, 'the program of the token parser runs all of its tests');
done_testing();
