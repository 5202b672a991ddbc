# Whom a flood of calls lets in: 200 names of each kind of limit are denied, then
# a million calls of another kind are made, and the 200 try again.  Each that is
# admitted was forgotten.
use strict;
use warnings;
use Bench;

my $names = 200;
my $calls = 1_000_000;
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do("SELECT cozi.create_rate_limit('exact', 5, '1 h', memory => '1MB')");
$dbh->do("SELECT cozi.create_rate_limit('gcra', 5, '1 h', 'gcra', memory => '1MB')");

# How to call each kind of limit of 5 an hour, with a key as an SQL expression.
my @kinds = (
	[ 'shared, exact', "cozi.rate_limit(%s, 5, '1 h')" ],
	[ 'shared, gcra', "cozi.rate_limit(%s, 5, '1 h', 1, 'gcra')" ],
	[ 'named, exact', "cozi.use_rate_limit('exact', %s)" ],
	[ 'named, gcra', "cozi.use_rate_limit('gcra', %s)" ]);

# The number of calls that are admitted, of one for each number below n as i.
sub admitted
{
	my ($call, $n) = @_;
	return $dbh->selectrow_array("SELECT count(*) FROM generate_series(0, $n - 1) i WHERE $call");
}

# A flood is a list of calls; a million calls are shared out among them.
my $half = $dbh->selectrow_array('SELECT log_max_calls / 2 FROM cozi.rate_limit_stats
	WHERE name IS NULL') || 20_000;
my $day = "'24 h'";
my @floods = (
	[ 'new keys of the same limit', map { sprintf $_->[1], q('new ' || i) } @kinds ],
	[
		'new keys of 1 call in 24 hours',
		map { "cozi.rate_limit('day ' || i, 1, $day, 1, '$_')" } qw(exact gcra)
	],
	[
		'20,000 keys, 50 of 100 calls in a minute each',
		map { "cozi.rate_limit('user ' || i % 10000, 100, '60 s', 1, '$_')" } qw(exact gcra)
	],
	[
		'3 keys, a log of half the memory each',
		map { "cozi.rate_limit('long ' || i % 3, $half, $day, 1, '$_')" } qw(exact gcra)
	],
	[
		'keys of 1,500 limits',
		map { "cozi.rate_limit('many ' || i, 2 + i % 1500, '1 h', 1, '$_')" } qw(exact gcra)
	]);

print "\nadmitted of $names denied names, after $calls calls of a flood (aim: 0)\n";
printf "%-46s" . ' %-14s' x @kinds . " %s\n", 'flood', (map { $_->[0] } @kinds), 'forgotten';
my $evicted = 'SELECT sum(evictions) FROM cozi.rate_limit_stats WHERE name IS NULL';
foreach my $n (0 .. $#floods)
{
	my ($flood, @calls) = @{ $floods[$n] };
	foreach my $kind (@kinds)
	{
		my $first = admitted(sprintf($kind->[1], "'denied $n ' || i % $names"), 6 * $names);
		die "$kind->[0]: $first of " . 5 * $names if $first != 5 * $names;
	}
	my $before = $dbh->selectrow_array($evicted);
	admitted($_, int($calls / @calls)) foreach @calls;
	my @again =
	  map { admitted(sprintf($_->[1], "'denied $n ' || i"), $names) } @kinds;
	printf "%-46s" . ' %-14s' x @kinds . " %d keys\n", $flood, @again,
	  $dbh->selectrow_array($evicted) - $before;
}
