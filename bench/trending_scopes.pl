# top() over the scopes that a reader follows: one, 100 and 1,000 of a board of a
# million items, against LATERAL by hand and against the query that one writes
# first.  The rows are compared before anything is timed.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Posts;

my $dbh = Bench::connect();
my ($items, $scopes) = $ENV{COZI_BENCH_QUICK} ? (100_000, 2_000) : (1_000_000, 2_000);
$dbh->do('CREATE EXTENSION cozi');
$dbh->do(
	"CREATE TABLE votes AS SELECT i::bigint AS post,
	1 + (i::bigint * 7919 % $scopes)::int AS community,
	timestamptz '2024-06-01' - i * interval '11 s' AS created_at FROM generate_series(1, $items) i"
);
$dbh->do("SELECT cozi.create_board('hot', 'votes', 'post', scope => 'community')");
$dbh->do('CREATE TABLE posts AS SELECT i::bigint AS id, i % 4 <> 0 AS shown
	FROM generate_series(1, ' . $items . ') i');
$dbh->do('ALTER TABLE posts ADD PRIMARY KEY (id)');
$dbh->do('VACUUM ANALYZE hot');
$dbh->do('VACUUM ANALYZE posts');
$dbh->do('SET max_parallel_workers_per_gather = 0');

sub rows { return join "\n", map { "@$_" } @{ $dbh->selectall_arrayref($_[0]) }; }

# a sub that asks $times times and returns milliseconds of CPU a question
sub asked { return Posts::asked($dbh, @_); }

Bench::title("top 50 of $items items in $scopes scopes (the same rows, verified)");
for my $n (1, 100, 1_000)
{
	my $times = $n == 1 ? 100 : 10;
	my $list = '{' . join(',', map { 1 + $_ * 7 % $scopes } 1 .. $n) . '}';
	my $top = "SELECT item FROM cozi.top('hot', 50, scopes => '$list') ORDER BY rank";
	my $lateral = "SELECT t.item FROM unnest('$list'::int[]) s (scope), LATERAL (
		SELECT item, heat FROM hot b WHERE b.scope = s.scope
		ORDER BY heat DESC, item DESC LIMIT 50) t ORDER BY t.heat DESC, t.item DESC LIMIT 50";
	my $naive = "SELECT item FROM hot WHERE scope = ANY ('$list'::int[])
		ORDER BY heat DESC, item DESC LIMIT 50";

	die "$n scopes: top() differs from LATERAL\n" if rows($top) ne rows($lateral);
	Bench::pair("$n scopes", runs => 7,
		new => [ 'top', asked($top, $times) ],
		old => [ 'LATERAL', asked($lateral, $times) ]);
	Bench::pair("$n scopes", runs => 7,
		new => [ 'top', asked($top, $times) ],
		old => [ 'one query', asked($naive, $n == 1 ? 100 : 3) ]);
}
my $all = "SELECT item FROM cozi.top('hot', 50) ORDER BY rank";
my $sort = 'SELECT item FROM hot ORDER BY heat DESC, item DESC LIMIT 50';
die "all scopes: top() differs from the sort\n" if rows($all) ne rows($sort);
Bench::pair('all scopes', runs => 5,
	new => [ 'top', asked($all, 5) ], old => [ 'full sort', asked($sort, 1) ]);

# Rows of the caller's own table, a quarter of them hidden by a policy.
$dbh->do('CREATE ROLE reader');
$dbh->do('GRANT USAGE ON SCHEMA cozi TO reader');
$dbh->do('GRANT SELECT ON hot, posts TO reader');
$dbh->do('ALTER TABLE posts ENABLE ROW LEVEL SECURITY');
$dbh->do('CREATE POLICY shown ON posts USING (shown)');
$dbh->do('SET ROLE reader');
my $own = "SELECT id FROM cozi.top_rows(NULL::posts, 'hot', 50, '8')";
my $join = "SELECT p.id FROM cozi.top('hot', 100, '8') t JOIN posts p ON p.id = t.item::bigint
	ORDER BY t.rank LIMIT 50";
die "top_rows() differs from the join\n" if rows($own) ne rows($join);
Bench::pair('posts of one scope under a policy', runs => 5,
	new => [ 'top_rows', asked($own, 10) ], old => [ 'join by a cast', asked($join, 1) ]);
