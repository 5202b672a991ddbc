# decay.h and decay_sum.h alone, compiled with every check the compiler has.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @sanitize = qw(-fsanitize=address,undefined -fno-sanitize-recover=undefined);
my @cc = ('cc', qw(-std=c99 -O1 -g -Wall -Wextra -Werror -Isrc -o),
	"$dir/decay", 'test/t/pure_decay.c', '-lm');

# a compiler may come without the sanitizers' libraries
system("@cc @sanitize 2>$dir/cc.log") == 0 || system(@cc) == 0
  or BAIL_OUT('pure_decay.c does not compile');

$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
my $out = qx($dir/decay 2>&1);
my $status = $?;
my $ran = 0;
for my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $ran++; }
	else { note($line); }
}
is($status, 0, 'the program of the tests ends with status 0');
is($ran, 30, 'every test of the program runs');
done_testing();
