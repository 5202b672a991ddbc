# The first and the tenth page of a feed, 20 rows each, against every way to write
# the query by hand: callers who follow few and many, accounts that write much, any,
# or have been dead for long.  5,000,000 posts of skewed authors; a policy on the
# posts, and block edges.  CPU time of the backend, planning included.
#
# The rows of all ways are compared before anything is timed.  The ways take turns;
# what counts is the median of each.  A way that once takes more than $patience
# seconds counts as that long.  At the end, 64 clients at once: the median, p95 and p99.
# conf: max_connections = 100
use strict;
use warnings;
use lib 'bench';
use Bench;
use Caller;

$| = 1;
my $quick = $ENV{COZI_BENCH_QUICK};
my ($posts, $authors, $patience) = $quick ? (300_000, 20_000, 2) : (5_000_000, 200_000, 2);
my @counts = $quick ? (10, 300, 2_000, 10_000) : (10, 300, 5_000, 100_000);
my $times = $ENV{COZI_BENCH_TIMES} || 7;
my $dbh = Bench::connect();

# The first authors write most; those beyond $authors wrote once, long ago.  The
# viewers are numbered: 10 active, 300 active, ... 10 spread, ... 10 dead, ...
my @viewers = map {
	my $kind = $_;
	map { { kind => $kind, n => $_ } } @counts
} qw(active spread dead);
$viewers[$_]{id} = -1 - $_ foreach 0 .. $#viewers;
my %followee = (
	active => sub { 'g' },
	spread => sub { 'g * ' . int($authors / $_[0]) },
	dead => sub { "$authors + g" });

Caller::prepare($dbh);
$dbh->do($_)
  for (
	'SELECT setseed(0.5)',
	"CREATE TABLE posts AS SELECT g AS id, CASE WHEN g <= $counts[-1] THEN $authors + g - 1
		ELSE floor($authors * power(random(), 3))::bigint END AS author_id,
		g % 50 = 0 AS hidden, timestamptz '2026-01-01' + g * interval '1 second' AS created_at,
		repeat('x', 100) AS body FROM generate_series(1::bigint, $posts) g",
	'ALTER TABLE posts ADD PRIMARY KEY (id)',
	'CREATE INDEX ON posts (author_id, created_at DESC, id DESC)',
	'CREATE INDEX ON posts (created_at DESC, id DESC)',
	'CREATE TABLE follows (follower bigint, author bigint, PRIMARY KEY (follower, author))',
	'CREATE TABLE blocks (blocker bigint, blocked bigint, PRIMARY KEY (blocker, blocked))',
	'CREATE INDEX ON blocks (blocked, blocker)',
	'ALTER TABLE posts ENABLE ROW LEVEL SECURITY',
	'CREATE POLICY shown ON posts USING (NOT hidden)',
	'GRANT SELECT ON posts, follows TO app',
	(   map {
				"INSERT INTO follows SELECT $_->{id}, "
			  . $followee{ $_->{kind} }->($_->{n})
			  . " FROM generate_series(0::bigint, $_->{n} - 1) g"
		} @viewers),
	"INSERT INTO blocks SELECT v, $authors * 10 + g FROM generate_series(-12, -1) v, "
	. 'generate_series(1, 50) g',
	"SELECT cozi.register_edge('following', 'follows', 'follower', 'author')",
	"SELECT cozi.register_edge('blocked', 'blocks', 'blocker', 'blocked')",
	'VACUUM ANALYZE');

sub ways
{
	my ($id, $after) = @_;
	my $f = "SELECT author FROM follows WHERE follower = $id";
	my $older = $after ? "AND (created_at, id) < ('$after->[0]', $after->[1])" : '';
	my $end = 'ORDER BY created_at DESC, id DESC LIMIT 20';
	return (
		LATERAL => "SELECT p.id FROM ($f) f (author) CROSS JOIN LATERAL (SELECT id, created_at "
		  . "FROM posts WHERE author_id = f.author $older $end) p $end",
		IN => "SELECT id FROM posts WHERE author_id IN ($f) $older $end",
		ANY => "SELECT id FROM posts WHERE author_id = ANY (ARRAY($f)) $older $end",
		EXISTS => "SELECT id FROM posts p WHERE EXISTS (SELECT FROM follows WHERE follower = $id "
		  . "AND author = p.author_id) $older $end",

		# Lemmy's: the page of the followee with most posts bounds the page of all
		two => "WITH bound AS MATERIALIZED (SELECT min(created_at) AS at FROM (SELECT created_at "
		  . "FROM posts WHERE author_id = (SELECT min(author) FROM follows WHERE follower = $id) "
		  . "$older $end) b HAVING count(*) = 20) "
		  . "SELECT id FROM posts WHERE author_id IN ($f) $older AND created_at >= "
		  . "coalesce((SELECT at FROM bound), '-infinity') $end");
}

sub rows
{
	my ($id, $query) = @_;
	$dbh->begin_work;
	$dbh->do("SELECT cozi.act_as('$id')");
	$dbh->do('SET LOCAL ROLE app');
	my $rows = $dbh->selectall_arrayref($query);
	$dbh->rollback;
	return $rows;
}

my ($worst_ratio, %total) = (0);
print "\na feed of 20 from $posts posts: ms of CPU, a policy and blocks in force\n";
printf "%-8s %7s %4s %9s  %s\n", 'authors', 'follows', 'page', 'feed',
  'by hand: LATERAL, IN, = ANY, EXISTS, two steps; times the best, the worst';
foreach my $viewer (@viewers)
{
	my $token = Caller::token($viewer->{id});
	my $after;
	foreach my $page (1, 10)
	{
		my $feed =
			"SELECT item FROM cozi.feed('posts', 'following', 20"
		  . ($after ? ", after => cozi.cursor_encode('$after->[0]'::timestamptz, $after->[1])" : '')
		  . ')';
		my %way = ways($viewer->{id}, $after);
		my $ids = join ' ', map { $_->[0] } @{ rows($viewer->{id}, $feed) };
		my $plain = $way{ $viewer->{kind} eq 'dead' ? 'LATERAL' : 'IN' };
		die "$viewer->{kind} $viewer->{n}: the feed differs from the plain query\n"
		  if $ids ne join ' ', map { $_->[0] } @{ rows($viewer->{id}, $plain) };

		my ($ms, @others) = Caller::costs($dbh, $token, $times, $patience, $feed,
			map { $way{$_} } qw(LATERAL IN ANY EXISTS two));
		my ($best, $worst) = (sort { $a <=> $b } @others)[ 0, -1 ];
		$worst_ratio = $ms / $best if $ms / $best > $worst_ratio;
		$total{feed} += $ms;
		$total{ (qw(LATERAL IN ANY EXISTS two))[$_] } += $others[$_] foreach 0 .. $#others;
		printf "%-8s %7d %4d %9.2f  %s; %.2fx, %.0fx\n", $viewer->{kind}, $viewer->{n}, $page, $ms,
		  join(', ', map { sprintf '%.2f', $_ } @others), $ms / $best, $worst / $ms;

		# nine pages on
		my $last = "SELECT (array_agg(rank_value))[180], (array_agg(item))[180] "
		  . "FROM cozi.feed('posts', 'following', 180)";
		$after = rows($viewer->{id}, $last)->[0];
		last unless defined $after->[1];
	}
}
printf "at most %.2f times the best way by hand; all points together, ms: %s\n", $worst_ratio,
  join ', ', map { sprintf '%s %.0f', $_, $total{$_} } qw(feed LATERAL IN ANY EXISTS two);

# All viewers, at random, 64 at once.
my $script = Bench::script('feed',
	"\\set viewer random(1, " . scalar(@viewers) . ")
	BEGIN;
	SELECT cozi.act_as((-:viewer)::text);
	SET LOCAL ROLE app;
	SELECT item FROM cozi.feed('posts', 'following', 20);
	COMMIT;\n");
Bench::pgbench(clients => 64, seconds => $quick ? 5 : 20, files => [$script],
	args => [ '-l', "--log-prefix=$ENV{COZI_WORK}/feed_log" ]);
my @latencies = sort { $a <=> $b } map { (split)[2] / 1000 } map {
	open my $log, '<', $_ or die $!;
	<$log>
} glob "$ENV{COZI_WORK}/feed_log*";
printf "64 clients at once, all callers at random, ms a feed with its login: "
  . "median %.1f, p95 %.1f, p99 %.1f of %d\n",
  (map { $latencies[ $#latencies * $_ ] } 0.5, 0.95, 0.99), scalar @latencies;
