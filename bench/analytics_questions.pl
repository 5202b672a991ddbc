# Questions about activity: from the summary, in one pass over the events, and as
# they are usually asked.  The answers are compared before anything is timed.  Then
# what keeping the summary costs those who write events.
#
# COZI_DUCKDB names a directory where "npm install @duckdb/node-api" was run: the same
# questions are asked of DuckDB there, of the same events.
use strict;
use warnings;
use lib 'bench';
use Bench;

my $dbh = Bench::connect();
my $quick = $ENV{COZI_BENCH_QUICK};
my ($events, $users) = $quick ? (500_000, 20_000) : (5_000_000, 200_000);
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('SET max_parallel_workers_per_gather = 0');
$dbh->do('CREATE TABLE events (user_id bigint, event text, created_at timestamptz)');
$dbh->do('SELECT setseed(0.5)');
$dbh->do(
	"INSERT INTO events
	SELECT 1 + floor($users * random() ^ 3), 'view',
	       '2026-03-01'::timestamptz + random() * interval '60 days'
	FROM generate_series(1, $events)");
$dbh->do(q{SELECT cozi.create_activity('activity', 'events', 'user_id')});
$dbh->do('VACUUM ANALYZE');
$dbh->do(q{SET timezone = 'UTC'});

my %question = (
	mau => q{SELECT mau_month FROM cozi.active_users('activity', '2026-03-31', '2026-03-31')},
	mau_table => q{SELECT count(*) FROM activity WHERE month = '2026-03-01'},
	mau_count => q{SELECT count(DISTINCT user_id) FROM events
		WHERE created_at >= '2026-03-01' AND created_at < '2026-04-01'},
	dau => q{SELECT day, dau FROM cozi.active_users('activity', '2026-03-01', '2026-04-29')},
	dau_count => q{SELECT created_at::date, count(DISTINCT user_id) FROM events GROUP BY 1
		ORDER BY 1},
	retention => q{SELECT cohort, period, users
		FROM cozi.retention('activity', 'day', '2026-03-01', '2026-04-29', 60)
		WHERE users > 0 ORDER BY 1, 2},
	retention_join => q{
		WITH active AS (SELECT DISTINCT user_id, created_at::date AS day FROM events),
		first AS (SELECT user_id, min(day) AS cohort FROM active GROUP BY 1)
		SELECT cohort, day - cohort, count(*) FROM first JOIN active USING (user_id)
		GROUP BY 1, 2 ORDER BY 1, 2},
	retention_pass => q{
		WITH m AS (SELECT cozi.retention_of_events(user_id, created_at::date, '2026-03-01', 60, 60)
			AS m FROM events)
		SELECT '2026-03-01'::date + c, p, m[c + 1][p + 1]
		FROM m, generate_series(0, 59) c, generate_series(0, 59) p
		WHERE m[c + 1][p + 1] > 0 ORDER BY 1, 2},
	retention_masks => q{
		WITH m AS (SELECT cozi.retention_matrix(mask, 60, 60) AS m FROM (
			SELECT cozi.activity_days(created_at::date, '2026-03-01') AS mask
			FROM events GROUP BY user_id) u)
		SELECT '2026-03-01'::date + c, p, m[c + 1][p + 1]
		FROM m, generate_series(0, 59) c, generate_series(0, 59) p
		WHERE m[c + 1][p + 1] > 0 ORDER BY 1, 2});

sub answer
{
	my ($question) = @_;
	my $rows = $dbh->selectall_arrayref($question{$question});
	return join "\n", map { join '|', @$_ } @$rows;
}

foreach my $pair (
	[qw(mau mau_count)], [qw(mau_table mau_count)], [qw(dau dau_count)],
	[qw(retention retention_join)],
	[qw(retention_pass retention_join)], [qw(retention_masks retention_join)])
{
	die "$pair->[0] differs from $pair->[1]\n" if answer($pair->[0]) ne answer($pair->[1]);
}

sub ask
{
	my ($name, $question) = @_;
	return [ $name, sub { answer($question); return } ];
}

Bench::title("$events events of $users users over 60 days, one process; all answers are equal");
Bench::pair(
	'the MAU of a month',
	runs => 3,
	floor => 20,
	new => ask('rows of the summary', 'mau_table'),
	old => ask('COUNT(DISTINCT)', 'mau_count'));
Bench::pair(
	'the same, by active_users()',
	runs => 3,
	new => ask('summary', 'mau'),
	old => ask('COUNT(DISTINCT)', 'mau_count'));
Bench::pair(
	'60 days of DAU',
	runs => 3,
	floor => 20,
	new => ask('summary', 'dau'),
	old => ask('COUNT(DISTINCT)', 'dau_count'));
Bench::pair(
	'retention of 60 cohorts',
	runs => 3,
	floor => 200,
	new => ask('summary', 'retention'),
	old => ask('self-join', 'retention_join'));
Bench::pair(
	'retention of 60 cohorts, no summary',
	runs => 3,
	floor => 5,
	new => ask('one pass', 'retention_pass'),
	old => ask('self-join', 'retention_join'));
Bench::pair(
	'the same by masks, which can spill',
	runs => 3,
	new => ask('a mask per user', 'retention_masks'),
	old => ask('self-join', 'retention_join'));

if (my $duckdb = $ENV{COZI_DUCKDB})
{
	my $csv = "$ENV{COZI_WORK}/events.csv";
	open my $file, '>', $csv or die $!;
	$dbh->do(
		q{COPY (SELECT user_id, event, created_at AT TIME ZONE 'UTC' FROM events)
		TO STDOUT CSV});
	my $row;
	print $file $row while $dbh->pg_getcopydata(\$row) >= 0;
	close $file or die $!;
	Bench::title('the same questions, of DuckDB: one thread, events in memory, no summary');
	print qx(node bench/analytics_duckdb.js $duckdb $csv) or die "DuckDB: $?\n";
	unlink $csv;
}

# What it costs those who write: a table with an activity against one without.
$dbh->do(
	"CREATE TABLE events_$_ (user_id bigint, event text,
	created_at timestamptz DEFAULT now())") for qw(bare kept);
$dbh->do(q{SELECT cozi.create_activity('kept', 'events_kept', 'user_id')});
my %script;
foreach my $table (qw(bare kept))
{
	$script{"one_$table"} = Bench::script("one_$table",
		"\\set u random(1, $users)\nINSERT INTO events_$table VALUES (:u, 'view');\n");
	# users as skewed as those of the events, which come again and again
	$script{"skewed_$table"} = Bench::script("skewed_$table",
		"\\set u int(1 + $users * pow(random(0, 999999) / 1000000.0, 3))\n"
		  . "INSERT INTO events_$table VALUES (:u, 'view');\n");
	$script{"many_$table"} = Bench::script("many_$table",
			"INSERT INTO events_$table SELECT 1 + random() * $users, 'view'"
		  . " FROM generate_series(1, 1000);\n");
}

sub writes
{
	my ($script, $name) = @_;
	return [
		$name,
		sub {
			return Bench::pgbench(
				files => [ $script{$script} ],
				clients => 16,
				seconds => $quick ? 2 : 5,
				protocol => 'prepared');
		}
	];
}

my ($preloaded) = $dbh->selectrow_array('SHOW shared_preload_libraries');
Bench::title('16 clients write events, durable commits, '
	  . ($preloaded =~ /cozi/ ? 'preloaded: a worker folds' : 'not preloaded: writers fold'));
Bench::pair(
	'single rows',
	runs => 3,
	more => 1,
	unit => 'events/s',
	floor => 0.85,
	new => writes('skewed_kept', 'with an activity'),
	old => writes('skewed_bare', 'without'));
Bench::pair(
	'single rows, each of another user',
	runs => 3,
	more => 1,
	unit => 'events/s',
	new => writes('one_kept', 'with an activity'),
	old => writes('one_bare', 'without'));
Bench::pair(
	'batches of 1,000 rows',
	runs => 3,
	more => 1,
	unit => 'batches/s',
	new => writes('many_kept', 'with an activity'),
	old => writes('many_bare', 'without'));
my ($differ) = $dbh->selectrow_array(q{SELECT count(*) FROM cozi.verify_activity('kept')});
die "the activity differs from a recount in $differ rows\n" if $differ;
