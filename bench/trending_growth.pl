# What a board costs as it grows: a vote, a fold of 100 votes, the top 50, in CPU of the
# backend, and the bytes of board and state, where each item has one vote.
use strict;
use warnings;
use lib 'bench';
use Bench;

my $dbh = Bench::connect();
my @items = $ENV{COZI_BENCH_QUICK} ? (10_000, 1_000_000) : (10_000, 1_000_000, 10_000_000);
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('SET synchronous_commit = off');

# The milliseconds of CPU of each of so many calls.
sub laps
{
	my ($runs, $work) = @_;
	my @ms;
	for my $run (1 .. $runs)
	{
		my $began = Bench::cpu($dbh);
		$work->($run);
		push @ms, Bench::cpu($dbh) - $began;
	}
	return @ms;
}

# What is loaded is not what is measured, and need not be durable.
sub durable
{
	my ($on) = @_;
	$dbh->do("ALTER SYSTEM SET fsync = $on");
	$dbh->do('SELECT pg_reload_conf()');
	return;
}

sub bytes
{
	my ($relation) = @_;
	return ($dbh->selectrow_array('SELECT pg_total_relation_size(?::regclass)', undef, $relation))
	  [0];
}

print "\na board of so many items, each with one vote; CPU of one client, "
  . "commits that do not wait\n";
printf "%-12s %-26s %-26s %-26s %s\n", 'items', 'a vote, ms', 'a fold of 100 votes, ms',
  'top 50, ms', 'board + state / votes';
my $voter = 0;
for my $n (@items)
{
	durable('off');
	$dbh->do("CREATE TABLE votes (post bigint, voter bigint, value smallint NOT NULL,
		created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (post, voter))");
	$dbh->do("INSERT INTO votes SELECT g, 0, 1, now() - interval '90 days' * (1 - g / $n.0)
		FROM generate_series(1, $n) g");
	my $before = bytes('cozi.kept_state');
	$dbh->do("SELECT cozi.create_board('hot', 'votes', 'post', 'value')");
	my $size = (bytes('hot') + bytes('cozi.kept_state') - $before) / bytes('votes');
	$dbh->do('VACUUM ANALYZE');
	durable('on');
	$dbh->do('CHECKPOINT');

	my $vote = $dbh->prepare('INSERT INTO votes VALUES ((random() * ?)::bigint, ?, 1)');
	my $fold = $dbh->prepare(q{SELECT cozi.fold('hot')});
	my @vote = laps(500, sub { $vote->execute($n, ++$voter) });
	$fold->execute;
	my (@fold, @top);
	for (1 .. 30)
	{
		$dbh->do("INSERT INTO votes SELECT (random() * $n)::bigint, $voter + g, 1
			FROM generate_series(1, 100) g");
		$voter += 100;
		push @fold, laps(1, sub { $fold->execute });
		push @top, laps(1, sub { $dbh->selectall_arrayref(q{SELECT * FROM cozi.top('hot', 50)}) });
	}
	printf "%-12d %-26s %-26s %-26s %.2fx\n", $n,
	  (map { Bench::spread('%.2f', (sort { $a <=> $b } @$_)[ @$_ / 20 .. $#$_ - @$_ / 20 ]) }
		  \@vote, \@fold, \@top),
	  $size;
	my ($wrong) = $dbh->selectrow_array(q{SELECT count(*) FROM cozi.verify_board('hot')});
	die "hot differs from a recount in $wrong items\n" if $wrong;
	durable('off');
	$dbh->do('DROP TABLE votes CASCADE');
	$dbh->do('VACUUM cozi.kept_state, cozi.kept_delta');
}
