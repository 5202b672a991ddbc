# next_id against the well-known function of Instagram's engineers: the cost of
# a call, and what eight sessions get from each.
use strict;
use warnings;
use Bench;
use Time::HiRes qw(time);

my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
$dbh->do(
	q{
	CREATE SEQUENCE ours;
	CREATE SEQUENCE theirs;
	-- as published, its epoch and shard kept
	CREATE FUNCTION instagram_id(OUT result bigint) LANGUAGE plpgsql AS $$
	DECLARE
		our_epoch bigint := 1314220021721;
		seq_id bigint;
		now_millis bigint;
		shard_id int := 5;
	BEGIN
		SELECT nextval('theirs') % 1024 INTO seq_id;
		SELECT FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) INTO now_millis;
		result := (now_millis - our_epoch) << 23;
		result := result | (shard_id << 10);
		result := result | (seq_id);
	END $$;
	CREATE UNLOGGED TABLE ids (side text, run int, session int, n int, id bigint);
});

sub us
{
	my ($call, $n) = @_;
	my $t = time;
	$dbh->do("SELECT count($call) FROM generate_series(1, $n)");
	return (time - $t) * 1e6 / $n;
}
my $n = 300_000;
Bench::title("microseconds an id, one session, $n ids a run");
Bench::pair(
	'an id: at least 5x',
	runs => 7,
	unit => 'us',
	floor => 5,
	new => [ 'next_id', sub { us("cozi.next_id('ours', 5)", $n) } ],
	old => [ 'PL/pgSQL', sub { us('instagram_id()', $n) } ]);
Bench::pair(
	'an id, against a bare nextval',
	runs => 7,
	unit => 'us',
	new => [ 'next_id', sub { us("cozi.next_id('ours', 5)", $n) } ],
	old => [ 'nextval', sub { us("nextval('theirs')", $n) } ]);
Bench::pair(
	'a uuid, against gen_random_uuid',
	runs => 7,
	unit => 'us',
	new => [ 'uuid7', sub { us('cozi.uuid7(5)', $n) } ],
	old => [ 'gen_random_uuid', sub { us('gen_random_uuid()', $n) } ]);

# Eight sessions, ids kept: thousands a second stored, and what is wrong with them.
my ($sessions, $each, $run) = (8, 125_000, 0);

sub eight
{
	my ($side, $call) = @_;
	$run++;
	my $t = time;
	my @pids = map {
		my $session = $_;
		my $pid = fork();
		if ($pid == 0)
		{
			exec(
				'psql', '-Xqc',
				"INSERT INTO ids SELECT '$side', $run, $session, n, $call
					FROM generate_series(1, $each) n"
			);
		}
		$pid;
	} 1 .. $sessions;
	waitpid($_, 0) for @pids;
	return $sessions * $each / (time - $t) / 1000;
}
Bench::title("eight sessions store $each ids each, at once");
Bench::pair(
	'thousand ids a second',
	runs => 3,
	unit => 'k/s',
	more => 1,
	warm => 1,
	new => [ 'next_id', sub { eight('next_id', "cozi.next_id('ours', 5)") } ],
	old => [ 'PL/pgSQL', sub { eight('PL/pgSQL', 'instagram_id()') } ]);
my $rows = $dbh->selectall_arrayref(
	q{
	SELECT side, count(*), count(*) - count(DISTINCT id), count(*) FILTER (WHERE id <= before)
	FROM (SELECT *, lag(id) OVER (PARTITION BY side, session ORDER BY run, n) AS before FROM ids) i
	GROUP BY side ORDER BY side DESC}
);
printf "%-44s %s ids, %s of them duplicates, %s out of order in their session\n", $_->[0],
  @{$_}[ 1 .. 3 ]
  for @$rows;
