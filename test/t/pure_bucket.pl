# bucket.h, log.h, arena.h, limit.h and siphash.h alone, compiled with every
# check the compiler has.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my @sanitize = qw(-fsanitize=address,undefined -fno-sanitize-recover=undefined);
my $count = $ENV{COZI_LONG} ? 20_000_000 : 400_000;
$ENV{ASAN_OPTIONS} = 'detect_leaks=0';

my %tests = (pure_bucket => 6, pure_flood => 23);
for my $name (sort keys %tests)
{
	my @cc = ('cc',
		qw(-std=c99 -O1 -g -Wall -Wextra -Werror -Wno-unused-function -Isrc -Itest/t -o),
		"$dir/$name", "test/t/$name.c");

	# a compiler may come without the sanitizers' libraries
	system("@cc @sanitize 2>$dir/cc.log") == 0 || system(@cc) == 0
	  or BAIL_OUT("$name.c does not compile");
	my $out = qx($dir/$name $count 2>&1);
	my $status = $?;
	my $ran = 0;
	for my $line (split /\n/, $out)
	{
		if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $ran++; }
		else { note($line); }
	}
	is($status, 0, "$name.c ends well");
	is($ran, $tests{$name}, "every test of $name.c runs");
}
done_testing();
