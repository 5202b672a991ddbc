# What it costs to tell that something has changed: NOTIFY in every vote's transaction,
# against notify_throttled(); and what tracking changes adds to a fold.
# conf: shared_preload_libraries = 'cozi'
# conf: max_connections = 50
use strict;
use warnings;
use lib 'bench';
use Bench;
use Time::HiRes qw(time);

my $dbh = Bench::connect();
my $quick = $ENV{COZI_BENCH_QUICK};
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('SET client_min_messages = warning');
foreach my $t (qw(bare notified throttled folded tracked))
{
	$dbh->do("CREATE TABLE votes_$t (post int, created_at timestamptz DEFAULT now())");
}
$dbh->do(q{SELECT cozi.create_board('hot_' || b, ('votes_' || b)::regclass, 'post')
	FROM unnest('{folded,tracked}'::text[]) b});
$dbh->do(q{SELECT cozi.track_changes('hot_tracked')});

# somebody listens: without a listener nobody is woken up
my $listener = Bench::connect();
$listener->do("LISTEN $_") foreach qw(notified throttled);

my $vote = "\\set post random(1, 1000)\nBEGIN;\nINSERT INTO votes_WHICH VALUES (:post);\n";
my %tell = (
	bare => '',
	notified => "SELECT pg_notify('notified', '');\n",
	throttled => "SELECT cozi.notify_throttled('throttled');\n");
my %script =
  map { $_ => Bench::script($_, ($vote =~ s/WHICH/$_/r) . $tell{$_} . "COMMIT;\n") } keys %tell;

sub votes
{
	my ($which) = @_;
	my $tps = Bench::pgbench(
		files => [ $script{$which} ],
		clients => 16,
		seconds => $quick ? 4 : 6,
		protocol => 'prepared');
	while ($listener->pg_notifies) { }
	return $tps;
}

sub side { my ($which) = @_; return [ $which, sub { votes($which) } ]; }

Bench::title('16 clients vote, each vote a transaction, durable commits, one listener');
foreach my $old (qw(notified bare))
{
	Bench::pair(
		$old eq 'bare' ? 'notify_throttled, against the bare vote' :
		  'notify_throttled, against NOTIFY in each vote',
		runs => $quick ? 3 : 5,
		more => 1,
		unit => 'votes/s',
		$old eq 'bare' ? () : (floor => 2),
		new => side('throttled'),
		old => side($old));
}

# In one transaction, so that the worker does not see the votes before.
sub fold
{
	my ($which) = @_;
	$dbh->do('BEGIN');
	$dbh->do("INSERT INTO votes_$which SELECT g % 5000 FROM generate_series(1, 20000) g");
	my $t = time;
	$dbh->do("SELECT cozi.fold('hot_$which')");
	my $took = (time - $t) * 1000;
	$dbh->do('COMMIT');
	return $took;
}

Bench::title('20,000 votes for 5,000 posts, folded at once');
Bench::pair(
	'tracked, against a board that is not tracked',
	runs => 9,
	new => [ 'tracked', sub { fold('tracked') } ],
	old => [ 'not', sub { fold('folded') } ]);
