# Cursors alone, compiled with every check the compiler has, against millions of
# broken ones.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @sanitize = qw(-fsanitize=address,undefined -fno-sanitize-recover=undefined);
my @flags = qw(-std=c99 -O1 -g -Wall -Wextra -Werror -Wno-sign-compare -Isrc);
my @sources = qw(test/t/pure_cursor.c src/pure/base64url.c src/pure/cursor.c);
my @cc = ('cc', @flags, '-o', "$dir/cursor", @sources);

# a compiler may come without the sanitizers' libraries
system("@cc @sanitize 2>$dir/cc.log") == 0 || system(@cc) == 0
  or BAIL_OUT('pure_cursor.c does not compile');

my $rounds = $ENV{COZI_LONG} ? 10_000_000 : 50_000;
my $out = qx($dir/cursor $rounds 2>&1);
my $status = $?;
my $ran = 0;
for my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $ran++; }
	else                                  { note($line); }
}
is($status, 0, 'the program of the cursors ends well');
is($ran, 2, 'the program of the cursors runs all of its tests');
done_testing();
