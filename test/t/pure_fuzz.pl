# The token parser alone, compiled with every check the compiler has, against
# millions of broken tokens.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @sanitize = qw(-fsanitize=address,undefined -fno-sanitize-recover=undefined);
my @cc = ('cc', qw(-std=c99 -O1 -g -Wall -Wextra -Werror -Wno-sign-compare -Isrc -o), "$dir/fuzz", 'test/t/pure_fuzz.c', 'src/pure/json.c', 'src/pure/jws.c');

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
	else { note($line); }
}
is($status, 0, 'it ended well');
is($ran, 3, 'all of it ran');
done_testing();
