# What a refusal costs, and whether it grows with the limit: CPU time of the
# backend, a call.  Both sides of a row are calls of one session, in turns.
use strict;
use warnings;
use Bench;

my $n = 20_000;
my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('SET max_parallel_workers_per_gather = 0');
my $pid = $dbh->{pg_pid};

sub cpu
{
	open(my $stat, '<', "/proc/$pid/schedstat") or die "/proc/$pid/schedstat: $!";
	return (split ' ', scalar <$stat>)[0];
}

# Nanoseconds of a call, with all that the row costs; dies unless each answer is that.
sub of_call
{
	my ($call, $admitted) = @_;
	return sub {
		my $before = cpu();
		my $passed =
		  $dbh->selectrow_array("SELECT count(*) FROM generate_series(1, $n) i WHERE $call");
		die "$call: $passed of $n" if $passed != ($admitted ? $n : 0);
		return (cpu() - $before) / $n;
	};
}

# Use up a budget of an exact limit.
sub fill
{
	my ($key, $max) = @_;
	$dbh->do("SELECT count(cozi.rate_limit('$key' || substr('', i), $max, '24 h'))
		FROM generate_series(1, $max) i");
	return;
}
$dbh->do("SELECT cozi.rate_limit('first', 1, '1 s')");
my $most = $dbh->selectrow_array(
	'SELECT log_max_calls FROM cozi.rate_limit_stats WHERE name IS NULL');
my $half = int($most / 2);
fill('short', 5);
fill('long', $most);
fill('lowered', $most);

my $short = of_call("cozi.rate_limit('short' || substr('', i), 5, '24 h')");
Bench::title("refused calls, exact: as long as one of a limit of 5; log of $most calls");
foreach my $row (
	[ 'a full log',       "cozi.rate_limit('long' || substr('', i), $most, '24 h')" ],
	[ 'a lowered limit',  "cozi.rate_limit('lowered' || substr('', i), 10, '24 h')" ],
	[ 'lowered by a few', "cozi.rate_limit('lowered' || substr('', i), $most - 5, '24 h')" ],
	[
		'each time another limit',
		"cozi.rate_limit('lowered' || substr('', i), 1 + (i * 7919) % ($most - 1), '24 h')"
	],
	[
		'a dear call', "cozi.rate_limit('long' || substr('', i), $most, '24 h', 1 + i % $half)"
	])
{
	Bench::pair(
		$row->[0],
		runs => 7,
		unit => 'ns',
		new => [ 'long', of_call($row->[1]) ],
		old => [ 'short', $short ]);
}

# The whole of the memory full of a few long logs: a new key takes a place of one.
fill("giant $_", $most) foreach 1 .. 40;
my $serial = 0;

sub new_keys
{
	my ($where) = @_;
	return sub {
		$serial++;
		return of_call("cozi.rate_limit('$where $serial ' || i, 5, '24 h')", 1)->();
	};
}
Bench::pair(
	'a new key where memory is full of long logs',
	runs => 7,
	unit => 'ns',
	new => [ 'new', new_keys('new') ],
	old => [ 'short', $short ]);
