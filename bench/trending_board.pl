# Boards under load: one viral post, many votes a statement, ten minutes of a
# site's votes against one run of the refresh that a board makes unnecessary.
# Every figure is of a board that afterwards equals a recount of its votes.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Time::HiRes qw(time sleep);

my $dbh = Bench::connect();
my $quick = $ENV{COZI_BENCH_QUICK};
$dbh->do('CREATE EXTENSION cozi');

# The CPU seconds of the server: the postmaster, its children, those it has waited for.
sub cpu
{
	open my $f, '<', "$ENV{PGDATA}/postmaster.pid" or die $!;
	chomp(my $postmaster = <$f>);
	my $ticks = 0;
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $s, '<', $stat or next;
		my $line = <$s> // next;
		my ($pid) = $line =~ /^(\d+)/;
		my @f = split ' ', $line =~ s/.*\) //r;
		$ticks += $f[11] + $f[12] if $pid == $postmaster || $f[1] == $postmaster;
		$ticks += $f[13] + $f[14] if $pid == $postmaster;
	}
	return $ticks / 100;
}

sub wal { return ($dbh->selectrow_array("SELECT pg_current_wal_insert_lsn() - '0/0'"))[0]; }

sub exact
{
	my ($board) = @_;
	my ($n) =
	  $dbh->selectrow_array('SELECT count(*) FROM cozi.verify_board(?::regclass)', undef, $board);
	die "$board differs from a recount in $n items\n" if $n;
	return;
}

# One viral post.

for my $t (qw(bare board kept))
{
	$dbh->do(
		"CREATE TABLE votes_$t (post bigint, voter bigint, value smallint NOT NULL,
			created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (post, voter))"
	);
}
$dbh->do('CREATE TABLE posts_kept (id bigint PRIMARY KEY, score bigint NOT NULL, body text)');
$dbh->do("INSERT INTO posts_kept SELECT g, 0, repeat('x', 500) FROM generate_series(1, 1000) g");
$dbh->do("SELECT cozi.create_board('hot', 'votes_board', 'post', 'value')");
my $voter = "\\set voter random(1, 1000000000000)\n";
my %script = (
	bare => Bench::script('bare', "${voter}INSERT INTO votes_bare VALUES (1, :voter, 1);\n"),
	board => Bench::script('board', "${voter}INSERT INTO votes_board VALUES (1, :voter, 1);\n"),
	kept => Bench::script(
		'kept',
		"${voter}WITH v AS (INSERT INTO votes_kept VALUES (1, :voter, 1)
			RETURNING post) UPDATE posts_kept p SET score = score + 1 FROM v WHERE p.id = v.post;\n"
	));
my $behind = 0;

sub viral
{
	my ($which) = @_;
	my $tps = Bench::pgbench(
		files => [ $script{$which} ],
		clients => 16,
		seconds => $quick ? 2 : 5,
		protocol => 'prepared');
	if ($which eq 'board')
	{
		my ($b) = $dbh->selectrow_array(
			"SELECT coalesce(extract(epoch FROM max(queued) - min(queued)), 0) FROM cozi.kept_delta"
		);
		$behind = $b if $b > $behind;
	}
	return $tps;
}

# fold() from a scheduler of ten a second, as long as the votes run
sub scheduled
{
	my $child = fork;
	if (!$child)
	{
		my $d = Bench::connect();
		while (1) { $d->do('SELECT cozi.fold()'); sleep 0.1; }
	}
	my $tps = viral('board');
	kill 'TERM', $child;
	waitpid $child, 0;
	return $tps;
}

Bench::title(
	'16 clients vote for one post, each vote a transaction, durable commits, nothing preloaded');
Bench::pair(
	'against insert + update in one statement',
	runs => 7,
	more => 1,
	unit => 'votes/s',
	floor => 4,
	new => [ 'board', sub { viral('board') } ],
	old => [ 'update', sub { viral('kept') } ]);
Bench::pair(
	'against the bare insert of the vote',
	runs => 7,
	more => 1,
	unit => 'votes/s',
	floor => 0.7,
	new => [ 'board', sub { viral('board') } ],
	old => [ 'insert', sub { viral('bare') } ]);
Bench::pair(
	'the same, fold() every 100 ms',
	runs => 7,
	more => 1,
	unit => 'votes/s',
	floor => 0.85,
	new => [ 'board', sub { scheduled() } ],
	old => [ 'insert', sub { viral('bare') } ]);
printf "  oldest vote not yet folded at the end of a run: at most %.2f s behind  at most 1 s: %s\n",
  $behind, $behind <= 1 ? 'yes' : 'NO';
exact('hot');

# Many votes a statement.

$dbh->do('CREATE TABLE votes_row (LIKE votes_bare INCLUDING ALL)');
$dbh->do('CREATE TABLE posts_row (LIKE posts_kept INCLUDING ALL)');
$dbh->do('INSERT INTO posts_row SELECT * FROM posts_kept');
$dbh->do(
	q{CREATE FUNCTION kept_by_row() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN UPDATE posts_row SET score = score + NEW.value WHERE id = NEW.post; RETURN NULL;
	END $$});
$dbh->do(
	'CREATE TRIGGER kept AFTER INSERT ON votes_row FOR EACH ROW EXECUTE FUNCTION kept_by_row()');
my $fifty = "SELECT 1, :voter + g, 1 FROM generate_series(1, 50) g;\n";
my %many = (
	board => Bench::script('board50', "${voter}INSERT INTO votes_board $fifty"),
	row => Bench::script('row50', "${voter}INSERT INTO votes_row $fifty"));
Bench::title('16 clients, 50 votes a statement for one post, durable commits');
Bench::pair(
	'against a row trigger in plpgsql',
	runs => 5,
	more => 1,
	unit => 'votes/s',
	floor => 10,
	new => [
		'board', sub { 50 * Bench::pgbench(files => [ $many{board} ], clients => 16, seconds => 4) }
	],
	old => [
		'row trigger',
		sub { 50 * Bench::pgbench(files => [ $many{row} ], clients => 16, seconds => 4) }
	]);
exact('hot');

# The cost of one vote.

$dbh->do('SET synchronous_commit = off');
my $next = 0;

sub votes_of
{
	my ($t) = @_;
	return sub {
		$dbh->do("INSERT INTO votes_$t VALUES (?, ?, 1)", undef, 1 + $next % 1000, $next++)
		  for 1 .. 2000;
		return;
	};
}
Bench::title('2,000 votes one by one, one client, commits that do not wait for the disk');
Bench::pair(
	'a vote with a board, folding included',
	runs => 9,
	unit => 'ms',
	new => [ 'with', votes_of('board') ],
	old => [ 'without', votes_of('bare') ]);
$dbh->do('RESET synchronous_commit');
$dbh->do("DROP TABLE votes_$_ CASCADE") for qw(bare board kept row);

# Ten minutes of a site.

my $posts = 1_000_000;
my $seconds = $quick ? 30 : 600;
my $votes = 10_000 * $seconds / 600;
$dbh->do(
	'CREATE TABLE posts (id bigint PRIMARY KEY, community int, created_at timestamptz, score bigint,
		interactions bigint,
	hot_rank float8, hot_rank_active float8, scaled_rank float8)');
$dbh->do(
	"INSERT INTO posts SELECT g, g % 1000, now() - interval '90 days' * (1 - g / $posts.0),
	(random() ^ 8 * 3000)::bigint, 100 + g % 1000, 1, 1, 1
	FROM generate_series(1, $posts) g");
$dbh->do("CREATE INDEX ON posts (community, $_ DESC, created_at DESC)")
  for qw(hot_rank hot_rank_active scaled_rank);
$dbh->do('CREATE INDEX ON posts (created_at)');

# Lemmy's formula and its manner: numeric, batches of 1,000 by creation time, a commit each
$dbh->do(
	q{CREATE FUNCTION numeric_rank(score numeric, at timestamptz) RETURNS float8 LANGUAGE sql AS $$
	SELECT CASE WHEN extract(epoch FROM now() - at) / 3600 BETWEEN 0 AND 168
	       THEN log(greatest(2, score + 2)) / power(extract(epoch FROM now() - at) / 3600 + 2, 1.8)
	       	ELSE 0 END $$}
);
$dbh->do(
	q{CREATE PROCEDURE refresh() LANGUAGE plpgsql AS $$
	DECLARE
		last timestamptz := now() - interval '7 days';
		done timestamptz;
	BEGIN
		LOOP
			WITH batch AS (SELECT id FROM posts WHERE created_at > last AND hot_rank <> 0
				ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED),
			     changed AS (UPDATE posts p SET hot_rank = numeric_rank(score, created_at),
			     	hot_rank_active = numeric_rank(score, created_at),
			                 scaled_rank = numeric_rank(score,
			                 	created_at) / log(2 + interactions::numeric)
			                 FROM batch WHERE p.id = batch.id RETURNING created_at)
			SELECT max(created_at) INTO done FROM changed;
			EXIT WHEN done IS NULL;
			last := done;
			COMMIT;
		END LOOP;
	END $$});
$dbh->do(
	'CREATE TABLE votes (post bigint, voter bigint, value smallint NOT NULL,
		created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (post, voter))'
);
$dbh->do('INSERT INTO votes SELECT id, 0, 1, created_at FROM posts');
$dbh->do(
	'INSERT INTO votes SELECT id, v, 1, created_at + interval \'1 hour\' * v
		FROM posts, generate_series(1, 2) v WHERE id % 3 = 0'
);
$dbh->do("SELECT cozi.create_board('site', 'votes', 'post', 'value')");
$dbh->do('CREATE TABLE votes_alone (LIKE votes INCLUDING ALL)');
$dbh->do('INSERT INTO votes_alone SELECT * FROM votes');
$dbh->do('VACUUM ANALYZE');

my %falls = (
	recent => "\\set back random_exponential(0, $posts - 1, 90)\n\\set post $posts - :back\n",
	evenly => "\\set post random(1, $posts)\n");

sub spend
{
	my ($work) = @_;
	$dbh->do('CHECKPOINT');
	my ($cpu, $wal) = (cpu(), wal());
	$work->();
	return [ cpu() - $cpu, (wal() - $wal) / 1e6 ];
}

sub cast
{
	my ($table, $fall) = @_;
	my $file =
	  Bench::script("$table$fall",
		"$falls{$fall}${voter}INSERT INTO $table VALUES (:post, :voter, 1);\n");
	return spend(
		sub {
			# at the pace of the site: each fold finds what ten minutes of votes leave it
			my $out =
			  qx(pgbench -n -c 4 -j 1 -R @{[ 10000 / 600 ]} -t @{[ int($votes / 4) ]} \\
				-M prepared -f $file $ENV{PGDATABASE} 2>&1);
			$out =~ /tps =/ or die $out;
			$dbh->do('SELECT cozi.fold()') if $table eq 'votes';
		});
}
my $refresh = spend(sub { $dbh->do('CALL refresh()') });
my %cost =
  map { my $f = $_; $f => [ cast('votes_alone', $f), cast('votes', $f) ] } qw(recent evenly);
exact('site');

# What the ranking costs: the votes with their board, less the same votes without
printf
  "\nthe ranking of %d votes in %d s, over %d posts of 90 days, against one refresh of the last 7 "
  . "days in numeric; each after a checkpoint\n",
  $votes, $seconds, $posts;
printf "%-44s %12s %12s %12s %12s\n", '', 'CPU s', 'WAL MB', 'CPU ratio', 'WAL ratio';
printf "%-44s %12.2f %12.1f\n", 'one refresh', @$refresh;
for my $f (qw(recent evenly))
{
	my ($alone, $with) = @{ $cost{$f} };
	my @board = map { $with->[$_] - $alone->[$_] } 0, 1;
	my @ratio = map { $board[$_] > 0 ? $refresh->[$_] / $board[$_] : 9999 } 0, 1;
	my $where = $f eq 'recent' ? 'mostly on recent posts' : 'evenly on all posts';
	printf "%-44s %12.2f %12.1f\n", "votes $where, no board", @$alone;
	printf "%-44s %12.2f %12.1f\n", 'the same with a board, folding included', @$with;
	printf "%-44s %12.2f %12.1f %11.1fx %11.1fx%s\n", 'the board', @board, @ratio,
	  $f eq 'recent'
	  ? ($ratio[0] >= 10 && $ratio[1] >= 10 ? '  at least 10x: yes' : '  at least 10x: NO')
	  : '';
}
