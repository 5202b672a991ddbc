# bucket.h and siphash.h alone, compiled with every check the compiler has.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @sanitize = qw(-fsanitize=address,undefined -fno-sanitize-recover=undefined);
my @cc = ('cc', qw(-std=c99 -O1 -g -Wall -Wextra -Werror -Isrc -o), "$dir/bucket", 'test/t/pure_bucket.c');

# a compiler may come without the sanitizers' libraries
system("@cc @sanitize 2>$dir/cc.log") == 0 || system(@cc) == 0
  or BAIL_OUT('pure_bucket.c does not compile');

$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
my $decisions = $ENV{COZI_LONG} ? 20_000_000 : 1_000_000;
my $out = qx($dir/bucket $decisions 2>&1);
my $status = $?;
my $ran = 0;
for my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $ran++; }
	else { note($line); }
}
is($status, 0, 'it ended well');
is($ran, 11, 'every test of it ran');
done_testing();
