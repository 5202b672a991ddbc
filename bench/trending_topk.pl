# top_ranked: the exact top 50 of a million posts under formulas whose order
# drifts, against the full sort of the same table.  The rows are compared
# before anything is timed.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Posts;

my $dbh = Bench::connect();
my $n = 1_000_000;
Posts::create($dbh, $n);
my $as_of = $Posts::as_of;

my %walk = map {
	$_ => "SELECT item, value FROM cozi.top_ranked('posts', '$_', 50, points => 'points',
	  	interactions => 'interactions', as_of => '$as_of') ORDER BY rank"
} qw(gravity hot_rank scaled_rank);
my %call = (
	gravity => "cozi.gravity(points, created_at, '$as_of')",
	hot_rank => "cozi.hot_rank(points, created_at, '$as_of')",
	scaled_rank => "cozi.scaled_rank(points, created_at, interactions, '$as_of')");
my %sort =
  map { $_ => "SELECT id, $call{$_} AS v FROM posts ORDER BY v DESC, id DESC LIMIT 50" } keys %call;
my $sql = "SELECT id, (points - 1) / power(extract(epoch
      FROM timestamptz '$as_of' - created_at)::float8 / 3600 + 2, 1.8::float8) AS v
	FROM posts ORDER BY v DESC, id DESC LIMIT 50";

sub rows
{
	return join "\n", map { "@$_" } @{ $dbh->selectall_arrayref($_[0]) };
}
sub ask { return Posts::asked($dbh, @_); }

sub ids
{
	return join ' ', map { $_->[0] } @{ $dbh->selectall_arrayref($_[0]) };
}

sub verify
{
	for my $f (sort keys %walk)
	{
		die "$f: top_ranked differs from the full sort\n" if rows($walk{$f}) ne rows($sort{$f});
	}
	die "gravity: top_ranked differs from plain SQL\n" if ids($walk{gravity}) ne ids($sql);
	return;
}

sub fetched
{
	my ($f) = @_;
	my $count = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'posts'";
	$dbh->begin_work;
	my ($before) = $dbh->selectrow_array($count);
	$dbh->selectall_arrayref($walk{$f});
	my ($after) = $dbh->selectrow_array($count);
	$dbh->commit;
	return $after - ($before || 0);
}

verify();
Bench::title("top 50 of $n posts of 90 days, the same rows (verified)");
Bench::pair(
	'gravity : plain SQL float8, full sort',
	runs => 7,
	floor => 50,
	new => [ 'top_ranked', ask($walk{gravity}, 10) ],
	old => [ 'full sort', ask($sql) ]);
Bench::pair(
	"$_ : cozi.$_(), full sort",
	runs => 7,
	$_ eq 'gravity' ? (floor => 50) : (),
	new => [ 'top_ranked', ask($walk{$_}, 10) ],
	old => [ 'full sort', ask($sort{$_}) ]) for qw(gravity hot_rank scaled_rank);
print "  rows read of $n: ",
  join(', ', map { "$_ " . fetched($_) } qw(gravity hot_rank scaled_rank)), "\n";

# Within a window: score needs one index or the other, whichever ends first.
for my $window ('1 hour', '1 day', '7 days', '30 days')
{
	my $since = "timestamptz '$as_of' - interval '$window'";
	my $top = "SELECT item, value::int FROM cozi.top_ranked('posts', 'score', 50,
		points => 'points', as_of => '$as_of', since => $since) ORDER BY rank";
	my $full = "SELECT id, points FROM posts WHERE created_at >= $since
		ORDER BY points DESC, id DESC LIMIT 50";
	die "top of $window differs from the full sort\n" if rows($top) ne rows($full);

	# what a site without the two indexes does: the table is read, and sorted
	my $naive = "SELECT id, points FROM posts WHERE created_at + interval '0' >= $since
		ORDER BY points + 0 DESC, id DESC LIMIT 50";
	Bench::pair(
		"top of $window by score",
		runs => 7,
		$window eq '7 days' ? (floor => 100) : (),
		new => [ 'top_ranked', ask($top, 10) ],
		old => [ 'full sort', ask($naive) ]);
}

$dbh->do('DROP INDEX posts_points, posts_created_at');
$dbh->do('CREATE INDEX posts_points ON posts (points DESC) INCLUDE (created_at, id)');
$dbh->do('CREATE INDEX posts_created_at ON posts (created_at DESC) INCLUDE (points, id)');
$dbh->do('VACUUM posts');
verify();
Bench::pair(
	'gravity, covering indexes',
	runs => 7,
	new => [ 'top_ranked', ask($walk{gravity}, 10) ],
	old => [ 'full sort', ask($sort{gravity}) ]);
$dbh->do('DROP INDEX posts_points');
verify();
Bench::pair(
	'gravity, no index on points',
	runs => 7,
	new => [ 'top_ranked', ask($walk{gravity}, 10) ],
	old => [ 'full sort', ask($sort{gravity}) ]);
