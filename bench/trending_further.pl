# What a further board costs: the CPU of one vote with no board, with one, with a
# second on the same item, weight and time columns, and with one of other columns.
# CPU, by the backend's schedstat, since what other work the machine does moves the
# clock more than a board, and the least of many rounds for the same reason; the
# fold that the voter does on the way out is in it.
# Every figure is of boards that afterwards equal a recount.
use strict;
use warnings;
use lib 'bench';
use Bench;
my $dbh = Bench::connect();
my $quick = $ENV{COZI_BENCH_QUICK};
my ($votes, $rounds) = $quick ? (500, 15) : (2_000, 25);
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('SET synchronous_commit = off');
$dbh->do('SET client_min_messages = warning');
my @sides = qw(none one same other);
for my $side (@sides)
{
	$dbh->do("CREATE TABLE votes_$side (post bigint, voter bigint, value smallint, author int,
		created_at timestamptz DEFAULT now(), cast_at timestamptz DEFAULT now())");
	$dbh->do("SELECT cozi.create_board('hot_$side', 'votes_$side', 'post', 'value')")
	  if $side ne 'none';
}
$dbh->do(q{SELECT cozi.create_board('week_same', 'votes_same', 'post', 'value',
	half_life => '7 days')});
$dbh->do(q{SELECT cozi.create_board('karma_other', 'votes_other', 'author', 'value',
	voted_at => 'cast_at')});

# microseconds a vote, each a transaction
my $n = 0;
sub vote
{
	my ($side) = @_;
	my $insert = $dbh->prepare("INSERT INTO votes_$side VALUES (?, ?, 1, ?)");
	my $began = Bench::cpu($dbh);

	for (1 .. $votes)
	{
		$n++;
		$insert->execute($n * 7919 % 100_000, $n, $n * 31 % 5_000);
	}
	return (Bench::cpu($dbh) - $began) * 1e3 / $votes;
}

my %took;
for my $round (0 .. $rounds)
{
	for my $side (@sides)
	{
		my $one = vote($side);
		push @{ $took{$side} }, $one if $round > 0;
	}
}
my %us = map { $_ => (sort { $a <=> $b } @{ $took{$_} })[0] } @sides;
my $first = $us{one} - $us{none};

print "\nCPU of one vote, least of $rounds rounds, commits that do not wait for the disk\n";
printf "%-44s %8.0f us\n", @$_
  for [ 'no board', $us{none} ], [ 'a board', $us{one} ],
  [ 'a second one on the same columns', $us{same} ], [ 'a second one on others', $us{other} ];
printf "a further board costs %.0f %% of the first on the same columns (at most 40 wanted),"
  . " %.0f %% on others (at most 100)\n",
  100 * ($us{same} - $us{one}) / $first, 100 * ($us{other} - $us{one}) / $first;
for my $board (qw(hot_one hot_same week_same hot_other karma_other))
{
	my ($wrong) = $dbh->selectrow_array("SELECT count(*) FROM cozi.verify_board('$board')");
	die "$board differs from a recount in $wrong items\n" if $wrong;
}
