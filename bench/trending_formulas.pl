# What trending costs: reading an index of heat, against ranking every row;
# the formulas in C, against the SQL people write.
#
# extract(epoch ...) is numeric since PostgreSQL 14: the SQL as people write it
# reckons in numeric, the float8 form is the one after somebody found out.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Posts;

my $dbh = Bench::connect();
my $n = 1_000_000;
Posts::create($dbh, $n);
my $as_of = $Posts::as_of;

sub ask { return Posts::asked($dbh, @_); }

Bench::title("top 50 of $n posts of 90 days");
my $heat = "SELECT id, heat FROM posts ORDER BY heat DESC, id DESC LIMIT 50";
Bench::pair(
	'heat index : gravity, float8, full sort',
	runs => 7,
	floor => 1000,
	new => [ 'heat index', ask($heat, 100) ],
	old => [
		'SQL float8',
		ask("SELECT id, (points - 1) / power(extract(epoch
			FROM timestamptz '$as_of' - created_at)::float8 / 3600 + 2, 1.8::float8) AS v
			FROM posts ORDER BY v DESC, id DESC LIMIT 50")
	]);
Bench::pair(
	'heat index : gravity, numeric, full sort',
	runs => 5,
	floor => 1000,
	warm => 1,
	new => [ 'heat index', ask($heat, 100) ],
	old => [
		'SQL numeric',
		ask("SELECT id, (points - 1) / power(extract(epoch
			FROM timestamptz '$as_of' - created_at) / 3600 + 2, 1.8) AS v
			FROM posts ORDER BY v DESC, id DESC LIMIT 50")
	]);
Bench::pair(
	'heat index : gravity in C, full sort',
	runs => 7,
	new => [ 'heat index', ask($heat, 100) ],
	old => [
		'cozi.gravity',
		ask("SELECT id, cozi.gravity(points, created_at, '$as_of') AS v FROM posts
			ORDER BY v DESC, id DESC LIMIT 50"
		)
	]);
my ($keyset) =
  $dbh->selectrow_array("SELECT heat FROM posts ORDER BY heat DESC, id DESC OFFSET 49 LIMIT 1");
Bench::pair(
	'the next page : OFFSET 5000',
	runs => 7,
	new => [
		'keyset',
		ask("SELECT id, heat FROM posts WHERE (heat, id) < ($keyset, 0) ORDER BY heat DESC, id DESC
			LIMIT 50",
			100)
	],
	old => [
		'OFFSET',
		ask("SELECT id, heat FROM posts ORDER BY heat DESC, id DESC OFFSET 5000 LIMIT 50", 100)
	]);

# A call costs what the query costs above one that does all but the call.
$dbh->do('SET max_parallel_workers_per_gather = 0');
$dbh->do(
	"CREATE TABLE week AS SELECT * FROM posts
		WHERE created_at > timestamptz '$as_of' - interval '7 days'"
);
$dbh->do('VACUUM ANALYZE week');
my ($rows) = $dbh->selectrow_array('SELECT count(*) FROM week');

sub per_call
{
	my ($call, $bare) = @_;
	my $time = sub {
		my $t = Time::HiRes::time();
		$dbh->selectall_arrayref($_[0]);
		return Time::HiRes::time() - $t;
	};
	return sub {
		my $base = Bench::median(map { $time->("SELECT count($bare) FROM week") } 1 .. 3);
		return ($time->("SELECT count($call) FROM week") - $base) / $rows * 1e6;
	};
}
Bench::title("one call, over the $rows posts of the last 7 days");
Bench::pair(
	'hot_rank : the same in SQL numeric',
	runs => 5,
	unit => 'us',
	floor => 100,
	new =>
	  [ 'cozi.hot_rank', per_call("cozi.hot_rank(points, created_at, '$as_of')", 'created_at') ],
	old => [
		'SQL numeric',
		per_call(
			"CASE WHEN created_at < '$as_of' AND created_at > timestamptz '$as_of'
				- interval '7 days'
			THEN log(greatest(2, points + 2)::numeric) / power(extract(epoch
				FROM timestamptz '$as_of' - created_at) / 3600 + 2, 1.8) ELSE 0 END",
			'created_at')
	]);
Bench::pair(
	'hot_rank : the same in SQL float8',
	runs => 5,
	unit => 'us',
	new =>
	  [ 'cozi.hot_rank', per_call("cozi.hot_rank(points, created_at, '$as_of')", 'created_at') ],
	old => [
		'SQL float8',
		per_call(
			"CASE WHEN created_at < '$as_of' AND created_at > timestamptz '$as_of'
				- interval '7 days'
			THEN log(greatest(2, points + 2)::float8) / power(extract(epoch
				FROM timestamptz '$as_of' - created_at)::float8 / 3600 + 2, 1.8::float8)
				ELSE 0 END",
			'created_at')
	]);

Bench::title("the heat of $n votes on 20,000 posts");
$dbh->do(
	"CREATE TABLE votes AS SELECT (random() * random() * 20000)::int AS item,
	timestamptz '$as_of' - random() * interval '30 days' AS at
	FROM generate_series(1, $n)");
$dbh->do('VACUUM ANALYZE votes');
my $sum = "SELECT item, cozi.heat_agg(1, at, '6 hours') FROM votes GROUP BY item";
Bench::pair(
	'heat_agg : sum() in float8',
	runs => 5,
	new => [ 'heat_agg', ask($sum) ],
	old => [
		'SQL float8',
		ask("SELECT item,
			ln(sum(power(2::float8, extract(epoch
			FROM at - timestamptz '2026-05-01')::float8 / 21600))) / ln(2::float8) FROM votes
			GROUP BY item"
		)
	]);
Bench::pair(
	'heat_agg : sum() in numeric',
	runs => 5,
	warm => 1,
	new => [ 'heat_agg', ask($sum) ],
	old => [
		'SQL numeric',
		ask("SELECT item,
			log(2, sum(power(2, extract(epoch FROM at - timestamptz '2026-05-01') / 21600)))
			FROM votes GROUP BY item"
		)
	]);
$dbh->do('RESET max_parallel_workers_per_gather');
