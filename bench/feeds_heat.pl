# The hottest 20 of 10, 300 and 5,000 communities, and the tenth page: feed_of() on a
# board of 1,000,000 items in 20,000 communities of skewed size, and top(), against
# every way to write the query by hand.  CPU time of the backend, planning included.
#
# The rows are compared before anything is timed; the ways take turns, and what counts
# is the median of each.  One that takes more than 2 seconds counts as that long.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Caller;

$| = 1;
my $quick = $ENV{COZI_BENCH_QUICK};
my ($items, $scopes) = $quick ? (100_000, 2_000) : (1_000_000, 20_000);
my @counts = $quick ? (10, 300, 1_000) : (10, 300, 5_000);
my $times = $ENV{COZI_BENCH_TIMES} || 7;
my $dbh = Bench::connect();

# The first communities have most items; those from $scopes on one each, long ago.
Caller::prepare($dbh);
$dbh->do($_)
  for (
	'SELECT setseed(0.5)',
	"CREATE TABLE votes AS SELECT g AS post, CASE WHEN g > $items - $counts[-1]
		THEN $scopes + g - $items + $counts[-1] - 1
		ELSE floor($scopes * power(random(), 3))::bigint END AS community,
		timestamptz '2026-01-01' - g * interval '11 s' AS created_at
		FROM generate_series(1::bigint, $items) g",
	"SELECT cozi.create_board('hot', 'votes', 'post', scope => 'community')",
	'CREATE INDEX ON hot (heat DESC, item DESC)',
	'GRANT SELECT ON hot TO app',
	'CREATE TABLE members (member bigint, community bigint, PRIMARY KEY (member, community))',
	'GRANT SELECT ON members TO app',
	'VACUUM ANALYZE');

sub rows
{
	return join ' ', map { $_->[0] } @{ $dbh->selectall_arrayref($_[0]) };
}

# The best and the other ways by hand, after a place; the members of -1 are the list.
sub ways
{
	my ($list, $older) = @_;
	my $end = 'ORDER BY heat DESC, item DESC LIMIT 20';
	return (
		"SELECT t.item FROM unnest('$list'::bigint[]) s (scope) CROSS JOIN LATERAL (SELECT item, "
		  . "heat FROM hot b WHERE b.scope = s.scope $older $end) t $end",
		"SELECT item FROM hot WHERE scope = ANY ('$list'::bigint[]) $older $end",
		"SELECT item FROM hot WHERE scope IN (SELECT community FROM members WHERE member = -1) "
		  . "$older $end",
		"SELECT item FROM hot b WHERE EXISTS (SELECT FROM members WHERE member = -1 AND "
		  . "community = b.scope) $older $end");
}

my %first = (active => 0, spread => 0, dead => $scopes);
my $token = Caller::token('-1');
my $worst = 0;
print "\nthe hottest 20 of $items items: ms of CPU\n";
printf "%-8s %7s %4s %9s %9s  %s\n", 'scopes', 'of them', 'page', 'feed_of', 'top',
  'by hand: LATERAL, = ANY, IN, EXISTS; feed_of times the best';
foreach my $kind (qw(active spread dead))
{
	foreach my $n (@counts)
	{
		my $step = $kind eq 'spread' ? int($scopes / $n) : 1;
		my @scopes = map { $first{$kind} + $_ * $step } 0 .. $n - 1;
		my $list = '{' . join(',', @scopes) . '}';
		$dbh->do('TRUNCATE members');
		$dbh->do("INSERT INTO members SELECT -1, unnest('$list'::bigint[])");
		$dbh->do('ANALYZE members');
		my $after = '';
		my $older = '';
		foreach my $page (1, 10)
		{
			my $feed = "SELECT item FROM cozi.feed_of('hot', '$list'::bigint[], 20, 'scope', "
			  . "'item', 'heat'$after)";
			my $top = "SELECT item FROM cozi.top('hot', 20, scopes => '$list') ORDER BY rank";
			my @ways = ways($list, $older);
			my $rows = rows($feed);
			die "$kind $n: the rows differ\n"
			  if grep { rows($_) ne $rows } $ways[0], $page == 1 ? $top : ();

			my @queries = ($feed, @ways, $page == 1 ? $top : ());
			my ($ms, @others) = Caller::costs($dbh, $token, $times, 2, @queries);
			my $of_top = $page == 1 ? sprintf('%.2f', pop @others) : '';
			my ($best) = sort { $a <=> $b } @others;
			$worst = $ms / $best if $ms / $best > $worst;
			printf "%-8s %7d %4d %9.2f %9s  %s; %.2fx\n", $kind, $n, $page, $ms, $of_top,
			  join(', ', map { sprintf '%.2f', $_ } @others), $ms / $best;

			# nine pages on
			my $last = $dbh->selectrow_arrayref(
				"SELECT (array_agg(cursor))[180], (array_agg(rank_value))[180],
				(array_agg(item))[180] FROM cozi.feed_of('hot', '$list'::bigint[], 180, 'scope',
				'item', 'heat')");
			last unless defined $last->[0];
			$after = ", after => '$last->[0]'";
			$older = "AND (heat, item) < ('$last->[1]', $last->[2])";
		}
	}
}
printf "at most %.2f times the best way by hand\n", $worst;
